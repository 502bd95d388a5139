/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA chip core: registers, display memory, Bochs VBE extensions and what they put on the
 * screen.  (IBM VGA Technical Reference; FreeVGA register descriptions; Bochs VBE DISPI interface,
 * version 0xb0c5.)  vga_pci.c puts it on a PCI card.
 *
 * Display memory keeps the four planes interleaved: plane p of VGA address a is byte a * 4 + p.
 * Chained accesses are compacted into that layout: chain-4 address a is byte a, and odd/even
 * address a is plane (a & 1) of VGA address a / 2.  So a chain-4 window is plain memory that the
 * guest may map directly, and the display counter needs no byte, word or doubleword variants: one
 * character clock is always four bytes.
 *
 * Main lock held throughout.
 */
#ifndef VMRUN_VGA_CORE_H
#define VMRUN_VGA_CORE_H

#include "hw/core/machine.h"
#include "ui/display.h"

/* Sequencer (0x3c4). */
enum { SR_RESET, SR_CLOCKING, SR_PLANE_MASK, SR_CHAR_MAP, SR_MEMORY_MODE, SR_COUNT = 8 };
enum {
    SR1_8_DOTS = 0x01,
    SR1_HALF_CLOCK = 0x08,
    SR1_SCREEN_OFF = 0x20,
    SR4_SEQUENTIAL = 0x04, /* odd/even addressing off */
    SR4_CHAIN4 = 0x08,
};
/* Graphics controller (0x3ce). */
enum {
    GR_SET_RESET,
    GR_ENABLE_SET_RESET,
    GR_COLOR_COMPARE,
    GR_ROTATE,
    GR_READ_MAP,
    GR_MODE,
    GR_MISC,
    GR_COLOR_DONT_CARE,
    GR_BIT_MASK,
    GR_COUNT = 16
};
enum { GR5_READ_MODE_1 = 0x08, GR5_ODD_EVEN = 0x10, GR6_GRAPHICS = 0x01 };
/* Attribute controller (0x3c0). */
enum { AR_MODE = 0x10, AR_OVERSCAN, AR_PLANE_ENABLE, AR_PEL_PANNING, AR_COLOR_SELECT, AR_COUNT };
enum {
    AR10_LINE_GRAPHICS = 0x04,
    AR10_BLINK = 0x08,
    AR10_SPLIT_PANS = 0x20, /* "pixel panning compatibility": the lower half does not pan */
    AR10_P54_SELECT = 0x80,
    AR_INDEX_PAS = 0x20, /* palette address source: the screen is on */
};
/* CRT controller (0x3b4 or 0x3d4). */
enum {
    CR_H_TOTAL = 0x00,
    CR_H_DISPLAY_END = 0x01,
    CR_H_BLANK_START = 0x02,
    CR_V_TOTAL = 0x06,
    CR_OVERFLOW = 0x07,
    CR_PRESET_ROW_SCAN = 0x08,
    CR_MAX_SCAN = 0x09,
    CR_CURSOR_START = 0x0a,
    CR_CURSOR_END = 0x0b,
    CR_START_HIGH = 0x0c,
    CR_START_LOW = 0x0d,
    CR_CURSOR_HIGH = 0x0e,
    CR_CURSOR_LOW = 0x0f,
    CR_V_RETRACE_START = 0x10,
    CR_V_RETRACE_END = 0x11,
    CR_V_DISPLAY_END = 0x12,
    CR_OFFSET = 0x13,
    CR_UNDERLINE = 0x14,
    CR_MODE = 0x17,
    CR_LINE_COMPARE = 0x18,
    CR_COUNT
};
enum { CR11_PROTECT = 0x80, CR17_ROW_BIT_0 = 0x01, CR17_ROW_BIT_1 = 0x02, CR17_BYTE_MODE = 0x40 };
enum { MISC_COLOR_IO = 0x01 };

