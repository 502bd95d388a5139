/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PS/2 keyboard and mouse, as seen through a controller that does not translate. */
#include "i8042-guest.h"

#include "hw/input/ps2.h"

enum { K_A = 0x1e, K_SHIFT = 0x2a, K_CTRL = 0x1d, K_ALT = 0x38, K_F7 = 0x41, K_UP = 0xc8 };

static void start_plain(void)
{
    start();
    set_mode(0x03);
}

/* ---- Keyboard ---- */

static void test_commands(void)
{
    start_plain();
    to_keyboard(0xff);
    EXPECT_KBD(0xfa, 0xaa);
    to_keyboard(0xf2);
    EXPECT_KBD(0xfa, 0xab, 0x83);
    to_keyboard(0xee);
    EXPECT_KBD(0xee);
    to_keyboard(0xf3);
    EXPECT_KBD(0xfa);
    to_keyboard(0x20);
    EXPECT_KBD(0xfa);
    to_keyboard(0xf6);
    EXPECT_KBD(0xfa);
    to_keyboard(0x01); /* no command */
    EXPECT_KBD(0xfe);
    to_keyboard(0xf1);
    EXPECT_KBD(0xfe);
    to_keyboard(0xf3); /* a command where an argument should be */
    EXPECT_KBD(0xfa);
    to_keyboard(0xee);
    EXPECT_KBD(0xee);
    to_keyboard(0xfe); /* the last byte again */
    EXPECT_KBD(0xee);
    stop();
}

static void test_leds(void)
{
    start_plain();
    to_keyboard(0xed);
    EXPECT_KBD(0xfa);
    to_keyboard(0x06);
    EXPECT_KBD(0xfa);
    g_assert_cmphex(input_leds(), ==, LED_NUM | LED_CAPS);
    to_keyboard(0xed);
    to_keyboard(0x7b);
    g_assert_cmphex(input_leds(), ==, LED_SCROLL | LED_NUM);
    to_keyboard(0xff);
    g_assert_cmphex(input_leds(), ==, 0);
    to_keyboard(0xed);
    to_keyboard(0x07);
    device_reset(dev);
    g_assert_cmphex(input_leds(), ==, 0);
    stop();
}

static void test_sets(void)
{
    start_plain();
    tap(K_A);
    EXPECT_KBD(0x1c, 0xf0, 0x1c);
    tap(K_F7);
    EXPECT_KBD(0x83, 0xf0, 0x83);
    tap(K_UP);
    EXPECT_KBD(0xe0, 0x75, 0xe0, 0xf0, 0x75);
    to_keyboard(0xf0);
    EXPECT_KBD(0xfa);
    to_keyboard(0x01);
    EXPECT_KBD(0xfa);
    tap(K_A);
    EXPECT_KBD(0x1e, 0x9e);
    tap(K_UP);
    EXPECT_KBD(0xe0, 0x48, 0xe0, 0xc8);
    to_keyboard(0xf0);
    get();
    to_keyboard(0x00);
    EXPECT_KBD(0xfa, 0x01);
    to_keyboard(0xf0);
    get();
    to_keyboard(0x03);
    EXPECT_KBD(0xfa);
    tap(K_A); /* set 3: letters only make at first, no prefix for grey keys */
    EXPECT_KBD(0x1c);
    tap(K_UP);
    EXPECT_KBD(0x63);
    tap(K_SHIFT);
    EXPECT_KBD(0x12, 0xf0, 0x12);
    to_keyboard(0xf0);
    get();
    to_keyboard(0x04); /* there is none */
    EXPECT_KBD(0xfe);
    to_keyboard(0xff);
    EXPECT_KBD(0xfa, 0xaa);
    tap(K_A); /* set 2 again */
    EXPECT_KBD(0x1c, 0xf0, 0x1c);
    stop();
}

