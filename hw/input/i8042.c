/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * i8042: the keyboard controller of the PC/AT and PS/2, with a PS/2 keyboard and mouse.
 * IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
 *
 * One output buffer holds the next byte from the keyboard, the mouse or the controller itself; it
 * is filled again when the guest has read it.  Between two bytes of keys lies a millisecond, as on
 * the wire: DOS programs read port 60h and chain to a handler that reads the same byte once more.
 */
#include "hw/core/isa.h"
#include "hw/input/ps2.h"
#include "hw/registry.h"
#include "util/error.h"
#include "util/log.h"

enum {
    STATUS_OBF = 0x01, /* output buffer full */
    STATUS_SYSTEM = 0x04,
    STATUS_COMMAND = 0x08, /* the last write was to port 64h */
    STATUS_UNLOCKED = 0x10,
    STATUS_AUX = 0x20, /* the output buffer holds a byte of the mouse */
};
enum {
    MODE_KBD_INT = 0x01,
    MODE_AUX_INT = 0x02,
    MODE_SYSTEM = 0x04,
    MODE_KBD_OFF = 0x10,
    MODE_AUX_OFF = 0x20,
    MODE_TRANSLATE = 0x40,
};
enum {
    OUT_NOT_RESET = 0x01,
    OUT_A20 = 0x02,
    OUT_KBD_FULL = 0x10, /* IRQ1 */
    OUT_AUX_FULL = 0x20, /* IRQ12 */
    OUT_CLOCKS = 0xc0,   /* keyboard data and clock, idle */
};
/* Commands, port 64h. */
enum {
    CMD_READ_RAM = 0x20,  /* to 0x3f; byte 0 is the mode */
    CMD_WRITE_RAM = 0x60, /* to 0x7f */
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_TEST_AUX = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_TEST_KBD = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_FAKE_KBD = 0xd2, /* the next byte comes back as if from the keyboard */
    CMD_FAKE_AUX = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_PULSE = 0xf0, /* to 0xff: pulses the output lines whose bits are 0 */
};
#define RAM_SIZE     32
#define INPUT_PORT   0x80 /* keyboard not locked */
#define KBD_BYTE_GAP NS_PER_MS
#define BREAK_PREFIX 0xf0

typedef struct I8042 {
    Device dev;
    Region data_io, command_io;
    IrqLine kbd_irq, aux_irq;
    Ps2Keyboard kbd;
    Ps2Mouse mouse;
    uint8_t status, output, ram[RAM_SIZE]; /* ram[0]: the mode */
    uint8_t command;                       /* that waits for its byte at port 60h, 0: none */
    uint8_t reply;                         /* of the controller, waits for the output buffer */
    bool reply_waits, reply_aux;
    bool output_is_key;
    int64_t next_key; /* guest time before which no byte of a key follows */
    Timer key_timer;
} I8042;

/* Scan code set 2 to set 1, codes below 0x88; the others stay as they are. */
/* clang-format off */
static const uint8_t translation[0x88] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54, 0x85, 0x86, 0x87,
};
/* clang-format on */

static uint8_t mode(const I8042 *s)
{
    return s->ram[0];
}

/* ---- The output buffer ---- */

static void update_irqs(I8042 *s)
{
    bool full = s->status & STATUS_OBF, aux = s->status & STATUS_AUX;
    irq_set(&s->kbd_irq, full && !aux && (mode(s) & MODE_KBD_INT) && !(mode(s) & MODE_KBD_OFF));
    irq_set(&s->aux_irq, full && aux && (mode(s) & MODE_AUX_INT));
}

static void fill(I8042 *s, uint8_t byte, bool aux, bool is_key)
{
    s->output = byte;
    s->output_is_key = is_key;
    s->status |= STATUS_OBF | (aux ? STATUS_AUX : 0);
    update_irqs(s);
}

/* Takes a byte, or a break prefix and its code, from the keyboard. */
static void fill_from_keyboard(I8042 *s)
{
    bool is_key = ps2_keyboard_next_is_key(&s->kbd);
    uint8_t byte = ps2_keyboard_read(&s->kbd), released = 0;
    if (mode(s) & MODE_TRANSLATE) {
        if (byte == BREAK_PREFIX && is_key && ps2_keyboard_readable(&s->kbd)) {
            byte = ps2_keyboard_read(&s->kbd);
            released = 0x80;
        }
        if (byte < sizeof(translation))
            byte = translation[byte];
        byte |= released;
    }
    fill(s, byte, false, is_key);
}

/* False: nothing, or not yet. */
static bool keyboard_ready(I8042 *s)
{
    if ((mode(s) & MODE_KBD_OFF) || !ps2_keyboard_readable(&s->kbd))
        return false;
    if (!ps2_keyboard_next_is_key(&s->kbd) || clock_now(VM_CLOCK_VIRTUAL) >= s->next_key)
        return true;
    timer_arm(&s->key_timer, s->next_key);
    return false;
}

