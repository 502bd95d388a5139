/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ne2k_pci and ne2k_isa: the DP8390's registers, remote DMA, ring, filters, transmission, state. */
#include "hw/registry.h"
#include "test-nic.h"

#define DEVFN     PCI_DEVFN(3, 0)
#define PORT      0xc100
#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define TX_PAGE   0x40
#define RX_START  0x46
#define RX_STOP   0x80

enum { CR_STOP = 0x21, CR_START = 0x22, CR_PAGE1 = 0x40, CR_PAGE2 = 0x80 };

static Machine *m;
static Device *dev;
static FakeNet net;
static TestIrq isa_line;
static bool pci;
static uint16_t port;
static uint8_t frame[70000], got[4096];

static void reg(unsigned at, unsigned value)
{
    outb(m, (uint16_t)(port + at), (uint8_t)value);
}

static uint8_t get(unsigned at)
{
    return inb(m, (uint16_t)(port + at));
}

static bool irq(void)
{
    return pci ? ((PciDevice *)dev)->intx_level : isa_line.level;
}

static void start(unsigned rcr)
{
    static const uint8_t mac[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    reg(0, CR_STOP);
    reg(14, 0x48);
    reg(12, rcr);
    reg(13, 0);
    reg(1, RX_START);
    reg(2, RX_STOP);
    reg(3, RX_STOP - 1);
    reg(4, TX_PAGE);
    reg(7, 0xff);
    reg(15, 0x7f);
    reg(0, CR_STOP | CR_PAGE1);
    for (unsigned i = 0; i < 6; i++)
        reg(1 + i, mac[i]);
    for (unsigned i = 0; i < 8; i++)
        reg(8 + i, 0);
    reg(7, RX_START);
    reg(0, CR_START);
}

static void open_card(bool on_pci)
{
    pci = on_pci;
    memset(&isa_line, 0, sizeof(isa_line));
    m = test_machine_new(1 << 20);
    fake_open(&net, "net0");
    if (pci) {
        test_device(m, &i440fx_class, NULL);
        dev = test_device(m, &ne2k_pci_class, "addr=3,romfile=,netdev=net0,mac=" NIC_MAC);
        cfg_writel(m, DEVFN, 0x10, PORT);
        cfg_writew(m, DEVFN, PCI_COMMAND, 7);
        port = PORT;
    } else {
        test_isa_irq(m, 5, &isa_line);
        dev = test_device(m, &ne2k_isa_class, "iobase=0x340,irq=5,netdev=net0,mac=" NIC_MAC);
        port = 0x340;
    }
    start(0x04);
}

static void close_card(void)
{
    test_machine_free(m);
    fake_done(&net);
}

static void remote(unsigned at, unsigned count, unsigned command)
{
    reg(8, at);
    reg(9, at >> 8);
    reg(10, count);
    reg(11, count >> 8);
    reg(0, command | 2);
}

static void read_mem(unsigned at, void *buf, unsigned count)
{
    remote(at, count, 0x08);
    for (unsigned i = 0; i < count; i++)
        ((uint8_t *)buf)[i] = inb(m, (uint16_t)(port + 0x10));
}

static void write_mem(unsigned at, const void *buf, unsigned count)
{
    remote(at, count, 0x10);
    for (unsigned i = 0; i < count; i++)
        outb(m, (uint16_t)(port + 0x10), ((const uint8_t *)buf)[i]);
}

static unsigned curr(void)
{
    reg(0, CR_START | CR_PAGE1);
    unsigned page = get(7);
    reg(0, CR_START);
    return page;
}

static void test_registers(gconstpointer on_pci)
{
    uint8_t prom[32];
    open_card(on_pci != NULL);
    /* Reset by the reset port; ISR says so until the start. */
    get(0x1f);
    reg(0x1f, 0);
    g_assert_cmphex(get(7) & 0x80, ==, 0x80);
    g_assert_cmphex(get(0), ==, CR_STOP);
    start(0x04);
    g_assert_cmphex(get(7) & 0x80, ==, 0);
    /* Page 2 shows what was written to page 0. */
    reg(0, CR_START | CR_PAGE2);
    g_assert_cmphex(get(1), ==, RX_START);
    g_assert_cmphex(get(2), ==, RX_STOP);
    g_assert_cmphex(get(12) & 0x3f, ==, 0x04);
    reg(0, CR_START);
    read_mem(0, prom, sizeof(prom));
    for (unsigned i = 0; i < 12; i++)
        g_assert_cmphex(prom[i], ==, (uint8_t)NIC_BYTES[i / 2]);
    g_assert_cmphex(prom[28] & prom[31], ==, 0x57);
    reg(14, 0x49); /* words: a byte's access passes two */
    remote(0, 32, 0x08);
    for (unsigned i = 0; i < 16; i++)
        prom[i] = inb(m, (uint16_t)(port + 0x10));
    g_assert_cmpmem(prom, 6, NIC_BYTES, 6);
    g_assert_cmphex(prom[14], ==, 0x57);
    remote(0x4000, 6, 0x10);
    outw(m, (uint16_t)(port + 0x10), 0x2211);
    outb(m, (uint16_t)(port + 0x10), 0x33);
    outw(m, (uint16_t)(port + 0x10), 0x6655);
    reg(14, 0x48);
    uint8_t data[6];
    read_mem(0x4000, data, 6);
    g_assert_cmpmem(data, 6, "\x11\x22\x33\x00\x55\x66", 6);
    write_mem(0, "xxxx", 4); /* a PROM */
    read_mem(0, prom, 4);
    g_assert_cmpmem(prom, 4, "\x52\x52\x54\x54", 4);
    close_card();
}

static void test_remote(gconstpointer on_pci)
{
    uint8_t data[600];
    open_card(on_pci != NULL);
    make_frame(frame, 600, BROADCAST, 0);
    write_mem(0x4000, frame, 600);
    g_assert_cmphex(get(7) & 0x40, ==, 0x40);
    g_assert_true(irq());
    reg(7, 0x40);
    g_assert_false(irq());
    read_mem(0x4000, data, 600);
    g_assert_cmpmem(data, 600, frame, 600);
    /* In words and double words. */
    remote(0x4000, 6, 0x08);
    g_assert_cmphex(inw(m, (uint16_t)(port + 0x10)), ==, ld16_le(frame));
    g_assert_cmphex(inl(m, (uint16_t)(port + 0x10)), ==, ld32_le(frame + 2));
    g_assert_cmphex(inb(m, (uint16_t)(port + 0x10)), ==, 0xff); /* nothing is left */
    /* Over the end of the ring. */
    write_mem(RX_START * 256, "begin", 5);
    write_mem(RX_STOP * 256 - 3, "endxx", 3);
    read_mem(RX_STOP * 256 - 3, data, 8);
    g_assert_cmpmem(data, 8, "endbegin", 8);
    close_card();
}

static void test_transmit(gconstpointer on_pci)
{
    open_card(on_pci != NULL);
    make_frame(frame, 700, BROADCAST, 0x0800);
    write_mem(TX_PAGE * 256, frame, 700);
    reg(7, 0xff);
    reg(5, 700 & 0xff);
    reg(6, 700 >> 8);
    reg(0, 0x26);
    g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, 700);
    g_assert_cmpmem(got, 700, frame, 700);
    g_assert_cmphex(get(0) & 4, ==, 0);
    g_assert_cmphex(get(4), ==, 1);
    g_assert_cmphex(get(7), ==, 2);
    g_assert_true(irq());
    reg(7, 2);
    /* Refused: TXP stays until the peer has room, over a snapshot too. */
    net.full = true;
    reg(0, 0x26);
    g_assert_cmphex(get(0) & 4, ==, 4);
    g_assert_cmphex(get(7), ==, 0);
    test_device_state(dev);
    net.full = false;
    net_writable(&net.end);
    loop_step(m->loop, false);
    g_assert_cmpuint(fake_count(&net), ==, 1);
    g_assert_cmphex(get(7), ==, 2);
    /* From outside of the memory: done, but nothing is sent. */
    reg(4, 0x10);
    reg(0, 0x26);
    reg(4, 0xbf);
    reg(0, 0x26);
    g_assert_cmpuint(fake_count(&net), ==, 1);
    close_card();
}

