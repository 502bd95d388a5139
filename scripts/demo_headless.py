#!/usr/bin/env python3
"""Boots a disk of scripts/make-debian-disk without a screen: waits for the login, takes a screenshot, logs
in on the serial port and powers off.
"""
import os
import re
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

    def type(self, line):
        self.console.sendall(line.encode() + b"\n")

    def screendump(self, picture):
        with self.connect(self.monitor_path) as monitor:
            monitor.sendall(f"screendump {os.path.abspath(picture)}\n".encode())
            seen = b""
            while seen.count(b"(qemu) ") + seen.count(b"(vmrun) ") < 2:
                seen += monitor.recv(4096)


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
