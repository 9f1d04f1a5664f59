# SPDX-License-Identifier: Apache-2.0
"""hung_fs.py DIRECTORY...: a file system on each, with the directory `in` alone. Says "ready", answers until a line comes on
stdin, says "hung", and takes requests without an answer from then on: who asks sleeps where SIGKILL does not wake. Ends
with stdin."""

import ctypes
import errno
import os
import select
import struct
import sys

LOOKUP, FORGET, GETATTR, STATFS, INIT, OPENDIR, RELEASEDIR, ACCESS, INTERRUPT, BATCH_FORGET = (
    1, 2, 3, 17, 26, 27, 29, 34, 36, 42)  # linux/fuse.h
MNT_DETACH = 2


def attributes(node):
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def answer(device, request):
    _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
    if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
        return
    data, error = b"", 0
    name = request[40:].split(b"\0")[0]
    # Nothing is valid for longer than the question: each look asks again.
    if opcode == INIT:
        data = struct.pack("<IIIIHHIIHH32x", 7, 31, 0, 0, 12, 10, 65536, 1, 0, 0)
    elif opcode == LOOKUP and name == b"in":
        data = struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
    elif opcode == LOOKUP:
        error = errno.ENOENT
    elif opcode == GETATTR:
        data = struct.pack("<QII", 0, 0, 0) + attributes(node)
    elif opcode == OPENDIR:
        data = struct.pack("<QII", 1, 0, 0)
    elif opcode not in (RELEASEDIR, ACCESS):
        error = errno.ENOSYS
    os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)


def main(directories):
    libc = ctypes.CDLL(None, use_errno=True)
    devices = []
    for directory in directories:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"hung", os.fsencode(directory), b"fuse", 0, options) < 0:
            sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
        devices.append(device)
    hung = False
    try:
        print("ready", flush=True)
        while True:
            ready = select.select([sys.stdin, *devices], [], [])[0]
            if sys.stdin in ready:
                if not sys.stdin.readline():
                    return
                hung = True
                print("hung", flush=True)
            for device in ready:
                if device is not sys.stdin:
                    request = os.read(device, 1 << 17)
                    if not hung:
                        answer(device, request)
    finally:
        for directory in directories:
            libc.umount2(os.fsencode(directory), MNT_DETACH)
        # Who waits gets an error when the devices are closed.


main(sys.argv[1:])
