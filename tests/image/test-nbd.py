# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD disks: against qemu-nbd, with servers that die, come back, are silent or talk nonsense."""
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from tap import IMG, SEED, WORK, Failed, expect, img, main, peer, run

MIB = 1 << 20
IO, VMRUN = os.path.abspath(sys.argv[3]), os.path.abspath(sys.argv[4])
SERVER = shutil.which("qemu-nbd")


class Server:
    """qemu-nbd on a socket in this folder."""

    def __init__(self, image, *argv, path="sock"):
        self.path = os.path.abspath(path)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.argv = ["qemu-nbd", "-t", "-e", "8", "-k", self.path, *argv, image]
        self.p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not self.answers():
            if self.p.poll() is not None or time.monotonic() > end:
                raise Failed(f"{self.argv} does not start")
            time.sleep(0.02)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.path) == 0

    def kill(self):
        self.p.kill()
        self.p.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Shell:
    """vmrun-io, or another program, talked to line by line."""

    def __init__(self, *argv, program=IO):
        self.p = subprocess.Popen([program, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, bufsize=1)

    def say(self, command, until):
        """Sends it; what comes back up to a line with one of the words."""
        self.p.stdin.write(command + "\n")
        self.p.stdin.flush()
        said = ""
        while not any(word in said for word in until):
            c = self.p.stdout.read(1)
            if not c:
                raise Failed(f"vmrun-io ended: {said}")
            said += c
        return said + self.p.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.p.stdout.read()
        self.p.wait(60)


def names(export=""):
    path = os.path.abspath("sock")
    tail = f":exportname={export}" if export else ""
    return [f"nbd:unix:{path}{tail}", f"nbd+unix:///{export}?socket={path}"]


def data():
    rnd = random.Random(SEED)
    with open("raw", "wb") as f:
        f.truncate(6 * MIB)
        for _ in range(10):
            f.seek(rnd.randrange(5 * MIB // 4096) * 4096)
            f.write(rnd.randbytes(rnd.randrange(1, 50) * 4096))


def reading():
    data()
    with Server("raw", "-f", "raw"):
        for name in names():
            for program in (img, peer):
                out = program("info", name)
                expect("virtual size: 6 MiB" in out and "disk size: unavailable" in out, out)
                expect("actual-size" not in program("info", "--output=json", name), "actual-size")
            img("convert", "-f", "raw", "-O", "qcow2", name, "out")
            expect("identical" in peer("compare", "-f", "raw", "-F", "qcow2", "raw", "out"), "differs")
        img("create", "-q", "-f", "qcow2", "-b", names()[1], "-F", "raw", "top")
        img("convert", "-O", "raw", "top", "out")
        run("cmp", "raw", "out")
        out = img("info", "--backing-chain", "top")
        expect(out.count("image: ") == peer("info", "--backing-chain", "top").count("image: ") == 2, out)
        path = os.path.abspath("sock")
        img("create", "-q", "-f", "qcow2", "-u", "-b", "none", "-F", "raw", "lost", 6 * MIB)
        for options in (f"driver=nbd,server.type=unix,server.path={path}",
                        f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={path}",
                        f"file.driver=nbd,file.path={path}",
                        "driver=qcow2,file.filename=lost,backing.driver=raw,backing.file.driver=nbd,"
                        f"backing.file.server.type=unix,backing.file.server.path={path}"):
            # The peer takes a server below an image only if the image names no backing file.
            for program in ("qemu-img", IMG) if "backing" not in options else (IMG,):
                run(program, "convert", "--image-opts", options, "-O", "raw", "out")
                run("cmp", "raw", "out")
        for name in (f'json:{{"driver":"nbd","server":{{"type":"unix","path":"{path}"}}}}',
                     f'json:{{"driver":"raw","file":{{"driver":"nbd","path":"{path}"}}}}'):
            img("convert", name, "-O", "raw", "out")
            run("cmp", "raw", "out")
    with Server("raw", "-f", "raw", "-x", "a disk/1"):
        img("convert", "--image-opts", f"driver=nbd,path={path},export=a disk/1", "-O", "raw", "out")
        run("cmp", "raw", "out")
        img("convert", "-f", "raw", "-O", "raw", names("a disk/1")[0], "out")
        run("cmp", "raw", "out")
        expect("cannot connect" in img("info", names("other")[0], code=1), "an export that is not there")


def writing():
    with open("raw", "wb") as f:
        f.truncate(6 * MIB)
    with Server("raw", "-f", "raw"):
        for n, name in enumerate(names()):
            run(WORK, *(["-b"] if not n else []), "-d", name, "raw", "right", SEED + n, 200)
        img("convert", "-n", "-f", "raw", "-O", "raw", "right", names()[0])
    run("cmp", "raw", "right")
    for fmt, options in (("qcow2", "preallocation=full"), ("vdi", "static=on")):
        img("create", "-q", "-f", fmt, "-o", options, "i", 3 * MIB)
        with open("i", "r+b") as f:
            f.truncate(6 * MIB)
        with Server("i", "-f", "raw"):
            run(WORK, "-b", names()[1], fmt, "right", SEED, 100)
        expect("identical" in peer("compare", "-f", fmt, "-F", "raw", "i", "right"), fmt)
    for fmt in ("raw", "vdi", "qcow2"):
        with open("i", "wb") as f:
            f.write(os.urandom(12 * MIB))
        with Server("i", "-f", "raw"):
            img("convert", "-f", "raw", "-O", fmt, "right", names()[0])
            out = img("create", "-f", "raw", names()[0], "13M", code=1)
            expect("No space left" in out, out)
        peer("convert", "-f", fmt, "-O", "raw", "i", "back")
        expect(open("back", "rb").read()[:3 * MIB] == open("right", "rb").read(), f"{fmt} differs")
    with Server("raw", "-f", "raw", "-r"):
        out = run(WORK, "-b", names()[0], "raw", "right", 1, 1, code=1)
        expect("open it read-only" in out, out)


def tcp():
    data()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = subprocess.Popen(["qemu-nbd", "-t", "-f", "raw", "-b", "127.0.0.1", "-p", str(port), "raw"],
                         stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            expect(time.monotonic() < end, "qemu-nbd does not start")
            time.sleep(0.02)
        for name in (f"nbd:127.0.0.1:{port}", f"nbd://127.0.0.1:{port}/",
                     f'json:{{"driver":"nbd","server":{{"type":"inet","host":"127.0.0.1","port":"{port}"}}}}',
                     f'json:{{"file":{{"driver":"nbd","host":"127.0.0.1","port":"{port}"}}}}'):
            img("convert", "-f", "raw", "-O", "raw", name, "out")
            run("cmp", "raw", "out")
    finally:
        p.kill()
        p.wait()


def dying():
    """A request that meets a dead server fails; the next one after its return does not."""
    data()
    done = ("ops;", "failed", "rror")
    with Server("raw", "-f", "raw") as server, Shell("-f", "raw", names()[0]) as shell:
        expect("ops;" in shell.say("read 0 64k", done), "read")
        server.kill()
        for _ in range(3):
            out = shell.say("read 1M 64k", done)
            expect("Input/output error" in out, out)
        with Server("raw", "-f", "raw") as again:
            end = time.monotonic() + 60
            while "ops;" not in shell.say("read 1M 64k", done):
                expect(time.monotonic() < end, "does not connect anew")
            expect("ops;" in shell.say("write -P 7 0 64k", done), "write")
            again.kill()
            expect("Input/output error" in shell.say("read 0 64k", done), "read of a dead one")
        with Server("raw", "-f", "raw"):
            while "ops;" not in shell.say("read 1M 64k", done):
                expect(time.monotonic() < end, "does not connect anew")
            # what was written before the server died may be lost, and nobody may believe otherwise
            shell.p.stdin.write("flush\n")
            expect("Input/output error" in shell.say("read -P 1 0 512", ("rror",)), "flush")


def killed_under_load():
    with open("raw", "wb") as f:
        f.truncate(6 * MIB)
    with Server("raw", "-f", "raw") as server:
        p = subprocess.Popen([WORK, "-b", names()[0], "raw", "right", "1", "10000000"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + 60
        while not os.stat("raw").st_blocks and time.monotonic() < end:
            time.sleep(0.02)
        server.kill()
        out, _ = p.communicate(timeout=120)
        expect(p.returncode == 1 and "Input/output error" in out, out)


def full():
    """A disk that fills up says so, and is not taken for another one when its server comes back."""
    with open("raw", "wb") as f:
        f.truncate(2 * MIB)
    done = ("ops;", "failed", "rror")
    end = time.monotonic() + 60
    with Server("raw", "-f", "raw") as server:
        img("create", "-q", "-f", "qcow2", names()[0], "64M")
        with Shell("-f", "qcow2", names()[0]) as shell:
            expect("ops;" in shell.say("write -P 1 0 64k", done), "write")
            out = shell.say("write -P 2 1M 8M", done)
            expect("No space left on device" in out, out)
            expect("ops;" in shell.say("write -P 3 0 64k", done), "in place")
            shell.p.stdin.write("flush\n")
            expect("ops;" in shell.say("read -P 3 0 64k", done), "read")
            server.kill()
            with Server("raw", "-f", "raw"):
                while "ops;" not in shell.say("read -P 3 0 64k", done):
                    expect(time.monotonic() < end, "does not connect anew")


def machine():
    """A machine whose disk's server dies goes on, and ends when it is told to."""
    data()
    with Server("raw", "-f", "raw") as server:
        with Shell("-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio", "-drive",
                   f"file={names()[0]},format=raw", program=VMRUN) as shell:
            expect("(raw)" in shell.say("info block", ("ide0-hd0",)), "info block")
            server.kill()
            expect("(raw)" in shell.say("info block", ("ide0-hd0",)), "info block")
            shell.p.stdin.write("quit\n")
            shell.p.stdin.flush()
            shell.p.wait(60)
        expect(shell.p.returncode == 0, f"exit code {shell.p.returncode}")


def below():
    """Overlays that snapshot, mirror and stream make call a remote disk by its whole name."""
    data()
    with Server("raw", "-f", "raw") as server:
        remote = f"nbd+unix:///?socket={server.path}"
        for name in ("mid", "top"):
            img("create", "-q", "-f", "qcow2", "-b", {"mid": remote, "top": "mid"}[name],
                "-F", {"mid": "raw", "top": "qcow2"}[name], name)
        for drive, command in ((f"file={remote},format=raw", "snapshot_blkdev ide0-hd0 out"),
                               ("file=mid", "drive_mirror ide0-hd0 out qcow2"),
                               ("file=top", f"block_stream ide0-hd0 0 {remote}")):
            with Shell("-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio", "-drive",
                       drive, program=VMRUN) as shell:
                shell.p.stdin.write(command + "\n")
                while "No active" not in shell.say("info block-jobs", ("No active jobs", " of ")):
                    if "mirror" in command and os.path.exists("out"):
                        break
                shell.p.stdin.write("quit\n")
                shell.p.stdin.flush()
                shell.p.wait(60)
            made = "top" if "stream" in command else "out"
            out = img("info", made)
            expect(f"backing file: {remote}\n" in out and "backing file format: raw" in out, out)
            if made == "out":
                os.unlink("out")


def strangers():
    """Servers that say nothing, or something else."""
    def serve(listener, words):
        while True:
            try:
                c = listener.accept()[0]
            except OSError:
                return
            if words is None:
                held.append(c)
                continue
            try:
                c.sendall(words)
                c.shutdown(socket.SHUT_WR)
                while c.recv(4096):
                    pass
            except OSError:
                pass
            c.close()

    held = []
    for n, words in enumerate((b"", b"HTTP/1.0 400 no\r\n\r\n" * 20, b"NBDMAGIC" + b"\xff" * 500,
                               b"NBDMAGICIHAVEOPT\0\1" + bytes(500), None)):
        path = os.path.abspath(f"s{n}")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            threading.Thread(target=serve, args=(listener, words), daemon=True).start()
            out = img("info", f"nbd+unix:///?socket={path}", code=1)
            expect("cannot connect" in out, out)
            expect(words is not None or "does not answer" in out, out)
            listener.shutdown(socket.SHUT_RDWR)


class Plain(threading.Thread):
    """A server of zeros that keeps nothing, for one client after another; delays(kind): seconds before
    an answer, which keep everything else waiting, too."""
    READ, WRITE, END, FLUSH, ZERO = 0, 1, 2, 3, 6

    def __init__(self, path, delays=lambda kind: 0):
        super().__init__(daemon=True)
        self.path, self.delays, self.seen = os.path.abspath(path), delays, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.start()

    def uri(self):
        return f"nbd+unix:///?socket={self.path}"

    def run(self):
        while True:
            with self.listener.accept()[0] as c, c.makefile("rb") as words:
                c.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
                words.read(4)
                while self.option(c, words):
                    pass
                while self.request(c, words):
                    pass

    def option(self, c, words):
        head = words.read(16)
        if len(head) < 16:
            return False
        option, length = struct.unpack(">8xII", head)
        words.read(length)
        go = option == 7
        for kind, data in ((3, struct.pack(">HQH", 0, 256 * MIB, 0x45)), (1, b"")) if go else ((1 << 31 | 1, b""),):
            c.sendall(struct.pack(">QIII", 0x3e889045565a9, option, kind, len(data)) + data)
        return not go

    def request(self, c, words):
        head = words.read(28)
        if len(head) < 28:
            return False
        kind, cookie, length = struct.unpack(">4x2xHQ8xI", head)
        self.seen.append((kind, length))
        if kind == self.WRITE:
            words.read(length)
        if kind == self.END:
            return False
        time.sleep(self.delays(kind))
        c.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie) + bytes(length if kind == self.READ else 0))
        return True


def zeros():
    """Zeroing is asked for in pieces that a server can write in little time."""
    server = Plain("sock")
    run(IO, "-f", "raw", "-c", "write -z 0 200M", "-c", "flush", server.uri())
    pieces = [length for kind, length in server.seen if kind == Plain.ZERO]
    expect(sum(pieces) == 200 * MIB and max(pieces) <= 32 * MIB, str(server.seen))


def slow():
    """A server that answers one request after the other, and one whose flush takes more than a minute."""
    queue = Plain("queue", lambda kind: 25 if kind == Plain.WRITE else 0)
    cache = Plain("cache", lambda kind: 70 if kind == Plain.FLUSH else 0)
    writes = [a for n in range(4) for a in ("-c", f"aio_write {n}M 64k")]
    tools = [subprocess.Popen([IO, "-f", "raw", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
             for argv in ([*writes, "-c", "aio_flush", queue.uri()],
                          ["-c", "write 0 64k", "-c", "flush", "-c", "read 0 64k", cache.uri()])]
    for tool, done in zip(tools, (4, 2)):
        out, _ = tool.communicate(timeout=300)
        expect(tool.returncode == 0 and out.count("ops;") == done and "silent" not in out, out)


def asked_early():
    """SIGUSR1 asks for progress, even of a command that is still opening its image."""
    path = os.path.abspath("sock")
    name = f"nbd+unix:///?socket={path}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        for argv in (["amend", "-o", "compat=1.1", name], ["commit", name], ["compact", name], ["compare", name, name],
                     ["convert", name, "o"], ["dd", f"if={name}", "of=o"], ["rebase", "-b", "", name]):
            with subprocess.Popen([IMG, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as p:
                c = listener.accept()[0]
                p.send_signal(signal.SIGUSR1)
                c.close()
                out = p.communicate(timeout=60)[0]
            expect(p.returncode > 0 and "cannot connect" in out, f"{argv}: {p.returncode}: {out}")


def bad_names():
    for name, text in (("nbd:", "host or port"), ("nbd:host", "host or port"), ("nbd:h:x", "is no port"),
                       ("nbd:h:0", "is no port"), ("nbd:h:99999", "is no port"),
                       ("nbd:1::2:80", "in brackets"), ("nbd:unix:", "path is missing"),
                       ("nbd:unix:/nonexistent", "cannot connect"), ("nbd+unix:///", "cannot connect"),
                       ("nbd://127.0.0.1:1/", "cannot connect"), ("https://x/", "no support for 'https:'")):
        out = img("info", name, code=1)
        expect(text in out, f"{name}: {out}")


if __name__ == "__main__":
    if "without NBD" in img("info", "nbd://x/", code=1):
        print("1..0 # SKIP built without libnbd")
        sys.exit(0)
    if not SERVER:
        print("1..0 # SKIP qemu-nbd is not installed")
        sys.exit(0)
    if os.environ.get("SLOW"):
        main([("slow", slow, False)])
    main([("reading", reading, True), ("writing", writing, True), ("tcp", tcp, True),
          ("dying", dying, True), ("killed-under-load", killed_under_load, True),
          ("full", full, True), ("machine", machine, True), ("below", below, True),
          ("zeros", zeros, False), ("asked-early", asked_early, False),
          ("strangers", strangers, False), ("names", bad_names, False)])
