/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about snapshots of the machine. */
#include "block/block.h"
#include "monitor/savevm.h"
#include "monitor_private.h"

static void over(void *opaque, GError *error)
{
    mon_wait_end(opaque, error);
}

void mon_savevm(Monitor *mon, const MonValue *values)
{
    savevm_save(mon->machine, values[0].text, over, mon_wait_begin(mon));
}

void mon_loadvm(Monitor *mon, const MonValue *values)
{
    savevm_load(mon->machine, values[0].text, over, mon_wait_begin(mon));
}

void mon_delvm(Monitor *mon, const MonValue *values)
{
    savevm_delete(mon->machine, values[0].text, over, mon_wait_begin(mon));
}

void info_snapshots(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    blk_snapshots_describe(out);
    mon_print(mon, out);
}
