/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images, faults and an IDE host for the tests of disk controllers. */
#include "test-ide-common.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hw/pci/pci.h"
#include "util/timer.h"

/* ---- Faults ---- */

typedef struct Fault {
    int error;
    uint64_t from, to;
} Fault;

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fault_cond = PTHREAD_COND_INITIALIZER;
static Fault read_fault, write_fault;
static int flush_error;
static bool held;
static unsigned flushes;

static void set_fault(Fault *fault, int error, uint64_t from, uint64_t to)
{
    pthread_mutex_lock(&fault_lock);
    *fault = (Fault){error, from, to};
    pthread_mutex_unlock(&fault_lock);
}

void fault_read(int error, uint64_t from, uint64_t to)
{
    set_fault(&read_fault, error, from, to);
}

void fault_write(int error, uint64_t from, uint64_t to)
{
    set_fault(&write_fault, error, from, to);
}

void fault_flush(int error)
{
    pthread_mutex_lock(&fault_lock);
    flush_error = error;
    pthread_mutex_unlock(&fault_lock);
}

void fault_hold(bool on)
{
    pthread_mutex_lock(&fault_lock);
    held = on;
    pthread_cond_broadcast(&fault_cond);
    pthread_mutex_unlock(&fault_lock);
}

unsigned flush_count(void)
{
    pthread_mutex_lock(&fault_lock);
    unsigned count = flushes;
    pthread_mutex_unlock(&fault_lock);
    return count;
}

/* Waits while requests are held (or says that it would have to), then the error for the range. */
static int look_for_fault(const Fault *fault, const struct iovec *iov, int count, off_t offset,
                          bool nowait)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    pthread_mutex_lock(&fault_lock);
    bool would_wait = held && nowait;
    while (held && !nowait)
        pthread_cond_wait(&fault_cond, &fault_lock);
    bool hit = (uint64_t)offset < fault->to && (uint64_t)offset + bytes > fault->from;
    int error = would_wait ? EAGAIN : hit ? fault->error : 0;
    pthread_mutex_unlock(&fault_lock);
    return error;
}

static ssize_t fail_with(int error)
{
    errno = error;
    return -1;
}

/* The system call takes the offset as two longs. */
ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    int error = look_for_fault(&read_fault, iov, count, offset, flags & RWF_NOWAIT);
    return error ? fail_with(error) : syscall(SYS_preadv2, fd, iov, count, offset, 0L, flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    int error = look_for_fault(&write_fault, iov, count, offset, flags & RWF_NOWAIT);
    return error ? fail_with(error) : syscall(SYS_pwritev2, fd, iov, count, offset, 0L, flags);
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
    return preadv2(fd, iov, count, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return pwritev2(fd, iov, count, offset, 0);
}

int fdatasync(int fd)
{
    pthread_mutex_lock(&fault_lock);
    while (held)
        pthread_cond_wait(&fault_cond, &fault_lock);
    int error = flush_error;
    flushes++;
    pthread_mutex_unlock(&fault_lock);
    return error ? (int)fail_with(error) : (int)syscall(SYS_fdatasync, fd);
}

/* ---- Images ---- */

static char *folder;
static GPtrArray *paths;

uint8_t pattern_byte(uint64_t offset)
{
    uint64_t sector = offset / 512;
    return (uint8_t)(sector * 7 + (sector >> 8) * 31 + offset % 512 * 3 + 1);
}

bool pattern_matches(const uint8_t *data, uint64_t offset, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i] != pattern_byte(offset + i))
            return false;
    return true;
}

const char *image_new(const char *name, uint64_t bytes)
{
    if (!folder) {
        folder = g_dir_make_tmp("vmrun-disk-XXXXXX", NULL);
        paths = g_ptr_array_new_with_free_func(g_free);
    }
    char *path = g_build_filename(folder, name, NULL);
    g_ptr_array_add(paths, path);
    FILE *file = fopen(path, "w");
    g_assert_nonnull(file);
    uint64_t filled = MIN(bytes, 4u << 20); /* the rest of a large image is a hole */
    for (uint64_t at = 0; at < filled; at++)
        putc(pattern_byte(at), file);
    g_assert_cmpint(fflush(file), ==, 0);
    g_assert_cmpint(ftruncate(fileno(file), (off_t)bytes), ==, 0);
    fclose(file);
    return path;
}

