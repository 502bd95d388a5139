/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * High precision event timer: IA-PC HPET specification 1.0a.
 *
 * The counter follows from the virtual clock.  A comparator has a target, the next value of the
 * (64-bit) counter at which it matches; a Timer is armed for it only while its interrupt is
 * enabled.
 *
 * A comparator written with a value that has just gone by fires at once, where hardware would wait
 * for the counter to wrap: a virtual CPU may lose any amount of time between reading the counter
 * and writing the comparator.  Periods missed by a late host merge into one interrupt.  Interrupts
 * of one timer are at least 10 us apart, so that a tiny period cannot occupy the main loop.
 */
#include "hw/timer/hpet.h"

#include "hw/core/machine.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/log.h"
#include "util/timer.h"

#define TICK_NS    10
#define TICK_FS    10000000ull
#define MAX_TIMERS 24 /* as many as fit into the 1 KiB of registers */
#define MIN_GAP_NS (10 * NS_PER_US)
#define MAX_AHEAD  (1ull << 58) /* ticks that still fit a clock of nanoseconds */

/* Offsets of the registers, each 64 bits wide. */
enum { GCAP_ID = 0x000, GEN_CONF = 0x010, GINTR_STA = 0x020, MAIN_CNT = 0x0f0, TIMERS = 0x100 };
enum { TIM_CONF = 0x00, TIM_COMP = 0x08, TIM_FSB = 0x10 };

enum { ENABLE_CNF = 0x1, LEG_RT_CNF = 0x2 };
#define CAP_REVISION   0x01ull
#define CAP_COUNT_SIZE (1ull << 13)
#define CAP_LEGACY     (1ull << 15)
#define CAP_VENDOR     (0x8086ull << 16)

#define TN_LEVEL        (1ull << 1)
#define TN_INT_ENABLE   (1ull << 2)
#define TN_PERIODIC     (1ull << 3)
#define TN_PERIODIC_CAP (1ull << 4)
#define TN_SIZE_CAP     (1ull << 5)
#define TN_VAL_SET      (1ull << 6)
#define TN_32MODE       (1ull << 8)
#define TN_ROUTE_SHIFT  9
#define TN_ROUTE        (31ull << TN_ROUTE_SHIFT)
#define TN_FSB_ENABLE   (1ull << 14)
#define TN_FSB_CAP      (1ull << 15)
#define TN_WRITABLE                                                                                \
    (TN_LEVEL | TN_INT_ENABLE | TN_PERIODIC | TN_VAL_SET | TN_32MODE | TN_ROUTE | TN_FSB_ENABLE)

typedef struct Hpet Hpet;

typedef struct HpetTimer {
    Hpet *hpet;
    unsigned n;
    Timer timer;
    uint64_t config; /* writable bits; capabilities are added when read */
    uint64_t comparator;
    uint64_t period;
    uint64_t fsb;
    uint64_t target; /* the counter at the next match */
    bool matches;    /* there will be one */
} HpetTimer;

struct Hpet {
    Device dev;
    Region io;
    IrqLine gsi[HPET_GSIS], legacy[2];
    uint8_t timer_count; /* properties */
    bool msi;
    uint32_t intcap;
    uint64_t config, status;
    uint64_t counter; /* its value at `since`, or where it was halted */
    int64_t since;
    uint64_t driven; /* levels of the outputs: gsi 0 to 31, then legacy */
    uint8_t inputs;
    HpetTimer timer[MAX_TIMERS];
};

static bool hpet_enabled(const Hpet *s)
{
    return s->config & ENABLE_CNF;
}

static uint64_t hpet_counter(const Hpet *s)
{
    if (!hpet_enabled(s))
        return s->counter;
    return s->counter + (uint64_t)(clock_now(VM_CLOCK_VIRTUAL) - s->since) / TICK_NS;
}

/* ---- Outputs ---- */

/* The output of a timer, as a bit of `driven`. */
static uint64_t timer_output(const HpetTimer *t)
{
    if (t->hpet->config & LEG_RT_CNF && t->n < 2)
        return 1ull << (HPET_GSIS + t->n);
    return 1ull << (t->config >> TN_ROUTE_SHIFT & 31);
}

static void hpet_set_outputs(Hpet *s, uint64_t levels)
{
    uint64_t changed = s->driven ^ levels;
    s->driven = levels;
    for (unsigned n = 0; changed >> n; n++)
        if (changed >> n & 1)
            irq_set(n < HPET_GSIS ? &s->gsi[n] : &s->legacy[n - HPET_GSIS], levels >> n & 1);
}

