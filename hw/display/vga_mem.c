/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA: the window at 0xa0000 - 0xbffff: address maps, latches, read and write modes.
 * (IBM VGA Technical Reference, graphics controller; FreeVGA, "accessing VGA display memory".)
 *
 * While chain-4 is on with all planes writable the window is plain memory: an alias of display
 * memory lies over the callbacks and the guest's accesses do not arrive here at all.
 */
#include "util/bytes.h"
#include "vga_core.h"

/* GR6 bits 2 and 3: where in the window the card answers. */
typedef struct MapMode {
    uint32_t base, size;
} MapMode;
static const MapMode map_modes[4] = {
    {0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};

static unsigned map_mode(const VgaCore *s)
{
    return s->gr[GR_MISC] >> 2 & 3;
}

/* Window offset to VGA address, the VBE bank added; false outside the map. */
static bool window_address(const VgaCore *s, uint32_t offset, uint32_t *addr)
{
    const MapMode *m = &map_modes[map_mode(s)];
    if (offset < m->base || offset - m->base >= m->size)
        return false;
    *addr = offset - m->base + (map_mode(s) == 1 ? vbe_bank_offset(s) : 0);
    return true;
}

/* Each bit of a plane mask becomes a byte of ones. */
static uint32_t plane_bytes(unsigned planes)
{
    return (planes & 1 ? 0xffu : 0) | (planes & 2 ? 0xff00u : 0) | (planes & 4 ? 0xff0000u : 0) |
           (planes & 8 ? 0xff000000u : 0);
}
static uint32_t all_planes(uint8_t byte)
{
    return byte * 0x01010101u;
}

/* Odd/even: the lowest address bit chooses between planes 0 and 1, or 2 and 3. */
static uint32_t odd_even_address(const VgaCore *s, uint32_t addr)
{
    return (addr & ~1u) << 1 | (s->gr[GR_READ_MAP] & 2) | (addr & 1);
}

static void store(VgaCore *s, uint32_t offset, uint8_t value)
{
    region_ram_ptr(&s->vram)[offset] = value;
    ram_mark_dirty(s->vram.ram, offset, 1);
}

static uint8_t planar_read(VgaCore *s, uint32_t addr)
{
    s->latch = ld32_le(region_ram_ptr(&s->vram) + addr * 4);
    if (!(s->gr[GR_MODE] & GR5_READ_MODE_1))
        return (uint8_t)(s->latch >> (s->gr[GR_READ_MAP] & 3) * 8);
    /* A bit is one where all planes that are cared for have the compared colour. */
    uint32_t differ =
        (s->latch ^ plane_bytes(s->gr[GR_COLOR_COMPARE])) & plane_bytes(s->gr[GR_COLOR_DONT_CARE]);
    differ |= differ >> 16;
    differ |= differ >> 8;
    return (uint8_t)~differ;
}

uint8_t vga_window_read(VgaCore *s, uint32_t offset)
{
    uint32_t addr;
    if (!window_address(s, offset, &addr))
        return 0xff;
    if (s->sr[SR_MEMORY_MODE] & SR4_CHAIN4)
        return addr < s->vram_size ? region_ram_ptr(&s->vram)[addr] : 0xff;
    if (s->gr[GR_MODE] & GR5_ODD_EVEN) {
        addr = odd_even_address(s, addr);
        return addr < s->vram_size ? region_ram_ptr(&s->vram)[addr] : 0xff;
    }
    return addr < s->vram_size / 4 ? planar_read(s, addr) : 0xff;
}

static uint8_t rotate(const VgaCore *s, uint8_t value)
{
    unsigned count = s->gr[GR_ROTATE] & 7;
    return (uint8_t)(value >> count | value << (8 - count));
}

/* What the four write modes make of a byte: data for the planes, and which bits come from it. */
static uint32_t write_data(const VgaCore *s, uint8_t value, uint32_t *bit_mask)
{
    uint32_t set_reset = plane_bytes(s->gr[GR_SET_RESET]);
    *bit_mask = all_planes(s->gr[GR_BIT_MASK]);
    switch (s->gr[GR_MODE] & 3) {
    case 0: {
        uint32_t enable = plane_bytes(s->gr[GR_ENABLE_SET_RESET]);
        return (all_planes(rotate(s, value)) & ~enable) | (set_reset & enable);
    }
    case 2:
        return plane_bytes(value);
    default:
        *bit_mask &= all_planes(rotate(s, value));
        return set_reset;
    }
}

static void planar_write(VgaCore *s, uint32_t addr, uint8_t value)
{
    uint32_t data = s->latch;
    if ((s->gr[GR_MODE] & 3) != 1) {
        uint32_t bit_mask;
        data = write_data(s, value, &bit_mask);
        switch (s->gr[GR_ROTATE] >> 3) {
        case 1:
            data &= s->latch;
            break;
        case 2:
            data |= s->latch;
            break;
        case 3:
            data ^= s->latch;
            break;
        }
        data = (data & bit_mask) | (s->latch & ~bit_mask);
    }
    uint32_t planes = plane_bytes(s->sr[SR_PLANE_MASK]);
    uint8_t *p = region_ram_ptr(&s->vram) + addr * 4;
    st32_le(p, (data & planes) | (ld32_le(p) & ~planes));
    ram_mark_dirty(s->vram.ram, addr * 4, 4);
}

void vga_window_write(VgaCore *s, uint32_t offset, uint8_t value)
{
    uint32_t addr;
    if (!window_address(s, offset, &addr))
        return;
    if (s->sr[SR_MEMORY_MODE] & SR4_CHAIN4) {
        if (addr < s->vram_size && (s->sr[SR_PLANE_MASK] >> (addr & 3) & 1))
            store(s, addr, value);
    } else if (!(s->sr[SR_MEMORY_MODE] & SR4_SEQUENTIAL)) {
        addr = odd_even_address(s, addr);
        if (addr < s->vram_size && (s->sr[SR_PLANE_MASK] >> (addr & 3) & 1))
            store(s, addr, value);
    } else if (addr < s->vram_size / 4) {
        planar_write(s, addr, value);
    }
}

void vga_window_update(VgaCore *s)
{
    const MapMode *m = &map_modes[map_mode(s)];
    uint32_t offset = map_mode(s) == 1 ? vbe_bank_offset(s) : 0;
    bool direct = (s->sr[SR_MEMORY_MODE] & SR4_CHAIN4) && s->sr[SR_PLANE_MASK] == 15 &&
                  offset + m->size <= s->vram_size;
    Region *r = &s->window_direct;
    if (direct == r->enabled &&
        (!direct || (r->addr == m->base && r->size == m->size && r->target_offset == offset)))
        return; /* a change of the memory map is far dearer than this look */
    region_begin();
    if (direct) {
        region_set_addr(r, m->base);
        region_set_size(r, m->size);
        region_set_alias_offset(r, offset);
    }
    region_set_enabled(r, direct);
    region_commit();
}