void image_read(const char *path, uint64_t offset, void *buf, size_t bytes)
{
    int fd = open(path, O_RDONLY);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, buf, bytes, (off_t)offset), ==, (ssize_t)bytes);
    close(fd);
}

Blk *drive_open(const char *options)
{
    GError *error = NULL;
    g_autoptr(Options) opts = options_parse("-drive", options, "file", NULL, &error);
    g_assert_no_error(error);
    Blk *blk = blk_open(opts, &error);
    g_assert_no_error(error);
    return blk;
}

Blk *drive_on(const char *id, const char *path, const char *more)
{
    g_autofree char *options =
        g_strdup_printf("file=%s,id=%s%s%s", path, id, more ? "," : "", more ? more : "format=raw");
    if (!more) {
        g_autofree char *raw = g_strdup_printf("file=%s,id=%s,format=raw", path, id);
        return drive_open(raw);
    }
    return drive_open(options);
}

void images_free(void)
{
    fault_hold(false);
    fault_read(0, 0, 0);
    fault_write(0, 0, 0);
    fault_flush(0);
    loop_lock(loop_main());
    blk_close_all();
    loop_unlock(loop_main());
    for (guint i = 0; paths && i < paths->len; i++)
        g_unlink(g_ptr_array_index(paths, i));
    if (folder)
        g_rmdir(folder);
    g_clear_pointer(&paths, g_ptr_array_unref);
    g_clear_pointer(&folder, g_free);
}

/* ---- An IDE host ---- */

#define DEVFN  PCI_DEVFN(1, 1)
#define BM_BAR 0xc000

static void config_write(Machine *m, unsigned reg, uint32_t value)
{
    outl(m, 0xcf8, 0x80000000u | DEVFN << 8 | reg);
    outl(m, 0xcfc, value);
}

void ide_setup(IdeHost *host, const char *props)
{
    g_autofree char *all = g_strdup_printf("addr=1.1%s%s", props ? "," : "", props ? props : "");
    *host = (IdeHost){.m = host->m};
    test_device(host->m, &i440fx_class, NULL);
    test_isa_irq(host->m, 14, &host->irq[0]);
    test_isa_irq(host->m, 15, &host->irq[1]);
    host->ide = test_device(host->m, &piix3_ide_class, all);
    config_write(host->m, PCI_BAR0 + 16, BM_BAR);
    config_write(host->m, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
}

void ide_teardown(IdeHost *host)
{
    test_machine_free(host->m);
    images_free();
}

uint16_t ide_port(const IdeHost *host, unsigned reg)
{
    return (uint16_t)((host->channel ? 0x170 : 0x1f0) + reg);
}

uint8_t ide_in(IdeHost *host, unsigned reg)
{
    return inb(host->m, ide_port(host, reg));
}

void ide_out(IdeHost *host, unsigned reg, uint8_t value)
{
    outb(host->m, ide_port(host, reg), value);
}

uint8_t ide_alt(IdeHost *host)
{
    return inb(host->m, host->channel ? 0x376 : 0x3f6);
}

void ide_control(IdeHost *host, uint8_t value)
{
    outb(host->m, host->channel ? 0x376 : 0x3f6, value);
}

void ide_select(IdeHost *host, unsigned unit)
{
    ide_out(host, 6, (uint8_t)(0xe0 | unit << 4));
}

uint8_t bm_in(IdeHost *host, unsigned reg)
{
    return inb(host->m, (uint16_t)(BM_BAR + host->channel * 8 + reg));
}

void bm_out(IdeHost *host, unsigned reg, uint8_t value)
{
    outb(host->m, (uint16_t)(BM_BAR + host->channel * 8 + reg), value);
}

bool ide_took_irq(IdeHost *host)
{
    TestIrq *irq = &host->irq[host->channel];
    bool took = irq->rises;
    irq->rises = 0;
    return took;
}

void ide_cmd28(IdeHost *host, uint8_t command, uint32_t lba, uint8_t count)
{
    uint8_t device = ide_in(host, 6) & 0x10;
    ide_out(host, 2, count);
    ide_out(host, 3, (uint8_t)lba);
    ide_out(host, 4, (uint8_t)(lba >> 8));
    ide_out(host, 5, (uint8_t)(lba >> 16));
    ide_out(host, 6, (uint8_t)(0xe0 | device | (lba >> 24 & 15)));
    ide_out(host, 7, command);
}

void ide_cmd48(IdeHost *host, uint8_t command, uint64_t lba, uint16_t count)
{
    ide_out(host, 2, (uint8_t)(count >> 8));
    ide_out(host, 3, (uint8_t)(lba >> 24));
    ide_out(host, 4, (uint8_t)(lba >> 32));
    ide_out(host, 5, (uint8_t)(lba >> 40));
    ide_out(host, 2, (uint8_t)count);
    ide_out(host, 3, (uint8_t)lba);
    ide_out(host, 4, (uint8_t)(lba >> 8));
    ide_out(host, 5, (uint8_t)(lba >> 16));
    ide_out(host, 6, 0x40 | (ide_in(host, 6) & 0x10));
    ide_out(host, 7, command);
}

static bool not_busy(void *opaque)
{
    return !(ide_alt(opaque) & BSY);
}

uint8_t ide_wait(IdeHost *host)
{
    test_wait(host->m, not_busy, host);
    return ide_alt(host);
}

void ide_read_data(IdeHost *host, void *buf, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 2)
        st16_le((uint8_t *)buf + i, inw(host->m, ide_port(host, 0)));
}

