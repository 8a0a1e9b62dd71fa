"""The site that a fault test plays on; its invariants are checked when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.support import Site, opened


@pytest.fixture
async def site(tmp_path: Path, upstream_client: str) -> AsyncIterator[Site]:
    """A running gateway, checked at the end."""
    async with opened(tmp_path, FARTHING_UPSTREAM_CLIENT=upstream_client) as started:
        yield started
