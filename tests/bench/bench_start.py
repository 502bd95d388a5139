#!/usr/bin/env python3
"""Start-up time and resident memory of vmrun and of Debian's qemu, in turns in one run.

  start   from exec to the first bytes of a guest whose reset vector writes to the serial port at once
  memory  resident beside guest RAM, SeaBIOS idle at "No bootable device"
Prints medians and ratios; asserts nothing.
"""
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

VMRUN = os.environ["VMRUN"]
QEMU = "qemu-system-x86_64"
ROUNDS = 15
RAM = 128
IDLE_SECONDS = 20
COMMON = ["-m", str(RAM), "-display", "none", "-monitor", "none"]
# The reset vector, ff0 of the last page: mov dx, 3f8h; mov al, '!'; out dx, al; hlt
CODE = bytes([0xBA, 0xF8, 0x03, 0xB0, 0x21, 0xEE, 0xF4])


def start_time(program, bios):
    command = [program, "-accel", "kvm", *COMMON, "-bios", bios, "-serial", "stdio"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    while process.stdout.read(1) not in (b"!", b""):
        pass
    end = time.perf_counter()
    process.kill()
    process.wait()
    return (end - begin) * 1000


def resident(program):
    """KiB resident outside the mapping that is guest RAM."""
    process = subprocess.Popen([program, "-accel", "kvm", *COMMON, "-serial", "none"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    time.sleep(IDLE_SECONDS)
    total = 0
    size = 0
    with open(f"/proc/{process.pid}/smaps") as file:
        for line in file:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if head:
                size = int(head[2], 16) - int(head[1], 16)
            elif line.startswith("Rss:") and size != RAM << 20:
                total += int(line.split()[1])
    process.kill()
    process.wait()
    return total


def main():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("skipped: KVM is needed")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as work:
        bios = os.path.join(work, "bios.bin")
        with open(bios, "wb") as file:
            file.write((b"\xf4" * 0xFFF0 + CODE).ljust(0x10000, b"\xf4"))
        times = {VMRUN: [], QEMU: []}
        for _ in range(ROUNDS):
            for program in times:
                times[program].append(start_time(program, bios))
    ours, theirs = (statistics.median(times[program]) for program in (VMRUN, QEMU))
    print(f"start: vmrun {ours:.1f} ms, qemu {theirs:.1f} ms, ratio {ours / theirs:.2f}")
    ours, theirs = resident(VMRUN), resident(QEMU)
    print(f"memory: vmrun {ours / 1024:.1f} MiB, qemu {theirs / 1024:.1f} MiB, "
          f"ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
