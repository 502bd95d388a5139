/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SDL window's pixels.  The guest's picture is enlarged by the greatest whole number that fits
 * (in device pixels, so that dense screens show it sharp) and stands in the middle; a window
 * smaller than the picture shows it reduced.
 */
#include "sdl.h"

/* Where to draw: the window's surface, or a canvas in our format. */
static SDL_Surface *target(SDL_Surface *surface)
{
    SDL_Surface **canvas = &sdl_ui.canvas;
    if (surface->format->format == SDL_PIXELFORMAT_RGB888 ||
        surface->format->format == SDL_PIXELFORMAT_ARGB8888) {
        g_clear_pointer(canvas, SDL_FreeSurface);
        return surface;
    }
    if (*canvas && ((*canvas)->w != surface->w || (*canvas)->h != surface->h))
        g_clear_pointer(canvas, SDL_FreeSurface);
    if (!*canvas)
        *canvas =
            SDL_CreateRGBSurfaceWithFormat(0, surface->w, surface->h, 32, SDL_PIXELFORMAT_RGB888);
    return *canvas;
}

static void layout(const SDL_Surface *surface)
{
    int guest_width = (int)sdl_ui.guest_width, guest_height = (int)sdl_ui.guest_height;
    int scale = MIN(surface->w / guest_width, surface->h / guest_height);
    SDL_Rect *view = &sdl_ui.view;
    sdl_ui.width = surface->w;
    sdl_ui.height = surface->h;
    if (scale >= 1) {
        view->w = guest_width * scale;
        view->h = guest_height * scale;
    } else if ((int64_t)surface->w * guest_height < (int64_t)surface->h * guest_width) {
        view->w = surface->w;
        view->h = MAX(1, (int)((int64_t)guest_height * surface->w / guest_width));
    } else {
        view->h = surface->h;
        view->w = MAX(1, (int)((int64_t)guest_width * surface->h / guest_height));
    }
    view->x = (surface->w - view->w) / 2;
    view->y = (surface->h - view->h) / 2;
    sdl_ui.columns = g_renew(unsigned, sdl_ui.columns, view->w);
    for (int x = 0; x < view->w; x++)
        sdl_ui.columns[x] = (unsigned)((uint64_t)x * sdl_ui.guest_width / (unsigned)view->w);
}

/* First of `to` positions that shows position v of `from` or a later one. */
static int scaled(unsigned v, unsigned from, int to)
{
    return (int)(((uint64_t)v * (unsigned)to + from - 1) / from);
}

static void scale_rows(SDL_Surface *out, const Surface *in, const SDL_Rect *part)
{
    const SDL_Rect *view = &sdl_ui.view;
    unsigned drawn = UINT_MAX;
    const uint32_t *above = NULL;
    for (int y = part->y; y < part->y + part->h; y++) {
        unsigned from = (unsigned)((uint64_t)y * in->height / (unsigned)view->h);
        uint32_t *row = (uint32_t *)(void *)((uint8_t *)out->pixels +
                                             (size_t)(view->y + y) * (unsigned)out->pitch) +
                        view->x + part->x;
        if (from == drawn) {
            memcpy(row, above, (unsigned)part->w * sizeof(*row));
        } else {
            const uint32_t *pixels = in->pixels + (size_t)from * (in->stride / 4);
            for (int x = 0; x < part->w; x++)
                row[x] = pixels[sdl_ui.columns[part->x + x]];
        }
        drawn = from;
        above = row;
    }
}

/* Draws and shows later; the layout fits. */
static void draw(SDL_Surface *surface, unsigned x, unsigned y, unsigned width, unsigned height)
{
    const Surface *guest = display_surface(sdl_ui.display);
    SDL_Surface *out = target(surface);
    const SDL_Rect *view = &sdl_ui.view;
    SDL_Rect part = {scaled(x, guest->width, view->w), scaled(y, guest->height, view->h), 0, 0};
    part.w = scaled(x + width, guest->width, view->w) - part.x;
    part.h = scaled(y + height, guest->height, view->h) - part.y;
    if (!out || part.w <= 0 || part.h <= 0)
        return;
    scale_rows(out, guest, &part);
    part.x += view->x;
    part.y += view->y;
    if (out != surface) {
        SDL_Rect from = part;
        SDL_BlitSurface(out, &from, surface, &part);
    }
    g_array_append_val(sdl_ui.rects, part);
}

void sdl_draw(unsigned x, unsigned y, unsigned width, unsigned height)
{
    SDL_Surface *surface = SDL_GetWindowSurface(sdl_ui.window);
    if (surface && (surface->w != sdl_ui.width || surface->h != sdl_ui.height))
        sdl_ui.redraw = true; /* resized, and the event is still to come */
    if (surface && !sdl_ui.redraw)
        draw(surface, x, y, width, height);
}

void sdl_present(void)
{
    if (sdl_ui.redraw) {
        SDL_Surface *surface = SDL_GetWindowSurface(sdl_ui.window);
        if (!surface)
            return;
        layout(surface);
        SDL_FillRect(surface, NULL, 0);
        g_array_set_size(sdl_ui.rects, 0);
        draw(surface, 0, 0, sdl_ui.guest_width, sdl_ui.guest_height);
        SDL_UpdateWindowSurface(sdl_ui.window);
        sdl_ui.redraw = false;
    } else if (sdl_ui.rects->len) {
        SDL_UpdateWindowSurfaceRects(sdl_ui.window, (const SDL_Rect *)(void *)sdl_ui.rects->data,
                                     (int)sdl_ui.rects->len);
    }
    g_array_set_size(sdl_ui.rects, 0);
}

void sdl_draw_fini(void)
{
    g_clear_pointer(&sdl_ui.canvas, SDL_FreeSurface);
    g_clear_pointer(&sdl_ui.columns, g_free);
}

static unsigned fraction(int at, int start, int length)
{
    int64_t v = (int64_t)(at - start) * 0x7fff / MAX(1, length - 1);
    return (unsigned)CLAMP(v, 0, 0x7fff);
}

void sdl_guest_position(int x, int y, unsigned *guest_x, unsigned *guest_y)
{
    int points_wide = 0, points_high = 0;
    SDL_GetWindowSize(sdl_ui.window, &points_wide, &points_high);
    const SDL_Surface *surface = SDL_GetWindowSurface(sdl_ui.window);
    int wide = surface ? surface->w : points_wide, high = surface ? surface->h : points_high;
    *guest_x = fraction(x * wide / MAX(1, points_wide), sdl_ui.view.x, sdl_ui.view.w);
    *guest_y = fraction(y * high / MAX(1, points_high), sdl_ui.view.y, sdl_ui.view.h);
}
