"""Gemini: names in two spellings, counts beside one another, streams as events and as an array."""

from __future__ import annotations

import base64
import json
import struct

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.metering import conclude
from providers.contract.shapes import Asked, Call, Reading
from providers.google.answer import Elements
from providers.google.embeddings import GEMINI_COUNT_TOKENS, GEMINI_EMBED, GEMINI_EMBED_BATCH
from providers.google.generate import GEMINI, GEMINI_STREAM, check_query
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.simulator import Faults
from providers.simulator import answer as simulated
from tests.providers.answers import CUTS, NUMBER

MODEL = "gemini-3.5-flash"
ASKED = Asked(params={"model": MODEL}, query={"alt": ["sse"]})
CALL = Call(model=MODEL, stream=True, input_typical=Usage(input_tokens=20), output_field="x")
COUNTS: dict[str, object] = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 30,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 15,
    "toolUsePromptTokenCount": 5,
    "totalTokenCount": 140,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 80}, {"modality": "AUDIO", "tokenCount": 20}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 30}],
}
ANSWER: dict[str, object] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}],
    "modelVersion": MODEL,
    "responseId": "r",
    "usageMetadata": COUNTS,
}
EXPECTED = Usage(input_tokens=105, cache_read_tokens=30, input_audio_tokens=20, output_tokens=35, reasoning_tokens=15)


def chunk(text: str = "", *, finish: str = "", index: int = 0, **usage: object) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}]}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": MODEL} | ({"usageMetadata": usage} if usage else {})


STREAM = [
    chunk("hello there, ", promptTokenCount=100, candidatesTokenCount=3, totalTokenCount=103),
    chunk("my friend", promptTokenCount=100, candidatesTokenCount=5, totalTokenCount=105),
    chunk("!", finish="STOP", promptTokenCount=100, candidatesTokenCount=6, thoughtsTokenCount=4, totalTokenCount=110),
]
STREAMED = Usage(input_tokens=100, output_tokens=10, reasoning_tokens=4)


def events(*chunks: object) -> bytes:
    """As Google writes them, with CRLF."""
    return b"".join(b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in chunks)


def array(*chunks: object) -> bytes:
    """The same without `alt=sse`."""
    return b"[" + b"\r\n,\r\n".join(json.dumps(each, indent=1).encode() for each in chunks) + b"\r\n]\r\n"


FORMS = pytest.mark.parametrize("form", [events, array], ids=["sse", "array"])


def read(data: bytes, *, streamed: bool = True, cuts: list[int] | None = None, call: Call = CALL) -> Reading:
    meter = GEMINI_STREAM.meter(call, streamed=streamed)
    at = 0
    for cut in [*sorted(cuts or []), len(data)]:
        meter.feed(data[at:cut])
        at = max(at, cut)
        assert meter.output_tokens_seen() >= 0
    return meter.finish()


def whole(data: object, *, headers: dict[str, str] | None = None, **call: object) -> Reading:
    meter = GEMINI.meter(Call(model=MODEL, output_field="x", **call), streamed=False, headers=headers or {})
    meter.feed(data if isinstance(data, bytes) else json.dumps(data).encode())
    return meter.finish()


def body(**members: object) -> bytes:
    return json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **members}).encode()


def parts(*given_: object) -> bytes:
    return body(contents=[{"role": "user", "parts": list(given_)}])


