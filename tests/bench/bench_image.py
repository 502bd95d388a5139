# SPDX-License-Identifier: GPL-2.0-or-later
"""vmrun-img beside Debian's qemu-img, in turns in one run: seconds, and how many times as fast.

    bench_image.py VMRUN_IMG VMRUN_IO [WORD...]      WORDs choose rows by a part of their names
"""
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

OURS = {"img": os.path.abspath(sys.argv[1]), "io": os.path.abspath(sys.argv[2])}
PEER = {"img": shutil.which("qemu-img"), "io": shutil.which("qemu-io")}
ONLY = sys.argv[3:]
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SIZE = int(os.environ.get("MIB", "1024"))
ROWS = []


def call(*argv):
    p = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       check=False, text=True)
    if p.returncode:
        sys.exit(f"{argv}: {p.returncode}: {p.stdout}")
    return p.stdout


def timed(before, argv):
    if before:
        before()
    begin = time.monotonic()
    usage = os.times()
    call(*argv)
    after = os.times()
    cpu = after.children_user + after.children_system - usage.children_user - usage.children_system
    return time.monotonic() - begin, cpu


def row(name, *argv, before=None):
    """Runs both in turns; the best of each counts."""
    if ONLY and not any(word in name for word in ONLY):
        return
    best = {"ours": (9e9, 0), "peer": (9e9, 0)}
    for number in range(ROUNDS):
        order = [("ours", OURS), ("peer", PEER)]
        for who, tools in order if number % 2 else order[::-1]:
            args = [tools.get(a, a) for a in argv]
            best[who] = min(best[who], timed(before, args))
    ours, peer = best["ours"], best["peer"]
    ROWS.append(peer[0] / ours[0])
    mark = "" if ROWS[-1] >= 1 else "  below 1" if ours[1] > peer[1] else "  below 1, at less CPU"
    print(f"{name:34} {ours[0]:8.3f} s {peer[0]:8.3f} s   {peer[0] / ours[0]:5.2f}x   "
          f"CPU {ours[1]:.2f} s, {peer[1]:.2f} s{mark}", flush=True)


def make_source(path, mib):
    """A file system's mixture: text that shrinks, noise that does not, holes."""
    r = random.Random(1)
    noise = r.randbytes(1 << 20)
    text = b"".join(b"%d: the quick brown fox %d\n" % (i, r.getrandbits(20)) for i in range(40000))
    text = text[:1 << 20]
    with open(path, "wb") as f:
        f.truncate(mib << 20)
        for i in range(mib):
            if i % 4 == 3:
                continue
            f.seek(i << 20)
            f.write(text if i % 4 else noise)


def remove(*names):
    def fn():
        for name in names:
            if os.path.exists(name):
                os.unlink(name)
    return fn


