#!/usr/bin/env python3
"""Which engine -accel takes, and what it says of it, on hosts of all kinds: fake-kvm.c stands for their
/dev/kvm.  Usage: test-accel.py VMRUN FAKE-KVM [TEST]...
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from vmrun_test import check, need_kvm, run_tests  # noqa: E402

VMRUN, FAKE = sys.argv[1:3]
del sys.argv[1:3]
TRIES = 20


def start(kind, *arguments):
    """Exit code, the lines that vmrun says; it quits at once if it starts."""
    environment = dict(os.environ)
    if kind:
        environment["FAKE_KVM"] = kind
        environment["LD_PRELOAD"] = FAKE
        options = environment.get("ASAN_OPTIONS", "")
        environment["ASAN_OPTIONS"] = (options + ":" if options else "") + "verify_asan_link_order=0"
    done = subprocess.run([VMRUN, *arguments, "-S", "-m", "16", "-display", "none", "-serial", "none",
                           "-monitor", "stdio"], input="quit\n", capture_output=True, text=True, timeout=60,
                          env=environment, check=False)
    return done.returncode, done.stderr.splitlines()


def taken(lines):
    """The engine of "vmrun: ENGINE, 1 CPU, ..."."""
    found = [line.split()[1].rstrip(",") for line in lines if ", 1 CPU" in line]
    check(len(found) <= 1, f"{lines}")
    return found[0] if found else None


def using(lines):
    return [line for line in lines if "using " in line]


def falls_back(kind, *words):
    """Without an option and with auto: the interpreter, and one line that says which and why."""
    for arguments in ([], ["-accel", "auto"]):
        status, lines = start(kind, *arguments)
        check(status == 0 and taken(lines) == "interp", f"{kind}, {arguments}: {status}, {lines}")
        said = using(lines)
        check(len(said) == 1 and said[0].startswith("vmrun: warning: using interp, since "), f"{kind}: {lines}")
        for word in words:
            check(word in said[0], f"{kind}: no '{word}' in {said[0]!r}")


def test_absent():
    falls_back("none", "/dev/kvm does not exist")
    falls_back("denied", "/dev/kvm may")
    falls_back("old", "kvm: ")


def test_emulated():
    falls_back("slow", "this machine's KVM takes ", " ns for each instruction of a guest's kernel")
    falls_back("stuck", "this machine's KVM cannot run a loop of a kernel's")


def test_native():
    """A KVM that runs kernels natively is taken without a word; this one can no more than be tried."""
    for arguments in ([], ["-accel", "auto"]):
        # A busy host may take its time over the trial now and then.
        for _ in range(TRIES):
            status, lines = start("native", *arguments)
            if not using(lines):
                break
        check(status == 1 and taken(lines) is None and not using(lines) and "kvm" in lines[0].lower(),
              f"{arguments}: {status}, {lines}")


def test_obeyed():
    """-accel kvm and interp are taken whatever auto would."""
    for kind in ("slow", "native"):
        status, lines = start(kind, "-accel", "kvm")
        check(status == 1 and not using(lines) and "kvm" in lines[0].lower(), f"{kind}: {status}, {lines}")
    for kind in ("none", "denied", "slow", "native"):
        status, lines = start(kind, "-accel", "interp")
        check(status == 0 and taken(lines) == "interp" and not using(lines), f"{kind}: {status}, {lines}")
    status, lines = start("none", "-accel", "kvm")
    check(status == 1 and len(lines) == 1 and "no engine can run the guest: kvm: /dev/kvm does not exist" in
          lines[0], f"{status}, {lines}")
    # A list: the first that works.
    status, lines = start("none", "-accel", "kvm", "-accel", "interp")
    check(status == 0 and taken(lines) == "interp" and len(using(lines)) == 1, f"{status}, {lines}")
    status, lines = start("none", "-accel", "interp", "-accel", "kvm")
    check(status == 0 and taken(lines) == "interp" and not using(lines), f"{status}, {lines}")


def test_here():
    """This machine's own KVM: -accel kvm is obeyed, and auto says why if it is not taken."""
    need_kvm()
    status, lines = start(None, "-accel", "kvm")
    check(status == 0 and taken(lines) == "kvm" and not using(lines), f"{status}, {lines}")
    status, lines = start(None, "-accel", "auto")
    check(status == 0 and taken(lines) in ("kvm", "interp"), f"{status}, {lines}")
    check(len(using(lines)) == (taken(lines) == "interp"), f"{lines}")


if __name__ == "__main__":
    run_tests([("auto without KVM", test_absent), ("auto with a KVM that emulates", test_emulated),
               ("auto with a native KVM", test_native), ("kvm and interp are obeyed", test_obeyed),
               ("this machine", test_here)])
