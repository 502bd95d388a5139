/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chardevs without sockets or terminals: options, null, file, pipe, ringbuf, vc, mux. */
#include "test-chardev.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir; /* for files */

static char *in_dir(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void assert_file(const char *path, const char *content)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, content);
}

/* ---- Options ---- */

static void test_errors(void)
{
    assert_fails("foo:bar", "unknown character device");
    assert_fails("stdoi", "did you mean 'stdio'");
    assert_fails("tcp:localhost", "port is missing");
    assert_fails("tcp::1,sever=on", "did you mean 'server'");
    assert_fails("tcp::1,server=perhaps", "server");
    assert_fails("tcp::0,wait=off", "server=on is missing");
    assert_fails("file:/nonexistent/x", "'/nonexistent/x': No such file or directory");
    assert_fails("file:", "path=PATH is missing");
    assert_fails("pipe:/nonexistent/x", "'/nonexistent/x'");
    assert_fails("/dev/null", "not a serial port");
    assert_fails("/dev/nonexistent", "'/dev/nonexistent': No such file");
    assert_fails("chardev:nobody", "'nobody'");
    assert_fails("vc:80by25", "not a size");
    assert_fails("vc:9999999Cx1C", "cols");
    assert_long_fails("nul,id=x", "did you mean 'null'");
    assert_long_fails("null", "id=NAME is missing");
    assert_long_fails("id=x", "back end is missing");
    assert_long_fails("ringbuf,id=x,size=1000", "power of two");
    assert_long_fails("null,id=x,logappend=on", "logfile");
    assert_long_fails("null,id=x,logfile=/nonexistent/x", "/nonexistent/x");
    assert_long_fails("null,id=x,mux=often", "mux");
    g_assert_null(chr_find("x"));
}

static void test_none(void)
{
    GError *error = NULL;
    g_assert_null(chr_open("-serial", "none", "serial0", &error));
    g_assert_no_error(error);
}

static void test_ids(void)
{
    GError *error = NULL;
    Chardev *a = open_short("null", "a");
    g_assert_true(chr_find("a") == a);
    g_assert_true(chr_resolve("a", &error) == a);
    g_assert_true(chr_open("-serial", "chardev:a", "b", &error) == a);
    g_assert_cmpstr(chr_id(a), ==, "a");
    g_assert_null(chr_open("-serial", "null", "a", &error));
    g_assert_nonnull(strstr(error->message, "'a'"));
    g_clear_error(&error);
    g_assert_null(chr_resolve("z", &error));
    g_assert_nonnull(strstr(error->message, "'z'"));
    g_clear_error(&error);
    chr_close(a);
    g_assert_null(chr_find("a"));
}

static void test_one_front_end(void)
{
    GError *error = NULL;
    Front f = front_new(1), g = front_new(1);
    Chardev *chr = open_short("null", "n");
    front_attach(&f, chr);
    g_assert_false(chr_attach(chr, &front_handlers, &g, &error));
    g_assert_nonnull(strstr(error->message, "'n'"));
    g_clear_error(&error);
    chr_detach(chr, &g); /* not attached: no effect */
    g_assert_false(chr_attach(chr, &front_handlers, &g, NULL));
    chr_detach(chr, &f);
    front_attach(&g, chr);
    chr_close(chr);
    front_free(&f);
    front_free(&g);
}

static void test_describe(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree char *path = in_dir("described"), *spec = g_strconcat("file:", path, NULL);
    g_autofree char *wanted = g_strconcat("n: filename=null\nf: filename=file:", path,
                                          "\nm-base: filename=ringbuf\nm: filename=mux\n", NULL);
    open_short("null", "n");
    open_short(spec, "f");
    open_long("ringbuf,id=m,mux=on");
    chr_describe_all(out);
    g_assert_cmpstr(out->str, ==, wanted);
    chr_close_all();
    g_assert_null(chr_find("m-base"));
}

/* ---- null, file ---- */

