/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stretches for another engine: cpu_rescue() on a state that is lent. */
#include "cpu-guest.h"
#include "util/bytes.h"

/* The owner's side: what it keeps until it is asked. */
static struct {
    CpuGuest *guest;
    CpuState state;
    unsigned fpu, msrs;
    Cpu *cpu;
} owner;

static void fetch(Vcpu *vcpu, CpuPart part)
{
    if (part == CPU_PART_FPU) {
        owner.fpu++;
        cpu_set_fpu(owner.cpu, &owner.state);
    } else {
        owner.msrs++;
        cpu_set_msrs(owner.cpu, &owner.state);
    }
}

static void begin(GuestMode mode)
{
    CpuBus bus = cpu_guest_bus;
    CpuGuest *guest = cpu_guest_new(mode);
    g_autoptr(GArray) leaves = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    bus.fetch = fetch;
    cpu_supported_cpuid(leaves);
    owner.guest = guest;
    owner.fpu = owner.msrs = 0;
    owner.cpu = cpu_new(&guest->vcpu, &guest->machine->mem, NULL, &guest->machine->io, &bus,
                        (const CpuidEntry *)(const void *)leaves->data, leaves->len);
    owner.state = guest->state;
    owner.state.cr0 = (owner.state.cr0 & ~0xcull) | 0x22; /* no EM and TS; NE and MP */
    owner.state.cr4 |= 0x600;
}

static void end(void)
{
    cpu_free(owner.cpu);
    cpu_guest_free(owner.guest);
}

/* Returns what was done to owner.state. */
static CpuRescue rescue(uint64_t most)
{
    CpuRescue did;
    cpu_set_core(owner.cpu, &owner.state);
    cpu_rescue(owner.cpu, most, &did);
    cpu_get_core(owner.cpu, &owner.state);
    if (owner.fpu)
        cpu_get_fpu(owner.cpu, &owner.state);
    return did;
}

static uint64_t offset(void)
{
    return owner.state.rip - GUEST_CODE_AT;
}

/* ---- How far it goes ---- */

CPU_CODE(integer, 64, "inc %eax\n inc %eax\n hlt");
CPU_CODE(atomic, 64, "lock cmpxchg16b 0x200000\n inc %eax\n hlt");
CPU_CODE(floating, 64,
         "fldz\n inc %eax\n mov 0x200000, %ecx\n jmp 1f\n hlt\n 1: fstpt 0x200010\n inc %eax\n"
         "mov %eax, 0x200000\n inc %eax\n hlt");

static void test_stretch(void)
{
    begin(GUEST_LONG);
    CPU_LOAD(owner.guest, integer);
    CpuRescue did = rescue(100);
    g_assert_cmpint(did.end, ==, CPU_RUN_BUDGET);
    g_assert_cmpuint(did.instructions, ==, 1);
    g_assert_cmpstr(did.name, ==, "inc");
    g_assert_false(did.undefined);
    g_assert_cmphex(owner.state.gpr[GPR_RAX], ==, 1);

    owner.state.rip = GUEST_CODE_AT;
    CPU_LOAD(owner.guest, atomic);
    did = rescue(100);
    g_assert_cmpuint(did.instructions, ==, 1);
    g_assert_cmpstr(did.name, ==, "cmpxchg16b");
    g_assert_cmpuint(owner.fpu, ==, 0);

    /* FP, loads and branches; not the store by MOV, which KVM has to see. */
    owner.state.rip = GUEST_CODE_AT;
    owner.state.gpr[GPR_RAX] = 0;
    CPU_LOAD(owner.guest, floating);
    did = rescue(100);
    g_assert_cmpuint(did.instructions, ==, 6);
    g_assert_cmpstr(did.name, ==, "fldz");
    g_assert_cmphex(owner.state.gpr[GPR_RAX], ==, 2);
    g_assert_cmpuint(owner.fpu, ==, 1);
    /* The limit. */
    owner.state.rip = GUEST_CODE_AT;
    did = rescue(2);
    g_assert_cmpuint(did.instructions, ==, 2);
    g_assert_cmphex(offset(), ==, 4);
    g_assert_cmpuint(owner.msrs, ==, 0);
    end();
}

CPU_CODE(busy, 64, "1: fldz\n fstp %st(0)\n jmp 1b");
CPU_CODE(lonely, 64, "fldz\n 1: inc %eax\n jmp 1b");

static void test_limits(void)
{
    begin(GUEST_LONG);
    CPU_LOAD(owner.guest, busy);
    g_assert_cmpuint(rescue(1000).instructions, ==, 1000);
    owner.state.rip = GUEST_CODE_AT;
    CPU_LOAD(owner.guest, lonely);
    g_assert_cmpuint(rescue(1000).instructions, <, 100);
    end();
}

/* ---- Events ---- */

CPU_CODE(breakpoint, 64, "int3\n inc %eax\n hlt");
CPU_CODE(wrong, 64, "ud2\n hlt");
CPU_CODE(shadow, 64, "sti\n inc %eax\n hlt");

