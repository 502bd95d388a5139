/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * monitor/line_editor.h: keys, history, completion.  A small terminal draws what the editor sends,
 * so that the tests see what a person would see.
 */
#include "../../monitor/line_editor.h"

#include <string.h>

#define WIDTH 200

typedef struct Terminal {
    char line[WIDTH + 1]; /* the last line, one byte a character */
    unsigned x;
    GPtrArray *finished; /* lines as the editor handed them out */
    GString *raw;
} Terminal;

/* ---- A terminal of one line ---- */

static void terminal_sequence(Terminal *t, char final, unsigned n)
{
    switch (final) {
    case 'C':
        t->x += n;
        break;
    case 'D':
        g_assert_cmpuint(t->x, >=, n);
        t->x -= n;
        break;
    case 'K':
        memset(t->line + t->x, ' ', WIDTH - t->x);
        break;
    case 'H':
    case 'J':
        memset(t->line, ' ', WIDTH);
        t->x = 0;
        break;
    default:
        g_assert_not_reached();
    }
}

static void terminal_write(void *opaque, const char *text, size_t length)
{
    Terminal *t = opaque;

    g_string_append_len(t->raw, text, (gssize)length);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\033') {
            unsigned n = 0;
            g_assert_cmpint(text[++i], ==, '[');
            while (g_ascii_isdigit(text[++i]))
                n = n * 10 + (unsigned)(text[i] - '0');
            terminal_sequence(t, text[i], n ? n : 1);
        } else if (text[i] == '\n') {
            memset(t->line, ' ', WIDTH);
        } else if (text[i] == '\r') {
            t->x = 0;
        } else if (((guint8)text[i] & 0xc0) != 0x80) { /* bytes that follow in UTF-8 take no room */
            g_assert_cmpuint(t->x, <, WIDTH);
            t->line[t->x++] = text[i];
        }
    }
}

static void terminal_line(void *opaque, const char *line)
{
    Terminal *t = opaque;
    g_ptr_array_add(t->finished, g_strdup(line));
}

static size_t terminal_complete(void *opaque, const char *text, GPtrArray *words)
{
    static const char *const all[] = {"info", "install", "quit", "dir/", "ctrl-", NULL};
    const char *space = strrchr(text, ' '), *typed = space ? space + 1 : text;

    for (unsigned i = 0; all[i]; i++)
        if (g_str_has_prefix(all[i], typed))
            g_ptr_array_add(words, g_strdup(all[i]));
    return (size_t)(typed - text);
}

static const LineEditorOps ops = {terminal_write, terminal_line, terminal_complete};

typedef struct Fixture {
    Terminal t;
    LineEditor *editor;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    memset(f->t.line, ' ', WIDTH);
    f->t.finished = g_ptr_array_new_with_free_func(g_free);
    f->t.raw = g_string_new(NULL);
    f->editor = line_editor_new("> ", &ops, &f->t);
    line_editor_show(f->editor);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    line_editor_free(f->editor);
    g_ptr_array_free(f->t.finished, TRUE);
    g_string_free(f->t.raw, TRUE);
}

static void feed(Fixture *f, const char *keys)
{
    for (; *keys; keys++)
        line_editor_feed(f->editor, (uint8_t)*keys);
}

/* '|' in expected is the cursor; the prompt is left out. */
static void expect(Fixture *f, const char *expected)
{
    g_autoptr(GString) seen = g_string_new_len(f->t.line, WIDTH);
    g_string_insert_c(seen, f->t.x, '|');
    g_autofree char *shown = g_strchomp(g_strdup(seen->str));
    g_autofree char *wanted = g_strconcat("> ", expected, NULL);
    g_assert_cmpstr(shown, ==, wanted);
}

static const char *finished(Fixture *f, unsigned n)
{
    g_assert_cmpuint(n, <, f->t.finished->len);
    return g_ptr_array_index(f->t.finished, n);
}

#define LEFT       "\033[D"
#define RIGHT      "\033[C"
#define UP         "\033[A"
#define DOWN       "\033[B"
#define CTRL(c)    ((const char[]){(c)&31, 0})
#define CTRL_LEFT  "\033[1;5D"
#define CTRL_RIGHT "\033[1;5C"

/* ---- Tests ---- */

