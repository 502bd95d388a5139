/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -kernel for ELF files: PVH (xen/include/public/arch-x86/hvm/start_info.h; an uncompressed vmlinux
 * is one) and multiboot (Multiboot Specification 0.6.96).
 *
 * Both enter in flat 32-bit protected mode with a structure that says where things are.  It is laid
 * out here and completed by bootrom.S, which alone can ask the BIOS for the memory map.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "pc_private.h"
#include "util/bytes.h"
#include "util/error.h"

/* One page and a half in low memory: BootInfo, the start structure, modules, the map. */
#define INFO_ADDR    0x8000u
#define START_ADDR   (INFO_ADDR + 0x40)
#define MODULES_ADDR (INFO_ADDR + 0x100)
#define MAP_ADDR     (INFO_ADDR + 0x400)
#define MAP_ENTRY    24u
#define MAP_MAX      128u
#define MODULES_MAX  ((MAP_ADDR - MODULES_ADDR) / 32)
#define SETUP_SIZE   (MAP_ADDR - INFO_ADDR + MAP_MAX * MAP_ENTRY)
#define CMDLINE_ADDR 0x20000u
#define CMDLINE_ROOM 0x10000u

/* ---- ELF ---- */

typedef struct Segment {
    uint64_t offset, addr, file_size, mem_size;
    uint32_t type;
} Segment;

typedef struct Elf {
    const uint8_t *data;
    gsize size;
    bool wide;
    uint64_t phoff, entry;
    unsigned phnum, phentsize;
} Elf;

bool elf_recognise(GBytes *file)
{
    gsize size;
    const uint8_t *data = g_bytes_get_data(file, &size);
    return size >= sizeof(Elf64_Ehdr) && !memcmp(data, ELFMAG, SELFMAG);
}

static bool elf_open(GBytes *file, Elf *elf)
{
    elf->data = g_bytes_get_data(file, &elf->size);
    elf->wide = elf->data[EI_CLASS] == ELFCLASS64;
    if (elf->wide) {
        Elf64_Ehdr head;
        memcpy(&head, elf->data, sizeof(head));
        elf->phoff = head.e_phoff;
        elf->entry = head.e_entry;
        elf->phnum = head.e_phnum;
        elf->phentsize = head.e_phentsize;
    } else {
        Elf32_Ehdr head;
        memcpy(&head, elf->data, sizeof(head));
        elf->phoff = head.e_phoff;
        elf->entry = head.e_entry;
        elf->phnum = head.e_phnum;
        elf->phentsize = head.e_phentsize;
    }
    size_t least = elf->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    return elf->data[EI_DATA] == ELFDATA2LSB && elf->phentsize >= least &&
           elf->phoff <= elf->size &&
           (uint64_t)elf->phnum * elf->phentsize <= elf->size - elf->phoff;
}

/* Program header n; false if its bytes are not in the file. */
static bool elf_segment(const Elf *elf, unsigned n, Segment *segment)
{
    const uint8_t *at = elf->data + elf->phoff + (uint64_t)n * elf->phentsize;
    if (elf->wide) {
        Elf64_Phdr head;
        memcpy(&head, at, sizeof(head));
        *segment = (Segment){head.p_offset, head.p_paddr, head.p_filesz, head.p_memsz, head.p_type};
    } else {
        Elf32_Phdr head;
        memcpy(&head, at, sizeof(head));
        *segment = (Segment){head.p_offset, head.p_paddr, head.p_filesz, head.p_memsz, head.p_type};
    }
    return segment->offset <= elf->size && segment->file_size <= elf->size - segment->offset &&
           segment->file_size <= segment->mem_size;
}

/* The span of all loadable segments; false if one is malformed or not in low RAM. */
static bool elf_span(const Elf *elf, uint64_t low_ram, uint64_t *first, uint64_t *end)
{
    *first = UINT64_MAX;
    *end = 0;
    for (unsigned i = 0; i < elf->phnum; i++) {
        Segment segment;
        if (!elf_segment(elf, i, &segment))
            return false;
        if (segment.type != PT_LOAD || !segment.mem_size)
            continue;
        if (segment.addr >= low_ram || segment.mem_size > low_ram - segment.addr)
            return false;
        *first = MIN(*first, segment.addr);
        *end = MAX(*end, segment.addr + segment.mem_size);
    }
    return *first < *end;
}

