# SPDX-License-Identifier: Apache-2.0
"""starts.py COUNT: runs `wrap true` so often, one after the other, and prints how long each took, in milliseconds."""

import json
import subprocess
import sys
import time

times = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter()
    subprocess.run(["wrap", "--quiet", "--", "true"], check=True)
    times.append(1000 * (time.perf_counter() - start))
print(json.dumps(times))
