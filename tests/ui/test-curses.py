#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal display in a pseudo terminal: text, colours, keys, consoles, resizing, restoring."""
import codecs
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

from harness import Harness, check, wait_for

SEQUENCE = re.compile(r'\x1b\[([?>]?)([0-9;]*)([@-~])|\x1b[()#%].|\x1b\].*?(?:\x07|\x1b\\)|\x1b[^\[\]]',
                      re.S)


class Terminal:
    """As much of an xterm as ncurses makes use of."""

    def __init__(self, columns, rows):
        self.master, self.slave = pty.openpty()
        self.lock = threading.Lock()
        self.output = ''
        self.alternate = False
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        threading.Thread(target=self.read, daemon=True).start()

    def resize(self, columns, rows):
        with self.lock:
            self.columns, self.rows = columns, rows
            self.cells = [[(' ', ())] * columns for _ in range(rows)]
            self.x = self.y = 0
            self.top, self.bottom = 0, rows - 1
            self.style = ()
            self.last = ' '
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def read(self):
        decoder = codecs.getincrementaldecoder('utf-8')('replace')
        pending = ''
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                return
            with self.lock:
                text = decoder.decode(data)
                self.output += text
                pending = self.feed(pending + text)

    def feed(self, text):
        at = 0
        while at < len(text):
            if text[at] == '\x1b':
                match = SEQUENCE.match(text, at)
                if not match:
                    return text[at:]
                if match.group(3):
                    self.control(match.group(1), match.group(2), match.group(3))
                at = match.end()
                continue
            self.put(text[at])
            at += 1
        return ''

    def put(self, c):
        if c == '\r':
            self.x = 0
        elif c == '\n':
            self.y = min(self.y + 1, self.rows - 1)
        elif c == '\b':
            self.x = max(self.x - 1, 0)
        elif c >= ' ':
            if self.x < self.columns:
                self.cells[self.y][self.x] = (c, self.style)
            self.x += 1
            self.last = c

    def blank(self, y, start, end):
        for x in range(start, min(end, self.columns)):
            self.cells[y][x] = (' ', self.style)

    def control(self, private, text, final):
        numbers = [int(n or 0) for n in text.split(';')]
        n = numbers[0]
        if private:
            if n == 1049:
                self.alternate = final == 'h'
            return
        x, y = min(self.x, self.columns - 1), self.y
        if final == 'H':
            self.y = min(max(n, 1), self.rows) - 1
            self.x = min(max(numbers[1] if len(numbers) > 1 else 1, 1), self.columns) - 1
        elif final == 'd':
            self.y = max(n, 1) - 1
        elif final in 'G`':
            self.x = max(n, 1) - 1
        elif final in 'ABCD':
            n = max(n, 1)
            self.y += {'A': -n, 'B': n}.get(final, 0)
            self.x += {'C': n, 'D': -n}.get(final, 0)
        elif final == 'J':
            if n == 2:
                for row in range(self.rows):
                    self.blank(row, 0, self.columns)
            else:
                self.blank(y, x, self.columns)
                for row in range(y + 1, self.rows):
                    self.blank(row, 0, self.columns)
        elif final == 'K':
            self.blank(y, *((0, x + 1) if n == 1 else (x, self.columns)))
        elif final == 'X':
            self.blank(y, x, x + max(n, 1))
        elif final == 'P':
            row = self.cells[y]
            row[x:] = row[x + max(n, 1):] + [(' ', self.style)] * min(max(n, 1), self.columns - x)
        elif final == '@':
            row = self.cells[y]
            row[x:] = ([(' ', self.style)] * max(n, 1) + row[x:])[:self.columns - x]
        elif final == 'b':
            for _ in range(max(n, 1)):
                self.put(self.last)
        elif final == 'r':
            self.top = max(n, 1) - 1
            self.bottom = (numbers[1] if len(numbers) > 1 and numbers[1] else self.rows) - 1
        elif final in 'ST':
            region = self.cells[self.top:self.bottom + 1]
            for _ in range(max(n, 1)):
                fresh = [(' ', self.style)] * self.columns
                region = region[1:] + [fresh] if final == 'S' else [fresh] + region[:-1]
            self.cells[self.top:self.bottom + 1] = region
        elif final == 'm':
            self.graphics(numbers)

    def graphics(self, numbers):
        style = dict(self.style)
        while numbers:
            n = numbers.pop(0)
            if n == 0:
                style = {}
            elif n in (38, 48):
                style[n], numbers = numbers[1], numbers[2:]
            elif n in (39, 49):
                style.pop(n - 1, None)
            elif 30 <= n <= 37 or 90 <= n <= 97:
                style[38] = n % 10 + (8 if n >= 90 else 0)
            elif 40 <= n <= 47 or 100 <= n <= 107:
                style[48] = n % 10 + (8 if n >= 100 else 0)
        self.style = tuple(sorted(style.items()))

    def line(self, y):
        with self.lock:
            return ''.join(c for c, _ in self.cells[y])

    def style_at(self, x, y):
        with self.lock:
            return dict(self.cells[y][x][1])

    def contains(self, text):
        return any(text in self.line(y) for y in range(self.rows))

    def type(self, text):
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def restored(self):
        return not self.alternate and termios.tcgetattr(self.slave) == self.before


