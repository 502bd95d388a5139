/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every device class of vmrun, by name.  To add a device, add its line here. */
#include "hw/registry.h"

#include <string.h>

const DeviceClass *const device_classes[] = {
    NULL,
};

const DeviceClass *device_class_find(const char *name)
{
    for (const DeviceClass *const *cls = device_classes; *cls; cls++)
        if (!strcmp((*cls)->name, name))
            return *cls;
    return NULL;
}
