#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The SDL window under Xvfb: pixels against a screendump, keys, mouse, hot keys, closing."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Harness, check, wait_for  # noqa: E402
from xserver import start_xvfb  # noqa: E402

MANAGER = 'evilwm'
TOOLS = ['Xvfb', 'xdotool', 'import', 'compare', 'identify', 'convert']


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout.strip()


def start_x():
    server, os.environ['DISPLAY'] = start_xvfb('1920x1440x24')
    os.environ.pop('WAYLAND_DISPLAY', None)
    return server


class Window:
    def __init__(self, harness):
        self.h = harness
        self.id = run('xdotool', 'search', '--sync', '--onlyvisible', '--name', 'vmrun').split()[0]
        run('xdotool', 'windowmove', '--sync', self.id, '0', '0')
        self.focus()

    def focus(self):
        # Some window managers give the keyboard to the window under the pointer.
        run('xdotool', 'mousemove', '--window', self.id, '50', '50')
        run('xdotool', 'windowfocus', '--sync', self.id)

    def size(self):
        return run('identify', '-format', '%wx%h', self.shot())

    def shot(self, name='window.png'):
        run('import', '-window', self.id, self.h.path(name))
        return self.h.path(name)

    def differs(self, display=0, scale=1):
        """Pixels in which window and screendump differ; -1 if their sizes do."""
        dump = self.h.path('dump.png')
        self.h.send('screendump %d %s' % (display, dump))
        if scale > 1:
            run('convert', dump, '-scale', '%d%%' % (100 * scale), dump)
        shot = self.shot()
        if run('identify', '-format', '%wx%h', shot) != run('identify', '-format', '%wx%h', dump):
            return -1
        done = subprocess.run(['compare', '-metric', 'AE', shot, dump, 'null:'],
                              capture_output=True, text=True)
        return float(done.stderr.split()[0])

    def same(self, what, display=0, scale=1):
        wait_for(lambda: self.differs(display, scale) == 0, what)

    def title(self):
        return run('xdotool', 'getwindowname', self.id)

    def key(self, *keys):
        run('xdotool', 'key', *keys)


def pixels(h, w):
    w.same('the notice before a mode is set')
    h.send('textmode')
    h.send('put 3 2 1e Hello from the guest')
    h.send('cursor 9999')
    wait_for(lambda: w.size() == '640x400', 'the window takes the size of the text mode')
    w.same('text is shown pixel by pixel')
    check(run('identify', '-format', '%k', w.shot()) == '2', 'in its two colours')
    h.send('put 60 20 4f changed')
    w.same('a small change is shown')
    h.send('graphics 800 600')
    wait_for(lambda: w.size() == '800x600', 'the window takes the size of the graphics mode')
    w.same('graphics are shown pixel by pixel')
    w.key('ctrl+alt+equal')
    wait_for(lambda: w.size() == '1600x1200', 'zoom')
    w.same('twice as large, sharp', scale=2)
    w.key('ctrl+alt+minus')
    w.same('and back')
    run('xdotool', 'windowsize', '--sync', w.id, '1000', '700')
    wait_for(lambda: run('convert', w.shot(), '-crop', '800x600+100+50', '+repage', '-format',
                         '%#', 'info:') == run('convert', h.path('dump.png'), '-format', '%#',
                                               'info:'), 'in a larger window it stands in the middle')
    run('xdotool', 'windowsize', '--sync', w.id, '400', '300')
    wait_for(lambda: w.size() == '400x300', 'a smaller window shows it reduced')
    w.key('ctrl+alt+0')
    w.same('original size')


def keys(h, w):
    h.since()
    w.key('a')
    h.wait('key a down', 'key a up')
    w.key('shift+ctrl+Delete')
    h.wait('key shift down', 'key ctrl down', 'key delete down', 'key delete up')
    for x, name in [('Return', 'ret'), ('F12', 'f12'), ('KP_Enter', 'kp_enter'), ('Up', 'up'),
                    ('Alt_R', 'alt_r'), ('Print', 'print'), ('Pause', 'pause'), ('less', None)]:
        if name:
            w.key(x)
            h.wait('key %s down' % name, 'key %s up' % name)
    check(True, 'keys reach the guest by position')
    run('xdotool', 'keydown', 'b')
    h.wait('key b down')
    run('xdotool', 'windowunmap', '--sync', w.id)
    h.wait('key b up')
    check(True, 'losing the focus releases keys')
    run('xdotool', 'keyup', 'b')
    run('xdotool', 'windowmap', '--sync', w.id)
    w.focus()
    h.post('sendkey ctrl-alt-delete')
    h.wait('key ctrl down', 'key alt down', 'key delete down', 'key delete up', 'key alt up',
           'key ctrl up')
    check(True, 'sendkey')


