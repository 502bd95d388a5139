/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -kernel, -initrd, -append: a Linux bzImage (Linux boot protocol,
 * Documentation/arch/x86/boot.rst), and the way of every kernel to the boot ROM.  ELF kinds are in
 * kernel_elf.c.
 */
#include <errno.h>
#include <string.h>

#include "hw/misc/fw_cfg.h"
#include "pc_private.h"
#include "util/bytes.h"
#include "util/error.h"

/* Where the pieces go: as other loaders do it, because kernels rely on it.  Before protocol 2.02
 * the command line is named by its offset from the setup block, which then stands at 0x90000. */
#define SETUP_ADDR       0x10000u
#define CMDLINE_ADDR     0x20000u
#define OLD_SETUP_ADDR   0x90000u
#define OLD_CMDLINE_ADDR 0x99000u
#define KERNEL_HIGH      0x100000u
#define KERNEL_LOW       0x10000u /* zImage */
#define CMDLINE_ROOM     0x10000u
/* Left free below the end of low RAM for firmware's tables. */
#define FIRMWARE_ROOM 0x40000u

/* Offsets in the setup header. */
enum {
    OLD_CL_MAGIC = 0x20,
    OLD_CL_OFFSET = 0x22,
    SETUP_SECTS = 0x1f1,
    VID_MODE = 0x1fa,
    HEADER_MAGIC = 0x202,
    PROTOCOL = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    CMDLINE_SIZE = 0x238,
    HEADER_END = 0x23c,
};
enum { LOADED_HIGH = 0x01, CAN_USE_HEAP = 0x80 };
#define LOADER_UNKNOWN 0xff

GBytes *kernel_read_file(const char *option, const char *path, GError **error)
{
    GError *why = NULL;
    g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, &why);
    if (!file) {
        fail(error, "%s: cannot read '%s': %s", option, path, g_strerror(errno));
        g_clear_error(&why);
        return NULL;
    }
    if (g_mapped_file_get_length(file) == 0) {
        fail(error, "%s: '%s' is empty", option, path);
        return NULL;
    }
    return g_mapped_file_get_bytes(file);
}

/* As high as may be; 0 if it does not fit above `floor`. */
static uint32_t place_initrd(uint64_t size, uint64_t low_ram, uint64_t limit, uint64_t floor)
{
    uint64_t top = low_ram > FIRMWARE_ROOM ? low_ram - FIRMWARE_ROOM : 0;
    top = MIN(top, limit + 1);
    if (size > top || align_down(top - size, 4096) < floor)
        return 0;
    return (uint32_t)align_down(top - size, 4096);
}

bool kernel_load_initrd(const PcConfig *config, uint64_t low_ram, uint64_t limit, uint64_t floor,
                        KernelImage *image, GError **error)
{
    image->initrd = kernel_read_file("-initrd", config->initrd, error);
    if (!image->initrd)
        return false;
    image->initrd_addr = place_initrd(g_bytes_get_size(image->initrd), low_ram, limit, floor);
    if (!image->initrd_addr)
        return fail(error, "-initrd: '%s' does not fit into memory behind the kernel: raise -m",
                    config->initrd);
    return true;
}

/* ---- bzImage ---- */

static bool is_linux(GBytes *file)
{
    gsize size;
    const uint8_t *data = g_bytes_get_data(file, &size);
    return size > HEADER_END && !memcmp(data + HEADER_MAGIC, "HdrS", 4);
}

/* "vga=" of the command line goes into the header: normal, ext, ask, or a mode number. */
static bool video_mode(const char *append, uint16_t *mode, GError **error)
{
    const char *word = strstr(append, "vga=");
    if (!word || (word != append && word[-1] != ' '))
        return true;
    g_autofree char *text = g_strndup(word + 4, strcspn(word + 4, " "));
    uint64_t number;
    if (!strcmp(text, "normal"))
        *mode = 0xffff;
    else if (!strcmp(text, "ext"))
        *mode = 0xfffe;
    else if (!strcmp(text, "ask"))
        *mode = 0xfffd;
    else if (parse_uint(text, &number) && number <= 0xffff)
        *mode = (uint16_t)number;
    else
        return fail(error, "-append: vga=%s is no video mode: normal, ext, ask or a number", text);
    return true;
}

