# SPDX-License-Identifier: Apache-2.0
"""threads.py THREADS COUNT ALLOWED DENIED: every thread connects COUNT times to both in turn, echoes at the allowed one,
and is refused by the denied one, also while other threads fork. Prints "done" if that is what happened."""

import errno
import os
import socket
import sys
import threading

threads, count, allowed, denied = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
wrong = []


def work(number):
    for i in range(count):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(allowed)
            message = b"%d %d" % (number, i)
            s.sendall(message)
            if s.recv(64) != message:
                wrong.append("another's echo")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            result = s.connect_ex(denied)
            if result != errno.EACCES:
                wrong.append(os.strerror(result))
        if i % 20 == 0:
            pid = os.posix_spawn("/bin/true", ["true"], {})
            if os.waitpid(pid, 0)[1] != 0:
                wrong.append("a child failed")


workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("; ".join(sorted(set(wrong))) or "done")
sys.exit(bool(wrong))
