/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every device class of vmrun, by name.  To add a device, add its line here. */
#include "hw/core/device.h"
#include "hw/registry.h"

const DeviceClass *const device_classes[] = {
    NULL,
};