def blob(data: bytes, kind: str) -> dict[str, object]:
    return {"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}}


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(2_000)


def test_fixtures_are_what_the_sdk_expects() -> None:
    """The answer and chunks pass the official SDK's types."""
    for each in (ANSWER, *STREAM):
        made = types.GenerateContentResponse.model_validate(each)
        assert made.usage_metadata
        assert made.usage_metadata.prompt_token_count == 100


# ---- answers


def test_thoughts_and_tools_are_beside_the_counts() -> None:
    """Thoughts are output and what tools gave is input, in one body."""
    reading = whole(ANSWER)
    assert (reading.usage, reading.flags) == (EXPECTED, ())
    assert (reading.complete, reading.partial, reading.model) == (True, False, MODEL)


@FORMS
@given(cuts=CUTS)
def test_the_last_chunk_counts(form: object, cuts: list[int]) -> None:
    """Counts are cumulative, however the stream is framed and cut into pieces."""
    reading = read(form(*STREAM), streamed=form is events, cuts=cuts)  # type: ignore[operator]
    assert (reading.usage, reading.flags) == (STREAMED, ())
    assert (reading.complete, reading.partial) == (True, False)


@FORMS
def test_one_byte_at_a_time(form: object) -> None:
    """Pieces of one byte are read as the whole, escapes and braces in strings included."""
    data = form(chunk('a "}]\\" \\\\', finish="STOP", promptTokenCount=1, totalTokenCount=1))  # type: ignore[operator]
    streamed = form is events
    assert read(data, streamed=streamed, cuts=list(range(len(data)))) == read(data, streamed=streamed)
    assert read(data, streamed=streamed).usage == Usage(input_tokens=1)


@FORMS
@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_cut_stream_is_estimated_from_its_running_count(form: object, chunks: int) -> None:
    """A cut leaves the last count as a lower bound; before the first nobody knows what it came to."""
    data = form(*STREAM)  # type: ignore[operator]
    at = data.find(b'"candidates"')
    for _ in range(chunks):
        at = data.find(b'"candidates"', at + 1)
    reading = read(data[:at], streamed=form is events)
    concluded = conclude(CALL, reading, ended="cut", http_status=200)
    assert concluded.status == ("estimated" if chunks else "unsettled")
    assert concluded.rest
    if chunks:
        assert reading.partial
        assert concluded.usage.input_tokens == 100
        assert concluded.usage.output_tokens >= (3, 5)[chunks - 1]
    else:
        assert concluded.usage == Usage()


def test_comments_and_keep_alives_between() -> None:
    """Comments and empty events change nothing."""
    reading = read(b": keep-alive\r\n\r\n" + events(*STREAM).replace(b"\r\n\r\ndata", b"\r\n\r\n:\r\n\r\ndata"))
    assert (reading.usage, reading.flags) == (STREAMED, ())


def test_every_candidate_has_to_finish() -> None:
    """Of several candidates each says its own end; before the last of them the count is not final."""
    first = chunk("a", finish="STOP", promptTokenCount=1, candidatesTokenCount=1, totalTokenCount=2)
    second = chunk("b", index=1, promptTokenCount=1, candidatesTokenCount=2, totalTokenCount=3)
    last = chunk("c", index=1, finish="MAX_TOKENS", promptTokenCount=1, candidatesTokenCount=3, totalTokenCount=4)
    assert read(events(first, second)).partial
    reading = read(events(first, second, last))
    assert (reading.usage, reading.partial) == (Usage(input_tokens=1, output_tokens=3), False)


def test_enums_may_be_numbers() -> None:
    """As `$alt=json;enum-encoding=int` has them: sound is sound by either name, and the end is the end."""
    named = {
        "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 125,
            "candidatesTokenCount": 5,
            "totalTokenCount": 130,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 25}, {"modality": "AUDIO", "tokenCount": 100}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}],
        },
    }
    text = json.dumps(named)
    for name, number in (("STOP", 1), ("TEXT", 1), ("AUDIO", 4), ("IMAGE", 2)):
        text = text.replace(f'"{name}"', str(number))
    readings = []
    for body in (json.dumps(named), text):
        meter = GEMINI.meter(CALL, streamed=False)
        meter.feed(body.encode())
        readings.append(meter.finish())
    assert readings[0] == readings[1]
    assert readings[1].usage == Usage(input_tokens=125, input_audio_tokens=100, output_tokens=5, output_image_tokens=5)


@pytest.mark.parametrize("name", ["alt", "$alt"])
@pytest.mark.parametrize("form", ["json", "sse", "json;enum-encoding=int"])
def test_older_clients_say_in_another_word_what_they_want(name: str, form: str) -> None:
    """`google-generativeai` over REST; all of these leave the usage where it is."""
    check_query(Asked(query={name: [form]}))


def test_a_blocked_prompt_is_final() -> None:
    """A prompt that was blocked has no candidates, and its count is whole."""
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
    }
    for reading in (whole(blocked), read(events(blocked)), read(array(blocked), streamed=False)):
        assert (reading.usage, reading.partial, reading.flags) == (Usage(input_tokens=9), False, ())