static GBytes *elf_flatten(GBytes *file, uint64_t low_ram, uint32_t *addr, Elf *elf, GError **error)
{
    uint64_t first, end;
    if (!elf_open(file, elf) || !elf_span(elf, low_ram, &first, &end)) {
        fail(error, "its program headers are malformed or do not fit into memory (raise -m)");
        return NULL;
    }
    uint8_t *flat = g_try_malloc0(end - first);
    if (!flat) {
        fail(error, "it asks for too much memory");
        return NULL;
    }
    for (unsigned i = 0; i < elf->phnum; i++) {
        Segment segment;
        if (elf_segment(elf, i, &segment) && segment.type == PT_LOAD && segment.file_size)
            memcpy(flat + (segment.addr - first), elf->data + segment.offset, segment.file_size);
    }
    *addr = (uint32_t)first;
    return g_bytes_new_take(flat, end - first);
}

/* ---- What both kinds need ---- */

static bool add_command_line(const PcConfig *config, KernelImage *image, GError **error)
{
    const char *append = config->append ? config->append : "";
    if (strlen(append) >= CMDLINE_ROOM)
        return fail(error, "-append: %zu characters, at most %u fit", strlen(append),
                    CMDLINE_ROOM - 1);
    image->cmdline = g_bytes_new(append, strlen(append) + 1);
    image->cmdline_addr = CMDLINE_ADDR;
    return true;
}

static void put_info(uint8_t *setup, const BootInfo *info)
{
    uint32_t words[] = {info->eax,        info->ebx,        info->map_addr,   info->map_skip,
                        info->count_addr, info->count_unit, info->lower_addr, info->map_max};
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        st32_le(setup + 4 * i, words[i]);
}

/* ---- PVH ---- */

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define PVH_MAGIC                0x336ec578u

/* Offsets in hvm_start_info, version 1, and in a module list entry. */
enum {
    PVH_VERSION = 4,
    PVH_NR_MODULES = 12,
    PVH_MODLIST = 16,
    PVH_CMDLINE = 24,
    PVH_MEMMAP = 40,
    PVH_MEMMAP_ENTRIES = 48,
};

/* Looks for the entry point in the notes of one PT_NOTE segment (ELF gABI, "Note Section"). */
static bool note_entry(const uint8_t *at, const uint8_t *end, uint32_t *entry)
{
    while (end - at >= 12) {
        uint64_t name_size = ld32_le(at), desc_size = ld32_le(at + 4), type = ld32_le(at + 8);
        uint64_t name_room = align_up(name_size, 4), room = name_room + align_up(desc_size, 4);
        at += 12;
        if ((uint64_t)(end - at) < name_room + desc_size)
            return false;
        if (type == XEN_ELFNOTE_PHYS32_ENTRY && name_size == 4 && !memcmp(at, "Xen", 4) &&
            desc_size >= 4) {
            *entry = ld32_le(at + name_room);
            return true;
        }
        at += MIN(room, (uint64_t)(end - at));
    }
    return false;
}

static bool pvh_entry(const Elf *elf, uint32_t *entry)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        Segment segment;
        if (elf_segment(elf, i, &segment) && segment.type == PT_NOTE &&
            note_entry(elf->data + segment.offset, elf->data + segment.offset + segment.file_size,
                       entry))
            return true;
    }
    return false;
}

static bool add_pvh_initrd(const PcConfig *config, uint64_t low_ram, uint64_t floor, uint8_t *setup,
                           KernelImage *image, GError **error)
{
    uint8_t *start = setup + (START_ADDR - INFO_ADDR), *module = setup + (MODULES_ADDR - INFO_ADDR);
    if (!config->initrd)
        return true;
    if (!kernel_load_initrd(config, low_ram, UINT32_MAX, floor, image, error))
        return false;
    st32_le(start + PVH_NR_MODULES, 1);
    st64_le(start + PVH_MODLIST, MODULES_ADDR);
    st64_le(module, image->initrd_addr);
    st64_le(module + 8, g_bytes_get_size(image->initrd));
    return true;
}

