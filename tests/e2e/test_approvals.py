# SPDX-License-Identifier: Apache-2.0
"""Rules with `decision: ask`: somebody is asked, by the real bus and the real polkit, and the program waits."""

import json

import pexpect
import pytest

from lib import api, system
from lib.system import wrap

ASKING = """\
version: 1
name: agents
unix_socket_rules:
  - {name: ask-echo, paths: ["/run/e2e/echo1.sock", "/run/e2e/echo2.sock"], operations: [connect], decision: ask, guidance: "Only for the release."}
  - {name: system-bus, paths: ["/run/dbus/system_bus_socket"], operations: [connect], decision: allow}
  - {name: names-of-bus-clients, paths: ["@*/bus/**"], operations: [bind], decision: allow}
approval: {timeout: TIMEOUT, rate: 10, burst: 5}
"""

APPROVERS = """\
polkit.addRule(function(action, subject) {
    if (action.id == "org.wrapd1.approve" && subject.isInGroup("approvers")) { return polkit.Result.YES; }
});
"""


@pytest.fixture
def asking(machine):
    def use(timeout="60s"):
        machine.write("/etc/wrapd/policies/agents.yaml", ASKING.replace("TIMEOUT", timeout))
        machine.root("systemctl", "reload-or-restart", "wrapd.service")
        return machine
    yield use
    for question in api.approvals(machine):
        api.call(machine, "Deny", "s", question["id"])
    machine.root("rm", "-f", "/etc/polkit-1/rules.d/50-approvers.rules")


def ask(machine, *addresses, user="alice"):
    """A wrapped program that is waiting for an answer, and the question."""
    job = machine.popen(*system.connect(*addresses), user=user)
    question = api.wait_for(machine, api.approvals, lambda seen: len(seen) == 1)[0]
    return job, question


def results(job):
    return [line for line in job.output.splitlines() if line.startswith("/run/")]


def test_question_says_who_asks_for_what(asking):
    machine = asking()
    job, question = ask(machine, "/run/e2e/echo1.sock", "/run/e2e/echo1.sock", "/run/e2e/echo2.sock")
    assert (question["operation"], question["target"], question["abstract"]) == ("connect", "/run/e2e/echo1.sock", False)
    assert (question["rule"], question["policy"], question["guidance"]) == ("ask-echo", "agents", "Only for the release.")
    assert question["comm"] == "python3" and question["exe"].startswith("/usr/bin/python3")
    assert question["session"] == api.sessions(machine)[0]["path"]
    shown = json.loads(machine.run("wrapctl", "--json", "approvals", user="alice").stdout)
    assert [a["id"] for a in shown["approvals"]] == [question["id"]]
    # Root answers; the second call is not asked about, the other object is.
    assert machine.root("wrapctl", "approvals", "allow", question["id"]).returncode == 0
    second = api.wait_for(machine, api.approvals, lambda seen: seen and seen[0]["target"] == "/run/e2e/echo2.sock")
    assert machine.root("wrapctl", "approvals", "deny", second[0]["id"]).returncode == 0
    assert job.wait() == 0
    assert results(job) == ["/run/e2e/echo1.sock ok", "/run/e2e/echo1.sock ok", "/run/e2e/echo2.sock EACCES"]
    # Each question is told of once, while its call waits.
    assert [line for line in job.output.splitlines() if "waits" in line] == [
        f"wrap: connect /run/e2e/{name}.sock waits for an answer (wrapctl approvals)" for name in ("echo1", "echo2")]
    assert api.approvals(machine) == []


def test_deadline_denies(asking):
    machine = asking("2s")
    job, _ = ask(machine, "/run/e2e/echo1.sock")
    assert job.wait(timeout=20) == 0
    assert results(job)[0] == "/run/e2e/echo1.sock EACCES"
    assert api.approvals(machine) == []