static void test_typing(Fixture *f, gconstpointer data)
{
    feed(f, "help");
    expect(f, "help|");
    /* Appending sends the letters and nothing else: logs of scripts stay readable. */
    g_assert_cmpstr(f->t.raw->str, ==, "> help");
    feed(f, "\r");
    g_assert_cmpstr(finished(f, 0), ==, "help");
    expect(f, "|");
    feed(f, "\r");
    g_assert_cmpstr(finished(f, 1), ==, "");
}

static void test_newlines(Fixture *f, gconstpointer data)
{
    feed(f, "a\r\nb\nc\r\rd\n\n");
    g_assert_cmpuint(f->t.finished->len, ==, 6);
    g_assert_cmpstr(finished(f, 0), ==, "a");
    g_assert_cmpstr(finished(f, 1), ==, "b");
    g_assert_cmpstr(finished(f, 2), ==, "c");
    g_assert_cmpstr(finished(f, 3), ==, "");
    g_assert_cmpstr(finished(f, 4), ==, "d");
}

static void test_moving(Fixture *f, gconstpointer data)
{
    feed(f, "one two" LEFT LEFT LEFT "X");
    expect(f, "one X|two");
    feed(f, RIGHT RIGHT RIGHT RIGHT RIGHT "!");
    expect(f, "one Xtwo!|");
    feed(f, CTRL('A'));
    feed(f, LEFT "<");
    expect(f, "<|one Xtwo!");
    feed(f, CTRL('E'));
    expect(f, "<one Xtwo!|");
    feed(f, "\033[H");
    expect(f, "|<one Xtwo!");
    feed(f, "\033OF");
    expect(f, "<one Xtwo!|");
    feed(f, "\033[1~");
    expect(f, "|<one Xtwo!");
    feed(f, "\033[4~");
    feed(f, CTRL('B'));
    expect(f, "<one Xtwo|!");
    feed(f, CTRL('F'));
    expect(f, "<one Xtwo!|");
}

static void test_words(Fixture *f, gconstpointer data)
{
    feed(f, "info block -v ide0" CTRL_LEFT);
    expect(f, "info block -v |ide0");
    feed(f, "\033b\033b");
    expect(f, "info |block -v ide0");
    feed(f, CTRL_RIGHT);
    expect(f, "info block| -v ide0");
    feed(f, "\033f");
    expect(f, "info block -v| ide0");
    feed(f, "\033d");
    expect(f, "info block -v|");
    feed(f, CTRL('W'));
    expect(f, "info block |");
    feed(f, "/dir/file");
    feed(f, CTRL('W'));
    expect(f, "info block |");
    feed(f, CTRL('Y'));
    expect(f, "info block /dir/file|");
    feed(f, "\033\177");
    expect(f, "info block /dir/|");
}

static void test_deleting(Fixture *f, gconstpointer data)
{
    feed(f, "abcdef\177");
    expect(f, "abcde|");
    feed(f, LEFT LEFT "\b");
    expect(f, "ab|de");
    feed(f, CTRL('D'));
    expect(f, "ab|e");
    feed(f, "\033[3~");
    expect(f, "ab|");
    feed(f, "\033[3~");
    expect(f, "ab|");
    feed(f, LEFT);
    feed(f, CTRL('K'));
    expect(f, "a|");
    feed(f, "bcd" LEFT);
    feed(f, CTRL('U'));
    expect(f, "|d");
    feed(f, CTRL('Y'));
    expect(f, "abc|d");
    feed(f, CTRL('A'));
    feed(f, "\177\b");
    expect(f, "|abcd");
    feed(f, CTRL('C'));
    expect(f, "|");
    g_assert_cmpuint(f->t.finished->len, ==, 0);
}

static void test_utf8(Fixture *f, gconstpointer data)
{
    feed(f, "a\xc3\xa4\xe2\x82\xac" LEFT);
    g_assert_cmpuint(f->t.x, ==, 2 + 2);
    feed(f, LEFT "x\033[3~\r");
    g_assert_cmpstr(finished(f, 0), ==, "ax\xe2\x82\xac");
}

