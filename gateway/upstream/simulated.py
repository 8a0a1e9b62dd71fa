"""The built-in simulator, for test keys, behind both interfaces: so they go the same path as every call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from multidict import CIMultiDict

from gateway.apart import Gathered, HelperFailed
from gateway.bounds import BODY_BYTES_MAX, SOCKET_MESSAGES_WAITING
from gateway.problems import CallError
from gateway.upstream.base import (
    BROKEN,
    Answer,
    Body,
    Duplex,
    Forward,
    Handshake,
    HandshakeRefused,
    SocketClosed,
    UpstreamFailed,
)
from gateway.upstream.simulating import Asked, Simulations
from providers.contract.sockets import Frame
from providers.simulator import Cut, Faults, Pause
from providers.simulator.sockets import Close, Conversation, NotOpened, converse


class _SimulatedAnswer:
    def __init__(self, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks

    def chunks(self) -> AsyncIterator[bytes]:
        return self._chunks

    def rest(self, bytes_max: int) -> bytes | None:
        """Nothing is here before it is asked for."""
        return None

    def nudge(self) -> None:
        """Whoever waits here waits for nobody."""

    def close(self) -> None:
        """Nothing is open."""


async def _whole(upload: Body) -> bytes:
    """An upload, for the simulator, which keeps no more than a body of the ordinary kind. Raises CallError."""
    gathered = Gathered()
    async for piece in upload.chunks():
        gathered.add(piece)
        if gathered.size > BODY_BYTES_MAX:
            raise CallError(413, "request_too_large", f"With test keys, an upload has at most {BODY_BYTES_MAX} bytes.")
    return gathered.whole()


class SimulatedUpstream:
    """The built-in simulator, for test keys."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._simulations = Simulations()

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        body = request.body if isinstance(request.body, bytes) else await _whole(request.body)
        asked = Asked(
            method=request.method,
            path=request.target,
            headers=request.headers,
            provider=request.provider,
            faults=request.faults or Faults(),
            request_id=f"req_{request.call_id}",  # as the providers' own look
            now_s=self._clock_ms() // 1000,
        )
        try:
            long = asked.is_long_work(body)
            simulated = await self._simulations.answer(asked, body) if long else asked.answered(body)
        except HelperFailed:
            raise UpstreamFailed("simulator overloaded", sent=False) from None
        steps = iter(simulated.steps)
        first: bytes | None = None
        for step in steps:  # the head is sent with the first byte of the body
            if isinstance(step, Pause):
                await asyncio.sleep(step.ms / 1000)
            elif isinstance(step, Cut):
                raise UpstreamFailed("simulated disconnect", sent=True)
            else:
                first = step
                break

        async def chunks() -> AsyncIterator[bytes]:
            if first is None:
                return
            yield first
            for step in steps:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.ms / 1000)
                elif isinstance(step, Cut):
                    raise UpstreamFailed("simulated disconnect", sent=True)
                else:
                    yield step
                    await asyncio.sleep(0)

        return _SimulatedAnswer(simulated.status, CIMultiDict(simulated.headers), chunks())

    async def close(self) -> None:
        """See `Upstream`."""
        await self._simulations.close()


class SimulatedSockets:
    """The built-in simulator, for test keys."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms

    async def open(self, handshake: Handshake) -> Duplex:
        """See `SocketUpstream`."""
        conversation = converse(
            handshake.target,
            handshake.headers,
            provider=handshake.provider,
            faults=handshake.faults or Faults(),
            request_id=f"req_{handshake.call_id}",  # as the providers' own look
            now_s=self._clock_ms() // 1000,
        )
        if isinstance(conversation, NotOpened):
            raise HandshakeRefused(conversation.status, CIMultiDict(conversation.headers), conversation.body)
        return _Simulated(conversation, next(iter(handshake.subprotocols), None))


class _Simulated:
    """A conversation with the simulator: what it says is made when it is taken."""

    def __init__(self, conversation: Conversation, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self._conversation = conversation
        self._waiting: deque[Iterator[Frame | Pause | Cut | Close]] = deque((iter(conversation.opened()),))
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended: SocketClosed | None = None

    async def send(self, frame: Frame) -> None:
        while self._ended is None and len(self._waiting) >= SOCKET_MESSAGES_WAITING:
            self._room.clear()
            await self._room.wait()
        if self._ended is not None:
            raise self._ended
        self._waiting.append(iter(self._conversation.said(frame)))
        self._changed.set()
        await asyncio.sleep(0)

    async def receive(self) -> Frame:
        while True:
            if self._ended is not None:
                raise self._ended
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            step = next(self._waiting[0], None)
            if step is None:
                self._waiting.popleft()
                self._room.set()
            elif isinstance(step, Pause):
                await asyncio.sleep(step.ms / 1000)
            elif isinstance(step, Cut):
                self._end(SocketClosed(BROKEN))
            elif isinstance(step, Close):
                self._end(SocketClosed(step.code, step.reason))
            else:
                await asyncio.sleep(0)
                return step

    async def close(self, code: int, reason: str) -> None:
        self.abort()

    def abort(self) -> None:
        self._end(SocketClosed(BROKEN))

    def _end(self, closed: SocketClosed) -> None:
        if self._ended is None:
            self._conversation.ended()
            self._ended = closed
            self._waiting.clear()
        self._changed.set()
        self._room.set()
