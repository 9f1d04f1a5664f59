# SPDX-License-Identifier: Apache-2.0
"""pytest keeps the directories of its last runs in /tmp; ours go with the run."""

import os
import shutil
import signal
import tempfile

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # A run that is cut off takes away what it has made, too: users of this machine.
    own = os.getpid()

    def stop(_number, _frame):
        if os.getpid() != own:
            os._exit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if not config.option.basetemp:
        config.own_temporary = tempfile.mkdtemp(prefix="wrapd-pytest-")
        config.option.basetemp = config.own_temporary + "/run"


def pytest_unconfigure(config):
    if hasattr(config, "own_temporary"):
        shutil.rmtree(config.own_temporary)
