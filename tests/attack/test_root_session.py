# SPDX-License-Identifier: Apache-2.0
"""Root wraps programs that give up what root is, and programs that need what root is. Each runs without wrap, with the
service, which has no more capabilities than its unit gives it, and standalone, and tells the same."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from lib.daemon import SUPERVISOR
from lib.peers import PATIENCE
from lib.sessions import COMPILE, WRAP

SOURCE = Path(__file__).resolve().parents[2]
UNIT = SOURCE / "units" / "wrapd.service.in"
DROPPED = 64301
pytestmark = [pytest.mark.skipif(not (WRAP and COMPILE), reason="WRAPD_TEST_WRAP, WRAPD_TEST_COMPILE name no programs"),
              pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")]

POLICY = """version: 1
name: default
unix_socket_rules:
  - {name: any, paths: ["/**"], decision: allow}
"""

# Tells what root may do and others may not.
PROGRAM = r"""
import ctypes, errno, json, os, socket, struct, sys
where, tag = sys.argv[1:3]
libc = ctypes.CDLL(None, use_errno=True)
def try_(call, *a):
    try:
        call(*a)
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
def connect(name):
    s = socket.socket(socket.AF_UNIX)
    s.connect(f"{where}/{name}")
    return s
def bind(name):
    socket.socket(socket.AF_UNIX).bind(f"{where}/{name}")
def bind_port(port):
    socket.socket().bind(("127.0.0.1", port))
told = {
    "connect root only": try_(connect, "pub/rootonly"), "connect in closed": try_(connect, "closed/any"),
    "bind in shut": try_(bind, f"shut/s.{tag}"), "bind in user's": try_(bind, f"home/s.{tag}"),
    "link secret": try_(os.link, f"{where}/secret", f"{where}/pub/secret.{tag}"),
    "link user's": try_(os.link, f"{where}/home/private", f"{where}/home/linked.{tag}"),
    "rename over root's": try_(os.rename, f"{where}/pub/mine.{tag}", f"{where}/shut/victim.{tag}"),
    "rename in sticky": try_(os.rename, f"{where}/sticky/user.{tag}", f"{where}/sticky/moved.{tag}"),
    "rename in user's": try_(os.rename, f"{where}/home/file.{tag}", f"{where}/home/moved.{tag}"),
    "low port": try_(bind_port, 1017),
}
try:
    told["peer sees"] = struct.unpack("iII", connect("pub/all").recv(12))[1:]
except OSError as e:
    told["peer sees"] = errno.errorcode[e.errno]
print(json.dumps(told))
"""

# A daemon as they are: binds what only root may, then gives up being root, and goes on.
DAEMON = r"""
import os, socket, struct, sys
where, tag = sys.argv[1:3]
listener = socket.socket()
listener.bind(("127.0.0.1", 81))
local = socket.socket(socket.AF_UNIX)
local.bind(f"{where}/shut/daemon.{tag}")
os.setgroups([])
os.setresgid(64301, 64301, 64301)
os.setresuid(64301, 64301, 64301)
listener.listen(1)
local.listen(1)
try:
    socket.socket(socket.AF_UNIX).connect(f"{where}/pub/rootonly")
    print("still root")
except PermissionError:
    print("dropped")
