"""Answers, read off the bytes of a provider's connection: an exchange at a time.

Promises: an answer is whole by its own framing or it is malformed; more than was announced is malformed, too; whatever
a provider can send beside a body is bounded. However the bytes are cut, what is read is the same. Knows no clock and
no socket, and does not know that a connection ends: `end_of_stream` tells it.
"""

from __future__ import annotations

from enum import Enum

import httptools

from gateway.bounds import ANSWER_FIELDS_MAX, ANSWER_HEAD_BYTES_MAX
from gateway.http1.fields import Fields
from gateway.http1.heads import Ends, Malformed, ends


class Awaited(Enum):
    """What the next byte is expected to be of."""

    NOTHING = "nobody has asked for anything"
    HEAD = "an answer's head, or an interim one's"
    INTERIM_END = "the end of an interim answer"
    BODY = "its body, or what follows that"
    NO_MORE = "the answer is whole"


# Before Python 3.12 an enumeration's member costs a call wherever it is named.
_NOTHING, _HEAD, _INTERIM_END, _BODY, _NO_MORE = Awaited
_AT_ONCE = Ends.AT_ONCE


class AnswerReader:
    """Reads the answers on a connection. What raises Malformed leaves it of no more use."""

    __slots__ = (
        "_beside", "_ends", "_fields", "_fields_bytes", "_fields_count", "_parser", "_to_head",
        "awaited", "headers", "keep", "pieces", "status", "waiting_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.headers: Fields
        self.expect(to_head=False)
        self.awaited = _NOTHING

    def expect(self, *, to_head: bool) -> None:
        """A request goes out, and its answer is awaited; `to_head`, that has no body whatever its head says."""
        self.awaited = _HEAD
        self._to_head = to_head
        self._ends = _AT_ONCE
        self._beside = 0  # bytes received since the last byte of a body
        self._fields: list[tuple[bytes, bytes]] = []
        self._fields_count = self._fields_bytes = 0
        self.keep = False
        self.status = 0
        self.pieces: list[bytes] = []
        self.waiting_bytes = 0

    def forget(self) -> None:
        """Nothing more is read: the parser refers back to this."""
        self._parser = None

    @property
    def headed(self) -> bool:
        """Whether the answer's head is here."""
        return self.awaited is _BODY or self.awaited is _NO_MORE

    @property
    def ended(self) -> bool:
        """Whether the answer is here to its end."""
        return self.awaited is _NO_MORE

    def feed(self, data: bytes) -> None:
        """Read on. Raises Malformed."""
        if self._parser is None or self.awaited is _NO_MORE:
            raise Malformed
        before = self.waiting_bytes
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise Malformed from None
        if self.waiting_bytes != before:
            self._beside = 0
        elif self.awaited is not _NO_MORE:
            self._beside += len(data)
            if self._beside > ANSWER_HEAD_BYTES_MAX:
                raise Malformed

    def end_of_stream(self, *, orderly: bool) -> None:
        """The provider sends no more; `orderly`, it has said so itself. That may be what an answer ends with."""
        if orderly and self.awaited is _BODY and self._ends is Ends.WITH_CONNECTION:
            self.awaited = _NO_MORE

    # ---- what the parser says; what is raised here makes it fail

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self.awaited is not _HEAD:
            raise Malformed

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head or a trailer."""
        self._fields_count += 1
        self._fields_bytes += len(name) + len(value)
        if self._fields_count > ANSWER_FIELDS_MAX or self._fields_bytes > ANSWER_HEAD_BYTES_MAX:
            raise Malformed
        if self.awaited is _HEAD:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is complete; an interim one is passed over."""
        parser = self._parser
        if parser is None:
            raise Malformed
        status, version = parser.get_status_code(), parser.get_http_version()
        fields, self._fields = self._fields, []
        if 100 <= status < 200 and status != 101 and version in ("1.0", "1.1"):
            self.awaited = _INTERIM_END
            return
        headers = Fields.of(fields)
        self._ends = ends(status, version, headers, to_head=self._to_head)
        self.status, self.headers = status, headers
        # Not kept after an answer to HEAD: the parser would wait for the body.
        self.awaited = _NO_MORE if self._to_head else _BODY

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.awaited is not _BODY:
            raise Malformed
        self.pieces.append(body)
        self.waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        """An answer is complete."""
        if self.awaited is _INTERIM_END:
            self.awaited = _HEAD
        elif self._parser is not None and self.awaited is _BODY:
            self.awaited = _NO_MORE
            self.keep = self._parser.should_keep_alive()
