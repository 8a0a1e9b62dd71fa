"""What the tests of limits share: a clock that is set by hand, and calls whose size is known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import Running, running


class Clock:
    """Unix time in milliseconds, until it is set anew."""

    def __init__(self, moment: str = "2026-03-11T10:20:30") -> None:
        self.set(moment)

    def __call__(self) -> int:
        return self.ms

    def set(self, moment: str) -> None:
        """An ISO moment, UTC."""
        self.ms = at(moment)


def at(moment: str) -> int:
    """An ISO moment, UTC, in Unix milliseconds."""
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def timed(tmp_path: Path, clock: Clock) -> AsyncIterator[Running]:
    """A gateway whose time is `clock`; its audit must be clean at the end."""
    async with running(tmp_path, clock=clock) as started:
        yield started
        await started.audited()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway whose audit must be clean at the end."""
    async with running(tmp_path) as started:
        yield started
        await started.audited()
