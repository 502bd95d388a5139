"""Linux guests with network cards: the kernel and modules of Debian's installer with busybox; and
servers of the host that they talk to.
"""
import ctypes
import fcntl
import gzip
import hashlib
import http.server
import os
import re
import socket
import socketserver
import struct
import subprocess
import sys
import threading

from linux_guest import LinuxVm, _entry
from vmrun_test import Failure, Vm, need

BUSYBOX = "/bin/busybox"  # of busybox-static: the network of the test has no mirror
IMAGES = "/usr/lib/debian-installer/images/12/{0}/text/debian-installer/{0}"
# Cards and their modules, in the order of loading.
MODULES = {"e1000": ["e1000"], "rtl8139": ["mii", "8139cp"], "ne2k_pci": ["8390", "ne2k-pci"],
           "ne2k_isa": ["8390p", "ne"]}
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /www /etc
for a in $(/bin/busybox --list); do [ $a = busybox ] || /bin/busybox ln -sf /bin/busybox /bin/$a; done
export PATH=/bin PS1= PS2=
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
ip link set lo up
exec 3<>/dev/ttyS1
stty -echo <&3
echo "guest: init runs"
cd /
while true; do
    sh <&3 >&3 2>&3
done
"""
DHCP = """#!/bin/sh
case $1 in
bound|renew)
    ip addr flush dev $interface
    ip addr add $ip/24 dev $interface
    [ -z "$router" ] || ip route add default via $router
    : >/etc/resolv.conf
    for s in $dns; do echo nameserver $s >>/etc/resolv.conf; done
    echo "lease: $ip router $router dns $dns name $hostname"
    ;;
esac
"""


def image(arch, name):
    path = os.path.join(IMAGES.format(arch), name)
    need(path, f"debian-installer-12-netboot-{arch}")
    return path


def kernel(arch="amd64"):
    return image(arch, "linux")


_archives = {}


def installer_files(arch):
    """name -> (mode, data) of the installer's initial RAM disk (cpio, newc)."""
    if arch not in _archives:
        with gzip.open(image(arch, "initrd.gz")) as file:
            data = file.read()
        files, at = {}, 0
        while True:
            fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
            name = data[at + 110:at + 110 + fields[11] - 1].decode()
            start = (at + 110 + fields[11] + 3) & ~3
            if name == "TRAILER!!!":
                break
            files[name.removeprefix("./")] = (fields[1], data[start:start + fields[6]])
            at = (start + fields[6] + 3) & ~3
        _archives[arch] = files
    return _archives[arch]


def _modules(files, arch):
    wanted = {name for names in MODULES.values() for name in names}
    for name, (mode, data) in sorted(files.items()):
        base = os.path.basename(name)
        if base.endswith(".ko") and base[:-3] in wanted:
            yield "modules/" + base, mode, data


def _programs(files, arch):
    """busybox: a static one, or the installer's with its libraries."""
    if arch == "amd64":
        need(BUSYBOX, "busybox-static")
        with open(BUSYBOX, "rb") as file:
            return [("bin/busybox", 0o100755, file.read())]
    found = [("bin/busybox", 0o100755, files["bin/busybox"][1])]
    for name, (mode, data) in sorted(files.items()):
        base = os.path.basename(name)
        if name.startswith("lib/") and re.match(r"(ld-linux|libc|libresolv|libnss_\w+|libm)\.so", base):
            found.append(("lib/" + base, mode, data))
    # The loader and the libraries are links to each other's folders in the installer.
    return [(name, 0o100755, _follow(files, name, mode, data)) for name, mode, data in found]


def _follow(files, name, mode, data):
    while mode & 0o170000 == 0o120000:
        base = os.path.basename(data.decode())
        mode, data = next(value for key, value in files.items()
                          if os.path.basename(key) == base and value[0] & 0o170000 == 0o100000)
    return data


def make_initrd(path, arch="amd64"):
    files = installer_files(arch)
    parts = [_entry(1, name, 0o40755) for name in ("bin", "dev", "etc", "lib", "modules")]
    parts.append(_entry(2, "dev/console", 0o20600, device=(5, 1)))
    parts.append(_entry(3, "bin/sh", 0o120777, b"busybox"))
    for name, mode, data in (*_programs(files, arch), *_modules(files, arch),
                             ("init", 0o100755, INIT.encode()), ("etc/dhcp", 0o100755, DHCP.encode())):
        parts.append(_entry(10 + len(parts), name, mode, data))
    parts.append(_entry(0, "TRAILER!!!", 0))
    with open(path, "wb") as file:
        file.write(b"".join(parts))
    return path


