"""What a chat or legacy completion answers, streamed or whole, and what it says of usage.

Promises: the meters of the shape, as their interface says. Knows nothing of requests.
Source: providers.md §3 and P1, openai 3.54's types.
"""

from __future__ import annotations

import re

import msgspec

from providers.contract.flags import MALFORMED, Flags
from providers.contract.shapes import Call, Reading
from providers.ground.quirks import PLAIN, Quirks
from providers.ground.tiers import asked_tier, term
from providers.ground.usage import Usage
from providers.openai.usage import chat_usage, usual_usage
from providers.reading.answer import (
    LOOSE_BYTES_MAX,
    BodyMeter,
    Seen,
    TextEventMeter,
    later,
    read_usage,
    string_member,
    strings,
    tail_usage,
    visible,
)
from providers.reading.json_text import NULL, UNREADABLE, Object, given


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None
    custom: _Function | None = None


class _Audio(msgspec.Struct, gc=False):
    data: msgspec.Raw = NULL
    transcript: str | None = None


ALWAYS, CITED = "searches", "cites"
"""What a call notes of its searches: the model searches on every call; or whenever its answer cites a source."""


class _Message(msgspec.Struct, gc=False):
    """A message, or the part of one that a chunk adds. Reasoning has two names among vendors."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    audio: _Audio | None = None
    annotations: msgspec.Raw = NULL


class _Choice(msgspec.Struct, gc=False):
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = NULL


class _Answer(msgspec.Struct, gc=False):
    """A whole answer, or one chunk of it."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw = NULL
    model: str | None = None
    service_tier: str | None = None
    error: msgspec.Raw = NULL


class _Summary(msgspec.Struct, gc=False):
    """A whole answer without its content."""

    choices: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    model: str | None = None
    service_tier: str | None = None
    error: msgspec.Raw = NULL


# What is counted in an answer too large to keep: the names of functions, and sources that are cited.
_MARKS = re.compile(rb'"(?:name|type)"\s*:\s*"(\$[a-z_]{1,40}|url_citation)"')
_ANSWER = msgspec.json.Decoder(_Answer)
_SUMMARY = msgspec.json.Decoder(_Summary)
_CHOICES = msgspec.json.Decoder(list[_Choice])
_LOOSE: msgspec.json.Decoder[Object] = msgspec.json.Decoder(Object)


def _see(seen: Seen, choices: list[_Choice]) -> None:
    """Count the visible text of choices."""
    for choice in choices:
        if choice.text:
            seen.add(choice.text)
        message = choice.delta or choice.message
        if message is None:
            continue
        if message.content:
            seen.add(message.content)
        for text in (message.reasoning_content or message.reasoning, message.refusal):
            if text:
                seen.add(text)
        if message.tool_calls:
            for tool in message.tool_calls:
                _see_function(seen, tool.function or tool.custom)
        if message.function_call is not None:
            _see_function(seen, message.function_call)
        if message.audio is not None:
            if message.audio.transcript:
                seen.add(message.audio.transcript)
            elif given(message.audio.data):
                seen.piece()


def _add_calls(calls: dict[str, int], choices: list[_Choice], quirks: Quirks) -> None:
    """Count the calls that have a price. A function's name stands in the first piece of its call only."""
    for choice in choices:
        message = choice.delta or choice.message
        for tool in (message.tool_calls if message is not None else None) or ():
            name = quirks.calls.get((tool.function.name if tool.function else None) or "")
            if name:
                calls[name] = calls.get(name, 0) + 1


def _see_function(seen: Seen, function: _Function | None) -> None:
    if function is not None:
        seen.add("".join((function.name or "", function.arguments or "", function.input or "")))


def _cites(choices: list[_Choice]) -> bool:
    """Whether an answer names a source that it has searched."""
    messages = (choice.message or choice.delta for choice in choices)
    return any(message is not None and b"url_citation" in bytes(message.annotations) for message in messages)


