# SPDX-License-Identifier: Apache-2.0
"""D-Bus on the wire (https://dbus.freedesktop.org/doc/dbus-specification.html), as little of it as the tests need: a
client that can send what no library would, from a socket that a process of another uid has connected."""

import itertools
import os
import select
import socket
import struct
import time

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED, INTERACTIVE = 1, 4
PATIENCE = 20.0
UNWRAP = True  # a variant that is read gives its value alone
BASIC = {"y": ("B", 1), "b": ("I", 4), "n": ("h", 2), "q": ("H", 2), "i": ("i", 4), "u": ("I", 4), "x": ("q", 8),
         "t": ("Q", 8), "d": ("d", 8), "h": ("I", 4)}
ALIGN = {"s": 4, "o": 4, "g": 1, "a": 4, "(": 8, "{": 8, "v": 1, **{k: v[1] for k, v in BASIC.items()}}


def split(signature):
    """The complete types of a signature."""
    out, at = [], 0
    while at < len(signature):
        end = at
        while signature[end] == "a":
            end += 1
        depth = 0
        while True:
            depth += (signature[end] in "({") - (signature[end] in ")}")
            end += 1
            if depth == 0:
                break
        out.append(signature[at:end])
        at = end
    return out


class Variant:
    def __init__(self, signature, value):
        self.signature, self.value = signature, value


def put(out, kind, value):
    while len(out) % ALIGN[kind[0]]:
        out.append(0)
    if kind in BASIC:
        out += struct.pack("<" + BASIC[kind][0], value)
    elif kind in "so":
        raw = value.encode() if isinstance(value, str) else value
        out += struct.pack("<I", len(raw)) + raw + b"\0"
    elif kind == "g":
        out += bytes([len(value)]) + value.encode() + b"\0"
    elif kind == "v":
        put(out, "g", value.signature)
        put(out, value.signature, value.value)
    elif kind[0] == "a":
        at = len(out)
        out += b"\0\0\0\0"
        while len(out) % ALIGN[kind[1]]:
            out.append(0)
        start = len(out)
        for item in value.items() if isinstance(value, dict) else value:
            put(out, kind[1:], item)
        out[at:at + 4] = struct.pack("<I", len(out) - start)
    else:
        for inner, item in zip(split(kind[1:-1]), value, strict=True):
            put(out, inner, item)


def get(data, at, kind):
    at += -at % ALIGN[kind[0]]
    if kind in BASIC:
        code, size = BASIC[kind]
        value = struct.unpack_from("<" + code, data, at)[0]
        return (bool(value) if kind == "b" else value), at + size
    if kind in "so":
        size = struct.unpack_from("<I", data, at)[0]
        return data[at + 4:at + 4 + size].decode(), at + 5 + size
    if kind == "g":
        return data[at + 1:at + 1 + data[at]].decode(), at + 2 + data[at]
    if kind == "v":
        signature, at = get(data, at, "g")
        value, at = get(data, at, signature)
        return (value if UNWRAP else Variant(signature, value)), at
    if kind[0] == "a":
        size = struct.unpack_from("<I", data, at)[0]
        at += 4
        at += -at % ALIGN[kind[1]]
        end, items = at + size, []
        while at < end:
            item, at = get(data, at, kind[1:])
            items.append(item)
        return (dict(items) if kind[1] == "{" else items), at
    items = []
    for inner in split(kind[1:-1]):
        item, at = get(data, at, inner)
        items.append(item)
    return tuple(items), at


class Message:
    FIELDS = {1: "path", 2: "interface", 3: "member", 4: "error", 5: "reply_to", 6: "destination", 7: "sender",
              8: "signature", 9: "fds"}

    def __init__(self, kind, flags, serial, fields, body):
        self.kind, self.flags, self.serial, self.body = kind, flags, serial, body
        for code, name in self.FIELDS.items():
            setattr(self, name, fields.get(code))

    def __repr__(self):
        return f"<{self.kind} {self.interface}.{self.member} {self.error} {self.body!r}>"


def message(kind, serial, signature="", args=(), flags=0, fds=0, **header):
    types = {"path": "o", "interface": "s", "member": "s", "error": "s", "reply_to": "u", "destination": "s"}
    codes = {name: code for code, name in Message.FIELDS.items()}
    body = bytearray()
    for inner, value in zip(split(signature), args, strict=True):
        put(body, inner, value)
    fields = [(codes[name], Variant(types[name], value)) for name, value in header.items() if value is not None]
    if signature:
        fields.append((8, Variant("g", signature)))
    if fds:
        fields.append((9, Variant("u", fds)))
    out = bytearray(struct.pack("<cBBBII", b"l", kind, flags, 1, len(body), serial))
    put(out, "a(yv)", fields)
    while len(out) % 8:
        out.append(0)
    return bytes(out + body)


