#!/usr/bin/env python3
"""What KVM cannot execute on a host whose KVM emulates ring 0, vmrun's own processor does.
Usage: test_kvm_rescue.py memtest|linux: memtest86+; Debian's cloud kernel to its init, which takes such a
host many minutes.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from linux_guest import kernel, make_initrd  # noqa: E402
from vmrun_test import Vm, check, need, need_kvm, run_tests  # noqa: E402

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts")


def screen(vm):
    """The text on the screen: 80 x 25 characters with attributes at 0xb8000."""
    words = re.findall(r"\b0x([0-9a-f]{4})\b", vm.monitor("xp /2000hx 0xb8000"))
    text = "".join(chr(int(word, 16) & 0x7f) for word in words)
    return "\n".join(text[at:at + 80].rstrip() for at in range(0, len(text), 80))


def rescues(vm):
    """Counts by mnemonic, of `info kvm`."""
    text = vm.monitor("info kvm")
    check(re.search(r"^rescues: \d+ \(\d+ instructions\)", text, re.M), f"info kvm: {text}")
    return {name: int(count) for name, count in re.findall(r"^  (\S+) +(\d+) rescues", text, re.M)}


def is_native():
    with Vm("-accel", "auto", "-S", limit=60) as vm:
        vm.wait(lambda: re.search(r"vmrun: (kvm|interp),", vm.said()), "the start line")
        return "vmrun: kvm," in vm.said()


def show(counts, start):
    told = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
    print(f"# rescues: {told}; {time.monotonic() - start:.0f} s", flush=True)


def test_memtest(image):
    need_kvm()
    need(image, "memtest86+")
    start = time.monotonic()
    with Vm("-accel", "kvm", "-m", "16", "-kernel", image) as vm:
        vm.wait(lambda: "Memtest86+" in screen(vm), "the title")
        # The second test has begun, which fills memory and compares it.
        vm.wait(lambda: re.search(r"Test #[1-9].*\n(.*\n)*.*Status: Testing", screen(vm)), "a test")
        text = screen(vm)
        check(re.search(r"Errors: 0\b", text), f"errors:\n{text}")
        counts = rescues(vm)
        show(counts, start)
        check(counts or is_native(), "something is rescued on a KVM that emulates ring 0")
        check("KVM internal error" not in vm.said() and vm.said().count("KVM cannot execute") <= 1,
              f"one line tells of it: {vm.said()}")


def test_linux():
    need_kvm()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vmrun-rescue-") as work:
        image, initrd = os.path.join(work, "vmlinux"), make_initrd(os.path.join(work, "initrd"))
        subprocess.run([os.path.join(SCRIPTS, "extract-vmlinux"), kernel(), image], check=True)
        # Without what costs a slow CPU most: high-resolution ticks, watchdogs, calibration; and without
        # AVX-512, which such a KVM shows the guest from the host, and neither it nor vmrun emulates.
        append = ("console=ttyS0 panic=-1 quiet highres=off nohz=off nowatchdog mitigations=off lpj=10000000 "
                  "cryptomgr.notests random.trust_cpu=on clearcpuid=avx512f")
        with Vm("-serial", "null", "-accel", "kvm", "-m", "256", "-kernel", image, "-initrd", initrd,
                "-append", append, limit=6 * 3600) as vm:
            vm.wait(lambda: "guest: init runs" in vm.serial(), "init")
            counts = rescues(vm)
            show(counts, start)
            check(counts or is_native(), "something is rescued on a KVM that emulates ring 0")
            if not is_native():
                check(counts.get("syscall"), f"system calls are among what is rescued: {counts}")
            check("Oops" not in vm.serial() and "invalid opcode" not in vm.serial(), vm.serial()[-3000:])


if __name__ == "__main__":
    run_tests({"memtest": [("memtest86+", lambda: test_memtest("/boot/memtest86+x64.bin")),
                           ("memtest86+, 32 bits", lambda: test_memtest("/boot/memtest86+ia32.bin"))],
               "linux": [("Debian's cloud kernel", test_linux)]}[sys.argv.pop(1)])
