"""Fixtures for tests that need a whole gateway."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster import Cluster, cluster
from tests.harness import Running, running

# How fast examples are made says something about the machine and nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    """A running gateway with an upstream of its own."""
    async with running(tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server, started for the first test that needs it."""
    with cluster() as started:
        yield started


JAVASCRIPT = Path(__file__).parent / "sdk" / "js"
NPM = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The official JavaScript SDKs, installed as `tests/sdk/js/package.json` pins them."""
    wanted, stamp = (JAVASCRIPT / "package.json").read_text(), JAVASCRIPT / "node_modules" / ".installed"
    with (JAVASCRIPT / ".installing").open("w") as lock:  # several workers may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(wanted, stamp)
    return stamp.parent


def _install(wanted: str, stamp: Path) -> None:
    if not stamp.is_file() or stamp.read_text() != wanted:
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                pytest.fail(f"{program} is not installed: the JavaScript SDKs are tested with Node 20 or newer.")
        done = subprocess.run(NPM, cwd=JAVASCRIPT, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            pytest.fail("npm install failed:\n" + (done.stdout + done.stderr)[-3000:])
        stamp.write_text(wanted)
