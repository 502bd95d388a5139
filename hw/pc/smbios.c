/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SMBIOS tables (DMTF DSP0134, version 2.8): what dmidecode and asset tools read. */
#include <stdio.h>
#include <string.h>

#include "pc_private.h"
#include "util/bytes.h"
#include "util/error.h"

#define ANCHOR_SIZE 31

typedef struct Builder {
    GByteArray *out;
    const PcConfig *config;
    uint32_t start; /* of the structure being built */
    unsigned type;
    GPtrArray *strings; /* of the structure being built */
    unsigned count;
    uint32_t largest;
} Builder;

static void put(Builder *b, uint64_t value, unsigned size)
{
    uint8_t buf[8];
    stn_le(buf, size, value);
    g_byte_array_append(b->out, buf, size);
}

static void begin(Builder *b, unsigned type, unsigned handle)
{
    b->start = b->out->len;
    b->type = type;
    put(b, type, 1);
    put(b, 0, 1); /* length: end() */
    put(b, handle, 2);
}

static void put_string(Builder *b, const char *text)
{
    if (!text || !*text) {
        put(b, 0, 1);
        return;
    }
    g_ptr_array_add(b->strings, (void *)text);
    put(b, b->strings->len, 1);
}

/* The text that -smbios gives for a key, else the default. */
static const char *option(Builder *b, const char *key, const char *fallback)
{
    const Options *options = b->config->smbios[b->type];
    const char *text = options ? options_get(options, key) : NULL;
    return text ? text : fallback;
}

static void put_option(Builder *b, const char *key, const char *fallback)
{
    put_string(b, option(b, key, fallback));
}

static void end(Builder *b)
{
    b->out->data[b->start + 1] = (uint8_t)(b->out->len - b->start);
    for (guint i = 0; i < b->strings->len; i++) {
        const char *text = g_ptr_array_index(b->strings, i);
        g_byte_array_append(b->out, (const uint8_t *)text, (guint)strlen(text) + 1);
    }
    put(b, 0, b->strings->len ? 1 : 2);
    g_ptr_array_set_size(b->strings, 0);
    b->largest = MAX(b->largest, b->out->len - b->start);
    b->count++;
}

static bool bios(Builder *b, GError **error)
{
    begin(b, 0, 0);
    put_option(b, "vendor", "SeaBIOS");
    put_option(b, "version", "vmrun " VMRUN_VERSION);
    put(b, 0xe800, 2); /* starting segment */
    put_option(b, "date", "04/01/2014");
    put(b, 0, 1);                  /* size: 64 KiB */
    put(b, 0x0000000000000008, 8); /* characteristics are not told */
    put(b, 0, 1);
    put(b, 0x14, 1); /* virtual machine, targeted content */
    unsigned major = 0, minor = 0;
    const char *release = option(b, "release", "0.0");
    if (sscanf(release, "%u.%u", &major, &minor) != 2 || major > 255 || minor > 255)
        return fail(error, "-smbios type=0: release '%s' is not MAJOR.MINOR", release);
    put(b, major, 1);
    put(b, minor, 1);
    put(b, 0xffff, 2); /* no embedded controller */
    end(b);
    return true;
}

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" to 16 bytes in that order. */
static bool parse_uuid(const char *text, uint8_t uuid[16])
{
    unsigned n = 0;
    for (const char *at = text; *at; at++) {
        if (*at == '-')
            continue;
        int digit = g_ascii_xdigit_value(*at);
        if (digit < 0 || n >= 32)
            return false;
        uuid[n / 2] = (uint8_t)(n % 2 ? uuid[n / 2] | digit : digit << 4);
        n++;
    }
    return n == 32;
}

static bool put_uuid(Builder *b, Machine *machine, GError **error)
{
    uint8_t uuid[16] = {0};
    const char *text = option(b, "uuid", NULL);
    if (machine->uuid_set)
        memcpy(uuid, machine->uuid, 16);
    if (text && !parse_uuid(text, uuid))
        return fail(error, "-smbios type=1: '%s' is no UUID", text);
    /* SMBIOS 2.6: the first three fields are little-endian. */
    put(b, ld32_be(uuid), 4);
    put(b, ld16_be(uuid + 4), 2);
    put(b, ld16_be(uuid + 6), 2);
    g_byte_array_append(b->out, uuid + 8, 8);
    return true;
}

