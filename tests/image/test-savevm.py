#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""savevm, loadvm, delvm, info snapshots and -loadvm: several drives, and all that may be wrong: formats,
names, other machines, damaged states, disks that fail.  The guest is SeaBIOS.  VMRUN and VMRUN_IMG: programs.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from vmrun_test import Vm, check, need, need_kvm, run_tests  # noqa: E402

IMG = os.environ["VMRUN_IMG"]
WORK = tempfile.TemporaryDirectory(prefix="vmrun-savevm-")
MAGIC = b"VMRUNVM1"


def image(name, fmt="qcow2", *options):
    path = os.path.join(WORK.name, name)
    subprocess.run([IMG, "create", "-q", "-f", fmt, *options, path, "64M"], check=True)
    return path


def drives(*paths):
    return [word for path in paths for word in ("-drive", f"file={path},format=qcow2")]


@contextlib.contextmanager
def machine(*arguments, engine="interp"):
    with Vm("-accel", engine, "-m", "32", "-net", "none", *arguments) as vm:
        yield vm


def ready(vm):
    """It has come as far as it can without anything to boot."""
    vm.wait_screen("No bootable device.", 60)


def ok(vm, line):
    answer = vm.monitor(line)
    check(not answer.strip(), f"{line}: {answer}")


def refused(vm, line, part, status="running"):
    answer = vm.monitor(line)
    check(answer.startswith("Error: ") and part in answer, f"{line}: {answer!r} lacks {part!r}")
    check(status in vm.monitor("info status"), f"{vm.monitor('info status')} after {line}")


def not_started(part, *arguments):
    done = subprocess.run([os.environ["VMRUN"], "-display", "none", "-accel", "interp", "-m", "32", "-net", "none",
                           *arguments], capture_output=True, text=True, timeout=60)
    check(done.returncode == 1 and part in done.stderr, f"{arguments}: {done.returncode} {done.stderr!r}")


def peer(*words):
    need("qemu-img", "qemu-utils")
    return subprocess.run(["qemu-img", *words], check=True, capture_output=True, text=True).stdout


def names(path):
    return [line.split()[1] for line in peer("snapshot", "-l", path).splitlines()[2:]]


def names_of(vm):
    return [row.split()[1] for row in vm.monitor("info snapshots").splitlines()[2:]]


def back(disk, *arguments, engine="interp"):
    with machine(*arguments, engine=engine) as vm:
        ready(vm)
        ok(vm, "savevm one")
        text = vm.screen_text()
        vm.monitor("system_reset")
        vm.wait(lambda: vm.screen_text() != text, "another screen", 30)
        ok(vm, "loadvm one")
        check(vm.screen_text() == text, "the screen of before")
        row = vm.monitor("info snapshots").splitlines()
        check(row[0] == "List of snapshots present on all disks:" and row[2].split()[:2] == ["--", "one"],
              f"info snapshots: {row}")
        ok(vm, "savevm one")
        ok(vm, "savevm two")
        ok(vm, "stop")
        ok(vm, "loadvm one")
        check("paused" in vm.monitor("info status"), "it stood, so it stands")
        ok(vm, "cont")
        ok(vm, "delvm two")
    check(names(disk) == ["one"], f"snapshots: {names(disk)}")
    check("No errors" in peer("check", disk), "qemu-img check")
    with machine("-S", "-loadvm", "one", *arguments, engine=engine) as vm:
        check("paused" in vm.monitor("info status"), "-S -loadvm stands")
        check(vm.screen_text() == text, "the screen in a fresh vmrun")


def allocated(path):
    return json.loads(peer("check", "--output", "json", path)).get("allocated-clusters", 0)


def test_back():
    disk = image("back")
    back(disk, *drives(disk))


def test_kvm():
    need_kvm()
    disk = image("kvm")
    back(disk, *drives(disk), engine="kvm")


def test_iothread():
    disk = image("iothread")
    back(disk, "-object", "iothread,id=io", "-drive", f"file={disk},format=qcow2,iothread=io")


