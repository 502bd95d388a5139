/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI test device ("pci-testdev"): BARs whose registers count the guest's writes, by an exit or
 * by an eventfd that the engine writes for it.  (QEMU, docs/specs/pci-testdev.rst.)
 *
 * BAR0 (memory) and BAR1 (I/O) each have three tests: no-eventfd, wildcard-eventfd and
 * datamatch-eventfd.  Writing a test's number to byte 0 starts it and puts its header there; writes
 * to the offset that the header names are counted.  With msi=on each count also sends MSI 0, so
 * that a guest can follow a doorbell to its interrupt.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/pci/pci.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"

#define MEMORY_SIZE  4096
#define PORTS_SIZE   256
#define TESTS_A_BAR  3
#define TESTS        (2 * TESTS_A_BAR)
#define NONE         (-1)
#define DATA_MATCH   0xfa
#define DATA_ANY     0xce
#define ACCESS_WIDTH 1

/* The header; the name follows it. */
enum {
    HDR_TEST = 0,
    HDR_WIDTH = 1,
    HDR_OFFSET = 4,
    HDR_DATA = 8,
    HDR_COUNT = 12,
    HDR_NAME = 16,
    HDR_SIZE = 48,
};

typedef struct TestKind {
    const char *name;
    bool eventfd, match;
} TestKind;

static const TestKind kinds[TESTS] = {
    {"mmio-no-eventfd", false, true},         {"mmio-wildcard-eventfd", true, false},
    {"mmio-datamatch-eventfd", true, true},   {"portio-no-eventfd", false, true},
    {"portio-wildcard-eventfd", true, false}, {"portio-datamatch-eventfd", true, true},
};

typedef struct PciTestdev {
    PciDevice pci;
    uint64_t membar; /* property */
    bool msi;        /* property */
    Region memory, ports, big;
    int fd; /* eventfd of the running test */
    LoopFd *watch;
    int armed;      /* the test whose doorbell is set, or NONE */
    int8_t current; /* the running test, or NONE */
    uint32_t count;
} PciTestdev;

/* ---- Tests ---- */

static bool is_memory(unsigned test)
{
    return test < TESTS_A_BAR;
}

/* Where the running test's writes go in its BAR: the upper half, a byte a test. */
static uint32_t test_offset(unsigned test)
{
    return (is_memory(test) ? MEMORY_SIZE : PORTS_SIZE) / 2 + test * ACCESS_WIDTH;
}

static uint8_t test_data(unsigned test)
{
    return kinds[test].match ? DATA_MATCH : DATA_ANY;
}

static void counted(PciTestdev *s, uint32_t writes)
{
    s->count += writes;
    if (s->msi && writes)
        pci_msi_send(&s->pci, 0);
}

/* Writes that the engine turned into events since the last look. */
static void drain(PciTestdev *s)
{
    uint64_t events;
    if (read(s->fd, &events, sizeof(events)) == sizeof(events))
        counted(s, (uint32_t)events);
}

static void fd_ready(void *opaque, int fd, unsigned revents)
{
    drain(opaque);
}

static Doorbell doorbell(const PciTestdev *s, unsigned test)
{
    return (Doorbell){
        .offset = test_offset(test),
        .size = ACCESS_WIDTH,
        .match = kinds[test].match,
        .data = test_data(test),
        .fd = s->fd,
    };
}

/* Moves the doorbell to test, or takes it away. */
static void arm(PciTestdev *s, int test)
{
    if (test != NONE && !kinds[test].eventfd)
        test = NONE;
    if (s->armed != NONE) {
        Doorbell old = doorbell(s, (unsigned)s->armed);
        region_remove_doorbell(is_memory((unsigned)s->armed) ? &s->memory : &s->ports, &old);
    }
    s->armed = test;
    if (test != NONE) {
        Doorbell bell = doorbell(s, (unsigned)test);
        region_add_doorbell(is_memory((unsigned)test) ? &s->memory : &s->ports, &bell);
    }
}

static void start(PciTestdev *s, unsigned first, uint8_t number)
{
    arm(s, NONE);
    drain(s);
    s->count = 0;
    s->current = (int8_t)(number < TESTS_A_BAR ? (int)(first + number) : NONE);
    arm(s, s->current);
}

/* ---- Registers ---- */

static void build_header(const PciTestdev *s, uint8_t header[HDR_SIZE])
{
    unsigned test = (unsigned)s->current;
    memset(header, 0, HDR_SIZE);
    header[HDR_TEST] = (uint8_t)test;
    header[HDR_WIDTH] = ACCESS_WIDTH;
    st32_le(header + HDR_OFFSET, test_offset(test));
    header[HDR_DATA] = test_data(test);
    st32_le(header + HDR_COUNT, s->count);
    g_strlcpy((char *)header + HDR_NAME, kinds[test].name, HDR_SIZE - HDR_NAME);
}

