/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What network cards have in common: their end of the cable, frames in pieces, Internet checksums,
 * the hash of multicast filters. */
#ifndef VMRUN_HW_NET_NIC_H
#define VMRUN_HW_NET_NIC_H

#include "hw/pci/pci.h"
#include "net/net.h"

#define ETH_HEADER_BYTES 14
#define ETH_MIN_BYTES    60 /* without FCS */
#define ETH_FCS_BYTES    4
#define ETH_VLAN_BYTES   4
#define ETH_TYPE_AT      12

/* The properties that every card has; S has `NetEnd *netdev` and `uint8_t mac[NET_MAC_BYTES]`. */
#define NIC_PROPS(S)                                                                               \
    PROP_FIELD(S, mac, "mac", PROP_MAC, .help = "address of the card"),                            \
        PROP_FIELD(S, netdev, "netdev", PROP_LINK, .resolve = net_resolve,                         \
                   .help = "id of the -netdev that it is on")

/* Makes the card's end known under the device's id and connects it to backend (NULL: to nothing);
 * the first card of a model that has no id is MODEL.0, as the next are MODEL.1 and so on anyway.
 * A mac of zeros becomes one drawn from the id; one of a group is an error.  On failure nothing is
 * left to undo; else nic_close().  While the machine does not run, the end is stopped: a card sends
 * nothing then, and its writable() comes when that is over. */
bool nic_open(NetEnd *end, const NetEndOps *ops, Device *dev, uint8_t mac[NET_MAC_BYTES],
              NetEnd *backend, GError **error);
void nic_close(NetEnd *end, Device *dev);
/* The NetEndOps.describe of cards whose mac property lies at offset. */
void nic_describe(const char *model, const uint8_t mac[NET_MAC_BYTES], GString *out);

/* Copies bytes of a frame in pieces, from offset on, to buf, which may overlap them; returns how
 * many there were. */
size_t nic_gather(const struct iovec *iov, int count, size_t offset, void *buf, size_t bytes);
/* Copies them straight into guest RAM at addr; false if a part of that is not RAM. */
bool nic_scatter(PciDevice *pci, hwaddr addr, const struct iovec *iov, int count, size_t offset,
                 size_t bytes);
/* Appends pieces of host memory that stand for guest RAM [addr, addr + bytes): at most `room`; the
 * number of them, or -1 where that is not RAM or too many pieces. */
int nic_map(PciDevice *pci, hwaddr addr, size_t bytes, struct iovec *iov, int room);

/* Internet checksums (RFC 1071): the ones' complement sum of big-endian 16-bit words, folded. */
uint16_t nic_sum(const void *data, size_t bytes);
uint16_t nic_sum_iov(const struct iovec *iov, int count, size_t offset, size_t bytes);
static inline uint16_t nic_sum_add(uint16_t a, uint16_t b)
{
    uint32_t sum = (uint32_t)a + b;
    return (uint16_t)(sum + (sum >> 16));
}

/* Where headers of a frame stand; 0: there is none. */
typedef struct NicHeaders {
    uint16_t ip;       /* offset of the IPv4 or IPv6 header */
    uint16_t l4;       /* offset of TCP or UDP, if whole: no fragment */
    uint16_t l4_bytes; /* of the TCP or UDP header and data, by the IP header */
    bool v6, tcp;
} NicHeaders;
/* Finds them in the first `have` bytes of a frame of `bytes`, behind one VLAN tag or none; lengths
 * that the frame belies leave l4 0.  IPv6 extension headers are not followed. */
void nic_find_headers(const uint8_t *head, size_t have, size_t bytes, NicHeaders *out);
/* Sum of the pseudo header for the headers found. */
uint16_t nic_pseudo_sum(const uint8_t *head, const NicHeaders *headers);

/* The Ethernet CRC of an address, most significant bit first, as the DP8390's and the RTL8139's
 * multicast filters hash it: the upper 6 bits. */
unsigned nic_multicast_hash(const uint8_t mac[NET_MAC_BYTES]);

static inline bool nic_is_broadcast(const uint8_t *mac)
{
    return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

#endif
