# SPDX-License-Identifier: Apache-2.0
"""wrapctl log on journal files that systemd itself writes, with the fields that only journald can set."""
import datetime
import json
import os
import struct
import subprocess

import checks
import pytest
from lib import wrapctl as world

REMOTE = next((p for p in ("/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote")
               if os.path.exists(p)), None)
pytestmark = pytest.mark.skipif(REMOTE is None, reason="needs systemd-journal-remote")

OPENED = "187adfd629054cdd90a318e3b40c2172"
CLOSED = "a97d064394864fb78150a085df90f63a"
SOCKET_OP = "0177d646117e4ad6a125e668c4fcbd5f"
FIRST, SECOND = "abcd" + "1" * 28, "abcd" + "2" * 28
START = 1767225600  # 2026-01-01 00:00:00 UTC
EVIL = "\x1b[31mred\nFORGED \u009b"


class Journal:
    """A directory with a journal file; entries are written as they are given."""

    def __init__(self, directory):
        self.directory = directory
        self.count = 0
        self.process = subprocess.Popen([REMOTE, f"--output={directory}/test.journal", "-"], stdin=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)

    def add(self, message_id, message, session=FIRST, unit="wrapd.service", event=None, **fields):
        self.count += 1
        event = {"type": "x", "session_id": session, "number": self.count} if event is None else event
        fields = {"MESSAGE_ID": message_id, "MESSAGE": message, "WRAPD_SESSION_ID": session, "_SYSTEMD_UNIT": unit,
                  "WRAPD_EVENT": event if isinstance(event, str) else json.dumps(event), **fields}
        usec = (START + self.count) * 1000000
        out = f"__REALTIME_TIMESTAMP={usec}\n__MONOTONIC_TIMESTAMP={usec}\n_BOOT_ID={'1' * 32}\n".encode()
        for name, value in fields.items():
            value = value.encode()
            out += name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
        self.process.stdin.write(out + b"\n")
        self.process.stdin.flush()

    def finish(self):
        self.process.stdin.close()
        assert self.process.wait(world.TIMEOUT) == 0
        return str(self.directory)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    yield journal
    journal.process.kill()
    journal.process.wait()


@pytest.fixture
def log():
    def run(*args):
        return world.Wrapctl(None).run("log", *args)  # without a bus
    return run


def messages(done):
    assert done.returncode == 0, done.stderr
    return [line.split(" ", 2)[2] for line in done.stdout.splitlines()]


def test_records_of_the_service_alone(journal, log):
    journal.add(OPENED, "opened")
    journal.add(SOCKET_OP, "denied connect", WRAPD_ACTION="denied")
    journal.add(SOCKET_OP, "forged by a user", unit="user@1000.service")
    journal.add(SOCKET_OP, "forged without a unit", unit="")
    journal.add("0" * 32, "another message of the service")
    journal.add(CLOSED, "closed")
    directory = journal.finish()
    done = log("--directory", directory)
    assert messages(done) == ["opened", "denied connect", "closed"]
    assert done.stdout.startswith("2026-01-01 00:00:01 opened\n")
    events = [json.loads(line) for line in log("--json", "--directory", directory).stdout.splitlines()]
    assert [e["number"] for e in events] == [1, 2, 6]


def test_one_session(journal, log):
    for session in (FIRST, SECOND):
        journal.add(OPENED, f"opened {session}", session=session)
        journal.add(SOCKET_OP, f"op {session}", session=session)
    # A user who would make the beginnings of ids ambiguous.
    journal.add(OPENED, "forged", session="abcd1" + "f" * 27, unit="user@1000.service")
    directory = journal.finish()
    for id in ("abcd1", FIRST):
        assert messages(log("--directory", directory, id)) == [f"opened {FIRST}", f"op {FIRST}"]
    assert messages(log("--directory", directory, "--since", "2026-01-02", FIRST)) == []
    nobody = world.Wrapctl(None)
    checks.fails(nobody, ["log", "--directory", directory, "abcd"], "InvalidArgument", "several", FIRST, SECOND)
    checks.fails(nobody, ["log", "--directory", directory, "beef"], "NoSuchSession", "the journal has nothing", "beef")
    unknown = "0" * 32
    checks.fails(nobody, ["log", "--directory", directory, unknown], "NoSuchSession", "the journal has nothing", unknown)
    checks.fails(nobody, ["log", "--directory", directory, "ab"], "InvalidArgument", "at least 4")
    checks.fails(nobody, ["log", "--directory", directory, "WRAPD=" + "x" * 26], "InvalidArgument", "hexadecimal")


