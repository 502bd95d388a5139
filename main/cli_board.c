/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options about what is on the board and how the guest starts. */
#include "config.h"

#include <stdio.h>

#include "hw/core/firmware.h"
#include "util/error.h"

/* ---- Start-up ---- */

/* Each letter at most once, and at most the three that CMOS has room for. */
static bool check_boot_order(const char *key, const char *order, GError **error)
{
    static const char letters[] = "abcdn";

    for (const char *p = order; *p; p++) {
        if (!strchr(letters, *p))
            return fail(error,
                        "-boot: %s=%s: no such letter '%c'; a is floppy, c disk, d CD, n "
                        "network",
                        key, order, *p);
        if (strchr(p + 1, *p))
            return fail(error, "-boot: %s=%s: '%c' stands there twice", key, order, *p);
    }
    if (!*order || strlen(order) > 3)
        return fail(error, "-boot: %s=%s: must be one to three letters of a, c, d, n", key, order);
    return true;
}

static bool read_ms(const Options *options, const char *key, int *ms, GError **error)
{
    uint64_t value = (uint64_t)*ms;
    if (!options_has(options, key))
        return true;
    if (!strcmp(options_get(options, key), "-1")) {
        *ms = -1;
        return true;
    }
    if (!options_get_uint(options, key, 0, 0xffff, &value, error))
        return false;
    *ms = (int)value;
    return true;
}

bool cli_boot(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"order",          "once",   "menu", "splash-time",
                                       "reboot-timeout", "strict", NULL};
    g_autoptr(Options) options = options_parse("-boot", arg, "order", keys, error);
    PcBoot *boot = &config->board.boot;

    if (!options || !options_get_bool(options, "menu", &boot->menu, error) ||
        !options_get_bool(options, "strict", &boot->strict, error) ||
        !read_ms(options, "splash-time", &boot->splash_ms, error) ||
        !read_ms(options, "reboot-timeout", &boot->reboot_ms, error))
        return false;
    const char *order = options_get(options, "order"), *once = options_get(options, "once");
    if ((order && !check_boot_order("order", order, error)) ||
        (once && !check_boot_order("once", once, error)))
        return false;
    if (order)
        boot->order = config_keep(config, order);
    if (once)
        boot->once = config_keep(config, once);
    return true;
}

bool cli_kernel(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->board.kernel = arg;
    return true;
}

bool cli_initrd(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->board.initrd = arg;
    return true;
}

bool cli_append(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->board.append = arg;
    return true;
}

bool cli_bios(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->board.bios = arg;
    return true;
}

bool cli_firmware_dir(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new(NULL);
        firmware_describe_path(config->answer);
        return true;
    }
    firmware_add_path(arg);
    return true;
}

/* ---- Parts of the board ---- */

bool cli_vga(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const words[] = {[PC_VGA_NONE] = "none", [PC_VGA_STD] = "std", NULL};
    static const char *const missing[] = {"cirrus", "vmware", "qxl",    "xenfb",
                                          "tcx",    "cg3",    "virtio", NULL};

    if (cli_fail_if_missing(option, arg, missing, error))
        return false;
    for (unsigned i = 0; words[i]; i++) {
        if (!strcmp(words[i], arg)) {
            config->board.vga = (PcVga)i;
            return true;
        }
    }
    return cli_fail_word(option, "adapter", arg, words, error);
}

/* "2006-06-17T16:01:21" or "2006-06-17"; what the guest's clock shows, so without a time zone. */
static bool parse_date(const char *text, int64_t *seconds)
{
    int year, month, day, hour = 0, minute = 0, second = 0, end = 0;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
               &end) != 6) {
        end = 0;
        hour = minute = second = 0;
        if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &end) != 3)
            return false;
    }
    if (!end || text[end])
        return false;
    g_autoptr(GDateTime) date = g_date_time_new_utc(year, month, day, hour, minute, second);
    if (!date)
        return false;
    *seconds = g_date_time_to_unix(date);
    return true;
}

bool cli_rtc(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"base", "clock", "driftfix", NULL};
    static const char *const clocks[] = {"host", "rt", "vm", NULL};
    static const VmClock clock_of[] = {VM_CLOCK_WALL, VM_CLOCK_HOST, VM_CLOCK_VIRTUAL};
    static const char *const fixes[] = {"none", NULL};
    g_autoptr(Options) options = options_parse("-rtc", arg, "base", keys, error);
    PcRtc *rtc = &config->board.rtc;
    unsigned clock = 0, fix;

    if (!options || !options_get_enum(options, "clock", clocks, &clock, error) ||
        !options_get_enum(options, "driftfix", fixes, &fix, error))
        return false;
    if (options_has(options, "clock"))
        rtc->clock = clock_of[clock];
    const char *base = options_get(options, "base");
    if (!base)
        return true;
    if (!strcmp(base, "utc"))
        rtc->base = PC_RTC_UTC;
    else if (!strcmp(base, "localtime"))
        rtc->base = PC_RTC_LOCALTIME;
    else if (parse_date(base, &rtc->date))
        rtc->base = PC_RTC_DATE;
    else
        return fail(error,
                    "-rtc: base=%s: must be utc, localtime, YYYY-MM-DD or "
                    "YYYY-MM-DDTHH:MM:SS",
                    base);
    return true;
}

