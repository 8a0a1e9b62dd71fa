"""What a Responses answer says of its usage, in one body or in a stream, and which of the provider's tools it ran."""

from __future__ import annotations

import math
import re

import msgspec

from providers.contract.flags import MALFORMED, OVERSIZE, Flags
from providers.contract.shapes import Call, Reading
from providers.ground.names import words
from providers.ground.quirks import PLAIN, Quirks
from providers.ground.tiers import asked_tier, term
from providers.ground.usage import Usage
from providers.openai.hosted import IMAGE_MODEL, sessions
from providers.openai.usage import responses_usage
from providers.reading.answer import (
    BodyMeter,
    TextEventMeter,
    count,
    later,
    read_usage,
    string_member,
    tail_usage,
    visible,
)
from providers.reading.json_text import NULL, UNREADABLE, Object, given, is_string

# Output items that are calls of tools with a price of their own, by the name under which they are priced.
_TOOL_ITEMS = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
}
_CONTAINERS_MAX = 1_000
# What is counted in an answer too large to keep.
_MARKS = re.compile(rb'"(?:type|container_id)"\s*:\s*"([a-z_]{1,40}_call|cntr_[A-Za-z0-9_-]{1,120})"')
_TEXT = msgspec.json.Decoder(str)


class _Action(msgspec.Struct, gc=False):
    type: str | None = None
    container_id: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    container_id: str | None = None
    environment: _Action | None = None


class _Response(msgspec.Struct, gc=False):
    """An answer, without its content."""

    model: str | None = None
    service_tier: str | None = None
    status: str | None = None
    usage: msgspec.Raw = NULL
    tool_usage: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    created_at: float = 0
    completed_at: float | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: msgspec.Raw = NULL
    item: _Item | None = None
    response: msgspec.Raw = NULL


_RESPONSE = msgspec.json.Decoder(_Response)
_EVENT = msgspec.json.Decoder(_Event)
_ITEMS = msgspec.json.Decoder(list[_Item])
_ENDS = words("response.completed response.incomplete response.failed response.cancelled")


class _Ran:
    """The tools that were seen to run: calls by the name that they are priced under, and containers."""

    __slots__ = ("calls", "containers")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.containers: set[str] = set()

    def add(self, items: list[_Item]) -> None:
        """Count what stands in a list of output."""
        for item in items:
            where = item.container_id or (item.environment.container_id if item.environment else None)
            self.call(item.type or "", 1)
            if where is not None and len(self.containers) < _CONTAINERS_MAX:
                self.containers.add(where)

    def call(self, kind: str, times: int) -> None:
        """Count items of a kind."""
        if (name := _TOOL_ITEMS.get(kind)) is not None:
            self.calls[name] = self.calls.get(name, 0) + times

    def priced(self, quirks: Quirks, memory: int, seconds: int) -> dict[str, int]:
        """What is charged for by the run. Of OpenAI's containers it is their size and time, and not what runs there."""
        calls = dict(self.calls)
        if not quirks.server_tools and self.containers:
            calls["code_interpreter"] = sessions(sorted(self.containers), seconds, memory)
        return {name: number for name, number in sorted(calls.items()) if number}


def _answer_usage(answer: _Response, ran: _Ran, call: Call, tier: str, flags: Flags, quirks: Quirks) -> Usage | None:
    """Usage of an answer; `ran` are the tools seen besides those in its own list of output."""
    counted = read_usage(answer.usage, flags)
    if counted is None:
        return None
    if given(answer.output):
        listed = _Ran()
        try:
            listed.add(_ITEMS.decode(answer.output))
        except UNREADABLE:
            flags.add(MALFORMED)
        for name, number in listed.calls.items():
            ran.calls[name] = max(ran.calls.get(name, 0), number)
        ran.containers |= listed.containers
    took_s = math.ceil(answer.completed_at - answer.created_at) if answer.completed_at and answer.created_at else 0
    return _with_tools(counted, read_usage(answer.tool_usage, flags), ran, took_s, call, flags,
                       term(answer.service_tier) if answer.service_tier else tier, quirks)  # fmt: skip


def _with_tools(
    counted: Object, stated: Object | None, ran: _Ran, took_s: int, call: Call, flags: Flags, tier: str, quirks: Quirks
) -> Usage | None:
    """The usage, with what the tools have come to beside it."""
    called = ran.priced(quirks, _memory(call), took_s)
    searches = count(stated or {}, flags, "web_search", "num_requests")
    if searches is not None:  # one search call can open several pages, and only some are charged: what is stated holds
        called.pop("web_search", None)
        if searches:
            called["web_search"] = searches
    pictures = called.pop("image_generation", 0)
    usage = responses_usage(counted, flags, tier=tier, tools=called, quirks=quirks)
    drawn = _drawn(call, read_usage(_json_text(stated, "image_gen"), flags), pictures, flags)
    if usage is None or drawn is None:
        if usage is not None and pictures:
            usage = msgspec.structs.replace(usage, tools=usage.tools | {"image_generation": pictures})
        return usage
    return msgspec.structs.replace(usage, beside={_painter(call): drawn})