static bool place_linux_initrd(const PcConfig *config, uint64_t low_ram, uint8_t *setup,
                               uint64_t kernel_end, KernelImage *image, GError **error)
{
    unsigned protocol = ld16_le(setup + PROTOCOL);
    uint64_t limit = protocol >= 0x203 ? ld32_le(setup + INITRD_ADDR_MAX) : 0x37ffffff;
    if (!config->initrd)
        return true;
    if (!kernel_load_initrd(config, low_ram, limit, kernel_end, image, error))
        return false;
    st32_le(setup + RAMDISK_IMAGE, image->initrd_addr);
    st32_le(setup + RAMDISK_SIZE, (uint32_t)g_bytes_get_size(image->initrd));
    return true;
}

static bool set_command_line(const PcConfig *config, uint8_t *setup, KernelImage *image,
                             GError **error)
{
    const char *append = config->append ? config->append : "";
    unsigned protocol = ld16_le(setup + PROTOCOL);
    uint64_t room = protocol >= 0x206 ? ld32_le(setup + CMDLINE_SIZE) : 255;
    if (strlen(append) > MIN(room, CMDLINE_ROOM - 1))
        return fail(error, "-append: %zu characters, this kernel takes %" G_GUINT64_FORMAT,
                    strlen(append), MIN(room, CMDLINE_ROOM - 1));
    uint16_t mode = ld16_le(setup + VID_MODE);
    if (!video_mode(append, &mode, error))
        return false;
    st16_le(setup + VID_MODE, mode);
    image->cmdline = g_bytes_new(append, strlen(append) + 1);
    if (protocol >= 0x202) {
        st32_le(setup + CMD_LINE_PTR, image->cmdline_addr);
    } else {
        st16_le(setup + OLD_CL_MAGIC, 0xa33f);
        st16_le(setup + OLD_CL_OFFSET, (uint16_t)(image->cmdline_addr - image->setup_addr));
    }
    return true;
}

static void place_linux(const uint8_t *setup, KernelImage *image)
{
    bool high = setup[LOADFLAGS] & LOADED_HIGH;
    bool old = !high || ld16_le(setup + PROTOCOL) < 0x202;
    image->kernel_addr = high ? KERNEL_HIGH : KERNEL_LOW;
    image->setup_addr = old ? OLD_SETUP_ADDR : SETUP_ADDR;
    image->cmdline_addr = old ? OLD_CMDLINE_ADDR : CMDLINE_ADDR;
}

static bool load_linux(GBytes *file, const PcConfig *config, uint64_t low_ram, KernelImage *image,
                       GError **error)
{
    gsize size;
    const uint8_t *data = g_bytes_get_data(file, &size);
    unsigned sectors = data[SETUP_SECTS] ? data[SETUP_SECTS] : 4;
    gsize setup_size = (sectors + 1) * 512u;
    if (ld16_le(data + PROTOCOL) < 0x200)
        return fail(error, "-kernel: '%s' speaks boot protocol %x.%02x, older than 2.00",
                    config->kernel, data[PROTOCOL + 1], data[PROTOCOL]);
    if (size <= setup_size)
        return fail(error, "-kernel: '%s' is cut short: %zu bytes of set-up, nothing behind",
                    config->kernel, (size_t)setup_size);
    g_autofree uint8_t *setup = g_memdup2(data, setup_size);
    place_linux(setup, image);
    uint64_t kernel_end = image->kernel_addr + (size - setup_size);
    if (kernel_end > (image->kernel_addr == KERNEL_LOW ? OLD_SETUP_ADDR : low_ram))
        return fail(error, "-kernel: '%s' does not fit into memory: raise -m", config->kernel);
    setup[TYPE_OF_LOADER] = LOADER_UNKNOWN;
    if (ld16_le(setup + PROTOCOL) >= 0x201) {
        setup[LOADFLAGS] |= CAN_USE_HEAP;
        st16_le(setup + HEAP_END_PTR, (uint16_t)(image->cmdline_addr - image->setup_addr - 0x200));
    }
    if (!set_command_line(config, setup, image, error) ||
        !place_linux_initrd(config, low_ram, setup, kernel_end, image, error))
        return false;
    image->kernel = g_bytes_new_from_bytes(file, setup_size, size - setup_size);
    image->setup = g_bytes_new_take(g_steal_pointer(&setup), setup_size);
    return true;
}

