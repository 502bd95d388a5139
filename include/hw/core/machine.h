/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine: address spaces, the device tree, life cycle, and what it asks of the CPU engine.
 *
 * Everything here belongs to the main loop; functions want its lock held unless they say otherwise.
 *
 *     created -> paused <-> running -> shutdown
 *                   ^----------'  (reset happens in place, from the main loop, with vCPUs stopped)
 *
 *     running <-> suspended: ACPI S3.  Memory keeps, clocks go on, CPUs do not; what wakes the
 * guest resets everything but memory, and the firmware finds its way back.
 */
#ifndef VMRUN_HW_CORE_MACHINE_H
#define VMRUN_HW_CORE_MACHINE_H

#include "hw/core/address_space.h"
#include "hw/core/device.h"
#include "util/loop.h"

typedef struct Vcpu Vcpu;

typedef enum {
    MACHINE_CREATED, /* not yet started ("prelaunch") */
    MACHINE_PAUSED,  /* by the monitor or -S */
    MACHINE_RUNNING,
    MACHINE_IO_ERROR,       /* stopped by a disk error (werror=stop) */
    MACHINE_INTERNAL_ERROR, /* the engine cannot go on */
    MACHINE_SHUTDOWN,       /* the guest powered off and -no-shutdown keeps the process */
    MACHINE_SUSPENDED,      /* the guest sleeps in S3 */
    MACHINE_SAVE_VM,        /* stands while a snapshot of it is taken */
    MACHINE_RESTORE_VM,     /* the same while it becomes what a snapshot holds */
} MachineStatus;

typedef enum {
    RESET_GUEST, /* keyboard controller, port 92h, 0xCF9, ACPI */
    RESET_TRIPLE_FAULT,
    RESET_HOST, /* monitor system_reset, window button */
} ResetCause;

typedef enum {
    SHUTDOWN_GUEST, /* ACPI S5, debug exit */
    SHUTDOWN_HOST,  /* monitor quit, signal, window closed: ends even with -no-shutdown */
    SHUTDOWN_RESET, /* a guest reset under -no-reboot */
    SHUTDOWN_ERROR,
} ShutdownCause;

/* What wakes a guest that sleeps in S3: bits of a PM1 status register follow from it. */
typedef enum { WAKE_BUTTON, WAKE_RTC, WAKE_OTHER /* keyboard, monitor */ } WakeCause;

/* Who sees to waking: the PIIX4's PM function. */
typedef struct WakeOps {
    /* Whether the guest asked to be woken by this. */
    bool (*wanted)(void *opaque, WakeCause cause);
    /* After the reset that waking is, before CPUs run. */
    void (*woken)(void *opaque, WakeCause cause);
} WakeOps;

/*
 * What hardware asks of the CPU engine.  accel/ fills it in before devices are realized; a NULL
 * entry is skipped (the test engine has few).
 */
typedef struct EngineHooks {
    /* Stops all vCPUs outside the guest and waits / lets them run.  Nests not. */
    void (*pause_all)(Machine *machine);
    void (*resume_all)(Machine *machine);
    /* Puts every vCPU in its power-on state (after devices were reset). vCPUs are paused. */
    void (*reset_cpus)(Machine *machine);
    /* A message-signalled interrupt (Intel SDM vol. 3, 11.11).  Any thread. */
    void (*msi_send)(Machine *machine, uint64_t address, uint32_t data);
    /* Whether the vector of such a message already waits (in IRR) in a local APIC that it
     * addresses. Main lock held. */
    bool (*msi_waits)(const Machine *machine, uint64_t address, uint32_t data);
    /* The 8259 pair's INTR output, wired to LINT0 of vCPU 0; any thread. */
    void (*pic_intr)(Machine *machine, bool level);
    void (*nmi)(Machine *machine);
    void (*smi)(Machine *machine);
    bool has_smm;       /* the engine looks at Machine.smm */
    bool has_long_mode; /* its CPUs' CPUID says so */
    void (*a20_changed)(Machine *machine, bool enabled);
    /* Brings the engine's own dirty log of a RAM region into the RamBlock's bitmaps. */
    void (*dirty_sync)(Machine *machine, Region *region);
    /* The IOAPIC's redirection table changed: pin, message, masked (for EOI routing, irqfd). */
    void (*ioapic_route)(Machine *machine, unsigned pin, uint64_t address, uint32_t data,
                         bool masked, bool level);
    /* Sends the message whenever fd (an eventfd, the caller's) is written, without an exit; returns
     * a handle, or -1 if the engine cannot.  irqfd_set changes the message, irqfd_remove ends it.
     */
    int (*irqfd_add)(Machine *machine, int fd, uint64_t address, uint32_t data);
    void (*irqfd_set)(Machine *machine, int handle, uint64_t address, uint32_t data);
    void (*irqfd_remove)(Machine *machine, int handle);
    /* The vCPU whose thread this is, or NULL. */
    Vcpu *(*current)(Machine *machine);
} EngineHooks;

/* Wants to know of status changes (window title, monitor, virtual clock users). */
typedef void MachineStatusFn(void *opaque, Machine *machine, MachineStatus status);

