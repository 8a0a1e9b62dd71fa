"""Batches: many requests handed over at once and answered within a day, at half the price.

Promises: what a batch may cost is bounded before it is made; whether it has ended, and what its answers used, is read
from the provider's own words, line by line, in bounded memory. A line that failed costs nothing. Knows nothing of
holds, clocks or sockets. Source: providers.md P1, P2, P11 and §5.1; openai 3.54 `types/batch`, anthropic 2.12
`types/messages/message_batch*`, mistralai 3.7 `batch.jobs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from providers.contract.batch_bound import BatchBound
from providers.contract.fields import Fields
from providers.contract.metering import conclude
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading, Reference, Shape
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.tiers import BATCH
from providers.ground.usage import Usage
from providers.pricing.prices import Price
from providers.reading.json_text import NULL, UNREADABLE, given
from providers.reading.request import present, read_object, text_field
from providers.stored.free import FreeMeter
from providers.stored.jsonl import Endpoint, FileFacts, add

HOUR_MS = 3_600_000
LATE_MS = 24 * HOUR_MS  # after its own end a batch may take so long to be counted; then nobody knows what it cost
REQUESTS_MAX = 100_000  # in one body: Anthropic's own bound
RESULT_BYTES_MAX = 16 << 20  # of one line

Kind = Literal["openai", "anthropic", "mistral"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of a batch.

    Attributes:
        ended: Nothing more will be done, whatever has been.
        results: Upstream path of its results; "" where there are none.
        files: Ids of the files that it has made.
    """

    id: str
    ended: bool
    results: str = ""
    files: tuple[str, ...] = ()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's way to keep batches.

    Attributes:
        kind: Tells how its objects and results are read.
        item: Upstream path of one, with `{id}`.
        endpoints: The operations whose requests it takes, by the url that it gives them.
    """

    kind: Kind
    item: str
    endpoints: Mapping[str, Endpoint]

    def progress(self, body: bytes) -> list[Progress]:
        """Read a batch object, or a list of them; none where it cannot be read."""
        try:
            found = msgspec.json.decode(body, type=_Object)
        except UNREADABLE:
            return []
        return [_PROGRESS[self.kind](each) for each in ([found] if found.id else found.data)]

    def rehosted(self, body: bytes, origin: str) -> bytes:
        """A batch object, or a list of them, that sends its reader for results where the reader's key is good."""
        if self.kind != "anthropic" or not origin:
            return body
        return _RESULTS_URL.sub(lambda found: found[1] + origin.encode(), body)


class _Object(msgspec.Struct):
    id: str = ""
    status: str = ""
    processing_status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    output_file: str | None = None
    error_file: str | None = None
    data: list[_Object] = []


_RESULTS_URL = re.compile(rb'("results_url"\s*:\s*")https?://[^/"\\]+')


def _openai(found: _Object) -> Progress:
    return Progress(
        id=found.id,
        ended=found.status in ("completed", "failed", "expired", "cancelled"),
        results=f"/v1/files/{found.output_file_id}/content" if found.output_file_id else "",
        files=tuple(filter(None, (found.output_file_id, found.error_file_id))),
    )


def _anthropic(found: _Object) -> Progress:
    ended = found.processing_status == "ended"
    return Progress(id=found.id, ended=ended, results=f"/v1/messages/batches/{found.id}/results" if ended else "")


def _mistral(found: _Object) -> Progress:
    return Progress(
        id=found.id,
        ended=found.status in ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"),
        results=f"/v1/files/{found.output_file}/content" if found.output_file else "",
        files=tuple(filter(None, (found.output_file, found.error_file))),
    )


_PROGRESS: Mapping[Kind, Callable[[_Object], Progress]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "mistral": _mistral,
}


# ---- making one


class _Creation(msgspec.Struct):
    input_file_id: str = ""
    input_files: list[str] | None = None
    endpoint: str = ""
    model: str | None = None
    timeout_hours: int | None = None


class _Inline(msgspec.Struct):
    params: msgspec.Raw


