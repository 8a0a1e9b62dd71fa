"""Large request bodies, read in a process of their own (see `gateway.apart`).

The loop is told what the call is, which objects it names and which bytes are to be changed. Promises: the same answers
as reading it here; what cannot be read in time costs its one call a 503. Knows nothing of keys, money or providers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from gateway.apart import Apart, Helper, HelperFailed, serve
from gateway.bounds import READINGS_WAITING_MAX
from gateway.problems import CallError
from providers.contract.shapes import NOTHING_ELSE, Asked, Call, Reference
from providers.ground.errors import BadRequest
from providers.operations import TABLE
from providers.reading.doubles import refuse_crowds
from providers.reading.request import model_of
from providers.routing import Route
from providers.stored.files import FileUpload
from providers.stored.jsonl import Line
from providers.stored.objects import Makes

Edits = list[tuple[int, int, bytes]]


class _Ask(msgspec.Struct, omit_defaults=True):
    """What the helper is asked about the body that it was sent last."""

    what: Literal["model", "references", "certain", "call", "makes", "digest", "outgoing", "line"]
    row: int = 0
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
_ROWS = {id(row.operation): number for number, row in enumerate(TABLE)}


class Body:
    """One body in the helper."""

    def __init__(self, helper: Helper, model: str) -> None:
        self._helper = helper
        self.model = model
        """See `providers.reading.request.model_of`."""

    async def references(self, route: Route, *, certain: bool = False) -> list[Reference]:
        """See `providers.stored.objects.References`. Raises BadRequest."""
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

    async def line(self, route: Route, number: int, asked: Asked) -> Line:
        """What a line of a file says. Raises BadRequest."""
        line = (await self._ask(_Ask("line", _row(route), asked=asked, number=number))).line
        assert line is not None  # noqa: S101 - promised where nothing is refused
        return line

    async def _ask(self, ask: _Ask) -> _Told:
        told = _ANSWERS.decode(await self._helper.ask(_encode(ask)))
        if told.refused is not None:
            message, param, code = told.refused
            raise BadRequest(message, param=param, code=code)
        return told


def _row(route: Route) -> int:
    return _ROWS[id(route.operation)]


class Readings:
    """Reads large bodies, one after the other. One for the process."""

    def __init__(self) -> None:
        self._apart = Apart("gateway.call.reading", waiting_max=READINGS_WAITING_MAX)

    @contextlib.asynccontextmanager
    async def of(self, body: bytes) -> AsyncIterator[Body]:
        """The body, to be asked about.

        Raises:
            CallError: 503: too many wait, or it could not be read.
        """
        try:
            async with self._apart.of(body, _encode(_Ask("model"))) as (helper, told):
                yield Body(helper, _ANSWERS.decode(told).text)
        except HelperFailed:
            message = "Too many large requests, or this one takes too long; try again."
            raise CallError(503, "overloaded", message, retry=True, retry_after_s=1) from None

    async def close(self) -> None:
        """End the helper."""
        await self._apart.close()


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
        assert isinstance(operation.shape, FileUpload)  # noqa: S101 - see `gateway.call.upload`
        return _Told(line=operation.shape.line(ask.number, body, ask.asked or NOTHING_ELSE))
    if ask.what == "digest":
        return _Told(digest=blake2b(body, digest_size=32).digest())
    assert ask.call is not None  # noqa: S101 - see `Body.outgoing`
    changed = body if ask.limit is None else operation.shape.limit(body, ask.call, ask.limit)
    return _Told(edits=_difference(body, operation.shape.prepare(changed, ask.call)))


def _work(question: bytes, body: bytes) -> bytes:
    try:
        return _encode(_tell(_ASKS.decode(question), body))
    except BadRequest as error:
        return _encode(_Told(refused=(error.message, error.param, error.code)))


if __name__ == "__main__":
    serve(_work)
