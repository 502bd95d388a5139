/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller: buffers, commands, interrupts, translation, reset and A20. */
#include "i8042-guest.h"

static void test_reset_values(void)
{
    start();
    g_assert_cmphex(status(), ==, 0x18);
    g_assert_cmphex(inb(m, 0x60), ==, 0x00);
    to_controller(0x20);
    g_assert_cmphex(get(), ==, 0x03);
    set_mode(0x77);
    tap(0x1e);
    device_reset(dev);
    g_assert_cmphex(status(), ==, 0x18);
    expect_nothing();
    g_assert_false(irq1.level);
    to_controller(0x20);
    g_assert_cmphex(get(), ==, 0x03);
    stop();
}

static void test_mode_and_ram(void)
{
    start();
    set_mode(0x65);
    g_assert_cmphex(status(), ==, 0x14); /* SYS follows the mode; the last write was data */
    to_controller(0x20);
    g_assert_cmphex(status() & 0x08, ==, 0x08);
    g_assert_cmphex(get(), ==, 0x65);
    for (unsigned i = 1; i < 32; i++) {
        to_controller((uint8_t)(0x60 + i));
        outb(m, 0x60, (uint8_t)(i * 3));
    }
    for (unsigned i = 1; i < 32; i++) {
        to_controller((uint8_t)(0x20 + i));
        g_assert_cmphex(get(), ==, i * 3);
    }
    to_controller(0x20);
    g_assert_cmphex(get(), ==, 0x65);
    stop();
}

static void test_self_tests(void)
{
    start();
    to_controller(0xaa);
    g_assert_cmphex(get(), ==, 0x55);
    g_assert_cmphex(status() & 0x04, ==, 0x04);
    to_controller(0xab);
    g_assert_cmphex(get(), ==, 0x00);
    to_controller(0xa9);
    g_assert_cmphex(get(), ==, 0x00);
    to_controller(0xc0);
    g_assert_cmphex(get(), ==, 0x80);
    to_controller(0x99); /* unknown */
    expect_nothing();
    stop();
}

/* IRQ1 is up while the output buffer holds a byte of the keyboard or the controller. */
static void test_irq1(void)
{
    start();
    set_mode(0x41);
    key(0x1e, true);
    g_assert_true(irq1.level);
    g_assert_false(irq12.level);
    g_assert_cmphex(status() & (OBF | AUX), ==, OBF);
    g_assert_cmphex(inb(m, 0x60), ==, 0x1e);
    g_assert_false(irq1.level);
    g_assert_cmphex(inb(m, 0x60), ==, 0x1e); /* still readable */
    g_assert_cmpuint(irq1.rises, ==, 1);
    key(0x1e, false);
    vclock_step(NS_PER_MS);
    g_assert_cmpuint(irq1.rises, ==, 2);
    g_assert_cmphex(inb(m, 0x60), ==, 0x9e);
    set_mode(0x40); /* masked: the byte comes all the same */
    tap(0x30);
    g_assert_cmpuint(irq1.rises, ==, 2);
    EXPECT_KBD(0x30, 0xb0);
    set_mode(0x41);
    to_controller(0xaa); /* the controller's own bytes interrupt, too */
    g_assert_cmpuint(irq1.rises, ==, 3);
    get();
    stop();
}

static void test_irq12(void)
{
    start();
    set_mode(0x43);
    to_mouse(0xf4);
    g_assert_true(irq12.level);
    g_assert_false(irq1.level);
    EXPECT_AUX(0xfa);
    g_assert_false(irq12.level);
    input_move(3, -4, 0);
    input_sync();
    g_assert_cmpuint(irq12.rises, ==, 2);
    EXPECT_AUX(0x08, 3, 4);
    g_assert_cmpuint(irq12.rises, ==, 4); /* one for each byte */
    set_mode(0x41);
    input_move(1, 0, 0);
    input_sync();
    g_assert_cmpuint(irq12.rises, ==, 4);
    EXPECT_AUX(0x08, 1, 0);
    stop();
}

/* A byte that waits does not hide the other device's; the keyboard goes first. */
static void test_both(void)
{
    start();
    set_mode(0x43);
    to_mouse(0xf4);
    get();
    input_move(1, 1, 0);
    input_sync();
    g_assert_true(irq12.level);
    tap(0x1e);
    to_controller(0x20); /* and the controller's own before both */
    g_assert_cmphex(status() & AUX, ==, AUX);
    inb(m, 0x60);
    g_assert_cmphex(status() & AUX, ==, 0);
    g_assert_true(irq1.level);
    g_assert_cmphex(inb(m, 0x60), ==, 0x43);
    g_assert_cmphex(inb(m, 0x60), ==, 0x1e);
    g_assert_cmphex(status() & (OBF | AUX), ==, OBF | AUX); /* while the next key is on its way */
    g_assert_cmphex(inb(m, 0x60), ==, 0x01);
    g_assert_cmphex(inb(m, 0x60), ==, 0xff);
    vclock_step(NS_PER_MS);
    g_assert_cmphex(inb(m, 0x60), ==, 0x9e);
    expect_nothing();
    stop();
}