_CREATION = msgspec.json.Decoder(_Creation)
_INLINE = msgspec.json.Decoder(list[_Inline])
FIELDS: Mapping[Kind, Fields] = {
    "openai": Fields(
        bounded=words("input_file_id endpoint completion_window"), passed=words("metadata output_expires_after")
    ),
    "anthropic": Fields(bounded=words("requests"), refused=words("workspace_id user_profile_id"), passed=frozenset()),
    "mistral": Fields(
        bounded=words("input_files endpoint model timeout_hours"),
        refused=words("requests agent_id"),
        passed=words("metadata"),
    ),
}
_OWN = frozenset({"input_file_id", "input_files", "endpoint", "model", "requests", "timeout_hours", "agent_id"})
_OPERATORS = ("workspace_id", "user_profile_id")


class BatchMaking(PassThrough):
    """The shape of a request that makes a batch, out of a file or with its requests in it."""

    def __init__(self, batch: Batch) -> None:
        self.name = f"{batch.kind}_batches"
        self._batch = batch

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request. Raises BadRequest."""
        head = read_object(body, _OWN | frozenset(_OPERATORS))
        unlisted = FIELDS[self._batch.kind].unlisted(head)
        if self._batch.kind == "anthropic":
            for name in _OPERATORS:
                if present(head, name):
                    raise BadRequest(f"{name!r} is the operator's, and not offered here.", param=name)
            return self._inline(head.get("requests", NULL), unlisted, Asked(sound=asked.sound))
        try:
            creation = _CREATION.decode(body)
        except msgspec.ValidationError as error:
            raise BadRequest(f"The batch is not what it should be: {error}.") from None
        if self._batch.kind == "mistral":
            if "agent_id" in head and given(head["agent_id"]):
                raise BadRequest("Batches of agents are not offered here: name a model.", param="agent_id")
            if "requests" in head and given(head["requests"]):
                raise BadRequest("Upload the requests as a file, and name it.", param="requests")
            files, name = creation.input_files or [], "input_files"
        else:
            files, name = [creation.input_file_id] if creation.input_file_id else [], "input_file_id"
        if len(files) != 1:
            raise BadRequest(f"{name!r} must name one file.", param=name)
        found = asked.objects.get(files[0], {}).get("requests")
        if found is None:
            raise BadRequest("Upload the file with the purpose 'batch' first.", param=name)
        facts = msgspec.convert(found, FileFacts)
        if asked.sound and not facts.sound:  # uploaded when the cap had not to hold: nobody has looked inside
            unlisted = unlisted or name
        url = text_field(head, "endpoint", required=True)
        if url not in self._batch.endpoints or facts.url != url:
            raise BadRequest(f"The file's requests are for {facts.url!r}, not for {url!r}.", param="endpoint")
        model = facts.model or creation.model or ""
        if not model or (creation.model and creation.model != model):
            raise BadRequest("The batch and its requests must name one model.", param="model")
        hours = creation.timeout_hours or 24
        return self._call(
            model, facts.batch_bound, url, hours, tuple(Reference(*each) for each in facts.refers), unlisted
        )

    def _inline(self, json_text: msgspec.Raw, unlisted: str, asked: Asked) -> Call:
        try:
            requests = _INLINE.decode(json_text)
        except UNREADABLE:
            raise BadRequest("'requests' must be a list of objects with 'params'.", param="requests") from None
        if not 0 < len(requests) <= REQUESTS_MAX:
            raise BadRequest(f"'requests' must hold 1 to {REQUESTS_MAX}.", param="requests")
        ((url, endpoint),) = self._batch.endpoints.items()
        bound, models = BatchBound(sums={}, tools={}), set()
        for at, each in enumerate(requests):
            try:
                call = endpoint.shape.read(bytes(each.params), asked)
                add(bound, call)
            except BadRequest as error:
                message = f"requests[{at}].params: {error.message}"
                raise BadRequest(message, param=f"requests[{at}].params", code=error.code) from None
            models.add(call.model)
        if len(models) > 1:
            raise BadRequest("All requests of a batch must name one model here: it is one event.", param="requests")
        return self._call(models.pop(), bound, url, 24, (), unlisted)

    def _call(
        self, model: str, bound: BatchBound, url: str, hours: int, refers: tuple[Reference, ...], unlisted: str
    ) -> Call:
        facts = {"model": model, "url": url, "lines": bound.lines, "typical": bound.typical_tokens}
        return Call(
            model=model,
            service_tier=BATCH,
            batch_bound=bound,
            endless=bound.endless,
            unpriced=bound.unpriced,
            unlisted=unlisted,
            refers=refers,
            facts={"batch": facts, "hours": max(hours, 24)},
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter that sees nothing: what a batch has used is known when it has ended."""
        return _Unseen()


