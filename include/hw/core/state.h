/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State descriptions: a table beside each state struct that lists every field with its reset value.
 *
 * The one table is reset, snapshot, migration and `info qtree`/`info DEVICE`.  Every byte of the
 * struct must be in a row, be alignment padding, or be in a STATE_HOST row (wiring, pointers,
 * configuration: not state); state_check_complete() verifies it and a test runs it on every class.
 *
 *     static const StateField pit_fields[] = {
 *         STATE_HOST(Pit, dev),
 *         STATE_STRUCT_ARRAY(Pit, channel, &pit_channel_state),
 *         STATE_U(Pit, speaker_gate, 0),
 *         STATE_END
 *     };
 *     static const StateDesc pit_state = {"i8254", 1, sizeof(Pit), pit_fields};
 */
#ifndef VMRUN_HW_CORE_STATE_H
#define VMRUN_HW_CORE_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    STATE_KIND_END,
    STATE_KIND_UINT,   /* count elements of elem_size bytes (1, 2, 4, 8), host byte order */
    STATE_KIND_STRUCT, /* count elements described by sub */
    STATE_KIND_TIMER,  /* a Timer: its deadline is saved; reset cancels it */
    STATE_KIND_BUFFER, /* a pointer to `buffer_size` bytes that the device allocated in realize */
    STATE_KIND_HOST,   /* not state */
} StateKind;

typedef struct StateDesc StateDesc;
typedef struct StateField {
    const char *name;
    StateKind kind;
    bool keep;    /* reset leaves it alone (battery-backed, or set by device reset()) */
    bool bytes;   /* show as a hex dump, not as numbers */
    bool boolean; /* elements are bool: a loaded value becomes 0 or 1 */
    uint32_t offset;
    uint32_t elem_size;
    uint32_t count;
    uint32_t align;
    uint32_t buffer_size;
    uint64_t reset; /* of each element */
    const StateDesc *sub;
} StateField;

struct StateDesc {
    const char *name;
    unsigned version; /* raised when a saved state of before can no longer be read */
    size_t size;      /* of the struct */
    const StateField *fields;
    void (*pre_save)(void *state);
    /* Recomputes what follows from the fields, and checks them: a snapshot is hostile input. */
    bool (*post_load)(void *state, GError **error);
};

#define STATE_IS_BOOL(x) _Generic((x), bool : true, default : false)
#define STATE_FIELD(S, f, ...)                                                                     \
    {                                                                                              \
        .name = #f, .offset = offsetof(S, f), .align = __alignof__(((S *)0)->f), __VA_ARGS__       \
    }
/* An integer, bool or enum. */
#define STATE_U(S, f, value)                                                                       \
    STATE_FIELD(S, f, .kind = STATE_KIND_UINT, .elem_size = sizeof(((S *)0)->f), .count = 1,       \
                .boolean = STATE_IS_BOOL(((S *)0)->f), .reset = (value))
#define STATE_U_KEEP(S, f)                                                                         \
    STATE_FIELD(S, f, .kind = STATE_KIND_UINT, .elem_size = sizeof(((S *)0)->f), .count = 1,       \
                .boolean = STATE_IS_BOOL(((S *)0)->f), .keep = true)
/* An array of integers, of any dimensions; all elements reset to value. */
#define STATE_ARRAY(S, f, elem_type, value)                                                        \
    STATE_FIELD(S, f, .kind = STATE_KIND_UINT, .elem_size = sizeof(elem_type),                     \
                .count = sizeof(((S *)0)->f) / sizeof(elem_type),                                  \
                .boolean = STATE_IS_BOOL((elem_type)0), .reset = (value))
#define STATE_ARRAY_KEEP(S, f, elem_type)                                                          \
    STATE_FIELD(S, f, .kind = STATE_KIND_UINT, .elem_size = sizeof(elem_type),                     \
                .count = sizeof(((S *)0)->f) / sizeof(elem_type),                                  \
                .boolean = STATE_IS_BOOL((elem_type)0), .keep = true)
/* uint8_t[]: reset to zero / kept. */
#define STATE_BYTES(S, f)                                                                          \
    STATE_FIELD(S, f, .kind = STATE_KIND_UINT, .elem_size = 1, .count = sizeof(((S *)0)->f),       \
                .bytes = true)
#define STATE_BYTES_KEEP(S, f)                                                                     \
    STATE_FIELD(S, f, .kind = STATE_KIND_UINT, .elem_size = 1, .count = sizeof(((S *)0)->f),       \
                .bytes = true, .keep = true)
#define STATE_STRUCT(S, f, desc)                                                                   \
    STATE_FIELD(S, f, .kind = STATE_KIND_STRUCT, .elem_size = sizeof(((S *)0)->f), .count = 1,     \
                .sub = (desc))
#define STATE_STRUCT_ARRAY(S, f, desc)                                                             \
    STATE_FIELD(S, f, .kind = STATE_KIND_STRUCT, .elem_size = sizeof(((S *)0)->f[0]),              \
                .count = sizeof(((S *)0)->f) / sizeof(((S *)0)->f[0]), .sub = (desc))
#define STATE_TIMER(S, f)                                                                          \
    STATE_FIELD(S, f, .kind = STATE_KIND_TIMER, .elem_size = sizeof(((S *)0)->f), .count = 1)
/* f is uint8_t *; reset zeroes the bytes. */
#define STATE_BUFFER(S, f, length)                                                                 \
    STATE_FIELD(S, f, .kind = STATE_KIND_BUFFER, .elem_size = sizeof(((S *)0)->f), .count = 1,     \
                .buffer_size = (length), .bytes = true)
#define STATE_HOST(S, f)                                                                           \
    STATE_FIELD(S, f, .kind = STATE_KIND_HOST, .elem_size = sizeof(((S *)0)->f), .count = 1)
#define STATE_END                                                                                  \
    {                                                                                              \
        .kind = STATE_KIND_END                                                                     \
    }

/* Writes every field's reset value, keep and host rows aside; timers are cancelled. */
void state_reset(const StateDesc *desc, void *state);

/* Appends the state to out: a record of name, version and the fields by name, little-endian, so
 * that added or dropped fields do not make an old record unreadable. */
void state_save(const StateDesc *desc, void *state, GByteArray *out);
/* Reads a record from *data, advancing it, never past end.  Fields that the record lacks get their
 * reset value, unknown ones are skipped; truncated or malformed records are an error that names the
 * state and field. On error the state may be partly loaded: reset it. */
bool state_load(const StateDesc *desc, void *state, const uint8_t **data, const uint8_t *end,
                GError **error);
/* "field=value" lines, indented. */
void state_describe(const StateDesc *desc, const void *state, unsigned indent, GString *out);

/* NULL if every byte is covered, else a message (g_free) naming the first hole or overlap. */
char *state_check_complete(const StateDesc *desc);

#endif