def test_drives():
    first, second, third = image("first"), image("second"), image("third")
    subprocess.run([IMG, "snapshot", "-c", "disk", second], check=True)
    with machine(*drives(first, second)) as vm:
        ready(vm)
        check("partial (non-loadable) snapshots on 'ide0-hd1'" in vm.monitor("info snapshots"), "the partial one")
        refused(vm, "loadvm disk", "drive 'ide0-hd0' has no snapshot with the name 'disk'")
        ok(vm, "savevm both")
        refused(vm, "delvm 1", "no drive has a snapshot with the name '1'")
    check(names(first) == ["both"] and names(second) == ["disk", "both"], "each has it")
    with machine(*drives(first, third)) as vm:
        ready(vm)
        refused(vm, "loadvm both", "drive 'ide0-hd1' has no snapshot with the name 'both'")
        ok(vm, "delvm both")
    subprocess.run([IMG, "snapshot", "-c", "disk", first], check=True)
    with machine(*drives(first, second)) as vm:
        ready(vm)
        refused(vm, "loadvm disk", "is of the disk only")


def test_names():
    """A name that is another one's number; the newest of a name."""
    disk = image("names")
    with machine(*drives(disk)) as vm:
        ready(vm)
        for name in ("2", "x"):
            ok(vm, f"savevm {name}")
        refused(vm, "loadvm 1", "drive 'ide0-hd0' has no snapshot with the name '1'")
        text = vm.screen_text()
        vm.monitor("system_reset")
        vm.wait(lambda: vm.screen_text() != text, "another screen", 30)
        ok(vm, "savevm x")
        ok(vm, "loadvm 2")
        check(vm.screen_text() == text, "the one named 2 is the first")
        ok(vm, "delvm 2")
    check(names(disk) == ["x"], f"snapshots: {names(disk)}")


def test_busy_cd():
    """Another drive, slow and for reading only, is in the middle of something each time."""
    need("/usr/lib/grub-rescue/grub-rescue-cdrom.iso", "grub-rescue-pc")
    disk = image("cd")
    with machine(*drives(disk), "-boot", "d", "-drive", "file=/usr/lib/grub-rescue/grub-rescue-cdrom.iso,media=cdrom,"
                 "format=raw,readonly=on,throttling.iops-read=25") as vm:
        vm.wait_screen("Booting from DVD/CD", 60)
        for number in range(4):
            ok(vm, f"savevm {number}")
            time.sleep(0.3)
        for number in range(4):
            ok(vm, f"loadvm {number}")
            time.sleep(0.3)
        check("running" in vm.monitor("info status"), "it runs")
        vm.wait_screen("GNU/Linux", 240)


def test_formats():
    raw, disk = image("raw", "raw"), image("qcow2")
    with machine("-drive", f"file={raw},format=raw") as vm:
        refused(vm, "savevm", "drive 'ide0-hd0' is written to, but its format 'raw' has no snapshots")
    with machine(*drives(disk), "-drive", f"file={raw},format=raw,if=floppy") as vm:
        refused(vm, "savevm", "format 'raw' has no snapshots")
    with machine(*drives(disk), "-cdrom", raw) as vm:
        ready(vm)
        ok(vm, "savevm cd")
    with machine() as vm:
        refused(vm, "savevm a", "there is no drive that could keep a snapshot")
        check("There is no snapshot available." in vm.monitor("info snapshots"), "none")
    with machine("-snapshot", "-drive", f"file={raw},format=raw") as vm:
        ready(vm)
        ok(vm, "savevm temporary")
        ok(vm, "loadvm temporary")


