"""OpenAI's chat completions, and the legacy completions: the wire shape that most vendors speak.

Promises: a streamed request asks for usage, and the client never sees the event that this causes; all other bytes stay
as they are, in both directions. Source: providers.md §3 and P1, openai 3.54's types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.bounding.measures import MEASURES
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Filter, Meter
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.quirks import PLAIN, Quirks
from providers.openai import fields, parts
from providers.openai.chat_answer import ALWAYS, CITED, JsonMeter, StreamMeter
from providers.openai.hosted import passes
from providers.openai.input import Content
from providers.openai.splice import RunningUsageFilter, UsageFilter, asks_usage, spliced
from providers.reading.inside import Inside
from providers.reading.json_text import NULL, UNREADABLE, given, is_list, is_string
from providers.reading.request import (
    Head,
    count_field,
    flag_field,
    present,
    read_object,
    said_bytes,
    text_field,
    with_count,
)

_CHAT_OWN = words(
    "model messages max_completion_tokens max_tokens n stream stream_options service_tier tools functions "
    "response_format web_search_options search_parameters enable_search plugins documents prediction "
    "enable_thinking thinking_budget moderation guardrails vl_high_resolution_images"
)
_COMPLETIONS_OWN = words(
    "model prompt suffix max_tokens max_completion_tokens n best_of stream stream_options service_tier"
)
# Members that make the provider read or write what no limit shows; the names are OpenAI's and other vendors'. Of a
# prediction the rejected tokens are billed as output, beside the answer.
_CHAT_UNBOUNDED = (
    *("prediction", "web_search_options", "search_parameters", "enable_search", "plugins", "documents"),
    "vl_high_resolution_images",
)
# Searches have a price each, and the tokens of a prediction that are rejected that of output.
_CHAT_ENDLESS = ("web_search_options", "search_parameters", "enable_search", "plugins", "prediction")
_CHAT_THINKING = ("enable_thinking", "thinking_budget")  # Qwen
_CHAT_SEARCHES = ("web_search_options", "search_parameters", "enable_search")
_SEARCH_MODELS = re.compile(r"-search(-preview|-api)")  # these search on every call
_CHOICES_MAX = 128
_PROMPTS_MAX = 100_000
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


class Chat:
    """Chat or legacy completions: the same answers, other requests."""

    def __init__(
        self,
        name: str,
        limits: tuple[str, ...],
        read: Callable[[bytes, Head, Quirks, bool], Call],
        own: frozenset[str],
        quirks: Quirks = PLAIN,
    ) -> None:
        self.name = name
        self._limits = tuple(sorted(limits, key=lambda name: name != quirks.limit))  # that one first
        self._read = read
        self._own = own | quirks.refuses.keys() | quirks.takes.keys() | set(quirks.hides)
        self._quirks = quirks
        self._takes = {name: Inside(text) for name, text in quirks.takes.items()}

    def of(self, quirks: Quirks) -> Chat:
        """The same as a vendor with these quirks speaks it."""
        return self if quirks == PLAIN else Chat(self.name, self._limits, self._read, self._own, quirks)

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, self._own)
        for name, reason in self._quirks.refuses.items():
            if present(head, name):
                raise BadRequest(reason, param=name, code="unbounded_cost")
        call = self._read(body, head, self._quirks, asked.sound)
        for name, table in self._takes.items():
            if name in head and (place := table.find(head.pop(name), [])):
                raise BadRequest(f"{name + place!r} is not offered here.", param=name + place)
        if asked.sound and not call.unlisted and (unlisted := parts.CHAT.look(head)):
            return msgspec.structs.replace(call, unlisted=unlisted)
        return call

    def prepare(self, body: bytes, call: Call) -> bytes:
        """The same bytes, with `stream_options.include_usage` true where the call needs it."""
        return spliced(body) if call.splice else body

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, the output limit."""
        return with_count(body, self._limits, output_tokens)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return StreamMeter(call, self._quirks) if streamed else JsonMeter(call, self._quirks)

    def filter(self, call: Call) -> Filter | None:
        """Takes out the usage event, where we asked for it and the client did not."""
        if not call.splice:
            return None
        return RunningUsageFilter() if self._quirks.running else UsageFilter()


