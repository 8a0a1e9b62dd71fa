"""OpenAI's chat over other vendors' models: what is held for and refused, how counts are read, what is hidden."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.bounding import media
from providers.contract.shapes import Asked, Call, Shape
from providers.ground.errors import BadRequest
from providers.ground.layers import GOOGLE, Layer
from providers.ground.usage import Usage
from providers.ground.vendors import VENDORS
from providers.openai.chat import OPENAI_CHAT
from providers.operations import TABLE
from providers.reading.links import is_public
from tests.providers.answers import CALL, CUTS, read, sse

LAYERS: dict[str, Layer] = {vendor.name: vendor.layer for vendor in VENDORS.values() if vendor.layer is not None}
SHAPES: dict[str, Shape] = {name: OPENAI_CHAT.of(layer.quirks) for name, layer in LAYERS.items()}
MESSAGES = [{"role": "user", "content": "hi"}]
SOUND = Asked(sound=True)


def asked(vendor: str, **more: Any) -> Call:
    body = {"model": "m", "messages": MESSAGES} | more
    return SHAPES[vendor].read(json.dumps(body).encode(), SOUND)


def said(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def png(width: int, height: int) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(60)).decode()


def wav(seconds: int) -> str:
    data = bytes(16_000 * seconds)
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data",
                       len(data))  # fmt: skip
    return base64.b64encode(head + data).decode()


def test_each_layer_is_mounted_where_its_own_sdk_base_url_says() -> None:
    """At everybody's path, and at the vendor's own; errors are in the shape of whose client asks."""
    assert set(LAYERS) == {"anthropic", "google", "cohere"}
    for name, layer in LAYERS.items():
        rows = [row for row in TABLE if row.provider == name and row.operation.name == "chat.completions"]
        own = f"{layer.path}/chat/completions"
        assert {row.path for row in rows} == {"/v1/chat/completions", own}
        assert {(row.upstream, row.operation.dialect) for row in rows} == {(own, "openai")}


@pytest.mark.parametrize("vendor", LAYERS)
def test_the_limit_is_the_field_that_everybody_takes(vendor: str) -> None:
    """Written where none is named; a declared one is lowered under its own name, and of two the larger counts."""
    shape = SHAPES[vendor]
    call = asked(vendor)
    assert (call.output_tokens_max, call.output_field, call.limitable) == (None, "max_tokens", True)
    assert json.loads(shape.limit(b'{"model":"m"}', call, 5)) == {"max_tokens": 5, "model": "m"}
    named = asked(vendor, max_completion_tokens=9)
    assert (named.output_tokens_max, named.output_field) == (9, "max_completion_tokens")
    lowered = shape.limit(b'{"max_completion_tokens":9,"max_tokens":8}', named, 5)
    assert json.loads(lowered) == {"max_completion_tokens": 5, "max_tokens": 5}
    assert asked(vendor, max_completion_tokens=9, max_tokens=12).output_tokens_max == 12
    assert asked(vendor, n=3).choices == 3


@pytest.mark.parametrize("size", [(10, 10), (200, 200), (1024, 1024), (4000, 3000)])
def test_a_picture_counts_as_its_reader_counts_it(size: tuple[int, int]) -> None:
    """The same picture has another bound for each of them, whatever detail is asked for."""
    data = png(*size)
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"}}
    bare = {"type": "image_url", "image_url": {"url": "", "detail": "low"}}
    gemini = media.gemini_image(data.encode())
    assert gemini is not None
    for vendor, most in (("anthropic", media.claude_image(data.encode()).most), ("google", gemini.most),
                         ("cohere", 4_096)):  # fmt: skip
        call = asked(vendor, messages=said(part))
        assert call.input_bound.input_image_tokens == most
        assert not call.unbounded
    assert OPENAI_CHAT.read(json.dumps({"model": "m", "messages": said(bare)}).encode()).unbounded


def test_sound_and_tools_count_as_their_reader_counts_them() -> None:
    """Gemini hears 32 tokens a second; Anthropic adds more of its own words to tools than others do."""
    part = {"type": "input_audio", "input_audio": {"data": wav(10), "format": "wav"}}
    assert asked("google", messages=said(part)).input_upper.input_audio_tokens in range(320, 323)
    assert asked("google", messages=said(part)).input_bound.input_audio_tokens >= 400
    tools = [{"type": "function", "function": {"name": "f"}}]
    bounds = {vendor: asked(vendor, tools=tools).input_bound.input_tokens for vendor in LAYERS}
    assert bounds["anthropic"] - bounds["google"] == 500
    assert bounds["cohere"] - bounds["google"] == 200


@pytest.mark.parametrize(
    ("vendor", "more", "param"),
    [
        ("anthropic", {"speed": "fast"}, "speed"),
        ("anthropic", {"inference_geo": "us"}, "inference_geo"),
        ("anthropic", {"mcp_servers": [{"type": "url", "url": "https://a.example"}]}, "mcp_servers"),
        ("anthropic", {"container": "c"}, "container"),
        ("google", {"cached_content": "cachedContents/x"}, "cached_content"),
        (
            "google",
            {"extra_body": {"google": {"cached_content": "cachedContents/x"}}},
            "extra_body.google.cached_content",
        ),
        (
            "google",
            {"extra_body": {"google": {"cachedContent": "cachedContents/x"}}},
            "extra_body.google.cachedContent",
        ),
        ("google", {"google": {"tools": [{"google_search": {}}]}}, "google.tools"),
        ("google", {"extra_body": {"tools": []}}, "extra_body.tools"),
        ("cohere", {"connectors": [{"id": "web-search"}]}, "connectors"),
        ("cohere", {"conversation_id": "c"}, "conversation_id"),
    ],
)
def test_what_a_layer_is_not_for_is_refused_by_name_for_everybody(
    vendor: str, more: dict[str, Any], param: str
) -> None:
    """Fields of the vendor's own API, whose cost nothing here would tell, or that lead into the operator's account."""
    for sound in (SOUND, Asked()):
        with pytest.raises(BadRequest) as caught:
            SHAPES[vendor].read(json.dumps({"model": "m", "messages": MESSAGES} | more).encode(), sound)
        assert caught.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
        {"type": "image_url", "image_url": "https://generativelanguage.googleapis.com./v1beta/files/x"},
        {"type": "image_url", "image_url": {"url": "gs://bucket/x"}},
        {"type": "image_url", "image_url": {"url": "files/x"}},
        {"type": "video_url", "video_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
        {"type": "file", "file": {"file_data": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
        {"type": "file", "file": {"file_data": "files/x"}},
        {"type": "file", "file": {"file_id": "files/x"}},
        {"type": "new"},
    ],
)
def test_no_part_of_a_message_leads_into_the_operators_files(part: dict[str, Any]) -> None:
    """All keys share one account at Google: what lies there is nobody's."""
    body = json.dumps({"model": "m", "messages": said(part)}).encode()
    with pytest.raises(BadRequest) as caught:
        SHAPES["google"].read(body)
    assert (caught.value.param or "").startswith("messages[0].content[0]")


