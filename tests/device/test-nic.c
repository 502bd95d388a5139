/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every card must do alike: stand still with the machine, live with back ends that go and come
 * back, be restored into a card that was never used. */
#include "test-nic.h"

#include "../../hw/net/e1000_regs.h"
#include "hw/core/state.h"
#include "hw/registry.h"

#define DEVFN     PCI_DEVFN(3, 0)
#define MEM       0xfe000000u
#define PORT      0x300
#define RAM_SIZE  (1u << 20)
#define TX_BUF    0x20000
#define RX_BUF    0x40000
#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define BYTES     100u

/* A card and a driver of it: one frame a call. */
typedef struct Card {
    const char *name;
    const DeviceClass *cls;
    bool isa;
    void (*init)(void);
    void (*transmit)(void);
    unsigned (*received)(void);                  /* frames in memory, up to 3 */
    void (*address)(uint8_t mac[NET_MAC_BYTES]); /* as a driver finds it */
} Card;

static Machine *m;
static Device *dev;
static FakeNet net;
static const Card *card;
static unsigned tail; /* of frames handed to the card */
static uint8_t frame[BYTES];

/* ---- Drivers ---- */

static void e1000_init(void)
{
    writel(m, MEM + TDBAL, 0x10000);
    writel(m, MEM + TDLEN, 128);
    writel(m, MEM + TCTL, TCTL_EN);
    for (unsigned i = 0; i < 8; i++)
        writeq(m, 0x11000 + 16 * i, RX_BUF + i * 2048);
    writel(m, MEM + RDBAL, 0x11000);
    writel(m, MEM + RDLEN, 128);
    writel(m, MEM + RDT, 7);
    writel(m, MEM + RCTL, RCTL_EN | RCTL_BAM);
}

static void e1000_transmit(void)
{
    writeq(m, 0x10000 + 16 * tail, TX_BUF);
    writel(m, 0x10000 + 16 * tail + 8, BYTES | TX_EOP | TX_RS);
    tail = (tail + 1) % 8;
    writel(m, MEM + TDT, tail);
}

static unsigned e1000_received(void)
{
    g_assert_cmpuint(readb(m, 0x11000 + 16 * readl(m, MEM + RDH) + 12), ==, 0);
    return readl(m, MEM + RDH);
}

static void e1000_address(uint8_t mac[NET_MAC_BYTES])
{
    st32_le(mac, readl(m, MEM + RAL0));
    st16_le(mac + 4, (uint16_t)readl(m, MEM + RAH0));
}

static void rtl8139_init(void)
{
    writel(m, MEM + 0x30, RX_BUF);
    writel(m, MEM + 0x44, 0x0a);
    writeb(m, MEM + 0x37, 0x0c);
}

static void rtl8139_transmit(void)
{
    writel(m, MEM + 0x20 + 4 * (tail % 4), TX_BUF);
    writel(m, MEM + 0x10 + 4 * (tail % 4), BYTES);
    tail++;
}

static unsigned rtl8139_received(void)
{
    return readw(m, MEM + 0x3a) / 108; /* a header of 4, and 4 of an FCS */
}

static void rtl8139_address(uint8_t mac[NET_MAC_BYTES])
{
    for (unsigned i = 0; i < NET_MAC_BYTES; i++)
        mac[i] = readb(m, MEM + i);
}

static void ne2k_reg(unsigned at, unsigned value)
{
    outb(m, (uint16_t)(PORT + at), (uint8_t)value);
}

static void ne2k_init(void)
{
    static const uint8_t pairs[][2] = {{0, 0x21}, {14, 0x48}, {12, 0x04}, {13, 0},   {1, 0x46},
                                       {2, 0x80}, {3, 0x7f},  {4, 0x40},  {7, 0xff}, {15, 0x7f},
                                       {0, 0x61}, {7, 0x46},  {0, 0x22},  {8, 0},    {9, 0x40},
                                       {10, 100}, {11, 0},    {0, 0x12}};
    for (unsigned i = 0; i < G_N_ELEMENTS(pairs); i++)
        ne2k_reg(pairs[i][0], pairs[i][1]);
    for (unsigned i = 0; i < BYTES; i++)
        ne2k_reg(0x10, frame[i]);
    ne2k_reg(5, BYTES);
    ne2k_reg(6, 0);
}

static void ne2k_transmit(void)
{
    ne2k_reg(0, 0x26);
}

static unsigned ne2k_received(void)
{
    ne2k_reg(0, 0x62);
    unsigned curr = inb(m, PORT + 7);
    ne2k_reg(0, 0x22);
    return curr - 0x46;
}

