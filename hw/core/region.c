/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The region tree.  Every change ends in as_tree_changed(), which makes new FlatViews. */
#include "hw/core/region.h"

#include "as_private.h"
#include "util/error.h"

static unsigned batch_depth;
static bool batch_changed;

static void changed(void)
{
    if (batch_depth)
        batch_changed = true;
    else
        as_tree_changed();
}

void region_begin(void)
{
    batch_depth++;
}

void region_commit(void)
{
    if (--batch_depth == 0 && batch_changed) {
        batch_changed = false;
        as_tree_changed();
    }
}

/* ---- Life ---- */

static void init(Region *region, RegionKind kind, const char *name, uint64_t size)
{
    *region = (Region){.name = name, .kind = kind, .size = size, .enabled = true};
}

void region_init_container(Region *region, const char *name, uint64_t size)
{
    init(region, REGION_CONTAINER, name, size);
    region->children = g_ptr_array_new();
}

void region_init_io(Region *region, const char *name, uint64_t size, const RegionOps *ops,
                    void *opaque, EventLoop *loop)
{
    init(region, REGION_IO, name, size);
    region->ops = ops;
    region->opaque = opaque;
    region->loop = loop ? loop : loop_main();
}

bool region_init_ram(Region *region, const char *name, uint64_t size, GError **error)
{
    RamBlock *ram = ram_new(name, size, error);
    init(region, REGION_RAM, name, ram ? ram->size : 0);
    region->ram = ram;
    return ram != NULL;
}

bool region_init_rom(Region *region, const char *name, uint64_t size, GError **error)
{
    bool ok = region_init_ram(region, name, size, error);
    region->readonly = true;
    return ok;
}

void region_init_alias(Region *region, const char *name, Region *target, hwaddr offset,
                       uint64_t size)
{
    init(region, REGION_ALIAS, name, size);
    region->target = target;
    region->target_offset = offset;
}

void region_fini(Region *region)
{
    region_remove(region);
    for (guint i = 0; region->children && i < region->children->len; i++)
        ((Region *)g_ptr_array_index(region->children, i))->parent = NULL;
    if (region->children)
        g_ptr_array_free(region->children, TRUE);
    if (region->doorbells)
        g_array_free(region->doorbells, TRUE);
    ram_free(region->ram);
    *region = (Region){.name = region->name};
}

/* ---- Shape ---- */

void region_add_overlap(Region *parent, hwaddr addr, Region *child, int priority)
{
    GPtrArray *children = parent->children;
    guint place = 0;
    while (place < children->len &&
           ((Region *)g_ptr_array_index(children, place))->priority > priority)
        place++;
    g_ptr_array_insert(children, (gint)place, child);
    child->parent = parent;
    child->addr = addr;
    child->priority = priority;
    changed();
}

void region_add(Region *parent, hwaddr addr, Region *child)
{
    region_add_overlap(parent, addr, child, 0);
}

void region_remove(Region *child)
{
    if (!child->parent)
        return;
    g_ptr_array_remove(child->parent->children, child);
    child->parent = NULL;
    changed();
}

void region_set_enabled(Region *region, bool enabled)
{
    if (region->enabled == enabled)
        return;
    region->enabled = enabled;
    changed();
}

void region_set_addr(Region *region, hwaddr addr)
{
    if (region->addr == addr)
        return;
    region->addr = addr;
    changed();
}

void region_set_size(Region *region, uint64_t size)
{
    if (region->size == size)
        return;
    region->size = size;
    changed();
}

void region_set_alias_offset(Region *region, hwaddr offset)
{
    if (region->target_offset == offset)
        return;
    region->target_offset = offset;
    changed();
}

void region_set_readonly(Region *region, bool readonly)
{
    if (region->readonly == readonly)
        return;
    region->readonly = readonly;
    changed();
}

void region_set_coalesced(Region *region, bool coalesced)
{
    if (region->coalesced == coalesced)
        return;
    region->coalesced = coalesced;
    as_region_changed(region);
    changed();
}

void region_set_dirty_log(Region *region, DirtyClient client, bool on)
{
    unsigned clients = region->dirty_clients & ~(1u << client);
    if (on) {
        ram_dirty_enable(region->ram, client);
        clients |= 1u << client;
    }
    if (clients == region->dirty_clients)
        return;
    region->dirty_clients = clients;
    changed();
}

static bool same_bell(const Doorbell *a, const Doorbell *b)
{
    return a->offset == b->offset && a->size == b->size && a->match == b->match &&
           a->data == b->data && a->fd == b->fd;
}

void region_add_doorbell(Region *region, const Doorbell *bell)
{
    if (!region->doorbells)
        region->doorbells = g_array_new(FALSE, FALSE, sizeof(Doorbell));
    g_array_append_val(region->doorbells, *bell);
    as_region_changed(region);
    changed();
}

void region_remove_doorbell(Region *region, const Doorbell *bell)
{
    for (guint i = 0; region->doorbells && i < region->doorbells->len; i++) {
        if (same_bell(&g_array_index(region->doorbells, Doorbell, i), bell)) {
            g_array_remove_index(region->doorbells, i);
            as_region_changed(region);
            changed();
            return;
        }
    }
}
