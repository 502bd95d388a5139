/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object: things that others refer to, and what they are made by: one row each in a table. */
#include "block/secret.h"
#include "net/net.h"
#include "run.h"
#include "util/error.h"
#include "util/iothread.h"

/* ---- filter-dump ---- */

static void *filter_dump_create(const char *id, const Options *options, GError **error)
{
    const char *netdev = options_get(options, "netdev"), *file = options_get(options, "file");
    uint64_t maxlen = NET_FRAME_MAX;

    if (!netdev || !file) {
        fail(error, "%s= is missing", netdev ? "file" : "netdev");
        return NULL;
    }
    if (!options_get_uint(options, "maxlen", 1, NET_FRAME_MAX, &maxlen, error))
        return NULL;
    NetEnd *end = net_resolve(netdev, error);
    return end ? net_dump_open(end, file, (uint32_t)maxlen, error) : NULL;
}

static void filter_dump_free(void *object)
{
    net_dump_close(object);
}

/* ---- secret ---- */

static void *secret_create(const char *id, const Options *options, GError **error)
{
    return secret_add_options(options, error) ? g_strdup(id) : NULL;
}

static void secret_free(void *object)
{
    secret_remove(object);
    g_free(object);
}

/* ---- iothread ---- */

static void *iothread_create(const char *id, const Options *options, GError **error)
{
    return iothread_new(id, error);
}

static void iothread_destroy(void *object)
{
    iothread_free(object);
}

/* ---- The table ---- */

static const ObjectClass classes[] = {
    {"iothread",
     "a thread for the I/O of drives that name it",
     OBJECT_EARLY,
     {NULL},
     iothread_create,
     iothread_destroy},
    {"secret",
     "data=TEXT|file=FILE[,format=raw|base64]: the password of an encrypted image",
     OBJECT_EARLY,
     {"data", "file", "format"},
     secret_create,
     secret_free},
    {"filter-dump",
     "netdev=ID,file=FILE[,maxlen=N]: a network's frames to a pcap file",
     OBJECT_LATE,
     {"netdev", "file", "maxlen"},
     filter_dump_create,
     filter_dump_free},
};

/* An object that exists. */
typedef struct Object {
    const ObjectClass *cls;
    char *id;
    void *object;
} Object;

static GPtrArray *objects; /* of Object */

static const ObjectClass *find_class(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++)
        if (!strcmp(classes[i].name, name))
            return &classes[i];
    return NULL;
}

static void describe(GString *out)
{
    g_string_append(out, "Objects:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++)
        g_string_append_printf(out, "  %s,id=ID%s%s\n", classes[i].name,
                               classes[i].keys[0] ? "," : ": ", classes[i].help);
}

/* Checks type, id and keys. */
static Options *parse(const CliOption *option, const char *arg, GError **error)
{
    const char *keys[G_N_ELEMENTS(classes[0].keys) + 3] = {"qom-type", "id"};
    const char *names[G_N_ELEMENTS(classes) + 1] = {NULL};
    g_autoptr(Options) any = options_parse("-object", arg, "qom-type", NULL, error);

    if (!any)
        return NULL;
    const char *type = options_get(any, "qom-type");
    const ObjectClass *cls = type ? find_class(type) : NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++)
        names[i] = classes[i].name;
    if (!cls) {
        cli_fail_word(option, "object", type ? type : "", names, error);
        return NULL;
    }
    memcpy(keys + 2, cls->keys, sizeof(cls->keys));
    g_autoptr(Options) known = options_parse("-object", arg, "qom-type", keys, error);
    if (known && !options_has(known, "id")) {
        fail(error, "-object %s: id= is missing", arg);
        return NULL;
    }
    return g_steal_pointer(&known);
}

bool cli_object(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new(NULL);
        describe(config->answer);
        return true;
    }
    Options *options = parse(option, arg, error);
    if (options)
        g_ptr_array_add(config->objects, options);
    return options != NULL;
}

/* ---- Life ---- */

static void object_free(void *data)
{
    Object *object = data;
    object->cls->free(object->object);
    g_free(object->id);
    g_free(object);
}

static bool id_is_taken(const char *id)
{
    for (unsigned i = 0; i < objects->len; i++)
        if (!strcmp(((Object *)g_ptr_array_index(objects, i))->id, id))
            return true;
    return false;
}

static bool create(const ObjectClass *cls, const Options *options, GError **error)
{
    const char *id = options_get(options, "id");

    if (id_is_taken(id))
        return fail(error, "-object %s: the id '%s' is taken by another object", cls->name, id);
    void *made = cls->create(id, options, error);
    if (!made)
        return fail_prefix(error, "-object %s,id=%s", cls->name, id);
    Object *object = g_new(Object, 1);
    *object = (Object){cls, g_strdup(id), made};
    g_ptr_array_add(objects, object);
    return true;
}

bool objects_create(const VmConfig *config, ObjectStage stage, GError **error)
{
    if (!objects)
        objects = g_ptr_array_new_with_free_func(object_free);
    for (unsigned i = 0; i < config->objects->len; i++) {
        const Options *options = g_ptr_array_index(config->objects, i);
        const ObjectClass *cls = find_class(options_get(options, "qom-type"));
        if (cls->stage == stage && !create(cls, options, error))
            return false;
    }
    return true;
}

void objects_free(void)
{
    while (objects && objects->len) /* the newest first: it may refer to an older one */
        g_ptr_array_remove_index(objects, objects->len - 1);
    g_clear_pointer(&objects, g_ptr_array_unref);
}