def test_pictures_and_sound_are_parts_of_the_totals() -> None:
    """Modalities of input, output and cache stand in their breakdowns."""
    usage = {
        "promptTokenCount": 400,
        "candidatesTokenCount": 1_300,
        "cachedContentTokenCount": 60,
        "totalTokenCount": 1_700,
        "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 258}, {"modality": "AUDIO", "tokenCount": 100}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
    }
    assert whole({**ANSWER, "usageMetadata": usage}).usage == Usage(
        input_tokens=400,
        cache_read_tokens=60,
        input_audio_tokens=100,
        input_image_tokens=258,
        cache_read_audio_tokens=50,
        output_tokens=1_300,
        output_image_tokens=1_290,
    )


@pytest.mark.parametrize(
    ("usage", "expected", "flags"),
    [
        ({"promptTokenCount": 8, "thoughtsTokenCount": 4, "totalTokenCount": 12},
         Usage(input_tokens=8, output_tokens=4, reasoning_tokens=4), ()),
        ({"promptTokenCount": 8}, Usage(input_tokens=8), ()),
        ({"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 15},
         Usage(input_tokens=8, output_tokens=7), ("usage_contradictory",)),
        ({"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 3},
         Usage(input_tokens=8, output_tokens=2), ("usage_contradictory",)),
        ({"candidatesTokenCount": 2, "totalTokenCount": 10},
         Usage(input_tokens=8, output_tokens=2), ("usage_contradictory",)),
        ({"candidatesTokenCount": 2}, Usage(output_tokens=2), ("usage_incomplete",)),
        ({"promptTokenCount": 8, "cachedContentTokenCount": 20, "totalTokenCount": 8},
         Usage(input_tokens=28, cache_read_tokens=20), ("usage_contradictory",)),
        ({"promptTokenCount": -8, "totalTokenCount": 0}, Usage(), ("usage_contradictory", "usage_negative")),
        ({"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}, Usage(), ()),
        ({}, None, ()),
        ({"trafficType": "ON_DEMAND"}, None, ()),
    ],
)  # fmt: skip
def test_odd_counts(usage: object, expected: Usage | None, flags: tuple[str, ...]) -> None:
    """Sums are checked, the larger reading counts, and an explicit zero is a count."""
    reading = whole({**ANSWER, "usageMetadata": usage})
    assert (reading.usage, reading.flags) == (expected, flags)


def test_a_count_that_goes_down_keeps_the_larger() -> None:
    """A later, smaller count is flagged, and the larger one billed."""
    reading = read(events(STREAM[1], chunk("!", finish="STOP", promptTokenCount=1, totalTokenCount=1)))
    assert (reading.usage, reading.flags) == (Usage(input_tokens=100, output_tokens=5), ("usage_decreased",))


def test_without_usage_the_text_is_estimated() -> None:
    """An answer without a count is estimated from what is visible in it: text, calls, code, pictures."""
    said = [
        {"text": "word " * 40},
        {"functionCall": {"name": "f", "args": {"city": "Paris"}}},
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]
    answer = {"candidates": [{"content": {"parts": said}, "finishReason": "STOP"}]}
    for reading in (whole(answer), read(events(answer))):
        assert reading.usage is None
        assert reading.output_tokens_seen > 1_290 + 40


def test_a_large_answer_s_usage_is_found_at_its_end() -> None:
    """Usage is found after ten megabytes of a picture, in a body and in a stream."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * (10 << 20)}}
    answer = {**ANSWER, "candidates": [{"content": {"parts": [picture]}, "finishReason": "STOP"}]}
    answer["usageMetadata"] = answer.pop("usageMetadata")
    drawn = msgspec.structs.replace(EXPECTED, output_image_tokens=20)
    for reading in (whole(answer), read(events(answer)), read(array(answer), streamed=False)):
        assert reading.usage == drawn


def test_a_picture_without_a_breakdown_is_priced_as_one() -> None:
    """Where a picture is in the answer and no breakdown, what is no text is the picture's."""
    said = [{"text": "word " * 8}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 1_300, "totalTokenCount": 1_309}
    answer = {"candidates": [{"content": {"parts": said}, "finishReason": "STOP"}], "usageMetadata": usage}
    for reading in (whole(answer), read(events(answer))):
        assert reading.usage
        assert 1_280 <= reading.usage.output_image_tokens < 1_300


def grounded(queries: list[str], **more: object) -> dict[str, object]:
    metadata = {"webSearchQueries": queries, "groundingChunks": [{"web": {"uri": "https://x"}}], **more}
    candidate = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "groundingMetadata": metadata}
    return {**ANSWER, "candidates": [candidate]}


def test_searches_are_tools() -> None:
    """Gemini 3 is billed for each query, Gemini 2 for the prompt; queries that a stream repeats count once."""
    assert whole(grounded(["a", "b"])).usage.tools == {"web_search": 2}  # type: ignore[union-attr]
    assert whole(grounded([])).usage.tools == {}  # type: ignore[union-attr]
    two = events(grounded(["a", "b"]), grounded(["b", "c"]))
    assert read(two).usage.tools == {"web_search": 3}  # type: ignore[union-attr]
    older = Call(model="gemini-2.5-flash", output_field="x")
    assert read(two, call=older).usage.tools == {"web_search": 1}  # type: ignore[union-attr]
    maps = whole(grounded([], groundingChunks=[{"maps": {"placeId": "p"}}]))
    assert maps.usage.tools == {"google_maps": 1}  # type: ignore[union-attr]


def test_the_tier_that_was_served_counts() -> None:
    """By the usage, by the header, else by what was asked; the default has no name."""

    def tier(asked: str = "", headers: dict[str, str] | None = None, **usage: object) -> str:
        reading = whole({**ANSWER, "usageMetadata": {**COUNTS, **usage}}, headers=headers, service_tier=asked)
        assert reading.usage
        return reading.usage.service_tier

    assert tier() == tier(serviceTier="STANDARD") == tier(serviceTier="unspecified") == ""
    assert tier("flex") == tier(serviceTier="SERVICE_TIER_FLEX") == tier(trafficType="ON_DEMAND_FLEX") == "flex"
    assert tier("flex", {"x-gemini-service-tier": "priority"}) == "priority"


def test_an_error_inside_is_one() -> None:
    """An error event, or an error in the array, is reported; what was counted before stays."""
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for reading in (read(events(STREAM[0], error)), read(array(STREAM[0], error), streamed=False)):
        assert reading.error
        assert reading.partial
        assert reading.usage == Usage(input_tokens=100, output_tokens=3)


@given(st.recursive(NUMBER, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from([*COUNTS, "candidates", "usageMetadata", "modality", "tokenCount", "content", "parts", "index",
                     "groundingMetadata", "webSearchQueries", "groundingChunks", "finishReason", "text"]), inner)),
       CUTS)  # fmt: skip
def test_any_json(value: object, cuts: list[int]) -> None:
    """Whatever stands in an answer, nothing is raised and the pieces do not matter."""
    data = json.dumps({**ANSWER, **value} if isinstance(value, dict) else value).encode()
    whole(data)
    for framed, streamed in ((b"data: " + data + b"\r\n\r\n", True), (b"[" + data + b"]", False)):
        assert read(framed, streamed=streamed, cuts=cuts) == read(framed, streamed=streamed)


@given(st.binary(max_size=200) | st.text('{}[]"\\,: a', max_size=60).map(str.encode), CUTS)
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Whatever the bytes, nothing is raised and the pieces do not matter."""
    whole(data)
    for streamed in (True, False):
        assert read(data, streamed=streamed, cuts=cuts) == read(data, streamed=streamed)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.lists(st.text(max_size=3))), max_size=5),
       st.booleans(), CUTS)  # fmt: skip
def test_elements_of_an_array(values: list[object], ascii_only: bool, cuts: list[int]) -> None:
    """An array is cut into its elements, wherever the network cut it."""
    data = json.dumps(values, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    elements, found, at = Elements(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += elements.feed(data[at:cut])
        at = max(at, cut)
    assert [json.loads(each.decode("utf-8", "surrogatepass")) for each in found if each is not None] == values
    assert elements.ended


def test_an_element_too_large_is_let_go() -> None:
    """Beyond 16 MB an element is not kept, and the next one is read again."""
    elements = Elements()
    assert elements.feed(b'[{"a":"' + b"x" * (17 << 20)) == []
    assert elements.feed(b'"},{"b":1}]') == [None, b'{"b":1}']


# ---- requests


def test_reads_a_request() -> None:
    """Limit, choices, tier and input are found in either spelling; the model is the path's."""
    config = {"maxOutputTokens": 9, "candidateCount": 2}
    call = GEMINI_STREAM.read(
        body(generationConfig=config, serviceTier="FLEX", systemInstruction={"parts": [{"text": "x"}]}), ASKED
    )
    snake = {"max_output_tokens": 9, "candidate_count": 2}
    other = GEMINI_STREAM.read(
        body(generation_config=snake, service_tier="flex", system_instruction={"parts": {"text": "x"}}), ASKED
    )
    for made in (call, other):
        assert (made.model, made.stream, made.output_tokens_max, made.choices) == (MODEL, True, 9, 2)
        assert (made.service_tier, made.unbounded, made.cache_writes) == ("flex", "", False)
    assert not GEMINI.read(body(), ASKED).stream
    assert GEMINI.read(body(), ASKED).output_tokens_max is None


def test_text_is_bounded_by_its_bytes() -> None:
    """The bound covers every byte of text, the tighter estimates less."""
    call = GEMINI.read(body(contents=[{"parts": [{"text": "ü" * 1_000}]}]), ASKED)
    assert call.input_bound.input_tokens >= 2_000 > call.input_typical.input_tokens
    alone = GEMINI.read(body(contents={"parts": {"text": "word " * 400}}), ASKED)
    assert (
        300 < alone.input_typical.input_tokens < alone.input_upper.input_tokens < 2_000 < alone.input_bound.input_tokens
    )


def test_media_are_bounded_by_what_they_are() -> None:
    """Pictures by size, documents by page, sound by length: not by their bytes."""
    small = GEMINI.read(parts(blob(png(300, 300), "image/png")), ASKED)
    large = GEMINI.read(parts(blob(png(3_840, 2_160), "image/png")), ASKED)
    assert 258 <= small.input_typical.input_image_tokens < small.input_bound.input_image_tokens == 2_240
    assert large.input_bound.input_image_tokens == 15 * 258
    pages = b"%PDF-1.4\n" + b"<< /Type /Page >>\n" * 3 + b"x" * 100_000
    document = GEMINI.read(parts(blob(pages, "application/pdf")), ASKED)
    assert document.input_bound.input_tokens < 20_000
    assert document.input_bound.input_image_tokens == 3 * 5_240
    header = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data\0\0\0\0"
    sound = GEMINI.read(parts(blob(header + bytes(320_000), "audio/wav")), ASKED)
    assert 320 <= sound.input_typical.input_audio_tokens <= sound.input_upper.input_audio_tokens <= 330
    nested = {"functionResponse": {"name": "f", "response": {}, "parts": [blob(png(300, 300), "image/png")]}}
    assert GEMINI.read(parts(nested), ASKED).input_bound.input_image_tokens == 2_240
    text = GEMINI.read(parts(blob(b"word " * 400, "text/csv")), ASKED)
    assert (text.unbounded, text.input_bound.input_tokens > 2_000) == ("", True)


URL = {"fileData": {"fileUri": "https://example.com/a.mp4", "mimeType": "video/mp4"}}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (parts(blob(b"\0\0\0\x18ftypmp42", "video/mp4")), "contents[0].parts[0].inlineData.data"),
        (parts(blob(b"not a picture", "image/heic")), "contents[0].parts[0].inlineData.data"),
        (parts(blob(b"no pages", "application/pdf")), "contents[0].parts[0].inlineData.data"),
        (parts(blob(b"PK", "application/vnd.ms-excel")), "contents[0].parts[0].inlineData.data"),
        (parts({"text": "a"}, URL), "contents[0].parts[1].fileData.fileUri"),
        (parts({"partOfTomorrow": {}}), "contents[0].parts[0].partOfTomorrow"),
        (parts({"functionResponse": {"parts": [URL]}}),
         "contents[0].parts[0].functionResponse.parts[0].fileData.fileUri"),
        (body(tools=[{"functionDeclarations": []}, {"googleSearch": {}}]), "tools[1].googleSearch"),
        (body(tools={"google_search": {}}), "tools[0].google_search"),
        (body(tools=[{"urlContext": {}}]), "tools[0].urlContext"),
        (body(tools=[{"code_execution": {}}]), "tools[0].code_execution"),
        (body(tools=[{"toolOfTomorrow": {}}]), "tools[0].toolOfTomorrow"),
        (body(tools=[{"mcpServers": [{}]}]), "tools[0].mcpServers"),
        (body(continuationToken="abc"), "continuationToken"),
        (body(contents=[{"parts": [], "fieldOfTomorrow": 1}]), "contents[0].fieldOfTomorrow"),
    ],
)  # fmt: skip
def test_names_what_makes_the_cost_unknown(raw: bytes, field: str) -> None:
    """What the bytes do not show makes the call unbounded, by name."""
    assert GEMINI.read(raw, ASKED).unbounded == field


