"""The tables of what stands inside of requests say something of every object that the vendors' own SDKs can send."""

from __future__ import annotations

import json
import time
import types
import typing
from collections.abc import Iterator
from typing import Any

import cohere
import cohere.v2.client
import msgspec
import pydantic
import pytest
import typing_extensions
from anthropic.types.beta import message_create_params as anthropic
from cerebras.cloud.sdk.types.chat import completion_create_params as cerebras
from elevenlabs.music.client import MusicClient
from elevenlabs.text_to_dialogue.client import TextToDialogueClient
from elevenlabs.text_to_speech.client import TextToSpeechClient
from google.genai import types as google
from mistralai.client import models as mistral
from openai.types import embedding_create_params as embeddings
from openai.types import realtime
from openai.types.audio import speech_create_params as speech
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses

from providers.anthropic import parts as anthropic_parts
from providers.cohere import parts as cohere_parts
from providers.contract.shapes import Asked
from providers.elevenlabs import parts as elevenlabs_parts
from providers.google import fields as google_fields
from providers.google import parts as google_parts
from providers.mistral import parts as mistral_parts
from providers.openai import fields as openai_fields
from providers.openai import parts as openai_parts
from providers.operations import TABLE
from providers.reading.inside import VALUE, Inside, Kinds, Table
from tests.insides import ASKS, strangers
from tests.providers.test_fields import camel

_SDK_ONLY = (
    "Unset",
    "UnknownContentChunk",
    "UnknownResourceChunkContent",
)  # Mistral's, for what is not said and what it does not know
_ALIAS = typing_extensions.TypeAliasType
_WRAPPERS = (typing.Required, typing.NotRequired, typing.Annotated)


def leaves(hint: Any) -> Iterator[Any]:
    """What a type can be in the end: unions and lists are gone through."""
    origin = typing.get_origin(hint)
    while origin in _WRAPPERS or isinstance(hint, _ALIAS) or isinstance(origin, _ALIAS):
        if isinstance(hint, _ALIAS):
            hint = hint.__value__
        elif isinstance(origin, _ALIAS):
            hint = origin.__value__[typing.get_args(hint)]
        else:
            hint = typing.get_args(hint)[0]
        origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, list, tuple) or getattr(origin, "__name__", "") in (
        "Iterable",
        "Sequence",
        "SequenceNotStr",
    ):
        for each in typing.get_args(hint):
            yield from leaves(each)
    else:
        yield hint


def members(model: Any) -> dict[str, Any] | None:
    """The fields of a typed dictionary or of a model; None for what is neither."""
    if typing_extensions.is_typeddict(model):
        return typing_extensions.get_type_hints(model, include_extras=True)
    if isinstance(model, type) and issubclass(model, pydantic.BaseModel):
        return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    return None


def said(hint: Any) -> set[str]:
    """What a member that tells kinds apart can say."""
    return {text for leaf in leaves(hint) for text in typing.get_args(leaf) if isinstance(text, str)}


class Missing:
    """Goes through the types of an SDK and the tables together, and notes what stands in none."""

    def __init__(self, elsewhere: frozenset[str] = frozenset()) -> None:
        self.elsewhere = elsewhere
        self.found: list[str] = []
        self.seen: set[tuple[Any, int]] = set()
        self.objects = 0

    def walk(self, hint: Any, table: Table, where: str) -> None:
        for leaf in leaves(hint):
            own = members(leaf)
            if getattr(leaf, "__name__", "") in _SDK_ONLY:
                continue
            if own is None:
                if (typing.get_origin(leaf) is dict or leaf is dict or leaf is object) and not _anything(table):
                    self.found.append(f"{where}: anything")
            elif (leaf, id(table)) not in self.seen:
                self.seen.add((leaf, id(table)))
                self.objects += 1
                for inside in self._of(leaf, own, table, where):
                    at = f"{where}/{leaf.__name__}"
                    if type(table) is Inside and not inside.anything and "type" in own:  # no socket's message
                        told = inside.said.get("type", frozenset())
                        self.found += [f"{at}.type: {each!r}" for each in said(own["type"]) - told]
                    self._members(own, inside, at)

    def _of(self, leaf: Any, own: dict[str, Any], table: Table, where: str) -> Iterator[Inside]:
        if isinstance(table, Inside):
            yield table
            return
        assert isinstance(table, Kinds)
        for kind in said(own["type"]) if "type" in own else {""}:
            if kind in table.kinds:
                yield table.kinds[kind]
            elif kind not in table.refused:
                self.found.append(f"{where}/{leaf.__name__}: {kind!r}")

    def _members(self, own: dict[str, Any], table: Inside, where: str) -> None:
        for name, hint in own.items():
            if name in self.elsewhere:
                continue
            if table.names is not None and name not in table.names:
                self.found.append(f"{where}.{name}")
            elif not (table.anything or name in table.free or name in table.refused):
                self.walk(hint, table.inside.get(name, VALUE), f"{where}.{name}")


def _anything(table: Table) -> bool:
    return isinstance(table, Inside) and table.anything


def _sent(method: Any) -> Any:
    hints = typing_extensions.get_type_hints(method, include_extras=True)
    sent = {name: hint for name, hint in hints.items() if name not in ("return", "request_options")}
    return typing_extensions.TypedDict(method.__qualname__, sent)  # type: ignore[operator]


