/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A line editor for a terminal at the other end of a byte stream: cursor keys, history, completion.
 *
 *     Left Right Ctrl-B Ctrl-F       move            Backspace Delete Ctrl-D   delete
 *     Home End Ctrl-A Ctrl-E         line's ends     Ctrl-K Ctrl-U             to the end, to the
 * start Ctrl-Left Ctrl-Right Alt-B -F  words           Ctrl-W Alt-D              words Up Down
 * Ctrl-P Ctrl-N          history         Ctrl-Y                    what was cut last Tab completion
 * Ctrl-L Ctrl-C             redraw; drop the line
 *
 * It knows nothing of what is edited; text is UTF-8.
 */
#ifndef VMRUN_MONITOR_LINE_EDITOR_H
#define VMRUN_MONITOR_LINE_EDITOR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define LINE_MAX_BYTES   4095
#define LINE_HISTORY_MAX 64

typedef struct LineEditor LineEditor;

typedef struct LineEditorOps {
    /* To the terminal. */
    void (*write)(void *opaque, const char *text, size_t length);
    /* A finished line.  The prompt of the next follows after it returned. */
    void (*line)(void *opaque, const char *line);
    /* Adds to words (g_strdup'ed) what could stand in the place of the word that ends at the end of
     * text, and returns that word's start. */
    size_t (*complete)(void *opaque, const char *text, GPtrArray *words);
} LineEditorOps;

/* prompt is not copied. */
LineEditor *line_editor_new(const char *prompt, const LineEditorOps *ops, void *opaque);
void line_editor_free(LineEditor *editor);
/* Shows the prompt and what has been typed so far. */
void line_editor_show(LineEditor *editor);
/* on: there is no prompt, since a command is still under way, until it is off again. */
void line_editor_wait(LineEditor *editor, bool on);
/* Forgets the line under way. */
void line_editor_reset(LineEditor *editor);
/* One byte that was typed. */
void line_editor_feed(LineEditor *editor, uint8_t byte);
/* Lines of before, oldest first; NULL past the end. */
const char *line_editor_history(const LineEditor *editor, unsigned n);

#endif
