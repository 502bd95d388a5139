/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole board under fire: every port and every memory-mapped register in every size, with the
 * clock moving and requests of reset and power-off carried out.
 *
 *   fuzz-board [OPERATIONS [SEED]]   random operations from a seed, which is printed (TAP)
 *   with libFuzzer (-Dfuzzers=true)  operations from the input
 *
 * Success is to be alive at the end; the sanitizers see the rest.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../lib/board.h"
#include "hw/pci/pci.h"
#include "util/bytes.h"
#include "util/rcu.h"
#include "util/timer.h"

#define RAM_SIZE   (4u << 20)
#define OPERATIONS 1000000

/* ---- Where operations come from: bytes ---- */

typedef struct Source {
    const uint8_t *at, *end; /* libFuzzer's input, or */
    GRand *random;           /* a generator without end */
} Source;

static bool dry(const Source *source)
{
    return !source->random && source->at >= source->end;
}

static uint32_t take(Source *source)
{
    if (source->random)
        return g_rand_int(source->random);
    uint8_t buf[4] = {0};
    size_t left = (size_t)(source->end - source->at);
    memcpy(buf, source->at, MIN(left, 4));
    source->at += MIN(left, 4);
    return ld32_le(buf);
}

/* ---- Operations ---- */

static uint64_t value_of(Source *source)
{
    static const uint32_t special[] = {0, 1, 0x80, 0xff, 0x7fff, 0xffff, 0x80000000, 0xffffffff};
    uint32_t choice = take(source);
    if (choice % 4 == 0)
        return special[choice / 4 % G_N_ELEMENTS(special)];
    return (uint64_t)take(source) << 32 | choice;
}

/* An address inside one of the view's ranges, devices preferred; sometimes anywhere. */
static hwaddr address_in(AddressSpace *as, Source *source)
{
    rcu_read_lock();
    const FlatView *view = as_view(as);
    uint32_t pick = take(source);
    hwaddr addr = (uint64_t)take(source) << 8 ^ pick;
    for (unsigned tries = 0; view->count && pick % 16 && tries < 4; tries++) {
        const FlatRange *range = &view->ranges[(pick >> 4) % view->count];
        addr = range->start + take(source) % range->size;
        if (range->region->kind == REGION_IO)
            break;
        pick = take(source) | 1;
    }
    rcu_read_unlock();
    return addr;
}

/* Registers that may reset the machine: hit rarely, so that devices get into deeper states. */
static bool resets(uint16_t port, unsigned size)
{
    static const uint16_t ports[] = {0x64, 0x92, 0xcf9, 0x604, 0x605, 0x501};
    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++)
        if (port <= ports[i] && ports[i] < port + size)
            return true;
    return false;
}

static void port_operation(Machine *machine, Source *source)
{
    uint8_t data[64];
    uint16_t port = (uint16_t)address_in(&machine->io, source);
    uint32_t how = take(source);
    unsigned size = 1u << how % 3, count = how % 64 ? 1 : 8;
    for (unsigned i = 0; i < sizeof(data); i += 8)
        st64_le(data + i, value_of(source));
    bool write = how >> 8 & 1;
    if (write && resets(port, size) && how >> 9 & 127)
        return;
    dispatch_pio(&machine->io, port, write, size, data, count);
}

static void memory_operation(Machine *machine, Source *source)
{
    hwaddr addr = address_in(&machine->mem, source);
    uint32_t how = take(source);
    unsigned size = 1u << how % 4;
    uint64_t value = value_of(source);
    if (how >> 8 & 1)
        as_store(&machine->mem, addr, size, value);
    else
        as_load(&machine->mem, addr, size, &value);
}

/* Configuration space of the devices that exist, so that BARs move and DMA is on. */
static void pci_operation(Machine *machine, Source *source)
{
    static const uint8_t slots[] = {PCI_DEVFN(0, 0), PCI_DEVFN(1, 0), PCI_DEVFN(1, 1),
                                    PCI_DEVFN(1, 3), PCI_DEVFN(2, 0), PCI_DEVFN(3, 0),
                                    PCI_DEVFN(4, 0), PCI_DEVFN(5, 0)};
    uint32_t how = take(source);
    uint32_t devfn = slots[how % G_N_ELEMENTS(slots)], offset = how >> 8 & 0xfc;
    as_store(&machine->io, 0xcf8, 4, 0x80000000u | devfn << 8 | offset);
    as_store(&machine->io, 0xcfc + (how >> 16 & 3), 1u << (how >> 18) % 3, value_of(source));
}

/* Structures for devices to stumble over: pointers into RAM, lengths, flags. */
static void ram_operation(Machine *machine, Source *source)
{
    uint64_t words[8];
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        words[i] = take(source) % 3 ? value_of(source) : take(source) % RAM_SIZE;
    dma_write(&machine->mem, take(source) % RAM_SIZE, words, sizeof(words));
}

static void operate(Machine *machine, Source *source)
{
    switch (take(source) % 16) {
    case 0:
        vclock_step(take(source) % (take(source) % 64 ? 100000 : 1000000000));
        break;
    case 1:
        loop_step(machine->loop, false);
        break;
    case 2:
        pci_operation(machine, source);
        break;
    case 3:
        ram_operation(machine, source);
        break;
    case 4:
    case 5:
    case 6:
        memory_operation(machine, source);
        break;
    default:
        port_operation(machine, source);
    }
    if (machine->ending || machine->status != MACHINE_RUNNING) { /* the guest powered off */
        machine->ending = false;
        machine_request_reset(machine, RESET_HOST);
        loop_step(machine->loop, false);
        machine_resume(machine, NULL);
    }
}

#ifdef VMRUN_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Machine *machine;
    if (!machine)
        machine = board_new(RAM_SIZE);
    Source source = {data, data + size, NULL};
    while (!dry(&source))
        operate(machine, &source);
    return 0;
}
#else
int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : OPERATIONS;
    uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1;
    printf("1..1\n# %lu operations, seed %u\n", count, seed);
    fflush(stdout);
    Machine *machine = board_new(RAM_SIZE);
    Source source = {.random = g_rand_new_with_seed(seed)};
    for (unsigned long i = 0; i < count && !dry(&source); i++)
        operate(machine, &source);
    printf("# %u resets\n", machine->resets);
    board_free(machine);
    g_rand_free(source.random);
    printf("ok 1 the board survives\n");
    return 0;
}
#endif
