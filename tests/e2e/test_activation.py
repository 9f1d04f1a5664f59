# SPDX-License-Identifier: Apache-2.0
"""The service as systemd runs it: started by the first command, and what a user sees when it cannot be reached."""

from lib import events
from lib.system import connect, wrap


def state(machine, unit):
    return machine.root("systemctl", "is-active", unit, check=False).stdout.strip()


def test_first_command_starts_the_service(cold):
    assert state(cold, "wrapd.socket") == "active"
    assert state(cold, "wrapd.service") == "inactive"
    cursor = cold.cursor()
    done = cold.run(*wrap("sh", "-c", "echo ran; exit 7"), user="alice")
    assert (done.returncode, done.stdout, done.stderr) == (7, "ran\n", "")
    assert state(cold, "wrapd.service") == "active"
    kinds = [events.parsed(e)["type"] for e in events.of_session(cold, cursor)]
    assert kinds == ["session_opened", "session_closed"]
    assert cold.root("systemctl", "--failed", "--no-legend", "list-units", "wrapd*").stdout == ""


def test_many_first_commands_at_once(cold):
    jobs = [cold.popen(*wrap("sh", "-c", f"exit {n}"), user="alice") for n in range(12)]
    assert [job.wait() for job in jobs] == list(range(12)), "\n".join(job.output for job in jobs)


def test_service_that_is_stopped(cold):
    cold.root("systemctl", "stop", "wrapd.socket", "wrapd.service")
    done = cold.run(*wrap("sh", "-c", "echo ran"), user="alice")
    assert done.returncode == 125
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("wrap: ")
    assert "/run/wrapd/control" in done.stderr and "--standalone" in done.stderr
    cold.root("systemctl", "start", "wrapd.socket")
    assert cold.run(*wrap("true"), user="alice").returncode == 0


def test_service_that_is_frozen(cold):
    """Nobody answers: the command is not started, and wrap gives up by itself."""
    assert cold.run(*wrap("true"), user="alice").returncode == 0
    pid = cold.root("systemctl", "show", "--value", "--property=MainPID", "wrapd.service").stdout.strip()
    cold.root("kill", "-STOP", pid)
    done = cold.run(*wrap("sh", "-c", "echo ran"), user="alice", timeout=60)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("wrap: ")
    cold.root("kill", "-CONT", pid)
    assert cold.run(*wrap("true"), user="alice").returncode == 0


def test_session_survives_a_restart_of_the_service(machine):
    job = machine.popen(*wrap("sh", "-c", "echo started; while read -r address; do "
                              "python3 /usr/local/e2e/connect.py $address; done; echo end"), user="alice")
    job.wait_line("started")
    for action in ("restart", "kill", "restart"):
        before = machine.root("systemctl", "show", "--value", "--property=MainPID", "wrapd.service").stdout.strip()
        if action == "kill":
            machine.root("kill", "-KILL", before)
        else:
            machine.root("systemctl", action, "wrapd.service")
        job.send("/run/e2e/echo1.sock /run/docker.sock\n")
        assert job.wait_line("echo1") == "/run/e2e/echo1.sock ok\n"
        assert job.wait_line("docker") == "/run/docker.sock EACCES\n"
        # New sessions work meanwhile, too.
        assert machine.run(*connect("/run/e2e/echo1.sock"), user="alice").stdout == "/run/e2e/echo1.sock ok\n"
        after = machine.root("systemctl", "show", "--value", "--property=MainPID", "wrapd.service").stdout.strip()
        assert before != after
    job.close_input()
    assert job.wait() == 0
    assert "3 operations denied" in job.output


def test_unit_has_no_more_than_it_needs(machine):
    assert machine.run(*wrap("true"), user="alice").returncode == 0
    shown = machine.root("systemctl", "show", "wrapd.service", "--property=ProtectSystem,PrivateNetwork,UMask,"
                         "CapabilityBoundingSet").stdout
    assert "ProtectSystem=strict" in shown
    for capability in ("cap_sys_module", "cap_sys_rawio", "cap_net_admin", "cap_sys_boot", "cap_mac_admin"):
        assert capability not in shown
