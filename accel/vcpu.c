/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU threads: one generic loop over a CpuEngine, pausing, resuming, and work for a CPU.
 *
 * What everybody asks of a CPU stands in one atomic word, Vcpu.requests.  Its STOP, WORK and EXIT
 * bits change only with the main lock held; the others may be set by any thread.
 *
 * Pausing, and why it is right.  `stopped` and the STOP bit are both guarded by the main lock.
 *   - pause_all() sets STOP on every CPU, kicks it, and waits on `changed` (which gives the main
 * lock up, so that a CPU inside a device callback can finish it) until each `stopped` is true.
 *   - A CPU's thread leaves the guest, takes the main lock, sets `stopped` and waits on `changed`.
 *     Whatever it did in the guest or in callbacks happens before its `stopped = true`, which
 * happens before pause_all() returns: both are sections of one mutex.
 *   - resume_all() clears STOP and broadcasts.  Only the CPU's own thread clears `stopped`, and
 * only after it has seen, with the main lock held, that STOP is clear.  So a pause that comes
 * before the thread woke up finds `stopped` still true, and rightly so: the thread cannot enter the
 *     guest without looking at STOP under the lock.  Whatever the resumer did happens before the
 *     thread's next look, again by the mutex.
 * No wake-up is lost: STOP, WORK and EXIT are set with the lock held that the sleeper's condition
 * variable releases.  A CPU in the guest is kicked; how an engine makes that safe is its own
 * affair.
 *
 * HLT in engines with a userspace local APIC sleeps on a lock of the CPU's own, since interrupts
 * come from threads without the main lock.  There the sleeper sets `asleep`, then reads `requests`;
 * the requester sets `requests`, then reads `asleep`.  Both pairs are sequentially consistent, so
 * one of the two sees the other; and the requester signals with the lock held that the sleeper
 * holds from its store to its wait.
 */
#include "accel/engine.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "util/error.h"
#include "util/log.h"

/* What runs for vcpu_run_on(); lives on the caller's stack. */
typedef struct Work {
    void (*fn)(Vcpu *cpu, void *opaque);
    void *opaque;
    bool done; /* main lock */
} Work;

typedef struct VcpuThread {
    pthread_t tid;
    pthread_mutex_t lock; /* of `wake` */
    pthread_cond_t wake;
    bool asleep;   /* atomic: waits, or is about to wait, on `wake` */
    bool started;  /* the thread exists */
    bool ready;    /* cpu_init has been tried; main lock */
    bool ended;    /* the thread takes no lock any more; main lock */
    GError *error; /* of cpu_init */
    GQueue work;   /* of Work; main lock */
} VcpuThread;

/* There is one machine a process, so there is one set of vCPUs. */
static struct {
    const CpuEngine *engine;
    pthread_cond_t changed; /* with the main lock: a CPU stopped, went, ended, or did its work */
    bool paused;
    bool told; /* the engine, that all CPUs have stopped */
    void (*debugger)(Vcpu *cpu);
} set;

static __thread Vcpu *this_cpu;

const CpuEngine *machine_engine(Machine *machine)
{
    return machine->cpus ? set.engine : NULL;
}

/* ---- Requests and sleep ---- */

void vcpu_request(Vcpu *cpu, uint32_t bits)
{
    uint32_t old = __atomic_fetch_or(&cpu->requests, bits, __ATOMIC_SEQ_CST);
    VcpuThread *thread = cpu->thread;
    if (!(bits & ~old) || cpu == this_cpu || !thread)
        return;
    if (__atomic_load_n(&thread->asleep, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&thread->lock);
        pthread_cond_signal(&thread->wake);
        pthread_mutex_unlock(&thread->lock);
    } else if (set.engine->kick) {
        set.engine->kick(cpu);
    }
}

/* Own thread: sleeps until one of bits is requested. */
static void vcpu_sleep(Vcpu *cpu, uint32_t bits)
{
    VcpuThread *thread = cpu->thread;
    pthread_mutex_lock(&thread->lock);
    __atomic_store_n(&thread->asleep, true, __ATOMIC_SEQ_CST);
    while (!(__atomic_load_n(&cpu->requests, __ATOMIC_SEQ_CST) & bits))
        pthread_cond_wait(&thread->wake, &thread->lock);
    __atomic_store_n(&thread->asleep, false, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&thread->lock);
}

/* ---- The thread ---- */

static bool all_stopped(Machine *machine)
{
    for (unsigned i = 0; i < machine->cpu_count; i++)
        if (!machine->cpus[i]->stopped)
            return false;
    return true;
}

