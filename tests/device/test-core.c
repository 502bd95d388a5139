/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core: regions and views, access sizes, DMA, devices, state tables. */
#include "accel/test.h"
#include "util/bytes.h"
#include "util/rcu.h"
#include "util/timer.h"

/* ---- A device that records what its callbacks get ---- */

typedef struct Probe {
    Device dev;
    Region port, mmio;
    uint32_t base;
    uint32_t regs[4];
    uint8_t flags;
    bool on;
    Timer timer;
    unsigned fired;
} Probe;

static struct {
    unsigned reads, writes;
    hwaddr offset[16];
    unsigned size[16];
    uint64_t value[16];
} seen;

static uint64_t probe_read(void *opaque, hwaddr offset, unsigned size)
{
    seen.offset[seen.reads % 16] = offset;
    seen.size[seen.reads++ % 16] = size;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (0x10 + offset + i) << 8 * i;
    return value;
}

static void probe_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    seen.offset[seen.writes % 16] = offset;
    seen.value[seen.writes % 16] = value;
    seen.size[seen.writes++ % 16] = size;
}

static const RegionOps byte_ops = {probe_read, probe_write, 1, 1, false};
static const RegionOps dword_ops = {probe_read, probe_write, 4, 4, false};

static void probe_fire(void *opaque)
{
    ((Probe *)opaque)->fired++;
}

static bool probe_realize(Device *dev, GError **error)
{
    Probe *probe = (Probe *)dev;
    region_init_io(&probe->port, "probe", 8, &byte_ops, probe, NULL);
    region_init_io(&probe->mmio, "probe-mmio", 0x100, &dword_ops, probe, NULL);
    isa_map(isa_bus(dev->machine), (uint16_t)probe->base, &probe->port);
    region_add(&dev->machine->mem_root, 0xf0000000, &probe->mmio);
    timer_init(&probe->timer, loop_main(), VM_CLOCK_VIRTUAL, probe_fire, probe);
    return true;
}

static void probe_unrealize(Device *dev)
{
    region_fini(&((Probe *)dev)->port);
    region_fini(&((Probe *)dev)->mmio);
}

static const StateField probe_fields[] = {
    STATE_HOST(Probe, dev),
    STATE_HOST(Probe, port),
    STATE_HOST(Probe, mmio),
    STATE_HOST(Probe, base),
    STATE_ARRAY(Probe, regs, uint32_t, 0x5a),
    STATE_U(Probe, flags, 3),
    STATE_U(Probe, on, true),
    STATE_TIMER(Probe, timer),
    STATE_U_KEEP(Probe, fired),
    STATE_END,
};
static const StateDesc probe_state = {"probe", 1, sizeof(Probe), probe_fields, NULL, NULL};

static const Prop probe_props[] = {
    PROP_FIELD(Probe, base, "iobase", PROP_UINT, .value = 0x300, .max = 0xfff8, .help = "port"),
    PROP_END,
};

static const DeviceClass probe_class = {
    .name = "probe",
    .desc = "records accesses",
    .bus = BUS_ISA,
    .size = sizeof(Probe),
    .props = probe_props,
    .state = &probe_state,
    .realize = probe_realize,
    .unrealize = probe_unrealize,
};

static Machine *machine;
static Probe *probe;

static void set_up(void)
{
    memset(&seen, 0, sizeof(seen));
    machine = test_machine_new(1 << 20);
    probe = (Probe *)test_device(machine, &probe_class, NULL);
}

/* ---- Tests ---- */

static void test_sizes(void)
{
    set_up();
    g_assert_cmphex(inb(machine, 0x301), ==, 0x11);
    g_assert_cmphex(inl(machine, 0x300), ==, 0x13121110);
    g_assert_cmpuint(seen.reads, ==, 5);
    g_assert_cmpuint(seen.size[4], ==, 1);
    outw(machine, 0x302, 0xbeef);
    g_assert_cmpuint(seen.writes, ==, 2);
    g_assert_cmphex(seen.value[0], ==, 0xef);
    g_assert_cmphex(seen.value[1], ==, 0xbe);
    /* A word across the end of the region: one byte here, nothing behind. */
    g_assert_cmphex(inw(machine, 0x307), ==, 0xff17);

    memset(&seen, 0, sizeof(seen));
    g_assert_cmphex(readb(machine, 0xf0000006), ==, 0x16);
    g_assert_cmpuint(seen.size[0], ==, 4);
    g_assert_cmpuint(seen.offset[0], ==, 4);
    g_assert_cmphex(readl(machine, 0xf0000002), ==, 0x15141312);
    g_assert_cmphex(readq(machine, 0xf0000008), ==, 0x1f1e1d1c1b1a1918);
    writeb(machine, 0xf0000005, 0xab);
    g_assert_cmpuint(seen.offset[0], ==, 4);
    g_assert_cmphex(seen.value[0], ==, 0xab00);
    writeq(machine, 0xf0000010, 0x1122334455667788);
    g_assert_cmphex(seen.value[1], ==, 0x55667788);
    g_assert_cmphex(seen.value[2], ==, 0x11223344);
    test_machine_free(machine);
}

