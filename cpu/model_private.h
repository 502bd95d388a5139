/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables behind cpu/model.c: feature bits by name, models by name. */
#ifndef VMRUN_CPU_MODEL_PRIVATE_H
#define VMRUN_CPU_MODEL_PRIVATE_H

#include "cpu/model.h"

/* The CPUID registers that hold feature bits. */
typedef enum {
    WORD_1_EDX,
    WORD_1_ECX,
    WORD_7_EBX,
    WORD_7_ECX,
    WORD_7_EDX,
    WORD_7_1_EAX,
    WORD_8000_0001_EDX,
    WORD_8000_0001_ECX,
    WORD_8000_0007_EDX,
    WORD_8000_0008_EBX,
    WORD_D_1_EAX,
    WORD_6_EAX,
    WORD_KVM_EAX,
    WORD_COUNT,
} FeatureWord;

typedef struct FeatureWordInfo {
    uint32_t leaf, subleaf;
    bool indexed;
    uint8_t reg;              /* CPUID_EAX ... */
    const char *const *names; /* 32, NULL where a bit has none */
} FeatureWordInfo;

extern const FeatureWordInfo feature_words[WORD_COUNT];

/* Finds a feature by QEMU's name ("sse4.1" and "sse4_1" are the same). */
bool feature_find(const char *name, FeatureWord *word, unsigned *bit);
/* Sets the bits of a list of names separated by spaces; the lists are the tables' own. */
void features_add(uint32_t *words, const char *names);
/* Clears every feature that cannot be without one that is clear. */
void features_drop_dependents(uint32_t *words);
/* All names, NULL-terminated; g_free() the array only. */
const char **feature_names(void);

typedef struct CpuModel {
    const char *name, *desc;
    const char *base; /* the model whose features it has too, or NULL */
    const char *vendor;
    unsigned family, model, stepping;
    uint32_t level, xlevel; /* highest basic and extended leaf */
    const char *model_id;
    const char *features;
    bool host; /* everything the engine offers */
} CpuModel;

extern const CpuModel cpu_models[]; /* ends with a NULL name */
const CpuModel *cpu_model_find(const char *name);
/* The features of the model and its bases. */
void cpu_model_features(const CpuModel *model, uint32_t *words);

#endif
