/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Region trees flattened into FlatViews.
 *
 * The tree is walked from the highest priority down; each leaf fills what nothing above it has
 * taken.  Addresses are signed 128-bit numbers on the way, because an alias may start before its
 * target's zero and a region may be the whole 64-bit space.
 */
#include <inttypes.h>

#include "as_private.h"
#include "util/rcu.h"

typedef __int128 Wide;

typedef struct Piece {
    Wide start, end;
    FlatRange range; /* start and size are filled at the end */
} Piece;

static GPtrArray *spaces;  /* of AddressSpace */
static GPtrArray *touched; /* of Region: as_region_changed() since the last update */

static Wide region_width(const Region *region)
{
    return region->size == REGION_ALL ? (Wide)1 << 64 : (Wide)region->size;
}

/* Puts the parts of [start, end) that no piece covers into the sorted array. */
static void fill(GArray *pieces, Wide start, Wide end, const Region *leaf, Wide base, bool readonly)
{
    guint i = 0;
    while (start < end) {
        while (i < pieces->len && g_array_index(pieces, Piece, i).end <= start)
            i++;
        /* Copied: inserting moves the array. */
        Wide next_start = end, next_end = end;
        if (i < pieces->len) {
            next_start = g_array_index(pieces, Piece, i).start;
            next_end = g_array_index(pieces, Piece, i).end;
        }
        Wide stop = MIN(end, next_start);
        if (start < stop) {
            Piece piece = {start,
                           stop,
                           {.region = (Region *)leaf,
                            .offset = (hwaddr)(start - base),
                            .readonly = readonly,
                            .dirty_clients = leaf->dirty_clients}};
            g_array_insert_val(pieces, i, piece);
            i++;
        }
        if (stop < next_start)
            break;
        start = MAX(stop, next_end);
    }
}

/* base: the address at which the region's offset 0 stands; [lo, hi): what may be seen of it. */
static void render(GArray *pieces, const Region *region, Wide base, Wide lo, Wide hi, bool readonly)
{
    lo = MAX(lo, base);
    hi = MIN(hi, base + region_width(region));
    if (!region->enabled || lo >= hi)
        return;
    readonly |= region->readonly;
    switch (region->kind) {
    case REGION_CONTAINER:
        for (guint i = 0; i < region->children->len; i++) {
            const Region *child = g_ptr_array_index(region->children, i);
            render(pieces, child, base + child->addr, lo, hi, readonly);
        }
        break;
    case REGION_ALIAS:
        render(pieces, region->target, base - region->target_offset, lo, hi, readonly);
        break;
    default:
        fill(pieces, lo, hi, region, base, readonly && region->kind == REGION_RAM);
    }
}

static bool joins(const FlatRange *a, const FlatRange *b)
{
    return a->start + a->size == b->start && a->region == b->region &&
           a->offset + a->size == b->offset && a->readonly == b->readonly;
}

static FlatView *flatten(const AddressSpace *as)
{
    g_autoptr(GArray) pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    render(pieces, as->root, 0, 0, (Wide)as->width + 1, false);
    FlatView *view = g_malloc0(sizeof(FlatView) + pieces->len * sizeof(FlatRange));
    for (guint i = 0; i < pieces->len; i++) {
        const Piece *piece = &g_array_index(pieces, Piece, i);
        FlatRange range = piece->range;
        range.start = (hwaddr)piece->start;
        range.size = (uint64_t)MIN(piece->end - piece->start, (Wide)UINT64_MAX);
        if (view->count && joins(&view->ranges[view->count - 1], &range))
            view->ranges[view->count - 1].size += range.size;
        else
            view->ranges[view->count++] = range;
    }
    return view;
}

static bool same_view(const FlatView *a, const FlatView *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++) {
        const FlatRange *x = &a->ranges[i], *y = &b->ranges[i];
        if (x->start != y->start || x->size != y->size || x->region != y->region ||
            x->offset != y->offset || x->readonly != y->readonly ||
            x->dirty_clients != y->dirty_clients)
            return false;
        if (touched && g_ptr_array_find(touched, x->region, NULL))
            return false;
    }
    return true;
}

typedef struct Listener {
    ViewChangedFn *fn;
    void *opaque;
} Listener;

