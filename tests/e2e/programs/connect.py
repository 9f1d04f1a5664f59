# SPDX-License-Identifier: Apache-2.0
"""connect.py ADDRESS...: tries to connect to each ("@name" is abstract) and prints "ADDRESS ok" or "ADDRESS ERRNO"."""

import errno
import socket
import sys

for address in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        try:
            s.connect("\0" + address[1:] if address.startswith("@") else address)
            print(address, "ok", flush=True)
        except OSError as e:
            print(address, errno.errorcode[e.errno], flush=True)