def test_who_may_answer(asking):
    machine = asking()
    job, question = ask(machine, "/run/e2e/echo1.sock")
    # The owner is asked for a password, and there is nobody here who could ask.
    for user in ("alice", "bob"):
        done = api.call(machine, "Approve", "s", question["id"], user=user)
        assert done.returncode != 0, (user, done.stdout)
        done = machine.run("wrapctl", "--no-ask-password", "approvals", "allow", question["id"], user=user)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert len(api.approvals(machine)) == 1
    # A group that the administrator trusts.
    machine.root("sh", "-c", "getent group approvers || groupadd approvers; gpasswd -a bob approvers")
    machine.write("/etc/polkit-1/rules.d/50-approvers.rules", APPROVERS)
    machine.root("systemctl", "restart", "polkit.service")
    done = machine.run("wrapctl", "approvals", "allow", question["id"][:6], user="bob")
    assert done.returncode == 0, done.stderr
    assert job.wait() == 0
    assert results(job)[0] == "/run/e2e/echo1.sock ok"


def test_the_program_cannot_answer_for_itself(asking):
    machine = asking()
    job, question = ask(machine, "/run/e2e/echo1.sock")
    for options in ((), ("--allow-interactive-authorization=yes",)):
        done = machine.run(*wrap("busctl", *options, "call", api.NAME, api.MANAGER, "org.wrapd1.Manager", "Approve", "s",
                                 question["id"]), user="alice")
        assert done.returncode != 0 and "confined" in done.stderr.lower(), done.stderr
    assert len(api.approvals(machine)) == 1
    machine.root("wrapctl", "approvals", "deny", question["id"])
    assert job.wait() == 0 and "EACCES" in job.output


def test_own_password_on_a_bare_terminal(asking):
    """No desktop, no agent: wrapctl brings pkttyagent along, and polkit's own helper checks the password."""
    machine = asking()
    machine.root("chpasswd", input="alice:correct horse\n")
    for password, status in (("wrong", 2), ("correct horse", 0)):
        job, question = ask(machine, "/run/e2e/echo1.sock")
        argv = machine.user_argv("alice", ["wrapctl", "approvals", "allow", question["id"]], env={"TERM": "dumb"}, pty=True,
                                 properties=["PAMName=login"])  # polkit asks whoever is logged in
        child = pexpect.spawn(argv[0], argv[1:], timeout=60, encoding="utf-8", dimensions=(33, 101))
        child.expect("AUTHENTICATING FOR org.wrapd1.approve-own")
        child.expect("Password: ")
        child.sendline(password)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == status, child.before
        if status != 0:
            assert len(api.approvals(machine)) == 1
            machine.root("wrapctl", "approvals", "deny", question["id"])
        assert job.wait() == 0
        assert results(job)[0].endswith("ok" if status == 0 else "EACCES")


def test_question_outlives_the_service(asking):
    machine = asking()
    job, _ = ask(machine, "/run/e2e/echo1.sock")
    pid = machine.root("systemctl", "show", "--value", "--property=MainPID", "wrapd.service").stdout.strip()
    machine.root("kill", "-KILL", pid)
    question = api.wait_for(machine, api.approvals, lambda seen: len(seen) == 1)[0]
    assert question["target"] == "/run/e2e/echo1.sock"
    machine.root("wrapctl", "approvals", "allow", question["id"])
    assert job.wait() == 0
    assert results(job)[0] == "/run/e2e/echo1.sock ok"


def test_waiting_program_ends_at_once(asking):
    machine = asking()
    job, question = ask(machine, "/run/e2e/echo1.sock")
    machine.root("pkill", "-KILL", "--exact", "-U", "alice", "python3")
    assert job.wait(timeout=10) == 137
    api.wait_for(machine, api.approvals, lambda seen: not seen)
    assert api.call(machine, "Approve", "s", question["id"]).returncode != 0


def test_vanished_caller_and_absent_polkit(asking):
    machine = asking()
    job, question = ask(machine, "/run/e2e/echo1.sock")
    machine.root("systemctl", "mask", "--now", "--runtime", "polkit.service")
    try:
        done = machine.run("wrapctl", "--no-ask-password", "approvals", "allow", question["id"], user="alice")
        assert done.returncode == 2 and "polkit" in done.stderr, done.stderr
        assert machine.root("wrapctl", "approvals", "allow", question["id"]).returncode == 0
    finally:
        machine.root("systemctl", "unmask", "--runtime", "polkit.service")
    assert job.wait() == 0 and results(job) == ["/run/e2e/echo1.sock ok"]