def test_where_it_begins(journal, log):
    for number in range(1, 21):
        journal.add(SOCKET_OP, str(number))
    directory = journal.finish()
    everything = [str(n) for n in range(1, 21)]
    assert messages(log("--directory", directory)) == everything
    assert messages(log("--directory", directory, "-n", "3")) == ["18", "19", "20"]
    assert messages(log("--directory", directory, "-n", "20")) == everything
    assert messages(log("--directory", directory, "-n", "1000")) == everything
    assert messages(log("--directory", directory, "--since", "2026-01-01 00:00:18")) == ["18", "19", "20"]
    assert messages(log("--directory", directory, "--since", "2026-01-02")) == []
    days = (datetime.datetime.now(datetime.timezone.utc).timestamp() - START) // 86400 + 2
    assert messages(log("--directory", directory, "--since", f"{int(days)}d")) == everything
    assert messages(log("--directory", directory, "--since", "99999999999d")) == everything
    for wrong in ("yesterday", "5", "-5min", "2026-13-01", "", "5 min", "2026-01-01x"):
        done = log("--directory", directory, "--since", wrong)
        assert done.returncode == 2 and "--since" in done.stderr, wrong


def test_hostile_records(journal, log):
    journal.add(SOCKET_OP, EVIL)
    journal.add(SOCKET_OP, "not JSON", event=EVIL)
    journal.add(SOCKET_OP, "nested", event="[" * 100000)
    directory = journal.finish()
    done = log("--directory", directory)
    checks.harmless(done.stdout)
    assert "\\x1b[31mred\\x0aFORGED \\xc2\\x9b" in done.stdout and done.stdout.count("\n") == 3
    done = log("--json", "--directory", directory)
    assert done.returncode == 0 and done.stdout.isascii()
    assert [json.loads(line).get("message") for line in done.stdout.splitlines()] == [None, "not JSON", "nested"]


def test_follow(journal):
    journal.add(SOCKET_OP, "before")
    for _ in range(12):
        journal.add(SOCKET_OP, "old")
    wait_for_file(journal)
    wrapctl = world.Wrapctl(None)
    process = wrapctl.popen("log", "-f", "--directory", str(journal.directory))
    try:
        lines = world.Lines(process.stdout.fileno())
        for _ in range(10):
            assert lines.next().endswith(" old")
        journal.add(OPENED, "forged", unit="user@1000.service")
        journal.add(OPENED, "new")
        assert lines.next().endswith(" new")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def wait_for_file(journal):
    """Until all of what was added can be read."""
    wrapctl = world.Wrapctl(None)
    process = wrapctl.popen("log", "-f", "-n", "1000", "--directory", str(journal.directory))
    try:
        lines = world.Lines(process.stdout.fileno())
        for _ in range(journal.count):
            lines.next()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_no_such_directory(log):
    done = log("--directory", "/nonexistent")
    assert done.returncode == 2 and "cannot open the journal in /nonexistent" in done.stderr


def test_a_journal_that_is_for_others(tmp_path):
    """As a user who is in no group that may read it, with a mount namespace whose journals are root's."""
    if os.getuid() != 0:
        pytest.skip("needs root, for a mount namespace and another user")
    script = ('mount -n -t tmpfs -o mode=755 none /var/log && mkdir -p /var/log/journal/1 && '
              'touch /var/log/journal/1/system.journal && chmod 640 /var/log/journal/1/system.journal && '
              'exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"')
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", world.WRAPCTL, "log"], capture_output=True,
                          text=True, timeout=world.TIMEOUT, env=world.environment())
    assert done.returncode == 2 and "groups adm and systemd-journal" in done.stderr, done
