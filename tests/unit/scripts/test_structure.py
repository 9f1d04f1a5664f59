# SPDX-License-Identifier: Apache-2.0
"""scripts/lib/structure finds each kind of fault in a tree that has it alone, and none in one that has none."""

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "scripts/lib/structure"

GOOD = {
    "src/base/fd.h": "#pragma once\nnamespace wrapd {}\n",
    "src/policy/layers.h": '#include "base/fd.h"\n#include "policy/rule.h"\n',
    "src/policy/rule.h": '#include <string>\n',
    "src/plan/plan.cc": '#include "policy/layers.h"\n#include "config.h"\n',
    "src/supervisor/gate.h": '#include "plan/plan.cc"\n',
    "src/supervisor/calls/call.h": '#include "supervisor/gate.h"\n',
    "src/supervisor/main.cc": '#include "supervisor/calls/call.h"\n#include "calls/call.h"\n',
    "daemon/broker.cc": '#include "supervisor/gate.h"\n',
    "client/wrap/run.cc": '#include "base/fd.h"\n',
}
LONG_BODY = "  call();\n" * 58


def check(tmp_path, more=None, exceptions=""):
    for name, text in {**GOOD, **(more or {})}.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    listed = tmp_path / "exceptions"
    listed.write_text(exceptions)
    done = subprocess.run([PROGRAM, "--root", tmp_path / "tree", "--exceptions", listed], capture_output=True, text=True)
    assert done.returncode in (0, 1), done
    assert (done.returncode == 1) == done.stderr.startswith("structure: "), done
    return done.stdout.splitlines() if done.returncode else []


def test_a_good_tree(tmp_path):
    assert check(tmp_path) == []


