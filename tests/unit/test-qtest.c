/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest protocol, over a unix socket, with a device of the test's own. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "accel/engine.h"
#include "util/timer.h"

enum { RAM_SIZE = 1 << 20, PINS = 70 };

/* ---- A device with ports, input pins and a timer ---- */

typedef struct Gadget {
    Device dev;
    Region ports;
    Timer timer;
    uint32_t reg;
    unsigned last_size, pins_seen;
} Gadget;

static uint64_t gadget_read(void *opaque, hwaddr offset, unsigned size)
{
    return ((Gadget *)opaque)->reg;
}

static void gadget_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Gadget *gadget = opaque;
    gadget->reg = (uint32_t)value;
    gadget->last_size = size;
}

static const RegionOps gadget_ops = {gadget_read, gadget_write};

static void gadget_input(void *opaque, unsigned pin, bool level)
{
    ((Gadget *)opaque)->pins_seen++;
}

static void gadget_tick(void *opaque)
{
    Gadget *gadget = opaque;
    IrqLine line = device_input(&gadget->dev, 3);
    irq_set(&line, true);
    irq_set(&line, true);
}

static bool gadget_realize(Device *dev, GError **error)
{
    Gadget *gadget = (Gadget *)dev;
    region_init_io(&gadget->ports, "gadget", 4, &gadget_ops, gadget, NULL);
    region_add(&dev->machine->io_root, 0x100, &gadget->ports);
    timer_init(&gadget->timer, dev->machine->loop, VM_CLOCK_VIRTUAL, gadget_tick, gadget);
    timer_arm(&gadget->timer, 5000);
    device_init_inputs(dev, gadget_input, PINS);
    return true;
}

static void gadget_unrealize(Device *dev)
{
    Gadget *gadget = (Gadget *)dev;
    timer_cancel(&gadget->timer);
    region_fini(&gadget->ports);
}

static const DeviceClass gadget_class = {
    .name = "gadget",
    .desc = "a gadget",
    .size = sizeof(Gadget),
    .realize = gadget_realize,
    .unrealize = gadget_unrealize,
};

/* ---- The peer ---- */

typedef struct Peer {
    Machine *machine;
    Region ram;
    Gadget *gadget;
    int fd;
    GString *in;
    char *dir, *path;
} Peer;

static void peer_send(Peer *peer, const char *text)
{
    g_assert_cmpint(write(peer->fd, text, strlen(text)), ==, (ssize_t)strlen(text));
}

