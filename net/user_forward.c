/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports of the host that lead into the guest, and addresses of the guest's network that lead to a
 * command or a byte stream.
 *
 * slirp acknowledges what it hands to a stream, whatever the stream takes of it; so the rest waits
 * here.  When that is much, frames with more of it are held up before slirp sees them, as on a slow
 * cable; and after a tenth of a second without progress they are dropped, so that a dead stream
 * does not stop the guest's other connections.  Nobody acknowledged them: TCP sends them again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user_private.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/timer.h"

/* A stream's queue above which it is full; connections have windows of 64 KiB. */
enum { STREAM_QUEUE_MAX = 256 << 10 };
#define PATIENCE (100 * NS_PER_MS)

typedef union Address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

typedef struct Forward {
    bool udp;
    Address host, guest;
    uint16_t bound; /* the host's port as it came out */
} Forward;

typedef struct GuestForward {
    User *user;
    struct in_addr addr;
    uint16_t port;
    void *stream; /* NULL: a command */
    size_t offered;
    GByteArray *queue; /* acknowledged bytes that the stream had no room for */
    bool full;
    Timer patience; /* runs while a frame waits; once it is over, frames are dropped */
    bool dropping;
} GuestForward;

static const NetStreamOps *stream_ops;

void net_user_set_stream_ops(const NetStreamOps *ops)
{
    stream_ops = ops;
}

static User *user_of(NetEnd *end)
{
    return end->opaque;
}

/* ---- Reading rules ---- */

static socklen_t address_length(const Address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* Takes what stands before the separator; false if that is not there. */
static bool take_until(const char **p, char separator, char **word)
{
    const char *end = strchr(*p, separator);
    if (!end)
        return false;
    *word = g_strndup(*p, (size_t)(end - *p));
    *p = end + 1;
    return true;
}

static bool take_protocol(const char **p, const char *rule, bool *udp, GError **error)
{
    g_autofree char *word = NULL;

    if (!take_until(p, ':', &word) || (*word && strcmp(word, "tcp") && strcmp(word, "udp")))
        return fail(error, "'%s' must begin with tcp: or udp:", rule);
    *udp = !strcmp(word, "udp");
    return true;
}

/* ADDRESS: or [ADDRESS]: or nothing before the colon, which leaves *out as it is. */
static bool take_address(const char **p, const char *which, Address *out, GError **error)
{
    g_autofree char *word = NULL;
    bool bracket = **p == '[';

    if (bracket)
        (*p)++;
    if (!take_until(p, bracket ? ']' : ':', &word) || (bracket && *(*p)++ != ':'))
        return fail(error, "the %s's part must be [ADDRESS]:PORT", which);
    if (!*word)
        return true;
    *out = (Address){.any = {.sa_family = bracket ? AF_INET6 : AF_INET}};
    void *to = bracket ? (void *)&out->v6.sin6_addr : (void *)&out->v4.sin_addr;
    if (inet_pton(out->any.sa_family, word, to) != 1)
        return fail(error, "the %s's address '%s' is none of IPv%c%s", which, word,
                    bracket ? '6' : '4', bracket ? "" : " (one of IPv6 stands in brackets)");
    return true;
}

static bool take_port(const char *text, const char *which, unsigned min, uint16_t *port,
                      GError **error)
{
    uint64_t number;
    if (!parse_uint(text, &number) || number < min || number > 65535)
        return fail(error, "the %s's port '%s' must be a number from %u to 65535", which, text,
                    min);
    *port = (uint16_t)number;
    return true;
}

static void set_port(Address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET)
        address->v4.sin_port = htons(port);
    else
        address->v6.sin6_port = htons(port);
}

