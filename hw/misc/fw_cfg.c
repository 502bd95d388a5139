/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fw_cfg: ports, DMA and the table of items.  (QEMU, docs/specs/fw_cfg.rst.) */
#include "hw/misc/fw_cfg.h"

#include <inttypes.h>

#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define PORT_BASE     0x510
#define PORT_DMA      0x514
#define KEYS          (FW_CFG_FILE_FIRST + FW_CFG_FILE_SLOTS)
#define KEY_INDEX     0x3fff /* without the write channel (0x4000) and arch-local bits */
#define ID_BITS       3      /* the traditional interface, and DMA */
#define DMA_SIGNATURE 0x51454d5520434647ULL /* "QEMU CFG" */
#define DIR_ENTRY     (8 + FW_CFG_NAME_SIZE)

/* FWCfgDmaAccess, big-endian: control, length, address. */
enum { DMA_CONTROL = 0, DMA_LENGTH = 4, DMA_ADDRESS = 8, DMA_SIZE = 16 };
enum { CTL_ERROR = 1, CTL_READ = 2, CTL_SKIP = 4, CTL_SELECT = 8, CTL_WRITE = 16 };

typedef struct Item {
    GBytes *bytes; /* NULL: empty */
    FwCfgHooks hooks;
    char *name; /* files only */
} Item;

typedef struct FwCfg {
    Device dev;
    Region io, dma_io;
    Item items[2][KEYS]; /* generic, arch-local */
    unsigned files;
    uint16_t key;
    uint32_t offset;
    uint64_t dma_addr;
} FwCfg;

/* ---- Items ---- */

static Item *item_at(FwCfg *s, uint16_t key)
{
    unsigned index = key & KEY_INDEX;
    return index < KEYS ? &s->items[key & FW_CFG_ARCH_LOCAL ? 1 : 0][index] : NULL;
}

/* The bytes of the selected item; *length is 0 if there is none. */
static uint8_t *selected(FwCfg *s, uint32_t *length)
{
    Item *item = item_at(s, s->key);
    gsize size = 0;
    uint8_t *data = item && item->bytes ? (uint8_t *)g_bytes_get_data(item->bytes, &size) : NULL;
    *length = (uint32_t)size;
    return data;
}

static void set_bytes(Item *item, GBytes *bytes)
{
    g_clear_pointer(&item->bytes, g_bytes_unref);
    item->bytes = bytes;
}

static void add(FwCfg *s, uint16_t key, GBytes *bytes)
{
    Item *item = item_at(s, key);
    if (item && g_bytes_get_size(bytes) <= UINT32_MAX) {
        set_bytes(item, bytes);
        return;
    }
    report_error("fw_cfg: there is no place for %zu bytes at key 0x%x", g_bytes_get_size(bytes),
                 key);
    g_bytes_unref(bytes);
}

void fw_cfg_add_bytes(Device *dev, uint16_t key, const void *data, size_t length)
{
    add((FwCfg *)dev, key, g_bytes_new(data, length));
}

void fw_cfg_add_shared(Device *dev, uint16_t key, GBytes *data)
{
    add((FwCfg *)dev, key, g_bytes_ref(data));
}

void fw_cfg_add_string(Device *dev, uint16_t key, const char *text)
{
    fw_cfg_add_bytes(dev, key, text, strlen(text) + 1);
}

void fw_cfg_add_u16(Device *dev, uint16_t key, uint16_t value)
{
    uint8_t bytes[2];
    st16_le(bytes, value);
    fw_cfg_add_bytes(dev, key, bytes, sizeof(bytes));
}

void fw_cfg_add_u32(Device *dev, uint16_t key, uint32_t value)
{
    uint8_t bytes[4];
    st32_le(bytes, value);
    fw_cfg_add_bytes(dev, key, bytes, sizeof(bytes));
}

void fw_cfg_add_u64(Device *dev, uint16_t key, uint64_t value)
{
    uint8_t bytes[8];
    st64_le(bytes, value);
    fw_cfg_add_bytes(dev, key, bytes, sizeof(bytes));
}

/* ---- Files: items from FILE_FIRST on, sorted by name ---- */

static Item *file_at(FwCfg *s, unsigned n)
{
    return &s->items[0][FW_CFG_FILE_FIRST + n];
}

/* The place of the file, or where it would go. */
static unsigned file_place(FwCfg *s, const char *name, bool *found)
{
    unsigned n = 0;
    while (n < s->files && strcmp(file_at(s, n)->name, name) < 0)
        n++;
    *found = n < s->files && !strcmp(file_at(s, n)->name, name);
    return n;
}

static void build_directory(FwCfg *s)
{
    size_t size = 4 + (size_t)s->files * DIR_ENTRY;
    uint8_t *dir = g_malloc0(size);
    st32_be(dir, s->files);
    for (unsigned n = 0; n < s->files; n++) {
        const Item *file = file_at(s, n);
        uint8_t *entry = dir + 4 + (size_t)n * DIR_ENTRY;
        st32_be(entry, (uint32_t)g_bytes_get_size(file->bytes));
        st16_be(entry + 4, (uint16_t)(FW_CFG_FILE_FIRST + n));
        g_strlcpy((char *)entry + 8, file->name, FW_CFG_NAME_SIZE);
    }
    set_bytes(item_at(s, FW_CFG_FILE_DIR), g_bytes_new_take(dir, size));
}