static void update(AddressSpace *as)
{
    FlatView *fresh = flatten(as);
    FlatView *old = as->view;
    if (same_view(old, fresh)) {
        g_free(fresh);
        return;
    }
    __atomic_store_n(&as->view, fresh, __ATOMIC_RELEASE);
    for (guint i = 0; i < as->listeners->len; i++) {
        Listener *listener = &g_array_index(as->listeners, Listener, i);
        listener->fn(listener->opaque, as, old, fresh);
    }
    rcu_free_later(old, g_free);
}

void as_tree_changed(void)
{
    for (guint i = 0; spaces && i < spaces->len; i++)
        update(g_ptr_array_index(spaces, i));
    if (touched)
        g_ptr_array_set_size(touched, 0);
}

void as_region_changed(Region *region)
{
    if (!touched)
        touched = g_ptr_array_new();
    g_ptr_array_add(touched, region);
}

void as_init(AddressSpace *as, const char *name, Region *root, uint64_t width_mask)
{
    *as = (AddressSpace){.name = name, .root = root, .width = width_mask};
    as->listeners = g_array_new(FALSE, FALSE, sizeof(Listener));
    as->view = g_malloc0(sizeof(FlatView));
    if (!spaces)
        spaces = g_ptr_array_new();
    g_ptr_array_add(spaces, as);
    update(as);
}

void as_fini(AddressSpace *as)
{
    g_ptr_array_remove(spaces, as);
    g_array_free(as->listeners, TRUE);
    rcu_free_later(as->view, g_free);
    as->view = NULL;
}

void as_add_listener(AddressSpace *as, ViewChangedFn *fn, void *opaque)
{
    static const FlatView empty;
    Listener listener = {fn, opaque};
    g_array_append_val(as->listeners, listener);
    fn(opaque, as, &empty, as->view);
}

void as_remove_listener(AddressSpace *as, ViewChangedFn *fn, void *opaque)
{
    for (guint i = 0; i < as->listeners->len; i++) {
        Listener *listener = &g_array_index(as->listeners, Listener, i);
        if (listener->fn == fn && listener->opaque == opaque) {
            g_array_remove_index(as->listeners, i);
            return;
        }
    }
}

const FlatRange *view_find(const FlatView *view, hwaddr addr)
{
    unsigned lo = 0, hi = view->count;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        const FlatRange *range = &view->ranges[mid];
        if (addr < range->start)
            hi = mid;
        else if (addr - range->start >= range->size)
            lo = mid + 1;
        else
            return range;
    }
    return NULL;
}

/* ---- `info mtree` ---- */

static const char *kind_name(const Region *region)
{
    switch (region->kind) {
    case REGION_RAM:
        return region->readonly ? "rom" : "ram";
    case REGION_IO:
        return "i/o";
    case REGION_ALIAS:
        return "alias";
    default:
        return "container";
    }
}

static void describe_region(const Region *region, hwaddr base, unsigned depth, GString *out)
{
    uint64_t last = base + (region->size == REGION_ALL ? UINT64_MAX : region->size - 1);
    g_string_append_printf(out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", 2 * depth, "",
                           base, last, region->priority, kind_name(region), region->name);
    if (region->kind == REGION_ALIAS)
        g_string_append_printf(out, " @%s %016" PRIx64 "-%016" PRIx64, region->target->name,
                               region->target_offset, region->target_offset + region->size - 1);
    g_string_append(out, region->enabled ? "\n" : " [disabled]\n");
    for (guint i = 0; region->children && i < region->children->len; i++) {
        const Region *child = g_ptr_array_index(region->children, i);
        describe_region(child, base + child->addr, depth + 1, out);
    }
}

void as_describe(AddressSpace *as, bool flat, GString *out)
{
    g_string_append_printf(out, flat ? "FlatView of %s\n" : "address-space: %s\n", as->name);
    if (!flat) {
        describe_region(as->root, 0, 1, out);
        return;
    }
    for (unsigned i = 0; i < as->view->count; i++) {
        const FlatRange *range = &as->view->ranges[i];
        const char *kind = range->region->kind == REGION_IO ? "i/o"
                           : range->readonly                ? "rom"
                                                            : "ram";
        g_string_append_printf(out, "  %016" PRIx64 "-%016" PRIx64 " (%s): %s", range->start,
                               range->start + range->size - 1, kind, range->region->name);
        if (range->offset)
            g_string_append_printf(out, " @%016" PRIx64, range->offset);
        g_string_append_c(out, '\n');
    }
}
