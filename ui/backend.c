/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the window and the terminal share: refresh rate, keys of characters, the title. */
#include "backend.h"

#include <string.h>

#include "hw/core/machine.h"

#define AWAKE_NS (NS_PER_SEC)

bool ui_pace_wake(UiPace *pace)
{
    bool slow = pace->interval > UI_PACE_MIN;
    pace->awake_until = clock_now(VM_CLOCK_HOST) + AWAKE_NS;
    pace->interval = UI_PACE_MIN;
    return slow;
}

int64_t ui_pace_next(UiPace *pace, uint64_t changed, uint64_t all)
{
    int64_t now = clock_now(VM_CLOCK_HOST);
    /* A blinking cursor, or a clock in a corner, is no reason to hurry. */
    if (changed > all / 200 || now < pace->awake_until)
        pace->interval = UI_PACE_MIN;
    else
        pace->interval = CLAMP(pace->interval * 5 / 4, UI_PACE_MIN, UI_PACE_MAX);
    return now + pace->interval;
}

unsigned ui_ascii_keys(unsigned character, KeyCode keys[2])
{
    static const char plain[] = "1234567890-=qwertyuiop[]asdfghjkl;'`\\zxcvbnm,./ ";
    static const char shifted[] = "!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"~|ZXCVBNM<>?";
    static const uint8_t codes[] = {
        0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d,
        0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b,
        0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
        0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x39,
    };
    G_STATIC_ASSERT(sizeof(plain) - 1 == sizeof(codes) && sizeof(shifted) == sizeof(plain) - 1);

    if (character == 0 || character > 0x7e)
        return 0;
    const char *at = strchr(plain, (int)character);
    if (at) {
        keys[0] = codes[at - plain];
        return 1;
    }
    at = strchr(shifted, (int)character);
    if (at) {
        keys[0] = key_from_name("shift");
        keys[1] = codes[at - shifted];
        return 2;
    }
    at = strchr(plain, g_ascii_tolower((char)(character | 0x40)));
    if (character < 0x20 && at) {
        keys[0] = key_from_name("ctrl");
        keys[1] = codes[at - plain];
        return 2;
    }
    return 0;
}

char *ui_title(const Machine *machine, const UiOptions *options)
{
    const char *name = options->window_title ? options->window_title : machine->name;
    GString *title = g_string_new("vmrun");
    if (name)
        g_string_append_printf(title, " (%s)", name);
    if (machine->status == MACHINE_PAUSED || machine->status == MACHINE_CREATED)
        g_string_append(title, " [Paused]");
    else if (machine->status != MACHINE_RUNNING)
        g_string_append_printf(title, " [%s]", machine_status_name(machine->status));
    return g_string_free(title, FALSE);
}
