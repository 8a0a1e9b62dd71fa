"""Files that are kept at a provider: uploads of them, which are free, read as they pass.

Promises: memory is bounded, whatever the file. A file of requests is read line by line, so that a batch made of it can
be held for; what could not be is refused before the provider has the whole upload. Any other file passes unread.
Source: openai 3.54 `files.create`, anthropic 2.12 `beta.files.upload`, mistralai 3.7 `files.upload`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.ground.errors import BadRequest
from providers.reading.multipart import Form
from providers.stored.free import FreeMeter
from providers.stored.jsonl import Endpoint, Line, Requests

LONG_BYTES = 128 << 10  # a longer line is read by itself
_OWN = frozenset({"purpose"})
_FILES = frozenset({"file"})
NONE: Mapping[str, str] = MappingProxyType({})
_CALL = Call(cache_writes=False)


class FileArrival:
    """Reads one upload. The purpose may come before the file or after it: until then the file is read as requests."""

    uncovered = ""  # it is free

    def __init__(self, asked: Asked, endpoints: Mapping[str, Endpoint], unnamed: Mapping[str, str]) -> None:
        self._requests: Requests | None = Requests(endpoints, unnamed, LONG_BYTES, sound=asked.sound)
        self._refused: BadRequest | None = None
        self._form = Form(asked.headers.get("content-type", ""), _OWN, files=_FILES, content=self._content)

    def _content(self, piece: bytes) -> None:
        requests = self._requests
        if requests is not None and self._refused is None:
            self._try(lambda: requests.feed(piece))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BadRequest as error:
            self._refused = error

    def _judge(self) -> None:
        """What is wrong with the requests matters once it is known that they are some."""
        if self._form.fields:
            if self._form.text("purpose") != "batch":
                self._requests = self._refused = None
            elif self._refused is not None:
                raise self._refused

    def feed(self, chunk: bytes) -> None:
        """See the interface."""
        self._form.feed(chunk)
        self._judge()

    def long_lines(self, *, whole: bool) -> list[tuple[int, bytes]]:
        """Lines that came and are too long to be read in passing, by their numbers. `whole`: nothing more comes."""
        if self._requests is None or self._refused is not None:
            return []
        if whole and self._form.ended:
            self._try(self._requests.end)
        long, self._requests.long = self._requests.long, []
        return long

    def line(self, number: int, read: Line | BadRequest) -> None:
        """What one of those says. Raises BadRequest."""
        requests = self._requests
        if requests is None or self._refused is not None:
            return
        if isinstance(read, BadRequest):
            self._refused = read
        else:
            self._try(lambda: requests.take(number, read))
        self._judge()

    def call(self, length: int, *, whole: bool) -> Call | None:
        """See the interface."""
        read_as = msgspec.structs.replace(_CALL, content_type=self._form.content_type)
        if not whole:
            return read_as
        self._form.close()
        self._judge()
        if not self._form.file_parts:
            raise BadRequest("'file' is required.", param="file")
        if self._form.text("purpose") != "batch" or self._requests is None:
            return read_as
        facts = msgspec.to_builtins(self._requests.close())
        return msgspec.structs.replace(read_as, facts={"requests": facts})


class FileUpload(PassThrough):
    """The shape.

    Args:
        endpoints: The operations whose requests may stand in a file with the purpose "batch".
        unnamed: See `providers.stored.jsonl.Requests`.
    """

    name = "files"

    def __init__(self, endpoints: Mapping[str, Endpoint], unnamed: Mapping[str, str] = NONE) -> None:
        self._endpoints = endpoints
        self._unnamed = unnamed

    def arrival(self, asked: Asked) -> FileArrival:
        """See the interface."""
        return FileArrival(asked, self._endpoints, self._unnamed)

    def line(self, number: int, text: bytes, asked: Asked = NOTHING_ELSE) -> Line:
        """What a line says that was too long to be read in passing. Raises BadRequest."""
        return Requests(self._endpoints, self._unnamed, sound=asked.sound).read(number, text)

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request that is here already. Raises BadRequest."""
        reader = self.arrival(asked)
        reader.feed(body)
        for number, text in reader.long_lines(whole=True):
            reader.line(number, self.line(number, text, asked))
        call = reader.call(len(body), whole=True)
        assert call is not None  # noqa: S101 - promised where the body is whole
        return call

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter that reads nothing."""
        return FreeMeter()
