/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fault injection: rules, events, states; include/block/blkdebug.h tells what they mean. */
#include "block/blkdebug.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"
#include "util/error.h"

#define RULES_MAX 1024u

static const BlkFileOps debug_ops;

typedef enum { IO_READ, IO_WRITE, IO_ZERO, IO_DISCARD, IO_FLUSH, IO_STATUS } IoType;
static const char *const io_words[] = {"read",         "write", "write-zeroes", "discard", "flush",
                                       "block-status", NULL};

static const char *const event_names[EVENT_COUNT + 1] = {
    [EVENT_NONE] = "none",
    [EVENT_L1_UPDATE] = "l1_update",
    [EVENT_L2_LOAD] = "l2_load",
    [EVENT_L2_UPDATE] = "l2_update",
    [EVENT_REFBLOCK_LOAD] = "refblock_load",
    [EVENT_REFBLOCK_UPDATE] = "refblock_update",
    [EVENT_READ_AIO] = "read_aio",
    [EVENT_READ_BACKING_AIO] = "read_backing_aio",
    [EVENT_READ_COMPRESSED] = "read_compressed",
    [EVENT_WRITE_AIO] = "write_aio",
    [EVENT_WRITE_COMPRESSED] = "write_compressed",
    [EVENT_COW_READ] = "cow_read",
    [EVENT_COW_WRITE] = "cow_write",
    [EVENT_CLUSTER_ALLOC] = "cluster_alloc",
    [EVENT_FLUSH_TO_OS] = "flush_to_os",
    [EVENT_FLUSH_TO_DISK] = "flush_to_disk",
    [EVENT_PWRITEV] = "pwritev",
    [EVENT_PWRITEV_ZERO] = "pwritev_zero",
    [EVENT_PWRITEV_DONE] = "pwritev_done",
};

typedef struct Rule {
    bool set_state;
    unsigned event;
    uint64_t state; /* 0: any */
    /* inject-error */
    int error;
    unsigned types; /* bits by IoType */
    bool has_sector, once, immediately, active;
    uint64_t sector;
    /* set-state */
    uint64_t new_state;
} Rule;

/* A place to wait at, and who waits there; it lives while either is wanted. */
typedef struct Break {
    BlkEvent event;
    char *tag;
    Coroutine *waiting; /* NULL: nobody has come yet */
} Break;

typedef struct BlkDebug {
    BlkFile base;
    GArray *rules;     /* of Rule */
    GPtrArray *breaks; /* of Break */
    uint64_t state;
} BlkDebug;

static BlkDebug *debug_of(const BlkFile *file)
{
    return container_of(file, BlkDebug, base);
}

const char *blkdebug_event_name(BlkEvent event)
{
    return event_names[event];
}

/* ---- What happens ---- */

static Rule *rule_at(const BlkDebug *d, unsigned i)
{
    return &g_array_index(d->rules, Rule, i);
}

static bool rule_hears(const Rule *rule, const BlkDebug *d, BlkEvent event)
{
    return rule->event == event && (!rule->state || rule->state == d->state);
}

/* ---- Waiting ---- */

/* Who is no coroutine cannot wait. */
static void wait_at_break(BlkDebug *d, BlkEvent event)
{
    for (unsigned i = 0; co_self() && i < d->breaks->len; i++) {
        Break *b = d->breaks->pdata[i];
        if (b->waiting || b->event != event)
            continue;
        b->waiting = co_self();
        co_yield ();
        return; /* who woke us has freed it */
    }
}

static void end_break(BlkDebug *d, unsigned i)
{
    Break *b = g_ptr_array_remove_index(d->breaks, i);
    if (b->waiting)
        co_wake(b->waiting);
    g_free(b->tag);
    g_free(b);
}

bool blkdebug_break(BlkFile *file, const char *event, const char *tag, GError **error)
{
    unsigned n = EVENT_NONE + 1;
    if (file->ops != &debug_ops)
        return fail(error, "'%s' is not open through blkdebug", file->name);
    while (n < EVENT_COUNT && strcmp(event_names[n], event))
        n++;
    if (n == EVENT_COUNT)
        return fail(error, "there is no event '%s'", event);
    Break *b = g_new(Break, 1);
    *b = (Break){(BlkEvent)n, g_strdup(tag), NULL};
    g_ptr_array_add(debug_of(file)->breaks, b);
    return true;
}