def _read_chat(body: bytes, head: Head, quirks: Quirks, sound: bool) -> Call:
    model = text_field(head, "model", required=True)
    messages = head.get("messages")
    if messages is None or not is_list(messages):
        raise BadRequest("'messages' must be a list.", param="messages")
    extent = Extent(MEASURES[quirks.measure].margin_percent)
    content = Content(extent, model, quirks)
    content.messages(messages)
    if sound:
        content.unseen(searches_files=quirks.searches_files)
    if quirks.undivided and re.match(quirks.undivided, model):
        extent.unpriced = "model"
    if "tools" in head or "functions" in head:
        content.tools(head, "tools", calls=quirks.calls)
        content.tools(head, "functions")
    if "response_format" in head:
        extent.tools(head["response_format"], 0)
    searches = ""
    if _SEARCH_MODELS.search(model):
        searches = ALWAYS
        extent.runs("web_search", 1, "model")
    for name in _CHAT_UNBOUNDED:
        if name in head and present(head, name):
            extent.unknown(name, endless=name in _CHAT_ENDLESS)
            if name in _CHAT_SEARCHES and not searches:
                searches = CITED
                extent.runs("web_search", 1, name)
            elif name == "plugins":
                extent.unpriced = extent.unpriced or name
    for name in _CHAT_THINKING:
        if name in head and present(head, name):
            extent.unknown(name, endless=True)  # beside the limit of the answer, not within it
    declared = count_field(head, "max_completion_tokens", least=0)
    legacy = count_field(head, "max_tokens", least=0)
    field = "max_tokens" if declared is None and legacy is not None else "max_completion_tokens"
    if declared is None and legacy is None:
        field = quirks.limit or field
    choices = count_field(head, "n", least=1, most=_CHOICES_MAX) or 1
    return _call(body, head, model, extent, _larger(declared, legacy), field, choices, quirks, (searches,))


def _read_completions(body: bytes, head: Head, quirks: Quirks, sound: bool) -> Call:
    model = text_field(head, "model", required=True)
    extent = Extent()
    prompts = 1
    prompt = head.get("prompt")
    if prompt is not None:
        extent.content(prompt)
        if is_string(prompt):
            extent.text(prompt)
        elif is_list(prompt):
            prompts = _prompts(prompt)
            extent.text(prompt)
        elif given(prompt):
            raise BadRequest("'prompt' must be a string or a list.", param="prompt")
    if "suffix" in head:
        extent.content(head["suffix"])
    declared = _larger(count_field(head, "max_tokens", least=0), count_field(head, "max_completion_tokens", least=0))
    # Every prompt is answered `best_of` times, of which `n` are shown: all are billed.
    answers = max(
        count_field(head, "n", least=1, most=_CHOICES_MAX) or 1,
        count_field(head, "best_of", least=0, most=_CHOICES_MAX) or 1,
    )
    return _call(body, head, model, extent, declared, "max_tokens", answers * prompts, quirks)


def _prompts(json_text: msgspec.Raw) -> int:
    """How many prompts a list is: one of tokens, or as many as it has strings or lists."""
    try:
        prompts = _LIST.decode(json_text)
    except UNREADABLE:
        raise BadRequest("'prompt' cannot be read.", param="prompt") from None
    if len(prompts) > _PROMPTS_MAX:
        raise BadRequest(f"'prompt' holds more than {_PROMPTS_MAX} elements.", param="prompt")
    return sum(is_string(prompt) or is_list(prompt) for prompt in prompts) or 1


def _larger(one: int | None, other: int | None) -> int | None:
    """Of two declared limits the larger: which of them a vendor obeys is not known."""
    return other if one is None else one if other is None else max(one, other)


def _call(
    body: bytes,
    head: Head,
    model: str,
    extent: Extent,
    limit: int | None,
    field: str,
    choices: int,
    quirks: Quirks,
    noted: tuple[str, ...] = (),
) -> Call:
    stream = flag_field(head, "stream")
    if limit == 0:
        limit = None  # some vendors take it for no limit
        extent.unknown(field, endless=True)
    limits = ("max_tokens", "max_completion_tokens")  # no input: the same request with another limit reads the same
    typical, upper, bound = extent.usages(len(body) - said_bytes(body, head, limits))
    return Call(
        model=model,
        stream=stream,
        input_typical=typical,
        input_upper=upper,
        input_bound=bound,
        output_tokens_max=limit,
        output_field=field,
        choices=choices,
        service_tier=_tier(head, quirks) if "service_tier" in head else "",
        unbounded=extent.unbounded,
        endless=extent.endless or passes(head),
        unpriced=extent.unpriced,
        unlisted=(fields.CHAT if "messages" in head else fields.COMPLETIONS).unlisted(
            [name for name in head if name not in quirks.takes] if quirks.takes else head
        ),
        models=extent.models,
        beside=extent.beside,
        reasons=bool(quirks.hides) and _thinks(head, model, quirks.hides),
        noted=noted,
        splice=stream and not asks_usage(head.get("stream_options", NULL)) and quirks.splice,
    )


def _tier(head: Head, quirks: Quirks) -> str:
    tier = text_field(head, "service_tier")
    return tier if quirks.tiers is None or tier in quirks.tiers else ""


def _thinks(head: Head, model: str, hides: tuple[str, ...]) -> bool:
    """Whether a model thinks that shows nothing of it."""
    asked = (bytes(head[name]) for name in hides if present(head, name))
    return "reasoning" in model or any(b'"none"' not in text and b'"disabled"' not in text for text in asked)


OPENAI_CHAT = Chat("openai_chat", ("max_completion_tokens", "max_tokens"), _read_chat, _CHAT_OWN)
OPENAI_COMPLETIONS = Chat(
    "openai_completions", ("max_tokens", "max_completion_tokens"), _read_completions, _COMPLETIONS_OWN
)
