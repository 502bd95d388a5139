/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img create. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img-create.h"
#include "util/error.h"
#include "util/log.h"

static int run_create(int argc, char **argv);

const Command command_create = {
    .name = "create",
    .synopsis = "[--object OBJECT] [-q] [-f FORMAT] [-b BACKING_FILE -F BACKING_FORMAT] [-u] [-o "
                "OPTIONS] FILE [SIZE]",
    .help = "Makes an image.  With a backing file SIZE may be left out: its size is taken.\n\n"
            "  -f FORMAT   raw (default), qcow, qcow2, luks, vdi, vhdx, vmdk or vpc\n"
            "  -b FILE     unchanged clusters are read from this image\n"
            "  -F FORMAT   its format; it is looked at, if you do not say it\n"
            "  -u          do not look whether the backing file is there\n"
            "  -o OPTIONS  key=value,...; '-o help' lists them for a format\n"
            "  -q          say nothing\n",
    .run = run_create,
};

/* ---- -o, shared with convert ---- */

bool create_options_add(Options **options, const char *text, GError **error)
{
    const char *key, *value;
    g_autoptr(Options) more = options_parse("-o", text, NULL, NULL, error);
    if (!more)
        return false;
    if (!*options)
        *options = options_new("-o");
    for (unsigned i = 0; options_nth(more, i, &key, &value); i++)
        options_set(*options, key, value);
    return true;
}

bool create_options_take(Options *options, CreateSpec *spec, bool *has_size, GError **error)
{
    if (!options)
        return true;
    if (options_has(options, "size")) {
        if (!options_get_size(options, "size", &spec->size, error))
            return false;
        *has_size = true;
    }
    if (options_has(options, "backing_file"))
        spec->backing = g_intern_string(options_get(options, "backing_file"));
    if (options_has(options, "backing_fmt"))
        spec->backing_format = g_intern_string(options_get(options, "backing_fmt"));
    options_remove(options, "size");
    options_remove(options, "backing_file");
    options_remove(options, "backing_fmt");
    spec->options = options;
    return true;
}

bool create_options_want_help(const char *text)
{
    while (*text) {
        size_t length = strcspn(text, ",");
        while (text[length] && text[length + 1] == ',') /* two stand for one in a value */
            length += 2 + strcspn(text + length + 2, ",");
        if ((length == 4 && !strncmp(text, "help", 4)) || (length == 1 && *text == '?'))
            return true;
        text += length + (text[length] == ',');
    }
    return false;
}

int create_options_help(const char *format)
{
    GError *error = NULL;
    const BlkFormat *fmt = format_find(format, &error);
    if (!fmt)
        return img_fail(error);
    printf("Supported options:\n  %-18s %s\n", "size", "bytes that the guest sees");
    if (fmt->backing)
        printf("  %-18s %s\n  %-18s %s\n", "backing_file", "unchanged clusters are read from it",
               "backing_fmt", "its format");
    for (const CreateOption *o = fmt->create_options; o && o->name; o++)
        printf("  %-18s %s\n", o->name, o->help);
    for (const CreateOption *o = image_file_options; o->name; o++)
        printf("  %-18s %s\n", o->name, o->help);
    return 0;
}

/* ---- The command ---- */

/* What is said of an image, in qemu-img's order; what has no default is said if it was given. */
typedef struct Said {
    const char *key, *initial;
} Said;
static const Said said_qcow2[] = {{"encryption"},
                                  {"encrypt.format"},
                                  {"encrypt.key-secret"},
                                  {"encrypt.cipher-alg"},
                                  {"encrypt.cipher-mode"},
                                  {"encrypt.ivgen-alg"},
                                  {"encrypt.ivgen-hash-alg"},
                                  {"encrypt.hash-alg"},
                                  {"encrypt.iter-time"},
                                  {"cluster_size", "65536"},
                                  {"extended_l2", "off"},
                                  {"preallocation"},
                                  {"compression_type", "zlib"},
                                  {"size"},
                                  {"compat"},
                                  {"backing_file"},
                                  {"backing_fmt"},
                                  {"data_file"},
                                  {"data_file_raw"},
                                  {"lazy_refcounts", "off"},
                                  {"refcount_bits", "16"},
                                  {0}};
static const Said said_vdi[] = {{"size"}, {"static", "off"}, {0}};
static const Said said_vmdk[] = {{"size"},         {"adapter_type"},   {"backing_file"},
                                 {"backing_fmt"},  {"compat6", "off"}, {"hwversion", "undefined"},
                                 {"toolsversion"}, {"subformat"},      {0}};