def test_other_machines():
    disk = image("other")
    with machine(*drives(disk)) as vm:
        ready(vm)
        ok(vm, "savevm it")
    peer("convert", "-O", "raw", disk, disk + ".raw")
    not_started("saved with 1 CPUs, and this machine has 2", "-smp", "2", "-loadvm", "it", *drives(disk))
    not_started("saved with memory 'pc.ram' of 32768 KiB", "-m", "64", "-loadvm", "it", *drives(disk))
    not_started("has a device", "-parallel", "none", "-loadvm", "it", *drives(disk))
    with machine("-parallel", "none", *drives(disk)) as vm:
        ready(vm)
        refused(vm, "loadvm it", "has a device", "internal-error")
        check("system_reset starts it again" in vm.monitor("cont"), "cont")
        vm.monitor("system_reset")
        ok(vm, "cont")
        ready(vm)
    not_started("memories", "-device", "e1000", "-loadvm", "it", *drives(disk))
    not_started("no snapshot with the name 'that'", "-loadvm", "that", *drives(disk))
    not_started("no drive that could", "-loadvm", "it")
    check(names(disk) == ["it"] and peer("compare", disk, disk + ".raw"), "the disk is as it was")


def test_damage():
    """The state is another program's, or cut: the machine goes on, on the disk that it has."""
    disk = image("damage")
    with machine(*drives(disk)) as vm:
        ready(vm)
        ok(vm, "savevm good")
    with open(disk, "rb") as file:
        data = bytearray(file.read())
    at = data.index(MAGIC)
    for change, part in ((lambda d: d.__setitem__(slice(at, at + 4), b"QEVM"), "not vmrun's"),
                         (lambda d: d.__setitem__(slice(at + 8, at + 16), b"\xff" * 8), "head is damaged"),
                         (lambda d: d.__setitem__(slice(at + 8, at + 16), (300).to_bytes(8, "little")), "cut short"),
                         (lambda d: d.__setitem__(slice(at + 60, at + 70), b"\xff" * 10), "")):
        bad = bytearray(data)
        change(bad)
        with open(disk, "wb") as file:
            file.write(bad)
        with machine(*drives(disk)) as vm:
            ready(vm)
            refused(vm, "loadvm good", part)
            ok(vm, "savevm fresh")
            ok(vm, "loadvm fresh")


def test_failing_disk():
    """No room at a place of the file: an error, the old snapshot is whole, the machine runs."""
    disk, rules = image("failing"), os.path.join(WORK.name, "rules")
    sizes = []
    with machine(*drives(disk)) as vm:
        ready(vm)
        ok(vm, "savevm old")
        sizes.append(os.path.getsize(disk))
        vm.monitor("stop")
        shutil.copy(disk, disk + ".old")
        ok(vm, "savevm old")
        sizes.append(os.path.getsize(disk))
    failures = 0
    for part in range(8):
        sector = (sizes[0] + (sizes[1] - sizes[0]) * part // 8) // 512
        shutil.copy(disk + ".old", disk)
        with open(rules, "w") as file:
            file.write(f'[inject-error]\niotype = "write"\nsector = "{sector}"\nerrno = "28"\n')
        with machine("-drive", f"file=blkdebug:{rules}:{disk},format=qcow2") as vm:
            ready(vm)
            answer = vm.monitor("savevm old")
            failures += answer.startswith("Error: ")
            check("is saved" in answer or "No space left on device" in answer, f"the reason: {answer}")
            check("running" in vm.monitor("info status"), f"it runs: {answer}")
            check(names_of(vm) == ["old"] * (2 if "is saved" in answer else 1), f"the snapshots after {answer!r}")
        done = subprocess.run(["qemu-img", "check", "-r", "leaks", disk], capture_output=True, text=True)
        check(done.returncode == 0, f"qemu-img check: {done.stdout}{done.stderr}")
        check(allocated(disk) == 0, f"{allocated(disk)} clusters beside the snapshot after {answer!r}")
        with machine(*drives(disk)) as vm:
            ok(vm, "loadvm old")
            ok(vm, "savevm old")
            check(names_of(vm) == ["old"], "one is left")
    check(failures >= 6, f"{failures} of 8 savevms met a failing write")


if __name__ == "__main__":
    run_tests([("there and back", test_back), ("on KVM", test_kvm), ("in an I/O thread", test_iothread),
               ("several drives", test_drives), ("formats", test_formats), ("names", test_names),
               ("a CD that is being read", test_busy_cd),
               ("other machines", test_other_machines), ("damaged states", test_damage),
               ("a failing disk", test_failing_disk)])
