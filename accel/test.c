/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The in-process test engine. */
#include "accel/test.h"

#include "util/bytes.h"
#include "util/log.h"
#include "util/options.h"
#include "util/timer.h"

typedef struct Message {
    uint64_t address;
    uint32_t data;
} Message;

typedef struct TestMachine {
    IsaBus isa;
    GQueue messages; /* of Message */
} TestMachine;

static void msi_send(Machine *machine, uint64_t address, uint32_t data)
{
    TestMachine *test = machine->engine;
    Message *message = g_new(Message, 1);
    *message = (Message){address, data};
    g_queue_push_tail(&test->messages, message);
}

Machine *test_machine_new(uint64_t ram_size)
{
    TestMachine *test = g_new0(TestMachine, 1);
    loop_lock(loop_main());
    vclock_set_manual(true);
    vclock_set(0);
    Machine *machine = machine_new();
    machine->engine = test;
    machine->hooks.msi_send = msi_send;
    machine->ram_size = ram_size;
    machine->ram = g_new0(Region, 1);
    GError *error = NULL;
    region_init_ram(machine->ram, "ram", ram_size, &error);
    g_assert_no_error(error);
    region_add(&machine->mem_root, 0, machine->ram);
    isa_bus_init(&test->isa, machine);
    isa_bus_register(&test->isa);
    vclock_start();
    machine->status = MACHINE_RUNNING;
    return machine;
}

void test_machine_free(Machine *machine)
{
    TestMachine *test = machine->engine;
    machine_free(machine);
    g_queue_clear_full(&test->messages, g_free);
    isa_bus_register(NULL);
    g_free(test);
    vclock_stop();
    loop_unlock(loop_main());
}

static Device *try_device(Machine *machine, const DeviceClass *cls, const char *props,
                          GError **error)
{
    Device *dev = device_new(machine, NULL, cls, NULL);
    g_autoptr(Options) options = options_parse("-device", props ? props : "", NULL, NULL, error);
    const char *key, *value;
    for (unsigned i = 0; options && options_nth(options, i, &key, &value); i++)
        if (!device_set_prop(dev, key, value, error))
            goto bad;
    if (options && device_realize(dev, error))
        return dev;
bad:
    device_free(dev);
    return NULL;
}

Device *test_device(Machine *machine, const DeviceClass *cls, const char *props)
{
    GError *error = NULL;
    Device *dev = try_device(machine, cls, props, &error);
    g_assert_no_error(error);
    return dev;
}

char *test_device_error(Machine *machine, const DeviceClass *cls, const char *props)
{
    GError *error = NULL;
    g_assert_null(try_device(machine, cls, props, &error));
    g_assert_nonnull(error);
    char *message = g_strdup(error->message);
    g_error_free(error);
    return message;
}

void test_device_state(Device *dev)
{
    const StateDesc *desc = dev->cls->state;
    g_assert_nonnull(desc);
    g_autofree char *hole = state_check_complete(desc);
    g_assert_cmpstr(hole, ==, NULL);

    g_autoptr(GByteArray) before = g_byte_array_new();
    g_autoptr(GByteArray) after = g_byte_array_new();
    GError *error = NULL;
    state_save(desc, dev, before);
    device_reset(dev);
    const uint8_t *at = before->data, *end = at + before->len;
    state_load(desc, dev, &at, end, &error);
    g_assert_no_error(error);
    g_assert_true(at == end);
    state_save(desc, dev, after);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);

    /* Every truncation is refused; none is read past its end. */
    for (guint length = 1; length < before->len; length += 1 + before->len / 97) {
        g_autofree uint8_t *cut = g_memdup2(before->data, length);
        GError *cut_error = NULL;
        at = cut;
        g_assert_false(state_load(desc, dev, &at, cut + length, &cut_error));
        g_assert_nonnull(cut_error);
        g_error_free(cut_error);
    }
    at = before->data;
    state_load(desc, dev, &at, end, &error);
    g_assert_no_error(error);
}

