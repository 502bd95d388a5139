/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img info. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "util/error.h"
#include "util/log.h"

static int run_info(int argc, char **argv);

const Command command_info = {
    .name = "info",
    .synopsis = "[--object OBJECT] [--image-opts] [-f FORMAT] [--output=human|json] "
                "[--backing-chain] [-U] FILE",
    .help = "Shows what an image is.\n\n"
            "  -f FORMAT        do not guess the format\n"
            "  --output FORMAT  human (default) or json\n"
            "  --backing-chain  show its backing files, too\n"
            "  -U               look even if a program is writing it; what is shown may be stale\n",
    .run = run_info,
};

static char *full_backing_name(const BlkNode *node)
{
    return backing_path(node->name, node->backing_name);
}

/* ---- JSON ---- */

static void json_snapshots(Json *json, const BlkNode *node)
{
    const NodeSnapshot *s = node->fmt->snapshot ? node->fmt->snapshot(node, 0) : NULL;
    if (!s)
        return;
    json_open(json, "snapshots", '[');
    for (unsigned n = 0; (s = node->fmt->snapshot(node, n)); n++) {
        json_open(json, NULL, '{');
        if (s->icount >= 0)
            json_number(json, "icount", s->icount);
        json_number(json, "vm-clock-nsec", (int64_t)(s->vm_clock_ns % 1000000000));
        json_text(json, "name", s->name);
        json_number(json, "date-sec", s->date_sec);
        json_number(json, "date-nsec", s->date_nsec);
        json_number(json, "vm-clock-sec", (int64_t)(s->vm_clock_ns / 1000000000));
        json_text(json, "id", s->id);
        json_number(json, "vm-state-size", (int64_t)s->vm_state_bytes);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_details(Json *json, const BlkNode *node)
{
    NodeDetail d;
    if (!node->fmt->detail)
        return;
    json_open(json, "format-specific", '{');
    json_text(json, "type", node->fmt->name);
    json_open(json, "data", '{');
    for (unsigned n = 0; node->fmt->detail(node, n, &d); n++) {
        if (d.bracket == '{' || d.bracket == '[')
            json_open(json, d.key, d.bracket);
        else if (d.bracket)
            json_close(json, d.bracket);
        else if (d.is_text)
            json_text(json, d.key, d.value);
        else
            json_bare(json, d.key, d.value);
        g_free(d.value);
    }
    json_close(json, '}');
    json_close(json, '}');
}

static void json_image(Json *json, const BlkNode *node)
{
    bool dirty = node->fmt->is_dirty && node->fmt->is_dirty(node);
    json_open(json, NULL, '{');
    if (node->backing_format)
        json_text(json, "backing-filename-format", node->backing_format);
    json_snapshots(json, node);
    json_number(json, "virtual-size", (int64_t)node->size);
    json_text(json, "filename", node->name);
    if (node->fmt->alloc && !node->flat)
        json_number(json, "cluster-size", node->cluster);
    json_text(json, "format", node->fmt->name);
    if (node_allocated(node) >= 0)
        json_number(json, "actual-size", node_allocated(node));
    json_details(json, node);
    if (node->backing_name) {
        g_autofree char *full = full_backing_name(node);
        json_text(json, "full-backing-filename", full);
        json_text(json, "backing-filename", node->backing_name);
    }
    if (node->encrypted)
        json_bare(json, "encrypted", "true");
    json_bare(json, "dirty-flag", dirty ? "true" : "false");
    json_close(json, '}');
}

/* ---- Human ---- */

static void print_image(const BlkNode *node)
{
    g_autofree char *size = format_size_short(node->size);
    int64_t taken = node_allocated(node);
    g_autofree char *disk =
        taken < 0 ? g_strdup("unavailable") : format_size_short((uint64_t)taken);
    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
           node->name, node->fmt->name, size, node->size, disk);
    if (node->encrypted)
        printf("encrypted: yes\n");
    if (node->fmt->is_dirty && node->fmt->is_dirty(node))
        printf("cleanly shut down: no\n");
    if (node->fmt->alloc && !node->flat)
        printf("cluster_size: %u\n", node->cluster);
    if (node->backing_name) {
        g_autofree char *full = full_backing_name(node);
        printf("backing file: %s", node->backing_name);
        if (strcmp(full, node->backing_name))
            printf(" (actual path: %s)", full);
        printf("\n");
    }
    if (node->backing_format)
        printf("backing file format: %s\n", node->backing_format);
    img_print_snapshots(node);
    img_print_details(node);
}

/* ---- The command ---- */

/* Opens one image of the chain; its backing file's name and format take their place. */
static BlkNode *open_next(char **name, ImgOpen *how, char **format, GError **error)
{
    how->format = *format;
    BlkNode *node = img_open(how, *name, error);
    g_clear_pointer(name, g_free);
    g_clear_pointer(format, g_free);
    how->image_opts = false;
    if (node && node->backing_name) {
        *name = full_backing_name(node);
        *format = g_strdup(node->backing_format);
    }
    return node;
}

/* Whether the chain may go on with node. */
static bool check_chain(GPtrArray *nodes, const BlkNode *node, GError **error)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        const BlkNode *other = g_ptr_array_index(nodes, i);
        if (host_file_is_same(node->file, other->file))
            return fail(error, "'%s' is its own backing file: the chain never ends", node->name);
    }
    return nodes->len <= NODE_MAX_CHAIN ||
           fail(error, "the backing chain is longer than %d images", NODE_MAX_CHAIN);
}

static void close_node(void *node)
{
    node_abandon(node);
}

static int show(const char *file, ImgOpen *how, bool json_output, bool chain)
{
    GError *error = NULL;
    char *name = g_strdup(file), *fmt = g_strdup(how->format);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new_with_free_func(close_node);
    do {
        BlkNode *node = open_next(&name, how, &fmt, &error);
        if (node && check_chain(nodes, node, &error))
            g_ptr_array_add(nodes, node);
        else
            node_abandon(node);
    } while (chain && name && !error);
    g_free(name);
    g_free(fmt);
    if (error)
        return img_fail(error);
    Json json = {.text = g_string_new(NULL), .first = true};
    if (chain)
        json_open(&json, NULL, '[');
    for (unsigned i = 0; i < nodes->len; i++) {
        if (json_output) {
            json_image(&json, g_ptr_array_index(nodes, i));
        } else {
            printf("%s", i ? "\n" : "");
            print_image(g_ptr_array_index(nodes, i));
        }
    }
    if (chain)
        json_close(&json, ']');
    if (json_output)
        printf("%s\n", json.text->str);
    g_string_free(json.text, TRUE);
    return 0;
}

static int run_info(int argc, char **argv)
{
    enum { OPT_CHAIN = OPT_OWN };
    static const struct option long_options[] = {IMG_OPEN_OPTIONS,
                                                 IMG_SHARE,
                                                 IMG_OUTPUT,
                                                 {"backing-chain", no_argument, NULL, OPT_CHAIN},
                                                 {0}};
    ImgOpen how = {.mode = {.no_backing = true, .may_be_locked = true}};
    bool json = false, chain = false;
    int c;
    while ((c = img_getopt(&command_info, argc, argv, ":f:Uh", long_options)) != -1) {
        if (c == OPT_CHAIN)
            chain = true;
        else if (c == OPT_OUTPUT ? !img_parse_output(optarg, &json)
                                 : !img_open_option(&how, c, optarg))
            return c != 'h';
    }
    if (argc - optind != 1) {
        report_error("info: Expecting one image file name");
        return 1;
    }
    return show(argv[optind], &how, json, chain);
}
