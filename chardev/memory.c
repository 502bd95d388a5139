/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Back ends without a file descriptor: ringbuf keeps the latest output in memory, vc is a text
 * console of the user interface. */
#include <stdio.h>
#include <string.h>

#include "chr_private.h"
#include "util/bytes.h"

/* ---- ringbuf ---- */

typedef struct ChrRing {
    Chardev chr;
    uint8_t *data;
    size_t size;      /* a power of two */
    uint64_t in, out; /* bytes ever put in and taken out; in - out <= size */
} ChrRing;

static bool ring_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrRing *ring = (ChrRing *)chr;
    uint64_t size = 65536;
    if (!options_get_size(opts, "size", &size, error))
        return false;
    if (!is_pow2(size) || size > 1 << 30)
        return fail(error, "%s: size=%s: a power of two up to 1G is wanted", chr->where,
                    options_get(opts, "size"));
    ring->size = size;
    ring->data = g_malloc(size);
    chr->connected = true;
    return true;
}

static void ring_close(Chardev *chr)
{
    g_clear_pointer(&((ChrRing *)chr)->data, g_free);
}

static size_t ring_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    ChrRing *ring = (ChrRing *)chr;
    for (size_t i = 0; i < length; i++)
        ring->data[ring->in++ & (ring->size - 1)] = buf[i];
    if (ring->in - ring->out > ring->size)
        ring->out = ring->in - ring->size;
    return length;
}

static void ring_describe(const Chardev *chr, GString *out)
{
    g_string_append(out, "ringbuf");
}

bool chr_ringbuf_read(Chardev *chr, void *buf, size_t length, size_t *taken)
{
    ChrRing *ring = (ChrRing *)chr;
    if (chr->backend != &chr_ringbuf_backend)
        return false;
    for (*taken = 0; *taken < length && ring->out != ring->in; (*taken)++)
        ((uint8_t *)buf)[*taken] = ring->data[ring->out++ & (ring->size - 1)];
    return true;
}

static const char *const ring_keys[] = {"size", NULL};
const ChrBackend chr_ringbuf_backend = {
    .name = "ringbuf",
    .alias = "memory",
    .keys = ring_keys,
    .size = sizeof(ChrRing),
    .open = ring_open,
    .close = ring_close,
    .write = ring_write,
    .describe = ring_describe,
};

/* ---- vc ---- */

#define VC_INPUT 256 /* typed and not yet taken by the guest; more is lost */

typedef struct ChrVc {
    Chardev chr;
    void *console;
    unsigned columns, rows;
    uint8_t input[VC_INPUT];
    size_t input_length;
} ChrVc;

static const ChrVcOps *vc_ops;

static void vc_create_console(Chardev *chr)
{
    ChrVc *vc = (ChrVc *)chr;
    if (vc->console || !vc_ops)
        return;
    vc->console = vc_ops->create(chr, vc->columns, vc->rows);
    chr_set_connected(chr, vc->console != NULL);
}

/* Characters by cols= and rows=, or pixels of 8x16 cells by width= and height=. */
static bool vc_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrVc *vc = (ChrVc *)chr;
    uint64_t columns = 80, rows = 25, width = 0, height = 0;
    if (!options_get_uint(opts, "width", 8, 8 * 512, &width, error) ||
        !options_get_uint(opts, "height", 16, 16 * 512, &height, error))
        return false;
    columns = width ? width / 8 : columns;
    rows = height ? height / 16 : rows;
    if (!options_get_uint(opts, "cols", 1, 512, &columns, error) ||
        !options_get_uint(opts, "rows", 1, 512, &rows, error))
        return false;
    vc->columns = (unsigned)columns;
    vc->rows = (unsigned)rows;
    vc_create_console(chr);
    return true;
}

static void vc_close(Chardev *chr)
{
    ChrVc *vc = (ChrVc *)chr;
    if (vc->console)
        vc_ops->destroy(vc->console);
    vc->console = NULL;
}

static size_t vc_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    vc_ops->write(((ChrVc *)chr)->console, buf, length);
    return length;
}

static void vc_update(Chardev *chr)
{
    ChrVc *vc = (ChrVc *)chr;
    size_t n;
    chr_ref(chr);
    while ((n = MIN(chr_room(chr), vc->input_length))) {
        uint8_t chunk[VC_INPUT];
        memcpy(chunk, vc->input, n);
        vc->input_length -= n;
        memmove(vc->input, vc->input + n, vc->input_length);
        if (!chr_input(chr, chunk, n))
            break;
    }
    chr_unref(chr);
}

static void vc_describe(const Chardev *chr, GString *out)
{
    g_string_append(out, "vc");
}

static void vc_ops_changed(Chardev *chr, void *opaque)
{
    if (chr->backend == &chr_vc_backend)
        vc_create_console(chr);
}

static void vc_ops_leaving(Chardev *chr, void *opaque)
{
    if (chr->backend == &chr_vc_backend) {
        vc_close(chr);
        chr_set_connected(chr, false);
    }
}

void chr_set_vc_ops(const ChrVcOps *ops)
{
    if (vc_ops)
        chr_foreach(vc_ops_leaving, NULL);
    vc_ops = ops;
    chr_foreach(vc_ops_changed, NULL);
}

void chr_vc_input(Chardev *chr, const uint8_t *buf, size_t length)
{
    ChrVc *vc = (ChrVc *)chr;
    if (chr->backend != &chr_vc_backend || chr->closed)
        return;
    size_t n = MIN(length, sizeof(vc->input) - vc->input_length);
    memcpy(vc->input + vc->input_length, buf, n);
    vc->input_length += n;
    vc_update(chr);
}

static const char *const vc_keys[] = {"width", "height", "cols", "rows", NULL};
const ChrBackend chr_vc_backend = {
    .name = "vc",
    .keys = vc_keys,
    .size = sizeof(ChrVc),
    .open = vc_open,
    .close = vc_close,
    .write = vc_write,
    .update = vc_update,
    .describe = vc_describe,
};
