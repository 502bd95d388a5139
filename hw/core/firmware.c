/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware search path. */
#include "hw/core/firmware.h"

#include <string.h>
#include <sys/stat.h>

#include "util/error.h"

static GPtrArray *first; /* -L, in order */

/* Which Debian package has what; for the message when it is missing. */
static const struct {
    const char *prefix, *package;
} packages[] = {
    {"bios", "seabios"},   {"vgabios", "seabios"}, {"pxe-", "ipxe-qemu"},
    {"efi-", "ipxe-qemu"}, {"OVMF", "ovmf"},
};

void firmware_add_path(const char *dir)
{
    if (!first)
        first = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(first, g_strdup(dir));
}

/* All directories in order; NULL-terminated. */
static char **search_path(void)
{
    g_autoptr(GPtrArray) dirs = g_ptr_array_new();
    for (guint i = 0; first && i < first->len; i++)
        g_ptr_array_add(dirs, g_strdup(g_ptr_array_index(first, i)));
    g_auto(GStrv) rest = g_strsplit(VMRUN_FIRMWARE_PATH, ":", -1);
    for (char **dir = rest; *dir; dir++)
        if (**dir)
            g_ptr_array_add(dirs, g_strdup(*dir));
    g_ptr_array_add(dirs, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&dirs), FALSE);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *firmware_find(const char *name, GError **error)
{
    if (strchr(name, '/') || is_file(name)) {
        if (is_file(name))
            return g_strdup(name);
        fail(error, "there is no firmware file '%s'", name);
        return NULL;
    }
    g_auto(GStrv) dirs = search_path();
    for (char **dir = dirs; *dir; dir++) {
        g_autofree char *path = g_build_filename(*dir, name, NULL);
        if (is_file(path))
            return g_steal_pointer(&path);
    }
    const char *package = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(packages); i++)
        if (g_str_has_prefix(name, packages[i].prefix))
            package = packages[i].package;
    g_autofree char *searched = g_strjoinv(":", dirs);
    if (package)
        fail(error,
             "cannot find the firmware file '%s': install the package %s, or name its "
             "directory with -L (searched %s)",
             name, package, searched);
    else
        fail(error, "cannot find the firmware file '%s': name its directory with -L (searched %s)",
             name, searched);
    return NULL;
}

uint8_t *firmware_load(const char *name, uint64_t max_size, uint64_t *size, GError **error)
{
    g_autofree char *path = firmware_find(name, error);
    if (!path)
        return NULL;
    struct stat st;
    if (stat(path, &st) == 0 && (uint64_t)st.st_size > max_size) {
        fail(error, "'%s' has %llu bytes, more than the %llu that fit", path,
             (unsigned long long)st.st_size, (unsigned long long)max_size);
        return NULL;
    }
    gchar *data;
    gsize length;
    if (!g_file_get_contents(path, &data, &length, error))
        return NULL;
    if (length == 0 || length > max_size) {
        fail(error, "'%s' is %s", path, length ? "too large" : "empty");
        g_free(data);
        return NULL;
    }
    *size = length;
    return (uint8_t *)data;
}

void firmware_describe_path(GString *out)
{
    g_auto(GStrv) dirs = search_path();
    for (char **dir = dirs; *dir; dir++)
        g_string_append_printf(out, "%s\n", *dir);
}
