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
from vmrun_test import Failure, Skip, Vm, check, need, need_kvm, run_tests  # noqa: E402

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


# Seconds after which a KVM that emulates ring 0 counts as too slow to say anything: what it takes is the host's.
PATIENCE = 20 * 60


def wait_init(vm):
    """Until init runs.  Its first system calls tell of it, too: what becomes of it then in ring 3, which is
    the processor's, is such a KVM's own."""
    end, asked = time.monotonic() + PATIENCE, [0.0]

    def found():
        if "guest: init runs" in vm.serial():
            return "init"
        if "Kernel panic" in vm.serial():
            return "panic"
        if time.monotonic() < asked[0] + 2:  # a monitor takes such a guest's time
            return ""
        asked[0] = time.monotonic()
        return "init" if rescues(vm).get("syscall") else "late" if asked[0] > end else ""

    what = vm.wait(found, "init")
    check(what != "panic", f"the kernel panics: {vm.serial()[-3000:]}")
    if what == "late":
        raise Skip(f"no init within {PATIENCE // 60} minutes: this machine's KVM is too slow today")


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
            wait_init(vm)
            counts = rescues(vm)
            show(counts, start)
            check(counts or is_native(), "something is rescued on a KVM that emulates ring 0")
            if not is_native():
                check(counts.get("syscall"), f"system calls are among what is rescued: {counts}")
            check("Oops" not in vm.serial() and "invalid opcode" not in vm.serial(), vm.serial()[-3000:])
            try:
                vm.wait(lambda: "guest: init runs" in vm.serial(), "init's own word", 60)
                print("# init says that it runs", flush=True)
            except Failure as missing:
                print(f"# init does not say so: {str(missing)[:300]}", flush=True)


if __name__ == "__main__":
    run_tests({"memtest": [("memtest86+", lambda: test_memtest("/boot/memtest86+x64.bin")),
                           ("memtest86+, 32 bits", lambda: test_memtest("/boot/memtest86+ia32.bin"))],
               "linux": [("Debian's cloud kernel", test_linux)]}[sys.argv.pop(1)])