static void test_disable(void)
{
    start();
    set_mode(0x43);
    to_controller(0xad);
    tap(0x1e);
    expect_nothing();
    to_controller(0x20);
    g_assert_cmphex(get(), ==, 0x53);
    to_controller(0xae);
    EXPECT_KBD(0x1e, 0x9e);
    to_controller(0xad);
    to_keyboard(0xee); /* a byte for the keyboard switches it on */
    EXPECT_KBD(0xee);
    to_controller(0xa7);
    to_controller(0x20);
    g_assert_cmphex(get(), ==, 0x63);
    to_mouse(0xf4);
    EXPECT_AUX(0xfa);
    to_controller(0xa7);
    input_move(1, 0, 0);
    input_sync();
    expect_nothing();
    to_controller(0xa8);
    EXPECT_AUX(0x08, 1, 0);
    stop();
}

/* Between two bytes of keys lies the time on the wire; answers do not wait. */
static void test_gap(void)
{
    start();
    set_mode(0x41);
    key(0x48 | KEY_GREY, true);
    g_assert_cmphex(inb(m, 0x60), ==, 0xe0);
    g_assert_cmphex(inb(m, 0x60), ==, 0xe0); /* a chained handler sees the same */
    g_assert_cmphex(status() & OBF, ==, 0);
    vclock_step(NS_PER_MS - 1);
    g_assert_cmphex(status() & OBF, ==, 0);
    vclock_step(1);
    g_assert_cmpuint(irq1.rises, ==, 2);
    g_assert_cmphex(inb(m, 0x60), ==, 0x48);
    g_assert_cmpint(vclock_next_deadline(), ==, -1); /* idle: no timer */
    to_keyboard(0xf2);
    g_assert_cmphex(inb(m, 0x60), ==, 0xfa);
    g_assert_cmphex(inb(m, 0x60), ==, 0xab);
    g_assert_cmphex(inb(m, 0x60), ==, 0x41); /* translated, as everywhere */
    expect_nothing();
    stop();
}

static void test_fake(void)
{
    start();
    set_mode(0x43);
    to_controller(0xd2);
    outb(m, 0x60, 0x5a);
    g_assert_true(irq1.level);
    EXPECT_KBD(0x5a);
    to_controller(0xd3);
    outb(m, 0x60, 0xa5);
    g_assert_true(irq12.level);
    EXPECT_AUX(0xa5);
    to_controller(0xd4); /* a command in between takes the argument's place */
    to_controller(0xd2);
    outb(m, 0x60, 0xf4);
    EXPECT_KBD(0xf4);
    stop();
}

static void test_a20(void)
{
    start();
    to_controller(0xd0);
    g_assert_cmphex(get() & 0x03, ==, 0x03);
    to_controller(0xd1);
    outb(m, 0x60, 0xdd);
    g_assert_false(m->a20);
    to_controller(0xd0);
    g_assert_cmphex(get() & 0x03, ==, 0x01);
    to_controller(0xd1);
    outb(m, 0x60, 0xdf);
    g_assert_true(m->a20);
    to_controller(0xdd);
    g_assert_false(m->a20);
    to_controller(0xdf);
    g_assert_true(m->a20);
    tap(0x1e);
    to_controller(0xd0); /* bits 4 and 5 show the buffer */
    inb(m, 0x60);
    g_assert_cmphex(inb(m, 0x60) & 0x30, ==, 0x10);
    g_assert_false(machine_request_pending(m));
    stop();
}

static void test_reset_request(void)
{
    static const uint8_t harmless[] = {0xf1, 0xf3, 0xfd, 0xff};
    static const uint8_t resets[] = {0xf0, 0xfc, 0xfe};
    for (unsigned i = 0; i < sizeof(harmless); i++) {
        start();
        to_controller(harmless[i]);
        g_assert_false(machine_request_pending(m));
        stop();
    }
    for (unsigned i = 0; i < sizeof(resets); i++) {
        start();
        to_controller(resets[i]);
        g_assert_true(machine_request_pending(m));
        stop();
    }
    start();
    to_controller(0xd1);
    outb(m, 0x60, 0xde);
    g_assert_true(machine_request_pending(m));
    stop();
}

