/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What checking and repairing share. */
#ifndef VMRUN_BLOCK_QCOW2_CHECK_H
#define VMRUN_BLOCK_QCOW2_CHECK_H

#include "qcow2.h"

typedef struct Check {
    Qcow2 *q;
    CheckResult *result;
    unsigned fix;
    CheckReport *report;
    void *opaque;
    uint32_t *counts;       /* references found, a cluster of the file each */
    uint64_t clusters;      /* of the file */
    uint64_t work;          /* entries looked at */
    uint64_t said;          /* lines reported */
    uint64_t next_data;     /* where the next guest cluster would lie in an unfragmented image */
    bool all_equal;         /* the image's counts are those in counts */
    bool lost;              /* entries of L1 or L2 tables are bad: what they named looks free */
    bool rewrite_snapshots; /* the snapshot table has incomplete entries */
    bool rebuild;           /* the refcount structures cannot be mended in place */
} Check;

void check_say(Check *c, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Something is wrong: reported, and counted as mended or not. */
void check_error(Check *c, bool mended, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Writes refcount blocks and table anew behind the end of the file, from counts. (co) */
int check_rebuild_refcounts(Check *c);
/* Compares each COPIED flag of the active tables with the counts, and mends it if asked. (co) */
int check_copied_flags(Check *c);

#endif
