/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * savevm, loadvm, delvm.  The machine is frozen, then a coroutine waits for its disks and moves the
 * state: accel/snapshot.c makes bytes of the machine, block/blk-snapshots.c keeps them.
 *
 * RAM goes straight between the guest's memory and the image; only what is before it (clocks, CPUs,
 * devices, the list of the parts that are stored) is built in memory.
 */
#include "monitor/savevm.h"

#include <string.h>
#include <time.h>

#include "accel/snapshot.h"
#include "block/block.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/timer.h"

enum { PIECE = 4 << 20 }; /* bytes of RAM that are moved at once */

typedef struct Work {
    Machine *machine;
    BlkSnapshots *disks;
    char *name;
    bool frozen;
    ThawResult result;
    GError *error;
    SavevmDone *done;
    void *opaque;
} Work;

static void work_ended(void *opaque)
{
    Work *w = opaque;
    if (w->result == THAW_BROKEN)
        machine_reset_now(w->machine); /* no device stays half loaded */
    if (w->frozen)
        machine_thaw(w->machine, w->result);
    if (w->disks)
        blk_snapshots_give(w->disks);
    w->done(w->opaque, w->error);
    g_free(w->name);
    g_free(w);
}

/* status: MACHINE_RUNNING: the machine goes on meanwhile. */
static void work_start(Machine *machine, const char *what, const char *name, MachineStatus status,
                       void (*fn)(void *opaque), SavevmDone *done, void *opaque)
{
    Work *w = g_new0(Work, 1);
    w->machine = machine;
    w->name = g_strdup(name);
    w->done = done;
    w->opaque = opaque;
    w->disks = blk_snapshots_take(what, &w->error);
    if (w->disks && status != MACHINE_RUNNING)
        w->frozen = machine_freeze(machine, status, &w->error);
    if (w->error)
        work_ended(w);
    else
        blk_snapshots_run(w->disks, fn, work_ended, w);
}

/* ---- Save ---- */

static bool write_ram(Work *w, const GArray *runs, uint64_t *at)
{
    for (guint i = 0; i < runs->len; i++) {
        const SnapshotRun *run = &g_array_index(runs, SnapshotRun, i);
        for (uint64_t done = 0, n; done < run->bytes; done += n, *at += n) {
            n = MIN(run->bytes - done, (uint64_t)PIECE);
            int ret = blk_snapshots_write(w->disks, *at, run->block->host + run->offset + done, n);
            if (ret)
                return fail_errno(&w->error, -ret, "cannot write the state of the machine");
        }
    }
    return true;
}

static void save_held(Work *w)
{
    g_autoptr(GByteArray) head = g_byte_array_new();
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(SnapshotRun));
    if (!snapshot_save(w->machine, head, runs, &w->error))
        return;
    uint64_t at = head->len;
    int ret = blk_snapshots_write(w->disks, 0, head->data, at);
    if (ret)
        fail_errno(&w->error, -ret, "cannot write the state of the machine");
    else if (write_ram(w, runs, &at))
        blk_snapshots_create(w->disks, w->name, at, clock_now(VM_CLOCK_VIRTUAL), &w->error);
    if (w->error)
        blk_snapshots_drop_state(w->disks);
}

static void save_run(void *opaque)
{
    Work *w = opaque;
    blk_snapshots_hold(w->disks, true);
    save_held(w);
    blk_snapshots_release(w->disks);
}

void savevm_save(Machine *machine, const char *name, SavevmDone *done, void *opaque)
{
    char now[32];
    time_t when = (time_t)(g_get_real_time() / G_USEC_PER_SEC);
    struct tm tm;
    if (!name && localtime_r(&when, &tm)) {
        strftime(now, sizeof(now), "vm-%Y%m%d%H%M%S", &tm);
        name = now;
    }
    work_start(machine, "savevm", name, MACHINE_SAVE_VM, save_run, done, opaque);
}

/* ---- Load ---- */

static bool read_state(Work *w, uint64_t at, void *data, uint64_t bytes)
{
    int ret = blk_snapshots_read(w->disks, at, data, bytes);
    return !ret || fail_errno(&w->error, -ret, "cannot read the state of the machine");
}

/* All before the RAM; *length includes the padding. */
static uint8_t *read_head(Work *w, uint64_t state_bytes, uint64_t *length)
{
    g_autofree uint8_t *first = g_malloc(SNAPSHOT_ALIGN);
    if (!read_state(w, 0, first, SNAPSHOT_ALIGN) || !snapshot_length(first, length, &w->error))
        return NULL;
    g_autofree uint8_t *head = *length <= state_bytes ? g_try_malloc(*length) : NULL;
    if (!head) {
        fail(&w->error, "the snapshot is cut short");
        return NULL;
    }
    return read_state(w, 0, head, *length) ? g_steal_pointer(&head) : NULL;
}

static bool read_ram(Work *w, const GArray *runs, uint64_t at)
{
    for (guint i = 0; i < runs->len; i++) {
        const SnapshotRun *run = &g_array_index(runs, SnapshotRun, i);
        for (uint64_t done = 0, n; done < run->bytes; done += n, at += n) {
            n = MIN(run->bytes - done, (uint64_t)PIECE);
            if (!read_state(w, at, run->block->host + run->offset + done, n))
                return false;
        }
    }
    return true;
}

/* Disks change when all else is in place: what fails before costs no more than this run of the
 * guest. */
static bool load_held(Work *w)
{
    uint64_t state_bytes, length;
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(SnapshotRun));
    if (!blk_snapshots_open(w->disks, w->name, &state_bytes, &w->error))
        return false;
    g_autofree uint8_t *head = read_head(w, state_bytes, &length);
    if (!head || !snapshot_check(w->machine, head, length, runs, &w->error))
        return false;
    w->result = THAW_BROKEN;
    snapshot_clear(w->machine, runs);
    return read_ram(w, runs, length) && snapshot_load(w->machine, head, length, &w->error) &&
           blk_snapshots_apply(w->disks, w->name, &w->error);
}

static void load_run(void *opaque)
{
    Work *w = opaque;
    blk_snapshots_hold(w->disks, true);
    if (load_held(w))
        w->result = THAW_RESTORED;
    blk_snapshots_release(w->disks);
}

void savevm_load(Machine *machine, const char *name, SavevmDone *done, void *opaque)
{
    work_start(machine, "loadvm", name, MACHINE_RESTORE_VM, load_run, done, opaque);
}

typedef struct Wait {
    bool done;
    GError *error;
} Wait;

static void wait_done(void *opaque, GError *error)
{
    Wait *wait = opaque;
    wait->done = true;
    wait->error = error;
}

bool savevm_load_now(Machine *machine, const char *name, GError **error)
{
    Wait wait = {0};
    savevm_load(machine, name, wait_done, &wait);
    while (!wait.done)
        loop_step(machine->loop, true);
    if (!wait.error)
        return true;
    g_propagate_error(error, wait.error);
    return false;
}

/* ---- Delete ---- */

static void delete_run(void *opaque)
{
    Work *w = opaque;
    blk_snapshots_hold(w->disks, false);
    blk_snapshots_delete(w->disks, w->name, &w->error);
    blk_snapshots_release(w->disks);
}

void savevm_delete(Machine *machine, const char *name, SavevmDone *done, void *opaque)
{
    work_start(machine, "delvm", name, MACHINE_RUNNING, delete_run, done, opaque);
}