/* ---- To fw_cfg and the ROM ---- */

extern const uint8_t bootrom_start[], bootrom_end[];

static bool add_rom(Device *fw_cfg, GError **error)
{
    size_t size = (size_t)(bootrom_end - bootrom_start);
    g_autofree uint8_t *rom = g_memdup2(bootrom_start, size);
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + rom[i]);
    rom[size - 1] = (uint8_t)(rom[size - 1] - sum);
    return fw_cfg_add_file(fw_cfg, KERNEL_ROM_FILE, rom, size, error);
}

/* A missing piece is one of size 0, which the ROM skips. */
static void add_piece(Device *fw_cfg, unsigned addr_key, uint32_t addr, unsigned size_key,
                      unsigned data_key, GBytes *data)
{
    fw_cfg_add_u32(fw_cfg, (uint16_t)addr_key, addr);
    fw_cfg_add_u32(fw_cfg, (uint16_t)size_key, data ? (uint32_t)g_bytes_get_size(data) : 0);
    if (data)
        fw_cfg_add_shared(fw_cfg, (uint16_t)data_key, data);
}

static bool give(Device *fw_cfg, const KernelImage *image, GError **error)
{
    add_piece(fw_cfg, FW_CFG_KERNEL_ADDR, image->kernel_addr, FW_CFG_KERNEL_SIZE,
              FW_CFG_KERNEL_DATA, image->kernel);
    add_piece(fw_cfg, FW_CFG_INITRD_ADDR, image->initrd_addr, FW_CFG_INITRD_SIZE,
              FW_CFG_INITRD_DATA, image->initrd);
    add_piece(fw_cfg, FW_CFG_CMDLINE_ADDR, image->cmdline_addr, FW_CFG_CMDLINE_SIZE,
              FW_CFG_CMDLINE_DATA, image->cmdline);
    add_piece(fw_cfg, FW_CFG_SETUP_ADDR, image->setup_addr, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA,
              image->setup);
    fw_cfg_add_u32(fw_cfg, FW_CFG_KERNEL_ENTRY, image->entry);
    return add_rom(fw_cfg, error);
}

static void image_clear(KernelImage *image)
{
    g_clear_pointer(&image->kernel, g_bytes_unref);
    g_clear_pointer(&image->initrd, g_bytes_unref);
    g_clear_pointer(&image->setup, g_bytes_unref);
    g_clear_pointer(&image->cmdline, g_bytes_unref);
}

bool kernel_load(Device *fw_cfg, const PcConfig *config, uint64_t low_ram, GError **error)
{
    KernelImage image = {0};
    g_autoptr(GBytes) file = kernel_read_file("-kernel", config->kernel, error);
    if (!file)
        return false;
    bool ok;
    if (is_linux(file))
        ok = load_linux(file, config, low_ram, &image, error);
    else if (multiboot_recognise(file))
        ok = multiboot_load(file, config, low_ram, &image, error);
    else if (elf_recognise(file))
        ok = pvh_load(file, config, low_ram, &image, error);
    else
        ok = fail(error, "-kernel: '%s' is no bzImage, multiboot or PVH (ELF) kernel",
                  config->kernel);
    ok = ok && give(fw_cfg, &image, error);
    image_clear(&image);
    return ok;
}
