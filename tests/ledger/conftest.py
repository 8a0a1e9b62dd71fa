"""Fixtures for tests of the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ledger.world import World, assert_sound, opened


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A new database of each kind: every test of the ledger that takes it runs on both."""
    if request.param == "sqlite":
        return tmp_path / "farthing.db"
    url: str = request.getfixturevalue("postgres").database()
    return url


@pytest.fixture
async def loose(database: Path | str) -> AsyncIterator[World]:
    """A ledger whose books may be out of order when the test ends."""
    async with opened(database) as world:
        yield world


@pytest.fixture
async def world(loose: World) -> AsyncIterator[World]:
    """A ledger whose books must be in order when the test ends."""
    yield loose
    await assert_sound(loose.ledger)