static bool system_info(Builder *b, Machine *machine, GError **error)
{
    begin(b, 1, 0x100);
    put_option(b, "manufacturer", "vmrun");
    put_option(b, "product", "Standard PC (i440FX + PIIX, 1996)");
    put_option(b, "version", VMRUN_VERSION);
    put_option(b, "serial", NULL);
    if (!put_uuid(b, machine, error))
        return false;
    put(b, 6, 1); /* wake-up: power switch */
    put_option(b, "sku", NULL);
    put_option(b, "family", NULL);
    end(b);
    return true;
}

static void board(Builder *b)
{
    if (!b->config->smbios[2])
        return;
    begin(b, 2, 0x200);
    put_option(b, "manufacturer", "vmrun");
    put_option(b, "product", NULL);
    put_option(b, "version", VMRUN_VERSION);
    put_option(b, "serial", NULL);
    put_option(b, "asset", NULL);
    put(b, 1, 1); /* hosting board */
    put_option(b, "location", NULL);
    put(b, 0x300, 2);
    put(b, 10, 1); /* motherboard */
    put(b, 0, 1);
    end(b);
}

static void chassis(Builder *b)
{
    begin(b, 3, 0x300);
    put_option(b, "manufacturer", "vmrun");
    put(b, 1, 1); /* other */
    put_option(b, "version", VMRUN_VERSION);
    put_option(b, "serial", NULL);
    put_option(b, "asset", NULL);
    put(b, 0x03030303, 4); /* boot-up, power, thermal: safe; security: none */
    b->out->data[b->out->len - 1] = 2;
    put(b, 0, 4);
    put(b, 0, 4); /* height, power cords, elements */
    put_option(b, "sku", NULL);
    end(b);
}

static void processor(Builder *b, unsigned socket)
{
    const PcTopology *smp = &b->config->smp;
    begin(b, 4, 0x400 + socket);
    g_autofree char *name = g_strdup_printf("%s %u", option(b, "sock_pfx", "CPU"), socket);
    put_string(b, name);
    put(b, 3, 1); /* central processor */
    put(b, 1, 1); /* family: other */
    put_option(b, "manufacturer", "vmrun");
    put(b, 0, 8); /* processor ID */
    put_option(b, "version", VMRUN_VERSION);
    put(b, 0, 1); /* voltage */
    put(b, 0, 2); /* external clock unknown */
    uint64_t speed = 2000, current = 2000;
    if (b->config->smbios[4]) {
        parse_uint(option(b, "max-speed", "2000"), &speed);
        parse_uint(option(b, "current-speed", "2000"), &current);
    }
    put(b, speed, 2);
    put(b, current, 2);
    put(b, 0x41, 1); /* populated, enabled */
    put(b, 1, 1);    /* upgrade: other */
    put(b, 0xffff, 2);
    put(b, 0xffff, 2);
    put(b, 0xffff, 2); /* no cache structures */
    put_option(b, "serial", NULL);
    put_option(b, "asset", NULL);
    put_option(b, "part", NULL);
    put(b, smp->cores, 1);
    put(b, smp->cores, 1);
    put(b, smp->cores * smp->threads, 1);
    put(b, 2, 2); /* characteristics unknown */
    put(b, 1, 2);
    end(b);
}

static void oem_strings(Builder *b)
{
    const Options *options = b->config->smbios[11];
    const char *key, *value;
    if (!options)
        return;
    begin(b, 11, 0xb00);
    for (unsigned i = 0; options_nth(options, i, &key, &value); i++)
        if (!strcmp(key, "value"))
            g_ptr_array_add(b->strings, (void *)value);
    put(b, b->strings->len, 1);
    end(b);
}

#define DIMM_MAX (16ull << 30)

static void memory_array(Builder *b, uint64_t ram, unsigned dimms)
{
    begin(b, 16, 0x1000);
    put(b, 1, 1); /* other location */
    put(b, 3, 1); /* system memory */
    put(b, 6, 1); /* multi-bit ECC */
    bool large = ram >> 10 >= 0x80000000u;
    put(b, large ? 0x80000000u : ram >> 10, 4);
    put(b, 0xfffe, 2);
    put(b, dimms, 2);
    put(b, large ? ram : 0, 8);
    end(b);
}