def converting():
    make_source("src.raw", SIZE)
    make_source("small.raw", SIZE // 4)
    call("qemu-img", "convert", "-O", "qcow2", "src.raw", "src.qcow2")
    call("qemu-img", "convert", "-c", "-O", "qcow2", "src.raw", "packed.qcow2")
    call("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "src.raw",
         "zstd.qcow2")
    gone = remove("out")
    row("convert raw to qcow2", "img", "convert", "-f", "raw", "-O", "qcow2", "src.raw", "out",
        before=gone)
    row("convert qcow2 to raw", "img", "convert", "-O", "raw", "src.qcow2", "out", before=gone)
    row("convert -c (zlib)", "img", "convert", "-c", "-f", "raw", "-O", "qcow2", "small.raw", "out",
        before=gone)
    row("convert -c (zstd)", "img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
        "compression_type=zstd", "small.raw", "out", before=gone)
    row("convert zlib to raw", "img", "convert", "-O", "raw", "packed.qcow2", "out", before=gone)
    row("convert zstd to raw", "img", "convert", "-O", "raw", "zstd.qcow2", "out", before=gone)
    row("compare raw, qcow2", "img", "compare", "-f", "raw", "src.raw", "src.qcow2")
    row("compare qcow2, zlib", "img", "compare", "src.qcow2", "packed.qcow2")
    row("measure", "img", "measure", "-O", "qcow2", "src.qcow2")
    row("map", "img", "map", "--output=json", "src.qcow2")


def sparse():
    """100 GiB of which every 16th MiB has clusters of zeros, and 64 KiB of every 64 MiB are data."""
    call("qemu-img", "create", "-q", "-f", "qcow2", "big.qcow2", "100G")
    lines = [f"write -q -z -n {i * 16}M 1M\n" for i in range(6400)]
    lines += [f"write -q {i * 64 + 8}M 64k\n" for i in range(1600)]
    subprocess.run(["qemu-io", "-t", "unsafe", "big.qcow2"], input="".join(lines),
                   stdout=subprocess.DEVNULL, check=True, text=True)
    call("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "full.qcow2",
         "100G")
    row("check 100G, sparse", "img", "check", "big.qcow2")
    row("check 100G, all allocated", "img", "check", "full.qcow2")
    row("info 100G", "img", "info", "full.qcow2")


def fresh_copy(name, copy):
    def fn():
        call("cp", "--sparse=always", name, copy)
    return fn


def snapshots():
    call("qemu-img", "convert", "-O", "qcow2", "src.raw", "snap0.qcow2")
    row("snapshot -c", "img", "snapshot", "-c", "a", "snap.qcow2",
        before=fresh_copy("snap0.qcow2", "snap.qcow2"))
    call("qemu-img", "snapshot", "-c", "a", "snap0.qcow2")
    row("snapshot -a", "img", "snapshot", "-a", "a", "snap.qcow2",
        before=fresh_copy("snap0.qcow2", "snap.qcow2"))


def requests():
    """Random 4 KiB requests: a step that shares no factor with the image's size."""
    make_source("r.raw", 256)
    call("qemu-img", "convert", "-S", "0", "-O", "qcow2", "r.raw", "r.qcow2")
    step = str(4096 * 40503)
    disk = tempfile.mkdtemp(prefix="vmrun-bench-", dir="/var/tmp")
    shutil.copy("r.qcow2", disk)
    for cache in ("writeback", "none"):
        image = "r.qcow2" if cache == "writeback" else f"{disk}/r.qcow2"
        count = 200000 if cache == "writeback" else 20000
        for depth in (1, 32):
            for write in ([], ["-w"]):
                name = f"4k {'write' if write else 'read'} {cache} qd{depth}"
                native = ["-i", "native"] if cache == "none" else []
                row(name, "img", "bench", "-q", "-t", cache, *native, *write, "-c",
                    count, "-d", depth, "-S", step, image)
    shutil.rmtree(disk)
    row("allocating 4k writes", "img", "bench", "-q", "-w", "-c", 16000, "-d", 16, "-s", "4k", "-S",
        str(65536 * 3), "new.qcow2",
        before=lambda: call("qemu-img", "create", "-q", "-f", "qcow2", "new.qcow2", "4G"))
    row("allocating 64k writes", "img", "bench", "-q", "-w", "-c", 8000, "-d", 16, "-s", "64k",
        "new.qcow2",
        before=lambda: call("qemu-img", "create", "-q", "-f", "qcow2", "new.qcow2", "4G"))


def main():
    if not PEER["img"] or not PEER["io"]:
        print("qemu-img is not installed: nothing to compare with")
        return
    old = os.getcwd()
    # In memory, so that the tools are measured and not the disk; O_DIRECT is on a disk.
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    scratch = tempfile.mkdtemp(prefix="vmrun-bench-", dir=memory)
    os.chdir(scratch)
    try:
        print(f"{'':34} {'ours':>10} {'peer':>10}", flush=True)
        for part in (converting, snapshots, sparse, requests):
            part()
        mean = math.exp(sum(math.log(r) for r in ROWS) / max(len(ROWS), 1))
        print(f"{'geometric mean':58} {mean:5.2f}x")
    finally:
        os.chdir(old)
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
