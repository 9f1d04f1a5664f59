# SPDX-License-Identifier: Apache-2.0
"""How sessions end, and what is left of them: nothing that nobody supervises."""

from lib import events, system
from lib.system import connect, wrap


def only_supervisor(machine):
    pids = machine.root("pgrep", "--exact", "-U", "wrapd", "wrap-supervisor").stdout.split()
    assert len(pids) == 1, pids
    return pids[0]


def test_nothing_is_left_of_a_session(machine):
    cursor = machine.cursor()
    assert machine.run(*wrap("true"), user="alice").returncode == 0
    session = events.of_session(machine, cursor)[0]["WRAPD_SESSION_ID"]
    machine.wait_until("sh", "-c", f"! test -e /run/wrapd/sessions/{session}")
    machine.wait_until("sh", "-c", "! pgrep --exact -U wrapd wrap-supervisor")


def test_supervisor_that_is_killed_takes_its_tree_along(machine):
    job = machine.popen(*wrap("sh", "-c", "setsid sleep 4242 & setsid sh -c 'trap \"\" TERM HUP; sleep 4243' & "
                              "echo started; wait"), user="alice", properties=["KillMode=process"])
    job.wait_line("started")
    machine.root("kill", "-KILL", only_supervisor(machine))
    assert job.wait() == 125
    assert "wrap: " in job.output
    machine.wait_until("sh", "-c", "! pgrep --full 'sleep 424[23]'", timeout=10)


def test_supervisor_that_is_killed_leaves_nothing_reachable(machine):
    """Between the supervisor's death and that of the tree, trapped calls fail."""
    script = """
import socket, sys
print('started', flush=True)
while True:
    with socket.socket(socket.AF_UNIX) as s:
        if s.connect_ex('/run/docker.sock') == 0:
            print('REACHED', flush=True)
"""
    job = machine.popen(*wrap("python3", "-c", script), user="alice")
    job.wait_line("started")
    machine.root("kill", "-KILL", only_supervisor(machine))
    assert job.wait() == 125
    assert "REACHED" not in job.output


def test_supervisor_cannot_be_touched_by_its_user(machine):
    job = machine.popen(*wrap("sh", "-c", "echo started; read -r go"), user="alice")
    job.wait_line("started")
    pid = only_supervisor(machine)
    for command in (f"kill -TERM {pid}", f"cat /proc/{pid}/environ", f"cat /proc/{pid}/maps", f"ls /proc/{pid}/fd/",
                    f"prlimit --pid {pid} --nofile=1:1", f"strace -p {pid}"):
        done = machine.run("sh", "-c", command, user="alice")
        assert done.returncode != 0, command
    job.send("go\n")
    assert job.wait() == 0, job.output


def test_background_process_stays_supervised(machine):
    cursor = machine.cursor()
    machine.run("sh", "-c", "rm -f go out; mkfifo go", user="alice")
    job = machine.popen("sh", "-c", "wrap -- sh -c '(read -r line <go; python3 /usr/local/e2e/connect.py "
                        "/run/docker.sock /run/e2e/echo1.sock >out.new; mv out.new out) & echo left'; echo ended $?; "
                        "read -r over", user="alice")
    job.wait_line("left")
    assert job.wait_line("ended") == "ended 0\n"
    machine.run("sh", "-c", "echo >go", user="alice")
    machine.wait_until("test", "-e", "/home/alice/out")
    assert machine.read("/home/alice/out") == "/run/docker.sock EACCES\n/run/e2e/echo1.sock ok\n"
    seen = [events.parsed(e) for e in events.of_session(machine, cursor)]
    assert [e["action"] for e in seen if e.get("path") == "/run/docker.sock"] == ["denied"]
    assert seen[-1]["denied"] == 1
    job.send("over\n")
    assert job.wait() == 0


def test_client_that_is_killed_frees_nobody(machine):
    """Whether the command ends with it or lives on, it reaches nothing."""
    script = ("import os, socket, time\n"
              "print('started', flush=True)\n"
              "while True:\n"
              "    with socket.socket(socket.AF_UNIX) as s:\n"
              "        if s.connect_ex('/run/docker.sock') == 0:\n"
              "            open('/home/alice/reached', 'w').close()\n"
              "    time.sleep(0.001)\n")
    job = machine.popen(*wrap("python3", "-c", script), user="alice")
    job.wait_line("started")
    pid = machine.root("systemctl", "show", "--value", "--property=MainPID", job.unit).stdout.strip()
    cursor = machine.cursor()
    machine.root("kill", "-KILL", pid)
    assert job.wait() != 0
    machine.wait_journal(lambda e: True, events.match("session_closed"), after=cursor)
    assert machine.root("test", "-e", "/home/alice/reached", check=False).returncode == 1


