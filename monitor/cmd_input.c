/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that press keys, move the mouse and save the screen. */
#include <errno.h>
#include <stdlib.h>

#include "monitor_private.h"
#include "ui/display.h"
#include "ui/input.h"

void mon_sendkey(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    unsigned hold = (unsigned)MIN(values[1].number, 60000);
    if (!input_send_keys(values[0].text, hold, &error))
        mon_error(mon, error);
}

static bool parse_step(Monitor *mon, const char *text, int *step)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 0);
    if (errno || *end || end == text || value < -32768 || value > 32767) {
        monitor_printf(mon, "Error: '%s' must be a number from -32768 to 32767\n", text);
        return false;
    }
    *step = (int)value;
    return true;
}

void mon_mouse_move(Monitor *mon, const MonValue *values)
{
    int dx, dy, dz = 0;

    if (!parse_step(mon, values[0].text, &dx) || !parse_step(mon, values[1].text, &dy) ||
        (values[2].text && !parse_step(mon, values[2].text, &dz)))
        return;
    input_move(dx, dy, dz);
    input_sync();
}

void mon_mouse_button(Monitor *mon, const MonValue *values)
{
    static const InputButton buttons[] = {BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT};
    static unsigned pressed; /* by any monitor: there is one mouse */
    unsigned state = (unsigned)values[0].number & 7, changed = state ^ pressed;

    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++)
        if (changed & 1u << i)
            input_button(buttons[i], state & 1u << i);
    pressed = state;
    input_sync();
}

void mon_screendump(Monitor *mon, const MonValue *values)
{
    Display *display = display_nth(0);
    GError *error = NULL;

    for (unsigned n = 0; values[1].text && (display = display_nth(n)); n++)
        if (!strcmp(display_name(display), values[1].text))
            break;
    if (!display && values[1].text)
        monitor_printf(mon, "Error: there is no screen '%s'\n", values[1].text);
    else if (!display)
        monitor_printf(mon, "Error: there is no console to take a screendump from\n");
    else if (!display_screendump(display, values[0].text, &error))
        mon_error(mon, error);
}
