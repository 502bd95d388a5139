#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The real executable: messages, exit codes, start line, background, signals, terminal.

usage: test-cli-run.py VMRUN.  Speaks TAP.  Everything runs on the qtest engine, so that no
/dev/kvm is needed.
"""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

# Whoever runs the tests may ignore it (nohup); children inherit that.
for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(signo, signal.SIG_DFL)

VMRUN = os.path.abspath(sys.argv[1])
BASE = [VMRUN, "-accel", "qtest", "-display", "none"]
PATIENCE = 20


def run(*args, base=None, text=None):
    return subprocess.run([*(BASE if base is None else base), *args], input=text,
                          capture_output=True, text=True, timeout=PATIENCE, check=False)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        expect(time.monotonic() < end, f"waited in vain for {what}")
        time.sleep(0.01)


def expect_error(args, *parts, base=None):
    """One line on standard error that begins with the program's name, and exit code 1."""
    result = run(*args, base=base)
    expect(result.returncode == 1, f"{args}: exit code {result.returncode}")
    lines = result.stderr.splitlines()
    expect(len(lines) == 1 and lines[0].startswith("vmrun: "), f"{args}: {result.stderr!r}")
    for part in parts:
        expect(part in lines[0], f"{args}: {lines[0]!r} lacks {part!r}")


@contextlib.contextmanager
def started(*args, **kwargs):
    """A vmrun that is killed at the end if it still runs."""
    process = subprocess.Popen([*BASE, *args], stderr=subprocess.PIPE, text=True, **kwargs)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def talk(path, *lines):
    """Types lines into a monitor on a socket; returns what it said."""
    def connect():
        try:
            peer.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):  # not there, or not listening yet
            return False
        return True

    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        wait_for(connect, path)
        said = b""
        for line in ("", *lines):
            peer.sendall(line.encode() + (b"\r" if line else b""))
            mark = len(said)
            while not said[mark:].endswith(b"(vmrun) "):
                data = peer.recv(65536)
                if not data:
                    return said.decode()
                said += data
        return said.decode()


# ---- Tests ----

def test_help(tmp):
    result = run("-help", base=[VMRUN])
    expect(result.returncode == 0 and not result.stderr, result.stderr)
    expect("-hda FILE" in result.stdout, "no -hda")
    result = run("-version", base=[VMRUN])
    expect(re.fullmatch(r"vmrun version [\d.]+\n", result.stdout), result.stdout)


def test_bad_options(tmp):
    expect_error(["-nographics"], "-nographics", "-nographic")
    expect_error(["-m", "900T"], "-m 900T", "more than this host has")
    expect_error(["-accel", "kwm"], "'kwm'", "'kvm'", base=[VMRUN])
    expect_error(["-accel", "tcg"], "tcg", "does not have it yet", base=[VMRUN, "-display", "none"])
    expect_error(["-qtest", "stdio"], "-accel qtest is missing",
                 base=[VMRUN, "-accel", "kvm", "-display", "none"]) \
        if os.access("/dev/kvm", os.R_OK | os.W_OK) else None
    expect_error(["-qtest-log", "x"], "-qtest DEV is missing")


