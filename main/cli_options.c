/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option table: one row an option, from which -help is made and docs/vmrun.1 is checked; and
 * the options of QEMU that vmrun has not.
 */
#include "config.h"

#define HEADING(text)                                                                              \
    {                                                                                              \
        NULL, NULL, text, NULL, 0                                                                  \
    }

/* clang-format off */
const CliOption cli_options[] = {
    HEADING("Disks"),
    {"hda", "FILE", "first hard disk (as a bare FILE)", cli_disk, 0},
    {"hdb", "FILE", "second hard disk", cli_disk, 1},
    {"hdc", "FILE", "third hard disk", cli_disk, 2},
    {"hdd", "FILE", "fourth hard disk", cli_disk, 3},
    {"cdrom", "FILE", "CD or DVD (in the place of -hdc)", cli_cdrom, 2},
    {"fda", "FILE", "first floppy disk", cli_floppy, 0},
    {"fdb", "FILE", "second floppy disk", cli_floppy, 1},
    {"drive", "file=FILE[,format=F][,if=ide|floppy|none][,index=N][,media=disk|cdrom]...",
     "a drive in full", cli_drive, 0},
    {"snapshot", NULL, "write to temporary files instead of the disk images", cli_snapshot, 0},

    HEADING("Machine"),
    {"m", "[size=]SIZE", "memory: MiB, or with k, M, G, T (default 512)", cli_memory, 0},
    {"smp", "[cpus=]N[,sockets=N][,cores=N][,threads=N][,maxcpus=N]", "processors (default 1)",
     cli_smp, 0},
    {"cpu", "MODEL[,+FEATURE][,-FEATURE]", "processor model (-cpu help)", cli_cpu, 0},
    {"accel", "ENGINE[,PROPERTY=VALUE]...",
     "what runs guest code (-accel help); repeat it for a list to fall back along", cli_accel, 0},
    {"enable-kvm", NULL, "as -accel kvm", cli_enable_kvm, 0},
    {"one-insn-per-tb", NULL, "one instruction at a time, for -d exec (-accel interp)", cli_one_insn,
     0},
    {"singlestep", NULL, "as -one-insn-per-tb", cli_one_insn, 0},
    {"machine", "[type=]pc[,accel=ENGINE][,PROPERTY=VALUE]...", "machine type (-machine help)",
     cli_machine, 0},
    {"M", "TYPE", "as -machine", cli_machine, 0},
    {"device", "DRIVER[,id=ID][,PROPERTY=VALUE]...", "add a device (-device help)", cli_device, 0},
    {"object", "TYPE,id=ID[,PROPERTY=VALUE]...", "a thing to refer to (-object help)", cli_object,
     0},
    {"vga", "std|none", "display adapter", cli_vga, 0},
    {"rtc", "[base=utc|localtime|DATE][,clock=host|rt|vm]", "the clock at start", cli_rtc, 0},
    {"name", "NAME[,process=NAME]", "name of the guest, for titles", cli_name, 0},
    {"uuid", "UUID", "the machine's UUID", cli_uuid, 0},
    {"smbios", "type=N[,FIELD=VALUE]...", "fields of the SMBIOS tables", cli_smbios, 0},
    {"fw_cfg", "[name=]NAME,file=FILE|string=TEXT", "a file for the guest's firmware", cli_fw_cfg,
     0},
    {"no-acpi", NULL, "no ACPI tables", cli_no_acpi, 0},
    {"no-hpet", NULL, "no HPET", cli_no_hpet, 0},
    {"nodefaults", NULL, "no drives, ports and adapter but those asked for", cli_nodefaults, 0},
    {"no-user-config", NULL, "accepted: vmrun reads no configuration files", cli_no_user_config, 0},

    HEADING("Start-up of the guest"),
    {"boot", "[order=LETTERS][,once=LETTERS][,menu=on|off][,splash-time=MS][,strict=on|off]",
     "boot order: a floppy, c disk, d CD, n network", cli_boot, 0},
    {"kernel", "FILE", "start a bzImage, multiboot or PVH kernel", cli_kernel, 0},
    {"initrd", "FILE", "initial RAM disk, or multiboot modules", cli_initrd, 0},
    {"append", "TEXT", "command line of the kernel", cli_append, 0},
    {"bios", "FILE", "firmware instead of SeaBIOS", cli_bios, 0},
    {"L", "DIR", "look for firmware in DIR first (-L help)", cli_firmware_dir, 0},
    {"loadvm", "TAG", "go on from a snapshot that the monitor's savevm made", cli_load_vm, 0},
    {"S", NULL, "do not start the CPUs ('cont' in the monitor does)", cli_paused, 0},
    {"no-reboot", NULL, "leave instead of rebooting", cli_no_reboot, 0},
    {"no-shutdown", NULL, "stop instead of leaving when the guest powers off", cli_no_shutdown, 0},
    {"action", "reboot=reset|shutdown,shutdown=poweroff|pause", "the two above in one", cli_action,
     0},

    HEADING("Screen, keys and ports"),
    {"display", "sdl|curses|none[,full-screen=on]", "where the screen is shown (-display help)",
     cli_display, 0},
    {"full-screen", NULL, "start in full screen", cli_full_screen, 0},
    {"nographic", NULL, "no screen; serial port and monitor on the terminal", cli_nographic, 0},
    {"serial", "DEV", "next serial port: stdio, mon:stdio, file:F, pty, unix:P, tcp:H:P, vc, none",
     cli_serial, 0},
    {"parallel", "DEV", "next parallel port", cli_parallel, 0},
    {"monitor", "DEV", "a monitor there", cli_monitor, 0},
    {"chardev", "BACKEND,id=ID[,PROPERTY=VALUE]...", "a character device to refer to", cli_chardev,
     0},
    {"mon", "[chardev=]ID[,mode=readline]", "a monitor on a -chardev", cli_mon, 0},
    {"debugcon", "DEV", "show what the guest writes to port 0xe9", cli_debugcon, 0},
    {"k", "LANGUAGE", "not needed: keys go to the guest by their place", cli_keyboard, 0},

    HEADING("Network"),
    {"nic", "[user|tap|bridge|socket|...|none][,model=CARD][,mac=ADDR][,PROPERTY=VALUE]...",
     "a network card and its network (default user,model=e1000; -nic model=help)", cli_nic, 0},
    {"p", "[ADDR:]PORT:GUESTPORT[/udp]", "forward a port of the host to the guest (2222:22)",
     cli_port_forward, 0},
    {"netdev", "TYPE,id=ID[,PROPERTY=VALUE]...", "a network for -device CARD,netdev=ID (-netdev help)",
     cli_netdev, 0},
    {"net", "nic|TYPE[,PROPERTY=VALUE]...|none", "a card, or a network, on one hub", cli_net, 0},

    HEADING("The process"),
    {"daemonize", NULL, "go to the background once the machine is set up", cli_daemonize, 0},
    {"pidfile", "FILE", "write the process number there", cli_pid_file, 0},
    {"d", "ITEM[,ITEM]...", "log these (-d help)", cli_log, 0},
    {"D", "FILE", "send the log there", cli_log_file, 0},
    {"gdb", "DEV", "wait for gdb there: tcp::PORT, unix:PATH, stdio ...", cli_gdb, 0},
    {"s", NULL, "as -gdb tcp::1234", cli_gdb, 0},
    {"qtest", "DEV", "qtest protocol there, with -accel qtest", cli_qtest, 0},
    {"qtest-log", "FILE", "log of the qtest protocol", cli_qtest_log, 0},
    {"version", NULL, "show the version", cli_version, 0},
    {"help", NULL, "show this", cli_help, 0},
    {"h", NULL, "show this", cli_help, 0},
    {NULL, NULL, NULL, NULL, 0},
};

