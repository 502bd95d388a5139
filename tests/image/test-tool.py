# SPDX-License-Identifier: GPL-2.0-or-later
"""vmrun-img's command line: what it says and how it ends; image locks."""
import json
import os
import re
import subprocess

from tap import IMG, WORK, Skipped, expect, img, main, peer, run

MIB = 1 << 20


def says(text, *argv, code=1):
    out = img(*argv, code=code)
    expect(text in out, f"{argv}: no '{text}' in: {out}")
    return out


def general():
    says("usage: vmrun-img", "--help", code=0)
    says("Commands:", "help", code=0)
    says("vmrun-img version", "--version", code=0)
    says("no command given")
    says("did you mean 'create'", "creat")
    says("Command not found: xyzzy", "xyzzy")
    for command in ("create", "info", "check", "convert", "snapshot", "rebase"):
        says(f"usage: vmrun-img {command}", command, "--help", code=0)
        says("vmrun-img: ", command)
        says("unrecognized option '-Z'", command, "-Z", "x")
        says("'--nonsense'", command, "--nonsense", "x")
        says("needs a value", command, "-f")


def own_name():
    os.symlink(IMG, "qemu-img")
    out = run("./qemu-img", "info", "none", code=1)
    expect(out.startswith("qemu-img: "), out)
    # What scripts look for, and how: a version of QEMU that has what they use, a line of formats.
    version = re.match(r"qemu-img version (\d+)\.(\d+)\.\d+ \(vmrun ", run("./qemu-img", "--version"))
    expect(version and (int(version[1]), int(version[2])) >= (2, 10), str(version))
    line = re.search(r"^Supported formats: (.*)$", run("./qemu-img", "--help"), re.M)
    expect(line and {"raw", "qcow2", "vmdk"} <= set(line[1].split()), str(line))


def create():
    says("Formatting 'a', fmt=raw size=1048576", "create", "a", "1M", code=0)
    expect(os.path.getsize("a") == MIB, "size")
    says("did you mean 'qcow2'", "create", "-f", "qcow22", "b", "1M")
    says("there are raw", "create", "-f", "zzz", "b", "1M")
    says("is no size", "create", "b", "1X")
    says("b: Image creation needs a size parameter", "create", "-f", "qcow2", "b")
    says("did you mean 'cluster_size'", "create", "-f", "qcow2", "-o", "cluster_siz=4k", "b", "1M")
    says("has no option", "create", "-f", "raw", "-o", "cluster_size=4k", "b", "1M")
    says("power of two", "create", "-f", "qcow2", "-o", "cluster_size=3k", "b", "1M")
    says("power of two", "create", "-f", "qcow2", "-o", "refcount_bits=7", "b", "1M")
    says("needs compat=1.1", "create", "-f", "qcow2", "-o", "compat=0.10,refcount_bits=8", "b", "1M")
    says("needs compat=1.1", "create", "-f", "qcow2", "-o", "compat=0.10,lazy_refcounts=on", "b", "1M")
    says("too many", "create", "-f", "qcow2", "-o", "cluster_size=512", "b", "1P")
    says("Backing file not supported", "create", "-b", "a", "b", "1M")
    says("No such file", "create", "-f", "qcow2", "-b", "none", "-F", "raw", "b", "1M")
    says("Could not create", "create", "/nonexistent/b", "1M")
    expect(not os.path.exists("b"), "a failed create left a file")
    says("power of two", "create", "-f", "qcow2", "-o", "cluster_size=3k", "a", "1M")
    expect(os.path.getsize("a") == MIB, "a failed create emptied the file that stood there")
    img("create", "-q", "-f", "qcow2", "-u", "-b", "none", "-F", "raw", "u", "1M")
    says("No such file", "convert", "u", "x")
    img("create", "-q", "-f", "qcow2", "-b", "a", "-F", "raw", "c")
    info = json.loads(img("info", "--output=json", "c"))
    expect(info["virtual-size"] == MIB and info["backing-filename-format"] == "raw", str(info))
    img("create", "-q", "-f", "qcow2", "-o", "size=3M", "d")
    for fmt in ("qcow2", "qcow"):  # what a guest wrote must not be taken for what its disk is
        for argv in (["create", "-f", fmt, "-b", "a", "e"], ["create", "-f", fmt, "-u", "-b", "a", "e", "1M"],
                     ["create", "-f", fmt, "-o", "backing_file=a", "e"],
                     ["convert", "-O", fmt, "-B", "a", "c", "e"],
                     ["convert", "-O", fmt, "-o", "backing_file=a", "c", "e"]):
            out = says("without backing format", *argv)
            expect("-F" in out, out)
            expect(not os.path.exists("e"), f"{argv} left a file")
    for argv in (["create", "-f", "qcow2", "-u", "-b", "a", "-F", "foo", "e", "1M"],
                 ["create", "-f", "qcow2", "-b", "a", "-F", "foo", "e"],
                 ["convert", "-O", "qcow2", "-B", "a", "-F", "foo", "c", "e"]):
        says("Parameter 'backing-fmt' does not accept value 'foo'", *argv)
        expect(not os.path.exists("e"), f"{argv} left a file")
    before = open("c", "rb").read()
    for argv, words in ((["rebase", "-b", "d", "c"], "without backing format"),
                        (["rebase", "-u", "-b", "d", "c"], "without backing format"),
                        (["rebase", "-b", "a", "-F", "foo", "c"], "Invalid format name: 'foo'"),
                        (["rebase", "-u", "-b", "d", "-F", "foo", "c"], "Invalid format name: 'foo'"),
                        (["amend", "-o", "backing_file=d", "c"], "Cannot amend the backing file")):
        says(words, *argv)
        expect(open("c", "rb").read() == before, f"{argv} changed the image")
    says("cluster_size", "create", "-f", "qcow2", "-o", "help", code=0)
    for options in ("cluster_size=4k,?", "?,cluster_size=4k", "size=1M,help,compat=1.1"):
        for argv in (["create", "-f", "qcow2"], ["convert", "-O", "qcow2"], ["measure", "-O", "qcow2"],
                     ["amend", "-f", "qcow2"]):
            says("compat", *argv, "-o", options, "none", code=0)
    says("3k,?", "create", "-f", "qcow2", "-o", "cluster_size=3k,,?", "e", "1M")
    expect(not os.path.exists("none") and not os.path.exists("e"), "-o help made an image")
    says("e: The image size must be specified only once", "create", "-o", "size=1M", "e", "2M")
    says("preallocation", "create", "-o", "?", code=0)
    expect(json.loads(img("info", "--output=json", "d"))["virtual-size"] == 3 * MIB, "-o size")
    for how in ("off", "falloc", "full"):
        img("create", "-q", "-o", f"preallocation={how}", "p", "2M")
        expect((os.stat("p").st_blocks * 512 >= 2 * MIB) == (how != "off"), how)
    says("only be used at the same time", "create", "-f", "qcow2", "-b", "a", "-F", "raw", "-o", "preallocation=full", "e")


