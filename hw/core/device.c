/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device tree, properties, input pins. */
#include "hw/core/device.h"

#include <inttypes.h>
#include <string.h>

#include "hw/core/machine.h"
#include "util/error.h"
#include "util/options.h"
#include "util/timer.h"

/* ---- Properties ---- */

static void *prop_at(Device *dev, const Prop *prop)
{
    return (uint8_t *)dev + prop->offset;
}

static void set_defaults(Device *dev)
{
    for (const Prop *prop = dev->cls->props; prop && prop->name; prop++) {
        void *at = prop_at(dev, prop);
        if (prop->kind == PROP_STRING)
            *(char **)at = g_strdup(prop->text);
        else if (prop->kind != PROP_LINK && prop->kind != PROP_MAC)
            memcpy(at, &prop->value, prop->size);
    }
}

static void free_strings(Device *dev)
{
    for (const Prop *prop = dev->cls->props; prop && prop->name; prop++)
        if (prop->kind == PROP_STRING)
            g_free(*(char **)prop_at(dev, prop));
}

const Prop *device_find_prop(const DeviceClass *cls, const char *name)
{
    for (const Prop *prop = cls->props; prop && prop->name; prop++)
        if (!strcmp(prop->name, name))
            return prop;
    return NULL;
}

static bool fail_value(Device *dev, const Prop *prop, const char *text, const char *wanted,
                       GError **error)
{
    return fail(error, "%s: '%s' is no value for %s: it takes %s", dev->cls->name, text, prop->name,
                wanted);
}

static bool set_number(Device *dev, const Prop *prop, const char *text, GError **error)
{
    uint64_t value, max = prop->size >= 8 ? UINT64_MAX : (1ULL << 8 * prop->size) - 1;
    if (prop->max)
        max = prop->max;
    bool parsed = prop->kind == PROP_SIZE ? parse_size(text, 1, &value) : parse_uint(text, &value);
    if (!parsed || value < prop->min || value > max) {
        g_autofree char *wanted =
            g_strdup_printf("a number from %" PRIu64 " to %" PRIu64, prop->min, max);
        return fail_value(dev, prop, text, wanted, error);
    }
    memcpy(prop_at(dev, prop), &value, prop->size);
    return true;
}

static bool set_enum(Device *dev, const Prop *prop, const char *text, GError **error)
{
    for (int i = 0; prop->words[i]; i++) {
        if (!strcmp(prop->words[i], text)) {
            *(int *)prop_at(dev, prop) = i;
            return true;
        }
    }
    g_autofree char *words = g_strjoinv(", ", (char **)prop->words);
    return fail_value(dev, prop, text, words, error);
}

static bool set_mac(Device *dev, const Prop *prop, const char *text, GError **error)
{
    uint8_t mac[6];
    if (!parse_mac(text, mac))
        return fail_value(dev, prop, text, "an address such as 52:54:00:12:34:56", error);
    memcpy(prop_at(dev, prop), mac, sizeof(mac));
    return true;
}

static bool set_link(Device *dev, const Prop *prop, const char *text, GError **error)
{
    void *object = prop->resolve(text, error);
    if (!object)
        return fail_prefix(error, "%s: %s", dev->cls->name, prop->name);
    *(void **)prop_at(dev, prop) = object;
    return true;
}

static bool fail_unknown_prop(const DeviceClass *cls, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const Prop *prop = cls->props; prop && prop->name; prop++)
        g_ptr_array_add(names, (void *)prop->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_word(name, (const char *const *)names->pdata);
    return fail(error, "%s has no property '%s'%s%s%s (see -device %s,help)", cls->name, name,
                near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "", cls->name);
}

bool device_set_prop(Device *dev, const char *name, const char *text, GError **error)
{
    const Prop *prop = device_find_prop(dev->cls, name);
    if (!prop)
        return fail_unknown_prop(dev->cls, name, error);
    switch (prop->kind) {
    case PROP_BOOL:
        return parse_bool(text, prop_at(dev, prop)) ||
               fail_value(dev, prop, text, "on or off", error);
    case PROP_STRING:
        g_free(*(char **)prop_at(dev, prop));
        *(char **)prop_at(dev, prop) = g_strdup(text);
        return true;
    case PROP_ENUM:
        return set_enum(dev, prop, text, error);
    case PROP_LINK:
        return set_link(dev, prop, text, error);
    case PROP_MAC:
        return set_mac(dev, prop, text, error);
    default:
        return set_number(dev, prop, text, error);
    }
}

