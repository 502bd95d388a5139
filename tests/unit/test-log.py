#!/usr/bin/env python3
"""The processor's log: -d exec, int and mmu, block by block and with -singlestep.

Usage: test-log.py VMRUN GUESTS   (the directory of the bare-metal guests); TAP on stdout.
"""
import os
import re
import subprocess
import sys
import tempfile

VMRUN, GUESTS = sys.argv.pop(1), sys.argv.pop(1)
sys.path.insert(0, os.path.join(GUESTS, "..", "lib"))
from vmrun_test import check, need, run_tests  # noqa: E402


def log_of(*options):
    """The log's lines about the processor, from their names on."""
    need("nasm", "nasm")
    with tempfile.TemporaryDirectory(prefix="vmrun-log-") as folder:
        image, log = os.path.join(folder, "guest.bin"), os.path.join(folder, "log")
        subprocess.run(["nasm", "-f", "bin", "-Wno-reloc-abs", "-I", GUESTS + "/", "-o", image,
                        os.path.join(GUESTS, "log.asm")], check=True)
        subprocess.run([VMRUN, "-m", "16", "-display", "none", "-monitor", "none", "-serial", "none",
                        "-no-reboot", "-bios", image, "-d", "exec,int,mmu", "-D", log, *options],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
        with open(log, encoding="utf-8") as file:
            return [line[line.index(name):].rstrip() for line in file
                    for name in ("exec: ", "int: ", "mmu: ") if name in line]


def between(lines, first, last):
    """The numbers of instructions that were executed between two interrupts."""
    at = [next(i for i, line in enumerate(lines) if line.startswith(f"int: CPU 0: INT {vector} "))
          for vector in (first, last)]
    found = [re.fullmatch(r"exec: CPU 0: f000:[0-9a-f]+ 16 bits, (\d+) instructions", line)
             for line in lines[at[0] + 1:at[1]] if line.startswith("exec: ")]
    check(all(found), f"lines of -d exec: {lines[at[0]:at[1] + 1]}")
    return [int(match.group(1)) for match in found]


def check_common(lines):
    check(re.match(r"exec: CPU 0: f000:fff0 16 bits, 1 instructions", lines[0]),
          f"the first line is the reset vector's: {lines[0]}")
    check(any(line.startswith("mmu: CPU 0: read 1234 (system) -> 1234, a page of 4096 KiB") for line in lines),
          "-d mmu: the walk of a read")
    check(any(line.startswith("mmu: CPU 0: write 5678 (system) -> 5678, a page of 4096 KiB") for line in lines),
          "-d mmu: the walk of a write")
    check("mmu: CPU 0: read 40000010 (system): page fault, error 0" in lines, "-d mmu: a page fault")
    check(any(re.match(r"int: CPU 0: exception 0e error 0000 cpl 0 at 0008:[0-9a-f]+ .* cr2 40000010$", line)
              for line in lines), "-d int: the page fault")
    check(re.match(r"int: CPU 0: triple fault at 0008:", [line for line in lines if "int: " in line][-1]),
          "-d int ends with the triple fault")


def test_blocks():
    lines = log_of("-accel", "interp")
    check(between(lines, "40", "41") == [1, 6], f"IRET, and five NOPs with INT: {between(lines, '40', '41')}")
    check_common(lines)


def test_single():
    for options in (["-accel", "interp", "-singlestep"], ["-accel", "interp", "-one-insn-per-tb"],
                    ["-accel", "interp,one-insn-per-tb=on"]):
        lines = log_of(*options)
        check(between(lines, "40", "41") == [1] * 7, f"{options}: seven lines: {between(lines, '40', '41')}")
        check_common(lines)


def test_errors():
    for options, part in ((["-accel", "interp,one-insn-per-tb=x"], "one-insn-per-tb"),
                          (["-accel", "qtest", "-singlestep"], "say -accel interp")):
        done = subprocess.run([VMRUN, "-display", "none", *options], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)
        check(done.returncode == 1 and part in done.stderr and done.stderr.count("\n") == 1,
              f"{options}: {done.stderr!r}")


run_tests([("blocks", test_blocks), ("single", test_single), ("errors", test_errors)])
