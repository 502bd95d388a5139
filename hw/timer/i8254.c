/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 8254 programmable interval timer: Intel's datasheet 231164.
 *
 * Nothing ticks.  A channel remembers the tick at which its counting element was loaded; the count
 * and OUT follow from the virtual clock when somebody looks.  Only IRQ0 needs a timer, armed for
 * the next rising edge of OUT of channel 0: one event a period.  In modes 2 and 3 the line carries
 * a pulse for each such edge and is low between, so that it can share an interrupt controller's
 * pin; in the other modes it carries OUT.
 *
 * Late ticks: with lost_tick_policy=delay (the default) no edge is forgotten.  When the host was
 * late, edges follow each other at twice their rate until the guest is level with virtual time; a
 * lag of more than a second is written off.  An edge that would find the one before still waiting
 * at an interrupt controller, since the host keeps the vCPU from running, is held back and tried
 * again half a period later, within the same second.  With "discard" missed edges are gone.  Either
 * way two edges are at least 10 us apart, so that a tiny count cannot occupy the main loop.
 */
#include "hw/timer/i8254.h"

#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/log.h"
#include "util/timer.h"

#define MAX_LAG_NS NS_PER_SEC
#define MIN_GAP_NS (10 * NS_PER_US)
#define MAX_TICK   (1LL << 52) /* a century of guest time */

enum { ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };
enum { POLICY_DELAY, POLICY_DISCARD };

typedef struct PitChannel {
    int64_t start;     /* tick of the load, moved on by the ticks for which the gate held it */
    int64_t held;      /* elapsed ticks while it does not count */
    int64_t switch_at; /* reload_pending: the tick at which the counting element takes count */
    uint32_t count;    /* count register, 1 to 65536; 0: none written since the control word */
    uint32_t period;   /* what the counting element was loaded with; 0: never */
    uint8_t mode;      /* 0 to 5 */
    uint8_t access;
    bool bcd;
    bool gate;
    bool loaded; /* since the control word */
    bool counting;
    bool reload_pending; /* modes 2 and 3: a new count waits for the end of the (half) cycle */
    bool null_count;     /* count has not reached the counting element */
    bool write_high, read_high; /* the next byte of a two-byte access is the high one */
    uint8_t write_low;
    bool count_latched, status_latched;
    uint16_t latch;
    uint8_t status;
} PitChannel;

typedef struct Pit {
    Device dev;
    Region io;
    IrqLine irq;
    I8254WaitsFn *waits; /* whether the edge before still waits, or NULL */
    void *waits_opaque;
    int policy; /* property */
    PitChannel channel[I8254_CHANNELS];
    Timer timer;  /* IRQ0 */
    int64_t edge; /* the tick of the edge that the timer stands for */
} Pit;

/* ---- A channel; now is in ticks ---- */

static int64_t pit_elapsed(const PitChannel *ch, int64_t now)
{
    return ch->counting ? MAX(now - ch->start, 0) : ch->held;
}

/* Mode 3: ticks of a cycle for which OUT is high. */
static uint32_t high_ticks(uint32_t period)
{
    return (period + 1) / 2;
}

static bool pit_cyclic(const PitChannel *ch)
{
    return ch->mode == 2 || ch->mode == 3;
}

static void pit_start(PitChannel *ch, int64_t now)
{
    ch->period = ch->count;
    ch->start = now;
    ch->held = 0;
    ch->loaded = true;
    ch->counting = true;
    ch->null_count = ch->reload_pending = false;
}

static void pit_stop(PitChannel *ch, int64_t now)
{
    ch->held = pit_elapsed(ch, now);
    ch->counting = false;
}

/* Does what happened since the last look: a new count taken at the end of a (half) cycle. */
static void pit_settle(PitChannel *ch, int64_t now)
{
    if (!ch->reload_pending || !ch->counting || now < ch->switch_at)
        return;
    bool in_cycle = (ch->switch_at - ch->start) % ch->period;
    pit_start(ch, in_cycle ? ch->switch_at - high_ticks(ch->count) : ch->switch_at);
}

