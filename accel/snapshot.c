/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine as bytes, and back; the format is in the header. */
#include "accel/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/core/state.h"
#include "hw/core/vcpu.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/timer.h"

static const char magic[8] = {'V', 'M', 'R', 'U', 'N', 'V', 'M', '1'};

enum {
    MOST_BYTES = 256 << 20, /* of all but RAM: every other unit of a TiB would not be more */
    EVENTS = VCPU_REQ_SMI | VCPU_REQ_INIT | VCPU_REQ_SIPI, /* an NMI is in CpuState */
};

/* ---- The machine's own, and a CPU's ---- */

typedef struct MachineRecord {
    uint32_t cpus;
    bool a20, has_clock;
    int64_t virtual_ns;
    uint64_t clock_ns; /* CpuEngine.get_clock() */
} MachineRecord;

static const StateField machine_fields[] = {
    STATE_U(MachineRecord, cpus, 0),      STATE_U(MachineRecord, a20, 1),
    STATE_U(MachineRecord, has_clock, 0), STATE_U(MachineRecord, virtual_ns, 0),
    STATE_U(MachineRecord, clock_ns, 0),  STATE_END,
};
static const StateDesc machine_desc = {"machine", 1, sizeof(MachineRecord), machine_fields};

typedef struct VcpuRecord {
    CpuState state;
    uint32_t events; /* requests that wait */
    uint8_t sipi_vector;
} VcpuRecord;

static const StateField vcpu_fields[] = {
    STATE_STRUCT(VcpuRecord, state, &cpu_state_desc),
    STATE_U(VcpuRecord, events, 0),
    STATE_U(VcpuRecord, sipi_vector, 0),
    STATE_END,
};
static const StateDesc vcpu_desc = {"vcpu", 1, sizeof(VcpuRecord), vcpu_fields};

static void put(GByteArray *out, uint64_t value, unsigned bytes)
{
    uint8_t data[8];
    st64_le(data, value);
    g_byte_array_append(out, data, bytes);
}

static void put_name(GByteArray *out, const char *name)
{
    size_t length = MIN(strlen(name), 255);
    put(out, length, 1);
    g_byte_array_append(out, (const uint8_t *)name, (guint)length);
}

static void save_machine(Machine *machine, GByteArray *out)
{
    const CpuEngine *engine = machine_engine(machine);
    MachineRecord record = {
        .cpus = machine->cpu_count, .a20 = machine->a20, .virtual_ns = clock_now(VM_CLOCK_VIRTUAL)};
    if (engine->get_clock)
        record.has_clock = engine->get_clock(machine, &record.clock_ns);
    state_save(&machine_desc, &record, out);
}

static bool save_cpus(Machine *machine, GByteArray *out, GError **error)
{
    g_autofree VcpuRecord *record = g_new(VcpuRecord, 1);
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        Vcpu *cpu = machine->cpus[i];
        memset(record, 0, sizeof(*record));
        if (!vcpu_get_state(cpu, &record->state))
            return fail(error, "the state of CPU %u cannot be read", i);
        record->events = __atomic_load_n(&cpu->requests, __ATOMIC_ACQUIRE) & EVENTS;
        record->sipi_vector = cpu->sipi_vector;
        state_save(&vcpu_desc, record, out);
    }
    return true;
}

/* ---- RAM ---- */

static void add_unit(RamBlock *block, uint64_t offset, uint64_t bytes, guint first, GArray *runs)
{
    SnapshotRun *last = runs->len > first ? &g_array_index(runs, SnapshotRun, runs->len - 1) : NULL;
    if (last && last->offset + last->bytes == offset) {
        last->bytes += bytes;
        return;
    }
    SnapshotRun run = {block, offset, bytes};
    g_array_append_val(runs, run);
}

