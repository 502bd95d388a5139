/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The terminal behind text consoles, and consoles on vc chardevs. */
#include <string.h>

#include "../../ui/console.h"
#include "../../ui/font.h"
#include "util/loop.h"

static GString *replies;

static void on_reply(void *opaque, const char *text)
{
    g_string_append(replies, text);
}

static void start(Vt *vt, unsigned columns, unsigned rows)
{
    vt_init(vt, columns, rows);
    replies = g_string_new(NULL);
    vt->reply = on_reply;
}

static void end(Vt *vt)
{
    vt_fini(vt);
    g_string_free(replies, TRUE);
}

static void put(Vt *vt, const char *text)
{
    vt_write(vt, (const uint8_t *)text, strlen(text));
}

/* The text of line y without trailing blanks. */
static const char *line(const Vt *vt, int y)
{
    static char text[512];
    const uint16_t *cells = vt_line(vt, y);
    unsigned n = vt->columns;
    while (n && (cells[n - 1] & 0xff) == ' ')
        n--;
    for (unsigned i = 0; i < n; i++)
        text[i] = (char)cells[i];
    text[n] = 0;
    return text;
}

static void test_text(void)
{
    Vt vt;
    start(&vt, 10, 4);
    put(&vt, "one\r\ntwo\tx\b\by\r\n0123456789");
    g_assert_cmpstr(line(&vt, 0), ==, "one");
    g_assert_cmpstr(line(&vt, 1), ==, "two    yx");
    g_assert_cmpuint(vt.y, ==, 2); /* wraps only when another character comes */
    put(&vt, "ab\r\nlast");
    g_assert_cmpstr(line(&vt, -1), ==, "one");
    g_assert_cmpstr(line(&vt, 1), ==, "0123456789");
    g_assert_cmpstr(line(&vt, 2), ==, "ab");
    g_assert_cmpstr(line(&vt, 3), ==, "last");
    g_assert_cmpuint(vt.history, ==, 1);
    put(&vt, "\r\xe2\x95\x94\xc3\xa9\xff!\xe2\x82!"); /* box, e acute, broken bytes */
    g_assert_cmphex(vt_line(&vt, 3)[0] & 0xff, ==, 0xc9);
    g_assert_cmphex(vt_line(&vt, 3)[1] & 0xff, ==, 0x82);
    end(&vt);
}

static void test_cursor(void)
{
    Vt vt;
    start(&vt, 20, 5);
    put(&vt, "\033[3;4Hx\033[H1\033[2B2\033[5C3\033[A4\033[3D5");
    g_assert_cmpstr(line(&vt, 2), ==, " 2 x   3");
    g_assert_cmpstr(line(&vt, 0), ==, "1");
    g_assert_cmpstr(line(&vt, 1), ==, "      5 4");
    put(&vt, "\033[99;99H#\033[6n\033[5n");
    g_assert_cmpstr(replies->str, ==, "\033[5;20R\033[0n");
    put(&vt, "\033[2;2H\0337\033[H\0338@\033[s\033[H\033[u&");
    g_assert_cmpstr(line(&vt, 1), ==, " @&   5 4");
    put(&vt, "\033[?25l");
    g_assert_true(vt.cursor_hidden);
    put(&vt, "\033[?25h\033[4G|\033[4d-");
    g_assert_false(vt.cursor_hidden);
    g_assert_cmpstr(line(&vt, 3), ==, "    -");
    end(&vt);
}

static void test_erase_and_shift(void)
{
    Vt vt;
    start(&vt, 10, 4);
    put(&vt, "abcdefgh\r\nijkl\r\nmnop\r\nqrst\033[H");
    put(&vt, "\033[3C\033[2P");
    g_assert_cmpstr(line(&vt, 0), ==, "abcfgh");
    put(&vt, "\033[2@XY");
    g_assert_cmpstr(line(&vt, 0), ==, "abcXYfgh");
    put(&vt, "\033[2X");
    g_assert_cmpstr(line(&vt, 0), ==, "abcXY  h");
    put(&vt, "\033[K");
    g_assert_cmpstr(line(&vt, 0), ==, "abcXY");
    put(&vt, "\033[1;2H\033[1K");
    g_assert_cmpstr(line(&vt, 0), ==, "  cXY");
    put(&vt, "\033[2;1H\033[L");
    g_assert_cmpstr(line(&vt, 1), ==, "");
    g_assert_cmpstr(line(&vt, 2), ==, "ijkl");
    put(&vt, "\033[1;1H\033[M");
    g_assert_cmpstr(line(&vt, 1), ==, "ijkl");
    g_assert_cmpuint(vt.history, ==, 0);
    put(&vt, "\033[2;3H\033[J");
    g_assert_cmpstr(line(&vt, 1), ==, "ij");
    g_assert_cmpstr(line(&vt, 2), ==, "");
    put(&vt, "\033[2J");
    g_assert_cmpstr(line(&vt, 1), ==, "");
    end(&vt);
}

