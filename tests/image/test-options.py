# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of vmrun-img that meet few people, beside qemu-img's: what they do, and what they refuse."""
import base64
import json
import os
import shutil
import subprocess
import sys

from tap import IMG, Skipped, expect, img, main, peer, run

IO = os.path.abspath(sys.argv[3])
KIB, MIB = 1 << 10, 1 << 20


def both(*argv, prepare=None):
    """The exit codes of the peer and of ours, in that order; prepare() before each."""
    codes = []
    for program in ("qemu-img", IMG):
        if prepare:
            prepare()
        p = subprocess.run([program, *map(str, argv)], capture_output=True, check=False, timeout=60,
                           env=dict(os.environ, LC_ALL="C", MALLOC_PERTURB_="0"))
        codes.append(p.returncode)
    return codes


def exit_codes():
    peer("create", "-q", "-f", "qcow2", "q", "1M")
    peer("snapshot", "-c", "s", "q")
    peer("snapshot", "-c", "1", "q")
    peer("create", "-q", "r", "1M")
    for argv in (["compare", "r"], ["compare", "r", "none"], ["convert", "-m", 17, "r", "x"],
                 ["convert", "-m", 16, "r", "x"], ["convert", "-m", 0, "r", "x"],
                 ["resize", "-f", "raw", "r", "+1"], ["resize", "q", "+1"],
                 ["convert", "-l", "snapshot.id=1,snapshot.name=s", "q", "x"],
                 ["convert", "-l", "snapshot.id=1,snapshot.name=t", "q", "x"],
                 ["convert", "-l", "snapshot.id=2,snapshot.name=s", "q", "x"],
                 ["convert", "-l", "snapshot.nme=s", "q", "x"], ["convert", "-l", "", "q", "x"],
                 ["convert", "-l", "2", "q", "x"], ["convert", "-l", "snapshot.name=2", "q", "x"],
                 ["convert", "-S", "16M", "r", "x"], ["convert", "-S", "17M", "r", "x"],
                 ["convert", "-S", "1000", "r", "x"],
                 ["convert", "-O", "qcow2", "-o", "size=4k", "r", "x"]):
        theirs, ours = both(*argv)
        expect(theirs == ours, f"{argv}: exit code {ours}, the peer's is {theirs}")


def snapshot_by_both():
    """snapshot.name=1 is the name and not the ID of another."""
    img("create", "-q", "-f", "qcow2", "q", "1M")
    for pattern, name in ((1, "s"), (2, "1")):
        run(IO, "-c", f"write -P {pattern} 0 64k", "q")
        img("snapshot", "-c", name, "q")
    for spec, pattern in (("snapshot.name=1", 2), ("snapshot.id=1", 1),
                          ("snapshot.id=2,snapshot.name=1", 2), ("1", 1), ("s", 1)):
        img("convert", "-l", spec, "q", "x")
        with open("x", "rb") as f:
            expect(f.read(1)[0] == pattern, spec)
    out = img("convert", "-l", "snapshot.id=1,snapshot.name=1", "q", "x", code=1)
    expect("no snapshot with ID 1 and name 1" in out, out)


def small_size():
    """-o size= never cuts the input."""
    with open("r", "wb") as f:
        f.write(b"x" * MIB)
    out = img("convert", "-O", "qcow2", "-o", "size=4k", "r", "x")
    expect("less than the input" in out, out)
    img("compare", "r", "x")
    expect(img("convert", "-O", "qcow2", "-o", "size=2M", "r", "x") == "", "a larger one")
    expect(json.loads(img("info", "--output=json", "x"))["virtual-size"] == 2 * MIB, "size=2M")


def long_zeros():
    """-S up to 16 MiB: shorter runs of zeros are stored, longer ones are not."""
    with open("r", "wb") as f:
        f.write(b"x" * 4096 + bytes(3 * MIB - 4096) + b"y" * 4096 + bytes(13 * MIB - 4096))
        f.write(bytes(16 * MIB) + b"z" * 4096 + bytes(7 * MIB - 4096))
    for sparse, stored in (("4k", 12 * KIB), ("2M", 6 * MIB), ("16M", 23 * MIB), ("3M", 9 * MIB)):
        for fmt in ("raw", "qcow2"):
            img("convert", "-O", fmt, "-S", sparse, "r", "x")
            img("compare", "r", "x")
            extents = json.loads(img("map", "--output=json", "-f", fmt, "x"))
            data = sum(e["length"] for e in extents if e["data"])
            slack = 256 * KIB if fmt == "qcow2" else 0
            expect(stored <= data <= stored + slack, f"-S {sparse} {fmt}: {data}")


