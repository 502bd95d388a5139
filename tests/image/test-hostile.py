# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that lie: a clear error or none, never a crash, an endless loop or a mountain of memory."""
import os
import random
import resource
import struct
import subprocess

from tap import IMG, SEED, WORK, Failed, expect, img, main, run

MIB = 1 << 20
COMMANDS = (["info"], ["info", "--output=json", "--backing-chain"], ["check"],
            ["convert", "-O", "qcow2"], ["compact"], ["check", "-r", "all"])


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * MIB, 64 * MIB))


def survive(name, *commands):
    """Runs the commands; returns all that was said. A crash or a hang fails the test."""
    said = ""
    for command in commands or COMMANDS:
        target = ["out"] if command[0] == "convert" else []
        argv = [IMG, *command, name, *target]
        try:
            p = subprocess.run(argv, capture_output=True, timeout=600, preexec_fn=limit, check=False)
        except subprocess.TimeoutExpired as e:
            raise Failed(f"{argv} does not end") from e
        text = (p.stdout + p.stderr).decode(errors="replace")
        if p.returncode not in (0, 1, 2, 3, 63):
            raise Failed(f"{argv}: {p.returncode}\n{text}")
        if p.returncode == 1 and "vmrun-img: " not in text:
            raise Failed(f"{argv}: fails without a word\n{text}")
        if os.path.exists("out"):
            os.unlink("out")
        said += text
    return said


def left_alone(data, text, *changes):
    """compact says what is wrong, and changes nothing."""
    before = open(patched(data, *changes), "rb").read()
    said = survive("x", ["compact"])
    expect(text in said, f"{changes}: no '{text}' in:\n{said}")
    expect(open("x", "rb").read() == before, f"{changes}: compact changed the image")


def image(options=None, size=MIB, name="i"):
    img("create", "-q", "-f", "qcow2", *(["-o", options] if options else []), name, size)
    run(WORK, "-b", name, "qcow2", "r.raw", SEED, 20)
    return bytearray(open(name, "rb").read())


def patched(data, *changes, name="x"):
    copy = bytearray(data)
    for at, fmt, value in changes:
        struct.pack_into(">" + fmt, copy, at, value)
    with open(name, "wb") as f:
        f.write(copy)
    return name


def refused(data, text, *changes):
    said = survive(patched(data, *changes))
    expect(text in said, f"{changes}: no '{text}' in:\n{said}")


def header():
    d = image()
    refused(d, "version 7", (4, "I", 7))
    refused(d, "clusters of 2^8", (20, "I", 8))
    refused(d, "clusters of 2^63", (20, "I", 63))
    refused(d, "encrypt.key-secret", (32, "I", 1))
    refused(d, "does not tell where its LUKS header is", (32, "I", 2))
    refused(d, "encrypted in an unknown way", (32, "I", 3))
    refused(d, "is too large", (36, "I", 0xffffffff))
    refused(d, "too small", (36, "I", 0))
    refused(d, "out of bounds", (40, "Q", 77))
    refused(d, "out of bounds", (40, "Q", 0x7fffffffffff0000))
    refused(d, "claims to be", (24, "Q", 0x7fffffffffffffff))
    refused(d, "too small", (24, "Q", 1 << 50))
    refused(d, "impossible", (56, "I", 0))
    refused(d, "impossible", (56, "I", 0x7fffffff))
    refused(d, "out of bounds", (48, "Q", 0xffffffffffff0000))
    refused(d, "does not name its data file", (72, "Q", 4))
    survive(patched(d, (72, "Q", 16)))
    refused(d, "unknown feature 40", (72, "Q", 1 << 40))
    refused(d, "contradicts", (72, "Q", 8))
    refused(d, "64 is the most", (96, "I", 7))
    refused(d, "impossible", (100, "I", 20))
    refused(d, "impossible", (100, "I", 1 << 30))
    refused(d, "70000 snapshots, and has no table", (60, "I", 70000))
    refused(d, "out of bounds", (60, "I", 3), (64, "Q", 0xffffffffffff0000))
    refused(d, "outside the header", (8, "Q", 65530), (16, "I", 100))
    refused(d, "outside the header", (8, "Q", 1 << 60), (16, "I", 10))
    refused(d, "longer than the header", (112, "I", 0xe2792aca), (116, "I", 0xfffffff0))
    named = bytearray(d)
    named[122:168] = b"holographic storage".ljust(46, b"\0")
    named[120:122] = b"\0\x1e"
    refused(named, "holographic storage", (72, "Q", 1 << 30))