/* Bochs VBE DISPI registers (index 0x1ce, data 0x1cf). */
enum {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_COUNT,
    VBE_VIDEO_MEMORY_64K = VBE_COUNT, /* read only, not stored */
};
enum {
    VBE_ENABLED = 0x01,
    VBE_GETCAPS = 0x02,
    VBE_8BIT_DAC = 0x20,
    VBE_LFB = 0x40,
    VBE_NO_CLEAR = 0x80,
};
#define VBE_ID0      0xb0c0
#define VBE_ID5      0xb0c5
#define VBE_MAX_XRES 16000
#define VBE_MAX_YRES 12000
#define VBE_MAX_BPP  32

/* What plain VGA can address: four planes of 64 KiB. */
#define VGA_PLANES_SIZE 0x40000u

typedef enum {
    VGA_BLANK,
    VGA_TEXT,
    VGA_PLANAR, /* 16 colours, a bit a plane */
    VGA_CGA,    /* two bits a pixel, interleaved shift */
    VGA_8,      /* a byte a pixel: mode 13h, mode X, VBE */
    VGA_15,
    VGA_16,
    VGA_24,
    VGA_32,
} VgaKind;

/* The picture that the registers ask for, apart from colours and the text cursor.  Compared
 * bytewise with that of the last refresh: when it differs everything is drawn. */
typedef struct VgaFrame {
    VgaKind kind;
    unsigned width, height; /* of the surface */
    unsigned dots;          /* surface pixels a dot, 1 or 2 */
    unsigned pan;           /* dots that are shifted out on the left */
    unsigned pan_below;     /* the same below the split */
    unsigned split;         /* the scan line at which the address starts again at 0 */
    uint32_t start;         /* address of the first row, bytes */
    uint32_t stride;        /* from row to row, bytes */
    uint32_t wrap;          /* where addresses wrap: a power of two */
    unsigned row_scans;     /* scan lines of a row (character height in text modes) */
    unsigned repeat;        /* each scan line is shown so many times */
    unsigned first_scan;    /* of the first row */
    uint32_t row_bit[2];    /* address bits that bits 0 and 1 of the row scan replace, or 0 */
    unsigned columns;       /* text: characters in a row */
    unsigned cell_dots;     /* text: 8 or 9 */
    uint32_t font[2];       /* text: address of the fonts for attribute bit 3 clear and set */
    unsigned underline;     /* text: scan line */
    bool line_graphics, blink;
    bool big_endian;
} VgaFrame;

/* Text: where the cursor is, and what blinks in now. */
typedef struct VgaCursor {
    uint32_t addr; /* bytes; UINT32_MAX: none */
    unsigned first, last;
    bool blinked_off; /* blinking characters are invisible */
} VgaCursor;

#define VGA_FONT_BYTES (256 * 32)

typedef struct VgaCore {
    uint8_t sr_index, sr[SR_COUNT];
    uint8_t gr_index, gr[GR_COUNT];
    uint8_t ar_index, ar[AR_COUNT];
    bool ar_data; /* flip-flop: the next write to 0x3c0 is data */
    uint8_t cr_index, cr[CR_COUNT];
    uint8_t misc, feature, enable;
    uint8_t dac_mask, dac_read_index, dac_write_index, dac_sub_index, dac_state;
    uint8_t dac_latch[3];
    uint8_t dac[256 * 3]; /* 6 or 8 bits each */
    uint32_t latch;       /* plane p in byte p */
    uint16_t vbe_index, vbe[VBE_COUNT];
    bool big_endian;

    /* Not state. */
    Machine *machine;
    uint32_t vram_size; /* a power of two */
    Region vram;
    Region window;        /* 0xa0000 - 0xbffff */
    Region window_planar; /* callbacks */
    Region window_direct; /* alias of vram while chain-4 is on */
    Region ports;         /* 0x3b0 - 0x3df, mapped through the aliases */
    Region port_alias[5];
    Region vbe_ports;
    Display *display;
    bool shown; /* the display has a surface of ours */
    bool draw_all;
    VgaFrame frame;
    VgaCursor cursor;
    uint32_t palette[256]; /* what pixel values stand for in this frame */
    uint8_t fonts[2][VGA_FONT_BYTES];
    uint32_t *cells; /* text: what was drawn, a key a character */
    unsigned cell_count;
    uint16_t *text_cells; /* text op */
    unsigned long *dirty; /* pages of vram */
    uint32_t *line;       /* a decoded line */
    uint8_t *bytes;       /* a line that wraps */
} VgaCore;