/* Brings the outputs to what status bits and legacy inputs say. */
static void hpet_update(Hpet *s)
{
    uint64_t levels = s->config & LEG_RT_CNF ? 0 : (uint64_t)s->inputs << HPET_GSIS;
    for (unsigned n = 0; n < s->timer_count; n++)
        if (s->status >> n & 1)
            levels |= timer_output(&s->timer[n]);
    hpet_set_outputs(s, levels);
}

static void timer_interrupt(HpetTimer *t)
{
    Hpet *s = t->hpet;
    if (t->config & TN_FSB_ENABLE) {
        machine_msi(s->dev.machine, t->fsb >> 32, (uint32_t)t->fsb);
    } else if (t->config & TN_LEVEL) {
        s->status |= 1ull << t->n;
        hpet_update(s);
    } else {
        hpet_set_outputs(s, s->driven | timer_output(t));
        hpet_update(s);
    }
}

static void hpet_input(void *opaque, unsigned n, bool level)
{
    Hpet *s = opaque;
    s->inputs = bits_set(s->inputs, n, 1, level);
    hpet_update(s);
}

/* ---- Comparators ---- */

static uint64_t timer_cut(const HpetTimer *t, uint64_t value)
{
    return t->config & TN_32MODE ? (uint32_t)value : value;
}

/* Finds the target of the comparator.  written: the guest has just set it. */
static void timer_aim(HpetTimer *t, bool written)
{
    uint64_t now = hpet_counter(t->hpet), ahead = timer_cut(t, t->comparator - now);
    bool passed = t->config & TN_32MODE ? (int32_t)ahead < 0 : (int64_t)ahead < 0;
    if (passed && written)
        ahead = 0;
    t->target = now + ahead;
    t->matches = ahead < MAX_AHEAD;
}

/* Moves the target on to the first match after `now`. */
static void timer_advance(HpetTimer *t, uint64_t now)
{
    uint64_t step = t->config & TN_PERIODIC ? t->period : t->config & TN_32MODE ? 1ull << 32 : 0;
    if (!t->matches || (int64_t)(t->target - now) > 0)
        return;
    if (!step || step >= MAX_AHEAD) {
        t->matches = false;
        return;
    }
    t->target += ((now - t->target) / step + 1) * step;
    if (t->config & TN_PERIODIC)
        t->comparator = timer_cut(t, t->target);
}

/* Arms the timer for its target, or stops it. */
static void timer_schedule(HpetTimer *t, int64_t earliest_ns)
{
    Hpet *s = t->hpet;
    if (!hpet_enabled(s) || !(t->config & TN_INT_ENABLE) || !t->matches) {
        timer_cancel(&t->timer);
        return;
    }
    uint64_t ahead = t->target - s->counter; /* of `since` */
    if (ahead < MAX_AHEAD)
        timer_arm(&t->timer, MAX(s->since + (int64_t)ahead * TICK_NS, earliest_ns));
    else
        timer_cancel(&t->timer);
}

static void timer_fire(void *opaque)
{
    HpetTimer *t = opaque;
    timer_advance(t, hpet_counter(t->hpet));
    timer_schedule(t, clock_now(VM_CLOCK_VIRTUAL) + MIN_GAP_NS);
    timer_interrupt(t);
}

static uint64_t timer_read_config(const HpetTimer *t)
{
    return t->config | TN_PERIODIC_CAP | TN_SIZE_CAP | (t->hpet->msi ? TN_FSB_CAP : 0) |
           (uint64_t)t->hpet->intcap << 32;
}

/* A timer shows a status only while it may interrupt by level. */
static void hpet_check_status(Hpet *s)
{
    const uint64_t need = TN_LEVEL | TN_INT_ENABLE, used = need | TN_FSB_ENABLE;
    for (unsigned n = 0; n < s->timer_count; n++)
        if (!hpet_enabled(s) || (s->timer[n].config & used) != need)
            s->status &= ~(1ull << n);
    hpet_update(s);
}

static void timer_write_config(HpetTimer *t, uint64_t value)
{
    Hpet *s = t->hpet;
    uint64_t old = t->config;
    timer_advance(t, hpet_counter(s));
    t->config = value & TN_WRITABLE;
    if (!s->msi)
        t->config &= ~TN_FSB_ENABLE;
    if (!(s->intcap >> (t->config >> TN_ROUTE_SHIFT & 31) & 1))
        t->config = (t->config & ~TN_ROUTE) | (old & TN_ROUTE);
    if ((old ^ t->config) & TN_32MODE) {
        t->comparator = timer_cut(t, t->comparator);
        t->period = timer_cut(t, t->period);
        timer_aim(t, false);
    }
    timer_schedule(t, 0);
    hpet_check_status(s);
}

