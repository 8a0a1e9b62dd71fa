"""A wire between two processes that breaks as it is told.

Promises: bytes pass unchanged until a fault is set; every fault ends with `heal`. The vocabulary is toxiproxy's:
latency, slices, a limit of data, reset, silence (half-open), refusal; and traps, which stop one kind of message at one
moment. Knows nothing of HTTP or SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Literal

CHUNK_BYTES = 1 << 16

Way = Literal["hold", "hold_answer", "eat", "cut_answer"]


class Trap:
    """Waits for a message from the client's side, and does one thing to it, once.

    `way`: "hold" keeps it back, "hold_answer" lets it through and keeps the answer back, both until `let_go`; "eat"
    drops it and cuts the connection; "cut_answer" lets it through and cuts the connection when the answer comes.
    """

    def __init__(self, matches: Callable[[bytes], bool], way: Way, times: int = 1) -> None:
        self.matches = matches
        self.way = way
        self.times = times
        self.sprung = asyncio.Event()
        self._gone = asyncio.Event()
        self.forward = False

    def let_go(self, *, forward: bool) -> None:
        """End the wait; what was held back is passed on or dropped with its connection. The first word stands."""
        if not self._gone.is_set():
            self.forward = forward
            self.times = 0
            self._gone.set()

    async def released(self) -> bool:
        """Wait for `let_go`; whether to pass it on."""
        await self._gone.wait()
        return self.forward


class Wire:
    """A listening port in front of a target: `(host, port)`, or the path of a Unix socket."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.target = target  # of connections from now on
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.latency_s = 0.0
        self.slice_bytes = 0
        self.limit_bytes: int | None = None  # of one connection's answers; then it is reset
        self.traps: list[Trap] = []
        self.accepted = 0

    async def start(self) -> None:
        """Listen; the port stays the same for the life of the wire."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def silence(self) -> None:
        """Nothing passes in either direction, and nothing is closed: half-open."""
        self._open.clear()

    def cut(self) -> None:
        """Reset every connection."""
        for task in list(self._connections):
            task.cancel()

    def trap(self, matches: Callable[[bytes], bool], way: Way, times: int = 1) -> Trap:
        """Set a trap."""
        made = Trap(matches, way, times)
        self.traps.append(made)
        return made

    async def heal(self) -> None:
        """Everything passes again."""
        for trap in self.traps:
            trap.let_go(forward=False)
        self.traps.clear()
        self.latency_s, self.slice_bytes, self.limit_bytes = 0.0, 0, None
        self._open.set()
        await self.start()

    async def stop(self) -> None:
        """Close everything."""
        self.refuse()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.accepted += 1
        other: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            if isinstance(self.target, str):
                answers, other = await asyncio.open_unix_connection(self.target)
            else:
                answers, other = await asyncio.open_connection(*self.target)
            link = _Link(self, writer, other)
            ways = (asyncio.create_task(link.up(reader)), asyncio.create_task(link.down(answers)))
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # cut, or nobody listens there: the connection ends either way
        finally:
            self._connections.discard(task)
            for each in (writer, other):
                if each is not None:
                    _reset(each)


class _Link:
    """One connection through the wire."""

    def __init__(self, wire: Wire, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._wire = wire
        self._client, self._server = client, server
        self._trap: Trap | None = None  # that has this connection's answer
        self._answered = 0

    async def up(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._wire._open.wait()
            trap = next((trap for trap in self._wire.traps if trap.times > 0 and trap.matches(data)), None)
            if trap is not None:
                trap.times -= 1
                if trap.way in ("hold_answer", "cut_answer"):
                    self._trap = trap
                trap.sprung.set()
                if trap.way == "eat" or (trap.way == "hold" and not await trap.released()):
                    return
            self._server.write(data)
            await self._server.drain()
        if self._wire._open.is_set():
            with contextlib.suppress(OSError, RuntimeError):
                self._server.write_eof()  # a client that left by FIN is a client that left by FIN on the other side
        await asyncio.sleep(0.01)

    async def down(self, reader: asyncio.StreamReader) -> None:
        wire = self._wire
        while data := await reader.read(wire.slice_bytes or CHUNK_BYTES):
            trap, self._trap = self._trap, None
            if trap is not None and (trap.way == "cut_answer" or not await trap.released()):
                return
            if wire.latency_s:
                await asyncio.sleep(wire.latency_s)
            await wire._open.wait()
            if wire.limit_bytes is not None:
                data = data[: max(wire.limit_bytes - self._answered, 0)]
            self._client.write(data)
            await self._client.drain()
            self._answered += len(data)
            if wire.limit_bytes is not None and self._answered >= wire.limit_bytes:
                await asyncio.sleep(0.01)  # a reset may overtake what was not read yet
                return
        await wire._open.wait()  # of a machine that has gone without a word not even its end is heard
        self._client.close()
        with contextlib.suppress(OSError):
            await self._client.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
