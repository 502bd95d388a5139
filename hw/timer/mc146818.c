/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real-time clock and CMOS RAM: Motorola MC146818A (datasheet ADI1026), in the PC/AT's wiring.
 *
 * Time is not stored but derived: a clock of the host plus an offset, which setting the time
 * changes.  The flags of register C are found when somebody looks: did a second begin, did the
 * divider tick, did the alarm come since the last look?  So a timer is needed only while an
 * interrupt is enabled and its flag is not yet set.
 *
 * The periodic interrupt counts virtual time.  Ticks that come while PF is still set merge, as in
 * the chip.  The day of the week follows from the date.  Daylight saving (DSE) and the square wave
 * output (not wired in a PC) are bits without effect.
 */
#include "hw/timer/mc146818.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"
#include "util/timer.h"

#define DIVIDER_HZ  32768
#define UIP_NS      (244 * NS_PER_US) /* t_BUC: UIP is set that long before an update */
#define DAY_SECONDS 86400
#define MAX_SECOND  (1LL << 40) /* beyond every year that the registers can name */

enum {
    RTC_SECONDS = 0x00,
    RTC_SECONDS_ALARM = 0x01,
    RTC_MINUTES = 0x02,
    RTC_MINUTES_ALARM = 0x03,
    RTC_HOURS = 0x04,
    RTC_HOURS_ALARM = 0x05,
    RTC_WEEKDAY = 0x06,
    RTC_DAY = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_A = 0x0a,
    RTC_B = 0x0b,
    RTC_C = 0x0c,
    RTC_D = 0x0d,
    RTC_CENTURY = 0x32,
    RTC_CENTURY_PS2 = 0x37, /* where IBM put it; the same byte */
};

enum { A_RATE = 0x0f, A_DIVIDER = 0x70, A_UIP = 0x80 };
enum { A_DIVIDER_32K = 0x20, A_DIVIDER_RESET = 0x60 };
enum {
    B_24H = 0x02,
    B_DM = 0x04,
    B_SQWE = 0x08,
    B_UIE = 0x10,
    B_AIE = 0x20,
    B_PIE = 0x40,
    B_SET = 0x80
};
enum { C_UF = 0x10, C_AF = 0x20, C_PF = 0x40, C_IRQF = 0x80, C_FLAGS = 0x70 };
enum { D_VRT = 0x80 };

typedef struct Rtc {
    Device dev;
    Region io;
    IrqLine irq;
    char *base; /* properties */
    int clock;
    /* second = (clock + phase_ns) / 1 s + base_second; written registers change them. */
    int64_t base_second;
    int64_t phase_ns;
    int64_t last_second;  /* up to here UF and AF are known */
    int64_t last_tick;    /* up to here PF is known */
    int64_t divider_zero; /* tick at which the divider was reset */
    uint8_t index;
    uint8_t cmos[CMOS_SIZE]; /* registers too; time: as of rtc_show(); C: without IRQF */
    Timer timer;
} Rtc;

/* ---- The calendar ---- */

typedef struct RtcTime {
    int year, month, day; /* from 1; what a guest sets may be out of range */
    int hour, minute, second;
} RtcTime;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days from 1970-01-01 to the first of a month (from 0, may be above 11). */
static int64_t days_before(int64_t year, int month)
{
    static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    year += month / 12;
    month %= 12;
    int64_t leap = month >= 2 ? year : year - 1; /* the last year whose February has passed */
    int64_t leap_days = floor_div(leap, 4) - floor_div(leap, 100) + floor_div(leap, 400);
    return 365 * (year - 1970) + leap_days - 477 + before[month];
}

static int64_t time_to_seconds(const RtcTime *t)
{
    int64_t days = days_before(t->year - 1, t->month + 11) + t->day - 1;
    return days * DAY_SECONDS + t->hour * 3600 + t->minute * 60 + t->second;
}

static RtcTime seconds_to_time(int64_t seconds)
{
    int64_t days = floor_div(seconds, DAY_SECONDS), year = 1970 + floor_div(days * 400, 146097);
    int rest = (int)(seconds - days * DAY_SECONDS), month = 0;
    while (days_before(year, 0) > days)
        year--;
    while (days_before(year + 1, 0) <= days)
        year++;
    while (days_before(year, month + 1) <= days)
        month++;
    return (RtcTime){(int)year,   month + 1,      (int)(days - days_before(year, month)) + 1,
                     rest / 3600, rest / 60 % 60, rest % 60};
}

