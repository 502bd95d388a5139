/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole PC without a CPU, for tests: every device of the board, with small raw files as disk,
 * CD and floppy, null chardevs on all ports, a network card of each model on one hub and an empty
 * BIOS, running on a virtual clock in manual mode. */
#ifndef VMRUN_TESTS_LIB_BOARD_H
#define VMRUN_TESTS_LIB_BOARD_H

#include "hw/core/machine.h"

/* Takes the main lock; board_free() gives it up.  One at a time.  Ends the process on failure. */
Machine *board_new(uint64_t ram_size);
void board_free(Machine *machine);

#endif