static bool pit_out(const PitChannel *ch, int64_t now)
{
    int64_t elapsed = pit_elapsed(ch, now), n = ch->period;
    switch (ch->mode) {
    case 0:
        return ch->loaded && elapsed >= n;
    case 1:
        return !ch->loaded || elapsed >= n;
    case 2:
        return !ch->counting || elapsed % n != n - 1;
    case 3:
        return !ch->counting || elapsed % n < high_ticks(ch->period);
    default: /* 4 and 5 */
        return !ch->loaded || elapsed != n;
    }
}

/* What the counting element shows. */
static uint16_t pit_read_count(const PitChannel *ch, int64_t now)
{
    int64_t elapsed = pit_elapsed(ch, now), n = ch->period, modulus = ch->bcd ? 10000 : 65536;
    int64_t value;
    if (!n)
        return 0;
    if (ch->mode == 2) {
        value = n - elapsed % n;
    } else if (ch->mode == 3) {
        int64_t high = high_ticks(ch->period), phase = elapsed % n;
        value = (n & ~1) - 2 * (phase < high ? phase : phase - high);
    } else {
        value = n - elapsed % modulus + modulus;
    }
    value %= modulus;
    return ch->bcd ? to_bcd(value / 100) << 8 | to_bcd(value % 100) : value;
}

/* The first tick after `after` at which OUT rises, or -1. */
static int64_t pit_next_rise(const PitChannel *ch, int64_t after)
{
    int64_t n = ch->period, tick = -1;
    if (!ch->counting)
        return -1;
    if (pit_cyclic(ch)) {
        if (n < 2)
            return -1;
        if (ch->mode == 3 && ch->reload_pending && (ch->switch_at - ch->start) % n)
            tick = ch->switch_at + ch->count / 2;
        else
            tick = ch->start + (MAX(after - ch->start, 0) / n + 1) * n;
    } else if (ch->mode == 0) {
        tick = ch->start + n;
    } else if (ch->mode == 4) {
        tick = ch->start + n + 1;
    }
    return tick > after ? tick : -1;
}

/* A whole count has been written. */
static void pit_write_count(PitChannel *ch, uint16_t value, int64_t now)
{
    uint32_t count = ch->bcd ? from_bcd(value >> 8) * 100 + from_bcd(value & 0xff) : value;
    ch->count = count ? count : ch->bcd ? 10000 : 65536;
    ch->null_count = true;
    if (ch->mode == 1 || ch->mode == 5)
        return; /* waits for a trigger */
    if (pit_cyclic(ch) && ch->loaded) {
        /* The cycle under way ends first; if the gate holds it, its rise loads the count. */
        if (!ch->counting || ch->reload_pending)
            return;
        int64_t n = ch->period, phase = pit_elapsed(ch, now) % n, high = high_ticks(ch->period);
        bool in_high = ch->mode == 3 && phase < high;
        ch->switch_at = now + (in_high ? high : n) - phase;
        ch->reload_pending = true;
        return;
    }
    pit_start(ch, now);
    if (!ch->gate)
        pit_stop(ch, now);
}

static void pit_write_byte(PitChannel *ch, uint8_t value, int64_t now)
{
    if (ch->access != ACCESS_BOTH) {
        pit_write_count(ch, ch->access == ACCESS_HIGH ? value << 8 : value, now);
        return;
    }
    ch->write_high = !ch->write_high;
    if (!ch->write_high) {
        pit_write_count(ch, value << 8 | ch->write_low, now);
        return;
    }
    ch->write_low = value;
    if (ch->mode == 0) { /* the first byte stops it, with OUT low */
        pit_stop(ch, now);
        ch->loaded = false;
    }
}

