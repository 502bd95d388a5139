/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's life cycle: everything that stops, resets or ends it passes through requests_run().
 */
#include "hw/core/machine.h"

#include <string.h>

#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

typedef struct StatusListener {
    MachineStatusFn *fn;
    void *opaque;
} StatusListener;

static void requests_run(void *opaque);

Machine *machine_new(void)
{
    Machine *machine = g_new0(Machine, 1);
    machine->loop = loop_main();
    machine->cpu_count = 1;
    machine->a20 = true;
    machine->devices = g_ptr_array_new();
    machine->listeners = g_array_new(FALSE, FALSE, sizeof(StatusListener));
    region_init_container(&machine->mem_root, "memory", REGION_ALL);
    region_init_container(&machine->io_root, "io", 0x10000);
    as_init(&machine->mem, "memory", &machine->mem_root, UINT64_MAX);
    as_init(&machine->io, "I/O", &machine->io_root, 0xffff);
    machine->request_bh = bh_new(machine->loop, requests_run, machine);
    return machine;
}

void machine_free(Machine *machine)
{
    region_begin();
    while (machine->devices->len)
        device_free(g_ptr_array_index(machine->devices, machine->devices->len - 1));
    region_commit();
    bh_free(machine->request_bh);
    as_fini(&machine->mem);
    as_fini(&machine->io);
    region_fini(&machine->mem_root);
    region_fini(&machine->io_root);
    if (machine->ram) {
        region_fini(machine->ram);
        g_free(machine->ram);
    }
    g_ptr_array_free(machine->devices, TRUE);
    g_array_free(machine->listeners, TRUE);
    g_free(machine->cpus);
    g_free(machine->name);
    g_free(machine);
}

/* ---- Status ---- */

const char *machine_status_name(MachineStatus status)
{
    static const char *const names[] = {"prelaunch", "paused",         "running",
                                        "io-error",  "internal-error", "shutdown",
                                        "suspended", "save-vm",        "restore-vm"};
    return names[status];
}

void machine_add_status_listener(Machine *machine, MachineStatusFn *fn, void *opaque)
{
    StatusListener listener = {fn, opaque};
    g_array_append_val(machine->listeners, listener);
}

void machine_remove_status_listener(Machine *machine, MachineStatusFn *fn, void *opaque)
{
    for (guint i = machine->listeners->len; i-- > 0;) {
        StatusListener *listener = &g_array_index(machine->listeners, StatusListener, i);
        if (listener->fn == fn && listener->opaque == opaque)
            g_array_remove_index(machine->listeners, i);
    }
}

static void set_status(Machine *machine, MachineStatus status)
{
    if (machine->status == status)
        return;
    machine->status = status;
    for (guint i = 0; i < machine->listeners->len; i++) {
        StatusListener *listener = &g_array_index(machine->listeners, StatusListener, i);
        listener->fn(listener->opaque, machine, status);
    }
}

static void pause_cpus(Machine *machine)
{
    if (machine->hooks.pause_all)
        machine->hooks.pause_all(machine);
}

static void resume_cpus(Machine *machine)
{
    if (machine->hooks.resume_all)
        machine->hooks.resume_all(machine);
}

static void run(Machine *machine)
{
    vclock_start();
    set_status(machine, MACHINE_RUNNING);
    resume_cpus(machine);
}

static void reset_all(Machine *machine)
{
    log_printf(LOG_RESET, "machine reset");
    region_begin();
    for (guint i = 0; i < machine->devices->len; i++)
        device_reset(g_ptr_array_index(machine->devices, i));
    region_commit();
    machine_set_a20(machine, true);
    if (machine->hooks.reset_cpus)
        machine->hooks.reset_cpus(machine);
    machine->resets++;
}

void machine_reset_now(Machine *machine)
{
    reset_all(machine);
}

void machine_start(Machine *machine, bool start)
{
    reset_all(machine);
    if (start)
        run(machine);
}

static bool is_frozen(const Machine *machine)
{
    return machine->status == MACHINE_SAVE_VM || machine->status == MACHINE_RESTORE_VM;
}

void machine_pause(Machine *machine, MachineStatus status)
{
    if (is_frozen(machine)) {
        /* Whoever names the status that there is wants the machine to stand. */
        if (status != machine->status)
            machine->thawed = status;
        else if (machine->thawed == MACHINE_RUNNING)
            machine->thawed = MACHINE_PAUSED;
        return;
    }
    if (machine->status == MACHINE_SUSPENDED && status != MACHINE_SHUTDOWN)
        return; /* it does not run, and is to be woken by its own events */
    if (machine->status == MACHINE_RUNNING)
        pause_cpus(machine);
    if (machine->status == MACHINE_RUNNING || machine->status == MACHINE_SUSPENDED)
        vclock_stop();
    set_status(machine, status);
}