def rate():
    """Holes cost no rate: with it these would take a day."""
    with open("r", "wb") as f:
        f.write(b"x" * 4096)
        f.truncate(64 << 30)
    img("convert", "-r", "512k", "-O", "qcow2", "r", "x", timeout=60)
    img("create", "-q", "-f", "qcow2", "base", "64G")
    img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    run(IO, "-c", "write -P 1 32G 4k", "-c", "write -z 1G 20G", "top")
    img("commit", "-q", "-r", "512k", "top", timeout=60)
    run(IO, "-c", "read -P 1 32G 4k", "base")


def json_names():
    """JSON is UTF-8, whatever a name is, and as the peer writes it."""
    for name in (b"a\xff", b"\xc3\xa9\xc3", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80x", b"\xc0\xaf/", b"\x80",
                 b"\xf4\x90\x80\x80", b"\xef\xbf\xbf", b"q\"\\\t\x01\x7f", b"\xe2\x82z",
                 b"\xfe\xbf\xfc\x84\x80\x80\x80\x80"):
        name = os.fsdecode(name.replace(b"/", b""))
        img("create", "-q", "-f", "raw", name, "1M")
        outs = [subprocess.run([program, "info", "--output=json", "-f", "raw", name], check=True,
                               capture_output=True).stdout for program in ("qemu-img", IMG)]
        texts = [json.loads(out)["filename"] for out in outs]
        expect(texts[0] == texts[1], f"{name!r}: {texts}")
        quoted = [out.split(b'"filename": ')[1].split(b"\n")[0].rstrip(b",") for out in outs]
        expect(quoted[0] == quoted[1], f"{name!r}: {quoted}")
        if "\ufffd" not in texts[1]:
            img("info", f'json:{{"driver":"raw","file.filename":{quoted[1].decode()}}}')


def stored(fmt, name):
    return sum(e["length"] for e in json.loads(img("map", "--output=json", "-f", fmt, name))
               if e["data"])


def offload():
    """-C: the host copies zeros that are stored as they are; who reads and writes leaves them out."""
    with open("r", "wb") as f:
        f.write(b"x" * MIB + bytes(3 * MIB) + b"y" * 100 * KIB)
        f.truncate(6 * MIB + 1000)
    peer("convert", "-f", "raw", "-O", "qcow2", "-S", "0", "r", "q")
    for source in ("r", "q", "json:{'driver':'raw','file.filename':'r'}"):
        for fmt in ("raw", "qcow2", "vdi", "vmdk", "qcow", "vhdx", "vpc"):
            options = ["-o", "force_size=on"] if fmt == "vpc" else []
            img("convert", "-C", "-O", fmt, *options, source, "x")
            img("compare", "-F", fmt, "q", "x")
            peer("compare", "-F", fmt, "q", "x")
            if fmt in ("qcow2", "vdi", "vhdx"):
                peer("check", "-f", fmt, "x")
            if fmt in ("raw", "qcow2", "vdi"):
                expect(stored(fmt, "x") >= 4 * MIB, f"{source} {fmt}: the host did not copy")
    img("convert", "-C", "blkdebug::r", "x")
    expect(stored("raw", "x") < 2 * MIB, "what is no host file was copied by the host")
    img("compare", "-f", "raw", "r", "x")
    img("convert", "-C", "-O", "qcow2", "blkdebug::r", "x")
    img("compare", "r", "x")
    peer("check", "x")
    img("convert", "-C", "-T", "none", "-t", "none", "-O", "qcow2", "r", "x")
    img("compare", "r", "x")
    # Pieces of clusters, several inputs, a chain, an input that ends within a sector.
    peer("create", "-q", "-f", "qcow2", "-b", "q", "-F", "qcow2", "-o", "cluster_size=4k", "top")
    run(IO, "-c", "write -P 9 1536 5k", "-c", "write -z 1M 64k", "-c", "write -c -P 7 2M 4k", "top")
    for sources in (["top"], ["r", "top", "r"], ["q", "r", "top"]):
        for options in ([], ["-O", "qcow2"], ["-O", "qcow2", "-o", "cluster_size=2M"], ["-W"]):
            img("convert", "-C", *options, *sources, "x")
            peer("convert", *sources, "right")
            img("compare", "x", "right")
    for argv in (["-C", "-c", "-O", "qcow2"], ["-C", "-S", "4k"], ["-C", "--salvage"]):
        theirs, ours = both("convert", *argv, "r", "y")
        expect((theirs, ours, os.path.exists("y")) == (1, 1, False), f"{argv}: {ours}")


