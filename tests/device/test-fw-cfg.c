/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fw_cfg: items and files by port and by DMA, callbacks, hostile structures. */
#include "accel/test.h"
#include "hw/misc/fw_cfg.h"
#include "hw/registry.h"
#include "util/bytes.h"

#define RAM_SIZE (4u << 20)
#define ACCESS   0x1000 /* where the tests put the DMA structure */
#define BUFFER   0x2000

enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static Machine *m;
static Device *fw;

static void set_up(void)
{
    m = test_machine_new(RAM_SIZE);
    m->cpu_count = 3;
    for (unsigned i = 0; i < 16; i++)
        m->uuid[i] = (uint8_t)(0xa0 + i);
    fw = test_device(m, &fw_cfg_class, NULL);
}

static void select_key(uint16_t key)
{
    outw(m, 0x510, key);
}

static void read_item(uint16_t key, void *buf, unsigned length)
{
    select_key(key);
    for (unsigned i = 0; i < length; i++)
        ((uint8_t *)buf)[i] = inb(m, 0x511);
}

/* Runs a DMA operation and returns what is left in its control field. */
static uint32_t dma_at(uint64_t at, uint32_t control, uint32_t length, uint64_t addr)
{
    uint8_t access[16];
    st32_be(access, control);
    st32_be(access + 4, length);
    st64_be(access + 8, addr);
    dma_write(&m->mem, at, access, sizeof(access));
    outl(m, 0x514, GUINT32_SWAP_LE_BE((uint32_t)(at >> 32)));
    outl(m, 0x518, GUINT32_SWAP_LE_BE((uint32_t)at));
    return GUINT32_SWAP_LE_BE(dma_read32(&m->mem, at));
}

static uint32_t dma(uint32_t control, uint32_t length, uint64_t addr)
{
    return dma_at(ACCESS, control, length, addr);
}

/* The selector of a file by the directory that the guest sees, 0 if it is not there. */
static uint16_t find_file(const char *name, uint32_t *size)
{
    uint8_t count[4], entry[64];
    read_item(FW_CFG_FILE_DIR, count, 4);
    for (uint32_t i = 0; i < ld32_be(count); i++) {
        for (unsigned j = 0; j < sizeof(entry); j++)
            entry[j] = inb(m, 0x511);
        if (!strcmp((const char *)entry + 8, name)) {
            *size = ld32_be(entry);
            return ld16_be(entry + 4);
        }
    }
    return 0;
}

static void test_items(void)
{
    uint8_t buf[16];
    set_up();
    read_item(FW_CFG_SIGNATURE, buf, 6);
    g_assert_cmpmem(buf, 6, "QEMU\0\0", 6); /* past the end: zeroes */
    read_item(FW_CFG_ID, buf, 4);
    g_assert_cmphex(ld32_le(buf), ==, 3);
    read_item(FW_CFG_UUID, buf, 16);
    g_assert_cmpmem(buf, 16, m->uuid, 16);
    read_item(FW_CFG_RAM_SIZE, buf, 8);
    g_assert_cmphex(ld64_le(buf), ==, RAM_SIZE);
    read_item(FW_CFG_NB_CPUS, buf, 2);
    g_assert_cmphex(ld16_le(buf), ==, 3);
    read_item(FW_CFG_FILE_DIR, buf, 4);
    g_assert_cmphex(ld32_be(buf), ==, 0);
    fw_cfg_add_u32(fw, FW_CFG_IRQ0_OVERRIDE, 0x12345678);
    fw_cfg_add_string(fw, FW_CFG_CMDLINE_DATA, "root=x");
    fw_cfg_add_u16(fw, FW_CFG_NB_CPUS, 8);
    read_item(FW_CFG_IRQ0_OVERRIDE, buf, 5);
    g_assert_cmphex(ld32_le(buf), ==, 0x12345678);
    g_assert_cmphex(buf[4], ==, 0);
    read_item(FW_CFG_CMDLINE_DATA, buf, 7);
    g_assert_cmpstr((char *)buf, ==, "root=x");
    read_item(FW_CFG_NB_CPUS, buf, 2);
    g_assert_cmphex(ld16_le(buf), ==, 8);
    /* The write-channel bit changes nothing; arch-local items are others. */
    read_item(FW_CFG_SIGNATURE | 0x4000, buf, 4);
    g_assert_cmpmem(buf, 4, "QEMU", 4);
    read_item(FW_CFG_SIGNATURE | FW_CFG_ARCH_LOCAL, buf, 4);
    g_assert_cmphex(ld32_le(buf), ==, 0);
    test_machine_free(m);
}

