/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking VMDK images: every grain lies in the file, and no two in one place. */
#include <errno.h>

#include "util/bytes.h"
#include "vmdk.h"

typedef struct VmdkCheck {
    VmdkExtent *x;
    uint8_t *seen; /* a bit for each place of a grain; NULL if grains are compressed */
    CheckResult *result;
    CheckReport *report;
    void *opaque;
} VmdkCheck;

static void say(const VmdkCheck *c, uint64_t grain, uint64_t sector, const char *what)
{
    if (c->result->corruptions++ >= CHECK_MAX_LINES)
        return;
    g_autofree char *line =
        g_strdup_printf("ERROR: grain %" PRIu64 " of '%s' lies at sector %" PRIu64 ", %s", grain,
                        c->x->file->name, sector, what);
    c->report(c->opaque, line);
}

static void check_entry(const VmdkCheck *c, uint64_t grain, uint32_t entry)
{
    const VmdkExtent *x = c->x;
    uint64_t at = entry * 512ULL, place = at / x->grain;
    if (!entry || (entry == VMDK_ENTRY_ZERO && x->zero_grains))
        return;
    if (at < x->first_data)
        say(c, grain, entry, "within the tables");
    else if (at >= x->file->size)
        say(c, grain, entry, "past the end of the file");
    else if (c->seen && c->seen[place / 8] & 1u << place % 8)
        say(c, grain, entry, "as another one does");
    else if (c->seen)
        c->seen[place / 8] |= (uint8_t)(1u << place % 8);
}

static int check_table(const VmdkCheck *c, uint64_t i)
{
    VmdkExtent *x = c->x;
    uint32_t table[4096];
    uint64_t first = i * x->table_entries, grains = (x->bytes + x->grain - 1) / x->grain;
    if (!x->directory[i])
        return 0;
    int ret = file_pread(x->file, x->directory[i] * 512ULL, table, x->table_entries * 4ULL);
    if (x->directory[i] * 512ULL >= x->file->size)
        say(c, first, x->directory[i], "where its table would be, past the end of the file");
    for (unsigned n = 0; n < x->table_entries && first + n < grains && !ret; n++)
        check_entry(c, first + n, ld32_le(&table[n]));
    return ret;
}

static int check_extent(VmdkCheck *c)
{
    VmdkExtent *x = c->x;
    uint64_t places = MIN(x->file->size, 2ULL << 40) / x->grain + 1;
    int ret = 0;
    c->seen = x->compressed ? NULL : block_try_malloc0(places / 8 + 1);
    if (!c->seen && !x->compressed)
        return -ENOMEM;
    for (uint64_t i = 0; i < x->directory_entries && !ret; i++)
        ret = check_table(c, i);
    g_free(c->seen);
    return ret;
}

int vmdk_check(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report, void *opaque)
{
    Vmdk *v = vmdk(node);
    int ret = node->readonly ? 0 : node->fmt->flush(node);
    for (unsigned i = 0; i < v->count && !ret; i++) {
        VmdkCheck c = {.x = &v->extents[i], .result = result, .report = report, .opaque = opaque};
        if (c.x->directory)
            ret = check_extent(&c);
    }
    return ret;
}