def amend_names():
    """The data file's name can be changed, the backing file's not."""
    img("create", "-q", "-f", "qcow2", "plain", "1M")
    img("create", "-q", "-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "q", "1M")
    run(IO, "-c", "write -P 3 0 1M", "q")
    for options in ("data_file=data", "data_file_raw=on"):
        theirs, ours = both("amend", "-o", options, "plain")
        expect(theirs == ours == 1, f"{options}: {ours}")
    os.rename("data", "moved")
    opts = "driver=qcow2,file.filename=q,data-file.driver=file,data-file.filename=moved"
    img("info", "q", code=1)
    img("amend", "--image-opts", "-o", "data_file=moved,data_file_raw=off", opts)
    for program in ("qemu-img", IMG):
        info = json.loads(run(program, "info", "--output=json", "q"))["format-specific"]["data"]
        expect((info["data-file"], info["data-file-raw"]) == ("moved", False), str(info))
    run("qemu-io", "-c", "read -P 3 0 1M", "q")
    theirs, ours = both("amend", "-o", "data_file_raw=on", "q")
    expect(theirs == ours == 1, f"data_file_raw=on: {ours}")
    img("create", "-q", "-f", "qcow2", "-b", "plain", "-F", "qcow2", "top")
    for options in ("backing_file=q", "backing_fmt=raw", "backing_file=q,backing_fmt=qcow2"):
        theirs, ours = both("amend", "-o", options, "top")
        expect(theirs == ours == 1, f"{options}: {ours}")
        before = open("top", "rb").read()
        img("amend", "-o", options, "top", code=1)
        expect(open("top", "rb").read() == before, f"{options}: refused, but changed")
    expect("'rebase' changes it" in img("amend", "-o", "backing_file=q", "top", code=1), "rebase")
    theirs, ours = both("amend", "-o", "backing_file=plain,backing_fmt=qcow2", "top")
    expect(theirs == ours == 0, "the same")
    expect("must be forced" in img("amend", "-o", "size=4k", "plain", code=1), "size")
    img("amend", "--force", "-o", "size=4k", "plain")


def create_options():
    """What the peer takes: the same words, and images that it finds right."""
    peer("create", "-q", "-f", "qcow2", "base", "4M")
    run(IO, "-c", "write -P 7 0 3M", "base")
    os.makedirs("bin")
    os.symlink(IMG, "bin/qemu-img")
    for fmt, options in (("raw", "nocow=on"), ("qcow2", "nocow=on"), ("qcow2", "encryption=off"),
                         ("qcow", "encryption=off"), ("vmdk", "toolsversion=10240"), ("vdi", "nocow=off"),
                         ("vhdx", "nocow=on"), ("raw", "extent_size_hint=1M"), ("vmdk", "nocow=on")):
        argv = ["create", "-f", fmt, "-o", options, "x", "4M"]
        theirs, ours = run("qemu-img", *argv), run("bin/qemu-img", *argv)
        if fmt not in ("vdi", "vhdx"):  # where they tell the options of the file first
            expect(sorted(theirs.split()) == sorted(ours.split()), f"{fmt} {options}: {theirs}{ours}")
        peer("info", "-f", fmt, "x")
    expect("toolsVersion" in open("x", errors="replace").read(), "x is no vmdk")
    for argv in (["-f", "qcow2", "-o", "encryption=on"], ["-f", "vmdk", "-o", "toolsversion=new"],
                 ["-f", "raw", "-o", "nocow=maybe"], ["-f", "raw", "-o", "extent_size_hint=5G"],
                 ["-f", "qcow2", "-o", "preallocation=full", "-b", "base", "-F", "qcow2"]):
        os.unlink("x")
        img("create", *argv, "x", "4M", code=1)
        expect(not os.path.exists("x"), f"{argv}: left a file")
        img("create", "-q", "x", "1M")
    for how in ("metadata", "falloc", "full"):
        for maker in (IMG, "qemu-img"):
            run(maker, "create", "-q", "-f", "qcow2", "-o", f"extended_l2=on,preallocation={how}",
                "-b", "base", "-F", "qcow2", "x", "6M")
            peer("check", "x")
            img("check", "x")
            expect((os.stat("x").st_blocks * 512 > 6 * MIB) == (how != "metadata"), f"{how}: space")
            run(IO, "-c", "read -P 7 0 3M", "-c", "read -P 0 3M 3M", "-c", "write -P 8 10k 4k", "x")
            run("qemu-io", "-c", "read -P 7 0 10k", "-c", "read -P 8 10k 4k", "-c", "read -P 7 14k 2M",
                "-c", "write -P 9 4M 100k", "x")
            run(IO, "-c", "read -P 9 4M 100k", "-c", "read -P 0 4300800 1M", "x")
            peer("check", "x")
            expect(stored("qcow2", "x") == 3 * MIB + 100 * KIB, f"{maker} {how}: {stored('qcow2', 'x')}")


def faults_by_options():
    """Rules of blkdebug in --image-opts and json: the image sees them from the beginning."""
    img("create", "-q", "-f", "qcow2", "q", "1M")
    run(IO, "-c", "write -P 1 0 64k", "q")
    base = "driver=qcow2,file.driver=blkdebug,file.image.filename=q,"
    rule = base + "file.inject-error.0.event=write_aio,file.inject-error.0.errno=28"
    for program in ("qemu-io", IO):
        out = run(program, "-c", "write -P 2 0 4k", "--image-opts", rule, code=1)
        expect("No space left" in out, f"{program}: {out}")
        name = ('json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file",'
                '"filename":"q"},"inject-error":[{"event":"write_aio","once":true}]}}')
        out = run(program, "-c", "write -P 2 0 4k", "-c", "write -P 1 0 4k", name, code=1)
        expect("Input/output error" in out and "wrote 4096" in out, f"{program}: {out}")
        states = (base + "file.set-state.0.event=write_aio,file.set-state.0.new_state=2,"
                  "file.inject-error.0.event=write_aio,file.inject-error.0.state=2")
        out = run(program, "-c", "write -P 1 0 4k", "-c", "write -P 1 4k 4k", "--image-opts", states,
                  code=1)
        expect("wrote 4096" in out and "Input/output error" in out, f"{program}: {out}")
    out = run(IO, "-c", "read 0 4k", "--image-opts",
              base + "file.inject-error.0.event=l2_load", code=1)
    expect("read failed" in out, out)
    for options, wrong in (("file.inject-error.0=x", "file.inject-error.NUMBER.KEY"),
                           ("file.inject-error.0.evnt=x", "no key 'evnt'"),
                           ("file.inject-error.0.event=x", "event"), ("file.config=none", "none")):
        out = run(IO, "-c", "read 0 4k", "--image-opts", base + options, code=1)
        expect(wrong in out, f"{options}: {out}")
    out = img("info", "--image-opts", "file.filename=q,file.inject-error.0.event=l2_load", code=1)
    expect("file.driver=blkdebug is missing" in out, out)


def breaks():
    """A request waits at an event, others overtake it, it goes on."""
    script = ["-c", "break write_aio A", "-c", "aio_write -P 1 0 4k", "-c", "wait_break A",
              "-c", "write -P 2 512k 4k", "-c", "read -P 0 0 4k", "-c", "resume A", "-c", "aio_flush",
              "-c", "read -P 1 0 4k", "-c", "break write_aio B", "-c", "remove_break B",
              "-c", "write -P 3 0 4k"]
    for program in ("qemu-io", IO):
        img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "q", "1M")
        out = run(program, *script, "blkdebug::q")
        expect(out.count("wrote 4096") == 3 and "failed" not in out, f"{program}: {out}")
    for line, wrong in (("resume A", "Could not resume request"), ("remove_break A", "Could not remove"),
                        ("break nothing A", "no event 'nothing'"), ("wait_break A", "No request"),
                        ("break write_aio", "bad argument count")):
        out = run(IO, "-c", line, "blkdebug::q", code=1)
        expect(wrong in out, f"{line}: {out}")
    expect("not open through blkdebug" in run(IO, "-c", "break write_aio A", "q", code=1), "no filter")
    # Whoever forgets to resume does not wait for ever at the end.
    run(IO, "-c", "break write_aio A", "-c", "aio_write -P 9 0 4k", "-c", "wait_break A", "blkdebug::q")
    run("qemu-io", "-c", "read -P 9 0 4k", "q")


