# SPDX-License-Identifier: Apache-2.0
"""wrap --standalone: no service, no root, nothing but the user's own credentials."""

import json

import pytest

from lib.system import connect, wrap

PROFILE = """\
version: 1
name: mine
unix_socket_rules:
  - {name: echo, paths: ["/run/e2e/echo*.sock"], decision: allow}
  - {name: no-docker, paths: ["/run/docker.sock"], decision: deny, guidance: "Not with this."}
  - {name: own, paths: ["${HOME}/**"], decision: allow}
"""


@pytest.fixture
def alone(machine):
    machine.root("systemctl", "stop", "wrapd.socket", "wrapd.service")
    machine.write("/home/alice/mine.yaml", PROFILE)
    return machine


STANDALONE = ["--standalone", "--profile", "/home/alice/mine.yaml"]


def test_profile_is_the_policy(alone):
    done = alone.run(*connect("/run/e2e/echo1.sock", "/run/docker.sock", "/run/e2e/redis.sock", "@e2e-chat",
                              options=[*STANDALONE, "--audit-log", "/home/alice/standalone.jsonl"]), user="alice")
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["ok", "EACCES", "EACCES", "EACCES"]
    assert "wrap: 3 operations denied" in done.stderr
    assert "connect /run/docker.sock (rule no-docker of policy mine)" in done.stderr
    assert "Not with this." in done.stderr
    lines = [json.loads(line) for line in alone.read("/home/alice/standalone.jsonl").splitlines()]
    denied = [(e["path"], e["rule"] if "rule" in e else "") for e in lines
              if e["type"] == "unix_socket_op" and e["action"] == "denied"]
    assert denied == [("/run/docker.sock", "no-docker"), ("/run/e2e/redis.sock", ""), ("e2e-chat", "")]
    assert [lines[0]["type"], lines[-1]["type"]] == ["session_opened", "session_closed"]
    assert lines[-1]["denied"] == 3


def test_without_a_profile_the_vendors_default_applies(alone):
    done = alone.run(*connect("/run/docker.sock", options=["--standalone"]), user="alice")
    assert done.stdout == "/run/docker.sock EACCES\n"


def test_servers_and_threads(alone):
    done = alone.run(*wrap("python3", "/usr/local/e2e/bind.py", "/home/alice/s.sock", "/tmp/elsewhere.sock",
                           options=STANDALONE), user="alice")
    assert done.stdout == "/home/alice/s.sock ok /home/alice/s.sock\n/tmp/elsewhere.sock bind EACCES\n"
    done = alone.run(*wrap("python3", "/usr/local/e2e/threads.py", "8", "50", "/run/e2e/echo1.sock",
                           "/run/docker.sock", options=STANDALONE), user="alice", timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n"), done


def test_exit_statuses(alone):
    for words, status in ((["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -TERM $$"], 143), (["/etc/passwd"], 126),
                          (["no-such-command"], 127)):
        assert alone.run(*wrap(*words, options=STANDALONE), user="alice").returncode == status, words


def test_confined_callers_may(alone):
    """In a container or a sandbox there is no service to ask; this is for them."""
    command = connect("/run/e2e/echo1.sock", "/run/docker.sock", options=STANDALONE)
    for around in (["setpriv", "--no-new-privs"], ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--unshare-user"]):
        done = alone.run(*around, *command, user="alice")
        assert [line.split()[1] for line in done.stdout.splitlines()] == ["ok", "EACCES"], (around, done)


def test_broken_profile(alone):
    alone.write("/home/alice/broken.yaml", PROFILE + "surprise: 1\n")
    done = alone.run(*wrap("sh", "-c", "echo ran", options=["--standalone", "--profile", "/home/alice/broken.yaml"]),
                     user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    assert "/home/alice/broken.yaml:7:1" in done.stderr
