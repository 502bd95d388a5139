/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vmrun-io's requests print, in the format of qemu-io. */
#include <inttypes.h>
#include <stdio.h>

#include "io.h"
#include "util/timer.h"

char *io_size(double value)
{
    static const char *const units[] = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    unsigned unit = 0;
    while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    double whole = (double)(uint64_t)value;
    int digits = value == whole ? 0 : unit ? 3 : 6;
    return g_strdup_printf("%.*f%s", digits, value, units[unit]);
}

static char *time_text(int64_t ns, bool full)
{
    unsigned hundredths = (unsigned)(ns / (NS_PER_SEC / 100) % 100);
    unsigned long seconds = (unsigned long)(ns / NS_PER_SEC);
    if (full || seconds >= 60)
        return g_strdup_printf("%lu:%02lu:%02lu.%02u", seconds / 3600, seconds / 60 % 60,
                               seconds % 60, hundredths);
    return g_strdup_printf("%02lu.%02u sec", seconds, hundredths);
}

void io_print_report(const IoReport *r)
{
    double seconds = (double)MAX(r->ns, 1) / (double)NS_PER_SEC;
    g_autofree char *time = time_text(r->ns, r->machine);
    g_autofree char *size = io_size((double)r->bytes);
    g_autofree char *rate = io_size((double)r->bytes / seconds);
    if (r->machine) {
        printf("%" PRIu64 ",1,%s,%.3f,%.3f\n", r->bytes, time, (double)r->bytes / seconds,
               1 / seconds);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", r->verb, r->bytes, r->bytes,
           r->offset);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, time, rate, 1 / seconds);
}

void io_dump(const uint8_t *data, uint64_t offset, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 16) {
        uint64_t n = MIN(bytes - at, 16);
        printf("%08" PRIx64 ":  ", offset + at);
        for (uint64_t i = 0; i < n; i++)
            printf("%02x ", data[at + i]);
        printf(" ");
        for (uint64_t i = 0; i < n; i++)
            printf("%c", g_ascii_isalnum(data[at + i]) ? data[at + i] : '.');
        printf("\n");
    }
}