extern const StateDesc vga_core_state;

/* Allocates display memory (vram_size is a power of two, at least 1 MiB) and the Display. */
bool vga_core_init(VgaCore *s, Machine *machine, uint32_t vram_size, GError **error);
/* Maps the window at 0xa0000 of mem and the legacy ports of io. */
void vga_core_map(VgaCore *s, Region *mem, Region *io);
/* Undoes both. */
void vga_core_fini(VgaCore *s);
/* After the state was reset or loaded. */
void vga_core_reset(VgaCore *s);

/* vga_regs.c: the byte-wide register file, port is 0x3b0 to 0x3df. */
uint8_t vga_port_read(VgaCore *s, unsigned port);
void vga_port_write(VgaCore *s, unsigned port, uint8_t value);

/* vga_mem.c: the window, offset 0 to 0x1ffff. */
uint8_t vga_window_read(VgaCore *s, uint32_t offset);
void vga_window_write(VgaCore *s, uint32_t offset, uint8_t value);
/* The registers that select what the window shows have changed. */
void vga_window_update(VgaCore *s);

/* vga_vbe.c */
uint16_t vbe_read(VgaCore *s, unsigned index);
void vbe_write(VgaCore *s, unsigned index, uint16_t value);
/* Puts out-of-range values right; for values that did not come through vbe_write(). */
void vbe_fix(VgaCore *s);
static inline bool vbe_enabled(const VgaCore *s)
{
    return s->vbe[VBE_ENABLE] & VBE_ENABLED;
}
/* Bits a pixel in memory: 15 takes 16. */
static inline unsigned vbe_pixel_bits(const VgaCore *s)
{
    return s->vbe[VBE_BPP] == 15 ? 16 : s->vbe[VBE_BPP];
}
static inline uint32_t vbe_stride(const VgaCore *s)
{
    return s->vbe[VBE_VIRT_WIDTH] * vbe_pixel_bits(s) / 8;
}
/* Start of the 64 KiB bank, in window addresses. */
static inline uint32_t vbe_bank_offset(const VgaCore *s)
{
    return vbe_enabled(s) ? (uint32_t)s->vbe[VBE_BANK] << 16 : 0;
}
extern const RegionOps vbe_port_ops; /* opaque: VgaCore */

/* vga_frame.c: registers to picture. */
void vga_frame_compute(const VgaCore *s, VgaFrame *f);
void vga_cursor_compute(const VgaCore *s, VgaCursor *c);
void vga_palette_compute(const VgaCore *s, const VgaFrame *f, uint32_t *palette);
/* Input status 1, bits 0 and 3: where the beam is now. */
uint8_t vga_retrace(const VgaCore *s);

/* vga_draw.c: display ops. */
extern const DisplayOps vga_display_ops; /* opaque: VgaCore */
/* vga_lines.c: decodes count pixels of one line. */
typedef void VgaLineFn(const uint32_t *palette, uint32_t *out, const uint8_t *in, unsigned count);
VgaLineFn *vga_line_fn(const VgaFrame *f);
/* Bytes that count pixels take in memory. */
unsigned vga_line_bytes(const VgaFrame *f, unsigned count);
/* vga_text.c: draws the characters that changed, or all. */
void vga_text_draw(VgaCore *s, Surface *surface, bool all);
bool vga_text_cells(VgaCore *s, unsigned *columns, unsigned *rows, const uint16_t **cells,
                    int *cursor);
/* Packs the fonts out of plane 2; true if they changed. */
bool vga_text_load_fonts(VgaCore *s);

#endif
