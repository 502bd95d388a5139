/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gdb stub: connection, packets, running and stopping.  (gdb manual, E.1 "Overview".)
 *
 * All-stop: whatever stops one CPU pauses the machine, and gdb gets one stop reply.  While gdb
 * waits for one, any other pause (monitor, disk error, the end) makes one, too.
 */
#include "gdb_private.h"

#include "util/error.h"
#include "util/log.h"

/* gdb's own numbers (include/gdb/signals.def). */
enum { SIGNAL_INT = 2, SIGNAL_QUIT = 3, SIGNAL_TRAP = 5, SIGNAL_ABRT = 6, SIGNAL_IO = 23 };

static Gdb *the_gdb;

/* ---- Output ---- */

static void flush(Gdb *gdb)
{
    if (!gdb->out->len)
        return;
    size_t taken = chr_write(gdb->chr, gdb, gdb->out->str, gdb->out->len);
    g_string_erase(gdb->out, 0, (gssize)taken);
}

void gdb_reply(Gdb *gdb, const char *text, size_t length)
{
    uint8_t sum = 0;
    g_string_assign(gdb->last, "$");
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '$' || c == '#' || c == '}' || c == '*') {
            g_string_append_c(gdb->last, '}');
            sum = (uint8_t)(sum + '}');
            c ^= 0x20;
        }
        g_string_append_c(gdb->last, c);
        sum = (uint8_t)(sum + (uint8_t)c);
    }
    g_string_append_printf(gdb->last, "#%02x", sum);
    g_string_append_len(gdb->out, gdb->last->str, (gssize)gdb->last->len);
    flush(gdb);
}

void gdb_reply_text(Gdb *gdb, const char *text)
{
    gdb_reply(gdb, text, strlen(text));
}

void gdb_reply_error(Gdb *gdb, unsigned number)
{
    char text[4];
    g_snprintf(text, sizeof(text), "E%02x", number & 0xff);
    gdb_reply_text(gdb, text);
}

/* ---- Hex ---- */

bool gdb_parse_hex(const char **text, uint64_t *value)
{
    const char *start = *text;
    *value = 0;
    while (g_ascii_isxdigit(**text))
        *value = *value << 4 | (uint64_t)g_ascii_xdigit_value(*(*text)++);
    return *text != start;
}

