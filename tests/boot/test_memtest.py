#!/usr/bin/env python3
"""memtest86+, 32 and 64 bit: a full pass of a small memory without an error.
Usage: test_memtest.py ENGINE [TEST]...
"""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from debian import debian_file  # noqa: E402
from pictures import picture  # noqa: E402
from vmrun_test import Vm, check, need_engine, run_tests  # noqa: E402

ENGINE = sys.argv.pop(1)
LIMIT = 1500


def key_until(vm, key, text):
    """memtest86+ looks at the keyboard now and then, and forgets what it did not look at."""
    def seen():
        if text in vm.screen_text():
            return True
        vm.monitor(f"sendkey {key} 30")
        time.sleep(1)
        return text in vm.screen_text()
    vm.wait(seen, f"'{text}' after {key}", 120)


def without_bit_fade(vm):
    """Test 10 only waits: through the menu, it is taken out."""
    key_until(vm, "f1", "Test selection")
    key_until(vm, "f1", "Remove one test")
    key_until(vm, "f2", "Enter test #")
    vm.keys("10\n")
    vm.wait_screen("*.********.", 60)
    key_until(vm, "f10", "<F5>  CPU selection")
    vm.monitor("sendkey f10 30")


def run_pass(name, prepare, *arguments):
    need_engine(ENGINE)
    program = debian_file("memtest86+", f"boot/memtest86+{name}.bin")
    with Vm("-accel", ENGINE, "-m", "6", "-kernel", program, *arguments, limit=LIMIT) as vm:
        vm.wait_screen("Memtest86+ v")
        prepare(vm)
        vm.wait(lambda: re.search(r"Errors: +\d", vm.screen_text()), "first test")
        vm.screendump(picture(f"memtest-{name}"))

        def ended():
            text = vm.screen_text()
            errors = re.search(r"Errors: +(\d+)", text)
            return (errors and int(errors[1]) or re.search(r"Pass: +[1-9]", text)) and text
        text = vm.wait(ended, "end of the pass")
        vm.screendump(picture(f"memtest-{name}-passed"))
        check(re.search(r"Errors: +0\b", text), f"memtest86+ found errors:\n{text}")


def test_64():
    run_pass("x64", lambda vm: None)


def test_32():
    run_pass("ia32", without_bit_fade, "-append", "smp", "-smp", "2")


if __name__ == "__main__":
    run_tests([("64 bit, all tests", test_64), ("32 bit, two CPUs, all but the waiting", test_32)])