/* Reading what was never touched would give it memory: the host tells where that is. */
static void find_runs(RamBlock *block, GArray *runs)
{
    guint first = runs->len;
    off_t at = 0, size = (off_t)block->size;
    while (at < size) {
        off_t data = lseek(block->fd, at, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(block->fd, data, SEEK_HOLE);
        if (data < 0 && errno == ENXIO)
            return;
        at = data < 0 ? at : MAX(at, (off_t)align_down((uint64_t)data, SNAPSHOT_ALIGN));
        for (off_t end = hole < 0 ? size : MIN(hole, size); at < end; at += SNAPSHOT_ALIGN) {
            uint64_t bytes = MIN(SNAPSHOT_ALIGN, (uint64_t)(size - at));
            if (!buffer_is_zero(block->host + at, bytes))
                add_unit(block, (uint64_t)at, bytes, first, runs);
        }
    }
}

static void save_ram(GByteArray *out, GArray *runs)
{
    GPtrArray *blocks = ram_blocks();
    put(out, blocks->len, 4);
    for (guint i = 0; i < blocks->len; i++) {
        RamBlock *block = g_ptr_array_index(blocks, i);
        guint first = runs->len;
        find_runs(block, runs);
        put_name(out, block->name);
        put(out, block->size, 8);
        put(out, runs->len - first, 4);
        for (guint n = first; n < runs->len; n++) {
            put(out, g_array_index(runs, SnapshotRun, n).offset, 8);
            put(out, g_array_index(runs, SnapshotRun, n).bytes, 8);
        }
    }
}

bool snapshot_save(Machine *machine, GByteArray *out, GArray *runs, GError **error)
{
    guint start = out->len;
    g_byte_array_append(out, (const uint8_t *)magic, sizeof(magic));
    put(out, 0, 8);
    put_name(out, machine_engine(machine)->name);
    save_machine(machine, out);
    if (!save_cpus(machine, out, error))
        return false;
    save_ram(out, runs);
    machine_save_devices(machine, out);
    st64_le(out->data + start + sizeof(magic), out->len - start - SNAPSHOT_HEAD);
    guint end = out->len;
    g_byte_array_set_size(out, start + (guint)align_up(end - start, SNAPSHOT_ALIGN));
    memset(out->data + end, 0, out->len - end);
    return true;
}

/* ---- Back ---- */

typedef struct Reader {
    const uint8_t *at, *end;
} Reader;

static bool get(Reader *reader, uint64_t *value, unsigned bytes, GError **error)
{
    *value = 0;
    if ((size_t)(reader->end - reader->at) < bytes)
        return fail(error, "the snapshot is cut short");
    *value = ldn_le(reader->at, bytes);
    reader->at += bytes;
    return true;
}

/* name: 256 bytes. */
static bool get_name(Reader *reader, char *name, GError **error)
{
    uint64_t length;
    if (!get(reader, &length, 1, error))
        return false;
    if ((size_t)(reader->end - reader->at) < length)
        return fail(error, "the snapshot is cut short");
    memcpy(name, reader->at, length);
    name[length] = 0;
    reader->at += length;
    return true;
}

bool snapshot_length(const uint8_t *head, uint64_t *length, GError **error)
{
    uint64_t bytes = ld64_le(head + sizeof(magic));
    if (memcmp(head, magic, sizeof(magic)))
        return fail(error, "the state of the machine in this snapshot is not vmrun's");
    if (bytes > MOST_BYTES)
        return fail(error, "the snapshot's head is damaged");
    *length = align_up(SNAPSHOT_HEAD + bytes, SNAPSHOT_ALIGN);
    return true;
}

static bool begin(Reader *reader, Machine *machine, const uint8_t *data, uint64_t length,
                  MachineRecord *record, GError **error)
{
    char engine[256];
    uint64_t whole;
    if (!snapshot_length(data, &whole, error))
        return false;
    *reader = (Reader){data + SNAPSHOT_HEAD, data + SNAPSHOT_HEAD + ld64_le(data + sizeof(magic))};
    if (whole > length)
        return fail(error, "the snapshot is cut short");
    if (!get_name(reader, engine, error))
        return false;
    if (strcmp(engine, machine_engine(machine)->name))
        return fail(error, "it was saved with -accel %s, and this is %s", engine,
                    machine_engine(machine)->name);
    if (!state_load(&machine_desc, record, &reader->at, reader->end, error))
        return false;
    return record->cpus == machine->cpu_count ||
           fail(error, "it was saved with %u CPUs, and this machine has %u", record->cpus,
                machine->cpu_count);
}

static bool read_run(Reader *reader, RamBlock *block, uint64_t *end, GArray *runs, GError **error)
{
    SnapshotRun run = {.block = block};
    if (!get(reader, &run.offset, 8, error) || !get(reader, &run.bytes, 8, error))
        return false;
    if ((run.offset | run.bytes) % RAM_PAGE_SIZE || !run.bytes || run.offset < *end ||
        run.offset > block->size || run.bytes > block->size - run.offset)
        return fail(error, "the snapshot is damaged: a part of '%s' lies outside", block->name);
    *end = run.offset + run.bytes;
    g_array_append_val(runs, run);
    return true;
}

static bool read_block(Reader *reader, RamBlock *block, GArray *runs, GError **error)
{
    char name[256];
    uint64_t size, count, end = 0;
    if (!get_name(reader, name, error) || !get(reader, &size, 8, error) ||
        !get(reader, &count, 4, error))
        return false;
    if (strcmp(name, block->name) || size != block->size)
        return fail(error,
                    "it was saved with memory '%s' of %" G_GUINT64_FORMAT
                    " KiB, where this machine has '%s' of %" G_GUINT64_FORMAT " KiB",
                    name, size >> 10, block->name, block->size >> 10);
    for (uint64_t i = 0; i < count; i++)
        if (!read_run(reader, block, &end, runs, error))
            return false;
    return true;
}

static bool read_ram(Reader *reader, GArray *runs, GError **error)
{
    GPtrArray *blocks = ram_blocks();
    uint64_t count;
    if (!get(reader, &count, 4, error))
        return false;
    if (count != blocks->len)
        return fail(error,
                    "it was saved by a machine with other devices: that had %u memories, this "
                    "has %u",
                    (unsigned)count, blocks->len);
    for (guint i = 0; i < blocks->len; i++)
        if (!read_block(reader, g_ptr_array_index(blocks, i), runs, error))
            return false;
    return true;
}

static bool load_cpu(Vcpu *cpu, const VcpuRecord *record, GError **error)
{
    if (!vcpu_set_state(cpu, &record->state))
        return fail(error, "CPU %u refuses its state", cpu->index);
    vcpu_take(cpu, EVENTS);
    cpu->sipi_vector = record->sipi_vector;
    if (record->events & EVENTS)
        vcpu_request(cpu, record->events & EVENTS);
    return true;
}

/* Where the engine does not look at Machine.smm, the mode sees the system's memory. */
static bool check_cpu(const Machine *machine, const VcpuRecord *record, GError **error)
{
    return !record->state.smm || machine->smm || !machine->hooks.has_smm ||
           fail(error, "a CPU is in system management mode, which this machine does not have: it "
                       "needs -machine smm=on");
}

/* load: into the machine's CPUs; else it is only read. */
static bool read_cpus(Reader *reader, Machine *machine, unsigned count, bool load, GError **error)
{
    g_autofree VcpuRecord *record = g_new0(VcpuRecord, 1);
    for (unsigned i = 0; i < count; i++)
        if (!state_load(&vcpu_desc, record, &reader->at, reader->end, error) ||
            !check_cpu(machine, record, error) ||
            (load && !load_cpu(machine->cpus[i], record, error)))
            return false;
    return true;
}

bool snapshot_check(Machine *machine, const uint8_t *data, uint64_t length, GArray *runs,
                    GError **error)
{
    Reader reader;
    MachineRecord record;
    return begin(&reader, machine, data, length, &record, error) &&
           read_cpus(&reader, machine, record.cpus, false, error) && read_ram(&reader, runs, error);
}

static void zero_range(RamBlock *block, uint64_t from, uint64_t to)
{
    if (from < to && fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                               (off_t)(to - from)) < 0)
        memset(block->host + from, 0, to - from);
}

