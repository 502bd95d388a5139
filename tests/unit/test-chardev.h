/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A front end that records, and waiting for the loop: for the tests of chardev/. */
#ifndef VMRUN_TESTS_UNIT_TEST_CHARDEV_H
#define VMRUN_TESTS_UNIT_TEST_CHARDEV_H

#include <string.h>

#include "chardev/chardev.h"
#include "util/timer.h"

#define UNLIMITED ((size_t)1 << 30)

typedef struct Front {
    GString *got;
    size_t room; /* what it takes until front_room() */
    unsigned opened, closed, breaks, mux_in, mux_out, writable;
} Front;

static size_t front_can_receive(void *opaque)
{
    return ((Front *)opaque)->room;
}

static void front_receive(void *opaque, const uint8_t *buf, size_t length)
{
    Front *f = opaque;
    g_assert_cmpuint(length, <=, f->room);
    f->room -= length;
    g_string_append_len(f->got, (const char *)buf, (gssize)length);
}

static void front_event(void *opaque, ChrEvent event)
{
    Front *f = opaque;
    f->opened += event == CHR_OPENED;
    f->closed += event == CHR_CLOSED;
    f->breaks += event == CHR_BREAK;
    f->mux_in += event == CHR_MUX_IN;
    f->mux_out += event == CHR_MUX_OUT;
    f->writable += event == CHR_WRITABLE;
}

static const ChrHandlers front_handlers = {front_can_receive, front_receive, front_event};

static inline Front front_new(size_t room)
{
    return (Front){.got = g_string_new(NULL), .room = room};
}

static inline void front_free(Front *f)
{
    g_string_free(f->got, TRUE);
}

static inline void front_attach(Front *f, Chardev *chr)
{
    GError *error = NULL;
    chr_attach(chr, &front_handlers, f, &error);
    g_assert_no_error(error);
}

static inline void front_room(Front *f, Chardev *chr, size_t room)
{
    f->room = room;
    chr_accept_input(chr, f);
}

static inline void test_give_up(void *opaque)
{
    *(bool *)opaque = true;
}

/* Dispatches until the condition holds; fails the test after ten seconds. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        bool late_ = false;                                                                        \
        Timer watchdog_ = {0};                                                                     \
        timer_init(&watchdog_, loop_main(), VM_CLOCK_HOST, test_give_up, &late_);                  \
        timer_arm(&watchdog_, clock_now(VM_CLOCK_HOST) + 10 * NS_PER_SEC);                         \
        while (!(condition)) {                                                                     \
            g_assert_false(late_);                                                                 \
            loop_step(loop_main(), true);                                                          \
        }                                                                                          \
        timer_cancel(&watchdog_);                                                                  \
    } while (0)

/* Dispatches what is ready now, a few rounds; fails if the loop never comes to rest. */
static inline void settle(void)
{
    unsigned rounds = 0;
    while (loop_step(loop_main(), false))
        g_assert_cmpuint(rounds++, <, 1000);
}

static inline Chardev *open_short(const char *spec, const char *id)
{
    GError *error = NULL;
    Chardev *chr = chr_open("-serial", spec, id, &error);
    g_assert_no_error(error);
    g_assert_nonnull(chr);
    return chr;
}

static inline Chardev *open_long(const char *text)
{
    GError *error = NULL;
    g_autoptr(Options) opts = options_parse("-chardev", text, "backend", NULL, &error);
    g_assert_no_error(error);
    Chardev *chr = chr_open_options(opts, &error);
    g_assert_no_error(error);
    return chr;
}

static inline void assert_fails(const char *spec, const char *words)
{
    GError *error = NULL;
    g_assert_null(chr_open("-serial", spec, "bad", &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, words))
        g_error("'%s' is not in '%s'", words, error->message);
    g_assert_nonnull(strstr(error->message, "-serial"));
    g_clear_error(&error);
    g_assert_null(chr_find("bad"));
}

static inline void assert_long_fails(const char *text, const char *words)
{
    GError *error = NULL;
    g_autoptr(Options) opts = options_parse("-chardev", text, "backend", NULL, &error);
    g_assert_no_error(error);
    g_assert_null(chr_open_options(opts, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, words))
        g_error("'%s' is not in '%s'", words, error->message);
    g_clear_error(&error);
}

static inline int run_tests(void)
{
    loop_lock(loop_main());
    int result = g_test_run();
    chr_close_all();
    loop_unlock(loop_main());
    return result;
}

#endif
