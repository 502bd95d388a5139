/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The line editor.  Escape sequences: ECMA-48, and xterm's names of keys. */
#include "line_editor.h"

#include <stdbool.h>
#include <string.h>

typedef enum { PLAIN, AFTER_ESC, IN_CSI, AFTER_SS3 } InputState;

struct LineEditor {
    const char *prompt;
    bool waiting; /* no prompt now */
    const LineEditorOps *ops;
    void *opaque;

    GString *text;
    size_t cursor; /* byte in text, always at the start of a character */
    GString *cut;

    GPtrArray *history;  /* of char *, oldest first */
    unsigned history_at; /* history->len: the new line */
    char *unfinished;    /* the new line while an old one is shown */

    InputState state;
    unsigned csi_params[2];
    unsigned csi_count;
    bool after_cr; /* CR LF ends one line, not two */
};

LineEditor *line_editor_new(const char *prompt, const LineEditorOps *ops, void *opaque)
{
    LineEditor *editor = g_new0(LineEditor, 1);
    editor->prompt = prompt;
    editor->ops = ops;
    editor->opaque = opaque;
    editor->text = g_string_new(NULL);
    editor->cut = g_string_new(NULL);
    editor->history = g_ptr_array_new_with_free_func(g_free);
    return editor;
}

void line_editor_free(LineEditor *editor)
{
    if (!editor)
        return;
    g_string_free(editor->text, TRUE);
    g_string_free(editor->cut, TRUE);
    g_ptr_array_free(editor->history, TRUE);
    g_free(editor->unfinished);
    g_free(editor);
}

/* ---- Characters ---- */

static bool is_continuation(char c)
{
    return ((uint8_t)c & 0xc0) == 0x80;
}

static size_t before(const LineEditor *editor, size_t at)
{
    while (at > 0 && is_continuation(editor->text->str[--at]))
        ;
    return at;
}

static size_t after(const LineEditor *editor, size_t at)
{
    if (at < editor->text->len)
        at++;
    while (at < editor->text->len && is_continuation(editor->text->str[at]))
        at++;
    return at;
}

static bool is_word(char c)
{
    return g_ascii_isalnum(c) || c == '_' || ((uint8_t)c & 0x80);
}

static size_t word_before(const LineEditor *editor, size_t at)
{
    const char *text = editor->text->str;
    while (at > 0 && !is_word(text[at - 1]))
        at--;
    while (at > 0 && is_word(text[at - 1]))
        at--;
    return at;
}

static size_t word_after(const LineEditor *editor, size_t at)
{
    const char *text = editor->text->str;
    while (at < editor->text->len && !is_word(text[at]))
        at++;
    while (at < editor->text->len && is_word(text[at]))
        at++;
    return at;
}

/* Characters in [start, end). */
static unsigned columns(const LineEditor *editor, size_t start, size_t end)
{
    unsigned count = 0;
    for (size_t i = start; i < end; i++)
        count += !is_continuation(editor->text->str[i]);
    return count;
}

/* ---- Terminal ---- */

static void out(LineEditor *editor, const char *text)
{
    editor->ops->write(editor->opaque, text, strlen(text));
}

static void move_columns(LineEditor *editor, unsigned count, char direction)
{
    char sequence[16];
    if (!count)
        return;
    g_snprintf(sequence, sizeof(sequence), "\033[%u%c", count, direction);
    out(editor, sequence);
}

static void move_to(LineEditor *editor, size_t at)
{
    if (at < editor->cursor)
        move_columns(editor, columns(editor, at, editor->cursor), 'D');
    else
        move_columns(editor, columns(editor, editor->cursor, at), 'C');
    editor->cursor = at;
}

/* The text from the cursor on has changed. */
static void redraw_tail(LineEditor *editor)
{
    out(editor, editor->text->str + editor->cursor);
    out(editor, "\033[K");
    move_columns(editor, columns(editor, editor->cursor, editor->text->len), 'D');
}

void line_editor_wait(LineEditor *editor, bool on)
{
    editor->waiting = on;
}

void line_editor_show(LineEditor *editor)
{
    if (editor->waiting)
        return;
    out(editor, editor->prompt);
    out(editor, editor->text->str);
    move_columns(editor, columns(editor, editor->cursor, editor->text->len), 'D');
}

/* ---- Editing ---- */

static void insert(LineEditor *editor, const char *text, size_t length)
{
    if (editor->text->len + length > LINE_MAX_BYTES)
        return;
    bool at_end = editor->cursor == editor->text->len;
    g_string_insert_len(editor->text, (gssize)editor->cursor, text, (gssize)length);
    editor->ops->write(editor->opaque, text, length);
    editor->cursor += length;
    if (!at_end)
        redraw_tail(editor);
}

