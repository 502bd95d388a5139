#!/usr/bin/env python3
"""Runs the bare-metal guests of guests.cfg in vmrun and compares what they say on the serial port.

Usage: run_guests.py [--fast|--slow] [NAME]...   with VMRUN in the environment; TAP on stdout.
--slow are the rows that go through SeaBIOS, --fast the others.
"""
import configparser
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from vmrun_test import Failure, need, need_kvm, run_tests  # noqa: E402

DEFAULTS = {"define": "", "boot": "firmware", "smp": "1", "args": "", "timeout": "30",
            "engines": "kvm interp", "status": "1", "checks": "", "rescued": ""}


def expected(text):
    def count(match):
        word, first, last = match.group(1), int(match.group(2)), int(match.group(3))
        return "".join(f"{word} {n}\n" for n in range(first, last + 1))
    return re.sub(r"\{(\w+) (\d+)\.\.(\d+)\}", count, text.replace("\\n", "\n"))


def assemble(row, folder):
    image = os.path.join(folder, "guest.bin")
    defines = [f"-D{word}" for word in row["define"].split()]
    subprocess.run(["nasm", "-f", "bin", "-Wno-reloc-abs", *defines, "-I", HERE + "/", "-o", image,
                    os.path.join(HERE, row["file"])], check=True)
    return image


def is_right(row, said):
    if not row["checks"]:
        return said == expected(row["expect"])
    lines = said.splitlines()
    return len(lines) == int(row["checks"]) and all(line.startswith("PASS ") for line in lines)


def is_native(image):
    """Whether vmrun's own trial takes KVM for one that runs a kernel natively."""
    done = subprocess.run([os.environ["VMRUN"], "-accel", "auto", "-S", "-bios", image, "-display", "none",
                           "-serial", "none", "-monitor", "stdio"], input="quit\n", capture_output=True,
                          text=True, timeout=60, check=True)
    return "vmrun: kvm" in done.stdout + done.stderr


def run(row, engine):
    need("nasm", "nasm")
    if engine == "kvm":
        need_kvm()
    with tempfile.TemporaryDirectory(prefix="vmrun-guest-") as folder:
        image = assemble(row, folder)
        boot = ["-bios", image]
        if row["boot"] == "sector":
            boot = ["-drive", f"file={image},format=raw,if=floppy,snapshot=on", "-boot", "order=a"]
        if row["boot"] == "kernel":
            initrd = os.path.join(folder, "initrd")
            with open(initrd, "w", encoding="ascii") as file:
                file.write("some bytes")
            boot = ["-kernel", image, "-initrd", initrd, "-append", "one two"]
        serial = os.path.join(folder, "serial")
        command = [os.environ["VMRUN"], "-accel", engine, "-smp", row["smp"], "-m", "64",
                   "-display", "none", "-monitor", "none", "-serial", f"file:{serial}",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *row["args"].split(), *boot]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=int(row["timeout"]), check=False)
            status, messages = done.returncode, done.stderr
        except subprocess.TimeoutExpired as late:
            status, messages = "none after the time allowed", (late.stderr or b"").decode()
        said = open(serial, encoding="latin-1").read() if os.path.exists(serial) else ""
        if not is_right(row, said) or status != int(row["status"]):
            raise Failure(f"exit code {status} (wanted {row['status']}); it said\n{said}\n"
                          f"and vmrun\n{messages}\ncommand: {' '.join(command)}")
        rescued = "KVM cannot execute" in messages
        if row["rescued"] and engine == "kvm" and not rescued and not is_native(image):
            raise Failure(f"nothing was rescued; vmrun said\n{messages}")


def main():
    config = configparser.ConfigParser(default_section="", interpolation=None)
    config.read(os.path.join(HERE, "guests.cfg"))
    tests = []
    parts = {"--fast": ["firmware"], "--slow": ["sector", "kernel"]}.get(sys.argv[1] if sys.argv[1:] else "")
    if parts:
        del sys.argv[1]
    for name in config.sections():
        row = {**DEFAULTS, **config[name]}
        if parts and row["boot"] not in parts:
            continue
        for engine in row["engines"].split():
            tests.append((name if engine == "kvm" else f"{name}-{engine}", lambda row=row, engine=engine: run(row, engine)))
    run_tests(tests)


if __name__ == "__main__":
    main()
