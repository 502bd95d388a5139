/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State tables at work: reset, save, load, describe, completeness.
 *
 * A record on the wire, little-endian:
 *
 *     u8 length, name | u32 version | u32 bytes of body | body: fields
 *     field: u8 length, name | u8 kind | u32 bytes of payload | payload
 *     payload of UINT:   u8 element size, u32 count, elements
 *                STRUCT: u32 count, records
 *                TIMER:  u8 armed, u64 expires
 *                BUFFER: the bytes
 */
#include "hw/core/state.h"

#include <inttypes.h>

#include "util/bytes.h"
#include "util/error.h"
#include "util/timer.h"

static uint8_t *field_at(const StateField *field, void *state)
{
    return (uint8_t *)state + field->offset;
}

/* The elements of a UINT or BUFFER row. */
static uint8_t *field_data(const StateField *field, void *state)
{
    uint8_t *at = field_at(field, state);
    if (field->kind != STATE_KIND_BUFFER)
        return at;
    uint8_t *buffer;
    memcpy(&buffer, at, sizeof(buffer));
    return buffer;
}

static uint64_t host_get(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size); /* hosts are little-endian x86-64 */
    return value;
}

static void reset_field(const StateField *field, void *state)
{
    uint8_t *at = field_at(field, state);
    switch (field->kind) {
    case STATE_KIND_UINT:
        for (uint32_t i = 0; i < field->count; i++)
            memcpy(at + (size_t)i * field->elem_size, &field->reset, field->elem_size);
        break;
    case STATE_KIND_STRUCT:
        for (uint32_t i = 0; i < field->count; i++)
            state_reset(field->sub, at + (size_t)i * field->elem_size);
        break;
    case STATE_KIND_TIMER:
        timer_cancel((Timer *)at);
        break;
    case STATE_KIND_BUFFER:
        if (field_data(field, state))
            memset(field_data(field, state), 0, field->buffer_size);
        break;
    default:
        break;
    }
}

void state_reset(const StateDesc *desc, void *state)
{
    for (const StateField *field = desc->fields; field->kind != STATE_KIND_END; field++)
        if (!field->keep)
            reset_field(field, state);
}

/* ---- Save ---- */

static void put(GByteArray *out, uint64_t value, unsigned size)
{
    uint8_t buf[8];
    stn_le(buf, size, value);
    g_byte_array_append(out, buf, size);
}

static void put_name(GByteArray *out, const char *name)
{
    size_t length = MIN(strlen(name), 255);
    put(out, length, 1);
    g_byte_array_append(out, (const uint8_t *)name, (guint)length);
}

/* Leaves room for a u32 length; put_length() fills it in. */
static guint hold_length(GByteArray *out)
{
    put(out, 0, 4);
    return out->len;
}

static void put_length(GByteArray *out, guint start)
{
    st32_le(out->data + start - 4, out->len - start);
}

static void save_field(const StateField *field, void *state, GByteArray *out)
{
    uint8_t *at = field_at(field, state);
    put_name(out, field->name);
    put(out, field->kind, 1);
    guint start = hold_length(out);
    switch (field->kind) {
    case STATE_KIND_UINT:
        put(out, field->elem_size, 1);
        put(out, field->count, 4);
        g_byte_array_append(out, at, field->elem_size * field->count);
        break;
    case STATE_KIND_STRUCT:
        put(out, field->count, 4);
        for (uint32_t i = 0; i < field->count; i++)
            state_save(field->sub, at + (size_t)i * field->elem_size, out);
        break;
    case STATE_KIND_TIMER:
        put(out, timer_armed((Timer *)at), 1);
        put(out, (uint64_t)timer_expires((Timer *)at), 8);
        break;
    default:
        g_byte_array_append(out, field_data(field, state), field->buffer_size);
    }
    put_length(out, start);
}

void state_save(const StateDesc *desc, void *state, GByteArray *out)
{
    if (desc->pre_save)
        desc->pre_save(state);
    put_name(out, desc->name);
    put(out, desc->version, 4);
    guint start = hold_length(out);
    for (const StateField *field = desc->fields; field->kind != STATE_KIND_END; field++)
        if (field->kind != STATE_KIND_HOST)
            save_field(field, state, out);
    put_length(out, start);
}

/* ---- Load ---- */

typedef struct Reader {
    const uint8_t *at, *end;
    bool bad; /* something reached past the end */
} Reader;