bool cli_no_acpi(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->board.no_acpi = true;
    return true;
}

bool cli_no_hpet(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->board.no_hpet = true;
    return true;
}

bool cli_name(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"guest", "process", "debug-threads", NULL};
    g_autoptr(Options) options = options_parse("-name", arg, "guest", keys, error);
    bool named_threads = true;

    if (!options || !options_get_bool(options, "debug-threads", &named_threads, error))
        return false;
    if (!named_threads)
        return fail(error, "-name: debug-threads=off: vmrun's threads always have names");
    if (options_has(options, "guest"))
        config->name = config_keep(config, options_get(options, "guest"));
    if (options_has(options, "process"))
        config->process_name = config_keep(config, options_get(options, "process"));
    return true;
}

bool cli_uuid(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (!g_uuid_string_is_valid(arg))
        return fail(error, "-uuid %s: must be as 01234567-89ab-cdef-0123-456789abcdef", arg);
    unsigned nibble = 0;
    memset(config->uuid, 0, sizeof(config->uuid));
    for (const char *p = arg; *p; p++) {
        if (*p == '-')
            continue;
        config->uuid[nibble / 2] |= (uint8_t)(g_ascii_xdigit_value(*p) << (nibble % 2 ? 0 : 4));
        nibble++;
    }
    config->uuid_set = true;
    return true;
}

/* ---- -device ---- */

/* Drives that QEMU's -device plugs into a controller; main/drives.c places them. */
static const char *const drive_devices[] = {"ide-hd", "ide-cd", "floppy", NULL};

static void describe_devices(GString *out)
{
    static const char *const buses[BUS_COUNT] = {
        [BUS_NONE] = "none", [BUS_ISA] = "ISA", [BUS_PCI] = "PCI", [BUS_IDE] = "IDE"};

    for (const DeviceClass *const *cls = device_classes; *cls; cls++)
        if ((*cls)->user)
            g_string_append_printf(out, "name \"%s\", bus %s, desc \"%s\"\n", (*cls)->name,
                                   buses[(*cls)->bus], (*cls)->desc);
    g_string_append(out, "name \"ide-hd\", bus IDE, desc \"hard disk\"\n"
                         "name \"ide-cd\", bus IDE, desc \"CD or DVD drive\"\n"
                         "name \"floppy\", bus floppy, desc \"floppy drive\"\n");
}

/* What the command line takes for them: fewer properties than their device classes have. */
static void describe_drive_device(const char *driver, GString *out)
{
    bool floppy = !strcmp(driver, "floppy");
    g_string_append_printf(out,
                           "%s:\n"
                           "  drive=<id> - id of a -drive with if=none%s\n"
                           "  bus=<str> - %s\n"
                           "  unit=<uint> - 0 or 1; left out: the first free one\n"
                           "  bootindex=<uint> - place in the boot order\n"
                           "  iothread=<id> - an -object iothread that does its I/O\n",
                           driver, strcmp(driver, "ide-hd") ? "; left out: an empty drive" : "",
                           floppy ? "floppy-bus.0" : "ide.0 or ide.1");
    if (!floppy)
        g_string_append(out, "  serial=<str> - up to 20 characters\n"
                             "  share-rw=<bool> - others may write the image, too\n");
}

static bool check_driver(const CliOption *option, const char *driver, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const DeviceClass *const *cls = device_classes; *cls; cls++)
        if ((*cls)->user)
            g_ptr_array_add(names, (char *)(*cls)->name);
    for (unsigned i = 0; drive_devices[i]; i++)
        g_ptr_array_add(names, (char *)drive_devices[i]);
    g_ptr_array_add(names, NULL);
    const char *const *words = (const char *const *)names->pdata;
    if (g_strv_contains(words, driver))
        return true;
    const DeviceClass *cls = device_class_find(driver);
    if (cls && cls->user)
        return true; /* by another of its names */
    if (cls)
        return fail(error, "-device %s: it is part of the board and cannot be added", driver);
    return cli_fail_word(option, "device", driver, words, error);
}

bool cli_device(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const drive_keys[] = {"driver",    "id",     "drive",    "bus",      "unit",
                                             "bootindex", "serial", "iothread", "share-rw", NULL};
    static const char *const floppy_keys[] = {"driver", "id",        "drive",    "bus",
                                              "unit",   "bootindex", "iothread", NULL};

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new(NULL);
        describe_devices(config->answer);
        return true;
    }
    g_autoptr(Options) device = options_parse("-device", arg, "driver", NULL, error);
    if (!device)
        return false;
    const char *driver = options_get(device, "driver");
    if (!driver)
        return fail(error, "-device %s: the driver's name is missing", arg);
    if (!check_driver(option, driver, error))
        return false;
    bool is_drive = g_strv_contains(drive_devices, driver);
    if (options_has(device, "help") || options_has(device, "?")) {
        config->answer = g_string_new(NULL);
        if (is_drive)
            describe_drive_device(driver, config->answer);
        else
            device_class_describe(device_class_find(driver), config->answer);
        return true;
    }
    if (is_drive) {
        const char *const *keys = strcmp(driver, "floppy") ? drive_keys : floppy_keys;
        g_autoptr(Options) checked = options_parse("-device", arg, "driver", keys, error);
        if (!checked)
            return false;
    }
    g_ptr_array_add(config->devices, g_steal_pointer(&device));
    return true;
}