static uint16_t port_of(const Address *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

/* [tcp|udp]:[HOSTADDR]:HOSTPORT, up to the separator or, if that is 0, to the end. */
static bool take_host(const char **p, const char *rule, char separator, Forward *out,
                      GError **error)
{
    g_autofree char *word = NULL;
    uint16_t port = 0;

    out->host = (Address){.v4 = {.sin_family = AF_INET}};
    if (!take_protocol(p, rule, &out->udp, error) || !take_address(p, "host", &out->host, error))
        return false;
    if (!separator)
        word = g_strdup(*p);
    else if (!take_until(p, separator, &word))
        return fail(error, "'%s' has no '-' before the guest's part", rule);
    if (!take_port(word, "host", 0, &port, error))
        return false;
    set_port(&out->host, port);
    return true;
}

static bool parse_rule(const User *user, const char *rule, Forward *out, GError **error)
{
    const char *p = rule;
    uint16_t port = 0;

    *out = (Forward){0};
    if (!take_host(&p, rule, '-', out, error))
        return false;
    out->guest = (Address){.any = {.sa_family = out->host.any.sa_family}};
    if (out->guest.any.sa_family == AF_INET)
        out->guest.v4.sin_addr = user->guest;
    Address none = out->guest;
    if (!take_address(&p, "guest", &out->guest, error) || !take_port(p, "guest", 1, &port, error))
        return false;
    if (out->guest.any.sa_family != out->host.any.sa_family)
        return fail(error, "'%s' goes from one IP version to another", rule);
    if (out->guest.any.sa_family == AF_INET6 && !memcmp(&out->guest, &none, sizeof(none)))
        return fail(error, "'%s': a guest's address of IPv6 must be given", rule);
    set_port(&out->guest, port);
    return true;
}

char *net_user_short_rule(const char *text, GError **error)
{
    const char *slash = strrchr(text, '/');
    const char *protocol = slash ? slash + 1 : "tcp";
    g_autofree char *ports = g_strndup(text, slash ? (size_t)(slash - text) : strlen(text));
    char *guest = strrchr(ports, ':');
    uint16_t number;

    if (!guest || (strcmp(protocol, "tcp") && strcmp(protocol, "udp"))) {
        fail(error, "must be as 2222:22, 0.0.0.0:2222:22 or 5353:53/udp");
        return NULL;
    }
    *guest++ = 0;
    char *host = strrchr(ports, ':');
    if (host)
        *host++ = 0;
    if (!take_port(host ? host : ports, "host", 0, &number, error) ||
        !take_port(guest, "guest", 1, &number, error))
        return NULL;
    return g_strdup_printf("%s:%s:%s-:%s", protocol, host ? ports : "127.0.0.1",
                           host ? host : ports, guest);
}

/* ---- Forwards to the guest ---- */

/* The sockets that slirp listens on; it tells them in its table only. */
static GArray *listening(const User *user)
{
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_autofree char *table = slirp_connection_info(user->slirp);
    g_auto(GStrv) lines = g_strsplit(table, "\n", 0);

    for (char **line = lines; *line; line++) {
        const char *mark = strstr(*line, "[HOST_FORWARD]");
        if (mark) {
            int fd = (int)strtol(mark + strlen("[HOST_FORWARD]"), NULL, 10);
            g_array_append_val(fds, fd);
        }
    }
    return fds;
}

static bool contains(const GArray *fds, int fd)
{
    for (guint i = 0; i < fds->len; i++)
        if (g_array_index(fds, int, i) == fd)
            return true;
    return false;
}

/* The port of the socket that is new since `before`. */
static uint16_t new_port(const User *user, const GArray *before)
{
    g_autoptr(GArray) after = listening(user);

    for (guint i = 0; i < after->len; i++) {
        Address address;
        socklen_t length = sizeof(address);
        int fd = g_array_index(after, int, i);
        if (!contains(before, fd) && !getsockname(fd, &address.any, &length))
            return port_of(&address);
    }
    return 0;
}

bool net_user_hostfwd_add(NetEnd *end, const char *rule, GError **error)
{
    User *user = user_of(end);
    Forward forward;

    if (!parse_rule(user, rule, &forward, error) || !user_start(user, error))
        return false;
    bool v6 = forward.host.any.sa_family == AF_INET6;
    if (v6 ? !user->config.in6_enabled : !user->config.in_enabled)
        return fail(error, "'%s': the network has no IPv%c", rule, v6 ? '6' : '4');
    int flags = (forward.udp ? SLIRP_HOSTFWD_UDP : 0) | (v6 ? SLIRP_HOSTFWD_V6ONLY : 0);
    g_autoptr(GArray) before = listening(user);
    errno = 0;
    if (slirp_add_hostxfwd(user->slirp, &forward.host.any, address_length(&forward.host),
                           &forward.guest.any, address_length(&forward.guest), flags) < 0)
        return fail_errno(error, errno ? errno : EADDRINUSE, "'%s'", rule);
    forward.bound = new_port(user, before);
    Forward *kept = g_new(Forward, 1);
    *kept = forward;
    g_ptr_array_add(user->forwards, kept);
    loop_poller_changed(user->poller);
    return true;
}

/* The same address, and the port asked for or the one that came out. */
static bool same_host(const Forward *a, const Forward *asked)
{
    Address bound = a->host;
    set_port(&bound, a->bound);
    return a->udp == asked->udp && (!memcmp(&a->host, &asked->host, sizeof(bound)) ||
                                    !memcmp(&bound, &asked->host, sizeof(bound)));
}

static void slirp_remove(User *user, const Forward *forward)
{
    Address bound = forward->host;
    set_port(&bound, forward->bound);
    int flags = forward->udp ? SLIRP_HOSTFWD_UDP : 0;
    slirp_remove_hostxfwd(user->slirp, &bound.any, address_length(&bound), flags);
}

bool net_user_hostfwd_remove(NetEnd *end, const char *rule, GError **error)
{
    User *user = user_of(end);
    const char *p = rule;
    Forward asked = {0};

    if (!take_host(&p, rule, 0, &asked, error))
        return false;
    for (unsigned i = 0; i < user->forwards->len; i++) {
        Forward *forward = g_ptr_array_index(user->forwards, i);
        if (same_host(forward, &asked)) {
            slirp_remove(user, forward);
            g_ptr_array_remove_index(user->forwards, i);
            loop_poller_changed(user->poller);
            return true;
        }
    }
    return fail(error, "'%s': there is no such forward; `info usernet` lists them", rule);
}

static void put_address(const Address *address, uint16_t port, GString *out)
{
    char text[INET6_ADDRSTRLEN];
    bool v6 = address->any.sa_family == AF_INET6;

    inet_ntop(address->any.sa_family,
              v6 ? (const void *)&address->v6.sin6_addr : (const void *)&address->v4.sin_addr, text,
              sizeof(text));
    g_string_append_printf(out, v6 ? "[%s]:%u" : "%s:%u", text, port);
}

void net_user_forwards(NetEnd *end, GString *out)
{
    const User *user = user_of(end);

    for (unsigned i = 0; i < user->forwards->len; i++) {
        const Forward *forward = g_ptr_array_index(user->forwards, i);
        g_string_append_printf(out, "%s%s ", i ? ", " : "", forward->udp ? "udp" : "tcp");
        put_address(&forward->host, forward->bound, out);
        g_string_append(out, " -> ");
        put_address(&forward->guest, port_of(&forward->guest), out);
    }
}

void net_user_describe(NetEnd *end, GString *out)
{
    const User *user = user_of(end);

    if (!user->slirp) {
        g_string_append(out, "  no connection yet\n");
        return;
    }
    g_autofree char *connections = slirp_connection_info(user->slirp);
    g_autofree char *neighbours = slirp_neighbor_info(user->slirp);
    g_string_append_printf(out, "%s%s", connections, neighbours);
}

/* ---- Forwards from the guest ---- */

static void update_full(GuestForward *forward)
{
    bool full = forward->queue->len >= STREAM_QUEUE_MAX;
    if (full == forward->full)
        return;
    forward->full = full;
    forward->user->full_forwards += full ? 1u : -1u;
}

/* A frame that waits may go on, or be dropped. */
static void let_go(GuestForward *forward)
{
    timer_cancel(&forward->patience);
    net_writable(&forward->user->end);
}

static void lose_patience(void *opaque)
{
    GuestForward *forward = opaque;
    forward->dropping = true;
    let_go(forward);
}

static ssize_t stream_write(const void *buf, size_t length, void *opaque)
{
    GuestForward *forward = opaque;
    size_t taken = forward->queue->len ? 0 : stream_ops->write(forward->stream, buf, length);
    g_byte_array_append(forward->queue, (const uint8_t *)buf + taken, (guint)(length - taken));
    update_full(forward);
    return (ssize_t)length;
}

static void stream_writable(void *opaque)
{
    GuestForward *forward = opaque;
    GByteArray *queue = forward->queue;
    size_t taken = queue->len ? stream_ops->write(forward->stream, queue->data, queue->len) : 0;

    if (!taken)
        return;
    g_byte_array_remove_range(queue, 0, (guint)taken);
    forward->dropping = false;
    update_full(forward);
    if (!forward->full)
        let_go(forward);
    else if (timer_armed(&forward->patience))
        timer_arm(&forward->patience, clock_now(VM_CLOCK_HOST) + PATIENCE);
}

/* Whether the frame carries bytes of TCP to there, or may: a fragment does not say. */
static bool carries_data(const GuestForward *forward, const uint8_t *frame, size_t bytes)
{
    enum { IP = 14, IP_TYPE = 0x0800, IP_HEADER = 20, TCP_HEADER = 20 };
    const uint8_t *ip = frame + IP;

    if (bytes < IP + IP_HEADER || ld16_be(frame + 12) != IP_TYPE ||
        memcmp(ip + 16, &forward->addr, sizeof(forward->addr)))
        return false;
    size_t header = (ip[0] & 15) * 4u, total = ld16_be(ip + 2);
    if (ld16_be(ip + 6) & 0x3fff)
        return true;
    if (ip[9] != IPPROTO_TCP || bytes < IP + header + TCP_HEADER)
        return false;
    const uint8_t *tcp = ip + header;
    return ld16_be(tcp + 2) == forward->port && total > header + (tcp[12] >> 4) * 4u;
}

FrameFate user_judge_frame(User *user, const uint8_t *frame, size_t bytes)
{
    for (unsigned i = 0; i < user->guest_forwards->len; i++) {
        GuestForward *forward = g_ptr_array_index(user->guest_forwards, i);
        if (!forward->full || !carries_data(forward, frame, bytes))
            continue;
        if (forward->dropping)
            return FRAME_IS_LOST;
        if (!timer_armed(&forward->patience))
            timer_arm(&forward->patience, clock_now(VM_CLOCK_HOST) + PATIENCE);
        return FRAME_WAITS;
    }
    return FRAME_PASSES;
}

static size_t stream_room(void *opaque)
{
    GuestForward *forward = opaque;
    User *user = forward->user;

    if (user->inside) /* user_poke_guest_forwards() comes */
        return 0;
    forward->offered = slirp_socket_can_recv(user->slirp, forward->addr, forward->port);
    return forward->offered;
}

static void stream_receive(void *opaque, const uint8_t *buf, size_t length)
{
    GuestForward *forward = opaque;
    User *user = forward->user;

    user->inside = true;
    slirp_socket_recv(user->slirp, forward->addr, forward->port, buf, (int)length);
    user->inside = false;
    loop_poller_changed(user->poller);
}

void user_poke_guest_forwards(User *user)
{
    for (unsigned i = 0; i < user->guest_forwards->len; i++) {
        GuestForward *forward = g_ptr_array_index(user->guest_forwards, i);
        size_t room =
            forward->stream ? slirp_socket_can_recv(user->slirp, forward->addr, forward->port) : 0;
        if (room > forward->offered)
            stream_ops->accept_input(forward->stream);
    }
}

static const NetStreamHandlers stream_handlers = {stream_room, stream_receive, stream_writable};

static bool open_stream(GuestForward *forward, const char *device, GError **error)
{
    User *user = forward->user;
    g_autofree char *id =
        g_strdup_printf("%s.guestfwd.%u", user->end.id, user->guest_forwards->len);

    if (!stream_ops)
        return fail(error, "'%s': only cmd: works here", device);
    forward->stream = stream_ops->open(device, id, &stream_handlers, forward, error);
    if (!forward->stream)
        return false;
    if (slirp_add_guestfwd(user->slirp, stream_write, forward, &forward->addr, forward->port) < 0) {
        g_clear_pointer(&forward->stream, stream_ops->close);
        return fail(error, "the address is the host's, the name server's or outside of net=");
    }
    return true;
}

static bool open_target(GuestForward *forward, const char *target, GError **error)
{
    g_auto(GStrv) words = NULL;

    if (!g_str_has_prefix(target, "cmd:"))
        return open_stream(forward, target, error);
    if (!g_shell_parse_argv(target + 4, NULL, &words, NULL))
        return fail(error, "'%s' is no command line", target + 4);
    if (slirp_add_exec(forward->user->slirp, target + 4, &forward->addr, forward->port) < 0)
        return fail(error, "the address is the host's, the name server's or outside of net=");
    return true;
}

static void free_guest_forward(void *data)
{
    GuestForward *forward = data;
    if (forward->stream)
        stream_ops->close(forward->stream);
    timer_cancel(&forward->patience);
    g_byte_array_free(forward->queue, TRUE);
    g_free(forward);
}

/* [tcp]:ADDRESS:PORT-DEVICE */
static bool add_guest_forward(User *user, const char *rule, GError **error)
{
    g_autofree char *word = NULL;
    const char *p = rule;
    bool udp;
    Address server = {.v4 = {.sin_family = AF_INET}};
    GuestForward forward = {.user = user};

    if (!take_protocol(&p, rule, &udp, error) || !take_address(&p, "server", &server, error))
        return false;
    if (udp)
        return fail(error, "'%s': only tcp works", rule);
    if (server.any.sa_family != AF_INET || !server.v4.sin_addr.s_addr)
        return fail(error, "'%s': an IPv4 address must be given", rule);
    if (!take_until(&p, '-', &word) || !*p)
        return fail(error, "'%s' must end with -DEVICE or -cmd:COMMAND", rule);
    if (!take_port(word, "server", 1, &forward.port, error) || !user_start(user, error))
        return false;
    forward.addr = server.v4.sin_addr;
    GuestForward *kept = g_new(GuestForward, 1);
    *kept = forward;
    kept->queue = g_byte_array_new();
    timer_init(&kept->patience, loop_main(), VM_CLOCK_HOST, lose_patience, kept);
    if (!open_target(kept, p, error)) {
        free_guest_forward(kept);
        return false;
    }
    g_ptr_array_add(user->guest_forwards, kept);
    return true;
}

bool user_add_forwards(User *user, const Options *opts, GError **error)
{
    const char *key, *value;

    user->forwards = g_ptr_array_new_with_free_func(g_free);
    user->guest_forwards = g_ptr_array_new_with_free_func(free_guest_forward);
    for (unsigned i = 0; options_nth(opts, i, &key, &value); i++) {
        bool host = !strcmp(key, "hostfwd");
        if (!host && strcmp(key, "guestfwd"))
            continue;
        if (!(host ? net_user_hostfwd_add(&user->end, value, error)
                   : add_guest_forward(user, value, error)))
            return fail_prefix(error, "%s: %s", options_where(opts), key);
    }
    return true;
}

void user_free_forwards(User *user)
{
    g_clear_pointer(&user->forwards, g_ptr_array_unref);
    g_clear_pointer(&user->guest_forwards, g_ptr_array_unref);
}
