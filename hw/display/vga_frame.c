/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA: what the registers mean for the picture: geometry, cursor, palette, and the beam's position.
 *
 * Everything is bounded here: whatever the guest wrote, addresses are masked to `wrap`, which never
 * exceeds display memory, and sizes fit the line buffers.
 */
#include "util/bytes.h"
#include "util/timer.h"
#include "vga_core.h"

/* Half periods of blinking, in nanoseconds: 16 and 32 frames at 70 Hz. */
#define CURSOR_BLINK_NS (16 * NS_PER_SEC / 70)
#define TEXT_BLINK_NS   (32 * NS_PER_SEC / 70)

static unsigned v_display_end(const VgaCore *s)
{
    uint8_t over = s->cr[CR_OVERFLOW];
    return s->cr[CR_V_DISPLAY_END] | (over & 0x02u) << 7 | (over & 0x40u) << 3;
}

static unsigned line_compare(const VgaCore *s)
{
    return s->cr[CR_LINE_COMPARE] | (s->cr[CR_OVERFLOW] & 0x10u) << 4 |
           (s->cr[CR_MAX_SCAN] & 0x40u) << 3;
}

static bool split_pans(const VgaCore *s)
{
    return !(s->ar[AR_MODE] & AR10_SPLIT_PANS);
}

static void vbe_frame(const VgaCore *s, VgaFrame *f)
{
    const uint16_t *r = s->vbe;
    f->width = r[VBE_XRES];
    f->height = r[VBE_YRES];
    f->stride = vbe_stride(s);
    f->wrap = s->vram_size;
    f->split = UINT_MAX;
    f->big_endian = s->big_endian;
    f->start = r[VBE_Y_OFFSET] * f->stride;
    switch (r[VBE_BPP]) {
    case 4:
        f->kind = VGA_PLANAR;
        f->pan = r[VBE_X_OFFSET] & 7;
        f->start += r[VBE_X_OFFSET] / 8 * 4u;
        return;
    case 15:
        f->kind = VGA_15;
        break;
    case 16:
        f->kind = VGA_16;
        break;
    case 24:
        f->kind = VGA_24;
        break;
    case 32:
        f->kind = VGA_32;
        break;
    default:
        f->kind = VGA_8;
        break;
    }
    f->start += r[VBE_X_OFFSET] * vbe_pixel_bits(s) / 8;
}

/* Attribute register 0x13: how many dots the picture moves to the left. */
static unsigned pel_panning(const VgaCore *s, const VgaFrame *f)
{
    unsigned value = s->ar[AR_PEL_PANNING];
    if (f->kind == VGA_8)
        return (value & 7) / 2;
    if (f->kind == VGA_TEXT && f->cell_dots == 9)
        return value < 8 ? value + 1 : 0;
    return value & 7;
}

static void text_frame(const VgaCore *s, VgaFrame *f)
{
    uint8_t map = s->sr[SR_CHAR_MAP];
    unsigned map_b = (map & 3u) | (map >> 2 & 4u); /* attribute bit 3 clear */
    unsigned map_a = (map >> 2 & 3u) | (map >> 3 & 4u);
    /* The fonts stand at 0, 16, 32, 48 KiB, then at 8, 24, 40, 56 KiB of plane 2. */
    f->font[0] = ((map_b & 3) * 2 + (map_b >> 2)) * 0x2000 * 4 + 2;
    f->font[1] = ((map_a & 3) * 2 + (map_a >> 2)) * 0x2000 * 4 + 2;
    f->kind = VGA_TEXT;
    f->columns = s->cr[CR_H_DISPLAY_END] + 1u;
    f->cell_dots = s->sr[SR_CLOCKING] & SR1_8_DOTS ? 8 : 9;
    f->width = f->columns * f->cell_dots * f->dots;
    f->underline = s->cr[CR_UNDERLINE] & 0x1f;
    f->line_graphics = s->ar[AR_MODE] & AR10_LINE_GRAPHICS;
    f->blink = s->ar[AR_MODE] & AR10_BLINK;
}

