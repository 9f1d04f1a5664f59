# SPDX-License-Identifier: Apache-2.0
"""A booted system to test in: real systemd, system bus, polkit and journal, in a systemd-nspawn container.

The files are an overlay: the cached root filesystem (rootfs.sh) below, a tmpfs above, into which the tree that `meson
install` made is copied. The mounts belong to a mount namespace of the container's own, and everything in it dies with the
process that started it: nothing is left behind, however the test run ends.

Root's commands enter by nsenter(1). Users' commands are started by the system's own service manager, so they have the
container's cgroups, seccomp filters and capabilities like anybody who logged in there: wrapd compares its callers with
process 1.
"""

import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# nspawn's own filter refuses what a sandbox needs.
SYSTEM_CALLS = "@debug landlock_create_ruleset landlock_add_rule landlock_restrict_self"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

BOOT = r"""
set -eu
dir=$1 lower=$2 installed=$3
shift 3
mount -n -t tmpfs -o mode=0755 tmpfs "$dir"
# Where systemd does not run, systemd-nspawn leaves its directories there.
[ -d /run/systemd/system ] || mount -n -t tmpfs -o mode=0755 tmpfs /run
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -n -t overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
# As a package is installed: /lib is a link in there, and stays one.
[ -z "$installed" ] || tar -C "$installed" -c --owner=root --group=root . |
  tar -C "$dir/root" -x -p --keep-directory-symlink --no-overwrite-dir
exec "$@" -D "$dir/root"
"""


class MachineError(Exception):
    pass


