/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port I/O: permission by IOPL and the TSS's map, IN, OUT, INS, OUTS.  (Intel SDM vol. 1, ch. 18;
 * vol. 3, 20.3.3 for the interrupt redirection map.)
 */
#include "protect.h"

enum { TSS_IO_MAP = 102, DR_IO = 2 };

/* ---- The TSS's maps ---- */

/* Offset of the I/O map in the TSS; #GP if the TSS cannot have one. */
static uint32_t io_map(Cpu *cpu, const Op *op)
{
    if (cpu->tr.unusable || !(attr_system_type(cpu->tr.attr) & 8) || cpu->tr.limit < TSS_IO_MAP + 1)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return (uint32_t)cpu_load_system(cpu, op, cpu->tr.base + TSS_IO_MAP, 2);
}

bool tss_redirects(Cpu *cpu, const Op *op, uint8_t vector)
{
    uint32_t map = io_map(cpu, op), at = map - 32 + vector / 8;
    if (map < 32 || at > cpu->tr.limit)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return !(cpu_load_system(cpu, op, cpu->tr.base + at, 1) >> vector % 8 & 1);
}

static void check_port(Cpu *cpu, const Op *op, uint16_t port, unsigned size)
{
    if (!(cpu->cr0 & CR0_PE) || (cpu->cpl <= iopl(cpu) && !in_vm86(cpu)))
        return;
    /* Two bytes are read, so the map must end with one more. */
    uint32_t at = io_map(cpu, op) + port / 8;
    if (at + 1 > cpu->tr.limit)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    uint64_t bits = cpu_load_system(cpu, op, cpu->tr.base + at, 2) >> port % 8;
    if (bits & ((1u << size) - 1))
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

/* ---- Access ---- */

/* I/O breakpoints: a trap behind the instruction. */
static void watch_port(Cpu *cpu, uint16_t port, unsigned size)
{
    static const uint8_t lengths[4] = {1, 2, 8, 4};
    if (!(cpu->cr4 & CR4_DE) || !(cpu->dr[7] & 0xff))
        return;
    for (unsigned i = 0; i < 4; i++) {
        unsigned control = cpu->dr[7] >> (16 + 4 * i) & 15;
        unsigned length = lengths[control >> 2];
        uint64_t start = cpu->dr[i] & ~(uint64_t)(length - 1);
        if ((cpu->dr[7] >> 2 * i & 3) && (control & 3) == DR_IO && port < start + length &&
            start < (uint64_t)port + size)
            cpu->debug_pending |= 1u << i;
    }
}

static void access_port(Cpu *cpu, uint16_t port, bool write, unsigned size, void *data,
                        unsigned count)
{
    watch_port(cpu, port, size);
    fpu_leave(cpu);
    dispatch_pio(cpu->io, port, write, size, data, count);
    cpu_end_after_device(cpu);
}

static inline uint16_t port_of(const Cpu *cpu, const Op *op)
{
    return op->extra ? (uint8_t)op->imm : (uint16_t)cpu->gpr[GPR_RDX];
}

const Op *op_in(Cpu *cpu, const Op *op)
{
    uint8_t bytes[4] = {0};
    uint16_t port = port_of(cpu, op);
    check_port(cpu, op, port, op->size);
    access_port(cpu, port, false, op->size, bytes, 1);
    if (op->size == 1)
        cpu->gpr[GPR_RAX] = (cpu->gpr[GPR_RAX] & ~0xffull) | bytes[0];
    else
        gpr_write(cpu, GPR_RAX, ldn_le(bytes, op->size), op->size);
    LEAVE_BEHIND(cpu, op);
}

const Op *op_out(Cpu *cpu, const Op *op)
{
    uint8_t bytes[4];
    uint16_t port = port_of(cpu, op);
    check_port(cpu, op, port, op->size);
    stn_le(bytes, op->size, cpu->gpr[GPR_RAX]);
    access_port(cpu, port, true, op->size, bytes, 1);
    LEAVE_BEHIND(cpu, op);
}

/* ---- Strings: op->imm is the mask of addresses and counts ---- */

enum { RUN_BYTES = 4096 };

static void add_masked(Cpu *cpu, unsigned reg, uint64_t delta, uint64_t mask)
{
    uint64_t value = (cpu->gpr[reg] + delta) & mask;
    cpu->gpr[reg] = mask == 0xffff ? (cpu->gpr[reg] & ~mask) | value : value;
}

/* How many elements from address on can be moved as one: upwards, in one page and segment; one
 * while every instruction is looked at. */
static unsigned run_length(const Cpu *cpu, const Op *op, uint64_t address, uint64_t linear,
                           uint64_t count, Access access)
{
    uint64_t room = MIN(RUN_BYTES - (linear & 0xfff), op->imm - address) / op->size;
    uint64_t last;
    unsigned run = (unsigned)MIN(count, room);
    if (run < 2 || (cpu->eflags & (EFL_DF | EFL_TF)) || (cpu->mode & MODE_SLOW))
        return 1;
    return segment_allows(cpu, op->seg, address, run * op->size, access, &last) ? run : 1;
}

/* One run is done: registers, and where to go on. A string that is not at its end is the same
 * instruction again, so that requests are seen between runs. */
static const Op *advance(Cpu *cpu, const Op *op, unsigned reg, unsigned run)
{
    uint64_t step = (uint64_t)run * op->size;
    add_masked(cpu, reg, cpu->eflags & EFL_DF ? -step : step, op->imm);
    if (op->extra & STRING_REP) {
        add_masked(cpu, GPR_RCX, -(uint64_t)run, op->imm);
        if (cpu->gpr[GPR_RCX] & op->imm) {
            cpu->eflags |= EFL_RF; /* the code breakpoint was had */
            cpu->rip = op_rip(cpu, op);
            LEAVE(cpu);
        }
    }
    LEAVE_BEHIND(cpu, op);
}

const Op *op_ins(Cpu *cpu, const Op *op)
{
    uint8_t bytes[RUN_BYTES];
    uint64_t count = op->extra & STRING_REP ? cpu->gpr[GPR_RCX] & op->imm : 1;
    uint64_t address = cpu->gpr[GPR_RDI] & op->imm;
    uint16_t port = (uint16_t)cpu->gpr[GPR_RDX];
    check_port(cpu, op, port, op->size); /* even if there is nothing to do */
    if (!count)
        LEAVE_BEHIND(cpu, op);
    uint64_t linear = cpu_linear_checked(cpu, op, op->seg, address, op->size, ACCESS_WRITE);
    unsigned run = run_length(cpu, op, address, linear, count, ACCESS_WRITE);
    cpu_probe(cpu, op, linear, run * op->size, ACCESS_WRITE);
    access_port(cpu, port, false, op->size, bytes, run);
    cpu_write_bytes(cpu, op, linear, bytes, run * op->size);
    return advance(cpu, op, GPR_RDI, run);
}

const Op *op_outs(Cpu *cpu, const Op *op)
{
    uint8_t bytes[RUN_BYTES];
    uint64_t count = op->extra & STRING_REP ? cpu->gpr[GPR_RCX] & op->imm : 1;
    uint64_t address = cpu->gpr[GPR_RSI] & op->imm;
    uint16_t port = (uint16_t)cpu->gpr[GPR_RDX];
    check_port(cpu, op, port, op->size); /* even if there is nothing to do */
    if (!count)
        LEAVE_BEHIND(cpu, op);
    uint64_t linear = cpu_linear_checked(cpu, op, op->seg, address, op->size, ACCESS_READ);
    unsigned run = run_length(cpu, op, address, linear, count, ACCESS_READ);
    cpu_read_bytes(cpu, op, linear, bytes, run * op->size);
    access_port(cpu, port, true, op->size, bytes, run);
    return advance(cpu, op, GPR_RSI, run);
}
