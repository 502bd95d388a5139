/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun: a PC in a process.  This file tells the order of things from the command line to the end.
 */
#include <stdio.h>
#include <stdlib.h>

#include "accel/engine.h"
#include "block/job.h"
#include "monitor/gdb.h"
#include "monitor/savevm.h"
#include "net/net.h"
#include "run.h"
#include "util/error.h"
#include "util/log.h"

static bool open_log(const VmConfig *config, GError **error)
{
    log_set_mask(config->log_mask);
    return !config->log_file || log_set_file(config->log_file, error);
}

static void describe_drives(const PcDrive *drives, unsigned count, char group, GString *out)
{
    for (unsigned i = 0; i < count; i++) {
        Blk *blk = drives[i].blk;
        if (!blk || !blk_has_medium(blk))
            continue;
        g_autofree char *size = format_size(blk_size(blk));
        if (blk_is_cdrom(blk))
            g_string_append(out, ", cdrom");
        else
            g_string_append_printf(out, ", %cd%c", group, 'a' + i);
        g_string_append_printf(out, " %s (%s, %s)", blk_file_name(blk), blk_format_name(blk), size);
    }
}

/* "vmrun: kvm, 1 CPU, 512 MiB, hda disk.qcow (qcow2, 10 GiB)" */
static void announce(const VmConfig *config, Machine *machine)
{
    g_autoptr(GString) line = g_string_new(machine_engine(machine)->name);
    g_autofree char *ram = format_size(config->board.ram_size);

    g_string_append_printf(line, ", %u CPU%s", config->cpus, config->cpus == 1 ? "" : "s");
    if (config->cpu_model)
        g_string_append_printf(line, " (%s)", config->cpu_model);
    g_string_append_printf(line, ", %s", ram);
    describe_drives(config->board.ide, PC_IDE_DRIVES, 'h', line);
    describe_drives(config->board.floppy, PC_FLOPPIES, 'f', line);
    report_info("%s", line->str);
}

static void quit(void *machine)
{
    machine_request_shutdown(machine, SHUTDOWN_HOST);
}

/* How it ends is reported. */
static void commit_all(Blk *blk, void *opaque)
{
    g_autoptr(GError) error = NULL;
    if (blk_has_medium(blk) && !blk_readonly(blk) && !blk_job_commit(blk, 0, NULL, NULL, &error))
        report_error("commit %s: %s", blk_id(blk), error->message);
}

static void commit(void *opaque)
{
    blk_foreach(commit_all, opaque);
}

static const ChrMuxActions mux_actions = {quit, commit};

static bool has_window_system(void)
{
    return g_getenv("DISPLAY") || g_getenv("WAYLAND_DISPLAY");
}

static void settle_disks(void *opaque)
{
    blk_settle_all();
}

/* What a stopped guest wrote is in its images.  Later, from the loop: a device may have stopped it.
 */
static void status_changed(void *opaque, Machine *machine, MachineStatus status)
{
    if (status != MACHINE_RUNNING)
        loop_post(machine->loop, settle_disks, NULL);
}

static bool build(VmConfig *config, Machine *machine, GError **error)
{
    machine->name = g_strdup(config->name);
    machine->uuid_set = config->uuid_set;
    memcpy(machine->uuid, config->uuid, sizeof(machine->uuid));
    machine->no_reboot = config->no_reboot;
    machine->no_shutdown = config->no_shutdown;
    config->ui.window_title = config->name;
    if (config->nographic || (config->daemonize && !has_window_system()))
        config->ui.type = "none"; /* and not the text screen in the terminal */
    chr_mux_set_actions(&mux_actions, machine);
    process_watch_signals(machine);
    machine_add_status_listener(machine, status_changed, NULL);

    return objects_create(config, OBJECT_EARLY, error) && drives_open(config, error) &&
           ports_open(config, error) && nets_open(config, error) &&
           objects_create(config, OBJECT_LATE, error) && engine_start(config, machine, error) &&
           pc_create(machine, &config->board, error) &&
           engine_serve_qtest(config, machine, error) && monitors_open(config, machine, error) &&
           (!config->gdb || gdb_open(machine, config->gdb, error));
}

/* The line comes first: afterwards the terminal may show the guest's screen. */
static bool show(const VmConfig *config, Machine *machine, GError **error)
{
    announce(config, machine);
    nets_announce();
    return ui_start(machine, &config->ui, error);
}

/* -loadvm: what stands there is the snapshot, and runs unless -S. */
static bool load(const VmConfig *config, Machine *machine)
{
    g_autoptr(GError) error = NULL;
    if (!config->load_vm || (savevm_load_now(machine, config->load_vm, &error) &&
                             (config->paused || machine_resume(machine, &error))))
        return true;
    report_error("-loadvm %s: %s", config->load_vm, error->message);
    return false;
}

static int run(VmConfig *config, Machine *machine)
{
    machine_start(machine, !config->paused && !config->load_vm);
    if (!load(config, machine))
        return EXIT_FAILURE;
    process_ready(config);
    return machine_main_loop(machine);
}

/* In the reverse order; the disks are flushed before anything that could go wrong. */
static void tear_down(Machine *machine)
{
    gdb_close();
    vcpus_fini(machine);
    blk_flush_all();
    ui_stop();
    monitors_close();
    machine_free(machine);
    blk_close_all();
    objects_free();
    net_close_all();
    chr_close_all();
    process_end();
}

int main(int argc, char **argv)
{
    g_autoptr(VmConfig) config = config_new();
    g_autoptr(GError) error = NULL;
    int status = EXIT_FAILURE;

    if (!cli_parse(config, argc, argv, &error) || !open_log(config, &error)) {
        report_error("%s", error->message);
        return EXIT_FAILURE;
    }
    if (config->answer) {
        fputs(config->answer->str, stdout);
        return EXIT_SUCCESS;
    }
    if (!process_begin(config, &error)) {
        report_error("%s", error->message);
        return EXIT_FAILURE;
    }
    loop_lock(loop_main());
    Machine *machine = machine_new();
    if (build(config, machine, &error) && show(config, machine, &error))
        status = run(config, machine);
    else
        report_error("%s", error->message);
    tear_down(machine);
    loop_unlock(loop_main());
    return status;
}
