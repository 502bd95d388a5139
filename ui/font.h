/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text consoles' font, 8x16, and code page 437.
 *
 * Consoles do not depend on a VGA BIOS being installed: the letters are our own, drawn for this
 * file; lines and blocks are computed.  Codes without a glyph show as a small box.
 */
#ifndef VMRUN_UI_FONT_H
#define VMRUN_UI_FONT_H

#include "ui/display.h"

#define FONT_WIDTH  8
#define FONT_HEIGHT 16

/* The rows of a character of code page 437, leftmost pixel in bit 7. */
void font_glyph(uint8_t code, uint8_t rows[FONT_HEIGHT]);
/* Draws a character at pixel x, y; it must lie inside the surface. */
void font_draw(Surface *surface, unsigned x, unsigned y, uint8_t code, uint32_t fg, uint32_t bg);

/* Code page 437 as displays show it: 0x01 to 0x1f are pictures too. */
extern const uint16_t cp437_to_unicode[256];
/* 0xfe (a small square) where the page does not have it. */
uint8_t cp437_from_unicode(uint32_t character);

#endif
