/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a format tells of an image, as `info` of both programs prints it. */
#include <stdio.h>

#include "img.h"

#define MAX_NESTED 8

void img_print_details(const BlkNode *node)
{
    NodeDetail d;
    unsigned depth = 0, count[MAX_NESTED] = {0};
    bool list[MAX_NESTED] = {false};
    if (!node->fmt->detail)
        return;
    printf("Format specific information:\n");
    for (unsigned n = 0; node->fmt->detail(node, n, &d); n++) {
        if (d.bracket == ']' || d.bracket == '}') {
            depth--;
            continue;
        }
        g_autofree char *key = list[depth] ? g_strdup_printf("[%u]", count[depth]++)
                                           : g_strdelimit(g_strdup(d.key), "-", ' ');
        printf("%*s%s:%s%s\n", (int)(depth + 1) * 4, "", key, d.bracket ? "" : " ",
               d.bracket ? "" : d.value);
        g_free(d.value);
        if (d.bracket && depth + 1 < MAX_NESTED) {
            depth++;
            list[depth] = d.bracket == '[';
            count[depth] = 0;
        }
    }
}