def test_functions_and_schemas_count() -> None:
    """Declared functions and schemas are input; a computer's own functions are added."""
    plain = GEMINI.read(body(), ASKED).input_bound.input_tokens
    function = {"name": "weather", "description": "The weather. " * 20}
    declared = GEMINI.read(body(tools=[{"functionDeclarations": [function]}]), ASKED)
    assert declared.unbounded == ""
    assert declared.input_bound.input_tokens > plain + 500
    schema = GEMINI.read(body(generationConfig={"responseJsonSchema": {"type": "object", "title": "x" * 300}}), ASKED)
    assert schema.input_bound.input_tokens > plain + 600
    assert GEMINI.read(body(tools=[{"computerUse": {}}]), ASKED).input_bound.input_tokens > plain + 3_000


def test_searches_are_held_for() -> None:
    """A search tool has its calls in the bounds: one prompt for Gemini 2, several queries for Gemini 3."""
    raw = body(tools=[{"googleSearch": {}}, {"googleMaps": {}}])
    call = GEMINI.read(raw, ASKED)
    assert call.input_upper.tools == {"web_search": 4, "google_maps": 4}
    older = GEMINI.read(raw, Asked(params={"model": "gemini-2.5-flash"}))
    assert older.input_bound.tools == {"web_search": 1, "google_maps": 1}


