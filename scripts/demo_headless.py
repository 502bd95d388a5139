#!/usr/bin/env python3
"""Boots a disk without a screen, waits for GRUB's menu on the serial port, takes a screenshot."""
import os
import socket
import subprocess
import sys
import tempfile
import time

LIMIT = 180  # seconds: a software KVM emulates the BIOS at a few million instructions a second


def wait_for(check, vmrun, what):
    end = time.monotonic() + LIMIT
    while not check():
        if vmrun.poll() is not None or time.monotonic() > end:
            vmrun.kill()
            sys.exit(f"demo: no {what}")
        time.sleep(0.1)


def main():
    program, disk, picture, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        serial, monitor = os.path.join(work, "serial"), os.path.join(work, "monitor")
        command = [program, "-hda", disk, "-m", "1024", "-display", "none", "-serial",
                   f"file:{serial}", "-monitor", f"unix:{monitor},server=on,wait=off", *options]
        print("+", " ".join(command), flush=True)
        vmrun = subprocess.Popen(command, stdin=subprocess.DEVNULL)

        def menu():
            try:
                with open(serial, "rb") as file:
                    return b"Invaders" in file.read()
            except OSError:
                return False

        wait_for(menu, vmrun, "GRUB menu on the serial port")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(monitor)
            sock.sendall(f"screendump {os.path.abspath(picture)}\nquit\n".encode())
            while sock.recv(4096):
                pass
        vmrun.wait()
    print(f"GRUB's menu stands; its picture is {picture}")


if __name__ == "__main__":
    main()
