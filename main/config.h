/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the command line says, before anything is opened.
 *
 * cli_parse() fills a VmConfig by the option table; main/drives.c, main/ports.c and main/engine.c
 * turn it into open back ends and the board's PcConfig.
 */
#ifndef VMRUN_MAIN_CONFIG_H
#define VMRUN_MAIN_CONFIG_H

#include "hw/pc/pc.h"
#include "ui/display.h"

#define DEFAULT_RAM_SIZE (512ULL << 20)

typedef struct VmConfig {
    /* Not NULL: -help and the like asked for this text; print it and leave. */
    GString *answer;

    /* The board, all but its drives and ports. */
    PcConfig board;
    unsigned cpus;
    const char *cpu_model; /* NULL: the engine's default */
    GPtrArray *accels;     /* of Options with key "accel", tried in order; empty: choose */

    GPtrArray *drives;        /* of Options: -drive's keys, as -hda and the like set them too */
    GPtrArray *devices;       /* of Options: -device */
    GPtrArray *netdevs;       /* of Options: -netdev's keys, as -nic and -net set them too */
    GPtrArray *nics;          /* of Options: as -device's, from -nic and -net */
    GPtrArray *port_forwards; /* of char *, owned: rules of -p */
    bool net_chosen;          /* -nic or -net */
    GPtrArray *objects;       /* of Options: -object, type and keys checked */
    bool snapshot;
    const char *first_disk; /* path of the first image that keeps what is written, or NULL */

    GPtrArray *chardevs;            /* of Options: -chardev */
    GPtrArray *serials, *parallels; /* of char *: short forms, in order of the ports */
    GPtrArray *monitors;            /* of char *: -monitor */
    GPtrArray *mons;                /* of Options: -mon */
    GPtrArray *debugcons;           /* of char * */
    bool nographic, nodefaults;

    UiOptions ui;
    const char *name;         /* -name, or NULL */
    const char *process_name; /* -name process=, or NULL */
    bool uuid_set;
    uint8_t uuid[16];

    bool paused;         /* -S */
    const char *load_vm; /* -loadvm's tag, or NULL */
    bool no_reboot, no_shutdown;
    bool one_insn; /* -singlestep */
    bool daemonize;
    const char *pid_file;
    uint32_t log_mask;
    const char *log_file;
    const char *qtest, *qtest_log;
    const char *gdb; /* -gdb */

    GStringChunk *strings; /* holds what the pointers above point to */
} VmConfig;

/* Defaults. */
VmConfig *config_new(void);
void config_free(VmConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmConfig, config_free)
/* A copy that lives as long as config; NULL stays NULL. */
const char *config_keep(VmConfig *config, const char *text);

/* ---- The command line (main/cli.c) ---- */

typedef struct CliOption CliOption;
/* arg is NULL for options without one.  Messages begin with the option's name. */
typedef bool CliHandler(VmConfig *config, const CliOption *option, const char *arg, GError **error);
struct CliOption {
    const char *name; /* without the dash; NULL: a heading, whose text is in help */
    const char *arg;  /* form of the argument for -help, NULL: none */
    const char *help; /* one line */
    CliHandler *handler;
    int n; /* the handler's own: number of a drive ... */
};

/* The table; ends with a row whose name and help are NULL. */
extern const CliOption cli_options[];

/* Reads argv[1 ...] into config.  Stops early when config->answer is set. */
bool cli_parse(VmConfig *config, int argc, char *const *argv, GError **error);
/* The text of -help. */
void cli_describe(GString *out);
/* What vmrun answers to an option that QEMU has and vmrun has not, or NULL. */
const char *cli_missing_option(const char *name);

/* Handlers by the file that they live in. */
CliHandler cli_disk, cli_floppy, cli_cdrom, cli_drive, cli_snapshot;             /* cli_drives.c */
CliHandler cli_machine, cli_accel, cli_enable_kvm, cli_cpu, cli_smp, cli_memory; /* cli_cpu.c */
CliHandler cli_boot, cli_kernel, cli_initrd, cli_append, cli_bios, cli_firmware_dir, cli_vga,
    cli_rtc, cli_no_acpi, cli_no_hpet, cli_name, cli_uuid, cli_device; /* cli_board.c */
CliHandler cli_smbios, cli_fw_cfg;                                     /* cli_tables.c */
CliHandler cli_display, cli_full_screen, cli_nographic, cli_serial, cli_parallel, cli_monitor,
    cli_chardev, cli_mon, cli_debugcon, cli_keyboard;      /* cli_ports.c */
CliHandler cli_nic, cli_net, cli_netdev, cli_port_forward; /* cli_net.c */
CliHandler cli_object;                                     /* cli_object.c */
CliHandler cli_one_insn, cli_paused, cli_load_vm, cli_no_reboot, cli_no_shutdown, cli_action,
    cli_pid_file, cli_daemonize, cli_log, cli_log_file, cli_gdb, cli_qtest, cli_qtest_log,
    cli_no_user_config, cli_nodefaults, cli_version, cli_help; /* cli_process.c */

/* "-X WORD: vmrun does not have WORD yet" if word is in the NULL-terminated list (then true). */
bool cli_fail_if_missing(const CliOption *option, const char *word, const char *const *missing,
                         GError **error);
/* "-X: there is no WHAT 'word'; did you mean ...", with all words listed if none is near. */
bool cli_fail_word(const CliOption *option, const char *what, const char *word,
                   const char *const *words, GError **error);

/* ---- Networks (main/cli_net.c) ---- */

/* A driver of -device that is a network card. */
bool cli_is_nic(const char *driver);
/* options' key, if it is there, is an address that a card can have. */
bool cli_check_mac(const Options *options, const char *key, GError **error);
/* Adds the card and the network that a PC has where nothing is said. */
bool cli_default_net(VmConfig *config, GError **error);

#endif
