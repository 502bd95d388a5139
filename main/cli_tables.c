/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that fill the tables which firmware and guest read: SMBIOS and fw_cfg. */
#include "config.h"

#include <stdio.h>

#include "util/error.h"

/* SMBIOS 3.0 structure types and their fields, by QEMU's names. */
static const struct {
    unsigned type;
    const char *keys[10];
} smbios_types[] = {
    {0, {"type", "vendor", "version", "date", "release", "uefi"}},
    {1, {"type", "manufacturer", "product", "version", "serial", "uuid", "sku", "family"}},
    {2, {"type", "manufacturer", "product", "version", "serial", "asset", "location"}},
    {3, {"type", "manufacturer", "version", "serial", "asset", "sku"}},
    {4,
     {"type", "sock_pfx", "manufacturer", "version", "serial", "asset", "part", "max-speed",
      "current-speed"}},
    {11, {"type", "value"}},
    {17, {"type", "loc_pfx", "bank", "manufacturer", "serial", "asset", "part", "speed"}},
};

static const char *const *smbios_keys(uint64_t type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(smbios_types); i++)
        if (smbios_types[i].type == type)
            return smbios_types[i].keys;
    return NULL;
}

/* Fields that are not plain text. */
static bool check_smbios_values(const Options *fields, GError **error)
{
    uint64_t number;
    bool flag;
    const char *uuid = options_get(fields, "uuid"), *release = options_get(fields, "release");

    if (uuid && !g_uuid_string_is_valid(uuid))
        return fail(error, "-smbios: uuid=%s: must be as 01234567-89ab-cdef-0123-456789abcdef",
                    uuid);
    if (release) {
        unsigned major, minor;
        int end = 0;
        if (sscanf(release, "%3u.%3u%n", &major, &minor, &end) != 2 || release[end] ||
            major > 255 || minor > 255)
            return fail(error, "-smbios: release=%s: must be as 1.0, each number up to 255",
                        release);
    }
    return options_get_bool(fields, "uefi", &flag, error) &&
           options_get_uint(fields, "max-speed", 0, 0xffff, &number, error) &&
           options_get_uint(fields, "current-speed", 0, 0xffff, &number, error) &&
           options_get_uint(fields, "speed", 0, 0xffff, &number, error);
}

bool cli_smbios(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    g_autoptr(Options) any = options_parse("-smbios", arg, NULL, NULL, error);
    uint64_t type = 0;

    if (!any)
        return false;
    if (options_has(any, "file"))
        return fail(error,
                    "-smbios %s: vmrun does not have file= yet; give fields with type=", arg);
    if (!options_has(any, "type"))
        return fail(error, "-smbios %s: type=N is missing", arg);
    if (!options_get_uint(any, "type", 0, 255, &type, error))
        return false;
    const char *const *keys = smbios_keys(type);
    if (!keys)
        return fail(error, "-smbios %s: type must be one of 0, 1, 2, 3, 4, 11, 17", arg);
    g_autoptr(Options) fields = options_parse("-smbios", arg, NULL, keys, error);
    if (!fields || !check_smbios_values(fields, error))
        return false;

    /* A second -smbios of a type adds to the first, or wins where both say the same. */
    Options **slot = &config->board.smbios[type];
    g_autoptr(GString) text = g_string_new(NULL);
    const char *key, *value;
    for (unsigned i = 0; *slot && options_nth(*slot, i, &key, &value); i++) {
        g_auto(GStrv) parts = g_strsplit(value, ",", 0);
        g_autofree char *escaped = g_strjoinv(",,", parts);
        g_string_append_printf(text, "%s=%s,", key, escaped);
    }
    g_string_append(text, arg);
    options_free(*slot);
    *slot = options_parse("-smbios", text->str, NULL, keys, error);
    return *slot != NULL;
}

bool cli_fw_cfg(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"name", "file", "string", NULL};
    g_autoptr(Options) options = options_parse("-fw_cfg", arg, "name", keys, error);

    if (!options)
        return false;
    const char *name = options_get(options, "name"), *path = options_get(options, "file");
    const char *text = options_get(options, "string");
    if (!name || !*name)
        return fail(error, "-fw_cfg %s: name= is missing", arg);
    if (strlen(name) > 55)
        return fail(error, "-fw_cfg: name=%s: must be at most 55 bytes", name);
    if (!path == !text)
        return fail(error, "-fw_cfg %s: give one of file= and string=", arg);

    PcFwCfgFile *file = g_new0(PcFwCfgFile, 1);
    file->name = g_strdup(name);
    g_ptr_array_add(config->board.fw_cfg, file);
    if (text) {
        file->data = (uint8_t *)g_strdup(text);
        file->size = strlen(text);
        return true;
    }
    g_autoptr(GError) failure = NULL;
    if (!g_file_get_contents(path, (char **)&file->data, &file->size, &failure))
        return fail(error, "-fw_cfg: file=%s: %s", path, failure->message);
    return true;
}
