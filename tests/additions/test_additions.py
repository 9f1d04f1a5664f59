# SPDX-License-Identifier: Apache-2.0
"""CONTRIBUTING.md lists the places that a new class and a new system call need. Here they are added to a copy of the tree, at
these places and nowhere else; the copy is built, and a program under its filter makes the calls and is judged."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import additions
from lib.peers import PATIENCE

HERE = Path(__file__).parent
TREE = HERE.parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build*", "__pycache__")
OPTIONS = ["--prefix=/usr", "--sysconfdir=/etc", "--libexecdir=libexec", "-Dtests=disabled", "-Doptimization=0",
           "-Ddebug=false", "-Dwerror=true"]
PROGRAMS = ["client/wrap/wrap", "client/compile/wrap-compile", "src/supervisor/wrap-supervisor"]
# By the heading of the list: what it is in the tree, what changes in files, and the words for which the list has a NAME.
LISTS = {"How to add a class": ("class", additions.CLASS, "toy"),
         "How to add a system call": ("system_call", additions.SYSTEM_CALL, "socket")}


def listed_places(document, heading, name):
    section = document.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    places = []
    for item in re.split(r"^\d+\. ", section, flags=re.M)[1:]:
        places += re.findall(r"`([^`]+)`", item.split(": ", 1)[0])
    return [place.replace("NAME", name) for place in places]


def apply(tree, folder, edits):
    """The files that were made or changed."""
    touched = set()
    if (HERE / folder).is_dir():
        for file in sorted((HERE / folder).rglob("*")):
            if file.is_file():
                place = file.relative_to(HERE / folder)
                assert not (tree / place).exists(), place
                (tree / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, tree / place)
                touched.add(str(place))
    for place, changes in edits.items():
        text = (tree / place).read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"{place} has {text.count(old)} times: {old}"
            text = text.replace(old, new)
        (tree / place).write_text(text, encoding="utf-8")
        touched.add(place)
    return touched


def run(*words, **how):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **how)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-8000:]}"


@pytest.fixture(scope="module", name="touched")
def fixture_touched(tmp_path_factory):
    """Of each list's heading, and the tree."""
    tree = tmp_path_factory.mktemp("additions") / "tree"
    shutil.copytree(TREE, tree, symlinks=True, ignore=LEFT_OUT)
    yield {heading: apply(tree, folder, edits) for heading, (folder, edits, _) in LISTS.items()}, tree
    shutil.rmtree(tree)


@pytest.fixture(scope="module", name="built")
def fixture_built(touched):
    _, tree = touched
    # Objects are found by their path from the build's folder; what the compiler needs meanwhile goes with the tree.
    environment = {**os.environ, "CCACHE_NOHASHDIR": "1", "CCACHE_TEMPDIR": str(tree / "ccache")}
    run("meson", "setup", tree / "build", tree, *OPTIONS, env=environment)
    run("ninja", "-C", tree / "build", *PROGRAMS, env=environment)
    return tree / "build"


@pytest.mark.parametrize("heading", LISTS)
def test_list_has_the_places_and_no_others(touched, heading):
    document = (TREE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = listed_places(document, heading, LISTS[heading][2])
    assert len(places) == len(set(places))
    assert set(places) == touched[0][heading]


def events_of(log):
    """All of a session, whose supervisor may write the last ones after wrap's end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        if events and events[-1]["type"] == "session_closed":
            return events
        assert time.monotonic() < deadline, events
        time.sleep(0.01)


def wrapped(built, folder, profile, program):
    """What the program printed, what wrap said in the end, and the events."""
    (folder / "profile.yaml").write_text(profile, encoding="utf-8")
    done = subprocess.run(
        [built / "client/wrap/wrap", "--standalone", "--profile", folder / "profile.yaml", "--audit-log", folder / "log.jsonl",
         "--", sys.executable, "-I", "-c", program], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout.splitlines(), done.stderr, events_of(folder / "log.jsonl")


PRIORITIES = """
import os
for process in (0, os.getppid()):
    try:
        os.getpriority(os.PRIO_PROCESS, process)
        print("ok")
    except PermissionError:
        print("denied")
"""


def test_call_of_a_new_class_is_judged(built, tmp_path):
    profile = (HERE / "class/tests/unit/policy/good/toy.yaml").read_text(encoding="utf-8")
    said, summary, events = wrapped(built, tmp_path, profile, PRIORITIES)
    assert said == ["ok", "denied"]
    recorded = [(e["operation"], e["rule"], e["action"], e["policy"]) for e in events if e["type"] == "toy_op"]
    assert recorded == [("getpriority", "mine", "allowed", "toy"), ("getpriority", "theirs", "denied", "toy")]
    assert "1 operation denied" in summary
    assert "(rule theirs of policy toy)" in summary
    assert "Not with this." in summary
    assert "put before that rule a rule to toy_rules" in summary


def test_new_class_is_not_judged_where_no_policy_has_rules_of_it(built, tmp_path):
    said, summary, events = wrapped(built, tmp_path, "version: 1\nname: none\n", PRIORITIES)
    assert (said, summary) == (["ok", "ok"], "")
    assert [e["type"] for e in events] == ["session_opened", "session_closed"]


MODES = """
import os, socket
for name in ("free", "held"):
    s = socket.socket(socket.AF_UNIX)
    s.bind(name)
    before = os.fstat(s.fileno()).st_mode
    try:
        os.fchmod(s.fileno(), 0o640)
        assert os.fstat(s.fileno()).st_mode & 0o777 == 0o640
        print("ok")
    except PermissionError:
        assert os.fstat(s.fileno()).st_mode == before
        print("denied")
"""
MODES_PROFILE = """\
version: 1
name: modes
unix_socket_rules:
  - {name: free, paths: ["${CWD}/free"], decision: allow}
  - {name: bind, paths: ["${CWD}/held"], operations: [bind], decision: allow}
  - {name: held, paths: ["${CWD}/held"], decision: deny}
"""


def test_new_system_call_is_judged(built, tmp_path):
    said, summary, events = wrapped(built, tmp_path, MODES_PROFILE, MODES)
    assert said == ["ok", "denied"]
    recorded = [(e["type"], e["rule"], e["action"]) for e in events if e.get("operation") == "fchmod"]
    assert recorded == [("unix_socket_op", "free", "allowed"), ("unix_socket_op", "held", "denied")]
    assert "fchmod" in summary and "(rule held of policy modes)" in summary