class _Unseen(FreeMeter):
    """Reads nothing, and does not say that nothing was used."""

    def finish(self) -> Reading:
        """See the interface."""
        return Reading()


# ---- counting one


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = NULL


class _Result(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = NULL


class _ResultLine(msgspec.Struct):
    response: _Response | None = None
    result: _Result | None = None


_RESULT = msgspec.json.Decoder(_ResultLine)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch's answers have used.

    Attributes:
        answers: How many there are that cost anything.
        estimated: Some answer did not say what it used.
    """

    usage: Usage
    cost_picos: int
    answers: int
    estimated: bool
    flags: tuple[str, ...]


class Results:
    """Adds up the results of one batch, as they come.

    Args:
        shape: Of the operation that the requests are for.
        price: Of the model; each answer is priced by itself, for a tier re-prices all tokens of one answer.
        typical_tokens: Best guess of one request's input, for an answer that does not say.
    """

    def __init__(self, shape: Shape, price: Price, typical_tokens: int) -> None:
        self._shape = shape
        self._price = price
        self._call = Call(
            input_typical=Usage(input_tokens=max(typical_tokens, 1)), output_field="output", service_tier=BATCH
        )
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._oversize = False
        self._sums: dict[str, int] = dict.fromkeys(_COUNTS, 0)
        self._tools: dict[str, int] = {}
        self._cost_picos = self._answers = 0
        self._estimated = False
        self._flags: set[str] = set()

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes. Never raises."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._keep(line)
            self._line(b"".join(self._pieces))
            self._pieces, self._pieces_bytes, self._oversize = [], 0, False
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._pieces_bytes += len(piece)
        if self._pieces_bytes <= RESULT_BYTES_MAX:
            self._pieces.append(piece)
        else:
            self._oversize = True

    def finish(self) -> Counted:
        """What has been used in all."""
        self._line(b"".join(self._pieces))
        usage = msgspec.convert(self._sums | {"tools": self._tools, "service_tier": BATCH}, Usage)
        flags = set(self._flags)
        if self._price.cost_picos(usage) != self._cost_picos:
            # Tiers are reached by single answers, so the sum of usages does not tell the sum of prices: this does.
            usage = msgspec.structs.replace(usage, provider_cost_picos=self._cost_picos)
            flags.add("priced_by_line")
        return Counted(
            usage=usage,
            cost_picos=self._cost_picos,
            answers=self._answers,
            estimated=self._estimated,
            flags=tuple(sorted(flags)),
        )

    def _line(self, text: bytes) -> None:
        if not text.strip() and not self._oversize:
            return
        body = self._answer(text)
        if body is None:
            return
        meter = self._shape.meter(self._call, streamed=False)
        meter.feed(body)
        reading = msgspec.structs.replace(meter.finish(), complete=True)  # there will never be more of it
        concluded = conclude(self._call, reading, ended="complete", http_status=200)
        usage = msgspec.structs.replace(concluded.usage, service_tier=BATCH, provider_cost_picos=None)
        self._cost_picos += self._price.cost_picos(usage)
        self._answers += 1
        self._estimated = self._estimated or concluded.status == "estimated"
        self._flags.update(concluded.flags)
        self._flags.update(f"unpriced:{unit}" for unit in self._price.unpriced(usage))
        for name in _COUNTS:
            self._sums[name] += getattr(usage, name)
        for tool, number in usage.tools.items():
            self._tools[tool] = self._tools.get(tool, 0) + number

    def _answer(self, text: bytes) -> bytes | None:
        """The answer in a line, as it would have come by itself; None for a request that failed."""
        try:
            line = _RESULT.decode(text)
        except UNREADABLE:
            self._flags.add("oversize" if self._oversize else "malformed")
            return text  # what cannot be read may have cost something
        if line.response is not None:
            return bytes(line.response.body) if 200 <= line.response.status_code < 300 else None
        if line.result is not None:
            return bytes(line.result.message) if line.result.type == "succeeded" else None
        return None


_COUNTS: Sequence[str] = tuple(field.name for field in msgspec.structs.fields(Usage) if field.type is int)


def hold_ms(facts: Mapping[str, Any]) -> int:
    """How long a batch's hold is kept for it."""
    return int(facts.get("hours", 24)) * HOUR_MS + LATE_MS
