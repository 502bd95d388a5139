/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard and mouse: what stands at the two wires of a keyboard controller.
 * IBM Personal System/2 Hardware Interface Technical Reference, "Keyboards" and "Auxiliary Device";
 * Microsoft IntelliMouse and IntelliMouse Explorer for wheel and side buttons.
 *
 * A device has bytes for the controller (ps2_*_readable(), ps2_*_read()) and takes bytes from it
 * (ps2_*_write()).  It calls `changed` when bytes have come that were not there.  Main lock held.
 */
#ifndef VMRUN_HW_INPUT_PS2_H
#define VMRUN_HW_INPUT_PS2_H

#include "hw/core/state.h"
#include "ui/input.h"
#include "util/timer.h"

/* ---- The bytes that wait in a device ---- */

#define PS2_FIFO     16 /* bytes of movements, or of keys in set 1 */
#define PS2_KEY_FIFO 24 /* of keys in the other sets: no fewer, although a break takes a prefix */
#define PS2_REPLIES  8

typedef struct Ps2Queue {
    uint8_t reply[PS2_REPLIES]; /* answers to commands: they go first */
    uint8_t reply_count;
    uint8_t fifo[PS2_KEY_FIFO + 1]; /* keys or movements; the last place is for "overrun" */
    uint8_t fifo_head, fifo_count;
    uint8_t last; /* sent, for "resend" */
} Ps2Queue;

extern const StateDesc ps2_queue_state;

/* Empties the FIFO, or both. */
void ps2_queue_clear(Ps2Queue *queue, bool replies_too);
void ps2_queue_reply(Ps2Queue *queue, uint8_t byte);
/* All of the bytes or, if the FIFO would then hold more than limit (PS2_KEY_FIFO at most), none. */
bool ps2_queue_put(Ps2Queue *queue, const uint8_t *bytes, unsigned count, unsigned limit);
/* Adds the overrun code at the end, once. */
void ps2_queue_overrun(Ps2Queue *queue, uint8_t code);
bool ps2_queue_readable(const Ps2Queue *queue);
uint8_t ps2_queue_read(Ps2Queue *queue);

/* What a device tells its controller. */
typedef struct Ps2Wire {
    void (*changed)(void *opaque);
    void *opaque;
} Ps2Wire;

/* ---- Keyboard ---- */

#define PS2_KEYS      (KEY_PRINT + 1)
#define PS2_SET3_KEYS 0x90

typedef struct Ps2Keyboard {
    Ps2Wire wire;
    Ps2Queue queue;
    uint8_t set; /* of scan codes: 1 to 3 */
    bool scanning;
    uint8_t command; /* that waits for its argument, 0: none */
    uint8_t typematic, leds;
    uint8_t key_type[PS2_SET3_KEYS];  /* by set-3 code */
    uint8_t down[(PS2_KEYS + 7) / 8]; /* keys of which the guest knows that they are down */
    uint8_t late[(PS2_KEYS + 7) / 8]; /* released, and there was no way to tell */
    uint8_t print_form;               /* how the Print key that is down was told */
} Ps2Keyboard;

extern const StateDesc ps2_keyboard_state;

/* Registers for keys. */
void ps2_keyboard_init(Ps2Keyboard *kbd, Ps2Wire wire);
void ps2_keyboard_fini(Ps2Keyboard *kbd);
/* Power-on, after state_reset(). */
void ps2_keyboard_reset(Ps2Keyboard *kbd);
void ps2_keyboard_write(Ps2Keyboard *kbd, uint8_t byte);
bool ps2_keyboard_readable(const Ps2Keyboard *kbd);
/* Whether the next byte belongs to a key and not to an answer. */
bool ps2_keyboard_next_is_key(const Ps2Keyboard *kbd);
uint8_t ps2_keyboard_read(Ps2Keyboard *kbd);

/* Scan codes of a key by its KeyCode below 0x100 without KEY_GREY (sets 1 and 2: E0 comes before
 * that of a grey key), with it (set 3). 0: the set has no such key. */
extern const uint8_t ps2_set2_codes[128];
extern const uint8_t ps2_set3_codes[256];

/* ---- Mouse ---- */

typedef struct Ps2Mouse {
    Ps2Wire wire;
    Ps2Queue queue;
    uint8_t id; /* 0 standard, 3 with wheel, 4 with wheel and five buttons */
    uint8_t rate, resolution, command;
    uint8_t rates[3]; /* the latest, for the knocks */
    bool enabled, remote, wrap, scale21;
    uint8_t buttons, told_buttons; /* left, right, middle, side, extra from bit 0 on */
    int32_t dx, dy, dz;            /* not yet told; +y is down */
    int64_t next_packet;           /* guest time before which no movement is told */
    Timer timer;
} Ps2Mouse;

extern const StateDesc ps2_mouse_state;

void ps2_mouse_init(Ps2Mouse *mouse, Ps2Wire wire);
void ps2_mouse_fini(Ps2Mouse *mouse);
void ps2_mouse_write(Ps2Mouse *mouse, uint8_t byte);
bool ps2_mouse_readable(const Ps2Mouse *mouse);
uint8_t ps2_mouse_read(Ps2Mouse *mouse);

#endif
