from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import Certificates
from tests.gateway.dashboard.browsing import Visitor
from tests.harness import Running, running
from tests.ledger.world import Clock


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as gateway:
        yield gateway


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def visitor(farthing: Running) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Visitor(farthing, http)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)
