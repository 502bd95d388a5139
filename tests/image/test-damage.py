# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2 images with one thing broken: what is left can be read, repair mends what can be mended and
frees nothing that a broken entry may have named."""
import struct
import subprocess

from tap import IMG, WORK, expect, img, main, peer, run

MIB = 1 << 20
ALL_FIXED, DAMAGED = 0, 2


def get(data, at):
    return struct.unpack_from(">Q", data, at)[0]


class Image:
    """With data, zeros that have room, and two snapshots."""

    def __init__(self, options="cluster_size=64k"):
        peer("create", "-q", "-f", "qcow2", "-o", options, "i", 4 * MIB)
        run(WORK, "-b", "i", "qcow2", "r.raw", 5, 60)
        for name in ("s0", "s1"):
            peer("snapshot", "-c", name, "i")
        run(WORK, "i", "qcow2", "r.raw", 6, 20)
        peer("convert", "-O", "raw", "-l", "s1", "i", "s1.raw")
        self.sound = bytearray(open("i", "rb").read())
        self.snapshots, self.l1, self.table = (get(self.sound, at) for at in (64, 40, 48))
        self.l2 = get(self.sound, self.l1) & 0xfffffffffffe00
        self.entry = 16 if "extended" in options else 8

    def data_entry(self):
        """The place of an entry of the L2 table with data of its own."""
        at = self.l2
        while not get(self.sound, at) >> 63 or get(self.sound, at) & 1:
            at += self.entry
        return at

    def broken(self, *changes):
        copy = bytearray(self.sound)
        for at, kind, value in changes:
            struct.pack_into(">" + kind, copy, at, value)
        with open("i", "wb") as f:
            f.write(copy)

    def reads(self, whole=True):
        img("convert", "-O", "raw", "i", "o.raw", code=0 if whole else 1)
        if whole:
            run("cmp", "o.raw", "r.raw")


def exit_code(program, *argv):
    return subprocess.run([program, *argv, "i"], capture_output=True, check=False).returncode


def case(image, name, changes, check, repaired, words, whole=True, as_peer=True):
    image.broken(*changes)
    image.reads(whole)
    code = exit_code(IMG, "check")
    expect(code == check, f"{name}: check ends with {code}, not {check}")
    if as_peer:
        theirs = exit_code("qemu-img", "check")
        expect(code == theirs, f"{name}: check ends with {code}, the peer's with {theirs}")
    said = img("check", "i", code=check)
    expect(words in said, f"{name}: no '{words}' in {said}")
    img("check", "-r", "leaks", "i", code={0, 2, 3})
    image.reads(whole)
    img("check", "-r", "all", "i", code=repaired)
    image.reads(whole or repaired == ALL_FIXED)
    if repaired == ALL_FIXED:
        img("check", "i")
        peer("check", "i")
        peer("compare", "i", "r.raw")
        run("cp", "r.raw", "r2.raw")
        run(WORK, "i", "qcow2", "r2.raw", 7, 20)
        peer("check", "i")


def snapshot_table():
    i = Image()
    case(i, "an L1 table of a snapshot", [(i.snapshots, "Q", get(i.sound, i.snapshots) + 512)],
         DAMAGED, DAMAGED, "L1 table is not cluster aligned")
    expect("not cluster aligned" in img("convert", "-l", "s0", "-O", "raw", "i", "o", code=1), "-l s0")
    expect("not cluster aligned" in img("snapshot", "-a", "s0", "i", code=1), "-a s0")
    img("convert", "-l", "s1", "-O", "raw", "i", "o.raw")
    run("cmp", "o.raw", "s1.raw")
    expect("check -r leaks" in img("snapshot", "-d", "s0", "i"), "-d s0")
    img("check", "-r", "leaks", "i")
    peer("check", "i")
    i.reads()
    for count in (3, 65000, 70000, 0xffffffff):
        case(i, f"{count} snapshots", [(60, "I", count)], DAMAGED, ALL_FIXED,
             "failed to read the snapshot table", as_peer=False)
        expect("s0" in img("snapshot", "-l", "i") and "s1" in img("snapshot", "-l", "i"), "they are gone")
        img("convert", "-l", "s1", "-O", "raw", "i", "o.raw")
        run("cmp", "o.raw", "s1.raw")
    case(i, "a misplaced table", [(64, "Q", i.snapshots + 512)], DAMAGED, DAMAGED,
         "failed to read the snapshot table", as_peer=False)
    i.broken((60, "I", 65000))
    expect("snapshot table" in img("snapshot", "-c", "x", "i", code=1), "written all the same")


def short_entries():
    i = Image()
    at = i.snapshots
    id_bytes, name_bytes = struct.unpack_from(">HH", i.sound, at + 12)
    extra = struct.unpack_from(">I", i.sound, at + 36)[0]
    names = i.sound[at + 40 + extra:at + 40 + extra + id_bytes + name_bytes]
    for kept in (0, 8):
        words = names.ljust(-(-len(names) // 8) * 8, b"\0")
        moved = [(at + 40 + kept + n, "B", byte) for n, byte in enumerate(words)]
        # the second one goes: it does not begin where the first one ends any more
        case(i, f"{kept} bytes of extra data", [(60, "I", 1), (at + 36, "I", kept), *moved], DAMAGED,
             ALL_FIXED, "entry 0 is incomplete")


def refcounts():
    i = Image()
    case(i, "no refcount table", [(56, "I", 0)], DAMAGED, ALL_FIXED, "refcount=0 reference=")
    case(i, "a huge refcount table", [(56, "I", 1 << 31)], DAMAGED, ALL_FIXED, "is impossible",
         as_peer=False)
    case(i, "a misplaced refcount table", [(48, "Q", i.table + 512)], DAMAGED, ALL_FIXED,
         "out of bounds", as_peer=False)
    case(i, "a misplaced refcount block", [(i.table, "Q", get(i.sound, i.table) + 512)], DAMAGED,
         ALL_FIXED, "not cluster aligned", as_peer=False)
    case(i, "reserved bits", [(i.table, "Q", get(i.sound, i.table) | 4)], DAMAGED, ALL_FIXED,
         "refcount table entry 0 has reserved bits set")
    i.broken((56, "I", 0))
    expect("is impossible" in img("snapshot", "-c", "x", "i", code=1), "written all the same")


def entries():
    for options in ("cluster_size=64k", "extended_l2=on"):
        i = Image(options)
        at = i.data_entry()
        case(i, "reserved bits of L1", [(i.l1, "Q", get(i.sound, i.l1) | 1 << 57)], DAMAGED, DAMAGED,
             "L1 entry with reserved bits")
        case(i, "reserved bits of L2", [(at, "Q", get(i.sound, at) | 4)], DAMAGED, DAMAGED,
             "l2 entry with reserved bits")
        # Zeros whose room is misplaced are zeros without room.
        zeros = i.l2 + 63 * i.entry
        case_zeros = [(zeros, "Q", 0x300200 | (i.entry == 8))]
        if i.entry == 16:
            case_zeros.append((zeros + 8, "Q", 0xffffffff << 32))
        with open("r.raw", "r+b") as f:
            f.seek(63 * 65536)
            f.write(bytes(65536))
        i.broken((zeros, "Q", 0), *([(zeros + 8, "Q", 0)] if i.entry == 16 else []))
        img("check", "-r", "all", "i", code={0, 2})
        i.sound = bytearray(open("i", "rb").read())
        case(i, "zeros", case_zeros, DAMAGED, ALL_FIXED, "Preallocated cluster is not properly aligned",
             whole=False)


def rescue():
    """What hangs below a broken entry keeps its clusters: who mends the entry has it all back."""
    i = Image()
    at = i.data_entry()
    rt = get(i.sound, i.table)
    for place in (i.l1, at):
        for value in (get(i.sound, place) + 512, 1 << 50 | 1 << 63):
            for more in ([], [(i.table, "Q", rt + 512)], [(56, "I", 0)]):
                i.broken((place, "Q", value), *more)
                img("check", "-r", "leaks", "i", code=DAMAGED)
                out = img("check", "-r", "all", "i", code=DAMAGED)
                expect("are kept" in out or more, out)
                with open("i", "r+b") as f:
                    f.seek(place)
                    f.write(i.sound[place:place + 8])
                img("check", "-r", "all", "i")
                i.reads()
                for name in ("s0", "s1"):
                    img("convert", "-l", name, "-O", "raw", "i", "o.raw")
                run("cmp", "o.raw", "s1.raw")


if __name__ == "__main__":
    main([("snapshot-table", snapshot_table, True), ("short-entries", short_entries, True),
          ("refcounts", refcounts, True), ("entries", entries, True), ("rescue", rescue, True)])