/* The first break of that tag at which somebody waits, or (any) at which not; -1: none. */
static int find_break(const BlkFile *file, const char *tag, bool any)
{
    if (file->ops != &debug_ops)
        return -1;
    const GPtrArray *breaks = debug_of(file)->breaks;
    for (unsigned i = 0; i < breaks->len; i++) {
        const Break *b = breaks->pdata[i];
        if (!strcmp(b->tag, tag) && (any || b->waiting))
            return (int)i;
    }
    return -1;
}

bool blkdebug_remove_break(BlkFile *file, const char *tag)
{
    int i = find_break(file, tag, true);
    if (i < 0)
        return false;
    for (; i >= 0; i = find_break(file, tag, true))
        end_break(debug_of(file), (unsigned)i);
    return true;
}

bool blkdebug_resume(BlkFile *file, const char *tag)
{
    int i = find_break(file, tag, false);
    if (i >= 0)
        end_break(debug_of(file), (unsigned)i);
    return i >= 0;
}

bool blkdebug_is_suspended(const BlkFile *file, const char *tag)
{
    return find_break(file, tag, false) >= 0;
}

void blkdebug_resume_all(BlkFile *file)
{
    while (file->ops == &debug_ops && debug_of(file)->breaks->len)
        end_break(debug_of(file), 0);
}

/* ---- Events ---- */

/* The state changes only when all rules have been looked at: a rule must not wake the next. */
static void debug_event(BlkFile *file, BlkEvent event)
{
    BlkDebug *d = debug_of(file);
    uint64_t state = d->state;
    bool any = false;
    for (unsigned i = 0; i < d->rules->len; i++)
        any |= !rule_at(d, i)->set_state && rule_hears(rule_at(d, i), d, event);
    for (unsigned i = 0; i < d->rules->len; i++) {
        Rule *rule = rule_at(d, i);
        bool hears = rule_hears(rule, d, event);
        if (rule->set_state && hears)
            state = rule->new_state;
        else if (!rule->set_state && any)
            rule->active = hears;
    }
    d->state = state;
    if (file->below)
        file_event(file->below, event);
    wait_at_break(d, event);
}

static bool rule_hits(const Rule *rule, unsigned types, uint64_t offset, uint64_t bytes)
{
    if (rule->set_state || !rule->active || !(rule->types & types))
        return false;
    uint64_t at = rule->sector * 512;
    return !rule->has_sector || (at + 512 > offset && at < offset + bytes);
}

/* Lets everything else that is ready go first, as an error of a real disk would. */
static void take_a_turn(void)
{
    Coroutine *self = co_self();
    if (!self)
        return;
    co_wake(self);
    co_yield ();
}

/* 0, or the error that the request is to end with. */
static int inject(BlkFile *file, unsigned types, uint64_t offset, uint64_t bytes)
{
    BlkDebug *d = debug_of(file);
    for (unsigned i = 0; i < d->rules->len; i++) {
        Rule rule = *rule_at(d, i);
        if (!rule_hits(&rule, types, offset, bytes))
            continue;
        if (rule.once)
            g_array_remove_index(d->rules, i);
        if (!rule.immediately)
            take_a_turn();
        return -rule.error;
    }
    return 0;
}

/* ---- Calls ---- */

static int debug_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = inject(file, 1u << IO_READ, offset, bytes);
    return ret ? ret : file_read(file->below, offset, buf, bytes);
}

static int debug_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = inject(file, 1u << IO_WRITE, offset, bytes);
    return ret ? ret : file_write(file->below, offset, buf, bytes);
}

static int debug_flush(BlkFile *file)
{
    int ret = inject(file, 1u << IO_FLUSH, 0, 0);
    return ret ? ret : file_flush(file->below);
}

static int debug_zero(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap)
{
    unsigned types = 1u << IO_ZERO | (unmap ? 1u << IO_DISCARD : 0);
    int ret = inject(file, types, offset, bytes);
    if (ret)
        return ret;
    BlkFile *below = file->below;
    ret = below->ops->zero ? below->ops->zero(below, offset, bytes, unmap) : -ENOTSUP;
    if (!ret)
        below->size = MAX(below->size, offset + bytes);
    return ret;
}