/* ---- Time ---- */

static int64_t rtc_clock(const Rtc *s)
{
    static const VmClock clocks[] = {VM_CLOCK_WALL, VM_CLOCK_HOST, VM_CLOCK_VIRTUAL};
    return clock_now(clocks[s->clock]) + s->phase_ns;
}

static int64_t rtc_second(const Rtc *s)
{
    return floor_div(rtc_clock(s), NS_PER_SEC) + s->base_second;
}

/* Nanoseconds of the current second. */
static int64_t rtc_fraction(const Rtc *s)
{
    return rtc_clock(s) - floor_div(rtc_clock(s), NS_PER_SEC) * NS_PER_SEC;
}

static void rtc_set_now(Rtc *s, int64_t second, int64_t fraction)
{
    s->phase_ns = (s->phase_ns + fraction - rtc_fraction(s) + NS_PER_SEC) % NS_PER_SEC;
    s->base_second += second - rtc_second(s);
    s->last_second = second;
}

static bool rtc_running(const Rtc *s)
{
    return !(s->cmos[RTC_B] & B_SET) && (s->cmos[RTC_A] & A_DIVIDER) <= A_DIVIDER_32K;
}

static uint8_t rtc_encode(const Rtc *s, int value)
{
    return s->cmos[RTC_B] & B_DM ? value : to_bcd(value);
}

static int rtc_decode(const Rtc *s, uint8_t value)
{
    return s->cmos[RTC_B] & B_DM ? value : (int)from_bcd(value);
}