static bool check_file(FwCfg *s, const char *name, GBytes *bytes, bool found, GError **error)
{
    if (!*name || strlen(name) >= FW_CFG_NAME_SIZE)
        return fail(error, "fw_cfg: the file name '%s' is not 1 to %d bytes long", name,
                    FW_CFG_NAME_SIZE - 1);
    if (found)
        return fail(error, "fw_cfg: there is already a file '%s'", name);
    if (s->files == FW_CFG_FILE_SLOTS)
        return fail(error, "fw_cfg: no slot is left for file '%s', all %d are in use", name,
                    FW_CFG_FILE_SLOTS);
    if (g_bytes_get_size(bytes) > UINT32_MAX)
        return fail(error, "fw_cfg: file '%s' is larger than 4 GiB", name);
    return true;
}

/* Takes the reference to bytes. */
static bool add_file(FwCfg *s, const char *name, GBytes *bytes, const FwCfgHooks *hooks,
                     GError **error)
{
    bool found;
    unsigned place = file_place(s, name, &found);
    if (!check_file(s, name, bytes, found, error)) {
        g_bytes_unref(bytes);
        return false;
    }
    memmove(file_at(s, place + 1), file_at(s, place), (s->files - place) * sizeof(Item));
    *file_at(s, place) = (Item){.bytes = bytes, .name = g_strdup(name)};
    if (hooks)
        file_at(s, place)->hooks = *hooks;
    s->files++;
    build_directory(s);
    return true;
}

bool fw_cfg_add_file(Device *dev, const char *name, const void *data, size_t length, GError **error)
{
    return add_file((FwCfg *)dev, name, g_bytes_new(data, length), NULL, error);
}

bool fw_cfg_add_file_shared(Device *dev, const char *name, GBytes *data, GError **error)
{
    return add_file((FwCfg *)dev, name, g_bytes_ref(data), NULL, error);
}

bool fw_cfg_add_file_hooks(Device *dev, const char *name, const void *data, size_t length,
                           const FwCfgHooks *hooks, GError **error)
{
    return add_file((FwCfg *)dev, name, g_bytes_new(data, length), hooks, error);
}

bool fw_cfg_modify_file(Device *dev, const char *name, const void *data, size_t length)
{
    FwCfg *s = (FwCfg *)dev;
    bool found;
    unsigned place = file_place(s, name, &found);
    if (!found || length > UINT32_MAX)
        return false;
    set_bytes(file_at(s, place), g_bytes_new(data, length));
    build_directory(s);
    return true;
}

const uint8_t *fw_cfg_file_data(Device *dev, const char *name, uint32_t *length)
{
    FwCfg *s = (FwCfg *)dev;
    bool found;
    unsigned place = file_place(s, name, &found);
    if (!found)
        return NULL;
    gsize size;
    const uint8_t *data = g_bytes_get_data(file_at(s, place)->bytes, &size);
    *length = (uint32_t)size;
    return data ? data : (const uint8_t *)"";
}

/* ---- Selector and data ---- */

static void select_key(FwCfg *s, uint16_t key)
{
    s->key = key;
    s->offset = 0;
    const Item *item = item_at(s, key);
    if (item && item->hooks.select)
        item->hooks.select(item->hooks.opaque);
}

static uint8_t read_byte(FwCfg *s)
{
    uint32_t length;
    const uint8_t *data = selected(s, &length);
    return s->offset < length ? data[s->offset++] : 0;
}

static uint64_t io_read(void *opaque, hwaddr offset, unsigned size)
{
    return offset == 1 && size == 1 ? read_byte(opaque) : UINT64_MAX;
}

/* Writes to the data port have had no effect since QEMU 2.4. */
static void io_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    if (size == 2)
        select_key(opaque, (uint16_t)value);
}

/* ---- DMA ---- */

typedef struct Transfer {
    uint32_t control, length;
    uint64_t addr;
} Transfer;

/* Beyond the item's end a read gives zeroes and a write is an error. */
static bool transfer_read(FwCfg *s, const Transfer *t, const uint8_t *data, uint32_t part)
{
    AddressSpace *mem = &s->dev.machine->mem;
    MemResult result = part ? dma_write(mem, t->addr, data + s->offset, part) : MEM_OK;
    if (result == MEM_OK && t->length > part)
        result = dma_fill(mem, t->addr + part, 0, t->length - part);
    return result == MEM_OK;
}

static bool transfer_write(FwCfg *s, const Transfer *t, uint8_t *data, uint32_t part)
{
    const Item *item = item_at(s, s->key);
    if (!item || !item->hooks.write || part < t->length)
        return false;
    if (dma_read(&s->dev.machine->mem, t->addr, data + s->offset, part) != MEM_OK)
        return false;
    item->hooks.write(item->hooks.opaque, s->offset, part);
    return true;
}