def test_public_links_are_read_by_whoever_reads_links() -> None:
    """They take the model's window, and are refused where the cap must hold."""
    part = {"type": "image_url", "image_url": {"url": "https://a.example/a.png"}}
    for vendor in LAYERS:
        assert asked(vendor, messages=said(part)).unbounded == "messages[0].content[0].image_url"
    assert is_public("https://storage.googleapis.com/a/b.png", "googleapis.com")
    assert not is_public("https://googleapis.com/x", "googleapis.com")
    assert is_public("https://notgoogleapis.com/x", "googleapis.com")
    assert not is_public("https://[", "googleapis.com")


@pytest.mark.parametrize(
    ("vendor", "more", "reasons"),
    [
        ("anthropic", {}, False),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ("anthropic", {"thinking": {"type": "disabled"}}, False),
        ("anthropic", {"reasoning_effort": "high"}, False),  # ignored
        ("cohere", {"reasoning_effort": "high"}, True),
        ("cohere", {"reasoning_effort": "none"}, False),
        ("cohere", {"model": "command-a-reasoning-08-2025"}, True),
        ("google", {"extra_body": {"google": {"thinking_config": {"thinking_budget": 99}}}}, False),  # it is counted
    ],
)
def test_thoughts_that_nobody_sees_are_known_of(vendor: str, more: dict[str, Any], reasons: bool) -> None:
    """Where they are billed and not shown, an answer that is cut may have cost more than was seen of it."""
    call = asked(vendor, **more)
    assert call.reasons is reasons
    assert call.unlisted == call.endless == ""