/* Main lock held, after `stopped` has changed: a pause that a CPU itself asked for (pause_all())
 * is complete only when the last of them stops. */
static void tell_paused(Machine *machine)
{
    if (!set.paused || set.told || !all_stopped(machine))
        return;
    set.told = true;
    if (set.engine->pause_changed)
        set.engine->pause_changed(machine, true);
}

/* Main lock held; given up around each piece of work. */
static void vcpu_do_work(Vcpu *cpu)
{
    VcpuThread *thread = cpu->thread;
    EventLoop *loop = cpu->machine->loop;
    Work *work;
    vcpu_take(cpu, VCPU_REQ_WORK);
    while ((work = g_queue_pop_head(&thread->work))) {
        loop_unlock(loop);
        work->fn(cpu, work->opaque);
        loop_lock(loop);
        work->done = true;
        pthread_cond_broadcast(&set.changed);
    }
}

/* Answers STOP, WORK and EXIT; returns false when the thread has to end. */
static bool vcpu_serve(Vcpu *cpu)
{
    if (!vcpu_requested(cpu, VCPU_REQ_CONTROL))
        return true;
    EventLoop *loop = cpu->machine->loop;
    bool stay = true;
    loop_lock(loop);
    while (stay && vcpu_requested(cpu, VCPU_REQ_CONTROL)) {
        if (vcpu_requested(cpu, VCPU_REQ_STOP) && !cpu->stopped) {
            cpu->stopped = true;
            tell_paused(cpu->machine);
            pthread_cond_broadcast(&set.changed);
        }
        if (vcpu_requested(cpu, VCPU_REQ_WORK))
            vcpu_do_work(cpu);
        else if (vcpu_take(cpu, VCPU_REQ_EXIT))
            stay = false;
        else
            loop_cond_wait(loop, &set.changed);
    }
    cpu->stopped = !stay;
    loop_unlock(loop);
    return stay;
}

static void stop_on_failure(void *opaque)
{
    machine_pause(opaque, MACHINE_INTERNAL_ERROR);
}

static void stop_for_debugger(void *opaque)
{
    Vcpu *cpu = opaque;
    machine_pause(cpu->machine, MACHINE_PAUSED);
    if (set.debugger)
        set.debugger(cpu);
}

static void vcpu_loop(Vcpu *cpu)
{
    while (vcpu_serve(cpu)) {
        switch (set.engine->run(cpu)) {
        case RUN_AGAIN:
            /* A reset or shutdown that waits for the main loop ends in a STOP. */
            if (machine_request_pending(cpu->machine))
                vcpu_sleep(cpu, VCPU_REQ_CONTROL);
            break;
        case RUN_HALTED:
            __atomic_store_n(&cpu->halted, true, __ATOMIC_RELAXED);
            vcpu_sleep(cpu, ~cpu->halt_masked | VCPU_REQ_CONTROL);
            __atomic_store_n(&cpu->halted, false, __ATOMIC_RELAXED);
            break;
        case RUN_FAILED:
            loop_post(cpu->machine->loop, stop_on_failure, cpu->machine);
            vcpu_sleep(cpu, VCPU_REQ_CONTROL);
            break;
        case RUN_DEBUG:
            loop_post(cpu->machine->loop, stop_for_debugger, cpu);
            vcpu_sleep(cpu, VCPU_REQ_CONTROL);
            break;
        }
    }
}

static void *vcpu_thread(void *opaque)
{
    Vcpu *cpu = opaque;
    VcpuThread *thread = cpu->thread;
    EventLoop *loop = cpu->machine->loop;
    this_cpu = cpu;
    bool ok = set.engine->cpu_init(cpu, &thread->error);
    loop_lock(loop);
    thread->ready = true;
    pthread_cond_broadcast(&set.changed);
    loop_unlock(loop);
    if (ok)
        vcpu_loop(cpu);
    set.engine->cpu_fini(cpu);
    loop_lock(loop);
    thread->ended = true;
    pthread_cond_broadcast(&set.changed);
    loop_unlock(loop);
    return NULL;
}

/* ---- Hooks of the machine ---- */

static void request_all(Machine *machine, uint32_t bits)
{
    for (unsigned i = 0; i < machine->cpu_count; i++)
        vcpu_request(machine->cpus[i], bits);
}

/*
 * From a vCPU thread, that is from inside a device callback, this only asks: waiting would give up
 * the main lock in the middle of the callback, and two CPUs could wait for each other.  Each CPU
 * stops when it leaves its callback.
 */