static const uint8_t *take(Reader *reader, size_t length)
{
    if (reader->bad || (size_t)(reader->end - reader->at) < length) {
        reader->bad = true;
        return NULL;
    }
    reader->at += length;
    return reader->at - length;
}

static uint64_t take_uint(Reader *reader, unsigned size)
{
    const uint8_t *at = take(reader, size);
    return at ? ldn_le(at, size) : 0;
}

static bool take_name(Reader *reader, char name[256])
{
    size_t length = take_uint(reader, 1);
    const uint8_t *at = take(reader, length);
    if (!at)
        return false;
    memcpy(name, at, length);
    name[length] = 0;
    return true;
}

static bool load_uint(const StateField *field, uint8_t *at, Reader *payload)
{
    uint64_t elem_size = take_uint(payload, 1), count = take_uint(payload, 4);
    if (elem_size != field->elem_size || count != field->count)
        return false;
    const uint8_t *data = take(payload, elem_size * count);
    if (!data)
        return false;
    memcpy(at, data, elem_size * count);
    for (uint32_t i = 0; field->boolean && i < field->count; i++)
        at[i] = at[i] != 0;
    return true;
}

static bool load_timer(Timer *timer, Reader *payload)
{
    bool armed = take_uint(payload, 1);
    int64_t expires = (int64_t)take_uint(payload, 8);
    timer_cancel(timer);
    if (armed && !payload->bad)
        timer_arm(timer, expires);
    return !payload->bad;
}

static bool load_field(const StateDesc *desc, const StateField *field, void *state, Reader *payload,
                       GError **error)
{
    uint8_t *at = field_at(field, state);
    bool ok = true;
    switch (field->kind) {
    case STATE_KIND_UINT:
        ok = load_uint(field, at, payload);
        break;
    case STATE_KIND_STRUCT:
        if (take_uint(payload, 4) != field->count)
            return fail(error, "%s.%s: wrong number of elements", desc->name, field->name);
        for (uint32_t i = 0; i < field->count; i++)
            if (!state_load(field->sub, at + (size_t)i * field->elem_size, &payload->at,
                            payload->end, error))
                return fail_prefix(error, "%s.%s", desc->name, field->name);
        break;
    case STATE_KIND_TIMER:
        ok = load_timer((Timer *)at, payload);
        break;
    default: {
        const uint8_t *data = take(payload, field->buffer_size);
        ok = data && payload->at == payload->end;
        if (ok)
            memcpy(field_data(field, state), data, field->buffer_size);
    }
    }
    return ok ? true
              : fail(error, "%s.%s: the saved value has another size", desc->name, field->name);
}

static const StateField *find_field(const StateDesc *desc, const char *name, unsigned kind)
{
    for (const StateField *field = desc->fields; field->kind != STATE_KIND_END; field++)
        if (field->kind == kind && !strcmp(field->name, name))
            return field;
    return NULL;
}

static bool load_body(const StateDesc *desc, void *state, Reader *body, GError **error)
{
    while (body->at < body->end) {
        char name[256];
        if (!take_name(body, name))
            return fail(error, "%s: the record is cut short", desc->name);
        unsigned kind = (unsigned)take_uint(body, 1);
        size_t length = take_uint(body, 4);
        const uint8_t *data = take(body, length);
        if (!data)
            return fail(error, "%s.%s: the record is cut short", desc->name, name);
        const StateField *field = find_field(desc, name, kind);
        Reader payload = {data, data + length, false};
        if (field && kind != STATE_KIND_HOST && !load_field(desc, field, state, &payload, error))
            return false;
    }
    return true;
}

bool state_load(const StateDesc *desc, void *state, const uint8_t **data, const uint8_t *end,
                GError **error)
{
    Reader reader = {*data, end, false};
    char name[256];
    if (!take_name(&reader, name))
        return fail(error, "%s: the record is cut short", desc->name);
    if (strcmp(name, desc->name))
        return fail(error, "%s: found the state of '%s' instead", desc->name, name);
    unsigned version = (unsigned)take_uint(&reader, 4);
    size_t length = take_uint(&reader, 4);
    const uint8_t *body = take(&reader, length);
    if (!body)
        return fail(error, "%s: the record is cut short", desc->name);
    if (version != desc->version)
        return fail(error, "%s: version %u is not %u", desc->name, version, desc->version);
    *data = reader.at;
    state_reset(desc, state);
    Reader inner = {body, body + length, false};
    if (!load_body(desc, state, &inner, error))
        return false;
    return !desc->post_load || desc->post_load(state, error);
}

