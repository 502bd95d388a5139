/* SPDX-License-Identifier: GPL-2.0-or-later */
/* filter-dump: frames to a pcap file; format: draft-ietf-opsawg-pcap, microseconds, host order. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "net_private.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

typedef struct PcapHeader {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, sigfigs, snaplen, linktype;
} PcapHeader;

typedef struct PcapRecord {
    uint32_t seconds, microseconds, captured, length;
} PcapRecord;

enum { PCAP_MAGIC = 0xa1b2c3d4, LINKTYPE_ETHERNET = 1 };

struct NetDump {
    NetTap tap;
    NetEnd *end; /* NULL: it is closed */
    char *id;    /* the end's */
    char *path;
    int fd; /* -1: the dump is over */
    uint32_t maxlen;
    GByteArray *buffer; /* records of frames that are under way */
    unsigned under_way;
    guint last; /* where the newest record begins */
};

static GPtrArray *dumps; /* of NetDump: all that are open */

static void stop(NetDump *dump)
{
    close(dump->fd);
    dump->fd = -1;
    g_byte_array_set_size(dump->buffer, 0);
}

static bool write_all(NetDump *dump, const void *data, size_t bytes)
{
    ssize_t written = write(dump->fd, data, bytes);
    if (written == (ssize_t)bytes)
        return true;
    report_warn("%s: the dump of '%s' ends here: %s", dump->path, dump->id,
                written < 0 ? g_strerror(errno) : "there is no room");
    stop(dump);
    return false;
}

static void dump_frame(NetTap *tap, const struct iovec *iov, int count, size_t bytes, bool sent)
{
    NetDump *dump = (NetDump *)tap;
    int64_t now = clock_now(VM_CLOCK_WALL) / NS_PER_US;
    PcapRecord record = {(uint32_t)(now / G_USEC_PER_SEC), (uint32_t)(now % G_USEC_PER_SEC),
                         (uint32_t)MIN(bytes, dump->maxlen), (uint32_t)bytes};

    dump->under_way++;
    if (dump->fd < 0)
        return;
    dump->last = dump->buffer->len;
    g_byte_array_append(dump->buffer, (const guint8 *)&record, sizeof(record));
    size_t left = record.captured;
    for (int i = 0; i < count && left; i++) {
        size_t part = MIN(left, iov[i].iov_len);
        g_byte_array_append(dump->buffer, iov[i].iov_base, (guint)part);
        left -= part;
    }
}

/* What was refused was the newest: nothing can have answered to it. */
static void dump_done(NetTap *tap, bool taken)
{
    NetDump *dump = (NetDump *)tap;

    dump->under_way--;
    if (dump->fd < 0)
        return;
    if (!taken)
        g_byte_array_set_size(dump->buffer, dump->last);
    if (!dump->under_way && dump->buffer->len &&
        write_all(dump, dump->buffer->data, dump->buffer->len))
        g_byte_array_set_size(dump->buffer, 0);
}

static void dump_end_gone(NetTap *tap)
{
    ((NetDump *)tap)->end = NULL;
}

static void watch(NetDump *dump, NetEnd *end)
{
    dump->end = end;
    net_add_tap(end, &dump->tap);
}

void net_dumps_reconnect(NetEnd *backend)
{
    for (unsigned i = 0; dumps && i < dumps->len; i++) {
        NetDump *dump = g_ptr_array_index(dumps, i);
        if (!dump->end && !strcmp(dump->id, backend->id))
            watch(dump, backend);
    }
}

NetDump *net_dump_open(NetEnd *end, const char *path, uint32_t maxlen, GError **error)
{
    PcapHeader header = {PCAP_MAGIC, 2, 4, 0, 0, maxlen, LINKTYPE_ETHERNET};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0) {
        fail_errno(error, errno, "file=%s", path);
        return NULL;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK); /* of a pipe */
    if (write(fd, &header, sizeof(header)) != sizeof(header)) {
        fail_errno(error, errno, "file=%s", path);
        close(fd);
        return NULL;
    }
    NetDump *dump = g_new0(NetDump, 1);
    dump->tap = (NetTap){dump_frame, dump_done, dump_end_gone};
    dump->id = g_strdup(end->id);
    dump->path = g_strdup(path);
    dump->fd = fd;
    dump->maxlen = maxlen;
    dump->buffer = g_byte_array_new();
    watch(dump, end);
    if (!dumps)
        dumps = g_ptr_array_new();
    g_ptr_array_add(dumps, dump);
    return dump;
}

void net_dump_close(NetDump *dump)
{
    if (dump->end)
        net_remove_tap(dump->end, &dump->tap);
    g_ptr_array_remove(dumps, dump);
    if (dump->fd >= 0)
        stop(dump);
    g_byte_array_free(dump->buffer, TRUE);
    g_free(dump->id);
    g_free(dump->path);
    g_free(dump);
}
