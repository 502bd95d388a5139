#!/usr/bin/env python3
"""GRUB from Debian's packages: from a qcow disk, a qcow2 overlay, a CD and a floppy; its menu and shell
under sendkey; programs that it starts.  Pictures are left in VMRUN_PICTURES.
Usage: test_grub.py ENGINE [TEST]...  On KVM, which may be slow, only the first test runs by itself.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from pictures import picture, shares  # noqa: E402
from vmrun_test import Vm, check, need, need_engine, run_tests  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "scripts")
IMG = os.environ["VMRUN_IMG"]
ENGINE = sys.argv.pop(1)
WORK = tempfile.TemporaryDirectory(prefix="vmrun-boot-")


def grub_disk():
    path = os.path.join(WORK.name, "grub.qcow")
    if not os.path.exists(path):
        need("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin")
        need("mformat", "mtools")
        need("grub-mkimage", "grub-common")
        subprocess.run([os.path.join(SCRIPTS, "make-grub-disk"), "--img-tool", IMG, "--timeout", "600",
                        path], check=True)
    return path


def shell(vm, command, expect, limit=60):
    """Types a command into GRUB's shell and waits for its answer on the serial port."""
    start = len(vm.serial())
    vm.keys(command + "\n")
    vm.wait_serial(expect, start, limit)


def menu(vm):
    vm.wait_serial(r"Power off")
    vm.wait_serial(r"automatically")


def test_disk():
    need_engine(ENGINE)
    with Vm("-accel", ENGINE, "-hda", grub_disk(), "-m", "1024") as vm:
        menu(vm)
        before = vm.screendump(picture("grub-menu"))
        check(before[:2] == (720, 400), f"GRUB's text screen is {before[:2]}, not 720x400")
        start = len(vm.serial())
        vm.monitor("sendkey down")
        vm.wait_serial(r"\*GRUB shell", start, 60)
        time.sleep(1)
        after = vm.screendump(picture("grub-menu-moved"))
        check(before[2] != after[2], "the bar did not move")
        vm.monitor("sendkey up")
        vm.keys("c")
        vm.wait_serial(r"grub> ")
        shell(vm, "ls", r"\(hd0,msdos1\)")
        shell(vm, "lspci", r"8086:7010")
        shell(vm, "lsacpi", r"(?s)FACP.*APIC")
        vm.screendump(picture("grub-shell"))
        check("qcow" in vm.monitor("info block"), "info block names the format")
        answer = vm.monitor("info registers")
        check("CR0=" in answer, f"info registers: {answer}")


def test_program():
    need_engine(ENGINE)
    need("/boot/invaders.exec", "grub-invaders")
    with Vm("-accel", ENGINE, "-hda", grub_disk(), "-m", "1024") as vm:
        menu(vm)
        text = vm.screendump()
        vm.monitor("sendkey ret")

        def started():
            screen = vm.screendump(picture("invaders"))
            return screen[2] != text[2] and len(shares(screen)) >= 3 and screen
        vm.wait(started, "picture of the game", 120)
        time.sleep(3)
        first = vm.screendump(picture("invaders"))
        vm.wait(lambda: vm.screendump()[2] != first[2], "moving invaders", 60)


def test_overlay():
    need_engine(ENGINE)
    base, overlay = os.path.join(WORK.name, "base.qcow2"), os.path.join(WORK.name, "top.qcow2")
    subprocess.run([IMG, "convert", "-O", "qcow2", grub_disk(), base], check=True)
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay],
                   check=True)
    with Vm("-accel", ENGINE, "-hda", overlay, "-m", "256") as vm:
        menu(vm)
        vm.screendump(picture("grub-overlay"))
    subprocess.run(["qemu-img", "check", "-q", overlay], check=True)


def rescue(name, *arguments):
    """The rescue images talk to the screen only: a menu, whose bar a key moves, and a shell."""
    need_engine(ENGINE)
    with Vm("-accel", ENGINE, "-m", "256", *arguments) as vm:
        def on_screen(text, limit=240):
            vm.wait_screen(text, limit)
            vm.screendump(picture(name))
        on_screen("*GNU/Linux")
        vm.monitor("sendkey down")
        on_screen("*GNU (aka", 60)
        vm.keys("c")
        on_screen("grub>", 60)
        vm.keys("lspci\n")
        on_screen("8086:7000", 120)


def test_cd():
    need("/usr/lib/grub-rescue/grub-rescue-cdrom.iso", "grub-rescue-pc")
    rescue("grub-cd", "-cdrom", "/usr/lib/grub-rescue/grub-rescue-cdrom.iso")


def test_floppy():
    need("/usr/lib/grub-rescue/grub-rescue-floppy.img", "grub-rescue-pc")
    image = os.path.join(WORK.name, "floppy.img")
    shutil.copyfile("/usr/lib/grub-rescue/grub-rescue-floppy.img", image)
    rescue("grub-floppy", "-fda", image)


TESTS = [("grub from a qcow disk: menu, sendkey, shell", test_disk),
         ("a program that GRUB starts", test_program),
         ("grub from a qcow2 overlay", test_overlay),
         ("grub from a CD", test_cd),
         ("grub from a floppy", test_floppy)]

if __name__ == "__main__":
    run_tests(TESTS[:1] if ENGINE == "kvm" and len(sys.argv) == 1 else TESTS)