static void timer_write_comparator(HpetTimer *t, uint64_t value, uint64_t mask)
{
    bool periodic = t->config & TN_PERIODIC, sets = !periodic || t->config & TN_VAL_SET;
    mask = timer_cut(t, mask);
    if (!mask)
        return;
    if (periodic)
        t->period = (t->period & ~mask) | (value & mask);
    if (sets) {
        t->comparator = (t->comparator & ~mask) | (value & mask);
        timer_aim(t, hpet_enabled(t->hpet));
    }
    t->config &= ~TN_VAL_SET;
    timer_schedule(t, 0);
}

/* ---- Registers ---- */

static uint64_t hpet_capabilities(const Hpet *s)
{
    return CAP_REVISION | (s->timer_count - 1ull) << 8 | CAP_COUNT_SIZE | CAP_LEGACY | CAP_VENDOR |
           TICK_FS << 32;
}

static void hpet_write_config(Hpet *s, uint64_t value)
{
    uint64_t now = hpet_counter(s);
    for (unsigned n = 0; n < s->timer_count; n++)
        timer_advance(&s->timer[n], now);
    bool starts = !hpet_enabled(s) && value & ENABLE_CNF;
    s->counter = now;
    s->since = clock_now(VM_CLOCK_VIRTUAL);
    s->config = value & (ENABLE_CNF | LEG_RT_CNF);
    for (unsigned n = 0; n < s->timer_count; n++) {
        if (starts)
            timer_aim(&s->timer[n], false);
        timer_schedule(&s->timer[n], 0);
    }
    hpet_check_status(s);
}

/* The timer that an offset belongs to, or NULL. */
static HpetTimer *hpet_timer_at(Hpet *s, hwaddr reg)
{
    unsigned n = (reg - TIMERS) / 0x20;
    return reg >= TIMERS && n < s->timer_count ? &s->timer[n] : NULL;
}

static uint64_t hpet_read_timer(HpetTimer *t, hwaddr reg)
{
    switch (reg & 0x18) {
    case TIM_CONF:
        return timer_read_config(t);
    case TIM_COMP:
        if (!timer_armed(&t->timer)) /* nobody moved it on */
            timer_advance(t, hpet_counter(t->hpet));
        return t->comparator;
    case TIM_FSB:
        return t->fsb;
    }
    return 0;
}

static uint64_t hpet_read_register(Hpet *s, hwaddr reg)
{
    switch (reg) {
    case GCAP_ID:
        return hpet_capabilities(s);
    case GEN_CONF:
        return s->config;
    case GINTR_STA:
        return s->status;
    case MAIN_CNT:
        return hpet_counter(s);
    }
    guest_error("hpet: read of 0x%03x, where no register is", (unsigned)reg);
    return 0;
}

static void hpet_write_timer(HpetTimer *t, hwaddr reg, uint64_t value, uint64_t mask)
{
    switch (reg & 0x18) {
    case TIM_CONF:
        timer_write_config(t, (t->config & ~mask) | (value & mask));
        break;
    case TIM_COMP:
        timer_write_comparator(t, value, mask);
        break;
    case TIM_FSB:
        t->fsb = (t->fsb & ~mask) | (value & mask);
        break;
    }
}

static void hpet_write_register(Hpet *s, hwaddr reg, uint64_t value, uint64_t mask)
{
    switch (reg) {
    case GEN_CONF:
        hpet_write_config(s, (s->config & ~mask) | (value & mask));
        break;
    case GINTR_STA:
        s->status &= ~(value & mask);
        hpet_update(s);
        break;
    case MAIN_CNT:
        if (hpet_enabled(s))
            guest_error("hpet: write of the counter while it runs");
        else
            s->counter = (s->counter & ~mask) | (value & mask);
        break;
    default:
        guest_error("hpet: write to 0x%03x, where no writable register is", (unsigned)reg);
    }
}

static uint64_t hpet_read(void *opaque, hwaddr offset, unsigned size)
{
    hwaddr reg = offset & ~7ull;
    HpetTimer *t = hpet_timer_at(opaque, reg);
    return (t ? hpet_read_timer(t, reg) : hpet_read_register(opaque, reg)) >> 8 * (offset & 7);
}

static void hpet_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    unsigned shift = 8 * (offset & 7);
    hwaddr reg = offset & ~7ull;
    HpetTimer *t = hpet_timer_at(opaque, reg);
    if (t)
        hpet_write_timer(t, reg, value << shift, size_mask(size) << shift);
    else
        hpet_write_register(opaque, reg, value << shift, size_mask(size) << shift);
}

