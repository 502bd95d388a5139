/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS: passwords put into key slots and taken out of them.
 *
 * A slot counts by four bytes of the header, which lie within one sector; they are written last
 * when a slot becomes active, and first when it is given up.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/secret.h"
#include "luks.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/threadpool.h"

const CreateOption luks_amend_options[] = {
    {"state", "active: put a password into a key slot; inactive: erase slots"},
    {"new-secret", "ID of the -object secret with the password to put in"},
    {"old-secret", "erase the slots that this secret's password opens"},
    {"keyslot", "0 to 7; without it a free slot is taken"},
    {"iter-time", "milliseconds that a try of the new password takes (2000)"},
    {NULL, NULL},
};

typedef struct Amend {
    Luks *l;
    BlkFile *file;
    uint64_t at, room;
    bool force, has_slot;
    uint64_t slot, iter_ms;
    const char *new_secret, *old_secret;
    GError **error;
} Amend;

/* ---- The file ---- */

static int write_entry(const Amend *a, unsigned n, bool all)
{
    uint8_t entry[LUKS_SLOT_BYTES];
    luks_put_slot(entry, &a->l->slots[n]);
    uint64_t at = a->at + LUKS_AT_SLOTS + (uint64_t)n * LUKS_SLOT_BYTES;
    int ret = file_pwrite(a->file, at, entry, all ? sizeof(entry) : 4);
    return ret ? ret : file_flush(a->file);
}

static int set_active(const Amend *a, unsigned n, bool active)
{
    a->l->slots[n].active = active;
    int ret = write_entry(a, n, false);
    if (ret) /* not known; what is in memory only serves this amendment */
        a->l->slots[n].active = !active;
    return ret;
}

static uint64_t slot_end(const Luks *l, const LuksSlot *slot)
{
    return slot->offset + align_up((uint64_t)slot->stripes * l->key_bytes, CIPHER_SECTOR);
}

/* A free slot's place is told by the header, which may be anybody's. */
static bool check_place(const Amend *a, unsigned n)
{
    const LuksSlot *s = &a->l->slots[n];
    uint64_t limit = a->l->payload ? MIN(a->room, a->l->payload) : a->room;
    if (!s->stripes || s->stripes > LUKS_MAX_STRIPES || s->offset < LUKS_HEADER_BYTES ||
        slot_end(a->l, s) > limit)
        return fail(a->error, "'%s': key slot %u is out of bounds", a->file->name, n);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *other = &a->l->slots[i];
        if (i != n && other->active && s->offset < slot_end(a->l, other) &&
            other->offset < slot_end(a->l, s))
            return fail(a->error, "'%s': key slots %u and %u overlap", a->file->name, n, i);
    }
    return true;
}

/* ---- Putting in ---- */

static bool choose_slot(const Amend *a, unsigned *n)
{
    *n = (unsigned)a->slot;
    if (a->has_slot)
        return !a->l->slots[*n].active || a->force ||
               fail(a->error, "Refusing to overwrite active keyslot %u - please erase it first",
                    *n);
    for (*n = 0; *n < LUKS_SLOTS; ++*n)
        if (!a->l->slots[*n].active)
            return true;
    return fail(a->error, "'%s': all key slots are in use", a->file->name);
}

static int store(const Amend *a, unsigned n, const LuksSeal *seal)
{
    int ret = a->l->slots[n].active ? set_active(a, n, false) : 0;
    if (!ret)
        ret = file_pwrite(a->file, a->at + seal->slot.offset, seal->stripes, seal->bytes);
    if (!ret)
        ret = file_flush(a->file);
    a->l->slots[n] = seal->slot;
    if (!ret)
        ret = write_entry(a, n, true);
    return ret ? ret : set_active(a, n, true);
}

static bool activate(const Amend *a)
{
    unsigned n;
    LuksSeal seal = {.luks = a->l, .iter_ms = a->iter_ms, .error = a->error};
    if (!a->new_secret)
        return fail(a->error, "'new-secret' is required to activate a keyslot");
    if (a->old_secret)
        return fail(a->error, "'old-secret' must not be given when activating keyslots");
    seal.password = secret_find(a->new_secret, &seal.password_bytes, a->error);
    if (!seal.password || !choose_slot(a, &n) || !check_place(a, n))
        return false;
    seal.slot = a->l->slots[n];
    seal.slot.active = false;
    int ret = co_pool(luks_slot_seal, &seal);
    bool sealed = !ret;
    if (sealed)
        ret = store(a, n, &seal);
    luks_seal_free(&seal);
    return sealed &&
           (!ret || fail_errno(a->error, -ret, "'%s': cannot write key slot %u", a->file->name, n));
}

/* ---- Taking out ---- */

