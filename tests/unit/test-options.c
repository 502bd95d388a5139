/* SPDX-License-Identifier: GPL-2.0-or-later */
/* util/options.h: the option grammar, typed readers, sizes and the nearest word. */
#include "util/options.h"

#include "util/error.h"

static const char *const drive_keys[] = {"file", "format", "readonly", "nodelay", NULL};

static Options *parse(const char *text, const char *implied)
{
    GError *error = NULL;
    Options *options = options_parse("-drive", text, implied, drive_keys, &error);
    g_assert_no_error(error);
    g_assert_nonnull(options);
    return options;
}

/* Expects an error that contains each of the two texts. */
static void parse_fails(const char *text, const char *named, const char *right)
{
    GError *error = NULL;
    Options *options = options_parse("-drive", text, NULL, drive_keys, &error);
    g_assert_null(options);
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, "-drive"));
    g_assert_nonnull(strstr(error->message, named));
    g_assert_nonnull(strstr(error->message, right));
    g_assert_null(strchr(error->message, '\n'));
    g_error_free(error);
}

static void test_pairs(void)
{
    g_autoptr(Options) o = parse("file=a b.img,format=raw,readonly", NULL);
    g_assert_cmpstr(options_where(o), ==, "-drive");
    g_assert_cmpstr(options_get(o, "file"), ==, "a b.img");
    g_assert_cmpstr(options_get(o, "format"), ==, "raw");
    g_assert_cmpstr(options_get(o, "readonly"), ==, "on");
    g_assert_false(options_has(o, "nodelay"));
    g_assert_null(options_get(o, "nodelay"));

    const char *key, *value;
    g_assert_true(options_nth(o, 1, &key, &value));
    g_assert_cmpstr(key, ==, "format");
    g_assert_cmpstr(value, ==, "raw");
    g_assert_false(options_nth(o, 3, &key, &value));
}

static void test_commas(void)
{
    g_autoptr(Options) o = parse("file=a,,b,,,format=raw", NULL);
    g_assert_cmpstr(options_get(o, "file"), ==, "a,b,");
    g_assert_cmpstr(options_get(o, "format"), ==, "raw");
    g_autoptr(Options) implied = parse("x,,y=z,format=raw", "file");
    g_assert_cmpstr(options_get(implied, "file"), ==, "x,y=z");
    g_autoptr(Options) trailing = parse("file=a,", NULL);
    g_assert_cmpstr(options_get(trailing, "file"), ==, "a");
    g_autoptr(Options) empty = parse("", "file");
    g_assert_false(options_has(empty, "file"));
    g_autoptr(Options) empty_value = parse("file=,format=", NULL);
    g_assert_cmpstr(options_get(empty_value, "file"), ==, "");
    g_assert_cmpstr(options_get(empty_value, "format"), ==, "");
    g_autoptr(Options) equals = parse("file=a=b", NULL);
    g_assert_cmpstr(options_get(equals, "file"), ==, "a=b");
}

static void test_implied(void)
{
    g_autoptr(Options) o = parse("disk.img,readonly=on", "file");
    g_assert_cmpstr(options_get(o, "file"), ==, "disk.img");
    g_assert_cmpstr(options_get(o, "readonly"), ==, "on");
    /* Only the first word can be the implied one. */
    g_autoptr(Options) second = parse("format=raw,readonly", "file");
    g_assert_null(options_get(second, "file"));
}

static void test_flags(void)
{
    g_autoptr(Options) o = parse("noreadonly,nodelay", NULL);
    g_assert_cmpstr(options_get(o, "readonly"), ==, "off");
    g_assert_cmpstr(options_get(o, "nodelay"), ==, "on"); /* a key of that name wins */
}

static void test_later_wins(void)
{
    g_autoptr(Options) o = parse("format=raw,file=x,format=qcow2", NULL);
    g_assert_cmpstr(options_get(o, "format"), ==, "qcow2");
    options_set(o, "format", "qcow");
    g_assert_cmpstr(options_get(o, "format"), ==, "qcow");
    options_set(o, "format", options_get(o, "format"));
    g_assert_cmpstr(options_get(o, "format"), ==, "qcow");
    options_remove(o, "format");
    g_assert_false(options_has(o, "format"));
    g_assert_cmpstr(options_get(o, "file"), ==, "x");
    options_set(o, "if", "ide");
    g_assert_cmpstr(options_get(o, "if"), ==, "ide");
}

