#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up the results of a test run.

Reads from one directory NAME.xml (JUnit), and NAME.meson.json with NAME.meson.xml (a run of `meson test`). Each JUnit
case counts as one test, and so does a program without cases, or one that ended badly though none of its cases failed.
Prints failures, skipped tests with their reasons, and a last line "N passed, N failed[, N skipped]". Exits 1 if a test
failed or if none passed.
"""

import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

MESON_PASSED = {"OK", "EXPECTEDFAIL"}


class Results:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def add(self, name, outcome, why):
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skipped.append((name, why))
        else:
            self.failed.append((name, why))


def first_line(*texts):
    for text in texts:
        for line in (text or "").splitlines():
            if line.strip():
                return line.strip()
    return ""


def skip_reason(case):
    skipped = case.find("skipped")
    lines = (skipped.get("message") or skipped.text or "").strip().splitlines()
    # GoogleTest's message begins with the place in the source.
    if len(lines) > 1 and lines[0].rpartition(":")[2].isdigit():
        lines = lines[1:]
    return first_line("\n".join(lines)) or "no reason given"


def read_suite(suite, origin, results):
    """Counts the cases of one JUnit suite; returns (cases, failed cases)."""
    count = failed = 0
    for case in suite.findall("testcase"):
        if case.get("status") == "notrun":  # disabled in the source
            continue
        name = f"{origin}: " + ".".join(part for part in (case.get("classname"), case.get("name")) if part)
        count += 1
        problem = next((p for p in (case.find("failure"), case.find("error")) if p is not None), None)
        if problem is not None:
            failed += 1
            results.add(name, "failed", first_line(problem.get("message"), problem.text))
        elif case.find("skipped") is not None:
            results.add(name, "skipped", skip_reason(case))
        else:
            results.add(name, "passed", "")
    return count, failed


def read_meson(origin, junit, log, results):
    """Counts a run of `meson test`. Its JUnit file has the cases of GoogleTest and TAP programs, but shows a program
    that was stopped as passed and one that crashed without its cases: how each program ended is taken from its log."""
    suites = list(ElementTree.parse(junit).getroot().iter("testsuite")) if junit.exists() else []
    for line in log.read_text().splitlines():
        test = json.loads(line)
        project = test["name"].partition(":")[0].partition(" ")[0]
        label = f"{project}.{test['name']}"
        count = failed = 0
        for suite in suites:
            if suite.get("name") == label or suite.get("name", "").startswith(label + "."):
                here = read_suite(suite, f"{origin}: {test['name']}", results)
                count, failed = count + here[0], failed + here[1]
        name, outcome = f"{origin}: {test['name']}", test["result"]
        if outcome in MESON_PASSED or outcome == "SKIP":
            if not count:
                results.add(name, "passed" if outcome in MESON_PASSED else "skipped",
                            first_line(test.get("stdout"), "no reason given"))
        elif not failed:
            results.add(name, "failed", f"{outcome}, exit status {test.get('returncode')}")


def main():
    directory = pathlib.Path(sys.argv[1])
    results = Results()
    for path in sorted(directory.glob("*.meson.json")):
        origin = path.name.removesuffix(".meson.json")
        read_meson(origin, directory / f"{origin}.meson.xml", path, results)
    for path in sorted(directory.glob("*.xml")):
        if not path.name.endswith(".meson.xml"):
            for suite in ElementTree.parse(path).getroot().iter("testsuite"):
                read_suite(suite, path.stem, results)
    for name, why in results.failed:
        print(f"FAILED {name}: {why}")
    for name, why in results.skipped:
        print(f"SKIPPED {name}: {why}")
    line = f"{results.passed} passed, {len(results.failed)} failed"
    if results.skipped:
        line += f", {len(results.skipped)} skipped"
    print(line)
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
