/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that look at memory, ports and expressions: x, xp, print, i, o, memsave ... */
#include <errno.h>
#include <stdio.h>

#include "accel/engine.h"
#include "monitor_private.h"
#include "util/bytes.h"
#include "util/error.h"

#define INSN_MAX 15

/* ---- Reading memory ---- */

static bool read_table(void *opaque, uint64_t addr, void *buf, unsigned length)
{
    Monitor *mon = opaque;
    return dma_read(&mon->machine->mem, addr, buf, length) == MEM_OK;
}

bool mon_translate(Monitor *mon, const CpuState *state, uint64_t linear, uint64_t *physical)
{
    return cpu_state_translate(state, linear, physical, read_table, mon);
}

bool mon_read_linear(Monitor *mon, const CpuState *state, uint64_t addr, void *buf, size_t length)
{
    uint8_t *out = buf;

    while (length) {
        size_t chunk = MIN(length, RAM_PAGE_SIZE - (addr & (RAM_PAGE_SIZE - 1)));
        uint64_t physical;
        if (!mon_translate(mon, state, addr, &physical))
            return false;
        as_read(&mon->machine->mem, physical, out, chunk);
        out += chunk;
        addr += chunk;
        length -= chunk;
    }
    return true;
}

/* state: NULL for physical addresses; devices answer there, too. */
static bool read_memory(Monitor *mon, const CpuState *state, uint64_t addr, void *buf,
                        size_t length)
{
    if (state)
        return mon_read_linear(mon, state, addr, buf, length);
    as_read(&mon->machine->mem, addr, buf, length);
    return true;
}

/* ---- Values ---- */

/* A character as C writes it: 'A', '\n', '\x1f'. */
static void append_character(GString *out, uint8_t c)
{
    static const char escapes[] = "\n\r\t\\'", letters[] = "nrt\\'";
    const char *found = c ? strchr(escapes, c) : NULL;

    if (found)
        g_string_append_printf(out, "'\\%c'", letters[found - escapes]);
    else if (c >= 32 && c < 127)
        g_string_append_printf(out, "'%c'", c);
    else
        g_string_append_printf(out, "'\\x%02x'", c);
}

/* As wide as the widest value of that size, so that columns stand. */
static void append_value(GString *out, uint64_t value, char letter, unsigned size)
{
    int bits = (int)size * 8;
    int64_t number = (int64_t)(value << (64 - bits)) >> (64 - bits);

    switch (letter) {
    case 'd':
        g_string_append_printf(out, "%*" G_GINT64_FORMAT, (bits * 10 + 32) / 33, number);
        break;
    case 'u':
        g_string_append_printf(out, "%*" G_GUINT64_FORMAT, (bits * 10 + 32) / 33, value);
        break;
    case 'o':
        g_string_append_printf(out, "%#*" G_GINT64_MODIFIER "o", (bits + 2) / 3, value);
        break;
    case 'c':
        append_character(out, (uint8_t)value);
        break;
    default:
        g_string_append_printf(out, "0x%0*" G_GINT64_MODIFIER "x", bits / 4, value);
        break;
    }
}

/* ---- x, xp ---- */

/* False where nothing can be read any more. */
static bool dump_line(Monitor *mon, const CpuState *state, uint64_t addr, const MonFormat *format,
                      unsigned count, GString *out)
{
    uint8_t bytes[16];

    g_string_append_printf(out, "%016" G_GINT64_MODIFIER "x:", addr);
    if (!read_memory(mon, state, addr, bytes, count * format->size)) {
        g_string_append(out, " Cannot access memory\n");
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        g_string_append_c(out, ' ');
        append_value(out, ldn_le(bytes + i * format->size, format->size), format->letter,
                     format->size);
    }
    g_string_append_c(out, '\n');
    return true;
}