bool machine_resume(Machine *machine, GError **error)
{
    switch (machine->status) {
    case MACHINE_RUNNING:
        return true;
    case MACHINE_SHUTDOWN:
        return fail(error, "the guest has shut down: system_reset starts it again");
    case MACHINE_INTERNAL_ERROR:
        return fail(error, "the processor cannot go on: system_reset starts it again");
    case MACHINE_SUSPENDED:
        return fail(error, "the guest sleeps: system_wakeup wakes it");
    case MACHINE_SAVE_VM:
    case MACHINE_RESTORE_VM:
        return fail(error, "a snapshot is being %s",
                    machine->status == MACHINE_SAVE_VM ? "saved" : "restored");
    default:
        run(machine);
        return true;
    }
}

static int take_request(int *request)
{
    return __atomic_exchange_n(request, 0, __ATOMIC_ACQ_REL);
}

bool machine_freeze(Machine *machine, MachineStatus status, GError **error)
{
    MachineStatus before = machine->status;
    bool save = status == MACHINE_SAVE_VM;
    if (is_frozen(machine))
        return machine_resume(machine, error);
    if (save && before == MACHINE_SUSPENDED)
        return fail(error, "the guest sleeps: system_wakeup wakes it");
    if (save && before == MACHINE_IO_ERROR)
        return fail(error, "a disk's error has stopped the guest, whose request still waits");
    if (save && before == MACHINE_INTERNAL_ERROR)
        return fail(error, "the processor cannot go on: there is nothing worth to be saved");
    if (before == MACHINE_SUSPENDED) {
        vclock_stop();
        set_status(machine, status);
    } else {
        machine_pause(machine, status);
    }
    machine->thawed = before;
    return true;
}

/* Of the guest that was there before a snapshot was restored. */
static void forget_requests(Machine *machine)
{
    int reset = RESET_HOST + 1, shutdown = SHUTDOWN_HOST + 1;
    if (__atomic_load_n(&machine->reset_pending, __ATOMIC_ACQUIRE) != reset)
        take_request(&machine->reset_pending);
    if (__atomic_load_n(&machine->shutdown_pending, __ATOMIC_ACQUIRE) != shutdown)
        take_request(&machine->shutdown_pending);
    take_request(&machine->wake_pending);
    __atomic_store_n(&machine->suspend_pending, false, __ATOMIC_RELEASE);
}

void machine_thaw(Machine *machine, ThawResult result)
{
    MachineStatus next = machine->thawed;
    if (result == THAW_RESTORED) {
        forget_requests(machine);
        bool goes = next == MACHINE_RUNNING || next == MACHINE_SUSPENDED;
        next = goes ? MACHINE_RUNNING : MACHINE_PAUSED;
    } else if (result == THAW_BROKEN) {
        next = MACHINE_INTERNAL_ERROR;
    }
    if (next == MACHINE_SUSPENDED)
        vclock_start();
    if (next == MACHINE_RUNNING)
        run(machine);
    else
        set_status(machine, next);
    bh_schedule(machine->request_bh);
}

/* ---- Requests ---- */

static void post_request(Machine *machine, int *request, int cause)
{
    __atomic_store_n(request, cause + 1, __ATOMIC_RELEASE);
    bh_schedule(machine->request_bh);
}

void machine_request_reset(Machine *machine, ResetCause cause)
{
    if (machine->no_reboot && cause != RESET_HOST)
        machine_request_shutdown(machine, SHUTDOWN_RESET);
    else
        post_request(machine, &machine->reset_pending, cause);
}

