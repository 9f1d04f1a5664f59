# SPDX-License-Identifier: Apache-2.0
"""flood.py SOCKET HOW CALLS [SOCKET]: connects so often, to the same name or to a different one each time (HOW: same,
different), then once to each other one."""

import errno
import socket
import sys


def connect(name):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect("\0" + name[1:] if name.startswith("@") else name)
        except OSError as error:
            return errno.errorcode[error.errno]
    return "done"


name, how, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
answers = {connect(name if how == "same" else f"@{name}{i}") for i in range(calls)}
answers |= {connect(other) for other in sys.argv[4:]}
print(*answers)
