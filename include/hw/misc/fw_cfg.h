/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg ("fw_cfg"): what the machine tells its firmware, by numbered items and by named files.
 * (QEMU, docs/specs/fw_cfg.rst.)
 *
 * Ports 0x510 (selector) and 0x511 (data), DMA at 0x514.  The device itself adds the signature, the
 * id, the file directory, and UUID, RAM_SIZE, NB_CPUS and MAX_CPUS from the machine.  Adding a key
 * that is there replaces it.  dev is a realized fw_cfg device; main lock held.
 */
#ifndef VMRUN_HW_MISC_FW_CFG_H
#define VMRUN_HW_MISC_FW_CFG_H

#include "hw/core/machine.h"

/* Keys; names and numbers are QEMU's. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,  /* u64 */
    FW_CFG_NOGRAPHIC = 0x04, /* u16 */
    FW_CFG_NB_CPUS = 0x05,   /* u16 */
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c, /* u16: 'c' ... */
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e, /* u16 */
    FW_CFG_MAX_CPUS = 0x0f,  /* u16: the APIC ids' limit */
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ARCH_LOCAL = 0x8000,
    FW_CFG_ACPI_TABLES = FW_CFG_ARCH_LOCAL + 0,
    FW_CFG_SMBIOS_ENTRIES = FW_CFG_ARCH_LOCAL + 1,
    FW_CFG_IRQ0_OVERRIDE = FW_CFG_ARCH_LOCAL + 2, /* u32 */
    FW_CFG_E820_TABLE = FW_CFG_ARCH_LOCAL + 3,
    FW_CFG_HPET = FW_CFG_ARCH_LOCAL + 4,
};

#define FW_CFG_FILE_SLOTS 64
#define FW_CFG_NAME_SIZE  56 /* with the terminating NUL */

/* What a file's owner wants to know of; both may be NULL. */
typedef struct FwCfgHooks {
    void (*select)(void *opaque); /* the guest selected it: the last moment to change it */
    /* The guest wrote length bytes at offset, by DMA; a file with this hook is writable. */
    void (*write)(void *opaque, uint32_t offset, uint32_t length);
    void *opaque;
} FwCfgHooks;

/* Items by key: copies of the bytes, numbers little-endian.  A key that does not exist is ignored
 * with a message on stderr. */
void fw_cfg_add_bytes(Device *dev, uint16_t key, const void *data, size_t length);
void fw_cfg_add_string(Device *dev, uint16_t key, const char *text); /* with its NUL */
void fw_cfg_add_u16(Device *dev, uint16_t key, uint16_t value);
void fw_cfg_add_u32(Device *dev, uint16_t key, uint32_t value);
void fw_cfg_add_u64(Device *dev, uint16_t key, uint64_t value);
/* The same without a copy, for kernels and initrds: a reference is taken. Below 4 GiB. */
void fw_cfg_add_shared(Device *dev, uint16_t key, GBytes *data);

/* A file with a copy of the bytes.  An error if the name is empty, longer than 55 bytes or in use,
 * or all 64 slots are taken.  Adding one renumbers the files after it: all are there before the
 * guest runs. */
bool fw_cfg_add_file(Device *dev, const char *name, const void *data, size_t length,
                     GError **error);
bool fw_cfg_add_file_shared(Device *dev, const char *name, GBytes *data, GError **error);
/* hooks are copied. */
bool fw_cfg_add_file_hooks(Device *dev, const char *name, const void *data, size_t length,
                           const FwCfgHooks *hooks, GError **error);
/* Replaces the contents of a file that exists; false if there is none. */
bool fw_cfg_modify_file(Device *dev, const char *name, const void *data, size_t length);
/* The contents now, owned by the device and valid until changed; NULL if there is no such file. */
const uint8_t *fw_cfg_file_data(Device *dev, const char *name, uint32_t *length);

#endif