static void test_null(void)
{
    Chardev *chr = open_short("null", "n");
    Front f = front_new(UNLIMITED);
    front_attach(&f, chr);
    g_assert_cmpuint(chr_write(chr, &f, "abc", 3), ==, 3);
    chr_write_all(chr, &f, "abc", 3);
    g_assert_cmpuint(f.opened, ==, 0);
    chr_close(chr);
    front_free(&f);
}

static void test_file(void)
{
    g_autofree char *path = in_dir("out,put"), *spec = g_strconcat("file:", path, NULL);
    g_autofree char *log = in_dir("log");
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short(spec, "f");

    front_attach(&f, chr);
    g_assert_cmpuint(f.opened, ==, 1);
    g_assert_cmpuint(chr_write(chr, &f, "hello", 5), ==, 5);
    chr_close(chr);
    assert_file(path, "hello");

    g_autofree char *escaped = in_dir("out,,put");
    g_autofree char *append =
        g_strdup_printf("file,id=f,path=%s,append=on,logfile=%s", escaped, log);
    chr = open_long(append);
    chr_write_all(chr, &f, " world", 6);
    chr_close(chr);
    assert_file(path, "hello world");
    assert_file(log, " world");

    g_autofree char *again = g_strdup_printf("null,id=f,logfile=%s,logappend=on", log);
    chr = open_long(again);
    chr_write(chr, &f, "!", 1); /* a null chardev logs, too */
    chr_close(chr);
    assert_file(log, " world!");

    chr = open_short(spec, "f"); /* truncates */
    chr_close(chr);
    assert_file(path, "");
    front_free(&f);
}

/* A full disk: said once, then dropped; never short, never an endless loop. */
static void test_full_disk(void)
{
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short("file:/dev/full", "f");
    front_attach(&f, chr);
    g_assert_cmpuint(chr_write(chr, &f, "hello", 5), ==, 5);
    g_assert_cmpuint(f.closed, ==, 1);
    g_assert_cmpuint(chr_write(chr, &f, "hello", 5), ==, 5);
    chr_close(chr);
    front_free(&f);
}

/* ---- pipe ---- */

static void test_pipe(void)
{
    g_autofree char *path = in_dir("pipe"), *in = in_dir("pipe.in"), *out = in_dir("pipe.out");
    g_autofree char *spec = g_strconcat("pipe:", path, NULL);
    Front f = front_new(3);
    char buf[16];

    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    Chardev *chr = open_short(spec, "p");
    front_attach(&f, chr);
    g_assert_cmpuint(chr_write(chr, &f, "early", 5), ==, 5);
    int reader = open(out, O_RDONLY | O_NONBLOCK), writer = open(in, O_WRONLY | O_NONBLOCK);
    g_assert_cmpint(read(reader, buf, sizeof(buf)), ==, 5);
    g_assert_cmpint(write(writer, "abcdef", 6), ==, 6);
    WAIT_UNTIL(f.got->len == 3);
    settle();
    g_assert_cmpstr(f.got->str, ==, "abc"); /* no more than there is room for */
    front_room(&f, chr, UNLIMITED);
    WAIT_UNTIL(f.got->len == 6);
    close(writer);
    settle();
    writer = open(in, O_WRONLY | O_NONBLOCK); /* another one comes */
    g_assert_cmpint(write(writer, "g", 1), ==, 1);
    WAIT_UNTIL(f.got->len == 7);
    close(writer);
    close(reader);
    chr_close(chr);
    front_free(&f);
}

