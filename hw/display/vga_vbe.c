/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bochs VBE DISPI: sixteen-bit registers for linear modes of any size.  (Bochs VBE documentation,
 * interface version 0xb0c5.)
 *
 * Setting a mode also programs the VGA registers that matter for the window at 0xa0000, as the VGA
 * BIOS relies on it.  After vbe_fix() the visible part always lies inside display memory.
 */
#include "util/bytes.h"
#include "util/log.h"
#include "vga_core.h"

static unsigned clamp_u(unsigned value, unsigned low, unsigned high)
{
    return value < low ? low : value > high ? high : value;
}

/* Byte address of the top left pixel. */
static uint64_t visible_start(const VgaCore *s)
{
    return (uint64_t)s->vbe[VBE_Y_OFFSET] * vbe_stride(s) +
           (uint64_t)s->vbe[VBE_X_OFFSET] * vbe_pixel_bits(s) / 8;
}

void vbe_fix(VgaCore *s)
{
    uint16_t *r = s->vbe;
    if (!vbe_enabled(s))
        return;
    switch (r[VBE_BPP]) {
    case 4:
    case 8:
    case 15:
    case 16:
    case 24:
    case 32:
        break;
    default:
        guest_error("vga: %u bits a pixel are not supported, taking 8", r[VBE_BPP]);
        r[VBE_BPP] = 8;
    }
    r[VBE_XRES] = (uint16_t)clamp_u(r[VBE_XRES] & ~7u, 8, VBE_MAX_XRES);
    r[VBE_VIRT_WIDTH] = (uint16_t)clamp_u(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES], VBE_MAX_XRES);
    /* At 16000 pixels of 4 bytes a line takes 64000 bytes: the smallest memory has 16 lines. */
    unsigned lines = s->vram_size / vbe_stride(s);
    r[VBE_VIRT_HEIGHT] = (uint16_t)MIN(lines, UINT16_MAX);
    r[VBE_YRES] = (uint16_t)clamp_u(r[VBE_YRES], 1, MIN(lines, VBE_MAX_YRES));

    uint64_t visible = (uint64_t)r[VBE_YRES] * vbe_stride(s);
    if (visible_start(s) + visible > s->vram_size)
        r[VBE_Y_OFFSET] = 0;
    if (visible_start(s) + visible > s->vram_size)
        r[VBE_X_OFFSET] = 0;
}

/* The VGA registers of a linear mode: one 64 KiB window at 0xa0000, no row tricks. */
static void program_vga(VgaCore *s)
{
    if (!vbe_enabled(s))
        return;
    unsigned end = s->vbe[VBE_YRES] - 1u;
    s->gr[GR_MISC] = (s->gr[GR_MISC] & ~0x0c) | 0x04 | GR6_GRAPHICS;
    s->gr[GR_MODE] &= ~0x60;
    s->cr[CR_MODE] |= CR17_ROW_BIT_0 | CR17_ROW_BIT_1;
    s->cr[CR_OFFSET] = (uint8_t)(vbe_stride(s) >> 3);
    s->cr[CR_H_DISPLAY_END] = (uint8_t)((s->vbe[VBE_XRES] >> 3) - 1);
    s->cr[CR_V_DISPLAY_END] = (uint8_t)end;
    s->cr[CR_OVERFLOW] =
        (uint8_t)((s->cr[CR_OVERFLOW] & ~0x42) | (end >> 7 & 0x02) | (end >> 3 & 0x40));
    s->cr[CR_MAX_SCAN] &= ~0x9f;
    if (s->vbe[VBE_BPP] == 4) {
        s->sr[SR_CLOCKING] &= ~SR1_HALF_CLOCK;
        s->sr[SR_MEMORY_MODE] &= ~SR4_CHAIN4;
    } else {
        s->gr[GR_MODE] |= 0x40;
        s->sr[SR_MEMORY_MODE] |= SR4_CHAIN4;
        s->sr[SR_PLANE_MASK] |= 0x0f;
    }
}

static void write_enable(VgaCore *s, uint16_t value)
{
    bool was_on = vbe_enabled(s);
    s->vbe[VBE_ENABLE] =
        value & (VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB | VBE_NO_CLEAR);
    if (was_on && vbe_enabled(s))
        return;
    s->vbe[VBE_BANK] = 0;
    if (!vbe_enabled(s))
        return;
    s->vbe[VBE_VIRT_WIDTH] = 0;
    s->vbe[VBE_X_OFFSET] = 0;
    s->vbe[VBE_Y_OFFSET] = 0;
    vbe_fix(s);
    program_vga(s);
    if (!(value & VBE_NO_CLEAR)) {
        uint32_t length = MIN(s->vbe[VBE_YRES] * vbe_stride(s), s->vram_size);
        memset(region_ram_ptr(&s->vram), 0, length);
        ram_mark_dirty(s->vram.ram, 0, length);
    }
}

static uint16_t write_bank(const VgaCore *s, uint16_t value)
{
    /* A planar bank covers four times the memory. */
    unsigned banks = s->vram_size >> (s->vbe[VBE_BPP] == 4 ? 18 : 16);
    return (uint16_t)(value & (banks - 1));
}

void vbe_write(VgaCore *s, unsigned index, uint16_t value)
{
    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID0 && value <= VBE_ID5)
            s->vbe[index] = value;
        return;
    case VBE_ENABLE:
        write_enable(s, value);
        break;
    case VBE_BANK:
        s->vbe[index] = write_bank(s, value);
        break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        s->vbe[index] = value;
        vbe_fix(s);
        program_vga(s);
        break;
    default: /* the virtual height follows from the width, the memory size is what it is */
        return;
    }
    s->vbe[VBE_BANK] = write_bank(s, s->vbe[VBE_BANK]);
    vga_window_update(s);
}

uint16_t vbe_read(VgaCore *s, unsigned index)
{
    bool caps = s->vbe[VBE_ENABLE] & VBE_GETCAPS;
    switch (index) {
    case VBE_XRES:
        return caps ? VBE_MAX_XRES : s->vbe[index];
    case VBE_YRES:
        return caps ? VBE_MAX_YRES : s->vbe[index];
    case VBE_BPP:
        return caps ? VBE_MAX_BPP : s->vbe[index];
    case VBE_VIDEO_MEMORY_64K:
        return (uint16_t)(s->vram_size >> 16);
    default:
        return index < VBE_COUNT ? s->vbe[index] : 0;
    }
}

/* Ports 0x1ce (index), 0x1cf and, for those who want it aligned, 0x1d0 (data). */
static uint64_t port_read(void *opaque, hwaddr offset, unsigned size)
{
    VgaCore *s = opaque;
    return offset == 0 ? s->vbe_index : vbe_read(s, s->vbe_index);
}

static void port_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    VgaCore *s = opaque;
    if (offset == 0)
        s->vbe_index = (uint16_t)value;
    else
        vbe_write(s, s->vbe_index, (uint16_t)value);
}

const RegionOps vbe_port_ops = {
    .read = port_read, .write = port_write, .max_size = 2, .unaligned = true};