static void test_unknown(void)
{
    parse_fails("fil=x", "'fil'", "'file'");
    parse_fails("file=x,fromat=raw", "'fromat'", "'format'");
    parse_fails("readnoly", "'readnoly'", "'readonly'");
    parse_fails("quite-different=1", "'quite-different'", "file, format, readonly");
    parse_fails("=x", "key is missing", "=x");
    parse_fails(",file=x", "key is missing", "file=x");
    /* Without a list every key goes, and "no" is not taken off. */
    g_autoptr(Options) any = options_parse("-x", "nothing,a=b", NULL, NULL, NULL);
    g_assert_cmpstr(options_get(any, "nothing"), ==, "on");
}

static void test_readers(void)
{
    static const char *const words[] = {"none", "writeback", "unsafe", NULL};
    g_autoptr(Options) o =
        options_parse("-t", "b=on,c=maybe,n=0x10,m=12x,s=1.5M,t=big,w=unsafe,x=writebak,z=nothing",
                      NULL, NULL, NULL);
    bool flag = false;
    uint64_t number = 99;
    unsigned index = 99;
    GError *error = NULL;

    g_assert_true(options_get_bool(o, "b", &flag, &error));
    g_assert_true(flag);
    g_assert_true(options_get_bool(o, "absent", &flag, &error));
    g_assert_true(flag);
    g_assert_false(options_get_bool(o, "c", &flag, &error));
    g_assert_cmpstr(error->message, ==, "-t: c=maybe: must be on or off");
    g_clear_error(&error);

    g_assert_true(options_get_uint(o, "absent", 0, 1, &number, &error));
    g_assert_cmpuint(number, ==, 99);
    g_assert_true(options_get_uint(o, "n", 0, 16, &number, &error));
    g_assert_cmpuint(number, ==, 16);
    g_assert_false(options_get_uint(o, "n", 1, 15, &number, &error));
    g_assert_cmpstr(error->message, ==, "-t: n=0x10: must be from 1 to 15");
    g_clear_error(&error);
    g_assert_false(options_get_uint(o, "m", 0, 100, &number, &error));
    g_assert_nonnull(strstr(error->message, "m=12x"));
    g_clear_error(&error);

    g_assert_true(options_get_size(o, "s", &number, &error));
    g_assert_cmpuint(number, ==, 3u << 19);
    g_assert_false(options_get_size(o, "t", &number, &error));
    g_clear_error(&error);

    g_assert_true(options_get_enum(o, "w", words, &index, &error));
    g_assert_cmpuint(index, ==, 2);
    g_assert_false(options_get_enum(o, "x", words, &index, &error));
    g_assert_nonnull(strstr(error->message, "'writeback'"));
    g_clear_error(&error);
    g_assert_false(options_get_enum(o, "z", words, &index, &error));
    g_assert_nonnull(strstr(error->message, "none, writeback, unsafe"));
    g_clear_error(&error);
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } rows[] = {
        {"0", true, 0},
        {"42", true, 42},
        {"0x2A", true, 42},
        {"0X2a", true, 42},
        {"18446744073709551615", true, UINT64_MAX},
        {"0xffffffffffffffff", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"0x10000000000000000", false, 0},
        {"", false, 0},
        {"0x", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"12a", false, 0},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint64_t value = 7;
        g_assert_cmpint(parse_uint(rows[i].text, &value), ==, rows[i].good);
        g_assert_cmpuint(value, ==, rows[i].good ? rows[i].value : 7);
    }
}

static void test_mac(void)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"52:54:00:12:34:5f", true},   {"52-54-00-12-34-5F", true},
        {"52:54:0:12-34:5f", true},    {"52:54:00:12:34", false},
        {"52:54:00:12:34:", false},    {"52:54:00:12:34:5f:", false},
        {"52:54:00:12:34:5f0", false}, {"5254.0012.345f", false},
        {"525400:12:34:5f:0", false},  {"52:54:00:12:34:-1", false},
        {"52:54::12:34:5f", false},    {":52:54:00:12:34:5f", false},
        {" 2:54:00:12:34:5f", false},  {"", false},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint8_t mac[6];
        g_test_message("%s", rows[i].text);
        g_assert_cmpint(parse_mac(rows[i].text, mac), ==, rows[i].good);
        if (rows[i].good)
            g_assert_cmpmem(mac, 6, "\x52\x54\x00\x12\x34\x5f", 6);
    }
}