static const RegionOps hpet_ops = {hpet_read, hpet_write, .max_size = 8};

/* ---- The device ---- */

void hpet_connect(Device *dev, unsigned gsi, IrqLine line)
{
    ((Hpet *)dev)->gsi[gsi] = line;
}

void hpet_connect_legacy(Device *dev, unsigned n, IrqLine line)
{
    ((Hpet *)dev)->legacy[n] = line;
}

uint32_t hpet_block_id(Device *dev)
{
    return (uint32_t)hpet_capabilities((Hpet *)dev);
}

static bool hpet_realize(Device *dev, GError **error)
{
    Hpet *s = (Hpet *)dev;
    for (unsigned n = 0; n < MAX_TIMERS; n++) {
        HpetTimer *t = &s->timer[n];
        t->hpet = s;
        t->n = n;
        timer_init(&t->timer, dev->machine->loop, VM_CLOCK_VIRTUAL, timer_fire, t);
    }
    device_init_inputs(dev, hpet_input, 2);
    region_init_io(&s->io, "hpet", 0x400, &hpet_ops, s, NULL);
    region_add_overlap(&dev->machine->mem_root, HPET_BASE, &s->io, 1);
    return true;
}

/* A damaged snapshot may leave anything in the fields, those that reset keeps included. */
static void hpet_sanitize(Hpet *s)
{
    s->config &= ENABLE_CNF | LEG_RT_CNF;
    s->since = CLAMP(s->since, 0, INT64_MAX / 4);
    s->driven &= (1ull << (HPET_GSIS + 2)) - 1;
    s->inputs &= 3;
    for (unsigned n = 0; n < MAX_TIMERS; n++)
        s->timer[n].config &= TN_WRITABLE;
}

static void hpet_reset(Device *dev)
{
    hpet_sanitize((Hpet *)dev);
    hpet_update((Hpet *)dev);
}

static void hpet_unrealize(Device *dev)
{
    region_fini(&((Hpet *)dev)->io);
}

static bool hpet_post_load(void *state, GError **error)
{
    hpet_sanitize(state);
    return true;
}

static const StateField hpet_timer_fields[] = {
    STATE_HOST(HpetTimer, hpet),
    STATE_HOST(HpetTimer, n),
    STATE_TIMER(HpetTimer, timer),
    STATE_U(HpetTimer, config, 0),
    STATE_U(HpetTimer, comparator, UINT64_MAX),
    STATE_U(HpetTimer, period, 0),
    STATE_U(HpetTimer, fsb, 0),
    STATE_U(HpetTimer, target, 0),
    STATE_U(HpetTimer, matches, false),
    STATE_END,
};
static const StateDesc hpet_timer_state = {"hpet-timer", 1, sizeof(HpetTimer), hpet_timer_fields};

static const StateField hpet_fields[] = {
    STATE_HOST(Hpet, dev),
    STATE_HOST(Hpet, io),
    STATE_HOST(Hpet, gsi),
    STATE_HOST(Hpet, legacy),
    STATE_HOST(Hpet, timer_count),
    STATE_HOST(Hpet, msi),
    STATE_HOST(Hpet, intcap),
    STATE_U(Hpet, config, 0),
    STATE_U(Hpet, status, 0),
    STATE_U(Hpet, counter, 0),
    STATE_U(Hpet, since, 0),
    STATE_U_KEEP(Hpet, driven),
    STATE_U_KEEP(Hpet, inputs),
    STATE_STRUCT_ARRAY(Hpet, timer, &hpet_timer_state),
    STATE_END,
};
static const StateDesc hpet_state = {"hpet", 1, sizeof(Hpet), hpet_fields,
                                     .post_load = hpet_post_load};

static const Prop hpet_props[] = {
    PROP_FIELD(Hpet, timer_count, "timers", PROP_UINT, .value = 3, .min = 3, .max = MAX_TIMERS,
               .help = "number of comparators"),
    PROP_FIELD(Hpet, msi, "msi", PROP_BOOL, .help = "comparators can send MSIs (FSB delivery)"),
    PROP_FIELD(Hpet, intcap, "hpet-intcap", PROP_UINT, .value = 1 << 2,
               .help = "mask of I/O APIC pins that a comparator may be routed to"),
    PROP_END,
};

const DeviceClass hpet_class = {
    .name = "hpet",
    .desc = "high precision event timer",
    .size = sizeof(Hpet),
    .props = hpet_props,
    .state = &hpet_state,
    .realize = hpet_realize,
    .reset = hpet_reset,
    .unrealize = hpet_unrealize,
};
