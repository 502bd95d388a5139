#!/usr/bin/env python3
"""Debian's installer, text and graphical, to its first questions, which keys answer.
Usage: test_installer.py ENGINE amd64|i386 [TEST]...
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from debian import debian_files  # noqa: E402
from pictures import changed, picture, shares  # noqa: E402
from vmrun_test import Vm, check, need_engine, run_tests  # noqa: E402

ENGINE, ARCH = sys.argv.pop(1), sys.argv.pop(1)
LIMIT = 900


def installer(kind):
    need_engine(ENGINE)
    folder = f"usr/lib/debian-installer/images/12/{ARCH}/{kind}/debian-installer/{ARCH}/"
    linux, initrd = debian_files(f"debian-installer-12-netboot-{ARCH}", folder + "linux",
                                 folder + "initrd.gz", arch=ARCH)
    return Vm("-accel", ENGINE, "-m", "1024", "-kernel", linux, "-initrd", initrd, "-append",
              "vga=788 no_timer_check", limit=LIMIT)


def look(vm, name):
    """A picture, now and then: to draw and to count it takes the CPU that the guest needs."""
    time.sleep(2)
    return vm.screendump(picture(f"installer-{name}-{ARCH}"))


def dialogue(screen):
    """Red title and bar on a grey box, blue around it."""
    found = shares(screen)
    return (found.get((0, 0, 170), 0) > 0.02 and found.get((170, 170, 170), 0) > 0.3 and
            found.get((170, 0, 0), 0) > 0.0005)


def test_text():
    with installer("text") as vm:
        def drawn():
            screen = look(vm, "text")
            return dialogue(screen) and screen
        first = vm.wait(drawn, "the dialogue about the language")
        check(first[:2] != (720, 400), "a text screen")

        def moved():
            """Two rows of the list change, no more."""
            vm.monitor("sendkey up 30")
            screen = look(vm, "text-moved")
            return dialogue(screen) and 0.001 < changed(first, screen) < 0.1
        vm.wait(moved, "the bar that moves with a key")
        vm.monitor("sendkey down 30")
        vm.monitor("sendkey ret 30")

        def next_one():
            screen = look(vm, "text-next")
            return dialogue(screen) and changed(first, screen) > 0.1
        vm.wait(next_one, "the dialogue about the location")


def test_graphical():
    with installer("gtk") as vm:
        def drawn():
            """Many colours: the banner; white and grey: the list and the window."""
            screen = look(vm, "graphical")
            found = shares(screen)
            big = sorted(found.values())[-2:]
            return len(found) > 200 and len(big) == 2 and big[0] > 0.05 and screen
        first = vm.wait(drawn, "the first dialogue")
        check(first[:2] != (720, 400), "a text screen")

        def moved():
            vm.monitor("sendkey up 30")
            return 0.001 < changed(first, look(vm, "graphical-moved")) < 0.5
        vm.wait(moved, "the bar that moves with a key")


if __name__ == "__main__":
    run_tests([("text", test_text), ("graphical", test_graphical)])