static int debug_truncate(BlkFile *file, uint64_t size)
{
    int ret = inject(file, 1u << IO_WRITE, size, 0);
    return ret ? ret : file_truncate(file->below, size);
}

static int debug_extent(BlkFile *file, uint64_t offset, uint64_t *bytes, bool *data)
{
    int ret = inject(file, 1u << IO_STATUS, offset, *bytes);
    return ret ? ret : file_extent(file->below, offset, bytes, data);
}

static int debug_reserve(BlkFile *file, uint64_t offset, uint64_t bytes)
{
    int ret = inject(file, 1u << IO_ZERO, offset, bytes);
    return ret ? ret : file_reserve(file->below, offset, bytes);
}

static void debug_close(BlkFile *file)
{
    BlkDebug *d = debug_of(file);
    blkdebug_resume_all(file);
    g_ptr_array_free(d->breaks, TRUE);
    file_close(file->below);
    g_array_free(d->rules, TRUE);
    g_free(file->name);
    g_free(d);
}

/* Nothing is answered at once: a request must be able to fail late. */
static const BlkFileOps debug_ops = {
    .name = "blkdebug",
    .read = debug_read,
    .write = debug_write,
    .flush = debug_flush,
    .zero = debug_zero,
    .truncate = debug_truncate,
    .extent = debug_extent,
    .reserve = debug_reserve,
    .event = debug_event,
    .close = debug_close,
};

/* ---- Rules ---- */

static const char *const inject_keys[] = {"event", "errno", "iotype",      "sector",
                                          "state", "once",  "immediately", NULL};
static const char *const state_keys[] = {"event", "state", "new_state", NULL};
static const char *const kinds[] = {"inject-error", "set-state", NULL};

static bool check_keys(const Options *rule, const char *kind, const char *const *keys,
                       GError **error)
{
    const char *key, *value;
    for (unsigned i = 0; options_nth(rule, i, &key, &value); i++)
        if (!g_strv_contains(keys, key))
            return fail(error, "%s: [%s] has no key '%s'", options_where(rule), kind, key);
    return true;
}

static bool read_inject(Rule *rule, const Options *options, GError **error)
{
    uint64_t number = EIO;
    unsigned type = 0;
    if (!check_keys(options, kinds[0], inject_keys, error) ||
        !options_get_uint(options, "errno", 1, 4095, &number, error) ||
        !options_get_enum(options, "iotype", io_words, &type, error) ||
        !options_get_uint(options, "sector", 0, INT64_MAX / 512, &rule->sector, error) ||
        !options_get_bool(options, "once", &rule->once, error) ||
        !options_get_bool(options, "immediately", &rule->immediately, error))
        return false;
    rule->error = (int)number;
    rule->types = options_has(options, "iotype") ? 1u << type : (1u << IO_STATUS) - 1;
    rule->has_sector = options_has(options, "sector");
    rule->active = rule->event == EVENT_NONE;
    return true;
}

static bool read_set_state(Rule *rule, const Options *options, GError **error)
{
    rule->set_state = true;
    if (!options_has(options, "event") || !options_has(options, "new_state"))
        return fail(error, "%s: [set-state] needs event and new_state", options_where(options));
    return check_keys(options, kinds[1], state_keys, error) &&
           options_get_uint(options, "new_state", 1, UINT32_MAX, &rule->new_state, error);
}

bool blkdebug_add_rule(BlkFile *file, const char *kind, const Options *options, GError **error)
{
    Rule rule = {0};
    if (file->ops != &debug_ops)
        return fail(error, "'%s' is not open through blkdebug", file->name);
    BlkDebug *d = debug_of(file);
    bool state = !strcmp(kind, kinds[1]);
    if (!state && strcmp(kind, kinds[0]))
        return fail(error, "%s: there is no [%s]; there are [%s] and [%s]", options_where(options),
                    kind, kinds[0], kinds[1]);
    if (d->rules->len == RULES_MAX)
        return fail(error, "%s: more than %u rules", options_where(options), RULES_MAX);
    if (!options_get_enum(options, "event", event_names, &rule.event, error) ||
        !options_get_uint(options, "state", 0, UINT32_MAX, &rule.state, error) ||
        !(state ? read_set_state(&rule, options, error) : read_inject(&rule, options, error)))
        return false;
    g_array_append_val(d->rules, rule);
    return true;
}