def info():
    says("No such file", "info", "none")
    says("is a directory", "info", ".")
    says("neither a file nor a block device", "info", "/dev/null")
    os.mkfifo("fifo")
    says("neither a file", "info", "fifo")
    says("no support for 'https:'", "info", "https://localhost/x")
    says("file.filename", "info", 'json:{"driver":"raw"}')
    says("did you mean 'json'", "info", "--output=jsn", "none")
    open("short", "wb").write(b"QFI\xfb\0\0\0\3abc")
    says("too short", "info", "short")
    open("empty", "wb").close()
    says("virtual size: 0 B", "info", "empty", code=0)
    img("create", "-q", "-f", "qcow2", "a:b", "1M", code=0)
    says("write './a:b'", "info", "a:b")
    says("format: qcow2", "info", "./a:b", code=0)
    says("format: qcow2", "info", "file:a:b", code=0)


def check():
    img("create", "-q", "a", "1M")
    says("does not support checks", "check", "a", code=63)
    img("create", "-q", "-f", "qcow2", "q", "1M")
    says("No errors", "check", "q", code=0)
    expect(img("check", "-q", "q") == "", "-q speaks")
    says("-r takes", "check", "-r", "some", "q")
    says("exclude", "check", "-U", "-r", "all", "q")
    data = bytearray(open("q", "rb").read())
    data[131072 + 20] = 1  # cluster 10 counts as used
    open("q", "wb").write(data + bytes(MIB))
    says("leaked clusters", "check", "q", code=3)
    says("repaired", "check", "-r", "leaks", "q", code=0)
    data[131072 + 7] = 0  # the L1 table does not
    open("q", "wb").write(data + bytes(MIB))
    says("errors were found", "check", "q", code=2)
    says("errors were found", "check", "-r", "leaks", "q", code=2)
    says("repaired", "check", "-r", "all", "q", code=0)
    says("No errors", "check", "q", code=0)