def start(program, terminal, kind='auto'):
    env = {k: v for k, v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY')}
    env.update(TERM='xterm-256color', LC_ALL='C.UTF-8')
    env.pop('COLUMNS', None)
    env.pop('LINES', None)

    def spawn(args):
        return subprocess.Popen(args, stdin=terminal.slave, stdout=terminal.slave,
                                stderr=terminal.slave, env=env, start_new_session=True)
    return Harness(program, kind, spawn)


def pictures(t, h):
    check('no DISPLAY or WAYLAND_DISPLAY' in t.output, 'the choice is told')
    wait_for(lambda: t.contains('graphics'), 'a notice for graphics')
    h.send('textmode')
    h.send('put 3 2 1e Hello \u00c9 from the guest')
    wait_for(lambda: 'Hello' in t.line(2), 'text is shown')
    check(t.line(2).startswith('   Hello'), 'at its place')
    check(t.style_at(3, 2).get(48) == 4 and t.style_at(3, 2).get(38) == 11,
          'yellow on blue: %r' % t.style_at(3, 2))
    check(t.style_at(30, 20).get(48) == 4, 'blue background')
    h.send('put 0 5 1f \u2554\u2550\u2557'.encode('cp437').decode('latin-1'))
    h.send('cursor 165')
    wait_for(lambda: (t.x, t.y) == (5, 2), 'the cursor stands where the guest has it')
    h.send('graphics 640 480')
    wait_for(lambda: t.contains('640x480 graphics'), 'graphics again')
    check(not t.contains('Hello'), 'nothing is left of the text')
    h.send('textmode')
    h.send('put 0 24 17 last line')
    wait_for(lambda: t.line(24).startswith('last line'), 'the last line')


def keys(t, h):
    h.since()
    for typed, wanted in [('a', ['a']), ('A', ['shift', 'a']), ('\r', ['ret']), ('\t', ['tab']),
                          ('\x7f', ['backspace']), ('\x03', ['ctrl', 'c']), (' ', ['spc']),
                          ('?', ['shift', 'slash']), ('~', ['shift', 'grave_accent']),
                          ('\x1bOA', ['up']), ('\x1b[3~', ['delete']), ('\x1b[5~', ['pgup']),
                          ('\x1bOP', ['f1']), ('\x1b[24~', ['f12']), ('\x1b', ['esc']),
                          ('\x1bx', ['alt', 'x']), ('\x1b[1;2P', ['shift', 'f1']),
                          ('\x1b[Z', ['shift', 'tab'])]:
        t.type(typed)
        h.wait(*['key %s down' % k for k in wanted], *['key %s up' % k for k in reversed(wanted)])
    check(True, 'keys reach the guest')
    t.type('hello world, as pasted')
    for c in 'hello':
        h.wait('key %s down' % c, 'key %s up' % c)
    h.wait('key spc down', 'key comma up', 'key d down', 'key d up', timeout=30)
    check(True, 'pasted text comes key by key')


def console(t, h):
    t.type('\x1b2')
    wait_for(lambda: t.contains('ready>'), 'Alt-2 shows the console')
    check(t.style_at(0, 0).get(38) == 2, 'green prompt')
    h.since()
    t.type('ls\r')
    h.wait('console 6c', 'console 73', 'console 0d')
    wait_for(lambda: t.line(0).startswith('ready> ls'), 'echo')
    for typed in ['\x1bOA', '\x1b[A', '\x03']:  # up, in both ways; Ctrl-C
        t.type(typed)
    h.wait(*['console 1b', 'console 5b', 'console 41'] * 2, 'console 03')
    t.type('\x1b1')
    wait_for(lambda: t.contains('last line'), 'Alt-1 shows the guest')


def sizes(t, h, process):
    h.send('put 0 0 17 first line')
    h.send('cursor 9999')
    t.resize(100, 30)
    os.kill(process.pid, signal.SIGWINCH)
    wait_for(lambda: t.line(2).startswith(' ' * 10 + 'first line'), 'in the middle of a larger one')
    t.resize(60, 10)
    os.kill(process.pid, signal.SIGWINCH)
    wait_for(lambda: t.line(0).startswith('first line'), 'a small one shows a part')
    h.send('cursor 1920')
    wait_for(lambda: t.line(9).startswith('last line'), 'and follows the cursor')


def endings(program):
    for command, wanted in [('quit', 0), ('exit', 0), ('crash', -signal.SIGSEGV)]:
        t = Terminal(80, 25)
        h = start(program, t, 'curses')
        h.send('textmode')
        wait_for(lambda: t.alternate and not t.restored(), 'the terminal is taken')
        h.post(command)
        code = h.process.wait(20)
        # A sanitizer's runtime must leave the signal alone: ASAN_OPTIONS=handle_segv=0.
        check(code == wanted, '%s ends with %d' % (command, code))
        wait_for(t.restored, 'the terminal is restored after ' + command)
        shutil.rmtree(h.dir)


def main(program):
    t = Terminal(80, 25)
    h = start(program, t)
    try:
        pictures(t, h)
        keys(t, h)
        console(t, h)
        sizes(t, h, h.process)
    finally:
        h.process.kill()
        h.process.wait()
    shutil.rmtree(h.dir)
    endings(program)
    return 0


sys.exit(main(sys.argv[1]))
