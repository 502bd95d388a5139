#!/usr/bin/env python3
"""savevm and loadvm with real guests: Linux in memory, again in a fresh vmrun; Debian that writes to its disk
meanwhile.  Usage: test_savevm.py ENGINE [TEST]...
"""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from debian_guest import Console, boot, check_image, new_disk, power_off  # noqa: E402
from linux_guest import LinuxVm, kernel, make_initrd  # noqa: E402
from pictures import picture  # noqa: E402
from vmrun_test import check, connect_unix, need_engine, run_tests  # noqa: E402

ENGINE = sys.argv.pop(1)
IMG = os.environ["VMRUN_IMG"]
WORK = tempfile.TemporaryDirectory(prefix="vmrun-savevm-")


def snapshots(disk):
    """Names and sizes in qemu-img's list; the image is whole."""
    done = subprocess.run(["qemu-img", "check", disk], capture_output=True, text=True)
    check(done.returncode == 0, f"qemu-img check: {done.stdout}{done.stderr}")
    rows = subprocess.run(["qemu-img", "snapshot", "-l", disk], check=True, capture_output=True, text=True)
    return [line.split()[1] for line in rows.stdout.splitlines()[2:]]


def command(vm, line):
    answer = vm.monitor(line)
    check(not answer.strip(), f"{line}: {answer}")


def linux(disk, *arguments):
    initrd = os.path.join(WORK.name, "initrd")
    return LinuxVm("-accel", ENGINE, "-smp", "2", "-m", "256", "-kernel", kernel(), "-initrd", make_initrd(initrd),
                   "-append", "console=ttyS0 panic=-1 no_timer_check", "-hda", disk, *arguments)


def uptime(vm):
    return float(vm.shell("cat /proc/uptime").split()[-2])


def test_linux():
    need_engine(ENGINE)
    disk = os.path.join(WORK.name, "linux.qcow2")
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    with linux(disk) as vm:
        vm.connect()
        vm.shell("echo one >/x; (while true; do date >/date; sleep 0.1; done) & true")
        before = uptime(vm)
        command(vm, "savevm first")
        check("first" in vm.monitor("info snapshots"), "the list")
        vm.shell("echo two >/x; rm -f /bin/ls; sleep 2")
        later = uptime(vm)
        command(vm, "loadvm first")
        check("one" in vm.shell("cat /x"), "the file is not what it was")
        again = uptime(vm)
        check(before <= again < later, f"uptime {before}, {later}, after loadvm {again}")
        vm.shell("ls /; echo three >/x")
        vm.monitor("stop")
        command(vm, "savevm first")
        check("paused" in vm.monitor("info status"), "a machine that stood stands")
        command(vm, "savevm")
    names = snapshots(disk)
    check(len(names) == 2 and names[0] == "first" and names[1].startswith("vm-"), f"snapshots: {names}")
    with linux(disk, "-loadvm", "first") as vm:
        vm.wait(lambda: "running" in vm.monitor("info status"), "running guest", 60)
        vm.shell_socket = connect_unix(vm.shell_path)
        check("three" in vm.shell("cat /x"), "the file in the fresh vmrun")
        check(vm.shell("a=$(cat /date); sleep 1; [ \"$a\" != \"$(cat /date)\" ] && echo ticks").count("ticks"),
              "processes go on")
        vm.shell("kill $!")
        answer = vm.shell("for i in 1 2 3 4; do (seq 1 2000 | sort -rn | head -n 1) & done; wait")
        check(answer.count("2000") == 4, f"four pipelines: {answer!r}")
        command(vm, "delvm first")
        check("no drive has a snapshot" in vm.monitor("delvm first"), "it is gone")
    check(snapshots(disk) == names[1:], "the other one is left")


def greet(server):
    with contextlib.suppress(OSError):  # closed: the test is over
        while True:
            peer, _ = server.accept()
            peer.sendall(b"the host\n")
            peer.close()


def test_debian():
    """The snapshot is taken while files are written, then they are deleted and the network is down; after loadvm
    the very same writers go on, the file system fits what the kernel remembers of it, and so does the card."""
    disk = new_disk(ENGINE, "savevm.qcow2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        run_debian(disk, f"timeout 30 bash -c 'cat </dev/tcp/10.0.2.2/{server.getsockname()[1]}'")
    check(snapshots(disk) == ["busy"], "the snapshot is in the image")
    os.unlink(check_image(disk))


def run_debian(disk, call):
    vm, path = boot(ENGINE, disk)
    with vm:
        console = Console(vm, path)
        console.log_in()
        console.run("head -c 8000000 /dev/urandom >big; sha256sum big >sum; sync")
        console.run("(for i in $(seq 400); do cp big copy-$((i % 5)); echo $i >round; sync; done; "
                    "touch all-done) >/dev/null 2>&1 & sleep 3")
        command(vm, "savevm busy")
        later = int(console.run("sleep 8; cat round").split()[-1])
        console.run("sudo ip link set dev $(basename /sys/class/net/en*) down; kill %1; rm -f big copy-* round")
        console.run("sync; sudo sh -c 'echo 3 >/proc/sys/vm/drop_caches'")
        command(vm, "loadvm busy")
        vm.screendump(picture("debian-loadvm"))
        again = int(console.run("cat round").split()[-1])
        check(again < later, f"round {again} after loadvm, {later} before")
        check("big: OK" in console.run("sha256sum -c sum"), "the file that was deleted since")
        check("the host" in console.run(call), "the network after loadvm")
        console.run("sleep 3; r=$(cat round); kill %1; wait; sync; cmp big copy-$((r % 5)); rm copy-*")
        log = console.run("sudo dmesg")
        for bad in ("Oops", "BUG:", "Call Trace", "I/O error", "ata1: SRST", "hung task", "EXT4-fs error"):
            check(bad not in log, f"'{bad}' in the kernel's log: {log[-3000:]}")
        power_off(vm, console)


if __name__ == "__main__":
    run_tests([("linux: back, and again in a fresh vmrun", test_linux),
               ("debian: saved while it writes", test_debian)])
