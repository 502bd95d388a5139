/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives on scratch images, for tests.  In texts, "@name" stands for a file of the scratch
 * directory. */
#ifndef VMRUN_TESTS_UNIT_TEST_DRIVES_H
#define VMRUN_TESTS_UNIT_TEST_DRIVES_H

#include "block/block.h"

#define DRIVE_SIZE (4u << 20)

/* Takes the main lock and makes the scratch directory; at the end, closes all drives, removes it,
 * and returns result. */
void drives_begin(void);
int drives_end(int result);
/* g_free(). */
char *path_of(const char *name);
/* A fresh image of DRIVE_SIZE; backing: a name in the directory, or NULL. */
void make(const char *name, const char *format, const char *backing);
/* By the text of -drive. */
Blk *open_drive(const char *text);
/* The same does not work, and the message contains why. */
void open_fails(const char *text, const char *why);
void put(Blk *blk, uint64_t offset, int value, size_t bytes);
void expect_at(Blk *blk, uint64_t offset, int value, size_t bytes);
int byte_of_file(const char *name, off_t at);

#endif
