# SPDX-License-Identifier: Apache-2.0
"""many_ids.py SOCKET FIRST COUNT PROCESSES: root, who connects with each of COUNT ids from FIRST on and sends nothing.
Says "all connected" when each has connected once; connects again with those that were turned away until it is killed."""

import os
import resource
import select
import socket
import sys

path, first, count, processes = sys.argv[1], *map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (count // processes + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def connect(uid):
    os.seteuid(uid)  # what the peer sees
    try:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.connect(path)
        return one
    except (ConnectionRefusedError, FileNotFoundError):  # there is no service just now
        one.close()
        return None
    finally:
        os.seteuid(0)


def crowd(uids, done):
    connected = {uid: connect(uid) for uid in uids}
    os.write(done, b".")
    poller = select.poll()
    while True:
        for uid, one in connected.items():
            if one is not None:
                poller.register(one, select.POLLRDHUP)
                gone = poller.poll(0)
                poller.unregister(one)
                if not gone:
                    continue
                one.close()
            connected[uid] = connect(uid)


reading, writing = os.pipe()
for number in range(processes):
    if os.fork() == 0:
        crowd(range(first + number, first + count, processes), writing)
for _ in range(processes):
    os.read(reading, 1)
print("all connected", flush=True)
os.wait()