void device_set_link(Device *dev, const char *name, void *object)
{
    const Prop *prop = device_find_prop(dev->cls, name);
    g_return_if_fail(prop && prop->kind == PROP_LINK);
    *(void **)prop_at(dev, prop) = object;
}

/* ---- Life ---- */

static char *unique_id(Machine *machine, const char *name)
{
    if (!device_find(machine, name))
        return g_strdup(name);
    for (unsigned n = 1;; n++) {
        g_autofree char *id = g_strdup_printf("%s.%u", name, n);
        if (!device_find(machine, id))
            return g_steal_pointer(&id);
    }
}

Device *device_new(Machine *machine, Device *parent, const DeviceClass *cls, const char *id)
{
    Device *dev = g_malloc0(cls->size);
    dev->cls = cls;
    dev->machine = machine;
    dev->parent = parent;
    dev->id = unique_id(machine, id ? id : cls->name);
    dev->children = g_ptr_array_new();
    set_defaults(dev);
    g_ptr_array_add(parent ? parent->children : machine->devices, dev);
    return dev;
}

bool device_realize(Device *dev, GError **error)
{
    region_begin();
    bool ok = !dev->cls->realize || dev->cls->realize(dev, error);
    if (ok) {
        dev->realized = true;
        device_reset(dev);
    }
    region_commit();
    return ok;
}

Device *device_create(Machine *machine, Device *parent, const DeviceClass *cls, GError **error)
{
    Device *dev = device_new(machine, parent, cls, NULL);
    if (device_realize(dev, error))
        return dev;
    device_free(dev);
    return NULL;
}

static void cancel_timers(const StateDesc *desc, void *state)
{
    for (const StateField *field = desc->fields; field->kind != STATE_KIND_END; field++)
        for (uint32_t i = 0; i < field->count; i++) {
            uint8_t *at = (uint8_t *)state + field->offset + (size_t)i * field->elem_size;
            if (field->kind == STATE_KIND_TIMER)
                timer_cancel((Timer *)at);
            else if (field->kind == STATE_KIND_STRUCT)
                cancel_timers(field->sub, at);
        }
}

void device_free(Device *dev)
{
    if (!dev)
        return;
    while (dev->children->len)
        device_free(g_ptr_array_index(dev->children, dev->children->len - 1));
    if (dev->cls->state)
        cancel_timers(dev->cls->state, dev);
    if (dev->realized && dev->cls->unrealize)
        dev->cls->unrealize(dev);
    g_ptr_array_remove(dev->parent ? dev->parent->children : dev->machine->devices, dev);
    g_ptr_array_free(dev->children, TRUE);
    free_strings(dev);
    g_free(dev->id);
    g_free(dev);
}

void device_reset(Device *dev)
{
    if (dev->realized && dev->cls->state)
        state_reset(dev->cls->state, dev);
    if (dev->realized && dev->cls->reset)
        dev->cls->reset(dev);
    for (guint i = 0; i < dev->children->len; i++)
        device_reset(g_ptr_array_index(dev->children, i));
}

/* ---- Walks ---- */

static void walk(GPtrArray *devices, void (*fn)(Device *dev, void *opaque), void *opaque)
{
    for (guint i = 0; i < devices->len; i++) {
        Device *dev = g_ptr_array_index(devices, i);
        fn(dev, opaque);
        walk(dev->children, fn, opaque);
    }
}

void device_foreach(Machine *machine, void (*fn)(Device *dev, void *opaque), void *opaque)
{
    walk(machine->devices, fn, opaque);
}

typedef struct Search {
    const char *id, *class_name;
    Device *found;
} Search;

static void match(Device *dev, void *opaque)
{
    Search *search = opaque;
    if (search->found)
        return;
    if ((search->id && !strcmp(dev->id, search->id)) ||
        (search->class_name && !strcmp(dev->cls->name, search->class_name)))
        search->found = dev;
}

