# SPDX-License-Identifier: GPL-2.0-or-later
"""LUKS images: made and written by vmrun, qemu and cryptsetup, each opened by the others."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys

from tap import IMG, SEED, WORK, expect, img, main, peer, run

MIB = 1 << 20
SECRET = ["--object", "secret,id=sec0,data=geheim"]
VMRUN = os.path.abspath(sys.argv[3])
CRYPTSETUP = shutil.which("cryptsetup") or shutil.which("/sbin/cryptsetup")

# options beside key-secret and iter-time
SHAPES = [
    "cipher-alg=aes-256",
    "cipher-alg=aes-128,hash-alg=sha1",
    "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha512",
    "cipher-alg=aes-192,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha224",
    "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=ripemd160",
    "cipher-mode=xts,ivgen-alg=plain,hash-alg=sha384",
]
QUICK = "key-secret=sec0,iter-time=1"


def patiently(*argv):
    """The peer measures the time that PBKDF2 takes, and may fail at it."""
    for _ in range(20):
        out = run(*argv, code={0, 1})
        if "accurate CPU usage" not in out:
            break
    return out


def create(tool, name, options, size=3 * MIB):
    out = patiently(tool, "create", "-q", *SECRET, "-f", "luks", "-o", f"{QUICK},{options}", name, size)
    expect(not out, out)


def image_opts(name):
    return f"driver=luks,key-secret=sec0,file.filename={name}"


def peer_compare(name, raw):
    out = peer("compare", *SECRET, "--image-opts", image_opts(name), f"driver=raw,file.filename={raw}")
    expect("identical" in out, out)


def work(name, *flags):
    open("key", "w").write("geheim")
    run(WORK, *flags, "-k", "key", name, "luks", "r.raw", SEED, 60)


def peer_work(name, rnd):
    commands = []
    for _ in range(20):
        offset, length = rnd.randrange(2 * MIB // 512) * 512, rnd.randrange(1, 300) * 512
        commands += ["-c", rnd.choice([f"write -P {rnd.randrange(256)}", "write -z"]) + f" {offset} {length}"]
    run("qemu-io", *SECRET, *commands, "--image-opts", image_opts(name))
    run("qemu-io", "-f", "raw", *commands, "r.raw")


def both_ways(maker, options):
    def test():
        rnd = random.Random(f"{SEED}{maker}{options}")
        create(maker, "i", options)
        expect(peer("info", "i") == img("info", "i"), f"{peer('info', 'i')}\n{img('info', 'i')}")
        ours, theirs = (json.loads(tool("info", "--output=json", "i")) for tool in (img, peer))
        expect(ours == theirs, f"{ours}\n{theirs}")
        work("i", "-b")
        peer_compare("i", "r.raw")
        peer_work("i", rnd)
        work("i", "-n")
        peer_compare("i", "r.raw")
    return test


def convert():
    rnd = random.Random(SEED)
    with open("src", "wb") as f:
        f.write(rnd.randbytes(MIB))
        f.truncate(3 * MIB + 512)
        f.seek(2 * MIB)
        f.write(rnd.randbytes(4096))
    img("convert", *SECRET, "-f", "raw", "-O", "luks", "-o", QUICK, "src", "i")
    peer_compare("i", "src")
    expect("identical" in img("compare", *SECRET, "--image-opts", image_opts("i"),
                              "driver=raw,file.filename=src"), "our compare")
    img("convert", *SECRET, "--image-opts", image_opts("i"), "-O", "qcow2", "q")
    expect("identical" in peer("compare", "-f", "raw", "-F", "qcow2", "src", "q"), "differs")
    for options in SHAPES[:3]:
        argv = ["measure", *SECRET, "-O", "luks", "-o", f"{QUICK},{options}", "--size", "5M"]
        expect(img(*argv) == patiently("qemu-img", *argv), "measure differs")
    data = open("i", "rb").read()
    expect(open("src", "rb").read(4096) not in data, "plain text in the image")


def in_qcow2(maker, options):
    """The guest's data in a qcow2 file, encrypted by LUKS."""
    def test():
        opts = "driver=qcow2,encrypt.key-secret=sec0,file.filename=i"
        out = patiently(maker, "create", "-q", *SECRET, "-f", "qcow2", "-o",
                        f"encrypt.format=luks,encrypt.key-secret=sec0,encrypt.iter-time=1{options}", "i", 3 * MIB)
        expect(not out, out)
        open("key", "w").write("geheim")
        for seed in range(2):
            run(WORK, *(["-b"] if not seed else []), "-d", "-k", "key", "i", "qcow2", "r.raw", SEED + seed, 60)
            peer("check", *SECRET, "--image-opts", opts)
            for tool in (IMG, "qemu-img"):
                out = run(tool, "compare", *SECRET, "--image-opts", opts, "driver=raw,file.filename=r.raw")
                expect("identical" in out, out)
        run("qemu-io", *SECRET, "-c", "write -P 5 1M 300k", "-c", "write -z 64k 64k", "--image-opts", opts)
        run("qemu-io", "-f", "raw", "-c", "write -P 5 1M 300k", "-c", "write -z 64k 64k", "r.raw")
        out = img("compare", *SECRET, "--image-opts", opts, "driver=raw,file.filename=r.raw")
        expect("identical" in out, out)
        expect("encrypted: yes" in img("info", "i"), "info")
    return test


