# SPDX-License-Identifier: Apache-2.0
"""Programs that people use, under policies of an administrator's, against real servers."""

import pytest

from lib import events
from lib.system import connect, release, wrap


def test_two_users_with_different_policies_at_once(machine):
    script = ("read go; for i in 1 2 3 4 5 6 7 8 9 10; do "
              "python3 /usr/local/e2e/connect.py /run/e2e/redis.sock /run/docker.sock; done")
    jobs = {user: machine.popen(*wrap("sh", "-c", script), user=user) for user in ("alice", "bob")}
    for job in jobs.values():
        job.send("go\n")
    assert [job.wait() for job in jobs.values()] == [0, 0]
    for user, redis, docker in (("alice", "ok", "EACCES"), ("bob", "EACCES", "ok")):
        output = jobs[user].output
        assert output.count(f"/run/e2e/redis.sock {redis}\n") == 10, output
        assert output.count(f"/run/docker.sock {docker}\n") == 10, output
        assert "wrap: 10 operations denied\n" in output
    assert "(rule no-docker of policy agents)" in jobs["alice"].output
    assert "Ask the build service instead." in jobs["alice"].output
    assert "(rule no-redis of policy builders)" in jobs["bob"].output
    assert "Builds bring their own data." in jobs["bob"].output


def test_redis(machine):
    done = machine.run(*wrap("redis-cli", "-s", "/run/e2e/redis.sock", "ping"), user="alice")
    assert (done.returncode, done.stdout, done.stderr) == (0, "PONG\n", "")
    done = machine.run(*wrap("redis-cli", "-s", "/run/e2e/redis.sock", "ping"), user="bob")
    assert done.returncode != 0
    assert "Permission denied" in done.stdout + done.stderr
    assert "  connect /run/e2e/redis.sock" in done.stderr and "(rule no-redis of policy builders)" in done.stderr


def test_a_programs_own_proc(machine):
    """The service has a procfs of its own; what names in the program's mean is the program's."""
    script = ("import os, socket; os.chdir(os.environ['HOME']); here = os.open('.', os.O_RDONLY)\n"
              "open('a', 'w'); os.rename('/proc/self/cwd/a', '/proc/self/cwd/b'); os.link('/proc/thread-self/cwd/b', 'c')\n"
              "server = socket.socket(socket.AF_UNIX); server.bind(f'/proc/self/fd/{here}/s'); server.listen()\n"
              "socket.socket(socket.AF_UNIX).connect('/proc/self/cwd/s'); print(sorted(os.listdir()), server.getsockname())\n"
              "for name in ('b', 'c', 's'): os.unlink(name)\n")
    native = machine.run("python3", "-c", script, user="alice")
    wrapped = machine.run(*wrap("python3", "-c", script, options=("--policy", "open")), user="alice")
    assert (wrapped.returncode, wrapped.stdout, wrapped.stderr) == (0, native.stdout, "")


def test_curl(machine):
    done = machine.run(*wrap("curl", "--silent", "--show-error", "--unix-socket", "/run/e2e/web.sock",
                             "http://localhost/"), user="alice")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello over a unix socket\n", "")
    done = machine.run(*wrap("curl", "--silent", "--unix-socket", "/run/e2e/web.sock", "http://localhost/"), user="bob")
    assert done.returncode == 7
    assert "connect /run/e2e/web.sock (no rule of policy builders allows it)" in done.stderr


def test_socat(machine):
    done = machine.run(*wrap("socat", "-t", "5", "-", "UNIX-CONNECT:/run/e2e/echo1.sock"), user="alice",
                       input="to the server and back\n")
    # socat makes itself a datagram socketpair for signals, does without, and the user is told.
    assert (done.returncode, done.stdout) == (0, "to the server and back\n")
    assert done.stderr.startswith("wrap: 1 operation denied\n  socketpair: datagram unix sockets")
    done = machine.run(*wrap("socat", "-t", "5", "-", "ABSTRACT-CONNECT:e2e-chat"), user="alice", input="abstract\n")
    assert (done.returncode, done.stdout) == (0, "abstract\n")
    done = machine.run(*wrap("socat", "-t", "5", "-", "ABSTRACT-CONNECT:e2e-chat"), user="bob", input="abstract\n")
    assert done.returncode == 1 and done.stdout == ""
    assert "connect @e2e-chat (no rule of policy builders allows it)" in done.stderr


