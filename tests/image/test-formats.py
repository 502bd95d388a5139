# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats of other programs, made and written by vmrun and by qemu, each read by the other."""
import json
import os
import random
import struct
import subprocess

from tap import IMG, SEED, WORK, expect, img, main, peer, run

MIB = 1 << 20

# name, format, -o options, size, flags of image-work
SHAPES = [
    ("vdi", "vdi", None, 9 * MIB + 1536, ""),
    ("vdi-static", "vdi", "static=on", 5 * MIB, "-d"),
    ("vpc", "vpc", None, 11 * MIB + 512, ""),
    ("vpc-force", "vpc", "force_size=on", 7 * MIB + 512, ""),
    ("vpc-fixed", "vpc", "subformat=fixed", 5 * MIB, "-d"),
    ("vpc-direct", "vpc", None, 9 * MIB, "-n"),
    ("vmdk", "vmdk", None, 9 * MIB + 1536, ""),
    ("vmdk-zeroed", "vmdk", "zeroed_grain=on,adapter_type=lsilogic", 6 * MIB, ""),
    ("vmdk-flat", "vmdk", "subformat=monolithicFlat", 4 * MIB, "-d"),
    ("vmdk-split", "vmdk", "subformat=twoGbMaxExtentSparse", 7 * MIB, ""),
    ("vmdk-direct", "vmdk", None, 9 * MIB, "-n"),
    ("vhdx", "vhdx", None, 19 * MIB + 1536, ""),
    ("vhdx-1m", "vhdx", "block_size=1M,block_state_zero=off", 9 * MIB + 512, ""),
    ("vhdx-fixed", "vhdx", "subformat=fixed,log_size=2M", 5 * MIB, "-d"),
]
CHECKED = ("vdi", "vmdk", "vhdx")  # by the peer


def options_of(options):
    return ["-o", options] if options else []


def create(tool, name, shape):
    _, fmt, options, size, _ = shape
    run(tool, "create", "-q", "-f", fmt, *options_of(options), name, size)


def peer_check(name, fmt):
    if fmt in CHECKED:
        peer("check", "-f", fmt, name)


def peer_compare(name, fmt, raw):
    out = peer("compare", "-f", fmt, "-F", "raw", name, raw)
    expect("identical" in out, out)


def size_of(name, fmt):
    return json.loads(peer("info", "--output=json", "-f", fmt, name))["virtual-size"]


