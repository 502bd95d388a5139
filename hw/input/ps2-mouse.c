/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 mouse: IBM PS/2 Hardware Interface Technical Reference, "Auxiliary Device"; the wheel and
 * the fourth and fifth button as Microsoft's IntelliMouse and IntelliMouse Explorer have them.
 *
 * Movement adds up, within bounds, until the last packet has been read and the sample time has
 * passed; a button is told at once, and no press is lost as long as there is room.
 */
#include "hw/input/ps2.h"

#include <string.h>

#include "util/error.h"
#include "util/log.h"

enum {
    MOUSE_SCALE11 = 0xe6,
    MOUSE_SCALE21 = 0xe7,
    MOUSE_RESOLUTION = 0xe8,
    MOUSE_STATUS = 0xe9,
    MOUSE_STREAM = 0xea,
    MOUSE_READ_DATA = 0xeb,
    MOUSE_RESET_WRAP = 0xec,
    MOUSE_WRAP = 0xee,
    MOUSE_REMOTE = 0xf0,
    MOUSE_IDENTIFY = 0xf2,
    MOUSE_RATE = 0xf3,
    MOUSE_ENABLE = 0xf4,
    MOUSE_DISABLE = 0xf5,
    MOUSE_DEFAULTS = 0xf6,
    MOUSE_RESEND = 0xfe,
    MOUSE_RESET = 0xff,
};
enum { REPLY_SELF_TEST_OK = 0xaa, REPLY_ACK = 0xfa, REPLY_RESEND = 0xfe };
enum { STATUS_SCALE21 = 0x10, STATUS_ENABLED = 0x20, STATUS_REMOTE = 0x40 };
enum { ID_STANDARD = 0, ID_WHEEL = 3, ID_EXPLORER = 4 };

#define DEFAULT_RATE       100
#define DEFAULT_RESOLUTION 2    /* 4 counts a millimetre */
#define LIMIT              2047 /* of what adds up while nobody reads */
#define MAX_STEP           255  /* nine bits with sign */
#define LOW_BUTTONS        0x07

static void changed(Ps2Mouse *mouse)
{
    mouse->wire.changed(mouse->wire.opaque);
}

static void reply(Ps2Mouse *mouse, uint8_t byte)
{
    ps2_queue_reply(&mouse->queue, byte);
}

/* ---- Packets ---- */

/* Scaling 2:1 of a step (table in "Set Scaling 2:1"). */
static int scale(int step)
{
    static const int small[] = {0, 1, 1, 3, 6, 9};
    int size = step < 0 ? -step : step;
    size = size < (int)G_N_ELEMENTS(small) ? small[size] : 2 * size;
    return step < 0 ? -size : size;
}

/* Takes as much as a packet holds off *sum. */
static int take_step(int32_t *sum, int limit, bool scaled)
{
    int step = CLAMP(*sum, -limit, limit);
    *sum -= step;
    return scaled ? CLAMP(scale(step), -MAX_STEP, MAX_STEP) : step;
}

static unsigned packet_length(const Ps2Mouse *mouse)
{
    return mouse->id == ID_STANDARD ? 3 : 4;
}

/* Makes a packet of what has added up. */
static void make_packet(Ps2Mouse *mouse, uint8_t packet[4], bool scaled)
{
    int dx = take_step(&mouse->dx, MAX_STEP, scaled);
    int dy = -take_step(&mouse->dy, MAX_STEP, scaled);
    int dz = take_step(&mouse->dz, 7, false);
    packet[0] = (uint8_t)(0x08 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0) |
                          (mouse->buttons & LOW_BUTTONS));
    packet[1] = (uint8_t)dx;
    packet[2] = (uint8_t)dy;
    packet[3] = (uint8_t)dz;
    if (mouse->id == ID_EXPLORER)
        packet[3] = (uint8_t)((dz & 0x0f) | (mouse->buttons & ~LOW_BUTTONS) << 1);
    mouse->told_buttons = mouse->buttons;
}

static bool moved(const Ps2Mouse *mouse)
{
    return mouse->dx || mouse->dy || mouse->dz;
}

static bool streaming(const Ps2Mouse *mouse)
{
    return mouse->enabled && !mouse->remote && !mouse->wrap;
}

static void put_packet(Ps2Mouse *mouse, int64_t now)
{
    uint8_t packet[4];
    make_packet(mouse, packet, mouse->scale21);
    ps2_queue_put(&mouse->queue, packet, packet_length(mouse), PS2_FIFO);
    mouse->next_packet = now + NS_PER_SEC / MAX(mouse->rate, 10);
}

/* Stream mode: tells what there is to tell, now or when the sample time has passed. */
static void stream(Ps2Mouse *mouse)
{
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (!streaming(mouse))
        return;
    if (mouse->buttons != mouse->told_buttons) {
        if (mouse->queue.fifo_count + packet_length(mouse) <= PS2_FIFO)
            put_packet(mouse, now);
    } else if (moved(mouse) && !mouse->queue.fifo_count) {
        if (now >= mouse->next_packet)
            put_packet(mouse, now);
        else
            timer_arm(&mouse->timer, mouse->next_packet);
    }
}

