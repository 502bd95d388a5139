/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest engine: a machine without a CPU that a test drives over a socket, with the line
 * protocol of QEMU's -qtest.
 *
 *     > outb 0x43 0x34            inb inw inl, outb outw outl
 *     < OK
 *     > readl 0xfec00000          readb readw readl readq, writeb writew writel writeq
 *     < OK 0x0000000000000000
 *     > read 0x1000 4             write ADDR SIZE 0xHEX, memset ADDR SIZE BYTE, b64read, b64write
 *     < OK 0x01020304
 *     > irq_intercept_in ioapic   set_irq_in DEVICE NAME PIN LEVEL
 *     < IRQ raise 4               whenever an input of the device changes
 *     > clock_step 1000000        clock_set NS; without a number: to the next timer
 *     < OK 1000000
 *     > endianness
 *     < OK little
 *
 * What is wrong gets "FAIL" and the reason.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "qtest_private.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

enum { MAX_WORDS = 8 };

static struct {
    Machine *machine;
    QtestLink *link;
    FILE *log;
    int64_t opened_at;
    Device *intercepted;
    uint64_t *levels; /* bit a pin of the intercepted device */
} qtest;

/* ---- Answers and log ---- */

static void log_line(char direction, const char *text)
{
    if (!qtest.log)
        return;
    int64_t age = clock_now(VM_CLOCK_HOST) - qtest.opened_at;
    fprintf(qtest.log, "[%c +%.6f] %s\n", direction, (double)age / NS_PER_SEC, text);
    fflush(qtest.log);
}

