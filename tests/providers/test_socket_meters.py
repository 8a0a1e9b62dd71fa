"""What each socket protocol's usage means, from the documented shapes: whole, missing, contradictory, and bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.contract.shapes import Asked
from providers.contract.sockets import Due, SocketMeter, SocketShape, Stop
from providers.deepgram.live import DEEPGRAM_FLUX, DEEPGRAM_LISTEN, DEEPGRAM_SPEAK
from providers.elevenlabs.live import ELEVENLABS_STREAM_INPUT, ELEVENLABS_TRANSCRIBE
from providers.google.live import GEMINI_LIVE
from providers.google.live import usage_of as gemini_usage
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai.realtime import OPENAI_REALTIME
from providers.openai.realtime_usage import transcription_usage
from providers.openai.realtime_usage import usage_of as realtime_usage
from providers.reading.frames import without_secrets
from tests.wires import said


def asked(**query: str) -> Asked:
    return Asked(query={name: [value] for name, value in query.items()})


def meter_of(shape: SocketShape, opening: bytes = b"", max_input: int | None = None, **query: str) -> SocketMeter:
    call = shape.read(opening, asked(**query))
    return shape.meter(call, asked(**query), max_input_tokens=max_input, max_output_tokens=None)


def tell(meter: SocketMeter, *frames: str | bytes) -> None:
    for frame in frames:
        due = meter.weigh(frame)
        assert isinstance(due, Due)
        meter.sent(due)


# ---- OpenAI

DONE = {
    "total_tokens": 253,
    "input_tokens": 200,
    "output_tokens": 53,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 71,
        "image_tokens": 10,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 40, "audio_tokens": 24, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 23},
}


def test_a_realtime_response_s_usage_is_split_by_modality_and_cache() -> None:
    """Totals include their parts; cached audio is told apart from cached text."""
    flags: set[str] = set()
    assert realtime_usage(DONE, flags) == Usage(
        input_tokens=200,
        cache_read_tokens=64,
        cache_read_audio_tokens=24,
        input_audio_tokens=71,
        input_image_tokens=10,
        output_tokens=53,
        output_audio_tokens=23,
    )
    assert flags == set()


@pytest.mark.parametrize(
    ("usage", "flag", "tokens"),
    [
        ({**DONE, "total_tokens": 300}, "usage_contradictory", 300),
        ({"input_tokens": 5, "total_tokens": 9}, "usage_incomplete", 9),
        ({**DONE, "input_token_details": {"cached_tokens": 10**6}}, "usage_contradictory", 253),
        ({"input_tokens": -5, "output_tokens": 4}, "usage_negative", 4),
    ],
)
def test_a_realtime_usage_that_contradicts_itself_is_read_as_the_larger(
    usage: dict[str, Any], flag: str, tokens: int
) -> None:
    """The larger reading, flagged."""
    flags: set[str] = set()
    read = realtime_usage(usage, flags)
    assert read is not None
    assert (read.tokens, flag in flags) == (tokens, True)


def test_responses_of_a_session_are_added_and_a_missing_usage_is_an_estimate() -> None:
    """Each `response.done` counts; one without usage is estimated from what was said, and the session says so."""
    meter = meter_of(OPENAI_REALTIME, model="gpt-realtime")
    for _ in range(2):
        tell(meter, said(type="response.create"))
        assert meter.busy()
        meter.received(said(type="response.created", response={"id": "resp_1"}))
        meter.received(said(type="response.done", response={"id": "resp_1", "usage": DONE}))
    assert not meter.busy()
    assert meter.used().tokens == 506
    assert not meter.finish().partial
    tell(meter, said(type="response.create"))
    meter.received(said(type="response.created", response={"id": "resp_2"}))
    meter.received(said(type="response.output_text.delta", delta="word " * 40))
    assert meter.used().output_tokens > 106
    meter.received(said(type="response.done", response={"id": "resp_2", "usage": None}))
    reading = meter.finish()
    assert (reading.partial, reading.flags) == (True, ("usage_missing",))
    assert reading.usage is not None
    assert reading.usage.output_tokens > 106


def test_a_refused_response_is_not_waited_for() -> None:
    """An error about an asked response takes it off again: nothing is running then."""
    meter = meter_of(OPENAI_REALTIME, model="gpt-realtime")
    tell(meter, said(type="response.create", event_id="mine"))
    meter.received(said(type="error", error={"type": "invalid_request_error", "event_id": "mine", "code": "x"}))
    assert not meter.busy()


def test_transcriptions_count_by_tokens_or_by_time() -> None:
    """Both forms of a transcription's usage."""
    tokens = {"type": "tokens", "input_tokens": 22, "output_tokens": 9, "total_tokens": 31,
              "input_token_details": {"text_tokens": 2, "audio_tokens": 20}}  # fmt: skip
    assert transcription_usage(tokens, set()) == Usage(input_tokens=22, input_audio_tokens=20, output_tokens=9)
    assert transcription_usage({"type": "duration", "seconds": 2.5}, set()) == Usage(audio_ms=2_500)


