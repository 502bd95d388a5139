#!/usr/bin/env python3
"""The gdb stub, by the real gdb and by packets of its own, on small guests: one in long mode, and one that
goes from real mode to long mode on two CPUs.

Usage: test-gdb.py VMRUN FOLDER-OF-GUESTS [TEST]...
"""
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from vmrun_test import Failure, Skip, check, connect_unix, need, need_kvm, run_tests  # noqa: E402

VMRUN, GUESTS = sys.argv[1:3]
del sys.argv[1:3]
WORK = tempfile.TemporaryDirectory(prefix="vmrun-gdb-")
FIRST, SECOND, THIRD, FOURTH, COUNTER, WATCHED = 0xf1100, 0xf1200, 0xf1300, 0xf1400, 0x5000, 0x5008


# gdb-modes.asm
GO, NAP, COUNT, COUNT_2, CROSS = 0x4000, 0x4004, 0x5000, 0x5080, 0x5ffd
LOOP16, LOOP32, LOOP64, MIDDLE, LOOP2 = 0xf1000, 0xf1200, 0xf1400, 0xf1415, 0xf1500


def image(source):
    path = os.path.join(WORK.name, source + ".bin")
    if not os.path.exists(path):
        need("nasm", "nasm")
        subprocess.run(["nasm", "-f", "bin", "-Wno-reloc-abs", "-I", GUESTS + "/", "-o", path,
                        os.path.join(GUESTS, source + ".asm")], check=True)
    return path


class Guest:
    """A vmrun with a gdb socket; starts running."""

    def __init__(self, engine, *arguments, source="gdb"):
        if engine == "kvm":
            need_kvm()
        elif f" {engine} " not in subprocess.run([VMRUN, "-accel", "help"], capture_output=True,
                                                 text=True, check=True).stdout:
            raise Skip(f"this vmrun has no engine {engine}")
        self.path = os.path.join(WORK.name, "gdb")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.process = subprocess.Popen(
            [VMRUN, "-accel", engine, "-smp", "2", "-m", "64", "-display", "none", "-serial", "none",
             "-monitor", "none", "-bios", image(source), "-gdb", f"unix:{self.path}", *arguments],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + 20
        while not os.path.exists(self.path):
            if time.monotonic() > end or self.process.poll() is not None:
                raise Failure(f"no socket: {self.process.stderr.read().decode()}")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        _, errors = self.process.communicate(timeout=60)
        check(self.process.returncode == 0, f"vmrun's status {self.process.returncode}: {errors.decode()}")

    def gdb(self, *commands):
        need("gdb", "gdb")
        words = ["gdb", "-q", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off",
                 "-ex", f"target remote {self.path}"]
        for command in commands:
            words += ["-ex", command]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False)
        return done.stdout + done.stderr

    def wait_counter(self, client, address=COUNTER, more_than=10):
        """Lets the guest come to a loop."""
        for _ in range(200):
            if client.number(address, 4) > more_than:
                return
            client.send("c")
            time.sleep(0.05)
            client.interrupt()
        raise Failure("the guest does not count")


class Client:
    """Packets by hand."""

    def __init__(self, guest):
        self.socket = connect_unix(guest.path)
        self.socket.settimeout(10)
        self.data = b""
        check(self.ask("QStartNoAckMode") == "OK", "no-ack mode")
        self.socket.sendall(b"+")

    def send(self, text):
        body = text if isinstance(text, bytes) else text.encode()
        self.socket.sendall(b"$" + body + b"#%02x" % (sum(body) & 0xff))

    def receive(self):
        while not (found := re.search(rb"\$([^#]*)#..", self.data, re.DOTALL)):
            piece = self.socket.recv(65536)
            if not piece:
                raise Failure("the connection ended")
            self.data += piece
        self.data = self.data[found.end():]
        return re.sub(rb"\}(.)", lambda m: bytes([m.group(1)[0] ^ 0x20]), found.group(1)).decode()

    def ask(self, text):
        self.send(text)
        return self.receive()

    def interrupt(self):
        self.socket.sendall(b"\x03")
        return self.receive()

    def number(self, address, size=8):
        return int.from_bytes(bytes.fromhex(self.ask(f"m{address:x},{size:x}")), "little")

    def register(self, number):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")


def has(text, pattern):
    check(re.search(pattern, text), f"no '{pattern}' in {text}")


