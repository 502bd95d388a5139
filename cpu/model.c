/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the text of -cpu to CPUID leaves.  (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.)
 *
 * One package with `cores` cores of one thread each; the APIC id is the core's number.
 */
#include "cpu/model.h"

#include <string.h>
#include <strings.h>

#include "model_private.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/options.h"

#define LEAF_EXTENDED   0x80000000u
#define LEAF_HYPERVISOR 0x40000000u
/* Bits of 0x80000001 EDX that on AMD repeat those of leaf 1 EDX. */
#define AMD_REPEATED 0x0183f3ffu

enum {
    LEGACY_CACHES = 0x002c307d, /* leaf 2: L1 32 KiB + 32 KiB, L2 2 MiB */
    LEGACY_L3 = 0x4d,           /* 16 MiB */
    XCR0_X87 = 1,
    XCR0_SSE = 2,
    XCR0_AVX = 4,
    XCR0_MPX = 0x18,
    XCR0_AVX512 = 0xe0,
    XCR0_PKU = 0x200,
};

/* A model in the making. */
typedef struct Build {
    const CpuModelRequest *request;
    const CpuModel *model;
    uint32_t words[WORD_COUNT];
    uint32_t supported[WORD_COUNT];
    char vendor[13], model_id[48];
    unsigned family, model_number, stepping, phys_bits;
    uint32_t level, xlevel;
    bool show_hypervisor, enforce;
    GArray *out;
} Build;

/* ---- Entries ---- */

static const CpuidEntry *find(const CpuidEntry *entries, unsigned count, uint32_t leaf,
                              uint32_t subleaf)
{
    for (unsigned i = 0; i < count; i++)
        if (entries[i].leaf == leaf && (!entries[i].indexed || entries[i].subleaf == subleaf))
            return &entries[i];
    return NULL;
}

const CpuidEntry *cpuid_find(const CpuidEntry *entries, unsigned count, uint32_t leaf,
                             uint32_t subleaf)
{
    return find(entries, count, leaf, subleaf);
}

bool cpuid_has(const CpuidEntry *entries, unsigned count, const char *feature)
{
    FeatureWord word;
    unsigned bit;
    if (!feature_find(feature, &word, &bit))
        return false;
    const FeatureWordInfo *info = &feature_words[word];
    const CpuidEntry *entry = find(entries, count, info->leaf, info->subleaf);
    return entry && (entry->reg[info->reg] & 1u << bit);
}

/* What the engine offers of a register; 0 if nothing. */
static uint32_t offered(const Build *b, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    const CpuidEntry *entry =
        find(b->request->supported, b->request->supported_count, leaf, subleaf);
    return entry ? entry->reg[reg] : 0;
}

/* The entry of the model, made if need be. */
static CpuidEntry *put(Build *b, uint32_t leaf, uint32_t subleaf, bool indexed)
{
    for (guint i = 0; i < b->out->len; i++) {
        CpuidEntry *entry = &g_array_index(b->out, CpuidEntry, i);
        if (entry->leaf == leaf && (!indexed || entry->subleaf == subleaf)) {
            entry->indexed = indexed;
            return entry;
        }
    }
    CpuidEntry fresh = {.leaf = leaf, .subleaf = subleaf, .indexed = indexed};
    g_array_append_val(b->out, fresh);
    return &g_array_index(b->out, CpuidEntry, b->out->len - 1);
}

static void put_all(Build *b, uint32_t leaf, uint32_t subleaf, bool indexed, const uint32_t reg[4])
{
    memcpy(put(b, leaf, subleaf, indexed)->reg, reg, sizeof(uint32_t[4]));
}

/* ---- The text ---- */

static bool no_such_model(const char *name, GError **error)
{
    const char *words[64];
    unsigned count = 0;
    for (const CpuModel *model = cpu_models; model->name && count < 63; model++)
        words[count++] = model->name;
    words[count] = NULL;
    const char *near = nearest_word(name, words);
    if (near)
        return fail(error, "-cpu: there is no model '%s'; did you mean '%s'?", name, near);
    return fail(error, "-cpu: there is no model '%s'; -cpu help lists them", name);
}