client = socket.socket(socket.AF_UNIX)
client.connect(f"{where}/pub/all")
print(struct.unpack("iII", client.recv(12))[1:])
"""

DROP = [f"--reuid={DROPPED}", f"--regid={DROPPED}", "--clear-groups"]
VARIANTS = {
    "root": [],
    "ids dropped": ["setpriv", *DROP],
    "ids dropped, group of root kept": ["setpriv", f"--reuid={DROPPED}", f"--regid={DROPPED}", "--groups=0"],
    "no capabilities": ["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
    "some capabilities": ["setpriv", "--bounding-set=-all,+net_bind_service,+dac_read_search", "--inh-caps=-all"],
    "ids dropped, ambient": ["setpriv", *DROP, "--inh-caps=+net_bind_service,+dac_override",
                             "--ambient-caps=+net_bind_service,+dac_override"],
}


class Place:
    """Directories of root's and of a user's, with servers of root's."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="wrapd-root-"))
        self.path.chmod(0o755)
        self.servers = []
        for name, mode, owner in (("pub", 0o777, 0), ("shut", 0o755, 0), ("closed", 0o700, 0), ("sticky", 0o1777, 0),
                                  ("home", 0o700, DROPPED + 1)):
            (self.path / name).mkdir()
            (self.path / name).chmod(mode)
            os.chown(self.path / name, owner, owner)
        self.file("secret", 0, 0o600)
        self.file("home/private", DROPPED + 1, 0o600)
        for name, mode in (("pub/rootonly", 0o600), ("closed/any", 0o777), ("pub/all", 0o777)):
            server = socket.socket(socket.AF_UNIX)
            server.bind(str(self.path / name))
            (self.path / name).chmod(mode)
            server.listen(16)
            self.servers.append(server)
            threading.Thread(target=self.serve, args=(server,), daemon=True).start()

    def file(self, name, owner, mode=0o644):
        (self.path / name).write_text("x")
        (self.path / name).chmod(mode)
        os.chown(self.path / name, owner, owner)

    def prepare(self, tag):
        for name, owner in ((f"pub/mine.{tag}", DROPPED), (f"shut/victim.{tag}", 0), (f"sticky/user.{tag}", DROPPED + 1),
                            (f"home/file.{tag}", DROPPED + 1)):
            self.file(name, owner)

    @staticmethod
    def serve(server):
        while True:
            try:
                peer = server.accept()[0]
            except OSError:
                return
            with peer, suppress(OSError):  # most do not wait for an answer
                peer.send(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))

    def close(self):
        for server in self.servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        shutil.rmtree(self.path)


@pytest.fixture
def place():
    place = Place()
    yield place
    place.close()


def capabilities_of_the_unit():
    """Of CapabilityBoundingSet=, as setpriv(1) wants them."""
    lines = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    names = " ".join(lines).split()
    assert "CAP_SETUID" in names
    return ",".join(["-all", *("+" + name.removeprefix("CAP_").lower() for name in names)])


@pytest.fixture
def service(make_service):
    service = make_service(supervisor=SUPERVISOR,
                           prefix=["setpriv", "--no-new-privs", f"--bounding-set={capabilities_of_the_unit()}"])
    service.write_policy("default", text=POLICY)
    # Nobody has an account with the uid that is used here.
    service.config.write_text("version: 1\naccess:\n  - {users: ['*+'], policies: [default], default: default}\n",
                              encoding="utf-8")
    service.start()
    return service


def ways(service, place):
    profile = place.path / "profile.yaml"
    profile.write_text(POLICY, encoding="utf-8")
    return {"natively": [], "service": [WRAP, f"--control={service.control}", "--quiet", "--"],
            "standalone": [WRAP, f"--compile={COMPILE}", "--standalone", f"--profile={profile}", "--quiet", "--"]}


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd="/", timeout=PATIENCE,
                          extra_groups=[])
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_root_may_and_what_it_gave_up(service, place, variant):
    told = {}
    for way, prefix in ways(service, place).items():
        place.prepare(way)
        told[way] = json.loads(run(*prefix, *VARIANTS[variant], sys.executable, "-c", PROGRAM, place.path, way))
    assert told["natively"]["rename over root's"] == ("ok" if variant in ("root", "no capabilities", "some capabilities")
                                                      or "ambient" in variant else "EACCES")
    assert told["service"] == told["natively"]
    assert told["standalone"] == told["natively"]


def test_a_daemon_that_binds_as_root_and_drops_it(service, place):
    told = {way: run(*prefix, sys.executable, "-c", DAEMON, place.path, way)
            for way, prefix in ways(service, place).items()}
    assert told["natively"].startswith("dropped") and f"({DROPPED}, {DROPPED})" in told["natively"], told
    assert told["service"] == told["standalone"] == told["natively"]


