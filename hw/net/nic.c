/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What network cards have in common: see the header. */
#include "nic.h"

#include "util/bytes.h"
#include "util/error.h"

/* ---- The end of the cable ---- */

/* A guest that stands still, or sleeps, must find its memory as it left it. */
static void status_changed(void *opaque, Machine *machine, MachineStatus status)
{
    net_set_stopped(opaque, status != MACHINE_RUNNING);
}

bool nic_open(NetEnd *end, const NetEndOps *ops, Device *dev, uint8_t mac[NET_MAC_BYTES],
              NetEnd *backend, GError **error)
{
    static const uint8_t none[NET_MAC_BYTES];
    if (!memcmp(mac, none, sizeof(none)))
        net_default_mac(mac, dev->id, 0);
    if (mac[0] & 1)
        return fail(error, "%s: mac: an address with an odd first byte is for a group of cards",
                    dev->cls->name);
    bool named = strcmp(dev->id, dev->cls->name);
    g_autofree char *id = g_strconcat(dev->id, named ? "" : ".0", NULL);
    if (!net_end_init(end, ops, id, dev, error))
        return fail_prefix(error, "%s", dev->cls->name);
    end->stopped = dev->machine->status != MACHINE_RUNNING;
    if (!backend || net_connect(end, backend, error)) {
        machine_add_status_listener(dev->machine, status_changed, end);
        return true;
    }
    net_end_fini(end);
    return fail_prefix(error, "%s: netdev", dev->cls->name);
}

void nic_close(NetEnd *end, Device *dev)
{
    machine_remove_status_listener(dev->machine, status_changed, end);
    net_end_fini(end);
}

void nic_describe(const char *model, const uint8_t mac[NET_MAC_BYTES], GString *out)
{
    g_string_append_printf(out, "model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", model, mac[0],
                           mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* ---- Frames in pieces ---- */

size_t nic_gather(const struct iovec *iov, int count, size_t offset, void *buf, size_t bytes)
{
    size_t done = 0;
    for (int i = 0; i < count && done < bytes; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(iov[i].iov_len - offset, bytes - done);
        /* Both may be the guest's memory, if two of its cards are on one network. */
        memmove((uint8_t *)buf + done, (const uint8_t *)iov[i].iov_base + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

bool nic_scatter(PciDevice *pci, hwaddr addr, const struct iovec *iov, int count, size_t offset,
                 size_t bytes)
{
    bool ok = true;
    while (bytes && ok) {
        uint64_t part = bytes;
        void *host = pci_dma_map(pci, addr, &part, true);
        if (host) {
            nic_gather(iov, count, offset, host, part);
            pci_dma_unmap(pci, host, part);
        }
        ok = host && part;
        addr += part;
        offset += part;
        bytes -= part;
    }
    return ok;
}

int nic_map(PciDevice *pci, hwaddr addr, size_t bytes, struct iovec *iov, int room)
{
    int count = 0;
    while (bytes) {
        uint64_t part = bytes;
        void *host = count < room ? pci_dma_map(pci, addr, &part, false) : NULL;
        if (!host || !part)
            return -1;
        iov[count++] = (struct iovec){host, part};
        addr += part;
        bytes -= part;
    }
    return count;
}

/* ---- Checksums ---- */

static uint16_t fold(uint64_t sum)
{
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)(sum + (sum >> 16));
}

/* Words are added as the host has them: the order of bytes matters only in the result (RFC 1071,
 * 2.B).  Four sums at once keep the processor busy. */
uint16_t nic_sum(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t sum[4] = {0};
    for (; bytes >= 16; bytes -= 16, at += 16)
        for (unsigned i = 0; i < 4; i++)
            sum[i] += ld32_le(at + 4 * i);
    for (; bytes >= 2; bytes -= 2, at += 2)
        sum[0] += ld16_le(at);
    if (bytes)
        sum[1] += *at;
    return __builtin_bswap16(fold((sum[0] + sum[1]) + (sum[2] + sum[3])));
}

uint16_t nic_sum_iov(const struct iovec *iov, int count, size_t offset, size_t bytes)
{
    uint16_t sum = 0;
    bool odd = false;
    for (int i = 0; i < count && bytes; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(iov[i].iov_len - offset, bytes);
        uint16_t piece = nic_sum((const uint8_t *)iov[i].iov_base + offset, part);
        sum = nic_sum_add(sum, odd ? __builtin_bswap16(piece) : piece);
        odd ^= part & 1;
        bytes -= part;
        offset = 0;
    }
    return sum;
}

/* ---- Headers ---- */

enum { TYPE_IP4 = 0x0800, TYPE_IP6 = 0x86dd, TYPE_VLAN = 0x8100 };
enum { PROTO_TCP = 6, PROTO_UDP = 17, IP6_HEADER = 40 };

static void find_l4(unsigned protocol, unsigned at, unsigned bytes, NicHeaders *out)
{
    out->tcp = protocol == PROTO_TCP;
    if ((out->tcp && bytes >= 20) || (protocol == PROTO_UDP && bytes >= 8)) {
        out->l4 = (uint16_t)at;
        out->l4_bytes = (uint16_t)bytes;
    }
}

static void find_ip4(const uint8_t *head, size_t have, size_t bytes, unsigned at, NicHeaders *out)
{
    if (have < at + 20u || head[at] >> 4 != 4)
        return;
    unsigned header = (head[at] & 15) * 4u, total = ld16_be(head + at + 2);
    if (header < 20 || total < header || at + total > bytes || have < at + header)
        return;
    out->ip = (uint16_t)at;
    if (!(ld16_be(head + at + 6) & 0x3fff)) /* neither offset nor "more fragments" */
        find_l4(head[at + 9], at + header, total - header, out);
}

static void find_ip6(const uint8_t *head, size_t have, size_t bytes, unsigned at, NicHeaders *out)
{
    if (have < at + IP6_HEADER || head[at] >> 4 != 6)
        return;
    unsigned payload = ld16_be(head + at + 4);
    if (at + IP6_HEADER + payload > bytes)
        return;
    out->ip = (uint16_t)at;
    out->v6 = true;
    find_l4(head[at + 6], at + IP6_HEADER, payload, out);
}

void nic_find_headers(const uint8_t *head, size_t have, size_t bytes, NicHeaders *out)
{
    unsigned at = ETH_HEADER_BYTES;
    *out = (NicHeaders){0};
    if (have < ETH_HEADER_BYTES + ETH_VLAN_BYTES)
        return;
    if (ld16_be(head + ETH_TYPE_AT) == TYPE_VLAN)
        at += ETH_VLAN_BYTES;
    unsigned type = ld16_be(head + at - 2);
    if (type == TYPE_IP4)
        find_ip4(head, have, bytes, at, out);
    else if (type == TYPE_IP6)
        find_ip6(head, have, bytes, at, out);
}

uint16_t nic_pseudo_sum(const uint8_t *head, const NicHeaders *headers)
{
    uint16_t sum = nic_sum_add(headers->tcp ? PROTO_TCP : PROTO_UDP, headers->l4_bytes);
    return nic_sum_add(sum, headers->v6 ? nic_sum(head + headers->ip + 8, 32)
                                        : nic_sum(head + headers->ip + 12, 8));
}

unsigned nic_multicast_hash(const uint8_t mac[NET_MAC_BYTES])
{
    uint32_t crc = UINT32_MAX;
    for (unsigned i = 0; i < NET_MAC_BYTES; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            bool carry = (crc >> 31) ^ (mac[i] >> bit & 1);
            crc = crc << 1 ^ (carry ? 0x04c11db7 : 0);
        }
    return crc >> 26;
}