def test_bad_files(tmp):
    expect_error(["-hda", f"{tmp}/none"], "-hda", f"{tmp}/none", "No such file")
    expect_error([f"{tmp}/none.qcow"], f"{tmp}/none.qcow", "No such file")
    expect_error(["-hda", tmp], tmp)
    expect_error(["-bios", f"{tmp}/none.bin"], f"{tmp}/none.bin")
    expect_error(["-kernel", f"{tmp}/none"], f"{tmp}/none")
    expect_error(["-D", f"{tmp}/no/log"], f"{tmp}/no/log")
    expect_error(["-serial", f"file:{tmp}/no/out"], f"{tmp}/no/out")
    expect_error(["-pidfile", f"{tmp}/no/pid"], f"{tmp}/no/pid")
    disk = f"{tmp}/disk"
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    expect_error(["-drive", f"file={disk},format=qcow2"], disk, "qcow2")
    expect_error(["-drive", f"file={disk},format=qocw2"], "qocw2", "'qcow2'")
    expect_error(["-drive", f"file={disk},cache=nnone"], "cache=nnone", "'none'")
    expect_error(["-drive", f"file={disk},id=a", "-drive", f"file={disk},id=a,readonly=on"], "a")
    expect_error(["-chardev", "nul,id=x"], "nul", "null")
    expect_error(["-mon", "x"], "-mon", "x")
    expect_error(["-serial", "chardev:x"], "x")
    expect_error(["-serial", "stdio", "-monitor", "stdio"], "stdio")
    expect_error(["-device", "isa-serial,chardev=x"], "x")
    expect_error(["-device", "isa-serial,irqq=3"], "irqq")
    expect_error(["-cpu", "host,+frobnicate"], "frobnicate",
                 base=[VMRUN, "-accel", "interp", "-display", "none"])


def test_start_line(tmp):
    disk, image, floppy = f"{tmp}/disk", f"{tmp}/cd.iso", f"{tmp}/fd"
    for path, size in ((disk, 3 << 20), (image, 64 << 10), (floppy, 1440 << 10)):
        with open(path, "wb") as file:
            file.truncate(size)
    result = run("-drive", f"file={disk},format=raw", "-cdrom", image, "-fda", floppy, "-m", "1536",
                 "-smp", "2", "-monitor", "stdio", text="quit\n")
    expect(result.returncode == 0, result)
    line = result.stderr.splitlines()[0]
    expect(line == f"vmrun: qtest, 2 CPUs, 1.5 GiB, hda {disk} (raw, 3 MiB), "
           f"cdrom {image} (raw, 64 KiB), fda {floppy} (raw, 1.41 MiB)", line)


def test_monitor_on_stdio(tmp):
    result = run("-S", "-name", "me", "-monitor", "stdio",
                 text="info status\ninfo name\ninfo block\nc\ninfo status\nq\n")
    expect(result.returncode == 0, result)
    for part in ("(prelaunch)", "me\n", "ide1-cd0: [not inserted]", "VM status: running"):
        expect(part in result.stdout.replace("\r", ""), result.stdout)


def test_type_ahead(tmp):
    """A line behind a command that takes a while waits for it."""
    floppy = f"{tmp}/fd"
    with open(floppy, "wb") as file:
        file.truncate(1440 << 10)
    result = run("-monitor", "stdio", text=f"change floppy0 {floppy} raw\ninfo block floppy0\n"
                 "eject floppy0\ninfo block floppy0\nchange floppy0 /nonexistent\nq\n")
    expect(result.returncode == 0, result)
    said = result.stdout.replace("\r", "")
    for part in (f"floppy0: {floppy} (raw)\n", "floppy0: [not inserted]\n",
                 "Error: Could not open '/nonexistent'"):
        expect(part in said, said)
        said = said[said.index(part):]


def test_iothread(tmp):
    disk, path = f"{tmp}/disk", f"{tmp}/mon"
    with open(disk, "wb") as file:
        file.truncate(3 << 20)
    drive = ["-drive", f"file={disk},format=raw,if=none,id=d"]
    with started("-object", "iothread,id=io0", *drive, "-device", "ide-hd,drive=d,iothread=io0",
                 "-monitor", f"unix:{path},server=on,wait=off") as vm:
        said = talk(path, "info iothreads", "info block d", "block_resize d 4M", "info block -v d",
                    "q")
        vm.wait(PATIENCE)
        expect(vm.returncode == 0, vm.returncode)
    for part in ("io0:", "thread_id=", "I/O thread:       io0", "4194304 bytes"):
        expect(part in said, said)
    expect_error([*drive, "-device", "ide-hd,drive=d,iothread=io1"], "no iothread with id 'io1'")
    expect_error(["-object", "iothread,id=a", "-object", "iothread,id=a"], "'a'")