class Machine:
    """One system. `rootfs` is only read; `installed` is a DESTDIR, or None; `log` takes the console's output."""

    def __init__(self, rootfs, installed=None, log=None):
        self._lower = str(rootfs)
        self._installed = str(installed or "")
        self._log_path = log
        self._process = None
        self._dir = None
        self._leader = None
        self._units = 0

    # Life

    def start(self, timeout=60):
        """Boots, and returns when the system says that it is up. Raises MachineError if it does not come up whole."""
        self._dir = tempfile.mkdtemp(prefix="wrapd-e2e-", dir="/var/tmp")
        os.mkdir(f"{self._dir}/root")
        notify_path = f"{self._dir}/notify"
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notify.bind(notify_path)
        nspawn = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--console=pipe", "--link-journal=no",
                  "--notify-ready=yes", "--private-network", "--machine=wrapd-e2e",
                  f"--system-call-filter={SYSTEM_CALLS}"]
        if not os.path.isdir("/run/systemd/system"):
            nspawn.append("--keep-unit")
        log = open(self._log_path or os.devnull, "ab")
        try:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid",
                 "--fork", "--kill-child", "--mount-proc", "sh", "-c", BOOT, "sh", f"{self._dir}/root", self._lower, self._installed,
                 *nspawn],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": PATH, "NOTIFY_SOCKET": notify_path}, start_new_session=True)
        finally:
            log.close()
        try:
            self._wait_booted(notify, timeout)
            state = self.root("systemctl", "is-system-running", "--wait", check=False, timeout=timeout).stdout.strip()
            if state != "running":
                failed = self.root("systemctl", "--failed", "--no-legend", check=False).stdout
                raise MachineError(f"the system is {state}: {failed}")
        except BaseException:
            self.stop()
            raise
        finally:
            notify.close()
        return self

    def _wait_booted(self, notify, timeout):
        deadline = time.monotonic() + timeout
        pidfd = os.pidfd_open(self._process.pid)
        try:
            while True:
                ready, _, _ = select.select([notify, pidfd], [], [], max(0, deadline - time.monotonic()))
                if not ready:
                    raise MachineError(f"no boot within {timeout} s; see {self._log_path}")
                if notify not in ready:
                    raise MachineError(f"systemd-nspawn ended with {self._process.wait()}; see {self._log_path}")
                if "READY=1" in notify.recv(4096).decode().splitlines():
                    # unshare, systemd-nspawn, and process 1 of the system.
                    self._leader = _only_child(_only_child(self._process.pid))
                    return
        finally:
            os.close(pidfd)

    def stop(self):
        """Ends the system at once and removes what it had. May be called twice."""
        if self._process is not None:
            # unshare takes its child along, which is process 1 of a pid namespace that holds all the rest.
            self._process.kill()
            self._process.wait()
            self._process = None
        self._leader = None
        if self._dir is not None:
            shutil.rmtree(self._dir)
            self._dir = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    # Commands

    def enter_argv(self):
        """The words before a command that root runs inside."""
        return ["nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--root", "--wdns=/", "env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8",
                "TERM=dumb", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"]

    def root(self, *argv, timeout=30, check=True, input=None):
        """Runs a command as root, straight. Returns CompletedProcess; raises MachineError if `check` and it failed."""
        done = subprocess.run([*self.enter_argv(), *argv], capture_output=True, text=True, errors="surrogateescape",
                              timeout=timeout, input=input, stdin=None if input is not None else subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise MachineError(f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def user_argv(self, user, argv, unit=None, env=None, properties=(), pty=False):
        """The words that start a command as a user through the service manager and wait for it."""
        unit = unit or self._new_unit()
        words = ["systemd-run", "--quiet", "--wait", "--collect", "--pty" if pty else "--pipe", f"--unit={unit}",
                 f"--uid={user}", "--property=WorkingDirectory=~"]
        words += [f"--property={p}" for p in properties]
        words += [f"--setenv={k}={v}" for k, v in {"LANG": "C.UTF-8", **(env or {})}.items()]
        # The manager expands variables in the words of a command.
        return [*self.enter_argv(), *words, "--", *(str(a).replace("$", "$$") for a in argv)]

    def run(self, *argv, user, timeout=60, input=None, env=None, properties=()):
        """Runs a command as a user; returns CompletedProcess with the command's own exit status and output."""
        unit = self._new_unit()
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        try:
            return subprocess.run(self.user_argv(user, argv, unit, env, properties), capture_output=True, text=True,
                                  errors="surrogateescape", timeout=timeout, **stdin)
        except subprocess.TimeoutExpired as e:
            stacks = self.root("systemctl", "status", "--no-pager", unit, check=False).stdout
            self.root("systemctl", "kill", "--signal=KILL", unit, check=False)
            raise MachineError(f"{shlex.join(map(str, argv))}: not done after {timeout} s\n{e.stdout}\n{e.stderr}\n"
                               f"{stacks}") from None

    def popen(self, *argv, user, env=None, properties=()):
        """Starts a command as a user and returns a Job. Its output is read by the Job's methods."""
        unit = self._new_unit()
        process = subprocess.Popen(self.user_argv(user, argv, unit, env, properties), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return Job(self, unit, process)

    def service(self, *argv, user="root", properties=()):
        """Starts a server that lives until the machine stops or stop_unit(); returns its unit's name. The server has
        to be waited for by what it makes (wait_socket)."""
        unit = self._new_unit()
        self.root("systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--uid={user}",
                  *(f"--property={p}" for p in properties), "--", *(str(a).replace("$", "$$") for a in argv))
        return unit

    def stop_unit(self, unit):
        self.root("systemctl", "stop", unit)

    def _new_unit(self):
        self._units += 1
        return f"e2e-{self._units}.service"

    def wait_socket(self, address, timeout=20):
        """Waits until somebody accepts at a unix socket ("@name" is abstract)."""
        self.root("python3", "-c", WAIT_SOCKET, address, str(timeout), timeout=timeout + 10)

    def wait_until(self, *argv, timeout=30):
        """Runs a command of root's until it succeeds: for states nobody announces."""
        deadline = time.monotonic() + timeout
        while True:
            done = self.root(*argv, check=False)
            if done.returncode == 0:
                return done
            if time.monotonic() > deadline:
                raise MachineError(f"{shlex.join(argv)}: never succeeded\n{done.stdout}{done.stderr}")

    # Files

    def write(self, path, text, mode=0o644):
        """Writes a file as root, replaced in one step."""
        self.root("sh", "-c", 'umask 022; mkdir -p "$(dirname "$1")" && cat >"$1.new" && chmod "$2" "$1.new" && '
                              'mv "$1.new" "$1"', "sh", path, oct(mode)[2:], input=text)

    def copy_in(self, source, path, mode=0o755):
        """Copies a file of this machine's into the system."""
        with open(source, "rb") as f:
            subprocess.run([*self.enter_argv(), "install", "-D", "-m", oct(mode)[2:], "/dev/stdin", path], stdin=f,
                           check=True, timeout=30)

    def read(self, path):
        return self.root("cat", path).stdout

    # Journal

    def cursor(self):
        """Where the journal is now: entries after it are new."""
        self.root("journalctl", "--sync")
        out = self.root("journalctl", "-n", "0", "--show-cursor", "--quiet").stdout
        return out.rpartition("-- cursor: ")[2].strip()

    # journalctl 252 skips the first match after a cursor, so matches are applied here.

    def journal(self, *matches, after=None):
        """The journal's entries with these FIELD=VALUE matches, each a dict of str (bytes where not text)."""
        self.root("journalctl", "--sync")
        argv = ["journalctl", "--output=json", "--all", "--quiet", "--no-pager"]
        if after:
            argv.append(f"--after-cursor={after}")
        entries = (_entry(line) for line in self.root(*argv).stdout.splitlines())
        return [entry for entry in entries if _matches(entry, matches)]

    def wait_journal(self, predicate, *matches, after=None, timeout=20):
        """Follows the journal until an entry satisfies `predicate`; returns all up to that entry."""
        argv = [*self.enter_argv(), "journalctl", "--follow", "--no-tail", "--output=json", "--all", "--quiet"]
        if after:
            argv.append(f"--after-cursor={after}")
        follower = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL)
        seen = []
        try:
            for line in _lines(follower.stdout, timeout, alone=True):
                entry = _entry(line)
                if not _matches(entry, matches):
                    continue
                seen.append(entry)
                if predicate(entry):
                    return seen
        finally:
            follower.kill()
            follower.wait()
            follower.stdout.close()
        raise MachineError(f"no such journal entry within {timeout} s; of {matches} there were: "
                           + "\n".join(str(e.get("MESSAGE")) for e in seen))


class Job:
    """A user's command that is running."""

    def __init__(self, machine, unit, process):
        self.machine = machine
        self.unit = unit
        self.process = process
        self.output = ""

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def close_input(self):
        self.process.stdin.close()

    def wait_line(self, text, timeout=30):
        """Reads output up to a line that contains `text`; returns that line."""
        for line in _lines(self.process.stdout, timeout):
            line = line.decode(errors="surrogateescape")
            self.output += line
            if text in line:
                return line
        raise MachineError(f"{text!r} never came; output so far:\n{self.output}")

    def wait(self, timeout=60):
        """Waits for the end; returns the exit status. `output` is complete then."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.stdin = None
        try:
            out, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise MachineError(f"{self.unit} not done after {timeout} s; output:\n{self.output}") from None
        self.output += out.decode(errors="surrogateescape")
        return self.process.returncode

    def processes(self):
        """(pid, name) of every process of the unit, pids as inside."""
        done = self.machine.root("systemd-cgls", "--unit", self.unit, "--no-pager", "--full", check=False)
        found = []
        for line in done.stdout.splitlines():
            words = line.replace("├─", "").replace("└─", "").replace("│", "").split()
            if words and words[0].isdigit():
                found.append((int(words[0]), " ".join(words[1:])))
        return found

    def kill(self):
        self.machine.root("systemctl", "kill", "--signal=KILL", self.unit, check=False)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def _only_child(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return int(f.read().split()[0])


def _lines(stream, timeout, alone=False):
    """Lines of a pipe until its end, or until `timeout` seconds have passed. `alone`: nobody reads on afterwards."""
    deadline = time.monotonic() + timeout
    buffered = b""
    fd = stream.fileno()
    while True:
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        if not ready or time.monotonic() > deadline:
            return
        # One byte at a time where what follows a line belongs to the next reader.
        chunk = os.read(fd, 65536 if alone else 1)
        if not chunk:
            if buffered:
                yield buffered
            return
        *lines, buffered = (buffered + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"


def _matches(entry, matches):
    return all(entry.get(field) == value for field, _, value in (match.partition("=") for match in matches))


def _entry(line):
    entry = json.loads(line)
    for key, value in entry.items():
        if isinstance(value, list):
            entry[key] = bytes(value) if all(isinstance(v, int) for v in value) else value
    return entry


WAIT_SOCKET = """
import socket, sys, time
address, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
if address[0] == '@':
    address = chr(0) + address[1:]
while True:
    last = None
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as s:
            try:
                s.connect(address)
                sys.exit(0)
            except OSError as e:
                last = e
    if time.monotonic() > deadline:
        sys.exit(f'{sys.argv[1]}: {last}')
    time.sleep(0.01)
"""
