"""A file of requests, one JSON object a line, read as it passes: what all of them can cost, and what they refer to.

Promises: memory is bounded by one line and a few sums, whatever the file; what could not be held for or metered is
refused with its line's number. The lines of one file are for one operation and one model, as the providers want it and
as one event needs it. Source: OpenAI's and Mistral's batch files (providers.md P1, P11, §5.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.contract.batch_bound import BatchBound
from providers.contract.shapes import Asked, Call, Reference, Shape
from providers.ground.errors import BadRequest
from providers.reading.doubles import refuse_doubles
from providers.reading.request import with_member
from providers.stored.objects import References

LINE_BYTES_MAX = 16 << 20  # pictures in base64 included; providers take 20 MB at most
REFERENCES_MAX = 100  # distinct ones in a file: they are kept with it


class _Line(msgspec.Struct):
    body: msgspec.Raw
    custom_id: str = ""
    method: str = "POST"
    url: str = ""


class _Body(msgspec.Struct):
    model: str | None = None


_LINE = msgspec.json.Decoder(_Line)
_BODY = msgspec.json.Decoder(_Body)


class FileFacts(msgspec.Struct, kw_only=True):
    """What is kept of a file of requests.

    Attributes:
        url: The operation that all lines are for.
        model: "" where they do not say.
        refers: Objects that lines refer to: [param, kind, id].
        sound: What stands inside of its lines was held up to the tables; see `Asked`.
    """

    url: str
    model: str
    batch_bound: BatchBound = msgspec.field(name="bulk")  # by which it has been stored from the first day
    refers: list[tuple[str, str, str]] = []
    sound: bool = False


class Line(msgspec.Struct, frozen=True):
    """What one line asks for."""

    url: str
    model: str
    call: Call
    references: list[Reference]


class Endpoint(msgspec.Struct, frozen=True):
    """An operation whose requests can stand in a file."""

    shape: Shape
    references: References | None = None


class Requests:
    """Reads one file of requests.

    Args:
        endpoints: By the `url` that lines name.
        unnamed: The one that is meant where a line names none, by a member that only its requests have.
        long_bytes: Longer lines are not read: they wait in `long`, with their numbers, for somebody who gives `take`
            what `read` says of them. None for no such.
        sound: See `Asked`.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        unnamed: Mapping[str, str],
        long_bytes: int | None = None,
        *,
        sound: bool = False,
    ) -> None:
        self._asked = Asked(sound=sound)
        self.long: list[tuple[int, bytes]] = []
        self._long_bytes = long_bytes
        self._endpoints = endpoints
        self._unnamed = unnamed
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._number = 0
        self._url: str | None = None
        self._model: str | None = None
        self._bound = BatchBound(sums={})
        self._refers: dict[Reference, None] = {}

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes. Raises BadRequest."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._pieces.append(line)
            self._line(b"".join(self._pieces))
            self._pieces, self._pieces_bytes = [], 0
        if rest:
            self._pieces.append(rest)
            self._pieces_bytes += len(rest)
            if self._pieces_bytes > LINE_BYTES_MAX:
                raise _bad(self._number + 1, f"is longer than {LINE_BYTES_MAX} bytes")

    def end(self) -> None:
        """The file is whole: its last line needs no end. Raises BadRequest."""
        self._line(b"".join(self._pieces))
        self._pieces, self._pieces_bytes = [], 0

    def close(self) -> FileFacts:
        """What is to be kept of a file that has ended. Raises BadRequest."""
        self.end()
        if not self._bound.sums:
            raise BadRequest("The file holds no requests.", param="file")
        refers = [(each.param, each.kind, each.id) for each in self._refers]
        return FileFacts(
            url=self._url or "",
            model=self._model or "",
            batch_bound=self._bound,
            refers=refers,
            sound=self._asked.sound,
        )

    def _line(self, text: bytes) -> None:
        self._number += 1
        text = text.strip()
        if not text:
            return
        if self._long_bytes is not None and len(text) > self._long_bytes:
            self.long.append((self._number, text))
        else:
            self.take(self._number, self.read(self._number, text))

    def read(self, number: int, text: bytes) -> Line:
        """What a line says, whatever the others say. Raises BadRequest."""
        try:
            line = _LINE.decode(text)
            body = bytes(line.body)
            named = _BODY.decode(body)
            refuse_doubles(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _bad(number, "is no request") from None
        except BadRequest as error:
            raise _wrong(number, error) from None
        url = line.url or next((url for member, url in self._unnamed.items() if b'"%b"' % member.encode() in body), "")
        endpoint = self._endpoints.get(url)
        if endpoint is None or line.method != "POST":
            raise _bad(number, f"is for {line.method[:20]} {url[:100]!r}, which is not offered in batches here")
        model = named.model or ""
        if not model:  # it stands in the batch, then
            body = with_member(body, b'"model":"?"', empty=not body.strip(b"{} \t\r\n"))
        try:
            call = endpoint.shape.read(body, self._asked)
            references = endpoint.references.find(body) if endpoint.references is not None else []
        except BadRequest as error:
            raise _wrong(number, error) from None
        return Line(url, model, call, [*references, *call.refers])

    def take(self, number: int, line: Line) -> None:
        """Count a line in. Raises BadRequest where it does not go with the others."""
        if line.url != (self._url if self._url is not None else line.url):
            raise _bad(number, "is for another operation than the ones before")
        if line.model != (self._model if self._model is not None else line.model):
            raise _bad(number, "names another model than the ones before: one batch is for one model")
        self._url, self._model = line.url, line.model
        try:
            add(self._bound, line.call)
        except BadRequest as error:
            raise _wrong(number, error) from None
        self._refers.update(dict.fromkeys(line.references))
        if len(self._refers) > REFERENCES_MAX:
            raise _bad(number, f"is one too many: a file may refer to {REFERENCES_MAX} stored objects")


def _wrong(number: int, error: BadRequest) -> BadRequest:
    return BadRequest(f"Line {number} of the file: {error.message}", param=error.param, code=error.code)


def _bad(number: int, what: str) -> BadRequest:
    return BadRequest(f"Line {number} of the file {what}.", param="file")


def add(bound: BatchBound, call: Call) -> None:
    """Count one request that is to be answered later. Raises BadRequest where it could not be metered."""
    if call.stream:
        raise BadRequest("'stream' has no place in a batch.", param="stream")
    if call.input_bound.characters or call.input_bound.audio_ms or call.input_bound.images:
        raise BadRequest("This kind of request is not offered in batches here.", param="model")
    if call.models or call.beside:
        field = next(iter(call.models), call.unbounded)
        raise BadRequest("Further models have no place in a batch here.", param=field)
    bound.endless = bound.endless or call.endless or call.unlisted
    bound.unpriced = bound.unpriced or call.unpriced
    for tool, times in call.input_upper.tools.items():
        bound.tools[tool] = bound.tools.get(tool, 0) + times
    bound.add(
        call.input_typical,
        call.input_upper,
        call.input_bound,
        output=call.output_tokens_max if call.output_field else 0,
        answers=call.choices,
        remote=bool(call.unbounded),
    )