void ide_write_data(IdeHost *host, const void *buf, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 2)
        outw(host->m, ide_port(host, 0), ld16_le((const uint8_t *)buf + i));
}

void ide_prd(IdeHost *host, const uint32_t *pairs, unsigned count)
{
    for (unsigned i = 0; i < count * 2; i++)
        writel(host->m, PRD_AT + i * 4, pairs[i]);
    outl(host->m, (uint16_t)(BM_BAR + host->channel * 8 + 4), PRD_AT);
}

uint8_t ide_run_dma(IdeHost *host, bool to_memory)
{
    bm_out(host, 2, BM_ERROR | BM_INTR);
    bm_out(host, 0, to_memory ? 9 : 1);
    ide_wait(host);
    uint8_t status = bm_in(host, 2);
    bm_out(host, 0, 0);
    return status;
}

void ide_identify(IdeHost *host, uint16_t *words)
{
    ide_out(host, 7, 0xec);
    g_assert_cmphex(ide_wait(host), ==, DRDY | DSC | DRQ);
    g_assert_true(ide_took_irq(host));
    for (unsigned i = 0; i < 256; i++)
        words[i] = inw(host->m, ide_port(host, 0));
    g_assert_cmphex(ide_in(host, 7), ==, DRDY | DSC);
}

void ide_expect_ok(IdeHost *host)
{
    g_assert_cmphex(ide_wait(host), ==, DRDY | DSC);
    g_assert_true(ide_took_irq(host));
    g_assert_cmphex(ide_in(host, 7), ==, DRDY | DSC);
}

/* ---- Packets ---- */

void atapi_packet(IdeHost *host, const uint8_t *cdb, unsigned length, uint16_t limit, bool dma)
{
    uint8_t bytes[12] = {0};
    memcpy(bytes, cdb, length);
    ide_out(host, 1, dma);
    ide_out(host, 4, (uint8_t)limit);
    ide_out(host, 5, (uint8_t)(limit >> 8));
    ide_out(host, 7, 0xa0);
    g_assert_cmphex(ide_alt(host), ==, DRDY | DSC | DRQ);
    g_assert_cmphex(ide_in(host, 2) & 3, ==, 1);
    g_assert_false(ide_took_irq(host));
    ide_write_data(host, bytes, 12);
}