static const Said said_vhdx[] = {
    {"size"}, {"log_size", "1048576"}, {"block_size", "0"}, {"subformat"}, {0}};
static const Said said_others[] = {{"size"}, {"backing_file"}, {"backing_fmt"}, {0}};

static const Said *said_of(const char *format)
{
    static const struct {
        const char *format;
        const Said *said;
    } all[] = {{"qcow2", said_qcow2}, {"vdi", said_vdi}, {"vmdk", said_vmdk}, {"vhdx", said_vhdx}};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (!strcmp(all[i].format, format))
            return all[i].said;
    return said_others;
}

static void print_pair(const char *key, const char *value)
{
    uint64_t bytes;
    bool is_size = g_str_has_suffix(key, "_size") || !strcmp(key, "extent_size_hint");
    if (value && is_size && parse_size(value, 1, &bytes))
        printf(" %s=%" PRIu64, key, bytes);
    else if (value)
        printf(" %s=%s", key, value);
}

static void print_said(const Said *s, const CreateSpec *spec)
{
    const char *value = spec->options ? options_get(spec->options, s->key) : NULL;
    if (!strcmp(s->key, "size"))
        printf(" size=%" PRIu64, spec->size);
    else if (!strcmp(s->key, "backing_file"))
        print_pair(s->key, spec->backing);
    else if (!strcmp(s->key, "backing_fmt"))
        print_pair(s->key, spec->backing_format);
    else
        print_pair(s->key, value ? value : s->initial);
}

static void print_formatting(const char *file, const char *format, const CreateSpec *spec)
{
    const Said *said = said_of(format);
    const char *key, *value;
    printf("Formatting '%s', fmt=%s", file, format);
    for (const Said *s = said; s->key; s++)
        print_said(s, spec);
    for (unsigned i = 0; spec->options && options_nth(spec->options, i, &key, &value); i++) {
        bool known = false;
        for (const Said *s = said; s->key; s++)
            known |= !strcmp(s->key, key);
        if (!known)
            print_pair(key, value);
    }
    printf("\n");
}

static int create(const char *file, const char *format, CreateSpec *spec, bool has_size,
                  bool unchecked, bool quiet)
{
    GError *error = NULL;
    if (!image_create(img_sched(), file, format, spec, has_size, unchecked, &error))
        return img_fail(error);
    if (!quiet)
        print_formatting(file, format, spec);
    return 0;
}

static int run_create(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_HELP, {"object", required_argument, NULL, OPT_OBJECT}, {0}};
    ImgOpen how = {0};
    const char *format = "raw";
    bool help = false, unchecked = false, quiet = false, has_size = false;
    g_autoptr(Options) options = NULL;
    GError *error = NULL;
    CreateSpec spec = {0};
    int c;
    while ((c = img_getopt(&command_create, argc, argv, ":f:b:F:o:uqh", long_options)) != -1) {
        switch (c) {
        case 'f':
            format = optarg;
            break;
        case 'b':
            spec.backing = optarg;
            break;
        case 'F':
            spec.backing_format = optarg;
            break;
        case 'o':
            if (create_options_want_help(optarg))
                help = true;
            else if (!create_options_add(&options, optarg, &error))
                return img_fail(error);
            break;
        case 'u':
            unchecked = true;
            break;
        case 'q':
            quiet = true;
            break;
        default:
            if (!img_open_option(&how, c, optarg))
                return c != 'h';
        }
    }
    if (help)
        return create_options_help(format);
    if (!create_options_take(options, &spec, &has_size, &error))
        return img_fail(error);
    if (argc - optind < 1 || argc - optind > 2) {
        report_error("create: give a file name and a size; see '%s create --help'",
                     report_program());
        return 1;
    }
    if (argc - optind == 2) {
        if (!parse_size(argv[optind + 1], 1, &spec.size)) {
            report_error("create: '%s' is no size; write bytes, or use k, M, G, T, P or E",
                         argv[optind + 1]);
            return 1;
        }
        if (has_size) {
            report_error("%s: The image size must be specified only once", argv[optind]);
            return 1;
        }
        has_size = true;
    }
    if (spec.backing_format && !spec.backing) {
        report_error("%s: Backing format cannot be used without backing file", argv[optind]);
        return 1;
    }
    return create(argv[optind], format, &spec, has_size, unchecked, quiet);
}
