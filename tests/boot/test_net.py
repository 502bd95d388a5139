#!/usr/bin/env python3
"""Linux guests on networks: DHCP, names, HTTP and copies both ways by user networking; links, resets
and drivers in mid-transfer; two guests on sockets, taps and a bridge; PXE; other machines' cards on
vmrun's networks.
Usage: test_net.py ENGINE [TEST]...
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import net_guest  # noqa: E402
from net_guest import NameServer, NetVm, Sink, WebServer  # noqa: E402
from vmrun_test import Skip, Vm, check, need, need_engine, run_tests  # noqa: E402

OWN = net_guest.private_network()
ENGINE = sys.argv.pop(1)
WORK = tempfile.TemporaryDirectory(prefix="vmrun-net-")
if OWN:
    net_guest.set_up_network(WORK.name)
    NAME_SERVER = NameServer()
# A loaded machine may not deliver the timer in the time that the kernel gives it.
APPEND = "console=ttyS0 panic=-1 quiet no_timer_check"
MIB = 1 << 20


def direct(arch="amd64"):
    path = os.path.join(WORK.name, f"initrd-{arch}")
    if not os.path.exists(path):
        net_guest.make_initrd(path, arch)
    return ["-m", "256", "-kernel", net_guest.kernel(arch), "-initrd", path, "-append", APPEND]


def cards():
    shown = subprocess.run([os.environ["VMRUN"], "-nic", "model=help"], check=True, capture_output=True,
                           text=True).stdout
    return re.findall(r"(?m)^(\S+) +\S", shown.split("\n", 1)[1])


def guest(*arguments, card="e1000", arch="amd64"):
    if card not in cards():
        raise Skip(f"this vmrun has no card {card}")
    return NetVm("-accel", ENGINE, *direct(arch), *arguments, card=card)


# ---- What a guest on user networking does ----

def resolve(vm):
    if not OWN:
        return  # the host's name server may be out of reach: need_own_network() says so at the end
    NAME_SERVER.names.clear()
    answer = vm.shell("ping -c 1 -W 1 some.name.test 2>&1; nslookup some.name.test 2>&1")
    check("192.0.2.77" in answer and "some.name.test" in NAME_SERVER.names,
          f"name: {answer}, {NAME_SERVER.names}")


def need_own_network(what):
    """Last in a test that has looked at everything else."""
    if not OWN:
        raise Skip(f"{what}: unshare cannot make a network namespace here")


def send(port, times, arch):
    """A command that sends /tmp/data `times` in a row.  nc writes what it reads in pieces of a KiB: a program
    that it starts on the socket writes large ones, but the installer's has no -e."""
    loop = f"for i in $(seq {times}); do cat /tmp/data; done"
    if arch == "amd64":
        return f"nc 10.0.2.2 {port} -e sh -c '{loop}'"
    return f"({loop}) | nc 10.0.2.2 {port}"


def copy(vm, web, sink, size, times=1, arch="amd64"):
    """A file of the host, and back again, each `times` in a row."""
    data = os.urandom(size)
    total = hashlib.md5()
    for _ in range(times):
        total.update(data)
    digest = total.hexdigest()
    web.files["/data"] = (data, times)
    web.files["/once"] = (data, 1)
    limit = 120 + times * size // MIB * 2
    answer = vm.shell(f"wget -q -O - http://10.0.2.2:{web.port}/data | md5sum", limit)
    check(digest in answer, f"{times} times {size} bytes from the host: {answer} instead of {digest}")
    answer = vm.shell(f"wget -q -O /tmp/data http://10.0.2.2:{web.port}/once && " +
                      send(sink.port, times, arch), limit)
    vm.wait(lambda: sink.results, "the end of the copy", limit)
    got = sink.results.pop()
    check(got == (size * times, digest), f"{times} times {size} bytes to the host: {got}, {digest}; {answer}")
    vm.shell("rm /tmp/data")


def serve(vm, port):
    """The guest's HTTP server, or where it has none, what nc says, over a forwarded port."""
    vm.shell("mkdir -p /www; echo 'from the guest' >/www/page; "
             "((httpd -p 80 -h /www || (while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nfrom the guest\\n' | "
             "nc -l -p 80; done)) </dev/null >/dev/null 2>&1 &)")

    def fetched():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=20) as answer:
                return answer.read() == b"from the guest\n"
        except OSError:
            return False
    vm.wait(fetched, "the guest's page", 60)


