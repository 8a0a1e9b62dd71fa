"""On which loops the gateway's tests run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The HTTP client has to hold on both: they differ in what they do with sockets and TLS."""
    return LOOPS if item.path.name == "test_connection.py" else {"asyncio": LOOPS["asyncio"]}
