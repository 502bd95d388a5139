#!/usr/bin/env python3
"""Debian's kernels with busybox: to a shell that runs commands; power off, reboot; SMP; -kernel and a
GRUB disk.  Usage: test_linux.py ENGINE cloud|amd64|686|686-pae [TEST]...
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from linux_guest import LinuxVm, kernel, make_initrd  # noqa: E402
from vmrun_test import check, need, need_engine, run_tests  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "scripts")
ENGINE, FLAVOUR = sys.argv.pop(1), sys.argv.pop(1)
WORK = tempfile.TemporaryDirectory(prefix="vmrun-linux-")
# no_timer_check: on a busy machine the kernel may get no time slice while it counts the timer's ticks.
APPEND = "console=ttyS0 panic=-1 no_timer_check"


def initrd():
    path = os.path.join(WORK.name, "initrd")
    return path if os.path.exists(path) else make_initrd(path, FLAVOUR)


def guest(*arguments):
    need_engine(ENGINE)
    return LinuxVm("-accel", ENGINE, "-m", "256", *arguments)


def direct(*arguments, append=APPEND):
    return guest("-kernel", kernel(FLAVOUR), "-initrd", initrd(), "-append", append, *arguments)


def exercise(vm, cpus):
    """Commands that need processes, pipes, memory and time."""
    machine = vm.shell("uname -m")
    check(("i686" if FLAVOUR.startswith("686") else "x86_64") in machine.split(), f"uname: {machine!r}")
    found = vm.shell("grep -c ^processor /proc/cpuinfo")
    check(str(cpus) in found.split(), f"{cpus} CPUs wanted: {found!r}")
    check("4950" in vm.shell("i=0; s=0; while [ $i -lt 100 ]; do s=$((s+i)); i=$((i+1)); done; echo $s"),
          "arithmetic of the shell")
    answer = vm.shell("dd if=/dev/zero bs=1024 count=1024 2>/dev/null | sha256sum")
    check("30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58" in answer,
          f"sha256 of a MiB of zeros: {answer!r}")
    answer = vm.shell("for i in 1 2 3 4 5 6 7 8; do (seq 1 2000 | sort -rn | head -n 1) & done; wait")
    check(answer.count("2000") == 8, f"eight pipelines: {answer!r}")
    check("17 MiB" in vm.shell("head -c 17825792 /dev/zero >/tmp.x; echo $(($(wc -c </tmp.x)>>20)) MiB"),
          "a file of 17 MiB")
    answer = vm.shell("awk 'BEGIN { print 0.1 + 0.2, 7 / 3, 1e300 * 10, int(3.7) }'")
    check("0.3 2.33333 1e+301 3" in answer, f"awk: {answer!r}")


def end(vm, how):
    vm.shell_socket.sendall(f"{how} -f\n".encode())


def check_log(vm):
    log = vm.serial()
    for bad in ("Oops", "BUG:", "Call Trace", "unchecked MSR", "hung task"):
        check(bad not in log, f"'{bad}' in the kernel's log: {log[-3000:]}")


def test_boot(cpus):
    with direct("-smp", str(cpus)) as vm:
        vm.connect()
        exercise(vm, cpus)
        check_log(vm)
        end(vm, "poweroff")
        check(vm.process.wait(60) == 0, "poweroff ends vmrun with 0")


def test_reboot():
    with direct() as vm:
        vm.connect()
        end(vm, "reboot")
        vm.wait(lambda: vm.serial().count("guest: init runs") == 2, "the second start")
        vm.shell("true")
    with direct("-no-reboot") as vm:
        vm.connect()
        end(vm, "reboot")
        check(vm.process.wait(60) == 0, "-no-reboot ends vmrun with 0")


def test_suspend():
    """Suspend to RAM; a key, the monitor and the clock's alarm wake it, and it goes on."""
    with direct("-smp", "2") as vm:
        vm.connect()
        vm.shell("echo kept >/tmp.s")
        for wake in (lambda: vm.monitor("system_wakeup"), lambda: vm.monitor("sendkey a"),
                     lambda: vm.monitor("system_powerdown"), None):
            if not wake:
                vm.shell("echo +5 >/sys/class/rtc/rtc0/wakealarm")
            vm.shell_socket.sendall(b"echo mem >/sys/power/state; echo a''wake $(cat /tmp.s)\n")
            vm.wait(lambda: "suspended" in vm.monitor("info status") or not wake, "the guest sleeps")
            if wake:
                check("VM status: paused (suspended)" in vm.monitor("info status"), "it sleeps")
                wake()
            vm.read_shell("awake kept", "sleeping")
            vm.shell("true")
        check(vm.serial().count("guest: init runs") == 1, "it did not start anew")
        end(vm, "poweroff")
        check(vm.process.wait(60) == 0, "poweroff ends vmrun with 0")


def test_panic():
    """A kernel without an init reboots at once (panic=-1)."""
    with direct("-no-reboot", append=APPEND + " rdinit=/none root=none") as vm:
        vm.wait_serial("Kernel panic")
        check(vm.process.wait(60) == 0, "the panic's reboot ends vmrun with 0")


def test_grub():
    need("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin")
    need("mformat", "mtools")
    disk, image = os.path.join(WORK.name, "disk.qcow2"), os.path.join(WORK.name, "vmlinuz")
    with open(kernel(FLAVOUR), "rb") as source, open(image, "wb") as copy:
        copy.write(source.read())
    subprocess.run([os.path.join(SCRIPTS, "make-grub-disk"), "--img-tool", os.environ["VMRUN_IMG"],
                    "--format", "qcow2", "--add", image, "--add", initrd(), "--timeout", "1",
                    "--entry", f"Linux=linux /vmlinuz {APPEND}; initrd /initrd", disk], check=True)
    with guest("-hda", disk, "-smp", "4") as vm:
        vm.connect()
        exercise(vm, 4)
        answer = vm.shell("cat /proc/interrupts")
        check("LOC" in answer, answer)
        check_log(vm)
        end(vm, "poweroff")
        check(vm.process.wait(60) == 0, "poweroff ends vmrun with 0")


TESTS = [("shell, one CPU", lambda: test_boot(1)),
         ("shell, four CPUs", lambda: test_boot(4)),
         ("reboot", test_reboot),
         ("suspend and wake up", test_suspend),
         ("panic", test_panic),
         ("from a GRUB disk, four CPUs", test_grub)]

if __name__ == "__main__":
    # i386: the kernel itself; what the others show of power and disks holds for all.
    run_tests(TESTS[:2] if FLAVOUR.startswith("686") else TESTS)
