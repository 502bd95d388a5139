/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gdb stub's packets for registers, memory, breakpoints and running.  (gdb manual, E.2.) */
#include "gdb_private.h"

enum { BAD_FORM = 22, BAD_MEMORY = 14 };

/* ---- Registers ---- */

static void read_all(Gdb *gdb)
{
    const CpuState *state = gdb_state(gdb, gdb->cpu);
    g_autoptr(GString) text = g_string_new(NULL);
    if (!state) {
        gdb_reply_error(gdb, BAD_FORM);
        return;
    }
    for (unsigned i = 0; i < gdb_register_count(gdb->wide); i++)
        gdb_register_read(gdb->wide, state, i, text);
    gdb_reply_text(gdb, text->str);
}

static void write_all(Gdb *gdb, const char *at)
{
    CpuState *state = gdb_state(gdb, gdb->cpu);
    uint8_t value[16];
    for (unsigned i = 0; state && i < gdb_register_count(gdb->wide); i++) {
        unsigned size = gdb_register_size(gdb->wide, i);
        if (gdb_parse_bytes(at, value, size) != size)
            break;
        gdb_register_write(gdb->wide, state, i, value);
        at += size * 2;
    }
    if (state && gdb_push(gdb, gdb->cpu))
        gdb_reply_text(gdb, "OK");
    else
        gdb_reply_error(gdb, BAD_FORM);
}

static void read_one(Gdb *gdb, const char *at)
{
    const CpuState *state = gdb_state(gdb, gdb->cpu);
    g_autoptr(GString) text = g_string_new(NULL);
    uint64_t number;
    if (state && gdb_parse_hex(&at, &number) && number < gdb_register_count(gdb->wide) &&
        gdb_register_read(gdb->wide, state, (unsigned)number, text))
        gdb_reply_text(gdb, text->str);
    else
        gdb_reply_error(gdb, BAD_FORM);
}

static void write_one(Gdb *gdb, const char *at)
{
    CpuState *state = gdb_state(gdb, gdb->cpu);
    uint64_t number;
    uint8_t value[16];
    bool ok = state && gdb_parse_hex(&at, &number) && *at++ == '=' &&
              number < gdb_register_count(gdb->wide);
    unsigned size = ok ? gdb_register_size(gdb->wide, (unsigned)number) : 0;
    if (ok && gdb_parse_bytes(at, value, size) == size) {
        gdb_register_write(gdb->wide, state, (unsigned)number, value);
        ok = gdb_push(gdb, gdb->cpu);
    } else {
        ok = false;
    }
    if (ok)
        gdb_reply_text(gdb, "OK");
    else
        gdb_reply_error(gdb, BAD_FORM);
}

/* ---- Memory ---- */

static bool read_table(void *opaque, uint64_t addr, void *buf, unsigned length)
{
    Machine *machine = opaque;
    return dma_read(&machine->mem, addr, buf, length) == MEM_OK;
}

/* Page by page; false where nothing is mapped, with what came before done. */
static bool access_memory(Gdb *gdb, uint64_t addr, uint8_t *buf, size_t length, bool write)
{
    Machine *machine = gdb->machine;
    const CpuState *state = gdb->physical ? NULL : gdb_state(gdb, gdb->cpu);
    if (!state && !gdb->physical)
        return false;
    while (length) {
        size_t chunk = MIN(length, RAM_PAGE_SIZE - (addr & (RAM_PAGE_SIZE - 1)));
        uint64_t at = addr;
        if (state && !cpu_state_translate(state, addr, &at, read_table, machine))
            return false;
        MemResult result = write ? as_write(&machine->mem, at, buf, chunk)
                                 : as_read(&machine->mem, at, buf, chunk);
        if (result != MEM_OK)
            return false;
        buf += chunk;
        addr += chunk;
        length -= chunk;
    }
    return true;
}

/* "ADDR,LENGTH" */
static bool parse_range(const char **at, uint64_t *addr, uint64_t *length)
{
    return gdb_parse_hex(at, addr) && *(*at)++ == ',' && gdb_parse_hex(at, length);
}

static void read_memory(Gdb *gdb, const char *at)
{
    uint64_t addr, length;
    uint8_t buf[GDB_PACKET_MAX / 2];
    if (!parse_range(&at, &addr, &length)) {
        gdb_reply_error(gdb, BAD_FORM);
        return;
    }
    length = MIN(length, sizeof(buf));
    /* gdb takes less than it asked for. */
    size_t here = (size_t)MIN(length, RAM_PAGE_SIZE - (addr & (RAM_PAGE_SIZE - 1)));
    if (!access_memory(gdb, addr, buf, (size_t)length, false)) {
        length = here;
        if (!access_memory(gdb, addr, buf, here, false)) {
            gdb_reply_error(gdb, BAD_MEMORY);
            return;
        }
    }
    g_autoptr(GString) text = g_string_new(NULL);
    gdb_append_bytes(text, buf, (size_t)length);
    gdb_reply_text(gdb, text->str);
}

