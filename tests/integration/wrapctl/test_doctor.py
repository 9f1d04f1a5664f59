# SPDX-License-Identifier: Apache-2.0
import checks
from lib import wrapctl as world


def test_every_check_is_told(wrapctl, serve):
    serve(version="0.0.1", policies=[{"name": "p", "file": "/p", "mode": "", "problem": "broken", "default": True}])
    found = checks.doctor(wrapctl)
    assert found["bus"]["status"] == "ok"
    # A service of another version, no polkit and no systemd on this bus.
    assert found["api"]["status"] == "failed" and "0.0.1" in found["api"]["detail"]
    assert "restart wrapd" in found["api"]["advice"]
    assert found["polkit"]["status"] == "fallback"
    assert found["units"]["status"] == "fallback"
    done = wrapctl.run("doctor")
    checks.harmless(done.stdout)
    for name in found:
        assert any(line.startswith(name) for line in done.stdout.splitlines())


def test_the_right_version(wrapctl, serve):
    version = wrapctl.run("--version").stdout.split()[1]
    serve(version=version)
    assert checks.doctor(wrapctl)["api"]["status"] == "ok"


def test_without_a_bus():
    found = checks.doctor(world.Wrapctl(None))
    for name in ("bus", "api", "polkit", "units"):
        assert found[name]["status"] == "failed" and found[name]["advice"] and not found[name]["required"]
    assert found["openat2"]["status"] == "ok"
