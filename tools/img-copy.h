/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying images with several workers. */
#ifndef VMRUN_TOOLS_IMG_COPY_H
#define VMRUN_TOOLS_IMG_COPY_H

#include "img-extent.h"
#include "util/timer.h"

#define MAX_WORKERS 64u
#define MAX_SPARSE  (16u << 20)

typedef struct Copy {
    GPtrArray *sources; /* of BlkNode, one after another */
    BlkNode *target;
    uint64_t start;  /* where the copy begins in the sources */
    uint64_t size;   /* bytes to copy */
    uint64_t sparse; /* shortest run of zeros that is left out; 0: none */
    uint64_t rate;   /* bytes of data a second; 0: as fast as can be */
    unsigned workers;
    RangeScope scope; /* whose data is copied */
    bool compress, out_of_order, progress, quiet;
    bool offload;      /* the host is asked to copy data by itself, where it can */
    bool salvage;      /* what cannot be read becomes zeros, with a warning */
    bool writethrough; /* flush after each write */
    bool target_is_zero, target_has_backing;
    /* private to img-copy.c */
    CoMutex picking;        /* the next piece */
    uint64_t next, written; /* where it begins; where writing is in turn */
    CoQueue turn;
    int ret;
    uint64_t failed_at;
    bool failed_writing;
    uint64_t piece;       /* bytes of a piece of data at most */
    uint64_t done, moved; /* bytes looked at; those of them that were read and written */
    int64_t started;
} Copy;

/* Copies; false with an error that says where. */
bool copy_run(Copy *copy, GError **error);

#endif
