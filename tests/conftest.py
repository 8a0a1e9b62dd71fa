"""Fixtures for tests that need a whole gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Running, running


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    """A running gateway with an upstream of its own."""
    async with running(tmp_path) as started:
        yield started