size_t gdb_parse_bytes(const char *text, uint8_t *bytes, size_t limit)
{
    size_t count = 0;
    while (count < limit && g_ascii_isxdigit(text[0]) && g_ascii_isxdigit(text[1])) {
        bytes[count++] =
            (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
        text += 2;
    }
    return count;
}

void gdb_append_bytes(GString *out, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        g_string_append_printf(out, "%02x", ((const uint8_t *)bytes)[i]);
}

int gdb_parse_thread(Gdb *gdb, const char **text)
{
    uint64_t number;
    if (g_str_has_prefix(*text, "-1")) {
        *text += 2;
        return -1;
    }
    if (!gdb_parse_hex(text, &number))
        return -2;
    /* Thread 0 is any: the one in hand. */
    if (!number)
        return (int)gdb->cpu;
    return number <= gdb->machine->cpu_count ? (int)number - 1 : -2;
}

/* ---- State of CPUs ---- */

CpuState *gdb_state(Gdb *gdb, unsigned cpu)
{
    if (!gdb->states[cpu]) {
        gdb->states[cpu] = g_new0(CpuState, 1);
        if (!vcpu_get_state(gdb->machine->cpus[cpu], gdb->states[cpu]))
            g_clear_pointer(&gdb->states[cpu], g_free);
    }
    return gdb->states[cpu];
}

bool gdb_push(Gdb *gdb, unsigned cpu)
{
    return gdb->states[cpu] && vcpu_set_state(gdb->machine->cpus[cpu], gdb->states[cpu]);
}

void gdb_forget_states(Gdb *gdb)
{
    for (unsigned i = 0; i < gdb->machine->cpu_count; i++)
        g_clear_pointer(&gdb->states[i], g_free);
}

/* ---- Running ---- */

/* gdb takes a breakpoint away before it steps over it; but not where CS has a base, since it takes
 * RIP for the address. */
static void leave_out_own(Gdb *gdb, unsigned i, GArray *points)
{
    const CpuState *state = gdb_state(gdb, i);
    uint64_t base = state && cpu_state_code_bits(state) < 64 ? state->seg[SEG_CS].base : 0;
    for (unsigned n = points->len; base && n-- > 0;) {
        const DebugPoint *point = &g_array_index(points, DebugPoint, n);
        if (point->kind <= DEBUG_HW_BREAK && point->address == (uint32_t)(base + state->rip))
            g_array_remove_index(points, n);
    }
}

/* Gives CPU i the points and what it does next. */
static bool apply(Gdb *gdb, unsigned i, GdbAction action, bool over_break)
{
    g_autoptr(GArray) points = g_array_copy(gdb->points);
    if (action == GDB_STEP)
        leave_out_own(gdb, i, points);
    DebugState state = {
        .points = (const DebugPoint *)(const void *)points->data,
        .count = points->len,
        .over_break = over_break,
        .single_step = action == GDB_STEP,
    };
    gdb->machine->cpus[i]->held = action == GDB_HOLD;
    return vcpu_set_debug(gdb->machine->cpus[i], &state);
}

bool gdb_apply_points(Gdb *gdb)
{
    bool ok = true;
    for (unsigned i = 0; i < gdb->machine->cpu_count && ok; i++)
        ok = apply(gdb, i, GDB_RUN, false);
    return ok;
}

void gdb_forget_points(Gdb *gdb)
{
    g_array_set_size(gdb->points, 0);
    gdb_apply_points(gdb);
}

bool gdb_resume(Gdb *gdb, const GdbAction *actions)
{
    bool ok = true;
    const Vcpu *told = gdb->stopped && gdb->stopped->debug_stop == STOP_BREAK ? gdb->stopped : NULL;
    gdb->stopped = NULL;
    for (unsigned i = 0; i < gdb->machine->cpu_count && ok; i++)
        ok = apply(gdb, i, actions[i], gdb->machine->cpus[i] == told) || actions[i] != GDB_STEP;
    gdb_forget_states(gdb);
    g_autoptr(GError) error = NULL;
    ok = ok && machine_resume(gdb->machine, &error);
    if (error)
        log_printf(LOG_GUEST_ERROR, "gdb: %s", error->message);
    gdb->waiting = ok;
    return ok;
}

/* ---- Stopping ---- */

static unsigned stop_signal(const Gdb *gdb)
{
    switch (gdb->machine->status) {
    case MACHINE_SHUTDOWN:
        return SIGNAL_QUIT;
    case MACHINE_IO_ERROR:
        return SIGNAL_IO;
    case MACHINE_INTERNAL_ERROR:
        return SIGNAL_ABRT;
    default:
        return gdb->stopped || !gdb->waiting ? SIGNAL_TRAP : SIGNAL_INT;
    }
}

void gdb_reply_stop(Gdb *gdb)
{
    static const char *const kinds[] = {
        [STOP_WRITE] = "watch", [STOP_READ] = "rwatch", [STOP_ACCESS] = "awatch"};
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_printf(text, "T%02xthread:%02x;", stop_signal(gdb), gdb_thread(gdb->cpu));
    if (gdb->stopped && kinds[gdb->stopped->debug_stop])
        g_string_append_printf(text, "%s:%" G_GINT64_MODIFIER "x;", kinds[gdb->stopped->debug_stop],
                               gdb->stopped->debug_address);
    gdb_reply(gdb, text->str, text->len);
}

/* From the main loop: the pause may have been asked for by a CPU's thread. */
static void report_stop(void *opaque)
{
    Gdb *gdb = opaque;
    if (!gdb->connected || !gdb->waiting || gdb->machine->status == MACHINE_RUNNING)
        return;
    if (gdb->stopped)
        gdb->cpu = gdb->step_cpu = gdb->stopped->index;
    gdb_forget_states(gdb);
    gdb_apply_points(gdb); /* without holds and steps, for whoever lets the guest run next */
    gdb_reply_stop(gdb);
    gdb->waiting = false;
}

static void status_changed(void *opaque, Machine *machine, MachineStatus status)
{
    Gdb *gdb = the_gdb;
    if (!gdb)
        return;
    if (status == MACHINE_SAVE_VM || status == MACHINE_RESTORE_VM)
        return; /* it goes on by itself, or its next status tells */
    if (status != MACHINE_RUNNING)
        bh_schedule(gdb->stop_bh);
    else
        gdb_forget_states(gdb);
}

static void cpu_stopped(Vcpu *cpu)
{
    if (the_gdb && !the_gdb->stopped)
        the_gdb->stopped = cpu;
}

/* ---- Input ---- */

static void finish_packet(Gdb *gdb)
{
    bool good = gdb->no_ack || gdb->sum == gdb->sum_sent;
    gdb->input = GDB_IDLE;
    if (!gdb->no_ack)
        g_string_append_c(gdb->out, good ? '+' : '-');
    if (good && gdb->too_long)
        gdb_reply_error(gdb, 22);
    else if (good && !gdb->waiting) {
        gdb->busy = true;
        gdb_command(gdb, gdb->packet->str, gdb->packet->len);
        gdb->busy = false;
    }
    flush(gdb);
}

static void feed_idle(Gdb *gdb, uint8_t c)
{
    switch (c) {
    case '$':
        gdb->input = GDB_BODY;
        gdb->sum = 0;
        gdb->too_long = false;
        g_string_truncate(gdb->packet, 0);
        break;
    case '-':
        if (!gdb->no_ack)
            g_string_append_len(gdb->out, gdb->last->str, (gssize)gdb->last->len);
        break;
    case 3: /* Ctrl-C */
        if (gdb->waiting)
            machine_pause(gdb->machine, MACHINE_PAUSED);
        break;
    default:
        break;
    }
}

static void feed_body(Gdb *gdb, uint8_t c)
{
    if (c == '#') {
        gdb->input = GDB_SUM1;
        return;
    }
    if (c == '$') { /* the packet before was cut short */
        feed_idle(gdb, c);
        return;
    }
    gdb->sum = (uint8_t)(gdb->sum + c);
    if (gdb->packet->len < GDB_PACKET_MAX)
        g_string_append_c(gdb->packet, (char)c);
    else
        gdb->too_long = true;
}

static void feed(Gdb *gdb, uint8_t c)
{
    int digit = g_ascii_xdigit_value((char)c);
    switch (gdb->input) {
    case GDB_IDLE:
        feed_idle(gdb, c);
        break;
    case GDB_BODY:
        feed_body(gdb, c);
        break;
    case GDB_SUM1:
        gdb->sum_sent = (uint8_t)((unsigned)digit << 4);
        gdb->input = digit < 0 ? GDB_IDLE : GDB_SUM2;
        break;
    case GDB_SUM2:
        gdb->sum_sent |= (uint8_t)(digit & 0xf);
        if (digit < 0)
            gdb->input = GDB_IDLE;
        else
            finish_packet(gdb);
        break;
    }
}

/* ---- The chardev's side ---- */

static size_t can_receive(void *opaque)
{
    const Gdb *gdb = opaque;
    return gdb->out->len < 4 * GDB_PACKET_MAX ? 4096 : 0;
}

static void receive(void *opaque, const uint8_t *buf, size_t length)
{
    Gdb *gdb = opaque;
    for (size_t i = 0; i < length; i++)
        feed(gdb, buf[i]);
    flush(gdb);
}

static void peer_came(Gdb *gdb)
{
    gdb->no_ack = gdb->waiting = gdb->physical = false;
    gdb->input = GDB_IDLE;
    gdb->cpu = gdb->step_cpu = 0;
    gdb->stopped = NULL;
    g_string_truncate(gdb->out, 0);
    g_string_truncate(gdb->last, 0);
    machine_pause(gdb->machine,
                  gdb->machine->status == MACHINE_RUNNING ? MACHINE_PAUSED : gdb->machine->status);
    gdb_forget_states(gdb);
    /* Those of the CPU's widest mode, whichever it is in: gdb asks once. */
    gdb->wide = gdb->machine->hooks.has_long_mode;
    gdb->connected = true;
}

/* A gdb that went without a word leaves no breakpoints. */
static void peer_went(Gdb *gdb)
{
    gdb->connected = gdb->waiting = false;
    gdb_forget_states(gdb);
    gdb_forget_points(gdb);
}

static void event(void *opaque, ChrEvent what)
{
    Gdb *gdb = opaque;
    switch (what) {
    case CHR_OPENED:
        peer_came(gdb);
        break;
    case CHR_CLOSED:
        if (gdb->connected)
            peer_went(gdb);
        break;
    case CHR_WRITABLE:
        flush(gdb);
        chr_accept_input(gdb->chr, gdb);
        break;
    default:
        break;
    }
}

static const ChrHandlers handlers = {can_receive, receive, event};

/* ---- Life ---- */

static void gdb_free(Gdb *gdb)
{
    if (gdb->chr) {
        chr_detach(gdb->chr, gdb);
        if (gdb->own_chr)
            chr_close(gdb->chr);
    }
    bh_free(gdb->stop_bh);
    gdb_forget_states(gdb);
    g_free(gdb->states);
    g_array_free(gdb->points, TRUE);
    g_string_free(gdb->out, TRUE);
    g_string_free(gdb->last, TRUE);
    g_string_free(gdb->packet, TRUE);
    g_free(gdb);
    gdb_registers_free();
}

void gdb_close(void)
{
    Gdb *gdb = g_steal_pointer(&the_gdb);
    if (!gdb)
        return;
    vcpu_set_debugger(NULL);
    if (gdb->connected) {
        char text[4];
        g_snprintf(text, sizeof(text), "W%02x", (unsigned)gdb->machine->exit_code & 0xff);
        gdb_reply_text(gdb, text);
    }
    if (machine_engine(gdb->machine))
        gdb_forget_points(gdb);
    gdb_free(gdb);
}

/* Sockets wait for gdb; nobody waits for them. */
static char *complete_spec(const char *spec)
{
    bool tcp = g_str_has_prefix(spec, "tcp:"), local = g_str_has_prefix(spec, "unix:");
    if ((!tcp && !local) || strstr(spec, ",server"))
        return g_strdup(spec);
    return g_strconcat(spec, ",server=on,wait=off", tcp ? ",nodelay=on" : "", NULL);
}

static bool open_chardev(Gdb *gdb, const char *spec, GError **error)
{
    g_autofree char *whole = complete_spec(spec);
    GError *failure = NULL;
    gdb->own_chr = !g_str_has_prefix(spec, "chardev:");
    gdb->chr = chr_open("-gdb", whole, "gdb", &failure);
    if (failure) {
        g_propagate_error(error, failure);
        return false;
    }
    if (gdb->chr && !chr_attach(gdb->chr, &handlers, gdb, error)) {
        if (gdb->own_chr)
            chr_close(gdb->chr);
        gdb->chr = NULL;
        return false;
    }
    return true;
}

bool gdb_open(Machine *machine, const char *spec, GError **error)
{
    static bool listening;
    const CpuEngine *engine = machine_engine(machine);
    if (the_gdb && the_gdb->busy)
        return fail(error, "gdb cannot close its own connection: detach first");
    gdb_close();
    if (!strcmp(spec, "none"))
        return true;
    if (!engine || !engine->pull)
        return fail(error, "-gdb: the engine %s has no CPUs to debug", engine ? engine->name : "");
    Gdb *gdb = g_new0(Gdb, 1);
    gdb->machine = machine;
    gdb->out = g_string_new(NULL);
    gdb->last = g_string_new(NULL);
    gdb->packet = g_string_new(NULL);
    gdb->points = g_array_new(FALSE, FALSE, sizeof(DebugPoint));
    gdb->states = g_new0(CpuState *, machine->cpu_count);
    gdb->stop_bh = bh_new(machine->loop, report_stop, gdb);
    the_gdb = gdb;
    if (!open_chardev(gdb, spec, error)) {
        the_gdb = NULL;
        gdb_free(gdb);
        return false;
    }
    vcpu_set_debugger(cpu_stopped);
    if (!listening)
        machine_add_status_listener(machine, status_changed, NULL);
    listening = true;
    return true;
}