static void test_ports(void)
{
    uint8_t string[4];
    set_up();
    read_item(FW_CFG_SIGNATURE, string, 1);
    outb(m, 0x511, 'x'); /* no effect */
    outb(m, 0x510, 1);
    inb(m, 0x510);
    inw(m, 0x510);
    g_assert_cmphex(inb(m, 0x511), ==, 'E');
    select_key(FW_CFG_SIGNATURE);
    dispatch_pio(&m->io, 0x511, false, 1, string, 4); /* REP INSB */
    g_assert_cmpmem(string, 4, "QEMU", 4);
    test_machine_free(m);
}

static void test_files(void)
{
    static const char *const names[] = {"opt/b", "etc/e820", "bootorder", "opt/a"};
    GError *error = NULL;
    uint32_t size;
    char text[8];
    set_up();
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_true(fw_cfg_add_file(fw, names[i], names[i], strlen(names[i]), NULL));
    /* Sorted by name, numbered from 0x20. */
    g_assert_cmphex(find_file("bootorder", &size), ==, 0x20);
    g_assert_cmphex(find_file("etc/e820", &size), ==, 0x21);
    g_assert_cmphex(find_file("opt/a", &size), ==, 0x22);
    g_assert_cmphex(find_file("opt/b", &size), ==, 0x23);
    g_assert_cmpuint(size, ==, 5);
    read_item(0x22, text, 6);
    g_assert_cmpstr(text, ==, "opt/a");
    g_assert_true(fw_cfg_modify_file(fw, "opt/a", "longer", 7));
    g_assert_cmphex(find_file("opt/a", &size), ==, 0x22);
    g_assert_cmpuint(size, ==, 7);
    read_item(0x22, text, 7);
    g_assert_cmpstr(text, ==, "longer");
    g_assert_cmpmem(fw_cfg_file_data(fw, "opt/a", &size), 7, "longer", 7);
    g_assert_null(fw_cfg_file_data(fw, "opt/c", &size));
    g_assert_false(fw_cfg_modify_file(fw, "opt/c", "x", 1));

    g_assert_false(fw_cfg_add_file(fw, "opt/a", "x", 1, &error));
    g_assert_cmpstr(error->message, ==, "fw_cfg: there is already a file 'opt/a'");
    g_clear_error(&error);
    g_assert_false(fw_cfg_add_file(fw, "", "x", 1, &error));
    g_clear_error(&error);
    char name[57];
    memset(name, 'n', 56);
    name[56] = 0;
    g_assert_false(fw_cfg_add_file(fw, name, "x", 1, &error));
    g_clear_error(&error);
    name[55] = 0;
    g_assert_true(fw_cfg_add_file(fw, name, "x", 1, NULL));
    g_assert_cmphex(find_file(name, &size), ==, 0x22);
    test_machine_free(m);
}

static void test_slots(void)
{
    GError *error = NULL;
    uint32_t size;
    set_up();
    for (unsigned i = 0; i < FW_CFG_FILE_SLOTS; i++) {
        g_autofree char *name = g_strdup_printf("file/%02u", FW_CFG_FILE_SLOTS - 1 - i);
        g_assert_true(fw_cfg_add_file(fw, name, name, strlen(name), NULL));
    }
    g_assert_false(fw_cfg_add_file(fw, "one/more", "x", 1, &error));
    g_assert_nonnull(strstr(error->message, "no slot"));
    g_clear_error(&error);
    g_assert_cmphex(find_file("file/63", &size), ==, 0x20 + 63);
    test_machine_free(m);
}

