/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Displays, their surfaces and their viewers. */
#include "ui/display.h"

#include <string.h>

#include "console.h"
#include "font.h"

typedef struct Viewer {
    const DisplayViewer *ops;
    void *opaque;
} Viewer;

struct Display {
    char *name;
    const DisplayOps *ops;
    void *opaque;
    bool console;
    Surface *surface;
    GArray *viewers; /* of Viewer */
};

/* Adapters in order of creation, then text consoles: serial ports and monitors are opened before
 * the board creates its devices, and still the guest's screen is number 0. */
static GPtrArray *displays;

/* ---- Surfaces ---- */

Surface *surface_new(unsigned width, unsigned height)
{
    Surface *surface = g_new0(Surface, 1);
    surface->width = width;
    surface->height = height;
    surface->stride = width * 4;
    surface->pixels = g_malloc0_n(height, surface->stride);
    return surface;
}

Surface *surface_new_borrowed(unsigned width, unsigned height, unsigned stride, void *pixels)
{
    Surface *surface = g_new0(Surface, 1);
    *surface = (Surface){width, height, stride, pixels, true};
    return surface;
}

void surface_free(Surface *surface)
{
    if (!surface)
        return;
    if (!surface->borrowed)
        g_free(surface->pixels);
    g_free(surface);
}

/* What is shown until the guest sets a mode. */
static Surface *no_signal(void)
{
    static const char text[] = "The guest has not set a video mode yet.";
    Surface *surface = surface_new(640, 480);
    unsigned x = (surface->width - (unsigned)strlen(text) * FONT_WIDTH) / 2;
    for (unsigned i = 0; text[i]; i++)
        font_draw(surface, x + i * FONT_WIDTH, (surface->height - FONT_HEIGHT) / 2,
                  (uint8_t)text[i], 0xaaaaaa, 0);
    return surface;
}

/* ---- Displays ---- */

static Display *new_display(const char *name, const DisplayOps *ops, void *opaque, bool console)
{
    Display *display = g_new0(Display, 1);
    display->name = g_strdup(name);
    display->ops = ops;
    display->opaque = opaque;
    display->console = console;
    display->surface = no_signal();
    display->viewers = g_array_new(FALSE, FALSE, sizeof(Viewer));
    if (!displays)
        displays = g_ptr_array_new();
    guint place = displays->len;
    while (!console && place > 0 && ((Display *)g_ptr_array_index(displays, place - 1))->console)
        place--;
    g_ptr_array_insert(displays, (gint)place, display);
    return display;
}

Display *display_new(const char *name, const DisplayOps *ops, void *opaque)
{
    return new_display(name, ops, opaque, false);
}

Display *display_new_console(const char *name, const DisplayOps *ops, void *opaque)
{
    return new_display(name, ops, opaque, true);
}

void *display_console(Display *display)
{
    return display->console ? display->opaque : NULL;
}

void display_free(Display *display)
{
    if (!display)
        return;
    /* Viewers hold on to the display itself: they are told by a last switch to nothing. */
    for (guint i = display->viewers->len; i > 0; i--) {
        Viewer viewer = g_array_index(display->viewers, Viewer, i - 1);
        if (viewer.ops->switched)
            viewer.ops->switched(viewer.opaque, NULL);
    }
    g_ptr_array_remove(displays, display);
    if (displays->len == 0)
        g_clear_pointer(&displays, g_ptr_array_unref);
    surface_free(display->surface);
    g_array_free(display->viewers, TRUE);
    g_free(display->name);
    g_free(display);
}

Display *display_nth(unsigned n)
{
    return displays && n < displays->len ? g_ptr_array_index(displays, n) : NULL;
}

const char *display_name(const Display *display)
{
    return display->name;
}

Surface *display_surface(Display *display)
{
    return display->surface;
}

void display_set_surface(Display *display, Surface *surface)
{
    Surface *old = display->surface;
    display->surface = surface;
    for (guint i = 0; i < display->viewers->len; i++) {
        const Viewer *viewer = &g_array_index(display->viewers, Viewer, i);
        if (viewer->ops->switched)
            viewer->ops->switched(viewer->opaque, surface);
    }
    if (old != surface)
        surface_free(old);
}

void display_update(Display *display, unsigned x, unsigned y, unsigned width, unsigned height)
{
    for (guint i = 0; i < display->viewers->len; i++) {
        const Viewer *viewer = &g_array_index(display->viewers, Viewer, i);
        if (viewer->ops->updated)
            viewer->ops->updated(viewer->opaque, x, y, width, height);
    }
}

void display_refresh(Display *display)
{
    if (display->ops->refresh)
        display->ops->refresh(display->opaque);
}

void display_invalidate(Display *display)
{
    if (display->ops->invalidate)
        display->ops->invalidate(display->opaque);
}

bool display_text(Display *display, unsigned *columns, unsigned *rows, const uint16_t **cells,
                  int *cursor)
{
    return display->ops->text && display->ops->text(display->opaque, columns, rows, cells, cursor);
}

void display_add_viewer(Display *display, const DisplayViewer *viewer, void *opaque)
{
    Viewer entry = {viewer, opaque};
    g_array_append_val(display->viewers, entry);
}

void display_remove_viewer(Display *display, void *opaque)
{
    for (guint i = 0; i < display->viewers->len; i++) {
        if (g_array_index(display->viewers, Viewer, i).opaque == opaque) {
            g_array_remove_index(display->viewers, i);
            return;
        }
    }
}
