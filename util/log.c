/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages to the person and the trace log. */
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/options.h"
#include "util/timer.h"

const LogName log_names[] = {
    {LOG_GUEST_ERROR, "guest_errors", "the guest programs a device wrongly"},
    {LOG_UNIMP, "unimp", "registers and features that vmrun does not have"},
    {LOG_UNASSIGNED, "unassigned", "accesses that no device answers"},
    {LOG_INT, "int", "interrupts and exceptions"},
    {LOG_RESET, "cpu_reset", "resets"},
    {LOG_PIO, "pio", "port accesses"},
    {LOG_MMIO, "mmio", "memory-mapped device accesses"},
    {LOG_PCI, "pci", "configuration space and BAR changes"},
    {LOG_BLOCK, "block", "requests to disks"},
    {LOG_KVM, "kvm", "memory slots, capabilities and rescues of KVM"},
    {LOG_EXEC, "exec", "blocks of code as the software engine enters them"},
    {LOG_CPU, "cpu", "general registers before each block that exec tells of"},
    {LOG_MMU, "mmu", "page walks of the software engine"},
    {LOG_NET, "net", "network frames"},
    {0, NULL, NULL},
};

uint32_t log_mask_bits;

#define LINES_PER_SECOND 100

static GMutex log_lock;
static FILE *log_file; /* NULL: stderr */
static int64_t limit_second;
static unsigned limit_lines;
static const char *program = "vmrun";

bool log_parse_mask(const char *text, uint32_t *mask, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    uint32_t bits = 0;
    for (char **word = words; *word; word++) {
        if (!strcmp(*word, "none"))
            continue;
        const LogName *row = log_names;
        while (row->name && strcmp(row->name, *word))
            row++;
        if (!row->name) {
            const char *names[G_N_ELEMENTS(log_names)];
            for (unsigned i = 0; i < G_N_ELEMENTS(log_names); i++)
                names[i] = log_names[i].name;
            const char *near = nearest_word(*word, names);
            return fail(error, "-d: there is no log item '%s'%s%s%s (see -d help)", *word,
                        near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
        bits |= row->bit;
    }
    *mask = bits;
    return true;
}

void log_set_mask(uint32_t mask)
{
    __atomic_store_n(&log_mask_bits, mask, __ATOMIC_RELAXED);
}

bool log_set_file(const char *path, GError **error)
{
    FILE *file = NULL;
    if (path && strcmp(path, "-")) {
        file = fopen(path, "we");
        if (!file)
            return fail_errno(error, errno, "-D: cannot write the log file '%s'", path);
        setvbuf(file, NULL, _IOLBF, 0);
    }
    g_mutex_lock(&log_lock);
    if (log_file)
        fclose(log_file);
    log_file = file;
    g_mutex_unlock(&log_lock);
    return true;
}

static void write_line(const char *format, va_list args)
{
    FILE *out = log_file ? log_file : stderr;
    flockfile(out);
    vfprintf(out, format, args);
    fputc('\n', out);
    funlockfile(out);
}

void log_write(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_mutex_lock(&log_lock);
    write_line(format, args);
    g_mutex_unlock(&log_lock);
    va_end(args);
}

void log_write_limited(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_mutex_lock(&log_lock);
    int64_t second = clock_now(VM_CLOCK_HOST) / NS_PER_SEC;
    if (second != limit_second) {
        if (limit_lines > LINES_PER_SECOND)
            fprintf(log_file ? log_file : stderr, "(%u more lines were dropped)\n",
                    limit_lines - LINES_PER_SECOND);
        limit_second = second;
        limit_lines = 0;
    }
    if (limit_lines++ < LINES_PER_SECOND)
        write_line(format, args);
    g_mutex_unlock(&log_lock);
    va_end(args);
}

static void report(const char *kind, const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);
    fprintf(stderr, "%s: %s%s\n", program, kind, text);
}

void report_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report("", format, args);
    va_end(args);
}

void report_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report("warning: ", format, args);
    va_end(args);
}

void report_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report("", format, args);
    va_end(args);
}

void report_set_program(const char *name)
{
    program = name;
}

const char *report_program(void)
{
    return program;
}
