/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving the terminal back on every way out; apart because <term.h> defines words like `columns`.
 */
#ifndef VMRUN_UI_CURSES_RESTORE_H
#define VMRUN_UI_CURSES_RESTORE_H

/* Before curses starts: remembers the line settings. */
void curses_save_terminal(void);
/* After: from now on exit() and fatal signals restore the terminal, too. */
void curses_restore_prepare(void);
/* Ends curses' hold on the terminal; idempotent. */
void curses_restore(void);
/* Sets the title of the terminal's window if it has one. */
void curses_set_title(const char *title);

#endif
