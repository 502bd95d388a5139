/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chooses the CPU engine. */
#include "run.h"

#include "accel/engine.h"
#include "util/error.h"
#include "util/log.h"

#define ONE_INSN "one-insn-per-tb"

/* The engine of that name if it works here; else NULL, with its reason added to why. */
static const CpuEngine *try_engine(const char *name, GString *why)
{
    const CpuEngine *engine = engine_find(name);
    g_autofree char *reason = NULL;

    if (!engine)
        reason = g_strdup("vmrun does not have it yet");
    else if (engine->probe(&reason))
        return engine;
    g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "", name,
                           reason ? reason : "it does not work here");
    return NULL;
}

/* -accel auto: KVM, unless it would be slower than vmrun's own processor. */
static const CpuEngine *try_auto(GString *why)
{
    g_autofree char *reason = NULL;
    const CpuEngine *kvm = try_engine("kvm", why);

    if (kvm && kvm_is_native(&reason))
        return kvm;
    if (reason)
        g_string_append(why, reason);
    const CpuEngine *interp = try_engine("interp", why);
    return interp ? interp : kvm;
}

static const CpuEngine *try_accel(const char *name, GString *why)
{
    return strcmp(name, "auto") ? try_engine(name, why) : try_auto(why);
}

static const CpuEngine *choose(const VmConfig *config, const Options **accel, GError **error)
{
    g_autoptr(GString) why = g_string_new(NULL);
    const CpuEngine *engine = NULL;

    if (!config->accels->len)
        engine = try_accel("auto", why);
    for (unsigned i = 0; i < config->accels->len && !engine; i++) {
        *accel = g_ptr_array_index(config->accels, i);
        engine = try_accel(options_get(*accel, "accel"), why);
    }
    if (!engine)
        fail(error, "no engine can run the guest: %s", why->str);
    else if (why->len)
        report_warn("using %s, since %s", engine->name, why->str);
    return engine;
}

bool engine_start(VmConfig *config, Machine *machine, GError **error)
{
    EngineConfig engine_config = {.cpu_model = config->cpu_model};
    const CpuEngine *engine = choose(config, &engine_config.accel, error);

    if (!engine)
        return false;
    bool one = config->one_insn;
    if (engine_config.accel && !options_get_bool(engine_config.accel, ONE_INSN, &one, error))
        return false;
    if (one && engine != &interp_engine)
        return fail(error,
                    "-singlestep: the engine %s does not go instruction by instruction: say "
                    "-accel interp",
                    engine->name);
    engine_config.one_insn = one;
    machine->cpu_count = config->cpus;
    machine->ram_size = config->board.ram_size;
    return vcpus_init(machine, engine, &engine_config, error);
}

bool engine_serve_qtest(const VmConfig *config, Machine *machine, GError **error)
{
    if (!config->qtest)
        return !config->qtest_log ||
               fail(error, "-qtest-log %s: -qtest DEV is missing", config->qtest_log);
    if (strcmp(machine_engine(machine)->name, "qtest"))
        return fail(error, "-qtest %s: -accel qtest is missing", config->qtest);
    return qtest_start(machine, config->qtest, config->qtest_log, error) ||
           fail_prefix(error, "-qtest");
}