/* Deletes [start, end), one of which is the cursor. */
static void erase(LineEditor *editor, size_t start, size_t end, bool keep)
{
    if (start == end)
        return;
    if (keep) {
        g_string_truncate(editor->cut, 0);
        g_string_append_len(editor->cut, editor->text->str + start, (gssize)(end - start));
    }
    move_to(editor, start);
    g_string_erase(editor->text, (gssize)start, (gssize)(end - start));
    redraw_tail(editor);
}

static void replace_line(LineEditor *editor, const char *text)
{
    move_to(editor, 0);
    g_string_assign(editor->text, text);
    out(editor, text);
    out(editor, "\033[K");
    editor->cursor = editor->text->len;
}

void line_editor_reset(LineEditor *editor)
{
    g_string_truncate(editor->text, 0);
    editor->cursor = 0;
    editor->history_at = editor->history->len;
    editor->state = PLAIN;
    g_clear_pointer(&editor->unfinished, g_free);
}

/* ---- History ---- */

const char *line_editor_history(const LineEditor *editor, unsigned n)
{
    return n < editor->history->len ? g_ptr_array_index(editor->history, n) : NULL;
}

/* A line that was there before moves to the end. */
static void remember(LineEditor *editor, const char *line)
{
    if (!*line)
        return;
    for (unsigned i = 0; i < editor->history->len; i++) {
        if (!strcmp(g_ptr_array_index(editor->history, i), line)) {
            g_ptr_array_remove_index(editor->history, i);
            break;
        }
    }
    if (editor->history->len == LINE_HISTORY_MAX)
        g_ptr_array_remove_index(editor->history, 0);
    g_ptr_array_add(editor->history, g_strdup(line));
}

static void go_in_history(LineEditor *editor, int step)
{
    unsigned newest = editor->history->len;

    if ((step < 0 && editor->history_at == 0) || (step > 0 && editor->history_at >= newest))
        return;
    if (editor->history_at == newest) {
        g_free(editor->unfinished);
        editor->unfinished = g_strdup(editor->text->str);
    }
    editor->history_at += (unsigned)step;
    if (editor->history_at == newest)
        replace_line(editor, editor->unfinished ? editor->unfinished : "");
    else
        replace_line(editor, g_ptr_array_index(editor->history, editor->history_at));
}

/* ---- Completion ---- */

static size_t common_prefix(const GPtrArray *words)
{
    const char *first = g_ptr_array_index(words, 0);
    size_t length = strlen(first);

    for (unsigned i = 1; i < words->len; i++) {
        const char *word = g_ptr_array_index(words, i);
        size_t same = 0;
        while (same < length && word[same] == first[same])
            same++;
        length = same;
    }
    while (length > 0 && is_continuation(first[length]))
        length--;
    return length;
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void list_words(LineEditor *editor, GPtrArray *words)
{
    size_t width = 0;

    for (unsigned i = 0; i < words->len; i++)
        width = MAX(width, strlen(g_ptr_array_index(words, i)) + 2);
    width = MIN(width, 80);
    unsigned per_line = (unsigned)MAX(80 / width, 1);
    for (unsigned i = 0; i < words->len; i++) {
        g_autofree char *cell = g_strdup_printf("%s%-*s", i % per_line ? "" : "\r\n", (int)width,
                                                (char *)g_ptr_array_index(words, i));
        out(editor, cell);
    }
    out(editor, "\r\n");
    line_editor_show(editor);
}

static void complete(LineEditor *editor)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *text = g_strndup(editor->text->str, editor->cursor);
    size_t start = editor->ops->complete(editor->opaque, text, words);

    if (!words->len || start > editor->cursor)
        return;
    g_ptr_array_sort(words, compare_words);
    size_t typed = editor->cursor - start, common = common_prefix(words);
    const char *first = g_ptr_array_index(words, 0);
    if (common > typed)
        insert(editor, first + typed, common - typed);
    if (words->len == 1) {
        char last = *first ? first[strlen(first) - 1] : 0;
        if (last != '/' && last != '-' && editor->cursor == editor->text->len)
            insert(editor, " ", 1);
    } else if (common <= typed) {
        list_words(editor, words);
    }
}

/* ---- Keys ---- */

static void finish(LineEditor *editor)
{
    g_autofree char *line = g_strdup(editor->text->str);

    out(editor, "\r\n");
    remember(editor, line);
    line_editor_reset(editor);
    editor->ops->line(editor->opaque, line);
    line_editor_show(editor);
}

static void drop_line(LineEditor *editor)
{
    out(editor, "^C\r\n");
    line_editor_reset(editor);
    line_editor_show(editor);
}

static void erase_word_before(LineEditor *editor)
{
    /* As shells do: up to white space, so that a whole path goes. */
    size_t start = editor->cursor;
    while (start > 0 && editor->text->str[start - 1] == ' ')
        start--;
    while (start > 0 && editor->text->str[start - 1] != ' ')
        start--;
    erase(editor, start, editor->cursor, true);
}

