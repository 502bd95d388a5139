"""What the Python tests share: TAP output, and a vmrun under test with its monitor and serial port."""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

KEYS = {" ": "spc", "\n": "ret", "-": "minus", "=": "equal", "/": "slash", ".": "dot", ",": "comma",
        ";": "semicolon", "'": "apostrophe", "\\": "backslash", "(": "shift-9", ")": "shift-0",
        "_": "shift-minus", ":": "shift-semicolon", "*": "shift-8", "\t": "tab",
        '"': "shift-apostrophe", "$": "shift-4", "+": "shift-equal", "|": "shift-backslash",
        ">": "shift-dot", "<": "shift-comma", "&": "shift-7", "!": "shift-1"}


class Skip(Exception):
    """A test that cannot run here; the text says why."""


class Failure(Exception):
    pass


def need_kvm():
    if not os.path.exists("/dev/kvm"):
        raise Skip("KVM: there is no /dev/kvm on this machine")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("KVM: no permission for /dev/kvm")


def need_engine(name):
    if name == "kvm":
        need_kvm()
    elif f" {name} " not in subprocess.run([os.environ["VMRUN"], "-accel", "help"], check=True,
                                           capture_output=True, text=True).stdout:
        raise Skip(f"this vmrun has no engine {name}")


def need(path, package):
    if not (os.path.exists(path) if "/" in path else shutil.which(path)):
        raise Skip(f"{path} is missing (package {package})")


def check(condition, what):
    if not condition:
        raise Failure(what)


def connect_unix(path, limit=20):
    """A connection to a socket that may not be there yet, or not listen yet."""
    end = time.monotonic() + limit
    while True:
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(path)
            return peer
        except (FileNotFoundError, ConnectionRefusedError):
            peer.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def run_tests(tests):
    """Runs (name, function) pairs and prints TAP; ends the process."""
    wanted = sys.argv[1:]
    tests = [test for test in tests if not wanted or test[0] in wanted]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        try:
            function()
            print(f"ok {number} {name}", flush=True)
        except Skip as why:
            print(f"ok {number} {name} # SKIP {why}", flush=True)
        except Exception as why:  # a test must never end the others
            failed += 1
            # Standard error: meson keeps a TAP program's comments out of what --print-errorlogs shows.
            sys.stdout.flush()
            print(f"{name}: {traceback.format_exc()}", file=sys.stderr, flush=True)
            print(f"not ok {number} {name}", flush=True)
    sys.exit(1 if failed else 0)


class Vm:
    """A running vmrun; use it in a with statement."""

    def __init__(self, *arguments, program=None, limit=600, serial=None):
        self.work = tempfile.TemporaryDirectory(prefix="vmrun-test-")
        self.serial_path = os.path.join(self.work.name, "serial")
        self.monitor_path = os.path.join(self.work.name, "monitor")
        self.limit = limit
        self.errors = open(os.path.join(self.work.name, "stderr"), "w+b")
        command = [program or os.environ["VMRUN"], *(() if "-display" in arguments else ("-display", "none")),
                   "-serial", serial or f"file:{self.serial_path}",
                   "-monitor", f"unix:{self.monitor_path},server=on,wait=off", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.errors,
                                        stderr=self.errors)
        self.socket = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.socket:
            self.socket.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.errors.close()
        self.work.cleanup()

    def said(self):
        """What vmrun itself printed."""
        self.errors.flush()
        with open(self.errors.name, errors="replace") as file:
            return file.read()

    def wait(self, condition, what, limit=None):
        end = time.monotonic() + (limit or self.limit)
        while True:
            result = condition()
            if result:
                return result
            if self.process.poll() is not None:
                result = condition()
                if result:
                    return result
                raise Failure(f"vmrun ended ({self.process.returncode}) before {what}: {self.said()}")
            if time.monotonic() > end:
                raise Failure(f"time is over: no {what}; serial: {self.serial()[-2000:]!r}; "
                              f"vmrun: {self.said()}")
            time.sleep(0.05)

    def serial(self):
        try:
            with open(self.serial_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_serial(self, pattern, start=0, limit=None):
        """Waits for a regular expression on the serial port after `start` characters."""
        return self.wait(lambda: re.search(pattern, self.serial()[start:]),
                         f"'{pattern}' on the serial port", limit)

    def monitor(self, line):
        """Runs a monitor command and returns its output."""
        if not self.socket:
            self.wait(lambda: os.path.exists(self.monitor_path), "monitor", 20)
            self.socket = connect_unix(self.monitor_path)
            self.socket.settimeout(30)
            self._read_prompt()
        self.socket.sendall(line.encode() + b"\n")
        return self._read_prompt()

    def _read_prompt(self):
        data = b""
        while not data.endswith(b"(qemu) ") and not data.endswith(b"(vmrun) "):
            piece = self.socket.recv(65536)
            if not piece:
                break
            data += piece
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", data.decode(errors="replace"))
        lines = text.replace("\r", "").split("\n")
        return "\n".join(lines[1:-1])

    def keys(self, text, pause=0.0):
        """Types text at the keyboard by sendkey."""
        for letter in text:
            name = KEYS.get(letter) or (f"shift-{letter.lower()}" if letter.isupper() else letter)
            answer = self.monitor(f"sendkey {name} 30")
            check(not answer.strip(), f"sendkey {name}: {answer}")
            time.sleep(pause)

    def screendump(self, path=None):
        """A picture of the screen; returns (width, height, rgb bytes)."""
        ppm = os.path.join(self.work.name, "screen.ppm")
        answer = self.monitor(f"screendump {ppm}")
        check(not answer.strip(), f"screendump: {answer}")
        if path:
            self.monitor(f"screendump {path}")
        return read_ppm(ppm)

    def screen_text(self):
        """The characters of the text screen at 0xb8000, line by line."""
        words = []
        for line in self.monitor("xp /4000xb 0xb8000").splitlines():
            words += [int(word, 16) for word in line.split(":", 1)[1].split()]
        letters = [chr(c) if 32 <= c < 127 else " " for c in words[0::2]]
        return "\n".join("".join(letters[i:i + 80]).rstrip() for i in range(0, len(letters), 80))

    def wait_screen(self, text, limit=None):
        """Waits for a text on the text screen."""
        self.wait(lambda: text in self.screen_text(), f"'{text}' on the screen", limit)


def read_ppm(path):
    with open(path, "rb") as file:
        check(file.readline().strip() == b"P6", f"{path} is no PPM")
        width, height = map(int, file.readline().split())
        file.readline()
        return width, height, file.read()