/* ---- Describe ---- */

static void describe_bytes(const uint8_t *at, uint32_t count, unsigned indent, GString *out)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i % 16 == 0)
            g_string_append_printf(out, "\n%*s%04x:", indent, "", i);
        g_string_append_printf(out, " %02x", at[i]);
    }
    g_string_append_c(out, '\n');
}

#define DESCRIBE_BYTES_MAX 256

static void describe_field(const StateField *field, void *state, unsigned indent, GString *out)
{
    uint8_t *at = field_data(field, state);
    g_string_append_printf(out, "%*s%s =", indent, "", field->name);
    if (field->kind == STATE_KIND_TIMER) {
        Timer *timer = (Timer *)at;
        if (timer_armed(timer))
            g_string_append_printf(out, " in %" PRId64 " ns\n",
                                   timer_expires(timer) - clock_now(timer->clock));
        else
            g_string_append(out, " idle\n");
    } else if (field->bytes) {
        uint32_t count = field->kind == STATE_KIND_BUFFER ? field->buffer_size : field->count;
        describe_bytes(at, MIN(count, DESCRIBE_BYTES_MAX), indent + 2, out);
    } else {
        for (uint32_t i = 0; i < field->count; i++)
            g_string_append_printf(out, " 0x%" PRIx64,
                                   host_get(at + (size_t)i * field->elem_size, field->elem_size));
        g_string_append_c(out, '\n');
    }
}

void state_describe(const StateDesc *desc, const void *state, unsigned indent, GString *out)
{
    for (const StateField *field = desc->fields; field->kind != STATE_KIND_END; field++) {
        if (field->kind == STATE_KIND_HOST)
            continue;
        if (field->kind != STATE_KIND_STRUCT) {
            describe_field(field, (void *)state, indent, out);
            continue;
        }
        for (uint32_t i = 0; i < field->count; i++) {
            g_string_append_printf(out, "%*s%s[%u]:\n", indent, "", field->name, i);
            state_describe(field->sub,
                           (const uint8_t *)state + field->offset + (size_t)i * field->elem_size,
                           indent + 2, out);
        }
    }
}

/* ---- Completeness ---- */

static gint by_offset(gconstpointer a, gconstpointer b)
{
    const StateField *x = *(const StateField *const *)a, *y = *(const StateField *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static char *check_field(const StateDesc *desc, const StateField *field)
{
    if (field->kind == STATE_KIND_UINT && (field->elem_size > 8 || !is_pow2(field->elem_size)))
        return g_strdup_printf("%s.%s: elements of %u bytes are not integers", desc->name,
                               field->name, field->elem_size);
    if (field->kind == STATE_KIND_TIMER && field->elem_size != sizeof(Timer))
        return g_strdup_printf("%s.%s is not a Timer", desc->name, field->name);
    if (field->kind != STATE_KIND_STRUCT)
        return NULL;
    if (field->elem_size != field->sub->size)
        return g_strdup_printf("%s.%s: %s describes %zu bytes, the field has %u", desc->name,
                               field->name, field->sub->name, field->sub->size, field->elem_size);
    return state_check_complete(field->sub);
}

char *state_check_complete(const StateDesc *desc)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new();
    uint32_t max_align = 1;
    for (const StateField *field = desc->fields; field->kind != STATE_KIND_END; field++) {
        char *message = check_field(desc, field);
        if (message)
            return message;
        max_align = MAX(max_align, field->align);
        g_ptr_array_add(rows, (void *)field);
    }
    g_ptr_array_sort(rows, by_offset);
    size_t covered = 0;
    for (guint i = 0; i < rows->len; i++) {
        const StateField *field = g_ptr_array_index(rows, i);
        if (field->offset < covered)
            return g_strdup_printf("%s.%s is described twice", desc->name, field->name);
        if (field->offset > align_up(covered, field->align))
            return g_strdup_printf("%s: bytes %zu to %u, before %s, are in no row", desc->name,
                                   covered, field->offset - 1, field->name);
        covered = field->offset + (size_t)field->elem_size * field->count;
    }
    if (align_up(covered, max_align) != desc->size)
        return g_strdup_printf("%s: bytes %zu to %zu are in no row", desc->name, covered,
                               desc->size - 1);
    return NULL;
}
