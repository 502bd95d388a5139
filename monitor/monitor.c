/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor between its chardev, its line editor and the command table. */
#include "monitor/monitor.h"

#include <stdarg.h>

#include "accel/engine.h"
#include "monitor_private.h"
#include "util/error.h"

#define PROMPT "(vmrun) "
/* With so much output waiting for a slow peer no more commands are taken. */
#define OUT_HIGH (1u << 16)

/* ---- Output ---- */

static void flush(Monitor *mon)
{
    if (!mon->chr || !mon->out->len || (chr_is_mux(mon->chr) && !mon->focus))
        return;
    size_t taken = chr_write(mon->chr, mon, mon->out->str, mon->out->len);
    /* A peer that is gone shows in the write, and forget_peer() has been here. */
    g_string_erase(mon->out, 0, (gssize)MIN(taken, mon->out->len));
}

/* Terminals want CR LF. */
static void append(Monitor *mon, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n' && mon->chr)
            g_string_append_c(mon->out, '\r');
        g_string_append_c(mon->out, text[i]);
    }
}

void monitor_printf(Monitor *mon, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    append(mon, text, strlen(text));
}

void mon_print(Monitor *mon, GString *text)
{
    append(mon, text->str, text->len);
    g_string_free(text, TRUE);
}

void mon_error(Monitor *mon, GError *error)
{
    monitor_printf(mon, "Error: %s\n", error->message);
    g_error_free(error);
}

/* ---- Commands that take a while ---- */

static void type_ahead(Monitor *mon);

MonWait *mon_wait_begin(Monitor *mon)
{
    MonWait *wait = g_new0(MonWait, 1);
    wait->mon = mon;
    mon->wait = wait;
    if (mon->editor)
        line_editor_wait(mon->editor, true);
    return wait;
}

/* Whoever waits for it is not told any more. */
static void wait_forget(Monitor *mon)
{
    if (!mon->wait)
        return;
    mon->wait->mon = NULL;
    mon->wait = NULL;
}

void mon_wait_end(MonWait *wait, GError *error)
{
    Monitor *mon = wait->mon;
    g_free(wait);
    if (!mon) {
        g_clear_error(&error);
        return;
    }
    mon->wait = NULL;
    if (error)
        mon_error(mon, error);
    if (!mon->chr)
        return;
    line_editor_wait(mon->editor, false);
    if (mon->in_line) /* the prompt follows */
        return;
    line_editor_show(mon->editor);
    type_ahead(mon);
    flush(mon);
    chr_accept_input(mon->chr, mon);
}

/* ---- The line editor's side ---- */

static void editor_write(void *opaque, const char *text, size_t length)
{
    Monitor *mon = opaque;
    g_string_append_len(mon->out, text, (gssize)length);
}

static void editor_line(void *opaque, const char *line)
{
    Monitor *mon = opaque;
    mon->in_line = true;
    mon_command_run(mon, mon_commands, "", line);
    mon->in_line = false;
}

static const LineEditorOps editor_ops = {editor_write, editor_line, mon_complete};

/* ---- The chardev's side ---- */

static size_t mon_can_receive(void *opaque)
{
    const Monitor *mon = opaque;
    return mon->out->len < OUT_HIGH && !mon->wait ? 256 : 0;
}

/* What stands behind the line of a command that takes a while is read when that is over. */
static void type_ahead(Monitor *mon)
{
    guint done = 0;
    while (done < mon->typed->len && !mon->wait)
        line_editor_feed(mon->editor, mon->typed->data[done++]);
    g_byte_array_remove_range(mon->typed, 0, done);
}

static void mon_receive(void *opaque, const uint8_t *buf, size_t length)
{
    Monitor *mon = opaque;
    g_byte_array_append(mon->typed, buf, (guint)length);
    type_ahead(mon);
    flush(mon);
}

static void greet(Monitor *mon)
{
    if (!mon->greeted)
        monitor_printf(mon, "vmrun " VMRUN_VERSION " monitor - type 'help' for more information\n");
    else
        monitor_printf(mon, "\n");
    mon->greeted = true;
    line_editor_show(mon->editor);
}

/* A new peer starts afresh. */
static void forget_peer(Monitor *mon)
{
    mon->greeted = false;
    wait_forget(mon);
    line_editor_wait(mon->editor, false);
    g_byte_array_set_size(mon->typed, 0);
    g_string_truncate(mon->out, 0);
    line_editor_reset(mon->editor);
}

static void mon_event(void *opaque, ChrEvent event)
{
    Monitor *mon = opaque;

    switch (event) {
    case CHR_OPENED:
        forget_peer(mon);
        if (!chr_is_mux(mon->chr) || mon->focus)
            greet(mon);
        break;
    case CHR_MUX_IN:
        mon->focus = true;
        greet(mon);
        break;
    case CHR_MUX_OUT:
        mon->focus = false;
        return;
    case CHR_CLOSED:
        forget_peer(mon);
        return;
    case CHR_WRITABLE:
        flush(mon);
        if (mon->out->len < OUT_HIGH)
            chr_accept_input(mon->chr, mon);
        return;
    case CHR_BREAK:
        return;
    }
    flush(mon);
}

static const ChrHandlers handlers = {mon_can_receive, mon_receive, mon_event};

/* ---- Life ---- */

static void init(Monitor *mon, Machine *machine)
{
    mon->machine = machine;
    mon->out = g_string_new(NULL);
    mon->typed = g_byte_array_new();
    mon->format = (MonFormat){1, 'x', 4};
}

Monitor *monitor_new(Machine *machine, Chardev *chr, GError **error)
{
    Monitor *mon = g_new0(Monitor, 1);

    init(mon, machine);
    mon->chr = chr;
    mon->editor = line_editor_new(PROMPT, &editor_ops, mon);
    if (!chr_attach(chr, &handlers, mon, error)) {
        mon->chr = NULL;
        monitor_free(mon);
        return NULL;
    }
    return mon;
}

void monitor_free(Monitor *mon)
{
    if (!mon)
        return;
    if (mon->chr) {
        flush(mon);
        chr_detach(mon->chr, mon);
    }
    wait_forget(mon);
    line_editor_free(mon->editor);
    g_string_free(mon->out, TRUE);
    g_byte_array_unref(mon->typed);
    g_free(mon);
}

char *monitor_run(Machine *machine, const char *line)
{
    Monitor mon = {0};
    init(&mon, machine);
    mon_command_run(&mon, mon_commands, "", line);
    while (mon.wait)
        loop_step(machine->loop, true);
    g_byte_array_unref(mon.typed);
    return g_string_free(mon.out, FALSE);
}

/* ---- CPUs ---- */

Vcpu *mon_cpu(Monitor *mon)
{
    const CpuEngine *engine = machine_engine(mon->machine);

    if (!engine || !engine->pull || mon->cpu_index >= mon->machine->cpu_count) {
        monitor_printf(mon, "Error: this machine's engine has no CPUs\n");
        return NULL;
    }
    return mon->machine->cpus[mon->cpu_index];
}

CpuState *mon_cpu_state(Monitor *mon)
{
    Vcpu *cpu = mon_cpu(mon);
    CpuState *state = cpu ? g_new0(CpuState, 1) : NULL;

    if (state && !vcpu_get_state(cpu, state)) {
        monitor_printf(mon, "Error: the engine cannot tell the state of CPU %u\n", mon->cpu_index);
        g_clear_pointer(&state, g_free);
    }
    return state;
}