static void memory_device(Builder *b, unsigned n, uint64_t size)
{
    begin(b, 17, 0x1100 + n);
    put(b, 0x1000, 2);
    put(b, 0xfffe, 2);
    put(b, 0xffff, 2);
    put(b, 0xffff, 2);
    put(b, MIN(size >> 20, 0x7fff), 2);
    put(b, 9, 1); /* DIMM */
    put(b, 0, 1);
    g_autofree char *name = g_strdup_printf("%s %u", option(b, "loc_pfx", "DIMM"), n);
    put_string(b, name);
    put_option(b, "bank", NULL);
    put(b, 7, 1); /* RAM */
    put(b, 2, 2);
    uint64_t speed = 0;
    parse_uint(option(b, "speed", "0"), &speed);
    put(b, speed, 2);
    put_option(b, "manufacturer", "vmrun");
    put_option(b, "serial", NULL);
    put_option(b, "asset", NULL);
    put_option(b, "part", NULL);
    put(b, 0, 1);
    put(b, size >> 20, 4);
    put(b, speed, 2);
    put(b, 0, 6); /* voltages */
    end(b);
}

static void mapped_address(Builder *b, unsigned n, uint64_t start, uint64_t size)
{
    uint64_t first = start >> 10, last = ((start + size) >> 10) - 1;
    bool large = last > UINT32_MAX - 1;
    begin(b, 19, 0x1300 + n);
    put(b, large ? UINT32_MAX : first, 4);
    put(b, large ? UINT32_MAX : last, 4);
    put(b, 0x1000, 2);
    put(b, 1, 1);
    put(b, large ? start : 0, 8);
    put(b, large ? start + size - 1 : 0, 8);
    end(b);
}

static void memory(Builder *b, uint64_t ram, uint64_t low_ram)
{
    unsigned dimms = (unsigned)((ram + DIMM_MAX - 1) / DIMM_MAX);
    memory_array(b, ram, dimms);
    for (unsigned i = 0; i < dimms; i++)
        memory_device(b, i, MIN(DIMM_MAX, ram - i * DIMM_MAX));
    mapped_address(b, 0, 0, MIN(ram, low_ram));
    if (ram > low_ram)
        mapped_address(b, 1, 1ull << 32, ram - low_ram);
}

static void boot_and_end(Builder *b)
{
    begin(b, 32, 0x2000);
    put(b, 0, 6);
    put(b, 0, 1);
    end(b);
    begin(b, 127, 0x7f00);
    end(b);
}

static void anchor_build(const Builder *b, GByteArray *anchor)
{
    uint8_t entry[ANCHOR_SIZE] = {0};
    memcpy(entry, "_SM_", 4);
    entry[5] = ANCHOR_SIZE;
    entry[6] = 2;
    entry[7] = 8;
    st16_le(entry + 8, (uint16_t)b->largest);
    memcpy(entry + 16, "_DMI_", 5);
    st16_le(entry + 22, (uint16_t)b->out->len);
    st16_le(entry + 28, (uint16_t)b->count);
    entry[30] = 0x28;
    g_byte_array_append(anchor, entry, sizeof(entry));
}

bool smbios_build(Machine *machine, const PcConfig *config, uint64_t low_ram, GByteArray *anchor,
                  GByteArray *tables, GError **error)
{
    g_autoptr(GPtrArray) strings = g_ptr_array_new();
    Builder b = {.out = tables, .config = config, .strings = strings};
    if (!bios(&b, error) || !system_info(&b, machine, error))
        return false;
    board(&b);
    chassis(&b);
    for (unsigned i = 0; i < config->smp.sockets; i++)
        processor(&b, i);
    oem_strings(&b);
    memory(&b, config->ram_size, low_ram);
    boot_and_end(&b);
    if (tables->len > UINT16_MAX)
        return fail(error, "-smbios: the tables have %u bytes, more than 65535", tables->len);
    anchor_build(&b, anchor);
    return true;
}