/* ---- Lines ---- */

static void irq_record(void *opaque, unsigned n, bool level)
{
    TestIrq *irq = opaque;
    if (level && !irq->level)
        irq->rises++;
    if (!level && irq->level)
        irq->falls++;
    irq->level = level;
}

IrqLine test_irq(TestIrq *irq)
{
    return irq_line(irq_record, irq, 0);
}

void test_isa_irq(Machine *machine, unsigned n, TestIrq *irq)
{
    isa_bus(machine)->out[n] = test_irq(irq);
}

bool test_msi_pop(Machine *machine, uint64_t *address, uint32_t *data)
{
    TestMachine *test = machine->engine;
    Message *message = g_queue_pop_head(&test->messages);
    if (!message)
        return false;
    *address = message->address;
    *data = message->data;
    g_free(message);
    return true;
}

/* ---- Accesses ---- */

static uint32_t in(Machine *machine, uint16_t port, unsigned size)
{
    uint8_t buf[4] = {0};
    dispatch_pio(&machine->io, port, false, size, buf, 1);
    return ld32_le(buf);
}

static void out(Machine *machine, uint16_t port, unsigned size, uint32_t value)
{
    uint8_t buf[4];
    st32_le(buf, value);
    dispatch_pio(&machine->io, port, true, size, buf, 1);
}

static uint64_t load(Machine *machine, hwaddr addr, unsigned size)
{
    uint64_t value;
    as_load(&machine->mem, addr, size, &value);
    return value;
}

uint8_t inb(Machine *machine, uint16_t port)
{
    return (uint8_t)in(machine, port, 1);
}

uint16_t inw(Machine *machine, uint16_t port)
{
    return (uint16_t)in(machine, port, 2);
}

uint32_t inl(Machine *machine, uint16_t port)
{
    return in(machine, port, 4);
}

void outb(Machine *machine, uint16_t port, uint8_t value)
{
    out(machine, port, 1, value);
}

void outw(Machine *machine, uint16_t port, uint16_t value)
{
    out(machine, port, 2, value);
}

void outl(Machine *machine, uint16_t port, uint32_t value)
{
    out(machine, port, 4, value);
}

uint8_t readb(Machine *machine, hwaddr addr)
{
    return (uint8_t)load(machine, addr, 1);
}

uint16_t readw(Machine *machine, hwaddr addr)
{
    return (uint16_t)load(machine, addr, 2);
}

uint32_t readl(Machine *machine, hwaddr addr)
{
    return (uint32_t)load(machine, addr, 4);
}

uint64_t readq(Machine *machine, hwaddr addr)
{
    return load(machine, addr, 8);
}

void writeb(Machine *machine, hwaddr addr, uint8_t value)
{
    as_store(&machine->mem, addr, 1, value);
}

void writew(Machine *machine, hwaddr addr, uint16_t value)
{
    as_store(&machine->mem, addr, 2, value);
}

void writel(Machine *machine, hwaddr addr, uint32_t value)
{
    as_store(&machine->mem, addr, 4, value);
}

void writeq(Machine *machine, hwaddr addr, uint64_t value)
{
    as_store(&machine->mem, addr, 8, value);
}

#define WAIT_NS (10 * NS_PER_SEC)

static void nothing(void *opaque)
{
}

void test_wait(Machine *machine, bool (*cond)(void *opaque), void *opaque)
{
    int64_t end = clock_now(VM_CLOCK_HOST) + WAIT_NS;
    Timer limit;
    timer_init(&limit, machine->loop, VM_CLOCK_HOST, nothing, NULL);
    timer_arm(&limit, end);
    while (!cond(opaque)) {
        g_assert_cmpint(clock_now(VM_CLOCK_HOST), <, end);
        loop_step(machine->loop, true);
    }
    timer_cancel(&limit);
}