static void pause_all(Machine *machine)
{
    set.paused = true;
    request_all(machine, VCPU_REQ_STOP);
    if (this_cpu)
        return;
    while (!all_stopped(machine))
        loop_cond_wait(machine->loop, &set.changed);
    tell_paused(machine);
}

static void resume_all(Machine *machine)
{
    if (!set.paused)
        return;
    set.paused = false;
    if (set.engine->pause_changed && set.told)
        set.engine->pause_changed(machine, false);
    set.told = false;
    for (unsigned i = 0; i < machine->cpu_count; i++)
        if (!machine->cpus[i]->held)
            vcpu_take(machine->cpus[i], VCPU_REQ_STOP);
    pthread_cond_broadcast(&set.changed);
}

static void reset_cpus(Machine *machine)
{
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        Vcpu *cpu = machine->cpus[i];
        vcpu_take(cpu, VCPU_REQ_NMI | VCPU_REQ_SMI | VCPU_REQ_INIT | VCPU_REQ_SIPI | VCPU_REQ_APIC);
        set.engine->cpu_reset(cpu);
    }
}

static void pic_intr(Machine *machine, bool level)
{
    if (level)
        vcpu_request(machine->cpus[0], VCPU_REQ_INTR);
    else
        vcpu_take(machine->cpus[0], VCPU_REQ_INTR);
}

static void nmi(Machine *machine)
{
    request_all(machine, VCPU_REQ_NMI);
}

static void smi(Machine *machine)
{
    vcpu_request(machine->cpus[0], VCPU_REQ_SMI);
}

static Vcpu *current(Machine *machine)
{
    return this_cpu;
}

/* ---- Set-up ---- */

/* Signals are the main thread's; faults stay where they happen.  A kick's signal is unblocked by
 * the engine that uses one. */
static bool start_thread(Vcpu *cpu, GError **error)
{
    VcpuThread *thread = cpu->thread;
    sigset_t mask, old;
    sigfillset(&mask);
    sigdelset(&mask, SIGSEGV);
    sigdelset(&mask, SIGBUS);
    sigdelset(&mask, SIGILL);
    sigdelset(&mask, SIGFPE);
    sigdelset(&mask, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &mask, &old);
    int result = pthread_create(&thread->tid, NULL, vcpu_thread, cpu);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (result)
        return fail_errno(error, result, "cannot start the thread of CPU %u", cpu->index);
    thread->started = true;
    char name[16];
    g_snprintf(name, sizeof(name), "CPU %u", cpu->index);
    pthread_setname_np(thread->tid, name);
    return true;
}

static void create_cpus(Machine *machine, bool threads)
{
    machine->cpus = g_new0(Vcpu *, machine->cpu_count);
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        Vcpu *cpu = g_new0(Vcpu, 1);
        cpu->machine = machine;
        cpu->index = cpu->apic_id = i;
        cpu->requests = VCPU_REQ_STOP;
        cpu->stopped = !threads;
        machine->cpus[i] = cpu;
        if (!threads)
            continue;
        VcpuThread *thread = g_new0(VcpuThread, 1);
        pthread_mutex_init(&thread->lock, NULL);
        pthread_cond_init(&thread->wake, NULL);
        g_queue_init(&thread->work);
        cpu->thread = thread;
    }
}

static void set_hooks(EngineHooks *hooks)
{
    hooks->pause_all = pause_all;
    hooks->resume_all = resume_all;
    hooks->current = current;
    hooks->reset_cpus = reset_cpus;
    hooks->pic_intr = pic_intr;
    hooks->nmi = nmi;
    hooks->smi = smi;
}

/* Waits until each started CPU has tried its cpu_init; takes over the first error. */
static bool wait_ready(Machine *machine, GError **error)
{
    bool ok = true;
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        VcpuThread *thread = machine->cpus[i]->thread;
        while (thread->started && !thread->ready)
            loop_cond_wait(machine->loop, &set.changed);
        if (!thread->error)
            continue;
        if (ok)
            g_propagate_error(error, g_steal_pointer(&thread->error));
        g_clear_error(&thread->error);
        ok = false;
    }
    return ok;
}