static uint64_t test_read(void *opaque, hwaddr offset, unsigned size)
{
    PciTestdev *s = opaque;
    uint8_t header[HDR_SIZE];
    if (s->current == NONE || offset >= HDR_SIZE)
        return 0;
    drain(s);
    build_header(s, header);
    return header[offset];
}

static void test_write(PciTestdev *s, unsigned first, hwaddr offset, uint8_t value)
{
    if (offset == HDR_TEST) {
        start(s, first, value);
        return;
    }
    if (s->current == NONE || offset != test_offset((unsigned)s->current))
        return;
    if (!kinds[s->current].match || value == DATA_MATCH)
        counted(s, 1);
}

static void memory_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    test_write(opaque, 0, offset, (uint8_t)value);
}

static void ports_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    test_write(opaque, TESTS_A_BAR, offset, (uint8_t)value);
}

static const RegionOps memory_ops = {.read = test_read, .write = memory_write, .max_size = 1};
static const RegionOps ports_ops = {.read = test_read, .write = ports_write, .max_size = 1};
static const RegionOps big_ops = {.max_size = 8}; /* nothing stands behind it */

/* ---- Life ---- */

static void unrealize(Device *dev)
{
    PciTestdev *s = (PciTestdev *)dev;
    arm(s, NONE);
    loop_fd_remove(s->watch);
    close(s->fd);
    pci_device_fini(&s->pci);
    region_fini(&s->memory);
    region_fini(&s->ports);
    region_fini(&s->big);
}

static bool check_props(PciTestdev *s, GError **error)
{
    if (s->membar && (!is_pow2(s->membar) || s->membar < 16))
        return fail(error,
                    "pci-testdev: membar=%" G_GUINT64_FORMAT " is not a power of two from 16 "
                    "bytes on",
                    s->membar);
    return true;
}

static bool realize(Device *dev, GError **error)
{
    PciTestdev *s = (PciTestdev *)dev;
    if (!check_props(s, error))
        return false;
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->fd < 0)
        return fail_errno(error, errno, "pci-testdev: eventfd");
    if (!pci_device_init(&s->pci, error)) {
        close(s->fd);
        return false;
    }
    s->armed = NONE;
    s->watch = loop_fd_add(dev->machine->loop, s->fd, LOOP_IN, fd_ready, s);
    region_init_io(&s->memory, "pci-testdev-mmio", MEMORY_SIZE, &memory_ops, s, NULL);
    region_init_io(&s->ports, "pci-testdev-portio", PORTS_SIZE, &ports_ops, s, NULL);
    pci_set_bar_memory(&s->pci, 0, &s->memory, false, false);
    pci_set_bar_io(&s->pci, 1, &s->ports);
    if (s->membar) {
        region_init_io(&s->big, "pci-testdev-membar", s->membar, &big_ops, s, NULL);
        pci_set_bar_memory(&s->pci, 2, &s->big, true, true);
    }
    if (s->msi)
        pci_add_msi(&s->pci, 0, true, true);
    return true;
}

static void reset(Device *dev)
{
    PciTestdev *s = (PciTestdev *)dev;
    arm(s, NONE);
    pci_device_reset(&s->pci); /* MSI is off before what is left in the eventfd is thrown away */
    drain(s);
    s->count = 0;
}

static void pre_save(void *state)
{
    drain(state);
}

static bool post_load(void *state, GError **error)
{
    PciTestdev *s = state;
    if (s->current < NONE || s->current >= TESTS)
        return fail(error, "pci-testdev: there is no test %d", s->current);
    arm(s, s->current);
    return true;
}

static const StateField fields[] = {
    STATE_STRUCT(PciTestdev, pci, &pci_device_state),
    STATE_HOST(PciTestdev, membar),
    STATE_HOST(PciTestdev, msi),
    STATE_HOST(PciTestdev, memory),
    STATE_HOST(PciTestdev, ports),
    STATE_HOST(PciTestdev, big),
    STATE_HOST(PciTestdev, fd),
    STATE_HOST(PciTestdev, watch),
    STATE_HOST(PciTestdev, armed),
    STATE_U(PciTestdev, current, (uint64_t)NONE),
    STATE_U(PciTestdev, count, 0),
    STATE_END,
};
static const StateDesc state = {
    "pci-testdev", 1, sizeof(PciTestdev), fields, pre_save, post_load,
};

static const Prop props[] = {
    PCI_DEVICE_PROPS(PciTestdev),
    PROP_FIELD(PciTestdev, membar, "membar", PROP_SIZE,
               .help = "size of a 64-bit memory BAR with nothing behind it; 0: none"),
    PROP_FIELD(PciTestdev, msi, "msi", PROP_BOOL, .help = "send MSI 0 for each counted write"),
    PROP_END,
};

static const PciInfo info = {.vendor = 0x1b36, .device = 0x0005, .class_code = 0x00ff00};

const DeviceClass pci_testdev_class = {
    .name = "pci-testdev",
    .desc = "PCI Test Device",
    .bus = BUS_PCI,
    .user = true,
    .size = sizeof(PciTestdev),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = unrealize,
    .describe = pci_device_describe,
    .bus_info = &info,
};
