#!/usr/bin/env python3
"""Boots a disk of scripts/make-debian-disk without a screen: waits for the login, takes a screenshot, logs
in on the serial port and, with -p PORT:22, by ssh, and powers off.
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

LIMIT = 600  # seconds: a software KVM emulates the BIOS at a few million instructions a second


class Demo:
    def __init__(self, work, program, disk, options):
        self.console_path, self.monitor_path = os.path.join(work, "serial"), os.path.join(work, "monitor")
        command = [program, "-hda", disk, "-m", "1024", "-display", "none", "-serial",
                   f"unix:{self.console_path},server=on,wait=off", "-monitor",
                   f"unix:{self.monitor_path},server=on,wait=off", *options]
        print("+", " ".join(command), flush=True)
        self.end = time.monotonic() + LIMIT
        self.vmrun = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.console = self.connect(self.console_path)
        self.text = ""

    def fail(self, why):
        self.vmrun.kill()
        self.vmrun.wait()
        sys.exit(f"demo: {why}; the last that the serial port said: {self.text[-500:]!r}")

    def connect(self, path):
        while not os.path.exists(path):
            if self.vmrun.poll() is not None or time.monotonic() > self.end:
                self.fail("vmrun did not start")
            time.sleep(0.05)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(1)
        sock.connect(path)
        return sock

    def expect(self, pattern):
        while not (found := re.search(pattern, self.text)):
            if self.vmrun.poll() is not None or time.monotonic() > self.end:
                self.fail(f"no '{pattern}'")
            try:
                self.text += self.console.recv(65536).decode(errors="replace")
            except TimeoutError:
                pass
        self.text = self.text[found.end():]
        return found

    def type(self, line):
        self.console.sendall(line.encode() + b"\n")

    def screendump(self, picture):
        with self.connect(self.monitor_path) as monitor:
            monitor.sendall(f"screendump {os.path.abspath(picture)}\n".encode())
            seen = b""
            while seen.count(b"(qemu) ") + seen.count(b"(vmrun) ") < 2:
                seen += monitor.recv(4096)

    def ssh(self, port):
        """Says what the guest's ssh server says; logs in where there is a client."""
        with socket.create_connection(("127.0.0.1", port), self.end - time.monotonic()) as sock:
            banner = sock.makefile().readline().strip()
        if not banner.startswith("SSH-2.0-"):
            self.fail(f"no ssh server at port {port}: {banner!r}")
        print(f"the guest's ssh server at port {port}: {banner}")
        if not shutil.which("ssh"):
            return
        password = os.path.join(os.path.dirname(self.console_path), "password")
        with open(password, "w") as file:
            file.write("#!/bin/sh\necho debian\n")
        os.chmod(password, 0o700)
        done = subprocess.run(["ssh", "-p", str(port), "-F", "none", "-o", "StrictHostKeyChecking=no", "-o",
                               "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
                               "PreferredAuthentications=password", "debian@localhost", "uname -sr"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=dict(os.environ, SSH_ASKPASS=password, SSH_ASKPASS_REQUIRE="force"))
        if done.returncode:
            self.fail(f"no login by ssh: {done.stderr.strip()}")
        print(f"by ssh, the guest says that it is {done.stdout.strip()}")


def forwarded_port(options):
    """The host's port of an option -p [ADDR:]PORT:22, or None."""
    for word, value in zip(options, options[1:]):
        if word == "-p" and (found := re.fullmatch(r"(?:.*:)?(\d+):22", value)):
            return int(found[1])
    return None


def main():
    program, disk, picture, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        start = time.monotonic()
        demo = Demo(work, program, disk, options)
        demo.expect("login: ")
        print(f"Debian's login stands after {time.monotonic() - start:.0f} seconds")
        demo.type("debian")
        demo.expect("Password: ")
        demo.type("debian")
        demo.expect(r"\$ ")
        demo.screendump(picture)
        if port := forwarded_port(options):
            demo.type("until ip -4 -br addr show scope global | grep .; do sleep 1; done; echo it has one")
            address = demo.expect(r"(\d+\.\d+\.\d+\.\d+)/\d+[^$]*it has one")[1]
            print(f"the guest's address by DHCP: {address}")
            demo.ssh(port)
        demo.type("sudo poweroff")
        demo.console.settimeout(None)
        try:
            while demo.console.recv(65536):
                pass
        except ConnectionError:
            pass
        if demo.vmrun.wait():
            sys.exit("demo: vmrun ended with an error")
    print(f"user debian (password debian) was in, and powered off; the screen's picture is {picture}")


if __name__ == "__main__":
    main()
