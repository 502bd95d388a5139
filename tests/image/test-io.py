# SPDX-License-Identifier: GPL-2.0-or-later
"""vmrun-io beside qemu-io: the same output (times apart), exit codes and images."""
import json
import os
import re
import shutil
import subprocess
import sys

from tap import bits_of, expect, img, main, peer, run

IO = os.path.abspath(sys.argv[3])
TIME = re.compile(r"[0-9:.]+ sec \(.*?\)|,[0-9:.]+,[0-9.]+,[0-9.]+$", re.M)


def io(*argv, code=0, stdin=None):
    return run(IO, *argv, code=code, stdin=stdin)


def one(program, options, commands, stdin):
    args = [a for c in commands for a in ("-c", c)]
    p = subprocess.run([program, *options, *args, "q"], capture_output=True, text=True, check=False,
                       input=stdin, env=dict(os.environ, LC_ALL="C", MALLOC_PERTURB_="0"))
    return TIME.sub("TIME", p.stdout), p.stderr, p.returncode


def same(*commands, options=("-f", "qcow2"), stdin=None, usage=False):
    """Both do the same to equal images; the results are equal images, and the words are the same."""
    if not os.path.exists("bin/qemu-io"):
        os.makedirs("bin", exist_ok=True)
        os.symlink(IO, "bin/qemu-io")
    shutil.copy("q", "before")
    theirs = one("qemu-io", options, commands, stdin)
    shutil.move("q", "after")
    shutil.copy("before", "q")
    ours = one("bin/qemu-io", options, commands, stdin)
    if usage:  # a line of usage: options that only one of them has may differ
        theirs, ours = (tuple(re.sub(r"\[.*\]", "[]", str(x)) for x in r) for r in (theirs, ours))
    expect(theirs == ours, f"{commands}:\npeer: {theirs}\nours: {ours}")
    peer("compare", "after", "q")
    peer("check", "q")
    img("check", "q")


def requests():
    peer("create", "-q", "-f", "qcow2", "q", "4M")
    with open("pattern", "wb") as f:
        f.write(b"a pattern ")
    for line in ("write -P 5 0 64k", "write -P 5 0 64", "write -P 5 7 640", "read -P 5 0 64k",
                 "read -P 6 0 64k", "read -v 0 64", "read -v 1 34", "read -C 0 64k",
                 "read -q 0 64k", "read -P 5 -s 16 -l 32 0 64k", "read -P 5 -s 16  0 64k",
                 "read 4M 64k", "write 4M 64k", "write -z 64k 64k", "write -zu 128k 64k",
                 "write -z -n 0 64k", "write -z 100 1000", "write -z 3 1", "write -c 2M 64k",
                 "write -c 2M 4k", "write -f 0 64k", "writev 0 4k 4k", "readv -v 0 16 16",
                 "readv -P 205 0 16 16", "writev -P 3 1 1000 24", "write -s pattern 1M 1001",
                 "read -v 1M 30", "discard 0 64k", "discard -C 0 64k", "discard -q 0 64k", "flush",
                 "write -P 0x1f 1000k 512", "read -p 0 512"):
        same(line)
    for options in (["-n"], ["-t", "directsync"], ["-m", "-n"], ["-k", "-n"], ["-t", "unsafe"],
                    ["-d", "unmap"], ["-d", "ignore"]):
        same("write -P 77 3 50000", "read -P 77 3 50000", "writev -P 1 0 512 512",
             options=["-f", "qcow2", *options])


def cluster_map(name):
    return json.loads(peer("map", "--output=json", name))


def subclusters():
    """Zeros in whole subclusters are bits of the table, as the peer's are; discards, too."""
    for backing in ([], ["-b", "base", "-F", "raw"]):
        peer("create", "-q", "-f", "raw", "base", "1M")
        run("qemu-io", "-f", "raw", "-c", "write -P 9 0 1M", "base")
        peer("create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", *backing, "q", "1M")
        same("write -P 3 0 512k", "write -P 4 900k 20k", "write -c -P 5 640k 128k")
        peer("snapshot", "-c", "s", "q")
        same("write -P 6 256k 128k")
        for zeros in (["write -z -u 0 64k"], ["write -z 132k 8k", "write -z -n 160k 4k"],
                      ["write -z -u 260k 252k"], ["write -z 904k 4k", *(["write -z 516k 100k"] if backing else [])],
                      ["write -z -u 644k 4k"], ["write -P 7 1k 1k", "write -P 8 264k 4k"]):
            same(*zeros)
            expect(cluster_map("q") == cluster_map("after"),
                   f"{zeros}:\n{cluster_map('q')}\n{cluster_map('after')}")
    peer("create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", "q", "1M")
    io("-d", "unmap", "-c", "write -P 3 0 128k", "-c", "discard 4k 60k", "-c", "discard 70k 10k", "q")
    zeros = [(e["start"], e["length"]) for e in cluster_map("q") if e["zero"]]
    expect(zeros == [(4096, 61440), (73728, 8192), (131072, 917504)], zeros)
    # The last that goes takes the cluster with it.
    io("-d", "unmap", "-c", "discard 0 64k", "-c", "discard 64k 64k", "-c", "write -P 4 512k 128k", "q")
    places = [e["offset"] for e in cluster_map("q") if "offset" in e]
    peer("check", "q")
    expect(len(places) == 1, places)
    io("-c", "read -P 0 0 128k", "q")


