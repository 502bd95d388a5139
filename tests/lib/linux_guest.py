"""A small Linux guest: a Debian kernel with busybox, and its shell on the second serial port."""
import os
import re
import time

from debian import debian_file
from vmrun_test import Failure, Vm, connect_unix

KERNELS = {"cloud": ("linux-image-cloud-amd64", "amd64"), "amd64": ("linux-image-amd64", "amd64"),
           "686": ("linux-image-686", "i386"), "686-pae": ("linux-image-686-pae", "i386")}
INIT = """#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
exec 3<>/dev/ttyS1
stty -echo <&3
echo "guest: init runs"
cd /
while true; do
    setsid sh <&3 >&3 2>&3
done
"""


def kernel(flavour="cloud"):
    package, arch = KERNELS[flavour]
    return debian_file(package, "boot/vmlinuz-*", arch=arch)


def _entry(number, name, mode, data=b"", device=(0, 0)):
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def make_initrd(path, flavour="cloud"):
    """A newc archive, without a file system's help."""
    with open(debian_file("busybox-static", "bin/busybox", arch=KERNELS[flavour][1]), "rb") as file:
        busybox = file.read()
    parts = [_entry(1, "bin", 0o40755), _entry(2, "dev", 0o40755),
             _entry(3, "dev/console", 0o20600, device=(5, 1)),
             _entry(4, "bin/busybox", 0o100755, busybox), _entry(5, "bin/sh", 0o120777, b"busybox"),
             _entry(6, "init", 0o100755, INIT.encode()), _entry(7, "TRAILER!!!", 0)]
    with open(path, "wb") as file:
        file.write(b"".join(parts))
    return path


class LinuxVm(Vm):
    """shell() runs a command in the guest and returns what it printed."""

    def __init__(self, *arguments, limit=240, program=None):
        self.shell_path = f"/tmp/vmrun-shell-{os.getpid()}-{id(self)}"
        self.shell_socket = None
        super().__init__("-serial", f"unix:{self.shell_path},server=on,wait=off", *arguments,
                         limit=limit, program=program)

    def __exit__(self, *arguments):
        if self.shell_socket:
            self.shell_socket.close()
        super().__exit__(*arguments)
        if os.path.exists(self.shell_path):
            os.unlink(self.shell_path)

    def connect(self):
        """Waits for the shell."""
        self.wait(lambda: os.path.exists(self.shell_path), "second serial port", 20)
        self.shell_socket = connect_unix(self.shell_path)
        self.wait_serial(r"guest: init runs")
        self.shell("true")

    def shell(self, command, limit=60):
        mark = f"done{time.monotonic_ns()}"
        self.shell_socket.sendall(f"{command}; echo {mark}=$?\n".encode())
        data, _ = self.read_shell(mark + r"=(\d+)", command, limit)
        return data.replace("\r", "")

    def read_shell(self, pattern, what, limit=60):
        """Reads the shell's output up to a match: what came before, and the match."""
        self.shell_socket.settimeout(1)
        data, end = "", time.monotonic() + limit
        while not (found := re.search(pattern, data)):
            if time.monotonic() > end or self.process.poll() is not None:
                raise Failure(f"'{what}' does not end: {data!r}; serial: {self.serial()[-1500:]!r}; "
                              f"vmrun: {self.said()}")
            try:
                data += self.shell_socket.recv(65536).decode(errors="replace")
            except TimeoutError:
                pass
        return data[:found.start()], found
