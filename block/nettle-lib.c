/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loading nettle.  It looks at the processor when it is loaded, which not every start-up shall pay
 * for. */
#include "nettle-lib.h"

#include <dlfcn.h>

#include "util/error.h"

#define LIBRARY "libnettle.so.8"

NettleLib nettle_lib;

static bool load(GError **error)
{
    void *handle = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (!handle)
        return fail(error, "encrypted images need nettle (Debian's package libnettle8): %s",
                    dlerror());
#define X(name)                                                                                    \
    nettle_lib.name = (__typeof__(nettle_lib.name))(uintptr_t)dlsym(handle, #name);                \
    if (!nettle_lib.name)                                                                          \
        return fail(error, LIBRARY " has no " #name);
    NETTLE_CALLS(X)
#undef X
    return true;
}

bool nettle_load(GError **error)
{
    static GMutex lock;
    static bool loaded;
    g_mutex_lock(&lock);
    if (!loaded)
        loaded = load(error);
    g_mutex_unlock(&lock);
    return loaded;
}
