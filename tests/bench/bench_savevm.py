#!/usr/bin/env python3
"""savevm and loadvm of vmrun (interpreter) and of Debian's qemu (TCG): the same Linux guest with 1 GiB, of
which 256 MiB hold noise, its image in memory.  Seconds of the monitor's command, the best of three, and the
image's size after the first.  Prints; asserts nothing.
"""
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from linux_guest import LinuxVm, kernel, make_initrd  # noqa: E402

ROUNDS = 3


def measure(program, engine, work):
    disk = os.path.join(work, "disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "4G"], check=True)
    times = {"savevm": [], "loadvm": []}
    initrd = make_initrd(os.path.join(work, "initrd"))
    with LinuxVm("-accel", engine, "-m", "1024", "-kernel", kernel(), "-initrd", initrd, "-append",
                 "console=ttyS0 panic=-1 no_timer_check", "-drive", f"file={disk},format=qcow2",
                 program=program) as vm:
        vm.connect()
        vm.shell("head -c 268435456 /dev/urandom >/noise", 300)
        for number in range(ROUNDS):
            for word in times:
                begin = time.monotonic()
                answer = vm.monitor(f"{word} a{number}")
                times[word].append(time.monotonic() - begin)
                if answer.strip():
                    sys.exit(f"{program}: {word}: {answer}")
            if not number:
                size = os.path.getsize(disk)
    os.unlink(disk)
    return min(times["savevm"]), min(times["loadvm"]), size


def main():
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="vmrun-bench-", dir=memory) as work:
        ours = measure(os.environ["VMRUN"], "interp", work)
        peer = measure("qemu-system-x86_64", "tcg", work)
    for row, name in enumerate(("savevm", "loadvm")):
        print(f"{name}: {ours[row]:.2f} s, qemu {peer[row]:.2f} s: {peer[row] / ours[row]:.1f}x")
    print(f"image: {ours[2] >> 20} MiB, qemu {peer[2] >> 20} MiB")


if __name__ == "__main__":
    main()
