/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loads a damaged snapshot into a device: whatever it says, the device must stay sane. */
#ifndef VMRUN_TESTS_TEST_CORRUPT_H
#define VMRUN_TESTS_TEST_CORRUPT_H

#include "accel/test.h"

static inline void load_corrupt(Device *dev, GRand *rand)
{
    g_autoptr(GByteArray) record = g_byte_array_new();
    GError *error = NULL;
    state_save(dev->cls->state, dev, record);
    for (int i = g_rand_int_range(rand, 1, 3); i > 0; i--)
        record->data[g_rand_int_range(rand, 0, (int)record->len)] = (uint8_t)g_rand_int(rand);
    const uint8_t *at = record->data;
    if (!state_load(dev->cls->state, dev, &at, at + record->len, &error)) {
        g_error_free(error);
        device_reset(dev);
    }
}

#endif