def test_docker_like_socket_and_abstract_names(machine):
    done = machine.run(*connect("/run/docker.sock", "@/tmp/.X11-unix/X0", "@e2e-chat", "/run/e2e/echo2.sock"),
                       user="alice")
    assert done.stdout.splitlines() == ["/run/docker.sock EACCES", "@/tmp/.X11-unix/X0 EACCES", "@e2e-chat ok",
                                        "/run/e2e/echo2.sock ok"]
    assert done.stderr.splitlines() == [
        "wrap: 2 operations denied",
        "  connect /run/docker.sock (rule no-docker of policy agents)",
        "    Ask the build service instead.",
        '    to allow: in policy agents put before that rule {name: NAME, paths: ["/run/docker.sock"], '
        "operations: [connect], decision: allow}",
        "  connect @/tmp/.X11-unix/X0 (rule no-x11 of policy agents)",
        '    to allow: in policy agents put before that rule {name: NAME, paths: ["@/tmp/.X11-unix/X0"], '
        "operations: [connect], decision: allow}",
    ]


def test_summary_is_left_out_where_it_is_not_wanted_or_needed(machine):
    done = machine.run(*connect("/run/docker.sock", options=["--quiet"]), user="alice")
    assert (done.stdout, done.stderr) == ("/run/docker.sock EACCES\n", "")
    done = machine.run(*connect("/run/e2e/echo1.sock"), user="alice")
    assert (done.stdout, done.stderr) == ("/run/e2e/echo1.sock ok\n", "")


def test_what_does_not_exist_is_reported_as_natively(machine):
    done = machine.run(*connect("/run/e2e/nothing.sock", "/run/nowhere/x.sock", "/home/alice/nothing", "@nobody-there"),
                       user="alice")
    assert done.stdout.splitlines()[:3] == ["/run/e2e/nothing.sock ENOENT", "/run/nowhere/x.sock ENOENT",
                                            "/home/alice/nothing ENOENT"]


def test_protected_places_are_out_of_reach_whatever_the_policy(machine):
    done = machine.run(*connect("/run/wrapd/control"), user="alice")
    assert done.stdout == "/run/wrapd/control EACCES\n"


def test_links_lead_to_the_judgement_of_what_they_name(machine):
    machine.root("sh", "-c", "ln -sf /run/docker.sock /tmp/own/innocent.sock && ln -f /run/docker.sock /run/hard.sock")
    done = machine.run(*connect("/tmp/own/innocent.sock", "/run/hard.sock", "/proc/self/root/run/docker.sock",
                                "/run/../run/docker.sock"), user="alice")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["EACCES"] * 4, done.stdout
    machine.root("rm", "/tmp/own/innocent.sock", "/run/hard.sock")


def test_servers_of_the_command(machine):
    done = machine.run(*wrap("python3", "/usr/local/e2e/bind.py", "/home/alice/own.sock", "own-relative.sock",
                             "/tmp/own/a.sock", "/tmp/elsewhere.sock", "@e2e-bound"), user="alice")
    assert done.stdout.splitlines() == [
        "/home/alice/own.sock ok /home/alice/own.sock",
        "own-relative.sock ok own-relative.sock",
        "/tmp/own/a.sock ok /tmp/own/a.sock",
        "/tmp/elsewhere.sock bind EACCES",
        "@e2e-bound bind EACCES",
    ]
    assert "bind /tmp/elsewhere.sock (no rule of policy agents allows it)" in done.stderr
    assert machine.root("test", "-e", "/tmp/elsewhere.sock", check=False).returncode == 1


