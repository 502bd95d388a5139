/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back ends "tap" (a network interface of the host whose other end is the guest; Linux
 * Documentation/networking/tuntap.rst) and "bridge" (one that is put into a bridge of the host).
 *
 * An interface that others opened may want a header before each frame (IFF_VNET_HDR): it says that
 * there is nothing to do, and is left out of what comes, for which the same is asked of the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"
#include "net_private.h"
#include "util/error.h"
#include "util/log.h"
#include "util/loop.h"

#define UP_SCRIPT     "/etc/qemu-ifup"
#define DOWN_SCRIPT   "/etc/qemu-ifdown"
#define BRIDGE_HELPER "/usr/lib/qemu/qemu-bridge-helper"
#define BRIDGE        "br0"

enum { FRAMES_A_TIME = 64, HEADER_MAX = 64 };

typedef struct Tap {
    NetEnd end;
    int fd;
    char name[IFNAMSIZ];
    char *down_script; /* or NULL */
    bool full;         /* the interface's queue: rare */
    LoopFd *watch;     /* NULL while the NIC has no room */
    unsigned events;
    size_t header;  /* bytes before each frame */
    uint8_t *in;    /* HEADER_MAX + NET_FRAME_MAX bytes */
    size_t waiting; /* bytes of the frame in it that the NIC has not taken; 0: none */
} Tap;

static void tap_event(void *opaque, int fd, unsigned revents);

static void watch(Tap *tap)
{
    unsigned events = (tap->waiting ? 0 : LOOP_IN) | (tap->full ? LOOP_OUT : 0);

    if (tap->watch && events == tap->events)
        return;
    loop_fd_remove(tap->watch);
    tap->events = events;
    tap->watch = events ? loop_fd_add(loop_main(), tap->fd, events, tap_event, tap) : NULL;
}

static bool tap_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    static const uint8_t zeros[HEADER_MAX];
    Tap *tap = end->opaque;
    struct iovec pieces[NET_PIECES_MAX + 1] = {{(void *)zeros, tap->header}};

    if (tap->header) {
        memcpy(pieces + 1, iov, sizeof(*iov) * (size_t)count);
        iov = pieces;
        count++;
    }
    /* Any other error (the interface is down) loses the frame. */
    if (writev(tap->fd, iov, count) < 0 && errno == EAGAIN) {
        tap->full = true;
        watch(tap);
        return false;
    }
    return true;
}

static void tap_event(void *opaque, int fd, unsigned revents)
{
    Tap *tap = opaque;

    if (revents & LOOP_OUT) {
        tap->full = false;
        net_writable(&tap->end);
    }
    for (unsigned i = 0; i < FRAMES_A_TIME && !tap->waiting; i++) {
        ssize_t n = read(fd, tap->in, tap->header + NET_FRAME_MAX);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            report_warn("network '%s': %s: %s", tap->end.id, tap->name, g_strerror(errno));
            loop_fd_remove(tap->watch);
            tap->watch = NULL;
            return;
        }
        if (n <= 0)
            break;
        if ((size_t)n <= tap->header)
            continue;
        size_t bytes = (size_t)n - tap->header;
        if (!net_send_buf(&tap->end, tap->in + tap->header, bytes))
            tap->waiting = bytes;
    }
    watch(tap);
}

static void tap_writable(NetEnd *end)
{
    Tap *tap = end->opaque;

    if (tap->waiting && !net_send_buf(end, tap->in + tap->header, tap->waiting))
        return;
    tap->waiting = 0;
    watch(tap);
}

/* ---- Scripts: the interface's name is their argument ---- */

static bool run_script(const char *script, const char *name, GError **error)
{
    const char *const argv[] = {script, name, NULL};
    int status;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL, NULL,
                      NULL, &status, error))
        return false;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return fail(error, "%s %s failed with status %d", script, name,
                    WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return true;
}

/* The key's script; "no": none; left out: the usual one, if it is there. */
static char *script_of(const Options *opts, const char *key, const char *usual)
{
    const char *text = options_get(opts, key);
    if (text)
        return strcmp(text, "no") && strcmp(text, "off") ? g_strdup(text) : NULL;
    return access(usual, X_OK) ? NULL : g_strdup(usual);
}