_TWICE = b'{"contents":[],"generationConfig":{"maxOutputTokens":5,"maxOutputTokens":50000}}'
_BOTH = b'{"contents":[],"generationConfig":{"maxOutputTokens":5,"max_output_tokens":50000}}'
_HIDDEN = b'{"contents":[{"parts":[{"fileData":{"fileUri":"https://e.com/a"},"fileData":null}]}]}'


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (_TWICE, "maxOutputTokens"),
        (_BOTH, "maxOutputTokens"),
        (_HIDDEN, "fileData"),
        (b'{"generationConfig":{},"generation_config":{"maxOutputTokens":9}}', "generationConfig"),
        (b'{"generationConfig":{"MaxOutputTokens":9}}', "maxOutputTokens"),
        (b'{"generationConfig":{"maxoutputtokens":9}}', "maxOutputTokens"),
        (b'{"generationconfig":{}}', "generationConfig"),
        (b'{"generationConfig":{"max\\u004futputTokens":1,"maxOutputTokens":9}}', "maxOutputTokens"),
        (body(generationConfig=[]), "generationConfig"),
        (body(generationConfig={"maxOutputTokens": "nine"}), "maxOutputTokens"),
        (body(generationConfig={"maxOutputTokens": 1.5}), "maxOutputTokens"),
        (body(generationConfig={"candidateCount": 0}), "candidateCount"),
        (body(cachedContent="cachedContents/1"), "cachedContent"),
        (body(cached_content="cachedContents/1"), "cachedContent"),
        (body(model="models/gemini-2.5-pro"), "model"),
        (body(contents="hi", tools="x"), "tools"),
        (body(contents=[3]), "contents[0]"),
        (parts({"inlineData": 3}), "contents[0].parts[0].inlineData"),
        (body(tools=[{"fileSearch": {}}]), "tools[0].fileSearch"),
        (parts({"fileData": {"fileUri": "files/abc"}}), "contents[0].parts[0].fileData.fileUri"),
        (parts({"file_data": {"file_uri": "https://generativelanguage.googleapis.com/v1/files/a"}}),
         "contents[0].parts[0].fileData.fileUri"),
        (parts({"fileData": {"fileUri": "gs://bucket/a"}}), "contents[0].parts[0].fileData.fileUri"),
        (b"[]", None),
    ],
)  # fmt: skip
def test_refuses(raw: bytes, param: str | None) -> None:
    """What leads round a bound, is no request, or lies in the operator's account is refused by name."""
    with pytest.raises(BadRequest) as caught:
        GEMINI.read(raw, ASKED)
    assert caught.value.param == param


