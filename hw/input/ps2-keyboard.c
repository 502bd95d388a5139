/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard: IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)".
 *
 * Repeats come from the host's keyboard, with the host's rate: a repeat made here would go on
 * whenever the release is held up on its way.  The guest's typematic setting is kept all the same.
 *
 * A break is sent for each make that the guest has seen and for no other: where a release finds no
 * room, or scanning switched off, it is sent later; else a key would hang in the guest.
 */
#include "hw/input/ps2.h"

#include <string.h>

#include "util/error.h"
#include "util/log.h"

enum {
    KBD_SET_LEDS = 0xed,
    KBD_ECHO = 0xee,
    KBD_CODE_SET = 0xf0,
    KBD_IDENTIFY = 0xf2,
    KBD_SET_TYPEMATIC = 0xf3,
    KBD_ENABLE = 0xf4,
    KBD_DISABLE = 0xf5,
    KBD_DEFAULTS = 0xf6,
    KBD_ALL_TYPEMATIC = 0xf7,
    KBD_ALL_MAKE_BREAK = 0xf8,
    KBD_ALL_MAKE = 0xf9,
    KBD_ALL_BOTH = 0xfa,
    KBD_KEY_TYPEMATIC = 0xfb,
    KBD_KEY_MAKE_BREAK = 0xfc,
    KBD_KEY_MAKE = 0xfd,
    KBD_RESEND = 0xfe,
    KBD_RESET = 0xff,
};
enum { REPLY_SELF_TEST_OK = 0xaa, REPLY_ECHO = 0xee, REPLY_ACK = 0xfa, REPLY_RESEND = 0xfe };

enum { TYPE_REPEATS = 1, TYPE_BREAKS = 2 };

#define DEFAULT_TYPEMATIC 0x2b /* 10.9 a second after 500 ms */
#define BREAK_PREFIX      0xf0

/* KeyCodes that are looked at here. */
enum {
    KEY_LCTRL = 0x1d,
    KEY_LSHIFT = 0x2a,
    KEY_RSHIFT = 0x36,
    KEY_LALT = 0x38,
    KEY_RCTRL = 0x1d | KEY_GREY,
    KEY_RALT = 0x38 | KEY_GREY,
};

static bool bit_get(const uint8_t *bits, unsigned n)
{
    return bits[n / 8] >> n % 8 & 1;
}

static void bit_set(uint8_t *bits, unsigned n, bool on)
{
    if (on)
        bits[n / 8] |= (uint8_t)(1 << n % 8);
    else
        bits[n / 8] &= (uint8_t) ~(1 << n % 8);
}

static void changed(Ps2Keyboard *kbd)
{
    kbd->wire.changed(kbd->wire.opaque);
}

static bool is_down(const Ps2Keyboard *kbd, unsigned key)
{
    return bit_get(kbd->down, key);
}

/* ---- Codes ---- */

/* The bytes of a key event. */
typedef struct Sequence {
    uint8_t bytes[8];
    unsigned count;
} Sequence;

static void add(Sequence *seq, uint8_t byte)
{
    if (seq->count < sizeof(seq->bytes))
        seq->bytes[seq->count++] = byte;
}

/* One code of set 1 or 2; code1 is that of set 1. */
static void add_code(const Ps2Keyboard *kbd, Sequence *seq, uint8_t code1, bool grey, bool down)
{
    uint8_t code2 = ps2_set2_codes[code1 & 0x7f];
    if (kbd->set == 2 && !code2)
        return;
    if (grey)
        add(seq, 0xe0);
    if (kbd->set == 2) {
        if (!down)
            add(seq, BREAK_PREFIX);
        add(seq, code2);
    } else {
        add(seq, down ? code1 : code1 | 0x80);
    }
}

/* Pause has no break; with Ctrl it is another key, Break. */
static void encode_pause(const Ps2Keyboard *kbd, Sequence *seq, bool down)
{
    if (!down)
        return;
    if (is_down(kbd, KEY_LCTRL) || is_down(kbd, KEY_RCTRL)) {
        add_code(kbd, seq, 0x46, true, true);
        add_code(kbd, seq, 0x46, true, false);
        return;
    }
    add(seq, 0xe1);
    add_code(kbd, seq, 0x1d, false, true);
    add_code(kbd, seq, 0x45, false, true);
    add(seq, 0xe1);
    add_code(kbd, seq, 0x1d, false, false);
    add_code(kbd, seq, 0x45, false, false);
}

