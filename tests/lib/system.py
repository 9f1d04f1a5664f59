# SPDX-License-Identifier: Apache-2.0
"""The booted system with wrapd installed as a package would, two users, their policies and servers to talk to."""

import os
import pathlib

from lib.machine import Machine

TESTS = pathlib.Path(__file__).resolve().parents[1]

# alice and bob have different policies; carol is in no entry and is refused; dave has everything at its default.
WRAPD_YAML = """\
version: 1
access:
  - {users: [alice], policies: [agents, audited, open], default: agents}
  - {users: [bob], policies: [builders], default: builders}
  - {users: [dave], policies: [default], default: default}
limits: {sessions_per_user: 20, pending_per_user: 16, sessions: 100}
"""

POLICIES = {
    "agents": """\
version: 1
name: agents
unix_socket_rules:
  - {name: redis, paths: ["/run/e2e/redis.sock"], operations: [connect], decision: allow}
  - {name: web, paths: ["/run/e2e/web.sock", "/run/e2e/echo*.sock"], operations: [connect], decision: allow}
  - {name: system-bus, paths: ["/run/dbus/system_bus_socket"], operations: [connect], decision: audit}
  - {name: own, paths: ["${HOME}/**", "/tmp/own/**"], decision: allow}
  - {name: no-docker, paths: ["/run/docker.sock"], decision: deny, guidance: "Ask the build service instead."}
  - {name: no-x11, paths: ["@/tmp/.X11-unix/*"], decision: deny}
  - {name: chat, paths: ["@e2e-chat"], decision: allow}
  - {name: names-of-bus-clients, paths: ["@*/bus/**"], operations: [bind], decision: allow}  # systemd 254 and later
""",
    "audited": """\
version: 1
name: audited
sandbox:
  seccomp: {enabled: true, mode: audit}
unix_socket_rules:
  - {name: redis, paths: ["/run/e2e/redis.sock"], operations: [connect], decision: allow}
""",
    "open": """\
version: 1
name: open
sandbox:
  seccomp: {enabled: true, mode: enforce}
""",
    "builders": """\
version: 1
name: builders
unix_socket_rules:
  - {name: no-redis, paths: ["/run/e2e/redis.sock"], decision: deny, guidance: "Builds bring their own data."}
  - {name: docker, paths: ["/run/docker.sock"], operations: [connect], decision: allow}
""",
}

USERS = ("alice", "bob", "carol", "dave")


def machine_from_environment(log=None):
    """The Machine that WRAPD_E2E_ROOTFS and WRAPD_E2E_INSTALLED (set by scripts/test) describe, not started."""
    return Machine(os.environ["WRAPD_E2E_ROOTFS"], os.environ["WRAPD_E2E_INSTALLED"], log=log)


def set_up(machine):
    """What a package's installation and an administrator do. The service is not started by it."""
    machine.root("systemd-sysusers")
    machine.root("journalctl", "--update-catalog")
    machine.root("systemctl", "daemon-reload")
    for user in USERS:
        machine.root("useradd", "--create-home", "--shell", "/bin/bash", user)
    configure(machine)
    machine.root("systemctl", "enable", "--now", "wrapd.socket")
    machine.root("install", "-d", "-m", "0755", "/run/e2e")
    machine.root("install", "-d", "-m", "1777", "/tmp/own")
    for program in [*sorted((TESTS / "e2e/programs").glob("*.py")), TESTS / "lib/dbus.py"]:
        machine.write(f"/usr/local/e2e/{program.name}", program.read_text())
    machine.copy_in(f"{os.environ['WRAPD_E2E_BUILD']}/tests/e2e/signal_storm", "/usr/local/e2e/signal_storm")


def configure(machine):
    """Makes /etc/wrapd what this module says. True if it was not."""
    files = {"/etc/wrapd/wrapd.yaml": WRAPD_YAML,
             **{f"/etc/wrapd/policies/{name}.yaml": text for name, text in POLICIES.items()}}
    there = machine.root("sh", "-c", "find /etc/wrapd -type f -o -type l", check=False).stdout.split()
    extra = [path for path in there if path not in files]
    if extra:
        machine.root("rm", "--", *extra)
    changed = bool(extra)
    for path, text in files.items():
        state = machine.root("sh", "-c", 'stat -c "%F %a %u" "$1" && cat "$1"', "sh", path, check=False).stdout
        if state != f"regular file 644 0\n{text}":
            machine.write(path, text)
            changed = True
    return changed


def release(machine):
    """Of the system: 12 or 13."""
    return int(machine.root("sh", "-c", '. /etc/os-release && echo "$VERSION_ID"').stdout)


def main_pid(machine):
    return machine.root("systemctl", "show", "--value", "--property=MainPID", "wrapd.service").stdout.strip()


def wrap(*words, options=()):
    """The words of `wrap` around a command."""
    return ["wrap", *options, "--", *words]


def connect(*addresses, options=()):
    return wrap("python3", "/usr/local/e2e/connect.py", *addresses, options=options)


def start_servers(machine):
    """Servers of root's at /run/e2e/{redis,web,echo1,echo2}.sock, /run/docker.sock, @e2e-chat, @/tmp/.X11-unix/X0."""
    machine.service("redis-server", "--port", "0", "--unixsocket", "/run/e2e/redis.sock", "--unixsocketperm", "777",
                    "--save", "", "--dir", "/tmp")
    machine.service("python3", "-c", WEB_SERVER, "/run/e2e/web.sock")
    echoing = ("/run/e2e/echo1.sock", "/run/e2e/echo2.sock", "/run/docker.sock", "@e2e-chat", "@/tmp/.X11-unix/X0")
    machine.service("python3", "-c", ECHO_SERVER, *echoing)
    for address in ("/run/e2e/redis.sock", "/run/e2e/web.sock", *echoing):
        machine.wait_socket(address)


ECHO_SERVER = """
import os, selectors, socket, sys
selector = selectors.DefaultSelector()
for name in sys.argv[1:]:
    s = socket.socket(socket.AF_UNIX)
    s.bind(chr(0) + name[1:] if name[0] == '@' else name)
    if name[0] != '@':
        os.chmod(name, 0o777)
    s.listen(1024)
    selector.register(s, selectors.EVENT_READ, True)
while True:
    for key, _ in selector.select():
        if key.data:
            selector.register(key.fileobj.accept()[0], selectors.EVENT_READ, False)
            continue
        try:
            data = key.fileobj.recv(65536)
            key.fileobj.sendall(data)
        except OSError:
            data = b''
        if not data:
            selector.unregister(key.fileobj)
            key.fileobj.close()
"""

WEB_SERVER = """
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'hello over a unix socket\\n')
    def address_string(self):
        return 'unix'
    def log_message(self, *args):
        pass
class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 128
server = Server(sys.argv[1], Handler)
os.chmod(sys.argv[1], 0o777)
server.serve_forever()
"""
