/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -cpu: models, features, properties, what is refused, and the leaves that come out. */
#include <string.h>

#include "cpu/model.h"

/* An engine's offer: an AMD processor of family 25 with AVX-512, without SVM. */
static const CpuidEntry offer[] = {
    {0, 0, false, {0x10, 0x68747541, 0x444d4163, 0x69746e65}},
    {1, 0, false, {0x00a10f11, 0x00000800, 0xf7fa3203, 0x178bfbff}},
    {4, 0, true, {0}},
    {7, 0, true, {1, 0xf1bf07a9, 0x00405fce, 0x30000010}},
    {7, 1, true, {0x20, 0, 0, 0}},
    {0xd, 0, true, {0xe7, 0x980, 0x980, 0}},
    {0xd, 1, true, {0xf, 0x980, 0, 0}},
    {0xd, 2, true, {0x100, 0x240, 0, 0}},
    {0xd, 5, true, {0x40, 0x340, 0, 0}},
    {0xd, 6, true, {0x200, 0x380, 0, 0}},
    {0xd, 7, true, {0x400, 0x580, 0, 0}},
    {0x40000000, 0, false, {0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}},
    {0x40000001, 0, false, {0x01007efb, 0, 0, 0}},
    {0x80000000, 0, false, {0x80000021, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, false, {0x00a10f11, 0x40000000, 0x004003f3, 0x2fd3fbff}},
    {0x80000002, 0, false, {0x20444d41, 0x43595045, 0, 0}},
    {0x80000007, 0, false, {0, 0, 0, 0x100}},
    {0x80000008, 0, false, {0x3030, 0x1005, 0x7001, 0}},
    {0x8000001d, 3, true, {0x4163, 0x03c0003f, 0x7fff, 1}},
    {0x8000001e, 0, false, {0, 0, 0, 0}},
};

static GArray *leaves;
static GString *refused;
static GError *error;

static bool build(const char *text, unsigned cores)
{
    CpuModelRequest request = {
        .text = text,
        .fallback = "host",
        .supported = offer,
        .supported_count = G_N_ELEMENTS(offer),
        .cores = cores,
        .hypervisor = "KVMKVMKVM",
    };
    if (leaves)
        g_array_free(leaves, TRUE);
    if (refused)
        g_string_free(refused, TRUE);
    g_clear_error(&error);
    leaves = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    refused = g_string_new(NULL);
    return cpu_model_build(&request, leaves, refused, &error);
}

static const CpuidEntry *all(void)
{
    return (const CpuidEntry *)(const void *)leaves->data;
}

static const uint32_t *leaf(uint32_t number, uint32_t subleaf)
{
    const CpuidEntry *entry = cpuid_find(all(), leaves->len, number, subleaf);
    g_assert_nonnull(entry);
    return entry->reg;
}

static bool has(const char *feature)
{
    return cpuid_has(all(), leaves->len, feature);
}

static void expect_error(const char *text, const char *part)
{
    g_assert_false(build(text, 1));
    if (!strstr(error->message, part))
        g_error("'%s' does not mention '%s'", error->message, part);
}

static void test_host(void)
{
    g_assert_true(build(NULL, 1));
    g_assert_cmpstr(refused->str, ==, "");
    g_assert_cmphex(leaf(1, 0)[CPUID_EAX], ==, 0x00a10f11);
    g_assert_cmphex(leaf(0, 0)[CPUID_EBX], ==, 0x68747541);
    g_assert_cmphex(leaf(0x80000002, 0)[CPUID_EAX], ==, 0x20444d41);
    g_assert_true(has("avx512f"));
    g_assert_true(has("avx512-bf16"));
    g_assert_true(has("hypervisor"));
    g_assert_false(has("invtsc")); /* only on demand */
    g_assert_false(has("ht"));
    g_assert_false(has("arch-capabilities")); /* Intel's, though the engine has it */
    g_assert_cmphex(leaf(0x40000000, 0)[CPUID_EBX], ==, 0x4b4d564b);
    g_assert_cmphex(leaf(0x40000001, 0)[CPUID_EAX], ==, 0x01007efb);
    g_assert_cmphex(leaf(0xd, 0)[CPUID_EAX], ==, 0xe7);
    g_assert_cmphex(leaf(0xd, 0)[CPUID_ECX], ==, 0x980);
    g_assert_cmphex(leaf(0x80000008, 0)[CPUID_EAX] & 0xff, ==, 0x30);
    g_assert_true(build("max,+invtsc", 1));
    g_assert_true(has("invtsc"));
}

static void test_named(void)
{
    g_assert_true(build("qemu64", 1));
    g_assert_cmphex(leaf(0, 0)[CPUID_EAX], ==, 0xd);
    g_assert_cmphex(leaf(1, 0)[CPUID_EAX], ==, 0x00060fb1); /* family 15, model 107 */
    g_assert_true(has("lm") && has("nx") && has("sse2") && has("cx16"));
    g_assert_false(has("avx") || has("aes") || has("xsave"));
    /* AMD repeats leaf 1's bits. */
    g_assert_cmphex(leaf(0x80000001, 0)[CPUID_EDX] & 1, ==, 1);
    g_assert_null(cpuid_find(all(), leaves->len, 0xd, 0));

    g_assert_true(build("486", 1));
    g_assert_cmphex(leaf(1, 0)[CPUID_EAX], ==, 0x00000480);
    g_assert_null(cpuid_find(all(), leaves->len, 0x80000000, 0));
    g_assert_false(has("cx8") || has("tsc"));

    g_assert_true(build("haswell,+arch-capabilities", 1));
    g_assert_true(has("arch-capabilities"));
    g_assert_true(build("haswell", 1)); /* case does not matter, bases do */
    g_assert_true(has("avx2") && has("sse4.2") && has("fpu"));
    g_assert_cmphex(leaf(0xd, 0)[CPUID_EAX], ==, 7);
    g_assert_cmphex(leaf(0xd, 0)[CPUID_ECX], ==, 0x340);
    g_assert_cmphex(leaf(4, 3)[CPUID_EAX] >> 5 & 7, ==, 3);
}

static void test_features(void)
{
    g_assert_true(build("qemu64,+aes,-sse3,avx=on,xsave,x2apic=off", 1));
    g_assert_true(has("aes") && has("avx") && has("xsave"));
    g_assert_false(has("pni") || has("x2apic"));
    g_assert_true(build("host,-xsave", 1)); /* what needs it goes, too */
    g_assert_false(has("avx") || has("avx2") || has("avx512f") || has("xsaveopt"));
    g_assert_true(build("host,sse4_1=off", 1)); /* QEMU's other spelling */
    g_assert_false(has("sse4.1") || has("sse4.2"));
    g_assert_true(has("ssse3"));
}

static void test_refused(void)
{
    g_assert_true(build("kvm64,+svm,+hle,+3dnow", 1));
    g_assert_cmpstr(refused->str, ==, "hle, 3dnow, svm");
    g_assert_false(has("svm"));
    expect_error("kvm64,+hle,enforce", "hle");
    g_assert_true(build("kvm64,enforce", 1));
}

static void test_properties(void)
{
    g_assert_true(build("host,family=6,model=0x8f,stepping=3,vendor=GenuineIntel,model-id=A CPU,"
                        "phys-bits=40,level=0xb,xlevel=0x80000008,kvm=off",
                        1));
    g_assert_cmphex(leaf(1, 0)[CPUID_EAX], ==, 0x000806f3);
    g_assert_cmphex(leaf(0, 0)[CPUID_EAX], ==, 0xb);
    g_assert_cmphex(leaf(0, 0)[CPUID_ECX], ==, 0x6c65746e);
    g_assert_cmphex(leaf(0x80000002, 0)[CPUID_EAX], ==, 0x50432041);
    g_assert_cmphex(leaf(0x80000008, 0)[CPUID_EAX] & 0xff, ==, 40);
    g_assert_null(cpuid_find(all(), leaves->len, 0x40000000, 0));
    g_assert_null(cpuid_find(all(), leaves->len, 0xd, 0));
}

static void test_errors(void)
{
    expect_error("qemu46", "'qemu64'");
    expect_error("", "no model ''");
    expect_error("zzzzzzzzzzz", "-cpu help");
    expect_error("host,+avx22", "'avx2'");
    expect_error("host,steping=1", "'stepping'");
    expect_error("host,+level=3", "level=3");
    expect_error("host,avx=perhaps", "avx=perhaps");
    expect_error("host,family=many", "family=many");
    expect_error("host,stepping=16", "15");
    expect_error("host,vendor=Short", "12 characters");
    expect_error("host,model-id=0123456789012345678901234567890123456789012345678", "47");
}

static void test_topology(void)
{
    g_assert_true(build("host", 6));
    g_assert_true(has("ht") && has("cmp-legacy"));
    g_assert_cmphex(leaf(1, 0)[CPUID_EBX] >> 16 & 0xff, ==, 6);
    g_assert_cmphex(leaf(0xb, 0)[CPUID_EBX], ==, 1);
    g_assert_cmphex(leaf(0xb, 1)[CPUID_EBX], ==, 6);
    g_assert_cmphex(leaf(0xb, 1)[CPUID_EAX], ==, 3);
    g_assert_cmphex(leaf(0x80000008, 0)[CPUID_ECX], ==, 0x3005);
    g_assert_cmphex(leaf(0x8000001d, 3)[CPUID_EAX] >> 14 & 0xfff, ==, 5);
    cpuid_set_apic_id((CpuidEntry *)(void *)leaves->data, leaves->len, 5);
    g_assert_cmphex(leaf(1, 0)[CPUID_EBX] >> 24, ==, 5);
    g_assert_cmphex(leaf(0xb, 0)[CPUID_EDX], ==, 5);
    g_assert_cmphex(leaf(0xb, 2)[CPUID_EDX], ==, 5);
    g_assert_cmphex(leaf(0x8000001e, 0)[CPUID_EAX], ==, 5);
    g_assert_true(build("Nehalem", 4));
    g_assert_cmphex(leaf(4, 0)[CPUID_EAX] >> 26, ==, 3);
    g_assert_cmphex(leaf(4, 0)[CPUID_EAX] >> 14 & 0xfff, ==, 0);
    g_assert_cmphex(leaf(4, 3)[CPUID_EAX] >> 14 & 0xfff, ==, 3);
}

static void test_help(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    cpu_models_describe(out);
    g_assert_nonnull(strstr(out->str, "\n  qemu64 "));
    g_assert_nonnull(strstr(out->str, " tsc-deadline"));
    g_assert_nonnull(strstr(out->str, " model-id"));
    g_auto(GStrv) lines = g_strsplit(out->str, "\n", -1);
    for (char **line = lines; *line; line++)
        g_assert_cmpuint(strlen(*line), <=, 80);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-model/host", test_host);
    g_test_add_func("/cpu-model/named", test_named);
    g_test_add_func("/cpu-model/features", test_features);
    g_test_add_func("/cpu-model/refused", test_refused);
    g_test_add_func("/cpu-model/properties", test_properties);
    g_test_add_func("/cpu-model/errors", test_errors);
    g_test_add_func("/cpu-model/topology", test_topology);
    g_test_add_func("/cpu-model/help", test_help);
    return g_test_run();
}
