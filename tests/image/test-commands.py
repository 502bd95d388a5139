# SPDX-License-Identifier: GPL-2.0-or-later
"""vmrun-img's commands beside qemu-img's: the same words, exit codes and images."""
import json
import os
import pty
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib

from tap import IMG, SEED, expect, img, main, peer, run

IO, VMRUN = os.path.abspath(sys.argv[3]), os.path.abspath(sys.argv[4])
KIB, MIB = 1 << 10, 1 << 20


def io(*commands, file, fmt="qcow2"):
    """qemu-io's commands, by the peer."""
    args = [a for c in commands for a in ("-c", c)]
    return run("qemu-io", "-f", fmt, *args, file)


def own_io(*commands, file, fmt="qcow2"):
    args = [a for c in commands for a in ("-c", c)]
    return run(IO, "-f", fmt, *args, file)


def same(*argv, sort=False):
    """Runs a command in both, by the name of the peer: output and exit code are the same."""
    if not os.path.exists("bin/qemu-img"):
        os.makedirs("bin", exist_ok=True)
        os.symlink(IMG, "bin/qemu-img")
    results = []
    for program in ("qemu-img", "bin/qemu-img"):
        p = subprocess.run([program, *map(str, argv)], capture_output=True, text=True, check=False,
                           env=dict(os.environ, LC_ALL="C", MALLOC_PERTURB_="0"))
        out = p.stdout
        if "--output=json" in argv:
            out = json.loads(out) if out.strip() else ""
        results.append((out, p.returncode, p.stderr if not sort else ""))
    expect(results[0] == results[1],
           f"{' '.join(map(str, argv))}:\npeer: {results[0]}\nours: {results[1]}")
    return results[1][0]


def check_ok(name):
    peer("check", name)
    img("check", name)


def equal(a, b):
    peer("compare", a, b)
    img("compare", a, b)


