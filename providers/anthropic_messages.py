"""Anthropic's messages, and every vendor that speaks them.

Promises: input includes what was read from and written to caches, which Anthropic counts beside it; counts of a stream
are cumulative and replace one another member by member. Source: providers.md §3 and P2, anthropic 2.12's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from providers.answer import (
    CONTRADICTORY,
    DECREASED,
    INCOMPLETE,
    MALFORMED,
    OTHER_MODEL,
    OVERSIZE,
    UNREADABLE,
    BodyMeter,
    Flags,
    Object,
    Seen,
    count,
    part,
    read_usage,
    string_member,
    tail_usage,
    term,
    visible,
)
from providers.anthropic_input import Content
from providers.bounds import Extent
from providers.raw import NULL, given, is_list
from providers.request import count_field, flag_field, present, read_object, said_bytes, text_field, with_count
from providers.shapes import NO_HEADERS, NOTHING_ELSE, Asked, BadRequest, Call, Filter, Meter, Reading
from providers.sse import Event, Scanner
from providers.text import words
from providers.usage import Usage

_OWN = words(
    "model messages system max_tokens stream tools service_tier speed inference_geo cache_control mcp_servers "
    "container context_management compaction fallbacks fallback_credit_token billing_policy thread thinking "
    "output_config"
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
_LIMIT = "max_tokens"
# Claude's newer vocabularies are not public; they make up to 1.35 times o200k's number of tokens.
_MARGIN_PERCENT = 135
# Caching has to be asked for; the name may be spelt with escapes, so any escaped ASCII letter counts as asking.
_ESCAPED = re.compile(rb"\\u00[4-7]")


class _Messages:
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
            reasons="thinking" in head and _thinks(head["thinking"]),
            cache_writes=_caches(body),
        )

    def prepare(self, body: bytes, call: Call) -> bytes:
        """The same bytes: usage comes unasked."""
        return body

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, the output limit."""
        return with_count(body, (_LIMIT,), output_tokens)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _StreamMeter(call) if streamed else _JsonMeter(call)

    def filter(self, call: Call) -> Filter | None:
        """Nothing was spliced."""
        return None


class _Thinking(msgspec.Struct):
    type: str = ""


def _thinks(raw: msgspec.Raw) -> bool:
    """Whether thinking is asked for: what is shown of it is a summary, and what is billed is all of it."""
    if not given(raw):
        return False
    try:
        return msgspec.json.decode(raw, type=_Thinking).type != "disabled"
    except UNREADABLE:
        return True


def _caches(body: bytes) -> bool:
    """Whether the request may ask for cache writes."""
    return b"cache_control" in body or (b"\\u00" in body and _ESCAPED.search(body) is not None)


_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def messages_usage(usage: Object, flags: Flags, call: Call) -> Usage | None:
    """Usage from a whole usage object; None where it counts nothing at all.

    Iterations of kind `compaction` are beside the totals and are added. So are an advisor's, which is another model:
    flagged, for their price is not this one's. Everything else in `iterations` repeats the totals.
    """
    plain, created, read, out = (count(usage, flags, name) for name in _COUNTS)
    if plain is None and out is None and created is None and read is None:
        return None
    if plain is None or out is None:
        flags.add(INCOMPLETE)
    plain, created, read, out = plain or 0, created or 0, read or 0, out or 0
    short = count(usage, flags, "cache_creation", "ephemeral_5m_input_tokens") or 0
    long = count(usage, flags, "cache_creation", "ephemeral_1h_input_tokens") or 0
    if short + long > created:
        if created:
            flags.add(CONTRADICTORY)
        created = short + long
    thinking = count(usage, flags, "output_tokens_details", "thinking_tokens")
    reasoning = part(thinking, out, flags)
    iterations = usage.get("iterations")
    for iteration in iterations if isinstance(iterations, list) else ():
        if not isinstance(iteration, dict) or iteration.get("type") not in ("compaction", "advisor_message"):
            continue
        if iteration["type"] == "advisor_message":
            flags.add(OTHER_MODEL)
        more = [count(iteration, flags, name) or 0 for name in _COUNTS]
        plain, created, read, out = (mine + its for mine, its in zip((plain, created, read, out), more, strict=True))
        long += count(iteration, flags, "cache_creation", "ephemeral_1h_input_tokens") or 0
    searches = count(usage, flags, "server_tool_use", "web_search_requests")
    return Usage(
        input_tokens=plain + created + read,
        cache_read_tokens=read,
        cache_write_tokens=created,
        cache_write_1h_tokens=part(long, created, flags),
        output_tokens=out,
        reasoning_tokens=reasoning,
        tools={"web_search": searches} if searches else {},
        service_tier=term(usage.get("service_tier")),
        speed=term(usage["speed"]) if "speed" in usage else call.input_bound.speed,
        geo=term(usage["inference_geo"]) if "inference_geo" in usage else call.input_bound.geo,
    )


