"""Large request bodies, read in a process of their own: whatever is in them, nobody else waits for it.

Reading holds Python's lock for as long as one scan over the body takes, and thirty megabytes can take a second. So the
loop sends a large body on in pieces, to one helper that reads one body at a time, and is told what the call is, which
objects it names and which bytes are to be changed. Promises: the same answers as reading it here; a helper that fails,
or takes too long, is ended and costs its one call a 503; it ends with the gateway, however that ends. Knows nothing of
keys, money or providers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from gateway.bounds import READING_PIECE_BYTES, READING_TIMEOUT_S, READINGS_WAITING_MAX
from gateway.errors import CallError
from providers.files import FileUpload
from providers.jsonl import Line
from providers.objects import Makes
from providers.operations import TABLE
from providers.request import model_of, refuse_crowds
from providers.routing import Route
from providers.shapes import Asked, BadRequest, Call, Reference

Edits = list[tuple[int, int, bytes]]


class _Ask(msgspec.Struct, omit_defaults=True):
    """What the helper is asked about the body that it was sent last. With `body_bytes` a new one follows."""

    what: Literal["model", "references", "certain", "call", "makes", "digest", "outgoing", "line", "done"]
    row: int = 0
    body_bytes: int = 0
    asked: Asked | None = None
    call: Call | None = None
    limit: int | None = None
    number: int = 0


class _Told(msgspec.Struct, omit_defaults=True):
    """Its answer; `refused` is a `BadRequest`'s message, param and code."""

    refused: tuple[str, str | None, str] | None = None
    text: str = ""
    references: list[Reference] = []
    call: Call | None = None
    makes: list[int] = []
    digest: bytes = b""
    edits: Edits = []
    line: Line | None = None


_ASKS = msgspec.msgpack.Decoder(_Ask)
_ANSWERS = msgspec.msgpack.Decoder(_Told)
_encode = msgspec.msgpack.Encoder(enc_hook=dict).encode  # of mappings, such as a `Call`'s facts
_LENGTH_BYTES = 4
_HERE = str(Path(__file__).resolve().parent.parent)
_ROWS = {id(row.operation): number for number, row in enumerate(TABLE)}


class Body:
    """One body in the helper."""

    def __init__(self, helper: _Helper) -> None:
        self._helper = helper

    async def model(self) -> str:
        """See `providers.request.model_of`."""
        return (await self._ask(_Ask("model"))).text

    async def references(self, route: Route, *, certain: bool = False) -> list[Reference]:
        """See `providers.objects.References`. Raises BadRequest."""
        return (await self._ask(_Ask("certain" if certain else "references", _row(route)))).references

    async def call(self, route: Route, asked: Asked) -> Call:
        """What the operation's shape reads in it. Raises BadRequest."""
        call = (await self._ask(_Ask("call", _row(route), asked=asked))).call
        assert call is not None  # noqa: S101 - promised where nothing is refused
        return call

    async def makes(self, route: Route) -> tuple[Makes, ...]:
        """What its answer makes."""
        return tuple(route.operation.makes[each] for each in (await self._ask(_Ask("makes", _row(route)))).makes)

    async def digest(self) -> bytes:
        """What tells it from other bodies."""
        return (await self._ask(_Ask("digest"))).digest

    async def outgoing(self, route: Route, call: Call, limit: int | None) -> Edits:
        """What the shape changes in it before it is forwarded."""
        return (await self._ask(_Ask("outgoing", _row(route), call=call, limit=limit))).edits

    async def line(self, route: Route, number: int) -> Line:
        """What a line of a file says. Raises BadRequest."""
        line = (await self._ask(_Ask("line", _row(route), number=number))).line
        assert line is not None  # noqa: S101 - promised where nothing is refused
        return line

    async def _ask(self, ask: _Ask) -> _Told:
        told = await self._helper.ask(ask)
        if told.refused is not None:
            message, param, code = told.refused
            raise BadRequest(message, param=param, code=code)
        return told


def _row(route: Route) -> int:
    return _ROWS[id(route.operation)]


class _Helper:
    """The process, as long as it lives."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> _Helper:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (_HERE, os.environ.get("PYTHONPATH"))))}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.reading",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment,
            )
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, ask: _Ask, body: bytes = b"") -> _Told:
        """Raises OSError and EOFError where it has died."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101 - both are pipes
        head = _encode(ask)
        stdin.write(len(head).to_bytes(_LENGTH_BYTES, "big") + head)
        view = memoryview(body)
        for start in range(0, len(body), READING_PIECE_BYTES):
            stdin.write(bytes(view[start : start + READING_PIECE_BYTES]))
            await stdin.drain()
        await stdin.drain()
        length = int.from_bytes(await stdout.readexactly(_LENGTH_BYTES), "big")
        return _ANSWERS.decode(await stdout.readexactly(length))

    def forget(self) -> None:
        """The body is not needed any more."""
        if self._process.stdin is not None:
            head = _encode(_Ask("done"))
            self._process.stdin.write(len(head).to_bytes(_LENGTH_BYTES, "big") + head)

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(OSError):
            await self._process.communicate()