static void sample_time(void *opaque)
{
    Ps2Mouse *mouse = opaque;
    stream(mouse);
    changed(mouse);
}

/* ---- Input ---- */

static bool listening(const Ps2Mouse *mouse)
{
    return !mouse->wrap && (mouse->enabled || mouse->remote);
}

/* The sum saturates before it can overflow, whatever the host sends. */
static void add_up(int32_t *sum, int step)
{
    *sum = CLAMP(*sum + CLAMP(step, -LIMIT, LIMIT), -LIMIT, LIMIT);
}

static void mouse_move(void *opaque, int dx, int dy, int dz)
{
    Ps2Mouse *mouse = opaque;
    if (!listening(mouse))
        return;
    add_up(&mouse->dx, dx);
    add_up(&mouse->dy, dy);
    if (mouse->id != ID_STANDARD)
        add_up(&mouse->dz, dz);
}

static void mouse_button(void *opaque, InputButton button, bool down)
{
    static const uint8_t bits[] = {
        [BUTTON_LEFT] = 0x01, [BUTTON_RIGHT] = 0x02, [BUTTON_MIDDLE] = 0x04,
        [BUTTON_SIDE] = 0x08, [BUTTON_EXTRA] = 0x10,
    };
    Ps2Mouse *mouse = opaque;
    uint8_t bit = (unsigned)button < G_N_ELEMENTS(bits) ? bits[button] : 0;
    if (mouse->id != ID_EXPLORER)
        bit &= LOW_BUTTONS;
    stream(mouse); /* a press that is not yet told must not be undone by its release */
    mouse->buttons = down ? mouse->buttons | bit : mouse->buttons & (uint8_t)~bit;
}

static void mouse_sync(void *opaque)
{
    Ps2Mouse *mouse = opaque;
    stream(mouse);
    changed(mouse);
}

static const InputOps mouse_ops = {.move = mouse_move, .button = mouse_button, .sync = mouse_sync};

/* ---- Commands ---- */

/* Forgets movement, and packets that were not read. */
static void forget(Ps2Mouse *mouse)
{
    ps2_queue_clear(&mouse->queue, false);
    mouse->dx = mouse->dy = mouse->dz = 0;
    timer_cancel(&mouse->timer);
}

static void set_defaults(Ps2Mouse *mouse)
{
    mouse->rate = DEFAULT_RATE;
    mouse->resolution = DEFAULT_RESOLUTION;
    mouse->command = 0;
    mouse->enabled = mouse->remote = mouse->wrap = mouse->scale21 = false;
    memset(mouse->rates, 0, sizeof(mouse->rates));
    forget(mouse);
}

/* The rates 200, 100, 80 ask for the wheel; 200, 200, 80 for the side buttons, too. */
static void take_rate(Ps2Mouse *mouse, uint8_t rate)
{
    mouse->rate = rate;
    mouse->rates[0] = mouse->rates[1];
    mouse->rates[1] = mouse->rates[2];
    mouse->rates[2] = rate;
    if (mouse->rates[0] == 200 && mouse->rates[1] == 100 && rate == 80)
        mouse->id = ID_WHEEL;
    else if (mouse->rates[0] == 200 && mouse->rates[1] == 200 && rate == 80)
        mouse->id = ID_EXPLORER;
}

static void reply_status(Ps2Mouse *mouse)
{
    uint8_t b = mouse->buttons;
    reply(mouse,
          (uint8_t)((mouse->remote ? STATUS_REMOTE : 0) | (mouse->enabled ? STATUS_ENABLED : 0) |
                    (mouse->scale21 ? STATUS_SCALE21 : 0) | (b & 0x01 ? 0x04 : 0) |
                    (b & 0x04 ? 0x02 : 0) | (b & 0x02 ? 0x01 : 0)));
    reply(mouse, mouse->resolution);
    reply(mouse, mouse->rate);
}

static void reply_packet(Ps2Mouse *mouse)
{
    uint8_t packet[4];
    make_packet(mouse, packet, false);
    for (unsigned i = 0; i < packet_length(mouse); i++)
        reply(mouse, packet[i]);
}

static void take_argument(Ps2Mouse *mouse, uint8_t byte)
{
    if (mouse->command == MOUSE_RATE)
        take_rate(mouse, byte);
    else
        mouse->resolution = byte & 3;
    mouse->command = 0;
    reply(mouse, REPLY_ACK);
}