def io_letters():
    img("create", "-q", "-f", "qcow2", "base", "1M")
    run(IO, "-c", "write -P 7 0 512k", "base")
    for program in ("qemu-io", IO):
        img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
        run(program, "-C", "-c", "read -P 7 60k 8k", "-c", "aio_read -P 7 200k 1k", "-c", "aio_flush", "top")
        top = [e for e in json.loads(peer("map", "--output=json", "top")) if e["depth"] == 0]
        expect(sum(e["length"] for e in top if e["present"]) == 192 * KIB, f"{program}: {top}")
        peer("check", "top")
        for aio in ("io_uring", "threads"):
            for cache in ("none", "writeback"):
                run(program, "-i", aio, "-t", cache, "-c", "read -P 7 0 64k", "top")
        run(program, "-c", "open -C -o driver=qcow2 top", "-c", "read -P 7 400k 4k")
        run(program, "-c", "reopen -o discard=unmap", "-c", "read -P 7 0 4k", "top")
    run(IO, "-f", "qcow2", "-c", "reopen -r -o cache.direct=on", "-c", "reopen -o discard=ignore",
        "-c", "read -P 7 0 4k", "top")
    expect("unknown" in run(IO, "-c", "reopen -o nothing=1", "top", code=1), "reopen -o nothing")
    img("bench", "-c", 8, "-d", 2, "-i", "io_uring", "-t", "none", "top")
    peer("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    theirs, ours = both("rebase", "-u", "top",
                        prepare=lambda: peer("rebase", "-u", "-b", "base", "-F", "qcow2", "top"))
    expect(theirs == ours == 0, "rebase -u")
    expect("backing" not in img("info", "top"), "rebase -u leaves a backing file")
    theirs, ours = both("rebase", "top")
    expect(theirs == ours == 1, "rebase without -b")


