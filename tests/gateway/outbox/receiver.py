"""A receiver of messages, over real sockets: it takes them, or does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Receiver:
    """What came, in order, and how it is answered: `answer` is given the number of messages before."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, str], bytes]] = []
        self.taken: list[int] = []  # numbers of the messages that were answered with 2xx
        self.answer: Callable[[int], web.Response] = lambda number: web.Response()
        self.delay_s = 0.0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        number = len(self.messages)
        self.messages.append((request.path, {k.lower(): v for k, v in request.headers.items()}, body))
        await asyncio.sleep(self.delay_s)
        answer = self.answer(number)
        if 200 <= answer.status < 300:
            self.taken.append(number)
        return answer

    def bodies(self, type_: str = "") -> list[dict[str, Any]]:
        """The bodies of all messages whose type begins so."""
        found = [json.loads(body) for _, _, body in self.messages]
        return [body for body in found if body.get("type", "").startswith(type_)]

    def ids(self) -> list[str]:
        return [head["webhook-id"] for _, head, _ in self.messages]

    async def got(self, number: int, timeout_s: float = 10.0) -> None:
        """Wait until so many messages have come."""
        async with asyncio.timeout(timeout_s):
            while len(self.messages) < number:  # noqa: ASYNC110 - the receiver is somebody else
                await asyncio.sleep(0.01)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