static void graphics_frame(const VgaCore *s, VgaFrame *f)
{
    f->width = (s->cr[CR_H_DISPLAY_END] + 1u) * 8;
    switch (s->gr[GR_MODE] >> 5 & 3) {
    case 0:
        f->kind = VGA_PLANAR;
        f->width *= f->dots;
        break;
    case 1:
        f->kind = VGA_CGA;
        f->width *= f->dots;
        break;
    default:
        f->kind = VGA_8;
        f->dots = 2; /* two clocks shift a byte out */
        break;
    }
    /* CGA and Hercules pictures: address bits 13 and 14 come from the row scan counter.  In word
     * mode the compacted address is half of the card's. */
    unsigned shift = s->cr[CR_MODE] & CR17_BYTE_MODE ? 15 : 14;
    if (!(s->cr[CR_MODE] & CR17_ROW_BIT_0))
        f->row_bit[0] = 1u << shift;
    if (!(s->cr[CR_MODE] & CR17_ROW_BIT_1))
        f->row_bit[1] = 2u << shift;
}

void vga_frame_compute(const VgaCore *s, VgaFrame *f)
{
    memset(f, 0, sizeof(*f));
    f->dots = f->repeat = f->row_scans = 1;
    if (!(s->ar_index & AR_INDEX_PAS))
        return; /* blank */
    if (vbe_enabled(s) && (s->gr[GR_MISC] & GR6_GRAPHICS)) {
        vbe_frame(s, f);
        return;
    }
    if (s->sr[SR_CLOCKING] & SR1_SCREEN_OFF)
        return;

    f->dots = s->sr[SR_CLOCKING] & SR1_HALF_CLOCK ? 2 : 1;
    f->height = v_display_end(s) + 1;
    f->wrap = VGA_PLANES_SIZE;
    f->stride = (uint32_t)s->cr[CR_OFFSET] << 3;
    f->row_scans = (s->cr[CR_MAX_SCAN] & 0x1fu) + 1;
    f->repeat = s->cr[CR_MAX_SCAN] & 0x80 ? 2 : 1;
    f->first_scan = s->cr[CR_PRESET_ROW_SCAN] & 0x1f;
    if (f->first_scan >= f->row_scans)
        f->first_scan = 0;
    f->split = line_compare(s) + 1;
    unsigned start = (unsigned)(s->cr[CR_START_HIGH] << 8 | s->cr[CR_START_LOW]);
    start += s->cr[CR_PRESET_ROW_SCAN] >> 5 & 3; /* byte panning */
    f->start = start * 4 % f->wrap;
    if (s->gr[GR_MISC] & GR6_GRAPHICS)
        graphics_frame(s, f);
    else
        text_frame(s, f);
    f->pan = pel_panning(s, f);
    f->pan_below = split_pans(s) ? f->pan : 0;
}

void vga_cursor_compute(const VgaCore *s, VgaCursor *c)
{
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    memset(c, 0, sizeof(*c));
    c->addr = UINT32_MAX;
    c->first = s->cr[CR_CURSOR_START] & 0x1f;
    c->last = s->cr[CR_CURSOR_END] & 0x1f;
    bool off = (s->cr[CR_CURSOR_START] & 0x20) || c->first > c->last;
    if (!off && now / CURSOR_BLINK_NS % 2 == 0)
        c->addr = (uint32_t)(s->cr[CR_CURSOR_HIGH] << 8 | s->cr[CR_CURSOR_LOW]) * 4;
    c->blinked_off = s->frame.blink && now / TEXT_BLINK_NS % 2;
}