static void finish_write(Gdb *gdb, uint64_t addr, uint8_t *buf, size_t length)
{
    if (!access_memory(gdb, addr, buf, length, true)) {
        gdb_reply_error(gdb, BAD_MEMORY);
        return;
    }
    gdb_reply_text(gdb, "OK");
}

static void write_memory(Gdb *gdb, const char *at)
{
    uint64_t addr, length;
    uint8_t buf[GDB_PACKET_MAX / 2];
    if (parse_range(&at, &addr, &length) && *at++ == ':' && length <= sizeof(buf) &&
        gdb_parse_bytes(at, buf, (size_t)length) == length)
        finish_write(gdb, addr, buf, (size_t)length);
    else
        gdb_reply_error(gdb, BAD_FORM);
}

/* X: bytes as they are, but for those that are escaped. */
static void write_binary(Gdb *gdb, const char *at, const char *end)
{
    uint64_t addr, length;
    uint8_t buf[GDB_PACKET_MAX];
    size_t count = 0;
    if (!parse_range(&at, &addr, &length) || *at++ != ':') {
        gdb_reply_error(gdb, BAD_FORM);
        return;
    }
    for (; at < end; at++) {
        bool escaped = *at == '}' && at + 1 < end;
        at += escaped;
        buf[count++] = (uint8_t)(escaped ? *at ^ 0x20 : *at);
    }
    if (count != length)
        gdb_reply_error(gdb, BAD_FORM);
    else
        finish_write(gdb, addr, buf, count);
}

/* ---- Breakpoints ---- */

static bool same_point(const DebugPoint *a, const DebugPoint *b)
{
    return a->kind == b->kind && a->address == b->address && a->length == b->length;
}

static bool insert_point(Gdb *gdb, const DebugPoint *point)
{
    for (unsigned i = 0; i < gdb->points->len; i++)
        if (same_point(&g_array_index(gdb->points, DebugPoint, i), point))
            return true;
    if (gdb->points->len == DEBUG_POINTS_MAX)
        return false;
    g_array_append_val(gdb->points, *point);
    if (gdb_apply_points(gdb))
        return true;
    g_array_set_size(gdb->points, gdb->points->len - 1);
    gdb_apply_points(gdb);
    return false;
}

static bool remove_point(Gdb *gdb, const DebugPoint *point)
{
    for (unsigned i = 0; i < gdb->points->len; i++)
        if (same_point(&g_array_index(gdb->points, DebugPoint, i), point)) {
            g_array_remove_index(gdb->points, i);
            gdb_apply_points(gdb);
            return true;
        }
    return false;
}

/* "TYPE,ADDR,KIND" */
static void change_point(Gdb *gdb, const char *at, bool insert)
{
    DebugPoint point = {0};
    uint64_t type;
    if (!machine_engine(gdb->machine)->set_debug) {
        gdb_reply_text(gdb, "");
        return;
    }
    if (!gdb_parse_hex(&at, &type) || *at++ != ',' ||
        !parse_range(&at, &point.address, &point.length)) {
        gdb_reply_error(gdb, BAD_FORM);
        return;
    }
    if (type > DEBUG_ACCESS) {
        gdb_reply_text(gdb, "");
        return;
    }
    point.kind = (DebugKind)type; /* gdb's numbers are DebugKind's */
    if (type <= DEBUG_HW_BREAK)
        point.length = 1;
    if (point.length && point.length <= RAM_PAGE_SIZE &&
        (insert ? insert_point(gdb, &point) : remove_point(gdb, &point)))
        gdb_reply_text(gdb, "OK");
    else
        gdb_reply_error(gdb, BAD_FORM);
}

/* ---- Running ---- */

static void go_on(Gdb *gdb, const GdbAction *actions)
{
    if (!gdb_resume(gdb, actions))
        gdb_reply_error(gdb, BAD_FORM);
}

/* s and c with their address, or S and C with a signal, which a processor does not know. */
static void step_or_continue(Gdb *gdb, const char *text)
{
    unsigned count = gdb->machine->cpu_count;
    g_autofree GdbAction *actions = g_new0(GdbAction, count);
    const char *at = text + 1;
    uint64_t address;
    if (g_ascii_isupper(*text)) {
        gdb_parse_hex(&at, &address);
        at += *at == ';';
    }
    CpuState *state = gdb_state(gdb, gdb->step_cpu);
    if (gdb_parse_hex(&at, &address) && state) {
        state->rip = address;
        gdb_push(gdb, gdb->step_cpu);
    }
    bool step = g_ascii_tolower(*text) == 's';
    for (unsigned i = 0; i < count; i++)
        actions[i] = !step ? GDB_RUN : i == gdb->step_cpu ? GDB_STEP : GDB_HOLD;
    go_on(gdb, actions);
}

