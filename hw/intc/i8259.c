/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two 8259A programmable interrupt controllers, cascaded through IR2 as in every PC.
 *
 * Follows Intel's 8259A datasheet (231468) and, for ELCR, the 82371SB (PIIX3) datasheet, 2.5.
 * One liberty, shared with other emulators of this board: an edge stays latched when its line drops
 * before the acknowledge, so that a device may pulse its line.  That holds for IR2, too, which is
 * latched as long as the slave requests, so that none of its requests falls between two edges.
 */
#include "hw/intc/i8259.h"

#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/log.h"

#define CASCADE 2 /* the input of the master that the slave drives */

enum { ICW1_IC4 = 0x01, ICW1_SNGL = 0x02, ICW1_INIT = 0x10 };
enum { ICW4_UPM = 0x01, ICW4_AEOI = 0x02, ICW4_SFNM = 0x10 };
enum {
    OCW3_RIS = 0x01,
    OCW3_RR = 0x02,
    OCW3_P = 0x04,
    OCW3 = 0x08,
    OCW3_SMM = 0x20,
    OCW3_ESMM = 0x40
};
/* The R, SL and EOI bits of OCW2. */
enum {
    OCW2_CLEAR_ROTATE_AEOI = 0,
    OCW2_EOI = 1,
    OCW2_SPECIFIC_EOI = 3,
    OCW2_SET_ROTATE_AEOI = 4,
    OCW2_ROTATE_EOI = 5,
    OCW2_SET_PRIORITY = 6,
    OCW2_ROTATE_SPECIFIC_EOI = 7,
};

typedef struct Pic {
    const char *name;
    bool master;
    uint8_t elcr_mask; /* inputs that may be level-triggered */
    uint8_t lines;     /* levels of the inputs */
    uint8_t irr, isr, imr;
    uint8_t elcr;
    uint8_t base;     /* ICW2: vector of input 0 */
    uint8_t lowest;   /* input of lowest priority; the next one has the highest */
    uint8_t next_icw; /* what the data port takes next: ICW 2, 3 or 4, or 0 for OCW1 */
    bool single, needs_icw4;
    bool auto_eoi, rotate_on_aeoi, special_mask, fully_nested;
    bool poll, read_isr;
} Pic;

typedef struct I8259 {
    Device dev;
    Region io[2], elcr_io[2];
    IrqLine intr;
    Pic chip[2]; /* master, slave */
    bool intr_level;
} I8259;

/* ---- One chip ---- */

static bool pic_cascades(const Pic *pic)
{
    return pic->master && !pic->single;
}

static unsigned pic_input_of_rank(const Pic *pic, unsigned rank)
{
    return (pic->lowest + 1 + rank) & 7;
}

/* Rank (0 is first) of the most important input in a set; 8 if it is empty. */
static unsigned pic_rank(const Pic *pic, uint8_t set)
{
    unsigned rank = 0;
    while (rank < 8 && !(set & 1 << pic_input_of_rank(pic, rank)))
        rank++;
    return rank;
}

/* The input that requests service now, or -1. */
static int pic_pending(const Pic *pic)
{
    unsigned request = pic_rank(pic, pic->irr & ~pic->imr);
    unsigned serving = pic_rank(pic, pic->special_mask ? pic->isr & ~pic->imr : pic->isr);
    if (request == 8)
        return -1;
    unsigned input = pic_input_of_rank(pic, request);
    bool nested = pic->fully_nested && pic_cascades(pic) && input == CASCADE;
    return request < serving || (nested && request == serving) ? (int)input : -1;
}

static void pic_set_line(Pic *pic, unsigned input, bool level)
{
    uint8_t bit = 1 << input;
    bool rises = level && !(pic->lines & bit);
    pic->lines = level ? pic->lines | bit : pic->lines & ~bit;
    if (pic->elcr & bit)
        pic->irr = level ? pic->irr | bit : pic->irr & ~bit;
    else if (rises)
        pic->irr |= bit;
}

