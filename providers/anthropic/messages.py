"""Anthropic's messages, and every vendor that speaks them.

Promises: input includes what was read from and written to caches, which Anthropic counts beside it; counts of a stream
are cumulative and replace one another member by member. Source: providers.md §3 and P2, anthropic 2.12's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from providers.anthropic import fields, parts
from providers.anthropic.hosted import CODE_EXECUTION, SPANS_HELD
from providers.anthropic.input import Content
from providers.anthropic.usage import messages_usage, replace
from providers.bounding.extent import Extent
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.tiers import term
from providers.reading.answer import BodyMeter, TextEventMeter, count, read_usage, string_member, tail_usage, visible
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, UNREADABLE, Object, given, is_list
from providers.reading.request import count_field, flag_field, present, read_object, said_bytes, text_field, with_count

_OWN = words(
    "model messages system max_tokens stream tools service_tier speed inference_geo cache_control mcp_servers "
    "container context_management compaction fallbacks fallback_credit_token billing_policy thread thinking "
    "output_config workspace_id user_profile_id"
)
# Servers, stored state and further models: work that the request does not show.
_UNBOUNDED = (
    "mcp_servers",
    "container",
    "context_management",
    "compaction",
    "fallbacks",
    "fallback_credit_token",
    "billing_policy",
    "thread",
)
_ENDLESS = ("mcp_servers", "container", "fallbacks")  # tools that are run there, and another model's price
# What names, or belongs to, the operator's own account.
_OPERATORS = ("workspace_id", "user_profile_id")
_LIMIT = "max_tokens"
# Claude's newer vocabularies are not public; they make up to 1.35 times o200k's number of tokens.
_MARGIN_PERCENT = 135
# Caching has to be asked for; the name may be spelt with escapes, so any escaped ASCII letter counts as asking.
_ESCAPED = re.compile(rb"\\u00[4-7]")


class _Messages(PassThrough):
    """The shape."""

    name = "anthropic_messages"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        messages = head.get("messages")
        if messages is None or not is_list(messages):
            raise BadRequest("'messages' must be a list.", param="messages")
        # Required by the API; absent, it answers 400, so nothing is spent by letting that through.
        limit = count_field(head, _LIMIT, least=0)
        for name in _OPERATORS:
            if name in head and present(head, name):
                raise BadRequest(f"{name!r} is the operator's, and not offered here.", param=name)
        extent = Extent(_MARGIN_PERCENT)
        content = Content(extent)
        content.messages(messages)
        if "system" in head:
            content.system(head["system"])
        if "tools" in head:
            content.tools(head)
        if "output_config" in head:
            extent.tools(head["output_config"], 0)  # the answer's schema
        for name in _UNBOUNDED:
            if name in head and present(head, name):
                extent.unknown(name, endless=name in _ENDLESS)
        instead: tuple[str, ...] = ()
        if "fallbacks" in head and present(head, "fallbacks"):
            instead, limit = _fallbacks(extent, head["fallbacks"], limit)
        if "container" in head and present(head, "container"):
            extent.runs(CODE_EXECUTION, SPANS_HELD, "container")
        speed = term(text_field(head, "speed")) if "speed" in head else ""
        geo = term(text_field(head, "inference_geo")) if "inference_geo" in head else ""
        typical, upper, bound = extent.usages(len(body) - said_bytes(body, head, (_LIMIT,)), speed=speed, geo=geo)
        return Call(
            model=model,
            stream=flag_field(head, "stream"),
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            output_tokens_max=limit,
            output_field=_LIMIT,
            service_tier=text_field(head, "service_tier") if "service_tier" in head else "",
            unbounded=extent.unbounded,
            endless=extent.endless,
            unpriced=extent.unpriced or parts.BROUGHT.find(body),
            unlisted=unlisted_in(fields.MESSAGES, parts.MESSAGES, head, sound=asked.sound),
            models=extent.models,
            instead=instead,
            beside=extent.beside,
            reasons="thinking" in head and _thinks(head["thinking"]),
            cache_writes=_caches(body),
        )

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, the output limit."""
        return with_count(body, (_LIMIT,), output_tokens)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _StreamMeter(call) if streamed else _JsonMeter(call)


class _Fallback(msgspec.Struct):
    model: str
    max_tokens: int | None = None
    speed: str | None = None


def _fallbacks(extent: Extent, json_text: msgspec.Raw, limit: int | None) -> tuple[tuple[str, ...], int | None]:
    """The models that may answer instead, each by name, and the largest limit of them all.

    Raises:
        BadRequest: They are no list of models.
    """
    if not is_list(json_text):  # "default": whichever the vendor chooses, at whatever price
        extent.unpriced = extent.unpriced or "fallbacks"
        return (), limit
    try:
        found = msgspec.json.decode(json_text, type=list[_Fallback])
    except UNREADABLE:
        raise BadRequest("'fallbacks' must be a list of objects with a 'model'.", param="fallbacks") from None
    for at, each in enumerate(found):
        extent.models[f"fallbacks[{at}].model"] = each.model
        if each.speed not in (None, "standard"):
            extent.unpriced = extent.unpriced or f"fallbacks[{at}].speed"
    limits = [each.max_tokens for each in found if each.max_tokens is not None]
    return tuple(each.model for each in found), None if limit is None else max(limit, *limits, 0)


