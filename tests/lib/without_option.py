# SPDX-License-Identifier: Apache-2.0
"""without_option.py NUMBER COMMAND...: runs it on a kernel that has no socket option of this number, as it were: SO_PASSRIGHTS
(83) came with Linux 6.16, SO_PEERPIDFD (77) with 6.5."""

import ctypes
import os
import struct
import sys

SETSOCKOPT, GETSOCKOPT = {"x86_64": (54, 55), "aarch64": (208, 209)}[os.uname().machine]
ENOPROTOOPT = 92
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER, OPTION = 0, 32  # of struct seccomp_data, the third argument's lower half

code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in (
    (LOAD, 0, 0, NUMBER), (EQUAL, 1, 0, SETSOCKOPT), (EQUAL, 0, 3, GETSOCKOPT), (LOAD, 0, 0, OPTION),
    (EQUAL, 0, 1, int(sys.argv[1])), (RETURN, 0, 0, ERRNO | ENOPROTOOPT), (RETURN, 0, 0, ALLOW))))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 7, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])
