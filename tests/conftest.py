"""Fixtures for tests that need a whole gateway."""

from __future__ import annotations

import os
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
def upstream_client() -> str:
    """Which client speaks to the providers. A module whose sentences hold of both has a fixture of this name."""
    return os.environ.get("FARTHING_UPSTREAM_CLIENT", "lean")


@pytest.fixture
async def farthing(tmp_path: Path, upstream_client: str) -> AsyncIterator[Running]:
    """A running gateway with an upstream of its own."""
    async with running(tmp_path, FARTHING_UPSTREAM_CLIENT=upstream_client) as started:
        yield started


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server, started for the first test that needs it."""
    with cluster() as started:
        yield started


JAVASCRIPT = Path(__file__).parent / "sdk" / "js"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The official JavaScript SDKs, installed as `tests/sdk/js/package.json` pins them."""
    wanted, stamp = (JAVASCRIPT / "package.json").read_text(), JAVASCRIPT / "node_modules" / ".installed"
    if not stamp.is_file() or stamp.read_text() != wanted:
        pytest.fail("The JavaScript SDKs are not installed as package.json pins them: `make test` does that.")
    return stamp.parent