static void test_sizes(void)
{
    static const struct {
        const char *text;
        uint64_t unit;
        bool good;
        uint64_t value;
    } rows[] = {
        {"1024", 1, true, 1024},
        {"1024", 1 << 20, true, 1ULL << 30},
        {"1b", 1 << 20, true, 1},
        {"1k", 1, true, 1024},
        {"1K", 1, true, 1024},
        {"3M", 1 << 20, true, 3 << 20},
        {"1.5G", 1, true, 3ULL << 29},
        {"0.5", 1 << 20, true, 1 << 19},
        {"2T", 1, true, 2ULL << 40},
        {"1P", 1, true, 1ULL << 50},
        {"15E", 1, true, 15ULL << 60},
        {"16E", 1, false, 0},
        {"7.5E", 1, true, 15ULL << 59},
        {"0x10", 512, true, 8192},
        {"0xffffffffffffffff", 2, false, 0},
        {"18446744073709551615", 1, true, UINT64_MAX},
        {"18446744073709551615", 2, false, 0},
        {"1.", 1, false, 0},
        {".5G", 1, false, 0},
        {"G", 1, false, 0},
        {"1GB", 1, false, 0},
        {"1X", 1, false, 0},
        {"-1M", 1, false, 0},
        {"1 M", 1, false, 0},
        {"1.0000000000000000001G", 1, false, 0},
        {"", 1, false, 0},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint64_t value = 7;
        g_test_message("%s", rows[i].text);
        g_assert_cmpint(parse_size(rows[i].text, rows[i].unit, &value), ==, rows[i].good);
        g_assert_cmpuint(value, ==, rows[i].good ? rows[i].value : 7);
    }
}

static void test_format_size(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {512, "512 B"},
        {1024, "1 KiB"},
        {1474560, "1.41 MiB"},
        {3ULL << 29, "1.5 GiB"},
        {10ULL << 30, "10 GiB"},
        {1000ULL << 20, "1000 MiB"},
        {UINT64_MAX, "16 EiB"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = format_size(rows[i].bytes);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void test_bool(void)
{
    bool value;
    g_assert_true(parse_bool("yes", &value) && value);
    g_assert_true(parse_bool("n", &value) && !value);
    g_assert_false(parse_bool("1", &value));
    g_assert_false(parse_bool("", &value));
}

static void test_nearest(void)
{
    static const char *const words[] = {"hda", "hdb", "cdrom", "nographic", "serial", NULL};
    g_assert_cmpstr(nearest_word("nographics", words), ==, "nographic");
    g_assert_cmpstr(nearest_word("cdorm", words), ==, "cdrom");
    g_assert_cmpstr(nearest_word("CDROM", words), ==, "cdrom");
    g_assert_cmpstr(nearest_word("hdq", words), ==, "hda");
    g_assert_cmpstr(nearest_word("seral", words), ==, "serial");
    g_assert_null(nearest_word("bluetooth", words));
    g_assert_null(nearest_word("", words));
    g_assert_null(nearest_word("q", words));
    g_autofree char *huge = g_strnfill(100000, 'a');
    g_assert_null(nearest_word(huge, words));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/pairs", test_pairs);
    g_test_add_func("/options/commas", test_commas);
    g_test_add_func("/options/implied", test_implied);
    g_test_add_func("/options/flags", test_flags);
    g_test_add_func("/options/later-wins", test_later_wins);
    g_test_add_func("/options/unknown", test_unknown);
    g_test_add_func("/options/readers", test_readers);
    g_test_add_func("/options/numbers", test_numbers);
    g_test_add_func("/options/mac", test_mac);
    g_test_add_func("/options/sizes", test_sizes);
    g_test_add_func("/options/format-size", test_format_size);
    g_test_add_func("/options/bool", test_bool);
    g_test_add_func("/options/nearest", test_nearest);
    return g_test_run();
}