/* Puts the next byte into the output buffer, if that is empty and there is one. */
static void refill(I8042 *s)
{
    if (s->status & STATUS_OBF)
        return;
    if (s->reply_waits) {
        s->reply_waits = false;
        fill(s, s->reply, s->reply_aux, false);
    } else if (keyboard_ready(s)) {
        fill_from_keyboard(s);
    } else if (!(mode(s) & MODE_AUX_OFF) && ps2_mouse_readable(&s->mouse)) {
        fill(s, ps2_mouse_read(&s->mouse), true, false);
    }
}

/* A key, or the mouse, wakes a guest that sleeps. */
static void wire_changed(void *opaque)
{
    machine_request_wakeup(((I8042 *)opaque)->dev.machine, WAKE_OTHER);
    refill(opaque);
}

static void key_time(void *opaque)
{
    refill(opaque);
}

static void reply(I8042 *s, uint8_t byte, bool aux)
{
    s->reply = byte;
    s->reply_aux = aux;
    s->reply_waits = true;
    refill(s);
}

/* An empty buffer still shows the last byte. */
static uint64_t data_read(void *opaque, hwaddr offset, unsigned size)
{
    I8042 *s = opaque;
    uint8_t byte = s->output;
    if (s->status & STATUS_OBF) {
        if (s->output_is_key)
            s->next_key = clock_now(VM_CLOCK_VIRTUAL) + KBD_BYTE_GAP;
        s->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX);
        update_irqs(s);
        refill(s);
    }
    return byte;
}

/* ---- Commands ---- */

static void set_mode(I8042 *s, uint8_t value)
{
    s->ram[0] = value;
    s->status = (s->status & (uint8_t)~STATUS_SYSTEM) | (value & MODE_SYSTEM ? STATUS_SYSTEM : 0);
    update_irqs(s);
    refill(s);
}

static uint8_t output_port(const I8042 *s)
{
    uint8_t value = OUT_NOT_RESET | OUT_CLOCKS | (s->dev.machine->a20 ? OUT_A20 : 0);
    if (s->status & STATUS_OBF)
        value |= s->status & STATUS_AUX ? OUT_AUX_FULL : OUT_KBD_FULL;
    return value;
}

static void write_output_port(I8042 *s, uint8_t value)
{
    machine_set_a20(s->dev.machine, value & OUT_A20);
    if (!(value & OUT_NOT_RESET))
        machine_request_reset(s->dev.machine, RESET_GUEST);
}

static void command(I8042 *s, uint8_t command)
{
    switch (command) {
    case CMD_READ_RAM ... CMD_READ_RAM + RAM_SIZE - 1:
        reply(s, s->ram[command - CMD_READ_RAM], false);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_SIZE - 1:
    case CMD_WRITE_OUTPUT:
    case CMD_FAKE_KBD:
    case CMD_FAKE_AUX:
    case CMD_WRITE_AUX:
        s->command = command;
        break;
    case CMD_AUX_OFF:
        set_mode(s, mode(s) | MODE_AUX_OFF);
        break;
    case CMD_AUX_ON:
        set_mode(s, mode(s) & (uint8_t)~MODE_AUX_OFF);
        break;
    case CMD_TEST_AUX:
    case CMD_TEST_KBD:
        reply(s, 0x00, false);
        break;
    case CMD_SELF_TEST:
        set_mode(s, mode(s) | MODE_SYSTEM);
        reply(s, 0x55, false);
        break;
    case CMD_KBD_OFF:
        set_mode(s, mode(s) | MODE_KBD_OFF);
        break;
    case CMD_KBD_ON:
        set_mode(s, mode(s) & (uint8_t)~MODE_KBD_OFF);
        break;
    case CMD_READ_INPUT:
        reply(s, INPUT_PORT, false);
        break;
    case CMD_READ_OUTPUT:
        reply(s, output_port(s), false);
        break;
    case CMD_A20_OFF:
    case CMD_A20_ON:
        machine_set_a20(s->dev.machine, command == CMD_A20_ON);
        break;
    case CMD_PULSE ... CMD_PULSE + 15:
        /* A pulse on A20 is over before any program could see it. */
        if (!(command & OUT_NOT_RESET))
            machine_request_reset(s->dev.machine, RESET_GUEST);
        break;
    default:
        guest_unimp("i8042: command 0x%02x", command);
        break;
    }
}

static void command_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    I8042 *s = opaque;
    s->status |= STATUS_COMMAND;
    s->command = 0;
    command(s, (uint8_t)value);
}

static uint64_t status_read(void *opaque, hwaddr offset, unsigned size)
{
    return ((I8042 *)opaque)->status;
}

