/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models: what `-cpu` names, as CPUID leaves.
 *
 *     -cpu host                         what the engine has
 *     -cpu qemu64,+avx,-x2apic          a named model, changed by feature names
 *     -cpu kvm64,aes=on,model-id=Mine   ... and by properties
 *
 * (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.)  Feature names are QEMU's.
 */
#ifndef VMRUN_CPU_MODEL_H
#define VMRUN_CPU_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

typedef struct CpuidEntry {
    uint32_t leaf, subleaf;
    bool indexed; /* the subleaf matters */
    uint32_t reg[4];
} CpuidEntry;

typedef struct CpuModelRequest {
    const char *text;     /* of -cpu, or NULL */
    const char *fallback; /* the engine's default model */
    /* What the engine can offer, by leaf; feature bits that are not in here are left out. */
    const CpuidEntry *supported;
    unsigned supported_count;
    unsigned cores; /* in the one package */
    /* The hypervisor's leaf 0x40000000: up to twelve characters, or NULL. Its feature leaf is taken
     * from what is supported. */
    const char *hypervisor;
} CpuModelRequest;

/*
 * Appends the leaves of the model to out (of CpuidEntry), for the CPU whose APIC id is 0.  refused
 * gets the names of features that were asked for and that the engine lacks, separated by ", ".
 * An unknown model, feature or property is an error that names the nearest right one; so are
 * refused features with "enforce".
 */
bool cpu_model_build(const CpuModelRequest *request, GArray *out, GString *refused, GError **error);
/* Puts the APIC id where CPUID shows it. */
void cpuid_set_apic_id(CpuidEntry *entries, unsigned count, uint32_t apic_id);
/* The entry of a leaf, or NULL. */
const CpuidEntry *cpuid_find(const CpuidEntry *entries, unsigned count, uint32_t leaf,
                             uint32_t subleaf);
/* Whether a feature of that name is set. */
bool cpuid_has(const CpuidEntry *entries, unsigned count, const char *feature);
/* -cpu help: models, features and properties. */
void cpu_models_describe(GString *out);

#endif