static const char *const property_names[] = {"family",    "model", "stepping", "vendor",
                                             "model-id",  "level", "xlevel",   "kvm",
                                             "phys-bits", "check", "enforce",  NULL};

static bool no_such_feature(const char *name, GError **error)
{
    g_autofree const char **features = feature_names();
    const char *near = nearest_word(name, features);
    if (!near)
        near = nearest_word(name, property_names);
    if (near)
        return fail(error, "-cpu: there is no feature '%s'; did you mean '%s'?", name, near);
    return fail(error, "-cpu: there is no feature '%s'; -cpu help lists them", name);
}

static bool set_number(const char *key, const char *value, uint64_t max, uint32_t *out,
                       GError **error)
{
    uint64_t number;
    if (!value || !parse_uint(value, &number) || number > max)
        return fail(error, "-cpu: %s=%s is not a number up to %" G_GUINT64_FORMAT, key,
                    value ? value : "", max);
    *out = (uint32_t)number;
    return true;
}

static bool set_text(const char *key, const char *value, char *out, size_t size, GError **error)
{
    if (!value || strlen(value) >= size)
        return fail(error, "-cpu: %s takes up to %zu characters", key, size - 1);
    g_strlcpy(out, value, size);
    return true;
}

static bool set_switch(const char *key, const char *value, bool *out, GError **error)
{
    if (value && !parse_bool(value, out))
        return fail(error, "-cpu: %s=%s is neither on nor off", key, value);
    if (!value)
        *out = true;
    return true;
}

/* A property that is no feature; *known tells whether there is one of that name. */
static bool set_property(Build *b, const char *key, const char *value, bool *known, GError **error)
{
    bool check;
    *known = true;
    if (!strcmp(key, "family"))
        return set_number(key, value, 0xff + 0xf, &b->family, error);
    if (!strcmp(key, "model"))
        return set_number(key, value, 0xff, &b->model_number, error);
    if (!strcmp(key, "stepping"))
        return set_number(key, value, 0xf, &b->stepping, error);
    if (!strcmp(key, "level"))
        return set_number(key, value, UINT32_MAX, &b->level, error);
    if (!strcmp(key, "xlevel"))
        return set_number(key, value, UINT32_MAX, &b->xlevel, error);
    if (!strcmp(key, "phys-bits"))
        return set_number(key, value, 52, &b->phys_bits, error);
    if (!strcmp(key, "model-id"))
        return set_text(key, value, b->model_id, sizeof(b->model_id), error);
    if (!strcmp(key, "kvm"))
        return set_switch(key, value, &b->show_hypervisor, error);
    if (!strcmp(key, "enforce"))
        return set_switch(key, value, &b->enforce, error);
    if (!strcmp(key, "check")) /* what is refused is always reported */
        return set_switch(key, value, &check, error);
    if (!strcmp(key, "vendor")) {
        if (!value || strlen(value) != 12)
            return fail(error, "-cpu: vendor takes 12 characters, as GenuineIntel");
        return set_text(key, value, b->vendor, sizeof(b->vendor), error);
    }
    *known = false;
    return true;
}

/* One word after the model's name: "+avx", "-avx", "avx=on", "avx", "model-id=...". */
static bool apply_word(Build *b, const char *text, GError **error)
{
    char sign = *text == '+' || *text == '-' ? *text++ : 0;
    const char *equals = sign ? NULL : strchr(text, '=');
    g_autofree char *key = equals ? g_strndup(text, (gsize)(equals - text)) : g_strdup(text);
    const char *value = equals ? equals + 1 : NULL;
    FeatureWord word;
    unsigned bit;
    bool on = sign != '-';
    if (!feature_find(key, &word, &bit)) {
        bool known = false;
        if (!sign && !set_property(b, key, value, &known, error))
            return false;
        return known || no_such_feature(key, error);
    }
    if (!sign && !set_switch(key, value, &on, error))
        return false;
    if (on)
        b->words[word] |= 1u << bit;
    else
        b->words[word] &= ~(1u << bit);
    return true;
}

/* ---- Starting values ---- */

static void read_supported(Build *b)
{
    for (unsigned w = 0; w < WORD_COUNT; w++)
        b->supported[w] =
            offered(b, feature_words[w].leaf, feature_words[w].subleaf, feature_words[w].reg);
}