size_t atapi_take(IdeHost *host, uint8_t *data, size_t room, uint16_t limit)
{
    size_t done = 0;
    while (ide_wait(host) & DRQ) {
        unsigned chunk = ide_in(host, 4) | ide_in(host, 5) << 8;
        g_assert_true(ide_took_irq(host));
        g_assert_cmphex(ide_in(host, 2) & 3, ==, 2);
        g_assert_cmpuint(chunk, >, 0);
        g_assert_cmpuint(chunk, <=, limit);
        g_assert_cmpuint(done + chunk, <=, room);
        ide_in(host, 7);
        uint8_t words[0x10000];
        ide_read_data(host, words, (chunk + 1u) & ~1u);
        memcpy(data + done, words, chunk);
        done += chunk;
    }
    return done;
}

static uint8_t gf_mul(uint8_t a, uint8_t b)
{
    uint8_t product = 0;
    for (; b; b >>= 1, a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1d : 0)))
        if (b & 1)
            product ^= a;
    return product;
}

/* Both check equations of ECMA-130 A.3 for one vector of the product code. */
static void check_vector(const uint8_t *s, const unsigned *places, unsigned count)
{
    uint8_t sum = 0, weighted = 0;
    for (unsigned i = 0; i < count; i++) {
        sum ^= s[12 + places[i]];
        weighted = (uint8_t)(gf_mul(weighted, 2) ^ s[12 + places[i]]);
    }
    g_assert_cmphex(sum, ==, 0);
    g_assert_cmphex(weighted, ==, 0);
}

void cd_check_raw(const uint8_t *s, uint32_t lba)
{
    unsigned places[45], frame = lba + 150;
    static const uint8_t sync[12] = {0,    0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0xff, 0xff, 0};
    g_assert_cmpmem(s, 12, sync, 12);
    g_assert_cmphex(s[12], ==, to_bcd(frame / 4500));
    g_assert_cmphex(s[13], ==, to_bcd(frame / 75 % 60));
    g_assert_cmphex(s[14], ==, to_bcd(frame % 75));
    g_assert_cmphex(s[15], ==, 1);
    g_assert_true(pattern_matches(s + 16, (uint64_t)lba * 2048, 2048));
    uint32_t crc = 0; /* of data and EDC it is 0 */
    for (unsigned i = 0; i < 2068; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            bool one = (crc ^ s[i] >> bit) & 1;
            crc = crc >> 1 ^ (one ? 0xd8018001u : 0);
        }
    g_assert_cmphex(crc, ==, 0);
    for (unsigned column = 0; column < 86; column++) { /* P: bytes of words N, N + 43, ... */
        for (unsigned i = 0; i < 26; i++)
            places[i] = column + i * 86;
        check_vector(s, places, 26);
    }
    for (unsigned byte = 0; byte < 2; byte++) { /* Q: diagonals through 26 rows */
        for (unsigned n = 0; n < 26; n++) {
            for (unsigned m = 0; m < 43; m++)
                places[m] = 2 * ((44 * m + 43 * n) % 1118) + byte;
            places[43] = 2 * (1118 + n) + byte;
            places[44] = 2 * (1144 + n) + byte;
            check_vector(s, places, 45);
        }
    }
}

/* ---- Fuzzing ---- */

void fuzz_ports(Machine *m, const uint16_t *ports, unsigned port_count, unsigned count,
                unsigned seed)
{
    GRand *rand = g_rand_new_with_seed(seed);
    for (unsigned i = 0; i < count; i++) {
        uint16_t port = ports[g_rand_int_range(rand, 0, (int)port_count)];
        uint32_t value = g_rand_int(rand);
        if (g_rand_boolean(rand))
            value &= 0xff;
        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
            inb(m, port);
            break;
        case 1:
            inw(m, port);
            break;
        case 2:
            inl(m, port);
            break;
        case 3:
            outb(m, port, (uint8_t)value);
            break;
        case 4:
            outw(m, port, (uint16_t)value);
            break;
        default:
            outl(m, port, value);
        }
        if (i % 64 == 0)
            loop_step(loop_main(), false);
        if (i % 512 == 0)
            vclock_step(NS_PER_SEC / 10);
    }
    g_rand_free(rand);
}