static void pic_serve(Pic *pic, unsigned input)
{
    pic->irr &= ~(1 << input) | pic->elcr;
    if (!pic->auto_eoi)
        pic->isr |= 1 << input;
    else if (pic->rotate_on_aeoi)
        pic->lowest = input;
}

/* A poll command makes the next read an acknowledge (datasheet: "Poll Command"). */
static uint8_t pic_poll(Pic *pic)
{
    int input = pic_pending(pic);
    pic->poll = false;
    if (input < 0)
        return 0;
    pic_serve(pic, input);
    return 0x80 | input;
}

static void pic_write_icw1(Pic *pic, uint8_t value)
{
    pic->irr = pic->lines & pic->elcr; /* the edge latches are cleared */
    pic->isr = pic->imr = 0;
    pic->lowest = 7;
    pic->auto_eoi = pic->rotate_on_aeoi = pic->special_mask = pic->fully_nested = false;
    pic->poll = pic->read_isr = false;
    pic->single = value & ICW1_SNGL;
    pic->needs_icw4 = value & ICW1_IC4;
    pic->next_icw = 2;
    if (!pic->needs_icw4)
        guest_unimp("%s: MCS-80 mode (ICW1 without IC4)", pic->name);
}

static void pic_write_icw4(Pic *pic, uint8_t value)
{
    pic->auto_eoi = value & ICW4_AEOI;
    pic->fully_nested = value & ICW4_SFNM;
    if (!(value & ICW4_UPM))
        guest_unimp("%s: MCS-80 mode (ICW4 0x%02x)", pic->name, value);
}

static void pic_write_ocw2(Pic *pic, uint8_t value)
{
    unsigned command = value >> 5, input = value & 7;
    if (command == OCW2_EOI || command == OCW2_ROTATE_EOI) {
        /* In special mask mode a masked input is not ended by a non-specific EOI. */
        unsigned rank = pic_rank(pic, pic->special_mask ? pic->isr & ~pic->imr : pic->isr);
        if (rank == 8)
            return;
        input = pic_input_of_rank(pic, rank);
    }
    switch (command) {
    case OCW2_EOI:
    case OCW2_SPECIFIC_EOI:
        pic->isr &= ~(1 << input);
        break;
    case OCW2_ROTATE_EOI:
    case OCW2_ROTATE_SPECIFIC_EOI:
        pic->isr &= ~(1 << input);
        pic->lowest = input;
        break;
    case OCW2_SET_PRIORITY:
        pic->lowest = input;
        break;
    case OCW2_SET_ROTATE_AEOI:
    case OCW2_CLEAR_ROTATE_AEOI:
        pic->rotate_on_aeoi = command == OCW2_SET_ROTATE_AEOI;
        break;
    }
}

static void pic_write_ocw3(Pic *pic, uint8_t value)
{
    if (value & OCW3_P)
        pic->poll = true;
    else if (value & OCW3_RR)
        pic->read_isr = value & OCW3_RIS;
    if (value & OCW3_ESMM)
        pic->special_mask = value & OCW3_SMM;
}

static void pic_write_command(Pic *pic, uint8_t value)
{
    if (value & ICW1_INIT)
        pic_write_icw1(pic, value);
    else if (value & OCW3)
        pic_write_ocw3(pic, value);
    else
        pic_write_ocw2(pic, value);
}

static void pic_write_data(Pic *pic, uint8_t value)
{
    uint8_t after_icw3 = pic->needs_icw4 ? 4 : 0;
    switch (pic->next_icw) {
    case 0:
        pic->imr = value;
        break;
    case 2:
        pic->base = value & 0xf8;
        pic->next_icw = pic->single ? after_icw3 : 3;
        break;
    case 3: /* where the slave sits is wired; a guest can only get it wrong */
        if (value != (pic->master ? 1 << CASCADE : CASCADE))
            guest_error("%s: ICW3 0x%02x does not fit the cascade on IR2", pic->name, value);
        pic->next_icw = after_icw3;
        break;
    case 4:
        pic_write_icw4(pic, value);
        pic->next_icw = 0;
        break;
    }
}

