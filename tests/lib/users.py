# SPDX-License-Identifier: Apache-2.0
"""Users of this machine's for as long as tests run."""

import contextlib
import pwd
import subprocess

import pytest

ALICE, BOB, MALLORY = 64001, 64002, 64003


def exists(name):
    try:
        pwd.getpwnam(name)
        return True
    except KeyError:
        return False


@contextlib.contextmanager
def accounts(**wanted):
    """Those of NAME=OPTIONS-OF-USERADD that are not there; they go with the block, also when one cannot be made. A
    hyphen of a name is written as an underscore."""
    with contextlib.ExitStack() as made:
        for name, options in wanted.items():
            name = name.replace("_", "-")
            if not exists(name):
                subprocess.run(["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", *options, name], check=True)
                made.callback(subprocess.run, ["userdel", name], check=True)
        yield


@pytest.fixture(scope="session")
def users():
    """Alice, Bob and Mallory with passwd entries, and the supervisors' user."""
    with accounts(wrapd_test_a=["--uid", str(ALICE)], wrapd_test_b=["--uid", str(BOB)],
                  wrapd_test_m=["--uid", str(MALLORY)], wrapd=["--system"]):
        yield