/* vCont: "ACTION[:THREAD];...", the leftmost that fits each thread. */
static void continue_threads(Gdb *gdb, const char *at)
{
    unsigned count = gdb->machine->cpu_count;
    g_autofree GdbAction *actions = g_new0(GdbAction, count);
    g_autofree bool *decided = g_new0(bool, count);
    while (*at == ';') {
        uint64_t signal;
        char letter = g_ascii_tolower(*++at);
        GdbAction action = letter == 's' ? GDB_STEP : GDB_RUN;
        if (letter != 's' && letter != 'c') {
            gdb_reply_error(gdb, BAD_FORM);
            return;
        }
        if (g_ascii_isupper(*at++))
            gdb_parse_hex(&at, &signal);
        int cpu = -1;
        if (*at == ':') {
            at++;
            cpu = gdb_parse_thread(gdb, &at);
        }
        for (unsigned i = 0; i < count; i++)
            if ((cpu == -1 || cpu == (int)i) && !decided[i]) {
                actions[i] = action;
                decided[i] = true;
            }
    }
    go_on(gdb, actions);
}

static void detach(Gdb *gdb)
{
    g_autofree GdbAction *actions = g_new0(GdbAction, gdb->machine->cpu_count);
    for (unsigned i = 0; i < gdb->machine->cpu_count; i++)
        actions[i] = GDB_RUN;
    gdb_forget_points(gdb);
    gdb_reply_text(gdb, "OK");
    gdb_resume(gdb, actions);
    gdb->waiting = false;
    gdb->connected = false;
}

/* ---- Threads and the rest ---- */

/* Hg: of registers and memory; Hc: of s and c. */
static void choose_thread(Gdb *gdb, const char *at)
{
    char what = *at;
    if (what)
        at++;
    int cpu = gdb_parse_thread(gdb, &at);
    if ((what != 'g' && what != 'c') || cpu == -2) {
        gdb_reply_error(gdb, BAD_FORM);
        return;
    }
    if (cpu >= 0 && what == 'g')
        gdb->cpu = (unsigned)cpu;
    else if (cpu >= 0)
        gdb->step_cpu = (unsigned)cpu;
    gdb_reply_text(gdb, "OK");
}

static void thread_lives(Gdb *gdb, const char *at)
{
    if (gdb_parse_thread(gdb, &at) >= 0)
        gdb_reply_text(gdb, "OK");
    else
        gdb_reply_error(gdb, BAD_FORM);
}

static void long_command(Gdb *gdb, const char *text)
{
    if (!strcmp(text, "vCont?")) {
        gdb_reply_text(gdb, machine_engine(gdb->machine)->set_debug ? "vCont;c;C;s;S" : "");
    } else if (g_str_has_prefix(text, "vCont;")) {
        continue_threads(gdb, text + strlen("vCont"));
    } else if (g_str_has_prefix(text, "vKill;")) {
        gdb_reply_text(gdb, "OK");
        machine_request_shutdown(gdb->machine, SHUTDOWN_HOST);
    } else if (g_str_has_prefix(text, "vAttach;")) {
        gdb->cpu = gdb->step_cpu = 0;
        gdb_reply_stop(gdb);
    } else {
        gdb_reply_text(gdb, "");
    }
}

void gdb_command(Gdb *gdb, const char *text, size_t length)
{
    switch (*text) {
    case '?':
        gdb_reply_stop(gdb);
        break;
    case 'g':
        read_all(gdb);
        break;
    case 'G':
        write_all(gdb, text + 1);
        break;
    case 'p':
        read_one(gdb, text + 1);
        break;
    case 'P':
        write_one(gdb, text + 1);
        break;
    case 'm':
        read_memory(gdb, text + 1);
        break;
    case 'M':
        write_memory(gdb, text + 1);
        break;
    case 'X':
        write_binary(gdb, text + 1, text + length);
        break;
    case 'Z':
    case 'z':
        change_point(gdb, text + 1, *text == 'Z');
        break;
    case 's':
    case 'c':
    case 'S':
    case 'C':
        step_or_continue(gdb, text);
        break;
    case 'D':
        detach(gdb);
        break;
    case 'k':
        machine_request_shutdown(gdb->machine, SHUTDOWN_HOST);
        break;
    case 'H':
        choose_thread(gdb, text + 1);
        break;
    case 'T':
        thread_lives(gdb, text + 1);
        break;
    case 'q':
        gdb_query(gdb, text + 1);
        break;
    case 'Q':
        gdb_set(gdb, text + 1);
        break;
    case 'v':
        long_command(gdb, text);
        break;
    case '!':
        gdb_reply_text(gdb, "OK");
        break;
    default:
        gdb_reply_text(gdb, "");
        break;
    }
}