/* Frames of all sizes, round the ring many times, taken out as drivers do. */
static void test_ring(gconstpointer on_pci)
{
    unsigned next = RX_START;
    open_card(on_pci != NULL);
    for (unsigned i = 0; i < 300; i++) {
        unsigned bytes = 20 + i * 31 % 1495, whole = MAX(bytes, 60) + 4;
        uint8_t header[4];
        make_frame(frame, bytes, BROADCAST, 0x0800);
        reg(7, 0xff);
        g_assert_true(net_send_buf(&net.end, frame, bytes));
        g_assert_cmphex(get(7) & 1, ==, 1);
        read_mem(next * 256, header, 4);
        g_assert_cmphex(header[0], ==, 0x21);
        g_assert_cmpuint(ld16_le(header + 2), ==, whole + 4);
        unsigned start_at = next * 256 + 4;
        read_mem(start_at == RX_STOP * 256 ? RX_START * 256 : start_at, got, whole);
        g_assert_cmpmem(got, bytes, frame, bytes);
        next += (whole + 4 + 255) / 256;
        next = next >= RX_STOP ? next - (RX_STOP - RX_START) : next;
        g_assert_cmpuint(header[1], ==, next);
        g_assert_cmpuint(curr(), ==, next);
        reg(3, next == RX_START ? RX_STOP - 1 : next - 1);
    }
    close_card();
}