static void start_host(Build *b)
{
    uint32_t signature = offered(b, 1, 0, CPUID_EAX);
    const unsigned order[3] = {CPUID_EBX, CPUID_EDX, CPUID_ECX};
    memcpy(b->words, b->supported, sizeof(b->words));
    /* A guest that trusts its TSC for ever could not be moved: only on demand. */
    b->words[WORD_8000_0007_EDX] &= ~(1u << 8);
    for (unsigned i = 0; i < 3; i++)
        st32_le(b->vendor + 4 * i, offered(b, 0, 0, order[i]));
    /* Intel's MSR: the engine may have it for any model, AMD's processors do not. */
    if (!strcmp(b->vendor, "AuthenticAMD"))
        b->words[WORD_7_EDX] &= ~(1u << 29);
    for (unsigned i = 0; i < 12; i++)
        st32_le((uint8_t *)b->model_id + 4 * i, offered(b, LEAF_EXTENDED + 2 + i / 4, 0, i % 4));
    b->model_id[sizeof(b->model_id) - 1] = 0;
    b->stepping = signature & 0xf;
    b->family = bits_get(signature, 8, 4);
    b->model_number = bits_get(signature, 4, 4);
    if (b->family == 6 || b->family == 15)
        b->model_number |= bits_get(signature, 16, 4) << 4;
    if (b->family == 15)
        b->family += bits_get(signature, 20, 8);
    b->level = MAX(offered(b, 0, 0, CPUID_EAX), 0xb);
    b->xlevel = offered(b, LEAF_EXTENDED, 0, CPUID_EAX);
    b->phys_bits = offered(b, LEAF_EXTENDED + 8, 0, CPUID_EAX) & 0xff;
    g_array_append_vals(b->out, b->request->supported, b->request->supported_count);
}

static void start_named(Build *b)
{
    const CpuModel *model = b->model;
    cpu_model_features(model, b->words);
    b->words[WORD_KVM_EAX] = b->supported[WORD_KVM_EAX];
    g_strlcpy(b->vendor, model->vendor, sizeof(b->vendor));
    g_strlcpy(b->model_id, model->model_id, sizeof(b->model_id));
    b->family = model->family;
    b->model_number = model->model;
    b->stepping = model->stepping;
    b->level = model->level;
    b->xlevel = model->xlevel;
    unsigned host_bits = offered(b, LEAF_EXTENDED + 8, 0, CPUID_EAX) & 0xff;
    b->phys_bits = host_bits ? MIN(host_bits, 40) : 40;
}

/* Bits that describe the machine and not the processor: the host's do not count, and any may be
 * asked for. */
static void set_machine_bits(Build *b)
{
    uint32_t owned[WORD_COUNT] = {0}, words[WORD_COUNT] = {0};
    bool many = b->request->cores > 1;
    bool amd = !strcmp(b->vendor, "AuthenticAMD");
    features_add(owned, "hypervisor ht cmp-legacy");
    if (b->request->hypervisor)
        features_add(words, "hypervisor");
    if (many && b->family > 4)
        features_add(words, "ht");
    if (many && amd && b->xlevel >= LEAF_EXTENDED + 8)
        features_add(words, "cmp-legacy");
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        b->words[w] = (b->words[w] & ~owned[w]) | words[w];
        b->supported[w] |= owned[w];
    }
}

static void list_refused(const Build *b, GString *refused)
{
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        uint32_t missing = b->words[w] & ~b->supported[w];
        for (unsigned bit = 0; bit < 32; bit++)
            if ((missing & 1u << bit) && feature_words[w].names[bit])
                g_string_append_printf(refused, "%s%s", refused->len ? ", " : "",
                                       feature_words[w].names[bit]);
    }
}

/* ---- Leaves ---- */

static uint32_t signature(const Build *b)
{
    uint32_t family = MIN(b->family, 15), extended = b->family > 15 ? b->family - 15 : 0;
    return b->stepping | (b->model_number & 0xf) << 4 | family << 8 | (b->model_number >> 4) << 16 |
           extended << 20;
}

