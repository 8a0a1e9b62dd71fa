"""What sockets are asked by and told has tables, too: every field of the SDKs' messages stands in one."""

from __future__ import annotations

import json
import typing
import warnings
from typing import Any
from urllib.parse import parse_qs

import pytest
from deepgram.listen.v1.types.listen_v1configure import ListenV1Configure
from deepgram.listen.v2.types.listen_v2configure import ListenV2Configure
from deepgram.speak.v1.types.speak_v1text import SpeakV1Text
from elevenlabs.realtime.scribe import RealtimeAudioOptions
from elevenlabs.types.initialize_connection import InitializeConnection
from elevenlabs.types.input_audio_chunk_payload import InputAudioChunkPayload
from elevenlabs.types.send_text import SendText
from elevenlabs.types.websocket_tts_client_message_multi import WebsocketTtsClientMessageMulti
from google.genai import types as google
from openai.types import realtime

from providers.contract.fields import Fields
from providers.contract.shapes import Asked
from providers.contract.sockets import Due, SocketShape, Stop
from providers.deepgram import fields as deepgram_fields
from providers.deepgram.live import DEEPGRAM_FLUX, DEEPGRAM_LISTEN, DEEPGRAM_SPEAK
from providers.elevenlabs import fields as elevenlabs_fields
from providers.elevenlabs.live import ELEVENLABS_STREAM_INPUT, ELEVENLABS_TRANSCRIBE
from providers.google import fields as google_fields
from providers.google.live import GEMINI_LIVE
from providers.openai import fields as openai_fields
from providers.openai.realtime import OPENAI_REALTIME
from providers.operations import TABLE
from tests.providers.test_fields import camel, hints, signature
from tests.providers.test_socket_meters import asked, meter_of
from tests.wires import PCM_16K, WIRES, Wire, said

with warnings.catch_warnings(action="ignore"):  # they import what websockets calls old
    from deepgram.listen.v1.client import V1Client as ListenClient
    from deepgram.listen.v2.client import V2Client as FluxClient
    from deepgram.speak.v1.client import V1Client as SpeakClient

SHAPES = {row.operation.name: row.operation.socket for row in TABLE if row.operation.socket is not None}


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: f"{wire.provider}-{wire.name}")
def test_what_clients_say_stands_in_tables(wire: Wire) -> None:
    """A new parameter of the query and a new member of any message are named."""
    shape = SHAPES[wire.route]
    assert shape is not None
    query = parse_qs(wire.path.partition("?")[2])
    opening = wire.frames[0] if shape.first_frame == "call" else b""
    opening = opening.encode() if isinstance(opening, str) else opening
    assert shape.read(opening, Asked(query=query)).unlisted == ""
    if shape is not GEMINI_LIVE:  # it is asked by its first message
        assert shape.read(opening, Asked(query=query | {"brand_new": ["1"]})).unlisted == "brand_new"
    for frame in wire.frames:
        assert shape.unlisted(frame) == ""
        if isinstance(frame, str):
            assert camel(shape.unlisted(json.dumps(json.loads(frame) | {"brand_new": 1}))) == "brandNew"


def test_every_socket_has_words_above() -> None:
    assert {wire.route for wire in WIRES} == SHAPES.keys()


def of(*models: Any) -> set[str]:
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


EVENTS = typing.get_args(typing.get_args(realtime.RealtimeClientEvent)[0])
_KEYS = {"xi_api_key", "authorization", "token"}
SENT: dict[str, tuple[Fields, set[str]]] = {
    "realtime": (openai_fields.REALTIME, of(*EVENTS)),
    "realtime session": (
        openai_fields.REALTIME_SESSION,
        of(realtime.RealtimeSessionCreateRequest, realtime.RealtimeTranscriptionSessionCreateRequest),
    ),
    "realtime response": (openai_fields.REALTIME_RESPONSE, of(realtime.RealtimeResponseCreateParams)),
    "live": (google_fields.LIVE, set(map(camel, google.LiveClientMessage.model_fields))),
    "live setup": (google_fields.LIVE_SETUP, set(map(camel, google.LiveClientSetup.model_fields))),
    "live query": (
        deepgram_fields.LIVE, signature(ListenClient.connect) | signature(FluxClient.connect) - {"authorization"}
    ),
    "speak query": (deepgram_fields.SPEAK, signature(SpeakClient.connect)),
    "transcribe query": (elevenlabs_fields.TRANSCRIBE, hints(RealtimeAudioOptions) - {"sample_rate"}),
}  # fmt: skip
MESSAGES: list[tuple[SocketShape, str, Any]] = [
    (DEEPGRAM_LISTEN, "Configure", ListenV1Configure),
    (DEEPGRAM_FLUX, "Configure", ListenV2Configure),
    (DEEPGRAM_SPEAK, "Speak", SpeakV1Text),
    (ELEVENLABS_TRANSCRIBE, "input_audio_chunk", InputAudioChunkPayload),
    (ELEVENLABS_STREAM_INPUT, "", InitializeConnection),
    (ELEVENLABS_STREAM_INPUT, "", SendText),
    (ELEVENLABS_STREAM_INPUT, "", WebsocketTtsClientMessageMulti),
]