bool vcpus_init(Machine *machine, const CpuEngine *engine, const EngineConfig *config,
                GError **error)
{
    set.engine = engine;
    set.paused = set.told = true; /* that is how machines begin */
    pthread_cond_init(&set.changed, NULL);
    if (engine->run)
        set_hooks(&machine->hooks);
    if (!engine->init(machine, config, error)) {
        memset(&machine->hooks, 0, sizeof(machine->hooks));
        pthread_cond_destroy(&set.changed);
        return false;
    }
    create_cpus(machine, engine->run != NULL);
    if (!engine->run)
        return true;
    bool ok = true;
    for (unsigned i = 0; i < machine->cpu_count && ok; i++)
        ok = start_thread(machine->cpus[i], error);
    /* After a failed start the error stands already; the others' are dropped. */
    ok = wait_ready(machine, ok ? error : NULL) && ok;
    while (ok && !all_stopped(machine))
        loop_cond_wait(machine->loop, &set.changed);
    if (!ok)
        vcpus_fini(machine);
    return ok;
}

static bool thread_lives(const Vcpu *cpu)
{
    const VcpuThread *thread = cpu->thread;
    return thread && thread->started && !thread->ended;
}

static void end_thread(Vcpu *cpu)
{
    VcpuThread *thread = cpu->thread;
    if (thread->started) {
        vcpu_request(cpu, VCPU_REQ_EXIT);
        pthread_cond_broadcast(&set.changed);
        while (!thread->ended)
            loop_cond_wait(cpu->machine->loop, &set.changed);
        pthread_join(thread->tid, NULL);
    }
    pthread_cond_destroy(&thread->wake);
    pthread_mutex_destroy(&thread->lock);
    g_free(thread);
}

void vcpus_fini(Machine *machine)
{
    if (!machine->cpus)
        return;
    request_all(machine, VCPU_REQ_STOP);
    for (unsigned i = 0; i < machine->cpu_count; i++)
        while (thread_lives(machine->cpus[i]) && !machine->cpus[i]->stopped)
            loop_cond_wait(machine->loop, &set.changed);
    for (unsigned i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i]->thread)
            end_thread(machine->cpus[i]);
    if (set.engine->fini)
        set.engine->fini(machine);
    for (unsigned i = 0; i < machine->cpu_count; i++)
        g_free(machine->cpus[i]);
    g_clear_pointer(&machine->cpus, g_free);
    memset(&machine->hooks, 0, sizeof(machine->hooks));
    pthread_cond_destroy(&set.changed);
}

/* ---- Work for a CPU ---- */

void vcpu_run_on(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *opaque), void *opaque)
{
    VcpuThread *thread = cpu->thread;
    if (cpu == this_cpu || !thread) {
        fn(cpu, opaque);
        return;
    }
    Work work = {.fn = fn, .opaque = opaque};
    g_queue_push_tail(&thread->work, &work);
    vcpu_request(cpu, VCPU_REQ_WORK);
    pthread_cond_broadcast(&set.changed);
    while (!work.done)
        loop_cond_wait(cpu->machine->loop, &set.changed);
}

typedef struct StateWork {
    CpuState *out;
    const CpuState *in;
    bool ok;
} StateWork;

static void transfer_state(Vcpu *cpu, void *opaque)
{
    StateWork *work = opaque;
    if (work->out)
        work->ok = set.engine->pull && set.engine->pull(cpu, work->out);
    else
        work->ok = set.engine->push && set.engine->push(cpu, work->in);
}

static bool run_state_work(Vcpu *cpu, StateWork *work)
{
    /* The caller's main lock keeps a stopped CPU stopped. */
    if (cpu->stopped)
        transfer_state(cpu, work);
    else
        vcpu_run_on(cpu, transfer_state, work);
    return work->ok;
}

bool vcpu_get_state(Vcpu *cpu, CpuState *state)
{
    StateWork work = {.out = state};
    return run_state_work(cpu, &work);
}

bool vcpu_set_state(Vcpu *cpu, const CpuState *state)
{
    StateWork work = {.in = state};
    return run_state_work(cpu, &work);
}

/* ---- Debuggers ---- */

typedef struct DebugWork {
    const DebugState *state;
    bool ok;
} DebugWork;

static void transfer_debug(Vcpu *cpu, void *opaque)
{
    DebugWork *work = opaque;
    work->ok = set.engine->set_debug(cpu, work->state);
}

bool vcpu_set_debug(Vcpu *cpu, const DebugState *state)
{
    DebugWork work = {.state = state};
    if (!set.engine->set_debug)
        return false;
    if (cpu->stopped)
        transfer_debug(cpu, &work);
    else
        vcpu_run_on(cpu, transfer_debug, &work);
    return work.ok;
}

void vcpu_set_debugger(void (*stopped)(Vcpu *cpu))
{
    set.debugger = stopped;
}