def errors():
    create(IMG, "i", SHAPES[0])
    for argv, text in (
            ((["convert", "-O", "raw", "i", "o"]), "its password is missing"),
            (["convert", "--object", "secret,id=sec0,data=falsch", "--image-opts", image_opts("i"), "o"],
             "opens no key slot"),
            (["convert", "--image-opts", image_opts("i"), "o"], "no secret with id 'sec0'"),
            (["create", "-f", "luks", "x", "1M"], "key-secret is missing"),
            (["create", "-f", "luks", "-o", "key-secret=no", "x", "1M"], "no secret with id 'no'"),
            (["create", *SECRET, "-f", "luks", "-o", QUICK + ",hash-alg=md5", "x", "1M"], "hash 'md5'"),
            (["create", *SECRET, "-f", "luks", "-o", QUICK + ",cipher-alg=aes-192", "x", "1M"], "neither"),
            (["create", *SECRET, "-f", "luks", "-o", QUICK + ",ivgen-alg=essiv", "x", "1M"], "neither"),
            (["info", "--object", "secret,id=a", "i"], "either data=TEXT or file=PATH"),
            (["info", "--object", "secret,id=a,data=b,file=c", "i"], "either data=TEXT or file=PATH"),
            (["info", "--object", "secret,data=a", "i"], "needs id"),
            (["info", "--object", "secret,id=a,file=/none", "i"], "No such file"),
            (["info", "--object", "secret,id=a,data=?,format=base64", "i"], "no base64"),
            (["info", "--object", "iothread,id=a", "i"], "there is 'secret'"),
            (["info", "--object", "secret,id=a,data=a", "--object", "secret,id=a,data=a", "i"], "already")):
        out = img(*argv, code=1)
        expect(text in out, f"{argv}: no '{text}' in {out}")
        expect(not os.path.exists("x"), "a failed create left a file")
    open("k64", "w").write("Z2VoZWlt\n")
    img("convert", "--object", "secret,id=sec0,file=k64,format=base64", "--image-opts", image_opts("i"), "o")


def hostile():
    create(IMG, "i", SHAPES[0])
    data = open("i", "rb").read()
    for at, kind, value, text in (
            (6, "H", 2, "LUKS version 2"), (8, "4s", b"twof", "cipher 'twof'"),
            (40, "4s", b"ecb-", "only cbc and xts"), (44, "4s", b"bad\0", "only plain"),
            (72, "4s", b"md5\0", "hash 'md5'"), (104, "I", 0, "out of bounds"),
            (104, "I", 0xffffffff, "payload is out of bounds"), (108, "I", 0xffffffff, "a key of"),
            (108, "I", 0, "a key of"), (164, "I", 0xffffffff, "iterations of the digest"),
            (164, "I", 0, "iterations of the digest"), (208, "I", 5, "key slot 0 is damaged"),
            (212, "I", 0xffffffff, "iterations"), (248, "I", 0, "out of bounds"),
            (248, "I", 0xffffff, "out of bounds"), (252, "I", 0xffffffff, "stripes"),
            (252, "I", 0, "stripes"), (112, "I", 0, "opens no key slot")):
        copy = bytearray(data)
        struct.pack_into(">" + kind, copy, at, value)
        open("x", "wb").write(copy)
        out = img("convert", *SECRET, "--image-opts", image_opts("x"), "o", code=1)
        expect(text in out, f"{at}: no '{text}' in {out}")
    for size in (0, 6, 8, 100, 591, 592, 4096, 5000, 100000):
        open("x", "wb").write(data[:size])
        out = img("convert", *SECRET, "--image-opts", image_opts("x"), "o", code=1)
        expect("vmrun-img: " in out, out)


