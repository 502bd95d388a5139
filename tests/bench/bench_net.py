#!/usr/bin/env python3
"""User networking of vmrun and of Debian's qemu in turns: the same card, guest and class of engine
(vmrun's interpreter, qemu's TCG).  Usage: bench_net.py [CARD [MIB]]

  to guest, to host   MiB/s of a copy over TCP, and the host's processor time for a GiB; the guest writes
                      pieces of 64 KiB, or the small ones of busybox's nc
  requests            small HTTP requests a second, a connection each
Prints medians and ratios; asserts nothing.
"""
import os
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import net_guest  # noqa: E402
from net_guest import NetVm, Sink, WebServer  # noqa: E402

CARD = sys.argv[1] if len(sys.argv) > 1 else "e1000"
MIB = int(sys.argv[2]) if len(sys.argv) > 2 else 32
ROUNDS, REQUESTS = 3, 50
SUBJECTS = {"vmrun": (os.environ["VMRUN"], "interp"), "qemu": (shutil.which("qemu-system-x86_64"), "tcg")}


def processor_seconds(vm):
    with open(f"/proc/{vm.process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(vm, command):
    """Seconds of the command in the guest, and of the host's processors for it."""
    used, begin = processor_seconds(vm), time.monotonic()
    vm.shell(command, 600)
    return time.monotonic() - begin, processor_seconds(vm) - used


def send(vm, sink, command):
    took = timed(vm, command)
    vm.wait(lambda: sink.results, "the end of the copy", 60)
    got = sink.results.pop()[0]
    if got != MIB << 20:
        raise SystemExit(f"only {got} bytes came")
    return took


def measure(vm, web, sink):
    down = timed(vm, f"wget -q -O /dev/null http://10.0.2.2:{web.port}/data")
    # nc starts dd on the socket itself: nothing is between its pieces and the guest's TCP.
    up = send(vm, sink, f"nc 10.0.2.2 {sink.port} -e dd if=/dev/zero bs=64k count={MIB * 16}")
    small = send(vm, sink, f"head -c {MIB << 20} /dev/zero | nc 10.0.2.2 {sink.port}")
    ask = timed(vm, f"for i in $(seq {REQUESTS}); do wget -q -O - http://10.0.2.2:{web.port}/one; done "
                    ">/dev/null")
    return {"to guest, MiB/s": MIB / down[0], "to host, MiB/s": MIB / up[0],
            "to host, small, MiB/s": MIB / small[0],
            "to guest, CPU s/GiB": down[1] * 1024 / MIB, "to host, CPU s/GiB": up[1] * 1024 / MIB,
            "to host, small, CPU": small[1] * 1024 / MIB,
            "requests/s": REQUESTS / ask[0], "CPU ms a request": ask[1] * 1000 / REQUESTS}


def main():
    if not SUBJECTS["qemu"][0]:
        raise SystemExit("qemu-system-x86_64 is missing (package qemu-system-x86)")
    web, sink, results = WebServer(), Sink(), {name: [] for name in SUBJECTS}
    web.files["/data"] = (os.urandom(1 << 20), MIB)
    web.files["/one"] = (b"x", 1)
    with tempfile.TemporaryDirectory() as work:
        initrd = net_guest.make_initrd(os.path.join(work, "initrd"))
        machine = ["-m", "256", "-kernel", net_guest.kernel(), "-initrd", initrd, "-append",
                   "console=ttyS0 quiet", "-nic", f"user,model={CARD}"]
        for _ in range(ROUNDS):
            for name, (program, engine) in SUBJECTS.items():
                with NetVm("-accel", engine, *machine, card=CARD, program=program) as vm:
                    vm.connect()
                    vm.load()
                    vm.lease()
                    results[name].append(measure(vm, web, sink))
    print(f"{CARD}, {MIB} MiB, medians of {ROUNDS}:")
    for what in results["vmrun"][0]:
        ours, theirs = (statistics.median(row[what] for row in results[name]) for name in SUBJECTS)
        print(f"{what:22} vmrun {ours:9.2f}   qemu {theirs:9.2f}   ratio {ours / theirs:.2f}", flush=True)


main()
