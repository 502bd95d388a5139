/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Routes key and pointer events to the guest's devices, and types key combinations. */
#include "ui/input.h"

#include <string.h>

#include "util/error.h"
#include "util/options.h"
#include "util/timer.h"

#define KEY_LIMIT       (KEY_PRINT + 1)
#define COMBINATION_MAX 16
#define HOLD_MS         100
/* Between two combinations, so that a key that comes twice is let go in between. */
#define GAP_MS     10
#define TYPING_MAX 4096

typedef struct Handler {
    const InputOps *ops;
    void *opaque;
} Handler;

typedef struct Combination {
    KeyCode keys[COMBINATION_MAX];
    unsigned count;
    unsigned hold_ms;
} Combination;

static GArray *handlers; /* of Handler, in order of registration */
static bool keys_down[KEY_LIMIT];
static unsigned leds;
static bool leds_set;
static GQueue typing = G_QUEUE_INIT; /* of Combination; the first may be held down */
static bool typing_held;
static Timer typing_timer;

void input_register(const InputOps *ops, void *opaque)
{
    Handler handler = {ops, opaque};
    if (!handlers)
        handlers = g_array_new(FALSE, FALSE, sizeof(Handler));
    g_array_append_val(handlers, handler);
}

/* Nobody is left to type for. */
static void forget_typing(void)
{
    timer_cancel(&typing_timer);
    g_queue_clear_full(&typing, g_free);
    typing_held = false;
    memset(keys_down, 0, sizeof(keys_down));
    leds = 0;
    leds_set = false;
}

void input_unregister(void *opaque)
{
    for (guint i = 0; handlers && i < handlers->len; i++) {
        if (g_array_index(handlers, Handler, i).opaque == opaque)
            g_array_remove_index(handlers, i--);
    }
    if (handlers && handlers->len == 0) {
        g_clear_pointer(&handlers, g_array_unref);
        forget_typing();
    }
}

/* The last registered handler that `wants` accepts. */
static const Handler *find(bool (*wants)(const InputOps *ops))
{
    for (guint i = handlers ? handlers->len : 0; i > 0; i--) {
        const Handler *handler = &g_array_index(handlers, Handler, i - 1);
        if (wants(handler->ops))
            return handler;
    }
    return NULL;
}

static bool wants_key(const InputOps *ops)
{
    return ops->key;
}
static bool wants_move(const InputOps *ops)
{
    return ops->move;
}
static bool wants_position(const InputOps *ops)
{
    return ops->absolute && ops->position;
}
static bool wants_absolute_button(const InputOps *ops)
{
    return ops->absolute && ops->button;
}
static bool wants_button(const InputOps *ops)
{
    return ops->button;
}

/* ---- Events ---- */

void input_key(KeyCode key, bool down)
{
    const Handler *handler = find(wants_key);
    if (key == 0 || key >= KEY_LIMIT || (!down && !keys_down[key]))
        return;
    keys_down[key] = down;
    if (handler)
        handler->ops->key(handler->opaque, key, down);
}

void input_release_keys(void)
{
    for (unsigned key = 1; key < KEY_LIMIT; key++)
        input_key((KeyCode)key, false);
    input_sync();
}

void input_move(int dx, int dy, int dz)
{
    const Handler *handler = find(wants_move);
    if (handler)
        handler->ops->move(handler->opaque, dx, dy, dz);
}

void input_position(unsigned x, unsigned y)
{
    const Handler *handler = find(wants_position);
    if (handler)
        handler->ops->position(handler->opaque, MIN(x, 0x7fff), MIN(y, 0x7fff));
}

void input_button(InputButton button, bool down)
{
    const Handler *handler = find(wants_absolute_button);
    if (!handler)
        handler = find(wants_button);
    if (handler)
        handler->ops->button(handler->opaque, button, down);
}

void input_sync(void)
{
    for (guint i = 0; handlers && i < handlers->len; i++) {
        const Handler *handler = &g_array_index(handlers, Handler, i);
        if (handler->ops->sync)
            handler->ops->sync(handler->opaque);
    }
}

bool input_absolute(void)
{
    return find(wants_position) != NULL;
}

/* ---- Lamps ---- */

void input_set_leds(unsigned now)
{
    leds = now;
    leds_set = true;
}

unsigned input_leds(void)
{
    return leds;
}

bool input_leds_known(void)
{
    return leds_set;
}

/* ---- Typing ---- */

static void typing_step(void *opaque)
{
    Combination *c = g_queue_peek_head(&typing);
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (!c)
        return;
    if (!typing_held) {
        for (unsigned i = 0; i < c->count; i++)
            input_key(c->keys[i], true);
        timer_arm(&typing_timer, now + c->hold_ms * NS_PER_MS);
    } else {
        for (unsigned i = c->count; i > 0; i--)
            input_key(c->keys[i - 1], false);
        g_free(g_queue_pop_head(&typing));
        timer_arm(&typing_timer, now + GAP_MS * NS_PER_MS);
    }
    input_sync();
    typing_held = !typing_held;
}

static void type(const Combination *c)
{
    bool idle = g_queue_is_empty(&typing) && !timer_armed(&typing_timer);
    if (g_queue_get_length(&typing) >= TYPING_MAX)
        return;
    g_queue_push_tail(&typing, g_memdup2(c, sizeof(*c)));
    if (idle) {
        timer_init(&typing_timer, loop_main(), VM_CLOCK_VIRTUAL, typing_step, NULL);
        typing_step(NULL);
    }
}

static bool parse_key(const char *word, KeyCode *key, GError **error)
{
    uint64_t number;
    if (g_str_has_prefix(word, "0x") && parse_uint(word, &number) && number > 0 && number <= 0xff) {
        *key = (KeyCode)number;
        return true;
    }
    *key = key_from_name(word);
    if (*key)
        return true;
    const char *near = nearest_word(word, key_names());
    if (near)
        return fail(error, "unknown key '%s'; did you mean '%s'?", word, near);
    return fail(error, "unknown key '%s'", word);
}

bool input_send_keys(const char *text, unsigned hold_ms, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, "-", -1);
    Combination c = {.hold_ms = hold_ms ? hold_ms : HOLD_MS};
    for (unsigned i = 0; words[i]; i++) {
        if (c.count == COMBINATION_MAX)
            return fail(error, "more than %u keys in '%s'", COMBINATION_MAX, text);
        if (!parse_key(words[i], &c.keys[c.count++], error))
            return false;
    }
    if (c.count == 0)
        return fail(error, "no key is named");
    type(&c);
    return true;
}

void input_tap_keys(const KeyCode *keys, unsigned count, unsigned hold_ms)
{
    Combination c = {.hold_ms = hold_ms, .count = MIN(count, COMBINATION_MAX)};
    memcpy(c.keys, keys, c.count * sizeof(*keys));
    type(&c);
}