def pull_cable(vm, name, carrier):
    """set_link: the guest's driver sees it where its card can, nothing passes, and then it does again."""
    vm.monitor(f"set_link {name} off")
    if carrier:
        vm.wait(lambda: "0" in vm.shell("cat /sys/class/net/eth0/carrier"), "the link's end", 60)
    answer = vm.shell("ping -c 1 -W 1 10.0.2.2")
    check("100% packet loss" in answer, f"ping without a cable: {answer}")
    vm.monitor(f"set_link {name} on")
    if carrier:
        vm.wait(lambda: "1" in vm.shell("cat /sys/class/net/eth0/carrier"), "the link", 60)
    vm.wait(lambda: " 0% packet loss" in vm.shell("ping -c 1 -W 2 10.0.2.2"), "an answer", 60)


def start_transfer(vm, web):
    web.files["/endless"] = (bytes(MIB), 1 << 20)
    vm.shell(f"(wget -q -O /dev/null http://10.0.2.2:{web.port}/endless </dev/null >/dev/null 2>&1 &)")
    count = "cat /sys/class/net/eth0/statistics/rx_bytes"
    start = int(vm.shell(count))
    vm.wait(lambda: int(vm.shell(count)) > start + MIB, "a transfer under way", 60)


def user_network(card, arch="amd64"):
    web, sink = WebServer(), Sink()
    network = "hostfwd=tcp:127.0.0.1:0-:80,hostname=guest"
    # ACPI has interrupt 9, which the ISA card has by default.
    words = (["-netdev", f"user,id=u,{network}", "-device", "ne2k_isa,netdev=u,irq=5"]
             if card == "ne2k_isa" else ["-nic", f"user,model={card},id=u,{network}"])
    with guest(*words, card=card, arch=arch) as vm:
        vm.connect()
        vm.load()
        said = vm.lease()
        check("lease: 10.0.2.15 router 10.0.2.2 dns 10.0.2.3 name guest" in said, f"lease: {said}")
        resolve(vm)
        check(" 0% packet loss" in vm.shell("ping -c 3 -W 2 10.0.2.2"), "ping of the router")
        copy(vm, web, sink, 8 * MIB, arch=arch)
        serve(vm, vm.forwarded(80))
        pull_cable(vm, "u", carrier=not card.startswith("ne2k"))
        # The driver goes in mid-transfer and comes back.
        start_transfer(vm, web)
        vm.load(unload=True)
        vm.load()
        vm.lease()
        check(" 0% packet loss" in vm.shell("ping -c 1 -W 2 10.0.2.2"), "ping after the driver's reload")
        # The machine is reset in mid-transfer.
        start_transfer(vm, web)
        vm.monitor("system_reset")
        vm.wait(lambda: vm.serial().count("guest: init runs") == 2, "the second start")
        vm.shell("true")
        vm.load()
        vm.lease()
        copy(vm, web, sink, MIB, arch=arch)
        check("Call Trace" not in vm.shell("dmesg"), f"kernel log: {vm.shell('dmesg | tail -n 40')}")
    need_own_network("all but the name is well")


def allow_ping(groups):
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
        file.write(groups)


def test_ping():
    """An address beyond the user network is asked by the host's kernel, on a ping socket: vmrun runs without
    the right to have a raw one."""
    need_own_network("a range of groups who may ping, and an address of the host")
    need("ip", "iproute2")
    subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    program = os.path.join(WORK.name, "unprivileged")
    with open(program, "w") as file:
        file.write("#!/bin/sh\nexec setpriv --bounding-set=-net_raw --inh-caps=-net_raw "
                   f"'{os.environ['VMRUN']}' \"$@\"\n")
    os.chmod(program, 0o755)
    allow_ping("1 0")
    with NetVm("-accel", ENGINE, *direct(), "-nic", "user", program=program) as vm:
        vm.connect()
        vm.load()
        vm.lease()
        answer = vm.shell("ping -c 1 -W 1 192.0.2.1")
        check("100% packet loss" in answer, f"ping where no group may: {answer}")
        allow_ping("0 0")
        answer = vm.shell("ping -c 3 -W 10 -s 1000 192.0.2.1")
        check(" 0% packet loss" in answer and "ttl=" in answer, f"ping of the host's address: {answer}")
        answer = vm.shell("ping -c 1 -W 1 192.0.2.2; ping -c 1 -W 10 192.0.2.1")
        check("100% packet loss" in answer and " 0% packet loss" in answer,
              f"ping of an address that is nobody's, then again: {answer}")


