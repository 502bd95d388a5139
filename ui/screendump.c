/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Screenshots: PNG by libpng, or PPM (netpbm's P6). */
#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>

#include "ui/display.h"
#include "util/error.h"

static void to_rgb(const uint32_t *pixels, uint8_t *rgb, unsigned count)
{
    for (unsigned x = 0; x < count; x++, rgb += 3) {
        rgb[0] = (uint8_t)(pixels[x] >> 16);
        rgb[1] = (uint8_t)(pixels[x] >> 8);
        rgb[2] = (uint8_t)pixels[x];
    }
}

static const uint32_t *surface_row(const Surface *surface, unsigned y)
{
    return surface->pixels + (size_t)y * (surface->stride / 4);
}

static bool write_ppm(FILE *file, const Surface *surface, uint8_t *row)
{
    fprintf(file, "P6\n%u %u\n255\n", surface->width, surface->height);
    for (unsigned y = 0; y < surface->height; y++) {
        to_rgb(surface_row(surface, y), row, surface->width);
        fwrite(row, 3, surface->width, file);
    }
    return !ferror(file);
}

/* libpng leaves by longjmp: what the jump must find again is a parameter, not a local. */
static bool write_png_body(png_structp png, png_infop info, FILE *file, const Surface *surface,
                           uint8_t *row)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_init_io(png, file);
    png_set_IHDR(png, info, surface->width, surface->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (unsigned y = 0; y < surface->height; y++) {
        to_rgb(surface_row(surface, y), row, surface->width);
        png_write_row(png, row);
    }
    png_write_end(png, NULL);
    return true;
}

static void png_quiet(png_structp png, png_const_charp message)
{
    longjmp(png_jmpbuf(png), 1);
}
static void png_no_warning(png_structp png, png_const_charp message)
{
}

static bool write_png(FILE *file, const Surface *surface, uint8_t *row)
{
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, png_quiet, png_no_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    bool ok = info && write_png_body(png, info, file, surface, row);
    png_destroy_write_struct(&png, &info);
    return ok;
}

bool display_screendump(Display *display, const char *path, GError **error)
{
    display_refresh(display);
    const Surface *surface = display_surface(display);
    FILE *file = fopen(path, "wbe");
    if (!file)
        return fail_errno(error, errno, "cannot write screenshot '%s'", path);
    g_autofree uint8_t *row = g_malloc(surface->width * 3);
    errno = 0;
    bool ok = g_str_has_suffix(path, ".ppm") ? write_ppm(file, surface, row)
                                             : write_png(file, surface, row);
    int errnum = errno;
    if (fclose(file) != 0 && ok) {
        ok = false;
        errnum = errno;
    }
    return ok || fail_errno(error, errnum ? errnum : EIO, "cannot write screenshot '%s'", path);
}