def test_defaults(tmp):
    path = f"{tmp}/mon"
    with started("-monitor", f"unix:{path},server=on,wait=off"):
        said = talk(path, "info chardev", "info block")
        for part in ("serial0: filename=vc", "parallel0: filename=vc", "floppy0", "ide1-cd0"):
            expect(part in said, said)
    os.unlink(path)
    with started("-nodefaults", "-monitor", f"unix:{path},server=on,wait=off"):
        said = talk(path, "info chardev", "info block")
        for part in ("serial0", "parallel0", "floppy0", "ide1-cd0"):
            expect(part not in said, said)


def test_mac(tmp):
    """A card's address follows from the first disk that is this machine's alone."""
    a, b, image = (f"{tmp}/{name}" for name in ("a", "b", "cd.iso"))
    for path in (a, b, image):
        with open(path, "wb") as file:
            file.truncate(1 << 20)

    def mac(*args):
        result = run("-monitor", "stdio", *args, text="info network\nquit\n")
        expect(result.returncode == 0, result)
        return re.search(r"macaddr=(52:54:00:[0-9a-f:]{8})", result.stdout)[1]

    first = mac("-hda", a)
    expect(mac("-hda", a) == first, "another address with the same disk")
    expect(mac("-hda", b) != first, "the same address with another disk")
    expect(mac("-hda", a, "-cdrom", image) == first, "another address with a CD")
    expect(mac("-cdrom", image, "-hda", b) != mac("-cdrom", image, "-hda", a), "the CD gives the address")
    expect(mac("-fda", image, "-hdb", a) == first, "the floppy disk gives the address")
    expect(mac("-hdb", b, "-hda", a) == first, "the first in line, not the first disk gives the address")
    expect(mac("-drive", f"file={b},format=raw,readonly=on,media=cdrom", "-drive",
               f"file={a},format=raw,if=none,id=x", "-device", "ide-hd,drive=x") == first,
           "another address with -device")
    shared = f"file={b},format=raw,snapshot="
    expect(mac("-drive", shared + "on", "-hdb", a) == first, "a disk of snapshot=on gives the address")
    expect(mac("-snapshot", "-hda", a) != mac("-snapshot", "-hda", a), "a disk of -snapshot gives the address")
    expect(mac("-snapshot", "-drive", shared + "off") == mac("-hda", b), "snapshot=off counts for nothing")


def test_boot_order(tmp):
    """What firmware reads from CMOS 0x3d: `once` until the first reset, then the order."""
    def order(text):
        return re.findall(r"portb\[0x0071\] = (0x..)", text)
    read = "o 0x70 0x3d\ni 0x71\n"
    result = run("-boot", "order=cd,once=n", "-monitor", "stdio",
                 text=f"{read}boot_set x\nquit\n")
    expect(order(result.stdout) == ["0x04"], result.stdout)
    expect("'x'" in result.stdout, result.stdout)
    path = f"{tmp}/mon"
    with started("-boot", "order=cd,once=n", "-monitor", f"unix:{path},server=on,wait=off"):
        def now():
            return order(talk(path, "o 0x70 0x3d", "i 0x71"))[0]
        expect(now() == "0x04", "once")
        talk(path, "system_reset")
        wait_for(lambda: now() == "0x32", "the order after the reset")
        talk(path, "boot_set a", "system_reset")
        expect(now() == "0x01", "boot_set")


def test_shared_terminal(tmp):
    """-serial mon:stdio: Ctrl-A c switches, Ctrl-A x ends."""
    result = run("-serial", "mon:stdio", text="\x01cinfo version\n\x01x")
    expect(result.returncode == 0, result)
    expect("(vmrun) " in result.stdout, result.stdout)
    result = run(base=[VMRUN, "-accel", "qtest", "-nographic"], text="\x01cquit\n")
    expect(result.returncode == 0, result)