def test_a_tree_without_sources(tmp_path):
    done = subprocess.run([PROGRAM, "--root", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and "no sources" in done.stderr


@pytest.mark.parametrize("path, included", [
    ("src/base/io.cc", "kernel/kernel.h"), ("src/policy/load.cc", "policyfile/file.h"), ("src/policy/load.cc", "kernel/kernel.h"),
    ("src/kernel/real.cc", "policy/rule.h"), ("src/wire/control.cc", "supervisor/gate.h"), ("src/plan/x.cc", "client/wrap/run.cc"),
    ("src/supervisor/x.cc", "client/wrap/x.h"), ("src/audit/x.h", "../../daemon/x.h")])
def test_an_arrow_up(tmp_path, path, included):
    target = included.removeprefix("../../")
    there = target if target.startswith(("client/", "daemon/")) else f"src/{target}"
    fault, = check(tmp_path, {path: f'#include "{included}"\n', there: GOOD.get(there, "\n")})
    assert f"{path} includes {there}" in fault


def test_a_folder_without_a_place_in_the_order(tmp_path):
    fault, = check(tmp_path, {"src/misc/x.h": "\n"})
    assert "does not know misc" in fault


def test_circles(tmp_path):
    fault, = check(tmp_path, {"src/plan/a.h": '#include "plan/b.h"\n', "src/plan/b.h": '#include "c.h"\n',
                              "src/plan/c.h": '  # include "plan/a.h"\n'})
    assert fault == "a circle of files: src/plan/a.h src/plan/b.h src/plan/c.h"


def test_circles_of_folders(tmp_path):
    more = {"src/audit/a.h": '#include "wire/b.h"\n', "src/wire/b.h": "\n", "src/wire/c.h": '#include "audit/d.h"\n', "src/audit/d.h": "\n"}
    assert check(tmp_path, more) == ["a circle of folders: src/audit src/wire"]


def test_circles_of_folders_in_a_folder(tmp_path):
    more = {"src/supervisor/loop/a.h": '#include "supervisor/calls/call.h"\n', "src/supervisor/calls/d.h": '#include "supervisor/loop/a.h"\n'}
    assert check(tmp_path, more) == ["a circle of folders: src/supervisor/calls src/supervisor/loop"]


def test_long_files(tmp_path):
    assert check(tmp_path, {"client/wrap/exact.cc": "\n" * 450}) == []
    fault, = check(tmp_path, {"client/wrap/long.cc": "\n" * 451})
    assert fault == "client/wrap/long.cc: 451 lines, more than 450"


@pytest.mark.parametrize("head", [
    "int plain(int a)", "static bool Name::method(const T& a) const noexcept", "auto f() -> Result<int>",
    "Name::Name(int a)\n    : a_{a}, b_(f(a))", "namespace {\nvoid inner()", "struct X {\n  int f() override",
    "template <class T>\nclass Y {\n  bool operator==(const Y& other) const", "void f() try", 'extern "C" int c(void)',
    "Name::~Name()", "std::vector<std::pair<int, int>> Name::pairs() &&", "enum class Class g(int a)"])
def test_long_functions(tmp_path, head):
    shown = head.splitlines()
    before = next(i for i, line in enumerate(shown) if "(" in line)
    closing = "}\n" + "};\n" * (head.count("{") - head.count("}") if before else 0)

    def text(lines):
        return f"// A brace in a comment: {{\nconst char* s = \"{{\";\nconst char c = '{{';\n{head} {{\n{lines}{closing}"
    # The lines of the head count from where the definition begins.
    head_lines = len(shown) - (before if "{" in head.split("(")[0] else 0)
    assert check(tmp_path, {"daemon/f.cc": text("  if (a) {\n  }\n" + "  call();\n" * (57 - head_lines))}) == []
    fault, = check(tmp_path, {"daemon/f.cc": text("  if (a) {\n  }\n" + "  call();\n" * (58 - head_lines))})
    assert ": 61 lines, more than 60" in fault, fault


def test_tables_and_lambdas_are_no_functions(tmp_path):
    text = "const int table[] = {\n" + "  f(1),\n" * 70 + "};\nconstexpr Entry entries[] = {\n" + "  {1, f(2)},\n" * 70 + "};\n"
    assert check(tmp_path, {"daemon/t.cc": text}) == []


def test_braces_that_do_not_match(tmp_path):
    for text, why in (("void f() {\n", "too few"), ("}\n", "too many")):
        fault, = check(tmp_path, {"daemon/f.cc": text})
        assert why in fault


def test_a_class_of_calls_is_known_in_listed_files_alone(tmp_path):
    more = {"daemon/a.cc": "UnixSocketRule r;\n", "client/wrap/b.h": "unix_socket\n"}
    assert check(tmp_path, more, "class daemon/a.cc: its rule type\n") == ["client/wrap/b.h: names a class of calls"]
    assert check(tmp_path, more, "class daemon/a.cc: its rule type\nclass client/wrap/b.h: its option\n") == []


def test_a_class_of_calls_is_known_in_few_files(tmp_path):
    def run(count, more=""):
        names = [f"daemon/f{i}.cc" for i in range(count)]
        return check(tmp_path, {name: "unix_socket\n" for name in names}, more + "".join(f"class {name}: x\n" for name in names))
    assert run(14) == []
    fault, = run(15)
    assert "15 files name a class of calls, more than 14" in fault
    assert run(15, "count class: for now\n") == []


def test_exceptions(tmp_path):
    more = {"daemon/f.cc": f"int f() {{\n{LONG_BODY}\n\n}}\n"}
    assert len(check(tmp_path, more)) == 1
    assert check(tmp_path, more, "# why\n\nfunction daemon/f.cc f: one table\n") == []
    fault, = check(tmp_path, more, "function daemon/f.cc f:\n")
    assert "without a reason" in fault
    fault, = check(tmp_path, more, "function daemon/f.cc f: one table\nfunction daemon/f.cc f: again\n")
    assert "twice" in fault


@pytest.mark.parametrize("key", ["file daemon/broker.cc", "function daemon/broker.cc f", "class daemon/broker.cc",
                                 "order daemon/broker.cc src/base/fd.h", "circle src/audit src/wire", "count class"])
def test_an_exception_that_is_not_needed_is_a_fault(tmp_path, key):
    fault, = check(tmp_path, exceptions=f"{key}: it was long\n")
    assert "not needed any more" in fault
