/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor's inside, and what the commands share. */
#ifndef VMRUN_MONITOR_PRIVATE_H
#define VMRUN_MONITOR_PRIVATE_H

#include "command.h"
#include "cpu/state.h"
#include "hw/core/vcpu.h"
#include "line_editor.h"

/* A command whose work goes on after it returned; the monitor may be gone before it ends. */
typedef struct MonWait {
    Monitor *mon; /* NULL: gone, or with another peer */
} MonWait;

struct Monitor {
    Machine *machine;
    Chardev *chr;       /* NULL: monitor_run() */
    LineEditor *editor; /* NULL: monitor_run() */
    GString *out;       /* not yet taken by chr */
    bool greeted;
    bool focus;        /* has the mux's input */
    bool in_line;      /* a line of the editor is being carried out */
    MonWait *wait;     /* the command that is still under way */
    GByteArray *typed; /* behind it, not yet read */

    unsigned cpu_index; /* what `cpu` chose */
    MonFormat format;   /* of the last dump: what the next leaves out */
};

/* "Error: message"; frees error. */
void mon_error(Monitor *mon, GError *error);
/* The command goes on: no prompt and no further command until mon_wait_end(), which tells error (or
 * NULL) and frees it. */
MonWait *mon_wait_begin(Monitor *mon);
void mon_wait_end(MonWait *wait, GError *error);
/* Prints a description made by fn-like code and frees it. */
void mon_print(Monitor *mon, GString *text);

/* The chosen CPU; NULL with a message if the engine has none. */
Vcpu *mon_cpu(Monitor *mon);
/* Its state (g_free), NULL with a message. */
CpuState *mon_cpu_state(Monitor *mon);
/* ExprRegister; opaque is the Monitor. */
bool mon_register(void *opaque, const char *name, uint64_t *value, GError **error);

/* Memory as the chosen CPU sees it.  False: not mapped. */
bool mon_read_linear(Monitor *mon, const CpuState *state, uint64_t addr, void *buf, size_t length);
bool mon_translate(Monitor *mon, const CpuState *state, uint64_t linear, uint64_t *physical);

/* One instruction of at most length bytes at code: appends its text, returns its length, 0 if the
 * bytes are none. bits: 16, 32 or 64. */
unsigned mon_disassemble(const uint8_t *code, size_t length, unsigned bits, uint64_t addr,
                         GString *out);

/* Commands, by the file that they live in. */
typedef void MonRun(Monitor *mon, const MonValue *values);
MonRun mon_stop, mon_cont, mon_system_reset, mon_system_powerdown, mon_system_wakeup, mon_quit,
    mon_nmi, mon_boot_set, mon_log, mon_logfile, mon_set_cpu, mon_help, mon_info, mon_version,
    mon_ringbuf_read, mon_ringbuf_write, mon_gdbserver; /* cmd_machine.c */
MonRun mon_x, mon_xp, mon_print_value, mon_port_read, mon_port_write, mon_memsave, mon_pmemsave,
    mon_sum, mon_gva2gpa; /* cmd_memory.c */
MonRun mon_eject, mon_change, mon_commit, mon_block_resize, mon_block_set_io_throttle,
    mon_snapshot_blkdev, mon_drive_add, mon_drive_del, info_block, info_blockstats,
    info_iothreads; /* cmd_block.c */
MonRun mon_block_commit, mon_block_stream, mon_drive_mirror, mon_drive_backup, mon_block_job_cancel,
    mon_block_job_complete, mon_block_job_pause, mon_block_job_resume, mon_block_job_set_speed,
    info_block_jobs;                                                  /* cmd_job.c */
MonRun mon_sendkey, mon_mouse_move, mon_mouse_button, mon_screendump; /* cmd_input.c */
MonRun info_status, info_version, info_registers, info_cpus, info_mtree, info_qtree, info_pci,
    info_chardev, info_irq, info_pic, info_name, info_uuid, info_kvm, info_mice, info_history,
    info_ramblock; /* cmd_info.c */
MonRun mon_set_link, mon_netdev_add, mon_netdev_del, mon_hostfwd_add, mon_hostfwd_remove,
    info_network, info_usernet;                           /* cmd_net.c */
MonRun info_mem, info_tlb;                                /* cmd_mmu.c */
MonRun mon_savevm, mon_loadvm, mon_delvm, info_snapshots; /* cmd_snapshot.c */

#endif