def peer_work(name, fmt, raw, rnd, count=40):
    """The same random requests by qemu-io on the image and on its raw copy."""
    size = size_of(name, fmt)
    commands = []
    for _ in range(count):
        offset = rnd.randrange(size // 512) * 512
        length = min(rnd.choice([512, 4096, 65536, 512 * rnd.randrange(1, 400)]), size - offset)
        kind = rnd.choice([f"write -P {rnd.randrange(256)}", "write -z"])
        commands.append(f"{kind} {offset} {length}")
    for f, n in ((fmt, name), ("raw", raw)):
        argv = ["qemu-io", "-f", f]
        for c in commands:
            argv += ["-c", c]
        out = run(*argv, n)
        expect("rror" not in out, out)


def both_ways(maker, shape):
    def test():
        name, fmt, _, _, flags = shape
        rnd = random.Random(f"{SEED}{name}{maker}")
        create(maker, "i", shape)
        work = [WORK] + ([flags] if flags else [])
        run(*work, "-b", "i", fmt, "r.raw", rnd.randrange(1 << 30), 100)
        for _ in range(2):
            peer_check("i", fmt)
            peer_compare("i", fmt, "r.raw")
            peer_work("i", fmt, "r.raw", rnd)
            run(*work, "i", fmt, "r.raw", rnd.randrange(1 << 30), 60)
        peer_check("i", fmt)
        peer_compare("i", fmt, "r.raw")
        if fmt == "vdi":
            img("check", "-f", fmt, "i")
    return test


def make_source(rnd, size):
    with open("src.raw", "wb") as f:
        f.truncate(size)
        for _ in range(24):
            f.seek(rnd.randrange(size // 4096) * 4096)
            n = min(rnd.randrange(1, 60) * 4096, size - f.tell())
            f.write(rnd.choice([rnd.randbytes(n), bytes(n), b"text " * (n // 5)]))
        f.truncate(size)


def same_start(name, source):
    """Some formats round sizes up: what follows must be zeros."""
    data, right = open(name, "rb").read(), open(source, "rb").read()
    expect(data[:len(right)] == right, f"{name} differs from {source}")
    expect(not any(data[len(right):]), f"{name}: garbage at the end")


def convert(fmt, options):
    def test():
        rnd = random.Random(f"{SEED}{fmt}{options}")
        make_source(rnd, 7 * MIB + 1536)
        img("convert", "-f", "raw", "-O", fmt, *options_of(options), "src.raw", "out")
        peer_check("out", fmt)
        peer("convert", "-f", fmt, "-O", "raw", "out", "back.raw")
        same_start("back.raw", "src.raw")
        img("convert", "-f", fmt, "-O", "raw", "out", "back.raw")
        same_start("back.raw", "src.raw")
        os.unlink("out")
        peer("convert", "-f", "raw", "-O", fmt, *options_of(options), "src.raw", "out")
        img("convert", "-f", fmt, "-O", "qcow2", "out", "back.qcow2")
        peer("convert", "-O", "raw", "back.qcow2", "back.raw")
        same_start("back.raw", "src.raw")
    return test


def info(fmt, options):
    def test():
        peer("create", "-q", "-f", fmt, *options_of(options), "i", 3 * MIB)
        run("qemu-io", "-f", fmt, "-c", "write 1M 64k", "i", code={0, 1})
        ours = json.loads(img("info", "-f", fmt, "--output=json", "i"))
        theirs = json.loads(peer("info", "-f", fmt, "--output=json", "i"))
        expect(ours == theirs, f"{ours}\n{theirs}")
        a, b = img("info", "i"), peer("info", "i")
        expect(a == b, f"{a}\n{b}")
        if fmt in CHECKED:
            ours, theirs = img("check", "i"), peer("check", "i")
            expect(ours == theirs, f"{ours}\n{theirs}")
            ours, theirs = (json.loads(tool("check", "--output=json", "i")) for tool in (img, peer))
            expect(ours == theirs, f"{ours}\n{theirs}")
    return test


def vhd_sum(data, at):
    data[at:at + 4] = bytes(4)
    data[at:at + 4] = struct.pack(">I", ~sum(data) & 0xffffffff)


def vpc_differencing():
    """A child made here: sectors whose bit is set are its own, the others its parent's."""
    rnd = random.Random(SEED)
    os.mkdir("d")
    img("create", "-q", "-f", "vpc", "-o", "force_size=on", "d/base.vhd", 4 * MIB)
    run(WORK, "-b", "d/base.vhd", "vpc", "r.raw", SEED, 60)
    base, right = open("d/base.vhd", "rb").read(), bytearray(open("r.raw", "rb").read())
    footer, header = bytearray(base[:512]), bytearray(base[512:1536])
    struct.pack_into(">I", footer, 60, 4)
    vhd_sum(footer, 64)
    name = ".\\base.vhd".encode("utf-16-le")
    struct.pack_into(">4sIIIQ", header, 576, b"W2ru", 512, len(name), 0, 2048)
    vhd_sum(header, 36)
    bits, block = bytearray(512), bytearray(rnd.randbytes(2 * MIB))
    for n in range(4096):
        if rnd.randrange(3) == 0 or 100 < n < 300:
            bits[n // 8] |= 0x80 >> n % 8
            right[2 * MIB + n * 512:2 * MIB + (n + 1) * 512] = block[n * 512:(n + 1) * 512]
    table = struct.pack(">II", 0xffffffff, 3072 // 512).ljust(512, b"\0")
    with open("d/child.vhd", "wb") as f:
        f.write(footer + header + table + name.ljust(1024, b"\0") + bits + block + footer)
    img("convert", "-f", "vpc", "-O", "raw", "d/child.vhd", "o.raw")
    expect(open("o.raw", "rb").read() == right, "differs")
    expect("backing file: ./base.vhd" in img("info", "d/child.vhd"), "info")
    out = run(WORK, "-b", "d/child.vhd", "vpc", "r.raw", 1, 1, code=1)
    expect("can only be read" in out, out)
    os.unlink("d/base.vhd")
    expect("No such file" in img("convert", "-f", "vpc", "-O", "raw", "d/child.vhd", "o.raw", code=1), "alone")


def child_head(name):
    """The first sectors of a differencing VHD of 4 MiB without blocks of its own."""
    img("create", "-q", "-f", "vpc", "-o", "force_size=on", "made.vhd", 4 * MIB)
    data = open("made.vhd", "rb").read()
    footer, header = bytearray(data[:512]), bytearray(data[512:1536])
    struct.pack_into(">I", footer, 60, 4)
    vhd_sum(footer, 64)
    text = name.encode("utf-16-le")
    struct.pack_into(">4sIIIQ", header, 576, b"W2ku", 512, len(text), 0, 2048)
    vhd_sum(header, 36)
    return bytes(footer + header + b"\xff" * 512 + text.ljust(512, b"\0")), bytes(footer)


def vpc_attack():
    """What a guest writes to a fixed disk does not make another image of it."""
    os.mkdir("d")
    img("create", "-q", "-f", "vpc", "-o", "force_size=on,subformat=fixed", "d/secret.vhd", 4 * MIB)
    with open("d/secret.vhd", "r+b") as f:
        f.write(b"secret" * 1000)
    head, footer = child_head(os.path.abspath("d/secret.vhd"))
    img("create", "-q", "-f", "vpc", "-o", "force_size=on,subformat=fixed", "disk.vhd", 4 * MIB)
    with open("disk.vhd", "r+b") as f:
        f.write(head)
    for said in (["-f", "vpc"], []):
        img("convert", *said, "-O", "raw", "disk.vhd", "o.raw")
        found = open("o.raw", "rb").read()
        expect(found == head + bytes(4 * MIB - len(head)), f"{said}: not the guest's sectors")
        expect("backing" not in img("info", *said, "disk.vhd"), "a parent")
    # A fixed image whose footer is lost is none, whatever copy its guest wrote.
    fixed = open("disk.vhd", "rb").read()
    with open("lost.vhd", "wb") as f:
        f.write(fixed[-512:] + fixed[512:-512])
    expect("footer is damaged" in img("info", "-f", "vpc", "lost.vhd", code=1), "a copy of a fixed one")
    # A parent elsewhere is followed only for who says what the image is.
    with open("child.vhd", "wb") as f:
        f.write(head + footer)
    out = img("convert", "-O", "raw", "child.vhd", "o.raw", code=1)
    expect("another folder" in out, out)
    img("convert", "-f", "vpc", "-O", "raw", "child.vhd", "o.raw")
    expect(open("o.raw", "rb").read(6) == b"secret", "the parent is not read")


def vmdk_parent():
    for maker, other in ((IMG, "qemu-img"), ("qemu-img", IMG)):
        peer("create", "-q", "-f", "vmdk", "base.vmdk", 4 * MIB)
        run(WORK, "-b", "base.vmdk", "vmdk", "r.raw", 7, 60)
        run(maker, "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
        run(WORK, "top.vmdk", "vmdk", "r.raw", 8, 40)
        peer_check("top.vmdk", "vmdk")
        peer_compare("top.vmdk", "vmdk", "r.raw")
        peer_work("top.vmdk", "vmdk", "r.raw", random.Random(SEED))
        run(WORK, "top.vmdk", "vmdk", "r.raw", 9, 40)
        for argv in (["info"], ["info", "--backing-chain"]):
            ours, theirs = img(*argv, "top.vmdk"), peer(*argv, "top.vmdk")
            expect(ours == theirs, f"{ours}\n{theirs}")
        run(other, "convert", "-O", "raw", "top.vmdk", "o.raw")
        run("cmp", "o.raw", "r.raw")
        # a parent that is written turns its child into garbage, and both say so
        run(WORK, "-b", "base.vmdk", "vmdk", "b.raw", 10, 3)
        out = img("convert", "-O", "raw", "top.vmdk", "o.raw", code=1)
        expect("was changed since" in out, out)
        peer("convert", "-O", "raw", "top.vmdk", "o.raw", code=1)


def vmdk_chain(options):
    for name, parent in (("base.vmdk", None), ("mid.vmdk", "base.vmdk"), ("top.vmdk", "mid.vmdk")):
        below = ["-b", parent, "-F", "vmdk"] if parent else []
        img("create", "-q", "-f", "vmdk", *options_of(options), *below, name,
            *([] if parent else [4 * MIB]))
        run(WORK, *([] if parent else ["-b"]), name, "vmdk", "r.raw", 7 + len(below), 40)


def vmdk_commit():
    """A child stays one when it is committed to its parent, but not when others write that."""
    for options in (None, "subformat=twoGbMaxExtentSparse"):
        for flags, base in (([], "mid.vmdk"), (["-d"], "mid.vmdk"), (["-b", "base.vmdk"], "base.vmdk")):
            vmdk_chain(options)
            expect("committed" in img("commit", *flags, "top.vmdk"), "commit")
            img("convert", "-O", "raw", "mid.vmdk", "o.raw")
            for name in ("top.vmdk", base):
                img("compare", name, "r.raw")
                peer_compare(name, "vmdk", "r.raw")
    run(WORK, "-b", "mid.vmdk", "vmdk", "b.raw", 10, 3)
    img("commit", "-q", "-d", "top.vmdk")
    out = img("convert", "-O", "raw", "top.vmdk", "o.raw", code=1)
    expect("was changed since" in out, out)


def vmdk_elsewhere():
    """An image that nobody called VMDK does not reach into other folders."""
    os.mkdir("d")
    img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "d/i.vmdk", MIB)
    text = open("d/i.vmdk").read()
    open("i.vmdk", "w").write(text.replace("i-flat", "d/i-flat"))
    out = img("convert", "-O", "raw", "i.vmdk", "o", code=1)
    expect("another folder" in out, out)
    img("convert", "-f", "vmdk", "-O", "raw", "i.vmdk", "o")


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def sealed(data, at):
    """With the checksum of all of it, counted as zeros there, at `at`."""
    data[at:at + 4] = bytes(4)
    data[at:at + 4] = struct.pack("<I", crc32c(data))
    return data


GUID = bytes(range(1, 17))


def log_entry(number, tail, flushed, end, changes):
    """changes: (offset in the file, sector) or (offset, bytes to be zeroed)."""
    descriptors, sectors = b"", b""
    for offset, what in changes:
        if isinstance(what, int):
            descriptors += struct.pack("<4sIQQQ", b"zero", 0, what, offset, number)
        else:
            descriptors += struct.pack("<4s4s8sQQ", b"desc", what[4092:], what[:8], offset, number)
            sectors += struct.pack("<4sI", b"data", number >> 32) + what[8:4092] + \
                struct.pack("<I", number & 0xffffffff)
    head = bytearray(-(-(64 + len(descriptors)) // 4096) * 4096)
    head[64:64 + len(descriptors)] = descriptors
    struct.pack_into("<4sIIIQI", head, 0, b"loge", 0, len(head) + len(sectors), tail, number,
                     len(changes))
    head[32:48] = GUID
    struct.pack_into("<QQ", head, 48, flushed, end)
    return sealed(bytearray(head + sectors), 4)


def put_log(image, entries, at, end=None):
    """Entries (but for their tails) into the ring of 1 MiB at 1 MiB, the first at `at`."""
    tail = at
    for number, changes in entries:
        entry = log_entry(number, tail, len(image), end or len(image), changes)
        for i, byte in enumerate(entry):
            image[MIB + (at + i) % MIB] = byte
        at = (at + len(entry)) % MIB
    return at


def set_header(image, log_guid):
    for at in (0x10000, 0x20000):
        header = image[at:at + 4096]
        header[48:64] = log_guid
        image[at:at + 4096] = sealed(header, 4)


def vhdx_log():
    """A log is replayed for writing, as the peer does it, and asked for before reading."""
    rnd = random.Random(SEED)
    for n in range(6):
        peer("create", "-q", "-f", "vhdx", "-o", "block_size=1M", "i.vhdx", 8 * MIB)
        run("qemu-io", "-f", "vhdx", "-c", "write -P 1 0 3M", "i.vhdx")
        image = bytearray(open("i.vhdx", "rb").read())
        data = struct.unpack_from("<Q", image, 2 * MIB)[0] & ~(MIB - 1)
        table = image[2 * MIB:2 * MIB + 4096]
        table[8:16] = bytes(8)  # the second block is not there any more
        number, at, old = rnd.randrange(1, 1 << 40), rnd.choice([0, MIB - 8192, MIB - 4096]), n > 2
        if old:  # of an earlier session: it counts no more
            at = put_log(image, [(number, [(0, 4096)])], at)
            number += 5
        entries = []
        for i in range(n):
            changes = [(data + 4096 * rnd.randrange(256), rnd.randbytes(4096)) for _ in range(n * n)]
            changes.append((data + 2 * MIB + 4096 * rnd.randrange(200), 8192))
            changes.append((2 * MIB, bytes(table)))
            entries.append((number + i, changes))
        put_log(image, entries, at)
        set_header(image, GUID)
        right = bytearray(image)
        for offset, what in (change for entry in entries for change in entry[1]):
            what = bytes(what) if isinstance(what, int) else what
            right[offset:offset + len(what)] = what
        for name in ("i.vhdx", "j.vhdx"):
            open(name, "wb").write(image)
        out = img("convert", "-O", "raw", "i.vhdx", "o.raw", code=1)
        expect("log must be replayed" in out, out)
        if n == 0:
            continue
        expect("log was replayed" in img("check", "-r", "all", "i.vhdx"), "no word")
        found = open("i.vhdx", "rb").read()
        expect(found[2 * MIB:] == right[2 * MIB:] and found[:4096] == right[:4096],
               f"{n}: wrongly replayed")
        if n == 1:  # of several entries the peer (7.2) replays only some
            peer("check", "-r", "all", "j.vhdx")
            expect("identical" in peer("compare", "i.vhdx", "j.vhdx"), "differs")
        img("convert", "-O", "raw", "i.vhdx", "o.raw")
        raw = open("o.raw", "rb").read()
        expect(not any(raw[MIB:2 * MIB]) and raw[2 * MIB] == 1, "the table's change is missing")
        expect(img("check", "i.vhdx") == peer("check", "i.vhdx"), "check differs")
        # and one that lies
        image[MIB + 4096 * rnd.randrange(4) + rnd.randrange(64)] ^= 1
        open("i.vhdx", "wb").write(image)
        img("check", "-r", "all", "i.vhdx", code={0, 1})


def vhdx_log_of_zeros():
    """A log that zeroes more than there is takes no room on the host, and not past its own end."""
    img("create", "-q", "-f", "vhdx", "-o", "block_size=1M", "made.vhdx", 8 * MIB)
    for end, bytes_, at, text in ((512 * MIB, 500 * MIB, 12 * MIB, "log was replayed"),
                                  (512 * MIB, 501 * MIB, 12 * MIB, "log is damaged"),
                                  (512 * MIB, 1 << 63, 0, "log is damaged"),
                                  (1 << 48, 4096, 12 * MIB, "log is damaged")):
        image = bytearray(open("made.vhdx", "rb").read())
        put_log(image, [(7, [(at, bytes_)])], 0, end)
        set_header(image, GUID)
        open("i.vhdx", "wb").write(image)
        out = img("check", "-r", "all", "i.vhdx", code={0, 1})
        expect(text in out, f"{end} {bytes_}: {out}")
        used = os.stat("i.vhdx").st_blocks * 512
        expect(used < 64 * MIB, f"{end} {bytes_}: {used} bytes are taken")
    expect(os.path.getsize("i.vhdx") < 64 * MIB, "a damaged log extended the file")


def tests():
    for shape in SHAPES:
        yield f"work/{shape[0]}/ours", both_ways(IMG, shape), True
        yield f"work/{shape[0]}/theirs", both_ways("qemu-img", shape), True
    for fmt, options in (("vdi", None), ("vdi", "static=on"), ("vpc", None),
                         ("vpc", "subformat=fixed"), ("vpc", "subformat=fixed,force_size=on"),
                         ("vpc", "force_size=on"), ("vmdk", None),
                         ("vmdk", "subformat=monolithicFlat"),
                         ("vmdk", "subformat=twoGbMaxExtentSparse"),
                         ("vmdk", "subformat=twoGbMaxExtentFlat"),
                         ("vmdk", "subformat=streamOptimized"), ("vhdx", None),
                         ("vhdx", "subformat=fixed"), ("vhdx", "block_size=2M")):
        yield f"convert/{fmt}/{options}", convert(fmt, options), True
        yield f"info/{fmt}/{options}", info(fmt, options), True
    yield "vhdx/log", vhdx_log, True
    yield "vhdx/log-of-zeros", vhdx_log_of_zeros, False
    yield "vpc/differencing", vpc_differencing, False
    yield "vpc/attack", vpc_attack, False
    yield "vmdk/parent", vmdk_parent, True
    yield "vmdk/commit", vmdk_commit, True
    yield "vmdk/elsewhere", vmdk_elsewhere, False


if __name__ == "__main__":
    main(list(tests()))
