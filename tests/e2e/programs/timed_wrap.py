# SPDX-License-Identifier: Apache-2.0
"""timed_wrap.py COUNT: runs `wrap true` so often and prints how long it took, in milliseconds, as a JSON object."""

import json
import subprocess
import sys
import time

count, took, failed = int(sys.argv[1]), [], []
for _ in range(count):
    began = time.monotonic()
    done = subprocess.run(["wrap", "--", "true"], capture_output=True, text=True, check=False)
    took.append(1000 * (time.monotonic() - began))
    if done.returncode != 0:
        failed.append(done.stderr)
took.sort()
print(json.dumps({"median_ms": round(took[count // 2], 1), "p99_ms": round(took[count * 99 // 100], 1),
                  "slowest_ms": round(took[-1], 1), "failed": failed[:5]}))
