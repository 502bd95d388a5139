/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a port access costs through vmrun's vCPU loop, over a bare loop around KVM_RUN, both in one
 * run on the same guest.  Prints the two times and their ratio.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/kvm-machine.h"
#include "util/timer.h"

enum { EXITS = 20000, ROUNDS = 9 };

/* Writes port 0x10 EXITS times, then port 0x1c once, for ever. */
GUEST_CODE(pio, "1: mov $20000, %cx\n 2: out %al, $0x10\n loop 2b\n out %al, $0x1c\n jmp 1b\n");

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- The bare loop ---- */

typedef struct Bare {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    unsigned long count;
} Bare;

static void bare_open(Bare *bare)
{
    static const uint8_t reset_vector[] = {0xe9, 0x0d, 0x00};
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    bare->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    bare->vm = ioctl(bare->kvm, KVM_CREATE_VM, 0);
    if (bare->vm < 0 || ioctl(bare->vm, KVM_ENABLE_CAP, &split) < 0 ||
        ioctl(bare->vm, KVM_SET_TSS_ADDR, 0xfeffd000) < 0)
        die("KVM");
    uint8_t *rom =
        mmap(NULL, TEST_ROM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(rom, guest_pio, (size_t)(guest_pio_end - guest_pio));
    memcpy(rom + 0xfff0, reset_vector, sizeof(reset_vector));
    struct kvm_userspace_memory_region region = {.guest_phys_addr = 0xffff0000,
                                                 .memory_size = TEST_ROM_SIZE,
                                                 .userspace_addr = (uintptr_t)rom};
    if (ioctl(bare->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        die("memory slot");
    bare->vcpu = ioctl(bare->vm, KVM_CREATE_VCPU, 0);
    int size = ioctl(bare->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    bare->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, bare->vcpu, 0);
    if (bare->vcpu < 0 || bare->run == MAP_FAILED)
        die("vCPU");
}

/* Until the guest has written port 0x1c; returns ns. */
static int64_t bare_round(Bare *bare)
{
    int64_t start = clock_now(VM_CLOCK_HOST);
    for (;;) {
        if (ioctl(bare->vcpu, KVM_RUN, 0) < 0)
            die("KVM_RUN");
        if (bare->run->exit_reason != KVM_EXIT_IO) {
            fprintf(stderr, "exit reason %u\n", bare->run->exit_reason);
            exit(1);
        }
        if (bare->run->io.port == PORT_CALL)
            return clock_now(VM_CLOCK_HOST) - start;
        bare->count++;
    }
}

/* ---- vmrun's loop ---- */

static int64_t round_start, round_time;
static unsigned rounds_done;

/* Between two of its calls the vCPU thread did nothing but EXITS accesses. */
static void round_over(TestGuest *guest)
{
    int64_t now = clock_now(VM_CLOCK_HOST);
    round_time = now - round_start;
    round_start = now;
    rounds_done++;
    machine_pause(guest->machine, MACHINE_PAUSED);
    loop_wake(guest->machine->loop);
}

static int64_t engine_round(TestGuest *guest)
{
    unsigned before = rounds_done;
    round_start = clock_now(VM_CLOCK_HOST);
    machine_resume(guest->machine, NULL);
    while (rounds_done == before)
        loop_step(guest->machine->loop, true);
    return round_time;
}

/* The device of the bench answers as the bare loop does: it counts. */
static void count_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    ++*(unsigned long *)opaque;
}

static const RegionOps count_ops = {.write = count_write};

int main(void)
{
    char *why = NULL;
    Bare bare = {0};
    Region counter;
    unsigned long count = 0;
    if (!kvm_engine.probe(&why)) {
        printf("skipped: %s\n", why);
        return 77;
    }
    bare_open(&bare);
    TestGuest *guest = guest_new(1, NULL, GUEST(pio));
    region_init_io(&counter, "counter", 1, &count_ops, &count, NULL);
    region_add_overlap(&guest->machine->io_root, PORT_TELL, &counter, 1);
    guest->call = round_over;
    machine_start(guest->machine, false);
    bare_round(&bare);
    engine_round(guest);
    int64_t best_bare = INT64_MAX, best_engine = INT64_MAX;
    for (unsigned i = 0; i < ROUNDS; i++) {
        int64_t bare_time = bare_round(&bare), engine_time = engine_round(guest);
        best_bare = MIN(best_bare, bare_time);
        best_engine = MIN(best_engine, engine_time);
    }
    printf("PIO exit: bare KVM_RUN %.3f us, vmrun %.3f us, ratio %.3f\n",
           (double)best_bare / EXITS / 1000, (double)best_engine / EXITS / 1000,
           (double)best_engine / (double)best_bare);
    int result = count == (ROUNDS + 1) * EXITS && bare.count == count ? 0 : 1;
    region_remove(&counter);
    region_fini(&counter);
    guest_free(guest);
    return result;
}