def test_a_tier_that_is_ignored_moves_no_price() -> None:
    """Anthropic and Cohere ignore the field; of Google's tiers the dearer is priced, a cheaper one when it is said."""
    tiers = {vendor: asked(vendor, service_tier="priority").service_tier for vendor in LAYERS}
    assert tiers == {"anthropic": "", "cohere": "", "google": "priority"}
    call = asked("google", service_tier="flex")
    assert call.service_tier == ""
    answer = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}
    for said, tier in (({}, ""), ({"service_tier": "flex"}, "flex")):
        got = read(SHAPES["google"], json.dumps(answer | said).encode(), streamed=False, call=call)
        assert got.usage == Usage(input_tokens=9, output_tokens=4, service_tier=tier)


@pytest.mark.parametrize("model", ["gemini-2.5-flash-image", "gemini-nano-banana-2.1", "gemini-3.8-live"])
def test_what_is_dearer_than_text_and_not_told_apart_has_no_price(model: str) -> None:
    """The counts there do not say which of the output is a picture."""
    assert asked("google", model=model).unpriced == "model"
    assert asked("google", model="gemini-2.5-flash").unpriced == ""


def test_a_field_that_nobody_knows_is_named() -> None:
    """So it is refused where the cap must hold; Google's own beside OpenAI's is known."""
    for vendor in LAYERS:
        assert asked(vendor, brand_new=1).unlisted == "brand_new"
    assert asked("anthropic", extra_body={}).unlisted == "extra_body"
    inside = {"google": {"thinking_config": {"thinking_level": "low", "include_thoughts": True}}}
    assert asked("google", extra_body=inside).unlisted == ""
    assert asked("google", messages=[{"role": "user", "content": "hi", "new": {}}]).unlisted == "messages[0].new"


GEMINI = [
    # discuss.ai.google.dev/t/127400: counts along with every chunk; what was thought stands in the total alone
    {"choices": [{"delta": {"content": "1", "role": "assistant"}, "index": 0}], "model": "m",
     "usage": {"completion_tokens": 1, "prompt_tokens": 9, "total_tokens": 103}},
    {"choices": [{"delta": {"content": ", ", "role": "assistant"}, "index": 0}], "model": "m",
     "usage": {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 105}},
    {"choices": [{"delta": {"role": "assistant"}, "finish_reason": "length", "index": 0}], "model": "m",
     "usage": {"completion_tokens": 4, "prompt_tokens": 9, "total_tokens": 106}},
]  # fmt: skip


@given(CUTS)
def test_geminis_counts_include_what_was_thought(cuts: list[int]) -> None:
    """In any pieces: the last count is the count, the total tells the thoughts, and nothing about it is odd."""
    got = read(SHAPES["google"], sse(*GEMINI, "[DONE]"), cuts=cuts)
    assert got.usage == Usage(input_tokens=9, output_tokens=97, reasoning_tokens=93)
    assert (got.flags, got.complete, got.partial) == ((), True, False)


def test_geminis_counts_of_a_stream_that_was_cut_are_what_it_came_to() -> None:
    """They were made along with the content."""
    got = read(SHAPES["google"], sse(*GEMINI[:2]))
    assert got.usage == Usage(input_tokens=9, output_tokens=96, reasoning_tokens=93)
    assert (got.partial, got.running) == (True, True)