static bool erase(const Amend *a, unsigned n)
{
    LuksSlot *slot = &a->l->slots[n];
    if (!check_place(a, n))
        return false;
    size_t bytes = slot_end(a->l, slot) - slot->offset;
    g_autofree uint8_t *noise = g_malloc(bytes);
    if (!random_bytes(noise, bytes, a->error))
        return false;
    int ret = set_active(a, n, false);
    if (!ret)
        ret = file_pwrite(a->file, a->at + slot->offset, noise, bytes);
    slot->iterations = 0;
    memset(slot->salt, 0, sizeof(slot->salt));
    if (!ret)
        ret = write_entry(a, n, true);
    return !ret || fail_errno(a->error, -ret, "'%s': cannot erase key slot %u", a->file->name, n);
}

static unsigned count_active(const Luks *l)
{
    unsigned count = 0;
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        count += l->slots[i].active;
    return count;
}

/* Those of the active slots that the old password opens, a bit each. */
static bool find_slots(const Amend *a, unsigned *found)
{
    size_t bytes;
    uint8_t key[LUKS_MAX_KEY];
    const void *password = secret_find(a->old_secret, &bytes, a->error);
    *found = 0;
    if (!password)
        return false;
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        if (!a->l->slots[i].active)
            continue;
        int ret = luks_slot_open(a->l, i, a->file, a->at, password, bytes, key);
        if (ret && ret != -EACCES)
            return fail_errno(a->error, -ret, "'%s': cannot try key slot %u", a->file->name, i);
        *found |= ret ? 0 : 1u << i;
    }
    wipe(key, sizeof(key));
    return true;
}

static bool erase_one(const Amend *a, unsigned found)
{
    unsigned n = (unsigned)a->slot;
    if (a->old_secret && !(found & 1u << n))
        return fail(a->error,
                    "Given keyslot %u doesn't contain the given old password for erase operation",
                    n);
    if (!a->force && !a->l->slots[n].active)
        return fail(a->error, "Given keyslot %u is already erased (inactive)", n);
    if (!a->force && count_active(a->l) == 1)
        return fail(a->error,
                    "Attempt to erase the only active keyslot %u which will erase all the data in "
                    "the image irreversibly - refusing operation",
                    n);
    return erase(a, n);
}

static bool deactivate(const Amend *a, bool has_time)
{
    unsigned found = 0;
    if (a->new_secret)
        return fail(a->error, "'new-secret' must not be given when erasing keyslots");
    if (has_time)
        return fail(a->error, "'iter-time' must not be given when erasing keyslots");
    if (!a->old_secret && !a->has_slot)
        return fail(a->error, "To erase keyslot(s), either explicit keyslot index or the password "
                              "currently contained in them must be given");
    if (a->old_secret && !find_slots(a, &found))
        return false;
    if (a->has_slot)
        return erase_one(a, found);
    if (!found)
        return fail(a->error, "No keyslots match given (old) password for erase operation");
    if (!a->force && (unsigned)__builtin_popcount(found) == count_active(a->l))
        return fail(a->error,
                    "All the active keyslots match the (old) password that was given and erasing "
                    "them will erase all the data in the image irreversibly - refusing operation");
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (found & 1u << i && !erase(a, i))
            return false;
    return true;
}

/* ---- Options ---- */

bool luks_amend(Luks *l, BlkFile *file, uint64_t at, uint64_t room, const Options *options,
                const char *prefix, bool force, GError **error)
{
    static const char *const states[] = {"active", "inactive", NULL};
    Amend a = {.l = l,
               .file = file,
               .at = at,
               .room = room,
               .force = force,
               .iter_ms = 2000,
               .error = error};
    unsigned state = 0;
    g_autofree char *state_key = g_strconcat(prefix, "state", NULL);
    g_autofree char *slot_key = g_strconcat(prefix, "keyslot", NULL);
    g_autofree char *time_key = g_strconcat(prefix, "iter-time", NULL);
    g_autofree char *new_key = g_strconcat(prefix, "new-secret", NULL);
    g_autofree char *old_key = g_strconcat(prefix, "old-secret", NULL);
    if (!l->cipher)
        return fail(error, "'%s' is locked: its password is missing", file->name);
    if (!options_has(options, state_key))
        return fail(error, "%s is missing: active or inactive", state_key);
    if (!options_get_enum(options, state_key, states, &state, error) ||
        !options_get_uint(options, slot_key, 0, LUKS_SLOTS - 1, &a.slot, error) ||
        !options_get_uint(options, time_key, 0, 600000, &a.iter_ms, error))
        return false;
    a.has_slot = options_has(options, slot_key);
    a.new_secret = options_get(options, new_key);
    a.old_secret = options_get(options, old_key);
    if (!cipher_load(error))
        return false;
    return state ? deactivate(&a, options_has(options, time_key)) : activate(&a);
}