def started(engine):
    guest = Guest(engine)
    try:
        client = Client(guest)
        guest.wait_counter(client)
        client.ask("D")
        client.socket.close()
        return guest
    except BaseException:
        guest.process.kill()
        raise


def test_gdb(engine):
    with started(engine) as guest:
        out = guest.gdb("info threads", "p/x $efer", f"hbreak *{SECOND}", "c", "p/x $rip", "p/x $rbx",
                        "stepi", "p/x $rip", f"x/gx {0x40000000 + COUNTER}", "p $eflags", "p $xmm3",
                        "p $st0", "p $mxcsr", "p $cr0 & 1", "delete", f"break *{THIRD}", "c",
                        "p/x $rip", "set $rax = 0x1234", "stepi", "stepi", "p/x $rax",
                        f"set {{long}}{COUNTER} = -5", f"p *(long*){COUNTER}", "monitor info status",
                        "detach")
        for pattern in (r"Thread 1 \(CPU#0 \[running\]\)", r"Thread 2 \(CPU#1 \[not started\]\)",
                        r"\$1 = 0x500", rf"\$2 = {SECOND:#x}", r"\$3 = 0x1100", rf"\$4 = {SECOND + 5:#x}",
                        r"0x40005000:\s0x", rf"= {THIRD:#x}", r"= 0x1235", r"= -5",
                        r"VM status: paused", r"v4_int32 = \{0"):
            has(out, pattern)
        check("rror" not in out, out)
        has(guest.gdb("monitor info status", "x/i $rip", "kill"), "paused")
        guest.process.wait(20)


def test_many(engine):
    """More breakpoints than debug registers."""
    with started(engine) as guest:
        out = guest.gdb(*(f"break *{0xf0000 + n}" for n in (0x1500, 0x1500 - 0x100, 0x1501, 0x1502)),
                        f"break *{FIRST}", f"break *{SECOND}", f"break *{THIRD}",
                        *("c", "p/x $rip") * 6, "delete", f"x/2xb {SECOND}", f"x/2xb {THIRD}")
        hits = [int(number, 16) for number in re.findall(r"\$\d+ = (0x\w+)", out)]
        check(set(hits) == {FIRST, SECOND, THIRD}, out)
        has(out, rf"{SECOND:x}:\s0xbb\s0x00")
        has(out, rf"{THIRD:x}:\s0xbb\s0x00")


def test_watch(engine):
    if engine == "kvm":
        raise Skip("some hosts' KVM has no data breakpoints")
    with started(engine) as guest:
        out = guest.gdb(f"watch *(long*){WATCHED}", "c", "p/x $rip", "delete",
                        f"rwatch *(long*){COUNTER}", "c", "p/x $rip")
        has(out, "Hardware watchpoint")
        has(out, rf"\$1 = {SECOND + 13:#x}")
        has(out, rf"\$2 = {0xf1017:#x}")  # INC reads it, too