def convert():
    open("a", "wb").write(os.urandom(MIB))
    says("give an input and an output", "convert", "a")
    says("No such file", "convert", "none", "b")
    says("did you mean 'qcow2'", "convert", "-O", "qcow22", "a", "b")
    says("Compression not supported", "convert", "-c", "-O", "raw", "a", "b")
    says("-m takes", "convert", "-m", "0", "a", "b")
    says("-m takes", "convert", "-m", "65", "a", "b")
    says("-S takes", "convert", "-S", "700", "a", "b")
    says("Invalid cache option", "convert", "-t", "sometimes", "a", "b")
    says("-o has no effect", "convert", "-n", "-o", "compat=0.10", "a", "b")
    says("has no snapshots", "convert", "-l", "snap", "a", "b")
    expect("100.00/100%" in img("convert", "-p", "-O", "qcow2", "a", "b"), "no progress")
    expect(img("convert", "-O", "qcow2", "a", "b") == "", "it speaks")
    img("create", "-q", "small", "512k")
    says("is smaller", "convert", "-n", "a", "small")
    says("is locked", "convert", "a", "a")
    expect(os.path.getsize("a") == MIB, "the input was destroyed")
    says("neither a file", "convert", "a", "/dev/null")


def no_space():
    """A file system that fills up: an error, and what was written before is whole."""
    os.mkdir("small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", "small"],
                      capture_output=True, check=False).returncode:
        raise Skipped("cannot mount a small file system")
    try:
        open("a", "wb").write(os.urandom(5 * MIB))
        says("No space left", "convert", "-O", "qcow2", "a", "small/b")
        says("No space left", "create", "-o", "preallocation=falloc", "small/c", "10M")
    finally:
        run("umount", "-l", "small")


class Holder:
    """A process that has an image open."""

    def __init__(self, *argv):
        self.p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for(self, text):
        line = ""
        while text not in line:
            line = self.p.stdout.readline()
            expect(line, f"the holder ended before '{text}'")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.p.wait(20)
        self.p.stdout.close()


def locks_ours():
    img("create", "-q", "-f", "qcow2", "i", "1M")
    img("create", "-q", "-f", "qcow2", "-b", "i", "-F", "qcow2", "top")
    with Holder(WORK, "-b", "-H", "i", "qcow2", "r.raw", 1, 5) as h:
        h.wait_for("holding")
        out = says("is locked", "info", "i")
        expect(f"process {h.p.pid} " in out and "image-work" in out, f"holder is not named: {out}")
        says("is locked", "check", "i")
        says("is locked", "create", "-f", "qcow2", "i", "1M")
        says("is locked", "convert", "top", "x")
        says("virtual size", "info", "-U", "i", code=0)
        says("virtual size", "info", "top", code=0)
    says("virtual size", "info", "i", code=0)
    with Holder(WORK, "-b", "-H", "top", "qcow2", "r.raw", 1, 5) as h:
        h.wait_for("holding")
        img("convert", "i", "x")  # readers share
        out = run(WORK, "-b", "i", "qcow2", "r2.raw", 1, 1, code=1)
        expect(f"process {h.p.pid} " in out, out)


def locks_theirs():
    img("create", "-q", "-f", "qcow2", "i", "1M")
    with Holder("qemu-io", "i") as h:
        h.p.stdin.write("write 0 64k\n")
        h.p.stdin.flush()
        h.wait_for("ops")
        out = says("is locked", "info", "i")
        expect(f"process {h.p.pid} " in out and "qemu-io" in out, out)
        says("virtual size", "info", "-U", "i", code=0)
    with Holder("qemu-io", "-r", "i") as h:
        h.p.stdin.write("read 0 64k\n")
        h.p.stdin.flush()
        h.wait_for("ops")
        says("virtual size", "info", "i", code=0)
        says("is using it", "create", "-f", "qcow2", "i", "1M")
    with Holder(WORK, "-b", "-H", "i", "qcow2", "r.raw", 1, 5) as h:
        h.wait_for("holding")
        expect("lock" in peer("info", "i", code=1), "the peer does not see our lock")


if __name__ == "__main__":
    main([("general", general, False), ("name", own_name, False), ("create", create, False),
          ("info", info, False), ("check", check, False), ("convert", convert, False),
          ("no-space", no_space, False), ("locks/ours", locks_ours, False),
          ("locks/theirs", locks_theirs, True)])