def test_monitors(tmp):
    """Several monitors at once, by -monitor and -mon."""
    one, two = f"{tmp}/one", f"{tmp}/two"
    with started("-monitor", f"unix:{one},server=on,wait=off", "-chardev",
                 f"socket,id=c,path={two},server=on,wait=off", "-mon", "c") as process:
        expect("VM status: running" in talk(one, "info status"), "first monitor")
        talk(one, "stop")
        expect("VM status: paused" in talk(two, "info status"), "second monitor")
        talk(two, "quit")
        expect(process.wait(PATIENCE) == 0, "exit code")


def test_signals(tmp):
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        path = f"{tmp}/mon{signo}"
        with started("-monitor", f"unix:{path},server=on,wait=off") as process:
            talk(path, "info status")
            process.send_signal(signo)
            expect(process.wait(PATIENCE) == 0, f"exit code on {signo}")
            expect(f"ending on signal {int(signo)}" in process.stderr.read(), "message")


def test_pid_file(tmp):
    path, mon = f"{tmp}/pid", f"{tmp}/mon"
    with started("-pidfile", path, "-monitor", f"unix:{mon},server=on,wait=off") as process:
        talk(mon, "info status")
        with open(path, encoding="ascii") as file:
            expect(int(file.read()) == process.pid, "process number")
        expect_error(["-pidfile", path], path, "another process uses it")
        talk(mon, "quit")
        process.wait(PATIENCE)
        expect(not os.path.exists(path), "the file is gone at the end")


def test_daemonize(tmp):
    pid_file, mon = f"{tmp}/pid", f"{tmp}/mon"
    result = run("-daemonize", "-pidfile", pid_file, "-monitor", f"unix:{mon},server=on,wait=off")
    expect(result.returncode == 0, result)
    with open(pid_file, encoding="ascii") as file:
        pid = int(file.read())
    expect("VM status: running" in talk(mon, "info status"), "status")
    expect(os.readlink(f"/proc/{pid}/cwd") == "/", "directory")
    expect(os.readlink(f"/proc/{pid}/fd/0") == "/dev/null", "standard input")
    talk(mon, "quit")
    wait_for(lambda: not os.path.exists(pid_file), "the end")
    # What goes wrong is told by the parent, and is its exit code.
    expect_error(["-daemonize", "-hda", f"{tmp}/none"], f"{tmp}/none")
    expect_error(["-daemonize", "-nographic"], "-daemonize", "-nographic")
    expect_error(["-daemonize", "-display", "curses"], "-daemonize", "curses")
    expect_error(["-daemonize", "-serial", "mon:stdio"], "-daemonize", "stdio")
    expect_error(["-daemonize", "-chardev", "stdio,id=x"], "-daemonize", "stdio")


def test_log(tmp):
    log = f"{tmp}/log"
    result = run("-d", "cpu_reset,unassigned", "-D", log, "-monitor", "stdio",
                 text="i 0x1234\nquit\n")
    expect(result.returncode == 0, result)
    with open(log, encoding="utf-8") as file:
        expect("1234" in file.read(), "the access of no device")


def test_qtest(tmp):
    path, log = f"{tmp}/qtest", f"{tmp}/qlog"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        with started("-qtest", f"unix:{path}", "-qtest-log", log, "-monitor", "none"):
            peer, _ = server.accept()
            with peer, peer.makefile("rw") as stream:
                for command, answer in (("outb 0x70 0x0f", "OK"), ("writel 0x1000 0x12345678", "OK"),
                                        ("readb 0x1001", "OK 0x0000000000000056")):
                    stream.write(command + "\n")
                    stream.flush()
                    said = stream.readline().strip()
                    expect(said == answer, f"{command}: {said}")


def read_until(master, wanted):
    said = b""
    end = time.monotonic() + PATIENCE
    while wanted not in said:
        ready, _, _ = select.select([master], [], [], max(0, end - time.monotonic()))
        expect(ready, f"waited in vain for {wanted}: {said}")
        said += os.read(master, 4096)