def recorded():
    """A bitmap has the bits of what was written, and no others, however many requests come first."""
    img("create", "-q", "-f", "qcow2", "q", "8M")
    io("-c", "write -P 9 4M 64k", "q")
    img("bitmap", "--add", "-g", "64k", "q", "a")
    io("-c", "aio_write -P 1 4M 64k", "-c", "aio_write -P 2 1M 64k", "-c", "aio_write -P 3 2M 100k",
       "-c", "aio_flush", "q")
    expect(bits_of("q") == {16, 32, 33, 64}, bits_of("q"))
    io("-c", "write -z 3M 64k", "-c", "write -c 5M 64k", "-c", "discard 6M 64k", "-c", "read 7M 64k", "q")
    expect(bits_of("q") == {16, 32, 33, 48, 64, 80, 96}, bits_of("q"))
    with open("rules", "w") as f:
        f.write('[inject-error]\nevent = "pwritev"\nerrno = "5"\nonce = "on"\n')
    subprocess.run([IO, "-c", "write 0 64k", "-c", "write -P 4 7M 64k", "-c", "flush", "-c", "sigraise 9",
                    "blkdebug:rules:q"], check=False, capture_output=True)
    flags = json.loads(peer("info", "--output=json", "q"))["format-specific"]["data"]["bitmaps"][0]["flags"]
    expect("in-use" in flags, flags)


def asynchronous():
    peer("create", "-q", "-f", "qcow2", "q", "4M")
    same("aio_write -P 3 0 64k", "aio_flush")
    same("aio_write -P 3 0 64k", "aio_flush", "aio_write -P 4 1M 64k 64k")
    same("aio_read -P 3 0 64k", "aio_flush", "aio_read -v 0 16", "aio_flush")
    same("aio_read 1G 4k", "aio_flush")
    same("aio_read -P 9 0 4k", "aio_flush")
    out = io("-c", "aio_write -z 0 64k", "-c", "aio_write -f 1M 512", "-c", "aio_read -C 0 1k",
             "-c", "aio_read -i 0 1k", "-c", "aio_flush", "q")
    expect(out.count("wrote") == 2 and "1024,1," in out, out)


def image_commands():
    peer("create", "-q", "-f", "qcow2", "q", "4M")
    peer("create", "-q", "-f", "qcow2", "-b", "q", "-F", "qcow2", "over", "4M")
    same("write -P 1 64k 64k", "map", "alloc 0 128k", "alloc 0", "alloc 64k 1", "length", "info",
         "alloc 9M", "alloc 4M 1k")
    peer("bitmap", "--add", "q", "b")
    same("info", options=["-r", "-f", "qcow2"])
    luks = ["--object", "secret,id=s,data=x", "-c", "info", "--image-opts",
            "driver=luks,key-secret=s,file.filename=l"]
    img("create", "-q", *luks[:2], "-f", "luks", "-o", "key-secret=s,iter-time=1", "l", "1M")
    theirs, ours = (out[out.index("Format specific"):] for out in (run("qemu-io", *luks), io(*luks)))
    expect(theirs == ours and "slots:" in ours, f"{ours}\nthe peer: {theirs}")
    same("truncate 5M", "length", "truncate 4M", "length")
    same("sleep 10", "sleep x")
    same("close", "read 0 1")
    same("open q")
    same("close", "open q", "length")
    same("close", "open -r q", "write 0 1")
    same("close", "open -n -o driver=qcow2 q", "write 0 512")
    same("write 0 512", options=["-r", "-f", "qcow2"])
    same("reopen -r", "write 0 512", "reopen -w", "write 0 512")
    same("write -P 9 0 1M", "read -P 9 0 1M", options=["-s", "-f", "qcow2"])
    same("sigraise 0", "quit", "length")
    same(stdin="length\nread 0 512\n\n  write   0   512\nfoo\nq\nlength\n")
    same(stdin="length")
    expect("64 KiB (0x10000)" in io("-c", "write 0 64k", "-c", "map", "over"), "overlay's map")