class _Thinking(msgspec.Struct):
    type: str = ""


def _thinks(json_text: msgspec.Raw) -> bool:
    """Whether thinking is asked for: what is shown of it is a summary, and what is billed is all of it."""
    if not given(json_text):
        return False
    try:
        return msgspec.json.decode(json_text, type=_Thinking).type != "disabled"
    except UNREADABLE:
        return True


def _caches(body: bytes) -> bool:
    """Whether the request may ask for cache writes."""
    return b"cache_control" in body or (b"\\u00" in body and _ESCAPED.search(body) is not None)


class _Message(msgspec.Struct, gc=False):
    """An answer, without its content."""

    type: str | None = None
    model: str | None = None
    usage: msgspec.Raw = NULL
    content: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Started(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Delta | None = None
    content_block: _Started | None = None
    message: _Message | None = None
    usage: msgspec.Raw = NULL


_BLOCKS = msgspec.json.Decoder(list[_Started])
# The provider's own calls of its tools, by name; what is counted of these in an answer too large to keep.
_EXECUTES = re.compile(r"([a-z_]*_)?code_execution")
_MARKS = re.compile(rb'"name"\s*:\s*"((?:[a-z_]{1,40}_)?code_execution)"')


def _executes(block: _Started) -> bool:
    return block.type == "server_tool_use" and _EXECUTES.fullmatch(block.name or "") is not None


_MESSAGE = msgspec.json.Decoder(_Message)
_EVENT = msgspec.json.Decoder(_Event)


class _StreamMeter(TextEventMeter):
    """Reads a streamed answer."""

    __slots__ = ("_call", "_counts", "_executed", "_final")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._executed = False
        self._counts: Object | None = None
        self._final = False

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return max(self._seen.so_far(), (count(self._counts, set(), "output_tokens") or 0) if self._counts else 0)

    def finish(self) -> Reading:
        """See the interface."""
        self.feed(b"", last=True)
        usage = None
        if self._counts is not None:
            usage = messages_usage(self._counts, self._flags, self._call, executed=self._executed)
        return Reading(
            usage=usage,
            complete=self._complete,
            model=self._model,
            output_tokens_seen=self._seen.tokens(),
            flags=tuple(sorted(self._flags)),
            error=self._error,
            partial=usage is not None and not self._final,
        )

    def _said(self, data: bytes) -> None:
        read = _EVENT.decode(data)
        kind = read.type
        if kind == "content_block_delta":
            if read.delta is not None:
                self._seen.add(read.delta.text or read.delta.thinking or read.delta.partial_json or "")
        elif kind == "content_block_start":
            self._executed = self._executed or (read.content_block is not None and _executes(read.content_block))
        elif kind == "message_start":
            if read.message is not None:
                self._model = read.message.model or self._model
                self._count(read.message.usage)
        elif kind == "message_delta":
            if self._count(read.usage):
                self._final = True
        elif kind == "message_stop":
            self._complete = True
        elif kind == "error":
            self._error = True

    def _count(self, json_text: msgspec.Raw) -> bool:
        """Take in one usage object; whether there was one."""
        counts = read_usage(json_text, self._flags)
        if counts is None:
            return False
        if self._counts is None:
            self._counts = counts
        else:
            replace(self._counts, counts, self._flags)
        return True


class _JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        super().__init__(_MARKS)
        self._call = call

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        executed = False
        if whole is not None:
            try:
                answer = _MESSAGE.decode(whole)
            except UNREADABLE:
                return Reading(
                    model=string_member("model", whole),
                    output_tokens_seen=self._body.output_tokens(),
                    flags=(MALFORMED,),
                )
            counts = read_usage(answer.usage, flags)
            if b"code_execution" in bytes(answer.content):
                try:
                    executed = any(map(_executes, _BLOCKS.decode(answer.content)))
                except UNREADABLE:
                    flags.add(MALFORMED)
            usage = messages_usage(counts, flags, self._call, executed=executed) if counts is not None else None
            return Reading(
                usage=usage,
                complete=True,
                model=answer.model or "",
                output_tokens_seen=0 if usage is not None else visible(answer.content),
                flags=tuple(sorted(flags)),
                error=answer.type == "error" or given(answer.error),
            )
        tail = self._body.tail()
        counts = tail_usage(tail)
        return Reading(
            usage=messages_usage(counts, flags, self._call, executed=bool(self._body.marked()))
            if counts is not None
            else None,
            complete=tail.endswith(b"}"),
            model=string_member("model", self._body.head(), tail),
            output_tokens_seen=self._body.output_tokens(),
            flags=tuple(sorted(flags)),
        )


ANTHROPIC_MESSAGES = _Messages()
