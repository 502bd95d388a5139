/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of the feature bits of CPUID (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). */
#include <string.h>

#include "model_private.h"

static const char *const names_1_edx[32] = {
    "fpu",  "vme",  "de",   "pse", "tsc",  "msr", "pae",   "mce", "cx8",     "apic", NULL,
    "sep",  "mtrr", "pge",  "mca", "cmov", "pat", "pse36", "pn",  "clflush", NULL,   "ds",
    "acpi", "mmx",  "fxsr", "sse", "sse2", "ss",  "ht",    "tm",  "ia64",    "pbe",
};
static const char *const names_1_ecx[32] = {
    "pni",          "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx",    "smx",    "est",
    "tm2",          "ssse3",     "cid",    NULL,      "fma",    "cx16",   "xtpr",   "pdcm",
    NULL,           "pcid",      "dca",    "sse4.1",  "sse4.2", "x2apic", "movbe",  "popcnt",
    "tsc-deadline", "aes",       "xsave",  NULL,      "avx",    "f16c",   "rdrand", "hypervisor",
};
static const char *const names_7_ebx[32] = {
    "fsgsbase",   "tsc-adjust", "sgx",        "bmi1",     "hle",      "avx2",     NULL,
    "smep",       "bmi2",       "erms",       "invpcid",  "rtm",      NULL,       NULL,
    "mpx",        NULL,         "avx512f",    "avx512dq", "rdseed",   "adx",      "smap",
    "avx512ifma", "pcommit",    "clflushopt", "clwb",     "intel-pt", "avx512pf", "avx512er",
    "avx512cd",   "sha-ni",     "avx512bw",   "avx512vl",
};
static const char *const names_7_ecx[32] = {
    NULL,         "avx512vbmi",  "umip",         "pku",       NULL,
    "waitpkg",    "avx512vbmi2", NULL,           "gfni",      "vaes",
    "vpclmulqdq", "avx512vnni",  "avx512bitalg", NULL,        "avx512-vpopcntdq",
    NULL,         "la57",        NULL,           NULL,        NULL,
    NULL,         NULL,          "rdpid",        NULL,        "bus-lock-detect",
    "cldemote",   NULL,          "movdiri",      "movdir64b", NULL,
    "sgxlc",      "pks",
};
static const char *const names_7_edx[32] = {
    NULL,
    NULL,
    "avx512-4vnniw",
    "avx512-4fmaps",
    "fsrm",
    NULL,
    NULL,
    NULL,
    "avx512-vp2intersect",
    NULL,
    "md-clear",
    NULL,
    NULL,
    NULL,
    "serialize",
    NULL,
    "tsx-ldtrk",
    NULL,
    NULL,
    "arch-lbr",
    NULL,
    NULL,
    "amx-bf16",
    "avx512-fp16",
    "amx-tile",
    "amx-int8",
    "spec-ctrl",
    "stibp",
    "flush-l1d",
    "arch-capabilities",
    "core-capability",
    "ssbd",
};
static const char *const names_7_1_eax[32] = {
    [4] = "avx-vnni", [5] = "avx512-bf16", [10] = "fzrm",     [11] = "fsrs",
    [12] = "fsrc",    [21] = "amx-fp16",   [23] = "avx-ifma",
};
static const char *const names_80000001_edx[32] = {
    [11] = "syscall", [19] = "mp",     [20] = "nx", [22] = "mmxext",   [25] = "fxsr-opt",
    [26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm", [30] = "3dnowext", [31] = "3dnow",
};
static const char *const names_80000001_ecx[32] = {
    "lahf-lm",    "cmp-legacy",  "svm",
    "extapic",    "cr8legacy",   "abm",
    "sse4a",      "misalignsse", "3dnowprefetch",
    "osvw",       "ibs",         "xop",
    "skinit",     "wdt",         NULL,
    "lwp",        "fma4",        "tce",
    NULL,         "nodeid-msr",  NULL,
    "tbm",        "topoext",     "perfctr-core",
    "perfctr-nb",
};
static const char *const names_80000007_edx[32] = {[8] = "invtsc"};
static const char *const names_80000008_ebx[32] = {
    [0] = "clzero",      [2] = "xsaveerptr", [9] = "wbnoinvd",  [12] = "ibpb",
    [14] = "ibrs",       [15] = "amd-stibp", [24] = "amd-ssbd", [25] = "virt-ssbd",
    [26] = "amd-no-ssb", [28] = "amd-psfd",
};
static const char *const names_d_1_eax[32] = {"xsaveopt", "xsavec", "xgetbv1", "xsaves"};
static const char *const names_6_eax[32] = {[2] = "arat"};
static const char *const names_kvm_eax[32] = {
    [0] = "kvmclock",
    [1] = "kvm-nopiodelay",
    [2] = "kvm-mmu",
    [3] = "kvmclock2",
    [4] = "kvm-asyncpf",
    [5] = "kvm-steal-time",
    [6] = "kvm-pv-eoi",
    [7] = "kvm-pv-unhalt",
    [9] = "kvm-pv-tlb-flush",
    [10] = "kvm-asyncpf-vmexit",
    [11] = "kvm-pv-ipi",
    [12] = "kvm-poll-control",
    [13] = "kvm-pv-sched-yield",
    [14] = "kvm-asyncpf-int",
    [15] = "kvm-msi-ext-dest-id",
    [24] = "kvmclock-stable-bit",
};

const FeatureWordInfo feature_words[WORD_COUNT] = {
    [WORD_1_EDX] = {1, 0, false, CPUID_EDX, names_1_edx},
    [WORD_1_ECX] = {1, 0, false, CPUID_ECX, names_1_ecx},
    [WORD_7_EBX] = {7, 0, true, CPUID_EBX, names_7_ebx},
    [WORD_7_ECX] = {7, 0, true, CPUID_ECX, names_7_ecx},
    [WORD_7_EDX] = {7, 0, true, CPUID_EDX, names_7_edx},
    [WORD_7_1_EAX] = {7, 1, true, CPUID_EAX, names_7_1_eax},
    [WORD_8000_0001_EDX] = {0x80000001, 0, false, CPUID_EDX, names_80000001_edx},
    [WORD_8000_0001_ECX] = {0x80000001, 0, false, CPUID_ECX, names_80000001_ecx},
    [WORD_8000_0007_EDX] = {0x80000007, 0, false, CPUID_EDX, names_80000007_edx},
    [WORD_8000_0008_EBX] = {0x80000008, 0, false, CPUID_EBX, names_80000008_ebx},
    [WORD_D_1_EAX] = {0xd, 1, true, CPUID_EAX, names_d_1_eax},
    [WORD_6_EAX] = {6, 0, false, CPUID_EAX, names_6_eax},
    [WORD_KVM_EAX] = {0x40000001, 0, false, CPUID_EAX, names_kvm_eax},
};

static const struct {
    const char *name, *same_as;
} aliases[] = {
    {"sse3", "pni"},
    {"i64", "lm"},
    {"xd", "nx"},
    {"ffxsr", "fxsr-opt"},
    {"cmplegacy", "cmp-legacy"},
    {"pclmuldq", "pclmulqdq"},
    {"kvm-mmu-op", "kvm-mmu"},
    {"sha", "sha-ni"},
    {"lzcnt", "abm"},
};

/* Each of the right needs the one on the left. */
static const struct {
    const char *needed, *dependents;
} dependencies[] = {
    {"sse", "sse2"},
    {"sse2", "pni"},
    {"pni", "ssse3"},
    {"ssse3", "sse4.1"},
    {"sse4.1", "sse4.2"},
    {"xsave", "avx pku xsaveopt xsavec xgetbv1 xsaves mpx"},
    {"avx", "f16c fma avx2 vaes vpclmulqdq xop fma4 avx-vnni"},
    {"avx2", "avx512f"},
    {"avx512f",
     "avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi avx512vbmi2 "
     "avx512vnni avx512bitalg avx512-vpopcntdq avx512-4vnniw avx512-4fmaps avx512-vp2intersect "
     "avx512-fp16 avx512-bf16"},
    {"lm", "pcid la57 lahf-lm"},
};

/* QEMU takes '_' for '-' in names, and "sse4_1" for "sse4.1". */
static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        bool separators = strchr("-_.", *a) && strchr("-_.", *b);
        if (!separators && g_ascii_tolower(*a) != g_ascii_tolower(*b))
            return false;
    }
    return *a == *b;
}