def fill(path, size, seed):
    r = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        for _ in range(12):
            f.seek(r.randrange(size // 4096) * 4096)
            f.write(r.randbytes(r.choice((512, 4096, 65536))))
        f.truncate(size)


def layered():
    """raw <- qcow2, with every kind of cluster."""
    peer("create", "-q", "-f", "raw", "base.raw", "2M")
    io("write -P 1 0 512k", file="base.raw", fmt="raw")
    peer("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2", "4M")
    io("write -P 2 64k 64k", "write -z 256k 64k", "write -c -P 5 1M 64k", "discard 1536k 64k",
       "write -P 6 2M 128k", "write -z 2M 64k", "write -zu 3M 64k", file="top.qcow2")
    peer("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "pre.qcow2", "4M")
    io("write -P 6 2M 128k", file="pre.qcow2")
    peer("create", "-q", "-f", "qcow", "old.qcow", "4M")
    io("write -P 2 64k 64k", "write -P 3 3M 4k", file="old.qcow", fmt="qcow")
    return ["base.raw", "top.qcow2", "pre.qcow2", "old.qcow"]


def words():
    for name in layered():
        same("map", name)
        same("map", "--output=json", name)
        same("map", "--output=json", "-s", 1000, "-l", "100k", name)
        same("info", name)
        same("info", "--output=json", name)
        same("info", "--backing-chain", name)
        same("info", "-U", "--output=json", "--backing-chain", name)
        same("check", name)
        same("check", "--output=json", name)
        for other in ("top.qcow2", "pre.qcow2"):
            for strict in ([], ["-s"]):
                same("compare", *strict, name, other)
    same("compare", "-q", "base.raw", "top.qcow2")
    peer("convert", "-O", "qcow2", "base.raw", "b2.qcow2")
    same("compare", "-s", "base.raw", "b2.qcow2")
    for fmt in ("raw", "qcow2", "qcow", "vdi", "vmdk", "vhdx"):
        same("create", "-f", fmt, "n.img", "1M")
    same("create", "-f", "qcow2", "-o", "cluster_size=4k,refcount_bits=8,compat=1.1,"
         "lazy_refcounts=on,preallocation=metadata", "n.img", "1M")
    same("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "n.img")
    same("create", "-q", "-f", "qcow2", "n.img", "1M")
    same("bench", "-c", 10, "-w", "--flush-interval=8", "-f", "raw", "base.raw")
    same("measure", "--size", "1G", "-O", "qcow2")
    same("measure", "-O", "qcow2", "--output=json", "top.qcow2")
    same("measure", "-O", "raw", "top.qcow2")
    same("dd", "if=base.raw")
    same("dd", "if=base.raw", "of=x", "bs=0")
    same("dd", "if=base.raw", "of=x", "cout=1")
    same("amend", "-f", "qcow2", "n.img", sort=True)
    same("snapshot", "-l", "top.qcow2")


def resize():
    for fmt, options in (("raw", ""), ("qcow2", ""), ("qcow2", "cluster_size=512"),
                         ("qcow2", "extended_l2=on"), ("qcow2", "compat=0.10")):
        for grow, shrink in ((IMG, "qemu-img"), ("qemu-img", IMG)):
            run("qemu-img", "create", "-q", "-f", fmt, *(["-o", options] if options else []), "r",
                "3M")
            io("write -P 7 2M 64k", file="r", fmt=fmt)
            run(grow, "resize", "-q", "-f", fmt, "r", "+37M")
            out = run(grow, "resize", "-f", fmt, "r", "50M")
            expect("Image resized.\n" in out, out)
            io("write -P 8 49M 64k", "read -P 7 2M 64k", "read -P 0 3M 46M", file="r", fmt=fmt)
            run(shrink, "resize", "-f", fmt, "--shrink", "r", "-48M")
            run(grow, "resize", "-f", fmt, "r", "3M")
            io("read -P 0 2M 1M", file="r", fmt=fmt)
            if fmt != "raw":
                check_ok("r")
    same("resize", "-f", "raw", "r", "-1M")
    same("resize", "-f", "raw", "--shrink", "r", "-100M")
    for fmt in ("raw", "qcow2"):
        peer("create", "-q", "-f", fmt, "r", "1M")
        for size in ("0", "0k", "-1M", "-2M"):
            same("resize", "-f", fmt, "--shrink", "r", size)
        same("resize", "-f", fmt, "r", "+0")
        expect(json.loads(peer("info", "-f", fmt, "--output=json", "r"))["virtual-size"] == MIB, fmt)
    expect("is no size" in img("resize", "r", "1Q", code=1), "bad size")
    expect("give a file" in img("resize", "r", code=1), "no size")
    img("create", "-q", "-f", "qcow2", "p", "1M")
    img("resize", "-q", "--preallocation=full", "p", "3M")
    expect(os.stat("p").st_blocks * 512 > 2 * MIB, "preallocation=full")
    expect("growing" in img("resize", "--preallocation=full", "--shrink", "p", "1M", code=1), "")
    expect("takes off" in img("resize", "--preallocation=some", "p", "9M", code=1), "")


def snapshot():
    for first, second in ((IMG, "qemu-img"), ("qemu-img", IMG)):
        for options in ("compat=1.1", "compat=0.10", "cluster_size=4k", "extended_l2=on"):
            peer("create", "-q", "-f", "qcow2", "-o", options, "s", "8M")
            io("write -P 1 0 1M", file="s")
            run(first, "snapshot", "-c", "one", "s")
            own_io("write -P 2 512k 1M", file="s")
            run(second, "snapshot", "-c", "two", "s")
            io("write -P 3 0 2M", file="s")
            check_ok("s")
            expect(same("snapshot", "-l", "s").count("\n") == 4, "list")
            same("info", "s")
            img("convert", "-l", "one", "s", "one.raw")
            io("read -P 1 0 1M", "read -P 0 1M 1M", file="one.raw", fmt="raw")
            run(first, "snapshot", "-a", "two", "s")
            io("read -P 1 0 512k", "read -P 2 512k 1M", file="s")
            run(second, "snapshot", "-a", "1", "s")
            own_io("read -P 1 0 1M", "read -P 0 1M 1M", file="s")
            run(second, "snapshot", "-d", "one", "s")
            run(first, "snapshot", "-d", "two", "s")
            check_ok("s")
    for tool in (IMG, "qemu-img"):  # names that are others' IDs
        peer("create", "-q", "-f", "qcow2", "s", "1M")
        for name in ("a", "a", "1"):
            peer("snapshot", "-c", name, "s")
        run(tool, "snapshot", "-d", "1", "s")
        left = [x["id"] for x in json.loads(peer("info", "--output=json", "s"))["snapshots"]]
        expect(left == ["1", "2"], f"-d 1 left {left}")
        run(tool, "snapshot", "-a", "2", "s")
        run(tool, "snapshot", "-d", "2", "s", code=1)
        run(tool, "snapshot", "-d", "a", "s")
        left = [x["id"] for x in json.loads(peer("info", "--output=json", "s"))["snapshots"]]
        expect(left == ["2"], f"-d a left {left}")
    expect("is named 'a'" in img("snapshot", "-d", "2", "s", code=1), "-d ID")
    expect("no snapshot" in img("snapshot", "-a", "none", "s", code=1), "-a none")
    expect("only one" in img("snapshot", "-l", "-c", "x", "s", code=1), "two actions")
    img("create", "-q", "r", "1M")
    expect("has no snapshots" in img("snapshot", "-c", "x", "-f", "raw", "r", code=1), "raw")
    expect("must not be changed" in img("snapshot", "-U", "-c", "x", "s", code=1), "-U -c")


def chain(mid_size="6M"):
    for tool in ("base", "mid", "top"):
        if os.path.exists(tool):
            os.unlink(tool)
    peer("create", "-q", "-f", "qcow2", "base", "4M")
    io("write -P 1 0 3M", file="base")
    peer("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "mid", mid_size)
    io("write -P 2 1M 1M", "write -z 2M 64k", file="mid")
    peer("create", "-q", "-f", "qcow2", "-b", "mid", "-F", "qcow2", "top", "8M")
    io("write -P 3 1536k 1M", "write -z 64k 64k", "write -P 4 7M 64k", file="top")
    peer("convert", "top", "right.raw")


def commit():
    for mid_size in ("6M", "2560k"):
        chain(mid_size)
        for options in ([], ["-d"], ["-b", "base"], ["-r", "100M", "-p"]):
            for program in (IMG, "qemu-img"):
                chain(mid_size)
                shutil.copy("top", "old-top")
                out = run(program, "commit", *options, "top")
                expect("Image committed.\n" in out, out)
                equal("top", "right.raw")
                equal("base" if "-b" in options else "mid", "right.raw")
                kept = bool({"-d", "-b"} & set(options))
                expect((open("old-top", "rb").read() == open("top", "rb").read()) == kept, "kept")
                check_ok("top")
                check_ok("mid")
    chain()
    expect("Did not find 'xyz'" in img("commit", "-b", "xyz", "top", code=1), "-b xyz")
    peer("rebase", "-u", "-b", "top", "-F", "qcow2", "mid")
    peer("commit", "-b", "xyz", "top", code=1)
    expect("the chain never ends" in img("commit", "-b", "xyz", "top", code=1), "a ring")
    for n in range(260):
        img("create", "-q", "-u", "-f", "qcow2", "-b", f"l{n + 1}", "-F", "qcow2", f"l{n}", "1M")
    for argv in (["commit", "-b", "xyz"], ["info", "--backing-chain"], ["map"]):
        out = img(*argv, "l0", code=1)
        expect("longer than 256 images" in out, out)
    expect("does not have a backing file" in img("commit", "base", code=1), "no backing")


def commit_closes_base():
    """What a running machine commits to is left as if it had been closed: bitmaps, counts, header."""
    img("create", "-q", "-f", "qcow2", "base", "8M")
    img("bitmap", "--add", "-g", "64k", "base", "bm0")
    own_io("write -P 6 0 2M", file="base")
    img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    own_io("write -P 5 3M 64k", "write -z 0 1M", file="top")
    run(VMRUN, "-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio", "-drive", "file=top",
        stdin="commit all\ncommit all\nquit\n")
    own_io("read -P 5 3M 64k", "read -P 0 0 1M", file="base")
    check_ok("base")
    info = json.loads(peer("info", "--output=json", "base"))
    bitmap = info["format-specific"]["data"]["bitmaps"][0]
    expect(bitmap["flags"] == ["auto"], bitmap)


def own_backing():
    """An image is never made over its own backing file, nor over one further below."""
    os.mkdir("d")
    for name in ("d/x", "d/y"):
        peer("create", "-q", "-f", "qcow2", *(["-b", "x", "-F", "qcow2"] if name == "d/y" else []), name, "1M")
    io("write -P 5 0 64k", file="d/x")
    os.symlink("x", "d/link")
    os.link("d/x", "d/hard")
    os.chdir("d")
    with open("x", "rb") as f:
        before = f.read()
    same("create", "-f", "qcow2", "-b", "x", "-F", "qcow2", "x")
    wrong = "Trying to create an image with the same filename as the backing file"
    part = json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": "x"}})
    for backing in ("x", "./x", "../d/x", "file:x", "link", "hard", "json:" + part):
        for unchecked in ([], ["-u"]):
            out = img("create", "-f", "qcow2", "-b", backing, "-F", "qcow2", *unchecked, "x", "1M", code=1)
            expect(wrong in out, out)
    os.chdir("..")
    for backing, name in (("x", "d/x"), ("y", "d/x"), ("x", "d/link")):
        expect(wrong in img("create", "-f", "qcow2", "-b", backing, "-F", "qcow2", name, "1M", code=1), backing)
    with open("d/x", "rb") as f:
        expect(f.read() == before, "the image has changed")


def on_drive(drive, command):
    """A job of the monitor, to its end."""
    with subprocess.Popen([VMRUN, "-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio",
                           "-drive", drive], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, bufsize=1) as p:
        p.stdin.write(command + "\n")
        said = ""
        while "No active jobs" not in said and p.poll() is None:
            p.stdin.write("info block-jobs\n")
            said = p.stdout.readline()
        _, errors = p.communicate("quit\n", timeout=60)
    expect(p.returncode == 0 and "backup of" not in errors, f"{command}: {p.returncode}: {errors}")


def drive_backup():
    """A backup of the topmost image, as the peer reads it."""
    layered()
    on_drive("file=top.qcow2", "drive_backup ide0-hd0 copy.qcow2")
    equal("top.qcow2", "copy.qcow2")
    expect("base.raw" in peer("info", "copy.qcow2"), "backing file")
    check_ok("copy.qcow2")
    run("qemu-io", "-c", "write -P 9 128k 64k", "-f", "raw", "base.raw")
    equal("top.qcow2", "copy.qcow2")


def incompressible():
    """What grows when it is compressed still fits its buffer, and its grain of a streamOptimized disk."""
    with open("in.raw", "wb") as f:
        f.write(random.Random(SEED).randbytes(MIB))
    args = [a for at in range(0, MIB, 65536) for a in ("-c", f"write -c -s g{at} {at} 64k")]
    with open("in.raw", "rb") as f:
        for at in range(0, MIB, 65536):
            with open(f"g{at}", "wb") as g:
                g.write(f.read(65536))
    for write in ("io", "backup", "convert"):
        peer("create", "-q", "-f", "vmdk", "-o", "subformat=streamOptimized", "s.vmdk", "1M")
        if write == "io":
            run(IO, "-f", "vmdk", *args, "s.vmdk")
        elif write == "backup":
            on_drive("file=in.raw,format=raw", "drive_backup -n -f -c ide0-hd0 s.vmdk vmdk")
        else:
            img("convert", "-n", "-c", "-f", "raw", "-O", "vmdk", "in.raw", "s.vmdk")
        equal("in.raw", "s.vmdk")


def locked_data_file():
    """A drive whose base was written and closed again still has its external data file for itself."""
    img("create", "-q", "-f", "qcow2", "-o", "data_file=data", "base", "1M")
    img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    own_io("write -P 5 0 64k", file="top")
    with subprocess.Popen([VMRUN, "-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio",
                           "-drive", "file=top"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, bufsize=1) as p:
        p.stdin.write("commit ide0-hd0\n")
        said = ""
        while "No active jobs" not in said:
            p.stdin.write("info block-jobs\n")
            said = p.stdout.readline()
            while "No active" not in said and " of " not in said and p.poll() is None:
                said = p.stdout.readline()
        out = run(IO, "-f", "raw", "-c", "write 0 512", "data", code=None)
        reads = run(IO, "-r", "-f", "raw", "-c", "read -P 5 0 64k", "data", code=None)
        p.communicate("quit\n", timeout=60)
    expect("'data' is locked" in out and "using it" in out, out)
    expect("Pattern" not in reads and "read 65536" in reads, reads)


def json_names():
    """Backing files that are called json:{...}, a raw disk in a part of a file above all."""
    fill("whole", 3 * MIB, 11)
    os.mkdir("d")
    part = '{"driver": "raw", "offset": 65536, "size":1048576, "file":{"driver":"file","filename":"whole"}}'
    img("create", "-q", "-f", "qcow2", "base.q", "1M")
    own_io("write -P 9 0 1M", file="base.q")
    for name, fmt in ((part, "raw"), ('{"driver":"raw","offset":512,"file":{"driver":"file","filename":"whole"}}', "raw"),
                      ('{"driver":"qcow2","file":{"driver":"file","filename":"base.q"}}', "qcow2"),
                      ('{"file":{"driver":"file","filename":"b\\u0061se.q"}}', "qcow2")):
        for maker in (IMG, "qemu-img"):
            run(maker, "create", "-q", "-f", "qcow2", "-b", "json:" + name, "-F", fmt, "d/top")
            img("convert", "-O", "raw", "d/top", "o.raw")
            peer("convert", "-O", "raw", "d/top", "p.raw")
            run("cmp", "o.raw", "p.raw")
            equal("d/top", "o.raw")
            os.unlink("d/top")
    for name, text in (("{", "expected a string"), ("{}", "filename is missing"), ("[]", "expected '{'"),
                       ('{"driver":"raw"}', "file.filename is missing"), ('{"a":' * 99, "levels"),
                       ('{"driver":"raw"', "expected ','"), ('{"filename":"x"}y', "expected the end"),
                       ('{"filename":}', "expected a value"), ('{"filename":"\\ud800"}', "expected a character"),
                       ('{"filename":"x","zz":1}', "'zz' is unknown"), ('{"driver":"zz","filename":"x"}', "not 'zz'"),
                       ('{"driver":"raw","offset":-1,"file":{"filename":"whole"}}', "is no number"),
                       ('{"driver":"raw","offset":7,"file":{"filename":"whole"}}', "multiples of 512"),
                       ('{"driver":"raw","offset":4194304,"file":{"filename":"whole"}}', "lie outside"),
                       ('{"driver":"raw","size":9223372036854775296,"file":{"filename":"whole"}}', "lie outside"),
                       ('{"driver":"qcow2","offset":512,"file":{"filename":"base.q"}}', "for raw images"),
                       ('{"driver":"nbd"}', "has a path, or a host"),
                       ('{"driver":"nbd","server":{"type":"unix","path":"none"}}', "cannot connect"),
                       ('{"driver":"nbd","host":"::1","port":"1","export":"x"}', "cannot connect")):
        img("create", "-q", "-f", "qcow2", "-u", "-b", "json:" + name, "-F", "raw", "top", "1M")
        out = img("convert", "-O", "raw", "top", "o.raw", code=1)
        expect(text in out or "without NBD" in out, f"{name}: {out}")
    # what vmrun writes into an overlay of a part
    with open("script", "w") as f:
        f.write("snapshot_blkdev ide0-hd0 snap\nquit\n")
    with open("script") as f:
        subprocess.run([VMRUN, "-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio", "-drive",
                        "driver=raw,file=whole,offset=64k,size=1M"], stdin=f, check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
    peer("convert", "-O", "raw", "snap", "p.raw")
    img("convert", "-O", "raw", "snap", "o.raw")
    run("cmp", "o.raw", "p.raw")
    with open("whole", "rb") as f:
        expect(open("p.raw", "rb").read() == f.read()[65536:65536 + MIB], "not that part")


def rebase_flushes():
    """-t writethrough and directsync flush after each write, not only in the end."""
    counts = {}
    for cache in ("writeback", "none", "writethrough", "directsync"):
        chain()
        out = img("-T", "block", "rebase", "-t", cache, "-b", "", "top")
        counts[cache] = len(re.findall(r"^.*\btop: flush", out, re.M))
        equal("top", "right.raw")
    for cache, other in (("writethrough", "writeback"), ("directsync", "none")):
        expect(counts[cache] > counts[other] + 20, str(counts))


def rebase():
    for program in (IMG, "qemu-img"):
        chain()
        run(program, "rebase", "-b", "base", "-F", "qcow2", "top")
        equal("top", "right.raw")
        check_ok("top")
        info = json.loads(img("info", "--output=json", "top"))
        expect(info["backing-filename"] == "base", str(info))
        run(program, "rebase", "-b", "", "top")
        expect("backing-filename" not in json.loads(img("info", "--output=json", "top")), "none")
        equal("top", "right.raw")
        check_ok("top")
        chain()
        os.rename("mid", "moved")
        run(program, "rebase", "-u", "-b", "moved", "-F", "qcow2", "top")
        equal("top", "right.raw")
        fill("other.raw", 2 * MIB, 5)
        img("rebase", "-p", "-b", "other.raw", "-F", "raw", "top")
        equal("top", "right.raw")
        check_ok("top")
    expect("-b is missing" in img("rebase", "top", code=1), "no -b")
    expect("new backing file 'none'" in img("rebase", "-b", "none", "-F", "raw", "top", code=1), "-b none")
    expect("lock" in img("rebase", "-b", "top", "-F", "qcow2", "top", code=1), "itself")


def dd():
    fill("in.raw", MIB, 1)
    peer("convert", "-O", "qcow2", "in.raw", "in.qcow2")
    for operands in (["bs=4k"], ["bs=64k", "count=3"], ["bs=1000", "skip=7"],
                     ["bs=1", "count=100"], ["bs=512", "skip=100"], ["bs=1M", "count=9"],
                     ["skip=5000000"]):
        for fmt in ("raw", "qcow2"):
            args = ["-f", "qcow2", "-O", fmt, *operands, "if=in.qcow2"]
            run("qemu-img", "dd", *args, "of=theirs")
            img("dd", *args, "of=ours")
            if os.path.getsize("theirs"):
                equal("ours", "theirs")
            expect(json.loads(peer("info", "--output=json", "ours"))["virtual-size"] ==
                   json.loads(peer("info", "--output=json", "theirs"))["virtual-size"], operands)
    # The peer counts from the beginning of the input; count=N means N blocks.
    img("dd", "-f", "raw", "bs=1000", "skip=7", "count=77", "if=in.raw", "of=ours")
    with open("in.raw", "rb") as a, open("ours", "rb") as b:
        expect(a.read()[7000:84000] == b.read()[:77000], "skip and count")


def amend():
    for program in (IMG, "qemu-img"):
        peer("create", "-q", "-f", "qcow2", "-o", "compat=0.10", "a", "4M")
        io("write -P 1 0 1M", file="a")
        for options, wanted in (("compat=1.1", "compat: 1.1"), ("lazy_refcounts=on", "true"),
                                ("refcount_bits=8", "refcount bits: 8"),
                                ("refcount_bits=32", "refcount bits: 32"), ("size=6M", "6 MiB")):
            run(program, "amend", "-o", options, "a")
            check_ok("a")
            expect(wanted in same("info", "a"), wanted)
        io("read -P 1 0 1M", "read -P 0 1M 5M", file="a")
    expect("refcount_bits" in img("amend", "-f", "qcow2", "-o", "help"), "help")
    expect("options" in img("amend", "a", code=1), "no -o")
    expect("cluster_size" in img("amend", "-o", "cluster_size=4k", "a", code=1), "cluster_size")


def measure():
    fill("in.raw", 4 * MIB, 3)
    peer("convert", "-O", "qcow2", "in.raw", "in.qcow2")
    for options in ("cluster_size=64k", "cluster_size=4k", "cluster_size=2M", "refcount_bits=1",
                    "compat=0.10", "extended_l2=on"):
        for source in (["in.raw"], ["in.qcow2"], ["--size", "1T"], ["--size", "0"]):
            if options == "cluster_size=4k" and "1T" in source:
                continue
            same("measure", "-O", "qcow2", "-o", options, *source)
    same("measure", "-O", "raw", "--output=json", "in.qcow2")
    img("measure", "-O", "qcow2", "in.raw")
    expect("--size N or one" in img("measure", code=1), "nothing")
    expect("cannot be used together" in img("measure", "--size", "1M", "in.raw", code=1), "both")


def bitmap():
    peer("create", "-q", "-f", "qcow2", "b", "8M")
    img("bitmap", "--add", "-g", "4k", "b", "one")
    peer("bitmap", "--add", "b", "two")
    own_io("write -P 1 1M 64k", file="b")
    img("bitmap", "--disable", "b", "one")
    io("write -P 1 4M 64k", file="b")
    peer("bitmap", "--add", "--disable", "--merge", "two", "b", "three")
    img("bitmap", "--add", "--disable", "--merge", "two", "--merge", "one", "b", "four")
    same("info", "b")
    check_ok("b")
    img("convert", "--bitmaps", "-O", "qcow2", "b", "copy")
    expect(peer("info", "copy").count("granularity") == 4, "copied bitmaps")
    img("bitmap", "--clear", "b", "two")
    img("bitmap", "--merge", "three", "-b", "copy", "-F", "qcow2", "b", "two")
    img("bitmap", "--enable", "b", "one")
    peer("bitmap", "--remove", "b", "one")
    img("bitmap", "--remove", "b", "four")
    same("info", "--output=json", "b")
    check_ok("b")
    expect("Need at least one" in img("bitmap", "b", "x", code=1), "no action")
    expect("only supported with --add" in img("bitmap", "-g", "4k", "--clear", "b", "two", code=1),
           "-g")
    expect("no bitmap 'x'" in img("bitmap", "--clear", "b", "x", code=1), "none")
    expect("already" in img("bitmap", "--add", "b", "two", code=1), "twice")
    expect("power of two" in img("bitmap", "--add", "-g", "1000", "b", "y", code=1), "-g 1000")


def clusters(name):
    """Of each 64 KiB: which image of the chain holds it, and whether it is data."""
    extents = json.loads(peer("map", "--output=json", name))
    return [(e["depth"], e["data"]) for e in extents for _ in range(e["length"] // (64 * KIB))]


def convert_over_backing():
    """-n -B: what lies below the input is left as it is in the output, zeros are not."""
    layered()
    argv = ["convert", "-n", "-B", "base.raw", "-F", "raw", "-O", "qcow2"]
    for program, over in (("qemu-img", "theirs"), (IMG, "ours")):
        peer("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", over, "4M")
        io("write -P 9 1792k 64k", file=over)
        expect(not run(program, *argv, "top.qcow2", over), program)
        out = run(program, *argv, "--target-is-zero",
                  "top.qcow2", over, code={0, 1} if over == "theirs" else 1)
        expect("Cannot use --target-is-zero when the destination image has a backing" in out, out)
    equal("theirs", "ours")
    expect(clusters("theirs") == clusters("ours"), f"{clusters('ours')}, the peer: {clusters('theirs')}")
    own_io("read -P 9 1792k 64k", "read -P 0 256k 64k", file="ours")


def convert():
    fill("in.raw", 4 * MIB + 512, 2)
    peer("convert", "-O", "qcow2", "-o", "cluster_size=4k", "in.raw", "in.qcow2")
    for args in (["-c", "-W", "-m", 16], ["-c", "-o", "compression_type=zstd"], ["-S", "0"],
                 ["-S", "64k"], ["-r", "200M"], ["-t", "writethrough"], ["-t", "none"],
                 ["-T", "none"], ["-o", "extended_l2=on"], ["-o", "data_file=out.data"]):
        if os.path.exists("out.data"):
            os.unlink("out.data")
        img("convert", "-O", "qcow2", *args, "in.qcow2", "out")
        equal("in.raw", "out")
        check_ok("out")
    img("convert", "--image-opts", "driver=qcow2,file.filename=in.qcow2", "o.raw")
    equal("in.raw", "o.raw")
    img("convert", 'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "in.qcow2"}}',
        "o.raw")
    equal("in.raw", "o.raw")
    peer("create", "-q", "-f", "qcow2", "n", str(4 * MIB + 512))
    img("convert", "-n", "--target-is-zero", "-O", "qcow2", "in.qcow2", "n")
    equal("in.raw", "n")
    img("convert", "-n", "--target-image-opts", "in.qcow2", "driver=qcow2,file.filename=n")
    equal("in.raw", "n")
    convert_over_backing()
    expect("requires use of -n" in img("convert", "--target-is-zero", "in.raw", "x", code=1), "")
    expect("requires --bitmaps" in img("convert", "--skip-broken-bitmaps", "in.raw", "x", code=1),
           "")
    expect("has no snapshot 'x'" in img("convert", "-l", "x", "in.qcow2", "x", code=1), "-l x")
    expect("is no size" in img("convert", "-r", "fast", "in.raw", "x", code=1), "-r")


def salvage():
    fill("in.raw", MIB, 2)
    with open("in.raw", "r+b") as f:
        f.write(b"a text that shrinks " * 3000)
    img("convert", "-c", "-O", "qcow2", "in.raw", "in.qcow2")
    with open("in.raw", "rb") as f:
        packer = zlib.compressobj(-1, zlib.DEFLATED, -12, 9)
        packed = packer.compress(f.read(65536)) + packer.flush()
    with open("in.qcow2", "r+b") as f:
        at = f.read().find(packed[:40])
        expect(at > 0, "the first cluster is not found")
        f.seek(at)
        f.write(b"\xff" * 40)
    expect("error while reading" in img("convert", "in.qcow2", "out", code=1), "no error")
    out = img("convert", "--salvage", "in.qcow2", "out")
    expect(out.count("error while reading offset") == 128, out)
    with open("in.raw", "rb") as a, open("out", "rb") as b:
        right, got = bytearray(a.read()), b.read()
    right[:65536] = bytes(65536)
    expect(right == got, "salvaged data")
    expect(img("convert", "-q", "--salvage", "in.qcow2", "out") == "", "-q speaks")


def compact_others():
    """Blocks in any order, some of zeros: the file shrinks, and both see the same in it."""
    rng = random.Random(SEED)
    for fmt, options in (("vdi", "static=off"), ("vpc", "force_size=on"), ("vhdx", "block_size=1M"),
                         ("raw", "preallocation=full")):
        peer("create", "-q", "-f", fmt, "-o", options, "c", "24M")
        blocks = list(range(12))
        rng.shuffle(blocks)
        tool = rng.choice((io, own_io))
        tool(*[f"write -P {b + 1} {b * 2}M 2M" for b in blocks], file="c", fmt=fmt)
        tool(*[f"write -P 0 {b * 2}M 2M" for b in blocks[:7]], file="c", fmt=fmt)
        peer("convert", "-f", fmt, "c", "right.raw")
        before = os.stat("c").st_blocks
        img("compact", "-f", fmt, "c")
        expect(os.stat("c").st_blocks < before * 2 / 3, f"{fmt}: {before}, {os.stat('c').st_blocks}")
        run("qemu-img", "compare", "-f", fmt, "-F", "raw", "c", "right.raw")
        img("compare", "-f", fmt, "-F", "raw", "c", "right.raw")
        io("write -P 99 1M 5M", file="c", fmt=fmt)
        io("write -P 99 1M 5M", file="right.raw", fmt="raw")
        own_io("write -P 98 13M 5M", file="c", fmt=fmt)
        io("write -P 98 13M 5M", file="right.raw", fmt="raw")
        run("qemu-img", "compare", "-f", fmt, "-F", "raw", "c", "right.raw")
        if fmt in ("vdi", "vhdx"):
            peer("check", "-f", fmt, "c")
            img("check", "-f", fmt, "c")


def shrunk(fmt, gain):
    """compact: smaller, the same to a guest, sound, and once more changes nothing."""
    run("qemu-img", "convert", "-f", fmt, "-O", "raw", "c", "right.raw")
    before = os.path.getsize("c")
    out = img("compact", "-f", fmt, "c")
    after = os.path.getsize("c")
    expect(after <= before - gain, f"{fmt}: {before}, then {after}, not {gain} less")
    expect(re.match(r"Image compacted: .* before, .* now\.\n", out), out)
    run("qemu-img", "compare", "-f", fmt, "-F", "raw", "c", "right.raw")
    img("compare", "-f", fmt, "-F", "raw", "c", "right.raw")
    if fmt == "vmdk":
        peer("check", "-f", fmt, "c")
        img("check", "-f", fmt, "c")
    with open("c", "rb") as f:
        data = f.read()
    expect("(100.00/100%)" in img("compact", "-p", "-f", fmt, "c"), "-p")
    with open("c", "rb") as f:
        expect(f.read() == data, f"{fmt}: compacting once more changed it")
    return data


def random_writes(rng, size, kinds, count=40):
    for _ in range(count):
        at, length = rng.randrange(size // 512), rng.choice((1, 8, 128, 500))
        length = min(length, size // 512 - at)
        yield rng.choice(kinds).format(p=rng.randrange(1, 256), at=at * 512, len=length * 512,
                                       cluster=at * 512 // 4096 * 4096)


def redundant_tables(data):
    """A monolithic sparse VMDK image's tables, twice: both are the same."""
    def tables(field):
        at = struct.unpack_from("<Q", data, field)[0] * 512
        sectors, grain, length = struct.unpack_from("<QQ", data, 12) + struct.unpack_from("<I", data, 44)
        count = -(-sectors // (grain * length))
        return [data[t * 512:t * 512 + length * 4] for t in struct.unpack_from(f"<{count}I", data, at)]
    expect(tables(48) == tables(56), "the redundant tables differ")


def compact_tables():
    """qcow and VMDK, made and written by both, over a base or not."""
    rng = random.Random(SEED)
    plain = ["write -P {p} {at} {len}"] * 3 + ["write -P 0 {at} {len}"]
    for fmt, options, gain in (("qcow", [], 16), ("qcow", ["-b", "b", "-F", "raw"], 0),
                               ("vmdk", [], 1), ("vmdk", ["-o", "zeroed_grain=on"], 1),
                               ("vmdk", ["-b", "b.vmdk", "-F", "vmdk"], 0)):
        size = rng.choice((3, 9, 40)) * MIB
        img("create", "-q", "-f", "raw", "b", size)
        io("write -P 88 0 1M", file="b", fmt="raw")
        img("convert", "-O", "vmdk", "b", "b.vmdk")
        run(rng.choice(("qemu-img", IMG)), "create", "-q", "-f", fmt, *options, "c", size)
        packed = ["write -c -P {p} {cluster} 4096"] * 3 if fmt == "qcow" and not options else []
        for _ in range(3):
            rng.choice((io, own_io))(*random_writes(rng, size, plain + packed), file="c", fmt=fmt)
        zeros = [f"write -P 0 {n * 65536} 65536" for n in range(rng.randrange(5), 48, 3)]
        io("write -P 7 0 3M", *zeros, file="c", fmt=fmt)
        data = shrunk(fmt, gain * 65536)
        if fmt == "vmdk":
            redundant_tables(data)
        after = list(random_writes(rng, size, plain))
        rng.choice((io, own_io))(*after, file="c", fmt=fmt)
        io(*after, file="right.raw", fmt="raw")
        run("qemu-img", "compare", "-f", fmt, "-F", "raw", "c", "right.raw")
    compact_packed(rng)
    compact_stale(rng)


def compact_packed(rng):
    """A qcow of compressed clusters, of which every second one was written over; and one of zeros."""
    with open("p.raw", "wb") as f:
        for _ in range(1000):
            f.write((rng.randbytes(rng.randrange(1, 3000)) + bytes(4096))[:4096])
    img("convert", "-c", "-f", "raw", "-O", "qcow", "p.raw", "c")
    io(*[f"write -P 0 {n * 4096} 4096" for n in range(0, 1000, 2)], file="c", fmt="qcow")
    whole = os.path.getsize("c")
    data = shrunk("qcow", whole - whole // 3)
    img("create", "-q", "-f", "qcow", "c", "1M")
    empty = os.path.getsize("c")
    io(*[f"write -c -P {b} {n}k 4k" for n in range(0, 64, 4) for b in (1, 0)], file="c", fmt="qcow")
    shrunk("qcow", 4096)
    expect(os.path.getsize("c") == empty, f"{os.path.getsize('c')} bytes of zeros, not {empty}")
    expect(len(data) > empty, "nothing is left")


def compact_stale(rng):
    """A redundant table that somebody else did not keep: it is the other one's copy afterwards."""
    img("create", "-q", "-f", "vmdk", "c", "2M")
    io("write -P 1 0 2M", "write -P 0 0 1M", file="c", fmt="vmdk")
    with open("c", "r+b") as f:
        head = f.read(512)
        f.seek(struct.unpack_from("<Q", head, 48)[0] * 512)
        table = struct.unpack("<I", f.read(4))[0]
        f.seek(table * 512 + 4 * rng.randrange(32))
        f.write(struct.pack("<I", 0x1000))
    redundant_tables(shrunk("vmdk", MIB - 65536))


def compact():
    rng = random.Random(SEED)
    for options in ("compat=1.1", "compat=0.10", "cluster_size=4k", "extended_l2=on",
                    "cluster_size=1k,refcount_bits=1", "compression_type=zstd"):
        peer("create", "-q", "-f", "qcow2", "-o", options, "c", "16M")
        io("write -P 1 0 12M", *(["write -P 9 15M 1M"]), file="c")
        many = "refcount_bits=1" not in options
        if many:
            peer("snapshot", "-c", "s", "c")
        io(*[f"write -P {i} {rng.randrange(250)}k 64k" for i in range(5)],
           *([f"write -c -P {i + 20} {i * 64 + 13312}k 64k" for i in range(3)] if many else []),
           "discard 1M 10M", "write -z 15M 512k", "write -P 0 12M 1M", file="c")
        if many:
            peer("snapshot", "-d", "s", "c")
        peer("convert", "c", "right.raw")
        before = os.path.getsize("c")
        out = img("compact", "-z", "c")
        expect(re.match(r"Image compacted: .* before, .* now\.\n", out), out)
        expect(os.path.getsize("c") < before / 2, f"{options}: {before}, {os.path.getsize('c')}")
        equal("c", "right.raw")
        check_ok("c")
        after = os.path.getsize("c")
        expect(img("compact", "-q", "c") == "", "-q speaks")
        expect(os.path.getsize("c") == after, f"once more: {after}, then {os.path.getsize('c')}")
        equal("c", "right.raw")
    sizes = []
    for bitmap in (False, True):  # whose storing at the end must not make it grow
        peer("create", "-q", "-f", "qcow2", "c", "16M")
        io("write -P 1 0 12M", file="c")
        if bitmap:
            peer("bitmap", "--add", "c", "b")
            io("write -P 2 0 64k", file="c")
        io("discard 1M 10M", file="c")
        peer("convert", "c", "right.raw")
        img("compact", "-q", "c")
        equal("c", "right.raw")
        check_ok("c")
        sizes.append(os.path.getsize("c"))
    expect("in-use" not in peer("info", "c") and "auto" in peer("info", "c"), "the bitmap was not stored")
    expect(sizes[1] <= sizes[0] + 3 * 65536, f"{sizes}: larger than by directory, table and bits")
    compact_others()
    for subformat, words in (("streamOptimized", "written once"), ("monolithicFlat", "only monolithicSparse"),
                             ("twoGbMaxExtentSparse", "only monolithicSparse")):
        img("create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", "v.vmdk", "1M")
        expect(words in img("compact", "v.vmdk", code=1), subformat)
    img("create", "-q", "-f", "qcow", "v", "1M")
    with open("v", "r+b") as f:
        f.seek(36)
        f.write(struct.pack(">I", 1))
    out = img("compact", "--object", "secret,id=k,data=x", "--image-opts",
              "driver=qcow,file.filename=v,encrypt.key-secret=k", code=1)
    expect("can only be read" in out, out)
    img("create", "-q", "-f", "vpc", "-o", "subformat=fixed", "v", "1M")
    expect("only dynamic" in img("compact", "-f", "vpc", "v", code=1), "vpc")
    img("create", "-q", "-f", "vdi", "-o", "static=on", "v", "1M")
    expect("static image" in img("compact", "v", code=1), "vdi")
    expect("Expecting one image file" in img("compact", code=1), "no file")


def names():
    img("create", "-q", "-f", "qcow2", "q", "1M")
    for name in ('json:{"driver":"qcow2","file":{"driver":"file","filename":"q"}}',
                 "json:{'file.filename': 'q', 'read-only': true}",
                 'json:{"driver":"raw","file":{"filename":"\\u0071"}}'):
        expect("file format" in img("info", name), name)
    for name, wrong in (("json:{", "end"), ("json:[]", "'{'"), ('json:{"a":}', "a value"),
                        ('json:{"a" 1}', "':'"), ('json:{"a":1} x', "the end"),
                        ('json:{"driver":"raw"}', "file.filename"), ('json:{"a":"\\q"}', "escape"),
                        ("json:" + '{"a":' * 40, "levels"), ('json:{"x":1,"file.filename":"q"}',
                                                            "'x' is unknown"),
                        ('json:{"file.filename":"q","file.driver":"ftp"}', "ftp")):
        expect(wrong in img("info", name, code=1), name)
    img("info", "--image-opts", "driver=qcow2,file.filename=q,cache.direct=on")
    expect("must be on or off" in img("info", "--image-opts", "file.filename=q,cache.direct=2",
                                      code=1), "cache.direct")


def progress():
    """-p, a terminal's bar, SIGUSR1."""
    fill("in.raw", 4 * MIB, 4)
    with open("large.raw", "wb") as f:
        f.write(b"x" * (48 * MIB))
    for argv in (["compare", "-p", "in.raw", "in.raw"], ["convert", "-p", "in.raw", "o"]):
        expect("(100.00/100%)" in img(*argv), str(argv))
    parent, child = pty.openpty()
    p = subprocess.Popen([IMG, "convert", "-r", "24M", "large.raw", "o"], stdout=child, stderr=child)
    os.close(child)
    seen = b""
    try:
        while b"] 0:0" not in seen:
            seen += os.read(parent, 1000)
        while True:
            more = os.read(parent, 1000)
            if not more:
                break
            seen += more
    except OSError:
        pass
    p.wait(60)
    os.close(parent)
    expect(b"(100.00/100%) [====" in seen, str(seen))
    p = subprocess.Popen([IMG, "convert", "-r", "24M", "-O", "qcow2", "large.raw", "late"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.set_blocking(p.stderr.fileno(), False)
    while not os.path.exists("late") or os.path.getsize("late") < MIB:
        pass
    seen = b""
    while p.poll() is None and b"/100%)\n" not in seen:
        p.send_signal(signal.SIGUSR1)
        seen += p.stderr.read() or b""
    expect(b"/100%)\n" in seen, f"SIGUSR1: {seen}")
    p.communicate(timeout=60)


FORMATS = [("raw", []), ("qcow", []), ("qcow2", []), ("qcow2", ["-o", "compat=0.10"]),
           ("qcow2", ["-o", "cluster_size=512,refcount_bits=64"]),
           ("qcow2", ["-o", "cluster_size=2M"]), ("qcow2", ["-o", "extended_l2=on"]),
           ("qcow2", ["-o", "refcount_bits=1"]), ("vdi", []), ("vmdk", []), ("vpc", []),
           ("vhdx", [])]


def random_line(r, size, fmt):
    length = r.choice((512, 4096, 65536, 200000))
    offset = r.randrange((size - length) // 512) * 512
    kind = r.randrange(6)
    pattern = r.randrange(1, 256)
    if kind == 0:
        return f"write -z {offset} {length}", (offset, length, 0)
    if kind == 1 and fmt == "qcow2":
        return f"write -zu {offset} {length}", (offset, length, 0)
    return f"write -P {pattern} {offset} {length}", (offset, length, pattern)


def matrix():
    """Random writes by both, in turns, on every format; the model is a byte array."""
    r = random.Random(SEED)
    for fmt, options in FORMATS:
        size = 6 * MIB
        run(r.choice((IMG, "qemu-img")), "create", "-q", "-f", fmt, *options, "m", size)
        size = json.loads(peer("info", "-f", fmt, "--output=json", "m"))["virtual-size"]
        right = bytearray(size)
        for turn in range(4):
            lines = [random_line(r, size, fmt) for _ in range(10)]
            own = turn % 2 == 0
            try:
                (own_io if own else io)(*[text for text, _ in lines], file="m", fmt=fmt)
            except Exception as e:
                raise type(e)(f"{fmt} {options}: {e}") from e
            for _, (offset, length, pattern) in lines:
                right[offset:offset + length] = bytes([pattern]) * length
        with open("right.raw", "wb") as f:
            f.write(right)
        for program in (IMG, "qemu-img"):
            run(program, "compare", "-f", fmt, "-F", "raw", "m", "right.raw")
        if fmt in ("qcow2", "vdi", "vhdx"):
            peer("check", "-f", fmt, "m")
        img("convert", "-f", fmt, "-O", "raw", "m", "back.raw")
        peer("compare", "-f", "raw", "-F", "raw", "back.raw", "right.raw")


def bad_input():
    """Each command, without a file, with one that is not there, a directory, rubbish."""
    with open("rubbish", "wb") as f:
        f.write(b"QFI\xfb" + bytes(range(1, 200)) * 5)
    img("create", "-q", "x", "1M")
    for command in (["bench", "-c", "1"], ["commit"], ["compact"], ["map"], ["snapshot", "-l"],
                    ["amend", "-o", "compat=1.1"], ["rebase", "-b", ""], ["measure"],
                    ["bitmap", "--add"]):
        tail = ["b"] if command[0] == "bitmap" else []
        for name in ("none", ".", "rubbish", ""):
            out = img(*command, name, *tail, code=1)
            expect(out.startswith("vmrun-img: "), f"{command} {name}: {out}")
        expect(img(*command, code=1).startswith("vmrun-img: "), f"{command}")
        expect("unrecognized option '-Z'" in img(command[0], "-Z", "x", code=1), str(command))
        expect(f"usage: vmrun-img {command[0]}" in img(command[0], "--help"), str(command))
    for name in ("none", ".", "rubbish"):
        img("compare", name, "x", code=2)
        img("compare", "x", name, code=2)
        img("resize", name, "5M", code=1)
        img("dd", f"if={name}", "of=o", code=1)
    expect("too small" in img("bench", "-s", "2M", "x", code=1), "bench")
    expect("-c takes" in img("bench", "-c", "0", "x", code=1), "bench -c 0")
    expect("only available in write" in img("bench", "--flush-interval=9", "x", code=1), "bench")
    expect("-i: unknown word" in img("bench", "-i", "magic", "x", code=1), "bench -i")


if __name__ == "__main__":
    main([(fn.__name__.replace("_", "-"), fn, peered) for fn, peered in (
        (words, True), (resize, True), (snapshot, True), (commit, True), (rebase, True),
        (rebase_flushes, True), (dd, True), (amend, True), (measure, True), (bitmap, True),
        (convert, True), (salvage, False), (compact, True), (compact_tables, True), (names, False),
        (progress, False), (commit_closes_base, True), (locked_data_file, False), (own_backing, True),
        (drive_backup, True), (json_names, True), (matrix, True), (incompressible, True),
        (bad_input, False))])