enum { PRINT_PLAIN, PRINT_SHIFTED, PRINT_ALT };

/* Print pretends a shift unless one is down, and with Alt is another key, SysRq.  Its break has the
 * form of its make, whatever became of the shifts meanwhile. */
static void encode_print(Ps2Keyboard *kbd, Sequence *seq, bool down)
{
    if (down && (is_down(kbd, KEY_LALT) || is_down(kbd, KEY_RALT)))
        kbd->print_form = PRINT_ALT;
    else if (down && (is_down(kbd, KEY_LSHIFT) || is_down(kbd, KEY_RSHIFT) ||
                      is_down(kbd, KEY_LCTRL) || is_down(kbd, KEY_RCTRL)))
        kbd->print_form = PRINT_SHIFTED;
    else if (down)
        kbd->print_form = PRINT_PLAIN;

    if (kbd->print_form == PRINT_ALT) {
        add_code(kbd, seq, 0x54, false, down);
        return;
    }
    if (kbd->print_form == PRINT_PLAIN && down)
        add_code(kbd, seq, 0x2a, true, true);
    add_code(kbd, seq, 0x37, true, down);
    if (kbd->print_form == PRINT_PLAIN && !down)
        add_code(kbd, seq, 0x2a, true, false);
}

static uint8_t set3_code(KeyCode key)
{
    if (key == KEY_PAUSE)
        return 0x62;
    if (key == KEY_PRINT)
        return 0x57;
    return ps2_set3_codes[key & 0xff];
}

static void encode_set3(const Ps2Keyboard *kbd, Sequence *seq, KeyCode key, bool down)
{
    uint8_t code = set3_code(key);
    if (!code || (!down && !(kbd->key_type[code] & TYPE_BREAKS)))
        return;
    if (!down)
        add(seq, BREAK_PREFIX);
    add(seq, code);
}

static Sequence encode(Ps2Keyboard *kbd, KeyCode key, bool down)
{
    Sequence seq = {.count = 0};
    if (kbd->set == 3)
        encode_set3(kbd, &seq, key, down);
    else if (key == KEY_PAUSE)
        encode_pause(kbd, &seq, down);
    else if (key == KEY_PRINT)
        encode_print(kbd, &seq, down);
    else
        add_code(kbd, &seq, key & 0x7f, key & KEY_GREY, down);
    return seq;
}

/* ---- Keys ---- */

static bool repeats(const Ps2Keyboard *kbd, KeyCode key)
{
    if (kbd->set == 3)
        return kbd->key_type[set3_code(key)] & TYPE_REPEATS;
    return key != KEY_PAUSE && key != KEY_PRINT;
}

static bool put(Ps2Keyboard *kbd, const Sequence *seq)
{
    unsigned limit = kbd->set == 1 ? PS2_FIFO : PS2_KEY_FIFO;
    return ps2_queue_put(&kbd->queue, seq->bytes, seq->count, limit);
}

static bool send_break(Ps2Keyboard *kbd, KeyCode key)
{
    Sequence seq = encode(kbd, key, false);
    if (!kbd->scanning || !put(kbd, &seq)) {
        bit_set(kbd->late, key, true);
        return false;
    }
    bit_set(kbd->late, key, false);
    bit_set(kbd->down, key, false);
    return true;
}

static void send_make(Ps2Keyboard *kbd, KeyCode key)
{
    Sequence seq = encode(kbd, key, true);
    if (!kbd->scanning || !seq.count)
        return;
    if (put(kbd, &seq))
        bit_set(kbd->down, key, true);
    else
        ps2_queue_overrun(&kbd->queue, kbd->set == 1 ? 0xff : 0x00);
}

static void key_event(void *opaque, KeyCode key, bool down)
{
    Ps2Keyboard *kbd = opaque;
    if (!key || key >= PS2_KEYS)
        return;
    if (!down) {
        if (is_down(kbd, key))
            send_break(kbd, key);
    } else if (!is_down(kbd, key)) {
        send_make(kbd, key);
    } else if (bit_get(kbd->late, key)) {
        /* Let go and pressed again while there was no room: for the guest it stays down. */
        bit_set(kbd->late, key, false);
    } else if (repeats(kbd, key) && kbd->queue.fifo_count < PS2_FIFO / 2) {
        /* A repeat that nobody has time for is no loss. */
        send_make(kbd, key);
    }
    changed(kbd);
}