static void dump_values(Monitor *mon, const CpuState *state, uint64_t addr, MonFormat format,
                        GString *out)
{
    if (format.letter == 'c')
        format.size = 1;
    unsigned per_line = format.size == 1 ? 8 : 16 / format.size;
    while (format.count) {
        unsigned count = MIN(format.count, per_line);
        if (!dump_line(mon, state, addr, &format, count, out))
            return;
        addr += count * format.size;
        format.count -= count;
    }
}

static void dump_code(Monitor *mon, const CpuState *state, uint64_t addr, unsigned count,
                      unsigned bits, GString *out)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t code[INSN_MAX];
        size_t length = INSN_MAX;
        /* The last instruction of a mapping may be short. */
        while (length && !read_memory(mon, state, addr, code, length))
            length--;
        g_string_append_printf(out, "0x%08" G_GINT64_MODIFIER "x:  ", addr);
        if (!length) {
            g_string_append(out, "Cannot access memory\n");
            return;
        }
        g_autoptr(GString) text = g_string_new(NULL);
        unsigned used = mon_disassemble(code, length, bits, addr, text);
        if (!used) {
            g_string_append_printf(out, "%02x%*s.byte    0x%02x\n", code[0], 22, "", code[0]);
            addr++;
            continue;
        }
        g_autoptr(GString) hex = g_string_new(NULL);
        for (unsigned j = 0; j < used; j++)
            g_string_append_printf(hex, "%02x ", code[j]);
        g_string_append_printf(out, "%-23s %s\n", hex->str, text->str);
        addr += used;
    }
}

static void dump(Monitor *mon, const MonValue *values, const CpuState *state, unsigned bits)
{
    MonFormat format = values[0].format;
    GString *out = g_string_new(NULL);

    mon->format = format;
    if (format.letter == 'i')
        dump_code(mon, state, values[1].number, format.count, bits, out);
    else
        dump_values(mon, state, values[1].number, format, out);
    mon_print(mon, out);
}

void mon_x(Monitor *mon, const MonValue *values)
{
    g_autofree CpuState *state = mon_cpu_state(mon);
    if (state)
        dump(mon, values, state, cpu_state_code_bits(state));
}

void mon_xp(Monitor *mon, const MonValue *values)
{
    /* The mode decides how code reads; without a CPU it is that of a PC at power-on. */
    g_autofree CpuState *state =
        values[0].format.letter == 'i' && mon->machine->cpus ? mon_cpu_state(mon) : NULL;
    dump(mon, values, NULL, state ? cpu_state_code_bits(state) : 16);
}

/* ---- print, i, o ---- */

void mon_print_value(Monitor *mon, const MonValue *values)
{
    const MonFormat *format = &values[0].format;
    GString *out = g_string_new(NULL);

    mon->format.letter = format->letter;
    switch (format->letter) {
    case 'o':
        g_string_append_printf(out, "%#" G_GINT64_MODIFIER "o", values[1].number);
        break;
    case 'd':
    case 'i':
        g_string_append_printf(out, "%" G_GINT64_FORMAT, (int64_t)values[1].number);
        break;
    case 'u':
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, values[1].number);
        break;
    case 'c':
        append_character(out, (uint8_t)values[1].number);
        break;
    default:
        g_string_append_printf(out, "%#" G_GINT64_MODIFIER "x", values[1].number);
        break;
    }
    g_string_append_c(out, '\n');
    mon_print(mon, out);
}

/* A port access is a byte wide unless said otherwise. */
static unsigned port_size(const MonValue *format)
{
    return format->given ? MIN(format->format.size, 4) : 1;
}

static bool check_port(Monitor *mon, uint64_t port)
{
    if (port > 0xffff)
        monitor_printf(mon, "Error: ports are 0 to 0xffff\n");
    return port <= 0xffff;
}

