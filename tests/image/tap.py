# SPDX-License-Identifier: GPL-2.0-or-later
"""TAP output, a scratch directory, and running programs, for the image tests."""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback

IMG, WORK = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
SEED = int(os.environ.get("SEED", "20080117"))
PEER = shutil.which("qemu-img") and shutil.which("qemu-io")


class Failed(Exception):
    pass


class Skipped(Exception):
    """A test that cannot try anything here; the text tells why."""


def run(*argv, code=0, timeout=120, stdin=None, env=None):
    """Runs a program; its output (both streams). code: the exit code wanted, or a set, or None."""
    argv = [str(a) for a in argv]
    full_env = dict(os.environ, LC_ALL="C", **(env or {}))
    if argv[0].startswith("qemu"):
        # Meson fills fresh memory with garbage, which some versions of the peer do not bear.
        full_env.pop("MALLOC_PERTURB_", None)
    try:
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                           input=stdin, text=True, errors="replace", env=full_env)
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{' '.join(argv)}: does not end") from e
    wanted = {code} if isinstance(code, int) else code
    if p.returncode < 0 or (wanted is not None and p.returncode not in wanted):
        raise Failed(f"{' '.join(argv)}: exit code {p.returncode}, wanted {wanted}:\n{p.stdout}")
    return p.stdout


def img(*argv, **kw):
    return run(IMG, *argv, **kw)


def peer(*argv, **kw):
    return run("qemu-img", *argv, **kw)


def expect(condition, what):
    if not condition:
        raise Failed(what)


def bits_of(name):
    """The bits that are set in a qcow2 image's first bitmap, as the file has them."""
    with open(name, "rb") as f:
        image = f.read()
    cluster = 1 << struct.unpack_from(">I", image, 20)[0]
    at = struct.unpack_from(">I", image, 100)[0]
    while struct.unpack_from(">I", image, at)[0] != 0x23852875:
        at += 8 + (struct.unpack_from(">I", image, at + 4)[0] + 7) // 8 * 8
    directory = struct.unpack_from(">Q", image, at + 24)[0]
    table, entries = struct.unpack_from(">QI", image, directory)
    bits = b""
    for entry in struct.unpack_from(f">{entries}Q", image, table):
        place = entry & 0x00fffffffffffe00
        bits += image[place:place + cluster] if place else (b"\xff" if entry & 1 else b"\0") * cluster
    return {8 * i + j for i, byte in enumerate(bits) for j in range(8) if byte >> j & 1}


def main(tests):
    """tests: (name, function, needs the peer). Prints TAP; ends the program."""
    only = os.environ.get("ONLY")
    tests = [t for t in tests if not only or only in t[0]]
    print(f"1..{len(tests)}")
    print(f"# SEED={SEED}")
    failures = 0
    for number, (name, fn, needs_peer) in enumerate(tests, 1):
        if needs_peer and not PEER:
            print(f"ok {number} {name} # SKIP qemu-img and qemu-io are not installed")
            continue
        old = os.getcwd()
        scratch = tempfile.mkdtemp(prefix="vmrun-image-")
        os.chdir(scratch)
        try:
            fn()
            print(f"ok {number} {name}")
        except Skipped as e:
            print(f"ok {number} {name} # SKIP {e}")
        except Exception as e:  # pylint: disable=broad-except
            failures += 1
            print(f"not ok {number} {name}")
            text = str(e) if isinstance(e, Failed) else traceback.format_exc()
            for line in text.splitlines():
                print(f"# {line}")
        finally:
            os.chdir(old)
            shutil.rmtree(scratch, ignore_errors=True)
        sys.stdout.flush()
    sys.exit(1 if failures else 0)