bool feature_find(const char *name, FeatureWord *word, unsigned *bit)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (same_name(aliases[i].name, name))
            name = aliases[i].same_as;
    for (unsigned w = 0; w < WORD_COUNT; w++)
        for (unsigned b = 0; b < 32; b++)
            if (feature_words[w].names[b] && same_name(feature_words[w].names[b], name)) {
                *word = (FeatureWord)w;
                *bit = b;
                return true;
            }
    return false;
}

/* Calls fn for the words of a list. */
static void change(uint32_t *words, const char *names, bool set)
{
    g_auto(GStrv) list = g_strsplit(names, " ", -1);
    for (char **name = list; *name; name++) {
        FeatureWord word;
        unsigned bit;
        if (!feature_find(*name, &word, &bit))
            continue;
        if (set)
            words[word] |= 1u << bit;
        else
            words[word] &= ~(1u << bit);
    }
}

void features_add(uint32_t *words, const char *names)
{
    change(words, names, true);
}

void features_drop_dependents(uint32_t *words)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(dependencies); i++) {
        FeatureWord word;
        unsigned bit;
        if (feature_find(dependencies[i].needed, &word, &bit) && !(words[word] & 1u << bit))
            change(words, dependencies[i].dependents, false);
    }
}

const char **feature_names(void)
{
    GPtrArray *all = g_ptr_array_new();
    for (unsigned w = 0; w < WORD_COUNT; w++)
        for (unsigned b = 0; b < 32; b++)
            if (feature_words[w].names[b])
                g_ptr_array_add(all, (char *)feature_words[w].names[b]);
    g_ptr_array_add(all, NULL);
    return (const char **)g_ptr_array_free(all, FALSE);
}