@pytest.mark.parametrize(
    ("usage", "expected", "flags"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, Usage(input_tokens=9, output_tokens=4), ()),
        ({"prompt_tokens": 9, "total_tokens": 50}, Usage(input_tokens=9, output_tokens=41, reasoning_tokens=41), ()),
        # reported, beside the completion or within it
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 33,
          "completion_tokens_details": {"reasoning_tokens": 20}},
         Usage(input_tokens=9, output_tokens=24, reasoning_tokens=20), ()),
        ({"prompt_tokens": 9, "completion_tokens": 24, "total_tokens": 33,
          "completion_tokens_details": {"reasoning_tokens": 20}},
         Usage(input_tokens=9, output_tokens=24, reasoning_tokens=20), ()),
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 9},
         Usage(input_tokens=9, output_tokens=4), ("usage_contradictory",)),
    ],
)  # fmt: skip
def test_geminis_totals(usage: dict[str, Any], expected: Usage, flags: tuple[str, ...]) -> None:
    """Whole answers are read the same way; a total below its parts is a doubt."""
    got = read(SHAPES["google"], json.dumps({"choices": [], "usage": usage}).encode(), streamed=False)
    assert (got.usage, got.flags) == (expected, flags)


def test_such_a_total_is_a_doubt_elsewhere() -> None:
    """Nobody else counts so."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 50}
    for vendor in ("anthropic", "cohere"):
        got = read(SHAPES[vendor], json.dumps({"choices": [], "usage": usage}).encode(), streamed=False)
        assert got.flags == ("usage_contradictory",)


@pytest.mark.parametrize("streamed", [False, True])
def test_sound_that_the_usage_does_not_tell_is_priced_by_its_length(streamed: bool) -> None:
    """Where sound is dearer than text and the counts have one number for both."""
    part = {"type": "input_audio", "input_audio": {"data": wav(10), "format": "wav"}}
    call = asked("google", messages=said(part))
    for prompt, heard in ((1_000, call.input_upper.input_audio_tokens), (50, 50)):
        usage = {"prompt_tokens": prompt, "completion_tokens": 4, "total_tokens": prompt + 4}
        answer = {"choices": [{"index": 0, "finish_reason": "stop"}], "usage": usage}
        data = sse(answer, "[DONE]") if streamed else json.dumps(answer).encode()
        got = read(SHAPES["google"], data, streamed=streamed, call=call)
        assert got.usage == Usage(input_tokens=prompt, input_audio_tokens=heard, output_tokens=4)


CONTENT = st.text(max_size=12)
NEWLINE = st.sampled_from([b"\n", b"\r\n"])


@given(CUTS, st.lists(CONTENT, max_size=4), st.booleans(), NEWLINE)
def test_nobody_who_did_not_ask_sees_the_counts(cuts: list[int], texts: list[str], first: bool, newline: bytes) -> None:
    """Every chunk is what it was without them, byte for byte, wherever the member stands and the network cuts."""
    usage = {"usage": {"completion_tokens": 1, "prompt_tokens": 9, "total_tokens": 103}}
    plain: list[object] = [{"choices": [{"delta": {"content": text}, "index": 0}], "id": "x"} for text in texts]
    counted: list[object] = [usage | each if first else each | usage for each in plain]  # type: ignore[operator]
    wire = sse(*counted, "[DONE]").replace(b"\n", newline)
    quiet = SHAPES["google"].filter(asked("google", stream=True))
    assert quiet is not None
    out, at = b"", 0
    for cut in [*sorted(cuts), len(wire)]:
        out += quiet.feed(wire[at:cut])
        at = max(at, cut)
    out += quiet.flush()
    assert out == sse(*plain, "[DONE]").replace(b"\n", newline)


def test_who_asks_sees_them() -> None:
    """Then nothing is written into the request, and nothing is taken out of the answer."""
    for vendor, shape in SHAPES.items():
        counted = asked(vendor, stream=True, stream_options={"include_usage": True})
        assert (counted.splice, shape.filter(counted)) == (False, None)
        assert asked(vendor, stream=True).splice
    assert GOOGLE.quirks.running
    assert CALL.stream
