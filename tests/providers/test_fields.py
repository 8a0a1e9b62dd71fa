"""The table of fields says something of every field that the vendors' own SDKs can send, and each row is true."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterable
from typing import Any

import cohere.v2.client
import deepgram.listen.v1.media.client as listen
import deepgram.read.v1.text.client as read_client
import deepgram.speak.v1.audio.client as speak
import pytest
from anthropic.types.beta import message_create_params as beta_messages
from anthropic.types.beta.beta_tool_union_param import BetaToolUnionParam
from cerebras.cloud.sdk.types.chat import completion_create_params as cerebras_chat
from google.genai import types as google
from mistralai.client import models as mistral
from openai.types import completion_create_params as completions
from openai.types import embedding_create_params as embeddings
from openai.types import image_generate_params as images
from openai.types.audio import speech_create_params as speech
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses
from openai.types.responses.tool_param import ToolParam

from providers.anthropic import fields as anthropic_fields
from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.cohere import fields as cohere_fields
from providers.cohere.shapes import COHERE_CHAT, COHERE_EMBED, COHERE_RERANK
from providers.contract.fields import Fields
from providers.contract.shapes import Asked, Call, Shape
from providers.deepgram import fields as deepgram_fields
from providers.deepgram.listen import DEEPGRAM_LISTEN
from providers.deepgram.text import DEEPGRAM_READ, DEEPGRAM_SPEAK
from providers.google import fields as google_fields
from providers.google.generate import GEMINI
from providers.ground.errors import BadRequest
from providers.mistral import fields as mistral_fields
from providers.mistral.ocr import MISTRAL_OCR
from providers.openai import fields as openai_fields
from providers.openai import hosted
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from providers.openai.images import OPENAI_IMAGES
from providers.openai.responses import OPENAI_RESPONSES
from providers.openai.speech import OPENAI_SPEECH

TABLE = {
    "openai_chat": openai_fields.CHAT,
    "openai_completions": openai_fields.COMPLETIONS,
    "openai_responses": openai_fields.RESPONSES,
    "openai_embeddings": openai_fields.EMBEDDINGS,
    "anthropic_messages": anthropic_fields.MESSAGES,
    "gemini": google_fields.GENERATE,
    "cohere_chat": cohere_fields.CHAT,
}
MESSAGES = [{"role": "user", "content": "hi"}]


def hints(*types: Any) -> set[str]:
    """The fields of typed dictionaries."""
    return {name for each in types for name in typing.get_type_hints(each)}


def signature(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self", "request_options", "accepts"}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


# What only stands in an SDK, and never in a body; and what Google's SDK sends elsewhere than these two objects.
_SDK_ONLY = {"http_options", "should_return_http_response", "automatic_function_calling", "routing_config",
             "model_selection_config", "thread"} - {"thread"}  # fmt: skip

SENT: dict[str, set[str]] = {
    "openai_chat": hints(chat.CompletionCreateParamsBase)
    | set(mistral.ChatCompletionRequest.model_fields)
    | {name for each in vars(cerebras_chat).values() if typing.is_typeddict(each)
       and each.__name__.startswith("ChatCompletion") and "model" in typing.get_type_hints(each)
       for name in typing.get_type_hints(each)},
    "openai_completions": hints(completions.CompletionCreateParamsBase)
    | set(mistral.FIMCompletionRequest.model_fields),
    "openai_responses": hints(responses.ResponseCreateParamsBase),
    "openai_embeddings": hints(embeddings.EmbeddingCreateParams),
    "anthropic_messages": hints(beta_messages.MessageCreateParamsBase),
    "gemini": {camel(name) for name in set(google.GenerateContentConfig.model_fields) - _SDK_ONLY},
    "cohere_chat": signature(cohere.v2.client.V2Client.chat),
}  # fmt: skip


@pytest.mark.parametrize("shape", SENT)
def test_every_field_of_the_sdks_types_stands_in_a_row(shape: str) -> None:
    """What a new release can send is seen here before it is sent by anybody."""
    listed = set[str]().union(*TABLE[shape].rows.values())
    # Headers of the SDK, not of the body.
    assert SENT[shape] - listed - {"betas", "extra_headers", "x_amz_target"} == set()
    assert len(SENT[shape]) > 4


@pytest.mark.parametrize("shape", TABLE)
def test_a_field_stands_in_one_row(shape: str) -> None:
    rows = [name for names in TABLE[shape].rows.values() for name in names]
    assert len(rows) == len(set(rows))


def _types(union: Any) -> Iterable[str]:
    for tool in typing.get_args(union):
        kind = typing.get_type_hints(tool)["type"]
        for literal in typing.get_args(kind):
            yield from typing.get_args(literal) or (literal,)


@pytest.mark.parametrize("kind", sorted(each for each in _types(ToolParam) if isinstance(each, str)))
def test_every_tool_of_openais_types_is_known(kind: str) -> None:
    """The client runs it, its run has a price, or it costs what it brings: none is new here."""
    known = hosted.CLIENT | hosted.IN_TOKENS | hosted.BY_RUN.keys() | {"image_generation", "code_interpreter", "shell"}
    assert kind in known


@pytest.mark.parametrize("kind", sorted(each for each in _types(BetaToolUnionParam) if isinstance(each, str)))
def test_every_tool_of_anthropics_types_is_known(kind: str) -> None:
    tool = {"type": kind, "name": "x", "model": "claude-opus-4-1"}
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": MESSAGES, "tools": [tool]}
    assert ANTHROPIC_MESSAGES.read(json.dumps(body).encode()).unpriced == ""


BASE: dict[str, tuple[Shape, dict[str, Any], Asked]] = {
    "openai_chat": (OPENAI_CHAT, {"model": "gpt-4o", "messages": MESSAGES}, Asked()),
    "openai_completions": (OPENAI_COMPLETIONS, {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}, Asked()),
    "openai_responses": (OPENAI_RESPONSES, {"model": "gpt-4o", "input": "hi"}, Asked()),
    "openai_embeddings": (OPENAI_EMBEDDINGS, {"model": "text-embedding-3-small", "input": "hi"}, Asked()),
    "anthropic_messages": (ANTHROPIC_MESSAGES, {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": MESSAGES},
                           Asked()),
    "gemini": (GEMINI, {"contents": [{"parts": [{"text": "hi"}]}]}, Asked(params={"model": "gemini-2.5-flash"})),
    "cohere_chat": (COHERE_CHAT, {"model": "command-r-08-2024", "messages": MESSAGES}, Asked()),
}  # fmt: skip


def read(shape: str, **more: Any) -> Call:
    reader, body, asked = BASE[shape]
    return reader.read(json.dumps(body | more).encode(), asked)


@pytest.mark.parametrize("shape", BASE)
def test_a_field_in_no_row_is_named(shape: str) -> None:
    """So that whoever's cap must hold can be refused it."""
    assert read(shape).unlisted == ""
    assert read(shape, brand_new_field=1).unlisted == "brand_new_field"
    assert TABLE[shape].unlisted(["model", "another"]) == "another"