@pytest.mark.parametrize("name", SENT)
def test_every_field_that_the_sdk_sends_stands_in_one_row(name: str) -> None:
    table, sent = SENT[name]
    rows = [field for row in table.rows.values() for field in row]
    assert sent - set(rows) - _KEYS == set()
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize(("shape", "kind", "model"), MESSAGES)
def test_every_member_of_the_sdk_s_messages_is_known(shape: SocketShape, kind: str, model: Any) -> None:
    message = dict.fromkeys(model.model_fields, None)
    message |= {name: kind for name in ("type", "message_type") if name in message}
    assert shape.unlisted(json.dumps(message)) == ""


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_every_kind_of_event_is_known(event: Any) -> None:
    kind = typing.get_args(event.model_fields["type"].annotation)[0]
    assert OPENAI_REALTIME.unlisted(said(type=kind)) == ""


def _update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime"} | session}


def _item(**item: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item}


@pytest.mark.parametrize(
    ("shape", "message", "named"),
    [
        (OPENAI_REALTIME, {"type": "output_video.create"}, "type"),
        (OPENAI_REALTIME, {"type": 1}, "type"),
        (OPENAI_REALTIME, {"type": "session.update", "session": {"brand_new": 1}}, "session.brand_new"),
        (OPENAI_REALTIME, {"type": "response.create", "response": {"brand_new": 1}}, "response.brand_new"),
        (GEMINI_LIVE, {"setup": {"generation_config": {"brand_new": 1}}}, "setup.generationConfig.brandNew"),
        (GEMINI_LIVE, {"realtime_input": {"brandNew": 1}}, "realtimeInput.brandNew"),
        (GEMINI_LIVE, {"contextUpdate": {"tools": {"tools": [{"functionDeclarations": []}]}}}, ""),
        (
            GEMINI_LIVE,
            {"context_update": {"tools": {"tools": [{"googleSearch": {}}]}}},
            "contextUpdate.tools[0].googleSearch",
        ),
        (DEEPGRAM_LISTEN, {"type": "Configure", "features": {"numerals": True}}, ""),
        (DEEPGRAM_LISTEN, {"type": "Configure", "features": {"diarize": True}}, "features.diarize"),
        (DEEPGRAM_SPEAK, {"type": "Sing", "text": "la"}, "type"),
        (OPENAI_REALTIME, _update(audio={"input": {"brand_new": 1}}), "session.audio.input.brand_new"),
        (
            OPENAI_REALTIME,
            _update(audio={"input": {"turn_detection": {"brand_new": 1}}}),
            "session.audio.input.turn_detection.brand_new",
        ),
        (OPENAI_REALTIME, _update(tools=[{"type": "hologram"}]), "session.tools[0].type"),
        (OPENAI_REALTIME, _update(voice={"id": "v", "brand_new": 1}), "session.voice.brand_new"),
        (OPENAI_REALTIME, _item(type="hologram"), "item.type"),
        (OPENAI_REALTIME, _item(type="message", content=[{"type": "input_text", "text": "x"}]), ""),
        (OPENAI_REALTIME, _item(type="message", content=[{"type": "hologram"}]), "item.content[0].type"),
        (
            OPENAI_REALTIME,
            {"type": "response.create", "response": {"input": [{"type": "hologram"}]}},
            "response.input[0].type",
        ),
        (
            GEMINI_LIVE,
            {"clientContent": {"turns": [{"parts": [{"hologram": {}}]}]}},
            "clientContent.turns[0].parts[0].hologram",
        ),
        (
            GEMINI_LIVE,
            {"client_content": {"turns": [{"parts": [{"inline_data": {"brand_new": 1}}]}]}},
            "clientContent.turns[0].parts[0].inlineData.brandNew",
        ),
        (
            GEMINI_LIVE,
            {"realtimeInput": {"audio": {"data": "", "mimeType": "audio/pcm", "brandNew": 1}}},
            "realtimeInput.audio.brandNew",
        ),
        (GEMINI_LIVE, {"toolResponse": {"functionResponses": [{"name": "f", "response": {"a": {}}}]}}, ""),
        (
            GEMINI_LIVE,
            {"toolResponse": {"functionResponses": [{"parts": [{"hologram": {}}]}]}},
            "toolResponse.functionResponses[0].parts[0].hologram",
        ),
        (ELEVENLABS_STREAM_INPUT, {"text": " ", "voice_settings": {"brand_new": 1}}, "voice_settings.brand_new"),
        (ELEVENLABS_TRANSCRIBE, {"message_type": "edit"}, "message_type"),
    ],
)
def test_what_is_in_no_table_is_named_with_its_place(shape: SocketShape, message: dict[str, Any], named: str) -> None:
    assert shape.unlisted(json.dumps(message)) == named
    assert shape.unlisted(json.dumps(message).encode()) in (named, "")  # sound is bytes, at one of them


