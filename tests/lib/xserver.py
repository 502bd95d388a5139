# SPDX-License-Identifier: GPL-2.0-or-later
"""An X server of a test's own: Xvfb.

Its -displayfd is not used: it takes no lock file then, and two servers that start at once can take
the same number and each other's socket.
"""
import os
import socket
import subprocess
import time


def _answers(number):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(f"/tmp/.X11-unix/X{number}") == 0


def _started(server, number):
    """Whether it serves; False if it ended, since the number is taken."""
    end = time.monotonic() + 60
    while server.poll() is None:
        if _answers(number):
            # A socket that answers may be somebody else's, from whom ours is about to back off.
            with open(f"/tmp/.X{number}-lock") as lock:
                return int(lock.read()) == server.pid
        if time.monotonic() > end:
            server.kill()
            raise AssertionError("Xvfb does not start")
        time.sleep(0.02)
    return False


def start_xvfb(screen):
    """Starts a server with a screen ("1024x768x24"): the process, and the name of its display."""
    first = 50 + os.getpid() % 400
    for number in range(first, first + 40):
        if _answers(number):
            continue
        server = subprocess.Popen(["Xvfb", f":{number}", "-screen", "0", screen, "-nolisten", "tcp",
                                   "-noreset"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if _started(server, number):
            return server, f":{number}"
        server.kill()
        server.wait()
    raise AssertionError("no display is free for Xvfb")