void blkdebug_clear(BlkFile *file)
{
    if (file->ops != &debug_ops)
        return;
    g_array_set_size(debug_of(file)->rules, 0);
    debug_of(file)->state = 1;
}

/* ---- The configuration file ---- */

typedef struct Group {
    char *kind; /* NULL: none yet */
    Options *options;
} Group;

static bool end_group(BlkDebug *d, Group *group, GError **error)
{
    bool ok = !group->kind || blkdebug_add_rule(&d->base, group->kind, group->options, error);
    g_clear_pointer(&group->kind, g_free);
    g_clear_pointer(&group->options, options_free);
    return ok;
}

static char *unquote(const char *text)
{
    g_autofree char *value = g_strstrip(g_strdup(text));
    size_t length = strlen(value);
    if (length >= 2 && value[0] == '"' && value[length - 1] == '"')
        return g_strndup(value + 1, length - 2);
    return g_steal_pointer(&value);
}

/* "[kind]", "[kind \"name\"]", "key = value", a comment or nothing. */
static bool read_line(BlkDebug *d, Group *group, const char *where, char *line, GError **error)
{
    g_strstrip(line);
    if (!*line || *line == '#')
        return true;
    if (*line == '[') {
        size_t length = strcspn(line + 1, " ]");
        if (!strchr(line, ']'))
            return fail(error, "%s: '%s': a ']' is missing", where, line);
        if (!end_group(d, group, error))
            return false;
        group->kind = g_strndup(line + 1, length);
        group->options = options_new(where);
        return true;
    }
    char *equals = strchr(line, '=');
    if (!equals || !group->kind)
        return fail(error,
                    "%s: '%s' is neither [inject-error], [set-state] nor a key = \"value\" "
                    "below one",
                    where, line);
    *equals = 0;
    g_autofree char *value = unquote(equals + 1);
    options_set(group->options, g_strstrip(line), value);
    return true;
}

static bool read_config(BlkDebug *d, const char *config, GError **error)
{
    g_autofree char *text = NULL;
    Group group = {0};
    GError *reason = NULL;
    if (!g_file_get_contents(config, &text, NULL, &reason)) {
        fail(error, "blkdebug: %s", reason->message);
        g_error_free(reason);
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    bool ok = true;
    for (unsigned i = 0; lines[i] && ok; i++)
        ok = read_line(d, &group, config, lines[i], error);
    if (ok)
        return end_group(d, &group, error);
    g_free(group.kind);
    options_free(group.options);
    return false;
}

BlkFile *blkdebug_open(BlkFile *child, const char *config, GError **error)
{
    BlkDebug *d = g_new0(BlkDebug, 1);
    d->rules = g_array_new(FALSE, TRUE, sizeof(Rule));
    d->breaks = g_ptr_array_new();
    d->state = 1;
    d->base = (BlkFile){.ops = &debug_ops,
                        .sched = child->sched,
                        .below = child,
                        .name = g_strdup(child->name),
                        .size = child->size,
                        .readonly = child->readonly,
                        .fixed = child->fixed,
                        .sparse = child->sparse,
                        .align = 1};
    if (!config || !*config || read_config(d, config, error))
        return &d->base;
    debug_close(&d->base);
    return NULL;
}

/* ---- Names ---- */

BlkFile *blkdebug_open_name(CoSched *sched, const char *name, HostFileMode mode, GError **error)
{
    const char *config = name + strlen(BLKDEBUG_PREFIX), *colon = strchr(config, ':');
    if (!colon) {
        fail(error, "'%s': the form is " BLKDEBUG_PREFIX "CONFIG:IMAGE; CONFIG may be empty", name);
        return NULL;
    }
    BlkFile *child = image_file_open(sched, colon + 1, mode, error);
    if (!child)
        return NULL;
    g_autofree char *path = g_strndup(config, (gsize)(colon - config));
    return blkdebug_open(child, path, error);
}
