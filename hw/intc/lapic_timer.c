/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's timer (Intel SDM vol. 3, 11.5.4).
 *
 * Its input clock is 1 GHz, so a tick of divide-by-1 is a nanosecond of the virtual clock.  The
 * count follows from the clock; a Timer is armed only while the LVT entry lets interrupts out.
 * Periods missed by a late host merge; interrupts are at least 10 us apart.
 */
#include "lapic_private.h"

#define MIN_GAP_NS (10 * NS_PER_US)

enum { TIMER_ONE_SHOT = 0, TIMER_PERIODIC = 1, TIMER_DEADLINE = 2 };

static unsigned timer_mode(const Lapic *s)
{
    return s->lvt[LVT_TIMER] >> 17 & 3;
}

bool lapic_timer_deadline_mode(const Lapic *s)
{
    return timer_mode(s) == TIMER_DEADLINE;
}

/* Bits 0, 1 and 3: 000 divides by 2, ... 110 by 128, 111 by 1. */
static unsigned divide_shift(const Lapic *s)
{
    return ((s->divide & 3) + (s->divide >> 1 & 4) + 1) & 7;
}

static int64_t period_ns(const Lapic *s)
{
    return (int64_t)s->initial_count << divide_shift(s);
}

uint32_t lapic_timer_count(const Lapic *s)
{
    uint64_t elapsed = (uint64_t)(clock_now(VM_CLOCK_VIRTUAL) - s->count_start) >> divide_shift(s);
    if (!s->initial_count || lapic_timer_deadline_mode(s))
        return 0;
    if (timer_mode(s) == TIMER_PERIODIC)
        return s->initial_count - elapsed % s->initial_count;
    return elapsed < s->initial_count ? s->initial_count - elapsed : 0;
}

/* Virtual time of the next expiry, or -1. */
static int64_t next_expiry(const Lapic *s)
{
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (lapic_timer_deadline_mode(s)) {
        if (!s->deadline)
            return -1;
        return s->tsc_to_clock ? s->tsc_to_clock(s->cpu, s->deadline)
                               : (int64_t)MIN(s->deadline, INT64_MAX);
    }
    if (!s->initial_count)
        return -1;
    if (timer_mode(s) == TIMER_PERIODIC)
        return s->count_start + ((now - s->count_start) / period_ns(s) + 1) * period_ns(s);
    /* A count that ran out while masked is over; one whose Timer is late is not. */
    int64_t end = s->count_start + period_ns(s);
    return end > now || timer_armed(&s->timer) ? end : -1;
}

/* A deadline that is reached while the entry is masked is over, and nobody is told later. */
static void forget_missed_deadline(Lapic *s)
{
    if (lapic_timer_deadline_mode(s) && s->deadline && (s->lvt[LVT_TIMER] & LVT_MASKED) &&
        next_expiry(s) <= clock_now(VM_CLOCK_VIRTUAL))
        s->deadline = 0;
}

static void timer_schedule(Lapic *s, int64_t earliest)
{
    int64_t next = next_expiry(s);
    if (next < 0 || s->lvt[LVT_TIMER] & LVT_MASKED)
        timer_cancel(&s->timer);
    else
        timer_arm(&s->timer, MAX(next, earliest));
}

static void timer_expire(void *opaque)
{
    Lapic *s = opaque;
    s->deadline = 0;
    timer_schedule(s, clock_now(VM_CLOCK_VIRTUAL) + MIN_GAP_NS);
    lapic_accept_lvt(s, LVT_TIMER);
}

void lapic_timer_setup(Lapic *s)
{
    timer_init(&s->timer, s->dev.machine->loop, VM_CLOCK_VIRTUAL, timer_expire, s);
}

void lapic_timer_set_count(Lapic *s, uint32_t value)
{
    if (lapic_timer_deadline_mode(s))
        return;
    timer_cancel(&s->timer);
    s->initial_count = value;
    s->count_start = clock_now(VM_CLOCK_VIRTUAL);
    timer_schedule(s, 0);
}

void lapic_timer_set_divide(Lapic *s, uint32_t value)
{
    int64_t count = lapic_timer_count(s);
    s->divide = value & 0x0b;
    s->count_start =
        clock_now(VM_CLOCK_VIRTUAL) - ((int64_t)(s->initial_count - count) << divide_shift(s));
    timer_schedule(s, 0);
}

void lapic_timer_set_lvt(Lapic *s, uint32_t value)
{
    bool was_deadline = lapic_timer_deadline_mode(s);
    forget_missed_deadline(s);
    s->lvt[LVT_TIMER] = value;
    if (was_deadline != lapic_timer_deadline_mode(s)) {
        s->initial_count = 0;
        s->deadline = 0;
    }
    timer_schedule(s, 0);
}

uint64_t lapic_timer_deadline(Lapic *s)
{
    forget_missed_deadline(s);
    return s->deadline;
}

void lapic_timer_tsc_changed(Lapic *s)
{
    if (s->deadline)
        timer_schedule(s, 0);
}

void lapic_timer_set_deadline(Lapic *s, uint64_t tsc)
{
    if (!lapic_timer_deadline_mode(s))
        return;
    s->deadline = tsc;
    timer_schedule(s, 0);
}
