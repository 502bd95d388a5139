/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gdb stub's q and Q packets.  (gdb manual, E.4 "General Query Packets".) */
#include "gdb_private.h"

#include "monitor/monitor.h"

/* The part behind prefix, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
    return g_str_has_prefix(text, prefix) ? text + strlen(prefix) : NULL;
}

static void reply_supported(Gdb *gdb)
{
    g_autofree char *text = g_strdup_printf(
        "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+", GDB_PACKET_MAX);
    gdb_reply_text(gdb, text);
}

/* m or l, then that part of the document. */
static void reply_features(Gdb *gdb, const char *at)
{
    uint64_t offset, length;
    const char *xml = gdb_target_xml(gdb->wide);
    size_t size = strlen(xml);
    const char *rest = behind(at, "target.xml:");
    if (!rest || !gdb_parse_hex(&rest, &offset) || *rest++ != ',' ||
        !gdb_parse_hex(&rest, &length)) {
        gdb_reply_text(gdb, "E00");
        return;
    }
    offset = MIN(offset, size);
    length = MIN(MIN(length, GDB_PACKET_MAX / 2), size - offset);
    g_autoptr(GString) text = g_string_new(offset + length < size ? "m" : "l");
    g_string_append_len(text, xml + offset, (gssize)length);
    gdb_reply(gdb, text->str, text->len);
}

/* A few threads a packet. */
static void reply_threads(Gdb *gdb)
{
    enum { PER_PACKET = 64 };
    g_autoptr(GString) text = g_string_new(NULL);
    for (unsigned i = 0; i < PER_PACKET && gdb->listed < gdb->machine->cpu_count; i++)
        g_string_append_printf(text, "%c%02x", i ? ',' : 'm', gdb_thread(gdb->listed++));
    gdb_reply_text(gdb, text->len ? text->str : "l");
}

static void reply_thread_info(Gdb *gdb, const char *at)
{
    int cpu = gdb_parse_thread(gdb, &at);
    if (cpu < 0) {
        gdb_reply_error(gdb, 22);
        return;
    }
    const CpuState *state = gdb_state(gdb, (unsigned)cpu);
    g_autofree char *info = g_strdup_printf("CPU#%d [%s]", cpu,
                                            state && state->waiting_sipi ? "not started"
                                            : state && state->halted     ? "halted"
                                                                         : "running");
    g_autoptr(GString) text = g_string_new(NULL);
    gdb_append_bytes(text, info, strlen(info));
    gdb_reply_text(gdb, text->str);
}

/* `monitor COMMAND`: the output in pieces, then OK. */
static void run_command(Gdb *gdb, const char *at)
{
    g_autofree char *line = g_malloc0(GDB_PACKET_MAX / 2 + 1);
    gdb_parse_bytes(at, (uint8_t *)line, GDB_PACKET_MAX / 2);
    g_autofree char *out = monitor_run(gdb->machine, line);
    size_t size = strlen(out), chunk = GDB_PACKET_MAX / 2 - 1;
    gdb_forget_states(gdb);
    for (size_t i = 0; i < size; i += chunk) {
        g_autoptr(GString) text = g_string_new("O");
        gdb_append_bytes(text, out + i, MIN(chunk, size - i));
        gdb_reply(gdb, text->str, text->len);
    }
    gdb_reply_text(gdb, "OK");
}

void gdb_query(Gdb *gdb, const char *text)
{
    const char *rest;
    if (g_str_has_prefix(text, "Supported")) {
        reply_supported(gdb);
    } else if ((rest = behind(text, "Xfer:features:read:"))) {
        reply_features(gdb, rest);
    } else if (!strcmp(text, "C")) {
        g_autofree char *answer = g_strdup_printf("QC%02x", gdb_thread(gdb->cpu));
        gdb_reply_text(gdb, answer);
    } else if (!strcmp(text, "fThreadInfo")) {
        gdb->listed = 0;
        reply_threads(gdb);
    } else if (!strcmp(text, "sThreadInfo")) {
        reply_threads(gdb);
    } else if ((rest = behind(text, "ThreadExtraInfo,"))) {
        reply_thread_info(gdb, rest);
    } else if ((rest = behind(text, "Rcmd,"))) {
        run_command(gdb, rest);
    } else if (g_str_has_prefix(text, "Attached")) {
        gdb_reply_text(gdb, "1");
    } else if (!strcmp(text, "qemu.PhyMemMode")) {
        gdb_reply_text(gdb, gdb->physical ? "1" : "0");
    } else if (!strcmp(text, "qemu.Supported")) {
        gdb_reply_text(gdb, "PhyMemMode");
    } else {
        gdb_reply_text(gdb, "");
    }
}

void gdb_set(Gdb *gdb, const char *text)
{
    const char *rest;
    if (!strcmp(text, "StartNoAckMode")) {
        gdb_reply_text(gdb, "OK");
        gdb->no_ack = true;
    } else if ((rest = behind(text, "qemu.PhyMemMode:"))) {
        gdb->physical = *rest == '1';
        gdb_reply_text(gdb, "OK");
    } else {
        gdb_reply_text(gdb, "");
    }
}
