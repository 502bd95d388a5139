/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loading libnbd. */
#include "nbd-lib.h"

#include <dlfcn.h>

#include "util/error.h"

#define LIBRARY "libnbd.so.0"

static bool load(NbdLib *lib, GError **error)
{
    void *handle = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (!handle)
        return fail(error, "NBD disks need libnbd (Debian's package libnbd0): %s", dlerror());
#define X(name)                                                                                    \
    lib->name = (__typeof__(lib->name))(uintptr_t)dlsym(handle, "nbd_" #name);                     \
    if (!lib->name)                                                                                \
        return fail(error, LIBRARY " has no function nbd_" #name);
    NBD_CALLS(X)
#undef X
    return true;
}

const NbdLib *nbd_lib(GError **error)
{
    static GMutex lock;
    static NbdLib lib;
    static bool loaded;
    g_mutex_lock(&lock);
    if (!loaded)
        loaded = load(&lib, error);
    g_mutex_unlock(&lock);
    return loaded ? &lib : NULL;
}