static void test_set3_types(void)
{
    start_plain();
    to_keyboard(0xf0);
    get();
    to_keyboard(0x03);
    get();
    to_keyboard(0xf8); /* all keys make and break */
    EXPECT_KBD(0xfa);
    tap(K_A);
    EXPECT_KBD(0x1c, 0xf0, 0x1c);
    key(K_A, true);
    key(K_A, true); /* and do not repeat */
    EXPECT_KBD(0x1c);
    key(K_A, false);
    EXPECT_KBD(0xf0, 0x1c);
    to_keyboard(0xfa);
    EXPECT_KBD(0xfa);
    key(K_A, true);
    key(K_A, true);
    EXPECT_KBD(0x1c, 0x1c);
    key(K_A, false);
    EXPECT_KBD(0xf0, 0x1c);
    to_keyboard(0xfd); /* some keys only make: any number follows */
    EXPECT_KBD(0xfa);
    to_keyboard(0x1c);
    EXPECT_KBD(0xfa);
    to_keyboard(0x12);
    EXPECT_KBD(0xfa);
    to_keyboard(0xf4);
    EXPECT_KBD(0xfa);
    tap(K_A);
    tap(K_SHIFT);
    EXPECT_KBD(0x1c, 0x12);
    tap(KEY_PAUSE);
    EXPECT_KBD(0x62, 0xf0, 0x62);
    stop();
}

/* Codes of the tables that a slip of the finger would spoil. */
static void test_tables(void)
{
    static const struct {
        const char *name;
        uint8_t set2, set3;
    } rows[] = {
        {"esc", 0x76, 0x08},    {"f1", 0x05, 0x07},        {"f8", 0x0a, 0x3f},
        {"f12", 0x07, 0x5e},    {"backslash", 0x5d, 0x5c}, {"caps_lock", 0x58, 0x14},
        {"spc", 0x29, 0x29},    {"num_lock", 0x77, 0x76},  {"scroll_lock", 0x7e, 0x5f},
        {"kp_5", 0x73, 0x73},   {"kp_add", 0x79, 0x7c},    {"kp_subtract", 0x7b, 0x84},
        {"ctrl_r", 0x14, 0x58}, {"kp_enter", 0x5a, 0x79},  {"delete", 0x71, 0x64},
        {"left", 0x6b, 0x61},   {"meta_l", 0x1f, 0x8b},    {"menu", 0x2f, 0x8d},
        {"less", 0x61, 0x13},   {"slash", 0x4a, 0x4a},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        KeyCode code = key_from_name(rows[i].name);
        g_assert_cmphex(code, !=, 0);
        g_assert_cmphex(ps2_set2_codes[code & 0x7f], ==, rows[i].set2);
        g_assert_cmphex(ps2_set3_codes[code], ==, rows[i].set3);
    }
}

