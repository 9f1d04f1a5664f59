# SPDX-License-Identifier: Apache-2.0
"""wrapctl policy check and test, from the outside: exit codes, stdout, stderr."""

import json
import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import pytest

WRAPCTL = os.environ["WRAPD_TEST_WRAPCTL"]
DEFAULT = str(Path(__file__).resolve().parents[3] / "units/policies/default.yaml")

POLICY = """version: 1
name: p
unix_socket_rules:
  - {name: no, paths: ["/srv/no", "@no"], decision: deny, guidance: "Not here."}
  - {name: log, paths: ["/srv/log"], decision: audit}
  - {name: home, paths: ["${HOME}/s"], decision: allow}
  - {name: cwd, paths: ["${CWD}/s"], operations: [bind], decision: allow}
"""


class TestPolicyTest:
    @pytest.fixture(autouse=True)
    def write_policy(self):
        with tempfile.TemporaryDirectory() as directory:
            self.directory = os.path.realpath(directory)
            self.file = self.write(POLICY)
            yield

    def write(self, text, name="p.yaml"):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o644)
        return path

    def run_it(self, *args, code, **options):
        done = subprocess.run([WRAPCTL, *args], capture_output=True, timeout=60, check=False, **options)
        assert done.returncode == code, done
        assert b"\x1b" not in done.stdout + done.stderr
        return done.stdout.decode(), done.stderr.decode()

    def test_check_ok(self):
        out, _ = self.run_it("policy", "check", self.file, code=0)
        assert out == f"{self.file}: ok (4 rules)\n"
        out, _ = self.run_it("policy", "check", "--json", self.file, code=0)
        assert json.loads(out) == {"file": self.file, "ok": True, "policy": "p", "rules": 4, "warnings": []}

    def test_check_default(self):
        out, _ = self.run_it("policy", "check", DEFAULT, code=0)
        assert ": ok (" in out

    def test_check_says_what_is_wrong(self):
        bad = self.write("version: 1\nname: p\nfile_rules: []\n", "bad.yaml")
        message = f"{bad}:3:1: 'file_rules' is not supported yet; remove it"
        out, err = self.run_it("policy", "check", bad, code=2)
        assert (out, err) == ("", message + "\n")
        out, err = self.run_it("--json", "policy", "check", bad, code=2)
        assert json.loads(out) == {"file": bad, "ok": False, "error": message}
        assert err == ""

    def test_check_finds_denials_that_match_nothing(self):
        top = self.directory
        os.mkdir(top + "/real")
        os.symlink("real", top + "/link")

        def policy(*rules):
            return self.write("version: 1\nname: p\nunix_socket_rules:\n" + "".join(
                f'  - {{name: {d}, paths: ["{top}/link/{p}"], decision: {d}}}\n' for d, p in rules), "links.yaml")

        file = policy(("deny", "d*.sock"), ("allow", "a*.sock"))
        out, err = self.run_it("policy", "check", file, code=1)
        void, warning = err.splitlines()
        assert out == ""
        assert void == (f'{file}:4:26: {top}/link is a symbolic link to real, and what is judged is the real path: '
                               f'"{top}/link/d*.sock" matches nothing; write "{top}/real/d*.sock"')
        assert warning.startswith(f"{file}:5:27: warning: "), warning
        out, err = self.run_it("policy", "check", "--json", file, code=1)
        assert (json.loads(out), err) == ({"file": file, "ok": False, "policy": "p", "rules": 2, "error": void,
                                                   "void": [void], "warnings": [warning]}, "")
        file = policy(("deny", "d.sock"), ("allow", "a*.sock"))
        out, err = self.run_it("policy", "check", file, code=0)
        assert (out, err.count(": warning: ")) == (f"{file}: ok (2 rules)\n", 2)

    def test_check_of_the_configuration(self):
        access = "access:\n  - {users: ['*'], policies: [default], default: default}\n"
        file = self.write("version: 1\n" + access, "wrapd.yaml")
        os.mkdir(os.path.join(os.path.dirname(file), "policies"))
        self.write("version: 1\nname: other\n", "policies/default.yaml")
        _, err = self.run_it("policy", "check", file, code=2)
        assert err == f"{file}:3:31: there is no policy 'default'; install it, or do not grant it\n"
        self.write("version: 1\nname: default\n", "policies/x.yaml")
        out, _ = self.run_it("policy", "check", file, code=0)
        assert out == f"{file}: ok (1 access entry)\n"
        out, _ = self.run_it("policy", "check", "--json", file, code=0)
        assert json.loads(out) == {"file": file, "ok": True, "access": 1}
        os.chmod(file, 0o666)
        _, err = self.run_it("policy", "check", file, code=0)
        assert "wrapctl: note: the service would not read this file: " in err
        self.write("version: 1\nname: p\n" + access, "wrapd.yaml")
        _, err = self.run_it("policy", "check", file, code=2)
        assert err.startswith(f"{file}:2:1: unknown key 'name'"), err
        out, _ = self.run_it("policy", "check", "--json", file, code=2)
        assert json.loads(out) == {"file": file, "ok": False, "error": err[:-1]}

    def test_check_missing_file(self):
        out, err = self.run_it("policy", "check", "/nonexistent/p.yaml", code=2)
        assert out == ""
        assert err == "cannot open /nonexistent/p.yaml: No such file or directory\n"

    def test_check_notes_what_the_service_would_refuse(self):
        os.chmod(self.file, 0o666)
        _, err = self.run_it("policy", "check", self.file, code=0)
        assert "wrapctl: note: the service would not read this file: " in err

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    def test_check_notes_nothing_about_roots_own(self):
        _, err = self.run_it("policy", "check", self.file, code=0)
        assert err == ""

    def test_verdicts_and_exit_codes(self):
        home = pwd.getpwuid(os.getuid()).pw_dir
        for args, code, first in (
            (("--connect", "/srv/no"), 1, "deny: connect /srv/no"),
            (("--connect", "@no"), 1, "deny: connect @no"),
            (("--bind", "/srv/unlisted"), 1, "deny: bind /srv/unlisted"),
            (("--connect", "/srv/log"), 0, "audit: connect /srv/log"),
            (("--listen", os.path.realpath(home) + "/s"), 0, f"allow: listen {os.path.realpath(home)}/s"),
        ):
            out, err = self.run_it("policy", "test", self.file, *args, code=code)
            assert (out.splitlines()[0], err) == (first, "")

    def test_names_rule_policy_and_guidance(self):
        out, _ = self.run_it("policy", "test", self.file, "--connect", "/srv/no", code=1)
        assert out == "deny: connect /srv/no\nrule: no\npolicy: p\nguidance: Not here.\n"
        out, _ = self.run_it("policy", "test", self.file, "--connect", "/srv/none", code=1)
        assert out.splitlines()[1] == "rule: none matches, and what is not listed is denied"

    def test_json(self):
        out, _ = self.run_it("policy", "test", self.file, "--json", "--connect", "@no", code=1)
        assert json.loads(out) == {
            "verdict": "deny", "recorded": "deny", "operation": "connect", "name": "@no", "abstract": True,
            "judged": True, "policy": "p", "rule": "no", "guidance": "Not here."}
        out, _ = self.run_it("policy", "test", self.file, "--json", "--connect", b"@\xff\x1b", code=1)
        assert json.loads(out)["name"] == "@\\xff\\x1b"

    def test_user(self):
        home = pwd.getpwnam("daemon").pw_dir
        real = os.path.realpath(home)
        policy = self.write(POLICY.replace("${HOME}", real), "q.yaml")
        self.run_it("policy", "test", policy, "--connect", real + "/s", code=0)
        if real == home:
            self.run_it("policy", "test", self.file, "--connect", home + "/s", "--user", "daemon", code=0)
            self.run_it("policy", "test", self.file, "--connect", home + "/s", "--user", "root", code=1)
        _, err = self.run_it("policy", "test", self.file, "--connect", "/x", "--user", "no-such-user", code=2)
        assert err == "wrapctl: user 'no-such-user' is not in the passwd database; name another with --user\n"

    def test_the_real_path_is_judged(self):
        link = os.path.join(self.directory, "link")
        os.symlink("/srv", link)
        out, _ = self.run_it("policy", "test", self.file, "--connect", link + "/no", code=1)
        assert out.splitlines()[0] == f"deny: connect /srv/no (given as {link}/no)"
        assert "rule: no" in out

    def test_relative_paths_and_cwd(self):
        where = self.directory
        out, _ = self.run_it("policy", "test", self.file, "--bind", "s", code=0, cwd=where)
        assert out.splitlines()[:2] == [f"allow: bind {where}/s (given as s)", "rule: cwd"]

    def test_environment_is_not_believed(self):
        env = dict(os.environ, HOME="/srv/other")
        self.run_it("policy", "test", self.file, "--connect", "/srv/other/s", code=1, env=env)

    def test_audit_mode_lets_through_and_says_so(self):
        policy = self.write(POLICY + "sandbox: {seccomp: {mode: audit}}\n", "audit.yaml")
        out, _ = self.run_it("policy", "test", policy, "--connect", "/srv/no", code=0)
        assert out.splitlines()[0] == "allow (audit mode; if it were enforced: deny): connect /srv/no"

    def test_ask_is_said_and_is_not_allowed(self):
        policy = self.write('version: 1\nname: p\nunix_socket_rules:\n'
                            '  - {name: who, paths: ["/srv/who"], decision: ask}\n', "ask.yaml")
        out, _ = self.run_it("policy", "test", policy, "--connect", "/srv/who", code=1)
        assert out == "ask: connect /srv/who\nrule: who\npolicy: p\n"
        out, _ = self.run_it("policy", "test", policy, "--json", "--connect", "/srv/who", code=1)
        assert json.loads(out)["verdict"] == "ask"

    def test_policy_that_does_not_judge(self):
        policy = self.write("version: 1\nname: p\n", "none.yaml")
        out, _ = self.run_it("policy", "test", policy, "--connect", "/srv/no", code=0)
        assert "rule: none; this policy does not judge unix sockets\n" in out

    def test_usage_errors(self):
        for args in ((), ("policy",), ("policy", "check"), ("policy", "test", self.file), ("policy", "frob"),
                     ("policy", "test", self.file, "--connect", "/a", "--bind", "/b"),
                     ("policy", "test", self.file, "--connect", "@"), ("policy", "test", self.file, "--connect", ""),
                     ("policy", "test", self.file, "--connect", "/srv/"), ("--frob",)):
            out, err = self.run_it(*args, code=2)
            assert out == ""
            assert err

    def test_usage_errors_name_the_word(self):
        for args, message in (
            (("lisst",), "unknown verb 'lisst'; see wrapctl --help"),
            (("lisst", "x"), "unknown verb 'lisst'; see wrapctl --help"),
            (("policy", "chekc", "x"), "unknown verb 'chekc'; see wrapctl policy --help"),
            (("approvals", "alow", "x"), "unknown verb 'alow'; see wrapctl approvals --help"),
            (("--bogus",), "unknown option '--bogus'; see wrapctl --help"),
            (("list", "--bogus"), "unknown option '--bogus'; see wrapctl list --help"),
            (("reload", "now"), "unknown argument 'now'; see wrapctl reload --help"),
            ((), "a verb is missing; see wrapctl --help"),
            (("policy",), "a verb is missing; see wrapctl policy --help"),
            (("policy", "test", "x", "--connect", "/a", "--bind", "/b"),
             "Exactly 1 option from [--connect,--bind,--listen] is required and 2 were given; "
             "see wrapctl policy test --help"),
            (("policy", "check"), "FILE is required; see wrapctl policy check --help"),
            (("\x1b[31m\n",), "unknown verb '\\x1b[31m\\x0a'; see wrapctl --help"),
        ):
            out, err = self.run_it(*args, code=2)
            assert (out, err) == ("", f"wrapctl: {message}\n")
            for json_args in (("--json", *args), (*args, "--json")):
                out, err = self.run_it(*json_args, code=2)
                assert (json.loads(out), err) == ({"error": message, "code": "InvalidArgument"}, "")
        _, err = self.run_it("log", "-n", "\x1b[31m", code=2)
        assert err.startswith("wrapctl: ") and "\\x1b[31m" in err and err.count("\n") == 1, err

    def test_help_and_version(self):
        out, _ = self.run_it("--help", code=0)
        assert "policy" in out
        out, _ = self.run_it("--version", code=0)
        assert out.startswith("wrapctl ")

    def test_a_full_disk_is_no_answer(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([WRAPCTL, "policy", "check", self.file], stdout=full, stderr=subprocess.PIPE,
                                  timeout=60, check=False)
        assert done.returncode == 2
        assert b"cannot write" in done.stderr