class NetVm(LinuxVm):
    """A guest whose eth0 is the card."""

    def __init__(self, *arguments, card="e1000", program=None, limit=400):
        self.card = card
        self.shell_path = f"/tmp/vmrun-shell-{os.getpid()}-{id(self)}"
        self.shell_socket = None
        Vm.__init__(self, "-serial", f"unix:{self.shell_path},server=on,wait=off", *arguments,
                    program=program, limit=limit)

    def load(self, unload=False):
        names = MODULES[self.card]
        for name in reversed(names) if unload else names:
            more = " io=0x300 irq=5" if name == "ne" and not unload else ""
            command = f"rmmod {name}" if unload else f"insmod /modules/{name}.ko{more}"
            answer = self.shell(f"{command} && echo it is done")
            if "it is done" not in answer:
                raise Failure(f"{command}: {answer}; {self.shell('dmesg | tail -n 5')}")

    def lease(self, limit=90):
        """DHCP; returns what was said."""
        answer = self.shell("ip link set eth0 up; udhcpc -i eth0 -q -n -t 10 -T 2 -s /etc/dhcp 2>&1",
                            limit)
        if "lease: " not in answer:
            raise Failure(f"no lease: {answer!r} {self.shell('dmesg | tail -n 8; ip addr')} "
                          f"{self.monitor('info network')}")
        return answer

    def forwarded(self, guest_port):
        """The host's port of a forward, from the line at the start."""
        found = re.search(rf"tcp 127\.0\.0\.1:(\d+) -> 10\.0\.2\.15:{guest_port}\b", self.said())
        if not found:
            raise Failure(f"no forward to port {guest_port}: {self.said()}")
        return int(found.group(1))


# ---- The host's side ----

def private_network():
    """Starts this script anew in a network of its own whose name server is 127.0.0.1.  False, and why
    on stderr, where that may not be done."""
    if os.environ.get("VMRUN_TEST_NETWORK"):
        return os.environ["VMRUN_TEST_NETWORK"] == "own"
    command = ["unshare", *(() if os.getuid() == 0 else ("-r",)), "-n", "-m"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        os.environ["VMRUN_TEST_NETWORK"] = "shared"
        return False
    os.environ["VMRUN_TEST_NETWORK"] = "own"
    os.execvp(command[0], [*command, sys.executable, *sys.argv])


def set_up_network(work):
    """Inside of it: the loopback, and /etc/resolv.conf."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    path = os.path.join(work, "resolv.conf")
    with open(path, "w") as file:
        file.write("nameserver 127.0.0.1\n")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount(None, b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    if libc.mount(path.encode(), b"/etc/resolv.conf", None, 0x1000, None):  # MS_BIND
        raise Failure(f"/etc/resolv.conf: {os.strerror(ctypes.get_errno())}")


class NameServer:
    """Answers every question for an IPv4 address with 192.0.2.77."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.names = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            query, sender = self.socket.recvfrom(512)
            end, labels = 12, []
            while query[end]:
                labels.append(query[end + 1:end + 1 + query[end]].decode())
                end += 1 + query[end]
            question = query[12:end + 5]
            self.names.append(".".join(labels))
            is_a = question[-4:-2] == b"\0\1"
            reply = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0" + question
            if is_a:
                reply += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes((192, 0, 2, 77))
            self.socket.sendto(reply, sender)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data, times = self.server.files.get(self.path, (None, 0))
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"") * times))
        self.end_headers()
        try:
            for _ in range(times):
                self.wfile.write(data)
        except OSError:
            pass  # the guest went away

    def log_message(self, *arguments):
        pass


class WebServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Shows files: path -> (data, how many times in a row)."""
    daemon_threads = True

    def __init__(self, address="127.0.0.1"):
        super().__init__((address, 0), _Handler)
        self.files = {}
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Sink:
    """Takes one connection at a time; results: (bytes, MD5) of each."""

    def __init__(self, address="127.0.0.1"):
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]
        self.results = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            connection = self.socket.accept()[0]
            total, digest = 0, hashlib.md5()
            try:
                while piece := connection.recv(1 << 18):
                    total += len(piece)
                    digest.update(piece)
            except OSError:
                pass
            connection.close()
            self.results.append((total, digest.hexdigest()))