static uint8_t rtc_encode_hour(const Rtc *s, int hour)
{
    if (s->cmos[RTC_B] & B_24H)
        return rtc_encode(s, hour);
    return rtc_encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static int rtc_decode_hour(const Rtc *s, uint8_t value)
{
    if (s->cmos[RTC_B] & B_24H)
        return rtc_decode(s, value);
    return rtc_decode(s, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

/* Puts the time into its registers. */
static void rtc_show(Rtc *s)
{
    int64_t second = rtc_second(s), days = floor_div(second, DAY_SECONDS);
    RtcTime t = seconds_to_time(second);
    s->cmos[RTC_SECONDS] = rtc_encode(s, t.second);
    s->cmos[RTC_MINUTES] = rtc_encode(s, t.minute);
    s->cmos[RTC_HOURS] = rtc_encode_hour(s, t.hour);
    s->cmos[RTC_WEEKDAY] = rtc_encode(s, (int)(days + 4 - floor_div(days + 4, 7) * 7) + 1);
    s->cmos[RTC_DAY] = rtc_encode(s, t.day);
    s->cmos[RTC_MONTH] = rtc_encode(s, t.month);
    s->cmos[RTC_YEAR] = rtc_encode(s, t.year % 100);
    s->cmos[RTC_CENTURY] = rtc_encode(s, t.year / 100 % 100);
}

/* The time that stands in the registers. */
static int64_t rtc_shown(const Rtc *s)
{
    RtcTime t = {
        .year = rtc_decode(s, s->cmos[RTC_CENTURY]) * 100 + rtc_decode(s, s->cmos[RTC_YEAR]),
        .month = rtc_decode(s, s->cmos[RTC_MONTH]),
        .day = rtc_decode(s, s->cmos[RTC_DAY]),
        .hour = rtc_decode_hour(s, s->cmos[RTC_HOURS]),
        .minute = rtc_decode(s, s->cmos[RTC_MINUTES]),
        .second = rtc_decode(s, s->cmos[RTC_SECONDS]),
    };
    return time_to_seconds(&t);
}

/* ---- Flags and interrupts ---- */

/* The chip compares bytes; 11xxxxxx matches any. */
static bool alarm_matches(uint8_t alarm, uint8_t shown)
{
    return (alarm & 0xc0) == 0xc0 || alarm == shown;
}

/* The first second after `after` at which the alarm matches, or -1.  Hours, minutes and seconds are
 * each searched once, perhaps after the rest of a minute and of an hour: fewer than 300 steps. */
static int64_t rtc_next_alarm(const Rtc *s, int64_t after)
{
    int64_t t = after + 1;
    for (int step = 0; step < 300; step++) {
        int of_day = (int)(t - floor_div(t, DAY_SECONDS) * DAY_SECONDS);
        if (!alarm_matches(s->cmos[RTC_HOURS_ALARM], rtc_encode_hour(s, of_day / 3600)))
            t += 3600 - of_day % 3600;
        else if (!alarm_matches(s->cmos[RTC_MINUTES_ALARM], rtc_encode(s, of_day / 60 % 60)))
            t += 60 - of_day % 60;
        else if (!alarm_matches(s->cmos[RTC_SECONDS_ALARM], rtc_encode(s, of_day % 60)))
            t++;
        else
            return t;
    }
    return -1;
}

/* Ticks of the divider chain since it was reset. */
static int64_t rtc_tick(const Rtc *s)
{
    return (int64_t)ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL), DIVIDER_HZ) - s->divider_zero;
}

/* The periodic interrupt comes every 1 << shift ticks; 0: never. */
static unsigned rtc_period_shift(const Rtc *s)
{
    unsigned rate = s->cmos[RTC_A] & A_RATE;
    if (!rate || (s->cmos[RTC_A] & A_DIVIDER) >= A_DIVIDER_RESET)
        return 0;
    return rate < 3 ? rate + 6 : rate - 1;
}

/* Brings the flags of register C up to now. */
static void rtc_look(Rtc *s)
{
    int64_t tick = rtc_tick(s), second = rtc_second(s);
    unsigned shift = rtc_period_shift(s);
    if (shift && tick >> shift != s->last_tick >> shift)
        s->cmos[RTC_C] |= C_PF;
    if (rtc_running(s) && second > s->last_second) {
        int64_t alarm = rtc_next_alarm(s, s->last_second);
        s->cmos[RTC_C] |= C_UF | (alarm >= 0 && alarm <= second ? C_AF : 0);
    }
    s->last_tick = tick;
    s->last_second = second;
}

/* Virtual time at which a second of the clock begins. */
static int64_t rtc_second_begins(const Rtc *s, int64_t second)
{
    int64_t left = (second - rtc_second(s)) * NS_PER_SEC - rtc_fraction(s);
    return clock_now(VM_CLOCK_VIRTUAL) + MAX(left, NS_PER_US);
}

/* Virtual time at which the next enabled flag may be set, or INT64_MAX. */
static int64_t rtc_next_event(const Rtc *s)
{
    uint8_t wanted = s->cmos[RTC_B] & ~s->cmos[RTC_C] & C_FLAGS;
    unsigned shift = rtc_period_shift(s);
    int64_t next = INT64_MAX;
    if (wanted & C_PF && shift) {
        int64_t tick = ((s->last_tick >> shift) + 1) * (1LL << shift) + s->divider_zero;
        next = ticks_to_ns(tick, DIVIDER_HZ);
    }
    if (!rtc_running(s))
        return next;
    if (wanted & C_UF)
        next = MIN(next, rtc_second_begins(s, s->last_second + 1));
    if (wanted & C_AF) {
        int64_t alarm = rtc_next_alarm(s, s->last_second);
        if (alarm >= 0)
            next = MIN(next, rtc_second_begins(s, alarm));
    }
    return next;
}

static void rtc_update(Rtc *s)
{
    irq_set(&s->irq, s->cmos[RTC_B] & s->cmos[RTC_C] & C_FLAGS);
    int64_t next = rtc_next_event(s);
    if (next == INT64_MAX)
        timer_cancel(&s->timer);
    else
        timer_arm(&s->timer, next);
}

static void rtc_timer(void *opaque)
{
    rtc_look(opaque);
    rtc_update(opaque);
}

/* ---- Registers ---- */

static bool is_time(unsigned index)
{
    return index == RTC_CENTURY || (index <= RTC_YEAR && index != RTC_SECONDS_ALARM &&
                                    index != RTC_MINUTES_ALARM && index != RTC_HOURS_ALARM);
}

/* The time stands while the clock does not run: it is shown before it stops, taken over after. */
static void rtc_write_control(Rtc *s, unsigned index, uint8_t value)
{
    bool ran = rtc_running(s), in_reset = (s->cmos[RTC_A] & A_DIVIDER) >= A_DIVIDER_RESET;
    if (ran)
        rtc_show(s);
    s->cmos[index] = value;
    if (in_reset && (s->cmos[RTC_A] & A_DIVIDER) < A_DIVIDER_RESET) {
        /* The first update comes half a second after the divider is released. */
        rtc_set_now(s, rtc_shown(s), NS_PER_SEC / 2);
        s->divider_zero += rtc_tick(s);
        s->last_tick = 0;
    } else if (!ran && rtc_running(s)) {
        rtc_set_now(s, rtc_shown(s), rtc_fraction(s));
    }
}

static void rtc_write_time(Rtc *s, unsigned index, uint8_t value)
{
    if (rtc_running(s))
        rtc_show(s);
    s->cmos[index] = value;
    if (rtc_running(s))
        rtc_set_now(s, rtc_shown(s), rtc_fraction(s));
}

static void rtc_write_data(Rtc *s, unsigned index, uint8_t value)
{
    if (index > RTC_D && index != RTC_CENTURY) {
        s->cmos[index] = value;
        return;
    }
    rtc_look(s);
    if (is_time(index))
        rtc_write_time(s, index, value);
    else if (index == RTC_A)
        rtc_write_control(s, index, value & ~A_UIP);
    else if (index == RTC_B)
        rtc_write_control(s, index, value & B_SET ? value & ~B_UIE : value);
    else if (index < RTC_A)
        s->cmos[index] = value; /* alarm */
    else
        guest_error("mc146818rtc: write of 0x%02x to read-only register 0x%02x", value, index);
    rtc_update(s);
}

static uint8_t rtc_read_data(Rtc *s, unsigned index)
{
    uint8_t value;
    if (is_time(index) && rtc_running(s))
        rtc_show(s);
    switch (index) {
    case RTC_A:
        value = s->cmos[RTC_A];
        return rtc_running(s) && rtc_fraction(s) >= NS_PER_SEC - UIP_NS ? value | A_UIP : value;
    case RTC_C:
        rtc_look(s);
        value = s->cmos[RTC_C];
        value |= value & s->cmos[RTC_B] ? C_IRQF : 0;
        s->cmos[RTC_C] = 0;
        rtc_update(s);
        return value;
    default:
        return s->cmos[index];
    }
}

static uint64_t rtc_read(void *opaque, hwaddr offset, unsigned size)
{
    Rtc *s = opaque;
    return offset ? rtc_read_data(s, s->index) : 0xff;
}

/* Bit 7 of the index masks the NMI of a PC/AT; no NMI passes through here. */
static void rtc_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Rtc *s = opaque;
    if (offset) {
        rtc_write_data(s, s->index, value);
        return;
    }
    s->index = value & 0x7f;
    if (s->index == RTC_CENTURY_PS2)
        s->index = RTC_CENTURY;
}