def bad_input():
    peer("create", "-q", "-f", "qcow2", "q", "4M")
    for line in ("xyz", "read", "read 0", "read 0 x", "read x 1", "write -P 300 0 512",
                 "write -u 0 64k", "write -n 0 4k", "write -zP 1 0 512", "write -s none 0 64k",
                 "aio_write", "flush 1", "length 1 2", "help nothing", "write 0 3G",
                 "read -P 1 -l 1000 0 512", "write -c -f 0 64k"):
        same(line)
    for line in ("read -z 0 64k", "read 0 1 2", "read -Z 0 1", "read -s 5 0 512", "write 1 2 3"):
        same(line, usage=True)
    expect("can't open" in io("none", code=1), "none")
    expect("can't open" in io("-c", "length", ".", code=1), "a directory")
    expect("unrecognized" in io("-Z", code=1), "-Z")
    expect("-i: unknown word" in io("-i", "x", "q", code=1), "-i")
    expect("Invalid discard" in io("-d", "x", "q", code=1), "-d")
    expect("one file name" in io("a", "b", code=1), "two files")
    expect("usage: vmrun-io [" in io("--help"), "help")
    expect("vmrun-io version" in io("-V"), "version")
    listing = io("-c", "help")
    for command in ("read", "writev", "aio_flush", "discard", "reopen", "truncate", "sigraise"):
        expect(f"\n{command} " in "\n" + listing, command)
        expect(f"{command} " in io("-c", f"help {command}"), command)
    expect("not a valid" in io("-c", "sleep 99999999999999999999", "q", code=1), "sleep")
    expect("no signal" in io("-c", "sigraise 99", "q", code=1), "sigraise")


def crash():
    """sigraise ends the program as a crash does: what was flushed is there, the image is sound."""
    img("create", "-q", "-f", "qcow2", "q", "4M")
    for signal in ("sigraise 9", "abort"):
        p = subprocess.run([IO, "-c", "write -P 1 0 64k", "-c", "flush", "-c", "write -P 2 1M 64k",
                            "-c", signal, "q"], capture_output=True, text=True, check=False)
        expect(p.returncode < 0 and p.stdout.count("wrote") == 2, str(p))
        img("check", "q", code={0, 3})
        io("-c", "read -P 1 0 64k", "q")


def faults():
    """Rules of blkdebug fail requests; the image stays sound."""
    img("create", "-q", "-f", "qcow2", "q", "4M")
    rules = {"write_aio": "write failed", "l2_update": "", "flush_to_disk": "flush failed"}
    for event, words in rules.items():
        with open("rules", "w") as f:
            f.write(f'[inject-error]\nevent = "{event}"\nerrno = "28"\nonce = "on"\n')
        out = io("-c", "write 0 64k", "-c", "flush", "-c", "write -P 3 1M 64k", "-c", "flush",
                 "-c", "read -P 3 1M 64k", "blkdebug:rules:q", code={0, 1})
        expect(words in out and "Pattern" not in out, f"{event}: {out}")
        if words:
            expect("No space left on device" in out, f"{event}: {out}")
        img("check", "q", code={0, 3})
        img("check", "-r", "leaks", "q", code={0})
    expect("can't open" in io("blkdebug:none:q", code=1), "no rules")


def cut_zeros(name):
    """The file ends with the last sector that is not zeros: within a table, or a cluster."""
    with open(name, "r+b") as f:
        data = f.read().rstrip(b"\0")
        f.truncate(-(-len(data) // 512) * 512)


def sessions():
    """Nobody who opens a qcow takes room of its last table or cluster, wherever the file ends."""
    with open("base", "wb") as f:
        f.write(b"B" * (1 << 20))
    for prepare in (lambda name: None, cut_zeros):
        img("create", "-q", "-f", "qcow", "-b", "base", "-F", "raw", "q", "1M")
        io("-f", "qcow", "-c", "write -P 0x11 0 512", "q")
        prepare("q")
        io("-f", "qcow", "-c", "write -P 0x22 512 512", "q")
        io("-f", "qcow", "-c", "read -P 0x11 0 512", "-c", "read -P 0x22 512 512",
           "-c", f"read -P {ord('B')} 1k 1023k", "q")
        img("create", "-q", "-f", "qcow", "q", "4M")
        io("-f", "qcow", "-c", "write -P 0x11 0 512", "-c", "flush", "-c", "write -P 0x44 64k 512",
           "q")
        prepare("q")
        io("-f", "qcow", "-c", "write -c -P 0x22 4k 4k", "q")
        io("-f", "qcow", "-c", "read -P 0x11 0 512", "-c", "read -P 0 512 3584",
           "-c", "read -P 0x22 4k 4k", "-c", "read -P 0x44 64k 512",
           "-c", "read -P 0 66048 3584", "-c", "read -P 0 68k 4028k", "q")


if __name__ == "__main__":
    main([("requests", requests, True), ("subclusters", subclusters, True),
          ("recorded", recorded, True), ("asynchronous", asynchronous, True),
          ("image-commands", image_commands, True), ("bad-input", bad_input, True),
          ("crash", crash, False), ("faults", faults, False),
          ("sessions", sessions, False)])