def mouse(h, w):
    run('xdotool', 'mousemove', '--window', w.id, '100', '100')
    h.since()
    run('xdotool', 'click', '1')
    wait_for(lambda: 'Ctrl-Alt-G' in w.title(), 'a click grabs a relative mouse, the title tells')
    check(not [l for l in h.since() if l.startswith('button')], 'that click is not the guest\'s')
    run('xdotool', 'mousemove_relative', '--', '30', '-20')
    wait_for(lambda: [l for l in h.lines()[h.seen:] if l.startswith('move')], 'movement')
    moves = [l.split() for l in h.since() if l.startswith('move')]
    dx, dy = sum(int(m[1]) for m in moves), sum(int(m[2]) for m in moves)
    check(dx > 0 and dy < 0, 'in the right direction (%d, %d)' % (dx, dy))
    run('xdotool', 'click', '3', 'click', '4', 'click', '5', 'click', '8')
    h.wait('button right down', 'button right up', 'wheel -1', 'wheel 1', 'button side down',
           'button side up')
    w.key('ctrl+alt+g')
    wait_for(lambda: 'Ctrl-Alt-G' not in w.title(), 'Ctrl-Alt-G releases it')
    h.send('tablet')
    run('xdotool', 'mousemove', '--window', w.id, '10', '10')
    h.since()
    run('xdotool', 'mousemove', '--window', w.id, '400', '300')
    h.wait('position %d %d' % (400 * 32767 // 799, 300 * 32767 // 599))
    run('xdotool', 'mousemove', '--window', w.id, '799', '599')
    h.wait('position 32767 32767')
    run('xdotool', 'click', '1')
    h.wait('button left down', 'button left up')
    check('Ctrl-Alt-G' not in w.title(), 'an absolute pointer works without a grab')


def console(h, w):
    w.key('ctrl+alt+2')
    wait_for(lambda: w.title().endswith('monitor'), 'Ctrl-Alt-2 shows the console')
    w.same('the console is shown', display=1)
    h.since()
    run('xdotool', 'type', 'Hi!')
    h.wait('console 48', 'console 69', 'console 21')
    w.key('Return', 'Up', 'ctrl+c')
    h.wait('console 0d', 'console 1b', 'console 5b', 'console 41', 'console 03')
    check(not [l for l in h.lines() if l == 'key i down'], 'what is typed there stays there')
    w.same('its echo is shown', display=1)
    shutil.copy(h.path('window.png'), h.path('console.png'))
    w.key('ctrl+alt+1')
    w.same('Ctrl-Alt-1 shows the guest again')


def window(h, w):
    h.send('pause')
    wait_for(lambda: '[Paused]' in w.title(), 'the title shows the state')
    check('harness' in w.title(), 'and the name')
    if not shutil.which(MANAGER):
        print('skipped: full screen and closing need a window manager:', MANAGER)
        h.post('quit')
        check(h.process.wait(20) == 0, 'quit ends the program')
        return
    w.key('ctrl+alt+f')
    wait_for(lambda: w.size() == '1920x1440', 'Ctrl-Alt-F fills the screen')
    w.key('ctrl+alt+f')
    wait_for(lambda: w.size() == '800x600', 'and gives it back')
    w.same('with the picture as before')
    w.key('super+Escape')  # evilwm: close the window
    h.wait('ended')
    check(h.process.wait(20) == 0, 'closing the window ends the program')


def main(program):
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print('skipped: no', ', '.join(missing))
        return 77
    servers = [start_x()]
    h = None
    try:
        if shutil.which(MANAGER):
            servers.append(subprocess.Popen([MANAGER, '-mask1', 'mod4', '-fn', 'fixed']))
            run('xdotool', 'sleep', '0.5')
        h = Harness(program, 'auto', subprocess.Popen)
        w = Window(h)
        for part in (pixels, keys, mouse, console, window):
            part(h, w)
        shutil.rmtree(h.dir)
    finally:
        if h and h.process.poll() is None:
            h.process.kill()
        for server in reversed(servers):
            server.terminate()
            server.wait()
    return 0


sys.exit(main(sys.argv[1]))
