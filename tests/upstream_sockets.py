"""The provider's WebSockets, as far as tests are concerned: the simulator's conversations behind a real socket.

Promises: as `tests.upstream`: every message is under control and noted as it arrived, and what was generated is
billed, however it ends. One line a socket goes to the invoice. Knows nothing of Farthing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from providers.simulator import Cut, Faults, Pause
from providers.simulator.sockets import Close, Conversation, NotOpened, Step, converse

if TYPE_CHECKING:
    from tests.upstream import Seen, Upstream

MESSAGE_BYTES_MAX = 32 * 1024 * 1024


def model_of_query(path: str) -> str:
    """The model that a handshake names."""
    query = parse_qs(urlsplit(path).query)
    return next((query[name][0] for name in ("model", "model_id") if name in query), "")


def _first_plain(_protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The subprotocol that a provider answers with: the first that is no secret (providers.md §1)."""
    return next((each for each in offered if "." not in each), None)


class Socket(asyncio.Protocol):
    """One socket."""

    def __init__(self, upstream: Upstream, seen: Seen, number: int, faults: Faults) -> None:
        self._upstream = upstream
        self._seen = seen
        self._number = number
        self._conversation: Conversation | NotOpened = converse(
            seen.path,
            dict(seen.headers),
            provider=seen.provider,
            faults=faults,
            request_id=seen.upstream_id,
            now_s=int(time.time()),
        )
        self._protocol = ServerProtocol(select_subprotocol=_first_plain, max_size=MESSAGE_BYTES_MAX)
        self._waiting: asyncio.Queue[Iterator[Step]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._parts: list[bytes] = []
        self._text = False
        self._sent = 0
        self._digest = hashlib.sha256()
        self._end = "client"
        self._started_ms = time.time_ns() // 1_000_000
        self.transport: asyncio.Transport

    def start(self, transport: asyncio.Transport, head: bytes) -> None:
        """Take over a connection whose handshake was read."""
        self.transport = transport
        transport.set_protocol(self)
        self._upstream.sockets.add(self)
        self._task = asyncio.get_running_loop().create_task(self._serve(head))

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.sockets.discard(self)
        self._room.set()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, WireFrame):
                self._receive(event)
        self._flush()

    def _receive(self, frame: WireFrame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._text, self._parts = frame.opcode is Opcode.TEXT, []
            self._parts.append(bytes(frame.data))
            if frame.fin and not isinstance(self._conversation, NotOpened):
                whole = b"".join(self._parts)
                message = whole.decode() if self._text else whole
                self._seen.frames.append(message)
                self._waiting.put_nowait(self._conversation.said(message))
        elif frame.opcode is Opcode.CLOSE:
            closed = self._protocol.close_rcvd
            self._seen.closed = None if closed is None else (closed.code, closed.reason)
            self._flush()
            self.transport.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.write_eof() if self.transport.can_write_eof() else self.transport.close()

    async def _serve(self, head: bytes) -> None:
        self._protocol.receive_data(head)
        (request,) = self._protocol.events_received()
        assert isinstance(request, Request)
        if isinstance(self._conversation, NotOpened):
            self._refuse(self._conversation)
            return
        self._protocol.send_response(self._protocol.accept(request))
        self._flush()
        try:
            await self._talk(self._conversation)
        finally:
            self._conversation.ended()
            self._bill(101, dict(self._conversation.billed))

    async def _talk(self, conversation: Conversation) -> None:
        self._waiting.put_nowait(conversation.opened())
        while True:
            for step in await self._waiting.get():
                await asyncio.sleep(0)  # to see what was said meanwhile, and that the other side is gone
                if isinstance(step, Pause):
                    await asyncio.sleep(step.ms / 1_000)
                elif isinstance(step, Cut):
                    self._end = "fault"
                    self.transport.abort()
                    return
                elif isinstance(step, Close):
                    self._end = "whole"
                    self._protocol.send_close(step.code, step.reason)
                    self._flush()
                    return
                else:
                    raw = step.encode() if isinstance(step, str) else step
                    send: Callable[[bytes], None] = (
                        self._protocol.send_text if isinstance(step, str) else self._protocol.send_binary
                    )
                    send(raw)
                    self._sent += len(raw)
                    self._digest.update(raw)
                    self._flush()
                    await self._room.wait()

    def _refuse(self, refused: NotOpened) -> None:
        lines = [f"HTTP/1.1 {refused.status} Refused", *(f"{name}: {value}" for name, value in refused.headers)]
        lines += [f"content-length: {len(refused.body)}", "connection: close"]
        self.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode() + refused.body)
        self.transport.close()
        self._end = "whole"
        self._bill(refused.status, None)

    def _bill(self, status: int, billed: dict[str, int] | None) -> None:
        from tests.upstream import Line

        self._upstream.bill(
            Line(
                number=self._number,
                upstream_id=self._seen.upstream_id,
                method="GET",
                path=urlsplit(self._seen.path).path,
                model=model_of_query(self._seen.path),
                status=status,
                end=self._end,
                billed=billed,
                body_bytes=self._sent,
                body_sha256=self._digest.hexdigest(),
                started_ms=self._started_ms,
                ended_ms=time.time_ns() // 1_000_000,
            )
        )
