/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board's fixed hardware for ACPI: PCI root with its interrupt links, the ISA devices, sleep
 * states.  What depends on the configuration stands in the SSDT that hw/pc/acpi.c writes:
 *
 *   \_SB.PMIN, PMAX   first and last byte of the memory window for PCI
 *   \_SB.HAVE         which optional devices there are, bits as below
 */
#define HAVE_COM1 0x001
#define HAVE_COM2 0x002
#define HAVE_COM3 0x004
#define HAVE_COM4 0x008
#define HAVE_LPT1 0x010
#define HAVE_LPT2 0x020
#define HAVE_LPT3 0x040
#define HAVE_FDC  0x080
#define HAVE_HPET 0x100

DefinitionBlock ("dsdt.aml", "DSDT", 1, "VMRUN", "VMRUNPC", 1)
{
    External (\_SB.PMIN, IntObj)
    External (\_SB.PMAX, IntObj)
    External (\_SB.HAVE, IntObj)

    Scope (\_SB)
    {
        /* The answer of _STA for an optional device. */
        Method (HAS, 1, NotSerialized)
        {
            If (And (\_SB.HAVE, Arg0)) { Return (0x0F) }
            Return (0x00)
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)

            Name (CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xE0000000, 0xFEBFFFFF, 0x00000000, 0x1EC00000, , , PW32)
            })

            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (CRS, ^PW32._MIN, LOW)
                CreateDWordField (CRS, ^PW32._MAX, HIGH)
                CreateDWordField (CRS, ^PW32._LEN, SIZE)
                Store (\_SB.PMIN, LOW)
                Store (\_SB.PMAX, HIGH)
                Store (Add (Subtract (HIGH, LOW), 1), SIZE)
                Return (CRS)
            }

            /* A slot's four pins go round the four links (hw/pci/piix3.c has the same rotation). */
#define PIN(slot, pin, link) Package () { slot ## FFFF, pin, link, 0 }
#define SLOT(slot, a, b, c, d) PIN (slot, 0, a), PIN (slot, 1, b), PIN (slot, 2, c), PIN (slot, 3, d)
#define FOUR(s0, s1, s2, s3) \
            SLOT (s0, LNKD, LNKA, LNKB, LNKC), SLOT (s1, LNKA, LNKB, LNKC, LNKD), \
            SLOT (s2, LNKB, LNKC, LNKD, LNKA), SLOT (s3, LNKC, LNKD, LNKA, LNKB)
            Name (_PRT, Package ()
            {
                FOUR (0x0000, 0x0001, 0x0002, 0x0003), FOUR (0x0004, 0x0005, 0x0006, 0x0007),
                FOUR (0x0008, 0x0009, 0x000A, 0x000B), FOUR (0x000C, 0x000D, 0x000E, 0x000F),
                FOUR (0x0010, 0x0011, 0x0012, 0x0013), FOUR (0x0014, 0x0015, 0x0016, 0x0017),
                FOUR (0x0018, 0x0019, 0x001A, 0x001B), FOUR (0x001C, 0x001D, 0x001E, 0x001F)
            })

            /* PIIX3: PIRQRC[A:D], one byte a link; bit 7 set: not routed. */
            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRR, PCI_Config, 0x60, 0x04)
                Field (PIRR, ByteAcc, NoLock, Preserve) { PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8 }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x08)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
                        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () { 12 } })
                }
                Device (FDC0)
                {
                    Name (_HID, EisaId ("PNP0700"))
                    Method (_STA) { Return (HAS (HAVE_FDC)) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F2, 0x03F2, 0x00, 0x04)
                        IO (Decode16, 0x03F7, 0x03F7, 0x00, 0x01)
                        IRQNoFlags () { 6 }
                        DMA (Compatibility, NotBusMaster, Transfer8) { 2 }
                    })
                }
#define SERIAL(name, uid, have, port, irq) \
                Device (name) { \
                    Name (_HID, EisaId ("PNP0501")) \
                    Name (_UID, uid) \
                    Method (_STA) { Return (HAS (have)) } \
                    Name (_CRS, ResourceTemplate () { \
                        IO (Decode16, port, port, 0x00, 0x08) \
                        IRQNoFlags () { irq } \
                    }) \
                }
                SERIAL (COM1, 1, HAVE_COM1, 0x03F8, 4)
                SERIAL (COM2, 2, HAVE_COM2, 0x02F8, 3)
                SERIAL (COM3, 3, HAVE_COM3, 0x03E8, 4)
                SERIAL (COM4, 4, HAVE_COM4, 0x02E8, 3)
