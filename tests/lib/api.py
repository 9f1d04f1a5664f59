# SPDX-License-Identifier: Apache-2.0
"""The D-Bus API as its users reach it: busctl and wrapctl."""

import json

NAME, MANAGER = "org.wrapd1", "/org/wrapd1"


def session_path(session):
    return f"{MANAGER}/session/{session}"


def busctl(machine, *words, user="root"):
    """busctl's CompletedProcess. `words`: verb and arguments."""
    argv = ["busctl", "--system", "--json=short", "--timeout=30", *words]
    if user == "root":
        return machine.root(*argv, check=False)
    return machine.run(*argv, user=user)


def call(machine, member, *arguments, user="root", path=MANAGER, interface="org.wrapd1.Manager"):
    return busctl(machine, "call", NAME, path, interface, member, *arguments, user=user)


def answer(machine, member, *arguments, user="root"):
    """What a method of the manager returned; asserts that it did."""
    done = call(machine, member, *arguments, user=user)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["data"] if done.stdout.strip() else []


def plain(dictionary):
    """A dictionary of variants, as busctl prints it, without their types."""
    return {key.lower(): value["data"] for key, value in dictionary.items()}


def sessions(machine, user="root"):
    return [{"path": path, **plain(entries)} for _, path, entries in answer(machine, "ListSessions", user=user)[0]]


def approvals(machine, user="root"):
    return [{"id": id, "session": session, **plain(entries)}
            for id, session, entries in answer(machine, "ListApprovals", user=user)[0]]


def wait_for(machine, look, good, timeout=20):
    """Looks (a function of the machine) until `good` likes what it sees, and returns that."""
    import time
    deadline = time.monotonic() + timeout
    while True:
        seen = look(machine)
        if good(seen):
            return seen
        assert time.monotonic() < deadline, seen