def test_big():
    """1 GiB each way."""
    web, sink = WebServer(), Sink()
    with guest("-nic", "user") as vm:
        vm.connect()
        vm.load()
        vm.lease()
        copy(vm, web, sink, 64 * MIB, 16)


# ---- Two guests ----

def two_guests(first, second):
    with guest("-nic", f"{first},model=e1000") as a, guest("-nic", f"{second},model=e1000") as b:
        for n, vm in enumerate((a, b), 1):
            vm.connect()
            vm.load()
            vm.shell(f"ip addr add 10.1.1.{n}/24 dev eth0; ip link set eth0 up")
        a.wait(lambda: " 0% packet loss" in a.shell("ping -c 1 -W 2 10.1.1.2"), "ping between guests", 60)
        a.shell("head -c 4194304 /dev/urandom >/tmp/file; (httpd -p 80 -h /tmp </dev/null >/dev/null 2>&1 &)")
        want = a.shell("md5sum </tmp/file").split()[0]
        b.wait(lambda: want in b.shell("wget -q -O - http://10.1.1.1/file 2>/dev/null | md5sum", 180),
               "the copy between guests", 300)


def test_listen():
    two_guests("socket,listen=127.0.0.1:7701", "socket,connect=127.0.0.1:7701")


def test_dgram():
    a, b = (os.path.join(WORK.name, name) for name in "ab")
    form = "dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}"
    two_guests(form.format(a, b), form.format(b, a))


# ---- tap: the host's own kernel at the other end ----

def need_tun():
    need_own_network("a tap")
    need("ip", "iproute2")
    if not os.path.exists("/dev/net/tun"):
        raise Skip("tap: there is no /dev/net/tun")


def up_script(name, text):
    script = os.path.join(WORK.name, name)
    with open(script, "w") as file:
        file.write("#!/bin/sh\nset -e\n" + text)
    os.chmod(script, 0o755)
    return f"script={script},downscript=no"


def test_tap():
    need_tun()
    script = up_script("up", "ip addr add 10.2.2.1/24 dev $1\nip link set $1 up\n")
    with guest("-nic", f"tap,model=e1000,ifname=vmtest0,{script}") as vm:
        vm.connect()
        vm.load()
        vm.shell("ip addr add 10.2.2.2/24 dev eth0; ip link set eth0 up")
        vm.wait(lambda: " 0% packet loss" in vm.shell("ping -c 1 -W 2 10.2.2.1"), "ping of the host", 60)
        web = WebServer("10.2.2.1")
        data = os.urandom(4 * MIB)
        web.files["/data"] = (data, 1)
        answer = vm.shell(f"wget -q -O - http://10.2.2.1:{web.port}/data | md5sum", 120)
        check(hashlib.md5(data).hexdigest() in answer, f"copy over tap: {answer}")


def make_bridge(name):
    need_tun()
    done = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"the host's kernel makes no bridge: {done.stderr.strip()}")
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


def test_two_taps():
    make_bridge("vmbr0")
    script = up_script("join", "ip link set $1 master vmbr0\nip link set $1 up\n")
    two_guests(f"tap,ifname=vmtest1,{script}", f"tap,ifname=vmtest2,{script}")


def test_bridge():
    make_bridge("vmbr1")
    two_guests("bridge,br=vmbr1", "bridge,br=vmbr1")


# ---- PXE: firmware, iPXE, pxelinux, kernel and initial RAM disk, all by TFTP ----

def share(picture, colour):
    """How much of the screen has a colour."""
    _, _, pixels = picture
    count = sum(1 for i in range(0, len(pixels), 3) if pixels[i:i + 3] == colour)
    return count * 3 / len(pixels)


