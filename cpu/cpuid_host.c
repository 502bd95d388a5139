/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the interpreter offers as CPUID leaves (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix
 * E): its own integer and system instructions, and of FP and SIMD what the host has.
 */
#include <cpuid.h>
#include <string.h>

#include "cpu/cpu.h"
#include "model_private.h"
#include "util/bytes.h"

/* What the interpreter does by itself, on any host. */
static const char own_features[] =
    "vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush "
    "cx16 pcid x2apic movbe popcnt tsc-deadline rdrand hypervisor "
    "fsgsbase tsc-adjust bmi1 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb "
    "umip rdpid fsrm arch-capabilities "
    "syscall nx pdpe1gb rdtscp lm lahf-lm abm cr8legacy 3dnowprefetch invtsc arat";
/* What the host runs for it. */
static const char host_features[] =
    "fpu mmx fxsr sse sse2 pni pclmulqdq ssse3 fma sse4.1 sse4.2 aes avx f16c avx2 sha-ni gfni "
    "vaes vpclmulqdq avx-vnni";
/* Its own, but made for what the host's AVX has: offered with AVX or on their own. */
static const char xsave_features[] = "xsave xsaveopt xsavec xgetbv1";

enum { PHYSICAL_BITS = 40, LINEAR_BITS = 48, XSAVE_LEGACY = 576, YMM_SIZE = 256 };
#define EXTENDED 0x80000000u

static void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t reg[4])
{
    uint32_t top = __get_cpuid_max(leaf & EXTENDED, NULL);
    memset(reg, 0, sizeof(uint32_t[4]));
    if (leaf <= top)
        __cpuid_count(leaf, subleaf, reg[0], reg[1], reg[2], reg[3]);
}

/* Whether the host's kernel keeps YMM registers. */
static bool host_keeps_ymm(void)
{
    enum { OSXSAVE = 1 << 27 };
    uint32_t reg[4], low, high;
    host_cpuid(1, 0, reg);
    if (!(reg[CPUID_ECX] & OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

static void find_words(uint32_t words[WORD_COUNT])
{
    uint32_t own[WORD_COUNT] = {0}, host[WORD_COUNT] = {0}, xsave[WORD_COUNT] = {0};
    features_add(own, own_features);
    features_add(host, host_features);
    features_add(xsave, xsave_features);
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        uint32_t reg[4];
        host_cpuid(feature_words[w].leaf, feature_words[w].subleaf, reg);
        words[w] = own[w] | xsave[w] | (host[w] & reg[feature_words[w].reg]);
    }
    if (!host_keeps_ymm()) {
        uint32_t avx[WORD_COUNT] = {0};
        features_add(avx, "avx");
        for (unsigned w = 0; w < WORD_COUNT; w++)
            words[w] &= ~avx[w];
    }
    features_drop_dependents(words);
}

static CpuidEntry *put(GArray *leaves, uint32_t leaf, uint32_t subleaf, bool indexed)
{
    for (guint i = 0; i < leaves->len; i++) {
        CpuidEntry *entry = &g_array_index(leaves, CpuidEntry, i);
        if (entry->leaf == leaf && entry->subleaf == subleaf)
            return entry;
    }
    CpuidEntry fresh = {.leaf = leaf, .subleaf = subleaf, .indexed = indexed};
    g_array_append_val(leaves, fresh);
    return &g_array_index(leaves, CpuidEntry, leaves->len - 1);
}

/* The host's leaf as it is: names, caches. */
static void put_host(GArray *leaves, uint32_t leaf, uint32_t subleaf, bool indexed)
{
    uint32_t reg[4];
    host_cpuid(leaf, subleaf, reg);
    memcpy(put(leaves, leaf, subleaf, indexed)->reg, reg, sizeof(reg));
}

/* Leaf 4 (Intel) or 0x8000001d (AMD), as far as the host has them. */
static void put_caches(GArray *leaves, uint32_t leaf)
{
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t reg[4];
        host_cpuid(leaf, i, reg);
        memcpy(put(leaves, leaf, i, true)->reg, reg, sizeof(reg));
        if (!(reg[CPUID_EAX] & 0x1f))
            break;
    }
}

static void put_xsave(GArray *leaves, bool avx)
{
    uint32_t size = avx ? XSAVE_LEGACY + YMM_SIZE : XSAVE_LEGACY;
    CpuidEntry *entry = put(leaves, 0xd, 0, true);
    entry->reg[CPUID_EAX] = avx ? 7 : 3;
    entry->reg[CPUID_EBX] = entry->reg[CPUID_ECX] = size;
    if (!avx)
        return;
    entry = put(leaves, 0xd, 2, true);
    entry->reg[CPUID_EAX] = YMM_SIZE;
    entry->reg[CPUID_EBX] = XSAVE_LEGACY;
}

void cpu_supported_cpuid(GArray *leaves)
{
    enum { LEVEL = 0x16, EXTENDED_LEVEL = 0x1f, AMD_REPEATED = 0x0183f3ff };
    uint32_t words[WORD_COUNT] = {0};
    find_words(words);
    put_host(leaves, 0, 0, false);
    put_host(leaves, 1, 0, false);
    put_host(leaves, 2, 0, false);
    put_caches(leaves, 4);
    put_xsave(leaves, words[WORD_1_ECX] & 1u << 28);
    for (uint32_t leaf = EXTENDED; leaf <= EXTENDED + 6; leaf++)
        put_host(leaves, leaf, 0, false);
    put_caches(leaves, EXTENDED + 0x1d);
    CpuidEntry *top = put(leaves, 0, 0, false);
    top->reg[CPUID_EAX] = MIN(top->reg[CPUID_EAX], (uint32_t)LEVEL);
    if (top->reg[CPUID_EAX] < 0xd)
        top->reg[CPUID_EAX] = 0xd;
    top = put(leaves, EXTENDED, 0, false);
    top->reg[CPUID_EAX] = CLAMP(top->reg[CPUID_EAX], EXTENDED + 8, EXTENDED + EXTENDED_LEVEL);
    bool amd = top->reg[CPUID_EBX] == 0x68747541;
    put(leaves, EXTENDED + 8, 0, false)->reg[CPUID_EAX] = LINEAR_BITS << 8 | PHYSICAL_BITS;
    /* Feature words replace what the host says. */
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        const FeatureWordInfo *info = &feature_words[w];
        if (w != WORD_KVM_EAX)
            put(leaves, info->leaf, info->subleaf, info->indexed)->reg[info->reg] = words[w];
    }
    put(leaves, 7, 0, true)->reg[CPUID_EAX] = words[WORD_7_1_EAX] != 0;
    if (amd)
        put(leaves, EXTENDED + 1, 0, false)->reg[CPUID_EDX] |= words[WORD_1_EDX] & AMD_REPEATED;
}