static void data_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    I8042 *s = opaque;
    uint8_t byte = (uint8_t)value, target = s->command;

    s->status &= (uint8_t)~STATUS_COMMAND;
    s->command = 0;
    switch (target) {
    case 0: /* a byte for a device switches its clock on */
        ps2_keyboard_write(&s->kbd, byte);
        set_mode(s, mode(s) & (uint8_t)~MODE_KBD_OFF);
        break;
    case CMD_WRITE_RAM:
        set_mode(s, byte);
        break;
    case CMD_WRITE_RAM + 1 ... CMD_WRITE_RAM + RAM_SIZE - 1:
        s->ram[target - CMD_WRITE_RAM] = byte;
        break;
    case CMD_WRITE_OUTPUT:
        write_output_port(s, byte);
        break;
    case CMD_FAKE_KBD:
    case CMD_FAKE_AUX:
        reply(s, byte, target == CMD_FAKE_AUX);
        break;
    case CMD_WRITE_AUX:
        ps2_mouse_write(&s->mouse, byte);
        set_mode(s, mode(s) & (uint8_t)~MODE_AUX_OFF);
        break;
    }
}

static const RegionOps data_ops = {data_read, data_write, .max_size = 1};
static const RegionOps command_ops = {status_read, command_write, .max_size = 1};

/* ---- Life ---- */

static bool i8042_realize(Device *dev, GError **error)
{
    I8042 *s = (I8042 *)dev;
    IsaBus *bus = isa_bus(dev->machine);
    Ps2Wire wire = {wire_changed, s};

    s->kbd_irq = isa_irq(bus, 1);
    s->aux_irq = isa_irq(bus, 12);
    timer_init(&s->key_timer, loop_main(), VM_CLOCK_VIRTUAL, key_time, s);
    ps2_keyboard_init(&s->kbd, wire);
    ps2_mouse_init(&s->mouse, wire);
    region_init_io(&s->data_io, "i8042-data", 1, &data_ops, s, NULL);
    region_init_io(&s->command_io, "i8042-cmd", 1, &command_ops, s, NULL);
    isa_map(bus, 0x60, &s->data_io);
    isa_map(bus, 0x64, &s->command_io);
    return true;
}

static void i8042_reset(Device *dev)
{
    I8042 *s = (I8042 *)dev;
    s->ram[0] = MODE_KBD_INT | MODE_AUX_INT;
    ps2_keyboard_reset(&s->kbd);
    update_irqs(s);
}

static void i8042_unrealize(Device *dev)
{
    I8042 *s = (I8042 *)dev;
    timer_cancel(&s->key_timer);
    ps2_keyboard_fini(&s->kbd);
    ps2_mouse_fini(&s->mouse);
    region_fini(&s->data_io);
    region_fini(&s->command_io);
}

static bool i8042_post_load(void *state, GError **error)
{
    I8042 *s = state;
    bool waits = s->command >= CMD_WRITE_RAM && s->command < CMD_WRITE_RAM + RAM_SIZE;
    waits |= s->command >= CMD_WRITE_OUTPUT && s->command <= CMD_WRITE_AUX;
    if (s->command && !waits)
        return fail(error, "i8042: command 0x%02x has no argument", s->command);
    s->next_key = MIN(s->next_key, clock_now(VM_CLOCK_VIRTUAL) + KBD_BYTE_GAP);
    return true;
}

static const StateField i8042_fields[] = {
    STATE_HOST(I8042, dev),
    STATE_HOST(I8042, data_io),
    STATE_HOST(I8042, command_io),
    STATE_HOST(I8042, kbd_irq),
    STATE_HOST(I8042, aux_irq),
    STATE_STRUCT(I8042, kbd, &ps2_keyboard_state),
    STATE_STRUCT(I8042, mouse, &ps2_mouse_state),
    STATE_U(I8042, status, STATUS_COMMAND | STATUS_UNLOCKED),
    STATE_U(I8042, output, 0),
    STATE_BYTES(I8042, ram),
    STATE_U(I8042, command, 0),
    STATE_U(I8042, reply, 0),
    STATE_U(I8042, reply_waits, false),
    STATE_U(I8042, reply_aux, false),
    STATE_U(I8042, output_is_key, false),
    STATE_U(I8042, next_key, 0),
    STATE_TIMER(I8042, key_timer),
    STATE_END,
};
static const StateDesc i8042_state = {
    .name = "i8042",
    .version = 1,
    .size = sizeof(I8042),
    .fields = i8042_fields,
    .post_load = i8042_post_load,
};

const DeviceClass i8042_class = {
    .name = "i8042",
    .desc = "keyboard controller with PS/2 keyboard and mouse",
    .bus = BUS_ISA,
    .size = sizeof(I8042),
    .state = &i8042_state,
    .realize = i8042_realize,
    .reset = i8042_reset,
    .unrealize = i8042_unrealize,
};
