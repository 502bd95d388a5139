/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image names that are lists of options: json:{...} and --image-opts. */
#ifndef VMRUN_TOOLS_IMG_PARTS_H
#define VMRUN_TOOLS_IMG_PARTS_H

#include "img.h"

/* What such a list says; the texts are the list's. */
typedef struct Parts {
    ImgOpen how;
    const char *driver, *file_driver, *file;
    const char *encryption, *backing_encryption; /* "luks", "aes": what the image must have */
    const char *config;                          /* of blkdebug */
    GPtrArray *rules; /* of blkdebug: Options, whose name is the kind, a dot and a number */
    uint64_t cache;   /* of all tables of a qcow2 */
    char *remote, *remote_backing; /* names of NBD disks */
    bool detect_unmap;             /* detect-zeroes=unmap */
} Parts;

/* Reads the list into p, which has `how` as the command line says it. */
bool parts_read(Parts *p, Options *options, GError **error);
void parts_clear(Parts *p);
/* Whether the open image is encrypted as the list says. */
bool parts_check_encryption(const Parts *p, const BlkNode *node, GError **error);

#endif
