# SPDX-License-Identifier: Apache-2.0
"""idle_sessions.py COUNT: as many sessions with long commands, which end with standard input."""

import subprocess
import sys

sessions = [subprocess.Popen(["wrap", "--quiet", "--", "sleep", "infinity", *["0" * 100] * 40],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(int(sys.argv[1]))]
print("started", flush=True)
sys.stdin.read()
for session in sessions:
    session.terminate()
for session in sessions:
    session.wait()