/* A DAC entry as 0x00RRGGBB.  Six bits are stretched so that 63 becomes 255. */
static uint32_t dac_color(const VgaCore *s, unsigned index)
{
    const uint8_t *c = &s->dac[(index & s->dac_mask) * 3];
    if (s->vbe[VBE_ENABLE] & VBE_8BIT_DAC)
        return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
    uint32_t rgb = (c[0] & 0x3fu) << 16 | (c[1] & 0x3fu) << 8 | (c[2] & 0x3fu);
    return rgb << 2 | (rgb >> 4 & 0x030303);
}

void vga_palette_compute(const VgaCore *s, const VgaFrame *f, uint32_t *palette)
{
    memset(palette, 0, 256 * sizeof(*palette));
    if (f->kind == VGA_8) {
        for (unsigned i = 0; i < 256; i++)
            palette[i] = dac_color(s, i);
    } else if (f->kind == VGA_TEXT || f->kind == VGA_PLANAR || f->kind == VGA_CGA) {
        uint8_t select = s->ar[AR_COLOR_SELECT];
        for (unsigned i = 0; i < 16; i++) {
            unsigned p = s->ar[i & s->ar[AR_PLANE_ENABLE] & 15];
            if (s->ar[AR_MODE] & AR10_P54_SELECT)
                p = (p & 0x0f) | (unsigned)(select & 0x0f) << 4;
            else
                p = (p & 0x3f) | (unsigned)(select & 0x0c) << 4;
            palette[i] = dac_color(s, p);
        }
    }
}

/* A frame in time: lines and characters, shown and in all. */
typedef struct Timing {
    int64_t frame_ns;
    unsigned lines, lines_shown, retrace_line, chars, chars_shown;
} Timing;

static Timing frame_timing(const VgaCore *s)
{
    static const Timing at_60hz = {NS_PER_SEC / 60, 525, 480, 490, 100, 80};
    uint8_t over = s->cr[CR_OVERFLOW];
    Timing t = {
        .lines = (s->cr[CR_V_TOTAL] | (over & 0x01u) << 8 | (over & 0x20u) << 4) + 2,
        .lines_shown = v_display_end(s) + 1,
        .retrace_line = s->cr[CR_V_RETRACE_START] | (over & 0x04u) << 6 | (over & 0x80u) << 2,
        .chars = s->cr[CR_H_TOTAL] + 5u,
        .chars_shown = s->cr[CR_H_DISPLAY_END] + 1u,
    };
    uint64_t dots = (uint64_t)t.chars * (s->sr[SR_CLOCKING] & SR1_8_DOTS ? 8 : 9);
    if (s->sr[SR_CLOCKING] & SR1_HALF_CLOCK)
        dots *= 2;
    unsigned clock = s->misc & 0x04 ? 28322000 : 25175000;
    t.frame_ns = (int64_t)(dots * t.lines * NS_PER_SEC / clock);
    /* Linear modes leave the totals alone, and a guest may not have set them yet. */
    if (vbe_enabled(s) || t.lines_shown >= t.lines || t.chars_shown >= t.chars ||
        t.frame_ns < 2 * NS_PER_MS)
        return at_60hz;
    if (t.retrace_line < t.lines_shown || t.retrace_line >= t.lines)
        t.retrace_line = t.lines_shown;
    return t;
}

uint8_t vga_retrace(const VgaCore *s)
{
    Timing t = frame_timing(s);
    uint64_t at = (uint64_t)(clock_now(VM_CLOCK_VIRTUAL) % t.frame_ns) * t.lines;
    unsigned line = (unsigned)(at / (uint64_t)t.frame_ns);
    unsigned column = (unsigned)(at % (uint64_t)t.frame_ns * t.chars / (uint64_t)t.frame_ns);
    uint8_t status = 0;
    if (line >= t.lines_shown || column >= t.chars_shown)
        status |= 0x01; /* not displaying */
    /* A real card raises this for two lines only; a guest whose port reads take microseconds would
     * wait for many frames until it hits them.  So it stays until the frame ends. */
    if (line >= t.retrace_line)
        status |= 0x08;
    return status;
}
