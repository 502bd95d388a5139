/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA: the register file at 0x3b0 - 0x3df.  (IBM VGA Technical Reference; FreeVGA.)
 *
 * Writes keep the bits that exist.  CRT controller registers 0 to 7 have a write protection.  A
 * refresh looks at the registers anew each time, so nothing but the memory window follows a write.
 */
#include "vga_core.h"

static const uint8_t sr_mask[SR_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gr_mask[GR_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

static uint8_t ar_mask(unsigned index)
{
    switch (index) {
    case AR_MODE:
        return 0xef;
    case AR_OVERSCAN:
        return 0xff;
    case AR_PEL_PANNING:
    case AR_COLOR_SELECT:
        return 0x0f;
    default:
        return 0x3f;
    }
}

static void sr_write(VgaCore *s, uint8_t value)
{
    unsigned index = s->sr_index & 7;
    s->sr[index] = value & sr_mask[index];
    if (index == SR_PLANE_MASK || index == SR_MEMORY_MODE)
        vga_window_update(s);
}

static void gr_write(VgaCore *s, uint8_t value)
{
    unsigned index = s->gr_index & 15;
    s->gr[index] = value & gr_mask[index];
    if (index == GR_MISC)
        vga_window_update(s);
}

/* One port takes index and data in turn. */
static void ar_write(VgaCore *s, uint8_t value)
{
    s->ar_data = !s->ar_data;
    if (s->ar_data) {
        s->ar_index = value & 0x3f;
        return;
    }
    unsigned index = s->ar_index & 0x1f;
    if (index < AR_COUNT)
        s->ar[index] = value & ar_mask(index);
}

static void cr_write(VgaCore *s, uint8_t value)
{
    unsigned index = s->cr_index;
    if (index >= CR_COUNT)
        return;
    if (index <= CR_OVERFLOW && (s->cr[CR_V_RETRACE_END] & CR11_PROTECT)) {
        /* Of the protected ones only bit 8 of the line compare may change. */
        if (index == CR_OVERFLOW)
            s->cr[index] = (s->cr[index] & ~0x10) | (value & 0x10);
        return;
    }
    s->cr[index] = value;
}

static void dac_write(VgaCore *s, uint8_t value)
{
    bool wide = s->vbe[VBE_ENABLE] & VBE_8BIT_DAC;
    s->dac_latch[s->dac_sub_index] = wide ? value : value & 0x3f;
    if (++s->dac_sub_index < 3)
        return;
    memcpy(&s->dac[s->dac_write_index * 3], s->dac_latch, 3);
    s->dac_sub_index = 0;
    s->dac_write_index++;
}

static uint8_t dac_read(VgaCore *s)
{
    uint8_t value = s->dac[s->dac_read_index * 3 + s->dac_sub_index];
    if (++s->dac_sub_index == 3) {
        s->dac_sub_index = 0;
        s->dac_read_index++;
    }
    return value;
}

/* The CRT controller's ports move with a bit of the miscellaneous output register. */
static bool wrong_half(const VgaCore *s, unsigned port)
{
    bool color = s->misc & MISC_COLOR_IO;
    return (port < 0x3c0 && color) || (port >= 0x3d0 && !color);
}

uint8_t vga_port_read(VgaCore *s, unsigned port)
{
    if (wrong_half(s, port))
        return 0xff;
    switch (port) {
    case 0x3c0:
        return s->ar_index;
    case 0x3c1:
        return (s->ar_index & 0x1f) < AR_COUNT ? s->ar[s->ar_index & 0x1f] : 0;
    case 0x3c2:
        return 0; /* input status 0: no interrupt, sense switch closed */
    case 0x3c3:
        return s->enable;
    case 0x3c4:
        return s->sr_index;
    case 0x3c5:
        return s->sr[s->sr_index & 7];
    case 0x3c6:
        return s->dac_mask;
    case 0x3c7:
        return s->dac_state;
    case 0x3c8:
        return s->dac_write_index;
    case 0x3c9:
        return dac_read(s);
    case 0x3ca:
        return s->feature;
    case 0x3cc:
        return s->misc;
    case 0x3ce:
        return s->gr_index;
    case 0x3cf:
        return s->gr[s->gr_index & 15];
    case 0x3b4:
    case 0x3d4:
        return s->cr_index;
    case 0x3b5:
    case 0x3d5:
        return s->cr_index < CR_COUNT ? s->cr[s->cr_index] : 0;
    case 0x3ba:
    case 0x3da:
        s->ar_data = false;
        return vga_retrace(s);
    default:
        return 0xff;
    }
}

void vga_port_write(VgaCore *s, unsigned port, uint8_t value)
{
    if (wrong_half(s, port))
        return;
    switch (port) {
    case 0x3c0:
        ar_write(s, value);
        break;
    case 0x3c2:
        s->misc = value & ~0x10;
        break;
    case 0x3c3:
        s->enable = value & 1;
        break;
    case 0x3c4:
        s->sr_index = value & 7;
        break;
    case 0x3c5:
        sr_write(s, value);
        break;
    case 0x3c6:
        s->dac_mask = value;
        break;
    case 0x3c7:
        s->dac_read_index = value;
        s->dac_sub_index = 0;
        s->dac_state = 3;
        break;
    case 0x3c8:
        s->dac_write_index = value;
        s->dac_sub_index = 0;
        s->dac_state = 0;
        break;
    case 0x3c9:
        dac_write(s, value);
        break;
    case 0x3ce:
        s->gr_index = value & 15;
        break;
    case 0x3cf:
        gr_write(s, value);
        break;
    case 0x3b4:
    case 0x3d4:
        s->cr_index = value;
        break;
    case 0x3b5:
    case 0x3d5:
        cr_write(s, value);
        break;
    case 0x3ba:
    case 0x3da:
        s->feature = value & 0x10;
        break;
    }
}