static void test_dma_read(void)
{
    uint8_t buf[8], signature[8];
    set_up();
    /* "QEMU CFG", big-endian, in any size. */
    st32_le(signature, inl(m, 0x514));
    st32_le(signature + 4, inl(m, 0x518));
    g_assert_cmpmem(signature, 8, "QEMU CFG", 8);
    g_assert_cmphex(inb(m, 0x515), ==, 'E');
    fw_cfg_add_bytes(fw, FW_CFG_KERNEL_DATA, "0123456789", 10);
    dma_fill(&m->mem, BUFFER, 0x55, 32);
    g_assert_cmphex(dma(SELECT | READ | FW_CFG_KERNEL_DATA << 16, 4, BUFFER), ==, 0);
    g_assert_cmphex(dma(SKIP, 2, 0), ==, 0);
    g_assert_cmphex(dma(READ, 8, BUFFER + 8), ==, 0);
    dma_read(&m->mem, BUFFER, buf, 8);
    g_assert_cmpmem(buf, 8, "0123\x55\x55\x55\x55", 8);
    dma_read(&m->mem, BUFFER + 8, buf, 8);
    g_assert_cmpmem(buf, 8, "6789\0\0\0\0", 8); /* past the end: zeroes */
    g_assert_cmphex(dma_read32(&m->mem, BUFFER + 16), ==, 0x55555555);
    /* DMA and port share the offset. */
    g_assert_cmphex(dma(SELECT | SKIP | FW_CFG_KERNEL_DATA << 16, 9, 0), ==, 0);
    g_assert_cmphex(inb(m, 0x511), ==, '9');
    /* Select alone; nothing at all. */
    g_assert_cmphex(dma(SELECT | FW_CFG_KERNEL_DATA << 16, 100, 0), ==, 0);
    g_assert_cmphex(dma(0, 100, 0), ==, 0);
    g_assert_cmphex(inb(m, 0x511), ==, '0');
    test_machine_free(m);
}

typedef struct Owner {
    unsigned selects, writes;
    uint32_t offset, length;
} Owner;

static void on_select(void *opaque)
{
    ((Owner *)opaque)->selects++;
    fw_cfg_modify_file(fw, "etc/live", "live", 4);
}

static void on_write(void *opaque, uint32_t offset, uint32_t length)
{
    Owner *owner = opaque;
    owner->writes++;
    owner->offset = offset;
    owner->length = length;
}

static void test_hooks(void)
{
    Owner owner = {0};
    FwCfgHooks live = {.select = on_select, .opaque = &owner};
    FwCfgHooks address = {.write = on_write, .opaque = &owner};
    uint32_t size;
    char text[4];
    set_up();
    g_assert_true(fw_cfg_add_file_hooks(fw, "etc/live", "dead", 4, &live, NULL));
    g_assert_true(fw_cfg_add_file_hooks(fw, "etc/addr", "\0\0\0\0\0\0\0\0", 8, &address, NULL));
    uint16_t live_key = find_file("etc/live", &size), key = find_file("etc/addr", &size);
    read_item(live_key, text, 4);
    g_assert_cmpmem(text, 4, "live", 4);
    g_assert_cmpuint(owner.selects, ==, 1);
    writeq(m, BUFFER, 0x1122334455667788);
    g_assert_cmphex(dma(SELECT | SKIP | (uint32_t)key << 16, 4, 0), ==, 0);
    g_assert_cmphex(dma(WRITE, 4, BUFFER), ==, 0);
    g_assert_cmpuint(owner.offset, ==, 4);
    g_assert_cmpuint(owner.length, ==, 4);
    g_assert_cmphex(ld32_le(fw_cfg_file_data(fw, "etc/addr", &size) + 4), ==, 0x55667788);
    /* Past the end, into a read-only item, from where there is no memory: refused whole. */
    g_assert_cmphex(dma(SELECT | WRITE | (uint32_t)key << 16, 9, BUFFER), ==, ERROR);
    g_assert_cmphex(dma(SELECT | WRITE | (uint32_t)live_key << 16, 1, BUFFER), ==, ERROR);
    g_assert_cmphex(dma(SELECT | WRITE | FW_CFG_SIGNATURE << 16, 1, BUFFER), ==, ERROR);
    g_assert_cmphex(dma(SELECT | WRITE | 0x7777u << 16, 1, BUFFER), ==, ERROR);
    g_assert_cmpuint(owner.writes, ==, 1);
    g_assert_cmphex(ld32_le(fw_cfg_file_data(fw, "etc/addr", &size)), ==, 0);
    test_machine_free(m);
}

