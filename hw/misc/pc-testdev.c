/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pc-testdev: what kvm-unit-tests use to provoke exits and interrupts.
 *
 *     port 0xe0-0xe3       32 bits of storage, accesses of any size
 *     port 0xe4 (write)    drops the host's page table entry of the guest page at the address
 *                          written, so that an engine must fault it in anew
 *     port 0xe8-0xeb       the same 32 bits, byte by byte
 *     port 0x2000 + n      the level of ISA interrupt line n
 *     0xff000000, 64 KiB   I/O memory that behaves as RAM but always exits
 */
#include <sys/mman.h>

#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/log.h"

#define MEM_BASE  0xff000000
#define MEM_SIZE  0x10000
#define IRQ_PORTS 24

typedef struct PcTestdev {
    Device dev;
    Region io, io_byte, flush, irq, mem;
    IrqLine line[ISA_IRQS];
    uint8_t data[4];
    uint8_t bytes[MEM_SIZE];
} PcTestdev;

static uint64_t data_read(void *opaque, hwaddr offset, unsigned size)
{
    return ldn_le(((PcTestdev *)opaque)->data + offset, size);
}

static void data_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    stn_le(((PcTestdev *)opaque)->data + offset, size, value);
}

static void flush_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    PcTestdev *s = opaque;
    uint64_t length = RAM_PAGE_SIZE;
    void *page = dma_map(&s->dev.machine->mem, align_down(value, RAM_PAGE_SIZE), &length, false);
    if (!page || length < RAM_PAGE_SIZE) {
        guest_error("pc-testdev: 0x%08x is no page of RAM", (uint32_t)value);
        return;
    }
    /* RAM is a shared mapping of a memfd: the page leaves the page tables, its bytes stay. */
    madvise(page, RAM_PAGE_SIZE, MADV_DONTNEED);
}

static void irq_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    PcTestdev *s = opaque;
    if (offset < ISA_IRQS)
        irq_set(&s->line[offset], value);
    else
        guest_unimp("pc-testdev: interrupt line %u is none of the ISA bus", (unsigned)offset);
}

static uint64_t mem_read(void *opaque, hwaddr offset, unsigned size)
{
    return ldn_le(((PcTestdev *)opaque)->bytes + offset, size);
}

static void mem_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    stn_le(((PcTestdev *)opaque)->bytes + offset, size, value);
}

static const RegionOps data_ops = {data_read, data_write};
static const RegionOps data_byte_ops = {data_read, data_write, .max_size = 1};
static const RegionOps flush_ops = {NULL, flush_write, .min_size = 4, .max_size = 4};
static const RegionOps irq_ops = {NULL, irq_write, .max_size = 1};
static const RegionOps mem_ops = {mem_read, mem_write};

static bool pc_testdev_realize(Device *dev, GError **error)
{
    PcTestdev *s = (PcTestdev *)dev;
    IsaBus *bus = isa_bus(dev->machine);
    for (unsigned n = 0; n < ISA_IRQS; n++)
        s->line[n] = isa_irq(bus, n);
    region_init_io(&s->io, "pc-testdev-ioport", 4, &data_ops, s, NULL);
    region_init_io(&s->flush, "pc-testdev-flush-page", 4, &flush_ops, s, NULL);
    region_init_io(&s->io_byte, "pc-testdev-ioport-byte", 4, &data_byte_ops, s, NULL);
    region_init_io(&s->irq, "pc-testdev-irq-line", IRQ_PORTS, &irq_ops, s, NULL);
    region_init_io(&s->mem, "pc-testdev-iomem", MEM_SIZE, &mem_ops, s, NULL);
    isa_map(bus, 0xe0, &s->io);
    isa_map(bus, 0xe4, &s->flush);
    isa_map(bus, 0xe8, &s->io_byte);
    isa_map(bus, 0x2000, &s->irq);
    region_add_overlap(&dev->machine->mem_root, MEM_BASE, &s->mem, 1);
    return true;
}

static void pc_testdev_reset(Device *dev)
{
    PcTestdev *s = (PcTestdev *)dev;
    for (unsigned n = 0; n < ISA_IRQS; n++)
        irq_lower(&s->line[n]);
}

static void pc_testdev_unrealize(Device *dev)
{
    PcTestdev *s = (PcTestdev *)dev;
    region_fini(&s->io);
    region_fini(&s->flush);
    region_fini(&s->io_byte);
    region_fini(&s->irq);
    region_fini(&s->mem);
}

static const StateField pc_testdev_fields[] = {
    STATE_HOST(PcTestdev, dev),     STATE_HOST(PcTestdev, io),
    STATE_HOST(PcTestdev, io_byte), STATE_HOST(PcTestdev, flush),
    STATE_HOST(PcTestdev, irq),     STATE_HOST(PcTestdev, mem),
    STATE_HOST(PcTestdev, line),    STATE_BYTES(PcTestdev, data),
    STATE_BYTES(PcTestdev, bytes),  STATE_END,
};
static const StateDesc pc_testdev_state = {"pc-testdev", 1, sizeof(PcTestdev), pc_testdev_fields};

const DeviceClass pc_testdev_class = {
    .name = "pc-testdev",
    .desc = "test device of kvm-unit-tests",
    .bus = BUS_ISA,
    .user = true,
    .size = sizeof(PcTestdev),
    .state = &pc_testdev_state,
    .realize = pc_testdev_realize,
    .reset = pc_testdev_reset,
    .unrealize = pc_testdev_unrealize,
};
