/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of CPU engines. */
#include <string.h>

#include "accel/engine.h"

const CpuEngine *const cpu_engines[] = {&kvm_engine, &interp_engine, &qtest_engine, NULL};

const CpuEngine *engine_find(const char *name)
{
    for (const CpuEngine *const *engine = cpu_engines; *engine; engine++)
        if (!strcmp((*engine)->name, name))
            return *engine;
    return NULL;
}