def extensions():
    """What the extensions for encryption, bitmaps and data files name."""
    d = image()
    crypto, bitmaps, data = 0x0537be77, 0x23852875, 0x44415441
    for offset, length in ((77, 100), (1 << 62, 1 << 20), (0, 0xffffffffffffffff), (65536, 1 << 40)):
        said = survive(patched(d, (32, "I", 2), (112, "I", crypto), (116, "I", 16),
                               (120, "Q", offset), (128, "Q", length), (136, "Q", 0)))
        expect("LUKS" in said, said)
    refused(d, "too short", (112, "I", crypto), (116, "I", 8))
    # a hole without end, so that the header could be anywhere in it
    patched(d, (32, "I", 2), (112, "I", crypto), (116, "I", 16), (120, "Q", 1 << 20),
            (128, "Q", 1 << 39), (136, "Q", 0))
    os.truncate("x", 1 << 40)
    expect("is too large" in survive("x"), "a LUKS header of 512 GiB")
    for count, length, offset in ((1, 24, 77), (65536, 1 << 24, 65536), (1, 1 << 40, 65536),
                                  (1, 24, 1 << 62), (1, 10, 65536), (1, 32, 0), (1000, 24000, 0)):
        said = survive(patched(d, (88, "Q", 1), (112, "I", bitmaps), (116, "I", 24),
                               (120, "I", count), (124, "I", 0), (128, "Q", length),
                               (136, "Q", offset), (144, "Q", 0)))
        expect("bitmap directory" in said, said)
    said = survive(patched(d, (72, "Q", 4), (112, "I", data), (116, "I", 1), (120, "Q", 0x78 << 56),
                           (128, "Q", 0)))
    expect("its own data file" in said, said)
    said = survive(patched(d, (72, "Q", 4), (112, "I", data), (116, "I", 7),
                           (120, "Q", 0x6e6f66696c652100), (128, "Q", 0)))
    expect("data file of 'x'" in said, said)


def corrupt_bit():
    d = image()
    patched(d, (72, "Q", 2))
    expect("marked corrupt" in run(WORK, "-b", "x", "qcow2", "r.raw", 1, 1, code=1), "it was written")
    img("convert", "x", "out.raw")
    img("check", "-r", "all", "x")
    run(WORK, "-b", "x", "qcow2", "r.raw", 1, 1)


def tables():
    """Tables that name the header, themselves or each other: no write may follow them."""
    d = image("cluster_size=4k", 4 * MIB)
    rt, l1 = struct.unpack_from(">Q", d, 48)[0], struct.unpack_from(">Q", d, 40)[0]
    block = struct.unpack_from(">Q", d, rt)[0]
    l2 = struct.unpack_from(">Q", d, l1)[0] & 0xfffffffffffe00
    for target in (0, l1, rt, block, l2):
        for at in (l1, l2, l2 + 8, rt):
            flags = 0 if at == rt else 1 << 63
            patched(d, (at, "Q", target | flags))
            survive("x")
            patched(d, (at, "Q", target | flags))
            before = open("x", "rb").read()
            subprocess.run([WORK, "-b", "x", "qcow2", "r.raw", "3", "80"], capture_output=True,
                           timeout=600, check=False)
            after = open("x", "rb").read()
            # all but the feature bits (where it is marked corrupt)
            expect(after[:72] == before[:72] or at == rt, "the header was overwritten")
    refused(d, "not aligned", (l1, "Q", l2 + 512 | 1 << 63))
    refused(d, "not properly aligned", (l2, "Q", 0x10200 | 1 << 63))
    survive(patched(d, (l2, "Q", 1 << 62 | 0x3fffffffffffffff)))
    survive(patched(d, (l2, "Q", 0xfffffffffffe00 | 1 << 63)))
    survive(patched(d, (l1, "Q", 0xfffffffffff000 | 1 << 63)))
    survive(patched(d, (rt, "Q", 0xfffffffffff000)))