@pytest.mark.parametrize("query", [{"fields": ["candidates"]}, {"$fields": ["x"]}, {"alt": ["proto"]},
                                   {"alt": ["sse", "proto"]}, {"$alt": ["proto"]}, {"callback": ["f"]}])  # fmt: skip
def test_a_query_that_changes_the_answer_is_refused(query: dict[str, list[str]]) -> None:
    """A field mask, another encoding or a callback would hide the usage."""
    for shape in (GEMINI, GEMINI_STREAM, GEMINI_EMBED, GEMINI_EMBED_BATCH, GEMINI_COUNT_TOKENS):
        with pytest.raises(BadRequest) as caught:
            shape.read(b"{}", Asked(params={"model": MODEL}, query=query))
        assert caught.value.param == next(iter(query))


@pytest.mark.parametrize(
    ("raw", "limited"),
    [
        (b"{}", b'{"generationConfig":{"maxOutputTokens":7}}'),
        (b'{"contents":[]}', b'{"generationConfig":{"maxOutputTokens":7},"contents":[]}'),
        (b'{"generationConfig":null}', b'{"generationConfig":{"maxOutputTokens":7}}'),
        (b'{"generationConfig": {"topK": 1} }', b'{"generationConfig": {"maxOutputTokens":7,"topK": 1} }'),
        (b'{"generation_config":{"max_output_tokens":99}}', b'{"generation_config":{"max_output_tokens":7}}'),
        (b'{"generationConfig":{"maxOutputTokens":null}}', b'{"generationConfig":{"maxOutputTokens":7}}'),
        (b'{"generationConfig":{"maxOutputTokens":3}}', b'{"generationConfig":{"maxOutputTokens":3}}'),
    ],
)
def test_a_limit_changes_nothing_else(raw: bytes, limited: bytes) -> None:
    """The limit is written where Gemini reads it, in the spelling that stands there, and nowhere else."""
    call = GEMINI.read(raw, ASKED)
    assert GEMINI.limit(raw, call, 7) == limited
    assert GEMINI.prepare(raw, call) is raw
    assert GEMINI.read(limited, ASKED).output_tokens_max in (3, 7)


