#!/usr/bin/env python3
"""Mixed integer code: vmrun's interpreter beside qemu's TCG, in turns.  VMRUN is in the environment."""
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from vmrun_test import Vm, need  # noqa: E402

ROUNDS, TURNS = 300, 5


def measure(image, *arguments, program=None):
    """Seconds from "begin" to "done", CPU time of the process, instructions if it counts them."""
    with Vm(*arguments, "-m", "64", "-bios", image, program=program, limit=300) as vm:
        vm.wait(lambda: "begin" in vm.serial(), "begin")
        before, start = cpu_time(vm), time.monotonic()
        vm.wait(lambda: "done" in vm.serial(), "done")
        taken, used = time.monotonic() - start, cpu_time(vm) - before
        found = re.search(r"(\d+) instructions", vm.monitor("info kvm"))
        return taken, used, int(found.group(1)) if found else 0


def cpu_time(vm):
    with open(f"/proc/{vm.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    need("qemu-system-x86_64", "qemu-system-x86")
    with tempfile.TemporaryDirectory(prefix="vmrun-bench-") as folder:
        image = os.path.join(folder, "mips.bin")
        subprocess.run(["nasm", "-f", "bin", "-Wno-reloc-abs", f"-DROUNDS={ROUNDS}", "-I",
                        os.path.join(HERE, "..", "guest") + "/", "-o", image, os.path.join(HERE, "mips.asm")],
                       check=True)
        ours, theirs, count = [], [], 0
        for _ in range(TURNS):
            _, used, count = measure(image, "-accel", "interp")
            ours.append(used)
            theirs.append(measure(image, "-accel", "tcg", program="qemu-system-x86_64")[1])
    for name, times in (("vmrun interp", ours), ("qemu TCG", theirs)):
        best = statistics.median(times)
        print(f"{name}: {count / best / 1e6:.0f} MIPS ({best:.2f} s of CPU for {count / 1e6:.0f} M instructions; "
              f"{', '.join(f'{value:.2f}' for value in times)})")


if __name__ == "__main__":
    main()
