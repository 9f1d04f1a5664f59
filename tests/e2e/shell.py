# SPDX-License-Identifier: Apache-2.0
"""scripts/e2e-shell."""

import os
import subprocess
import sys

from lib import system


def main():
    with system.machine_from_environment() as machine:
        system.set_up(machine)
        system.start_servers(machine)
        enter = machine.enter_argv()
        words = ["TERM=" + os.environ.get("TERM", "dumb")]
        return subprocess.call([*enter, *words, *(sys.argv[1:] or ["bash", "--login"])])


if __name__ == "__main__":
    sys.exit(main())
