"""Debian 12 on a disk of scripts/make-debian-disk, and its login on the serial port."""
import os
import re
import subprocess
import tempfile
import time

from debian import CACHE, ROOT
from vmrun_test import Failure, Skip, Vm, check, connect_unix, need, need_engine

WORK = tempfile.TemporaryDirectory(prefix="vmrun-debian-")
FSCK = "/sbin/fsck.ext4"
PARTITION = 2048 * 512


def base_disk(engine):
    """The disk, which no test writes to: new_disk() is for that."""
    path = os.path.join(WORK.name, "base.qcow2")
    if os.path.exists(path):
        return path
    need_engine(engine)
    need("mmdebstrap", "mmdebstrap")
    need(FSCK, "e2fsprogs")
    done = subprocess.run([os.path.join(ROOT, "scripts", "make-debian-disk"), "--img-tool",
                           os.environ["VMRUN_IMG"], "--cache", CACHE, path], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"no disk of Debian can be made here: {done.stderr[-600:]}")
    return path


def new_disk(engine, name):
    """An overlay of the disk."""
    disk = os.path.join(WORK.name, name)
    subprocess.run([os.environ["VMRUN_IMG"], "create", "-q", "-f", "qcow2", "-b", base_disk(engine), "-F",
                    "qcow2", disk], check=True)
    return disk


class Console:
    """The first serial port: what was read, and what is typed."""

    def __init__(self, vm, path):
        self.vm = vm
        vm.wait(lambda: os.path.exists(path), "serial port", 20)
        self.socket = connect_unix(path)
        self.socket.settimeout(1)
        self.text = self.before = ""

    def expect(self, pattern, limit=600):
        """Waits for a pattern after what earlier calls have seen."""
        end = time.monotonic() + limit
        while not (found := re.search(pattern, self.text)):
            check("Kernel panic" not in self.text, f"panic: {self.text[-3000:]!r}")
            if time.monotonic() > end or self.vm.process.poll() is not None:
                raise Failure(f"no '{pattern}': {self.text[-2000:]!r}; vmrun: {self.vm.said()}")
            try:
                self.text += self.socket.recv(65536).decode(errors="replace")
            except TimeoutError:
                pass
        self.before, self.text = self.text[:found.start()], self.text[found.end():]
        return found

    def type(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def log_in(self):
        self.expect(r"login: ")
        self.type("debian")
        self.expect(r"Password: ")
        self.type("debian")
        self.expect(r"debian@vmrun:~\$ ")

    def run(self, command, limit=300):
        """A command and what it prints."""
        mark = f"end{time.monotonic_ns()}"
        self.type(f"{command}; echo {mark[:3]}''{mark[3:]}=$?")
        self.expect(r"\n")
        start = self.text
        try:
            found = self.expect(mark + r"=(\d+)\r?\n(?=(?s:.*)\$ )", limit)
        except Failure as why:
            raise Failure(f"'{command}': {why}; {start!r}") from why
        check(found[1] == "0", f"'{command}' ends with {found[1]}: {self.before!r}")
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", self.before)


def boot(engine, disk, *arguments):
    """A vmrun, and the path of its serial port."""
    path = os.path.join(WORK.name, "serial")
    if os.path.exists(path):
        os.unlink(path)
    vm = Vm("-accel", engine, "-m", "512", "-hda", disk, *arguments,
            serial=f"unix:{path},server=on,wait=off")
    return vm, path


def power_off(vm, console):
    console.type("sudo poweroff")
    vm.wait(lambda: vm.process.poll() is not None, "end of vmrun", 300)
    check(vm.process.returncode == 0, f"poweroff ends vmrun with {vm.process.returncode}")


def check_image(disk):
    """qemu-img finds no error, e2fsck none in the partition, whose file is returned."""
    done = subprocess.run(["qemu-img", "check", disk], capture_output=True, text=True)
    check(done.returncode == 0, f"qemu-img check: {done.stdout}{done.stderr}")
    raw, part = os.path.join(WORK.name, "disk.raw"), os.path.join(WORK.name, "part.ext4")
    subprocess.run([os.environ["VMRUN_IMG"], "convert", "-O", "raw", disk, raw], check=True)
    subprocess.run(["dd", f"if={raw}", f"of={part}", f"skip={PARTITION}", "iflag=skip_bytes", "bs=1M",
                    "conv=sparse", "status=none"], check=True)
    os.unlink(raw)
    done = subprocess.run([FSCK, "-fn", part], capture_output=True, text=True)
    check(done.returncode == 0, f"fsck -fn: {done.stdout}{done.stderr}")
    return part
