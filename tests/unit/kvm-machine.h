/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small machine for tests of an engine: RAM, a ROM of 64 KiB below 4 GiB that holds the guest,
 * and a few ports that talk to the test.  Guests are written in assembly beside their test.
 */
#ifndef TESTS_UNIT_KVM_MACHINE_H
#define TESTS_UNIT_KVM_MACHINE_H

#include "accel/engine.h"
#include "hw/core/machine.h"

enum {
    PORT_TELL = 0x10,   /* writes are recorded: 1, 2 or 4 bytes */
    PORT_STRING = 0x14, /* byte port: reads count up from 'a' */
    PORT_RESET = 0x18,  /* a write asks for a reset */
    PORT_CALL = 0x1c,   /* a write calls the test */
    TEST_ROM_SIZE = 0x10000,
    TEST_RAM_SIZE = 0x200000,
    TEST_MMIO = 0xd0000, /* 4 KiB of device memory: a scratch page that counts accesses */
};

typedef struct TestGuest TestGuest;
struct TestGuest {
    Machine *machine;
    Region ram, rom, ports, mmio;
    uint32_t told[4096]; /* what was written to PORT_TELL */
    unsigned told_count, told_size;
    uint8_t next;
    unsigned calls;
    void (*call)(TestGuest *guest);
    uint8_t scratch[0x1000];
    unsigned mmio_reads, mmio_writes;
};

/* A guest's code, placed at the start of the ROM, where the reset vector jumps to (real mode,
 * CS base 0xffff0000). */
#define GUEST_CODE(name, text)                                                                     \
    extern const uint8_t guest_##name[], guest_##name##_end[];                                     \
    __asm__(".pushsection .rodata\n.balign 16\n.code16\nguest_" #name ":\n" text "\nguest_" #name  \
            "_end:\n.code64\n.popsection\n")
#define GUEST(name) guest_##name, (size_t)(guest_##name##_end - guest_##name)

/* Builds the machine with KVM, not yet started; main lock held from here to guest_free(). */
TestGuest *guest_new(unsigned cpus, const char *cpu_model, const uint8_t *code, size_t length);
/* Everything but the engine. */
TestGuest *guest_new_bare(unsigned cpus, const uint8_t *code, size_t length);
void guest_free(TestGuest *guest);
/* Dispatches events until cond(guest), failing the test after a minute. */
void guest_wait(TestGuest *guest, bool (*cond)(TestGuest *guest));
/* Until count values have been told. */
void guest_wait_told(TestGuest *guest, unsigned count);

#endif