static uint8_t pit_read_byte(PitChannel *ch, int64_t now)
{
    if (ch->status_latched) {
        ch->status_latched = false;
        return ch->status;
    }
    uint16_t value = ch->count_latched ? ch->latch : pit_read_count(ch, now);
    bool high = ch->access == ACCESS_BOTH ? ch->read_high : ch->access == ACCESS_HIGH;
    if (ch->access == ACCESS_BOTH)
        ch->read_high = !ch->read_high;
    if (high || ch->access == ACCESS_LOW)
        ch->count_latched = false;
    return high ? value >> 8 : value;
}

static void pit_latch_count(PitChannel *ch, int64_t now)
{
    if (ch->count_latched)
        return;
    ch->latch = pit_read_count(ch, now);
    ch->count_latched = true;
}

static void pit_latch_status(PitChannel *ch, int64_t now)
{
    if (ch->status_latched)
        return;
    ch->status =
        pit_out(ch, now) << 7 | ch->null_count << 6 | ch->access << 4 | ch->mode << 1 | ch->bcd;
    ch->status_latched = true;
}

static void pit_set_mode(PitChannel *ch, uint8_t control, int64_t now)
{
    uint8_t mode = control >> 1 & 7;
    pit_stop(ch, now);
    ch->access = control >> 4 & 3;
    ch->mode = mode > 5 ? mode - 4 : mode; /* bit 2 is "don't care" for modes 2 and 3 */
    ch->bcd = control & 1;
    ch->count = 0;
    ch->loaded = ch->reload_pending = false;
    ch->null_count = true;
    ch->write_high = ch->read_high = ch->count_latched = ch->status_latched = false;
}

static void pit_set_gate(PitChannel *ch, bool level, int64_t now)
{
    bool rises = level && !ch->gate, pauses = ch->mode != 1 && ch->mode != 5;
    ch->gate = level;
    if (!level && ch->counting && pauses)
        pit_stop(ch, now);
    if (!rises || !ch->count)
        return;
    if (ch->mode != 0 && ch->mode != 4) {
        pit_start(ch, now);
    } else if (ch->loaded) {
        ch->start = now - ch->held;
        ch->counting = true;
    }
}

/* ---- The chip ---- */

static int64_t pit_now(void)
{
    return ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL), I8254_HZ);
}

static void pit_arm(Pit *s, int64_t edge, int64_t earliest_ns)
{
    s->edge = edge;
    if (edge < 0)
        timer_cancel(&s->timer);
    else
        timer_arm(&s->timer, MAX(ticks_to_ns(edge, I8254_HZ), earliest_ns));
}

/* After the guest changed channel 0. */
static void pit_update_irq(Pit *s, int64_t now)
{
    irq_set(&s->irq, !pit_cyclic(&s->channel[0]) && pit_out(&s->channel[0], now));
    pit_arm(s, pit_next_rise(&s->channel[0], now), clock_now(VM_CLOCK_VIRTUAL) + MIN_GAP_NS);
}

/* The guest has not yet taken the edge before: this one would be lost. */
static bool pit_hold(Pit *s, int64_t now_ns)
{
    const PitChannel *ch = &s->channel[0];
    if (!pit_cyclic(ch) || s->policy != POLICY_DELAY || !s->waits ||
        now_ns - ticks_to_ns(s->edge, I8254_HZ) > MAX_LAG_NS || !s->waits(s->waits_opaque))
        return false;
    pit_arm(s, s->edge, now_ns + MAX(MIN_GAP_NS, ticks_to_ns(ch->period / 2, I8254_HZ)));
    return true;
}

