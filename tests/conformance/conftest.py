"""What all cells share: one gateway, and each client's program started once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.programs import Program
from tests.harness import Running, running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A running gateway; at the end its books must balance."""
    async with running(tmp_path_factory.mktemp("conformance")) as started:
        yield started
        await started.audited()


class Programs:
    """Programs by client, each started when it is first asked for."""

    def __init__(self) -> None:
        self._running: dict[str, Program] = {}

    async def get(self, client: str) -> Program:
        if client not in self._running:
            self._running[client] = await Program.start(client)
        return self._running[client]

    async def stop(self) -> None:
        for program in self._running.values():
            await program.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def programs(node_modules: Path) -> AsyncIterator[Programs]:
    made = Programs()
    yield made
    await made.stop()
