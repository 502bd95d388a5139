/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making an image's file shorter, in place, for formats that name each piece of the file in one
 * entry of a table.
 *
 * Pieces of zeros are forgotten, and the last ones are copied into gaps between others.  A gap was
 * free before and stays so until a table names it: only when copies are safe are their entries
 * written, and only when these are safe is the old place a gap, or cut off.  So a power cut shows
 * each piece at its old or its new place, and both hold it.
 */
#ifndef VMRUN_BLOCK_REPACK_H
#define VMRUN_BLOCK_REPACK_H

#include "block/node.h"

typedef enum {
    PIECE_FIXED,  /* stays where it is */
    PIECE_TABLE,  /* has the entries of other pieces */
    PIECE_DATA,   /* a cluster or a block of the guest's */
    PIECE_PACKED, /* a compressed cluster */
    PIECE_KINDS
} PieceKind;

typedef struct Piece {
    uint64_t at, bytes;  /* in the file */
    uint64_t index : 61; /* the format's own: which entry names it */
    uint64_t kind : 2;
    uint64_t zero : 1; /* reads as zeros, and is named no more */
} Piece;

typedef struct Pieces {
    const BlkFile *file;
    uint64_t start; /* only pieces that are FIXED lie below */
    Piece *list;
    unsigned count, room;
} Pieces;

/* False with an error if the piece lies below start or behind the file's end, or is one too many.
 */
bool pieces_add(Pieces *pieces, Piece piece, GError **error);
/* Sorts them by place.  False with an error if two of them overlap. */
bool pieces_check(Pieces *pieces, GError **error);

typedef struct Repack {
    BlkFile *file;
    uint64_t start; /* as in Pieces */
    /* By kind: the alignment of a new place, a power of two; whether it goes if it reads as zeros
     * (a table: if it has no entries). */
    uint64_t align[PIECE_KINDS];
    bool drop_zeros[PIECE_KINDS];
    uint64_t head; /* bytes at the begin of DATA that are not the guest's */
    /* Adds all pieces; nothing was changed yet. (co) */
    bool (*list)(void *opaque, Pieces *pieces, GError **error);
    /* Names another place for a piece; 0: none.  It reaches the file with the next commit(), and
     * no table is named while entries wait for it. (co) */
    int (*name)(void *opaque, const Piece *piece, uint64_t at);
    /* Flushes, writes what was named, and flushes. (co) */
    int (*commit)(void *opaque);
    /* Whether a PACKED piece with these contents reads as zeros; for drop_zeros. */
    bool (*packed_zeros)(void *opaque, const uint8_t *data, uint64_t bytes);
    void *opaque;
} Repack;

/* *end: nothing that counts lies behind, and the file may be cut off there.  Tables that lie make
 * it fail before anything is changed.  Whatever else fails, the image stays as it was, or with a
 * part of the pieces moved.  Nothing else uses the image. (co) */
bool repack(const Repack *r, const NodeProgress *progress, uint64_t *end, GError **error);

#endif