def test_signals_reach_the_command(machine):
    for name, number in (("TERM", 15), ("INT", 2), ("HUP", 1)):
        job = machine.popen(*wrap("sh", "-c", f"trap 'echo got {name}; exit 9' {name}; echo started; "
                                  "while :; do sleep 0.1; done"), user="alice")
        job.wait_line("started")
        machine.root("systemctl", "kill", "--kill-who=main", f"--signal={name}", job.unit)
        assert job.wait() == 9, (name, job.output)
        assert f"got {name}" in job.output
        job = machine.popen(*wrap("sh", "-c", "echo started; exec sleep 100"), user="alice")
        job.wait_line("started")
        machine.root("systemctl", "kill", "--kill-who=main", f"--signal={name}", job.unit)
        assert job.wait() == 128 + number, (name, job.output)


def test_command_cannot_signal_outside_its_tree(machine):
    outside = machine.popen("sleep", "100", user="alice")
    machine.wait_until("pgrep", "--exact", "--uid", "alice", "sleep")
    pid = machine.root("pgrep", "--exact", "--uid", "alice", "sleep").stdout.split()[0]
    done = machine.run(*wrap("sh", "-c", f"kill -KILL {pid}; echo $?; kill -0 $PPID; echo $?"), user="alice")
    assert "Operation not permitted" in done.stderr and done.stdout.splitlines()[0] == "1", done
    assert machine.root("kill", "-0", pid).returncode == 0
    outside.kill()


def test_limit_of_sessions_per_user(machine):
    machine.write("/etc/wrapd/wrapd.yaml", system.WRAPD_YAML.replace("sessions_per_user: 20", "sessions_per_user: 2"))
    machine.root("systemctl", "reload-or-restart", "wrapd.service")
    cursor = machine.cursor()
    jobs = [machine.popen(*wrap("sh", "-c", "echo started; read -r go"), user="alice") for _ in range(2)]
    for job in jobs:
        job.wait_line("started")
    done = machine.run(*wrap("sh", "-c", "echo ran"), user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    assert "limits.sessions_per_user" in done.stderr and len(done.stderr.splitlines()) == 1
    # It is one user's limit, not everybody's.
    assert machine.run(*wrap("true"), user="bob").returncode == 0
    jobs[0].send("go\n")
    assert jobs[0].wait() == 0
    uid = machine.root("id", "-u", "alice").stdout.strip()
    machine.wait_journal(lambda e: e["WRAPD_UID"] == uid, events.match("session_closed"), after=cursor)
    machine.wait_until("sh", "-c", "test $(pgrep --exact -U wrapd --count wrap-supervisor) -eq 1")
    assert machine.run(*wrap("sh", "-c", "echo ran"), user="alice").stdout == "ran\n"
    jobs[1].send("go\n")
    assert jobs[1].wait() == 0


def test_connections_that_ask_for_nothing_hinder_nobody(machine):
    """A user's silent connections are bounded and time out; another user is served meanwhile."""
    assert machine.run(*wrap("true"), user="bob").returncode == 0
    script = """
import socket, sys
held = []
for _ in range(200):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect('/run/wrapd/control')
    held.append(s)
print('held', flush=True)
sys.stdin.readline()
"""
    job = machine.popen("python3", "-c", script, user="alice")
    job.wait_line("held")
    assert machine.run(*wrap("sh", "-c", "echo ran"), user="bob").stdout == "ran\n"
    job.send("over\n")
    assert job.wait() == 0
    assert machine.run(*wrap("sh", "-c", "echo ran"), user="alice").stdout == "ran\n"


def test_long_session(machine):
    done = machine.run(*wrap("sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done; "
                             "python3 /usr/local/e2e/connect.py /run/e2e/echo1.sock"), user="alice")
    assert done.stdout == "/run/e2e/echo1.sock ok\n"


def test_sessions_in_parallel(machine):
    jobs = [machine.popen(*connect("/run/e2e/echo1.sock", "/run/docker.sock", "/run/e2e/redis.sock"), user=user)
            for _ in range(8) for user in ("alice", "bob")]
    for i, job in enumerate(jobs):
        assert job.wait() == 0, job.output
        expected = ["ok", "EACCES", "ok"] if i % 2 == 0 else ["EACCES", "ok", "EACCES"]
        got = [line.split()[1] for line in job.output.splitlines() if line.startswith("/run/")]
        assert got == expected, job.output
