/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VESA Enhanced EDID Standard, release A2 (structure 1.4): what a guest's driver asks for sizes. */
#include "edid.h"

#include "util/bytes.h"

#define DPI 100

/* Standard timings (section 3.9): width, and the aspect ratio's code in bits 6 and 7, at 60 Hz. */
enum { ASPECT_16_10 = 0x00, ASPECT_4_3 = 0x40, ASPECT_5_4 = 0x80, ASPECT_16_9 = 0xc0 };
static const struct {
    uint16_t width;
    uint8_t aspect;
} standard_timings[8] = {
    {1920, ASPECT_16_9}, {1680, ASPECT_16_10}, {1600, ASPECT_4_3}, {1440, ASPECT_16_10},
    {1280, ASPECT_5_4},  {1280, ASPECT_16_10}, {1280, ASPECT_4_3}, {1152, ASPECT_4_3},
};

/* Section 3.10.2, with the reduced blanking of VESA CVT. */
static void detailed_timing(uint8_t *d, unsigned width, unsigned height)
{
    const unsigned h_blank = 160, h_front = 48, h_sync = 32;
    const unsigned v_blank = 3 + 6 + height / 50 + 6, v_front = 3, v_sync = 6;
    unsigned clock = (width + h_blank) * (height + v_blank) * 60 / 10000; /* 10 kHz */
    unsigned mm_wide = width * 254 / (DPI * 10), mm_high = height * 254 / (DPI * 10);

    st16_le(d, (uint16_t)MIN(clock, 0xffff));
    d[2] = (uint8_t)width;
    d[3] = h_blank;
    d[4] = (uint8_t)((width >> 8) << 4);
    d[5] = (uint8_t)height;
    d[6] = (uint8_t)v_blank;
    d[7] = (uint8_t)((height >> 8) << 4);
    d[8] = h_front;
    d[9] = h_sync;
    d[10] = v_front << 4 | v_sync;
    d[12] = (uint8_t)mm_wide;
    d[13] = (uint8_t)mm_high;
    d[14] = (uint8_t)((mm_wide >> 8 & 15) << 4 | (mm_high >> 8 & 15));
    d[17] = 0x1a; /* digital separate sync, horizontal positive */
}

/* Section 3.10.3: a descriptor of 13 bytes of text or data. */
static void descriptor(uint8_t *d, uint8_t tag, const char *bytes, unsigned length)
{
    memset(d, 0, 18);
    d[3] = tag;
    memset(d + 5, tag == 0xfc ? ' ' : 0, 13);
    memcpy(d + 5, bytes, length);
}

void edid_fill(uint8_t e[EDID_SIZE], unsigned width, unsigned height)
{
    static const uint8_t header[8] = {0, 255, 255, 255, 255, 255, 255, 0};
    /* Red, green, blue and white of sRGB, ten bits each (section 3.7). */
    static const uint8_t chroma[10] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};

    memset(e, 0, EDID_SIZE);
    memcpy(e, header, sizeof(header));
    st16_be(e + 8, ('V' - 64) << 10 | ('M' - 64) << 5 | ('R' - 64));
    st16_le(e + 10, 0x1111);
    e[16] = 1;           /* week */
    e[17] = 2024 - 1990; /* and year of manufacture */
    e[18] = 1;
    e[19] = 4;
    e[20] = 0xa0; /* digital, 8 bits a colour */
    e[21] = (uint8_t)MIN(width * 254 / (DPI * 100), 255);
    e[22] = (uint8_t)MIN(height * 254 / (DPI * 100), 255);
    e[23] = 120;  /* gamma 2.2 */
    e[24] = 0x06; /* sRGB, the first detailed timing is preferred */
    memcpy(e + 25, chroma, sizeof(chroma));
    e[35] = 0x21; /* 640x480, 800x600 */
    e[36] = 0x08; /* 1024x768 */
    for (unsigned i = 0; i < G_N_ELEMENTS(standard_timings); i++) {
        e[38 + 2 * i] = (uint8_t)(standard_timings[i].width / 8 - 31);
        e[39 + 2 * i] = standard_timings[i].aspect;
    }
    detailed_timing(e + 54, width, height);
    /* 50 - 125 Hz, 30 - 160 kHz, up to 2550 MHz. */
    descriptor(e + 72, 0xfd, "\x32\x7d\x1e\xa0\xff\x01\x0a      ", 13);
    descriptor(e + 90, 0xfc, "vmrun\n", 6);
    descriptor(e + 108, 0x10, "", 0);

    uint8_t sum = 0;
    for (unsigned i = 0; i < EDID_SIZE - 1; i++)
        sum += e[i];
    e[EDID_SIZE - 1] = (uint8_t)-sum;
}
