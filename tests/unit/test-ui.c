/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Key names, input routing and typing, displays and screenshots, refresh rate. */
#include <glib/gstdio.h>
#include <png.h>
#include <string.h>
#include <unistd.h>

#include "../../ui/backend.h"
#include "../../ui/console.h"
#include "../../ui/font.h"
#include "util/timer.h"

/* ---- Keys ---- */

static void test_key_names(void)
{
    static const struct {
        const char *name;
        KeyCode key;
    } some[] = {{"a", 0x1e},          {"ret", 0x1c},        {"kp_enter", 0x9c}, {"up", 0xc8},
                {"delete", 0xd3},     {"f12", 0x58},        {"ctrl_r", 0x9d},   {"shift_r", 0x36},
                {"pause", KEY_PAUSE}, {"print", KEY_PRINT}, {"less", 0x56}};
    for (unsigned i = 0; i < G_N_ELEMENTS(some); i++) {
        g_assert_cmphex(key_from_name(some[i].name), ==, some[i].key);
        g_assert_cmpstr(key_to_name(some[i].key), ==, some[i].name);
    }
    g_assert_cmphex(key_from_name("nothing"), ==, 0);
    g_assert_null(key_to_name(0x60));
    unsigned count = 0;
    for (const char *const *name = key_names(); *name; name++, count++)
        g_assert_cmphex(key_from_name(*name), !=, 0);
    g_assert_cmpuint(count, >=, 120);
}

static void test_ascii_keys(void)
{
    KeyCode keys[2];
    g_assert_cmpuint(ui_ascii_keys('a', keys), ==, 1);
    g_assert_cmphex(keys[0], ==, 0x1e);
    g_assert_cmpuint(ui_ascii_keys('"', keys), ==, 2);
    g_assert_cmphex(keys[0], ==, 0x2a);
    g_assert_cmphex(keys[1], ==, 0x28);
    g_assert_cmpuint(ui_ascii_keys(3, keys), ==, 2);
    g_assert_cmphex(keys[0], ==, 0x1d);
    g_assert_cmphex(keys[1], ==, 0x2e);
    g_assert_cmpuint(ui_ascii_keys(0, keys), ==, 0);
    g_assert_cmpuint(ui_ascii_keys(0x7f, keys), ==, 0);
    g_assert_cmpuint(ui_ascii_keys(0x20ac, keys), ==, 0);
    for (unsigned c = ' '; c < 0x7f; c++)
        g_assert_cmpuint(ui_ascii_keys(c, keys), >=, 1);
}

/* ---- Routing ---- */

static GString *events;

static void on_key(void *opaque, KeyCode key, bool down)
{
    g_string_append_printf(events, "%s%c%s ", (const char *)opaque, down ? '+' : '-',
                           key_to_name(key));
}
static void on_move(void *opaque, int dx, int dy, int dz)
{
    g_string_append_printf(events, "%s:%d,%d,%d ", (const char *)opaque, dx, dy, dz);
}
static void on_position(void *opaque, unsigned x, unsigned y)
{
    g_string_append_printf(events, "%s@%u,%u ", (const char *)opaque, x, y);
}
static void on_button(void *opaque, InputButton button, bool down)
{
    g_string_append_printf(events, "%s%s%d ", (const char *)opaque, down ? "press" : "release",
                           button);
}
static void on_sync(void *opaque)
{
    g_string_append(events, ".");
}

static const InputOps keyboard_ops = {.key = on_key};
static const InputOps mouse_ops = {.move = on_move, .button = on_button, .sync = on_sync};
static const InputOps tablet_ops = {.position = on_position, .button = on_button, .absolute = true};

static void expect(const char *wanted)
{
    g_assert_cmpstr(events->str, ==, wanted);
    g_string_truncate(events, 0);
}

static char kbd[] = "k", kbd2[] = "K", mouse[] = "m", tablet[] = "t";

static void start_input(void)
{
    loop_lock(loop_main());
    vclock_set_manual(true);
    vclock_set(0);
    vclock_start();
    events = g_string_new(NULL);
    input_register(&keyboard_ops, kbd);
    input_register(&mouse_ops, mouse);
}

static void end_input(void)
{
    input_unregister(kbd);
    input_unregister(mouse);
    g_string_free(events, TRUE);
    vclock_stop();
    loop_unlock(loop_main());
}

