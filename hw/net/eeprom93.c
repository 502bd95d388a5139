/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 93C46: a start bit, two bits of opcode, six of address, then data, most significant bit first. */
#include "eeprom93.h"

enum { OP_EXTENDED, OP_WRITE, OP_READ, OP_ERASE };              /* command bits 7:6 */
enum { EXT_LOCK, EXT_WRITE_ALL, EXT_ERASE_ALL, EXT_UNLOCK };    /* bits 5:4 of OP_EXTENDED */
enum { CLOCKS_COMMAND = 9, CLOCKS_DATA = CLOCKS_COMMAND + 16 }; /* with the start bit */

static unsigned opcode(const Eeprom93 *e)
{
    return e->command >> 6;
}

static unsigned extended(const Eeprom93 *e)
{
    return e->command >> 4 & 3;
}

static unsigned address(const Eeprom93 *e)
{
    return e->command % EEPROM93_WORDS;
}

static void command_done(Eeprom93 *e)
{
    if (opcode(e) == OP_READ) {
        e->data = e->word[address(e)];
        e->out = false; /* the dummy bit before the data */
    } else if (opcode(e) == OP_EXTENDED && extended(e) == EXT_LOCK) {
        e->unlocked = false;
    } else if (opcode(e) == OP_EXTENDED && extended(e) == EXT_UNLOCK) {
        e->unlocked = true;
    }
}

static void clock_data(Eeprom93 *e, bool di)
{
    if (e->clocks == CLOCKS_DATA && opcode(e) == OP_READ) { /* goes on with the next word */
        e->command = (uint8_t)(OP_READ << 6 | (address(e) + 1) % EEPROM93_WORDS);
        e->data = e->word[address(e)];
        e->clocks = CLOCKS_COMMAND;
    }
    if (e->clocks == CLOCKS_DATA)
        return;
    if (opcode(e) == OP_READ)
        e->out = e->data >> 15;
    e->data = (uint16_t)(e->data << 1 | (opcode(e) == OP_READ ? 0 : di));
    e->clocks++;
}

static void clock_rises(Eeprom93 *e, bool di)
{
    if (e->clocks >= CLOCKS_COMMAND) {
        clock_data(e, di);
    } else if (e->clocks) {
        e->command = (uint8_t)(e->command << 1 | di);
        if (++e->clocks == CLOCKS_COMMAND)
            command_done(e);
    } else if (di) {
        e->clocks = 1;
    }
}

static void fill(Eeprom93 *e, uint16_t value)
{
    for (unsigned i = 0; i < EEPROM93_WORDS; i++)
        e->word[i] = value;
}

/* Chip select falls: the memory is programmed, which takes no time here. */
static void program(Eeprom93 *e)
{
    bool with_data = e->clocks == CLOCKS_DATA;
    if (!e->unlocked || e->clocks < CLOCKS_COMMAND)
        return;
    if (opcode(e) == OP_WRITE && with_data)
        e->word[address(e)] = e->data;
    else if (opcode(e) == OP_ERASE)
        e->word[address(e)] = 0xffff;
    else if (opcode(e) == OP_EXTENDED && extended(e) == EXT_ERASE_ALL)
        fill(e, 0xffff);
    else if (opcode(e) == OP_EXTENDED && extended(e) == EXT_WRITE_ALL && with_data)
        fill(e, e->data);
}

void eeprom93_set(Eeprom93 *e, bool cs, bool sk, bool di)
{
    if (e->cs && !cs)
        program(e);
    if (!cs) {
        e->clocks = 0;
        e->command = 0;
        e->data = 0;
        e->out = true;
    } else if (sk && !e->sk) {
        clock_rises(e, di);
    }
    e->cs = cs;
    e->sk = sk;
}

static bool post_load(void *state, GError **error)
{
    Eeprom93 *e = state;
    e->clocks = MIN(e->clocks, CLOCKS_DATA);
    return true;
}

static const StateField fields[] = {
    STATE_ARRAY_KEEP(Eeprom93, word, uint16_t),
    STATE_U(Eeprom93, cs, 0),
    STATE_U(Eeprom93, sk, 0),
    STATE_U(Eeprom93, out, 1),
    STATE_U(Eeprom93, unlocked, 0),
    STATE_U(Eeprom93, clocks, 0),
    STATE_U(Eeprom93, command, 0),
    STATE_U(Eeprom93, data, 0),
    STATE_END,
};
const StateDesc eeprom93_state = {"eeprom93", 1, sizeof(Eeprom93), fields, .post_load = post_load};