static void control_key(LineEditor *editor, uint8_t byte)
{
    size_t end = editor->text->len;

    switch (byte) {
    case 'A' & 31:
        move_to(editor, 0);
        break;
    case 'B' & 31:
        move_to(editor, before(editor, editor->cursor));
        break;
    case 'C' & 31:
        drop_line(editor);
        break;
    case 'D' & 31:
        erase(editor, editor->cursor, after(editor, editor->cursor), false);
        break;
    case 'E' & 31:
        move_to(editor, end);
        break;
    case 'F' & 31:
        move_to(editor, after(editor, editor->cursor));
        break;
    case '\b':
    case 127:
        erase(editor, before(editor, editor->cursor), editor->cursor, false);
        break;
    case '\t':
        complete(editor);
        break;
    case 'K' & 31:
        erase(editor, editor->cursor, end, true);
        break;
    case 'L' & 31:
        out(editor, "\033[H\033[J");
        line_editor_show(editor);
        break;
    case '\n':
    case '\r':
        finish(editor);
        break;
    case 'N' & 31:
        go_in_history(editor, 1);
        break;
    case 'P' & 31:
        go_in_history(editor, -1);
        break;
    case 'U' & 31:
        erase(editor, 0, editor->cursor, true);
        break;
    case 'W' & 31:
        erase_word_before(editor);
        break;
    case 'Y' & 31:
        insert(editor, editor->cut->str, editor->cut->len);
        break;
    case 27:
        editor->state = AFTER_ESC;
        break;
    }
}

static void alt_key(LineEditor *editor, uint8_t byte)
{
    editor->state = PLAIN;
    switch (byte) {
    case '[':
        editor->state = IN_CSI;
        editor->csi_count = 0;
        editor->csi_params[0] = editor->csi_params[1] = 0;
        break;
    case 'O':
        editor->state = AFTER_SS3;
        break;
    case 'b':
        move_to(editor, word_before(editor, editor->cursor));
        break;
    case 'f':
        move_to(editor, word_after(editor, editor->cursor));
        break;
    case 'd':
        erase(editor, editor->cursor, word_after(editor, editor->cursor), true);
        break;
    case 127:
    case '\b':
        erase(editor, word_before(editor, editor->cursor), editor->cursor, true);
        break;
    }
}

/* The numbers of "ESC [ n ~". */
static void numbered_key(LineEditor *editor, unsigned number)
{
    switch (number) {
    case 1:
    case 7:
        move_to(editor, 0);
        break;
    case 3:
        erase(editor, editor->cursor, after(editor, editor->cursor), false);
        break;
    case 4:
    case 8:
        move_to(editor, editor->text->len);
        break;
    }
}

/* The final byte of "ESC [ ... X" or "ESC O X". */
static void named_key(LineEditor *editor, uint8_t byte)
{
    bool words = editor->csi_count > 1 || editor->csi_params[1] > 1; /* with Ctrl or Alt */

    editor->state = PLAIN;
    switch (byte) {
    case 'A':
        go_in_history(editor, -1);
        break;
    case 'B':
        go_in_history(editor, 1);
        break;
    case 'C':
        move_to(editor, words ? word_after(editor, editor->cursor) : after(editor, editor->cursor));
        break;
    case 'D':
        move_to(editor,
                words ? word_before(editor, editor->cursor) : before(editor, editor->cursor));
        break;
    case 'F':
        move_to(editor, editor->text->len);
        break;
    case 'H':
        move_to(editor, 0);
        break;
    case '~':
        numbered_key(editor, editor->csi_params[0]);
        break;
    }
}

static void csi_byte(LineEditor *editor, uint8_t byte)
{
    if (g_ascii_isdigit(byte)) {
        unsigned *param = &editor->csi_params[MIN(editor->csi_count, 1)];
        *param = MIN(*param * 10 + byte - '0', 1000);
    } else if (byte == ';') {
        editor->csi_count++;
    } else if (byte >= 0x40 && byte <= 0x7e) {
        named_key(editor, byte);
    } else if (byte < 0x20 || byte > 0x7e) {
        editor->state = PLAIN; /* no sequence at all */
    }
}

void line_editor_feed(LineEditor *editor, uint8_t byte)
{
    bool after_cr = editor->after_cr;
    char c = (char)byte;

    editor->after_cr = byte == '\r';
    if (byte == '\n' && after_cr)
        return;
    switch (editor->state) {
    case PLAIN:
        if (byte < 32 || byte == 127)
            control_key(editor, byte);
        else
            insert(editor, &c, 1);
        break;
    case AFTER_ESC:
        alt_key(editor, byte);
        break;
    case IN_CSI:
        csi_byte(editor, byte);
        break;
    case AFTER_SS3:
        editor->csi_count = editor->csi_params[1] = 0;
        named_key(editor, byte);
        break;
    }
}
