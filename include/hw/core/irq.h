/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt and other signal lines.
 *
 * A device owns an IrqLine for each output pin; the board connects it to a sink once.  Lines carry
 * a level; a sink that cares about edges compares with what it saw before.  An unconnected line
 * swallows everything.  Main lock held, unless the sink says otherwise.
 */
#ifndef VMRUN_HW_CORE_IRQ_H
#define VMRUN_HW_CORE_IRQ_H

#include <stdbool.h>

typedef void IrqFn(void *opaque, unsigned n, bool level);

typedef struct IrqLine {
    IrqFn *fn;
    void *opaque;
    unsigned n;
} IrqLine;

static inline IrqLine irq_line(IrqFn *fn, void *opaque, unsigned n)
{
    return (IrqLine){fn, opaque, n};
}
static inline void irq_set(const IrqLine *line, bool level)
{
    if (line->fn)
        line->fn(line->opaque, line->n, level);
}
static inline void irq_raise(const IrqLine *line)
{
    irq_set(line, true);
}
static inline void irq_lower(const IrqLine *line)
{
    irq_set(line, false);
}
static inline void irq_pulse(const IrqLine *line)
{
    irq_set(line, true);
    irq_set(line, false);
}

#endif
