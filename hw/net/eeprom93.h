/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A serial EEPROM of 64 words, 93C46, on three wires (Microwire). (Microchip 93C46B data sheet.) */
#ifndef VMRUN_HW_NET_EEPROM93_H
#define VMRUN_HW_NET_EEPROM93_H

#include "hw/core/state.h"

#define EEPROM93_WORDS 64

typedef struct Eeprom93 {
    uint16_t word[EEPROM93_WORDS]; /* the owner fills it in realize; kept over resets */
    bool cs, sk;                   /* pins as they are */
    bool out;                      /* DO; high: ready */
    bool unlocked;                 /* EWEN */
    uint8_t clocks;                /* of the command, from its start bit on */
    uint8_t command;               /* opcode in bits 7:6, address below */
    uint16_t data;
} Eeprom93;

extern const StateDesc eeprom93_state;

/* Sets the input pins: chip select, clock, data in. */
void eeprom93_set(Eeprom93 *e, bool cs, bool sk, bool di);
static inline bool eeprom93_out(const Eeprom93 *e)
{
    return e->out;
}

#endif
