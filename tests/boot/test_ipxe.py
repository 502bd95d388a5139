#!/usr/bin/env python3
"""iPXE from a CD and as a Linux-style kernel: to its prompt.  Usage: test_ipxe.py ENGINE [TEST]..."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from debian import debian_file  # noqa: E402
from pictures import picture  # noqa: E402
from vmrun_test import Vm, need_engine, run_tests  # noqa: E402

ENGINE = sys.argv.pop(1)


def boot(name, *arguments):
    need_engine(ENGINE)
    with Vm("-accel", ENGINE, "-m", "64", *arguments, limit=240) as vm:
        def reached():
            if "iPXE>" in vm.screen_text():
                return True
            vm.monitor("sendkey ctrl-b 30")
            time.sleep(0.3)
            return False
        vm.wait_screen("iPXE initialising")
        vm.wait(reached, "prompt after Ctrl-B")
        vm.keys("echo two words\n")
        vm.wait_screen("\ntwo words")
        vm.keys("show platform\n")
        vm.wait_screen("platform:string = pcbios")
        vm.screendump(picture(name))


def test_cd():
    boot("ipxe-cd", "-cdrom", debian_file("ipxe", "usr/lib/ipxe/ipxe.iso"), "-boot", "d")


def test_kernel():
    boot("ipxe-kernel", "-kernel", debian_file("ipxe", "boot/ipxe.lkrn"))


if __name__ == "__main__":
    run_tests([("from a CD", test_cd), ("as a kernel", test_kernel)])