static void test_events(void)
{
    begin(GUEST_LONG);
    CPU_LOAD(owner.guest, breakpoint);
    CpuRescue did = rescue(100);
    g_assert_cmpstr(did.name, ==, "int3");
    g_assert_cmphex(owner.state.rip, ==, GUEST_HANDLERS + 3 * 16);
    g_assert_cmphex(ld64_le(owner.guest->ram + owner.state.gpr[GPR_RSP]), ==, GUEST_CODE_AT + 1);

    owner.state.rip = GUEST_CODE_AT;
    CPU_LOAD(owner.guest, wrong);
    did = rescue(100);
    g_assert_cmpuint(did.instructions, ==, 1);
    g_assert_cmphex(owner.state.rip, ==, GUEST_HANDLERS + 6 * 16);

    /* An event that the owner was about to deliver goes first. */
    owner.state.rip = GUEST_CODE_AT;
    owner.state.interrupt_pending = true;
    owner.state.interrupt_vector = 0x40;
    did = rescue(1);
    g_assert_cmpstr(did.name, ==, "hlt");
    g_assert_true(owner.state.halted);
    g_assert_cmphex(owner.state.rip, ==, GUEST_HANDLERS + 0x40 * 16 + 1);
    g_assert_false(owner.state.interrupt_pending);

    /* The shadow of STI is the owner's. */
    owner.state.rip = GUEST_CODE_AT;
    owner.state.halted = false;
    owner.state.rflags &= ~0x200ull;
    CPU_LOAD(owner.guest, shadow);
    rescue(100);
    g_assert_cmphex(offset(), ==, 1);
    g_assert_true(owner.state.interrupt_shadow);
    g_assert_cmphex(owner.state.rflags & 0x200, ==, 0x200);
    rescue(1);
    g_assert_false(owner.state.interrupt_shadow);
    end();
}

/* A single step is delivered before the state goes back. */
static void test_step(void)
{
    begin(GUEST_LONG);
    CPU_LOAD(owner.guest, integer);
    owner.state.rflags |= 0x100;
    rescue(1);
    g_assert_cmphex(owner.state.rip, ==, GUEST_HANDLERS + 1 * 16);
    g_assert_cmphex(owner.state.dr[6] & 0x4000, ==, 0x4000);
    g_assert_cmphex(ld64_le(owner.guest->ram + owner.state.gpr[GPR_RSP]), ==, GUEST_CODE_AT + 2);
    end();
}

/* ---- Parts ---- */

CPU_CODE(invalidate, 64, "invlpg 0x200000\n hlt");
CPU_CODE(swap, 64, "swapgs\n hlt");

static void test_parts(void)
{
    begin(GUEST_LONG);
    CPU_LOAD(owner.guest, invalidate);
    g_assert_true(rescue(1).flushed);
    owner.state.rip = GUEST_CODE_AT;
    owner.state.msr_count = 1;
    owner.state.msrs[0] = (CpuMsr){0xc0000102, 0x12345678};
    CPU_LOAD(owner.guest, swap);
    g_assert_false(rescue(1).flushed);
    g_assert_cmpuint(owner.msrs, ==, 1);
    g_assert_cmphex(owner.state.seg[SEG_GS].base, ==, 0x12345678);
    end();
}

CPU_CODE(restore, 64, "xrstor64 0x200000\n xsavec64 0x201000\n xsave64 0x202000\n hlt");

/* AVX-512's registers, in an area whose layout is the host's, go through a rescue. */
static void test_components(void)
{
    enum { OPMASK = 5, BV = 512, COMP_BV = 520, KMASKS = 1 << OPMASK };
    uint32_t size, at, flags, unused;
    if (__builtin_cpu_init(), !__builtin_cpu_supports("avx512f")) {
        g_test_skip("this host has no AVX-512");
        return;
    }
    __asm__("cpuid" : "=a"(size), "=b"(at), "=c"(flags), "=d"(unused) : "a"(0xd), "c"(OPMASK));
    begin(GUEST_LONG);
    owner.state.cr4 |= 1 << 18;
    owner.state.xcr0 = 7 | KMASKS;
    owner.state.gpr[GPR_RAX] = owner.state.gpr[GPR_RDX] = UINT32_MAX;
    CPU_LOAD(owner.guest, restore);
    uint8_t *area = owner.guest->ram + 0x200000;
    memset(area, 0, 0x3000);
    st32_le(area + 24, 0x1f80);
    st64_le(area + BV, KMASKS);
    memset(area + at, 0x5a, size);
    rescue(3);
    g_assert_cmpint(memcmp(owner.state.xsave + at, area + at, size), ==, 0);
    /* Compacted: nothing is before it but the header and AVX's place. */
    g_assert_cmphex(ld64_le(area + 0x1000 + BV), ==, KMASKS);
    g_assert_cmphex(ld64_le(area + 0x1000 + COMP_BV), ==, 1ull << 63 | 7 | KMASKS);
    g_assert_cmpint(memcmp(area + 0x1000 + 576 + 256, area + at, size), ==, 0);
    g_assert_cmphex(ld64_le(area + 0x2000 + BV) & ~7ull, ==, KMASKS);
    g_assert_cmpint(memcmp(area + 0x2000 + at, area + at, size), ==, 0);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu/rescue/stretch", test_stretch);
    g_test_add_func("/cpu/rescue/limits", test_limits);
    g_test_add_func("/cpu/rescue/events", test_events);
    g_test_add_func("/cpu/rescue/step", test_step);
    g_test_add_func("/cpu/rescue/parts", test_parts);
    g_test_add_func("/cpu/rescue/components", test_components);
    return g_test_run();
}
