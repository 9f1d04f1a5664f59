# SPDX-License-Identifier: Apache-2.0
"""No program pushes others' records out of the journal. The journal here is small, and the floods small with it: 16 MiB for
some 30 MB, as 200 MB are to a minute of ten thousand refusals a second."""

import json

import pytest

from lib import events
from lib.system import wrap

CALLS = 30000
OTHERS = 200
pytestmark = pytest.mark.usefixtures("used_up")


@pytest.fixture
def small_journal(machine):
    conf = "/run/systemd/journald.conf.d/small.conf"
    machine.write(conf, "[Journal]\nSystemMaxUse=16M\nRuntimeMaxUse=16M\nSystemMaxFileSize=1M\nRuntimeMaxFileSize=1M\n")
    machine.root("systemctl", "restart", "systemd-journald.service")
    yield machine
    machine.root("rm", conf)
    machine.root("systemctl", "restart", "systemd-journald.service")


def others_records(machine):
    return {e["MESSAGE"] for e in machine.journal("SYSLOG_IDENTIFIER=other-service")}


@pytest.mark.parametrize("how", ["same", "different"])
def test_a_flood_leaves_the_records_of_others_and_its_own_first(small_journal, how):
    machine = small_journal
    machine.root("sh", "-c", f"seq {OTHERS} | sed s/^/{how}-/ | logger -t other-service")
    mine = {f"{how}-{i + 1}" for i in range(OTHERS)}
    assert mine <= others_records(machine)
    cursor = machine.cursor()
    done = machine.run(*wrap("python3", "/usr/local/e2e/flood.py", "/run/docker.sock", how, CALLS,
                             "@/tmp/.X11-unix/X0", "/run/e2e/redis-not.sock"), user="alice", timeout=300)
    assert done.returncode == 0 and "EACCES" in done.stdout, done
    mentioned = events.of_session(machine, cursor, timeout=60)
    assert mine <= others_records(machine)

    operations = [events.parsed(e) for e in mentioned if e["MESSAGE_ID"] == events.MESSAGE_IDS["unix_socket_op"]]
    lost = [events.parsed(e) for e in mentioned if e["MESSAGE_ID"] == events.MESSAGE_IDS["events_lost"]]
    closed = events.parsed(mentioned[-1])
    # Exact, whatever is recorded one by one.
    assert f"wrap: {closed['denied']} operations denied" in done.stderr, done.stderr
    assert closed["denied"] >= CALLS
    refused = [e for e in operations if e["action"] == "denied"]
    assert sum(e.get("count", 1) for e in refused) + sum(e["count"] for e in lost) == closed["denied"]
    assert closed.get("count", 0) == sum(e["count"] for e in lost)
    # Its own first, also of the kind that it came to at last.
    assert refused[0]["path"].startswith("/run/docker.sock") and "count" not in refused[0]
    assert any(e["path"] == "/tmp/.X11-unix/X0" and e["rule"] == "no-x11" for e in refused)
    written = sum(len(json.dumps(e)) for e in mentioned)
    print(f"{how}: {closed['denied']} refusals, {len(mentioned)} records, {written} bytes")
    assert written < 2 << 20


def test_what_a_user_has_used_up_outlives_the_service(machine):
    """What one user may write is counted for all its sessions."""
    assert machine.root("stat", "-c", "%U %a", "/run/wrapd/records").stdout == "root 600\n"
    before = machine.root("cksum", "/run/wrapd/records").stdout
    cursor = machine.cursor()
    machine.run(*wrap("python3", "/usr/local/e2e/connect.py", "/run/docker.sock"), user="alice")
    events.of_session(machine, cursor)  # up to the last that it writes
    used = machine.root("cksum", "/run/wrapd/records").stdout
    assert used != before
    machine.root("systemctl", "restart", "wrapd.service")
    assert machine.root("cksum", "/run/wrapd/records").stdout == used
