import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def croco(tmp_path):
    """Runs the command line as a process of its own, in a fresh folder."""

    def call(*args, home=tmp_path, cwd=tmp_path, check=None, env=os.environ, **more):
        done = subprocess.run(
            [sys.executable, "-m", "croco", *map(str, args)],
            cwd=cwd,
            capture_output=True,
            text=True,
            env=dict(env) | {"CROCO_HOME": str(home)} | more,
            timeout=540,
        )
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return call


@pytest.fixture
def heeding_ctrl_c():
    """What a child does first so that SIGINT reaches it, even where a script started the tests with `&`."""
    return lambda: signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def recipes():
    return ROOT / "recipes"
