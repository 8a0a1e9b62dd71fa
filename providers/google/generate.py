"""Gemini's generateContent: in one JSON body, or streamed, as server-sent events with `alt=sse`, else as a JSON array.

Promises: as every shape. The model stands in the path, and nothing in the body can name another. Of the query only what
leaves the answer as it is passes: a field mask would mask the usage. Source: providers.md P3 and §5, google-genai 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.google import fields, parts
from providers.google.answer import ArrayMeter, JsonMeter, StreamMeter
from providers.google.input import Content
from providers.google.spelling import Names, camel
from providers.google.usage import service_tier
from providers.ground.errors import BadRequest
from providers.ground.tiers import asked_tier
from providers.reading.inside import unlisted_in
from providers.reading.json_text import given, is_object
from providers.reading.request import (
    Head,
    count_field,
    members,
    present,
    replaced,
    text_field,
    with_count,
    with_member,
)

_OWN = Names(
    "model contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent serviceTier "
    "continuationToken store labels"
)
_CONFIG = Names("maxOutputTokens candidateCount responseSchema responseJsonSchema responseFormat")
_LIMIT = "maxOutputTokens"
_LIMITS = (_LIMIT, "max_output_tokens")
_CONFIGS = ("generationConfig", "generation_config")
_CHOICES_MAX = 128  # the API takes 8

# What may stand in the query. `fields` would take the usage out of the answer, `alt=proto` make it unreadable here.
# Older clients of Google's say `$alt`, and have enums as numbers, which are read like their names.
_FORMS = ("sse", "json", "json;enum-encoding=int", "sse;enum-encoding=int")
_QUERY: dict[str, tuple[str, ...]] = {"alt": _FORMS, "$alt": _FORMS, "key": (), "prettyPrint": (), "$prettyPrint": ()}

# Searches that one answer may cause: the likely most, and more than any answer is known to have caused [K].
_SEARCHES_UPPER = 4
_SEARCHES_MOST = 100
_MARGIN_PERCENT = 115  # what the vocabulary makes of a text, relative to o200k (providers.md §5.2, "others")


def check_query(asked: Asked) -> None:
    """Refuse a query that could change what the answer shows.

    Raises:
        BadRequest: As said; the message names the parameter.
    """
    for name, values in asked.query.items():
        allowed = _QUERY.get(name)
        if allowed is None or (allowed and not set(values) <= set(allowed)):
            raise BadRequest(f"The query parameter {name!r} is not taken here with this value.", param=name)


def check_model(head: Head, asked: Asked) -> None:
    """Refuse a body that names another model than the path.

    Raises:
        BadRequest: As said.
    """
    named = text_field(head, "model") if "model" in head else ""
    if named and named.removeprefix("models/") != asked.params.get("model", named.removeprefix("models/")):
        raise BadRequest("'model' is not the model that the path names.", param="model")


class _GenerateContent(PassThrough):
    """The shape; `stream` says that the path asks for a stream."""

    def __init__(self, name: str, *, stream: bool) -> None:
        self.name = name
        self._stream = stream

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        check_query(asked)
        head = _OWN.read(body, whole=True)
        check_model(head, asked)
        model = asked.params.get("model", "")
        extent = Extent(_MARGIN_PERCENT)
        content = Content(extent)
        read_content(head, content)
        if "continuationToken" in head and present(head, "continuationToken"):
            extent.unknown("continuationToken")
        config, limit_bytes = _config(head)
        for name in ("responseSchema", "responseJsonSchema", "responseFormat"):
            if name in config:
                extent.tools(config[name], 0)
        typical, upper, bound = extent.usages(len(body) - limit_bytes)
        if content.tools:
            each = 1 if model.startswith(("gemini-1", "gemini-2")) else 0  # these are billed by the prompt
            typical = msgspec.structs.replace(typical, tools=dict.fromkeys(content.tools, 1))
            upper = msgspec.structs.replace(upper, tools=dict.fromkeys(content.tools, each or _SEARCHES_UPPER))
            bound = msgspec.structs.replace(bound, tools=dict.fromkeys(content.tools, each or _SEARCHES_MOST))
        return Call(
            model=model,
            stream=self._stream,
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            output_tokens_max=count_field(config, _LIMIT, least=0, loosely=True),
            output_field=f"generationConfig.{_LIMIT}",
            choices=count_field(config, "candidateCount", least=1, most=_CHOICES_MAX, loosely=True) or 1,
            service_tier=_tier(head),
            unbounded=extent.unbounded,
            endless=extent.endless,
            unpriced=extent.unpriced,
            unlisted=_unlisted(config) or unlisted_in(fields.GENERATE, parts.GENERATE, head, sound=asked.sound),
            cache_writes=False,  # implicit caching writes for nothing, and explicit caches are not offered
        )

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, `maxOutputTokens` in `generationConfig`, which is made where there is none."""
        found = members(body)
        for member in found:
            if member.name in _CONFIGS:
                config = body[member.value : member.value_end]
                if config == b"null":
                    config = b"{}"
                return replaced(body, ((member.value, member.value_end, _limited(config, output_tokens)),))
        return with_member(body, b'"%b":%b' % (_CONFIGS[0].encode(), _limited(b"{}", output_tokens)), empty=not found)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer. The tier that was served stands in a header, where the usage does not name it."""
        tier = service_tier(headers.get("x-gemini-service-tier")) or asked_tier(call.service_tier)
        if streamed:
            return StreamMeter(call, tier)
        return ArrayMeter(call, tier) if call.stream else JsonMeter(call, tier)


def read_content(head: Head, content: Content) -> None:
    """Read what a request says to the model.

    Raises:
        BadRequest: It cannot be read, or refers to what is not the caller's.
    """
    if "cachedContent" in head and present(head, "cachedContent"):
        raise BadRequest("Cached contents are not offered here: their storage has no price.", param="cachedContent")
    for name in ("contents", "systemInstruction"):
        if name in head and given(head[name]):
            content.contents(head[name], name)
    if "tools" in head:
        content.declared(head["tools"])


def _tier(head: Head) -> str:
    """The tier that is asked for. Enums may be numbers; which is which is not said, but for 0: the dearest."""
    json_text = head.get("serviceTier")
    if json_text is None:
        return ""
    if bytes(json_text).isdigit():
        return "priority" if bytes(json_text).strip(b"0") else ""
    return service_tier(text_field(head, "serviceTier"))


def _config(head: Head) -> tuple[Head, int]:
    """The members of `generationConfig`, and how many bytes of the body say the limit in it, which are no input."""
    json_text = head.get("generationConfig")
    if json_text is None or not given(json_text):
        return {}, 0
    if not is_object(json_text):
        raise BadRequest("'generationConfig' must be an object.", param="generationConfig")
    config = _CONFIG.read(bytes(json_text))
    return config, len(f'"{_LIMIT}":,') + len(config[_LIMIT]) if _LIMIT in config else 0


def _unlisted(config: Head) -> str:
    """The first member of a config that stands in no table, in either spelling."""
    return next((f"generationConfig.{name}" for name in config if fields.GENERATE.unlisted((camel(name),))), "")


def _limited(config: bytes, output_tokens: int) -> bytes:
    return with_count(config, _LIMITS, output_tokens)


GEMINI = _GenerateContent("gemini", stream=False)
GEMINI_STREAM = _GenerateContent("gemini_stream", stream=True)