/* Room has come, or scanning is on again. */
static void send_late(Ps2Keyboard *kbd)
{
    for (unsigned i = 0; i < sizeof(kbd->late); i++)
        for (unsigned bit = 0; kbd->late[i] >> bit; bit++)
            if ((kbd->late[i] >> bit & 1) && !send_break(kbd, (KeyCode)(i * 8 + bit)))
                return;
}

static const InputOps key_ops = {.key = key_event};

/* ---- Commands ---- */

/* What a key of set 3 does at first: writing keys repeat, shifts break, the others only make. */
static uint8_t default_type(uint8_t code)
{
    static const uint8_t breaking[] = {0x11, 0x12, 0x14, 0x19, 0x59};
    static const uint8_t making[] = {0x07, 0x08, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x39, 0x3f,
                                     0x47, 0x4f, 0x56, 0x57, 0x58, 0x5e, 0x5f, 0x62, 0x65, 0x67,
                                     0x69, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73,
                                     0x74, 0x75, 0x76, 0x77, 0x79, 0x7a, 0x7d, 0x7e, 0x84};
    if (memchr(breaking, code, sizeof(breaking)))
        return TYPE_BREAKS;
    return memchr(making, code, sizeof(making)) ? 0 : TYPE_REPEATS;
}

static void set_defaults(Ps2Keyboard *kbd)
{
    kbd->set = 2;
    kbd->typematic = DEFAULT_TYPEMATIC;
    kbd->command = 0;
    for (unsigned code = 0; code < PS2_SET3_KEYS; code++)
        kbd->key_type[code] = default_type((uint8_t)code);
}

static void set_leds(Ps2Keyboard *kbd, uint8_t leds)
{
    kbd->leds = leds & (LED_SCROLL | LED_NUM | LED_CAPS);
    input_set_leds(kbd->leds);
}

static void reply(Ps2Keyboard *kbd, uint8_t byte)
{
    ps2_queue_reply(&kbd->queue, byte);
}

static void power_on(Ps2Keyboard *kbd)
{
    ps2_queue_clear(&kbd->queue, true);
    set_defaults(kbd);
    kbd->scanning = true;
    if (kbd->leds)
        set_leds(kbd, 0);
}

static void set_all_types(Ps2Keyboard *kbd, uint8_t type)
{
    memset(kbd->key_type, type, sizeof(kbd->key_type));
}

static void take_code_set(Ps2Keyboard *kbd, uint8_t set)
{
    if (set > 3) {
        reply(kbd, REPLY_RESEND);
        return;
    }
    reply(kbd, REPLY_ACK);
    if (set) {
        kbd->set = set;
        ps2_queue_clear(&kbd->queue, false);
    } else {
        reply(kbd, kbd->set);
    }
}

/* True if byte was the argument that a command waits for. */
static bool take_argument(Ps2Keyboard *kbd, uint8_t byte)
{
    static const uint8_t types[] = {TYPE_REPEATS, TYPE_BREAKS, 0};
    uint8_t command = kbd->command;
    if (!command || byte >= KBD_SET_LEDS) /* a new command ends the old one */
        return false;
    switch (command) {
    case KBD_SET_LEDS:
        set_leds(kbd, byte);
        reply(kbd, REPLY_ACK);
        break;
    case KBD_SET_TYPEMATIC:
        kbd->typematic = byte & 0x7f;
        reply(kbd, REPLY_ACK);
        break;
    case KBD_CODE_SET:
        take_code_set(kbd, byte);
        break;
    default: /* KBD_KEY_*: any number of keys follows */
        if (byte < PS2_SET3_KEYS)
            kbd->key_type[byte] = types[command - KBD_KEY_TYPEMATIC];
        reply(kbd, REPLY_ACK);
        return true;
    }
    kbd->command = 0;
    return true;
}