VALUES: dict[str, Any] = {
    "tools": [{"type": "web_search"}], "web_search_options": {}, "search_parameters": {"mode": "on"},
    "prediction": {"type": "content", "content": "x"}, "enable_thinking": True, "thinking_budget": 9,
    "previous_response_id": "resp_1", "conversation": "conv_1", "prompt": {"id": "pmpt_1"},
    "context_management": [{"type": "compaction"}], "mcp_servers": [{"type": "url", "url": "https://a.example"}],
    "container": "container_1", "compaction": {"a": 1}, "fallbacks": [{"model": "claude-opus-4-1"}],
    "fallback_credit_token": "x", "billing_policy": {"a": 1}, "thread": {"id": "x"}, "continuationToken": "x",
    "moderation": {"model": "gpt-4o"}, "guardrails": [{"block_on_error": True}], "reasoning": {"mode": "pro"},
    "vl_high_resolution_images": True,
}  # fmt: skip
GEMINI_TOOLS = [{"googleSearch": {}}]
METERED = [(shape, name) for shape, table in TABLE.items() for name in sorted(table.rows["metered"])]


@pytest.mark.parametrize(("shape", "name"), METERED)
def test_what_is_metered_is_not_taken_for_bounded(shape: str, name: str) -> None:
    """The shape knows that the request does not tell what such a field comes to."""
    value = GEMINI_TOOLS if (shape, name) == ("gemini", "tools") else VALUES[name]
    if (shape, name) == ("anthropic_messages", "tools"):
        value = [{"type": "web_search_20250305", "name": "web_search"}]
    call = read(shape, **{name: value})
    assert call.unbounded or call.endless


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("openai_chat", {"moderation": {"model": "omni-moderation-latest"}, "guardrails": None}),
        ("openai_chat", {"moderation": None, "guardrails": [], "vl_high_resolution_images": False}),
        ("openai_responses", {"moderation": {"model": "omni-moderation-latest"}, "reasoning": {"effort": "high"}}),
        ("openai_responses", {"reasoning": {"mode": "standard", "effort": None}}),
        ("openai_responses", {"reasoning": None}),
    ],
)
def test_what_costs_nothing_beside_the_answer_is_none_of_those(shape: str, body: dict[str, Any]) -> None:
    call = read(shape, **body)
    assert (call.endless, call.unbounded, call.unlisted) == ("", "", "")