static void test_string_io(void)
{
    set_up();
    uint8_t data[12];
    dispatch_pio(&machine->io, 0x300, false, 4, data, 3);
    for (int i = 0; i < 3; i++)
        g_assert_cmphex(ld32_le(data + 4 * i), ==, 0x13121110);
    dispatch_pio(&machine->io, 0x9999, false, 2, data, 2);
    g_assert_cmphex(ld32_le(data), ==, 0xffffffff);
    test_machine_free(machine);
}

static void test_overlap(void)
{
    Region window, rom, alias;
    GError *error = NULL;
    set_up();
    region_init_rom(&rom, "rom", 0x2000, &error);
    g_assert_no_error(error);
    memset(region_ram_ptr(&rom), 0x77, 0x2000);
    region_add_overlap(&machine->mem_root, 0x8000, &rom, 5);
    writeb(machine, 0x7fff, 1);
    writeb(machine, 0x8000, 2);
    g_assert_cmphex(readw(machine, 0x7fff), ==, 0x7701);
    region_set_enabled(&rom, false);
    g_assert_cmphex(readb(machine, 0x8000), ==, 0);

    /* An alias of the ROM's second half below a container that shifts it. */
    region_init_container(&window, "window", 0x10000);
    region_init_alias(&alias, "alias", &rom, 0x1000, 0x800);
    region_set_enabled(&rom, true);
    region_remove(&rom);
    region_add(&window, 0x100, &alias);
    region_add_overlap(&machine->mem_root, 0xe0000000, &window, 1);
    g_assert_cmphex(readb(machine, 0xe0000100), ==, 0x77);
    g_assert_cmphex(readb(machine, 0xe00000ff), ==, 0xff);
    g_assert_cmphex(readb(machine, 0xe0000900), ==, 0xff);
    region_fini(&alias);
    region_fini(&window);
    region_fini(&rom);
    test_machine_free(machine);
}

static void test_views(void)
{
    set_up();
    rcu_read_lock();
    const FlatView *old = as_view(&machine->mem);
    unsigned count = old->count;
    region_begin();
    region_set_enabled(&probe->mmio, false);
    g_assert_true(as_view(&machine->mem) == old);
    region_commit();
    g_assert_true(as_view(&machine->mem) != old);
    g_assert_cmpuint(old->count, ==, count); /* still readable */
    g_assert_null(view_find(as_view(&machine->mem), 0xf0000000));
    rcu_read_unlock();
    g_autoptr(GString) text = g_string_new(NULL);
    as_describe(&machine->mem, false, text);
    g_assert_nonnull(strstr(text->str, "probe-mmio [disabled]"));
    test_machine_free(machine);
}

static void test_dma(void)
{
    uint8_t buf[32];
    set_up();
    memset(buf, 0x42, sizeof(buf));
    g_assert_cmpint(dma_write(&machine->mem, 0xffff0, buf, 32), ==, MEM_UNASSIGNED);
    g_assert_cmphex(readq(machine, 0xffff8), ==, 0x4242424242424242);
    g_assert_cmpint(dma_read(&machine->mem, 0xffff8, buf, 16), ==, MEM_UNASSIGNED);
    g_assert_cmphex(buf[7], ==, 0x42);
    g_assert_cmphex(buf[8], ==, 0xff);
    /* Never a device, and no wrap at the end of the space. */
    dma_write(&machine->mem, 0xf0000000, buf, 16);
    dma_read(&machine->mem, UINT64_MAX - 3, buf, 16);
    g_assert_cmpuint(seen.writes, ==, 0);
    g_assert_cmphex(buf[0], ==, 0xff);
    uint64_t length = 0x1000;
    g_assert_nonnull(dma_map(&machine->mem, 0xffff0, &length, true));
    g_assert_cmpuint(length, ==, 16);
    length = UINT64_MAX;
    g_assert_null(dma_map(&machine->mem, 0x100000, &length, false));
    test_machine_free(machine);
}

