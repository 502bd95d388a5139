/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img bitmap. */
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "util/error.h"
#include "util/log.h"

static int run_bitmap(int argc, char **argv);

const Command command_bitmap = {
    .name = "bitmap",
    .synopsis = "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... "
                "[-b SOURCE_FILE [-F FORMAT]] [-g GRANULARITY] [--object OBJECT] [--image-opts | "
                "-f FORMAT] FILE BITMAP",
    .help = "Works on an image's persistent dirty bitmaps, in the order of the options.\n\n"
            "  --add           make one; -g: bytes that a bit stands for\n"
            "  --remove        delete it\n"
            "  --clear         clear all bits\n"
            "  --enable        let writes be recorded in it, or not (--disable)\n"
            "  --merge SOURCE  set the bits that are set in another bitmap\n"
            "  -b FILE         which is in that image, of format -F\n"
            "  -f FORMAT       do not guess the format\n",
    .run = run_bitmap,
};

enum { OPT_ADD = OPT_OWN, OPT_REMOVE, OPT_CLEAR, OPT_ENABLE, OPT_DISABLE, OPT_MERGE };

typedef struct Action {
    int what;
    const char *source; /* MERGE */
} Action;

typedef struct BitmapArgs {
    ImgOpen open, source_open;
    const char *source_file, *name;
    uint64_t granularity;
    GArray *actions;
} BitmapArgs;

static bool act(const BitmapArgs *args, BlkNode *node, BlkNode *source, const Action *a,
                GError **error)
{
    switch (a->what) {
    case OPT_ADD:
        return node_bitmap_add(node, args->name, args->granularity, true, error);
    case OPT_REMOVE:
        return node_bitmap_remove(node, args->name, error);
    case OPT_CLEAR:
        return node_bitmap_clear(node, args->name, error);
    case OPT_MERGE:
        return node_bitmap_merge(node, args->name, source ? source : node, a->source, error);
    default:
        return node_bitmap_enable(node, args->name, a->what == OPT_ENABLE, error);
    }
}

static const char *action_name(int what)
{
    static const char *const names[] = {"add", "remove", "clear", "enable", "disable", "merge"};
    return names[what - OPT_ADD];
}

static int act_all(const BitmapArgs *args, BlkNode *node, BlkNode *source)
{
    GError *error = NULL;
    for (unsigned i = 0; i < args->actions->len; i++) {
        const Action *a = &g_array_index(args->actions, Action, i);
        if (act(args, node, source, a, &error))
            continue;
        fail_prefix(&error, "Operation %s on bitmap %s failed", action_name(a->what), args->name);
        return img_fail(error);
    }
    return 0;
}

static int work(BitmapArgs *args, const char *file)
{
    GError *error = NULL;
    args->open.mode.file.writable = true;
    args->open.mode.no_backing = args->source_open.mode.no_backing = true;
    BlkNode *node = img_open(&args->open, file, &error);
    if (!node)
        return img_fail(error);
    BlkNode *source = NULL;
    if (args->source_file)
        source = img_open(&args->source_open, args->source_file, &error);
    int code = error ? img_fail(error) : act_all(args, node, source);
    node_abandon(source);
    return img_close(node, code);
}

static bool take_option(BitmapArgs *args, int c, const char *value)
{
    Action action = {c, value};
    switch (c) {
    case OPT_ADD:
    case OPT_REMOVE:
    case OPT_CLEAR:
    case OPT_ENABLE:
    case OPT_DISABLE:
    case OPT_MERGE:
        g_array_append_val(args->actions, action);
        return true;
    case 'b':
        args->source_file = value;
        return true;
    case 'F':
        args->source_open.format = value;
        return true;
    case 'g':
        return img_parse_size("bitmap: -g", value, &args->granularity);
    default:
        return img_open_option(&args->open, c, value);
    }
}

/* What of the options contradicts the others. */
static const char *contradiction(const BitmapArgs *args)
{
    bool add = false, merge = false;
    for (unsigned i = 0; i < args->actions->len; i++) {
        int what = g_array_index(args->actions, Action, i).what;
        add |= what == OPT_ADD;
        merge |= what == OPT_MERGE;
    }
    if (!args->actions->len)
        return "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge";
    if (args->granularity && !add)
        return "granularity only supported with --add";
    if (args->source_file && !merge)
        return "Merge bitmap source file only supported with --merge";
    if (args->source_open.format && !args->source_file)
        return "-F only supported with -b";
    return NULL;
}

static int run_bitmap(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS,
                                                 {"add", no_argument, NULL, OPT_ADD},
                                                 {"remove", no_argument, NULL, OPT_REMOVE},
                                                 {"clear", no_argument, NULL, OPT_CLEAR},
                                                 {"enable", no_argument, NULL, OPT_ENABLE},
                                                 {"disable", no_argument, NULL, OPT_DISABLE},
                                                 {"merge", required_argument, NULL, OPT_MERGE},
                                                 {"granularity", required_argument, NULL, 'g'},
                                                 {"source-file", required_argument, NULL, 'b'},
                                                 {"source-format", required_argument, NULL, 'F'},
                                                 {0}};
    g_autoptr(GArray) actions = g_array_new(FALSE, FALSE, sizeof(Action));
    BitmapArgs args = {.actions = actions};
    int c;
    while ((c = img_getopt(&command_bitmap, argc, argv, ":b:f:F:g:h", long_options)) != -1)
        if (!take_option(&args, c, optarg))
            return c != 'h';
    if (argc - optind != 2) {
        report_error("Expecting filename and bitmap name");
        return 1;
    }
    const char *wrong = contradiction(&args);
    if (wrong) {
        report_error("%s", wrong);
        return 1;
    }
    args.name = argv[optind + 1];
    return work(&args, argv[optind]);
}