def _json_text(stated: Object | None, name: str) -> msgspec.Raw:
    found = (stated or {}).get(name)
    return NULL if found is None else msgspec.Raw(msgspec.json.encode(found))


def _memory(call: Call) -> int:
    return int(call.noted[1]) if len(call.noted) > 1 else 1


def _painter(call: Call) -> str:
    return (call.noted[0] if call.noted else "") or IMAGE_MODEL


def _drawn(call: Call, stated: Object | None, pictures: int, flags: Flags) -> Usage | None:
    """What a model that draws has used; by the dearest that the request allows, where it is not stated."""
    if not pictures and not (stated and count(stated, flags, "output_tokens")):
        return None
    used = responses_usage(stated, flags) if stated is not None else None
    if used is not None and used.output_tokens:
        image = count(stated or {}, flags, "input_tokens_details", "image_tokens") or 0
        text = count(stated or {}, flags, "output_tokens_details", "text_tokens") or 0
        return msgspec.structs.replace(
            used,
            input_image_tokens=min(image, used.input_tokens),
            output_image_tokens=max(used.output_tokens - text, 0),
        )
    held = call.beside.get(_painter(call))
    if held is None:
        return None
    tokens = held[0].output_tokens * pictures
    return Usage(output_tokens=tokens, output_image_tokens=tokens)


class StreamMeter(TextEventMeter):
    """Reads a streamed answer."""

    __slots__ = ("_call", "_quirks", "_ran", "_tier")

    def __init__(self, call: Call, quirks: Quirks = PLAIN) -> None:
        super().__init__()
        self._call = call
        self._quirks = quirks
        self._ran = _Ran()
        self._tier = asked_tier(call.service_tier)

    def finish(self) -> Reading:
        """See the interface."""
        self.feed(b"", last=True)
        return Reading(
            usage=self._usage,
            complete=self._complete,
            model=self._model,
            output_tokens_seen=self._seen.tokens(),
            flags=tuple(sorted(self._flags)),
            error=self._error,
            tools=self._ran.priced(self._quirks, _memory(self._call), 0),
        )

    def _said(self, data: bytes) -> None:
        read = _EVENT.decode(data)
        kind = read.type
        if given(read.delta) and kind.endswith(".delta"):
            self._delta(kind, read.delta)
        elif kind == "response.output_item.done" and read.item is not None:
            self._ran.add([read.item])
        elif kind == "error":
            self._error = True
        elif given(read.response):
            self._response(kind, read.response)

    def _delta(self, kind: str, json_text: msgspec.Raw) -> None:
        if kind == "response.audio.delta" or not is_string(json_text):
            self._seen.piece()
            return
        try:
            self._seen.add(_TEXT.decode(json_text))
        except UNREADABLE:
            self._seen.piece()

    def _response(self, kind: str, json_text: msgspec.Raw) -> None:
        try:
            answer = _RESPONSE.decode(json_text)
        except UNREADABLE:
            self._flags.add(MALFORMED)
            return
        self._model = answer.model or self._model
        if kind not in _ENDS:
            return
        self._complete = True
        self._error = self._error or kind == "response.failed"
        usage = _answer_usage(answer, self._ran, self._call, self._tier, self._flags, self._quirks)
        if usage is not None:
            self._usage = later(self._usage, usage, self._flags)


class JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ("_call", "_quirks", "_tier")

    def __init__(self, call: Call, quirks: Quirks = PLAIN) -> None:
        super().__init__(_MARKS)
        self._call = call
        self._quirks = quirks
        self._tier = asked_tier(call.service_tier)

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None:
            tail = self._body.tail()
            counted: Object | None = tail_usage(tail)
            tier = term(string_member("service_tier", tail, self._body.head())) or self._tier
            ran = _Ran()
            for mark, times in self._body.marked().items():
                said = mark.decode("ascii", "replace")
                ran.call(said, times)
                if said.startswith("cntr_"):
                    ran.containers.add(said)
            stated = tail_usage(tail, "tool_usage")
            usage = None
            if counted is not None:
                usage = _with_tools(counted, stated, ran, 0, self._call, flags, tier, self._quirks)
            return Reading(
                usage=usage,
                complete=tail.endswith(b"}"),
                model=string_member("model", self._body.head(), tail),
                output_tokens_seen=self._body.output_tokens(),
                flags=tuple(sorted(flags | {OVERSIZE})),
            )
        try:
            answer = _RESPONSE.decode(whole)
        except UNREADABLE:
            return Reading(
                model=string_member("model", whole),
                output_tokens_seen=self._body.output_tokens(),
                flags=(MALFORMED,),
            )
        usage = _answer_usage(answer, _Ran(), self._call, self._tier, flags, self._quirks)
        return Reading(
            usage=usage,
            complete=True,
            model=answer.model or "",
            output_tokens_seen=0 if usage is not None else visible(answer.output),
            flags=tuple(sorted(flags)),
            error=answer.status == "failed" or (given(answer.error) and answer.status is None),
        )
