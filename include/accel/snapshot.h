/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A snapshot of a running machine as bytes: clocks, CPUs, devices, and which parts of its RAM are
 * stored.  Disks are not in it, and where the bytes go is the caller's business (monitor/savevm.c).
 *
 * All little-endian: "VMRUNVM1"; u64: bytes of what follows, up to the RAM; the engine's name (u8
 * length, text); state records (hw/core/state.h) "machine" and "vcpu", that one once a CPU; u32:
 * RAM blocks, each with its name, u64 size, u32 runs, and u64 offset and bytes of each run; the
 * devices as machine_save_devices() has them, to the end.  From the next multiple of SNAPSHOT_ALIGN
 * on follows what the runs name, in that order.
 */
#ifndef VMRUN_ACCEL_SNAPSHOT_H
#define VMRUN_ACCEL_SNAPSHOT_H

#include "accel/engine.h"
#include "hw/core/ram.h"

#define SNAPSHOT_ALIGN                                                                             \
    (64u << 10)           /* a cluster of a qcow2 image, so that RAM goes there as it is           \
                           */
#define SNAPSHOT_HEAD 16u /* bytes that tell how many follow */

/* A part of a RAM block: from a multiple of SNAPSHOT_ALIGN to one, or to the block's end. */
typedef struct SnapshotRun {
    RamBlock *block;
    uint64_t offset, bytes;
} SnapshotRun;

/* Appends all but the RAM itself to out, padded to SNAPSHOT_ALIGN, and what is to follow to runs
 * (of SnapshotRun).  Parts of RAM that are zero, or were never touched, are not stored.  Machine
 * frozen, main lock. */
bool snapshot_save(Machine *machine, GByteArray *out, GArray *runs, GError **error);
/* From the first SNAPSHOT_HEAD bytes: how many there are before the RAM, padding included. */
bool snapshot_length(const uint8_t *head, uint64_t *length, GError **error);
/* Whether this machine can become what the snapshot holds: engine, CPUs and RAM are the same.
 * Gives the runs.  The bytes are hostile. */
bool snapshot_check(Machine *machine, const uint8_t *data, uint64_t length, GArray *runs,
                    GError **error);
/* Resets the machine and empties its RAM but for the runs, which the caller fills then. */
void snapshot_clear(Machine *machine, const GArray *runs);
/* Brings in all but the RAM, which is in place.  On error the machine is to be reset.  The data has
 * passed snapshot_check(). */
bool snapshot_load(Machine *machine, const uint8_t *data, uint64_t length, GError **error);

#endif