/* ---- The end ---- */

static void tap_describe(NetEnd *end, GString *out)
{
    const Tap *tap = end->opaque;
    g_string_append_printf(out, "ifname=%s,fd=%d", tap->name, tap->fd);
}

static void tap_close(NetEnd *end)
{
    Tap *tap = end->opaque;
    g_autoptr(GError) error = NULL;

    loop_fd_remove(tap->watch);
    if (tap->down_script && !run_script(tap->down_script, tap->name, &error))
        report_warn("network '%s': %s", tap->name, error->message);
    if (tap->fd >= 0)
        close(tap->fd);
    g_free(tap->down_script);
    g_free(tap->in);
    g_free(tap);
}

#define TAP_OPS(name)                                                                              \
    {                                                                                              \
        .kind = name, .backend = true, .receive = tap_receive, .writable = tap_writable,           \
        .describe = tap_describe, .close = tap_close                                               \
    }
static const NetEndOps tap_ops = TAP_OPS("tap"), bridge_ops = TAP_OPS("bridge");

static int fail_open(GError **error, int number, const char *what)
{
    fail_errno(error, number, "%s%s", what,
               number == EPERM ? " (CAP_NET_ADMIN is missing: be root, let root make the interface "
                                 "with `ip tuntap add mode tap user`, or use bridge)"
                               : "");
    return -1;
}

/* A new interface, or an existing one that has no other end.  name: "" for the next free tapN; it
 * becomes the real one. */
static int open_interface(char name[IFNAMSIZ], GError **error)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return fail_open(error, errno, "/dev/net/tun");
    g_strlcpy(request.ifr_name, *name ? name : "tap%d", sizeof(request.ifr_name));
    if (ioctl(fd, TUNSETIFF, &request)) {
        int number = errno;
        close(fd);
        return fail_open(error, number, *name ? name : "a new interface");
    }
    g_strlcpy(name, request.ifr_name, IFNAMSIZ);
    return fd;
}