static void pic_write_elcr(Pic *pic, uint8_t value)
{
    uint8_t to_edge = pic->elcr;
    pic->elcr = value & pic->elcr_mask;
    to_edge &= ~pic->elcr;
    pic->irr = (pic->irr & ~pic->elcr & ~to_edge) | (pic->lines & pic->elcr);
}

/* ---- The pair ---- */

static void i8259_update(I8259 *s)
{
    if (pic_cascades(&s->chip[0]) && pic_pending(&s->chip[1]) >= 0)
        s->chip[0].irr |= 1 << CASCADE;
    bool level = pic_pending(&s->chip[0]) >= 0;
    if (level == s->intr_level)
        return;
    s->intr_level = level;
    irq_set(&s->intr, level);
}

static void i8259_input(void *opaque, unsigned n, bool level)
{
    I8259 *s = opaque;
    if (n == CASCADE)
        return;
    pic_set_line(&s->chip[n / 8], n % 8, level);
    i8259_update(s);
}

int i8259_ack(Device *dev)
{
    I8259 *s = (I8259 *)dev;
    Pic *pic = &s->chip[0];
    int input = pic_pending(pic);
    if (input < 0)
        return pic->base + 7;
    pic_serve(pic, input);
    if (input == CASCADE && pic_cascades(pic)) {
        pic = &s->chip[1];
        input = pic_pending(pic);
        if (input >= 0)
            pic_serve(pic, input);
        else
            input = 7;
    }
    i8259_update(s);
    return pic->base + input;
}

static I8259 *i8259_of(Pic *pic)
{
    return container_of(pic->master ? pic : pic - 1, I8259, chip[0]);
}

static uint64_t i8259_read(void *opaque, hwaddr offset, unsigned size)
{
    Pic *pic = opaque;
    if (pic->poll) {
        uint8_t value = pic_poll(pic);
        i8259_update(i8259_of(pic));
        return value;
    }
    if (offset == 1)
        return pic->imr;
    return pic->read_isr ? pic->isr : pic->irr;
}

static void i8259_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Pic *pic = opaque;
    if (offset == 0)
        pic_write_command(pic, value);
    else
        pic_write_data(pic, value);
    i8259_update(i8259_of(pic));
}

static uint64_t elcr_read(void *opaque, hwaddr offset, unsigned size)
{
    return ((Pic *)opaque)->elcr;
}

static void elcr_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    pic_write_elcr(opaque, value);
    i8259_update(i8259_of(opaque));
}

static const RegionOps i8259_ops = {i8259_read, i8259_write, .max_size = 1};
static const RegionOps elcr_ops = {elcr_read, elcr_write, .max_size = 1};

void i8259_connect(Device *dev, IrqLine intr)
{
    ((I8259 *)dev)->intr = intr;
}

PinState i8259_pin_state(Device *dev, unsigned input)
{
    const Pic *pic = &((const I8259 *)dev)->chip[input >> 3 & 1];
    uint8_t bit = 1 << (input & 7);
    if (pic->imr & bit || pic->elcr & bit)
        return PIN_MASKED;
    return pic->irr & bit ? PIN_WAITS : PIN_FREE;
}

void pic_describe(Device *dev, GString *out)
{
    for (int i = 1; i >= 0; i--) {
        const Pic *pic = &((I8259 *)dev)->chip[i];
        g_string_append_printf(out,
                               "pic%d: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x "
                               "rr_sel=%d elcr=%02x fnm=%d\n",
                               i, pic->irr, pic->imr, pic->isr, (pic->lowest + 1) & 7, pic->base,
                               pic->read_isr, pic->elcr, pic->fully_nested);
    }
}