def huge_tables():
    """The largest L1 table, every entry the same; and one that a sparse file stretches."""
    d = bytearray(1 << 16)
    struct.pack_into(">IIQIIQIIQQIIQQQQII", d, 0, 0x514649fb, 3, 0, 0, 16, 1 << 40, 0, 1 << 22,
                     0x20000, 0x10000, 1, 0, 0, 0, 0, 0, 4, 112)
    with open("x", "wb") as f:
        f.write(d)
        f.truncate(0x20000)
        f.seek(0x20000)
        f.write(struct.pack(">Q", 0x10000 | 1 << 63) * (1 << 22))
    survive("x", ["info"], ["check"])
    with open("x", "r+b") as f:
        f.truncate(1 << 43)
    survive("x", ["info"], ["check"])


def truncated():
    for options in (None, "cluster_size=512", "compat=0.10"):
        d = image(options)
        sizes = [0, 1, 4, 8, 71, 72, 103, 104, 111, 112, 511, 512, 4096] + \
            [len(d) * n // 17 for n in range(17)] + [len(d) - 1]
        for size in sizes:
            if size < len(d):
                open("x", "wb").write(d[:size])
                survive("x")


def snapshots():
    if not run("sh", "-c", "command -v qemu-img || true"):
        return
    d = image("cluster_size=4k")
    run("qemu-img", "snapshot", "-c", "s", "i")
    d = bytearray(open("i", "rb").read())
    at = struct.unpack_from(">Q", d, 64)[0]
    refused(d, "L1 table is not cluster aligned", (at, "Q", 77))
    refused(d, "L1 table is out of bounds", (at, "Q", (1 << 63) - 4096))
    refused(d, "L1 table is too large", (at + 8, "I", 0xffffffff))
    refused(d, "ends too soon", (at + 12, "I", 0))
    refused(d, "too large", (at + 36, "I", 0xffffffff))
    survive(patched(d, (at + 12, "H", 0xffff)))
    survive(patched(d, (60, "I", 65536)))
    l1 = struct.unpack_from(">Q", d, 40)[0]
    survive(patched(d, (at, "Q", l1)))
    survive(patched(d, (at, "Q", at)))
    survive(patched(d, (at, "Q", 0)))


def chains():
    img("create", "-q", "-f", "qcow2", "a", "1M")
    img("rebase", "-u", "-b", "a", "-F", "qcow2", "a")
    expect("never ends" in survive("a"), "an image that is its own backing file")
    img("create", "-q", "-f", "qcow2", "-u", "-b", "c", "-F", "qcow2", "b", "1M")
    img("create", "-q", "-f", "qcow2", "-u", "-b", "./b", "-F", "qcow2", "c", "1M")
    expect("never ends" in survive("b"), "a ring of two")
    os.symlink("b", "d")
    expect("never ends" in survive("d"), "a ring through a link")
    for n in range(300):
        img("create", "-q", "-f", "qcow2", "-u", "-b", f"chain{n + 1}", "-F", "qcow2", f"chain{n}", "1M")
    img("create", "-q", "-f", "qcow2", "chain300", "1M")
    expect("longer than" in survive("chain0", ["convert", "-O", "raw"]), "a chain without end")
    survive("chain60")
    for name in ("/dev/zero", "/dev/stdin", "nbd:unix:none", "/proc/self/mem", "."):
        img("create", "-q", "-f", "qcow2", "-u", "-b", name, "-F", "raw", "e", "1M")
        survive("e")


def qcow1():
    img("create", "-q", "-f", "qcow", "i", "1M")
    run(WORK, "-b", "i", "qcow", "r.raw", SEED, 20)
    d = bytearray(open("i", "rb").read())
    refused(d, "clusters of 2^8", (32, "B", 8))
    refused(d, "clusters of 2^60", (32, "B", 60))
    refused(d, "L2 tables of 2^5", (33, "B", 5))
    refused(d, "encrypt.key-secret", (36, "I", 1))
    refused(d, "encrypted in an unknown way", (36, "I", 7))
    refused(d, "claims to be", (24, "Q", 1 << 63))
    refused(d, "claims to be", (24, "Q", 0))
    refused(d, "out of bounds", (40, "Q", 1 << 62))
    refused(d, "outside the header", (8, "Q", 48), (16, "I", 5000))
    l1 = struct.unpack_from(">Q", d, 40)[0]
    l2 = struct.unpack_from(">Q", d, l1)[0]
    for at in (l1, l2):
        for value in (0, 8, l1, l2, 1 << 63, (1 << 64) - 1, 1 << 62):
            survive(patched(d, (at, "Q", value)))
    qcow1_compact(d, l1, l2)
    for size in range(0, len(d), max(len(d) // 23, 1)):
        open("x", "wb").write(d[:size])
        survive("x")


def qcow1_compact(d, l1, l2):
    used = [struct.unpack_from(">Q", d, l2 + n * 8)[0] for n in range(256)]
    used = [at for at in used if 0 < at < 1 << 63]
    packed = 1 << 63 | 100 << 51
    for text, *changes in (("two tables or clusters", (l2, "Q", used[-1])),
                           ("two tables or clusters", (l2, "Q", used[-1] + 512)),
                           ("two tables or clusters", (l2, "Q", l2)),
                           ("two tables or clusters", (l2, "Q", packed | used[-1])),
                           ("two tables or clusters", (8, "Q", used[0] + 7), (16, "I", 5),
                            (used[0] + 7, "5s", b"r.raw")),
                           ("where the header's tables are", (l2, "Q", 8)),
                           ("where the header's tables are", (l2, "Q", packed)),
                           ("where the header's tables are", (l1, "Q", 8)),
                           ("past the end", (l2, "Q", 1 << 62)), ("past the end", (l1, "Q", 1 << 62)),
                           ("past the end", (l2, "Q", packed | 1 << 50)),
                           ("not at a multiple of 8", (l1, "Q", l2 + 1)),
                           ("bytes long", (l2, "Q", 1 << 63 | used[-1]))):
        left_alone(d, text, *changes)
    # a million entries that name one table, which is full
    count, table = 1 << 20, (8 << 20) + 4096
    big = bytearray(table + 8192)
    struct.pack_into(">4sI16xQBB", big, 0, b"QFI\xfb", 1, count << 21, 12, 9)
    struct.pack_into(">Q", big, 40, 48)
    big[48:48 + 8 * count] = struct.pack(">Q", table) * count
    big[table:table + 4096] = struct.pack(">Q", table + 4096) * 512
    left_alone(big, "two tables or clusters")


def at_random():
    rnd = random.Random(SEED)
    for n in range(60):
        d = image(rnd.choice([None, "cluster_size=512", "cluster_size=4k,refcount_bits=2"]))
        for _ in range(rnd.randrange(1, 12)):
            at = rnd.choice([rnd.randrange(112), rnd.randrange(len(d) - 8)])
            d[at:at + 4] = rnd.choice([rnd.randbytes(4), b"\0\0\0\0", b"\xff\xff\xff\xff"])
        open("x", "wb").write(d)
        survive("x", *rnd.sample(COMMANDS, 3))


if __name__ == "__main__":
    main([("header", header, False), ("extensions", extensions, False), ("corrupt-bit", corrupt_bit, False), ("tables", tables, False),
          ("huge-tables", huge_tables, False), ("truncated", truncated, False),
          ("snapshots", snapshots, False), ("chains", chains, False), ("qcow1", qcow1, False),
          ("random", at_random, False)])
