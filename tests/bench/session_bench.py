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
SESSIONS = (1, 64, 300)
COUNTED = 100  # starts of each command whose page faults and context switches are counted
RATE = 50  # sessions opened a second, for the percentiles
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
            "version: 1\naccess:\n  - {users: ['*+'], policies: [bench], default: bench}\n"
            "limits: {sessions_per_user: 1000, pending_per_user: 500}\n")
        self.log = open(directory / "log", "w")
        self.process = subprocess.Popen(
            ["systemd-socket-activate", "-l", self.control, "--seqpacket", "--fdname=wrapd-control",
             environment("WRAPD_TEST_WRAPD"), "--policy-dir", directory / "policies", "--vendor-policy-dir",
             directory / "vendor", "--config", directory / "wrapd.yaml", "--runtime-dir", directory / "run",
             "--supervisor", environment("WRAPD_TEST_SUPERVISOR"),
             "--keeper", pathlib.Path(environment("WRAPD_TEST_WRAPD")).with_name("wrapd-keeper")], stdout=self.log, stderr=self.log)
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


COUNTERS = "page-faults,context-switches"


def count_events(run):
    """What perf counts on the whole machine while `run` runs: kernel threads and the service belong to a start as well.
    None if perf or the right to use it is missing."""
    read_end, write_end = os.pipe()
    output = tempfile.NamedTemporaryFile(mode="r")
    try:
        perf = subprocess.Popen(["perf", "stat", "-a", "-x,", "-o", output.name, "-e", COUNTERS, "--", "cat"],
                                stdin=read_end, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        os.close(read_end)
        os.close(write_end)
        return None
    os.close(read_end)
    try:
        os.write(write_end, b"x")
        started = perf.stdout.read(1) == b"x"  # cat runs, so perf counts
        if started:
            run()
    finally:
        os.close(write_end)
        perf.wait()
    values = [line.split(",")[0] for line in output.read().splitlines() if "," in line]
    if not started or len(values) != 2 or not all(value.isdigit() for value in values):
        return None
    return [int(value) for value in values]


def as_the_user(body):
    """Runs body() in a process of the user's."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            os.chdir("/")
            body()
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("what the user does failed")


def start_often(argv):
    """One after the other, from a process that does as little as can be."""
    words = [str(word) for word in argv]

    def body():
        for _ in range(COUNTED):
            status = os.waitpid(os.posix_spawnp(words[0], words, os.environ), 0)[1]
            if status != 0:
                raise RuntimeError(f"{words}: status {status}")

    as_the_user(body)
    time.sleep(0.05)  # what the service does after the last one


def count_starts(commands):
    """Counts do not depend on how fast the machine is, but everything on it is counted: the last column says how much
    it does of itself in that time."""
    print(f"page faults and context switches of one start, over {COUNTED} starts")

    def measured(run):
        begin = time.perf_counter()
        events = count_events(run)
        return events, time.perf_counter() - begin

    start_often(["true"])
    empty, idle_time = measured(lambda: time.sleep(2))
    if empty is None:
        print("  not counted: perf stat -a needs perf (Debian: linux-perf) and root's rights")
        return
    targets = {"wrap true": "at most 190 and 32", "wrap --standalone true": "at most 230 and 30"}
    for name, argv in commands.items():
        events, elapsed = measured(lambda argv=argv: start_often(argv))
        own = " and ".join(f"{count * elapsed / idle_time / COUNTED:.0f}" for count in empty)
        note = f"  (target: {targets[name]})" if name in targets else ""
        print(f"  {name:<28}{events[0] / COUNTED:8.0f}{events[1] / COUNTED:8.0f}{note}  (others: {own})")


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


def measure_memory(broker, brokered, as_user, count):
    """`count` sessions in which nothing happens: what each client and supervisor takes, and the service's share on top.
    """
    reader, writer = os.pipe()
    sessions = [subprocess.Popen(brokered + ["cat"], stdin=reader, **as_user) for _ in range(count)]
    os.close(reader)
    deadline = time.monotonic() + 60
    # One more is kept ready.
    while len(supervisors(broker)) < count + 1:
        if time.monotonic() > deadline:
            sys.exit(f"{count} sessions were not open in time")
        time.sleep(0.05)
    time.sleep(2.5)  # a process that waits gives pages back after a second
    sizes = sorted(proportional_set_size(process) for process in supervisors(broker))
    clients = sum(proportional_set_size(pathlib.Path(f"/proc/{session.pid}")) for session in sessions) / count
    service = proportional_set_size(pathlib.Path(f"/proc/{broker}"))
    print(f"proportional set size of an idle session, {count} of them: supervisor {statistics.median(sizes):.0f} kB, "
          f"at most {sizes[-1]} kB (target: at most 512 kB); with the service's share "
          f"{(sum(sizes) + service) / count:.0f} kB")
    together = clients + (sizes[-1] if count == 1 else sum(sizes) / len(sizes))
    target = {1: " (target: at most 1200 kB)", 64: " (target: at most 350 kB)"}.get(count, "")
    print(f"  client {clients:.0f} kB, client and supervisor together {together:.0f} kB{target}")
    os.close(writer)
    for session in sessions:
        session.wait()
    while len(supervisors(broker)) > 1:
        if time.monotonic() > deadline + 60:
            sys.exit("sessions did not end in time")
        time.sleep(0.05)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def open_at_a_rate(argv, rate, seconds):
    """Starts `argv` `rate` times a second, whether the ones before have ended or not; milliseconds that each took from
    the moment at which it was due."""
    due = time.perf_counter()
    running, times = {}, []

    def collect(options):
        while running:
            pid, status = os.waitpid(-1, options)
            if pid == 0:
                return
            if status != 0:
                raise RuntimeError(f"{argv}: status {status}")
            times.append((time.perf_counter() - running.pop(pid)) * 1000)

    for _ in range(int(rate * seconds)):
        while time.perf_counter() < due:
            collect(os.WNOHANG)
            time.sleep(0.0005)
        pid = os.posix_spawnp(argv[0], [str(word) for word in argv], os.environ)
        running[pid] = due
        due += 1 / rate
    collect(0)
    return times


def measure_rate(brokered):
    """One after the other, two at a time (there are few processors), and at a steady rate."""
    for name, argv in {"bwrap ... true": BWRAP + ["true"], "wrap true": brokered + ["true"]}.items():
        start = time.perf_counter()
        count = ROUNDS
        running = []
        for _ in range(count):
            running.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
            if len(running) == 2:
                running.pop(0).wait()
        for process in running:
            process.wait()
        print(f"{name}: {count / (time.perf_counter() - start):.0f} opened a second; "
              f"at {RATE} a second ", end="")
        times = open_at_a_rate(argv, RATE, 6)
        print(f"median {percentile(times, 0.5):.2f} ms, 99 % within {percentile(times, 0.99):.2f} ms")


def compare_as_user(starts, brokered):
    start = compare("start to end", starts, ROUNDS)
    print(f"ratio wrap to bwrap: {start['wrap true'] / start['bwrap ... true']:.2f} (target: at most 0.85)")
    print(f"ratio wrap --standalone to bwrap: "
          f"{start['wrap --standalone true'] / start['bwrap ... true']:.2f} (target: at most 1.10)")
    busy = ["/usr/bin/python3", "-c", "import os\nfor i in range(200000): os.stat('/')\nsum(range(3000000))"]
    work = compare("a program without a trapped call", {"native": busy, "wrap": brokered + busy}, max(5, ROUNDS // 20))
    print(f"ratio, less the start: {(work['wrap'] - start['wrap true'] + start['true']) / work['native']:.3f}")
    measure_rate(brokered)


def main():
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        print("needs root and bubblewrap")
        return 77
    # In memory, as /run is where the service lives.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="wrapd-bench-", dir="/dev/shm"))
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
    starts = {"true": ["true"], "bwrap ... true": BWRAP + ["true"], "wrap true": brokered + ["true"],
              "wrap --standalone true": standalone + ["true"]}
    try:
        as_the_user(lambda: compare_as_user(starts, brokered))
        broker = next(int(entry.name) for entry in pathlib.Path("/proc").iterdir()
                      if entry.name.isdigit() and (entry / "comm").exists()
                      and (entry / "comm").read_text() == "wrapd\n"
                      and str(directory).encode() in (entry / "cmdline").read_bytes())
        count_starts(starts)
        for count in SESSIONS:
            measure_memory(broker, brokered, as_user, count)
    finally:
        service.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
