#!/usr/bin/env python3
"""Debian 12 on a disk of scripts/make-debian-disk: GRUB, systemd, a login on the serial port; a user writes
files and powers off; then the file system and the image are clean.  Usage: test_debian.py ENGINE [TEST]...
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from debian_guest import Console, boot, check_image, new_disk, power_off  # noqa: E402
from pictures import picture  # noqa: E402
from vmrun_test import check, run_tests  # noqa: E402

ENGINE = sys.argv.pop(1)


def test_login():
    disk = new_disk(ENGINE, "disk.qcow2")
    vm, path = boot(ENGINE, disk)
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
    vm, path = boot(ENGINE, disk, "-smp", "4")
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