static void test_region(void)
{
    Vt vt;
    start(&vt, 10, 5);
    put(&vt, "a\r\nb\r\nc\r\nd\r\ne\033[2;4r\033[4;1H\n");
    g_assert_cmpstr(line(&vt, 0), ==, "a");
    g_assert_cmpstr(line(&vt, 1), ==, "c");
    g_assert_cmpstr(line(&vt, 3), ==, "");
    g_assert_cmpstr(line(&vt, 4), ==, "e");
    put(&vt, "\033[2;1H\033M\033[5;1H\nz");
    g_assert_cmpstr(line(&vt, 1), ==, "");
    g_assert_cmpstr(line(&vt, 2), ==, "c");
    g_assert_cmpstr(line(&vt, 4), ==, "z"); /* below the region nothing scrolls */
    put(&vt, "\033[r\033[2S\033[T");
    g_assert_cmpstr(line(&vt, 1), ==, "c");
    g_assert_cmpstr(line(&vt, -1), ==, "");
    g_assert_cmpstr(line(&vt, -2), ==, "a");
    put(&vt, "\033c");
    g_assert_cmpstr(line(&vt, 1), ==, "");
    end(&vt);
}

static void test_colors(void)
{
    Vt vt;
    start(&vt, 20, 2);
    put(&vt, "a\033[31mb\033[1mc\033[44md\033[7me\033[0mf\033[92;103mg\033[39;49mh");
    static const uint8_t want[] = {0x07, 0x04, 0x0c, 0x1c, 0x41, 0x07, 0xea, 0x07};
    for (unsigned i = 0; i < sizeof(want); i++)
        g_assert_cmphex(vt_line(&vt, 0)[i] >> 8, ==, want[i]);
    put(&vt, "\033]0;title\007\033]1;x\033\\\033(B\033[>c\033[?1049hok");
    g_assert_cmpstr(line(&vt, 0), ==, "abcdefghok");
    end(&vt);
}

/* Whatever comes: cursor and region stay on the screen. */
static void test_hostile(void)
{
    static const char bits[] = "\033[0123456789;?HABCDJKLM@PXSTrmnsu\n\r\b\t78ca\xe2\x95";
    GRand *rand = g_rand_new_with_seed(7);
    for (unsigned round = 0; round < 200; round++) {
        Vt vt;
        start(&vt, 1 + round % 90, 1 + round % 30);
        for (unsigned i = 0; i < 3000; i++) {
            uint8_t byte = i % 3 ? (uint8_t)bits[g_rand_int_range(rand, 0, sizeof(bits) - 1)]
                                 : (uint8_t)g_rand_int(rand);
            if (i % 7 == 0)
                put(&vt, "\033[");
            vt_write(&vt, &byte, 1);
            g_assert_cmpuint(vt.x, <, vt.columns);
            g_assert_cmpuint(vt.y, <, vt.rows);
            g_assert_cmpuint(vt.top, <=, vt.bottom);
            g_assert_cmpuint(vt.bottom, <, vt.rows);
            g_assert_cmpuint(vt.history, <=, VT_SCROLLBACK);
        }
        end(&vt);
    }
    g_rand_free(rand);
}

/* ---- Consoles ---- */

static GString *input;

static size_t can_receive(void *opaque)
{
    return 3; /* takes it in small pieces */
}
static void receive(void *opaque, const uint8_t *buf, size_t length)
{
    g_string_append_len(input, (const char *)buf, (gssize)length);
}
static const ChrHandlers handlers = {.can_receive = can_receive, .receive = receive};

static void updated(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height)
{
    *(unsigned *)opaque += width * height;
}
static const DisplayViewer viewer = {.updated = updated};

