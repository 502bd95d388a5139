# SPDX-License-Identifier: GPL-2.0-or-later
"""VDI, VHD, VMDK and VHDX images that lie: an error that says what is wrong, never a crash."""
import os
import random
import resource
import struct
import subprocess

from tap import IMG, SEED, WORK, Failed, expect, img, main, run

MIB = 1 << 20
COMMANDS = (["info"], ["check"], ["convert", "-O", "raw"], ["compact"], ["check", "-r", "all"])


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * MIB, 64 * MIB))


def survive(fmt, name="x", commands=COMMANDS):
    """Runs the commands; returns all that was said. A crash or a hang fails the test."""
    said = ""
    for command in commands:
        target = ["out"] if command[0] == "convert" else []
        argv = [IMG, command[0], *(["-f", fmt] if fmt else []), *command[1:], name, *target]
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


def image(fmt, options=None, size=4 * MIB, work=True):
    img("create", "-q", "-f", fmt, *(["-o", options] if options else []), "i", size)
    if work:
        run(WORK, "-b", "i", fmt, "r.raw", SEED, 20)
    return bytearray(open("i", "rb").read())


def write(data, name="x"):
    with open(name, "wb") as f:
        f.write(data)


class Liar:
    """Changes fields of one image and looks what is said."""

    def __init__(self, fmt, data, order="<", seal=None):
        self.fmt, self.data, self.order, self.seal = fmt, data, order, seal

    def refused(self, text, *changes):
        copy = bytearray(self.data)
        for at, kind, value in changes:
            struct.pack_into(self.order + kind, copy, at, value)
        if self.seal:
            self.seal(copy)
        write(copy)
        said = survive(self.fmt)
        expect(text in said, f"{changes}: no '{text}' in:\n{said}")
        return copy

    def left_alone(self, text, *changes):
        """compact says what is wrong, and changes nothing."""
        before = self.refused(text, *changes)
        write(before)
        expect(text in survive(self.fmt, commands=[["compact"]]), f"{changes}: compact")
        expect(open("x", "rb").read() == before, f"{changes}: compact changed the image")


