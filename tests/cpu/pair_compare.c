/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "pair.h"
#include "util/bytes.h"

static void differ(GString *text, const char *what, uint64_t host, uint64_t guest)
{
    g_string_append_printf(
        text, "#   %-8s host %016" G_GINT64_MODIFIER "x interp %016" G_GINT64_MODIFIER "x\n", what,
        host, guest);
}

static void compare_vectors(unsigned bits, const PairResult *host, const PairResult *guest,
                            GString *text)
{
    unsigned count = bits == 64 ? 16 : 8;
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < 4; k++) {
            unsigned at = (k < 2 ? 160 : 576) + 16 * i + 8 * (k & 1);
            g_autofree char *name = g_strdup_printf("ymm%u.%u", i, k);
            if (memcmp(host->state.xsave + at, guest->state.xsave + at, 8))
                differ(text, name, ld64_le(host->state.xsave + at),
                       ld64_le(guest->state.xsave + at));
        }
}

/* After an unmasked overflow or underflow, PE says whether a result of unbounded exponent would be
 * inexact; the interpreter knows only of the one that is.  Instructions of several steps stop at
 * the first that fails. */
static uint32_t flags_unknown(const PairLeeway *leeway, const PairResult *host)
{
    enum { OVERFLOW_UNDERFLOW = 0x18, INEXACT = 0x20, ALL = 0x3f, XM = 19 };
    uint32_t mxcsr = ld32_le(host->state.xsave + 24);
    if (host->vector != XM)
        return 0;
    return leeway->steps ? ALL : mxcsr & ~(mxcsr >> 7) & OVERFLOW_UNDERFLOW ? INEXACT : 0;
}

static void compare_x87(const PairLeeway *leeway, const PairResult *host, const PairResult *guest,
                        GString *text)
{
    const uint8_t *a = host->state.xsave, *b = guest->state.xsave;
    if (ld16_le(a) != ld16_le(b))
        differ(text, "fcw", ld16_le(a), ld16_le(b));
    if (ld16_le(a + 2) != ld16_le(b + 2))
        differ(text, "fsw", ld16_le(a + 2), ld16_le(b + 2));
    if (a[4] != b[4])
        differ(text, "ftw", a[4], b[4]);
    if ((ld32_le(a + 24) ^ ld32_le(b + 24)) & ~flags_unknown(leeway, host))
        differ(text, "mxcsr", ld32_le(a + 24), ld32_le(b + 24));
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(a + 32 + 16 * i, b + 32 + 16 * i, 10)) {
            g_autofree char *name = g_strdup_printf("st%u", i);
            differ(text, name, ld64_le(a + 32 + 16 * i), ld64_le(b + 32 + 16 * i));
            differ(text, "  exp", ld16_le(a + 40 + 16 * i), ld16_le(b + 40 + 16 * i));
        }
}

/* The host may not have mapped a page yet that it has: bit 0 of #PF's error code is left out. */
void pair_compare(unsigned bits, const PairResult *host, const PairResult *guest,
                  const PairLeeway *leeway, GString *text)
{
    uint64_t width = bits == 64 ? ~0ull : 0xffffffff;
    if (host->vector != guest->vector)
        differ(text, "vector", (uint64_t)host->vector, (uint64_t)guest->vector);
    if (host->vector >= 10 && host->vector <= 14 &&
        (host->error ^ guest->error) & ~(host->vector == 14 ? 1u : 0))
        differ(text, "error", host->error, guest->error);
    if (host->vector == 14 && guest->vector == 14 && host->cr2 != guest->cr2 && !leeway->split)
        differ(text, "cr2", host->cr2, guest->cr2);
    for (unsigned i = 0; i < (bits == 64 ? 16 : 8); i++)
        if ((host->state.gpr[i] ^ guest->state.gpr[i]) & width) {
            g_autofree char *name = g_strdup_printf("gpr%u", i);
            differ(text, name, host->state.gpr[i], guest->state.gpr[i]);
        }
    if (host->state.rip != guest->state.rip)
        differ(text, "rip", host->state.rip, guest->state.rip);
    if ((host->state.rflags ^ guest->state.rflags) & leeway->flags)
        differ(text, "flags", host->state.rflags, guest->state.rflags);
    compare_vectors(bits, host, guest, text);
    compare_x87(leeway, host, guest, text);
    for (unsigned i = 0; i < PAIR_DATA_SIZE; i += 8)
        if (memcmp(host->data + i, guest->data + i, 8)) {
            g_autofree char *name = g_strdup_printf("[+%x]", i);
            differ(text, name, ld64_le(host->data + i), ld64_le(guest->data + i));
        }
}