CEREBRAS = [each for each in vars(cerebras).values() if members(each) and "messages" in (members(each) or {})]
EVENTS = typing.get_args(typing.get_args(realtime.RealtimeClientEvent)[0])
SENT: dict[str, tuple[list[Any], Table]] = {
    "chat": ([chat.CompletionCreateParamsBase, *CEREBRAS, mistral.ChatCompletionRequest], openai_parts.CHAT),
    "responses": ([responses.ResponseCreateParamsBase], openai_parts.RESPONSES),
    "messages": ([anthropic.MessageCreateParamsBase], anthropic_parts.MESSAGES),
    "gemini": ([google.Content], google_parts.CONTENTS),
    "gemini config": ([google.GenerateContentConfig], google_parts.GENERATE),
    "cohere chat": (
        [_sent(cohere.v2.client.V2Client.chat), _sent(cohere.Client.chat)], cohere_parts.CHAT
    ),
    "cohere embed": ([_sent(cohere.v2.client.V2Client.embed)], cohere_parts.EMBED),
    "cohere rerank": ([_sent(cohere.v2.client.V2Client.rerank)], cohere_parts.RERANK),
    "embeddings": ([embeddings.EmbeddingCreateParams, mistral.EmbeddingRequest], openai_parts.EMBEDDINGS),
    "speech": ([speech.SpeechCreateParams], openai_parts.SPEECH),
    "ocr": ([mistral.OCRRequest], mistral_parts.OCR),
    "mistral speech": ([mistral.SpeechRequest], mistral_parts.SPEECH),
    "elevenlabs": (
        [_sent(each) for each in (MusicClient.compose, TextToDialogueClient.convert, TextToSpeechClient.convert)],
        elevenlabs_parts.SPEECH,
    ),
    "realtime": (list(EVENTS), openai_fields.REALTIME_MESSAGES),
    "live": ([google.LiveClientMessage], google_fields.LIVE_MESSAGES),
}  # fmt: skip


# What the SDK keeps to itself, or makes a content of, which is looked at by itself; what is refused at the top.
_GOOGLE = frozenset({"httpOptions", "automaticFunctionCalling", "routingConfig", "modelSelectionConfig"})
ELSEWHERE = {
    "chat": frozenset({"model_parameters"}),
    "gemini config": _GOOGLE | {"systemInstruction"},
    "live": _GOOGLE | {"systemInstruction", "candidateCount"},
}


@pytest.mark.parametrize("shape", SENT)
def test_every_object_of_the_sdks_types_stands_in_a_table(shape: str) -> None:
    """What a new release can send is seen here before it is sent by anybody: of all objects, at every depth."""
    models, table = SENT[shape]
    missing = Missing(ELSEWHERE.get(shape, frozenset()))
    for model in models:
        missing.walk(model, table, shape)
    assert sorted(set(missing.found)) == []
    assert missing.objects > 0


READERS = {row.operation.shape.name: row.operation.shape for row in TABLE if row.operation.billable}
SHAPES = {
    "chat": "openai_chat", "mistral": "openai_chat", "responses": "openai_responses", "messages": "anthropic_messages",
    "gemini": "gemini", "gemini, in snake case": "gemini", "cohere": "cohere_chat", "cohere 1": "cohere_chat_1",
    "cohere embed": "cohere_embed",
}  # fmt: skip


@pytest.mark.parametrize("ask", ASKS)
def test_whatever_is_new_inside_is_named_with_its_place(ask: str) -> None:
    """Every object of a request in turn has a member, or is of a kind, that no table lists."""
    shape, (path, body) = READERS[SHAPES[ask]], ASKS[ask]
    params = {"model": path.rpartition("/")[2].partition(":")[0]} if "models" in path else {}
    number = 0
    for place, changed in strangers(body):
        text = json.dumps(changed).encode()
        assert camel(shape.read(text, Asked(params=params, sound=True)).unlisted) == camel(place)
        if place.partition(".")[0] not in ("generationConfig", "generation_config") or place.count(".") > 1:
            assert shape.read(text, Asked(params=params)).unlisted == ""
        number += 1
    assert number > 1
    assert shape.read(json.dumps(body).encode(), Asked(params=params, sound=True)).unlisted == ""


def test_the_look_takes_time_linear_in_the_request() -> None:
    """Whatever is nested in whatever, and however deep: four times the text takes no more than some six times."""
    table = Inside("", inside={"messages": openai_parts.MESSAGES}, every=True)
    block = {
        "role": "user",
        "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}],
    }
    for make in (
        lambda size: json.dumps({"messages": [block] * size}),
        lambda size: json.dumps({"messages": [[[[]]]] * size}),
        lambda size: '{"messages":' + "[" * (size // 10) + "]" * (size // 10) + "}",
    ):
        taken = []
        for size in (2_000, 8_000):
            text = make(size).encode()
            began = time.perf_counter()
            for _ in range(5):
                table.look(msgspec.json.decode(text, type=dict[str, msgspec.Raw]))
            taken.append(time.perf_counter() - began)
        assert taken[1] < 12 * taken[0] + 0.05
