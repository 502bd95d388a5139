#!/usr/bin/env python3
"""Debian 12 on a disk of scripts/make-debian-disk: GRUB, systemd, a login on the serial port; a user writes
files and powers off; then the file system and the image are clean.  Usage: test_debian.py ENGINE [TEST]...
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from debian import CACHE, ROOT  # noqa: E402
from pictures import picture  # noqa: E402
from vmrun_test import Failure, Skip, Vm, check, need, need_engine, run_tests  # noqa: E402

ENGINE = sys.argv.pop(1)
IMG = os.environ["VMRUN_IMG"]
WORK = tempfile.TemporaryDirectory(prefix="vmrun-debian-")
PARTITION = 2048 * 512
FSCK = "/sbin/fsck.ext4"


def base_disk():
    path = os.path.join(WORK.name, "base.qcow2")
    if os.path.exists(path):
        return path
    need_engine(ENGINE)
    need("mmdebstrap", "mmdebstrap")
    need(FSCK, "e2fsprogs")
    done = subprocess.run([os.path.join(ROOT, "scripts", "make-debian-disk"), "--img-tool", IMG,
                           "--cache", CACHE, path], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"no disk of Debian can be made here: {done.stderr[-600:]}")
    return path


class Console:
    """The first serial port: what was read, and what is typed."""

    def __init__(self, vm, path):
        self.vm = vm
        vm.wait(lambda: os.path.exists(path), "serial port", 20)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(1)
        self.text = ""

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
        self.text = self.text[found.end():]
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
            found = self.expect(r"(?s)(.*?)" + mark + r"=(\d+)\r?\n(?=.*\$ )", limit)
        except Failure as why:
            raise Failure(f"'{command}': {why}; {start!r}") from why
        check(found[2] == "0", f"'{command}' ends with {found[2]}: {found[1]!r}")
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", found[1])


def boot(disk, *arguments):
    path = os.path.join(WORK.name, "serial")
    if os.path.exists(path):
        os.unlink(path)
    vm = Vm("-accel", ENGINE, "-m", "512", "-hda", disk, *arguments,
            serial=f"unix:{path},server=on,wait=off")
    return vm, path


def check_image(disk):
    """qemu-img finds no error, e2fsck none in the partition."""
    done = subprocess.run(["qemu-img", "check", disk], capture_output=True, text=True)
    check(done.returncode == 0, f"qemu-img check: {done.stdout}{done.stderr}")
    raw, part = os.path.join(WORK.name, "disk.raw"), os.path.join(WORK.name, "part.ext4")
    subprocess.run([IMG, "convert", "-O", "raw", disk, raw], check=True)
    subprocess.run(["dd", f"if={raw}", f"of={part}", f"skip={PARTITION}", "iflag=skip_bytes", "bs=1M",
                    "conv=sparse", "status=none"], check=True)
    os.unlink(raw)
    done = subprocess.run([FSCK, "-fn", part], capture_output=True, text=True)
    check(done.returncode == 0, f"fsck -fn: {done.stdout}{done.stderr}")
    return part


def power_off(vm, console):
    console.type("sudo poweroff")
    vm.wait(lambda: vm.process.poll() is not None, "end of vmrun", 300)
    check(vm.process.returncode == 0, f"poweroff ends vmrun with {vm.process.returncode}")


def test_login():
    disk = os.path.join(WORK.name, "disk.qcow2")
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-b", base_disk(), "-F", "qcow2", disk], check=True)
    vm, path = boot(disk)
    with vm:
        console = Console(vm, path)
        console.expect(r"GNU GRUB|Debian 12")
        console.log_in()
        vm.screendump(picture("debian-login"))
        check("PRETTY_NAME=\"Debian GNU/Linux 12" in console.run("cat /etc/os-release"), "the release")
        failed = console.run("sudo systemctl --failed --no-legend --plain --no-pager")
        check(".service" not in failed, f"failed units: {failed!r}")
        console.run("mkdir files; for i in $(seq 200); do echo line $i >files/$i; done")
        console.run("head -c 20000000 /dev/urandom >big; sha256sum big >sum; sync; sha256sum -c sum")
        log = console.run("sudo dmesg")
        for bad in ("Oops", "BUG:", "Call Trace", "I/O error", "ata1: SRST", "hung task"):
            check(bad not in log, f"'{bad}' in the kernel's log: {log[-3000:]}")
        power_off(vm, console)
    part = check_image(disk)
    listing = subprocess.run(["debugfs", "-R", "cat /home/debian/files/200", part], capture_output=True,
                             text=True, env=dict(os.environ, PATH=os.environ["PATH"] + ":/sbin"))
    check("line 200" in listing.stdout, f"the file in the file system: {listing}")
    os.unlink(part)
    again(disk)


def again(disk):
    """The next start, on four CPUs, finds what was written; the reboot comes back; the disk stays clean."""
    vm, path = boot(disk, "-smp", "4")
    with vm:
        console = Console(vm, path)
        console.log_in()
        check("big: OK" in console.run("sha256sum -c sum"), "the checksum after the reboot")
        check(re.search(r"^4$", console.run("nproc"), re.M), "four CPUs")
        console.type("sudo reboot")
        console.log_in()
        console.run("rm -r files; echo done >end")
        power_off(vm, console)
    check_image(disk)


if __name__ == "__main__":
    run_tests([("log in, write, power off, check; again with four CPUs and a reboot", test_login)])
