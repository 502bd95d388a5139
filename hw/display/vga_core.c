/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VGA: state table, regions, life of the core. */
#include "vga_core.h"

static uint64_t ports_read(void *opaque, hwaddr offset, unsigned size)
{
    return vga_port_read(opaque, 0x3b0 + (unsigned)offset);
}
static void ports_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    vga_port_write(opaque, 0x3b0 + (unsigned)offset, (uint8_t)value);
}
/* A word at an index port sets index and data: the bus splits it into the two bytes. */
static const RegionOps ports_ops = {.read = ports_read, .write = ports_write, .max_size = 1};

static uint64_t window_read(void *opaque, hwaddr offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)vga_window_read(opaque, (uint32_t)offset + i) << 8 * i;
    return value;
}
static void window_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        vga_window_write(opaque, (uint32_t)offset + i, (uint8_t)(value >> 8 * i));
}
static const RegionOps window_ops = {.read = window_read, .write = window_write, .max_size = 8};

/* A snapshot is hostile input: indexes back into their ranges, modes into display memory. */
static bool post_load(void *state, GError **error)
{
    VgaCore *s = state;
    s->dac_sub_index %= 3;
    s->sr_index &= 7;
    s->gr_index &= 15;
    vbe_fix(s);
    uint16_t bank = s->vbe[VBE_BANK];
    vbe_write(s, VBE_BANK, bank);
    s->draw_all = true;
    return true;
}

static const StateField vga_core_fields[] = {
    STATE_U(VgaCore, sr_index, 0),
    STATE_BYTES(VgaCore, sr),
    STATE_U(VgaCore, gr_index, 0),
    STATE_BYTES(VgaCore, gr),
    STATE_U(VgaCore, ar_index, 0),
    STATE_BYTES(VgaCore, ar),
    STATE_U(VgaCore, ar_data, 0),
    STATE_U(VgaCore, cr_index, 0),
    STATE_BYTES(VgaCore, cr),
    STATE_U(VgaCore, misc, 0),
    STATE_U(VgaCore, feature, 0),
    STATE_U(VgaCore, enable, 0),
    STATE_U(VgaCore, dac_mask, 0xff),
    STATE_U(VgaCore, dac_read_index, 0),
    STATE_U(VgaCore, dac_write_index, 0),
    STATE_U(VgaCore, dac_sub_index, 0),
    STATE_U(VgaCore, dac_state, 0),
    STATE_BYTES(VgaCore, dac_latch),
    STATE_BYTES(VgaCore, dac),
    STATE_U(VgaCore, latch, 0),
    STATE_U(VgaCore, vbe_index, 0),
    STATE_ARRAY(VgaCore, vbe, uint16_t, 0),
    STATE_U(VgaCore, big_endian, 0),
    STATE_HOST(VgaCore, machine),
    STATE_HOST(VgaCore, vram_size),
    STATE_HOST(VgaCore, vram),
    STATE_HOST(VgaCore, window),
    STATE_HOST(VgaCore, window_planar),
    STATE_HOST(VgaCore, window_direct),
    STATE_HOST(VgaCore, ports),
    STATE_HOST(VgaCore, port_alias),
    STATE_HOST(VgaCore, vbe_ports),
    STATE_HOST(VgaCore, display),
    STATE_HOST(VgaCore, shown),
    STATE_HOST(VgaCore, draw_all),
    STATE_HOST(VgaCore, frame),
    STATE_HOST(VgaCore, cursor),
    STATE_HOST(VgaCore, palette),
    STATE_HOST(VgaCore, fonts),
    STATE_HOST(VgaCore, cells),
    STATE_HOST(VgaCore, cell_count),
    STATE_HOST(VgaCore, text_cells),
    STATE_HOST(VgaCore, dirty),
    STATE_HOST(VgaCore, line),
    STATE_HOST(VgaCore, bytes),
    STATE_END,
};
const StateDesc vga_core_state = {"vga-core", 1, sizeof(VgaCore), vga_core_fields,
                                  .post_load = post_load};

/* The legacy ports that are mapped; those between belong to others. */
static const struct {
    uint16_t first, count;
} port_ranges[] = {{0x3b4, 2}, {0x3ba, 1}, {0x3c0, 16}, {0x3d4, 2}, {0x3da, 1}};
G_STATIC_ASSERT(G_N_ELEMENTS(port_ranges) == G_N_ELEMENTS(((VgaCore *)0)->port_alias));

bool vga_core_init(VgaCore *s, Machine *machine, uint32_t vram_size, GError **error)
{
    s->machine = machine;
    s->vram_size = vram_size;
    if (!region_init_ram(&s->vram, "vga.vram", vram_size, error))
        return false;
    region_set_dirty_log(&s->vram, DIRTY_VGA, true);

    region_init_container(&s->window, "vga.window", 0x20000);
    region_init_io(&s->window_planar, "vga.planar", 0x20000, &window_ops, s, NULL);
    region_set_coalesced(&s->window_planar, true);
    region_add(&s->window, 0, &s->window_planar);
    region_init_alias(&s->window_direct, "vga.chain4", &s->vram, 0, 0x10000);
    region_set_enabled(&s->window_direct, false);
    region_add_overlap(&s->window, 0, &s->window_direct, 1);

    region_init_io(&s->ports, "vga.ports", 0x30, &ports_ops, s, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(port_ranges); i++)
        region_init_alias(&s->port_alias[i], "vga.ports", &s->ports, port_ranges[i].first - 0x3b0,
                          port_ranges[i].count);
    region_init_io(&s->vbe_ports, "vga.vbe", 4, &vbe_port_ops, s, NULL);

    s->dirty = g_new0(unsigned long, vram_size / RAM_PAGE_SIZE / (8 * sizeof(long)) + 1);
    s->line = g_new(uint32_t, VBE_MAX_XRES + 64);
    s->bytes = g_malloc(VBE_MAX_XRES * 4 + 64);
    s->display = display_new("vga", &vga_display_ops, s);
    return true;
}

void vga_core_map(VgaCore *s, Region *mem, Region *io)
{
    region_begin();
    region_add_overlap(mem, 0xa0000, &s->window, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(port_ranges); i++)
        region_add(io, port_ranges[i].first, &s->port_alias[i]);
    region_add(io, 0x1ce, &s->vbe_ports);
    region_commit();
}

void vga_core_fini(VgaCore *s)
{
    display_free(s->display); /* its surface may lie in display memory */
    region_begin();
    region_fini(&s->vbe_ports);
    for (unsigned i = 0; i < G_N_ELEMENTS(port_ranges); i++)
        region_fini(&s->port_alias[i]);
    region_fini(&s->ports);
    region_fini(&s->window_direct);
    region_fini(&s->window_planar);
    region_fini(&s->window);
    region_commit();
    region_fini(&s->vram); /* only now does no view show it any more */
    g_free(s->dirty);
    g_free(s->line);
    g_free(s->bytes);
    g_free(s->cells);
    g_free(s->text_cells);
}

void vga_core_reset(VgaCore *s)
{
    s->vbe[VBE_ID] = VBE_ID5;
    vga_window_update(s);
    s->draw_all = true;
}
