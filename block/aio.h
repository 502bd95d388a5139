/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linux native asynchronous I/O, for files opened with O_DIRECT only: see aio.c. */
#ifndef VMRUN_BLOCK_AIO_H
#define VMRUN_BLOCK_AIO_H

#include <sys/uio.h>

#include "util/coroutine.h"

typedef struct Aio Aio;

/* NULL with an error if the kernel has none left (fs.aio-max-nr). */
Aio *aio_new(CoSched *sched, GError **error);
void aio_free(Aio *aio);
/* From a coroutine: bytes done, or a negative errno. */
int64_t aio_io(Aio *aio, int fd, bool write, const struct iovec *iov, int count, uint64_t offset);

#endif