def trace():
    img("create", "-q", "q", "1M")
    for argv in (["-T", "block"], ["--trace", "enable=bl*"], ["--trace=block"], ["-T", "events=list"],
                 ["-T", "block,file=log"]):
        with open("list", "w") as f:
            f.write("# a comment\n\nblock\n")
        out = img(*argv, "convert", "q", "x")
        log = open("log").read() if "log" in argv[-1] else out
        expect("x: flush" in log or "q: read" in log or "x: zero" in log, f"{argv}: {log}")
        out = run(IO, *argv, "-c", "read 0 4k", "q")
        log = open("log").read() if "log" in argv[-1] else out
        expect("q: read 0+4096" in log, f"{argv}: {log}")
    for argv, wrong in ((["-T", "bdrv_*"], "fits nothing"), (["-T"], "lacks its value"),
                        (["-T", "events=none"], "none"), (["-T", "x=y"], "'x'")):
        out = img(*argv, *(["info", "q"] if len(argv) > 1 else []), code=1)
        expect(wrong in out, f"{argv}: {out}")
    expect("block" in img("-T", "help", code=1), "help")


def option_keys():
    """Keys of blockdev trees that management programs write: both take and refuse the same."""
    img("create", "-q", "-f", "qcow2", "q", "1M")
    base = "driver=qcow2,file.filename=q,"
    good = ["file.locking=off", "file.locking=auto", "file.aio=threads", "file.aio=io_uring", "node-name=n0",
            "file.aio=native,file.cache.direct=on,cache.direct=on", "file.node-name=f_1.x-", "auto-read-only=on",
            "detect-zeroes=on", "detect-zeroes=unmap,discard=unmap", "l2-cache-size=2M,refcount-cache-size=512k",
            "cache-size=4M", "cache-size=4M,l2-cache-size=1M", "lazy-refcounts=on", "overlap-check=all",
            "overlap-check.template=cached,overlap-check.inactive-l2=off", "pass-discard-request=on",
            "pass-discard-snapshot=off,pass-discard-other=on", "cache-clean-interval=60", "l2-cache-entry-size=4k"]
    bad = ["file.locking=some", "file.aio=magic", "file.aio=native", "node-name=0n", "auto-read-only=perhaps",
           "detect-zeroes=all", "detect-zeroes=unmap,discard=ignore", "l2-cache-size=x", "cache-size=1M,l2-cache-size=2M",
           "cache-size=4M,l2-cache-size=1M,refcount-cache-size=1M", "lazy-refcounts=lazy", "overlap-check=much",
           "pass-discard-request=2", "no-such-key=on", "encrypt.format=luks", "encrypt.format=aes", "encrypt.format=x"]
    for options in good + bad:
        for program in ("qemu-img", IMG):
            run(program, "bench", "-c", 1, "--image-opts", base + options, code=1 if options in bad else 0)
    secret = ["--object", '{"qom-type":"secret","id":"s","data":"geheim"}']
    for argv in (["-f", "luks", "-o", "key-secret=s,iter-time=1", "l"],
                 ["-f", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1", "e"]):
        img("create", "-q", *secret, *argv, "1M")
    img("create", "-q", "-f", "qcow2", "-b", "e", "-F", "qcow2", "top")
    for options, code in (("file.filename=e,encrypt.key-secret=s,encrypt.format=luks", 0),
                          ("file.filename=e,encrypt.key-secret=s,encrypt.format=aes", 1),
                          ("file.filename=top,backing.encrypt.key-secret=s,backing.encrypt.format=luks", 0),
                          ("file.filename=top,backing.encrypt.key-secret=s,backing.encrypt.format=aes", 1)):
        for program in ("qemu-img", IMG):
            run(program, "convert", *secret, "--image-opts", f"driver=qcow2,{options}", "out", code=code)
    for text, words in (("{", "json"), ('{"qom-type":"secret"}', "id"), ('{"id":"s"}', "'secret'"),
                        ('{"qom-type":"secret","id":"s","data":"x","zz":1}', "zz"),
                        ("tls-creds-x509,id=t,dir=.", "tls-certificates=")):
        out = img("info", "--object", text, "q", code=1)
        expect(words in out, f"{text}: {out}")


def locking():
    """file.locking=off takes no lock of the image, but the one of its backing file."""
    img("create", "-q", "-f", "qcow2", "base", "1M")
    img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    for held, code in (("top", 0), ("base", 1)):
        with subprocess.Popen([IO, "-f", "qcow2", held], stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE) as p:
            p.stdin.write("length\n")
            p.stdin.flush()
            p.stdout.readline()
            for options, wanted in (("", 1), ("file.locking=on,", 1), ("file.locking=off,", code)):
                for program in ("qemu-io", IO):
                    run(program, "-r", "-c", "length", "--image-opts", f"{options}driver=qcow2,file.filename=top",
                        code=wanted)
            p.communicate("quit\n", timeout=60)


def encrypted_secrets():
    """A secret that another one encrypts: AES-256-CBC with padding, as QEMU documents it."""
    def cbc(data, key, iv):
        return subprocess.run(["openssl", "enc", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex()], input=data,
                              capture_output=True, check=True).stdout
    if not shutil.which("openssl"):
        raise Skipped("openssl is not installed")
    key, iv = os.urandom(32), os.urandom(16)
    def b64(data):
        return base64.b64encode(data).decode()
    with open("raw", "wb") as f:
        f.write(cbc(b"geheim", key, iv))
    master = ["--object", f"secret,id=m,format=base64,data={b64(key)}"]
    img("create", "-q", "--object", "secret,id=s,data=geheim", "-f", "luks", "-o", "key-secret=s,iter-time=1",
        "l", "1M")
    for text, code in ((f"data={b64(cbc(b'geheim', key, iv))},format=base64,keyid=m,iv={b64(iv)}", 0),
                       (f"file=raw,keyid=m,iv={b64(iv)}", 0), (f"file=raw,keyid=m,iv={b64(iv[:8])}", 1),
                       ("file=raw,keyid=m", 1), (f"file=raw,keyid=none,iv={b64(iv)}", 1),
                       (f"data=short,keyid=m,iv={b64(iv)}", 1), (f"data=,keyid=m,iv={b64(iv)}", 1),
                       (f"data={b64(cbc(b'falsch', key, iv))},format=base64,keyid=m,iv={b64(iv)}", 1)):
        for program in ("qemu-img", IMG):
            run(program, "convert", *master, "--object", f"secret,id=s,{text}", "--image-opts",
                "driver=luks,key-secret=s,file.filename=l", "out", code=code)


def backing_secrets():
    """An encrypted backing file is opened by options, and needs none to be named."""
    secret = ["--object", "secret,id=s,data=geheim"]
    img("create", "-q", *secret, "-f", "qcow2", "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1", "base", "2M")
    run(IO, *secret, "-c", "write -P 5 0 1M", "--image-opts",
        "driver=qcow2,encrypt.key-secret=s,file.filename=base")
    for maker in ("qemu-img", IMG):
        run(maker, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
        opts = "driver=qcow2,file.filename=top,backing.encrypt.key-secret=s"
        name = ('json:{"driver":"qcow2","file":{"driver":"file","filename":"top"},"backing":{"driver":"qcow2",'
                '"encrypt":{"key-secret":"s"},"file":{"driver":"file","filename":"base"}}}')
        for program in ("qemu-io", IO):
            run(program, *secret, "-c", "read -P 5 64k 960k", "-c", "write -P 6 4k 4k", "--image-opts", opts)
            run(program, *secret, "-c", "read -P 5 8k 1000k", name)
        img("convert", *secret, "--image-opts", opts, "flat")
        img("commit", "-q", *secret, "--image-opts", opts)
        run(IO, *secret, "-c", "read -P 6 4k 4k", "-c", "read -P 5 8k 1000k", "--image-opts",
            "driver=qcow2,encrypt.key-secret=s,file.filename=base")
    expect("password is missing" in run(IO, "-c", "read 0 4k", "top", code=1), "no secret")
    with open("flat", "r+b") as f:
        f.truncate(2 * MIB)
        f.seek(MIB)
        f.write(b"z" * 4096)
    part = "driver=raw,offset=1M,size=64k,file.filename=flat"
    for program in ("qemu-io", IO):
        run(program, "-c", "read -P 122 0 4k", "--image-opts", part)
        expect("64 KiB" in run(program, "-c", "length", "--image-opts", part), "size")


def loop_device(path):
    """A block device on a file."""
    losetup = shutil.which("losetup") or shutil.which("losetup", path="/sbin:/usr/sbin")
    p = losetup and subprocess.run([losetup, "-f", "--show", path], capture_output=True, text=True,
                                   check=False)
    if not p or p.returncode:
        raise Skipped(f"no loop device ({p.stderr.strip() if p else 'no losetup'})")
    return losetup, p.stdout.strip()


def block_device():
    """A raw image and a qcow2 one on a device: its size is what it is, and it is locked."""
    with open("disk", "wb") as f:
        f.truncate(4 * MIB)
    losetup, device = loop_device(os.path.abspath("disk"))
    try:
        for cache in ("writeback", "none"):
            run(IO, "-f", "raw", "-t", cache, "-c", "write -P 7 1M 1M", "-c", "write -z 1M 64k",
                "-c", "discard 3M 1M", "-c", "flush", device)
            run("qemu-io", "-f", "raw", "-t", cache, "-c", "read -P 0 1M 64k", "-c", "read -P 7 1088k 960k",
                device)
        info = json.loads(img("info", "-f", "raw", "--output=json", device))
        expect(info["virtual-size"] == 4 * MIB, str(info))
        expect("is a device" in img("resize", "-f", "raw", device, "8M", code=1), "resize")
        expect("is a device" in img("resize", "-f", "raw", "--shrink", device, "1M", code=1), "shrink")
        with open("src", "wb") as f:
            f.write(b"s" * MIB)
            f.truncate(2 * MIB)
        img("convert", "-n", "-f", "raw", "-O", "raw", "src", device)
        run("qemu-io", "-f", "raw", "-c", "read -P 115 0 1M", "-c", "read -P 0 1M 1M", device)
        img("convert", "-C", "-f", "raw", "-O", "raw", device, "back")
        expect(open("back", "rb").read(2 * MIB) == open("src", "rb").read(), "convert from the device")
        expect("smaller" in img("convert", "-n", "-f", "raw", "-O", "raw", "src", "src", "src", device,
                                code=1), "larger than the device")
        for tool, other in ((IMG, "qemu-img"), ("qemu-img", IMG)):
            run(tool, "create", "-q", "-f", "qcow2", device, "64M")
            run(IO, "-f", "qcow2", "-c", "write -P 9 40M 1M", device)
            run("qemu-io", "-f", "qcow2", "-c", "read -P 9 40M 1M", "-c", "write -P 8 3M 64k", device)
            run(other, "check", "-f", "qcow2", device)
            run(IO, "-f", "qcow2", "-c", "read -P 8 3M 64k", device)
        out = run(IO, "-f", "qcow2", "-c", "write -P 1 0 30M", device, code=1)
        expect("No space" in out, out)
        peer("check", "-f", "qcow2", device, code={0, 3})
        img("create", "-q", "-f", "raw", device, "4M")
        img("compact", "-q", "-f", "raw", device, code={0, 1})
    finally:
        run(losetup, "-d", device)


def error_words():
    """What scripts look for in the peer's messages stands in ours."""
    os.makedirs("dir")
    os.makedirs("bin")
    os.symlink(IMG, "bin/qemu-img")
    peer("create", "-q", "-f", "qcow2", "q", "1M")
    peer("create", "-q", "r", "1M")
    open("empty", "wb").close()
    missing = "qemu-img: Could not open 'none': "
    for argv, words in (
            (["info", "none"], missing), (["map", "none"], missing), (["check", "none"], missing),
            (["convert", "none", "x"], missing), (["resize", "none", "1M"], missing),
            (["commit", "none"], missing), (["compare", "q", "none"], missing),
            (["info", "none"], "Could not open 'none': No such file or directory"),
            (["info", "dir"], "Could not open 'dir': "), (["info", "-f", "qcow2", "r"], "Could not open 'r': "),
            (["info", "-f", "foo", "q"], "Could not open 'q': Unknown "),
            (["info", "--image-opts", "driver=qcow2,file.filename=none"],
             "Could not open 'none': No such file or directory"),
            (["info", "json:{"], "Could not open 'json:{': "), (["info"], "Expecting one image file name"),
            (["info", "q", "r"], "Expecting one image file name"), (["info", "-Z", "q"], "unrecognized option '-Z'"),
            (["compare", "q"], "Expecting two image file names"), (["foo"], "Command not found: foo"),
            (["create", "x"], "x: Image creation needs a size parameter"),
            (["create", "-f", "foo", "x", "1M"], "Unknown file format 'foo'"),
            (["create", "-f", "qcow2", "-o", "foo=1", "x", "1M"], "Invalid parameter 'foo'"),
            (["create", "none/x", "1M"], "Could not create 'none/x': No such file or directory"),
            (["create", "dir", "1M"], "Could not create 'dir': Is a directory"),
            (["create", "-b", "q", "-F", "qcow2", "x", "1M"], "x: Backing file not supported for file format 'raw'"),
            (["create", "-f", "qcow2", "-F", "raw", "x", "1M"],
             "x: Backing format cannot be used without backing file"),
            (["convert", "-O", "foo", "q", "x"], "Unknown file format 'foo'"),
            (["convert", "-t", "foo", "q", "x"], "Invalid cache option: foo"),
            (["convert", "-n", "-O", "raw", "q", "empty"], "output file is smaller than input file"),
            (["convert", "-c", "-O", "raw", "q", "x"], "Compression not supported for this file format"),
            (["convert", "-O", "qcow2", "-o", "foo=1", "q", "x"], "Invalid parameter 'foo'"),
            (["amend", "q"], "Must specify options (-o)"), (["amend", "-o", "foo=1", "q"], "Invalid parameter 'foo'"),
            (["rebase", "-b", "none", "-F", "raw", "q"], "Could not open new backing file 'none'"),
            (["bitmap", "q", "b"], "Need at least one of --add")):
        texts = [run(program, *argv, code={1, 2}) for program in ("qemu-img", "bin/qemu-img")]
        expect(words in texts[0], f"{argv}: the peer says {texts[0]}")
        expect(words in texts[1], f"{argv}: ours says {texts[1]}")
    for letters, words in (([], 'Failed to get "write" lock'), (["-r"], 'Failed to get shared "write" lock')):
        for holder, other in ((IO, "qemu-io"), ("qemu-io", IO)):
            with subprocess.Popen([holder, "-f", "qcow2", "q"], stdin=subprocess.PIPE, text=True,
                                  stdout=subprocess.PIPE) as p:
                p.stdin.write("length\n")
                p.stdin.flush()
                p.stdout.readline()
                out = run(other, *letters, "-f", "qcow2", "-c", "length", "q", code=1)
                p.communicate("quit\n", timeout=60)
            expect(words in out, f"{other} {letters}: {out}")


if __name__ == "__main__":
    main([(fn.__name__.replace("_", "-"), fn, peered) for fn, peered in (
        (exit_codes, True), (snapshot_by_both, False), (small_size, False), (long_zeros, False),
        (rate, False), (json_names, True), (offload, True), (amend_names, True),
        (create_options, True), (faults_by_options, True), (breaks, True), (io_letters, True),
        (trace, False), (option_keys, True), (locking, True), (encrypted_secrets, True), (error_words, True), (block_device, True), (backing_secrets, True))])
