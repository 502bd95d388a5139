/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gdb stub's inside.  (gdb manual, appendix E: "gdb Remote Serial Protocol".)
 *
 *   gdb.c            connection, packets, running and stopping
 *   gdb_query.c      q and Q packets
 *   gdb_commands.c   all other packets
 *   gdb_registers.c  register numbers, their description, their place in a CpuState
 */
#ifndef VMRUN_MONITOR_GDB_PRIVATE_H
#define VMRUN_MONITOR_GDB_PRIVATE_H

#include "accel/engine.h"
#include "monitor/gdb.h"

/* Of a packet's contents, both ways; gdb is told. */
#define GDB_PACKET_MAX 0x4000u

/* What a CPU does when the guest goes on. */
typedef enum { GDB_HOLD, GDB_STEP, GDB_RUN } GdbAction;

typedef struct Gdb {
    Machine *machine;
    Chardev *chr;
    bool own_chr;  /* opened here */
    GString *out;  /* not yet taken by chr */
    GString *last; /* the last packet, for a repetition */
    bool no_ack;
    bool busy; /* inside a packet: cannot be closed */
    bool connected;
    /* The packet that comes in. */
    enum { GDB_IDLE, GDB_BODY, GDB_SUM1, GDB_SUM2 } input;
    GString *packet;
    bool too_long;
    uint8_t sum, sum_sent;

    bool waiting;      /* gdb awaits a stop reply */
    bool wide;         /* 64-bit registers */
    bool physical;     /* addresses are physical (Qqemu.PhyMemMode) */
    unsigned cpu;      /* of g, m and the like: Hg; the one that stopped */
    unsigned step_cpu; /* of s and c: Hc */
    unsigned listed;   /* qsThreadInfo goes on here */
    GArray *points;    /* of DebugPoint */
    CpuState **states; /* pulled already, by CPU; else NULL */
    LoopBh *stop_bh;
    Vcpu *stopped; /* came back with RUN_DEBUG, or NULL */
} Gdb;

/* ---- gdb.c ---- */
void gdb_reply(Gdb *gdb, const char *text, size_t length);
void gdb_reply_text(Gdb *gdb, const char *text);
void gdb_reply_error(Gdb *gdb, unsigned number);
/* Lets the machine go on: actions by CPU. False: it cannot. */
bool gdb_resume(Gdb *gdb, const GdbAction *actions);
/* The reply that tells why the guest stands. */
void gdb_reply_stop(Gdb *gdb);
/* Gives the points to all CPUs; false if the engine has not so many. */
bool gdb_apply_points(Gdb *gdb);
void gdb_forget_points(Gdb *gdb);
/* The state of a CPU, or NULL; kept until the guest goes on. */
CpuState *gdb_state(Gdb *gdb, unsigned cpu);
bool gdb_push(Gdb *gdb, unsigned cpu);
void gdb_forget_states(Gdb *gdb);
/* gdb's thread number of a CPU and back: -1 for all, -2 for none such. */
static inline unsigned gdb_thread(unsigned cpu)
{
    return cpu + 1;
}
int gdb_parse_thread(Gdb *gdb, const char **text);

/* ---- gdb_commands.c, gdb_query.c ---- */
/* text ends with a NUL behind its length bytes. */
void gdb_command(Gdb *gdb, const char *text, size_t length);
void gdb_query(Gdb *gdb, const char *text);
void gdb_set(Gdb *gdb, const char *text);

/* ---- gdb_registers.c ---- */
/* Appends a register in hex; false: no such number. */
bool gdb_register_read(bool wide, const CpuState *state, unsigned number, GString *out);
/* value: as many bytes as gdb_register_size() says. */
void gdb_register_write(bool wide, CpuState *state, unsigned number, const uint8_t *value);
unsigned gdb_register_count(bool wide);
unsigned gdb_register_size(bool wide, unsigned number);
/* The target description. */
const char *gdb_target_xml(bool wide);
void gdb_registers_free(void);

/* Hex: reads a number without a sign; at least one digit. */
bool gdb_parse_hex(const char **text, uint64_t *value);
/* Two digits a byte, to the end or to limit bytes; returns how many bytes were read. */
size_t gdb_parse_bytes(const char *text, uint8_t *bytes, size_t limit);
void gdb_append_bytes(GString *out, const void *bytes, size_t length);

#endif