class Failure(Exception):
    def __init__(self, reply):
        super().__init__(f"{reply.error}: {reply.body}")
        self.name = reply.error.removeprefix("org.wrapd1.Error.")
        self.text = reply.body[0] if reply.body else ""


class Connection:
    """A connected socket becomes a connection of the bus. `uid` is what the socket's peer credentials say."""

    def __init__(self, connected, uid):
        self.socket, self.buffer, self.serials = connected, b"", itertools.count(1)
        self.inbox = []
        self.fds = []  # that came and were not taken yet
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\n")
        self._line(b"OK")
        self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        self._line(b"AGREE_UNIX_FD")
        self.socket.sendall(b"BEGIN\r\n")
        self.name = self.driver("Hello")[0]

    def _line(self, expected):
        line = b""
        while not line.endswith(b"\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"the bus hung up: {line}"
            line += byte
        assert line.startswith(expected), line

    def take_fds(self):
        taken, self.fds = self.fds, []
        return taken

    def close(self):
        self.socket.close()
        for fd in self.take_fds():
            os.close(fd)

    def send(self, destination, path, interface, member, signature="", args=(), flags=0, fds=()):
        serial = next(self.serials)
        data = message(CALL, serial, signature, args, flags, len(fds), path=path, interface=interface, member=member,
                       destination=destination)
        self.send_raw(data, fds)
        return serial

    def send_raw(self, data, fds=()):
        sent = socket.send_fds(self.socket, [data], list(fds)) if fds else self.socket.send(data)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def reply(self, to, signature="", args=(), error=None):
        self.send_raw(message(ERROR if error else RETURN, next(self.serials), signature, args, NO_REPLY_EXPECTED,
                              error=error, reply_to=to.serial, destination=to.sender))

    def receive(self, timeout=PATIENCE):
        """The next message; None if none comes in time; ConnectionError if the bus is gone."""
        deadline = time.monotonic() + timeout
        while True:
            parsed = self._parse()
            if parsed:
                return parsed
            if not select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 16)
            self.fds += fds
            if not data:
                raise ConnectionError("the bus hung up")
            self.buffer += data

    def _parse(self):
        if len(self.buffer) < 16:
            return None
        _, kind, flags, _, size, serial, fields_size = struct.unpack_from("<cBBBIII", self.buffer)
        start = 16 + fields_size + (-fields_size % 8)
        if len(self.buffer) < start + size:
            return None
        fields = {code: getattr(field, "value", field) for code, field in get(self.buffer, 12, "a(yv)")[0]}
        body, values, at = self.buffer[start:start + size], [], 0
        for inner in split(fields.get(8, "")):
            value, at = get(body, at, inner)
            values.append(value)
        self.buffer = self.buffer[start + size:]
        return Message(kind, flags, serial, fields, values)

    def wait(self, matches, timeout=PATIENCE):
        """The first message for which `matches` holds; others stay for later."""
        for i, waiting in enumerate(self.inbox):
            if matches(waiting):
                return self.inbox.pop(i)
        deadline = time.monotonic() + timeout
        while True:
            received = self.receive(max(0, deadline - time.monotonic()))
            if received is None:
                raise TimeoutError(f"nothing came but {self.inbox}")
            if matches(received):
                return received
            self.inbox.append(received)

    def answer_to(self, serial, timeout=PATIENCE):
        return self.wait(lambda m: m.kind in (RETURN, ERROR) and m.reply_to == serial, timeout)

    def call(self, *args, timeout=PATIENCE, **options):
        reply = self.answer_to(self.send(*args, **options), timeout)
        if reply.kind == ERROR:
            raise Failure(reply)
        return reply.body

    def driver(self, member, signature="", args=()):
        return self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature,
                         args)

    def manager(self, member, signature="", args=(), **options):
        return self.call("org.wrapd1", "/org/wrapd1", "org.wrapd1.Manager", member, signature, args, **options)

    def signal(self, member, timeout=PATIENCE):
        return self.wait(lambda m: m.kind == SIGNAL and m.member == member, timeout)