static const RegionOps rtc_ops = {rtc_read, rtc_write, .max_size = 1};

/* ---- The device ---- */

void mc146818_connect(Device *dev, IrqLine irq)
{
    ((Rtc *)dev)->irq = irq;
}

void mc146818_set_cmos(Device *dev, unsigned index, uint8_t value)
{
    ((Rtc *)dev)->cmos[index % CMOS_SIZE] = value;
}

uint8_t mc146818_get_cmos(Device *dev, unsigned index)
{
    return ((Rtc *)dev)->cmos[index % CMOS_SIZE];
}

/* Reads a date property; false if it is none. */
static bool parse_date(const char *text, int64_t *seconds)
{
    RtcTime t = {0};
    uint64_t number;
    int end = 0;
    if (text[0] == '@') {
        bool ok = parse_uint(text + 1, &number) && number < MAX_SECOND;
        *seconds = ok ? (int64_t)number : 0;
        return ok;
    }
    if (sscanf(text, "%4d-%2d-%2d%n", &t.year, &t.month, &t.day, &end) != 3)
        return false;
    text += end;
    if (*text &&
        (sscanf(text, "T%2d:%2d:%2d%n", &t.hour, &t.minute, &t.second, &end) != 3 || text[end]))
        return false;
    *seconds = time_to_seconds(&t);
    RtcTime back = seconds_to_time(*seconds); /* differs if a field is out of range */
    return t.year >= 1900 && !memcmp(&t, &back, sizeof(t));
}

