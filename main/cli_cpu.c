/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options about the machine type, its engine, processors and memory. */
#include "config.h"

#include <stdio.h>

#include <sys/sysinfo.h>

#include "accel/engine.h"
#include "util/error.h"

static const char *const machine_types[] = {"pc", NULL};
static const char *const missing_machines[] = {"q35",   "isapc", "microvm", "xenpv",
                                               "xenfv", "none",  NULL};
/* Engines of QEMU's that vmrun has not: allowed in a list to fall back along. */
static const char *const missing_engines[] = {"tcg", "xen", "hax", "hvf", "nvmm", "whpx", NULL};

/* ---- -accel ---- */

static void describe_engines(VmConfig *config)
{
    config->answer = g_string_new("Engines:\n  auto      choose the best that works here\n");
    for (const CpuEngine *const *engine = cpu_engines; *engine; engine++)
        g_string_append_printf(config->answer, "  %-9s %s\n", (*engine)->name, (*engine)->desc);
}

static bool check_engine(const CliOption *option, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    if (g_strv_contains(missing_engines, name))
        return true;
    g_ptr_array_add(names, (char *)"auto");
    for (const CpuEngine *const *engine = cpu_engines; *engine; engine++)
        g_ptr_array_add(names, (char *)(*engine)->name);
    g_ptr_array_add(names, NULL);
    const char *const *words = (const char *const *)names->pdata;
    return g_strv_contains(words, name) || cli_fail_word(option, "engine", name, words, error);
}

/* The interrupt controllers are always split between vmrun and the kernel. */
static bool check_properties(const char *arg, GError **error)
{
    static const char *const keys[] = {"accel", "kernel-irqchip", "one-insn-per-tb", NULL};
    static const char *const irqchips[] = {"split", NULL};
    g_autoptr(Options) accel = options_parse("-accel", arg, "accel", keys, error);
    unsigned irqchip;
    bool one;

    return accel && options_get_bool(accel, "one-insn-per-tb", &one, error) &&
           options_get_enum(accel, "kernel-irqchip", irqchips, &irqchip, error);
}

bool cli_accel(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        describe_engines(config);
        return true;
    }
    g_autoptr(Options) accel = options_parse("-accel", arg, "accel", NULL, error);
    if (!accel)
        return false;
    const char *name = options_get(accel, "accel");
    if (!name || !*name)
        return fail(error, "-accel %s: the engine's name is missing", arg);
    if (!check_engine(option, name, error))
        return false;
    if (!g_strv_contains(missing_engines, name) && !check_properties(arg, error))
        return false;
    g_ptr_array_add(config->accels, g_steal_pointer(&accel));
    return true;
}

bool cli_one_insn(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->one_insn = true;
    return true;
}

bool cli_enable_kvm(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return cli_accel(config, option, "kvm", error);
}

/* ---- -machine ---- */

/* accel=kvm:tcg is a list to fall back along. */
static bool set_machine_accels(VmConfig *config, const CliOption *option, const char *list,
                               GError **error)
{
    g_auto(GStrv) names = g_strsplit(list, ":", 0);
    for (char **name = names; *name; name++)
        if (!cli_accel(config, option, *name, error))
            return false;
    return true;
}

/* "pc-i440fx-7.2": QEMU's names for the machine as it was in a version. */
static bool is_versioned_pc(const char *type)
{
    unsigned major, minor;
    int end = 0;
    return sscanf(type, "pc-i440fx-%3u.%3u%n", &major, &minor, &end) == 2 && !type[end];
}

/* Parts that vmrun does not have: "off" is what is. */
static bool refuse_part(const Options *machine, const char *key, GError **error)
{
    const char *text = options_get(machine, key);
    bool on = false;

    if (text && !strcmp(text, "auto"))
        return true;
    if (!options_get_bool(machine, key, &on, error))
        return false;
    return !on || fail(error, "-machine: %s=on: vmrun does not have it yet", key);
}

bool cli_machine(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"type", "accel", "acpi",   "hpet",
                                       "smm",  "usb",   "vmport", NULL};
    bool acpi = !config->board.no_acpi, hpet = !config->board.no_hpet;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new("Machines:\n"
                                      "  pc              PC with i440FX and PIIX3 (default)\n"
                                      "  pc-i440fx-N.M   the same: versions make no difference\n");
        return true;
    }
    g_autoptr(Options) machine = options_parse("-machine", arg, "type", keys, error);
    if (!machine)
        return false;
    const char *type = options_get(machine, "type");
    if (type && cli_fail_if_missing(option, type, missing_machines, error))
        return false;
    if (type && !g_strv_contains(machine_types, type) && !is_versioned_pc(type))
        return cli_fail_word(option, "machine", type, machine_types, error);
    if (!options_get_bool(machine, "acpi", &acpi, error) ||
        !options_get_bool(machine, "hpet", &hpet, error) ||
        !options_get_bool(machine, "smm", &config->board.smm, error) ||
        !refuse_part(machine, "usb", error) || !refuse_part(machine, "vmport", error))
        return false;
    config->board.no_acpi = !acpi;
    config->board.no_hpet = !hpet;
    const char *accels = options_get(machine, "accel");
    return !accels || set_machine_accels(config, option, accels, error);
}

