# SPDX-License-Identifier: Apache-2.0
"""stalling_fs.py DIRECTORY: a file system with one file, `file`, of which wrapd and its supervisors never come loose:
their close(2) is not answered, and neither is mknod(2), which bind(2) does as well. Says "ready" and then, for each that it holds up, "stalls COMM". Once it was asked for `unread` it reads no further requests. Ends with stdin."""

import ctypes
import errno
import os
import select
import struct
import sys

LOOKUP, FORGET, GETATTR, MKNOD, OPEN, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = (
    1, 2, 3, 8, 14, 18, 25, 26, 27, 29, 36, 42)  # linux/fuse.h
HEADER = 40  # bytes
MNT_DETACH = 2


def attributes(node):
    mode = 0o40755 if node == 1 else 0o100666
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(device, request):
    _, opcode, unique, node, _, _, pid, _ = struct.unpack_from("<IIQQIIII", request)
    if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
        return
    data, error = b"", 0
    if opcode == INIT:
        data = struct.pack("<IIIIHHIIHH32x", 7, 26, 0, 0, 12, 10, 65536, 1, 0, 0)
    elif opcode == LOOKUP and request[HEADER:] != b"file\0":
        error = errno.ENOENT
    elif opcode == LOOKUP:
        data = struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + attributes(2)
    elif opcode == GETATTR:
        data = struct.pack("<QII", 60, 0, 0) + attributes(node)
    elif opcode in (OPEN, OPENDIR):
        data = struct.pack("<QII", 1, 0, 0)
    elif opcode in (FLUSH, MKNOD):
        with open(f"/proc/{pid}/comm", encoding="ascii") as text:
            comm = text.read().strip()
        if comm.startswith("wrap"):
            print("stalls", comm, flush=True)
            return
        error = errno.EPERM if opcode == MKNOD else 0
    elif opcode not in (RELEASE, RELEASEDIR):
        error = errno.ENOSYS
    os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)


def main(directory):
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"stalling", os.fsencode(directory), b"fuse", 0, options) < 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    try:
        print("ready", flush=True)
        while sys.stdin not in (ready := select.select([device, sys.stdin], [], [])[0]):
            if not ready:
                continue
            request = os.read(device, 1 << 17)
            answer(device, request)
            if request[HEADER:] == b"unread\0":
                sys.stdin.read()
                break
    finally:
        # Who waits gets an error when the device is closed.
        libc.umount2(os.fsencode(directory), MNT_DETACH)
        os.close(device)


main(sys.argv[1])