/* The next line, without its end; g_free() it. */
static char *peer_line(Peer *peer)
{
    int64_t end = clock_now(VM_CLOCK_HOST) + 10 * NS_PER_SEC;
    char *newline;
    while (!(newline = strchr(peer->in->str, '\n'))) {
        char buf[4096];
        g_assert_cmpint(clock_now(VM_CLOCK_HOST), <, end);
        loop_step(peer->machine->loop, false);
        ssize_t got = recv(peer->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (got > 0)
            g_string_append_len(peer->in, buf, got);
    }
    char *line = g_strndup(peer->in->str, (gsize)(newline - peer->in->str));
    g_string_erase(peer->in, 0, newline + 1 - peer->in->str);
    return line;
}

static void expect(Peer *peer, const char *command, const char *answer)
{
    if (command) {
        peer_send(peer, command);
        peer_send(peer, "\n");
    }
    g_autofree char *line = peer_line(peer);
    g_assert_cmpstr(line, ==, answer);
}

static void expect_failure(Peer *peer, const char *command, const char *part)
{
    peer_send(peer, command);
    peer_send(peer, "\n");
    g_autofree char *line = peer_line(peer);
    g_assert_true(g_str_has_prefix(line, "FAIL "));
    if (!strstr(line, part))
        g_error("'%s' does not mention '%s'", line, part);
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    return addr;
}

static Peer *peer_new(const char *log_path)
{
    GError *error = NULL;
    Peer *peer = g_new0(Peer, 1);
    loop_lock(loop_main());
    peer->in = g_string_new(NULL);
    peer->dir = g_dir_make_tmp("qtest-XXXXXX", NULL);
    peer->path = g_build_filename(peer->dir, "socket", NULL);
    Machine *machine = peer->machine = machine_new();
    EngineConfig config = {0};
    vcpus_init(machine, &qtest_engine, &config, &error);
    g_assert_no_error(error);
    region_init_ram(&peer->ram, "ram", RAM_SIZE, &error);
    g_assert_no_error(error);
    region_add(&machine->mem_root, 0, &peer->ram);
    peer->gadget = (Gadget *)device_create(machine, NULL, &gadget_class, &error);
    g_assert_no_error(error);
    timer_arm(&peer->gadget->timer, 5000);

    struct sockaddr_un addr = address(peer->path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    g_autofree char *spec = g_strdup_printf("unix:%s", peer->path);
    qtest_start(machine, spec, log_path, &error);
    g_assert_no_error(error);
    peer->fd = accept(listener, NULL, NULL);
    close(listener);
    machine_start(machine, true);
    timer_arm(&peer->gadget->timer, 5000);
    return peer;
}

static void peer_free(Peer *peer)
{
    vcpus_fini(peer->machine);
    device_free(&peer->gadget->dev);
    region_fini(&peer->ram);
    machine_free(peer->machine);
    vclock_stop();
    close(peer->fd);
    unlink(peer->path);
    rmdir(peer->dir);
    g_free(peer->path);
    g_free(peer->dir);
    g_string_free(peer->in, TRUE);
    g_free(peer);
    loop_unlock(loop_main());
}

/* ---- Tests ---- */

static void test_ports(void)
{
    Peer *peer = peer_new("none");
    expect(peer, "outl 0x100 0x12345678", "OK");
    g_assert_cmphex(peer->gadget->reg, ==, 0x12345678);
    g_assert_cmpuint(peer->gadget->last_size, ==, 4);
    expect(peer, "inb 0x100", "OK 0x0078");
    expect(peer, "inw 256", "OK 0x5678");
    expect(peer, "inl 0x100", "OK 0x12345678");
    expect(peer, "outw 0x100 0xabcd", "OK");
    g_assert_cmpuint(peer->gadget->last_size, ==, 2);
    expect(peer, "inb 0x200", "OK 0x00ff");
    expect(peer, "endianness", "OK little");
    peer_free(peer);
}

static void test_memory(void)
{
    Peer *peer = peer_new("none");
    expect(peer, "writeq 0x1000 0x1122334455667788", "OK");
    expect(peer, "readb 0x1000", "OK 0x0000000000000088");
    expect(peer, "readw 0x1000", "OK 0x0000000000007788");
    expect(peer, "readl 0x1004", "OK 0x0000000011223344");
    expect(peer, "readq 0x1000", "OK 0x1122334455667788");
    expect(peer, "writeb 0x1000 1", "OK");
    expect(peer, "writew 0x1002 2", "OK");
    expect(peer, "writel 0x1004 3", "OK");
    expect(peer, "read 0x1000 8", "OK 0x0177020003000000");
    expect(peer, "write 0x2000 4 0xdeadBE", "OK"); /* the rest is zeroes */
    expect(peer, "read 0x2000 4", "OK 0xdeadbe00");
    expect(peer, "memset 0x3000 3 0x5a", "OK");
    expect(peer, "read 0x2fff 5", "OK 0x005a5a5a00");
    expect(peer, "b64read 0x3000 3", "OK Wlpa");
    expect(peer, "b64write 0x3001 3 AQID", "OK");
    expect(peer, "read 0x3000 4", "OK 0x5a010203");
    peer_free(peer);
}

static void test_clock_and_irq(void)
{
    Peer *peer = peer_new("none");
    expect(peer, "irq_intercept_in /machine/unattached/gadget", "OK");
    expect(peer, "irq_intercept_in gadget", "OK");
    expect(peer, "clock_step 1000", "OK 1000");
    /* Raised twice by the timer, told once, and the device sees it, too. */
    expect(peer, "clock_step", "IRQ raise 3");
    expect(peer, NULL, "OK 5000");
    g_assert_cmpuint(peer->gadget->pins_seen, ==, 2);
    expect(peer, "set_irq_in gadget unnamed-gpio-in 3 0", "IRQ lower 3");
    expect(peer, NULL, "OK");
    expect(peer, "set_irq_in gadget unnamed-gpio-in 69 1", "IRQ raise 69");
    expect(peer, NULL, "OK");
    expect(peer, "clock_set 123456789", "OK 123456789");
    expect(peer, "clock_set 5", "OK 123456789");
    expect(peer, "clock_step", "OK 123456789");
    peer_free(peer);
}

static void test_malformed(void)
{
    Peer *peer = peer_new("none");
    expect_failure(peer, "", "Unknown command");
    expect_failure(peer, "frobnicate 1 2", "frobnicate");
    expect_failure(peer, "outb 0x100", "value is missing");
    expect_failure(peer, "inb", "port is missing");
    expect_failure(peer, "inb zz", "'zz'");
    expect_failure(peer, "read 0 0", "size");
    expect_failure(peer, "read 0 0xffffffffffff", "size");
    expect_failure(peer, "read 0xfffffffffffffff0 32", "end of memory");
    expect_failure(peer, "write 0 4", "data is missing");
    expect_failure(peer, "write 0 4 0x", "data is missing");
    expect_failure(peer, "write 0 4 0x12zz", "'z'");
    expect_failure(peer, "b64write 0 4 AQID", "3 bytes");
    expect_failure(peer, "b64write 0 4 ", "data is missing");
    expect_failure(peer, "irq_intercept_in nothing", "Unknown device");
    expect_failure(peer, "set_irq_in gadget unnamed-gpio-in 70 1", "70 inputs");
    expect_failure(peer, "set_irq_in gadget named 0 1", "names");
    expect_failure(peer, "clock_step -5", "'-5'");
    expect_failure(peer, "clock_step 0xffffffffffffffff", "end of time");
    expect_failure(peer, "a b c d e f g h i j k l m", "Unknown command 'a'");
    expect(peer, "inb 0x100\r", "OK 0x0000");
    peer_free(peer);
}

/* Many commands at once, and a transfer as large as can be. */
static void test_large(void)
{
    Peer *peer = peer_new("none");
    g_autoptr(GString) batch = g_string_new(NULL);
    for (unsigned i = 0; i < 300; i++)
        g_string_append_printf(batch, "outl 0x100 %u\ninl 0x100\n", i);
    peer_send(peer, batch->str);
    for (unsigned i = 0; i < 300; i++) {
        g_autofree char *answer = g_strdup_printf("OK 0x%04x", i);
        expect(peer, NULL, "OK");
        expect(peer, NULL, answer);
    }
    peer_send(peer, "read 0 0x100000\n");
    g_autofree char *line = peer_line(peer);
    g_assert_cmpuint(strlen(line), ==, 5 + 2 * 0x100000);
    peer_free(peer);
}

static void test_log(void)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "qtest-log-XXXXXX", NULL);
    g_autofree char *text = NULL;
    close(g_mkstemp(path));
    Peer *peer = peer_new(path);
    expect(peer, "inb 0x100", "OK 0x0000");
    peer_free(peer);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "] OPENED\n"));
    g_assert_nonnull(strstr(text, "] inb 0x100\n[S +"));
    g_assert_nonnull(strstr(text, "] OK 0x0000\n"));
    unlink(path);
}