/* What set 2 becomes; the break prefix goes into bit 7. */
static void test_translation(void)
{
    start();
    set_mode(0x41);
    for (KeyCode code = 1; code <= 0x58; code++) {
        if (code >= 0x54 && code <= 0x55)
            continue;
        tap(code);
        EXPECT_KBD((uint8_t)code, (uint8_t)(code | 0x80));
    }
    tap(0x53 | KEY_GREY);
    EXPECT_KBD(0xe0, 0x53, 0xe0, 0xd3);
    tap(KEY_PAUSE);
    EXPECT_KBD(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
    tap(KEY_PRINT);
    EXPECT_KBD(0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
    to_keyboard(0xf0);
    get();
    to_keyboard(0x00);
    EXPECT_KBD(0xfa, 0x41); /* "2", translated */
    set_mode(0x01);
    tap(0x1e);
    EXPECT_KBD(0x1c, 0xf0, 0x1c);
    stop();
}

/* A snapshot in the middle of a key keeps what waits in the FIFO. */
static void test_state(void)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    GError *error = NULL;
    start();
    set_mode(0x43);
    to_mouse(0xf4);
    get();
    tap(0x48 | KEY_GREY);
    tap(0x1e);
    input_move(5, 6, 0);
    input_sync();
    g_assert_cmphex(inb(m, 0x60), ==, 0xe0);
    state_save(dev->cls->state, dev, saved);
    device_reset(dev);
    expect_nothing();
    const uint8_t *at = saved->data;
    g_assert_true(state_load(dev->cls->state, dev, &at, at + saved->len, &error));
    g_assert_no_error(error);
    uint8_t got[16];
    unsigned keys = 0, moves = 0;
    for (unsigned i = 0; i < 20; i++) {
        uint8_t st = status();
        if ((st & (OBF | AUX)) == OBF)
            got[keys++] = inb(m, 0x60);
        else if (st & OBF)
            moves++, inb(m, 0x60);
        else
            vclock_step(NS_PER_MS);
    }
    g_assert_cmpmem(got, keys, ((const uint8_t[]){0x48, 0xe0, 0xc8, 0x1e, 0x9e}), 5);
    g_assert_cmpuint(moves, ==, 3);
    stop();
}

static void test_hostile_state(void)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    start();
    set_mode(0x43);
    to_mouse(0xf4);
    tap(0x1e);
    input_move(5, 6, 0);
    input_sync();
    state_save(dev->cls->state, dev, saved);
    for (guint i = 0; i < saved->len; i++) {
        g_autofree uint8_t *copy = g_memdup2(saved->data, saved->len);
        const uint8_t *at = copy;
        copy[i] ^= 0xff;
        if (!state_load(dev->cls->state, dev, &at, copy + saved->len, NULL))
            device_reset(dev);
        for (KeyCode code = 1; code <= KEY_PRINT; code++)
            tap(code);
        input_move(1 << 30, -(1 << 30), 1);
        input_button(BUTTON_LEFT, i & 1);
        input_sync();
        for (unsigned n = 0; n < 40; n++) {
            vclock_step(NS_PER_MS);
            inb(m, 0x60);
        }
    }
    device_reset(dev);
    stop();
}

static void test_hostile_access(void)
{
    static const uint16_t ports[] = {0x5f, 0x60, 0x61, 0x62, 0x63, 0x64, 0x65};
    GRand *rand = g_rand_new_with_seed(1);
    start();
    for (unsigned i = 0; i < 300000; i++) {
        uint16_t port = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];
        uint32_t value = g_rand_int(rand);
        switch (g_rand_int_range(rand, 0, 10)) {
        case 0:
            outl(m, port, value);
            break;
        case 1:
            outw(m, port, (uint16_t)value);
            break;
        case 2 ... 4:
            outb(m, value & 0x100 ? 0x64 : 0x60, (uint8_t)value);
            break;
        case 5:
            inl(m, port);
            break;
        case 6:
            inb(m, 0x60);
            break;
        case 7:
            key((KeyCode)(value % (KEY_PRINT + 20)), value & 0x10000);
            break;
        case 8:
            input_move((int)value, (int)(value * 3), (int)(value * 7));
            input_button((InputButton)(value % 5), value & 0x100);
            input_sync();
            break;
        case 9:
            vclock_step(value % (4 * NS_PER_MS));
            break;
        }
    }
    g_rand_free(rand);
    input_release_keys();
    stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/reset-values", test_reset_values);
    g_test_add_func("/i8042/mode-and-ram", test_mode_and_ram);
    g_test_add_func("/i8042/self-tests", test_self_tests);
    g_test_add_func("/i8042/irq1", test_irq1);
    g_test_add_func("/i8042/irq12", test_irq12);
    g_test_add_func("/i8042/both", test_both);
    g_test_add_func("/i8042/disable", test_disable);
    g_test_add_func("/i8042/gap", test_gap);
    g_test_add_func("/i8042/fake", test_fake);
    g_test_add_func("/i8042/a20", test_a20);
    g_test_add_func("/i8042/reset-request", test_reset_request);
    g_test_add_func("/i8042/translation", test_translation);
    g_test_add_func("/i8042/state", test_state);
    g_test_add_func("/i8042/hostile-state", test_hostile_state);
    g_test_add_func("/i8042/hostile-access", test_hostile_access);
    return g_test_run();
}
