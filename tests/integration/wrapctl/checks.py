# SPDX-License-Identifier: Apache-2.0
"""What wrapctl must say of a service whose state is known. `wrapctl` needs run(*args) -> CompletedProcess with text;
the facts are dicts as wrapctl(1) documents them for --json. They hold for the private bus of this directory and for the
real service of a booted system alike."""
import json
import re

SESSION_KEYS = {"id", "object", "uid", "user", "leader", "policy", "stale", "mode", "state", "since", "allowed", "denied",
                "command"}
POLICY_KEYS = {"name", "file", "mode", "default", "problem"}
APPROVAL_KEYS = {"id", "session", "uid", "user", "operation", "target", "abstract", "rule", "policy", "guidance", "pid",
                 "comm", "exe", "deadline"}
CHECK_KEYS = {"name", "status", "required", "detail", "advice"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def document(done, status=0):
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout.isascii() and done.stdout.count("\n") == 1, done.stdout
    return json.loads(done.stdout)


def harmless(text, colours=False):
    """No byte that a terminal acts on, but newlines (and the colours that are ours)."""
    if colours:
        text = re.sub(r"\x1b\[(31|32|33|0)m", "", text)
    bad = [c for c in text if (ord(c) < 0x20 and c not in "\n\r") or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E]
    assert not bad, (bad, text)


def equal(found, facts):
    assert {key: found[key] for key in facts} == facts


def lists_sessions(wrapctl, facts):
    """`facts`: every session there is, each with any of SESSION_KEYS, "id" among them."""
    listed = document(wrapctl.run("--json", "list"))["sessions"]
    assert {s["id"] for s in listed} == {f["id"] for f in facts}
    by_id = {s["id"]: s for s in listed}
    for fact in facts:
        session = by_id[fact["id"]]
        assert set(session) == SESSION_KEYS and TIME.fullmatch(session["since"])
        equal(session, fact)
        equal(document(wrapctl.run("show", "--json", fact["id"])), fact)
    done = wrapctl.run("list")
    assert done.returncode == 0
    harmless(done.stdout)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "USER", "POLICY", "MODE", "STATE", "SINCE", "DENIED", "COMMAND"]
    assert sorted(row.split()[0] for row in rows) == sorted(f["id"][:8] for f in facts)
    for row in rows:
        session = next(s for s in listed if s["id"].startswith(row.split()[0]))
        assert row.endswith(session["command"]) and ("(stale)" in row) == session["stale"]


def shows_session(wrapctl, session):
    done = wrapctl.run("show", session["id"][:8])
    assert done.returncode == 0, done.stderr
    harmless(done.stdout)
    lines = dict(line.strip().split(": ", 1) for line in done.stdout.splitlines())
    assert lines["ID"] == session["id"] and lines["Denied"] == str(session["denied"])
    assert lines["Command"] == session["command"] and lines["State"] == session["state"]


def terminates(wrapctl, *ids):
    done = document(wrapctl.run("--json", "--no-ask-password", "terminate", *ids))
    assert sorted(done["terminated"]) == sorted(ids) and done["count"] == len(ids) and done["failed"] == []


def lists_policies(wrapctl, facts):
    listed = document(wrapctl.run("policy", "list", "--json"))["policies"]
    assert {p["name"] for p in listed} == {f["name"] for f in facts}
    for fact in facts:
        policy = next(p for p in listed if p["name"] == fact["name"])
        assert set(policy) == POLICY_KEYS
        equal(policy, fact)
    done = wrapctl.run("policy", "list")
    assert done.returncode == 0 and done.stdout.splitlines()[0].split() == ["NAME", "MODE", "DEFAULT", "FILE", "PROBLEM"]
    harmless(done.stdout)


def shows_policy(wrapctl, name, text):
    assert document(wrapctl.run("policy", "show", "--json", name))["text"] == text
    assert wrapctl.run("policy", "show", name).stdout == text


def lists_approvals(wrapctl, facts):
    listed = document(wrapctl.run("approvals", "--json"))["approvals"]
    assert {a["id"] for a in listed} == {f["id"] for f in facts}
    for fact in facts:
        approval = next(a for a in listed if a["id"] == fact["id"])
        assert set(approval) == APPROVAL_KEYS and TIME.fullmatch(approval["deadline"])
        equal(approval, fact)
    done = wrapctl.run("approvals")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split() == ["ID", "SESSION", "USER", "PROGRAM", "OPERATION", "RULE", "LEFT", "TARGET"]
    harmless(done.stdout)


def fails(wrapctl, args, code, *words):
    """Exit status 2 and one line on stderr with all `words`; the stable code with --json."""
    done = wrapctl.run(*args)
    assert done.returncode == 2 and done.stdout == "", done
    assert done.stderr.startswith("wrapctl: ") and done.stderr.count("\n") == 1, done.stderr
    harmless(done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    out = document(wrapctl.run("--json", *args), status=2)
    failure = out["failed"][0] if "failed" in out else out
    assert failure["code"] == code and f"wrapctl: {failure['error']}\n" == done.stderr


def doctor(wrapctl):
    """The checks by name."""
    done = wrapctl.run("doctor", "--json")
    out = document(done, status=done.returncode)
    assert done.returncode == (0 if out["usable"] else 1)
    assert out["usable"] == (not any(c["required"] and c["status"] == "failed" for c in out["checks"]))
    for check in out["checks"]:
        assert set(check) == CHECK_KEYS and check["status"] in ("ok", "fallback", "failed") and check["detail"]
        assert check["advice"] or check["status"] != "failed", check
    return {check["name"]: check for check in out["checks"]}