def cryptsetup():
    if not CRYPTSETUP:
        print("# cryptsetup is not installed: not tried")
        return
    open("key", "w").write("geheim")
    open("other", "w").write("zweites")
    quick = ["--pbkdf-force-iterations", "1000"]
    for n, options in enumerate((["-c", "aes-xts-plain64", "-s", "512", "-h", "sha256"],
                                 ["-c", "aes-cbc-essiv:sha256", "-s", "256", "-h", "sha1"],
                                 ["-c", "aes-xts-plain64", "-s", "256", "-h", "sha512"])):
        with open("c", "wb") as f:
            f.truncate(6 * MIB)
        run(CRYPTSETUP, "-q", "luksFormat", "--type", "luks1", *quick, *options, "c", "key")
        run(CRYPTSETUP, "-q", "luksAddKey", *quick, "--key-file", "key", "c", "other")
        run(WORK, "-b", "-k", "other", "c", "luks", "r.raw", SEED + n, 40)
        peer_compare("c", "r.raw")
    for options in SHAPES:
        create(IMG, "i", options)
        run(CRYPTSETUP, "open", "--test-passphrase", "--type", "luks1", "--key-file", "key", "i")
        run(CRYPTSETUP, "open", "--test-passphrase", "--type", "luks1", "--key-file", "other", "i", code=2)


def machine():
    """A drive of vmrun takes its password from -object."""
    create(IMG, "i", SHAPES[0])
    open("key", "w").write("geheim")
    drive = ["-accel", "qtest", "-display", "none", "-S", "-monitor", "stdio"]
    out = run(VMRUN, *drive, "-object", "secret,id=s,file=key", "-drive", "file=i,key-secret=s",
              stdin="info block\nquit\n")
    expect("ide0-hd0: i (luks)" in out, out)
    img("create", "-q", "-f", "qcow2", "-u", "-b", "i", "-F", "luks", "top", 3 * MIB)
    out = run(VMRUN, *drive, "-object", "secret,id=s,file=key", "-drive",
              "file=top,backing.encrypt.key-secret=s", stdin="info block\nquit\n")
    expect("ide0-hd0: top (qcow2)" in out, out)
    # what a job opens anew needs the password again
    for file in ("file=i,key-secret=s,snapshot=on", "file=top,backing.key-secret=s"):
        with subprocess.Popen([VMRUN, *drive, "-object", "secret,id=s,file=key", "-drive", file],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, bufsize=1) as p:
            p.stdin.write("commit ide0-hd0\n")
            said = ""
            while "No active jobs" not in said and p.poll() is None:
                p.stdin.write("info block-jobs\n")
                said += p.stdout.readline()
            said += p.communicate("quit\n", timeout=60)[0]
        expect("missing" not in said and "rror" not in said, said)
    out = run(VMRUN, *drive, "-drive", "file=i", stdin="quit\n", code=1)
    expect("its password is missing" in out, out)
    out = run(VMRUN, *drive, "-drive", "file=i,key-secret=s", stdin="quit\n", code=1)
    expect("no secret with id 's'" in out, out)


def tests():
    for options in SHAPES:
        if "aes-192" in options:
            continue  # the peer (7.2) aborts: its slots are no whole sectors
        yield f"ours/{options}", both_ways(IMG, options), True
        yield f"theirs/{options}", both_ways("qemu-img", options), True
    for options in ("", ",cluster_size=4k,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv"):
        yield f"qcow2/ours{options}", in_qcow2(IMG, options), True
        yield f"qcow2/theirs{options}", in_qcow2("qemu-img", options), True
    yield "convert", convert, True
    yield "errors", errors, False
    yield "hostile", hostile, False
    yield "machine", machine, False
    yield "cryptsetup", cryptsetup, True


if __name__ == "__main__":
    main(list(tests()))