def test_pxe():
    image = os.path.dirname(net_guest.image("amd64", "initrd.gz"))
    root = os.path.join(image, "..", "..")
    if "e1000" not in cards():
        raise Skip("this vmrun has no card e1000")
    need("/usr/lib/ipxe/qemu/pxe-e1000.rom", "ipxe-qemu")
    disk = os.path.join(WORK.name, "empty.qcow2")
    subprocess.run([os.environ["VMRUN_IMG"], "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    dump = os.path.join(WORK.name, "pxe.pcap")
    with Vm("-accel", ENGINE, "-m", "512", "-hda", disk, "-nic",
            f"user,model=e1000,id=u,tftp={root},bootfile=/pxelinux.0", "-object",
            f"filter-dump,id=d,netdev=u,file={dump},maxlen=128", limit=600) as vm:

        def asked(name):
            if not os.path.exists(dump):
                return False
            with open(dump, "rb") as file:
                return b"\0\1/" + name + b"\0octet" in file.read()
        vm.wait(lambda: asked(b"pxelinux.0"), "TFTP of pxelinux")
        vm.wait(lambda: asked(b"debian-installer/amd64/boot-screens/splash.png"), "the menu's picture")
        # The menu is there when it takes Enter: the kernel comes next.
        def chosen():
            vm.monitor("sendkey ret")
            return asked(b"debian-installer/amd64/linux")
        vm.wait(chosen, "TFTP of the kernel", 120)
        # The installer's first dialogue: grey on blue.
        def dialogue():
            picture = vm.screendump(os.path.join(WORK.name, "screen.ppm"))
            return share(picture, b"\x00\x00\xaa") > 0.4 and share(picture, b"\xaa\xaa\xaa") > 0.05
        vm.wait(dialogue, "the installer's first screen")
        pictures = os.environ.get("VMRUN_PICTURES")
        if pictures:
            os.makedirs(pictures, exist_ok=True)
            vm.screendump(os.path.join(pictures, "pxe.png"))


# A program of 16 bits for 0:7c00 that writes a text into the screen's upper left corner.
HELLO = bytes.fromhex("b800b8 8ec0 31ff 8edf fc be 1a7c b41f ac 84c0 7403 ab ebf8 f4 ebfd".replace(
    " ", "")) + b"booted by PXE\0"


def pxe_rom(card):
    """The card's ROM: an address, a file by TFTP, which runs."""
    need_engine(ENGINE)
    need(f"/usr/lib/ipxe/qemu/pxe-{card}.rom", "ipxe-qemu")
    root = os.path.join(WORK.name, "tftp")
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, "hello"), "wb") as file:
        file.write(HELLO)
    with Vm("-accel", ENGINE, "-m", "32", "-boot", "n", "-nic",
            f"user,model={card},tftp={root},bootfile=/hello", limit=900) as vm:
        vm.wait_screen("booted by PXE")


# ---- qemu's card on vmrun's user network, over a stream ----

def test_qemu():
    qemu = shutil.which("qemu-system-x86_64")
    need(qemu or "qemu-system-x86_64", "qemu-system-x86")
    path = os.path.join(WORK.name, "cable")
    web, sink = WebServer(), Sink()
    switch = ["-S", "-nic", "none", "-netdev", "user,id=u", "-netdev", "hubport,id=h0,hubid=0,netdev=u",
              "-netdev", f"stream,id=s,server=on,addr.type=unix,addr.path={path}",
              "-netdev", "hubport,id=h1,hubid=0,netdev=s"]
    with Vm("-accel", "interp", "-m", "4", *switch) as vmrun:
        vmrun.monitor("info network")
        vmrun.monitor("cont")
        with NetVm("-accel", "tcg", *direct(), "-netdev",
                   f"stream,id=s,server=off,addr.type=unix,addr.path={path}", "-device",
                   "e1000,netdev=s", program=qemu) as vm:
            vm.connect()
            vm.load()
            check("10.0.2.15" in vm.lease(), "lease by a stream")
            resolve(vm)
            copy(vm, web, sink, 8 * MIB)
            check("connected to" in vmrun.monitor("info network"), vmrun.monitor("info network"))
    need_own_network("all but the name is well")


TESTS = [("qemu", test_qemu)]
TESTS += [(card, lambda card=card: user_network(card)) for card in ("e1000", "rtl8139", "ne2k_pci")]
TESTS += [(card + "-i386", lambda card=card: user_network(card, "i386"))
          for card in ("rtl8139", "ne2k_pci", "ne2k_isa")]
TESTS += [("ping", test_ping), ("listen", test_listen), ("dgram", test_dgram), ("tap", test_tap),
          ("two-taps", test_two_taps), ("bridge", test_bridge), ("pxe", test_pxe)]
TESTS += [("pxe-" + card, lambda card=card: pxe_rom(card)) for card in ("e1000", "rtl8139", "ne2k_pci")]
if "big" in sys.argv:  # minutes: a test of its own in meson.build
    TESTS.append(("big", test_big))
run_tests(TESTS)
