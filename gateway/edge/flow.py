"""Back-pressure on a client's connection, both ways: asyncio's documented pausing, remembered."""

from __future__ import annotations

import asyncio


class Flow:
    """Whether a connection is read from, and may be written to."""

    __slots__ = ("_loop", "_room", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._room: asyncio.Future[None] | None = None
        self.read_paused = self.write_paused = False

    def pause_reading(self) -> None:
        """The client has to wait for us."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """No more."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """We have to wait for the client."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """No more."""
        self.write_paused = False
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    async def drain(self) -> None:
        """Wait until there is room to write."""
        while self.write_paused:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """What has been written and the other side has not taken.

    asyncio's TLS transport forgets what it stands on when it is closed a second time, and then cannot say.
    """
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0