/* One that somebody else opened: its name and form.  What: how it came here, for messages. */
static bool adopt(Tap *tap, int fd, const char *what, GError **error)
{
    struct ifreq request = {0};
    int header = 0;

    if (ioctl(fd, TUNGETIFF, &request))
        return fail_errno(error, errno, "%s: it is no tap interface", what);
    if (!(request.ifr_flags & IFF_TAP) || !(request.ifr_flags & IFF_NO_PI))
        return fail(error, "%s: must be a tap with IFF_NO_PI", what);
    if (request.ifr_flags & IFF_VNET_HDR) {
        if (ioctl(fd, TUNGETVNETHDRSZ, &header) || header < 0 || header > HEADER_MAX ||
            ioctl(fd, TUNSETOFFLOAD, 0))
            return fail(error, "%s: a tap whose header of IFF_VNET_HDR cannot be had", what);
        tap->header = (size_t)header;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    g_strlcpy(tap->name, request.ifr_name, sizeof(tap->name));
    tap->fd = fd;
    return true;
}

/* fd=: opened by whoever started us. */
static bool take_interface(Tap *tap, const char *text, GError **error)
{
    g_autofree char *what = g_strdup_printf("fd=%s", text);
    uint64_t number;

    if (!parse_uint(text, &number) || number > INT_MAX)
        return fail(error, "%s: must be the number of an open file", what);
    return adopt(tap, (int)number, what, error);
}

/* ---- Helpers: programs with the right to make an interface in a bridge ---- */

/* The helper sends us the interface. */
static int receive_fd(int s)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    int fd = -1;

    if (recvmsg(s, &message, MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

static void keep_fd(void *data)
{
    fcntl(GPOINTER_TO_INT(data), F_SETFD, 0);
}

static bool ask_helper(Tap *tap, const char *helper, const char *bridge, GError **error)
{
    int pair[2], status = 0, fd = -1;
    GPid pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return fail_errno(error, errno, "socketpair");
    g_autofree char *fd_arg = g_strdup_printf("--fd=%d", pair[1]);
    g_autofree char *br_arg = g_strdup_printf("--br=%s", bridge);
    const char *const argv[] = {helper, fd_arg, br_arg, NULL};
    bool done = false;
    if (g_spawn_async(NULL, (char **)argv, NULL,
                      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_LEAVE_DESCRIPTORS_OPEN, keep_fd,
                      GINT_TO_POINTER(pair[1]), &pid, error)) {
        close(pair[1]);
        fd = receive_fd(pair[0]);
        waitpid(pid, &status, 0);
        if (fd < 0)
            fail(error, "%s gave no interface on '%s'", helper, bridge);
        else if (!(done = adopt(tap, fd, helper, error)))
            close(fd);
    } else {
        close(pair[1]);
    }
    close(pair[0]);
    return done;
}

static Tap *new_tap(const NetEndOps *ops, const char *id, GError **error)
{
    Tap *tap = g_new0(Tap, 1);

    tap->fd = -1;
    if (!net_end_init(&tap->end, ops, id, tap, error)) {
        g_free(tap);
        return NULL;
    }
    tap->in = g_malloc(HEADER_MAX + NET_FRAME_MAX);
    return tap;
}

static NetEnd *finish(Tap *tap, const Options *opts, bool done, GError **error)
{
    if (done) {
        watch(tap);
        return &tap->end;
    }
    fail_prefix(error, "%s: %s", options_where(opts), tap->end.ops->kind);
    net_close(&tap->end);
    return NULL;
}

/* What is on there and never here. */
static bool refuse(const Options *opts, GError **error)
{
    static const struct {
        const char *key, *why;
    } rows[] = {
        {"vnet_hdr", "vmrun's cards do their offloads themselves"},
        {"vhost", "vmrun does not have vhost"},
        {"vhostforce", "vmrun does not have vhost"},
    };
    uint64_t queues = 1;

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        bool on = false;
        if (!options_get_bool(opts, rows[i].key, &on, error))
            return false;
        if (on)
            return fail(error, "%s: %s=on: %s", options_where(opts), rows[i].key, rows[i].why);
    }
    if (options_has(opts, "fds") || options_has(opts, "vhostfds"))
        return fail(error, "%s: fds: vmrun's cards have one queue; give fd=", options_where(opts));
    if (!options_get_uint(opts, "queues", 1, UINT32_MAX, &queues, error))
        return false;
    return queues == 1 ||
           fail(error, "%s: queues=%" G_GUINT64_FORMAT ": must be 1", options_where(opts), queues);
}

static bool set_send_buffer(const Tap *tap, const Options *opts, GError **error)
{
    uint64_t bytes = 0;

    if (!options_has(opts, "sndbuf"))
        return true;
    if (!options_get_size(opts, "sndbuf", &bytes, error))
        return false;
    int value = bytes && bytes <= INT_MAX ? (int)bytes : INT_MAX;
    return !ioctl(tap->fd, TUNSETSNDBUF, &value) || fail_errno(error, errno, "sndbuf");
}

static bool start_tap(Tap *tap, const Options *opts, GError **error)
{
    const char *name = options_get(opts, "ifname"), *bridge = options_get(opts, "br");

    if (options_has(opts, "fd"))
        return take_interface(tap, options_get(opts, "fd"), error) &&
               set_send_buffer(tap, opts, error);
    if (options_has(opts, "helper"))
        return ask_helper(tap, options_get(opts, "helper"), bridge ? bridge : BRIDGE, error) &&
               set_send_buffer(tap, opts, error);
    g_strlcpy(tap->name, name ? name : "", sizeof(tap->name));
    tap->fd = open_interface(tap->name, error);
    if (tap->fd < 0 || !set_send_buffer(tap, opts, error))
        return false;
    g_autofree char *up = script_of(opts, "script", UP_SCRIPT);
    if (up && !run_script(up, tap->name, error))
        return false;
    tap->down_script = script_of(opts, "downscript", DOWN_SCRIPT);
    return true;
}

static NetEnd *tap_open(const char *id, const Options *opts, GError **error)
{
    static const char *const makes[] = {"ifname", "script", "downscript"};
    static const char *const gets[] = {"fd", "helper"};
    const char *name = options_get(opts, "ifname");

    if (!refuse(opts, error))
        return NULL;
    if (name && (!*name || strlen(name) >= IFNAMSIZ))
        return net_fail_value(opts, "ifname", "must have 1 to 15 bytes", error);
    if (options_has(opts, "fd") && options_has(opts, "helper"))
        return net_fail_value(opts, "helper", "one of fd and helper", error);
    if (options_has(opts, "br") && !options_has(opts, "helper"))
        return net_fail_value(opts, "br", "goes with helper=; the network type bridge needs none",
                              error);
    for (unsigned i = 0; i < G_N_ELEMENTS(gets) * G_N_ELEMENTS(makes); i++)
        if (options_has(opts, gets[i % 2]) && options_has(opts, makes[i / 2]))
            return net_fail_value(opts, makes[i / 2],
                                  i % 2 ? "goes with an interface made here, not with helper="
                                        : "goes with an interface made here, not with fd=",
                                  error);
    Tap *tap = new_tap(&tap_ops, id, error);
    return tap ? finish(tap, opts, start_tap(tap, opts, error), error) : NULL;
}

static const char *const tap_keys[] = {"ifname",   "fd",       "fds",    "script", "downscript",
                                       "helper",   "br",       "sndbuf", "vhost",  "vhostforce",
                                       "vhostfds", "vnet_hdr", "queues", NULL};

const NetType net_type_tap = {
    "tap",
    "[,ifname=NAME][,script=FILE|no][,downscript=FILE|no][,sndbuf=BYTES] or ,fd=FD"
    " or ,helper=FILE[,br=BRIDGE]",
    tap_keys, tap_open};

/* ---- bridge ---- */

/* A new interface, up, as a port of the bridge. */
static bool join_bridge(Tap *tap, const char *bridge, GError **error)
{
    struct ifreq request = {0};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    unsigned index = if_nametoindex(tap->name);
    const char *what = bridge;

    g_strlcpy(request.ifr_name, bridge, sizeof(request.ifr_name));
    request.ifr_ifindex = (int)index;
    int result = ioctl(s, SIOCBRADDIF, &request);
    if (!result) {
        what = tap->name;
        g_strlcpy(request.ifr_name, tap->name, sizeof(request.ifr_name));
        result = ioctl(s, SIOCGIFFLAGS, &request);
        request.ifr_flags |= IFF_UP;
        result = result ? result : ioctl(s, SIOCSIFFLAGS, &request);
    }
    int number = errno;
    close(s);
    return !result || fail_errno(error, number, "%s", what);
}

static bool start_bridge(Tap *tap, const Options *opts, GError **error)
{
    const char *bridge = options_get(opts, "br"), *helper = options_get(opts, "helper");
    g_autoptr(GError) direct = NULL;

    if (!bridge)
        bridge = BRIDGE;
    if (!helper) {
        if (!if_nametoindex(bridge))
            return fail(error, "there is no bridge '%s'", bridge);
        tap->fd = open_interface(tap->name, &direct);
        if (tap->fd >= 0 && join_bridge(tap, bridge, &direct))
            return true;
        if (access(BRIDGE_HELPER, X_OK)) {
            g_propagate_error(error, g_steal_pointer(&direct));
            return false;
        }
        if (tap->fd >= 0)
            close(tap->fd);
        helper = BRIDGE_HELPER;
    }
    tap->fd = -1;
    return ask_helper(tap, helper, bridge, error);
}

static NetEnd *bridge_open(const char *id, const Options *opts, GError **error)
{
    Tap *tap = new_tap(&bridge_ops, id, error);
    return tap ? finish(tap, opts, start_bridge(tap, opts, error), error) : NULL;
}

static const char *const bridge_keys[] = {"br", "helper", NULL};

const NetType net_type_bridge = {"bridge", "[,br=BRIDGE][,helper=FILE]", bridge_keys, bridge_open};