def truncated(fmt, data, steps=13):
    sizes = {0, 1, 4, 8, 100, 511, 512, 1023, 1024, 1536, len(data) - 1}
    sizes |= {len(data) * n // steps for n in range(steps)}
    for size in sorted(s for s in sizes if s < len(data)):
        write(data[:size])
        survive(fmt)
        survive(None, commands=[["info"]])


def vdi():
    d = image("vdi")
    liar = Liar("vdi", d)
    liar.refused("no VDI image", (0x40, "I", 0))
    liar.refused("version 2.0", (0x44, "I", 0x20000))
    liar.refused("type 4", (0x4c, "I", 4))
    liar.refused("differencing", (0x1a8, "I", 1))
    liar.refused("1 MiB is supported", (0x178, "I", 4096))
    liar.refused("1 MiB is supported", (0x168, "I", 4096))
    liar.refused("claims to be", (0x170, "Q", 1 << 62))
    liar.refused("claims to be", (0x170, "Q", 0))
    liar.refused("claims to be", (0x180, "I", 0xffffffff))
    liar.refused("out of bounds", (0x154, "I", 0))
    liar.refused("out of bounds", (0x158, "I", 512))
    liar.refused("past the end", (512, "I", 0x00ffffff))
    liar.refused("too far", (512, "I", 0xfffffff0))
    first = struct.unpack_from("<II", d, 512)
    liar.refused("as another one does", (512, "I", first[1]))
    liar.refused("two tables or clusters", (512, "I", first[1]))
    liar.refused("the header counts", (0x184, "I", 1))
    liar.refused("the header counts", (0x184, "I", 3000))
    truncated("vdi", d)


def seal_vpc(d):
    for start, length, at in ((0, 512, 64), (512, 1024, 36)):
        total = sum(d[start:start + length]) - sum(d[start + at:start + at + 4])
        struct.pack_into(">I", d, start + at, ~total & 0xffffffff)


def vpc():
    d = image("vpc", "force_size=on", 6 * MIB)
    liar = Liar("vpc", d, ">", seal_vpc)
    liar.refused("type 9", (60, "I", 9))
    liar.refused("claims to be", (48, "Q", 0))
    liar.refused("claims to be", (48, "Q", 1 << 62))
    liar.refused("out of bounds", (16, "Q", 77))
    liar.refused("out of bounds", (16, "Q", 1 << 63))
    liar.refused("header is missing", (512, "I", 0))
    liar.refused("header is missing", (16, "Q", 1 << 40))
    liar.refused("blocks of", (512 + 32, "I", 3))
    liar.refused("blocks of", (512 + 32, "I", 1 << 31))
    liar.refused("claims to be", (512 + 28, "I", 1))
    liar.refused("claims to be", (512 + 28, "I", 0xffffffff))
    for place in (0, 512, 1024, 1 << 63, 77):
        liar.refused("out of bounds", (512 + 16, "Q", place))
    liar.refused("error", (1536, "I", 0))
    liar.refused("error", (1536, "I", 1))
    liar.refused("virtual size", (1536, "I", 0xfffffffe))
    liar.refused("parent image's name is missing", (60, "I", 4))
    plain = Liar("vpc", d, ">")
    both = ((64, "I", 1), (len(d) - 448, "I", 1))
    plain.refused("footer is damaged", *both)
    plain.refused("virtual size: 6 MiB", both[0])  # the other one serves
    plain.refused("checksum is wrong", (512 + 36, "I", 1))
    truncated("vpc", d)
    fixed = image("vpc", "subformat=fixed,force_size=on", MIB)
    del fixed[4096:8192]
    write(fixed)
    expect("shorter than its footer says" in survive("vpc"), "a short fixed image")


def vmdk():
    d = image("vmdk")
    liar = Liar("vmdk", d)
    liar.refused("no VMDK image", (0, "I", 0))
    liar.refused("version 9", (4, "I", 9))
    liar.refused("claims to be", (12, "Q", 1 << 60))
    liar.refused("claims to be", (12, "Q", 0))
    liar.refused("grains of", (20, "Q", 3))
    liar.refused("grains of", (20, "Q", 1 << 40))
    liar.refused("grains of", (20, "Q", 1 << 56))
    liar.refused("grain tables of", (44, "I", 0))
    liar.refused("grain tables of", (44, "I", 1 << 31))
    liar.refused("out of bounds", (56, "Q", 1 << 50))
    liar.refused("out of bounds", (48, "Q", 1 << 50))
    liar.refused("footer is missing", (56, "Q", (1 << 64) - 1))
    liar.refused("descriptor is out of bounds", (28, "Q", 1 << 50))
    liar.refused("descriptor is out of bounds", (36, "Q", 1 << 50))
    liar.refused("compression method 7", (8, "I", 0x30003), (77, "H", 7))
    directory = struct.unpack_from("<Q", d, 56)[0] * 512
    table = struct.unpack_from("<I", d, directory)[0] * 512
    liar.refused("past the end", (directory, "I", 0xffffff))
    liar.refused("past the end", (table, "I", 0xffffffff))
    liar.refused("within the tables", (table, "I", 1))
    used = [e for e in struct.unpack_from("<64I", d, table) if e]
    liar.refused("as another one does", (table, "I", used[-1]), (table + 4, "I", used[-1]))
    redundant = struct.unpack_from("<Q", d, 48)[0] * 512
    for changes in (((table, "I", used[-1]),), ((redundant, "I", table // 512),), ((redundant, "I", 1),),
                    ((28, "Q", directory // 512),)):
        liar.left_alone("two tables or clusters", *changes)
    liar.left_alone("where the header's tables are", (table, "I", 8))
    liar.left_alone("past the end", (redundant, "I", 0xffffff))
    liar.left_alone("past the end", (table, "I", 0xfffffff))
    # every table is the same one, and every grain in it, too
    big = bytearray(d[:table + 2048])
    struct.pack_into("<Q", big, 12, 1 << 27)
    struct.pack_into("<I", big, 8, 1)  # no redundant directory
    struct.pack_into("<Q", big, 56, len(big) // 512)
    big[table:table + 2048] = struct.pack("<I", used[0]) * 512
    big += struct.pack("<I", table // 512) * 2048
    big += bytes(used[0] * 512 + 65536 - len(big)) if used[0] * 512 + 65536 > len(big) else b""
    write(big)
    said = survive("vmdk", commands=[["check"]])
    expect(said.count("as another one does") < 11000 and "errors were found" in said, "too many words")
    truncated("vmdk", d)
    text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"x\"\n"
    for line, said in (("", "names no extent"), ("RW 8 FLAT", "has no file name"),
                       ("RW 8 SESPARSE \"a\"", "are not supported"), ("RW 0 FLAT \"i\"", "a line"),
                       ("RW 99999999 FLAT \"i\" 0", "shorter than"), ("RW 8 FLAT \"none\"", "No such"),
                       ("RW 8 FLAT \"i\" 99999999", "shorter than"), ("RW x FLAT \"i\"", "a line"),
                       ("RW 8 SPARSE \"r.raw\"", "no sparse"), ("NOACCESS 8 FLAT \"i\"", "NOACCESS"),
                       ("RW 8 FLAT \".\"", "directory"), ("RW 8 FLAT \"/dev/zero\"", "neither"),
                       ("RW 8 FLAT \"x\"", "shorter than"),
                       ("RW 8 ZERO\n" * 600, "more than 512"), ("RW 9000000000000000 ZERO\n" * 3, "large")):
        write((text + line + "\n").encode())
        said_all = survive("vmdk")
        expect(said in said_all, f"{line[:60]}: no '{said}' in:\n{said_all}")
    write(text.replace("parentCID=ffffffff", "parentCID=1").encode() + b"RW 8 ZERO\n")
    expect("parent image's name is missing" in survive("vmdk"), "no parent")
    write(text.replace("parentCID=ffffffff", "parentCID=1\nparentFileNameHint=\"x\"").encode() +
          b"RW 8 ZERO\n")
    expect("never ends" in survive("vmdk"), "its own parent")
    write(b"# Disk DescriptorFile\n" + b"x" * MIB)
    expect("is the most" in survive("vmdk"), "a long descriptor")


def stream():
    write(random.Random(SEED).randbytes(MIB), "src")
    img("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", "src", "i")
    d = bytearray(open("i", "rb").read())
    directory = struct.unpack_from("<Q", d, 56)[0] * 512
    table = struct.unpack_from("<I", d, directory)[0] * 512
    grain = struct.unpack_from("<I", d, table)[0] * 512
    liar = Liar("vmdk", d)
    liar.refused("error", (grain + 8, "I", 0xffffffff))
    liar.refused("error", (grain + 8, "I", 0))
    liar.refused("error", (grain + 12, "Q", 0))
    liar.refused("past the end", (table, "I", 0xffffffff))
    truncated("vmdk", d, 5)


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def seal_vhdx(d):
    for at, length in ((0x10000, 4096), (0x20000, 4096), (0x30000, 65536), (0x40000, 65536)):
        struct.pack_into("<I", d, at + 4, 0)
        struct.pack_into("<I", d, at + 4, crc32c(d[at:at + length]))


def vhdx():
    d = image("vhdx", "block_size=1M", 3 * MIB)
    liar = Liar("vhdx", d, "<", seal_vhdx)

    def both(at, kind, value, first, distance):
        return ((first + at, kind, value), (first + distance + at, kind, value))

    def headers(at, kind, value):
        return both(at, kind, value, 0x10000, 0x10000)

    def regions(at, kind, value):
        return both(at, kind, value, 0x30000, 0x10000)

    liar.refused("no VHDX image", (0, "I", 0))
    liar.refused("no header is valid", *headers(0, "I", 0))
    liar.refused("VHDX version 2", *headers(66, "H", 2))
    liar.refused("out of bounds", *headers(72, "Q", 3))
    liar.refused("out of bounds", *headers(72, "Q", 2 * MIB))
    liar.refused("no region table is valid", *regions(8, "I", 5000))
    liar.refused("required region", *regions(16, "I", 7))
    liar.refused("out of bounds", *regions(32, "Q", 1 << 63))
    liar.refused("out of bounds", *regions(40, "I", 0))
    liar.refused("out of bounds", *regions(64, "Q", 2 * MIB))
    meta = 3 * MIB
    liar.refused("metadata table is damaged", (meta, "I", 0))
    liar.refused("metadata table is damaged", (meta + 10, "H", 5000))
    liar.refused("not complete", (meta + 10, "H", 1))
    liar.refused("unknown here", (meta + 32, "I", 5))
    liar.refused("out of bounds", (meta + 48, "I", 0xffffffff))
    liar.refused("out of bounds", (meta + 52, "I", 1))
    items = meta + 65536
    liar.refused("differencing", (items + 4, "I", 2))
    liar.refused("blocks of", (items, "I", 0))
    liar.refused("blocks of", (items, "I", 1 << 31))
    liar.refused("claims to be", (items + 8, "Q", 1 << 60))
    liar.refused("claims to be", (items + 8, "Q", 513))
    liar.refused("too small", (items + 8, "Q", 1 << 40))
    liar.refused("sectors of", (items + 32, "I", 7))
    table = 2 * MIB
    liar.refused("within the tables", (table, "Q", table | 6))
    liar.refused("within the tables", (table, "Q", 6))
    liar.refused("past the end", (table, "Q", 1 << 50 | 6))
    liar.refused("within the tables", (table, "Q", (1 << 64) - MIB | 6))
    liar.refused("as another one does", (table, "Q", struct.unpack_from("<Q", d, table + 8)[0]))
    liar.refused("error", (table, "Q", 5 * MIB | 7))
    liar.refused("log of 0", *headers(48, "Q", 1), *headers(68, "I", 0))
    liar.refused("log of", *headers(48, "Q", 1), *headers(68, "I", 0xfff00000), *headers(72, "Q", 1 << 40))
    log_of_lies(liar)
    truncated("vhdx", d, 7)


def log_of_lies(liar):
    """Every sector of the log begins an entry as long as the log itself."""
    d = bytearray(liar.data)
    guid = bytes(range(16))
    for at in (0x10000, 0x20000):
        d[at + 48:at + 64] = guid
    for at in range(MIB, 2 * MIB, 4096):
        struct.pack_into("<4sIIIQI", d, at, b"loge", 0, MIB, at - MIB, 1, 32000)
        d[at + 32:at + 48] = guid
    seal_vhdx(d)
    write(d)
    expect("log is damaged" in survive("vhdx", commands=[["check", "-r", "all"]]), "overlapping entries")


def at_random():
    rnd = random.Random(SEED)
    for fmt, options, size in (("vdi", None, 3 * MIB), ("vpc", None, 3 * MIB), ("vmdk", None, 2 * MIB),
                               ("vmdk", "subformat=twoGbMaxExtentSparse", 2 * MIB)):
        d = image(fmt, options, size)
        for _ in range(12):
            copy = bytearray(d)
            for _ in range(rnd.randrange(1, 8)):
                at = rnd.choice([rnd.randrange(512), rnd.randrange(min(8192, len(d)) - 8)]) % (len(d) - 8)
                copy[at:at + 4] = rnd.choice([rnd.randbytes(4), b"\0\0\0\0", b"\xff\xff\xff\xff"])
            if fmt == "vpc":
                seal_vpc(copy)
            write(copy)
            survive(rnd.choice([None, fmt]), commands=rnd.sample(COMMANDS, 2))


if __name__ == "__main__":
    main([("vdi", vdi, False), ("vpc", vpc, False), ("vmdk", vmdk, False), ("stream", stream, False),
          ("vhdx", vhdx, False), ("random", at_random, False)])