static void test_shared(void)
{
    g_autoptr(GBytes) kernel = g_bytes_new_static("kernel", 6);
    uint32_t size;
    char text[6];
    set_up();
    fw_cfg_add_shared(fw, FW_CFG_KERNEL_DATA, kernel);
    g_assert_true(fw_cfg_add_file_shared(fw, "opt/kernel", kernel, NULL));
    read_item(FW_CFG_KERNEL_DATA, text, 6);
    g_assert_cmpmem(text, 6, "kernel", 6);
    g_assert_true(fw_cfg_file_data(fw, "opt/kernel", &size) == g_bytes_get_data(kernel, NULL));
    test_machine_free(m);
}

/* Structures and buffers anywhere. */
static void test_hostile_dma(void)
{
    static const uint64_t places[] = {
        0,          RAM_SIZE - 1, RAM_SIZE - 15,   RAM_SIZE - 16, RAM_SIZE,
        0xfee00000, 1ULL << 32,   UINT64_MAX - 15, UINT64_MAX,
    };
    static const uint32_t lengths[] = {0, 1, 4096, 0x7fffffff, 0xffffffff};
    set_up();
    g_assert_cmphex(dma(SELECT | READ, 4, RAM_SIZE), ==, ERROR);
    g_assert_cmphex(dma(SELECT | READ, 0xffffffff, BUFFER), ==, ERROR); /* zeroes run out of RAM */
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++)
        for (unsigned j = 0; j < G_N_ELEMENTS(places); j++)
            for (unsigned k = 0; k < G_N_ELEMENTS(lengths); k++)
                for (uint32_t control = 0; control < 32; control++)
                    dma_at(places[i], control | 0x19u << 16, lengths[k], places[j]);
    /* A structure that reads itself over. */
    g_assert_cmphex(dma(SELECT | READ, 16, ACCESS), ==, 0);
    /* Halves of the address in other sizes start nothing. */
    writel(m, ACCESS, GUINT32_SWAP_LE_BE(READ));
    outw(m, 0x518, 0);
    outw(m, 0x51a, GUINT16_SWAP_LE_BE(ACCESS));
    g_assert_cmphex(readl(m, ACCESS), ==, GUINT32_SWAP_LE_BE(READ));
    test_machine_free(m);
}

static void test_keys(void)
{
    set_up();
    for (unsigned key = 0; key < 0x10000; key++) {
        select_key((uint16_t)key);
        inb(m, 0x511);
    }
    test_machine_free(m);
}

static void test_state(void)
{
    set_up();
    select_key(FW_CFG_SIGNATURE + 1);
    select_key(FW_CFG_SIGNATURE);
    inb(m, 0x511);
    outl(m, 0x514, 0x01000000);
    test_device_state(fw);
    g_assert_cmphex(inb(m, 0x511), ==, 'E');
    device_reset(fw);
    g_assert_cmphex(inb(m, 0x511), ==, 'Q');
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw-cfg/items", test_items);
    g_test_add_func("/fw-cfg/ports", test_ports);
    g_test_add_func("/fw-cfg/files", test_files);
    g_test_add_func("/fw-cfg/slots", test_slots);
    g_test_add_func("/fw-cfg/dma/read", test_dma_read);
    g_test_add_func("/fw-cfg/dma/hostile", test_hostile_dma);
    g_test_add_func("/fw-cfg/hooks", test_hooks);
    g_test_add_func("/fw-cfg/shared", test_shared);
    g_test_add_func("/fw-cfg/keys", test_keys);
    g_test_add_func("/fw-cfg/state", test_state);
    return g_test_run();
}