def test_embeddings() -> None:
    """Input only, alone or in a batch, with a count or, from older models, without one."""
    one = json.dumps(
        {"model": f"models/{MODEL}", "content": {"parts": [{"text": "word " * 30}]}, "taskType": "X"}
    ).encode()
    batch = b'{"requests":[' + one + b"," + one + b"]}"
    single, double = GEMINI_EMBED.read(one, ASKED), GEMINI_EMBED_BATCH.read(batch, ASKED)
    assert (single.model, single.output_field, single.unbounded) == (MODEL, "", "")
    assert single.input_typical.input_tokens < double.input_typical.input_tokens
    for shape, answer in ((GEMINI_EMBED, {"embedding": {"values": [0.1]}}), (GEMINI_EMBED_BATCH, {"embeddings": []})):
        for usage, expected in (({"promptTokenCount": 31}, Usage(input_tokens=31)), (None, None)):
            meter = shape.meter(single, streamed=False)
            meter.feed(json.dumps({**answer, "usageMetadata": usage}).encode())
            assert meter.finish() == Reading(usage=expected, complete=True)
    with pytest.raises(BadRequest):
        GEMINI_EMBED_BATCH.read(json.dumps({"requests": [{"model": "models/other", "content": {}}]}).encode(), ASKED)
    video = {"content": {"parts": [blob(b"", "video/mp4")]}}
    assert GEMINI_EMBED_BATCH.read(json.dumps({"requests": [video]}).encode(), ASKED).unbounded
    with pytest.raises(BadRequest) as caught:
        GEMINI_EMBED_BATCH.read(json.dumps({"requests": [video, video]}).encode(), ASKED)
    assert caught.value.code == "unbounded_cost"
    picture = {"requests": [{"content": {"parts": [blob(png(300, 300), "image/png")]}}]}
    assert GEMINI_EMBED_BATCH.read(json.dumps(picture).encode(), ASKED).input_bound.input_image_tokens == 2_240