/* ---- -cpu, -smp, -m ---- */

bool cli_cpu(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new(NULL);
        cpu_models_describe(config->answer);
        return true;
    }
    config->cpu_model = config_keep(config, arg);
    return true;
}

bool cli_smp(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"cpus",    "maxcpus", "sockets",  "cores",
                                       "threads", "dies",    "clusters", NULL};
    g_autoptr(Options) smp = options_parse("-smp", arg, "cpus", keys, error);
    uint64_t cpus = 0, max = 0, sockets = 0, cores = 0, threads = 0, one = 1;

    if (!smp || !options_get_uint(smp, "cpus", 1, PC_CPUS_MAX, &cpus, error) ||
        !options_get_uint(smp, "maxcpus", 1, PC_CPUS_MAX, &max, error) ||
        !options_get_uint(smp, "sockets", 1, PC_CPUS_MAX, &sockets, error) ||
        !options_get_uint(smp, "cores", 1, PC_CPUS_MAX, &cores, error) ||
        !options_get_uint(smp, "threads", 1, PC_CPUS_MAX, &threads, error) ||
        !options_get_uint(smp, "dies", 1, 1, &one, error) ||
        !options_get_uint(smp, "clusters", 1, 1, &one, error))
        return false;

    /* What is left out follows from the rest, cores before sockets before threads. */
    uint64_t total = max ? max : cpus;
    threads = threads ? threads : total && sockets && cores ? total / (sockets * cores) : 1;
    threads = MAX(threads, 1);
    if (!sockets)
        sockets = cores && total ? MAX(total / (cores * threads), 1) : 1;
    if (!cores)
        cores = total ? MAX(total / (sockets * threads), 1) : 1;
    total = total ? total : sockets * cores * threads;
    cpus = cpus ? cpus : total;

    if (sockets * cores * threads != total)
        return fail(error,
                    "-smp %s: sockets (%u) * cores (%u) * threads (%u) must make the number of "
                    "CPUs, %u",
                    arg, (unsigned)sockets, (unsigned)cores, (unsigned)threads, (unsigned)total);
    if (total > PC_CPUS_MAX)
        return fail(error, "-smp %s: that is %u CPUs; a PC has at most %u", arg, (unsigned)total,
                    PC_CPUS_MAX);
    if (cpus != total)
        return fail(error,
                    "-smp %s: CPUs cannot be added later yet: maxcpus (%u) must equal cpus "
                    "(%u)",
                    arg, (unsigned)total, (unsigned)cpus);
    config->cpus = (unsigned)cpus;
    config->board.smp = (PcTopology){(unsigned)sockets, (unsigned)cores, (unsigned)threads};
    return true;
}

/* Memory and swap of the host, in bytes. */
static uint64_t host_memory(uint64_t *swap)
{
    struct sysinfo info;

    if (sysinfo(&info) < 0)
        return 0;
    *swap = (uint64_t)info.totalswap * info.mem_unit;
    return (uint64_t)info.totalram * info.mem_unit;
}

bool cli_memory(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"size", "slots", "maxmem", NULL};
    g_autoptr(Options) memory = options_parse("-m", arg, "size", keys, error);
    uint64_t size = DEFAULT_RAM_SIZE, swap = 0;

    if (!memory)
        return false;
    if (options_has(memory, "slots") || options_has(memory, "maxmem"))
        return fail(error, "-m %s: memory cannot be added later yet: leave slots and maxmem out",
                    arg);
    const char *text = options_get(memory, "size");
    if (text && !parse_size(text, 1 << 20, &size))
        return fail(error, "-m %s: must be a size in MiB, or with k, M, G or T", text);
    if (size < PC_RAM_MIN)
        return fail(error, "-m %s: a PC needs at least 1 MiB", text);
    uint64_t host = host_memory(&swap);
    if (host && size > host + swap) {
        g_autofree char *wanted = format_size(size);
        g_autofree char *have = format_size(host), *have_swap = format_size(swap);
        return fail(error, "-m %s: %s is more than this host has: %s of memory, %s of swap", text,
                    wanted, have, have_swap);
    }
    if (size > PC_RAM_MAX)
        return fail(error, "-m %s: a PC has at most 1 TiB", text);
    config->board.ram_size = (size + RAM_PAGE_SIZE - 1) & ~(uint64_t)(RAM_PAGE_SIZE - 1);
    return true;
}
