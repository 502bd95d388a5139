# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives ui-harness: commands into its FIFO, answers and input events out of its log."""
import os
import tempfile
import time


class Harness:
    def __init__(self, program, kind, spawn):
        self.dir = tempfile.mkdtemp(prefix='ui-test-')
        self.log_path = os.path.join(self.dir, 'log')
        fifo = os.path.join(self.dir, 'control')
        os.mkfifo(fifo)
        open(self.log_path, 'w').close()
        self.process = spawn([program, kind, fifo, self.log_path])
        self.control = os.open(fifo, os.O_RDWR)
        self.seen = 0
        self.wait('ready')

    def lines(self):
        with open(self.log_path) as log:
            return log.read().split('\n')[:-1]

    def wait(self, *wanted, timeout=20):
        """Waits for these lines, in this order, after what was waited for before."""
        end = time.monotonic() + timeout
        todo = list(wanted)
        while todo:
            lines = self.lines()
            while todo and self.seen < len(lines):
                if lines[self.seen] == todo[0]:
                    todo.pop(0)
                self.seen += 1
            if todo and time.monotonic() > end:
                raise AssertionError('no %r in the log: %r' % (todo[0], lines[-20:]))
            time.sleep(0.01)

    def since(self):
        """The lines that came since the last wait or call."""
        lines = self.lines()[self.seen:]
        self.seen += len(lines)
        return lines

    def send(self, command):
        os.write(self.control, (command + '\n').encode())
        self.wait('done ' + command.split()[0])

    def post(self, command):
        os.write(self.control, (command + '\n').encode())

    def path(self, name):
        return os.path.join(self.dir, name)


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print('ok:', what)


def wait_for(condition, what, timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('timeout: ' + what)
        time.sleep(0.02)
    print('ok:', what)