def test_ssh_agent(machine):
    """Binds, forks into the background, listens and answers: all of it in the session."""
    script = ("eval $(ssh-agent -a $HOME/agent.sock) >/dev/null && ssh-keygen -q -t ed25519 -N '' -f $HOME/key && "
              "ssh-add -q $HOME/key && ssh-add -l; ssh-agent -k >/dev/null; rm -f $HOME/key*")
    done = machine.run(*wrap("sh", "-c", script), user="alice")
    assert done.returncode == 0 and "(ED25519)" in done.stdout, done
    # Debian 13's agent tells syslog when it is ended.
    syslog = ("wrap: 1 operation denied\n  socket: datagram unix sockets would need each send judged, which is not supported "
              "yet\n")
    assert done.stderr == (syslog if release(machine) >= 13 else "")


def test_system_bus_with_decision_audit(machine):
    cursor = machine.cursor()
    done = machine.run(*wrap("busctl", "--system", "--no-pager", "list"), user="alice")
    assert done.returncode == 0 and "org.freedesktop.DBus" in done.stdout, done
    seen = [events.parsed(e) for e in events.of_session(machine, cursor)]
    audited = [e for e in seen if e["type"] == "unix_socket_op" and e["rule"] == "system-bus"]
    assert len(audited) == 1
    assert (audited[0]["decision"], audited[0]["action"]) == ("audit", "allowed")
    done = machine.run(*wrap("busctl", "--system", "--no-pager", "list"), user="bob")
    assert done.returncode != 0