static bool run_transfer(FwCfg *s, const Transfer *t)
{
    uint32_t length;
    uint8_t *data = selected(s, &length);
    uint32_t part = s->offset < length ? MIN(t->length, length - s->offset) : 0;
    bool ok = true;
    if (!t->length || !(t->control & (CTL_READ | CTL_WRITE | CTL_SKIP)))
        return true;
    if (t->length > UINT64_MAX - t->addr)
        return false;
    if (t->control & CTL_READ)
        ok = transfer_read(s, t, data, part);
    else if (t->control & CTL_WRITE)
        ok = transfer_write(s, t, data, part);
    s->offset += part;
    return ok;
}

static void start_dma(FwCfg *s)
{
    AddressSpace *mem = &s->dev.machine->mem;
    uint64_t at = s->dma_addr;
    uint8_t bytes[DMA_SIZE], done[4];
    bool ok = false;
    s->dma_addr = 0;
    if (at <= UINT64_MAX - DMA_SIZE && dma_read(mem, at, bytes, sizeof(bytes)) == MEM_OK) {
        Transfer t = {ld32_be(bytes + DMA_CONTROL), ld32_be(bytes + DMA_LENGTH),
                      ld64_be(bytes + DMA_ADDRESS)};
        if (t.control & CTL_SELECT)
            select_key(s, (uint16_t)(t.control >> 16));
        ok = run_transfer(s, &t);
    }
    if (!ok)
        guest_error("fw_cfg: DMA by the structure at 0x%" PRIx64 " failed", at);
    st32_be(done, ok ? 0 : CTL_ERROR);
    dma_write(mem, at, done, sizeof(done));
}

static uint64_t dma_io_read(void *opaque, hwaddr offset, unsigned size)
{
    uint8_t text[8];
    st64_be(text, DMA_SIGNATURE);
    return ldn_le(text + offset, size);
}

/* The address register is big-endian; its low half starts the transfer. */
static void dma_io_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    FwCfg *s = opaque;
    uint32_t half = GUINT32_SWAP_LE_BE((uint32_t)value);
    if (size != 4)
        return;
    if (offset == 0) {
        s->dma_addr = (uint64_t)half << 32;
        return;
    }
    s->dma_addr |= half;
    start_dma(s);
}

/* ---- Life ---- */

static const RegionOps io_ops = {.read = io_read, .write = io_write, .max_size = 2};
static const RegionOps dma_io_ops = {.read = dma_io_read, .write = dma_io_write};

static bool realize(Device *dev, GError **error)
{
    FwCfg *s = (FwCfg *)dev;
    Machine *m = dev->machine;
    region_init_io(&s->io, "fwcfg", 2, &io_ops, s, NULL);
    region_init_io(&s->dma_io, "fwcfg.dma", 8, &dma_io_ops, s, NULL);
    region_add(&m->io_root, PORT_BASE, &s->io);
    region_add(&m->io_root, PORT_DMA, &s->dma_io);
    fw_cfg_add_bytes(dev, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add_u32(dev, FW_CFG_ID, ID_BITS);
    fw_cfg_add_bytes(dev, FW_CFG_UUID, m->uuid, sizeof(m->uuid));
    fw_cfg_add_u64(dev, FW_CFG_RAM_SIZE, m->ram_size);
    fw_cfg_add_u16(dev, FW_CFG_NB_CPUS, (uint16_t)m->cpu_count);
    fw_cfg_add_u16(dev, FW_CFG_MAX_CPUS, (uint16_t)m->cpu_count);
    build_directory(s);
    return true;
}

static void unrealize(Device *dev)
{
    FwCfg *s = (FwCfg *)dev;
    region_fini(&s->io);
    region_fini(&s->dma_io);
    for (unsigned i = 0; i < 2 * KEYS; i++) {
        Item *item = &s->items[i / KEYS][i % KEYS];
        set_bytes(item, NULL);
        g_free(item->name);
    }
}

static void describe(Device *dev, GString *out)
{
    FwCfg *s = (FwCfg *)dev;
    for (unsigned n = 0; n < s->files; n++)
        g_string_append_printf(out, "    file 0x%02x: %s, %zu bytes\n", FW_CFG_FILE_FIRST + n,
                               file_at(s, n)->name, g_bytes_get_size(file_at(s, n)->bytes));
}

/* Items are the machine's configuration; what the guest wrote into a file is its owner's state. */
static const StateField fields[] = {
    STATE_HOST(FwCfg, dev),    STATE_HOST(FwCfg, io),       STATE_HOST(FwCfg, dma_io),
    STATE_HOST(FwCfg, items),  STATE_HOST(FwCfg, files),    STATE_U(FwCfg, key, FW_CFG_SIGNATURE),
    STATE_U(FwCfg, offset, 0), STATE_U(FwCfg, dma_addr, 0), STATE_END,
};
static const StateDesc state = {"fw_cfg", 1, sizeof(FwCfg), fields};

const DeviceClass fw_cfg_class = {
    .name = "fw_cfg",
    .desc = "Firmware configuration, QEMU's interface",
    .size = sizeof(FwCfg),
    .state = &state,
    .realize = realize,
    .unrealize = unrealize,
    .describe = describe,
};