#define PARALLEL(name, uid, have, port, irq) \
                Device (name) { \
                    Name (_HID, EisaId ("PNP0400")) \
                    Name (_UID, uid) \
                    Method (_STA) { Return (HAS (have)) } \
                    Name (_CRS, ResourceTemplate () { \
                        IO (Decode16, port, port, 0x04, 0x08) \
                        IRQNoFlags () { irq } \
                    }) \
                }
                PARALLEL (LPT1, 1, HAVE_LPT1, 0x0378, 7)
                PARALLEL (LPT2, 2, HAVE_LPT2, 0x0278, 5)
                PARALLEL (LPT3, 3, HAVE_LPT3, 0x03BC, 5)

                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 0x00, 0x02)
                        IO (Decode16, 0x00A0, 0x00A0, 0x00, 0x02)
                        IRQNoFlags () { 2 }
                    })
                }
                Device (PIT)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0040, 0x0040, 0x00, 0x04) })
                }
                Device (DMAC)
                {
                    Name (_HID, EisaId ("PNP0200"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0000, 0x0000, 0x00, 0x10)
                        IO (Decode16, 0x0081, 0x0081, 0x00, 0x0F)
                        IO (Decode16, 0x00C0, 0x00C0, 0x00, 0x20)
                        DMA (Compatibility, NotBusMaster, Transfer8) { 4 }
                    })
                }
                Device (SPKR)
                {
                    Name (_HID, EisaId ("PNP0800"))
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0061, 0x0061, 0x00, 0x01) })
                }
                Device (FPU)
                {
                    Name (_HID, EisaId ("PNP0C04"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x00F0, 0x00F0, 0x00, 0x10)
                        IRQNoFlags () { 13 }
                    })
                }
            }

            /* Ports of the chipset that no driver may hand out: PM, SMBus, GPE, ELCR, APM, fw_cfg. */
            Device (MBRD)
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0600, 0x0600, 0x00, 0x40)
                    IO (Decode16, 0x0700, 0x0700, 0x00, 0x10)
                    IO (Decode16, 0xAFE0, 0xAFE0, 0x00, 0x04)
                    IO (Decode16, 0x04D0, 0x04D0, 0x00, 0x02)
                    IO (Decode16, 0x00B2, 0x00B2, 0x00, 0x02)
                    IO (Decode16, 0x0092, 0x0092, 0x00, 0x01)
                    IO (Decode16, 0x0510, 0x0510, 0x00, 0x0C)
                })
            }
        }

        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, 0)
            Method (_STA) { Return (HAS (HAVE_HPET)) }
            Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400) })
        }

#define LINK(name, uid, reg) \
        Device (name) { \
            Name (_HID, EisaId ("PNP0C0F")) \
            Name (_UID, uid) \
            Name (_PRS, ResourceTemplate () { Interrupt (, Level, ActiveHigh, Shared) { 5, 10, 11 } }) \
            Method (_STA) { \
                If (And (\_SB.PCI0.ISA.reg, 0x80)) { Return (0x09) } \
                Return (0x0B) \
            } \
            Method (_DIS) { Or (\_SB.PCI0.ISA.reg, 0x80, \_SB.PCI0.ISA.reg) } \
            Method (_CRS, 0, Serialized) { \
                Name (BUF, ResourceTemplate () { Interrupt (, Level, ActiveHigh, Shared) { 0 } }) \
                CreateDWordField (BUF, 0x05, IRQW) \
                If (LNot (And (\_SB.PCI0.ISA.reg, 0x80))) { Store (\_SB.PCI0.ISA.reg, IRQW) } \
                Return (BUF) \
            } \
            Method (_SRS, 1, Serialized) { \
                CreateDWordField (Arg0, 0x05, IRQW) \
                Store (IRQW, \_SB.PCI0.ISA.reg) \
            } \
        }
        LINK (LNKA, 0, PRQA)
        LINK (LNKB, 1, PRQB)
        LINK (LNKC, 2, PRQC)
        LINK (LNKD, 3, PRQD)
    }

    /* SLP_TYP values of PIIX4: 1 is suspend to RAM, 0 is soft-off. */
    Name (\_S3, Package () { 1, 1, 0, 0 })
    Name (\_S5, Package () { 0, 0, 0, 0 })
}