Device *device_find(Machine *machine, const char *id)
{
    Search search = {.id = id};
    device_foreach(machine, match, &search);
    return search.found;
}

Device *device_find_class(Machine *machine, const char *class_name)
{
    Search search = {.class_name = class_name};
    device_foreach(machine, match, &search);
    return search.found;
}

/* ---- Input pins ---- */

static void input_dispatch(void *opaque, unsigned n, bool level)
{
    Device *dev = opaque;
    if (dev->in_intercept)
        dev->in_intercept(dev->in_intercept_opaque, n, level);
    else
        dev->in_fn(dev, n, level);
}

void device_init_inputs(Device *dev, IrqFn *fn, unsigned count)
{
    dev->in_fn = fn;
    dev->in_count = count;
}

IrqLine device_input(Device *dev, unsigned n)
{
    g_return_val_if_fail(n < dev->in_count, ((IrqLine){0}));
    return irq_line(input_dispatch, dev, n);
}

/* ---- Describe ---- */

static void describe_prop(Device *dev, const Prop *prop, GString *out)
{
    const uint8_t *at = prop_at(dev, prop);
    uint64_t number = 0;
    if (prop->kind == PROP_UINT || prop->kind == PROP_SIZE)
        memcpy(&number, at, prop->size);
    switch (prop->kind) {
    case PROP_BOOL:
        g_string_append(out, *(const bool *)at ? "on" : "off");
        break;
    case PROP_STRING:
        g_string_append_printf(out, "\"%s\"", *(char *const *)at ? *(char *const *)at : "");
        break;
    case PROP_ENUM:
        g_string_append(out, prop->words[*(const int *)at]);
        break;
    case PROP_LINK:
        g_string_append(out, *(void *const *)at ? "(connected)" : "(none)");
        break;
    case PROP_MAC:
        g_string_append_printf(out, "%02x:%02x:%02x:%02x:%02x:%02x", at[0], at[1], at[2], at[3],
                               at[4], at[5]);
        break;
    default:
        g_string_append_printf(out, "%" PRIu64 " (0x%" PRIx64 ")", number, number);
    }
}

static void describe_device(Device *dev, unsigned indent, GString *out)
{
    g_string_append_printf(out, "%*sdev: %s, id \"%s\"\n", indent, "", dev->cls->name, dev->id);
    for (const Prop *prop = dev->cls->props; prop && prop->name; prop++) {
        g_string_append_printf(out, "%*s%s = ", indent + 2, "", prop->name);
        describe_prop(dev, prop, out);
        g_string_append_c(out, '\n');
    }
    if (dev->cls->describe)
        dev->cls->describe(dev, out);
    for (guint i = 0; i < dev->children->len; i++)
        describe_device(g_ptr_array_index(dev->children, i), indent + 2, out);
}

void device_describe_tree(Machine *machine, GString *out)
{
    g_string_append(out, "bus: main-system-bus\n");
    for (guint i = 0; i < machine->devices->len; i++)
        describe_device(g_ptr_array_index(machine->devices, i), 2, out);
}

static const char *prop_type(const Prop *prop)
{
    static const char *const names[] = {"bool", "uint", "size", "str", "enum", "id", "mac"};
    return names[prop->kind];
}

void device_class_describe(const DeviceClass *cls, GString *out)
{
    g_string_append_printf(out, "%s: %s\n", cls->name, cls->desc);
    for (const Prop *prop = cls->props; prop && prop->name; prop++) {
        g_string_append_printf(out, "  %s=<%s>", prop->name, prop_type(prop));
        if (prop->help)
            g_string_append_printf(out, " - %s", prop->help);
        if (prop->kind == PROP_BOOL)
            g_string_append(out, prop->value ? " (default: on)" : " (default: off)");
        else if (prop->kind == PROP_UINT || prop->kind == PROP_SIZE)
            g_string_append_printf(out, " (default: %" PRIu64 ")", prop->value);
        else if (prop->kind == PROP_ENUM)
            g_string_append_printf(out, " (default: %s)", prop->words[prop->value]);
        g_string_append_c(out, '\n');
    }
}