def test_an_open_ended_response_is_bounded_by_the_model_s_limits() -> None:
    """What may come is at most the output limit; the input at most everything that was said, or the model's window."""
    meter = meter_of(OPENAI_REALTIME, model="gpt-realtime", max_input=32_000)
    meter.received(said(type="session.updated", session={"audio": {"input": {"turn_detection": None}}}))
    assert meter.exposed() == Usage()
    ask = meter.weigh(said(type="response.create", response={"max_output_tokens": 100}))
    assert isinstance(ask, Due)
    assert meter.exposed(ask).output_tokens == 100
    assert meter.exposed(ask).input_tokens < 2_000
    remote = meter.weigh(said(type="response.create", response={"prompt": {"id": "pmpt_1"}}))
    assert isinstance(remote, Due)
    assert (meter.exposed(remote).input_tokens, meter.exposed(remote).output_tokens) == (32_000, 4_096)


def test_spoken_input_may_start_a_response_by_itself() -> None:
    """With voice activity detection, sound alone counts for a response to come; without, it does not."""
    meter = meter_of(OPENAI_REALTIME, model="gpt-realtime")
    tell(meter, said(type="input_audio_buffer.append", audio="AAAA" * 1_600))
    assert meter.exposed().output_tokens == 4_096
    meter.received(said(type="session.updated", session={"audio": {"input": {"turn_detection": None}}}))
    assert meter.exposed().output_tokens == 0


def test_sound_ahead_of_time_may_bring_about_more_than_one_response() -> None:
    """Three seconds at once can hold six turns that nobody has answered yet; when they have passed, one."""
    meter = meter_of(OPENAI_REALTIME, model="gpt-realtime")
    tell(meter, said(type="input_audio_buffer.append", audio="AAAA" * 48_000))
    assert meter.exposed().output_tokens == 7 * 4_096
    meter.elapsed(3_000)
    assert meter.exposed().output_tokens == 4_096


@pytest.mark.parametrize("query", [{}, {"model": ""}, {"model": "m", "call_id": "c"}, {"intent": "transcription"}])
def test_a_realtime_socket_names_its_model(query: dict[str, str]) -> None:
    """Without a model, or for a call whose media passes elsewhere, there is nothing to hold: refused."""
    with pytest.raises(BadRequest):
        OPENAI_REALTIME.read(b"", asked(**query))


# ---- Google

TURN = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 30,
    "responseTokenCount": 20,
    "toolUsePromptTokenCount": 5,
    "thoughtsTokenCount": 15,
    "totalTokenCount": 140,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 40}],
    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
}