def test_packets(engine):
    with started(engine) as guest:
        client = Client(guest)
        check(client.ask("?").startswith("T05thread:01;"), "stop reply")
        has(client.ask("qSupported:xmlRegisters=i386"), r"PacketSize=4000;qXfer:features:read\+")
        xml, offset = "", 0
        while True:
            piece = client.ask(f"qXfer:features:read:target.xml:{offset:x},400")
            xml += piece[1:]
            offset += len(piece) - 1
            if piece[0] == "l":
                break
        has(xml, "i386:x86-64")
        count = xml.count("<reg ")
        bits = sum(int(n) for n in re.findall(r'bitsize="(\d+)"', xml))
        check(len(client.ask("g")) == bits // 4, "g has another length than the description")
        names = re.findall(r'<reg name="(\w+)"', xml)
        check(len(names) == count and len(set(names)) == count, "names of registers")
        check(client.ask("qfThreadInfo") == "m01,02" and client.ask("qsThreadInfo") == "l", "threads")
        check(client.ask("T2") == "OK" and client.ask("T3") == "E16", "T")
        check(client.ask("Hg2") == "OK" and client.register(names.index("rip")) == 0xfff0, "Hg")
        check(client.ask("Hg1") == "OK", "Hg1")
        every = client.ask("g")
        check(client.ask("G" + every) == "OK" and client.ask("g") == every, "G")
        for name, value in (("rax", 0x1122334455667788), ("xmm5", 7 << 100), ("ftag", 0xffff),
                            ("mxcsr", 0x1fa0), ("r15", 1)):
            n, size = names.index(name), {"xmm5": 16, "ftag": 4, "mxcsr": 4}.get(name, 8)
            check(client.ask(f"P{n:x}={value.to_bytes(size, 'little').hex()}") == "OK", f"P {name}")
            check(client.register(n) == value, f"{name} is {client.register(n):#x}")
        check(client.ask("M6000,4:01020304") == "OK" and client.number(0x6000, 4) == 0x04030201, "M")
        check(client.ask(b"X6000,3:" + b"}\x03}\x5d\x00") == "OK", "X")
        check(client.number(0x6000, 3) == 0x7d23, "X wrote something else")
        check(client.ask("m100000000000,8") == "E0e", "memory that is not mapped")
        check(client.ask("Qqemu.PhyMemMode:1") == "OK" and client.ask("qqemu.PhyMemMode") == "1", "phys")
        check(client.ask("m40005000,8") != client.ask("m5000,8"), "addresses are not physical")
        check(client.ask("Qqemu.PhyMemMode:0") == "OK", "phys 0")
        check(client.ask(f"Z1,{SECOND:x},1") == "OK", "Z1")
        check(client.ask("vCont;c").startswith("T05thread:01;"), "no stop at the breakpoint")
        check(client.register(names.index("rip")) == SECOND, "stopped elsewhere")
        check(client.ask(f"z1,{SECOND:x},1") == "OK", "z1")
        check(client.ask("vCont;s:1").startswith("T05"), "step")
        check(client.register(names.index("rip")) == SECOND + 5, "stepped elsewhere")
        client.send("c")
        time.sleep(0.1)
        check(client.interrupt().startswith("T02thread:"), "Ctrl-C")
        before = client.number(COUNTER)
        check(client.number(COUNTER) == before, "the guest runs on")


def modes(engine, *arguments):
    """In its 16-bit loop."""
    guest = Guest(engine, *arguments, source="gdb-modes")
    client = Client(guest)
    guest.wait_counter(client, COUNT)
    client.ask("D")
    client.socket.close()
    return guest


def test_modes(engine):
    """One gdb from real mode to long mode: registers, breakpoints, steps, watchpoints."""
    steps = [
        (["monitor x/2i 0xf1000", f"hbreak *{LOOP16 + 6}", "c", "p/x $rip"], LOOP16 - 0xf0000 + 6),
        (["p/x $rax"], 0x16161616), (["p/x $cs"], 0xf000), (["p/x $cr0 & 1"], 0),
        (["stepi", "p/x $rip"], LOOP16 - 0xf0000 + 9),
        (["c", "p/x $rip"], LOOP16 - 0xf0000 + 6), (["p/x *(int*)0x5000"], None),
        (["c", "p/x $rip"], LOOP16 - 0xf0000 + 6), (["p/x *(int*)0x5000"], None),
        ([f"watch *(int*){COUNT}", "c", "p/x $rip"], LOOP16 - 0xf0000 + 14),
        (["delete", f"set {{char}}{GO} = 1", f"hbreak *{LOOP32 + 5}", "c", "p/x $rip"], LOOP32 + 5),
        (["p/x $rax"], 0x32323232), (["p/x $efer"], 0), (["stepi", "p/x $rbx"], 0x87654321),
        ([f"rwatch *(int*){COUNT + 16}", "c", "p/x $rip"], LOOP32 + 16),
        (["delete", f"set {{char}}{GO} = 2", f"break *{MIDDLE}", "c", "p/x $rip"], MIDDLE),
        (["p/x $rax"], 0x6464646464646464), (["p/x $r15"], 0x123456789abcdef0), (["p/x $efer"], 0x500),
        ([f"watch *(char*){CROSS + 7}", "c", "p/x $rip"], MIDDLE + 16),
        (["delete", f"break *{LOOP64}", "c", "stepi", "p/x $rip"], LOOP64 + 10)]
    if engine == "kvm":  # some hosts' KVM has no data breakpoints, and meets a breakpoint again at once
        steps = [step for step in steps if "watch" not in " ".join(step[0]) and step[0][0] not in
                 ("c", "p/x *(int*)0x5000")]
    with modes(engine) as guest:
        out = guest.gdb(*(command for commands, _ in steps for command in commands))
        values = [int(value, 16) for value in re.findall(r"\$\d+ = (\w+)", out)]
        wanted = [value for _, value in steps]
        counts = [n for n, value in enumerate(wanted) if value is None]
        check(not counts or values[counts[1]] == values[counts[0]] + 1, f"a round of the loop: {out}")
        for n in counts:
            wanted[n] = values[n]
        check(values == wanted, f"{[hex(n) for n in values]}, not {[hex(n) for n in wanted]}: {out}")
        has(out, r"mov \$0x16161616, %eax")
        check("rror" not in out, out)


def test_narrow(engine):
    """A processor without long mode has 32-bit registers."""
    if engine == "kvm":
        raise Skip("some hosts' KVM has no such processor")
    with modes(engine, "-cpu", "max,-lm") as guest:
        out = guest.gdb("show architecture", "p/x $eax", "p/x $cs",
                        f"hbreak *{LOOP16 + 6}", "c", "p/x $eip", "stepi", "p/x $eip", f"set {{char}}{GO} = 1",
                        f"hbreak *{LOOP32 + 5}", "delete 1", "c", "p/x $eip", "x/i $eip")
        for pattern in (r'currently "i386"', r"\$1 = 0x16161616",
                        r"\$2 = 0xf000", r"\$3 = 0x1006", r"\$4 = 0x1009", rf"\$5 = {LOOP32 + 5:#x}",
                        r"mov\s+\$0x87654321,%ebx"):
            has(out, pattern)


def test_smp(engine):
    """Two CPUs that run: one steps while the other stands, runs, or halts; a breakpoint of each."""
    with modes(engine) as guest:
        out = guest.gdb(f"set {{char}}{GO} = 2", f"break *{LOOP2 + 6}", "c", "p $_thread", "p/x $rip", "p/x $r14",
                        "delete", f"break *{MIDDLE}", "c", "p $_thread", "p/x $rip", "info threads")
        check(re.findall(r"\$\d+ = (\w+)", out) ==
              ["2", f"{LOOP2 + 6:#x}", "0x2222", "1", f"{MIDDLE:#x}"], out)
        has(out, r"Thread 1 \(CPU#0 \[running\]\)")
        has(out, r"Thread 2 \(CPU#1 \[running\]\)")
        client = Client(guest)

        def rip(thread):
            check(client.ask(f"Hg{thread}") == "OK", "Hg")
            return client.register(16)

        def goes_on(packet, address):
            """Steps thread 1 until the other's counter shows that it runs."""
            before = client.number(address, 4)
            for _ in range(100000):
                check(client.ask(packet).startswith("T05thread:01;"), packet)
                if client.number(address, 4) != before:
                    return True
            return False

        here, other, count = rip(1), rip(2), client.number(COUNT_2, 4)
        for _ in range(20):
            check(client.ask("vCont;s:1").startswith("T05thread:01;"), "step of the first CPU")
        check(rip(2) == other and client.number(COUNT_2, 4) == count, "the other CPU has run")
        check(rip(1) != here, "the first CPU has not")
        check(client.ask("vCont;s:2").startswith("T05thread:02;"), "step of the second CPU")
        check(rip(2) != other, "the second CPU has not stepped")
        check(goes_on("vCont;s:1;c", COUNT_2), "the other CPU does not run while one steps")
        check(client.ask(f"M{NAP:x},1:01") == "OK", "nap")
        for _ in range(200):
            client.send("c")
            time.sleep(0.01)
            client.interrupt()
            if "halted" in bytes.fromhex(client.ask("qThreadExtraInfo,2")).decode():
                break
        else:
            raise Failure("the second CPU does not halt")
        check(client.ask("vCont;s:1;c").startswith("T05thread:01;"), "step beside a CPU that halts")
        # A step of a CPU that halts for good lasts until somebody interrupts it.
        client.send("vCont;s:2")
        time.sleep(0.05)
        check(client.interrupt().startswith("T02"), "Ctrl-C while a halted CPU steps")
        check(client.ask("vCont;s:1").startswith("T05thread:01;"), "the first CPU goes on")


def test_split(engine):
    """Breakpoints that come and go in a block that runs: each is met, and none that is gone."""
    if engine == "kvm":
        raise Skip("the interpreter's blocks")
    with started(engine) as guest:
        client = Client(guest)
        points = [SECOND, SECOND + 5, SECOND + 13, FIRST + 5, FIRST + 13, THIRD, THIRD + 5, 0xf1000, 0xf1005]
        for turn in range(3):
            for point in points:
                check(client.ask(f"Z0,{point:x},1") == "OK", "Z0")
                for _ in range(2):
                    check(client.ask("c").startswith("T05"), "no stop")
                    check(client.register(16) == point, f"{client.register(16):#x}, not {point:#x}")
                    client.ask(f"z0,{point:x},1")
                    check(client.ask("s").startswith("T05"), "step")
                    client.ask(f"Z0,{point:x},1")
                client.ask(f"z0,{point:x},1")
            met = set()
            for point in points:
                client.ask(f"Z0,{point:x},1")
            for _ in range(2 * len(points)):
                client.ask("c")
                at = client.register(16)
                met.add(at)
                client.ask(f"z0,{at:x},1")
                client.ask("s")
                client.ask(f"Z0,{at:x},1")
            check(met == set(points), f"turn {turn}: {sorted(met)}")
            for point in points:
                client.ask(f"z0,{point:x},1")
        # In the page's alias, and where no instruction begins.
        for point in (0x40000000 + SECOND, SECOND + 1):
            client.ask(f"Z0,{point:x},1")
        client.send("c")
        time.sleep(0.1)
        check(client.interrupt().startswith("T02"), "stopped at a breakpoint that is not there")


def test_hostile(engine):
    with started(engine) as guest:
        client = Client(guest)
        for packet in ("m", "m,", "mffffffffffffffff,ffffffffffffffff", "M0,ffff:00", "X0,5:abc", "p",
                       "pffffffff", "P", "P0", "P0=", "Pffffffff=00", "G", "Gzz", "Z", "Z0", "Z0,,",
                       "Z2,0,0", "Z2,0,ffffffffffffffff", "z0,1234,1", "Z9,0,1", "H", "Hx1", "Hg77",
                       "T", "Tffffffffffffffffffff", "qXfer:features:read:target.xml:", "vCont;x",
                       "qXfer:features:read:target.xml:ffffffffffffffff,ffffffffffffffff",
                       "qXfer:features:read:../../etc/passwd:0,100", "qThreadExtraInfo,77", "qRcmd,",
                       "qRcmd,zz", "qRcmd," + "gdbserver none".encode().hex(), "", "vMustReplyEmpty",
                       "a" * 0x3fff, "m" * 0x10000, b"\x00\xff\x80", "C", "QX"):
            body = packet if isinstance(packet, str) else packet.decode("latin-1")
            if body == "C":
                continue
            client.send(packet)
            answer = client.receive()
            while answer.startswith("O") and answer != "OK":
                answer = client.receive()
            check(guest.process.poll() is None, f"vmrun ended at {body[:40]!r}")
        for junk in (b"$$$$", b"#", b"$m0,4#zz", b"\x03\x03", b"-" * 100, b"+" * 5000, bytes(range(256))):
            client.socket.sendall(junk)
        client.socket.sendall(b"#00")
        time.sleep(0.2)
        client.data = b""
        client.socket.close()
        again = Client(guest)
        check(again.ask("?").startswith("T05"), "a new connection")
        for n in range(1100):
            if again.ask(f"Z0,{0x100000 + n:x},1") != "OK":
                break
        else:
            raise Failure("breakpoints without end")


def test_command(engine):
    """What -gdb says when it cannot."""
    for words, text in ((["-accel", engine, "-gdb", "tcp:"], "-gdb"),
                        (["-accel", "qtest", "-gdb", "tcp::0"], "no CPUs")):
        if engine == "kvm":
            need_kvm()
        done = subprocess.run([VMRUN, "-display", "none", "-serial", "none", "-monitor", "none", *words],
                              capture_output=True, text=True, timeout=30, check=False)
        check(done.returncode and text in done.stderr, f"{words}: {done.stderr}")


if __name__ == "__main__":
    run_tests([(f"{name}, {engine}", lambda test=test, engine=engine: test(engine))
               for engine in ("kvm", "interp")
               for name, test in (("gdb: breakpoints, steps, registers, memory", test_gdb),
                                  ("more breakpoints than the processor has", test_many),
                                  ("watchpoints", test_watch),
                                  ("from real mode to long mode", test_modes),
                                  ("a processor of 32 bits", test_narrow),
                                  ("two CPUs", test_smp),
                                  ("breakpoints in blocks", test_split),
                                  ("packets", test_packets),
                                  ("hostile packets", test_hostile),
                                  ("the option", test_command))])
