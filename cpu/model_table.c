/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models by QEMU's names: identification as the makers document it, features as lists.  A model
 * has its base's features, too.
 */
#include <strings.h>

#include "model_private.h"

#define INTEL "GenuineIntel"
#define AMD   "AuthenticAMD"

#define FEATURES_PPRO  "fpu de pse tsc msr mce cx8 pge cmov pat fxsr mmx sse sse2 pae sep apic"
#define FEATURES_64BIT "lm syscall nx"

const CpuModel cpu_models[] = {
    {.name = "host", .desc = "all that the engine offers of this processor", .host = true},
    {.name = "max", .desc = "all that the engine can offer", .host = true},
    {"486", "Intel 486", NULL, INTEL, 4, 8, 0, 1, 0, "", "fpu vme pse"},
    {"pentium", "Intel Pentium", "486", INTEL, 5, 4, 3, 1, 0, "", "de tsc msr mce cx8 mmx apic"},
    {"pentium2", "Intel Pentium II", "pentium", INTEL, 6, 5, 2, 2, 0, "",
     "pae sep mtrr pge mca cmov pat pse36 fxsr"},
    {"pentium3", "Intel Pentium III", "pentium2", INTEL, 6, 7, 3, 3, 0, "", "sse"},
    {"athlon", "AMD Athlon", NULL, AMD, 6, 2, 3, 2, 0x80000008, "QEMU Virtual CPU version 2.5+",
     FEATURES_PPRO " vme mtrr mca pse36 mmxext 3dnow 3dnowext"},
    {"qemu32", "32-bit, what every host has", NULL, INTEL, 6, 6, 3, 4, 0x80000004,
     "QEMU Virtual CPU version 2.5+", FEATURES_PPRO " pni"},
    {"kvm32", "32-bit, common KVM processor", NULL, INTEL, 15, 6, 1, 5, 0x80000008,
     "Common 32-bit KVM processor", FEATURES_PPRO " vme mtrr clflush mca pse36 pni"},
    {"qemu64", "64-bit, what every host has", NULL, AMD, 15, 107, 1, 0xd, 0x8000000a,
     "QEMU Virtual CPU version 2.5+",
     FEATURES_PPRO " mtrr clflush mca pse36 pni cx16 x2apic lahf-lm " FEATURES_64BIT},
    {"kvm64", "64-bit, common KVM processor", NULL, INTEL, 15, 6, 1, 0xd, 0x80000008,
     "Common KVM processor",
     FEATURES_PPRO " vme mtrr clflush mca pse36 pni cx16 x2apic " FEATURES_64BIT},
    {"coreduo", "Intel Core Duo", NULL, INTEL, 6, 14, 8, 0xa, 0x80000008,
     "Genuine Intel(R) CPU           T2600  @ 2.16GHz",
     FEATURES_PPRO " vme mtrr clflush mca ss pni nx"},
    {"core2duo", "Intel Core 2 Duo", NULL, INTEL, 6, 15, 11, 0xa, 0x80000008,
     "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
     FEATURES_PPRO " vme mtrr clflush mca pse36 ss pni ssse3 cx16 lahf-lm " FEATURES_64BIT},
    {"n270", "Intel Atom N270", NULL, INTEL, 6, 28, 2, 0xa, 0x80000008,
     "Intel(R) Atom(TM) CPU N270   @ 1.60GHz",
     FEATURES_PPRO " vme mtrr clflush mca ss pni ssse3 movbe nx lahf-lm"},
    {"phenom", "AMD Phenom", NULL, AMD, 16, 2, 3, 5, 0x8000001a,
     "AMD Phenom(tm) 9550 Quad-Core Processor",
     FEATURES_PPRO " vme mtrr clflush mca pse36 pni cx16 popcnt 3dnowext 3dnow mmxext fxsr-opt "
                   "pdpe1gb rdtscp lahf-lm abm sse4a " FEATURES_64BIT},
    {"Conroe", "Intel Core 2 (Merom, 2006)", NULL, INTEL, 6, 15, 3, 0xa, 0x80000008,
     "Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
     FEATURES_PPRO " vme mtrr clflush mca pse36 pni ssse3 x2apic lahf-lm " FEATURES_64BIT},
    {"Penryn", "Intel Core 2 (Penryn, 2007)", "Conroe", INTEL, 6, 23, 3, 0xa, 0x80000008,
     "Intel Core 2 Duo P9xxx (Penryn Class Core 2)", "cx16 sse4.1"},
    {"Nehalem", "Intel Core i7 9xx (2008)", "Penryn", INTEL, 6, 26, 3, 0xb, 0x80000008,
     "Intel Core i7 9xx (Nehalem Class Core i7)", "sse4.2 popcnt"},
    {"Westmere", "Intel Xeon E56xx (2010)", "Nehalem", INTEL, 6, 44, 1, 0xb, 0x80000008,
     "Westmere E56xx/L56xx/X56xx (Nehalem-C)", "aes arat pclmulqdq"},
    {"SandyBridge", "Intel Xeon E312xx (2011)", "Westmere", INTEL, 6, 42, 1, 0xd, 0x80000008,
     "Intel Xeon E312xx (Sandy Bridge)", "avx xsave xsaveopt tsc-deadline rdtscp"},
    {"IvyBridge", "Intel Xeon E3-12xx v2 (2012)", "SandyBridge", INTEL, 6, 58, 9, 0xd, 0x80000008,
     "Intel Xeon E3-12xx v2 (Ivy Bridge)", "fsgsbase smep erms f16c rdrand"},
    {"Haswell", "Intel Core (2013), no TSX", "IvyBridge", INTEL, 6, 60, 1, 0xd, 0x80000008,
     "Intel Core Processor (Haswell, no TSX)", "fma movbe pcid bmi1 avx2 bmi2 invpcid abm"},
    {"Broadwell", "Intel Core (2014), no TSX", "Haswell", INTEL, 6, 61, 2, 0xd, 0x80000008,
     "Intel Core Processor (Broadwell, no TSX)", "rdseed adx smap 3dnowprefetch"},
    {"Skylake-Client", "Intel Core (2015), no TSX", "Broadwell", INTEL, 6, 94, 3, 0xd, 0x80000008,
     "Intel Core Processor (Skylake, no TSX, IBRS)", "xsavec xgetbv1 clflushopt"},
    {"Skylake-Server", "Intel Xeon (2017), no TSX", "Skylake-Client", INTEL, 6, 85, 4, 0xd,
     0x80000008, "Intel Xeon Processor (Skylake, no TSX, IBRS)",
     "pdpe1gb clwb avx512f avx512dq avx512cd avx512bw avx512vl"},
    {"Cascadelake-Server", "Intel Xeon (2019), no TSX", "Skylake-Server", INTEL, 6, 85, 6, 0xd,
     0x80000008, "Intel Xeon Processor (Cascadelake)", "avx512vnni spec-ctrl ssbd"},
    {"Icelake-Server", "Intel Xeon (2021), no TSX", "Cascadelake-Server", INTEL, 6, 134, 0, 0xd,
     0x80000008, "Intel Xeon Processor (Icelake)",
     "avx512ifma sha-ni avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512bitalg "
     "avx512-vpopcntdq la57 wbnoinvd"},
    {"Opteron_G1", "AMD Opteron 240 (2003)", NULL, AMD, 15, 6, 1, 5, 0x80000008,
     "AMD Opteron 240 (Gen 1 Class Opteron)",
     FEATURES_PPRO " vme mtrr clflush mca pse36 pni " FEATURES_64BIT},
    {"Opteron_G2", "AMD Opteron 22xx (2006)", "Opteron_G1", AMD, 15, 6, 1, 5, 0x80000008,
     "AMD Opteron 22xx (Gen 2 Class Opteron)", "cx16 lahf-lm"},
    {"Opteron_G3", "AMD Opteron 23xx (2007)", "Opteron_G2", AMD, 16, 2, 3, 5, 0x80000008,
     "AMD Opteron 23xx (Gen 3 Class Opteron)", "popcnt rdtscp abm sse4a misalignsse"},
    {"EPYC", "AMD EPYC (Zen, 2017)", NULL, AMD, 23, 1, 2, 0xd, 0x8000001e, "AMD EPYC Processor",
     FEATURES_PPRO " vme mtrr clflush mca pse36 pni pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 movbe "
                   "popcnt aes xsave avx f16c rdrand mmxext fxsr-opt pdpe1gb rdtscp lahf-lm "
                   "cr8legacy abm sse4a misalignsse 3dnowprefetch osvw fsgsbase bmi1 avx2 smep "
                   "bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 arat x2apic "
                   "tsc-deadline " FEATURES_64BIT},
    {"EPYC-Rome", "AMD EPYC (Zen 2, 2019)", "EPYC", AMD, 23, 49, 0, 0xd, 0x8000001e,
     "AMD EPYC-Rome Processor", "umip rdpid clwb clzero xsaveerptr wbnoinvd ibpb amd-stibp"},
    {"EPYC-Milan", "AMD EPYC (Zen 3, 2021)", "EPYC-Rome", AMD, 25, 1, 1, 0xd, 0x8000001e,
     "AMD EPYC-Milan Processor",
     "pcid invpcid pku erms fsrm vaes vpclmulqdq spec-ctrl amd-ssbd ibrs"},
    {.name = NULL},
};

const CpuModel *cpu_model_find(const char *name)
{
    for (const CpuModel *model = cpu_models; model->name; model++)
        if (!strcasecmp(model->name, name))
            return model;
    return NULL;
}

void cpu_model_features(const CpuModel *model, uint32_t *words)
{
    for (; model; model = model->base ? cpu_model_find(model->base) : NULL)
        if (model->features)
            features_add(words, model->features);
}