def snake(value: Any) -> Any:
    """The same message in protobuf's other spelling."""
    if isinstance(value, dict):
        return {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): snake(v) for name, v in value.items()}
    return [snake(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("spelt", [TURN, snake(TURN)], ids=["camel", "snake"])
def test_a_live_turn_s_usage_adds_thoughts_and_tools(spelt: dict[str, Any]) -> None:
    """Thoughts are output and tool prompts input, whatever the two totals say; both spellings are one."""
    flags: set[str] = set()
    assert gemini_usage(spelt, flags) == Usage(
        input_tokens=105,
        cache_read_tokens=30,
        cache_read_audio_tokens=10,
        input_audio_tokens=40,
        output_tokens=35,
        reasoning_tokens=15,
        output_audio_tokens=20,
    )
    assert flags == set()


@pytest.mark.parametrize("other", [lambda message: message, snake], ids=["camel", "snake"])
def test_live_turns_are_added_up(other: Any) -> None:
    """One count a turn: the session is their sum, and a turn that was not counted is an estimate."""
    opening = json.dumps(other({"setup": {"model": "models/gemini-3.8-live"}})).encode()
    meter = meter_of(GEMINI_LIVE, opening)
    tell(meter, opening)
    for _ in range(2):
        tell(meter, json.dumps(other({"clientContent": {"turnComplete": True}})))
        assert meter.busy()
        meter.received(json.dumps(other({"serverContent": {"modelTurn": {"parts": [{"text": "Hello"}]}}})).encode())
        meter.received(json.dumps(other({"serverContent": {"turnComplete": True}, "usageMetadata": TURN})))
    assert (meter.used().tokens, meter.busy()) == (280, False)
    assert meter.finish().complete
    tell(meter, json.dumps(other({"clientContent": {"turnComplete": True}})))
    meter.received(json.dumps(other({"serverContent": {"modelTurn": {"parts": [{"text": "word " * 30}]}}})))
    reading = meter.finish()
    assert (reading.partial, reading.flags) == (True, ("usage_missing",))
    assert reading.usage is not None
    assert reading.usage.output_tokens > 70


def test_a_live_socket_is_set_up_once_and_by_name() -> None:
    """No model, no call; and no second setup, by which another could slip in."""
    for opening in (b"", b"[]", b'{"setup":{}}', b'{"clientContent":{}}'):
        with pytest.raises(BadRequest):
            GEMINI_LIVE.read(opening)
    setup = b'{"setup":{"model":"models/gemini-3.8-live","tools":[{"google_search":{}}]}}'
    assert GEMINI_LIVE.read(setup).unbounded == "setup.tools[0].google_search"
    meter = meter_of(GEMINI_LIVE, setup)
    tell(meter, setup)
    assert isinstance(meter.weigh(setup), Stop)


# ---- Deepgram


def test_a_transcription_is_its_duration_times_its_channels() -> None:
    """The provider's own final word counts, for each channel that is transcribed apart."""
    meter = meter_of(
        DEEPGRAM_LISTEN, model="nova-3", encoding="linear16", sample_rate="8000", channels="2", multichannel="true"
    )
    tell(meter, bytes(32_000))
    assert meter.used().audio_ms == 2_000
    meter.received(said(type="Metadata", duration=1.5, channels=2))
    assert meter.finish().usage == Usage(audio_ms=3_000)
    assert meter.finish().complete


def test_sound_in_a_container_is_bounded_by_its_bytes_and_guessed_by_time() -> None:
    """Opus at 24 kbit/s: its bytes allow three times its length; a WAV head tells the length exactly."""
    meter = meter_of(DEEPGRAM_LISTEN, model="nova-3")
    tell(meter, b"\x1aE\xdf\xa3" + bytes(2_996))
    meter.elapsed(1_000)
    assert (meter.used().audio_ms, meter.exposed().audio_ms) == (1_000, 3_000)
    reading = meter.finish()
    assert (reading.partial, reading.flags) == (True, ("usage_missing",))
    wav = meter_of(DEEPGRAM_LISTEN, model="nova-3")
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
    tell(wav, head + b"\2\0\x10\0data\0\0\0\0" + bytes(31_956))
    assert wav.used().audio_ms == wav.exposed().audio_ms == 1_000


def test_keyterms_that_come_later_cost_too() -> None:
    """A feature that is switched on in the middle of a stream is billed."""
    meter = meter_of(DEEPGRAM_LISTEN, model="nova-3", encoding="mulaw")
    tell(meter, bytes(8_000), said(type="Configure", keyterms=["Farthing"]))
    assert meter.used().tools == {"keyterm_ms": 1_000}


def test_flux_counts_what_was_sent_or_heard() -> None:
    """Flux has no final word: the sound that was sent, or the end of the last window where that is later."""
    meter = meter_of(DEEPGRAM_FLUX, model="flux-general-en", encoding="linear16", sample_rate="16000")
    tell(meter, bytes(32_000))
    meter.received(said(type="TurnInfo", audio_window_end=0.96))
    assert meter.finish().usage == Usage(audio_ms=1_000)
    meter.received(said(type="TurnInfo", audio_window_end=1.2))
    assert meter.finish().usage == Usage(audio_ms=1_200)


@pytest.mark.parametrize(
    ("shape", "query"),
    [
        (DEEPGRAM_LISTEN, {"model": "nova-3", "callback": "https://elsewhere.example"}),
        (DEEPGRAM_LISTEN, {"model": "nova-3", "channels": "99", "multichannel": "true"}),
        (DEEPGRAM_LISTEN, {"model": "nova-3", "encoding": "linear16", "sample_rate": "fast"}),
        (DEEPGRAM_FLUX, {}),
        (ELEVENLABS_TRANSCRIBE, {"audio_format": "mp3_44100"}),
    ],
)
def test_what_cannot_be_metered_is_refused_at_the_handshake(shape: SocketShape, query: dict[str, str]) -> None:
    """A result that goes elsewhere, sound of no known rate, a model that is not named."""
    with pytest.raises(BadRequest):
        shape.read(b"", asked(**query))


# ---- speech


@pytest.mark.parametrize("shape", [DEEPGRAM_SPEAK, ELEVENLABS_STREAM_INPUT])
def test_speech_counts_every_character(shape: SocketShape) -> None:
    """Characters, not bytes; spaces too."""
    meter = meter_of(shape)
    tell(meter, said(type="Speak", text="Grüße 🦊 "), said(type="Flush"))
    assert meter.used() == meter.exposed() == Usage(characters=8)
    assert meter.busy()


def test_a_key_in_a_message_is_taken_out_and_nothing_else() -> None:
    """What is left is as the client wrote it, byte for byte; a message without a key is not touched."""
    message = '{"text": "a\\u00e9",  "xi_api_key" : "K1" , "authorization":"Bearer K2","n": 1.50}'
    assert without_secrets(message, ELEVENLABS_STREAM_INPUT.secrets) == ('{"text": "a\\u00e9","n": 1.50}', ["K1", "K2"])
    for untouched in ('{"text":"xi_api_key"}', "no json", b"\0\1"):
        assert without_secrets(untouched, ELEVENLABS_STREAM_INPUT.secrets) == (untouched, [])
    with pytest.raises(BadRequest):
        without_secrets('{"xi_api_key":{"a":1}}', ELEVENLABS_STREAM_INPUT.secrets)


def test_dearer_transcriptions_are_told_apart() -> None:
    """Key terms and entities cost more by the second."""
    meter = meter_of(ELEVENLABS_TRANSCRIBE, keyterms="a", entity_redaction="all", audio_format="ulaw_8000")
    tell(meter, said(message_type="input_audio_chunk", audio_base_64="AAAA" * 2_667))
    assert meter.used().audio_ms == 1_001
    assert set(meter.used().tools) == {"keyterms_ms", "entity_detection_ms"}


@pytest.mark.parametrize("place", ["session", "response"])
def test_a_realtime_tool_that_stands_in_no_row_ends_the_socket(place: str) -> None:
    """The client runs functions, and MCP costs what it brings; of anything else nobody knows the price."""
    meter = meter_of(OPENAI_REALTIME, model="gpt-realtime")
    kind = "session.update" if place == "session" else "response.create"
    known = {"type": kind, place: {"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "x"}]}}
    assert isinstance(meter.weigh(json.dumps(known)), Due)
    stop = meter.weigh(json.dumps({"type": kind, place: {"tools": [{"type": "function"}, {"type": "web_search"}]}}))
    assert isinstance(stop, Stop)
    assert (stop.code, stop.param) == ("unbounded_cost", f"{place}.tools[1].type")