static void pit_timer(void *opaque)
{
    Pit *s = opaque;
    PitChannel *ch = &s->channel[0];
    int64_t now_ns = clock_now(VM_CLOCK_VIRTUAL), gap_ns = MIN_GAP_NS;
    if (pit_hold(s, now_ns))
        return;
    pit_settle(ch, s->edge);
    int64_t next = pit_next_rise(ch, s->edge);
    int64_t late_ns = next < 0 ? 0 : now_ns - ticks_to_ns(next, I8254_HZ);
    if (late_ns > 0 && (s->policy == POLICY_DISCARD || late_ns > MAX_LAG_NS)) {
        pit_settle(ch, pit_now());
        next = pit_next_rise(ch, pit_now());
    } else if (late_ns > 0) {
        gap_ns = MAX(gap_ns, ticks_to_ns((next - s->edge) / 2, I8254_HZ));
    }
    pit_arm(s, next, now_ns + gap_ns);
    irq_lower(&s->irq); /* mode 4: the strobe */
    irq_raise(&s->irq);
    if (pit_cyclic(ch))
        irq_lower(&s->irq);
}

static void pit_read_back(Pit *s, uint8_t command, int64_t now)
{
    for (unsigned i = 0; i < I8254_CHANNELS; i++) {
        if (!(command & 2 << i))
            continue;
        pit_settle(&s->channel[i], now);
        if (!(command & 0x20))
            pit_latch_count(&s->channel[i], now);
        if (!(command & 0x10))
            pit_latch_status(&s->channel[i], now);
    }
}

static void pit_write_control(Pit *s, uint8_t value, int64_t now)
{
    unsigned channel = value >> 6;
    if (channel == 3) {
        pit_read_back(s, value, now);
        return;
    }
    pit_settle(&s->channel[channel], now);
    if (!(value & 0x30)) {
        pit_latch_count(&s->channel[channel], now);
        return;
    }
    pit_set_mode(&s->channel[channel], value, now);
    if (channel == 0)
        pit_update_irq(s, now);
}

static void pit_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Pit *s = opaque;
    int64_t now = pit_now();
    if (offset == 3) {
        pit_write_control(s, value, now);
        return;
    }
    pit_settle(&s->channel[offset], now);
    pit_write_byte(&s->channel[offset], value, now);
    if (offset == 0)
        pit_update_irq(s, now);
}

static uint64_t pit_read(void *opaque, hwaddr offset, unsigned size)
{
    Pit *s = opaque;
    int64_t now = pit_now();
    if (offset == 3) {
        guest_error("isa-pit: the control word register cannot be read");
        return 0;
    }
    pit_settle(&s->channel[offset], now);
    return pit_read_byte(&s->channel[offset], now);
}

static const RegionOps pit_ops = {pit_read, pit_write, .max_size = 1};

/* ---- The device ---- */

void i8254_connect(Device *dev, IrqLine irq)
{
    ((Pit *)dev)->irq = irq;
}

void i8254_connect_waits(Device *dev, I8254WaitsFn *waits, void *opaque)
{
    ((Pit *)dev)->waits = waits;
    ((Pit *)dev)->waits_opaque = opaque;
}

void i8254_set_gate(Device *dev, unsigned channel, bool level)
{
    Pit *s = (Pit *)dev;
    int64_t now = pit_now();
    pit_settle(&s->channel[channel], now);
    pit_set_gate(&s->channel[channel], level, now);
    if (channel == 0)
        pit_update_irq(s, now);
}

bool i8254_gate(Device *dev, unsigned channel)
{
    return ((Pit *)dev)->channel[channel].gate;
}

bool i8254_out(Device *dev, unsigned channel)
{
    Pit *s = (Pit *)dev;
    int64_t now = pit_now();
    pit_settle(&s->channel[channel], now);
    return pit_out(&s->channel[channel], now);
}

static bool pit_realize(Device *dev, GError **error)
{
    Pit *s = (Pit *)dev;
    timer_init(&s->timer, dev->machine->loop, VM_CLOCK_VIRTUAL, pit_timer, s);
    region_init_io(&s->io, "pit", 4, &pit_ops, s, NULL);
    isa_map(isa_bus(dev->machine), 0x40, &s->io);
    return true;
}