class Readings:
    """Reads large bodies, one after the other. One for the process; the helper starts with the first of them."""

    def __init__(self) -> None:
        self._helper: _Helper | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False

    @contextlib.asynccontextmanager
    async def of(self, body: bytes) -> AsyncIterator[Body]:
        """The body, to be asked about.

        Raises:
            CallError: 503: too many wait, or it could not be read.
        """
        if self._waiting >= READINGS_WAITING_MAX or self._closed:
            raise CallError(503, "overloaded", "Too many large requests; try again.", retry=True, retry_after_s=1)
        self._waiting += 1
        asking = False
        try:
            async with self._turn:
                asking = True
                async with asyncio.timeout(READING_TIMEOUT_S):
                    if self._helper is None or not self._helper.alive:
                        self._helper = await _Helper.start()
                    await self._helper.ask(_Ask("model", body_bytes=len(body)), body)
                    helper = self._helper
                    try:
                        yield Body(helper)
                    finally:
                        if helper is self._helper:
                            helper.forget()
        except (OSError, EOFError, TimeoutError):
            await self._give_up()
            message = "The request could not be read in time; try again."
            raise CallError(503, "overloaded", message, retry=True, retry_after_s=1) from None
        except asyncio.CancelledError:
            if asking:  # and not waiting for its turn: the helper is at another's body
                await asyncio.shield(self._give_up())
            raise
        finally:
            self._waiting -= 1

    async def _give_up(self) -> None:
        """An answer may still be on its way, to nobody: the next body gets another helper."""
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.end()

    async def close(self) -> None:
        """End the helper."""
        self._closed = True
        await self._give_up()


# ---- in the helper


def _difference(old: bytes, new: bytes) -> Edits:
    """What makes the new text of the old one, as one edit."""
    if old == new:
        return []
    most = min(len(old), len(new))
    front = _equal(most, lambda size: old[:size] == new[:size])
    back = _equal(most - front, lambda size: not size or old[-size:] == new[-size:])
    return [(front, len(old) - back, new[front : len(new) - back])]


def _equal(most: int, equal: Any) -> int:
    """The largest size up to `most` for which it holds, of a property that holds up to some size."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if equal(middle) else (low, middle - 1)
    return low


def _tell(ask: _Ask, body: bytes) -> _Told:
    operation = TABLE[ask.row].operation
    if ask.what == "model":
        return _Told(text=model_of(body))
    if ask.what in ("references", "certain"):
        finder = operation.references
        if finder is None:
            return _Told()
        refuse_crowds(body)
        return _Told(references=finder.certain(body) if ask.what == "certain" else finder.find(body))
    if ask.what == "call":
        assert ask.asked is not None  # noqa: S101 - see `Body.call`
        return _Told(call=operation.shape.read(body, ask.asked))
    if ask.what == "makes":
        return _Told(makes=[number for number, each in enumerate(operation.makes) if each.by(body)])
    if ask.what == "line":
        assert isinstance(operation.shape, FileUpload)  # noqa: S101 - see `gateway.upload`
        return _Told(line=operation.shape.line(ask.number, body))
    if ask.what == "digest":
        return _Told(digest=blake2b(body, digest_size=32).digest())
    assert ask.call is not None  # noqa: S101 - see `Body.outgoing`
    changed = body if ask.limit is None else operation.shape.limit(body, ask.call, ask.limit)
    return _Told(edits=_difference(body, operation.shape.prepare(changed, ask.call)))


def _serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the gateway is gone."""
    body = b""
    while len(length := source.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        ask = _ASKS.decode(source.read(int.from_bytes(length, "big")))
        if ask.body_bytes or ask.what == "done":
            body = b""  # one at a time
        if ask.what == "done":
            continue
        if ask.body_bytes:
            body = source.read(ask.body_bytes)
        try:
            told = _tell(ask, body)
        except BadRequest as error:
            told = _Told(refused=(error.message, error.param, error.code))
        answer = _encode(told)
        sink.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
        sink.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the gateway, which ends this
    _serve(sys.stdin.buffer, sys.stdout.buffer)