/* What QEMU has and vmrun has not: NULL answers "vmrun does not have -X yet". */
static const struct {
    const char *name;
    const char *instead;
} missing[] = {
    {"acpitable", NULL}, {"add-fd", NULL}, {"async-teardown", NULL}, {"audio", NULL},
    {"audio-help", NULL}, {"audiodev", NULL}, {"blockdev", NULL}, {"chroot", NULL},
    {"compat", NULL}, {"cpu-params", NULL}, {"dfilter", NULL}, {"dtb", NULL},
    {"dump-vmstate", NULL}, {"echr", NULL}, {"enable-sync-profile", NULL}, {"fsdev", NULL},
    {"global", NULL}, {"icount", NULL}, {"incoming", NULL}, {"iscsi", NULL},
    {"mem-path", NULL}, {"mem-prealloc", NULL}, {"msg", NULL},
    {"mtdblock", NULL}, {"no-fd-bootchk", NULL}, {"numa", NULL},
    {"only-migratable", NULL}, {"option-rom", NULL},
    {"overcommit", NULL}, {"pflash", NULL}, {"plugin", NULL}, {"preconfig", NULL}, {"qmp", NULL},
    {"qmp-pretty", NULL}, {"readconfig", NULL}, {"run-with", NULL}, {"runas", NULL},
    {"sandbox", NULL}, {"sd", NULL}, {"seed", NULL}, {"set", NULL},
    {"spice", NULL}, {"tpmdev", NULL}, {"trace", NULL}, {"usb", NULL}, {"usbdevice", NULL},
    {"virtfs", NULL}, {"vnc", NULL}, {"watchdog", NULL}, {"watchdog-action", NULL},
    {"win2k-hack", NULL}, {"writeconfig", NULL}, {"xen-attach", NULL}, {"xen-domid", NULL},
    {"xen-domid-restrict", NULL},
    {"curses", "say -display curses"},
    {"sdl", "say -display sdl"},
    {"no-kvm", "say -accel with another engine"},
    {"localtime", "say -rtc base=localtime"},
    {"startdate", "say -rtc base=DATE"},
    {"soundhw", NULL},
    {"portrait", "it is for other machines than a PC"},
    {"rotate", "it is for other machines than a PC"},
};
/* clang-format on */

const char *cli_missing_option(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(missing); i++)
        if (!strcmp(missing[i].name, name))
            return missing[i].instead ? missing[i].instead : "vmrun does not have it yet";
    return NULL;
}
