# SPDX-License-Identifier: Apache-2.0
"""What an administrator gets wrong, and what then stays in force."""

from lib import events
from lib.system import POLICIES, WRAPD_YAML, connect, wrap

BROKEN = POLICIES["agents"].replace("decision: deny, guidance", "desicion: deny, guidance")
OPENED = POLICIES["agents"].replace(
    '{name: no-docker, paths: ["/run/docker.sock"], decision: deny, guidance: "Ask the build service instead."}',
    '{name: docker, paths: ["/run/docker.sock"], decision: allow}')


def docker(machine):
    return machine.run(*connect("/run/docker.sock"), user="alice").stdout


def test_reload_puts_a_new_policy_in_force(machine):
    assert docker(machine) == "/run/docker.sock EACCES\n"
    job = machine.popen(*wrap("sh", "-c", "echo started; while read -r a; do python3 /usr/local/e2e/connect.py $a; done"),
                        user="alice")
    job.wait_line("started")
    machine.write("/etc/wrapd/policies/agents.yaml", OPENED)
    cursor = machine.cursor()
    machine.root("systemctl", "reload", "wrapd.service")
    machine.wait_journal(lambda e: e["WRAPD_POLICY"] == "agents", events.match("policy_loaded"), after=cursor)
    assert docker(machine) == "/run/docker.sock ok\n"
    # A session keeps the policy that it was opened with.
    job.send("/run/docker.sock\n")
    assert job.wait_line("/run/docker.sock") == "/run/docker.sock EACCES\n"
    job.close_input()
    assert job.wait() == 0


def test_reload_of_a_broken_policy_changes_nothing(machine):
    assert docker(machine) == "/run/docker.sock EACCES\n"
    machine.write("/etc/wrapd/policies/agents.yaml", BROKEN)
    cursor = machine.cursor()
    machine.root("systemctl", "reload", "wrapd.service", check=False)
    rejected = machine.wait_journal(lambda e: True, events.match("policy_rejected"), after=cursor)[-1]
    line = next(n for n, text in enumerate(BROKEN.splitlines(), 1) if "desicion" in text)
    assert f"/etc/wrapd/policies/agents.yaml:{line}:" in rejected["MESSAGE"] and "desicion" in rejected["MESSAGE"]
    assert docker(machine) == "/run/docker.sock EACCES\n"


def test_start_with_a_broken_policy_serves_the_others(machine):
    machine.write("/etc/wrapd/policies/agents.yaml", BROKEN)
    machine.root("systemctl", "restart", "wrapd.service")
    done = machine.run(*wrap("sh", "-c", "echo ran"), user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    assert "agents" in done.stderr and len(done.stderr.splitlines()) == 1
    assert machine.run(*wrap("true"), user="bob").returncode == 0
    assert machine.run(*wrap("true", options=["--policy", "open"]), user="alice").returncode == 0


def test_policy_that_others_can_write_is_refused(machine):
    for command in ("chmod 0666 /etc/wrapd/policies/agents.yaml", "chmod 0664 /etc/wrapd/policies/agents.yaml",
                    "chmod 0644 /etc/wrapd/policies/agents.yaml; chown alice /etc/wrapd/policies/agents.yaml"):
        machine.write("/etc/wrapd/policies/agents.yaml", OPENED)
        machine.root("sh", "-c", command)
        cursor = machine.cursor()
        machine.root("systemctl", "restart", "wrapd.service")
        machine.wait_journal(lambda e: e.get("WRAPD_PATH") == "/etc/wrapd/policies/agents.yaml",
                             events.match("policy_rejected"), after=cursor)
        done = machine.run(*wrap("sh", "-c", "echo ran"), user="alice")
        assert (done.returncode, done.stdout) == (125, ""), command


def test_broken_configuration_serves_nobody_until_it_is_repaired(machine):
    machine.write("/etc/wrapd/wrapd.yaml", WRAPD_YAML + "surprise: true\n")
    machine.root("systemctl", "stop", "wrapd.service")
    cursor = machine.cursor()
    for user in ("alice", "bob"):
        done = machine.run(*wrap("sh", "-c", "echo ran"), user=user)
        assert (done.returncode, done.stdout) == (125, ""), done
        assert done.stderr.startswith("wrap: ") and len(done.stderr.splitlines()) == 1
    rejected = machine.wait_journal(lambda e: True, events.match("policy_rejected"), after=cursor)[-1]
    line = len(WRAPD_YAML.splitlines()) + 1
    assert f"/etc/wrapd/wrapd.yaml:{line}:1" in rejected["MESSAGE"] and "surprise" in rejected["MESSAGE"]
    machine.write("/etc/wrapd/wrapd.yaml", WRAPD_YAML)
    machine.root("systemctl", "reset-failed", "wrapd.service", "wrapd.socket")
    machine.root("systemctl", "restart", "wrapd.socket")
    assert machine.run(*wrap("true"), user="alice").returncode == 0


def test_administrators_file_replaces_the_vendors(machine):
    assert machine.run(*connect("/run/docker.sock"), user="dave").stdout == "/run/docker.sock EACCES\n"
    machine.write("/etc/wrapd/policies/default.yaml", POLICIES["open"].replace("name: open", "name: default"))
    cursor = machine.cursor()
    machine.root("systemctl", "reload", "wrapd.service")
    machine.wait_journal(lambda e: e["WRAPD_POLICY"] == "default", events.match("policy_loaded"), after=cursor)
    assert machine.run(*connect("/run/docker.sock"), user="dave").stdout == "/run/docker.sock ok\n"


def test_no_configuration_means_the_vendors_policy_for_everybody(machine):
    machine.root("rm", "/etc/wrapd/wrapd.yaml")
    machine.root("systemctl", "restart", "wrapd.service")
    for user in ("alice", "carol"):
        assert machine.run(*connect("/run/docker.sock"), user=user).stdout == "/run/docker.sock EACCES\n"


def test_wrapctl_policy_check(machine):
    good = machine.run("wrapctl", "policy", "check", "/etc/wrapd/policies/agents.yaml", user="alice")
    assert good.returncode == 0, good
    machine.write("/home/alice/broken.yaml", BROKEN)
    bad = machine.run("wrapctl", "policy", "check", "/home/alice/broken.yaml", user="alice")
    assert bad.returncode != 0
    assert "/home/alice/broken.yaml:" in bad.stderr and "desicion" in bad.stderr
