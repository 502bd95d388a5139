/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine without a CPU but with a VGA card, for the tests of user interfaces.
 *
 *     ui-harness TYPE CONTROL LOG
 *
 * TYPE is a display type, or "auto".  Commands are read by lines from the FIFO CONTROL; what input
 * devices receive, and answers, are written as lines to the file LOG.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel/test.h"
#include "chardev/chardev.h"
#include "hw/pci/pci.h"
#include "hw/registry.h"
#include "ui/display.h"
#include "ui/input.h"
#include "util/timer.h"

static struct {
    Machine *m;
    Chardev *console;
    FILE *log;
    GString *line;
} t;

G_GNUC_PRINTF(1, 2) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(t.log, format, args);
    va_end(args);
    fputc('\n', t.log);
    fflush(t.log);
}

/* ---- Input ---- */

static void on_key(void *opaque, KeyCode key, bool down)
{
    const char *name = key_to_name(key);
    say("key %s %s", name ? name : "?", down ? "down" : "up");
}
static void on_move(void *opaque, int dx, int dy, int dz)
{
    if (dz)
        say("wheel %d", dz);
    else
        say("move %d %d", dx, dy);
}
static void on_position(void *opaque, unsigned x, unsigned y)
{
    say("position %u %u", x, y);
}
static void on_button(void *opaque, InputButton button, bool down)
{
    static const char *const names[] = {"left", "right", "middle", "side", "extra"};
    say("button %s %s", names[button], down ? "down" : "up");
}
static const InputOps ps2_ops = {.key = on_key, .move = on_move, .button = on_button};
static const InputOps tablet_ops = {.position = on_position, .button = on_button, .absolute = true};

/* The other side of the text console: echoes in green, enter begins a new line. */
static size_t can_receive(void *opaque)
{
    return 64;
}
static void receive(void *opaque, const uint8_t *buf, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        say("console %02x", buf[i]);
        chr_write(t.console, &t, buf[i] == '\r' ? "\r\n" : (const char *)&buf[i],
                  buf[i] == '\r' ? 2 : 1);
    }
}
static const ChrHandlers console_handlers = {.can_receive = can_receive, .receive = receive};

/* ---- The screen ---- */

static void set_reg(uint16_t port, uint8_t index, uint8_t value)
{
    outw(t.m, port, (uint16_t)(index | value << 8));
}

/* 80x25 in mode 3's registers, 8 dots wide; glyphs are made up: each character has its code's bits
 * as a pattern, so that every one looks different. */
static void text_mode(void)
{
    static const uint8_t cr[25] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00,
                                   0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x0e,
                                   0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const uint8_t dac[16][3] = {{0, 0, 0},    {0, 0, 42},   {0, 42, 0},   {0, 42, 42},
                                       {42, 0, 0},   {42, 0, 42},  {42, 21, 0},  {42, 42, 42},
                                       {21, 21, 21}, {21, 21, 63}, {21, 63, 21}, {21, 63, 63},
                                       {63, 21, 21}, {63, 21, 63}, {63, 63, 21}, {63, 63, 63}};
    outw(t.m, 0x1ce, 4);
    outw(t.m, 0x1cf, 0);
    outb(t.m, 0x3c2, 0x63);
    set_reg(0x3c4, 1, 1);
    set_reg(0x3c4, 2, 4);
    set_reg(0x3c4, 3, 0);
    set_reg(0x3c4, 4, 6);
    set_reg(0x3ce, 5, 0);
    set_reg(0x3ce, 6, 4);
    set_reg(0x3ce, 8, 0xff);
    for (unsigned c = 0; c < 256; c++) {
        for (unsigned y = 0; y < 16; y++)
            writeb(t.m, 0xa0000 + c * 32 + y,
                   c == ' ' || y < 2 || y > 13 ? 0 : (uint8_t)(c ^ (y & 4 ? 0x7e : 0)));
    }
    set_reg(0x3c4, 2, 3);
    set_reg(0x3c4, 4, 2);
    set_reg(0x3ce, 5, 0x10);
    set_reg(0x3ce, 6, 0x0e);
    set_reg(0x3d4, 0x11, 0);
    for (uint8_t i = 0; i < 25; i++)
        set_reg(0x3d4, i, cr[i]);
    inb(t.m, 0x3da);
    for (uint8_t i = 0; i < 16; i++) {
        outb(t.m, 0x3c0, i);
        outb(t.m, 0x3c0, i);
        outb(t.m, 0x3c8, i);
        for (unsigned n = 0; n < 3; n++)
            outb(t.m, 0x3c9, dac[i][n]);
    }
    outb(t.m, 0x3c0, 0x10);
    outb(t.m, 0x3c0, 0x0c);
    outb(t.m, 0x3c0, 0x12);
    outb(t.m, 0x3c0, 0x0f);
    outb(t.m, 0x3c0, 0x20);
    for (unsigned i = 0; i < 80 * 25; i++)
        writew(t.m, 0xb8000 + i * 2, 0x1720);
}

static void put_text(unsigned x, unsigned y, uint8_t attribute, const char *words)
{
    for (; *words && x < 80; words++, x++)
        writew(t.m, 0xb8000 + (y * 80 + x) * 2, (uint16_t)((uint8_t)*words | attribute << 8));
}

