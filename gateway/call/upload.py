"""A request's body that is forwarded while it arrives: its head is read first, the rest is never held.

Promises: what has been received and not yet taken by the provider is bounded by the head and a chunk; each chunk is
read by the shape before it is forwarded, and what it refuses ends the upload unfinished, so that the provider has no
request to act on; nothing is forwarded beyond what the hold covers, nor, where the cap must hold, what it can not.
Knows nothing of holds, providers or sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.asgi import Receive, receive_body
from gateway.bounds import BODY_BYTES_MAX, BODY_TIMEOUT_S, UPLOAD_HEAD_BYTES, UPLOAD_HELD_BYTES
from gateway.problems import CallError
from providers.contract.shapes import Arrival, Call
from providers.ground.errors import BadRequest
from providers.reading.multipart import Form, is_form
from providers.stored.files import FileArrival
from providers.stored.jsonl import Line

Apart = Callable[[int, bytes], Awaitable[Line]]
"""Reads a long line of a file, by its number, elsewhere. Raises BadRequest and CallError."""

_MODEL = frozenset({"model"})


class Upload:
    """One body on its way.

    Attributes:
        length: As declared by the client; None where it is sent in chunks of unknown number.
        head: What was read of it before the call was admitted.
        whole: The head is all.
        held_bytes: How much of a body of unknown length the hold covers.
        done: All of it has been given to the provider.
        waiting: It is the client that is waited for.
        call: What the shape read in it; once done, of the whole body.
        sound: The cap must hold: what comes late and is not held for ends the upload.
        cover: Asks for a hold of more bytes, at least so many in all; how many it covers then. Raises CallError.
        moved: Told of every piece that goes out.
    """

    def __init__(self, receive: Receive, length: int | None, bytes_max: int) -> None:
        self.length = length
        self.head = b""
        self.whole = False
        self.done = False
        self.waiting = False
        self.call = Call()
        self.sound = False
        self.cover: Callable[[int], Awaitable[int]] | None = None
        self.moved: Callable[[], None] = _nothing
        self._receive = receive
        self._bytes_max = bytes_max
        self._reader: Arrival | None = None
        self._apart: Apart = _nowhere
        self._pieces: list[bytes] = []
        self._read_bytes = 0
        self.held_bytes = bytes_max if length is not None else min(UPLOAD_HELD_BYTES, bytes_max)

    @property
    def received_bytes(self) -> int:
        """How much has come."""
        return self._read_bytes

    # ---- before the call is admitted

    async def model(self, content_type: str) -> str:
        """Read on until the model is known that the request names; "" where it names none. Raises CallError."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                await self._more(UPLOAD_HEAD_BYTES)
                if not is_form(content_type):
                    return ""  # who takes uploads of a path that several have takes forms
                form = Form(content_type, _MODEL)
                form.feed(b"".join(self._pieces))
                while not form.fields and not self.whole and self._read_bytes < BODY_BYTES_MAX:
                    form.feed(await self._more(self._read_bytes + 1))
                return form.text("model")
        except TimeoutError:
            raise _late() from None
        except BadRequest as error:
            raise refused(error) from None

    def bound(self, bytes_max: int) -> None:
        """Now that the provider is known, this is what it takes. Raises CallError."""
        self._bytes_max = bytes_max
        if max(self.length or 0, self._read_bytes) > bytes_max:
            raise over_bytes(bytes_max)
        self.held_bytes = min(self.held_bytes, bytes_max)

    async def decide(self, reader: Arrival, apart: Apart) -> Call:
        """Read the head: as much as the reader needs to tell the call. Raises CallError."""
        self._reader, self._apart = reader, apart
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                await self._more(UPLOAD_HEAD_BYTES)
                await self._feed(reader, b"".join(self._pieces))
                while (call := self._call_by_now(reader)) is None:
                    if self._read_bytes >= BODY_BYTES_MAX:
                        message = "Send the fields that the cost depends on, such as 'model', before the file."
                        raise CallError(400, "invalid_request", message)
                    await self._feed(reader, await self._more(self._read_bytes + 1))
        except TimeoutError:
            raise _late() from None
        except BadRequest as error:
            raise refused(error) from None
        self.head = b"".join(self._pieces)
        self._pieces = []
        self.call = call
        return call

    async def _feed(self, reader: Arrival, chunk: bytes) -> None:
        """Have the next bytes read, and long lines of a file where nobody waits for them. Raises BadRequest."""
        reader.feed(chunk)
        if isinstance(reader, FileArrival):
            for number, text in reader.long_lines(whole=self.whole):
                try:
                    reader.line(number, await self._apart(number, text))
                except BadRequest as error:
                    reader.line(number, error)

    def _call_by_now(self, reader: Arrival) -> Call | None:
        self.held_bytes = max(self.held_bytes, self._read_bytes)
        length = self._read_bytes if self.whole else self.length
        return reader.call(self.held_bytes if length is None else length, whole=self.whole)

    async def _more(self, least_bytes: int) -> bytes:
        """Receive until so much has come in all, or everything; what has come since."""
        new: list[bytes] = []
        while self._read_bytes < least_bytes and not self.whole:
            message = await receive_body(self._receive)
            if body := message.get("body", b""):
                new.append(body)
                self._count(len(body))
            self.whole = not message.get("more_body", False)
        self._pieces += new
        return b"".join(new)

    def _count(self, more_bytes: int) -> None:
        self._read_bytes += more_bytes
        if self._read_bytes > self._bytes_max:
            raise over_bytes(self._bytes_max)

    # ---- on its way

    def identity(self, content_type: str) -> bytes:
        """What tells this body from others, as far as it has come: without the boundary, which clients draw by lot."""
        length = b"" if self.whole else b"%d\0" % (self.length or 0)
        boundary = content_type.partition("boundary=")[2].partition(";")[0].strip('" ').encode("latin-1")
        return length + (self.head.replace(boundary, b"") if boundary else self.head)

    def bounded(self, length: int) -> Call:
        """The call, if the body were of this length. Raises BadRequest."""
        assert self._reader is not None  # noqa: S101 - admitted calls have been decided
        return self._reader.call(length, whole=False) or self.call

    async def chunks(self) -> AsyncIterator[bytes]:
        """The whole body, in pieces, for the provider.

        Raises:
            ClientGone: The client left.
            CallError: What came was refused, or there is no money for more of it.
        """
        reader = self._reader
        assert reader is not None  # noqa: S101 - admitted calls have been decided
        head, self.head = self.head, b""
        yield head
        self.moved()
        try:
            while not self.whole:
                self.waiting = True
                message = await receive_body(self._receive)
                self.waiting = False
                self.whole = not message.get("more_body", False)
                body: bytes = message.get("body", b"")
                self._count(len(body))
                await self._feed(reader, body)
                if self.sound and reader.uncovered:
                    raise uncovered(reader.uncovered)
                if self._read_bytes > self.held_bytes and self.cover is not None:
                    self.held_bytes = await self.cover(self._read_bytes)
                if self.whole:
                    self.call = reader.call(self._read_bytes, whole=True) or self.call
                yield body
                self.moved()
        except BadRequest as error:
            raise refused(error) from None
        self.done = True


def refused(error: BadRequest) -> CallError:
    """What a shape refuses, as the client will see it."""
    return CallError(400, error.code, error.message, param=error.param)


def uncovered(field: str) -> CallError:
    """A field behind the file that moves the cost, or may, under a cap that must hold."""
    message = f"What {field} costs was not held for, and this key's cap must hold: leave it out, or send it first."
    return CallError(400, "unbounded_cost", message, param=field)


def over_bytes(bytes_max: int) -> CallError:
    """A body above a bound."""
    return CallError(413, "request_too_large", f"The request's body is above {bytes_max} bytes.")


def _late() -> CallError:
    return CallError(408, "request_timeout", "The request's body took too long to arrive.")


async def _nowhere(number: int, text: bytes) -> Line:
    raise AssertionError("an upload is decided before it is read on")


def _nothing() -> None:
    """Nobody asks to be told."""
