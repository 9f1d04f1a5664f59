# SPDX-License-Identifier: Apache-2.0
"""bind.py ADDRESS...: binds, listens at and connects to each; prints "ADDRESS ok NAME", with the name that getsockname()
gives, or "ADDRESS STEP ERRNO"."""

import errno
import os
import socket
import sys

for address in sys.argv[1:]:
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        step = "bind"
        try:
            server.bind(name)
            step = "listen"
            server.listen(1)
            step = "connect"
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(name)
                accepted, _ = server.accept()
                accepted.close()
            got = server.getsockname()
            got = "@" + got[1:].decode() if isinstance(got, bytes) else got
            print(address, "ok", got, flush=True)
            if not address.startswith("@"):
                os.unlink(address)
        except OSError as e:
            print(address, step, errno.errorcode[e.errno], flush=True)
