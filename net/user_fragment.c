/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams that the guest sends in fragments (RFC 791, 3.2) are put together here: libslirp has
 * code for that, but 4.7's goes astray at a last fragment that comes first.
 *
 * A few datagrams may be under way at a time; the oldest gives way.
 */
#include <string.h>

#include "user_private.h"
#include "util/bytes.h"
#include "util/timer.h"

enum { ETHER = 14, IP_HEADER = 20, IP_HEADER_MAX = 60, DATAGRAM_MAX = 65535 };
enum { SLOTS = 4, BLOCK = 8, BLOCKS = 65536 / BLOCK };
enum { MORE = 0x2000, OFFSET = 0x1fff };
#define PATIENCE (30 * NS_PER_SEC)

/* A datagram under way; its parts by blocks of 8 bytes. */
typedef struct Slot {
    bool used;
    int64_t started; /* virtual ns */
    uint8_t key[11]; /* see make_key() */
    size_t header;   /* bytes at the beginning of frame, with Ethernet's; 0: not there yet */
    size_t total;    /* of data; 0: the last fragment is not there yet */
    unsigned have;   /* blocks */
    uint8_t got[BLOCKS / 8];
    uint8_t frame[ETHER + IP_HEADER_MAX];
    uint8_t data[BLOCKS * BLOCK];
} Slot;

struct UserFragments {
    Slot slots[SLOTS];
    uint8_t whole[ETHER + DATAGRAM_MAX];
};

bool user_is_fragment(const uint8_t *frame, size_t bytes)
{
    return bytes >= ETHER + IP_HEADER && ld16_be(frame + 12) == 0x0800 &&
           (ld16_be(frame + ETHER + 6) & (MORE | OFFSET));
}

/* What fragments of one datagram have in common: addresses, identification, protocol. */
static void make_key(uint8_t key[11], const uint8_t *ip)
{
    memcpy(key, ip + 12, 8);
    memcpy(key + 8, ip + 4, 2);
    key[10] = ip[9];
}

static Slot *find_slot(struct UserFragments *all, const uint8_t *ip)
{
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    uint8_t key[11];
    Slot *oldest = &all->slots[0];

    make_key(key, ip);
    for (unsigned i = 0; i < SLOTS; i++) {
        Slot *slot = &all->slots[i];
        slot->used = slot->used && now - slot->started < PATIENCE;
        if (slot->used && !memcmp(slot->key, key, sizeof(key)))
            return slot;
        if (!slot->used || (oldest->used && slot->started < oldest->started))
            oldest = slot;
    }
    oldest->used = true;
    oldest->started = now;
    memcpy(oldest->key, key, sizeof(key));
    oldest->header = oldest->total = oldest->have = 0;
    memset(oldest->got, 0, sizeof(oldest->got));
    return oldest;
}

static void mark(Slot *slot, size_t from, size_t to)
{
    for (size_t block = from / BLOCK; block * BLOCK < to; block++) {
        uint8_t bit = (uint8_t)(1 << block % 8);
        slot->have += !(slot->got[block / 8] & bit);
        slot->got[block / 8] |= bit;
    }
}

static uint16_t header_sum(const uint8_t *ip, size_t bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i += 2)
        sum += ld16_be(ip + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static const uint8_t *finish(struct UserFragments *all, Slot *slot, size_t *bytes)
{
    uint8_t *ip = all->whole + ETHER;
    size_t header = slot->header - ETHER;

    slot->used = false;
    if (header + slot->total > DATAGRAM_MAX)
        return NULL;
    memcpy(all->whole, slot->frame, slot->header);
    memcpy(all->whole + slot->header, slot->data, slot->total);
    st16_be(ip + 2, (uint16_t)(header + slot->total));
    st16_be(ip + 6, 0);
    st16_be(ip + 10, 0);
    st16_be(ip + 10, header_sum(ip, header));
    *bytes = slot->header + slot->total;
    return all->whole;
}

const uint8_t *user_reassemble(User *user, const uint8_t *frame, size_t *bytes)
{
    const uint8_t *ip = frame + ETHER;
    size_t header = (ip[0] & 15) * 4u, total = ld16_be(ip + 2);
    size_t from = (ld16_be(ip + 6) & OFFSET) * (size_t)BLOCK, data = total - header;
    bool more = ld16_be(ip + 6) & MORE;

    if (ip[0] >> 4 != 4 || header < IP_HEADER || total <= header || ETHER + total > *bytes ||
        header_sum(ip, header) || from + data > DATAGRAM_MAX || (more && data % BLOCK))
        return NULL;
    if (!user->fragments)
        user->fragments = g_new0(struct UserFragments, 1);
    Slot *slot = find_slot(user->fragments, ip);
    if (!from) {
        memcpy(slot->frame, frame, ETHER + header);
        slot->header = ETHER + header;
    }
    if (!more)
        slot->total = from + data;
    memcpy(slot->data + from, ip + header, data);
    mark(slot, from, from + data);
    size_t blocks = (slot->total + BLOCK - 1) / BLOCK;
    if (!slot->header || !slot->total || slot->have < blocks)
        return NULL;
    if (slot->have > blocks) { /* there is more behind what said that it was the last */
        slot->used = false;
        return NULL;
    }
    return finish(user->fragments, slot, bytes);
}