static void test_server(void)
{
    GError *error = NULL;
    loop_lock(loop_main());
    Machine *machine = machine_new();
    EngineConfig config = {0};
    vcpus_init(machine, &qtest_engine, &config, &error);
    g_assert_no_error(error);
    g_autofree char *dir = g_dir_make_tmp("qtest-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    qtest_start(machine, spec, "none", &error);
    g_assert_no_error(error);
    /* One peer after the other. */
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_un addr = address(path);
        Peer peer = {.machine = machine, .in = g_string_new(NULL)};
        peer.fd = socket(AF_UNIX, SOCK_STREAM, 0);
        g_assert_cmpint(connect(peer.fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
        expect(&peer, "endianness", "OK little");
        close(peer.fd);
        g_string_free(peer.in, TRUE);
    }
    vcpus_fini(machine);
    machine_free(machine);
    g_assert_cmpint(access(path, F_OK), !=, 0);
    rmdir(dir);
    loop_unlock(loop_main());
}

static void check_refused(Machine *machine, const char *spec, const char *log, const char *part)
{
    GError *error = NULL;
    g_assert_false(qtest_start(machine, spec, log, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, part))
        g_error("'%s' does not mention '%s'", error->message, part);
    g_error_free(error);
}

static void test_refused(void)
{
    loop_lock(loop_main());
    Machine *machine = machine_new();
    check_refused(machine, "unix:/nonexistent/socket", "none", "/nonexistent/socket");
    check_refused(machine, "pigeon:x", "none", "unix:PATH");
    check_refused(machine, "unix:", "none", "path is missing");
    check_refused(machine, "unix:x,colour=red", "none", "colour");
    check_refused(machine, "tcp:nowhere", "none", "tcp:HOST:PORT");
    check_refused(machine, "stdio", "/nonexistent/log", "-qtest-log");
    machine_free(machine);
    loop_unlock(loop_main());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qtest/ports", test_ports);
    g_test_add_func("/qtest/memory", test_memory);
    g_test_add_func("/qtest/clock-and-irq", test_clock_and_irq);
    g_test_add_func("/qtest/malformed", test_malformed);
    g_test_add_func("/qtest/large", test_large);
    g_test_add_func("/qtest/log", test_log);
    g_test_add_func("/qtest/server", test_server);
    g_test_add_func("/qtest/refused", test_refused);
    return g_test_run();
}