@pytest.mark.parametrize("name", ["min_pixels", "max_pixels"])
def test_a_picture_that_is_to_be_scaled_is_not_told_by_its_size(name: str) -> None:
    """Qwen counts what it has scaled: a speck may become as much as the window holds."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for part, named in ((picture, ""), (picture | {name: 9_000_000}, f"messages[0].content[0].{name}")):
        call = read("openai_chat", messages=[{"role": "user", "content": [part]}])
        assert (call.unbounded, call.endless) == (named, "")


REFUSED = [(shape, name) for shape, table in TABLE.items() for name in sorted(table.rows["refused"])]
ELSEWHERE = {("openai_chat", "deferred"), ("openai_responses", "background_options")}


@pytest.mark.parametrize(("shape", "name"), [each for each in REFUSED if each not in ELSEWHERE])
def test_what_is_refused_is_refused_by_name(shape: str, name: str) -> None:
    """For everybody, or, where only its price is missing, for whoever has a cap."""
    value: Any = (
        True
        if name in ("background", "stream", "enable_search")
        else ["x"]
        if name in ("plugins", "connectors")
        else "x"
    )
    try:
        call = read(shape, **{name: value})
    except BadRequest as refused:
        assert refused.param == name
    else:
        assert call.unpriced == name or (name == "enable_search" and call.input_upper.tools) or call.endless == name


# Of further shapes: their rows, a request that is read, and what the vendor's own SDK can send.
FURTHER: dict[str, tuple[Fields, Shape, dict[str, Any], set[str]]] = {
    "openai_images": (openai_fields.IMAGES, OPENAI_IMAGES, {"model": "gpt-image-1", "prompt": "a cat"},
                      hints(images.ImageGenerateParamsBase)),
    "openai_speech": (openai_fields.SPEECH, OPENAI_SPEECH, {"model": "tts-1", "input": "hi", "voice": "alloy"},
                      hints(speech.SpeechCreateParams)),
    "cohere_embed": (cohere_fields.EMBED, COHERE_EMBED, {"model": "embed-v4.0", "texts": ["hi"]},
                     signature(cohere.v2.client.V2Client.embed)),
    "cohere_rerank": (cohere_fields.RERANK, COHERE_RERANK, {"model": "rerank-v3.5", "query": "q", "documents": ["d"]},
                      signature(cohere.v2.client.V2Client.rerank)),
    "mistral_ocr": (mistral_fields.OCR, MISTRAL_OCR,
                    {"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": "https://a.example/a"}},
                    set(mistral.OCRRequest.model_fields)),
}  # fmt: skip
_LISTEN = signature(listen.MediaClient.transcribe_url) - {"url", "request"}
_READ = signature(read_client.TextClient.analyze) - {"request"}
QUERIES: dict[str, tuple[Fields, Shape, bytes, set[str]]] = {
    "deepgram_listen": (deepgram_fields.LISTEN, DEEPGRAM_LISTEN, b"\0" * 64_000, _LISTEN),
    "deepgram_speak": (deepgram_fields.SPEAK, DEEPGRAM_SPEAK, b'{"text": "hi"}',
                       signature(speak.AudioClient.generate) - {"text"}),
    "deepgram_read": (deepgram_fields.READ, DEEPGRAM_READ, b'{"text": "hi"}', _READ),
}  # fmt: skip


@pytest.mark.parametrize("shape", FURTHER)
def test_a_further_shape_s_fields_stand_in_rows(shape: str) -> None:
    """What the SDK can send is listed once; what it cannot is named, for whoever's cap must hold."""
    table, reader, body, sent = FURTHER[shape]
    assert sent - set[str]().union(*table.rows.values()) == set()
    assert len(sent) > 4
    assert sum(map(len, table.rows.values())) == len(set[str]().union(*table.rows.values()))
    assert reader.read(json.dumps(body).encode()).unlisted == ""
    assert reader.read(json.dumps(body | {"brand_new_field": 1}).encode()).unlisted == "brand_new_field"


@pytest.mark.parametrize("shape", QUERIES)
def test_a_query_s_parameters_stand_in_rows(shape: str) -> None:
    """The same where a vendor is asked by the query."""
    table, reader, body, sent = QUERIES[shape]
    assert sent - set[str]().union(*table.rows.values()) == set()
    assert len(sent) > 4
    headers = {"content-type": "audio/wav" if shape == "deepgram_listen" else "application/json"}
    for name in ("", "brand_new_feature"):
        query = {"model": ["nova-3" if shape == "deepgram_listen" else "aura-2-thalia-en"], name: ["true"]}
        query = {
            each: values for each, values in query.items() if each and (shape != "deepgram_read" or each != "model")
        }
        assert reader.read(body, Asked(query=query, headers=headers)).unlisted == name