static void put_vendor(const Build *b, CpuidEntry *entry)
{
    entry->reg[CPUID_EBX] = ld32_le(b->vendor);
    entry->reg[CPUID_EDX] = ld32_le(b->vendor + 4);
    entry->reg[CPUID_ECX] = ld32_le(b->vendor + 8);
}

static void put_words(Build *b)
{
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        const FeatureWordInfo *info = &feature_words[w];
        bool hypervisor = info->leaf == LEAF_HYPERVISOR + 1;
        bool extended = info->leaf >= LEAF_EXTENDED;
        if (hypervisor ? !b->show_hypervisor : info->leaf > (extended ? b->xlevel : b->level))
            continue;
        put(b, info->leaf, info->subleaf, info->indexed)->reg[info->reg] = b->words[w];
    }
}

/* Leaf 4 and 0x8000001d: who shares a cache.  The last level is the package's. */
static void share_caches(Build *b, uint32_t leaf)
{
    unsigned cores = b->request->cores;
    for (guint i = 0; i < b->out->len; i++) {
        CpuidEntry *entry = &g_array_index(b->out, CpuidEntry, i);
        if (entry->leaf != leaf || !(entry->reg[CPUID_EAX] & 0x1f))
            continue;
        unsigned cache_level = bits_get(entry->reg[CPUID_EAX], 5, 3);
        uint32_t shared = cache_level >= 3 ? cores - 1 : 0;
        entry->reg[CPUID_EAX] &= 0x3fff;
        entry->reg[CPUID_EAX] |= MIN(shared, 0xfff) << 14;
        if (leaf == 4)
            entry->reg[CPUID_EAX] |= MIN(cores - 1, 0x3f) << 26;
    }
}

/* type 1 data, 2 instructions, 3 both; KiB and ways; lines of 64 bytes. */
static void put_cache(Build *b, uint32_t subleaf, unsigned type, unsigned cache_level, uint32_t kib,
                      uint32_t ways)
{
    uint32_t reg[4] = {type | cache_level << 5 | 1 << 8, (ways - 1) << 22 | 63,
                       kib * 1024 / 64 / ways - 1, cache_level == 3 ? 2u : 1u};
    put_all(b, 4, subleaf, true, reg);
}

static void put_named_caches(Build *b)
{
    if (strcmp(b->vendor, "AuthenticAMD")) {
        if (b->level >= 2)
            put_all(b, 2, 0, false, (uint32_t[4]){1, 0, LEGACY_L3, LEGACY_CACHES});
        if (b->level < 4)
            return;
        put_cache(b, 0, 1, 1, 32, 8);
        put_cache(b, 1, 2, 1, 32, 8);
        put_cache(b, 2, 3, 2, 4096, 16);
        put_cache(b, 3, 3, 3, 16384, 16);
        put_all(b, 4, 4, true, (uint32_t[4]){0});
        return;
    }
    /* TLBs of 255 entries; L1 64 KiB 2-way, L2 512 KiB 16-way. */
    if (b->xlevel >= LEAF_EXTENDED + 5)
        put_all(b, LEAF_EXTENDED + 5, 0, false,
                (uint32_t[4]){0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140});
    if (b->xlevel >= LEAF_EXTENDED + 6)
        put_all(b, LEAF_EXTENDED + 6, 0, false,
                (uint32_t[4]){0, 0x42004200, 0x02008140, 0x00808140});
}

/* Leaf 0xb: a level of threads, a level of cores (Intel SDM vol. 3, 9.9.3). */
static void put_topology(Build *b)
{
    unsigned cores = b->request->cores, shift = 0;
    while (1u << shift < cores)
        shift++;
    if (b->level >= 0xb) {
        put_all(b, 0xb, 0, true, (uint32_t[4]){0, 1, 1 << 8, 0});
        put_all(b, 0xb, 1, true, (uint32_t[4]){shift, cores, 2 << 8 | 1, 0});
        put_all(b, 0xb, 2, true, (uint32_t[4]){0, 0, 2, 0});
    }
    if (b->xlevel >= LEAF_EXTENDED + 8 && cores > 1)
        put(b, LEAF_EXTENDED + 8, 0, false)->reg[CPUID_ECX] = (cores - 1) | shift << 12;
    share_caches(b, 4);
    share_caches(b, LEAF_EXTENDED + 0x1d);
}