static void test_full(gconstpointer on_pci)
{
    unsigned count = 0;
    open_card(on_pci != NULL);
    make_frame(frame, 1514, BROADCAST, 0x0800);
    while (net_send_buf(&net.end, frame, 1514))
        g_assert_cmpuint(++count, <, 20);
    g_assert_cmpuint(count, ==, 9); /* of 58 pages, six each; CURR does not reach BNRY */
    g_assert_cmpuint(net.writable, ==, 0);
    test_device_state(dev);
    g_assert_false(net_send_buf(&net.end, frame, 1514));
    reg(7, 0xff); /* the guest is told again of what it has not read; but it can end telling */
    g_assert_cmphex(get(7), ==, 0);
    g_assert_false(irq());
    test_device_state(dev);
    vclock_step(50000);
    g_assert_cmphex(get(7), ==, 1);
    g_assert_true(irq());
    reg(3, RX_START + 1); /* room, but too little: told of when that turns out */
    g_assert_false(net_send_buf(&net.end, frame, 1514));
    g_assert_cmphex(get(7), ==, 1);
    unsigned before = net.writable;
    reg(3, RX_START + 5);
    g_assert_cmpuint(net.writable, ==, before + 1);
    g_assert_true(net_send_buf(&net.end, frame, 1514));
    g_assert_false(net_send_buf(&net.end, frame, 1514));
    reg(0, 0x20); /* neither start nor stop: as before */
    g_assert_false(net_send_buf(&net.end, frame, 1514));
    reg(0, CR_STOP); /* stopped: dropped */
    g_assert_cmpuint(net.writable, ==, before + 2);
    g_assert_true(net_send_buf(&net.end, frame, 1514));
    close_card();
}

static bool passes(const char *to)
{
    unsigned before = curr();
    make_frame(frame, 100, to, 0x0800);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    unsigned after = curr();
    reg(3, after == RX_START ? RX_STOP - 1 : after - 1);
    return before != after;
}

static void test_filters(gconstpointer on_pci)
{
    open_card(on_pci != NULL);
    start(0);
    g_assert_true(passes(NIC_BYTES));
    g_assert_false(passes(BROADCAST));
    g_assert_false(passes("\x52\x54\x00\x00\x00\x01"));
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x01"));
    start(0x10);
    g_assert_true(passes("\x52\x54\x00\x00\x00\x01"));
    start(0x08);
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x01"));
    reg(0, CR_START | CR_PAGE1);
    reg(8 + 31 / 8, 1u << 31 % 8); /* the hash of 01:00:5e:00:00:01 is 31 */
    reg(0, CR_START);
    g_assert_true(passes("\x01\x00\x5e\x00\x00\x01"));
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x02"));
    start(0x24); /* monitor mode counts */
    g_assert_false(passes(BROADCAST));
    g_assert_cmpuint(get(15), ==, 1);
    g_assert_cmpuint(get(15), ==, 0);
    start(0x04);
    reg(0, CR_START | CR_PAGE1);
    reg(7, 0x90); /* CURR outside of the ring: lost */
    reg(0, CR_START);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    g_assert_cmphex(get(7) & 0x10, ==, 0x10);
    g_assert_cmpuint(get(15), ==, 1);
    start(0x04);
    g_assert_true(net_send_buf(&net.end, frame, 13));
    g_assert_true(net_send_buf(&net.end, frame, 1515));
    g_assert_true(net_send_buf(&net.end, frame, 65536));
    g_assert_cmpuint(curr(), ==, RX_START);
    close_card();
}

