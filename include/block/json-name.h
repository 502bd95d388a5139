/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of images that begin with "json:". */
#ifndef VMRUN_BLOCK_JSON_NAME_H
#define VMRUN_BLOCK_JSON_NAME_H

#include "util/options.h"

#define JSON_PREFIX "json:"

typedef struct JsonName {
    char *file;            /* for image_file_open() */
    char *format;          /* NULL: not said */
    uint64_t offset, size; /* of a raw image in its file; 0: from its begin, to its end */
    char *key_secret;      /* NULL: none */
} JsonName;

bool json_name_is(const char *name);
/* Reads it; false with an error that says what of it is wrong. */
bool json_name_parse(const char *name, JsonName *result, GError **error);
/* The file that members with a prefix ("file.") describe, which then are served; g_free() it. */
char *json_name_file(Options *members, const char *prefix, GError **error);
void json_name_clear(JsonName *name);
/* The name of a part of a raw file, size 0: to its end; g_free() it. */
char *json_name_of_part(const char *path, uint64_t offset, uint64_t size);

#endif
