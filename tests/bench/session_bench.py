#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a session costs: to start, while it runs, and in memory.

Runs commands in turn (A B C A B C ...), so that a machine whose speed drifts treats them alike, and prints medians and
ratios of one run. Needs root, for the service and for a user who is not root; exits 77 otherwise.
"""

import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

USER = 64019
ROUNDS = int(os.environ.get("WRAPD_BENCH_ROUNDS", "200"))
SESSIONS = 20
BWRAP = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--share-net"]


def environment(name):
    return os.environ[name]


class Service:
    """wrapd from the build tree, socket-activated without systemd."""

    def __init__(self, directory):
        self.control = directory / "run" / "control"
        for name in ("run", "policies", "vendor"):
            (directory / name).mkdir(mode=0o755)
        (directory / "policies" / "bench.yaml").write_text(
            "version: 1\nname: bench\nunix_socket_rules:\n"
            "  - {name: none, paths: ['/srv/*'], operations: [connect], decision: allow}\n")
        (directory / "wrapd.yaml").write_text(
            "version: 1\naccess:\n  - {users: ['*'], policies: [bench], default: bench}\n"
            "limits: {sessions_per_user: 500}\n")
        self.log = open(directory / "log", "w")
        self.process = subprocess.Popen(
            ["systemd-socket-activate", "-l", self.control, "--seqpacket", "--fdname=wrapd-control",
             environment("WRAPD_TEST_WRAPD"), "--policy-dir", directory / "policies", "--vendor-policy-dir",
             directory / "vendor", "--config", directory / "wrapd.yaml", "--runtime-dir", directory / "run",
             "--supervisor", environment("WRAPD_TEST_SUPERVISOR")], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 10
        while not self.control.exists():
            if time.monotonic() > deadline:
                sys.exit("the service did not start")
            time.sleep(0.01)
        self.control.chmod(0o666)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def timed(argv):
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def compare(title, commands, rounds):
    times = {name: [] for name in commands}
    for index in range(rounds + 3):
        for name, argv in commands.items():
            elapsed = timed(argv)
            if index >= 3:
                times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{title}, milliseconds, median of {rounds} (5 % - 95 %)")
    for name, values in times.items():
        values.sort()
        low, high = values[len(values) // 20], values[-1 - len(values) // 20]
        print(f"  {name:<28}{medians[name]:8.2f}  ({low:.2f} - {high:.2f})")
    return medians


def supervisors(parent):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_text()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if fields["Name"] == "wrap-supervisor" and int(fields["PPid"]) == parent:
            found.append(entry)
    return found


def proportional_set_size(process):
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("no Pss")


def main():
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        print("needs root and bubblewrap")
        return 77
    directory = pathlib.Path(tempfile.mkdtemp(prefix="wrapd-bench-"))
    directory.chmod(0o755)
    service = Service(directory)
    # The user's view: root's directories may be closed to them.
    wrap = directory / "wrap"
    shutil.copy(environment("WRAPD_TEST_WRAP"), wrap)
    compiler = directory / "wrap-compile"
    shutil.copy(environment("WRAPD_TEST_COMPILE"), compiler)
    as_user = dict(user=USER, group=USER, extra_groups=[])
    profile = directory / "profile.yaml"
    profile.write_text((directory / "policies" / "bench.yaml").read_text())
    brokered = [wrap, "--control", service.control]
    standalone = [wrap, "--standalone", "--compile", compiler, "--profile", profile]
    try:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(USER, USER, USER)
                os.setresuid(USER, USER, USER)
                os.chdir("/")
                start = compare("start to end", {
                    "true": ["true"],
                    "bwrap ... true": BWRAP + ["true"],
                    "wrap true": brokered + ["true"],
                    "wrap --standalone true": standalone + ["true"],
                }, ROUNDS)
                print(f"ratio wrap to bwrap: {start['wrap true'] / start['bwrap ... true']:.2f} (target: at most 1.00)")
                print(f"ratio wrap --standalone to bwrap: "
                      f"{start['wrap --standalone true'] / start['bwrap ... true']:.2f}")
                busy = ["/usr/bin/python3", "-c",
                        "import os\nfor i in range(200000): os.stat('/')\nsum(range(3000000))"]
                work = compare("a program without a trapped call", {
                    "native": busy, "wrap": brokered + busy}, max(5, ROUNDS // 20))
                print(f"ratio, less the start: "
                      f"{(work['wrap'] - start['wrap true'] + start['true']) / work['native']:.3f}")
                sys.stdout.flush()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status != 0:
            return 1

        broker = next(int(entry.name) for entry in pathlib.Path("/proc").iterdir()
                      if entry.name.isdigit() and (entry / "comm").exists()
                      and (entry / "comm").read_text() == "wrapd\n"
                      and str(directory).encode() in (entry / "cmdline").read_bytes())
        for count in (1, SESSIONS):
            reader, writer = os.pipe()
            sessions = [subprocess.Popen(brokered + ["cat"], stdin=reader, **as_user) for _ in range(count)]
            os.close(reader)
            deadline = time.monotonic() + 20
            # One more is kept ready.
            while len(supervisors(broker)) < count + 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            sizes = sorted(proportional_set_size(process) for process in supervisors(broker))
            print(f"proportional set size of an idle supervisor, {count} sessions: "
                  f"{statistics.median(sizes):.0f} kB, at most {sizes[-1]} kB (target: at most 512 kB)")
            os.close(writer)
            for session in sessions:
                session.wait()
            while len(supervisors(broker)) > 1 and time.monotonic() < deadline + 20:
                time.sleep(0.05)
    finally:
        service.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