static void test_history(Fixture *f, gconstpointer data)
{
    feed(f, "one\rtwo\rthree\r\r");
    feed(f, "half" UP);
    expect(f, "three|");
    feed(f, UP);
    feed(f, CTRL('P'));
    feed(f, UP);
    expect(f, "one|");
    feed(f, DOWN);
    expect(f, "two|");
    feed(f, CTRL('N'));
    feed(f, DOWN DOWN);
    expect(f, "half|");
    feed(f, CTRL('U'));
    /* A line used again moves to the end. */
    feed(f, "one\r");
    g_assert_cmpstr(line_editor_history(f->editor, 0), ==, "two");
    g_assert_cmpstr(line_editor_history(f->editor, 2), ==, "one");
    g_assert_null(line_editor_history(f->editor, 3));
    feed(f, UP UP "!\r");
    g_assert_cmpstr(finished(f, 5), ==, "three!");
}

static void test_history_limit(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 2 * LINE_HISTORY_MAX; i++) {
        g_autofree char *line = g_strdup_printf("line %u\r", i);
        feed(f, line);
    }
    g_autofree char *oldest = g_strdup_printf("line %u", LINE_HISTORY_MAX);
    g_assert_cmpstr(line_editor_history(f->editor, 0), ==, oldest);
    g_assert_null(line_editor_history(f->editor, LINE_HISTORY_MAX));
}

static void test_completion(Fixture *f, gconstpointer data)
{
    feed(f, "q\t");
    expect(f, "quit |");
    feed(f, "in\t");
    expect(f, "quit in|");
    g_string_truncate(f->t.raw, 0);
    feed(f, "\t");
    g_assert_nonnull(strstr(f->t.raw->str, "info"));
    g_assert_nonnull(strstr(f->t.raw->str, "install"));
    expect(f, "quit in|");
    feed(f, "f\t");
    expect(f, "quit info |");
    feed(f, "d\t");
    expect(f, "quit info dir/|");
    feed(f, " c\t");
    expect(f, "quit info dir/ ctrl-|");
    feed(f, " zzz\t");
    expect(f, "quit info dir/ ctrl- zzz|");
    /* In the middle of a line. */
    feed(f, CTRL('U'));
    feed(f, "ins x" LEFT LEFT "\t");
    expect(f, "install| x");
}

static void test_redraw(Fixture *f, gconstpointer data)
{
    feed(f, "abc" LEFT);
    feed(f, CTRL('L'));
    expect(f, "ab|c");
    line_editor_reset(f->editor);
    feed(f, "\r");
    g_assert_cmpstr(finished(f, 0), ==, "");
}

/* Unknown sequences and garbage leave the line as it is, and too much text is not taken. */
static void test_hostile(Fixture *f, gconstpointer data)
{
    feed(f, "ab\033[99999999999999999999;5;7;9z\033[5~\033Oz\033[\x01\033zc");
    expect(f, "abc|");
    feed(f, CTRL('U'));
    GRand *rand = g_rand_new_with_seed(1);
    LineEditor *editor = line_editor_new(
        "> ", &(LineEditorOps){terminal_write, terminal_line, terminal_complete}, &f->t);
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)g_rand_int_range(rand, 0, 256);
        f->t.x = MIN(f->t.x, WIDTH - 100);
        line_editor_feed(editor, byte & 0x80 ? 27 : byte);
        if (i % 64 == 0) {
            line_editor_feed(editor, 'C' & 31);
        }
    }
    line_editor_free(editor);
    g_rand_free(rand);
}

static void discard(void *opaque, const char *text, size_t length)
{
}

static void test_too_long(Fixture *f, gconstpointer data)
{
    static const LineEditorOps quiet = {discard, terminal_line, terminal_complete};
    LineEditor *editor = line_editor_new("> ", &quiet, &f->t);
    for (unsigned i = 0; i < 3 * LINE_MAX_BYTES; i++)
        line_editor_feed(editor, 'x');
    line_editor_feed(editor, '\r');
    g_assert_cmpuint(strlen(finished(f, 0)), ==, LINE_MAX_BYTES);
    line_editor_free(editor);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"typing", test_typing},         {"newlines", test_newlines},
        {"moving", test_moving},         {"words", test_words},
        {"deleting", test_deleting},     {"utf8", test_utf8},
        {"history", test_history},       {"history-limit", test_history_limit},
        {"completion", test_completion}, {"redraw", test_redraw},
        {"hostile", test_hostile},       {"too-long", test_too_long},
    };
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/line-editor/", tests[i].name, NULL);
        g_test_add(path, Fixture, NULL, set_up, tests[i].fn, tear_down);
    }
    return g_test_run();
}