static void ne2k_address(uint8_t mac[NET_MAC_BYTES])
{
    static const uint8_t pairs[][2] = {{0, 0x22}, {14, 0x48}, {8, 0},   {9, 0},
                                       {10, 12},  {11, 0},    {0, 0x0a}};
    for (unsigned i = 0; i < G_N_ELEMENTS(pairs); i++)
        ne2k_reg(pairs[i][0], pairs[i][1]);
    for (unsigned i = 0; i < 2 * NET_MAC_BYTES; i++)
        mac[i / 2] = inb(m, PORT + 0x10);
}

static const Card cards[] = {
    {"e1000", &e1000_class, false, e1000_init, e1000_transmit, e1000_received, e1000_address},
    {"rtl8139", &rtl8139_class, false, rtl8139_init, rtl8139_transmit, rtl8139_received,
     rtl8139_address},
    {"ne2k_pci", &ne2k_pci_class, false, ne2k_init, ne2k_transmit, ne2k_received, ne2k_address},
    {"ne2k_isa", &ne2k_isa_class, true, ne2k_init, ne2k_transmit, ne2k_received, ne2k_address},
};

/* What a firmware does. */
static void map_card(void)
{
    bool ports = card->cls == &ne2k_pci_class, e1000 = card->cls == &e1000_class;
    if (card->isa)
        return;
    cfg_writel(m, DEVFN, 0x10, ports ? PORT : e1000 ? MEM : 0xc000);
    cfg_writel(m, DEVFN, 0x14, ports ? 0 : e1000 ? 0xc100 : MEM);
    cfg_writew(m, DEVFN, PCI_COMMAND, 7);
}

/* A machine with the card on the back end net0, not set up yet. */
static void make_card(const char *mac)
{
    g_autofree char *props = g_strdup_printf(
        "%s,netdev=net0,mac=%s", card->isa ? "iobase=0x300,irq=5" : "addr=3,romfile=", mac);
    m = test_machine_new(RAM_SIZE);
    if (!card->isa)
        test_device(m, &i440fx_class, NULL);
    dev = test_device(m, card->cls, props);
    map_card();
}

static void open_card(const void *which)
{
    card = which;
    tail = 0;
    fake_open(&net, "net0");
    make_card(NIC_MAC);
    make_frame(frame, BYTES, BROADCAST, 0x0800);
    dma_write(&m->mem, TX_BUF, frame, BYTES);
    card->init();
}

static void close_card(void)
{
    test_machine_free(m);
    fake_done(&net);
}

static void expect_frame(void)
{
    uint8_t got[BYTES];
    g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, BYTES);
    g_assert_cmpmem(got, BYTES, frame, BYTES);
}

/* ---- A machine that stands still ---- */

static void test_stopped(const void *which)
{
    g_autofree uint8_t *before = g_malloc(RAM_SIZE), *after = g_malloc(RAM_SIZE);

    open_card(which);
    machine_pause(m, MACHINE_PAUSED);
    dma_read(&m->mem, 0, before, RAM_SIZE);
    g_assert_false(net_send_buf(&net.end, frame, BYTES));
    dma_read(&m->mem, 0, after, RAM_SIZE);
    g_assert_cmpint(memcmp(before, after, RAM_SIZE), ==, 0);
    g_assert_cmpuint(card->received(), ==, 0);
    card->transmit(); /* by a debugger */
    device_reset(dev);
    g_assert_false(net_send_buf(&net.end, frame, BYTES));
    map_card();
    card->init();
    tail = 0;
    card->transmit();
    for (unsigned i = 0; i < 4; i++)
        loop_step(m->loop, false);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    g_assert_cmpuint(net.writable, ==, 0);
    g_assert_cmpuint(net.end.rx_frames, ==, 0);

    g_assert_true(machine_resume(m, NULL));
    g_assert_cmpuint(net.writable, ==, 1);
    loop_step(m->loop, false);
    expect_frame();
    g_assert_true(net_send_buf(&net.end, frame, BYTES));
    g_assert_cmpuint(card->received(), ==, 1);
    close_card();
}

/* ---- Back ends that call back ---- */

/* A frame goes once, though the back end says in the middle of it that there is room. */
static void test_eager(const void *which)
{
    open_card(which);
    net.eager = true;
    card->transmit();
    expect_frame();
    for (unsigned i = 0; i < 4; i++)
        loop_step(m->loop, false);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    card->transmit();
    expect_frame();
    close_card();
}

/* ---- Back ends that go and come back ---- */

static NetEnd *open_port(const char *options)
{
    g_autoptr(Options) opts = options_parse("-netdev", options, "type", NULL, NULL);
    g_autoptr(GError) error = NULL;
    NetEnd *end = net_open(opts, &error);
    g_assert_no_error(error);
    return end;
}

