/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens networks, gives their cards addresses, and tells of forwards. */
#include "run.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "net/user.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

/* ---- Byte streams for guestfwd ---- */

typedef struct Stream {
    Chardev *chr;
    bool owned; /* opened for this: none of -chardev's */
    const NetStreamHandlers *handlers;
    void *opaque;
} Stream;

static size_t stream_can_receive(void *opaque)
{
    Stream *stream = opaque;
    return stream->handlers->can_receive(stream->opaque);
}

static void stream_receive(void *opaque, const uint8_t *buf, size_t length)
{
    Stream *stream = opaque;
    stream->handlers->receive(stream->opaque, buf, length);
}

/* A peer that goes makes room, too: what is written then is dropped. */
static void stream_event(void *opaque, ChrEvent event)
{
    Stream *stream = opaque;
    if (event == CHR_WRITABLE)
        stream->handlers->writable(stream->opaque);
}

static const ChrHandlers stream_handlers = {stream_can_receive, stream_receive, stream_event};

static void stream_close(void *opaque)
{
    Stream *stream = opaque;
    chr_detach(stream->chr, stream);
    if (stream->owned)
        chr_close(stream->chr);
    g_free(stream);
}

static void *stream_open(const char *spec, const char *id, const NetStreamHandlers *handlers,
                         void *opaque, GError **error)
{
    Chardev *chr = chr_open("guestfwd", spec, id, error);

    if (!chr) {
        if (error && !*error)
            fail(error, "'%s' leads nowhere", spec);
        return NULL;
    }
    Stream *stream = g_new(Stream, 1);
    *stream = (Stream){chr, !g_str_has_prefix(spec, "chardev:"), handlers, opaque};
    if (chr_attach(chr, &stream_handlers, stream, error))
        return stream;
    stream_close(stream);
    return NULL;
}

static size_t stream_write(void *opaque, const void *buf, size_t length)
{
    Stream *stream = opaque;
    return chr_write(stream->chr, stream, buf, length);
}

static void stream_accept_input(void *opaque)
{
    Stream *stream = opaque;
    chr_accept_input(stream->chr, stream);
}

static const NetStreamOps stream_ops = {stream_open, stream_write, stream_accept_input,
                                        stream_close};

/* ---- Addresses ---- */

/* What this machine is known by, so that its cards keep their addresses; with nothing to know it
 * by, it is this process. */
static char *identity(const VmConfig *config)
{
    if (config->uuid_set)
        return g_compute_checksum_for_data(G_CHECKSUM_SHA256, config->uuid, sizeof(config->uuid));
    if (config->name)
        return g_strdup_printf("name %s", config->name);
    if (config->first_disk)
        return g_strdup_printf("file %s", config->first_disk);
    return g_strdup_printf("process %d at %" PRId64, getpid(), clock_now(VM_CLOCK_WALL));
}

/* Machines of one name on two hosts may meet on one network. */
char *nets_host_identity(const char *path)
{
    enum { ID_LENGTH = 32 };
    g_autofree char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL) && strlen(g_strstrip(text)) == ID_LENGTH)
        return g_steal_pointer(&text);
    return g_strdup(g_get_host_name());
}

static bool give_addresses(VmConfig *config, GError **error)
{
    g_autofree char *vm = identity(config), *host = nets_host_identity("/etc/machine-id");
    g_autofree char *seed = g_strdup_printf("%s on %s", vm, host);
    GPtrArray *devices = config->board.devices;
    unsigned n = 0;

    for (unsigned i = 0; i < devices->len; i++) {
        Options *device = g_ptr_array_index(devices, i);
        uint8_t mac[NET_MAC_BYTES];
        if (!cli_is_nic(options_get(device, "driver")))
            continue;
        net_default_mac(mac, seed, n++);
        if (!cli_check_mac(device, "mac", error))
            return false;
        if (options_has(device, "mac"))
            continue;
        g_autofree char *text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
                                                mac[2], mac[3], mac[4], mac[5]);
        options_set(device, "mac", text);
    }
    return true;
}

/* ---- Opening ---- */

static bool add_port_forwards(const VmConfig *config, GError **error)
{
    NetEnd *user = net_user_first();

    for (unsigned i = 0; i < config->port_forwards->len; i++) {
        const char *rule = g_ptr_array_index(config->port_forwards, i);
        if (!user)
            return fail(error, "-p: there is no user network to forward to; -nic user is one");
        if (!net_user_hostfwd_add(user, rule, error))
            return fail_prefix(error, "-p");
    }
    return true;
}

bool nets_open(VmConfig *config, GError **error)
{
    net_user_set_stream_ops(&stream_ops);
    if (!cli_default_net(config, error))
        return false;
    for (unsigned i = 0; i < config->netdevs->len; i++)
        if (!net_open(g_ptr_array_index(config->netdevs, i), error))
            return false;
    /* Before the cards of -device, as the first is the one of -nic. */
    for (unsigned i = 0; config->nics->len; i++)
        g_ptr_array_insert(config->board.devices, (int)i, g_ptr_array_steal_index(config->nics, 0));
    return add_port_forwards(config, error) && give_addresses(config, error);
}

static void announce_end(NetEnd *end, void *opaque)
{
    g_autoptr(GString) forwards = g_string_new(NULL);

    if (net_is_user(end))
        net_user_forwards(end, forwards);
    if (forwards->len)
        report_info("network '%s' forwards %s", end->id, forwards->str);
    if (!end->peer && end->ops->backend)
        report_warn("the network '%s' has no card: -device e1000,netdev=%s", end->id, end->id);
    else if (!end->peer)
        report_warn("the card '%s' is on no network: netdev=ID is missing", end->id);
}

void nets_announce(void)
{
    net_foreach(announce_end, NULL);
}