/* Nobody reads: the pipe fills, then output is dropped; a slow reader makes writes short. */
static void test_pipe_full(void)
{
    g_autofree char *path = in_dir("pipe"), *out = in_dir("pipe.out");
    g_autofree char *spec = g_strconcat("pipe:", path, NULL);
    static char block[65536];
    Front f = front_new(0);
    Chardev *chr = open_short(spec, "p");

    front_attach(&f, chr);
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpuint(chr_write(chr, &f, block, sizeof(block)), ==, sizeof(block));
    int reader = open(out, O_RDONLY | O_NONBLOCK);
    g_assert_cmpuint(chr_write(chr, &f, block, sizeof(block)), <, sizeof(block));
    settle();
    g_assert_cmpuint(f.writable, ==, 0);
    g_assert_cmpint(read(reader, block, sizeof(block)), ==, sizeof(block));
    WAIT_UNTIL(f.writable == 1);
    close(reader);
    chr_close(chr);
    front_free(&f);
}

/* ---- ringbuf ---- */

static void test_ringbuf(void)
{
    char buf[32];
    size_t taken;
    Front f = front_new(0);
    Chardev *chr = open_long("ringbuf,id=r,size=16");
    Chardev *other = open_short("null", "n");

    front_attach(&f, chr);
    chr_write(chr, &f, "abc", 3);
    g_assert_true(chr_ringbuf_read(chr, buf, 2, &taken));
    g_assert_cmpuint(taken, ==, 2);
    g_assert_cmpmem(buf, taken, "ab", 2);
    chr_write(chr, &f, "0123456789abcdefXYZ", 19);
    g_assert_true(chr_ringbuf_read(chr, buf, sizeof(buf), &taken));
    g_assert_cmpmem(buf, taken, "3456789abcdefXYZ", 16);
    g_assert_true(chr_ringbuf_read(chr, buf, sizeof(buf), &taken));
    g_assert_cmpuint(taken, ==, 0);
    g_assert_false(chr_ringbuf_read(other, buf, sizeof(buf), &taken));
    chr_close(chr);
    chr_close(other);
    front_free(&f);
}

/* ---- vc ---- */

typedef struct Console {
    unsigned columns, rows;
    GString *text;
} Console;

static Console *console;

static void *console_create(Chardev *chr, unsigned columns, unsigned rows)
{
    console = g_new0(Console, 1);
    *console = (Console){columns, rows, g_string_new(NULL)};
    return console;
}

static void console_write(void *opaque, const uint8_t *buf, size_t length)
{
    g_string_append_len(((Console *)opaque)->text, (const char *)buf, (gssize)length);
}

static void console_destroy(void *opaque)
{
    g_string_free(((Console *)opaque)->text, TRUE);
    g_free(opaque);
    console = NULL;
}

static const ChrVcOps console_ops = {console_create, console_write, console_destroy};

static void test_vc(void)
{
    Front f = front_new(2);
    Chardev *chr = open_short("vc:100Cx30C", "v");

    front_attach(&f, chr);
    g_assert_cmpuint(chr_write(chr, &f, "lost", 4), ==, 4); /* no user interface yet */
    chr_set_vc_ops(&console_ops);
    g_assert_cmpuint(f.opened, ==, 1);
    g_assert_cmpuint(console->columns, ==, 100);
    g_assert_cmpuint(console->rows, ==, 30);
    chr_write(chr, &f, "seen", 4);
    g_assert_cmpstr(console->text->str, ==, "seen");
    chr_vc_input(chr, (const uint8_t *)"typed", 5);
    g_assert_cmpstr(f.got->str, ==, "ty");
    front_room(&f, chr, UNLIMITED);
    g_assert_cmpstr(f.got->str, ==, "typed");

    f.room = 0;
    for (unsigned i = 0; i < 1000; i++) /* nobody reads: it does not grow */
        chr_vc_input(chr, (const uint8_t *)"x", 1);
    g_string_truncate(f.got, 0);
    front_room(&f, chr, UNLIMITED);
    g_assert_cmpuint(f.got->len, <=, 256);
    chr_close(chr);
    g_assert_null(console);

    chr = open_short("vc:800x600", "v");
    g_assert_cmpuint(console->columns, ==, 100);
    g_assert_cmpuint(console->rows, ==, 37);
    chr_set_vc_ops(NULL); /* the user interface ends first */
    g_assert_null(console);
    g_assert_cmpuint(chr_write(chr, &f, "lost", 4), ==, 4);
    chr_close(chr);
    front_free(&f);
}