static bool rtc_set_base(Rtc *s, GError **error)
{
    int64_t wall = clock_now(VM_CLOCK_WALL), seconds = wall / NS_PER_SEC, fraction = 0;
    if (!strcmp(s->base, "utc") || !strcmp(s->base, "localtime"))
        fraction = wall % NS_PER_SEC;
    else if (!parse_date(s->base, &seconds))
        return fail(error,
                    "mc146818rtc: base '%s' is no date: it takes utc, localtime, "
                    "2006-06-17T16:01:21 or 2006-06-17",
                    s->base);
    if (!strcmp(s->base, "localtime")) {
        struct tm tm;
        time_t now = seconds;
        seconds += localtime_r(&now, &tm) ? tm.tm_gmtoff : 0;
    }
    rtc_set_now(s, seconds, fraction);
    return true;
}

static bool rtc_realize(Device *dev, GError **error)
{
    Rtc *s = (Rtc *)dev;
    if (!rtc_set_base(s, error))
        return false;
    s->cmos[RTC_A] = A_DIVIDER_32K | 6; /* 1024 Hz */
    s->cmos[RTC_B] = B_24H;
    s->cmos[RTC_D] = D_VRT;
    timer_init(&s->timer, dev->machine->loop, VM_CLOCK_VIRTUAL, rtc_timer, s);
    region_init_io(&s->io, "rtc", 2, &rtc_ops, s, NULL);
    isa_map(isa_bus(dev->machine), 0x70, &s->io);
    return true;
}

/* A damaged snapshot may leave anything in the fields, those that reset keeps included. */
static void rtc_sanitize(Rtc *s)
{
    s->base_second = CLAMP(s->base_second, -MAX_SECOND, MAX_SECOND);
    s->last_second = CLAMP(s->last_second, -MAX_SECOND, MAX_SECOND);
    s->phase_ns = CLAMP(s->phase_ns, 0, NS_PER_SEC - 1);
    s->last_tick = CLAMP(s->last_tick, 0, MAX_SECOND);
    s->divider_zero = CLAMP(s->divider_zero, 0, MAX_SECOND);
    s->index &= 0x7f;
    s->cmos[RTC_C] &= C_FLAGS;
    s->cmos[RTC_D] = D_VRT;
}

/* The RESET pin (datasheet: "RESET"); time and RAM are battery-backed. */
static void rtc_reset(Device *dev)
{
    Rtc *s = (Rtc *)dev;
    rtc_sanitize(s);
    rtc_look(s);
    s->cmos[RTC_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    s->cmos[RTC_C] = 0;
    rtc_update(s);
}

static void rtc_unrealize(Device *dev)
{
    region_fini(&((Rtc *)dev)->io);
}

static bool rtc_post_load(void *state, GError **error)
{
    rtc_sanitize(state);
    return true;
}

static const StateField rtc_fields[] = {
    STATE_HOST(Rtc, dev),         STATE_HOST(Rtc, io),
    STATE_HOST(Rtc, irq),         STATE_HOST(Rtc, base),
    STATE_HOST(Rtc, clock),       STATE_U_KEEP(Rtc, base_second),
    STATE_U_KEEP(Rtc, phase_ns),  STATE_U_KEEP(Rtc, last_second),
    STATE_U_KEEP(Rtc, last_tick), STATE_U_KEEP(Rtc, divider_zero),
    STATE_U(Rtc, index, 0),       STATE_BYTES_KEEP(Rtc, cmos),
    STATE_TIMER(Rtc, timer),      STATE_END,
};
static const StateDesc rtc_state = {"mc146818rtc", 1, sizeof(Rtc), rtc_fields,
                                    .post_load = rtc_post_load};

static const char *const clock_names[] = {"host", "rt", "vm", NULL};
static const Prop rtc_props[] = {
    PROP_FIELD(Rtc, base, "base", PROP_STRING, .text = "utc",
               .help = "what the clock shows at start: utc, localtime or a date"),
    PROP_FIELD(Rtc, clock, "clock", PROP_ENUM, .words = clock_names,
               .help = "what drives it: host, rt or vm"),
    PROP_END,
};

const DeviceClass mc146818_class = {
    .name = "mc146818rtc",
    .desc = "real-time clock and CMOS RAM",
    .bus = BUS_ISA,
    .size = sizeof(Rtc),
    .props = rtc_props,
    .state = &rtc_state,
    .realize = rtc_realize,
    .reset = rtc_reset,
    .unrealize = rtc_unrealize,
};