_INPUT_SIDE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _restates(earlier: Object, latest: Object) -> bool:
    """Whether the latest counts state the input anew, beside what caches had of it, and no less of it in all.

    Some vendors begin with all of the input as plain, and say at the end how much of it was cached.
    """
    if not all(isinstance(latest.get(name), int) for name in _INPUT_SIDE[:1]) or not any(
        isinstance(latest.get(name), int) for name in _INPUT_SIDE[1:]
    ):
        return False
    return _input(latest) >= _input(earlier)


def _input(usage: Object) -> int:
    return sum(count(usage, set(), name) or 0 for name in _INPUT_SIDE)


def _replace(earlier: Object, latest: Object, flags: Flags) -> None:
    """Put the latest cumulative counts in the place of the earlier, member by member; none may go down.

    An input that is stated anew is taken whole, as it is stated.
    """
    if _restates(earlier, latest):
        for name in (*_INPUT_SIDE, "cache_creation"):
            earlier.pop(name, None)
    for name, value in latest.items():
        before = earlier.get(name)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            _replace_counts(before, value, flags)
        elif isinstance(value, int) and isinstance(before, int) and value < before:
            flags.add(DECREASED)
        else:
            earlier[name] = value


def _replace_counts(earlier: Object, latest: Object, flags: Flags) -> None:
    """One level below `_replace`; there is no deeper one."""
    for name, value in latest.items():
        before = earlier.get(name)
        if isinstance(value, int) and isinstance(before, int) and value < before:
            flags.add(DECREASED)
        elif value is not None:
            earlier[name] = value


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


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Delta | None = None
    message: _Message | None = None
    usage: msgspec.Raw = NULL


_MESSAGE = msgspec.json.Decoder(_Message)
_EVENT = msgspec.json.Decoder(_Event)


class _StreamMeter:
    """Reads a streamed answer."""

    __slots__ = ("_call", "_complete", "_counts", "_error", "_final", "_flags", "_model", "_scanner", "_seen")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._scanner = Scanner()
        self._seen = Seen()
        self._flags: Flags = set()
        self._counts: Object | None = None
        self._final = False
        self._model = ""
        self._complete = False
        self._error = False

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        for event in self._scanner.feed(chunk):
            self._event(event)

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return max(self._seen.so_far(), (count(self._counts, set(), "output_tokens") or 0) if self._counts else 0)

    def finish(self) -> Reading:
        """See the interface."""
        rest = self._scanner.flush()
        if rest is not None:
            self._event(rest, whole=False)
        usage = None
        if self._counts is not None:
            usage = messages_usage(self._counts, self._flags, self._call)
        return Reading(
            usage=usage,
            complete=self._complete,
            model=self._model,
            output_tokens_seen=self._seen.tokens(),
            flags=tuple(sorted(self._flags)),
            error=self._error,
            partial=usage is not None and not self._final,
        )

    def _event(self, event: Event, *, whole: bool = True) -> None:
        if event.oversize:
            self._flags.add(OVERSIZE)
            return
        data = event.data()
        if not data:
            return
        try:
            read = _EVENT.decode(data)
        except UNREADABLE:
            if whole:
                self._flags.add(MALFORMED)
                self._seen.piece()
            return
        kind = read.type
        if kind == "content_block_delta":
            if read.delta is not None:
                self._seen.add(read.delta.text or read.delta.thinking or read.delta.partial_json or "")
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

    def _count(self, raw: msgspec.Raw) -> bool:
        """Take in one usage object; whether there was one."""
        counts = read_usage(raw, self._flags)
        if counts is None:
            return False
        if self._counts is None:
            self._counts = counts
        else:
            _replace(self._counts, counts, self._flags)
        return True


class _JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
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
            usage = messages_usage(counts, flags, self._call) if counts is not None else None
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
            usage=messages_usage(counts, flags, self._call) if counts is not None else None,
            complete=tail.endswith(b"}"),
            model=string_member("model", self._body.head(), tail),
            output_tokens_seen=self._body.output_tokens(),
            flags=tuple(sorted(flags)),
        )


ANTHROPIC_MESSAGES = _Messages()