bool pvh_load(GBytes *file, const PcConfig *config, uint64_t low_ram, KernelImage *image,
              GError **error)
{
    Elf elf;
    image->kernel = elf_flatten(file, low_ram, &image->kernel_addr, &elf, error);
    if (!image->kernel)
        return fail_prefix(error, "-kernel: '%s'", config->kernel);
    if (!pvh_entry(&elf, &image->entry))
        return fail(error,
                    "-kernel: '%s' is an ELF file without a PVH entry note (Linux: "
                    "CONFIG_PVH) or multiboot header",
                    config->kernel);
    g_autofree uint8_t *setup = g_malloc0(SETUP_SIZE);
    uint8_t *start = setup + (START_ADDR - INFO_ADDR);
    st32_le(start, PVH_MAGIC);
    st32_le(start + PVH_VERSION, 1);
    st64_le(start + PVH_CMDLINE, CMDLINE_ADDR);
    st64_le(start + PVH_MEMMAP, MAP_ADDR);
    BootInfo info = {.ebx = START_ADDR,
                     .map_addr = MAP_ADDR,
                     .count_addr = START_ADDR + PVH_MEMMAP_ENTRIES,
                     .count_unit = 1,
                     .map_max = MAP_MAX};
    put_info(setup, &info);
    if (!add_command_line(config, image, error) ||
        !add_pvh_initrd(config, low_ram, image->kernel_addr + g_bytes_get_size(image->kernel),
                        setup, image, error))
        return false;
    image->setup_addr = INFO_ADDR;
    image->setup = g_bytes_new_take(g_steal_pointer(&setup), SETUP_SIZE);
    return true;
}

/* ---- Multiboot ---- */

#define MULTIBOOT_MAGIC        0x1badb002u
#define MULTIBOOT_LOADER_MAGIC 0x2badb002u
#define MULTIBOOT_SEARCH       8192u
enum { MULTIBOOT_VIDEO = 1 << 2, MULTIBOOT_ADDRESSES = 1 << 16 };
/* Flags and offsets of the information structure. */
enum { INFO_MEMORY = 1, INFO_CMDLINE = 4, INFO_MODS = 8, INFO_MMAP = 0x40, INFO_LOADER = 0x200 };
enum {
    MB_MEM_LOWER = 4,
    MB_MEM_UPPER = 8,
    MB_CMDLINE = 16,
    MB_MODS_COUNT = 20,
    MB_MODS_ADDR = 24,
    MB_MMAP_LENGTH = 44,
    MB_MMAP_ADDR = 48,
    MB_LOADER_NAME = 64,
};

static const uint8_t *find_header(GBytes *file, gsize *left)
{
    gsize size;
    const uint8_t *data = g_bytes_get_data(file, &size);
    for (gsize at = 0; at + 12 <= MIN(size, MULTIBOOT_SEARCH); at += 4) {
        if (ld32_le(data + at) == MULTIBOOT_MAGIC &&
            ld32_le(data + at) + ld32_le(data + at + 4) + ld32_le(data + at + 8) == 0) {
            *left = size - at;
            return data + at;
        }
    }
    return NULL;
}

bool multiboot_recognise(GBytes *file)
{
    gsize left;
    return find_header(file, &left) != NULL;
}

/* A kernel that is not ELF says itself where its parts go ("a.out kludge"). */
static bool load_by_header(GBytes *file, const uint8_t *header, gsize left, uint64_t low_ram,
                           KernelImage *image, GError **error)
{
    gsize size;
    const uint8_t *data = g_bytes_get_data(file, &size);
    if (left < 32)
        return fail(error, "its multiboot header is cut short");
    uint32_t header_addr = ld32_le(header + 12), load = ld32_le(header + 16);
    uint32_t load_end = ld32_le(header + 20), bss_end = ld32_le(header + 24);
    uint64_t offset = (uint64_t)(header - data) - (header_addr - load);
    if (load > header_addr || offset >= size || (load_end && load_end < load))
        return fail(error, "its multiboot header has impossible addresses");
    uint64_t length = load_end ? load_end - load : size - offset;
    uint64_t total = bss_end > load ? MAX(length, bss_end - load) : length;
    if (length > size - offset || load >= low_ram || total > low_ram - load)
        return fail(error, "it does not fit into the file or memory (raise -m)");
    uint8_t *flat = g_try_malloc0(total);
    if (!flat)
        return fail(error, "it asks for too much memory");
    memcpy(flat, data + offset, length);
    image->kernel = g_bytes_new_take(flat, total);
    image->kernel_addr = load;
    image->entry = ld32_le(header + 28);
    return true;
}

/* The modules of -initrd "FILE ARGS,FILE ARGS" lie one behind another; each has a row of 16 bytes
 * and its text behind the files. */
