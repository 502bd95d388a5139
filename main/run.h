/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps from a VmConfig to a running machine, in the order in which main.c takes them. */
#ifndef VMRUN_MAIN_RUN_H
#define VMRUN_MAIN_RUN_H

#include "config.h"

/* ---- process.c ---- */

/* -daemonize: goes on in a child; the parent waits for process_ready() or the child's end, and
 * leaves with its success.  Then -pidfile, -name process=, signals. Before any thread is started.
 */
bool process_begin(const VmConfig *config, GError **error);
/* SIGINT, SIGTERM and SIGHUP shut the machine down; a second one ends the process at once. Main
 * lock held. */
void process_watch_signals(Machine *machine);
/* Everything is set up: lets the parent of -daemonize leave. */
void process_ready(const VmConfig *config);
/* Removes the -pidfile. */
void process_end(void);

/* ---- drives.c ---- */

/* Where drives stand, before they are opened: -drive's keys, or NULL. */
typedef struct DrivePlan {
    Options *ide[PC_IDE_DRIVES];
    Options *floppy[PC_FLOPPIES];
    GPtrArray *loose; /* if=none and not taken by a -device */
} DrivePlan;

/* Gives each drive its place and id, adds the empty CD and floppy drives that a PC has unless
 * -nodefaults, and moves -device's that are not drives to config->board.devices. */
bool drives_plan(VmConfig *config, DrivePlan *plan, GError **error);
void drives_plan_clear(DrivePlan *plan);
/* Plans and opens them into config->board; finds config->first_disk. */
bool drives_open(VmConfig *config, GError **error);

/* ---- cli_object.c ---- */

/* When an object is made: before images and ports, or when back ends are there, before the board.
 */
typedef enum { OBJECT_EARLY, OBJECT_LATE } ObjectStage;

/* A kind of -object: a row in cli_object.c's table. */
typedef struct ObjectClass {
    const char *name;
    const char *help; /* its form and what it is, for -object help */
    ObjectStage stage;
    const char *keys[8]; /* besides qom-type and id; NULL-terminated */
    /* Messages need not name the object.  NULL: an error. */
    void *(*create)(const char *id, const Options *options, GError **error);
    void (*free)(void *object);
} ObjectClass;

/* Makes those of one stage, in the order given. */
bool objects_create(const VmConfig *config, ObjectStage stage, GError **error);
/* All of them; after the machine is gone. */
void objects_free(void);

/* ---- ports.c ---- */

/* Opens -chardev, -serial, -parallel and -debugcon into config->board, and what monitors need. */
bool ports_open(VmConfig *config, GError **error);
/* Opens the monitors; after the board, so that the serial port has a shared terminal first. */
bool monitors_open(VmConfig *config, Machine *machine, GError **error);
void monitors_close(void);

/* ---- nets.c ---- */

/* Opens -netdev, -nic, -net and -p, and puts their cards into config->board, each card with an
 * address.  After drives_open() and ports_open(). */
bool nets_open(VmConfig *config, GError **error);
/* What this host is known by: what the file (/etc/machine-id) says, or else its name.  g_free() it.
 */
char *nets_host_identity(const char *path);
/* Tells of forwards, and of cards and networks that are alone. */
void nets_announce(void);

/* ---- engine.c ---- */

/* Chooses an engine by -accel and brings up the CPUs. */
bool engine_start(VmConfig *config, Machine *machine, GError **error);
/* Opens -qtest, once the devices exist. */
bool engine_serve_qtest(const VmConfig *config, Machine *machine, GError **error);

#endif