/* Loopback within the card: the frame may lie in the ring. */
static void test_loopback(gconstpointer on_pci)
{
    uint8_t data[204];
    open_card(on_pci != NULL);
    make_frame(frame, 200, NIC_BYTES, 0x0800);
    write_mem(RX_START * 256 + 2, frame, 200);
    reg(13, 0x02);
    reg(4, RX_START);
    reg(5, 200);
    reg(6, 0);
    reg(0, 0x26); /* begins with what is no address of ours */
    g_assert_cmpuint(curr(), ==, RX_START);
    write_mem(RX_START * 256, frame, 200);
    reg(0, 0x26);
    g_assert_cmpuint(curr(), ==, RX_START + 1);
    read_mem(RX_START * 256, data, sizeof(data));
    g_assert_cmpmem(data + 4, 200, frame, 200);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    /* A full ring loses it. */
    write_mem(TX_PAGE * 256, frame, 200);
    reg(4, TX_PAGE);
    reg(3, RX_START + 2);
    reg(7, 0xff);
    reg(0, 0x26);
    g_assert_cmphex(get(7) & 0x10, ==, 0x10);
    g_assert_cmpuint(get(15), ==, 1);
    close_card();
}

/* Realtek's page on PCI; an NE2000 has none. */
static void test_page3(gconstpointer on_pci)
{
    open_card(on_pci != NULL);
    reg(0, CR_START | 0xc0);
    g_assert_cmphex(get(14), ==, on_pci ? 0x29 : 0);
    g_assert_cmphex(get(15), ==, on_pci ? 0x80 : 0);
    reg(6, 0); /* locked */
    g_assert_cmphex(get(6), ==, on_pci ? 0x40 : 0);
    reg(1, 0xc0);
    reg(6, 0);
    reg(5, 0x42);
    g_assert_cmphex(get(1), ==, on_pci ? 0xc0 : 0);
    g_assert_cmphex(get(6), ==, 0);
    g_assert_cmphex(get(5), ==, on_pci ? 0x42 : 0);
    test_device_state(dev);
    close_card();
}

static void test_hostile(gconstpointer on_pci)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    open_card(on_pci != NULL);
    make_frame(frame, 1514, BROADCAST, 0x0800);
    for (unsigned i = 0; i < 200000; i++) {
        uint16_t at = (uint16_t)(port + g_rand_int_range(random, 0, 32));
        uint32_t value = g_rand_int(random);
        if (at == port + 0x1f && value % 16)
            continue;
        if (i % 100 == 0) {
            net.take = value >> 8 & 7;
            net.full = value >> 12 & 1;
            net_writable(&net.end);
        }
        if (i % 500 == 0) {
            net_set_link(dev->id, value >> 16 & 3, NULL);
            start(0x1f);
            loop_step(m->loop, false);
        }
        switch (value % 4) {
        case 0:
            outl(m, at, g_rand_int(random));
            break;
        case 1:
            outb(m, at, (uint8_t)g_rand_int(random));
            break;
        case 2:
            inl(m, at);
            break;
        default:
            net_send_buf(&net.end, frame, value % 1600 + 1);
        }
        while (fake_count(&net))
            g_bytes_unref(g_queue_pop_head(&net.frames));
    }
    test_device_state(dev);
    close_card();
}

static void add(const char *name, GTestDataFunc fn)
{
    g_autofree char *on_pci = g_strdup_printf("/ne2k/pci/%s", name);
    g_autofree char *on_isa = g_strdup_printf("/ne2k/isa/%s", name);
    g_test_add_data_func(on_pci, "pci", fn);
    g_test_add_data_func(on_isa, NULL, fn);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("registers", test_registers);
    add("remote", test_remote);
    add("transmit", test_transmit);
    add("ring", test_ring);
    add("full", test_full);
    add("filters", test_filters);
    add("loopback", test_loopback);
    add("page3", test_page3);
    add("hostile", test_hostile);
    return g_test_run();
}
