/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image names that are more than a file's: json:{...} and --image-opts, both made flat options. */
#include <string.h>

#include "img.h"

Options *img_name_options(const char *name, bool image_opts, GError **error)
{
    if (image_opts)
        return options_parse("--image-opts", name, NULL, NULL, error);
    return options_parse_json(name + strlen("json:"), error);
}