static void graphics_mode(unsigned width, unsigned height)
{
    const uint16_t setup[][2] = {
        {4, 0}, {1, (uint16_t)width}, {2, (uint16_t)height}, {3, 32}, {4, 0x41}};
    for (unsigned i = 0; i < G_N_ELEMENTS(setup); i++) {
        outw(t.m, 0x1ce, setup[i][0]);
        outw(t.m, 0x1cf, setup[i][1]);
    }
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++)
            writel(t.m, 0xe0000000 + (y * width + x) * 4,
                   (x * 255 / width) << 16 | (y * 255 / height) << 8 | ((x ^ y) & 0xff));
    }
}

/* ---- Commands ---- */

static void command(char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 5);
    unsigned count = g_strv_length(words);
    GError *error = NULL;
    if (g_str_equal(line, "quit")) {
        machine_request_shutdown(t.m, SHUTDOWN_HOST);
    } else if (g_str_equal(line, "exit")) {
        exit(0);
    } else if (g_str_equal(line, "crash")) {
        raise(SIGSEGV);
    } else if (g_str_equal(line, "textmode")) {
        text_mode();
    } else if (g_str_equal(words[0], "graphics") && count == 3) {
        graphics_mode((unsigned)atoi(words[1]), (unsigned)atoi(words[2]));
    } else if (g_str_equal(words[0], "put") && count == 5) {
        put_text((unsigned)atoi(words[1]), (unsigned)atoi(words[2]),
                 (uint8_t)strtoul(words[3], NULL, 16), words[4]);
    } else if (g_str_equal(words[0], "cursor") && count == 2) {
        unsigned at = (unsigned)atoi(words[1]);
        set_reg(0x3d4, 0x0a, at < 2000 ? 0x0d : 0x20);
        set_reg(0x3d4, 0x0e, (uint8_t)(at >> 8));
        set_reg(0x3d4, 0x0f, (uint8_t)at);
    } else if (g_str_equal(line, "tablet")) {
        input_register(&tablet_ops, &t.line);
    } else if (g_str_equal(line, "pause")) {
        machine_pause(t.m, MACHINE_PAUSED);
    } else if (g_str_equal(words[0], "sendkey") && count == 2) {
        if (!input_send_keys(words[1], 20, &error))
            say("error %s", error->message);
    } else if (g_str_equal(words[0], "leds") && count == 2) {
        input_set_leds((unsigned)atoi(words[1]));
    } else if (g_str_equal(words[0], "screendump") && count == 3) {
        if (!display_screendump(display_nth((unsigned)atoi(words[1])), words[2], &error))
            say("error %s", error->message);
    } else {
        say("error unknown command '%s'", line);
    }
    g_clear_error(&error);
    say("done %s", words[0]);
}

static void control_ready(void *opaque, int fd, unsigned events)
{
    char buf[512];
    ssize_t n = read(fd, buf, sizeof(buf));
    for (ssize_t i = 0; i < n; i++) {
        if (buf[i] != '\n') {
            g_string_append_c(t.line, buf[i]);
            continue;
        }
        g_autofree char *line = g_strdup(t.line->str);
        g_string_truncate(t.line, 0);
        command(line);
    }
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    if (argc != 4)
        return 2;
    t.log = fopen(argv[3], "we");
    int control = open(argv[2], O_RDWR | O_NONBLOCK | O_CLOEXEC);
    t.line = g_string_new(NULL);
    t.m = test_machine_new(1 << 20);
    vclock_stop();
    vclock_set_manual(false);
    vclock_start();
    t.m->name = g_strdup("harness");
    PciBus *bus = pci_bus_new(t.m, &t.m->mem_root, &t.m->io_root);
    t.console = chr_open("harness", "vc", "monitor", &error);
    g_assert_no_error(error);
    chr_attach(t.console, &console_handlers, &t, &error);
    g_assert_no_error(error);
    test_device(t.m, &vga_class, "romfile=,addr=2");
    pci_config_write(bus, PCI_DEVFN(2, 0), PCI_BAR0, 0xe0000000, 4);
    pci_config_write(bus, PCI_DEVFN(2, 0), PCI_COMMAND, 3, 2);
    input_register(&ps2_ops, &t);
    LoopFd *watch = loop_fd_add(t.m->loop, control, LOOP_IN, control_ready, NULL);

    UiOptions options = {.type = g_str_equal(argv[1], "auto") ? NULL : argv[1]};
    if (!ui_start(t.m, &options, &error)) {
        say("error %s", error->message);
        return 1;
    }
    chr_write(t.console, &t, "\033[32mready>\033[0m ", 16);
    say("ready");
    machine_main_loop(t.m);
    say("ended");
    ui_stop();
    ui_stop(); /* idempotent */
    loop_fd_remove(watch);
    chr_close_all();
    input_unregister(&t.line);
    input_unregister(&t);
    while (t.m->devices->len)
        device_free(g_ptr_array_index(t.m->devices, 0));
    pci_bus_free(bus);
    test_machine_free(t.m);
    g_string_free(t.line, TRUE);
    fclose(t.log);
    return 0;
}