void mon_port_read(Monitor *mon, const MonValue *values)
{
    unsigned size = port_size(&values[0]);
    uint8_t bytes[4];

    if (!check_port(mon, values[1].number))
        return;
    dispatch_pio(&mon->machine->io, (uint16_t)values[1].number, false, size, bytes, 1);
    monitor_printf(mon, "port%c[0x%04x] = 0x%0*x\n",
                   size == 1   ? 'b'
                   : size == 2 ? 'w'
                               : 'l',
                   (unsigned)values[1].number, (int)size * 2, (unsigned)ldn_le(bytes, size));
}

void mon_port_write(Monitor *mon, const MonValue *values)
{
    unsigned size = port_size(&values[0]);
    uint8_t bytes[8];

    if (!check_port(mon, values[1].number))
        return;
    st64_le(bytes, values[2].number);
    dispatch_pio(&mon->machine->io, (uint16_t)values[1].number, true, size, bytes, 1);
}

/* ---- Whole ranges ---- */

#define CHUNK 4096

static bool save(Monitor *mon, const CpuState *state, uint64_t addr, uint64_t size,
                 const char *path, GError **error)
{
    FILE *file = fopen(path, "wb");
    uint8_t buf[CHUNK];
    bool good = true;

    if (!file)
        return fail_errno(error, errno, "cannot write '%s'", path);
    while (size && good) {
        size_t length = (size_t)MIN(size, CHUNK - (addr & (CHUNK - 1)));
        if (!read_memory(mon, state, addr, buf, length))
            good = fail(error,
                        "Invalid addr 0x%016" G_GINT64_MODIFIER "x/size %" G_GUINT64_FORMAT
                        " specified",
                        addr, size);
        if (good && fwrite(buf, 1, length, file) != length)
            good = fail_errno(error, errno, "cannot write '%s'", path);
        addr += length;
        size -= length;
    }
    if (fclose(file) && good)
        good = fail_errno(error, errno, "cannot write '%s'", path);
    return good;
}

static void save_command(Monitor *mon, const CpuState *state, const MonValue *values)
{
    GError *error = NULL;
    if (!save(mon, state, values[0].number, values[1].number, values[2].text, &error))
        mon_error(mon, error);
}

void mon_memsave(Monitor *mon, const MonValue *values)
{
    g_autofree CpuState *state = mon_cpu_state(mon);
    if (state)
        save_command(mon, state, values);
}

/* Past the end of memory there would be nothing but ones, without an end. */
static bool check_range(Monitor *mon, uint64_t addr, uint64_t size)
{
    uint64_t top = (4ULL << 30) + mon->machine->ram_size;

    if (addr < top && size <= top - addr)
        return true;
    monitor_printf(mon, "Error: there is no memory from 0x%" G_GINT64_MODIFIER "x on\n", top);
    return false;
}

void mon_pmemsave(Monitor *mon, const MonValue *values)
{
    if (check_range(mon, values[0].number, values[1].number))
        save_command(mon, NULL, values);
}

/* The BSD checksum, as QEMU's. */
void mon_sum(Monitor *mon, const MonValue *values)
{
    uint64_t addr = values[0].number, left = values[1].number;
    uint8_t buf[CHUNK];
    uint16_t sum = 0;

    if (!check_range(mon, addr, left))
        return;
    while (left) {
        size_t length = (size_t)MIN(left, sizeof(buf));
        dma_read(&mon->machine->mem, addr, buf, length);
        for (size_t i = 0; i < length; i++)
            sum = (uint16_t)((sum >> 1 | sum << 15) + buf[i]);
        addr += length;
        left -= length;
    }
    monitor_printf(mon, "%05d\n", sum);
}

void mon_gva2gpa(Monitor *mon, const MonValue *values)
{
    g_autofree CpuState *state = mon_cpu_state(mon);
    uint64_t physical;

    if (!state)
        return;
    if (mon_translate(mon, state, values[0].number, &physical))
        monitor_printf(mon, "gpa: %#" G_GINT64_MODIFIER "x\n", physical);
    else
        monitor_printf(mon, "Unmapped\n");
}