def test_a_supervisor_of_roots_holds_nothing_in_effect(service, place):
    """Also while it acts for others: what is in effect is so in the thread that acts."""
    code = ("import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print('on', flush=True); "
            "sys.stdin.read()")
    process = subprocess.Popen([*ways(service, place)["service"], sys.executable, "-c", code, str(place.path / "pub/all")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
    assert process.stdout.readline() == "on\n"
    supervisor, = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_supervisor(pid, service)]
    status = Path(f"/proc/{supervisor}/status").read_text(encoding="utf-8")
    uids = re.search(r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", status, re.MULTILINE).groups()
    assert uids[1] == uids[3] == "0" and uids[0] == uids[2] != "0"
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE) and re.search(r"^CapInh:\t0+$", status, re.MULTILINE)
    effective = {}
    for tid in os.listdir(f"/proc/{supervisor}/task"):
        text = Path(f"/proc/{supervisor}/task/{tid}/status").read_text(encoding="utf-8")
        effective[tid] = int(re.search(r"^CapEff:\t([0-9a-f]+)$", text, re.MULTILINE).group(1), 16)
    assert effective[str(supervisor)] == 0
    # One thread took root's capabilities, for the call of a program that has them.
    assert sorted(bool(bits) for bits in effective.values()).count(True) == 1, effective
    assert all(bits & (1 << 6 | 1 << 7 | 1 << 19) == 0 for bits in effective.values())  # SETGID, SETUID, SYS_PTRACE
    # The service itself works without what it keeps for supervisors.
    text = Path(f"/proc/{service.process.pid}/status").read_text(encoding="utf-8")
    own = int(re.search(r"^CapEff:\t([0-9a-f]+)$", text, re.MULTILINE).group(1), 16)
    assert own & (1 << 1 | 1 << 2 | 1 << 3) == 0  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
    process.communicate("", timeout=PATIENCE)
    assert process.returncode == 0


def is_supervisor(pid, service):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    name, rest = stat.split("(", 1)[1].rsplit(")", 1)
    return name == "wrap-supervisor" and int(rest.split()[1]) == service.process.pid and \
        Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("\nCapEff:\t", 1)[1].startswith("0" * 16) and \
        len(os.listdir(f"/proc/{pid}/task")) > 1


BIND_LOW = """
import errno, socket
try:
    socket.socket().bind(("127.0.0.1", 1018))
    print("ok")
except OSError as e:
    print(errno.errorcode[e.errno])
"""


def test_ambient_capabilities_in_a_users_session(service, place):
    """Standalone the supervisor has them, too; the service's has not, and says so."""
    user = ["setpriv", *DROP, "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
    told = {way: run(*user, *prefix, sys.executable, "-c", BIND_LOW).strip()
            for way, prefix in ways(service, place).items()}
    assert told == {"natively": "ok", "standalone": "ok", "service": "EACCES"}
    event, = service.wait_for_event("unix_socket_op")
    assert event["operation"] == "bind" and event["action"] == "denied" and event["uid"] == DROPPED
    assert event["reason"] == "the supervisor of this session cannot use CAP_NET_BIND_SERVICE, which the program has"


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
def test_apt_update(service, place):
    """Its methods give up being root; what they make is the archive's user's."""
    told = {}
    for way, prefix in ways(service, place).items():
        tree = place.path / f"apt.{way}"
        for directory in ("repo", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d",
                          "etc/apt/trusted.gpg.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
                          "var/lib/dpkg"):
            (tree / directory).mkdir(parents=True)
        (tree / "var/lib/dpkg/status").touch()
        packages = b"Package: nothing\nVersion: 1\nArchitecture: all\n"
        (tree / "repo/Packages").write_bytes(packages)
        digest = hashlib.sha256(packages).hexdigest()
        (tree / "repo/Release").write_text("Origin: wrapd\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
                                           f" {digest} {len(packages)} Packages\n", encoding="utf-8")
        (tree / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{tree}/repo ./\n", encoding="utf-8")
        options = ["-o", f"Dir={tree}", "-o", f"Dir::State::status={tree}/var/lib/dpkg/status", "-q"]
        run(*prefix, "apt-get", *options, "update")
        told[way] = [(path.name.replace(str(tree).replace("/", "_"), ""), path.stat().st_uid)
                     for path in sorted((tree / "var/lib/apt/lists").iterdir())]
        assert any("Packages" in name for name, _ in told[way]) or any("Release" in name for name, _ in told[way]), told
    assert len({len(names) for names in told.values()}) == 1, told
    assert [uid for _, uid in told["service"]] == [uid for _, uid in told["natively"]], told
