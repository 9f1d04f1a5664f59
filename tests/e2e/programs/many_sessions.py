# SPDX-License-Identifier: Apache-2.0
"""many_sessions.py COUNT ALLOWED DENIED: COUNT wrapped callers (caller.py) at once. Prints "all ready" when each has made
its first calls; when its standard input ends, ends them and prints their figures together as one JSON object."""

import json
import subprocess
import sys

count, allowed, denied = int(sys.argv[1]), *sys.argv[2:]
callers = [subprocess.Popen(["wrap", "--quiet", "--", "python3", "/usr/local/e2e/caller.py", allowed, denied],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
for caller in callers:
    if caller.stdout.readline() != "ready\n":
        sys.exit("a session did not start")
print("all ready", flush=True)
sys.stdin.read()
total = {"sessions": 0, "lost": 0, "calls": 0, "failed": 0, "reached": 0, "slowest_ms": 0.0, "errors": []}
for caller in callers:
    caller.stdin.close()
for caller in callers:
    line = caller.stdout.read()
    if caller.wait() != 0 or not line:
        total["lost"] += 1
        continue
    total["sessions"] += 1
    seen = json.loads(line)
    for key in ("calls", "failed", "reached"):
        total[key] += seen[key]
    total["slowest_ms"] = max(total["slowest_ms"], seen["slowest_ms"])
    total["errors"] += seen["errors"]
total["errors"] = sorted(set(total["errors"]))
print(json.dumps(total), flush=True)
