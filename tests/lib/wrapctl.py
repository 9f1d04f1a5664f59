# SPDX-License-Identifier: Apache-2.0
"""A private bus with the service's side on it, and wrapctl run against both."""
import fcntl
import json
import os
import pathlib
import select
import struct
import subprocess
import termios
import time

SERVICE_SIDE = pathlib.Path(__file__).resolve().parents[1] / "integration/wrapctl/service.py"
WRAPCTL = os.environ["WRAPD_TEST_WRAPCTL"]
TIMEOUT = 30

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_type="method_return"/><allow send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
  </policy>
</busconfig>
"""


class Lines:
    """Lines of a pipe or pty, each waited for."""

    def __init__(self, fd):
        self.fd = fd
        self.buffer = b""

    def next(self, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no line within {timeout} s; so far {self.buffer!r}"
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:  # a pty whose other end has closed
                chunk = b""
            if not chunk:
                raise EOFError(self.buffer)
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()


class Bus:
    def __init__(self, directory):
        self.socket = directory / "bus"
        config = directory / "bus.conf"
        config.write_text(BUS_CONFIG.format(socket=self.socket))
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        Lines(self.process.stdout.fileno()).next()
        self.address = f"unix:path={self.socket}"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class ServiceSide:
    def __init__(self, bus, **state):
        env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        self.process = subprocess.Popen(["/usr/bin/python3", str(SERVICE_SIDE), json.dumps(state)], env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = Lines(self.process.stdout.fileno())
        self.calls = []
        self._until("ready")

    def _until(self, key):
        while True:
            line = json.loads(self.lines.next())
            if "call" in line:
                self.calls.append(line)
            if key in line:
                return line

    def tell(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        self._until("done")

    def calls_of(self, method):
        """Every call of a method so far, as {"arguments", "interactive"}."""
        self.tell()
        return [c for c in self.calls if c["call"] == method]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def environment(bus=None, **extra):
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/", "TZ": "UTC",
           "DBUS_SYSTEM_BUS_ADDRESS": bus.address if bus else "unix:path=/nonexistent/bus"}
    # A sanitizer's options, if there are any.
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    env.update(extra)
    return env


class Wrapctl:
    """wrapctl on a bus. What checks.py needs of it: run(*args) -> CompletedProcess with text."""

    def __init__(self, bus):
        self.bus = bus

    def run(self, *args, env=None, **kwargs):
        return subprocess.run([WRAPCTL, *args], env=env or environment(self.bus), capture_output=True, text=True,
                              timeout=TIMEOUT, stdin=subprocess.DEVNULL, **kwargs)

    def popen(self, *args):
        return subprocess.Popen([WRAPCTL, *args], env=environment(self.bus), stdout=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run_on_terminal(self, *args, columns=80, preexec_fn=None, env=None, meanwhile=None):
        """(exit status, everything written to the terminal), with stdin, stdout and stderr on a pty."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if preexec_fn:
                preexec_fn()

        before = termios.tcgetattr(theirs)
        process = subprocess.Popen([WRAPCTL, *args], env=env or environment(self.bus), stdin=theirs, stdout=theirs,
                                   stderr=theirs, preexec_fn=own_terminal)
        output = b""
        if meanwhile:
            meanwhile(process)
        deadline = time.monotonic() + TIMEOUT
        pidfd = os.pidfd_open(process.pid)
        try:
            while True:
                ready, _, _ = select.select([ours, pidfd], [], [], max(0, deadline - time.monotonic()))
                assert ready, f"not done: {output!r}"
                if ours in ready:
                    output += os.read(ours, 65536)
                elif pidfd in ready:
                    break
            assert termios.tcgetattr(theirs) == before, (termios.tcgetattr(theirs), before)
            return process.wait(), output.decode()
        finally:
            process.kill()
            process.wait()
            for fd in (ours, theirs, pidfd):
                os.close(fd)