static void test_console(void)
{
    GError *error = NULL;
    unsigned columns, rows, pixels = 0;
    const uint16_t *cells;
    int cursor;
    loop_lock(loop_main());
    input = g_string_new(NULL);
    chr_set_vc_ops(&console_vc_ops);
    Chardev *chr = chr_open("-monitor", "vc", "mon", &error);
    g_assert_no_error(error);
    g_assert_true(chr_attach(chr, &handlers, input, &error));
    Display *display = display_nth(0);
    Console *console = display_console(display);
    g_assert_cmpstr(display_name(display), ==, "mon");
    g_assert_cmpuint(display_surface(display)->width, ==, 640);
    display_add_viewer(display, &viewer, &pixels);

    g_assert_cmpuint(chr_write(chr, input, "(vm) x\b", 7), ==, 7);
    display_refresh(display);
    g_assert_cmpuint(pixels, ==, 640 * 400);
    g_assert_true(display_text(display, &columns, &rows, &cells, &cursor));
    g_assert_cmpuint(columns, ==, 80);
    g_assert_cmpuint(rows, ==, 25);
    g_assert_cmphex(cells[1], ==, 0x0776);
    g_assert_cmpint(cursor, ==, 5);
    /* The cursor's block inverts the cell: all but the x is lit. */
    uint8_t glyph[FONT_HEIGHT];
    font_glyph('x', glyph);
    for (unsigned y = 0; y < FONT_HEIGHT; y++) {
        for (unsigned x = 0; x < FONT_WIDTH; x++)
            g_assert_cmphex(display_surface(display)->pixels[y * 640 + 40 + x], ==,
                            glyph[y] >> (7 - x) & 1 ? 0 : 0xaaaaaa);
    }
    pixels = 0;
    chr_write(chr, input, "y", 1);
    display_refresh(display);
    g_assert_cmpuint(pixels, ==, 2 * 8 * 16);

    console_type(console, "help\xc3\xa9");
    g_assert_true(console_key(console, key_from_name("ret"), false, false));
    g_assert_true(console_key(console, key_from_name("up"), false, false));
    g_assert_true(console_key(console, key_from_name("c"), false, true));
    g_assert_false(console_key(console, key_from_name("c"), false, false));
    g_assert_false(console_key(console, key_from_name("f5"), false, false));
    g_assert_cmpstr(input->str, ==, "help\xc3\xa9\r\033[A\003");
    /* A status report is answered, but not from inside the write. */
    g_string_truncate(input, 0);
    chr_write(chr, input, "\033[6n", 4);
    g_assert_cmpstr(input->str, ==, "");
    while (loop_step(loop_main(), false))
        ;
    g_assert_cmpstr(input->str, ==, "\033[1;7R");
    display_remove_viewer(display, &pixels);
    chr_close_all();
    g_assert_null(display_nth(0));
    chr_set_vc_ops(NULL);
    g_string_free(input, TRUE);
    loop_unlock(loop_main());
}

static void test_scrollback(void)
{
    GError *error = NULL;
    unsigned columns, rows;
    const uint16_t *cells;
    int cursor;
    loop_lock(loop_main());
    chr_set_vc_ops(&console_vc_ops);
    Chardev *chr = chr_open("-serial", "vc:40Cx10C", "ser", &error);
    g_assert_no_error(error);
    chr_attach(chr, &handlers, chr, &error);
    Display *display = display_nth(0);
    Console *console = display_console(display);
    for (unsigned i = 0; i < 100; i++) {
        char text[16];
        int n = g_snprintf(text, sizeof(text), "%02u\r\n", i);
        chr_write(chr, chr, text, (size_t)n);
    }
    g_assert_true(display_text(display, &columns, &rows, &cells, &cursor));
    g_assert_cmpuint(columns, ==, 40);
    g_assert_cmpuint(rows, ==, 10);
    g_assert_cmphex(cells[1] & 0xff, ==, '1'); /* 91 ... 99, and the cursor's line */
    console_scroll(console, 20);
    display_text(display, &columns, &rows, &cells, &cursor);
    g_assert_cmphex(cells[0] & 0xff, ==, '7');
    g_assert_cmphex(cells[1] & 0xff, ==, '1');
    g_assert_cmpint(cursor, ==, -1);
    chr_write(chr, chr, "more\r\n", 6); /* who reads keeps his place */
    display_text(display, &columns, &rows, &cells, &cursor);
    g_assert_cmphex(cells[0] & 0xff, ==, '7');
    console_scroll(console, 100000);
    display_text(display, &columns, &rows, &cells, &cursor);
    g_assert_cmphex(cells[1] & 0xff, ==, '0');
    g_assert_true(console_key(console, key_from_name("pgdn"), false, false));
    display_text(display, &columns, &rows, &cells, &cursor);
    g_assert_cmphex(cells[1] & 0xff, ==, '5');
    chr_close_all();
    chr_set_vc_ops(NULL);
    loop_unlock(loop_main());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/console/text", test_text);
    g_test_add_func("/console/cursor", test_cursor);
    g_test_add_func("/console/erase-and-shift", test_erase_and_shift);
    g_test_add_func("/console/region", test_region);
    g_test_add_func("/console/colors", test_colors);
    g_test_add_func("/console/hostile", test_hostile);
    g_test_add_func("/console/console", test_console);
    g_test_add_func("/console/scrollback", test_scrollback);
    return g_test_run();
}