def _heard(call: Call, quirks: Quirks) -> int:
    """Tokens of sound in the request, where the vendor's usage does not tell them."""
    return call.input_upper.input_audio_tokens if quirks.undivided else 0


def _without_content(data: bytes) -> _Answer:
    summary = _SUMMARY.decode(data)
    return _Answer(usage=summary.usage, model=summary.model, service_tier=summary.service_tier, error=summary.error)


class StreamMeter(TextEventMeter):
    """Reads a streamed answer."""

    __slots__ = ("_calls", "_final", "_heard", "_quirks", "_searches", "_tier")

    def __init__(self, call: Call, quirks: Quirks = PLAIN) -> None:
        super().__init__()
        self._quirks = quirks
        self._heard = _heard(call, quirks)
        self._searches = call.noted[0] if call.noted else ""
        self._calls: dict[str, int] = {"web_search": 1} if self._searches == ALWAYS else {}
        self._final = False
        self._tier = asked_tier(call.service_tier) if call.service_tier else ""

    def finish(self) -> Reading:
        """See the interface."""
        self.feed(b"", last=True)
        usage = self._usage
        if usage is not None and (usage.service_tier != self._tier or self._calls):
            usage = msgspec.structs.replace(usage, service_tier=self._tier, tools=usage.tools | self._calls)
        return Reading(
            usage=usage,
            complete=self._complete,
            model=self._model,
            output_tokens_seen=self._seen.tokens(),
            flags=tuple(sorted(self._flags)),
            error=self._error,
            partial=usage is not None and not (self._final or self._complete),
            running=True,
            tools=self._calls if self._searches != ALWAYS or self._seen.so_far() else {},
        )

    def _done(self) -> None:
        self._complete = True

    def _said(self, data: bytes) -> None:
        # Of an event this large the text is not worth its memory, the usage is.
        chunk = _ANSWER.decode(data) if len(data) <= LOOSE_BYTES_MAX else _without_content(data)
        if chunk.choices:
            self._look(chunk.choices)
        if chunk.model:
            self._model = chunk.model
        if chunk.service_tier:
            self._tier = term(chunk.service_tier)
        if given(chunk.error):
            self._error = True
        if given(chunk.usage):
            self._count(read_usage(chunk.usage, self._flags), chunk.choices)
        elif chunk.choices:
            for choice in chunk.choices:
                if given(choice.usage):  # Kimi
                    self._count(read_usage(choice.usage, self._flags), chunk.choices)

    def _look(self, choices: list[_Choice]) -> None:
        if self._quirks.calls:
            _add_calls(self._calls, choices, self._quirks)
        if self._searches == CITED and _cites(choices):
            self._calls["web_search"] = 1
        if choices[0].message is not None and choices[0].delta is None and self._seen.so_far():
            return  # MiniMax ends a stream with the whole answer, which has been seen in pieces
        _see(self._seen, choices)

    def _count(self, usage: Object | None, choices: list[_Choice] | None) -> None:
        if usage is None:
            return
        if isinstance(tier := usage.get("service_tier"), str):  # Mistral
            self._tier = term(tier)
        counted = chat_usage(usage, self._flags, tier=self._tier, quirks=self._quirks, heard=self._heard)
        if counted is not None:
            self._usage = later(self._usage, counted, self._flags)
            # Some vendors count along with every chunk: only the last count is the count.
            self._final = not choices or any(choice.finish_reason for choice in choices)

    def _misread(self, data: bytes, *, whole: bool) -> None:
        """A chunk that is not as OpenAI writes it: everything in it that is a string is taken as visible."""
        if not whole:
            return
        try:
            chunk = _LOOSE.decode(data) if len(data) <= LOOSE_BYTES_MAX else {}
        except UNREADABLE:
            self._flags.add(MALFORMED)
            self._seen.piece()
            return
        for text in strings(chunk.get("choices")):
            self._seen.add(text)
        if chunk.get("error") is not None:
            self._error = True
        if isinstance(model := chunk.get("model"), str):
            self._model = model
        if isinstance(tier := chunk.get("service_tier"), str):
            self._tier = term(tier)
        if isinstance(usage := chunk.get("usage"), dict):
            self._count(usage, None)


class JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ("_heard", "_quirks", "_searches", "_tier")

    def __init__(self, call: Call, quirks: Quirks = PLAIN) -> None:
        self._searches = call.noted[0] if call.noted else ""
        super().__init__(_MARKS if quirks.calls or self._searches else None)
        self._quirks = quirks
        self._heard = _heard(call, quirks)
        self._tier = asked_tier(call.service_tier) if call.service_tier else ""

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None:
            return self._from_ends(flags)
        try:
            answer = _SUMMARY.decode(whole)
        except UNREADABLE:
            flags.add(MALFORMED)
            found = tail_usage(self._body.tail())
            return Reading(
                usage=self._usage(found, flags, self._tier) if found else None,
                model=string_member("model", whole),
                output_tokens_seen=self._body.output_tokens(),
                flags=tuple(sorted(flags)),
                partial=found is not None,
            )
        tier = term(answer.service_tier) if answer.service_tier else self._tier
        if not (self._searches or self._quirks.calls or self._heard) and (
            usage := usual_usage(answer.usage, tier, self._quirks)
        ):
            return Reading(usage=usage, complete=True, model=answer.model or "", error=given(answer.error))
        counted = read_usage(answer.usage, flags)
        if counted is None and given(answer.choices):
            counted = self._in_choices(answer.choices, flags)
        calls: dict[str, int] = {"web_search": 1} if self._searches == ALWAYS else {}
        if (self._quirks.calls or self._searches == CITED) and given(answer.choices):
            try:
                choices = _CHOICES.decode(answer.choices)
            except UNREADABLE:
                flags.add(MALFORMED)
            else:
                _add_calls(calls, choices, self._quirks)
                if self._searches == CITED and _cites(choices):
                    calls["web_search"] = 1
        usage = self._usage(counted, flags, tier, calls) if counted is not None else None
        return Reading(
            usage=usage,
            complete=True,
            model=answer.model or "",
            output_tokens_seen=0 if usage is not None else visible(answer.choices),
            flags=tuple(sorted(flags)),
            error=given(answer.error),
        )

    def _usage(self, counted: Object, flags: Flags, tier: str, calls: dict[str, int] | None = None) -> Usage | None:
        if isinstance(stated := counted.get("service_tier"), str):  # Mistral
            tier = term(stated)
        return chat_usage(counted, flags, tier=tier, quirks=self._quirks, calls=calls, heard=self._heard)

    @staticmethod
    def _in_choices(json_text: msgspec.Raw, flags: Flags) -> Object | None:
        """The usage of an answer that states it in its first choice, as Kimi's chunks do."""
        if b'"usage"' not in bytes(json_text):
            return None
        try:
            choices = _CHOICES.decode(json_text)
        except UNREADABLE:
            return None
        return read_usage(choices[0].usage, flags) if choices else None

    def _from_ends(self, flags: Flags) -> Reading:
        calls: dict[str, int] = {"web_search": 1} if self._searches == ALWAYS else {}
        for said, times in self._body.marked().items():
            if said == b"url_citation":
                calls["web_search"] = 1
            elif name := self._quirks.calls.get(said.decode("utf-8", "replace")):
                calls[name] = calls.get(name, 0) + times
        tail = self._body.tail()
        counted = tail_usage(tail)
        tier = string_member("service_tier", tail, self._body.head())
        return Reading(
            usage=self._usage(counted, flags, term(tier) or self._tier, calls) if counted is not None else None,
            complete=tail.endswith(b"}"),
            model=string_member("model", self._body.head(), tail),
            output_tokens_seen=self._body.output_tokens(),
            flags=tuple(sorted(flags)),
        )
