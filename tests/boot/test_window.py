#!/usr/bin/env python3
"""The SDL window of a real guest under Xvfb: GRUB's menu is seen in it and obeys keys typed there."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from pictures import picture  # noqa: E402
from vmrun_test import Vm, check, need, need_engine, run_tests  # noqa: E402
from xserver import start_xvfb  # noqa: E402

FLOPPY = "/usr/lib/grub-rescue/grub-rescue-floppy.img"


class Display:
    """An X server of our own."""

    def __enter__(self):
        self.process, self.name = start_xvfb("1024x768x24")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def run(self, *command):
        return subprocess.run(command, env=dict(os.environ, DISPLAY=self.name), check=True,
                              stdout=subprocess.PIPE, text=True).stdout


def test_window():
    need_engine("interp")
    need(FLOPPY, "grub-rescue-pc")
    for tool, package in (("Xvfb", "xvfb"), ("xdotool", "xdotool"), ("import", "imagemagick")):
        need(tool, package)
    with tempfile.TemporaryDirectory() as work, Display() as display:
        image = os.path.join(work, "floppy.img")
        shutil.copyfile(FLOPPY, image)
        os.environ["DISPLAY"] = display.name
        os.environ.pop("WAYLAND_DISPLAY", None)
        with Vm("-display", "sdl", "-accel", "interp", "-m", "256", "-name", "window test", "-fda",
                image) as vm:
            def on_screen(text):
                vm.wait(lambda: text in vm.screen_text(), f"'{text}' on the screen")
            on_screen("*GNU/Linux")
            window = display.run("xdotool", "search", "--name", "window test").split()[0]
            title = display.run("xdotool", "getwindowname", window)
            check("window test" in title, f"the title is {title!r}")
            display.run("xdotool", "windowfocus", window)
            display.run("xdotool", "mousemove", "--window", window, "100", "100")
            display.run("xdotool", "key", "--window", window, "Down")
            on_screen("*GNU (aka")
            time.sleep(1)  # a refresh of the window
            shot = picture("sdl-window")
            display.run("import", "-window", window, shot)
            vm.screendump(picture("sdl-screendump"))
            guest = os.path.join(work, "guest.png")
            vm.monitor("stop")
            time.sleep(1)
            vm.monitor(f"screendump {guest}")
            display.run("import", "-window", window, shot)
            different = subprocess.run(["compare", "-metric", "AE", guest, shot, "null:"],
                                       stderr=subprocess.PIPE, text=True).stderr
            check(different.split()[0] == "0", f"{different} pixels of the window differ")


if __name__ == "__main__":
    run_tests([("a guest in a window: seen and typed at", test_window)])