/* ---- The device ---- */

static bool i8259_realize(Device *dev, GError **error)
{
    I8259 *s = (I8259 *)dev;
    IsaBus *bus = isa_bus(dev->machine);
    s->chip[0].name = "pic0";
    s->chip[0].master = true;
    s->chip[0].elcr_mask = 0xf8; /* IRQ0, 1, 2 are edges */
    s->chip[1].name = "pic1";
    s->chip[1].elcr_mask = 0xde; /* IRQ8, 13 are edges */
    for (unsigned i = 0; i < 2; i++) {
        region_init_io(&s->io[i], s->chip[i].name, 2, &i8259_ops, &s->chip[i], NULL);
        region_init_io(&s->elcr_io[i], "elcr", 1, &elcr_ops, &s->chip[i], NULL);
        isa_map(bus, i ? 0xa0 : 0x20, &s->io[i]);
        isa_map(bus, 0x4d0 + i, &s->elcr_io[i]);
    }
    device_init_inputs(dev, i8259_input, ISA_IRQS);
    return true;
}

static void i8259_reset(Device *dev)
{
    irq_lower(&((I8259 *)dev)->intr);
}

static void i8259_unrealize(Device *dev)
{
    I8259 *s = (I8259 *)dev;
    for (unsigned i = 0; i < 2; i++) {
        region_fini(&s->io[i]);
        region_fini(&s->elcr_io[i]);
    }
}

static bool pic_post_load(void *state, GError **error)
{
    Pic *pic = state;
    pic->elcr &= pic->elcr_mask;
    pic->base &= 0xf8;
    pic->lowest &= 7;
    if (pic->next_icw > 4 || pic->next_icw == 1)
        pic->next_icw = 0;
    return true;
}

static bool i8259_post_load(void *state, GError **error)
{
    I8259 *s = state;
    irq_set(&s->intr, s->intr_level);
    return true;
}

static const StateField pic_fields[] = {
    STATE_HOST(Pic, name),
    STATE_HOST(Pic, master),
    STATE_HOST(Pic, elcr_mask),
    STATE_U(Pic, lines, 0),
    STATE_U(Pic, irr, 0),
    STATE_U(Pic, isr, 0),
    STATE_U(Pic, imr, 0),
    STATE_U(Pic, elcr, 0),
    STATE_U(Pic, base, 0),
    STATE_U(Pic, lowest, 7),
    STATE_U(Pic, next_icw, 0),
    STATE_U(Pic, single, false),
    STATE_U(Pic, needs_icw4, false),
    STATE_U(Pic, auto_eoi, false),
    STATE_U(Pic, rotate_on_aeoi, false),
    STATE_U(Pic, special_mask, false),
    STATE_U(Pic, fully_nested, false),
    STATE_U(Pic, poll, false),
    STATE_U(Pic, read_isr, false),
    STATE_END,
};
static const StateDesc pic_state = {"i8259", 1, sizeof(Pic), pic_fields,
                                    .post_load = pic_post_load};

static const StateField i8259_fields[] = {
    STATE_HOST(I8259, dev),
    STATE_HOST(I8259, io),
    STATE_HOST(I8259, elcr_io),
    STATE_HOST(I8259, intr),
    STATE_STRUCT_ARRAY(I8259, chip, &pic_state),
    STATE_U(I8259, intr_level, false),
    STATE_END,
};
static const StateDesc i8259_state = {"isa-i8259", 1, sizeof(I8259), i8259_fields,
                                      .post_load = i8259_post_load};

const DeviceClass i8259_class = {
    .name = "isa-i8259",
    .desc = "pair of 8259A interrupt controllers with ELCR",
    .bus = BUS_ISA,
    .size = sizeof(I8259),
    .state = &i8259_state,
    .realize = i8259_realize,
    .reset = i8259_reset,
    .unrealize = i8259_unrealize,
};