static uint32_t xcr0_mask(const Build *b)
{
    uint32_t mask = XCR0_X87 | XCR0_SSE, words[WORD_COUNT] = {0};
    static const struct {
        const char *feature;
        uint32_t bits;
    } parts[] = {{"avx", XCR0_AVX}, {"mpx", XCR0_MPX}, {"avx512f", XCR0_AVX512}, {"pku", XCR0_PKU}};
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        FeatureWord word;
        unsigned bit;
        memcpy(words, b->words, sizeof(words));
        if (feature_find(parts[i].feature, &word, &bit) && (words[word] & 1u << bit))
            mask |= parts[i].bits;
    }
    return mask & offered(b, 0xd, 0, CPUID_EAX);
}

static void remove_leaf(Build *b, uint32_t leaf)
{
    for (guint i = b->out->len; i-- > 0;)
        if (g_array_index(b->out, CpuidEntry, i).leaf == leaf)
            g_array_remove_index(b->out, i);
}

/* Leaf 0xd: sizes and places are the host's, for the states that the features ask for.  KVM keeps
 * EBX of subleaves 0 and 1 at what the guest has enabled. */
static void put_xsave(Build *b)
{
    remove_leaf(b, 0xd);
    if (b->level < 0xd || !(b->words[WORD_1_ECX] & 1u << 26))
        return;
    uint32_t mask = xcr0_mask(b), size = 576;
    for (unsigned i = 2; i < 32; i++) {
        const CpuidEntry *part = find(b->request->supported, b->request->supported_count, 0xd, i);
        if (!(mask & 1u << i) || !part)
            continue;
        put_all(b, 0xd, i, true, part->reg);
        size = MAX(size, part->reg[CPUID_EAX] + part->reg[CPUID_EBX]);
    }
    put_all(b, 0xd, 0, true, (uint32_t[4]){mask, size, size, 0});
    put_all(b, 0xd, 1, true, (uint32_t[4]){b->words[WORD_D_1_EAX], 0, 0, 0});
}

static void put_hypervisor(Build *b)
{
    remove_leaf(b, LEAF_HYPERVISOR);
    if (!b->show_hypervisor) {
        remove_leaf(b, LEAF_HYPERVISOR + 1);
        return;
    }
    char name[13] = {0};
    g_strlcpy(name, b->request->hypervisor, sizeof(name));
    put_all(
        b, LEAF_HYPERVISOR, 0, false,
        (uint32_t[4]){LEAF_HYPERVISOR + 1, ld32_le(name), ld32_le(name + 4), ld32_le(name + 8)});
}

static void put_extended(Build *b)
{
    bool amd = !strcmp(b->vendor, "AuthenticAMD");
    if (b->xlevel < LEAF_EXTENDED)
        return;
    CpuidEntry *top = put(b, LEAF_EXTENDED, 0, false);
    top->reg[CPUID_EAX] = b->xlevel;
    put_vendor(b, top);
    if (b->xlevel >= LEAF_EXTENDED + 1) {
        CpuidEntry *features = put(b, LEAF_EXTENDED + 1, 0, false);
        features->reg[CPUID_EAX] = signature(b);
        if (amd)
            features->reg[CPUID_EDX] |= b->words[WORD_1_EDX] & AMD_REPEATED;
    }
    for (unsigned i = 0; i < 12 && b->xlevel >= LEAF_EXTENDED + 4; i++)
        put(b, LEAF_EXTENDED + 2 + i / 4, 0, false)->reg[i % 4] =
            ld32_le((const uint8_t *)b->model_id + 4 * i);
    if (b->xlevel >= LEAF_EXTENDED + 8) {
        bool wide = b->words[WORD_8000_0001_EDX] & 1u << 29;
        bool la57 = b->words[WORD_7_ECX] & 1u << 16;
        uint32_t linear = !wide ? 32 : la57 ? 57 : 48;
        put(b, LEAF_EXTENDED + 8, 0, false)->reg[CPUID_EAX] =
            linear << 8 | (wide ? b->phys_bits : MIN(b->phys_bits, 36));
    }
}

