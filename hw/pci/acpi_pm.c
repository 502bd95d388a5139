/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware.  (ACPI Specification 6.4, 4.8.3: registers; 4.8.2.1: the timer.) */
#include "acpi_pm.h"

#include "util/bytes.h"
#include "util/log.h"

/* PM1 status and enable. */
enum { TMR = 0x0001, GBL = 0x0020, PWRBTN = 0x0100, RTC = 0x0400, WAK = 0x8000 };
/* Enable bits that there are; all of them have a status bit; WAK has that alone. */
#define PM1_EVENTS (TMR | GBL | PWRBTN | RTC)
/* PM1 control. */
enum { SCI_EN = 0x0001, BM_RLD = 0x0002, SLP_TYP_SHIFT = 10, SLP_TYP = 0x1c00, SLP_EN = 0x2000 };

#define TIMER_MASK 0xffffffu
#define TIMER_HALF 0x800000u

static uint64_t ticks(void)
{
    return ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL), ACPI_PM_TIMER_HZ);
}

/* TMR_STS is set when the top bit changed since the guest last cleared it. */
static void latch_overflow(AcpiPm *pm)
{
    if (ticks() >= pm->overflow)
        pm->sts |= TMR;
}

static void restart_overflow(AcpiPm *pm)
{
    pm->overflow = align_down(ticks(), TIMER_HALF) + TIMER_HALF;
}

static void update(AcpiPm *pm)
{
    latch_overflow(pm);
    bool level =
        (pm->cnt & SCI_EN) && ((pm->sts & pm->en & PM1_EVENTS) || (pm->gpe_sts & pm->gpe_en));
    if (level != pm->sci_level) {
        pm->sci_level = level;
        irq_set(&pm->sci, level);
    }
    if ((pm->en & TMR) && !(pm->sts & TMR))
        timer_arm(&pm->timer, ticks_to_ns(pm->overflow, ACPI_PM_TIMER_HZ));
    else
        timer_cancel(&pm->timer);
}

static void timer_fired(void *opaque)
{
    update(opaque);
}

void acpi_pm_init(AcpiPm *pm, Machine *machine, IrqLine sci)
{
    pm->machine = machine;
    pm->sci = sci;
    timer_init(&pm->timer, machine->loop, VM_CLOCK_VIRTUAL, timer_fired, pm);
}

void acpi_pm_reset(AcpiPm *pm)
{
    restart_overflow(pm);
    irq_lower(&pm->sci);
}

/* ---- Registers ---- */

/* A register of 32 bits as an access of size bytes at offset sees it. */
static uint32_t cut(uint32_t reg, unsigned offset, unsigned size)
{
    return (reg >> 8 * (offset & 3)) & (uint32_t)size_mask(size);
}

/* The bits of a 32-bit register that the access writes; *value moves to their place. */
static uint32_t lanes(uint32_t *value, unsigned offset, unsigned size)
{
    uint32_t mask = (uint32_t)(size_mask(size) << 8 * (offset & 3));
    *value = (*value << 8 * (offset & 3)) & mask;
    return mask;
}

uint32_t acpi_pm_read(AcpiPm *pm, unsigned offset, unsigned size)
{
    switch (offset & ~3u) {
    case 0:
        latch_overflow(pm);
        return cut(pm->sts | (uint32_t)pm->en << 16, offset, size);
    case 4:
        return cut(pm->cnt, offset, size);
    case 8:
        return cut((uint32_t)ticks() & TIMER_MASK, offset, size);
    default:
        guest_unimp("acpi: read of PM register 0x%02x", offset);
        return UINT32_MAX;
    }
}

static void enter_sleep(AcpiPm *pm)
{
    switch ((pm->cnt & SLP_TYP) >> SLP_TYP_SHIFT) {
    case ACPI_SLP_TYP_S5:
    case ACPI_SLP_TYP_S4: /* the guest has saved itself: power off */
        machine_request_shutdown(pm->machine, SHUTDOWN_GUEST);
        break;
    case ACPI_SLP_TYP_S3:
        machine_request_suspend(pm->machine);
        break;
    default:
        guest_unimp("acpi: sleep type %u", (pm->cnt & SLP_TYP) >> SLP_TYP_SHIFT);
    }
}