def on_terminal(args, end_it):
    """Runs on a pseudo-terminal until end_it ends it; the terminal must be as it was."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    # A sanitizer's own handler of SIGSEGV would stand before vmrun's.
    sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"
    env = {**os.environ, "TERM": "xterm", "ASAN_OPTIONS": sanitizer}
    process = subprocess.Popen([VMRUN, "-accel", "qtest", *args], stdin=slave, stdout=slave,
                               stderr=slave, start_new_session=True, env=env)
    try:
        read_until(master, b"CPU, ")
        wait_for(lambda: termios.tcgetattr(slave) != before, "raw mode")
        end_it(master, process)
        process.wait(PATIENCE)
        expect(termios.tcgetattr(slave) == before, f"{args}: the terminal has changed")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_terminal(tmp):
    def type_it(text):
        return lambda master, process: os.write(master, text)

    def send(*signals):
        def end_it(master, process):
            for signo in signals:
                process.send_signal(signo)
        return end_it
    on_terminal(["-nographic"], type_it(b"\x01x"))
    on_terminal(["-nographic"], type_it(b"\x01cquit\r"))
    on_terminal(["-display", "none", "-monitor", "stdio"], type_it(b"quit\r"))
    # Alt-2 is the monitor.
    on_terminal(["-display", "curses"], type_it(b"\x1b2quit\r"))
    on_terminal(["-display", "curses"], send(signal.SIGTERM))
    on_terminal(["-display", "curses"], send(signal.SIGABRT))
    on_terminal(["-nographic"], send(signal.SIGTERM))
    # The second arrives while the main loop has not yet looked at the first.
    on_terminal(["-nographic"], send(signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT))
    on_terminal(["-nographic"], send(signal.SIGSEGV))
    on_terminal(["-nographic"], send(signal.SIGABRT))


def test_cpu_logs(tmp):
    """-d exec,cpu,mmu,int of a small guest: page tables for one page of 4 MiB, then INT3 in it."""
    code = bytes.fromhex(
        "fa 66 b8 83 00 00 00 66 31 ff 8e c7 bf 00 10 26 66 89 05"    # cli; entry 0 at 0x1000
        "66 2e 0f 01 16 80 ff 0f 20 e0 0c 10 0f 22 e0"                # lgdt; PSE
        "66 b8 00 10 00 00 0f 22 d8 66 0f 20 c0 66 0d 01 00 00 80 0f 22 c0"  # CR3, PE, PG
        "cc f4")
    image = bytearray(b"\xf4" * 0x10000)
    image[:len(code)] = code
    image[0xff80:0xff86] = bytes(6)
    image[0xfff0:0xfff5] = bytes.fromhex("ea 00 00 00 f0")
    bios, log = os.path.join(tmp, "bios"), os.path.join(tmp, "log")
    with open(bios, "wb") as file:
        file.write(image)
    # There are no gates: a triple fault, which ends it.
    run("-accel", "interp", "-bios", bios, "-no-reboot", "-serial", "none", "-monitor", "none",
        "-d", "exec,cpu,mmu,int", "-D", log, base=[VMRUN, "-display", "none"])
    with open(log, encoding="ascii") as file:
        text = file.read()
    for pattern in (r"^exec: CPU 0: f000:fff0 16 bits, 1 instructions, flags 2,( [0-9a-f]+){16}$",
                    r"^exec: CPU 0: f000:0 16 bits, \d+ instructions",
                    r"^mmu: CPU 0: fetch f00[0-9a-f]{2} \(system\) -> f00[0-9a-f]{2}, a page of 4096 KiB: -wx-$",
                    r"^int: CPU 0: INT 03 cpl 0 at f000:",
                    r"^int: CPU 0: triple fault"):
        expect(re.search(pattern, text, re.M), f"no {pattern!r} in {text!r}")


def main():
    tests = [(name, fn) for name, fn in globals().items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, fn) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="vmrun-cli-") as tmp:
            try:
                fn(tmp)
                print(f"ok {number} {name[5:]}")
            except Exception as error:  # whatever it is, the other tests go on
                failed += 1
                print(f"not ok {number} {name[5:]}\n# {str(error)!r}")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
