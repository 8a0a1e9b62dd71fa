"""Fixtures for tests of the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ledger.world import World, assert_sound, opened


@pytest.fixture
async def loose(tmp_path: Path) -> AsyncIterator[World]:
    """A ledger whose books may be out of order when the test ends."""
    async with opened(tmp_path / "farthing.db") as world:
        yield world


@pytest.fixture
async def world(loose: World) -> AsyncIterator[World]:
    """A ledger whose books must be in order when the test ends."""
    yield loose
    await assert_sound(loose.ledger)
