/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware: PM1a event and control registers, the power management timer, one block of
 * general-purpose events, and the SCI that they raise.  The chip core; a south bridge maps it.
 * (ACPI Specification 6.4, 4.8.)
 *
 * The timer's interrupt is the only thing that runs, and only while the guest has it enabled.
 * Main lock held.
 */
#ifndef VMRUN_HW_PCI_ACPI_PM_H
#define VMRUN_HW_PCI_ACPI_PM_H

#include "hw/core/machine.h"
#include "util/timer.h"

#define ACPI_PM_TIMER_HZ 3579545
#define ACPI_GPE_SIZE    4 /* bytes of a GPE block: two of status, two of enable */

/* Values of SLP_TYP, as the DSDT's \_Sx packages name them (QEMU's). */
enum { ACPI_SLP_TYP_S5 = 0, ACPI_SLP_TYP_S3 = 1, ACPI_SLP_TYP_S4 = 2 };

typedef struct AcpiPm {
    Machine *machine;
    IrqLine sci;
    uint16_t sts, en, cnt; /* PM1a */
    uint16_t gpe_sts, gpe_en;
    bool sci_level;
    uint64_t overflow; /* tick at which the timer's top bit next changes, unless TMR_STS is set */
    Timer timer;
} AcpiPm;

extern const StateDesc acpi_pm_state;

void acpi_pm_init(AcpiPm *pm, Machine *machine, IrqLine sci);
/* After state_reset(): lowers the SCI, restarts the overflow bookkeeping. */
void acpi_pm_reset(AcpiPm *pm);
/* The PM1a block: event at 0, control at 4, timer at 8.  1, 2 or 4 bytes, aligned. */
uint32_t acpi_pm_read(AcpiPm *pm, unsigned offset, unsigned size);
void acpi_pm_write(AcpiPm *pm, unsigned offset, uint32_t value, unsigned size);
/* The GPE block: status at 0, enable at 2. */
uint32_t acpi_gpe_read(AcpiPm *pm, unsigned offset, unsigned size);
void acpi_gpe_write(AcpiPm *pm, unsigned offset, uint32_t value, unsigned size);
/* What the firmware's answer to ACPI_ENABLE and ACPI_DISABLE does. */
void acpi_pm_set_sci_enable(AcpiPm *pm, bool enable);
/* A press: unseen unless the guest enabled the event, as on QEMU. */
void acpi_pm_power_button(AcpiPm *pm);
/* After the reset that ends S3: the status bits tell that and why. */
void acpi_pm_woken(AcpiPm *pm, WakeCause cause);
/* Whether the guest wants the clock's alarm to wake it. */
bool acpi_pm_wakes_by_rtc(const AcpiPm *pm);

#endif