/* ---- mux ---- */

static unsigned quits;

static void count_quit(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void vc_type(Chardev *base, const char *keys)
{
    chr_vc_input(base, (const uint8_t *)keys, strlen(keys));
}

static Chardev *open_mux(Chardev **base)
{
    chr_set_vc_ops(&console_ops);
    Chardev *mux = open_short("mon:vc", "m");
    *base = chr_find("m-base");
    g_assert_true(chr_is_mux(mux));
    g_assert_false(chr_is_mux(*base));
    return mux;
}

static void test_mux_focus(void)
{
    GError *error = NULL;
    Chardev *base, *mux = open_mux(&base);
    Front fronts[5];
    for (unsigned i = 0; i < 5; i++)
        fronts[i] = front_new(UNLIMITED);

    front_attach(&fronts[0], mux);
    front_attach(&fronts[1], mux);
    g_assert_cmpuint(fronts[0].opened, ==, 1);
    g_assert_cmpuint(fronts[1].opened, ==, 1);
    g_assert_cmpuint(fronts[0].mux_in, ==, 1);
    g_assert_cmpuint(fronts[1].mux_in, ==, 0);
    vc_type(base, "one\001ctwo\001cthree");
    g_assert_cmpstr(fronts[0].got->str, ==, "onethree");
    g_assert_cmpstr(fronts[1].got->str, ==, "two");
    g_assert_cmpuint(fronts[0].mux_in, ==, 2);
    g_assert_cmpuint(fronts[0].mux_out, ==, 1);
    g_assert_cmpuint(fronts[1].mux_in, ==, 1);
    chr_write(mux, &fronts[0], "a", 1); /* all may write, whoever has the focus */
    chr_write(mux, &fronts[1], "b", 1);
    g_assert_cmpstr(console->text->str, ==, "ab");
    chr_mux_focus(mux, &fronts[1]);
    vc_type(base, "x");
    g_assert_cmpstr(fronts[1].got->str, ==, "twox");
    chr_detach(mux, &fronts[1]); /* the focus goes to who is left */
    vc_type(base, "y");
    g_assert_cmpstr(fronts[0].got->str, ==, "onethreey");
    for (unsigned i = 1; i < 4; i++)
        front_attach(&fronts[i], mux);
    g_assert_false(chr_attach(mux, &front_handlers, &fronts[4], &error));
    g_assert_nonnull(strstr(error->message, "4 users"));
    g_clear_error(&error);
    chr_close(mux);
    g_assert_null(chr_find("m-base"));
    for (unsigned i = 0; i < 5; i++)
        front_free(&fronts[i]);
}

static void test_mux_keys(void)
{
    static const ChrMuxActions actions = {.quit = count_quit};
    Chardev *base, *mux = open_mux(&base);
    Front f = front_new(UNLIMITED);

    front_attach(&f, mux);
    vc_type(base, "a\001\001b\001qc"); /* Ctrl-A itself; an unknown key does nothing */
    g_assert_cmpstr(f.got->str, ==, "a\001bc");
    vc_type(base, "\001b");
    g_assert_cmpuint(f.breaks, ==, 1);
    vc_type(base, "\001h");
    g_assert_nonnull(strstr(console->text->str, "Ctrl-A x"));
    vc_type(base, "\001x"); /* nobody can quit */
    g_assert_nonnull(strstr(console->text->str, "nothing"));
    chr_mux_set_actions(&actions, &quits);
    vc_type(base, "\001x");
    g_assert_cmpuint(quits, ==, 1);
    g_string_truncate(console->text, 0);
    vc_type(base, "\001s");
    g_assert_nonnull(strstr(console->text->str, "nothing"));
    vc_type(base, "\001");
    vc_type(base, "c"); /* in two pieces; there is no other front end */
    g_assert_cmpstr(f.got->str, ==, "a\001bc");
    chr_mux_set_actions(NULL, NULL);
    chr_close(mux);
    front_free(&f);
}

static void test_mux_stamps(void)
{
    Chardev *base, *mux = open_mux(&base);
    Front f = front_new(UNLIMITED);

    front_attach(&f, mux);
    vc_type(base, "\001t");
    chr_write(mux, &f, "one\ntwo\nthr", 11);
    chr_write(mux, &f, "ee\n", 3);
    g_assert_cmpuint(console->text->len, ==, 14 + 2 * strlen("[00:00:00.000] "));
    g_assert_true(g_str_has_prefix(console->text->str, "one\n[00:00:0"));
    g_assert_nonnull(strstr(console->text->str, "] two\n["));
    g_assert_true(g_str_has_suffix(console->text->str, "] three\n"));
    chr_close(mux);
    front_free(&f);
}

/* A guest that does not read must not keep Ctrl-A c from the monitor. */
static void test_mux_stuck(void)
{
    Chardev *base, *mux = open_mux(&base);
    Front stuck = front_new(0), monitor = front_new(UNLIMITED);

    front_attach(&stuck, mux);
    front_attach(&monitor, mux);
    vc_type(base, "ls\r\001cinfo");
    g_assert_cmpstr(monitor.got->str, ==, "info");
    g_assert_cmpuint(stuck.got->len, ==, 0);
    front_room(&stuck, mux, 2);
    g_assert_cmpstr(stuck.got->str, ==, "ls");
    front_room(&stuck, mux, 2);
    g_assert_cmpstr(stuck.got->str, ==, "ls\r");
    vc_type(base, "\001c");
    for (unsigned i = 0; i < 100; i++) { /* the ring fills, nothing is lost up to there */
        g_autofree char *row = g_strnfill(100, 'r');
        vc_type(base, row);
    }
    g_string_truncate(stuck.got, 0);
    front_room(&stuck, mux, UNLIMITED);
    g_assert_cmpuint(stuck.got->len, >=, 4096);
    g_assert_cmpuint(stuck.got->len, <=, 4096 + 256 + 1);
    chr_close(mux);
    front_free(&stuck);
    front_free(&monitor);
}

/* Closing the base under a mux leaves a mux that drops everything. */
static void test_mux_base_closed(void)
{
    Chardev *base, *mux = open_mux(&base);
    Front f = front_new(UNLIMITED);
    front_attach(&f, mux);
    chr_close(base);
    g_assert_cmpuint(chr_write(mux, &f, "abc", 3), ==, 3);
    chr_write_all(mux, &f, "abc", 3);
    chr_accept_input(mux, &f);
    chr_detach(mux, &f);
    chr_close(mux);
    chr_set_vc_ops(NULL);
    front_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmrun-chardev-XXXXXX", NULL);
    g_test_add_func("/chardev/errors", test_errors);
    g_test_add_func("/chardev/none", test_none);
    g_test_add_func("/chardev/ids", test_ids);
    g_test_add_func("/chardev/one-front-end", test_one_front_end);
    g_test_add_func("/chardev/describe", test_describe);
    g_test_add_func("/chardev/null", test_null);
    g_test_add_func("/chardev/file", test_file);
    g_test_add_func("/chardev/full-disk", test_full_disk);
    g_test_add_func("/chardev/pipe", test_pipe);
    g_test_add_func("/chardev/pipe-full", test_pipe_full);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/vc", test_vc);
    g_test_add_func("/chardev/mux/focus", test_mux_focus);
    g_test_add_func("/chardev/mux/keys", test_mux_keys);
    g_test_add_func("/chardev/mux/stamps", test_mux_stamps);
    g_test_add_func("/chardev/mux/stuck", test_mux_stuck);
    g_test_add_func("/chardev/mux/base-closed", test_mux_base_closed);
    int result = run_tests();
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", dir);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    g_free(dir);
    return result;
}
