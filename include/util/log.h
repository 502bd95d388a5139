/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to the person (stderr, or the monitor) and the trace log of `-d`.
 *
 * All functions may be called from any thread.
 */
#ifndef VMRUN_UTIL_LOG_H
#define VMRUN_UTIL_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Bits of the log mask, with the names that `-d` and the monitor's `log` take. */
enum {
    LOG_GUEST_ERROR = 1 << 0, /* guest_errors: the guest programs a device wrongly */
    LOG_UNIMP = 1 << 1,       /* unimp: a register or feature that vmrun does not have */
    LOG_UNASSIGNED = 1 << 2,  /* unassigned: accesses that no device answers */
    LOG_INT = 1 << 3,         /* int: interrupts and exceptions */
    LOG_RESET = 1 << 4,       /* cpu_reset: resets */
    LOG_PIO = 1 << 5,         /* pio: port accesses */
    LOG_MMIO = 1 << 6,        /* mmio: memory-mapped device accesses */
    LOG_PCI = 1 << 7,         /* pci: configuration space and BAR changes */
    LOG_BLOCK = 1 << 8,       /* block: requests to disks */
    LOG_KVM = 1 << 9,         /* kvm: slots, capabilities, rescues */
    LOG_EXEC = 1 << 10,       /* exec: blocks as the software engine enters them */
    LOG_MMU = 1 << 11,        /* mmu: page walks of the software engine */
    LOG_NET = 1 << 12,        /* net: frames */
    LOG_CPU = 1 << 13,        /* cpu: registers before each block, with exec */
};

typedef struct LogName {
    uint32_t bit;
    const char *name;
    const char *help;
} LogName;

/* Ends with a row whose name is NULL. */
extern const LogName log_names[];

extern uint32_t log_mask_bits; /* read through log_on() */

static inline bool log_on(uint32_t bits)
{
    return G_UNLIKELY(__atomic_load_n(&log_mask_bits, __ATOMIC_RELAXED) & bits);
}

/* Parses "a,b,c" or "none"; on error names the bad word and the nearest right one. */
bool log_parse_mask(const char *text, uint32_t *mask, GError **error);
void log_set_mask(uint32_t mask);
/* Sends the log to a file (-D); NULL or "-" is stderr. */
bool log_set_file(const char *path, GError **error);

/* One line to the log if any of bits is on; a newline is appended.  Costs one load when off. */
#define log_printf(bits, ...)                                                                      \
    do {                                                                                           \
        if (log_on(bits))                                                                          \
            log_write(__VA_ARGS__);                                                                \
    } while (0)
void log_write(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* What a guest did wrong.  Begins with the device's name ("ide: ...").  Rate-limited to 100
 * lines a second; shown with -d guest_errors. */
#define guest_error(...) log_guest(LOG_GUEST_ERROR, __VA_ARGS__)
/* A register or feature that the guest asks for and vmrun does not have; shown with -d unimp. */
#define guest_unimp(...) log_guest(LOG_UNIMP, __VA_ARGS__)
#define log_guest(bit, ...)                                                                        \
    do {                                                                                           \
        if (log_on(bit))                                                                           \
            log_write_limited(__VA_ARGS__);                                                        \
    } while (0)
void log_write_limited(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* A line to the person: "vmrun: ..." on stderr. */
void report_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
void report_warn(const char *format, ...) G_GNUC_PRINTF(1, 2);
void report_info(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* The name that messages begin with; the default is "vmrun".  Not copied. */
void report_set_program(const char *name);
const char *report_program(void);

#endif
