# SPDX-License-Identifier: Apache-2.0
"""A user who calls everything that introspection shows, with arguments of every kind, right and wrong."""

import os
import random
import socket
import xml.etree.ElementTree as ElementTree

from lib import dbus
from lib.bus import OTHER, OWNER, QUESTION, SESSION, session_path

ROUNDS = int(os.environ.get("WRAPD_TEST_FUZZ_ROUNDS", "30"))
TEXTS = ["", "x", SESSION, QUESTION, "default", "/", "@", "a" * 300, "\x1b[2J", "../../etc", "\u202e", "org.wrapd1"]
KEYS = ["command", "cwd", "policy", "profile", "traps", "events", "x", ""]


def value(random_, kind):
    head = kind[0]
    if head in "sg":
        return random_.choice(TEXTS) if head == "s" else random_.choice(["", "s", "a{sv}"])
    if head == "o":
        return random_.choice(["/", "/org/wrapd1", session_path(SESSION)])
    if head == "h":
        return random_.choice([0, 0, 1, 7, 0xFFFFFFFF])
    if head == "b":
        return random_.choice([0, 1])
    if head == "d":
        return random_.random()
    if head in "nix":
        return random_.choice([0, -1, 1, -(2**15)])
    if head in "yqut":
        limit = {"y": 8, "q": 16, "u": 32, "t": 64}[head]
        return random_.choice([0, 1, OWNER, 2**limit - 1])
    if head == "v":
        inner = random_.choice(["s", "u", "b", "h", "as", "a{sv}", "(sv)", "o", "ay"])
        return dbus.Variant(inner, value(random_, inner))
    if kind == "a{sv}":
        return [(random_.choice(KEYS), value(random_, "v")) for _ in range(random_.randrange(4))]
    if head == "a":
        return [value(random_, kind[1:]) for _ in range(random_.randrange(4))]
    return tuple(value(random_, inner) for inner in dbus.split(kind[1:-1]))


def descriptors(random_, tmp_path):
    """The bus refuses what has any: few have."""
    if random_.random() < 0.9:
        return []
    kinds = [lambda: os.open("/dev/null", os.O_RDWR), lambda: os.open("/", os.O_PATH),
             lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach(), lambda: os.memfd_create("x"),
             lambda: os.open("/proc/self/mem", os.O_RDONLY), lambda: os.pidfd_open(os.getpid()),
             lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(), lambda: os.eventfd(0),
             lambda: os.open(tmp_path / "fifo", os.O_RDWR | os.O_NONBLOCK)]
    return [random_.choice(kinds)() for _ in range(random_.randrange(1, 4))]


def offered(client):
    for path in ("/org/wrapd1", session_path(SESSION), "/org/wrapd1/session", "/"):
        text = client.call("org.wrapd1", path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
        for interface in ElementTree.fromstring(text[text.index("<node"):]).findall("interface"):
            for method in interface.findall("method"):
                yield path, interface.get("name"), method.get("name"), "".join(
                    a.get("type") for a in method.findall("arg") if a.get("direction") != "out")


def test_random_calls_of_everything(own_machine, tmp_path):
    machine = own_machine()
    os.mkfifo(tmp_path / "fifo")
    seed = int(os.environ.get("WRAPD_TEST_FUZZ_SEED", "1"))
    random_ = random.Random(seed)
    machine.service.order(f"add {SESSION} {OTHER} x")
    machine.service.order(f"ask {QUESTION} {SESSION}")
    # Root has no budget, so that arguments are looked at and not the rate; the bus policy stands in the way of others.
    client = machine.watcher
    everything = list(offered(client))
    assert len({(i, m) for _, i, m, _ in everything}) > 15
    witness = machine.client(3)
    baseline = None
    for round_ in range(ROUNDS):
        for path, interface, member, signature in everything:
            used = signature if random_.random() < 0.7 else random_.choice(
                ["", "s", "u", "h", "a{sv}", "ss", "hh", "sa{sv}", "as", "(so)", "v"])
            args = [value(random_, kind) for kind in dbus.split(used)]
            fds = descriptors(random_, tmp_path)
            serial = client.send("org.wrapd1", path, interface, member, used, args, fds=fds,
                                 flags=random_.choice([0, dbus.INTERACTIVE]))
            for fd in fds:
                os.close(fd)
            reply = client.wait(lambda m: m.reply_to == serial or m.kind == dbus.ERROR)
            if reply.error and member != "GetMachineId":  # the machine may have no id
                assert reply.error != "org.wrapd1.Error.Internal", (seed, member, args, reply)
        # The outcome of the calls does not matter, that others get answers does.
        assert witness.manager("ListPolicies")
        machine.service.order("reset")
        machine.service.order(f"add {SESSION} {OTHER} x")
        machine.service.order(f"ask {QUESTION} {SESSION}")
        count = len(os.listdir(f"/proc/{machine.service.pid}/fd"))
        baseline = baseline or count
        assert count <= baseline + 1, "descriptors are left behind"
    assert machine.service.stop() == ""


def test_random_calls_of_an_unprivileged_user(own_machine, tmp_path):
    machine = own_machine()
    os.mkfifo(tmp_path / "fifo")
    random_ = random.Random(2)
    machine.service.order(f"add {SESSION} {OTHER} x")
    client, witness = machine.client(OWNER), machine.client(OTHER)
    everything = list(offered(machine.watcher))
    for _ in range(ROUNDS):
        for path, interface, member, signature in everything:
            args = [value(random_, kind) for kind in dbus.split(signature)]
            fds = descriptors(random_, tmp_path)
            serial = client.send("org.wrapd1", path, interface, member, signature, args, fds=fds)
            for fd in fds:
                os.close(fd)
            client.wait(lambda m: m.reply_to == serial or m.kind == dbus.ERROR)
        assert witness.manager("GetSession", "s", [SESSION])
    # Nothing of the other user's was ended, whatever was called.
    assert all(not line.startswith("terminate") for line in machine.service.order("reset"))
    assert machine.service.stop() == ""


def test_broken_messages_are_the_bus_s_to_refuse(machine):
    """Cut and flipped bytes: the bus hangs up on their sender, and the service does not see them."""
    random_ = random.Random(3)
    whole = dbus.message(dbus.CALL, 9, "a{sv}", [{"command": dbus.Variant("s", "x")}], path="/org/wrapd1",
                         interface="org.wrapd1.Manager", member="OpenSession", destination="org.wrapd1")
    for _ in range(60):
        client = machine.client(OWNER)
        data = bytearray(whole)
        for _ in range(random_.randrange(1, 4)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        try:
            client.send_raw(bytes(data))
        except BrokenPipeError:
            continue
        finally:
            machine.dismiss(client)
    assert machine.client(OTHER).manager("ListPolicies")