/* The card's network is a hub, whose other port leads to the fake one. */
static void test_replaced(const void *which)
{
    card = which;
    tail = 0;
    fake_open(&net, "far");
    open_port("hubport,id=net0,hubid=7");
    open_port("hubport,id=other,hubid=7,netdev=far");
    make_card(NIC_MAC);
    make_frame(frame, BYTES, BROADCAST, 0x0800);
    dma_write(&m->mem, TX_BUF, frame, BYTES);
    card->init();
    card->transmit();
    expect_frame();

    net.full = true;
    card->transmit(); /* waits, and is lost with the network */
    g_assert_cmpuint(net.refused, ==, 1);
    net_close(net_find("net0"));
    for (unsigned i = 0; i < 4; i++)
        loop_step(m->loop, false);
    net.full = false;
    card->transmit();
    g_assert_cmpuint(fake_count(&net), ==, 0);

    open_port("hubport,id=net0,hubid=7");
    g_assert_true(net_find("net0")->peer && !net_find("net0")->peer->ops->backend);
    card->transmit();
    expect_frame();
    g_assert_true(net_send_buf(&net.end, frame, BYTES));
    g_assert_cmpuint(card->received(), ==, 1);
    /* The card goes first: nobody is there to be connected. */
    test_machine_free(m);
    net_close(net_find("net0"));
    g_assert_null(open_port("hubport,id=net0,hubid=7")->peer);
    net_close_all();
    g_queue_clear_full(&net.frames, (GDestroyNotify)g_bytes_unref);
}

/* ---- A snapshot into a card that was never used ---- */

static void test_fresh(const void *which)
{
    g_autofree uint8_t *ram = g_malloc(RAM_SIZE);
    g_autoptr(GByteArray) state = g_byte_array_new();
    GError *error = NULL;

    open_card(which);
    g_assert_true(net_send_buf(&net.end, frame, BYTES));
    net.full = true;
    card->transmit();
    g_assert_cmpuint(net.refused, ==, 1);
    state_save(card->cls->state, dev, state);
    dma_read(&m->mem, 0, ram, RAM_SIZE);
    test_machine_free(m);

    make_card("52:54:00:99:99:99");
    dma_write(&m->mem, 0, ram, RAM_SIZE);
    const uint8_t *at = state->data;
    g_assert_true(state_load(card->cls->state, dev, &at, at + state->len, &error));
    loop_step(m->loop, false); /* the peer refuses it again */
    g_assert_cmpuint(net.refused, ==, 2);
    net.full = false;
    net_writable(&net.end);
    expect_frame();
    g_assert_cmpuint(card->received(), ==, 1);
    g_assert_true(net_send_buf(&net.end, frame, BYTES));
    g_assert_cmpuint(card->received(), ==, 2);
    card->transmit();
    expect_frame();
    /* The guest keeps the address that it knows, over a reset too. */
    for (unsigned i = 0; i < 2; i++) {
        uint8_t mac[NET_MAC_BYTES];
        card->address(mac);
        g_assert_cmpmem(mac, NET_MAC_BYTES, NIC_BYTES, NET_MAC_BYTES);
        device_reset(dev);
        map_card();
    }
    close_card();
}

/* Two cards of one guest on a hub, with buffers that overlap: a frame is copied as a whole. */
static void test_two_cards(void)
{
    const uint32_t other = 0xfe100000;
    uint8_t got[BYTES];

    card = &cards[0];
    tail = 0;
    open_port("hubport,id=net0,hubid=8");
    open_port("hubport,id=net1,hubid=8");
    make_card(NIC_MAC);
    test_device(m, &e1000_class, "addr=4,romfile=,netdev=net1,mac=52:54:00:12:34:57");
    cfg_writel(m, PCI_DEVFN(4, 0), 0x10, other);
    cfg_writew(m, PCI_DEVFN(4, 0), PCI_COMMAND, 7);
    writeq(m, 0x12000, TX_BUF + 10);
    writel(m, other + RDBAL, 0x12000);
    writel(m, other + RDLEN, 128);
    writel(m, other + RDT, 7);
    writel(m, other + RCTL, RCTL_EN | RCTL_BAM);
    make_frame(frame, BYTES, BROADCAST, 0x0800);
    dma_write(&m->mem, TX_BUF, frame, BYTES);
    card->init();
    card->transmit();
    g_assert_cmpuint(readl(m, other + RDH), ==, 1);
    dma_read(&m->mem, TX_BUF + 10, got, BYTES);
    g_assert_cmpmem(got, BYTES, frame, BYTES);
    test_machine_free(m);
    net_close_all();
}

static void add(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cards); i++) {
        g_autofree char *path = g_strdup_printf("/nic/%s/%s", cards[i].name, name);
        g_test_add_data_func(path, &cards[i], fn);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("stopped", test_stopped);
    add("eager", test_eager);
    add("replaced", test_replaced);
    add("fresh", test_fresh);
    g_test_add_func("/nic/two-cards", test_two_cards);
    return g_test_run();
}