/* The datasheet leaves power-on undefined.  Here all channels are in mode 0
 * without a count, OUT low, and nothing runs until the guest asks for it. */
static void pit_reset(Device *dev)
{
    Pit *s = (Pit *)dev;
    s->channel[2].gate = false;
    irq_lower(&s->irq);
}

static void pit_unrealize(Device *dev)
{
    region_fini(&((Pit *)dev)->io);
}

static bool pit_channel_post_load(void *state, GError **error)
{
    PitChannel *ch = state;
    ch->count = MIN(ch->count, 65536);
    ch->period = MIN(ch->period, 65536);
    ch->mode = MIN(ch->mode, 5);
    ch->access = ch->access & 3 ? ch->access & 3 : ACCESS_BOTH;
    ch->loaded = ch->loaded && ch->period;
    ch->counting = ch->counting && ch->period;
    ch->reload_pending = ch->reload_pending && ch->count && ch->counting;
    ch->start = CLAMP(ch->start, -MAX_TICK, MAX_TICK);
    ch->held = CLAMP(ch->held, 0, MAX_TICK);
    ch->switch_at = CLAMP(ch->switch_at, -MAX_TICK, MAX_TICK);
    return true;
}

static const StateField pit_channel_fields[] = {
    STATE_U(PitChannel, start, 0),
    STATE_U(PitChannel, held, 0),
    STATE_U(PitChannel, switch_at, 0),
    STATE_U(PitChannel, count, 0),
    STATE_U(PitChannel, period, 0),
    STATE_U(PitChannel, mode, 0),
    STATE_U(PitChannel, access, ACCESS_BOTH),
    STATE_U(PitChannel, bcd, false),
    STATE_U(PitChannel, gate, true),
    STATE_U(PitChannel, loaded, false),
    STATE_U(PitChannel, counting, false),
    STATE_U(PitChannel, reload_pending, false),
    STATE_U(PitChannel, null_count, true),
    STATE_U(PitChannel, write_high, false),
    STATE_U(PitChannel, read_high, false),
    STATE_U(PitChannel, write_low, 0),
    STATE_U(PitChannel, count_latched, false),
    STATE_U(PitChannel, status_latched, false),
    STATE_U(PitChannel, latch, 0),
    STATE_U(PitChannel, status, 0),
    STATE_END,
};
static const StateDesc pit_channel_state = {"i8254-channel", 1, sizeof(PitChannel),
                                            pit_channel_fields, .post_load = pit_channel_post_load};

static bool pit_post_load(void *state, GError **error)
{
    Pit *s = state;
    s->edge = CLAMP(s->edge, -1, MAX_TICK);
    return true;
}

static const StateField pit_fields[] = {
    STATE_HOST(Pit, dev),
    STATE_HOST(Pit, io),
    STATE_HOST(Pit, irq),
    STATE_HOST(Pit, waits),
    STATE_HOST(Pit, waits_opaque),
    STATE_HOST(Pit, policy),
    STATE_STRUCT_ARRAY(Pit, channel, &pit_channel_state),
    STATE_TIMER(Pit, timer),
    STATE_U(Pit, edge, UINT64_MAX),
    STATE_END,
};
static const StateDesc pit_state = {"isa-pit", 1, sizeof(Pit), pit_fields,
                                    .post_load = pit_post_load};

static const char *const policies[] = {"delay", "discard", NULL};
static const Prop pit_props[] = {
    PROP_FIELD(Pit, policy, "lost_tick_policy", PROP_ENUM, .value = POLICY_DELAY, .words = policies,
               .help = "what becomes of ticks that the host delivers late"),
    PROP_END,
};

const DeviceClass i8254_class = {
    .name = "isa-pit",
    .desc = "8254 programmable interval timer",
    .bus = BUS_ISA,
    .size = sizeof(Pit),
    .props = pit_props,
    .state = &pit_state,
    .realize = pit_realize,
    .reset = pit_reset,
    .unrealize = pit_unrealize,
};