# ---- the rows are true


def test_tools_that_come_in_the_midst_have_a_price_or_end_the_socket() -> None:
    """As those that the setup brings; nothing of the first ones stays."""
    setup = said(setup={"model": "models/gemini-3.8-live"})
    meter = meter_of(GEMINI_LIVE, setup.encode())
    for tools, stops in (([{"googleSearch": {}}], False), ([{"google_maps": {}}], True), ([{"new": {}}], True)):
        due = meter.weigh(said(contextUpdate={"tools": {"tools": tools}}))
        assert isinstance(due, Stop) is stops, tools
        if isinstance(due, Stop):
            assert (due.code, (due.param or "")[:19]) == ("unbounded_cost", "contextUpdate.tools")
    assert isinstance(meter.weigh(said(contextUpdate={"systemInstruction": {"parts": [{"text": "hi"}]}})), Due)


@pytest.mark.parametrize(
    ("setup", "named"),
    [
        ({"avatarConfig": {"avatarName": "x"}}, "setup.avatarConfig"),
        ({"proactivity": {"proactive_video": True}}, "setup.proactivity.proactiveVideo"),
        ({"proactivity": {"proactiveAudio": True, "proactiveVideo": False}}, ""),
    ],
)
def test_turns_that_nobody_asks_for_are_not_bounded(setup: dict[str, Any], named: str) -> None:
    """Nor is a picture of who speaks."""
    opening = said(setup={"model": "models/gemini-3.8-live"} | setup).encode()
    assert GEMINI_LIVE.read(opening).unbounded == named


@pytest.mark.parametrize(("shape", "query"), [(DEEPGRAM_LISTEN, "nova-3"), (DEEPGRAM_SPEAK, "aura-2-thalia-en")])
def test_who_leaves_a_discount_pays_what_is_in_no_price_list(shape: SocketShape, query: str) -> None:
    """Deepgram's prices are those of accounts whose sound it may learn from."""
    assert shape.read(b"", asked(model=query, mip_opt_out="true")).endless == "mip_opt_out"
    assert shape.read(b"", asked(model=query, mip_opt_out="false")).endless == ""


def test_an_edit_of_live_transcripts_costs_at_least_ten_seconds_of_each() -> None:
    """How many there will be nobody knows, so it is refused where the cap must hold."""
    assert ELEVENLABS_TRANSCRIBE.read(b"", asked(transcript_edit="shorter")).unbounded == "transcript_edit"
    assert ELEVENLABS_TRANSCRIBE.read(b"", asked(transcript_edit="")).unbounded == ""
    meter = meter_of(ELEVENLABS_TRANSCRIBE, transcript_edit="shorter")
    for _ in range(3):
        meter.received(said(message_type="committed_transcript"))
    assert meter.used().tools == {"transcript_edit_ms": 30_000}


def test_a_chunk_that_says_a_lower_rate_is_as_long_as_it_says() -> None:
    """Not as the query declares; one that says a higher rate is believed to be no shorter."""
    meter = meter_of(ELEVENLABS_TRANSCRIBE, audio_format="pcm_48000")
    chunk = {"message_type": "input_audio_chunk", "audio_base_64": "AAAA" * 8_000}
    for rate, ms in ((48_000, 250), (8_000, 1_500), (96_000, 250), (None, 250)):
        due = meter.weigh(json.dumps(chunk | {"sample_rate": rate}))
        assert isinstance(due, Due)
        assert meter.used(due).audio_ms == ms


def test_a_wav_file_on_a_live_socket_is_not_shorter_than_it_says_or_was_declared() -> None:
    """What its head says twice, or cannot be, is sound of unknown length: a byte is a millisecond at most."""
    honest = (
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\xff\xff\xff\xff"
        + bytes(20)
    )
    forged = honest.replace(b"\x80\x3e\0\0", b"\0\x96\x98\0")  # bytes a second that its samples do not come to
    for head, query, ms in (
        (honest, {}, 1_000),
        (forged, {}, 16_000),
        (honest, {"encoding": "linear16", "sample_rate": "48000"}, 1_000),
        (honest, {"encoding": "linear16", "sample_rate": "4000"}, 2_000),
        (PCM_16K[:64], {"encoding": "linear16", "sample_rate": "8000"}, 1_000),
    ):
        meter = meter_of(DEEPGRAM_LISTEN, model="nova-3", **query)
        due = meter.weigh(head + bytes(16_000 - len(head)))
        assert isinstance(due, Due)
        meter.sent(due)
        assert meter.exposed().audio_ms == ms, (head[:50], query)