struct Machine {
    EventLoop *loop;
    Region mem_root, io_root;
    AddressSpace mem, io;
    AddressSpace *smm; /* memory in system management mode; set by the board, NULL: no such mode */
    Region *ram;       /* main memory, one block; the board maps aliases of it */
    uint64_t ram_size;
    unsigned cpu_count;
    Vcpu **cpus; /* cpu_count entries once the engine is up */
    char *name;  /* -name, or NULL */
    uint8_t uuid[16];
    bool uuid_set;
    GPtrArray *devices; /* of Device, top level, in order of creation */
    MachineStatus status;
    bool no_reboot, no_shutdown;
    bool a20;
    int exit_code; /* of the process: isa-debug-exit */
    EngineHooks hooks;
    void *engine; /* the engine's own */
    /* Reads the vector of the highest pending 8259 interrupt and acknowledges it; set by the board.
     * Called by engines with the main lock held. */
    int (*pic_ack)(Machine *machine);
    /* The level of the processor's FERR#: an x87 error waits.  Returns that of IGNNE#.  Set by the
     * ISA bridge, NULL: nothing is connected; main lock. */
    bool (*ferr)(Machine *machine, bool level);
    void *coprocessor; /* that one's own */
    /* Boot order from now on, letters as -boot's; set by the board, NULL: it has none. */
    bool (*boot_set)(Machine *machine, const char *order, GError **error);
    /* EOI broadcast of a level interrupt from a local APIC; set by the IOAPIC. Main lock taken. */
    void (*ioapic_eoi)(Machine *machine, uint8_t vector);
    Device *ioapic; /* set by the IOAPIC itself; NULL without one */
    /* Counts for `info irq`: interrupts by GSI. */
    uint64_t irq_count[24];
    /* private */
    GArray *listeners;
    int reset_pending, shutdown_pending; /* cause + 1; atomic */
    bool powerdown_pending;
    bool suspend_pending; /* atomic */
    int wake_pending;     /* cause + 1; atomic */
    bool waking;          /* the reset under way ends S3: memory, and which of it is seen, keep */
    MachineStatus thawed; /* while frozen: what comes after */
    const WakeOps *wake_ops;
    void *wake_opaque;
    bool ending; /* machine_main_loop() returns */
    LoopBh *request_bh;
    void (*powerdown)(void *opaque);
    void *powerdown_opaque;
    unsigned resets; /* done so far, the one at start included */
    void *board;     /* hw/pc's own */
};

/* Creates address spaces and an empty tree, on the main loop.  Only one machine a process. */
Machine *machine_new(void);
void machine_free(Machine *machine);

/* Resets everything once and starts (or stays paused with start == false). */
void machine_start(Machine *machine, bool start);
/* Idempotent. status: MACHINE_PAUSED, MACHINE_IO_ERROR ... */
void machine_pause(Machine *machine, MachineStatus status);
/* An error, with a message, after shutdown or internal error (reset first). */
bool machine_resume(Machine *machine, GError **error);
const char *machine_status_name(MachineStatus status); /* QEMU's: "running", "paused" ... */

/* Requests, carried out soon by the main loop.  Any thread; no lock needed. */
void machine_request_reset(Machine *machine, ResetCause cause);
void machine_request_shutdown(Machine *machine, ShutdownCause cause);
/* Presses the power button. */
void machine_request_powerdown(Machine *machine);
/* Puts the guest to sleep in S3 (ACPI Specification 6.4, 16.1.3); and wakes it: nothing happens
 * unless it sleeps and wants that.  The power button wakes it, too. */
void machine_request_suspend(Machine *machine);
/* Main lock held. */
void machine_request_wakeup(Machine *machine, WakeCause cause);
/* NULL: without them the machine does not sleep. */
void machine_set_wake_ops(Machine *machine, const WakeOps *ops, void *opaque);
/* True while a reset, shutdown or suspend waits: an engine should not re-enter the guest. Any
 * thread. */
bool machine_request_pending(const Machine *machine);

/* Stops the machine for a snapshot, to be saved or restored; until machine_thaw() it does not run,
 * and requests, resets and the end too, wait.  An error says why it cannot be stopped now.  Main
 * lock. */
bool machine_freeze(Machine *machine, MachineStatus status, GError **error);
typedef enum {
    THAW_SAME,     /* it is what it was */
    THAW_RESTORED, /* what it asked for before is forgotten */
    THAW_BROKEN,   /* neither: only a reset makes it run again */
} ThawResult;
/* It goes on if it ran before, or slept and is another now. */
void machine_thaw(Machine *machine, ThawResult result);

/* Who handles the power button (PIIX4 PM). */
void machine_set_powerdown(Machine *machine, void (*fn)(void *opaque), void *opaque);

void machine_add_status_listener(Machine *machine, MachineStatusFn *fn, void *opaque);
/* Not from within a listener. */
void machine_remove_status_listener(Machine *machine, MachineStatusFn *fn, void *opaque);
/* Dispatches events until the machine ends; returns the exit code of the process. */
int machine_main_loop(Machine *machine);

/* Changes the A20 gate (keyboard controller, port 92h). */
void machine_set_a20(Machine *machine, bool enabled);
/* Sends an MSI; any thread. */
void machine_msi(Machine *machine, uint64_t address, uint32_t data);

/* The state of all devices: header, then id and state records.  Not RAM, not CPUs. Paused. */
void machine_save_devices(Machine *machine, GByteArray *out);
/* Frozen, after machine_reset_now(): devices that the saved state lacks are as reset. */
bool machine_load_devices(Machine *machine, const uint8_t *data, size_t length, GError **error);
/* Resets all devices and CPUs at once.  Not running; main lock. */
void machine_reset_now(Machine *machine);

#endif