def test_threads(machine):
    done = machine.run(*wrap("python3", "/usr/local/e2e/threads.py", "16", "50", "/run/e2e/echo1.sock",
                             "/run/docker.sock"), user="alice", timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n"), done
    assert "wrap: 800 operations denied\n" in done.stderr
    assert "connect /run/docker.sock, 800 times (rule no-docker of policy agents)" in done.stderr


def test_signal_storm(machine):
    done = machine.run(*wrap("/usr/local/e2e/signal_storm", "/run/e2e/echo1.sock", "3000"), user="alice", timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("3000 connected"), done
    assert done.stderr == ""


def test_strace_fails_clearly(machine):
    done = machine.run(*wrap("strace", "true"), user="alice")
    assert done.returncode not in (0, 125)
    assert "Operation not permitted" in done.stderr or "Permission denied" in done.stderr, done


def test_policy_that_judges_no_sockets(machine):
    done = machine.run(*connect("/run/docker.sock", "@/tmp/.X11-unix/X0", options=["--policy", "open"]), user="alice")
    assert done.stdout.splitlines() == ["/run/docker.sock ok", "@/tmp/.X11-unix/X0 ok"]
    assert done.stderr == ""


def test_policy_in_audit_mode(machine):
    cursor = machine.cursor()
    done = machine.run(*connect("/run/e2e/redis.sock", "/run/docker.sock", options=["--policy", "audited"]),
                       user="alice")
    assert done.stdout.splitlines() == ["/run/e2e/redis.sock ok", "/run/docker.sock ok"]
    assert "1 operation allowed that enforcing would have denied" in done.stderr
    assert "would have denied connect /run/docker.sock (no rule of policy audited allows it)" in done.stderr
    seen = [events.parsed(e) for e in events.of_session(machine, cursor)]
    docker = [e for e in seen if e.get("path") == "/run/docker.sock"]
    assert [(e["decision"], e["mode"], e["action"]) for e in docker] == [("deny", "audit", "allowed")]


def test_policies_that_a_user_may_not_have(machine):
    cursor = machine.cursor()
    for user, options in (("alice", ["--policy", "builders"]), ("alice", ["--policy", "no-such-policy"]),
                          ("bob", ["--policy", "agents"]), ("carol", []), ("carol", ["--policy", "agents"])):
        done = machine.run(*wrap("sh", "-c", "echo ran", options=options), user=user)
        assert (done.returncode, done.stdout) == (125, ""), (user, options, done)
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("wrap: "), done.stderr
    assert events.match("session_opened") not in str(machine.journal(events.match("session_opened"), after=cursor))


def test_vendor_policy(machine):
    """What comes with the package guards what lets a wrapped program start an unwrapped one."""
    done = machine.run(*connect("/run/docker.sock", "@/tmp/.X11-unix/X0", "/run/systemd/private"), user="dave")
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["EACCES"] * 3, done.stdout


@pytest.mark.parametrize("words, status", [
    (["true"], 0), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -TERM $$"], 128 + 15),
    (["sh", "-c", "kill -SEGV $$"], 128 + 11), (["/etc/passwd"], 126), (["/"], 126), (["no-such-command"], 127),
    (["/no/such/command"], 127),
])
def test_exit_status(machine, words, status):
    assert machine.run(*wrap(*words), user="alice").returncode == status


def test_confinement_of_the_command(machine):
    done = machine.run(*wrap("sh", "-c", "grep -E '^(NoNewPrivs|Seccomp|CapEff)' /proc/self/status; umask; id -u"),
                       user="alice")
    fields = dict(line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line)
    outside = machine.run("grep", "^Seccomp_filters", "/proc/self/status", user="alice").stdout.split()[1]
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    assert int(fields["Seccomp_filters"]) == int(outside) + 1
    assert int(fields["CapEff"], 16) == 0


def test_environment_directory_and_descriptors_are_the_callers(machine):
    done = machine.run("sh", "-c", "cd /usr/share && VALUE='a b' exec wrap -- sh -c "
                       "'pwd; echo \"$VALUE\"; ls /proc/self/fd' 5</dev/null", user="alice")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["/usr/share", "a b"]
    assert lines[2:] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    done = machine.run("sh", "-c", "exec wrap --keep-fd 5 -- sh -c 'ls /proc/self/fd' 5</dev/null", user="alice")
    assert done.stdout.split() == ["0", "1", "2", "3", "5"]


def test_wrap_inside_wrap_is_refused(machine):
    """It would be a deputy that is less confined than who asks."""
    done = machine.run(*wrap("wrap", "--", "sh", "-c", "echo ran"), user="alice")
    assert (done.returncode, done.stdout) == (125, "")


def test_confined_caller_is_told_about_standalone(machine):
    done = machine.run("setpriv", "--no-new-privs", "wrap", "--", "sh", "-c", "echo ran", user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--standalone" in done.stderr


def test_profile_narrows_and_never_widens(machine):
    machine.write("/home/alice/narrow.yaml", """\
version: 1
name: narrow
unix_socket_rules:
  - {name: all-docker, paths: ["/run/docker.sock"], decision: allow}
  - {name: no-redis, paths: ["/run/e2e/redis.sock"], decision: deny, guidance: "Not today."}
  - {name: rest, paths: ["/**"], decision: allow}
""")
    done = machine.run(*connect("/run/docker.sock", "/run/e2e/redis.sock", "/run/e2e/echo1.sock", "@e2e-chat",
                                options=["--profile", "/home/alice/narrow.yaml"]), user="alice")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["EACCES", "EACCES", "ok", "EACCES"], done
    assert "(rule no-docker of policy agents)" in done.stderr
    assert "(rule no-redis of policy narrow)" in done.stderr and "Not today." in done.stderr
    # Also where the administrator's policy judges nothing.
    done = machine.run(*connect("/run/docker.sock", "/run/e2e/redis.sock", "@e2e-chat",
                                options=["--policy", "open", "--profile", "/home/alice/narrow.yaml"]), user="alice")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["ok", "EACCES", "EACCES"], done


def test_broken_profile_ends_the_command_before_it_starts(machine):
    machine.write("/home/alice/broken.yaml", "version: 1\nname: broken\nunix_socket_rulez: []\n")
    done = machine.run(*wrap("sh", "-c", "echo ran", options=["--profile", "/home/alice/broken.yaml"]), user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    assert "/home/alice/broken.yaml:3:1" in done.stderr and "unix_socket_rulez" in done.stderr
