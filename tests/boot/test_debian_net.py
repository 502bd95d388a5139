#!/usr/bin/env python3
"""Debian 12 on a disk of scripts/make-debian-disk, on user networking: what a user of a demo does.
Usage: test_debian_net.py ENGINE [TEST]...
"""
import hashlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import net_guest  # noqa: E402
from debian_guest import WORK, Console, base_disk, boot, new_disk, power_off  # noqa: E402
from net_guest import NameServer, WebServer  # noqa: E402
from vmrun_test import Failure, Skip, check, need, run_tests  # noqa: E402

ENGINE = sys.argv[1]
CARD = "/sys/class/net/en*"
MIB = 1 << 20
LIMIT = 600


class Guest:
    """The one machine of all tests."""

    def __init__(self, card):
        disk = new_disk(ENGINE, "net.qcow2")
        self.vm, path = boot(ENGINE, disk, "-nic", f"user,model={card},id=u,hostfwd=tcp:127.0.0.1:0-:22")
        self.console = Console(self.vm, path)
        self.console.log_in()
        self.port = int(re.search(r"tcp 127\.0\.0\.1:(\d+) -> 10\.0\.2\.15:22\b", self.vm.said())[1])

    def run(self, command):
        return self.console.run(command, LIMIT)

    def until(self, command):
        """Waits for the success of a guest's command."""
        self.run(f"until {command}; do sleep 1; done")

    def has_address(self):
        self.until(f"ip -4 addr show | grep -q 'inet 10.0.2.15/24' && ip route | grep -q default")

    def ssh(self, command, data=b"", password="debian"):
        """Runs a command over the forwarded port: its exit status, output and errors."""
        need("ssh", "openssh-client")
        answer = os.path.join(WORK.name, "answer")
        with open(answer, "w") as file:
            file.write(f"#!/bin/sh\necho {password}\n")
        os.chmod(answer, 0o700)
        done = subprocess.run(
            ["ssh", "-p", str(self.port), "-F", "none", "-o", "StrictHostKeyChecking=no", "-o",
             "UserKnownHostsFile=/dev/null", "-o", "PreferredAuthentications=password", "-o",
             "NumberOfPasswordPrompts=1", "debian@127.0.0.1", command], input=data, capture_output=True,
            env=dict(os.environ, SSH_ASKPASS=answer, SSH_ASKPASS_REQUIRE="force"), timeout=LIMIT)
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def fetch(self, size):
        data = os.urandom(size)
        WEB.files["/data"] = (data, 1)
        answer = self.run(f"wget -q -O - http://10.0.2.2:{WEB.port}/data | sha256sum")
        check(hashlib.sha256(data).hexdigest() in answer, f"{size} bytes by HTTP: {answer!r}")


def test_address():
    GUEST.has_address()
    check("e1000" in GUEST.run(f"readlink {CARD}/device/driver"), "the card's driver")
    check(" 0% packet loss" in GUEST.run("ping -c 2 -W 10 10.0.2.2"), "ping of the router")


def test_name():
    if not OWN:
        raise Skip("unshare cannot make a network namespace here, and the host's name server is not ours")
    answer = GUEST.run("getent ahostsv4 some.name.test")
    check("192.0.2.77" in answer and "some.name.test" in NAMES.names, f"{answer!r}, {NAMES.names}")


def test_login():
    check(GUEST.ssh("id -un; hostname")[:2] == (0, b"debian\nvmrun\n"), f"{GUEST.ssh('id -un; hostname')}")
    status, _, said = GUEST.ssh("true", password="wrong")
    check(status and "denied" in said, f"a wrong password: {status} {said}")


def test_copy():
    """Over the forwarded port, both ways; the guest serves what it was sent."""
    data = os.urandom(16 * MIB)
    digest = hashlib.sha256(data).hexdigest()
    status, out, said = GUEST.ssh("cat >copy; sha256sum copy", data)
    check(status == 0 and digest in out.decode(), f"to the guest: {status} {out} {said}")
    status, out, said = GUEST.ssh("cat copy")
    check(status == 0 and hashlib.sha256(out).hexdigest() == digest, f"to the host: {len(out)} bytes, {said}")


def test_link():
    GUEST.vm.monitor("set_link u off")
    GUEST.until(f"[ $(cat {CARD}/carrier) = 0 ]")
    GUEST.until("! ping -c 1 -W 1 10.0.2.2 >/dev/null 2>&1")
    GUEST.vm.monitor("set_link u on")
    GUEST.until(f"[ $(cat {CARD}/carrier) = 1 ]")
    GUEST.has_address()
    GUEST.fetch(MIB)


def start_transfer():
    WEB.files["/endless"] = (bytes(MIB), 1 << 20)
    GUEST.run(f"wget -q -O /dev/null http://10.0.2.2:{WEB.port}/endless >/dev/null 2>&1 & "
              f"before=$(cat {CARD}/statistics/rx_bytes)")
    GUEST.until(f"[ $(cat {CARD}/statistics/rx_bytes) -gt $((before + {MIB})) ]")


def test_driver():
    """The driver goes in mid-transfer and comes back."""
    start_transfer()
    GUEST.run("sudo modprobe -r e1000 && sudo modprobe e1000")
    GUEST.run("kill %1; wait; true")
    GUEST.has_address()
    GUEST.fetch(MIB)


def test_reboot():
    start_transfer()
    GUEST.console.type("sudo reboot")
    GUEST.console.log_in()
    GUEST.has_address()
    GUEST.fetch(MIB)
    check(GUEST.ssh("true")[0] == 0, "ssh after the reboot")


def test_end():
    log = GUEST.run("sudo journalctl -k --no-pager | cat")
    for bad in ("Oops", "BUG:", "Call Trace", "NETDEV WATCHDOG", "Tx Unit Hang"):
        check(bad not in log, f"'{bad}' in the kernel's log: {log[-3000:]}")
    power_off(GUEST.vm, GUEST.console)


def shared(function):
    """A test on the one guest, which the first one boots."""
    def run():
        global GUEST
        if isinstance(GUEST, Exception):
            raise Failure("the guest did not start") from GUEST
        if not GUEST:
            try:
                GUEST = Guest("e1000")
            except Exception as why:
                GUEST = why
                raise
        function()
    return run


if not os.environ.get("VMRUN_TEST_NETWORK"):
    try:
        base_disk(ENGINE)  # a network of our own has no mirror
    except Skip:
        pass  # each test says so
    WORK.cleanup()
OWN = net_guest.private_network()
del sys.argv[1]
if OWN:
    net_guest.set_up_network(WORK.name)
    NAMES = NameServer()
WEB = WebServer()
GUEST = None
if __name__ == "__main__":
    run_tests([(name, shared(function)) for name, function in (
        ("an address by DHCP", test_address), ("a name", test_name),
        ("HTTP from the host", lambda: GUEST.fetch(8 * MIB)), ("login by ssh with a password", test_login),
        ("copies over the forwarded port", test_copy), ("link down and up", test_link),
        ("driver unloaded in mid-transfer", test_driver), ("reboot in mid-transfer", test_reboot),
        ("power-off", test_end))])