static void test_routing(void)
{
    start_input();
    input_key(0x1e, true);
    input_key(0x1e, true); /* a repeat */
    input_key(0x1e, false);
    input_key(0x1e, false); /* it is up already */
    expect("k+a k+a k-a ");
    input_key(0, true);
    input_key(0xffff, true);
    expect("");
    input_move(1, -2, 0);
    input_move(0, 0, -1);
    input_button(BUTTON_MIDDLE, true);
    input_position(5, 6); /* nobody is absolute */
    input_sync();
    expect("m:1,-2,0 m:0,0,-1 mpress2 .");
    g_assert_false(input_absolute());

    input_register(&tablet_ops, tablet);
    input_register(&keyboard_ops, kbd2);
    g_assert_true(input_absolute());
    input_position(0, 99999);
    input_button(BUTTON_LEFT, false);
    input_move(3, 4, 0);
    input_key(0x1f, true);
    expect("t@0,32767 trelease0 m:3,4,0 K+s ");
    input_unregister(kbd2);
    input_key(0x20, true);
    expect("k+d ");
    input_release_keys();
    expect("k-s k-d .");
    input_unregister(tablet);
    input_button(BUTTON_LEFT, true);
    expect("mpress0 ");
    end_input();
}

static void test_send_keys(void)
{
    GError *error = NULL;
    start_input();
    g_assert_true(input_send_keys("ctrl-alt-delete", 0, &error));
    g_assert_true(input_send_keys("a", 50, &error));
    g_assert_true(input_send_keys("0x1f-kp_enter", 0, &error));
    expect("k+ctrl k+alt k+delete .");
    vclock_step(99 * NS_PER_MS);
    expect("");
    vclock_step(1 * NS_PER_MS);
    expect("k-delete k-alt k-ctrl .");
    vclock_step(10 * NS_PER_MS);
    expect("k+a .");
    vclock_step(50 * NS_PER_MS);
    expect("k-a .");
    vclock_step(NS_PER_SEC);
    expect("k+s k+kp_enter .k-kp_enter k-s .");
    /* An idle queue has no timer. */
    g_assert_cmpint(vclock_next_deadline(), ==, -1);

    g_assert_false(input_send_keys("ctrl-alt-delte", 0, &error));
    g_assert_nonnull(strstr(error->message, "'delte'"));
    g_assert_nonnull(strstr(error->message, "'delete'"));
    g_clear_error(&error);
    g_assert_false(input_send_keys("", 0, &error));
    g_clear_error(&error);
    g_assert_false(input_send_keys("a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a", 0, &error));
    g_clear_error(&error);
    expect("");
    /* A flood is bounded, and forgotten with the last device. */
    for (unsigned i = 0; i < 100000; i++)
        input_tap_keys((const KeyCode[]){0x1e}, 1, 10);
    end_input();
    start_input();
    vclock_step(NS_PER_SEC);
    expect("");
    end_input();
}

static void test_leds(void)
{
    start_input();
    g_assert_false(input_leds_known());
    input_set_leds(LED_CAPS | LED_NUM);
    g_assert_true(input_leds_known());
    g_assert_cmphex(input_leds(), ==, LED_CAPS | LED_NUM);
    end_input();
}

/* ---- Displays ---- */

typedef struct Watch {
    unsigned updates, switches, lost, refreshes;
} Watch;

static void watch_updated(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height)
{
    ((Watch *)opaque)->updates += width * height;
}
static void watch_switched(void *opaque, const Surface *surface)
{
    Watch *w = opaque;
    if (surface)
        w->switches++;
    else
        w->lost++;
}
static void adapter_refresh(void *opaque)
{
    ((Watch *)opaque)->refreshes++;
}
static const DisplayViewer viewer = {.updated = watch_updated, .switched = watch_switched};
static const DisplayOps adapter_ops = {.refresh = adapter_refresh};
static const DisplayOps empty_ops;

static void test_displays(void)
{
    Watch w = {0};
    unsigned n;
    const uint16_t *cells;
    int cursor;
    Display *console = display_new_console("monitor", &empty_ops, &w);
    Display *vga = display_new("vga", &adapter_ops, &w);
    Display *second = display_new("vga2", &adapter_ops, &w);
    g_assert_true(display_nth(0) == vga && display_nth(1) == second && display_nth(2) == console);
    g_assert_null(display_nth(3));
    g_assert_true(display_console(console) == &w);
    g_assert_null(display_console(vga));
    g_assert_false(display_text(vga, &n, &n, &cells, &cursor));
    g_assert_cmpuint(display_surface(vga)->width, ==, 640);

    display_add_viewer(vga, &viewer, &w);
    display_refresh(vga);
    display_invalidate(vga);
    display_update(vga, 1, 2, 3, 4);
    display_set_surface(vga, surface_new(8, 4));
    g_assert_cmpuint(w.refreshes, ==, 1);
    g_assert_cmpuint(w.updates, ==, 12);
    g_assert_cmpuint(w.switches, ==, 1);
    g_assert_cmphex(display_surface(vga)->pixels[31], ==, 0);
    display_free(vga);
    g_assert_cmpuint(w.lost, ==, 1);
    g_assert_true(display_nth(0) == second);
    display_add_viewer(second, &viewer, &w);
    display_remove_viewer(second, &w);
    display_free(second);
    display_free(console);
    g_assert_cmpuint(w.lost, ==, 1);
    g_assert_null(display_nth(0));
}