static bool add_modules(const PcConfig *config, uint64_t low_ram, uint32_t addr, uint8_t *setup,
                        KernelImage *image, GError **error)
{
    if (!config->initrd)
        return true;
    uint8_t *start = setup + (START_ADDR - INFO_ADDR), *rows = setup + (MODULES_ADDR - INFO_ADDR);
    g_auto(GStrv) modules = g_strsplit(config->initrd, ",", -1);
    g_autoptr(GByteArray) blob = g_byte_array_new();
    unsigned count = 0;
    for (; modules[count]; count++) {
        if (count == MODULES_MAX)
            return fail(error, "-initrd: more than %u modules", MODULES_MAX);
        g_autofree char *path = g_strndup(modules[count], strcspn(modules[count], " "));
        g_autoptr(GBytes) file = kernel_read_file("-initrd", path, error);
        if (!file)
            return false;
        if (g_bytes_get_size(file) > low_ram - MIN(low_ram, blob->len))
            return fail(error, "-initrd: '%s' does not fit into memory: raise -m", path);
        uint8_t *row = rows + 16 * count;
        st32_le(row, addr + blob->len);
        g_byte_array_append(blob, g_bytes_get_data(file, NULL), (guint)g_bytes_get_size(file));
        st32_le(row + 4, addr + blob->len);
        st32_le(row + 8, addr + blob->len);
        g_byte_array_append(blob, (const uint8_t *)modules[count],
                            (guint)strlen(modules[count]) + 1);
        g_byte_array_set_size(blob, (guint)align_up(blob->len, 4096));
    }
    if ((uint64_t)addr + blob->len > low_ram)
        return fail(error, "-initrd: the modules do not fit into memory: raise -m");
    st32_le(start, ld32_le(start) | INFO_MODS);
    st32_le(start + MB_MODS_COUNT, count);
    st32_le(start + MB_MODS_ADDR, MODULES_ADDR);
    image->initrd_addr = addr;
    image->initrd = g_byte_array_free_to_bytes(g_steal_pointer(&blob));
    return true;
}

static void fill_multiboot_info(uint8_t *setup, uint64_t low_ram)
{
    static const char name[] = "vmrun";
    uint8_t *start = setup + (START_ADDR - INFO_ADDR);
    st32_le(start, INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER);
    st32_le(start + MB_MEM_UPPER, (uint32_t)((low_ram - (1 << 20)) >> 10));
    st32_le(start + MB_CMDLINE, CMDLINE_ADDR);
    st32_le(start + MB_MMAP_ADDR, MAP_ADDR);
    st32_le(start + MB_LOADER_NAME, START_ADDR + 0x80);
    memcpy(start + 0x80, name, sizeof(name));
    BootInfo info = {.eax = MULTIBOOT_LOADER_MAGIC,
                     .ebx = START_ADDR,
                     .map_addr = MAP_ADDR,
                     .map_skip = 4,
                     .count_addr = START_ADDR + MB_MMAP_LENGTH,
                     .count_unit = MAP_ENTRY,
                     .lower_addr = START_ADDR + MB_MEM_LOWER,
                     .map_max = MAP_MAX};
    put_info(setup, &info);
}

bool multiboot_load(GBytes *file, const PcConfig *config, uint64_t low_ram, KernelImage *image,
                    GError **error)
{
    gsize left;
    const uint8_t *header = find_header(file, &left);
    uint32_t flags = ld32_le(header + 4);
    if (flags & MULTIBOOT_VIDEO)
        return fail(error,
                    "-kernel: '%s' asks for a graphics mode at start, which only a boot "
                    "loader such as GRUB can set",
                    config->kernel);
    bool ok;
    if (flags & MULTIBOOT_ADDRESSES || !elf_recognise(file)) {
        ok = load_by_header(file, header, left, low_ram, image, error);
    } else {
        Elf elf;
        image->kernel = elf_flatten(file, low_ram, &image->kernel_addr, &elf, error);
        image->entry = image->kernel ? (uint32_t)elf.entry : 0;
        ok = image->kernel != NULL;
    }
    if (!ok)
        return fail_prefix(error, "-kernel: '%s'", config->kernel);
    g_autofree uint8_t *setup = g_malloc0(SETUP_SIZE);
    fill_multiboot_info(setup, low_ram);
    uint32_t modules =
        (uint32_t)align_up(image->kernel_addr + g_bytes_get_size(image->kernel), 4096);
    if (!add_command_line(config, image, error) ||
        !add_modules(config, low_ram, modules, setup, image, error))
        return false;
    image->setup_addr = INFO_ADDR;
    image->setup = g_bytes_new_take(g_steal_pointer(&setup), SETUP_SIZE);
    return true;
}