static void write_events(AcpiPm *pm, uint32_t value, uint32_t mask)
{
    latch_overflow(pm);
    if (value & pm->sts & TMR)
        restart_overflow(pm);
    pm->sts &= (uint16_t)~value;
    pm->en = (uint16_t)(((pm->en & ~(mask >> 16)) | value >> 16) & PM1_EVENTS);
    update(pm);
}

static void write_control(AcpiPm *pm, uint32_t value, uint32_t mask)
{
    pm->cnt = (uint16_t)(((pm->cnt & ~mask) | value) & (SCI_EN | BM_RLD | SLP_TYP));
    update(pm);
    if (value & SLP_EN)
        enter_sleep(pm);
}

void acpi_pm_write(AcpiPm *pm, unsigned offset, uint32_t value, unsigned size)
{
    uint32_t mask = lanes(&value, offset, size);
    switch (offset & ~3u) {
    case 0:
        write_events(pm, value, mask);
        break;
    case 4:
        write_control(pm, value, mask);
        break;
    case 8:
        guest_error("acpi: write to the PM timer");
        break;
    default:
        guest_unimp("acpi: write of 0x%x to PM register 0x%02x", value, offset);
    }
}

uint32_t acpi_gpe_read(AcpiPm *pm, unsigned offset, unsigned size)
{
    return cut(pm->gpe_sts | (uint32_t)pm->gpe_en << 16, offset, size);
}

void acpi_gpe_write(AcpiPm *pm, unsigned offset, uint32_t value, unsigned size)
{
    uint32_t mask = lanes(&value, offset, size);
    pm->gpe_sts &= (uint16_t)~value;
    pm->gpe_en = (uint16_t)((pm->gpe_en & ~(mask >> 16)) | value >> 16);
    update(pm);
}

void acpi_pm_set_sci_enable(AcpiPm *pm, bool enable)
{
    pm->cnt = (uint16_t)(enable ? pm->cnt | SCI_EN : pm->cnt & ~SCI_EN);
    update(pm);
}

void acpi_pm_power_button(AcpiPm *pm)
{
    if (pm->en & PWRBTN)
        pm->sts |= PWRBTN;
    update(pm);
}

void acpi_pm_woken(AcpiPm *pm, WakeCause cause)
{
    pm->sts |= WAK;
    if (cause == WAKE_BUTTON)
        pm->sts |= PWRBTN;
    if (cause == WAKE_RTC)
        pm->sts |= RTC;
    update(pm);
}

bool acpi_pm_wakes_by_rtc(const AcpiPm *pm)
{
    return pm->en & RTC;
}

/* The line's level is in the state of whoever it is wired to; a saved overflow far away cannot hold
 * the timer back for longer than one period. */
static bool post_load(void *state, GError **error)
{
    AcpiPm *pm = state;
    uint64_t next = align_down(ticks(), TIMER_HALF) + TIMER_HALF;
    pm->overflow = MIN(pm->overflow, next);
    pm->en &= PM1_EVENTS;
    pm->cnt &= SCI_EN | BM_RLD | SLP_TYP;
    return true;
}

static const StateField fields[] = {
    STATE_HOST(AcpiPm, machine),
    STATE_HOST(AcpiPm, sci),
    STATE_U(AcpiPm, sts, 0),
    STATE_U(AcpiPm, en, 0),
    STATE_U(AcpiPm, cnt, 0),
    STATE_U(AcpiPm, gpe_sts, 0),
    STATE_U(AcpiPm, gpe_en, 0),
    STATE_U(AcpiPm, sci_level, 0),
    STATE_U(AcpiPm, overflow, 0),
    STATE_TIMER(AcpiPm, timer),
    STATE_END,
};
const StateDesc acpi_pm_state = {"acpi-pm", 1, sizeof(AcpiPm), fields, .post_load = post_load};
