# SPDX-License-Identifier: Apache-2.0
"""caller.py ALLOWED DENIED: until its standard input ends, connects to both in turn and echoes at the allowed one. Prints
"ready" after the first round and at the end one JSON object: calls made, calls that failed, denied ones that got through."""

import errno
import json
import select
import socket
import sys
import time

allowed, denied = sys.argv[1:]
seen = {"calls": 0, "failed": 0, "reached": 0, "slowest_ms": 0.0, "errors": []}


def attempt(address):
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        result = s.connect_ex(address)
        if result == 0 and address == allowed:
            s.sendall(b"x")
            if s.recv(1) != b"x":
                result = errno.EPIPE
    seen["calls"] += 1
    seen["slowest_ms"] = max(seen["slowest_ms"], (time.monotonic() - begun) * 1000)
    return result


first = True
while True:
    result = attempt(allowed)
    if result != 0:
        seen["failed"] += 1
        seen["errors"].append(errno.errorcode[result])
    result = attempt(denied)
    if result == 0:
        seen["reached"] += 1
    elif result != errno.EACCES:
        seen["failed"] += 1
        seen["errors"].append(errno.errorcode[result])
    if first:
        print("ready", flush=True)
        first = False
    if select.select([sys.stdin], [], [], 0.05)[0]:
        break
print(json.dumps(seen), flush=True)