def test_counting_is_free_but_refers_to_nothing_foreign() -> None:
    """Counting costs nothing; what is not the caller's stays out of its reach there too."""
    assert GEMINI_COUNT_TOKENS.read(body(), ASKED).model == MODEL
    assert GEMINI_COUNT_TOKENS.meter(CALL, streamed=False).finish().usage == Usage()
    whole_ = json.dumps({"generateContentRequest": {"model": f"models/{MODEL}", "cachedContent": "cachedContents/1"}})
    for raw in (whole_.encode(), parts({"fileData": {"fileUri": "files/abc"}})):
        with pytest.raises(BadRequest):
            GEMINI_COUNT_TOKENS.read(raw, ASKED)


# ---- the simulator's answers, right and wrong


@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent"])
@pytest.mark.parametrize(
    "fault",
    [
        *("", "usage=zero", "usage=twice", "cache=hit", "web_searches=2"),
        *(f"usage={kind}" for kind in ("missing", "negative", "absurd", "float", "cached", "decreasing")),
    ],
)
def test_the_simulator_s_bill_is_read(verb: str, fault: str) -> None:
    """What is reported is billed; what is doubtful is estimated, and is never free."""
    place, _, query = verb.partition("?")
    made = simulated(
        "POST",
        f"/v1/models/{MODEL}:{verb}",
        {},
        body(),
        provider="google",
        faults=Faults.parse(fault),
        request_id="req_1",
        now_s=1,
    )
    stream = place.startswith("stream")
    call = Call(model=MODEL, stream=stream, input_typical=Usage(input_tokens=9), output_field="x")
    meter = (GEMINI_STREAM if stream else GEMINI).meter(call, streamed=bool(query))
    for step in made.steps:
        assert isinstance(step, bytes)
        meter.feed(step)
    concluded = conclude(call, meter.finish(), ended="complete", http_status=200)
    billed = made.billed or {}
    if fault == "usage=decreasing" and not stream:
        return  # in one body a count that was halved stands alone, and nobody can tell
    if fault.startswith("usage=") and fault not in ("usage=zero", "usage=twice"):
        assert concluded.status == "estimated"
        assert concluded.usage.output_tokens > 0
    else:
        assert (concluded.status, concluded.flags) == ("settled", ())
        assert (concluded.usage.input_tokens, concluded.usage.output_tokens) == (
            billed["input_tokens"],
            billed["output_tokens"],
        )
        assert concluded.usage.tools == ({"web_search": 2} if fault == "web_searches=2" else {})


@pytest.mark.parametrize("said", [b"1024", b'"1024"', b"1024.0", b"1.024e3", b'"1.024E+3"', b'"1024.000"'])
def test_integers_are_read_as_protojson_writes_them(said: bytes) -> None:
    """As a number or as a text, with a fraction of nothing or an exponent; a lower limit takes its place."""
    raw = (
        b'{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"candidateCount":"2","maxOutputTokens":%b}}'
        % said
    )
    call = GEMINI.read(raw, ASKED)
    assert (call.output_tokens_max, call.choices) == (1024, 2)
    assert GEMINI.limit(raw, call, 2_000) == raw
    assert json.loads(GEMINI.limit(raw, call, 10))["generationConfig"]["maxOutputTokens"] == 10


@pytest.mark.parametrize(
    "said", [b'"x"', b'""', b"1.5", b'" 1"', b"1e99", b'"1e-1"', b"true", b"[1]", b'"-1"', b'"\\u0031"']
)
def test_what_is_no_integer_is_refused(said: bytes) -> None:
    raw = b'{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":%b}}' % said
    with pytest.raises(BadRequest) as caught:
        GEMINI.read(raw, ASKED)
    assert caught.value.param == "maxOutputTokens"


@pytest.mark.parametrize(("said", "tier"), [(b"0", ""), (b"1", "priority"), (b"3", "priority"), (b'"flex"', "flex")])
def test_a_tier_may_be_a_number(said: bytes, tier: str) -> None:
    """Which number is which is not said, so it is the dearest."""
    assert GEMINI.read(b'{"contents":[],"serviceTier":%b}' % said, ASKED).service_tier == tier