static void put_basic(Build *b)
{
    CpuidEntry *first = put(b, 0, 0, false);
    first->reg[CPUID_EAX] = b->level;
    put_vendor(b, first);
    CpuidEntry *one = put(b, 1, 0, false);
    one->reg[CPUID_EAX] = signature(b);
    one->reg[CPUID_EBX] = 8 << 8 | MIN(b->request->cores, 255) << 16;
    if (b->level >= 7)
        put(b, 7, 0, true)->reg[CPUID_EAX] = b->words[WORD_7_1_EAX] != 0;
}

static int by_leaf(gconstpointer a, gconstpointer b)
{
    const CpuidEntry *x = a, *y = b;
    if (x->leaf != y->leaf)
        return x->leaf < y->leaf ? -1 : 1;
    return x->subleaf < y->subleaf ? -1 : x->subleaf > y->subleaf;
}

static void put_leaves(Build *b)
{
    put_basic(b);
    put_words(b);
    if (!b->model->host)
        put_named_caches(b);
    put_extended(b);
    put_topology(b);
    put_xsave(b);
    put_hypervisor(b);
    g_array_sort(b->out, by_leaf);
    cpuid_set_apic_id((CpuidEntry *)(void *)b->out->data, b->out->len, 0);
}

bool cpu_model_build(const CpuModelRequest *request, GArray *out, GString *refused, GError **error)
{
    const char *text = request->text ? request->text : request->fallback;
    g_auto(GStrv) list = g_strsplit(text, ",", -1);
    Build b = {.request = request, .out = out, .show_hypervisor = request->hypervisor != NULL};
    b.model = list[0] ? cpu_model_find(list[0]) : NULL;
    if (!b.model)
        return no_such_model(list[0] ? list[0] : "", error);
    read_supported(&b);
    if (b.model->host)
        start_host(&b);
    else
        start_named(&b);
    set_machine_bits(&b);
    for (char **word = list + 1; *word; word++)
        if (**word && !apply_word(&b, *word, error))
            return false;
    b.show_hypervisor &= request->hypervisor != NULL;
    list_refused(&b, refused);
    if (b.enforce && refused->len)
        return fail(error, "-cpu %s: this host lacks %s, and 'enforce' asks for all features",
                    list[0], refused->str);
    for (unsigned w = 0; w < WORD_COUNT; w++)
        b.words[w] &= b.supported[w];
    features_drop_dependents(b.words);
    put_leaves(&b);
    return true;
}

void cpuid_set_apic_id(CpuidEntry *entries, unsigned count, uint32_t apic_id)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t *reg = entries[i].reg;
        switch (entries[i].leaf) {
        case 1:
            reg[CPUID_EBX] = (reg[CPUID_EBX] & 0xffffff) | apic_id << 24;
            break;
        case 0xb:
        case 0x1f:
            reg[CPUID_EDX] = apic_id;
            break;
        case LEAF_EXTENDED + 0x1e:
            reg[CPUID_EAX] = apic_id;
            reg[CPUID_EBX] = apic_id & 0xff;
            reg[CPUID_ECX] = 0;
            break;
        }
    }
}

void cpu_models_describe(GString *out)
{
    g_string_append(out, "CPU models (-cpu MODEL[,+FEATURE][,-FEATURE][,FEATURE=on|off]...):\n");
    for (const CpuModel *model = cpu_models; model->name; model++)
        g_string_append_printf(out, "  %-20s %s\n", model->name, model->desc);
    g_string_append(out, "\nFeatures:\n");
    g_autofree const char **names = feature_names();
    unsigned column = 0;
    for (const char **name = names; *name; name++) {
        unsigned length = (unsigned)strlen(*name) + 1;
        if (column + length > 76 || !column) {
            g_string_append(out, column ? "\n " : " ");
            column = 1;
        }
        g_string_append_printf(out, " %s", *name);
        column += length;
    }
    g_string_append(out, "\n\nProperties:\n ");
    for (unsigned i = 0; property_names[i]; i++)
        g_string_append_printf(out, " %s", property_names[i]);
    g_string_append_c(out, '\n');
}