static void take_command(Ps2Keyboard *kbd, uint8_t command)
{
    static const uint8_t all_types[] = {TYPE_REPEATS, TYPE_BREAKS, 0, TYPE_REPEATS | TYPE_BREAKS};
    kbd->command = 0;
    if (command == KBD_ECHO) {
        reply(kbd, REPLY_ECHO);
        return;
    }
    if (command == KBD_RESEND) {
        reply(kbd, kbd->queue.last);
        return;
    }
    if (command < KBD_SET_LEDS || command == 0xef || command == 0xf1) {
        guest_error("ps2-kbd: unknown command 0x%02x", command);
        reply(kbd, REPLY_RESEND);
        return;
    }
    if (command == KBD_RESET)
        power_on(kbd);
    reply(kbd, REPLY_ACK);
    switch (command) {
    case KBD_SET_LEDS:
    case KBD_CODE_SET:
    case KBD_SET_TYPEMATIC:
    case KBD_KEY_TYPEMATIC:
    case KBD_KEY_MAKE_BREAK:
    case KBD_KEY_MAKE:
        kbd->command = command;
        break;
    case KBD_IDENTIFY:
        reply(kbd, 0xab);
        reply(kbd, 0x83);
        break;
    case KBD_ENABLE:
        ps2_queue_clear(&kbd->queue, false);
        kbd->scanning = true;
        break;
    case KBD_DISABLE:
    case KBD_DEFAULTS:
        ps2_queue_clear(&kbd->queue, false);
        set_defaults(kbd);
        kbd->scanning = command == KBD_DEFAULTS;
        break;
    case KBD_ALL_TYPEMATIC:
    case KBD_ALL_MAKE_BREAK:
    case KBD_ALL_MAKE:
    case KBD_ALL_BOTH:
        set_all_types(kbd, all_types[command - KBD_ALL_TYPEMATIC]);
        break;
    case KBD_RESET:
        reply(kbd, REPLY_SELF_TEST_OK);
        break;
    }
}

void ps2_keyboard_write(Ps2Keyboard *kbd, uint8_t byte)
{
    /* A new byte from the controller takes back answers that it has not read. */
    kbd->queue.reply_count = 0;
    if (!take_argument(kbd, byte))
        take_command(kbd, byte);
    send_late(kbd);
    changed(kbd);
}

bool ps2_keyboard_readable(const Ps2Keyboard *kbd)
{
    return ps2_queue_readable(&kbd->queue);
}

bool ps2_keyboard_next_is_key(const Ps2Keyboard *kbd)
{
    return !kbd->queue.reply_count;
}

uint8_t ps2_keyboard_read(Ps2Keyboard *kbd)
{
    uint8_t byte = ps2_queue_read(&kbd->queue);
    send_late(kbd);
    return byte;
}

/* ---- Life ---- */

void ps2_keyboard_init(Ps2Keyboard *kbd, Ps2Wire wire)
{
    kbd->wire = wire;
    input_register(&key_ops, kbd);
}

void ps2_keyboard_fini(Ps2Keyboard *kbd)
{
    input_unregister(kbd);
}

void ps2_keyboard_reset(Ps2Keyboard *kbd)
{
    power_on(kbd);
}

static bool keyboard_post_load(void *state, GError **error)
{
    Ps2Keyboard *kbd = state;
    if (kbd->set < 1 || kbd->set > 3)
        return fail(error, "ps2-kbd: there is no scan code set %u", kbd->set);
    switch (kbd->command) {
    case 0:
    case KBD_SET_LEDS:
    case KBD_CODE_SET:
    case KBD_SET_TYPEMATIC:
    case KBD_KEY_TYPEMATIC:
    case KBD_KEY_MAKE_BREAK:
    case KBD_KEY_MAKE:
        break;
    default:
        return fail(error, "ps2-kbd: command 0x%02x has no argument", kbd->command);
    }
    /* Bits past the last key. */
    for (unsigned key = PS2_KEYS; key < sizeof(kbd->late) * 8; key++)
        bit_set(kbd->late, key, false);
    set_leds(kbd, kbd->leds);
    return true;
}

static const StateField keyboard_fields[] = {
    STATE_HOST(Ps2Keyboard, wire),
    STATE_STRUCT(Ps2Keyboard, queue, &ps2_queue_state),
    STATE_U(Ps2Keyboard, set, 2),
    STATE_U(Ps2Keyboard, scanning, true),
    STATE_U(Ps2Keyboard, command, 0),
    STATE_U(Ps2Keyboard, typematic, DEFAULT_TYPEMATIC),
    STATE_U_KEEP(Ps2Keyboard, leds), /* put out by ps2_keyboard_reset() */
    STATE_BYTES(Ps2Keyboard, key_type),
    STATE_BYTES(Ps2Keyboard, down),
    STATE_BYTES(Ps2Keyboard, late),
    STATE_U(Ps2Keyboard, print_form, PRINT_PLAIN),
    STATE_END,
};
const StateDesc ps2_keyboard_state = {
    .name = "ps2-kbd",
    .version = 1,
    .size = sizeof(Ps2Keyboard),
    .fields = keyboard_fields,
    .post_load = keyboard_post_load,
};