/* Reads a PNG by libpng's simplified interface. */
static void check_png(const char *path, const Surface *want)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    g_assert_true(png_image_begin_read_from_file(&image, path));
    image.format = PNG_FORMAT_RGB;
    g_assert_cmpuint(image.width, ==, want->width);
    g_assert_cmpuint(image.height, ==, want->height);
    g_autofree uint8_t *rgb = g_malloc(PNG_IMAGE_SIZE(image));
    g_assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    for (unsigned i = 0; i < want->width * want->height; i++) {
        uint32_t p = want->pixels[i / want->width * (want->stride / 4) + i % want->width];
        g_assert_cmphex(rgb[i * 3] << 16 | rgb[i * 3 + 1] << 8 | rgb[i * 3 + 2], ==, p & 0xffffff);
    }
}

static void test_screendump(void)
{
    g_autofree char *dir = g_dir_make_tmp("vmrun-ui-XXXXXX", NULL);
    g_autofree char *png = g_build_filename(dir, "s.png", NULL);
    g_autofree char *ppm = g_build_filename(dir, "s.ppm", NULL);
    static uint32_t memory[7 * 20]; /* wider than the picture, with a byte of rubbish on top */
    Watch w = {0};
    GError *error = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(memory); i++)
        memory[i] = i * 2654435761u;
    Display *vga = display_new("vga", &adapter_ops, &w);
    display_set_surface(vga, surface_new_borrowed(5, 20, 28, memory));
    g_assert_true(display_screendump(vga, png, &error));
    g_assert_cmpuint(w.refreshes, ==, 1);
    check_png(png, display_surface(vga));

    g_assert_true(display_screendump(vga, ppm, &error));
    g_autofree char *data = NULL;
    gsize length;
    g_assert_true(g_file_get_contents(ppm, &data, &length, NULL));
    g_assert_cmpuint(length, ==, 12 + 5 * 20 * 3);
    g_assert_cmpmem(data, 12, "P6\n5 20\n255\n", 12);
    g_assert_cmphex((uint8_t)data[12 + 5 * 3], ==, memory[7] >> 16 & 255);

    g_assert_false(display_screendump(vga, "/nowhere/s.png", &error));
    g_assert_nonnull(strstr(error->message, "/nowhere/s.png"));
    g_clear_error(&error);
    if (access("/dev/full", W_OK) == 0) {
        g_assert_false(display_screendump(vga, "/dev/full", &error));
        g_assert_nonnull(strstr(error->message, "No space"));
        g_clear_error(&error);
    }
    display_free(vga);
    g_unlink(png);
    g_unlink(ppm);
    g_rmdir(dir);
}

/* Every letter has a shape of its own, inside its cell's margins; boxes join. */
static void test_font(void)
{
    uint8_t rows[FONT_HEIGHT], other[FONT_HEIGHT];
    for (unsigned c = 0x21; c < 0x7f; c++) {
        font_glyph((uint8_t)c, rows);
        g_assert_cmphex(rows[0] | rows[1] | rows[2] | rows[15], ==, 0);
        for (unsigned d = c + 1; d < 0x7f; d++) {
            font_glyph((uint8_t)d, other);
            g_assert_cmpint(memcmp(rows, other, FONT_HEIGHT), !=, 0);
        }
    }
    font_glyph(0xc5, rows); /* a cross reaches all four sides */
    g_assert_cmphex(rows[0] & rows[15], ==, 0x10);
    g_assert_cmphex(rows[7], ==, 0xff);
    g_assert_cmphex(cp437_from_unicode(0x2554), ==, 0xc9);
    g_assert_cmphex(cp437_from_unicode('A'), ==, 'A');
    g_assert_cmphex(cp437_from_unicode(0x4e00), ==, 0xfe);
    g_assert_cmphex(cp437_to_unicode[0xb0], ==, 0x2591);
}

static void test_pace(void)
{
    UiPace pace = {0};
    int64_t now = clock_now(VM_CLOCK_HOST);
    g_assert_cmpint(ui_pace_next(&pace, 1000, 1000) - now, <, 2 * UI_PACE_MIN);
    for (unsigned i = 0; i < 30; i++)
        ui_pace_next(&pace, 1, 1000); /* a cursor blinks */
    g_assert_cmpint(pace.interval, ==, UI_PACE_MAX);
    g_assert_true(ui_pace_wake(&pace));
    ui_pace_next(&pace, 0, 1000);
    g_assert_cmpint(pace.interval, ==, UI_PACE_MIN);
    g_assert_false(ui_pace_wake(&pace));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ui/key-names", test_key_names);
    g_test_add_func("/ui/ascii-keys", test_ascii_keys);
    g_test_add_func("/ui/routing", test_routing);
    g_test_add_func("/ui/send-keys", test_send_keys);
    g_test_add_func("/ui/leds", test_leds);
    g_test_add_func("/ui/displays", test_displays);
    g_test_add_func("/ui/screendump", test_screendump);
    g_test_add_func("/ui/font", test_font);
    g_test_add_func("/ui/pace", test_pace);
    return g_test_run();
}
