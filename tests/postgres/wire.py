"""A wire to the database that breaks as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

COMMIT = b"Q" + struct.pack("!i", 4 + len(b"COMMIT\0")) + b"COMMIT\0"
AT_ONCE = b"\0farthing_commit\0"  # in the message that binds the statement that stores a batch and commits it


def commits(data: bytes) -> bool:
    """Whether the message ends a transaction."""
    return data.endswith(COMMIT) or (data.startswith(b"B") and AT_ONCE in data[:64])


class Wire:
    """Forwards connections to the server.

    Attributes:
        cuts: How many answers to a COMMIT are still to be lost: the server gets it, the gateway only a closed socket.
        eats: How many COMMITs are still to be lost on their way to the server.
        silent: Nothing passes in either direction, and no connection is closed.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket / ".s.PGSQL.5432"
        self.cuts = self.eats = self.lost = 0
        self.silent = False
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, database: str) -> str:
        """The database's URL through this wire."""
        name = database.partition("@/")[2].partition("?")[0]
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        answers: asyncio.Task[None] | None = None
        try:
            answer, upstream = await asyncio.open_unix_connection(str(self._socket))
            answers = asyncio.create_task(self._pump(answer, writer))
            while data := await reader.read(1 << 20):
                while self.silent:  # noqa: ASYNC110 - a broken wire has no event
                    await asyncio.sleep(0.01)
                if commits(data) and self.eats:
                    self.eats -= 1
                    self.lost += 1
                    break
                if commits(data) and self.cuts:
                    self.cuts -= 1
                    self.lost += 1
                    answers.cancel()
                    upstream.write(data)
                    await upstream.drain()
                    writer.transport.abort()
                    await answer.read(1)  # the server has done it
                    break
                upstream.write(data)
                await upstream.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if answers is not None:
                answers.cancel()
            for each in (writer, upstream):
                if each is not None:
                    each.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                while self.silent:  # noqa: ASYNC110 - a broken wire has no event
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    def cut_all(self) -> None:
        """Break every connection."""
        for task in list(self._tasks):
            task.cancel()


@contextlib.asynccontextmanager
async def wired(socket: Path) -> AsyncIterator[Wire]:
    """A wire to the server behind this socket."""
    wire = Wire(socket)
    server = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut_all()
        await asyncio.sleep(0.01)