void snapshot_clear(Machine *machine, const GArray *runs)
{
    GPtrArray *blocks = ram_blocks();
    guint n = 0;
    machine_reset_now(machine);
    for (guint i = 0; i < blocks->len; i++) {
        RamBlock *block = g_ptr_array_index(blocks, i);
        uint64_t at = 0;
        for (; n < runs->len && g_array_index(runs, SnapshotRun, n).block == block; n++) {
            const SnapshotRun *run = &g_array_index(runs, SnapshotRun, n);
            zero_range(block, at, run->offset);
            at = run->offset + run->bytes;
        }
        zero_range(block, at, block->size);
    }
}

bool snapshot_load(Machine *machine, const uint8_t *data, uint64_t length, GError **error)
{
    Reader reader;
    MachineRecord record;
    const CpuEngine *engine = machine_engine(machine);
    GPtrArray *blocks = ram_blocks();
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(SnapshotRun));
    for (guint i = 0; i < blocks->len; i++) {
        RamBlock *block = g_ptr_array_index(blocks, i);
        ram_mark_dirty(block, 0, block->size);
    }
    if (!begin(&reader, machine, data, length, &record, error))
        return false;
    vclock_restore(record.virtual_ns);
    if (engine->set_clock && record.has_clock)
        engine->set_clock(machine, record.clock_ns);
    Reader cpus = reader;
    if (!read_cpus(&reader, machine, record.cpus, false, error) ||
        !read_ram(&reader, runs, error) ||
        !machine_load_devices(machine, reader.at, (size_t)(reader.end - reader.at), error))
        return false;
    machine_set_a20(machine, record.a20);
    return read_cpus(&cpus, machine, record.cpus, true, error);
}