/* A request of the host is never covered by a later one of the guest. */
void machine_request_shutdown(Machine *machine, ShutdownCause cause)
{
    int expected = 0;
    if (cause == SHUTDOWN_HOST)
        __atomic_store_n(&machine->shutdown_pending, cause + 1, __ATOMIC_RELEASE);
    else
        __atomic_compare_exchange_n(&machine->shutdown_pending, &expected, (int)cause + 1, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    bh_schedule(machine->request_bh);
}

void machine_request_powerdown(Machine *machine)
{
    __atomic_store_n(&machine->powerdown_pending, true, __ATOMIC_RELEASE);
    bh_schedule(machine->request_bh);
}

void machine_request_suspend(Machine *machine)
{
    __atomic_store_n(&machine->suspend_pending, true, __ATOMIC_RELEASE);
    bh_schedule(machine->request_bh);
}

void machine_request_wakeup(Machine *machine, WakeCause cause)
{
    if (machine->status == MACHINE_SUSPENDED)
        post_request(machine, &machine->wake_pending, cause);
}

void machine_set_wake_ops(Machine *machine, const WakeOps *ops, void *opaque)
{
    machine->wake_ops = ops;
    machine->wake_opaque = opaque;
}

bool machine_request_pending(const Machine *machine)
{
    return __atomic_load_n(&machine->reset_pending, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&machine->shutdown_pending, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&machine->suspend_pending, __ATOMIC_ACQUIRE);
}

void machine_set_powerdown(Machine *machine, void (*fn)(void *opaque), void *opaque)
{
    machine->powerdown = fn;
    machine->powerdown_opaque = opaque;
}

static void do_shutdown(Machine *machine, ShutdownCause cause)
{
    if (machine->no_shutdown && (cause == SHUTDOWN_GUEST || cause == SHUTDOWN_RESET)) {
        machine_pause(machine, MACHINE_SHUTDOWN);
        return;
    }
    machine_pause(machine, MACHINE_SHUTDOWN);
    if (cause == SHUTDOWN_ERROR && !machine->exit_code)
        machine->exit_code = 1;
    machine->ending = true;
    loop_wake(machine->loop);
}

static void do_reset(Machine *machine)
{
    MachineStatus before = machine->status;
    if (before == MACHINE_RUNNING)
        pause_cpus(machine);
    reset_all(machine);
    if (before == MACHINE_SUSPENDED)
        set_status(machine, MACHINE_RUNNING);
    if (before == MACHINE_RUNNING || before == MACHINE_SUSPENDED)
        resume_cpus(machine);
    else if (before == MACHINE_SHUTDOWN || before == MACHINE_INTERNAL_ERROR)
        set_status(machine, MACHINE_PAUSED);
}

static void do_suspend(Machine *machine)
{
    if (machine->status != MACHINE_RUNNING || !machine->wake_ops)
        return;
    pause_cpus(machine);
    set_status(machine, MACHINE_SUSPENDED);
}

static void do_wake(Machine *machine, WakeCause cause)
{
    if (machine->status != MACHINE_SUSPENDED ||
        !machine->wake_ops->wanted(machine->wake_opaque, cause))
        return;
    machine->waking = true;
    reset_all(machine);
    machine->waking = false;
    machine->wake_ops->woken(machine->wake_opaque, cause);
    set_status(machine, MACHINE_RUNNING);
    resume_cpus(machine);
}

static void do_powerdown(Machine *machine)
{
    if (machine->status == MACHINE_SUSPENDED)
        do_wake(machine, WAKE_BUTTON);
    else if (machine->powerdown)
        machine->powerdown(machine->powerdown_opaque);
}

static void requests_run(void *opaque)
{
    Machine *machine = opaque;
    if (is_frozen(machine))
        return;
    int shutdown = take_request(&machine->shutdown_pending);
    if (shutdown) {
        do_shutdown(machine, (ShutdownCause)(shutdown - 1));
        return;
    }
    if (take_request(&machine->reset_pending))
        do_reset(machine);
    if (__atomic_exchange_n(&machine->suspend_pending, false, __ATOMIC_ACQ_REL))
        do_suspend(machine);
    int wake = take_request(&machine->wake_pending);
    if (wake)
        do_wake(machine, (WakeCause)(wake - 1));
    if (__atomic_exchange_n(&machine->powerdown_pending, false, __ATOMIC_ACQ_REL))
        do_powerdown(machine);
}

int machine_main_loop(Machine *machine)
{
    while (!machine->ending)
        loop_step(machine->loop, true);
    return machine->exit_code;
}

/* ---- Wires of the board ---- */

void machine_set_a20(Machine *machine, bool enabled)
{
    if (machine->a20 == enabled)
        return;
    machine->a20 = enabled;
    if (machine->hooks.a20_changed)
        machine->hooks.a20_changed(machine, enabled);
}

void machine_msi(Machine *machine, uint64_t address, uint32_t data)
{
    if (machine->hooks.msi_send)
        machine->hooks.msi_send(machine, address, data);
}

/* ---- Saved state: "VMRUNDEV", then u8 length, id and a state record for each device ---- */

static const char state_magic[8] = {'V', 'M', 'R', 'U', 'N', 'D', 'E', 'V'};

static void save_device(Device *dev, void *opaque)
{
    GByteArray *out = opaque;
    if (!dev->cls->state)
        return;
    uint8_t length = (uint8_t)MIN(strlen(dev->id), 255);
    g_byte_array_append(out, &length, 1);
    g_byte_array_append(out, (const uint8_t *)dev->id, length);
    state_save(dev->cls->state, dev, out);
}

void machine_save_devices(Machine *machine, GByteArray *out)
{
    g_byte_array_append(out, (const uint8_t *)state_magic, sizeof(state_magic));
    device_foreach(machine, save_device, out);
}

static bool load_devices(Machine *machine, const uint8_t *data, size_t length, GError **error)
{
    const uint8_t *at = data + sizeof(state_magic), *end = data + length;
    if (length < sizeof(state_magic) || memcmp(data, state_magic, sizeof(state_magic)))
        return fail(error, "this is not a saved state of vmrun's devices");
    while (at < end) {
        char id[256];
        size_t size = *at++;
        if ((size_t)(end - at) < size)
            return fail(error, "the saved state is cut short");
        memcpy(id, at, size);
        id[size] = 0;
        at += size;
        Device *dev = device_find(machine, id);
        if (!dev || !dev->cls->state)
            return fail(error, "the saved state has a device '%s' that this machine lacks", id);
        if (!state_load(dev->cls->state, dev, &at, end, error))
            return fail_prefix(error, "%s", id);
    }
    return true;
}

bool machine_load_devices(Machine *machine, const uint8_t *data, size_t length, GError **error)
{
    region_begin();
    bool ok = load_devices(machine, data, length, error);
    region_commit();
    return ok;
}