static void answer(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void answer(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_vprintf(text, format, args);
    va_end(args);
    log_line('S', text->str);
    g_string_append_c(text, '\n');
    if (qtest.link)
        qtest_link_send(qtest.link, text->str, text->len);
}

/* ---- Words ---- */

typedef struct Command {
    unsigned count; /* of words, the command's name included */
    char *words[MAX_WORDS];
} Command;

static bool get_number(const Command *command, unsigned i, const char *what, uint64_t *out)
{
    if (i < command->count && parse_uint(command->words[i], out))
        return true;
    if (i < command->count)
        answer("FAIL %s: '%s' is not a number (%s)", command->words[0], command->words[i], what);
    else
        answer("FAIL %s: the %s is missing", command->words[0], what);
    return false;
}

/* The address and length of a block command. */
static bool get_block(const Command *command, uint64_t *addr, uint64_t *length)
{
    if (!get_number(command, 1, "address", addr) || !get_number(command, 2, "size", length))
        return false;
    if (*length == 0 || *length > QTEST_TRANSFER_MAX)
        answer("FAIL %s: a size of %" PRIu64 "; it is 1 to %u", command->words[0], *length,
               QTEST_TRANSFER_MAX);
    else if (*addr + (*length - 1) < *addr)
        answer("FAIL %s: the block goes past the end of memory", command->words[0]);
    else
        return true;
    return false;
}

/* 1, 2, 4, 8 for b, w, l, q. */
static unsigned suffix_size(const char *word)
{
    const char *letters = "bwlq", *at = strchr(letters, word[strlen(word) - 1]);
    return 1u << (at - letters);
}

/* ---- Commands ---- */

static void do_in(const Command *command)
{
    uint64_t port;
    uint32_t value = 0;
    if (!get_number(command, 1, "port", &port))
        return;
    dispatch_pio(&qtest.machine->io, (uint16_t)port, false, suffix_size(command->words[0]), &value,
                 1);
    answer("OK 0x%04x", value);
}

static void do_out(const Command *command)
{
    uint64_t port, value;
    if (!get_number(command, 1, "port", &port) || !get_number(command, 2, "value", &value))
        return;
    uint32_t data = (uint32_t)value;
    dispatch_pio(&qtest.machine->io, (uint16_t)port, true, suffix_size(command->words[0]), &data,
                 1);
    answer("OK");
}

static void do_load(const Command *command)
{
    uint64_t addr, value = 0;
    if (!get_number(command, 1, "address", &addr))
        return;
    as_load(&qtest.machine->mem, addr, suffix_size(command->words[0]), &value);
    answer("OK 0x%016" PRIx64, value);
}

static void do_store(const Command *command)
{
    uint64_t addr, value;
    if (!get_number(command, 1, "address", &addr) || !get_number(command, 2, "value", &value))
        return;
    as_store(&qtest.machine->mem, addr, suffix_size(command->words[0]), value);
    answer("OK");
}

static void do_read(const Command *command)
{
    uint64_t addr, length;
    if (!get_block(command, &addr, &length))
        return;
    g_autofree uint8_t *data = g_malloc(length);
    g_autofree char *text = g_malloc(2 * length + 1);
    as_read(&qtest.machine->mem, addr, data, length);
    for (uint64_t i = 0; i < length; i++) {
        text[2 * i] = "0123456789abcdef"[data[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[data[i] & 15];
    }
    text[2 * length] = 0;
    answer("OK 0x%s", text);
}

/* Missing digits count as zeroes. */
static void do_write(const Command *command)
{
    uint64_t addr, length;
    if (!get_block(command, &addr, &length))
        return;
    const char *hex = command->count > 3 ? command->words[3] : "";
    if (g_ascii_strncasecmp(hex, "0x", 2) || !hex[2]) {
        answer("FAIL write: the data is missing (0x and hexadecimal digits)");
        return;
    }
    g_autofree uint8_t *data = g_malloc0(length);
    hex += 2;
    for (uint64_t i = 0; i < 2 * length && hex[i]; i++) {
        int digit = g_ascii_xdigit_value(hex[i]);
        if (digit < 0) {
            answer("FAIL write: '%c' is not a hexadecimal digit", hex[i]);
            return;
        }
        data[i / 2] |= (uint8_t)(digit << (i % 2 ? 0 : 4));
    }
    as_write(&qtest.machine->mem, addr, data, length);
    answer("OK");
}

static void do_memset(const Command *command)
{
    uint64_t addr, length, byte;
    if (!get_block(command, &addr, &length) || !get_number(command, 3, "byte", &byte))
        return;
    g_autofree uint8_t *data = g_malloc(length);
    memset(data, (int)(byte & 0xff), length);
    as_write(&qtest.machine->mem, addr, data, length);
    answer("OK");
}

static void do_b64read(const Command *command)
{
    uint64_t addr, length;
    if (!get_block(command, &addr, &length))
        return;
    g_autofree uint8_t *data = g_malloc(length);
    as_read(&qtest.machine->mem, addr, data, length);
    g_autofree char *text = g_base64_encode(data, length);
    answer("OK %s", text);
}

static void do_b64write(const Command *command)
{
    uint64_t addr, length;
    gsize got;
    if (!get_block(command, &addr, &length))
        return;
    if (command->count < 4 || !*command->words[3]) {
        answer("FAIL b64write: the data is missing");
        return;
    }
    g_base64_decode_inplace(command->words[3], &got);
    if (got != length) {
        answer("FAIL b64write: %zu bytes of data for a size of %" PRIu64, got, length);
        return;
    }
    as_write(&qtest.machine->mem, addr, command->words[3], length);
    answer("OK");
}

static void do_clock_step(const Command *command)
{
    uint64_t ns;
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (command->count > 1) {
        if (!get_number(command, 1, "number of nanoseconds", &ns))
            return;
    } else {
        int64_t deadline = vclock_next_deadline();
        ns = deadline > now ? (uint64_t)(deadline - now) : 0;
    }
    if (ns > (uint64_t)(INT64_MAX - now))
        answer("FAIL clock_step: %" PRIu64 " ns goes past the end of time", ns);
    else
        answer("OK %" PRId64, vclock_step((int64_t)ns));
}

static void do_clock_set(const Command *command)
{
    uint64_t ns;
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (!get_number(command, 1, "time in nanoseconds", &ns))
        return;
    if (ns > INT64_MAX)
        answer("FAIL clock_set: %" PRIu64 " ns is past the end of time", ns);
    else if ((int64_t)ns > now)
        answer("OK %" PRId64, vclock_step((int64_t)ns - now));
    else
        answer("OK %" PRId64, now);
}

/* A device's id or class name; of a QOM path the last word counts. */
static Device *get_device(const Command *command)
{
    const char *path = command->count > 1 ? command->words[1] : "", *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    Device *dev = device_find(qtest.machine, name);
    if (!dev)
        dev = device_find_class(qtest.machine, name);
    if (!dev)
        answer("FAIL Unknown device");
    return dev;
}

static void on_irq(void *opaque, unsigned pin, bool level)
{
    Device *dev = opaque;
    uint64_t bit = 1ULL << pin % 64, *word = &qtest.levels[pin / 64];
    dev->in_fn(dev, pin, level);
    if (!(*word & bit) == !level)
        return;
    *word ^= bit;
    answer("IRQ %s %u", level ? "raise" : "lower", pin);
}

static void do_irq_intercept_in(const Command *command)
{
    Device *dev = get_device(command);
    if (!dev)
        return;
    if (qtest.intercepted == dev) {
        answer("OK");
    } else if (qtest.intercepted) {
        answer("FAIL IRQ intercept already enabled");
    } else if (!dev->in_count) {
        answer("FAIL irq_intercept_in: %s has no inputs", dev->cls->name);
    } else {
        qtest.intercepted = dev;
        qtest.levels = g_new0(uint64_t, dev->in_count / 64 + 1);
        dev->in_intercept_opaque = dev;
        dev->in_intercept = on_irq;
        answer("OK");
    }
}

static void do_set_irq_in(const Command *command)
{
    uint64_t pin, level;
    Device *dev = get_device(command);
    if (!dev || !get_number(command, 3, "pin", &pin) || !get_number(command, 4, "level", &level))
        return;
    if (strcmp(command->words[2], "unnamed-gpio-in")) {
        answer("FAIL set_irq_in: inputs have no names here: say unnamed-gpio-in");
    } else if (pin >= dev->in_count) {
        answer("FAIL set_irq_in: %s has %u inputs", dev->cls->name, dev->in_count);
    } else {
        IrqLine line = device_input(dev, (unsigned)pin);
        irq_set(&line, level != 0);
        answer("OK");
    }
}

static void do_endianness(const Command *command)
{
    answer("OK little");
}

static const struct {
    const char *name;
    void (*fn)(const Command *command);
} commands[] = {
    {"inb", do_in},
    {"inw", do_in},
    {"inl", do_in},
    {"outb", do_out},
    {"outw", do_out},
    {"outl", do_out},
    {"readb", do_load},
    {"readw", do_load},
    {"readl", do_load},
    {"readq", do_load},
    {"writeb", do_store},
    {"writew", do_store},
    {"writel", do_store},
    {"writeq", do_store},
    {"read", do_read},
    {"write", do_write},
    {"memset", do_memset},
    {"b64read", do_b64read},
    {"b64write", do_b64write},
    {"clock_step", do_clock_step},
    {"clock_set", do_clock_set},
    {"irq_intercept_in", do_irq_intercept_in},
    {"set_irq_in", do_set_irq_in},
    {"endianness", do_endianness},
};

static void on_line(void *opaque, char *line)
{
    Command command = {0};
    log_line('R', line);
    for (char *at = line; at && command.count < MAX_WORDS;) {
        command.words[command.count++] = at;
        at = strchr(at, ' ');
        if (at)
            *at++ = 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(commands[i].name, command.words[0])) {
            commands[i].fn(&command);
            return;
        }
    }
    answer("FAIL Unknown command '%s'", command.words[0]);
}

static void on_opened(void *opaque, bool open)
{
    qtest.opened_at = clock_now(VM_CLOCK_HOST);
    log_line('I', open ? "OPENED" : "CLOSED");
}

static const QtestLinkOps link_ops = {on_line, on_opened};

/* ---- Life ---- */

/* As QEMU's -qtest-log: nothing given is stderr, "none" is nothing. */
static bool open_log(const char *path, GError **error)
{
    if (!path) {
        qtest.log = stderr;
    } else if (strcmp(path, "none")) {
        qtest.log = fopen(path, "we");
        if (!qtest.log)
            return fail_errno(error, errno, "-qtest-log %s: cannot be written", path);
    }
    return true;
}

bool qtest_start(Machine *machine, const char *spec, const char *log_path, GError **error)
{
    qtest.machine = machine;
    if (!open_log(log_path, error))
        return false;
    qtest.link = qtest_link_open(machine->loop, spec, &link_ops, NULL, error);
    return qtest.link != NULL;
}

static bool qtest_probe(char **why)
{
    if (why)
        *why = NULL;
    return true;
}

static bool qtest_init(Machine *machine, const EngineConfig *config, GError **error)
{
    vclock_set_manual(true);
    vclock_set(0);
    return true;
}

static void qtest_fini(Machine *machine)
{
    QtestLink *link = qtest.link;
    qtest.link = NULL;
    qtest_link_close(link);
    if (qtest.intercepted)
        qtest.intercepted->in_intercept = NULL;
    qtest.intercepted = NULL;
    g_clear_pointer(&qtest.levels, g_free);
    if (qtest.log && qtest.log != stderr)
        fclose(qtest.log);
    qtest.log = NULL;
    vclock_set_manual(false);
}

const CpuEngine qtest_engine = {
    .name = "qtest",
    .desc = "no processor: a test drives the machine (-qtest)",
    .probe = qtest_probe,
    .init = qtest_init,
    .fini = qtest_fini,
};
