/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Message-signalled interrupts.  (PCI Local Bus Specification 3.0, 6.8.1.) */
#include "pci_private.h"

#define CAP_ID_MSI 0x05

/* Message Control, at capability + 2. */
enum {
    MSI_ENABLE = 0x0001,
    MSI_CAPABLE_SHIFT = 1, /* log2 of the vectors asked for */
    MSI_ENABLED_SHIFT = 4, /* log2 of the vectors allocated: guest's */
    MSI_LOG2_MASK = 7,
    MSI_WIDE = 0x0080,
    MSI_MASKABLE = 0x0100,
};

/* The layout follows from bits of Message Control that the guest cannot change. */
static uint16_t msi_kind(const PciDevice *pci)
{
    return ld16_le(pci->reset_config + pci->msi_cap + 2);
}

static unsigned data_at(const PciDevice *pci)
{
    return pci->msi_cap + (msi_kind(pci) & MSI_WIDE ? 12u : 8u);
}

static unsigned mask_at(const PciDevice *pci)
{
    return data_at(pci) + 4;
}

static unsigned pending_at(const PciDevice *pci)
{
    return data_at(pci) + 8;
}

void pci_add_msi(PciDevice *pci, unsigned vectors_log2, bool wide, bool maskable)
{
    unsigned kind =
        (vectors_log2 << MSI_CAPABLE_SHIFT) | (wide ? MSI_WIDE : 0) | (maskable ? MSI_MASKABLE : 0);
    unsigned size = (wide ? 14 : 10) + (maskable ? 10 : 0);
    g_return_if_fail(vectors_log2 <= 5);
    uint8_t at = pci_add_capability(pci, CAP_ID_MSI, (uint8_t)size);
    g_return_if_fail(at);
    pci->msi_cap = at;
    st16_le(pci->reset_config + at + 2, (uint16_t)kind);
    st16_le(pci->write_mask + at + 2, MSI_ENABLE | MSI_LOG2_MASK << MSI_ENABLED_SHIFT);
    st32_le(pci->write_mask + at + 4, 0xfffffffc);
    if (wide)
        st32_le(pci->write_mask + at + 8, 0xffffffff);
    st16_le(pci->write_mask + data_at(pci), 0xffff);
    if (maskable)
        st32_le(pci->write_mask + mask_at(pci),
                (uint32_t)size_mask(4) >> (32 - (1u << vectors_log2)));
}

bool pci_msi_enabled(const PciDevice *pci)
{
    return pci->msi_cap && (pci_get16(pci, pci->msi_cap + 2u) & MSI_ENABLE);
}

/* A guest may claim more vectors than the device asked for; that gives it no more. */
static unsigned vectors(const PciDevice *pci)
{
    unsigned allocated = pci_get16(pci, pci->msi_cap + 2u) >> MSI_ENABLED_SHIFT & MSI_LOG2_MASK;
    unsigned capable = msi_kind(pci) >> MSI_CAPABLE_SHIFT & MSI_LOG2_MASK;
    return 1u << MIN(allocated, capable);
}

static void send(PciDevice *pci, unsigned n)
{
    uint64_t address = pci_get32(pci, pci->msi_cap + 4u);
    if (msi_kind(pci) & MSI_WIDE)
        address |= (uint64_t)pci_get32(pci, pci->msi_cap + 8u) << 32;
    uint32_t data = pci_get16(pci, data_at(pci));
    if (pci_bus_master(pci)) /* the message is a memory write like any other */
        machine_msi(pci->dev.machine, address, (data & ~(vectors(pci) - 1)) | n);
}

static bool masked(const PciDevice *pci, unsigned n)
{
    return (msi_kind(pci) & MSI_MASKABLE) && (pci_get32(pci, mask_at(pci)) >> n & 1);
}

/* True if the vector was pending and is so no more. */
static bool take_pending(PciDevice *pci, unsigned n)
{
    uint8_t bit = (uint8_t)(1u << n % 8);
    uint8_t *byte = &pci->config[pending_at(pci) + n / 8];
    return __atomic_fetch_and(byte, (uint8_t)~bit, __ATOMIC_SEQ_CST) & bit;
}

bool pci_msi_send(PciDevice *pci, unsigned n)
{
    if (!pci_msi_enabled(pci))
        return false;
    n &= vectors(pci) - 1;
    if (masked(pci, n)) {
        __atomic_fetch_or(&pci->config[pending_at(pci) + n / 8], (uint8_t)(1u << n % 8),
                          __ATOMIC_SEQ_CST);
        /* The guest may have unmasked it between the two: then nobody else would send it. */
        if (masked(pci, n) || !take_pending(pci, n))
            return true;
    }
    send(pci, n);
    return true;
}

void pci_msi_config_written(PciDevice *pci)
{
    if (!pci_msi_enabled(pci) || !(msi_kind(pci) & MSI_MASKABLE))
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned n = 0; n < vectors(pci); n++)
        if (!masked(pci, n) && take_pending(pci, n))
            send(pci, n);
}