static void test_dirty(void)
{
    set_up();
    RamBlock *ram = machine->ram->ram;
    unsigned long bits[4] = {0};
    region_set_dirty_log(machine->ram, DIRTY_VGA, true);
    g_assert_true(ram_test_clear_dirty(ram, DIRTY_VGA, 0, ram->size));
    writew(machine, 0x2fff, 1);
    dma_fill(&machine->mem, 0x9000, 1, 1);
    g_assert_true(ram_snapshot_dirty(ram, DIRTY_VGA, 0, 0x10000, bits));
    g_assert_cmphex(bits[0], ==, 1 << 2 | 1 << 3 | 1 << 9);
    g_assert_false(ram_test_clear_dirty(ram, DIRTY_VGA, 0, ram->size));
    test_machine_free(machine);
}

static void test_state(void)
{
    set_up();
    g_assert_cmphex(probe->regs[3], ==, 0x5a);
    probe->regs[1] = 7;
    probe->fired = 9;
    timer_arm(&probe->timer, 1000);
    test_device_state(&probe->dev);
    g_assert_cmpuint(probe->regs[1], ==, 7);
    vclock_step(999);
    g_assert_cmpuint(probe->fired, ==, 9);
    vclock_step(1);
    g_assert_cmpuint(probe->fired, ==, 10);
    device_reset(&probe->dev);
    g_assert_cmphex(probe->regs[1], ==, 0x5a);
    g_assert_cmpuint(probe->fired, ==, 10); /* kept */
    test_machine_free(machine);
}

static void test_state_hole(void)
{
    static const StateField fields[] = {
        STATE_HOST(Probe, dev),
        STATE_U(Probe, flags, 0),
        STATE_END,
    };
    static const StateDesc desc = {"holes", 1, sizeof(Probe), fields, NULL, NULL};
    g_autofree char *hole = state_check_complete(&desc);
    g_assert_nonnull(hole);
    g_assert_nonnull(strstr(hole, "before flags"));
}

static void test_machine_state(void)
{
    set_up();
    g_autoptr(GByteArray) saved = g_byte_array_new();
    GError *error = NULL;
    probe->flags = 99;
    machine_save_devices(machine, saved);
    probe->flags = 1;
    machine_load_devices(machine, saved->data, saved->len, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(probe->flags, ==, 99);
    g_assert_false(machine_load_devices(machine, saved->data, saved->len - 1, &error));
    g_clear_error(&error);
    test_machine_free(machine);
}

static void test_props(void)
{
    set_up();
    g_autofree char *wrong = test_device_error(machine, &probe_class, "iobsae=1");
    g_assert_nonnull(strstr(wrong, "did you mean 'iobase'"));
    g_autofree char *big = test_device_error(machine, &probe_class, "iobase=65535");
    g_assert_nonnull(strstr(big, "iobase"));
    test_machine_free(machine);
}

static void test_isa_or(void)
{
    TestIrq irq = {0};
    set_up();
    test_isa_irq(machine, 4, &irq);
    IrqLine a = isa_irq(isa_bus(machine), 4), b = isa_irq(isa_bus(machine), 4);
    irq_raise(&a);
    irq_raise(&b);
    irq_lower(&a);
    g_assert_true(irq.level);
    irq_lower(&b);
    g_assert_false(irq.level);
    g_assert_cmpuint(irq.rises, ==, 1);
    test_machine_free(machine);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/core/access-sizes", test_sizes);
    g_test_add_func("/core/string-io", test_string_io);
    g_test_add_func("/core/overlap", test_overlap);
    g_test_add_func("/core/views", test_views);
    g_test_add_func("/core/dma", test_dma);
    g_test_add_func("/core/dirty", test_dirty);
    g_test_add_func("/core/state", test_state);
    g_test_add_func("/core/state-hole", test_state_hole);
    g_test_add_func("/core/machine-state", test_machine_state);
    g_test_add_func("/core/props", test_props);
    g_test_add_func("/core/isa-or", test_isa_or);
    return g_test_run();
}
