/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration space by mechanism #1, as a guest reaches it, for the tests of PCI devices. */
#ifndef VMRUN_TESTS_DEVICE_TEST_PCI_H
#define VMRUN_TESTS_DEVICE_TEST_PCI_H

#include "accel/test.h"
#include "hw/pci/pci.h"

static inline void cfg_select(Machine *m, unsigned devfn, unsigned reg)
{
    outl(m, 0xcf8, 0x80000000u | devfn << 8 | (reg & 0xfc));
}
static inline uint8_t cfg_readb(Machine *m, unsigned devfn, unsigned reg)
{
    cfg_select(m, devfn, reg);
    return inb(m, (uint16_t)(0xcfc + (reg & 3)));
}
static inline uint16_t cfg_readw(Machine *m, unsigned devfn, unsigned reg)
{
    cfg_select(m, devfn, reg);
    return inw(m, (uint16_t)(0xcfc + (reg & 3)));
}
static inline uint32_t cfg_readl(Machine *m, unsigned devfn, unsigned reg)
{
    cfg_select(m, devfn, reg);
    return inl(m, 0xcfc);
}
static inline void cfg_writeb(Machine *m, unsigned devfn, unsigned reg, uint8_t value)
{
    cfg_select(m, devfn, reg);
    outb(m, (uint16_t)(0xcfc + (reg & 3)), value);
}
static inline void cfg_writew(Machine *m, unsigned devfn, unsigned reg, uint16_t value)
{
    cfg_select(m, devfn, reg);
    outw(m, (uint16_t)(0xcfc + (reg & 3)), value);
}
static inline void cfg_writel(Machine *m, unsigned devfn, unsigned reg, uint32_t value)
{
    cfg_select(m, devfn, reg);
    outl(m, 0xcfc, value);
}

/* Every value pattern at every register in every size: nothing may break. */
static inline void cfg_hammer(Machine *m, unsigned devfn)
{
    static const uint32_t values[] = {0xffffffff, 0,          0x55555555,
                                      0xaaaaaaaa, 0x80000001, 0xfffff000};
    for (unsigned v = 0; v < G_N_ELEMENTS(values); v++) {
        for (unsigned reg = 0; reg < 256; reg++) {
            cfg_writeb(m, devfn, reg, (uint8_t)values[v]);
            cfg_writew(m, devfn, reg, (uint16_t)values[v]);
            cfg_writel(m, devfn, reg, values[v]);
            cfg_readb(m, devfn, reg);
            cfg_readw(m, devfn, reg);
        }
    }
}

#endif
