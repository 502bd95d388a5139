# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations on whole images by vmrun-img and by qemu-img in random order, each checked by both;
and what the two say of the same image."""
import json
import os
import random
import time

from tap import IMG, WORK, bits_of, expect, img, main, peer, run

MIB = 1 << 20
# Each run tries other sequences; what fails tells its seed.
SEQUENCES_SEED = int(os.environ.get("SEED") or time.time_ns() % 10**9)
CLUSTERS = {"512": 512, "1k": 1024, "4k": 4096, "64k": 65536, "2M": 2 * MIB}


def read_all(tool, name):
    run(tool, "convert", "-O", "raw", name, "read.raw")
    with open("read.raw", "rb") as f:
        return f.read()


class Disk:
    """An image, what it must hold, and its snapshots."""

    def __init__(self, rnd):
        self.rnd = rnd
        self.log = []
        self.cluster = rnd.choice(list(CLUSTERS))
        options = [f"cluster_size={self.cluster}"]
        self.v3 = rnd.random() < .8
        if not self.v3:
            options.append("compat=0.10")
        elif rnd.random() < .3:
            options.append(f"refcount_bits={rnd.choice([8, 16, 32, 64])}")
        if self.v3 and self.cluster in ("64k", "2M") and rnd.random() < .5:
            options.append("extended_l2=on")
        size = rnd.randrange(1, 12) * MIB // 2 + 512 * rnd.randrange(8)
        create = [rnd.choice([IMG, "qemu-img"]), "create", "-q", "-f", "qcow2", "-o",
                  ",".join(options)]
        if rnd.random() < .4:
            run("qemu-img", "create", "-q", "-f", "raw", "base", rnd.choice([size // 1024 * 512, size]))
            run("qemu-io", "-f", "raw", "-c", f"write -P 99 0 {os.path.getsize('base')}", "base")
            create += ["-b", "base", "-F", "raw"]
        run(*create, "i", size)
        self.log.append((create, size))
        self.data = read_all("qemu-img", "i")
        self.snapshots = {}
        self.has_bitmaps = False

    def work(self, _):
        size, rnd = len(self.data), self.rnd
        commands = []
        for _ in range(rnd.randrange(1, 8)):
            offset = rnd.randrange(max(size // 512, 1)) * 512
            length = min(rnd.choice([512, 4096, 65536, 200 * 512]), size - offset)
            commands += ["-c", rnd.choice([f"write -P {rnd.randrange(1, 255)}", "write -z"])
                         + f" {offset} {length}"]
        with open("copy.raw", "wb") as f:
            f.write(self.data)
        for fmt, name in (("qcow2", "i"), ("raw", "copy.raw")):
            run("qemu-io", "-f", fmt, *commands, name)
        with open("copy.raw", "rb") as f:
            self.data = f.read()

    def compressed(self, _):
        cluster = CLUSTERS[self.cluster]
        for _ in range(4):
            if len(self.data) < cluster:
                continue
            at, value = self.rnd.randrange(len(self.data) // cluster) * cluster, self.rnd.randrange(256)
            out = run("qemu-io", "-f", "qcow2", "-c", f"write -c -P {value} {at} {cluster}", "i",
                      code=None)
            if "failed" not in out:  # the peer writes nothing compressed over what is there
                self.data = self.data[:at] + bytes([value]) * cluster + self.data[at + cluster:]

    def create(self, tool):
        name = f"s{len(self.log)}"
        run(tool, "snapshot", "-c", name, "i")
        self.snapshots[name] = self.data

    def pick(self):
        return self.rnd.choice(list(self.snapshots)) if self.snapshots else None

    def apply(self, tool):
        name = self.pick()
        if name:  # the peer refuses where there are bitmaps
            run(IMG if self.has_bitmaps else tool, "snapshot", "-a", name, "i")
            self.data = self.snapshots[name]

    def delete(self, tool):
        name = self.pick()
        if name:
            run(tool, "snapshot", "-d", name, "i")
            del self.snapshots[name]

    def grow(self, _):
        """Not by the peer: it lets old bytes show behind an end inside of a cluster."""
        if self.v3 or not self.snapshots:
            more = 512 * self.rnd.randrange(3000)
            img("resize", "-q", "-f", "qcow2", "i", len(self.data) + more)
            self.data += bytes(more)

    def shrink(self, tool):
        if self.v3 or not self.snapshots:
            size = max(512, len(self.data) - 512 * self.rnd.randrange(min(3000, len(self.data) // 512)))
            run(tool, "resize", "-q", "--shrink", "-f", "qcow2", "i", size)
            self.data = self.data[:size]

    def compact(self, _):
        before = os.path.getsize("i")
        img("compact", "-q", "i")
        # An enabled bitmap is stored anew when the image is closed.
        after = os.path.getsize("i")
        expect(after <= before or self.has_bitmaps, f"compact made it larger: {before}, then {after}")
        img("compact", "-q", "i")
        again = os.path.getsize("i")
        expect(again == after or self.has_bitmaps, f"compact once more: {after}, then {again}")

    def bitmap(self, tool):
        if self.v3:
            run(tool, "bitmap", "--add", "i", f"b{len(self.log)}")
            self.has_bitmaps = True

    def amend(self, _):
        if self.v3:
            img("amend", "-o", f"refcount_bits={self.rnd.choice([16, 32, 64])}", "i")

    def verify(self, tools):
        run("qemu-img", "check", "-q", "i")
        for tool in tools:
            if tool == IMG:
                img("check", "-q", "i")
            got = read_all(tool, "i")
            where = next((i for i, (a, b) in enumerate(zip(got, self.data)) if a != b), -1) \
                if got != self.data else 0
            expect(got == self.data, f"{tool}: differs at {where}; {len(got)}, {len(self.data)}\n{self.log}")


def random_operations(n):
    def test():
        rnd = random.Random(f"{SEQUENCES_SEED}ops{n}")
        disk = Disk(rnd)
        names = ["work", "work", "work", "compressed", "create", "create", "apply", "delete", "grow",
                 "shrink", "compact", "bitmap", "amend"]
        for step in range(9):
            name, tool = rnd.choice(names), rnd.choice([IMG, "qemu-img"])
            disk.log.append((name, tool))
            try:
                getattr(disk, name)(tool)
                # In turns by the one and by the other; at the end by both.
                disk.verify((IMG, "qemu-img") if step == 8 else (("qemu-img", IMG)[step % 2],))
            except Exception:
                print(f"# SEED={SEQUENCES_SEED} {disk.log}")
                raise
        for name, data in disk.snapshots.items():
            img("convert", "-l", name, "-O", "raw", "i", "old.raw")
            with open("old.raw", "rb") as f:
                expect(f.read() == data, f"snapshot {name} differs")
    return test


def same_info(name="i"):
    ours, theirs = (json.loads(t("info", "--output=json", name)) for t in (img, peer))
    expect(ours == theirs, f"{ours}\n{theirs}")
    a, b = img("info", name), peer("info", name)
    expect(a == b, f"{a}\n{b}")


def versions():
    """Up and down: zero clusters become holes, or data over a backing file."""
    for backing in (False, True):
        run("qemu-img", "create", "-q", "-f", "raw", "base", MIB)
        run("qemu-io", "-f", "raw", "-c", "write -P 9 0 1M", "base")
        img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", *(["-b", "base", "-F", "raw"]
                                                                       if backing else []), "i", MIB)
        run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 100k", "-c", "write -z 20k 300k",
            "-c", "write -z -u 600k 100k", "i")
        data = read_all("qemu-img", "i")
        for compat in ("0.10", "1.1"):
            img("amend", "-o", f"compat={compat}", "i")
            peer("check", "-q", "i")
            same_info()
            expect(read_all("qemu-img", "i") == data, f"{compat}: differs")
        img("amend", "-o", "refcount_bits=1,lazy_refcounts=on", "i")
        same_info()
        peer("check", "-q", "i")
        out = img("amend", "-o", "compat=0.10", "i", code=1)
        expect("refcount" in out, out)
        out = img("amend", "-o", "cluster_size=8k", "i", code=1)
        expect("cluster_size" in out, out)


def backing_names():
    """Names of all lengths, one after the other, in clusters of all sizes."""
    for cluster in ("512", "2k", "64k"):
        img("create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}", "i", MIB)
        for length in (1, 60, 150, 700, 1000, 1023, 3):
            if length > 200 and cluster == "512":
                continue
            name = "n" * length
            img("rebase", "-u", "-b", name, "-F", "raw", "i")
            info = json.loads(peer("info", "--output=json", "-U", "i"))
            expect(info["backing-filename"] == name, info)
            expect(info["backing-filename-format"] == "raw", info)
        out = img("rebase", "-u", "-b", "n" * 1024, "-F", "raw", "i", code=1)
        expect("too long" in out, out)
        img("rebase", "-u", "-b", "", "i")
        peer("check", "-q", "i")
        expect("backing" not in peer("info", "i"), "still there")


def bitmaps_told():
    peer("create", "-q", "-f", "qcow2", "i", 4 * MIB)
    peer("bitmap", "--add", "-g", "4k", "i", "a")
    peer("bitmap", "--add", "--disable", "i", "b")
    img("bitmap", "--add", "-g", "8k", "i", "c")
    same_info()
    run(WORK, "-b", "i", "qcow2", "r.raw", 3, 40)
    same_info()
    peer("check", "-q", "i")
    peer("bitmap", "--merge", "a", "i", "b")
    peer("bitmap", "--remove", "i", "a")
    img("bitmap", "--clear", "i", "b")
    img("bitmap", "--merge", "c", "i", "b")
    img("bitmap", "--remove", "i", "c")
    same_info()
    img("resize", "-q", "i", 9 * MIB)
    peer("bitmap", "--clear", "i", "b")
    peer("check", "-q", "i")
    same_info()


def bitmap_contents():
    """What our writes leave in a bitmap is what was written, and what the peer copies by it."""
    grain = 65536
    img("create", "-q", "-f", "qcow2", "i", 16 * MIB)
    img("bitmap", "--add", "-g", grain, "i", "a")
    run(WORK, "-b", "i", "qcow2", "r.raw", 5, 6)
    info = json.loads(peer("info", "--output=json", "i"))
    expect(info["format-specific"]["data"]["bitmaps"][0]["flags"] == ["auto"], info)
    allocated = {n for e in json.loads(peer("map", "--output=json", "i")) if e["data"]
                 for n in range(e["start"] // grain, (e["start"] + e["length"] - 1) // grain + 1)}
    ours = bits_of("i")
    expect(allocated and allocated <= ours and len(ours) < 200, f"{allocated}\n{ours}")
    img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "j", 16 * MIB)
    peer("bitmap", "--add", "-g", grain, "j", "m")
    peer("bitmap", "--merge", "a", "-b", "i", "-F", "qcow2", "j", "m")
    expect(bits_of("j") == ours, f"{bits_of('j')}\n{ours}")


def measured():
    img("create", "-q", "-f", "qcow2", "i", 40 * MIB)
    run("qemu-io", "-f", "qcow2", "-c", "write 0 3M", "-c", "write 9M 70k", "i")
    peer("bitmap", "--add", "i", "b")
    for options in ("cluster_size=64k", "cluster_size=512", "cluster_size=2M,refcount_bits=1",
                    "extended_l2=on", "preallocation=full", "compat=0.10"):
        for what in (["--size", "5G"], ["--size", "1"], ["-f", "qcow2", "i"]):
            if "512" in options and "5G" in what:
                continue
            args = ["measure", "--output=json", "-O", "qcow2", "-o", options, *what]
            ours, theirs = json.loads(img(*args)), json.loads(peer(*args))
            expect(ours == theirs, f"{args}: {ours} {theirs}")


def data_file():
    """The data file of either tool serves the other; a raw one is a raw image."""
    for maker in (IMG, "qemu-img"):
        run(maker, "create", "-q", "-f", "qcow2", "-o", "data_file=d,data_file_raw=on", "i", 3 * MIB)
        same_info()
        run(WORK, "-b", "i", "qcow2", "r.raw", 3, 60)
        peer("check", "-q", "i")
        run("cmp", "d", "r.raw")
        img("resize", "-q", "i", 5 * MIB)
        run("qemu-io", "-f", "qcow2", "-c", "write -P 5 4M 1M", "i")
        expect(read_all(IMG, "i")[4 * MIB:] == b"\5" * MIB, "differs")
        out = img("snapshot", "-c", "x", "i", code=1)
        expect("data file" in out, out)


def unknown_features():
    peer("create", "-q", "-f", "qcow2", "i", MIB)
    with open("i", "r+b") as f:
        header = bytearray(f.read(512))
        header[72] |= 0x80  # incompatible bit 63 and ...
        header[79] |= 0x20  # ... bit 5
        at = header.index(b"dirty bit") - 2
        header[at:at + 48] = bytes([0, 5]) + b"frobnication".ljust(46, b"\0")
        f.seek(0)
        f.write(header)
    out = img("info", "i", code=1)
    expect("frobnication" in out and "63" in out, out)


def tests():
    print(f"# sequences: SEED={SEQUENCES_SEED}")
    for n in range(20):
        yield f"random/{n}", random_operations(n), True
    yield "versions", versions, True
    yield "backing-names", backing_names, True
    yield "bitmaps", bitmaps_told, True
    yield "bitmap-contents", bitmap_contents, True
    yield "measure", measured, True
    yield "data-file", data_file, True
    yield "unknown-features", unknown_features, True


if __name__ == "__main__":
    main(list(tests()))