static void test_special_keys(void)
{
    start_plain();
    key(KEY_PAUSE, true);
    EXPECT_KBD(0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
    key(KEY_PAUSE, true); /* never repeats */
    key(KEY_PAUSE, false);
    expect_nothing();
    key(K_CTRL, true);
    tap(KEY_PAUSE);
    key(K_CTRL, false);
    EXPECT_KBD(0x14, 0xe0, 0x7e, 0xe0, 0xf0, 0x7e, 0xf0, 0x14);
    tap(KEY_PRINT);
    EXPECT_KBD(0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12);
    key(K_SHIFT, true);
    tap(KEY_PRINT);
    key(K_SHIFT, false);
    EXPECT_KBD(0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xf0, 0x12);
    key(K_ALT, true);
    key(KEY_PRINT, true);
    key(K_ALT, false); /* the break has the form of its make */
    key(KEY_PRINT, false);
    EXPECT_KBD(0x11, 0x84, 0xf0, 0x11, 0xf0, 0x84);
    stop();
}

static void test_scanning(void)
{
    start_plain();
    to_keyboard(0xf5);
    EXPECT_KBD(0xfa);
    tap(K_A);
    expect_nothing();
    to_keyboard(0xf4);
    EXPECT_KBD(0xfa);
    tap(K_A);
    EXPECT_KBD(0x1c, 0xf0, 0x1c);
    key(K_A, true); /* let go while nobody listens: told when somebody does */
    EXPECT_KBD(0x1c);
    to_keyboard(0xf5);
    EXPECT_KBD(0xfa);
    key(K_A, false);
    expect_nothing();
    to_keyboard(0xf4);
    EXPECT_KBD(0xfa, 0xf0, 0x1c);
    stop();
}

/* Twenty-four bytes, then the overrun code; no key hangs, and none is let go that was never down.
 */
static void test_overflow(void)
{
    start_plain();
    key(K_A, true);
    for (KeyCode code = 0x02; code < 0x02 + 24; code++)
        key(code, true);
    key(K_SHIFT, true); /* does not fit */
    key(K_A, false);
    key(K_SHIFT, false);
    for (unsigned i = 0; i < 25; i++)
        get();
    g_assert_cmphex(get(), ==, 0x00);
    EXPECT_KBD(0xf0, 0x1c); /* A's release, and only that */
    key(K_A, true);         /* repeats stop before they fill the FIFO */
    for (unsigned i = 0; i < 100; i++)
        key(K_A, true);
    unsigned count = 0;
    while (vclock_step(NS_PER_MS), status() & OBF) {
        g_assert_cmphex(inb(m, 0x60), ==, 0x1c);
        count++;
    }
    g_assert_cmpuint(count, >, 1);
    g_assert_cmpuint(count, <, 16);
    input_release_keys();
    stop();
}

/* A press that a machine reset forgot is not let go in the next life. */
static void test_reset_consistency(void)
{
    start_plain();
    key(K_A, true);
    EXPECT_KBD(0x1c);
    device_reset(dev);
    set_mode(0x03);
    key(K_A, false);
    expect_nothing();
    tap(K_A);
    EXPECT_KBD(0x1c, 0xf0, 0x1c);
    key(K_A, true); /* the keyboard's own reset keeps faith with its driver */
    EXPECT_KBD(0x1c);
    to_keyboard(0xff);
    EXPECT_KBD(0xfa, 0xaa);
    key(K_A, false);
    EXPECT_KBD(0xf0, 0x1c);
    stop();
}

/* Answers go before keys that wait. */
static void test_reply_first(void)
{
    start_plain();
    to_controller(0xad);
    tap(K_A);
    to_keyboard(0xee);
    EXPECT_KBD(0xee, 0x1c, 0xf0, 0x1c);
    for (unsigned i = 0; i < 100; i++) /* unread answers do not pile up */
        to_keyboard(0xf2);
    unsigned count = 0;
    while (status() & OBF)
        inb(m, 0x60), count++;
    g_assert_cmpuint(count, <=, 4);
    stop();
}

/* ---- Mouse ---- */

static void mouse(uint8_t byte)
{
    to_mouse(byte);
    g_assert_cmphex(get(), ==, 0xfa);
}

static void rate(uint8_t value)
{
    mouse(0xf3);
    mouse(value);
}

static void move(int dx, int dy, int dz)
{
    input_move(dx, dy, dz);
    input_sync();
}

static void button(InputButton b, bool down)
{
    input_button(b, down);
    input_sync();
}

static void test_mouse_commands(void)
{
    start_plain();
    to_mouse(0xff);
    EXPECT_AUX(0xfa, 0xaa, 0x00);
    to_mouse(0xf2);
    EXPECT_AUX(0xfa, 0x00);
    to_mouse(0xe9);
    EXPECT_AUX(0xfa, 0x00, 0x02, 100);
    mouse(0xe8);
    mouse(0x03);
    rate(60);
    mouse(0xe7);
    mouse(0xf4);
    button(BUTTON_RIGHT, true);
    EXPECT_AUX(0x0a, 0, 0);
    to_mouse(0xe9);
    EXPECT_AUX(0xfa, 0x31, 0x03, 60);
    mouse(0xf6);
    to_mouse(0xe9);
    EXPECT_AUX(0xfa, 0x01, 0x02, 100);
    button(BUTTON_RIGHT, false);
    to_mouse(0x12);
    EXPECT_AUX(0xfe);
    to_mouse(0xfe);
    EXPECT_AUX(0xfe);
    mouse(0xe8); /* a command where an argument should be */
    to_mouse(0xf2);
    EXPECT_AUX(0xfa, 0x00);
    stop();
}

static void test_mouse_stream(void)
{
    start_plain();
    move(1, 1, 0); /* not enabled */
    expect_nothing();
    mouse(0xf4);
    expect_nothing(); /* what was before does not count */
    move(5, -7, 0);
    EXPECT_AUX(0x08, 5, 7);
    move(-5, 7, 0);
    EXPECT_AUX(0x38, 0xfb, 0xf9);
    button(BUTTON_LEFT, true);
    EXPECT_AUX(0x09, 0, 0);
    button(BUTTON_MIDDLE, true);
    EXPECT_AUX(0x0d, 0, 0);
    button(BUTTON_LEFT, false);
    button(BUTTON_MIDDLE, false);
    EXPECT_AUX(0x0c, 0, 0, 0x08, 0, 0);
    button(BUTTON_SIDE, true); /* it has none */
    button(BUTTON_SIDE, false);
    move(0, 0, 3); /* nor a wheel */
    expect_nothing();
    mouse(0xf5);
    move(1, 1, 0);
    expect_nothing();
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    stop();
}

/* A hundred samples a second; what comes between adds up. */
static void test_mouse_rate(void)
{
    start_plain();
    mouse(0xf4);
    move(1, 0, 0);
    EXPECT_AUX(0x08, 1, 0);
    vclock_step(NS_PER_SEC);
    move(1, 0, 0);
    g_assert_cmphex(get(), ==, 0x08);
    g_assert_cmphex(get(), ==, 1);
    g_assert_cmphex(get(), ==, 0);
    for (unsigned i = 0; i < 5; i++)
        move(1, 0, 0);
    vclock_step(9 * NS_PER_MS);
    g_assert_cmphex(status() & OBF, ==, 0);
    vclock_step(2 * NS_PER_MS);
    EXPECT_AUX(0x08, 5, 0);
    rate(10);
    move(1, 0, 0);
    EXPECT_AUX(0x08, 1, 0);
    move(1, 0, 0);
    vclock_step(70 * NS_PER_MS);
    g_assert_cmphex(status() & OBF, ==, 0);
    vclock_step(20 * NS_PER_MS);
    EXPECT_AUX(0x08, 1, 0);
    stop();
}

/* Much movement and nobody who reads: bounded, told in steps of nine bits. */
static void test_mouse_bounds(void)
{
    int sum = 0;
    start_plain();
    mouse(0xf4);
    for (unsigned i = 0; i < 1000; i++)
        move(1000000, INT_MIN, 0);
    for (unsigned i = 0; i < 100; i++) {
        vclock_step(20 * NS_PER_MS);
        if (!(status() & OBF))
            break;
        uint8_t flags = get(), dx = get(), dy = get();
        g_assert_cmphex(flags & 0x10, ==, 0);
        g_assert_cmphex(flags & 0xc8, ==, 0x08);
        g_assert_cmpuint(dx, ==, dy); /* down is INT_MIN of the screen: up here */
        sum += dx;
    }
    g_assert_cmphex(status() & OBF, ==, 0);
    g_assert_cmpint(sum, >, 255);
    g_assert_cmpint(sum, <, 4096);
    stop();
}

/* A click while a packet waits is told as press and release. */
static void test_mouse_click(void)
{
    start_plain();
    mouse(0xf4);
    move(1, 0, 0);
    button(BUTTON_LEFT, true);
    button(BUTTON_LEFT, false);
    EXPECT_AUX(0x08, 1, 0, 0x09, 0, 0, 0x08, 0, 0);
    input_button(BUTTON_LEFT, true); /* in one group */
    input_button(BUTTON_LEFT, false);
    input_sync();
    EXPECT_AUX(0x09, 0, 0, 0x08, 0, 0);
    for (unsigned i = 0; i < 100; i++) /* more than there is room for: the end is right */
        button(BUTTON_LEFT, !(i & 1));
    uint8_t last = 0;
    while (vclock_step(20 * NS_PER_MS), status() & OBF) {
        last = get();
        get();
        get();
    }
    g_assert_cmphex(last, ==, 0x08);
    stop();
}

static void test_mouse_wheel(void)
{
    start_plain();
    rate(200);
    rate(100);
    rate(80);
    to_mouse(0xf2);
    EXPECT_AUX(0xfa, 0x03);
    mouse(0xf4);
    move(1, 0, -1);
    EXPECT_AUX(0x08, 1, 0, 0xff);
    move(0, 0, 1);
    EXPECT_AUX(0x08, 0, 0, 0x01);
    move(0, 0, 20); /* in steps of four bits */
    for (unsigned i = 0; i < 3; i++) {
        static const uint8_t steps[] = {7, 7, 6};
        g_assert_cmphex(get(), ==, 0x08);
        get();
        get();
        g_assert_cmphex(get(), ==, steps[i]);
        vclock_step(20 * NS_PER_MS);
    }
    button(BUTTON_SIDE, true);
    expect_nothing();
    to_mouse(0xff); /* a plain mouse again */
    EXPECT_AUX(0xfa, 0xaa, 0x00);
    to_mouse(0xf2);
    EXPECT_AUX(0xfa, 0x00);
    stop();
}

static void test_mouse_explorer(void)
{
    start_plain();
    rate(200);
    rate(200);
    rate(80);
    to_mouse(0xf2);
    EXPECT_AUX(0xfa, 0x04);
    mouse(0xf4);
    button(BUTTON_SIDE, true);
    EXPECT_AUX(0x08, 0, 0, 0x10);
    button(BUTTON_EXTRA, true);
    EXPECT_AUX(0x08, 0, 0, 0x30);
    move(0, 0, -1);
    EXPECT_AUX(0x08, 0, 0, 0x3f);
    button(BUTTON_SIDE, false);
    button(BUTTON_EXTRA, false);
    EXPECT_AUX(0x08, 0, 0, 0x20, 0x08, 0, 0, 0x00);
    stop();
}

static void test_mouse_remote(void)
{
    start_plain();
    mouse(0xf0);
    move(4, 5, 0);
    expect_nothing(); /* only when asked */
    to_mouse(0xeb);
    EXPECT_AUX(0xfa, 0x28, 4, 0xfb);
    to_mouse(0xeb);
    EXPECT_AUX(0xfa, 0x08, 0, 0);
    to_mouse(0xe9);
    EXPECT_AUX(0xfa, 0x40, 0x02, 100);
    mouse(0xea);
    mouse(0xf4);
    move(1, 0, 0);
    EXPECT_AUX(0x08, 1, 0);
    stop();
}

static void test_mouse_wrap(void)
{
    start_plain();
    mouse(0xf4);
    mouse(0xee);
    to_mouse(0x55);
    EXPECT_AUX(0x55);
    to_mouse(0xf2);
    EXPECT_AUX(0xf2);
    move(1, 0, 0);
    expect_nothing();
    mouse(0xec);
    to_mouse(0xf2);
    EXPECT_AUX(0xfa, 0x00);
    mouse(0xee);
    to_mouse(0xff);
    EXPECT_AUX(0xfa, 0xaa, 0x00);
    stop();
}

static void test_mouse_scaling(void)
{
    static const uint8_t scaled[] = {0, 1, 1, 3, 6, 9, 12, 14};
    start_plain();
    mouse(0xe7);
    mouse(0xf4);
    for (int i = 1; i < (int)sizeof(scaled); i++) {
        move(i, 0, 0);
        EXPECT_AUX(0x08, scaled[i], 0);
    }
    move(-3, 0, 0);
    EXPECT_AUX(0x18, 0xfd, 0);
    mouse(0xe6);
    move(7, 0, 0);
    EXPECT_AUX(0x08, 7, 0);
    stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ps2/keyboard/commands", test_commands);
    g_test_add_func("/ps2/keyboard/leds", test_leds);
    g_test_add_func("/ps2/keyboard/sets", test_sets);
    g_test_add_func("/ps2/keyboard/set3-types", test_set3_types);
    g_test_add_func("/ps2/keyboard/tables", test_tables);
    g_test_add_func("/ps2/keyboard/special-keys", test_special_keys);
    g_test_add_func("/ps2/keyboard/scanning", test_scanning);
    g_test_add_func("/ps2/keyboard/overflow", test_overflow);
    g_test_add_func("/ps2/keyboard/reset-consistency", test_reset_consistency);
    g_test_add_func("/ps2/keyboard/reply-first", test_reply_first);
    g_test_add_func("/ps2/mouse/commands", test_mouse_commands);
    g_test_add_func("/ps2/mouse/stream", test_mouse_stream);
    g_test_add_func("/ps2/mouse/rate", test_mouse_rate);
    g_test_add_func("/ps2/mouse/bounds", test_mouse_bounds);
    g_test_add_func("/ps2/mouse/click", test_mouse_click);
    g_test_add_func("/ps2/mouse/wheel", test_mouse_wheel);
    g_test_add_func("/ps2/mouse/explorer", test_mouse_explorer);
    g_test_add_func("/ps2/mouse/remote", test_mouse_remote);
    g_test_add_func("/ps2/mouse/wrap", test_mouse_wrap);
    g_test_add_func("/ps2/mouse/scaling", test_mouse_scaling);
    return g_test_run();
}