static void take_command(Ps2Mouse *mouse, uint8_t command)
{
    if (command == MOUSE_RESEND) {
        reply(mouse, mouse->queue.last);
        return;
    }
    if (command < MOUSE_SCALE11 || command == 0xed || command == 0xef || command == 0xf1 ||
        (command > MOUSE_DEFAULTS && command < MOUSE_RESEND)) {
        guest_error("ps2-mouse: unknown command 0x%02x", command);
        reply(mouse, REPLY_RESEND);
        return;
    }
    reply(mouse, REPLY_ACK);
    switch (command) {
    case MOUSE_SCALE11:
    case MOUSE_SCALE21:
        mouse->scale21 = command == MOUSE_SCALE21;
        break;
    case MOUSE_RESOLUTION:
    case MOUSE_RATE:
        mouse->command = command;
        break;
    case MOUSE_STATUS:
        reply_status(mouse);
        break;
    case MOUSE_STREAM:
    case MOUSE_REMOTE:
        mouse->remote = command == MOUSE_REMOTE;
        forget(mouse);
        break;
    case MOUSE_READ_DATA:
        reply_packet(mouse);
        break;
    case MOUSE_RESET_WRAP: /* outside wrap mode: nothing to end */
        break;
    case MOUSE_WRAP:
        mouse->wrap = true;
        forget(mouse);
        break;
    case MOUSE_IDENTIFY:
        reply(mouse, mouse->id);
        break;
    case MOUSE_ENABLE:
    case MOUSE_DISABLE:
        mouse->enabled = command == MOUSE_ENABLE;
        mouse->told_buttons = mouse->buttons;
        forget(mouse);
        break;
    case MOUSE_DEFAULTS:
        set_defaults(mouse);
        break;
    case MOUSE_RESET:
        set_defaults(mouse);
        mouse->id = ID_STANDARD;
        reply(mouse, REPLY_SELF_TEST_OK);
        reply(mouse, ID_STANDARD);
        break;
    }
}

void ps2_mouse_write(Ps2Mouse *mouse, uint8_t byte)
{
    mouse->queue.reply_count = 0;
    if (mouse->wrap && byte != MOUSE_RESET && byte != MOUSE_RESET_WRAP) {
        reply(mouse, byte);
    } else if (mouse->command && byte < MOUSE_SCALE11) {
        take_argument(mouse, byte);
    } else {
        mouse->command = 0;
        mouse->wrap = false;
        take_command(mouse, byte);
    }
    changed(mouse);
}

bool ps2_mouse_readable(const Ps2Mouse *mouse)
{
    return ps2_queue_readable(&mouse->queue);
}

uint8_t ps2_mouse_read(Ps2Mouse *mouse)
{
    uint8_t byte = ps2_queue_read(&mouse->queue);
    stream(mouse);
    return byte;
}

/* ---- Life ---- */

void ps2_mouse_init(Ps2Mouse *mouse, Ps2Wire wire)
{
    mouse->wire = wire;
    timer_init(&mouse->timer, loop_main(), VM_CLOCK_VIRTUAL, sample_time, mouse);
    input_register(&mouse_ops, mouse);
}

void ps2_mouse_fini(Ps2Mouse *mouse)
{
    timer_cancel(&mouse->timer);
    input_unregister(mouse);
}

static bool mouse_post_load(void *state, GError **error)
{
    Ps2Mouse *mouse = state;
    if (mouse->id != ID_STANDARD && mouse->id != ID_WHEEL && mouse->id != ID_EXPLORER)
        return fail(error, "ps2-mouse: there is no mouse with id %u", mouse->id);
    if (mouse->command && mouse->command != MOUSE_RATE && mouse->command != MOUSE_RESOLUTION)
        return fail(error, "ps2-mouse: command 0x%02x has no argument", mouse->command);
    mouse->buttons &= 0x1f;
    mouse->dx = CLAMP(mouse->dx, -LIMIT, LIMIT);
    mouse->dy = CLAMP(mouse->dy, -LIMIT, LIMIT);
    mouse->dz = CLAMP(mouse->dz, -LIMIT, LIMIT);
    mouse->next_packet = MIN(mouse->next_packet, clock_now(VM_CLOCK_VIRTUAL) + NS_PER_SEC);
    return true;
}

static const StateField mouse_fields[] = {
    STATE_HOST(Ps2Mouse, wire),
    STATE_STRUCT(Ps2Mouse, queue, &ps2_queue_state),
    STATE_U(Ps2Mouse, id, ID_STANDARD),
    STATE_U(Ps2Mouse, rate, DEFAULT_RATE),
    STATE_U(Ps2Mouse, resolution, DEFAULT_RESOLUTION),
    STATE_U(Ps2Mouse, command, 0),
    STATE_BYTES(Ps2Mouse, rates),
    STATE_U(Ps2Mouse, enabled, false),
    STATE_U(Ps2Mouse, remote, false),
    STATE_U(Ps2Mouse, wrap, false),
    STATE_U(Ps2Mouse, scale21, false),
    STATE_U(Ps2Mouse, buttons, 0),
    STATE_U(Ps2Mouse, told_buttons, 0),
    STATE_U(Ps2Mouse, dx, 0),
    STATE_U(Ps2Mouse, dy, 0),
    STATE_U(Ps2Mouse, dz, 0),
    STATE_U(Ps2Mouse, next_packet, 0),
    STATE_TIMER(Ps2Mouse, timer),
    STATE_END,
};
const StateDesc ps2_mouse_state = {
    .name = "ps2-mouse",
    .version = 1,
    .size = sizeof(Ps2Mouse),
    .fields = mouse_fields,
    .post_load = mouse_post_load,
};
