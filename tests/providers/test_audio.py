"""Sound, in and out: what requests are held for, and what answers are billed as, in every provider's own shape."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.metering import Conclusion, conclude
from providers.contract.shapes import Asked, Call, Reference, Shape
from providers.deepgram.listen import DEEPGRAM_LISTEN
from providers.deepgram.text import DEEPGRAM_READ, DEEPGRAM_SPEAK
from providers.elevenlabs.hearing import ELEVENLABS_ISOLATION, ELEVENLABS_TRANSCRIPT, ELEVENLABS_VOICE_CHANGER
from providers.elevenlabs.speech import ELEVENLABS_DIALOGUE, ELEVENLABS_MUSIC, ELEVENLABS_SOUNDS, ELEVENLABS_SPEECH
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.mistral.speech import MISTRAL_SPEECH
from providers.openai.images import OPENAI_IMAGES
from providers.openai.speech import OPENAI_SPEECH
from providers.openai.transcription import TRANSCRIPTION
from providers.pricing.catalogue import Catalogue
from providers.simulator import sounds
from tests.providers.answers import CUTS, sse

NOW = 1_780_000_000_000
CATALOGUE = Catalogue.load()
FORM = {"content-type": "multipart/form-data; boundary=XX"}
WAV = sounds.wav(12.5, sample_rate=16_000)
JSON = {"content-type": "application/json"}
MP3 = {"content-type": "audio/mpeg"}


def form(*parts: tuple[str, str | bytes]) -> bytes:
    pieces = []
    for name, value in parts:
        filename = '; filename="a.wav"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        pieces.append(head.encode() + content + b"\r\n")
    return b"".join(pieces) + b"--XX--\r\n"


def asked(headers: Mapping[str, str] = FORM, **query: str) -> Asked:
    return Asked(headers=headers, query={name: [value] for name, value in query.items()})


def billed(
    shape: Shape,
    call: Call,
    answer: bytes,
    headers: Mapping[str, str] = JSON,
    *,
    status: int = 200,
    cuts: list[int] | None = None,
) -> Conclusion:
    """What an answer is billed as, fed in pieces."""
    streamed = headers["content-type"].startswith("text/event-stream")
    meter = shape.meter(call, streamed=streamed, headers=headers)
    at = 0
    for cut in [*sorted(cuts or []), len(answer)]:
        meter.feed(answer[at:cut])
        at = max(at, cut)
        assert meter.output_tokens_seen() >= 0
    return conclude(call, meter.finish(), ended="complete", http_status=status)


def cost(provider: str, call: Call, usage: Usage) -> int:
    price = CATALOGUE.find(provider, call.model, NOW)
    assert price is not None, call.model
    assert price.unpriced(usage) == ()
    return price.cost_picos(usage)


def in_order(provider: str, call: Call) -> None:
    """Typical and upper are priced, never free, and never above the bound."""
    price = CATALOGUE.find(provider, call.model, NOW)
    assert price is not None, call.model
    typical, upper, bound = (
        price.bound_picos(usage, cache_writes=False)
        for usage in (call.input_typical, call.input_upper, call.input_bound)
    )
    assert 0 < typical <= bound
    assert 0 < upper <= bound


# ---- transcription, OpenAI

TOKENS = {
    "type": "tokens",
    "input_tokens": 125,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 125},
    "output_tokens": 40,
    "total_tokens": 165,
}
SECONDS = {"type": "duration", "seconds": 12.5}


def transcription(model: str = "whisper-1", **fields: str) -> Call:
    return TRANSCRIPTION.read(form(("model", model), *fields.items(), ("file", WAV)), asked())


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"])
def test_a_transcription_is_held_for_by_its_length(model: str) -> None:
    call = transcription(model, prompt="names: Ada, Grace", stream="true")
    assert call.stream
    assert call.input_typical.audio_ms == call.input_bound.audio_ms == 12_502  # 44 bytes of head
    in_order("openai", call)


@pytest.mark.parametrize(
    ("answer", "status", "usage"),
    [
        ({"text": "hi", "usage": SECONDS}, "settled", Usage(audio_ms=12_500)),
        (
            {"text": "hi", "usage": TOKENS},
            "settled",
            Usage(input_tokens=125, input_audio_tokens=125, output_tokens=40, audio_ms=12_502),
        ),
        ({"text": "hi", "duration": 12.5, "segments": []}, "settled", Usage(audio_ms=12_500)),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 0}}, "settled", Usage()),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 7.0000001}}, "settled", Usage(audio_ms=7_001)),
        # Mistral's
        (
            {"text": "hi", "usage": {"prompt_audio_seconds": 12, "prompt_tokens": 5, "total_tokens": 9}},
            "settled",
            Usage(audio_ms=12_000),
        ),
        ({"text": "hi", "usage": {"prompt_audio_seconds": {}}}, "estimated", Usage(audio_ms=12_502)),
        ({"text": "hi"}, "estimated", Usage(audio_ms=12_502)),
        ({"text": "hi", "usage": None}, "estimated", Usage(audio_ms=12_502)),
        ({"text": "hi", "usage": {"type": "duration", "seconds": -3}}, "estimated", Usage(audio_ms=12_502)),
        ({"text": "hi", "usage": {"type": "duration", "seconds": "12"}}, "estimated", Usage(audio_ms=12_502)),
    ],
)
def test_a_transcript_says_what_it_cost(answer: Any, status: str, usage: Usage) -> None:
    found = billed(TRANSCRIPTION, transcription(), json.dumps(answer).encode())
    assert (found.status, found.usage) == (status, usage)


@pytest.mark.parametrize(
    "text", ["hello\n", "1\n00:00:00,000 --> 00:00:12,500\nhello\n", "WEBVTT\n\n", "{", '{"text":"h']
)
def test_a_text_or_a_cut_is_estimated_by_the_file(text: str) -> None:
    """`text`, `srt`, `vtt` say nothing of usage."""
    found = billed(TRANSCRIPTION, transcription(), text.encode(), {"content-type": "text/plain"})
    assert (found.status, found.usage.audio_ms) == ("estimated", 12_502)
    assert cost("openai", transcription("gpt-4o-transcribe"), found.usage) == 12_502 * 100_000


DELTAS = [{"type": "transcript.text.delta", "delta": word} for word in ("this ", "is ", "said")]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("pieces", [1, 1_000_000])
def test_a_streamed_transcript_says_it_at_its_end(newline: bytes, pieces: int) -> None:
    data = sse(*DELTAS, {"type": "transcript.text.done", "text": "this is said", "usage": TOKENS})
    data = b": hello\n\n" + data
    data = data.replace(b"\n", newline)
    call = transcription("gpt-4o-transcribe", stream="true")
    cuts = list(range(0, len(data), pieces))
    found = billed(TRANSCRIPTION, call, data, {"content-type": "text/event-stream"}, cuts=cuts)
    assert (found.status, found.usage.tokens) == ("settled", 165)
    assert cost("openai", call, found.usage) == 125 * 6_000_000 + 40 * 10_000_000
    cut = billed(TRANSCRIPTION, call, data[:-30], {"content-type": "text/event-stream"})
    assert (cut.status, cut.usage.audio_ms) == ("estimated", 12_502)


# ---- Deepgram


def listen(body: bytes = WAV, headers: Mapping[str, str] | None = None, **query: str) -> Call:
    return DEEPGRAM_LISTEN.read(body, asked(headers or {"content-type": "audio/wav"}, **({"model": "nova-3"} | query)))


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ({"model": "nova-3"}, "nova-3"),
        ({"model": "nova-3", "language": "multi"}, "nova-3-multilingual"),
        ({"model": "nova-3", "language": "de"}, "nova-3"),
        ({"model": "nova-2", "language": "multi"}, "nova-2"),
        ({"model": "general"}, "base-general"),
        ({"model": "meeting", "tier": "enhanced"}, "enhanced-meeting"),
        ({"model": "", "tier": "nova"}, "nova"),
        ({"model": ""}, "base"),
    ],
)
def test_listening_is_priced_by_the_model_and_the_language(query: dict[str, str], model: str) -> None:
    call = listen(**query)
    assert call.model == model
    in_order("deepgram", call)


def test_listening_is_held_for_by_length_channels_and_features() -> None:
    assert listen().input_bound == Usage(audio_ms=12_502)
    stereo = sounds.wav(10, sample_rate=8_000, channels=2)
    both = listen(stereo, multichannel="true", diarize="true", redact="pci")
    assert both.input_upper.audio_ms == 20_004
    assert both.input_upper.tools == {"diarize_ms": 20_004, "redact_ms": 20_004}
    assert listen(bytes(32_000), encoding="linear16", sample_rate="16000").input_bound.audio_ms == 1_000
    assert listen(bytes(32_000), encoding="mulaw", channels="2").input_bound.audio_ms == 2_000
    clever = listen(summarize="v2", topics="true", sentiment="false")
    assert clever.input_upper.input_tokens == 252
    in_order("deepgram", clever)


def test_listening_to_a_url_is_held_for_by_an_hour_and_refused_where_the_cap_must_hold() -> None:
    call = listen(b'{"url":"https://x/y.wav"}', JSON)
    assert (call.unbounded, call.input_upper.audio_ms) == ("url", 3_600_000)


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (WAV, {"callback": "https://x"}),
        (b"{}", {}),
        (b'{"url":1}', {}),
        (b"[]", {}),
        (bytes(100), {"encoding": "linear16", "sample_rate": "fast"}),
        (b'{"url":"' + b"x" * 1_100_000 + b'"}', {}),
    ],
)
def test_listening_refuses_what_cannot_be_metered(body: bytes, query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        listen(
            body, JSON if body[:1] in b"{[" else {"content-type": "audio/wav"} if "callback" in query else {}, **query
        )


def heard(**metadata: Any) -> bytes:
    answer = {"metadata": {"request_id": "r", "duration": 12.5, "channels": 2} | metadata, "results": {"channels": []}}
    return json.dumps(answer).encode()


def test_deepgram_says_how_long_it_listened() -> None:
    """Channels count where each was asked for; features cost by the second or by the token."""
    assert billed(DEEPGRAM_LISTEN, listen(), heard()).usage == Usage(audio_ms=12_500)
    both = listen(multichannel="true", diarize="true", summarize="true")
    found = billed(DEEPGRAM_LISTEN, both, heard(summary_info={"input_tokens": 300, "output_tokens": 20}))
    assert found.status == "settled"
    assert found.usage == Usage(audio_ms=25_000, tools={"diarize_ms": 25_000}, input_tokens=300, output_tokens=20)
    assert (
        cost("deepgram", both, found.usage) == (25_000 * 215_000 + 1) // 3 + (25_000 * 100_000 + 1) // 3 + 102_000_000
    )


@pytest.mark.parametrize(
    ("answer", "status", "audio_ms"),
    [
        (heard()[:-20], "settled", 12_500),  # the front says it
        (heard()[:40], "estimated", 12_502),
        (b'{"metadata":{"channels":1}}', "estimated", 12_502),
        (heard(duration=-1), "estimated", 12_502),
        (heard(duration=0), "settled", 0),
        (heard(duration=1e300), "estimated", 12_502),
        (b"", "estimated", 12_502),
    ],
)
def test_a_doubtful_count_is_estimated_never_free(answer: bytes, status: str, audio_ms: int) -> None:
    found = billed(DEEPGRAM_LISTEN, listen(), answer)
    assert (found.status, found.usage.audio_ms) == (status, audio_ms)


def test_a_long_answer_states_its_length_in_front() -> None:
    answer = heard()[:-1] + b',"x":"' + b"a" * 6_000_000 + b'"}'
    assert billed(DEEPGRAM_LISTEN, listen(), answer).usage.audio_ms == 12_500


def test_deepgram_counts_characters_in_its_head() -> None:
    call = DEEPGRAM_SPEAK.read('{"text":"Olé 🦊"}'.encode(), asked(JSON, model="aura-2-thalia-en"))
    assert call.input_bound == Usage(characters=5)
    in_order("deepgram", call)
    found = billed(DEEPGRAM_SPEAK, call, b"sound", MP3 | {"dg-char-count": "7"})
    assert (found.status, found.usage) == ("settled", Usage(characters=7))
    for stated in ("", "-1", "many", "9" * 40):
        found = billed(DEEPGRAM_SPEAK, call, b"sound", MP3 | {"dg-char-count": stated})
        assert (found.status, found.usage.characters) == ("estimated", 5)
    assert billed(DEEPGRAM_SPEAK, call, b"{}", status=400).status == "released"
    assert DEEPGRAM_SPEAK.read(b'{"text":"a"}', asked(JSON)).model == "aura-asteria-en"
    with pytest.raises(BadRequest):
        DEEPGRAM_SPEAK.read(b'{"text":"a"}', asked(JSON, callback="https://x"))


def test_deepgram_reads_by_the_token() -> None:
    call = DEEPGRAM_READ.read(b'{"text":"a text to read"}', asked(JSON, summarize="true", topics="true"))
    in_order("deepgram", call)
    info = {"summary_info": {"input_tokens": 10, "output_tokens": 3}, "topics_info": {"input_tokens": 10}}
    found = billed(DEEPGRAM_READ, call, json.dumps({"metadata": {"metadata": info}}).encode())
    assert (found.status, found.usage) == ("settled", Usage(input_tokens=20, output_tokens=3))
    assert billed(DEEPGRAM_READ, call, b'{"metadata":{}}').status == "estimated"
    for body in (b"{}", b'{"text":"a","url":"b"}', b'{"text":1}'):
        with pytest.raises(BadRequest):
            DEEPGRAM_READ.read(body, asked(JSON))


# ---- ElevenLabs


def speech(**more: Any) -> Call:
    return ELEVENLABS_SPEECH.read(json.dumps({"text": "Olé 🦊"} | more).encode(), asked(JSON))


def test_elevenlabs_states_credits_in_its_head() -> None:
    """They are the price, whatever becomes of the body."""
    call = speech(model_id="eleven_flash_v2_5")
    in_order("elevenlabs", call)
    assert speech().model == "eleven_multilingual_v2"
    found = billed(ELEVENLABS_SPEECH, call, b"", MP3 | {"character-cost": "2.5"})
    assert (found.status, found.usage) == ("settled", Usage(characters=5, millicredits=2_500))
    assert cost("elevenlabs", call, found.usage) == 200_000_000
    for stated in ("", "-1", "9" * 40, "1e5", "NaN"):
        found = billed(ELEVENLABS_SPEECH, call, b"", MP3 | {"character-cost": stated})
        assert (found.status, found.usage) == ("estimated", Usage(characters=5))
        assert cost("elevenlabs", call, found.usage) == 200_000_000
    assert billed(ELEVENLABS_SPEECH, call, b"{}", status=422).status == "released"


def test_elevenlabs_requests_are_measured() -> None:
    lines = {"inputs": [{"text": "one", "voice_id": "a"}, {"text": "two!", "voice_id": "b"}]}
    dialogue = ELEVENLABS_DIALOGUE.read(json.dumps(lines).encode(), asked(JSON))
    assert (dialogue.model, dialogue.input_typical) == ("eleven_v3", Usage(characters=7))
    in_order("elevenlabs", dialogue)
    in_order("elevenlabs", ELEVENLABS_SOUNDS.read(b'{"text":"rain"}', asked(JSON)))
    for body, typical_ms, most_ms in (
        (b'{"prompt":"p","music_length_ms":30000}', 30_000, 30_060),
        (b'{"prompt":"p"}', 60_000, 600_060),
        (b'{"composition_plan":{"sections":[{"duration_ms":9000},{"duration_ms":1000}]}}', 10_000, 600_060),
    ):
        music = ELEVENLABS_MUSIC.read(body, asked(JSON))
        assert (music.input_typical.audio_ms, music.input_bound.audio_ms) == (typical_ms, most_ms)
        in_order("elevenlabs", music)
    for shape, body in (
        (ELEVENLABS_SPEECH, b"{}"),
        (ELEVENLABS_SPEECH, b'{"text":["a"]}'),
        (ELEVENLABS_DIALOGUE, b'{"inputs":"a"}'),
        (ELEVENLABS_DIALOGUE, b"{}"),
        (ELEVENLABS_MUSIC, b'{"music_length_ms":9999999}'),
        (ELEVENLABS_MUSIC, b'{"composition_plan":7}'),
    ):
        with pytest.raises(BadRequest):
            shape.read(body, asked(JSON))


def hearing(*parts: tuple[str, str | bytes]) -> Call:
    return ELEVENLABS_TRANSCRIPT.read(form(("model_id", "scribe_v2"), *parts), asked())


def test_elevenlabs_transcripts_cost_by_length_channels_and_surcharges() -> None:
    plain = hearing(("file", WAV), ("entity_detection", "null"), ("keyterms", ""))
    assert plain.input_bound == Usage(audio_ms=12_502)
    in_order("elevenlabs", plain)
    found = billed(ELEVENLABS_TRANSCRIPT, plain, b'{"text":"hi","audio_duration_secs":12.5}')
    assert (found.status, found.usage) == ("settled", Usage(audio_ms=12_500))
    dear = hearing(("file", WAV), ("keyterms", "Ada"), ("keyterms", "Grace"), ("detect_speaker_roles", "true"))
    assert dear.input_bound.tools == {"keyterms_ms": 20_000, "speaker_roles_ms": 20_000}  # 20 s at least
    stereo = sounds.wav(30, sample_rate=8_000, channels=2)
    both = hearing(("file", stereo), ("use_multi_channel", "true"))
    assert both.input_bound.audio_ms == 60_004
    separate = b'{"transcripts":[{"text":"a"},{"text":"b"}],"audio_duration_secs":30}'
    combined = b'{"text":"ab","audio_duration_secs":30}'
    for answer in (separate, combined):
        assert billed(ELEVENLABS_TRANSCRIPT, both, answer).usage.audio_ms == 60_000
    for answer in (b"{", b'{"text":"hi"}', b'{"audio_duration_secs":-1}', b'{"audio_duration_secs":"x"}'):
        found = billed(ELEVENLABS_TRANSCRIPT, plain, answer)
        assert (found.status, found.usage.audio_ms) == ("estimated", 12_502)
    stated = billed(ELEVENLABS_TRANSCRIPT, plain, b"{}", JSON | {"character-cost": "10"})
    assert cost("elevenlabs", plain, stated.usage) == 800_000_000


def test_elevenlabs_refuses_what_it_would_answer_elsewhere() -> None:
    with pytest.raises(BadRequest) as caught:
        hearing(("file", WAV), ("webhook", "true"))
    assert caught.value.param == "webhook"
    remote = hearing(("source_url", "https://x/y.mp3"))
    assert (remote.unbounded, remote.input_upper.audio_ms) == ("source_url", 3_600_000)
    with pytest.raises(BadRequest):
        hearing()
    with pytest.raises(BadRequest):
        ELEVENLABS_TRANSCRIPT.read(form(("file", WAV)), asked())
    raw = hearing(("file_format", "pcm_s16le_16"), ("file", bytes(32_000)))
    assert raw.input_bound.audio_ms == 1_000


def test_what_is_decided_early_is_held_for_at_its_dearest() -> None:
    """Surcharges and channels may come behind the file; until then all of them count, and the end knows better."""
    body = form(("model_id", "scribe_v2"), ("file", sounds.mp3(60)), ("keyterms", "Ada"))
    reader = ELEVENLABS_TRANSCRIPT.arrival(asked())
    reader.feed(body[:300_000])
    early = reader.call(len(body), whole=False)
    assert early is not None
    assert len(early.input_bound.tools) == 4
    assert early.input_bound.audio_ms == len(body) * 5
    reader.feed(body[300_000:])
    late = reader.call(len(body), whole=True)
    assert late is not None
    assert late.input_typical.tools.keys() == {"keyterms_ms"}
    assert late.input_bound.audio_ms < early.input_bound.audio_ms


def test_other_voices_and_cleaned_sound_cost_by_the_second_or_by_the_head() -> None:
    for shape, model in (
        (ELEVENLABS_VOICE_CHANGER, "eleven_english_sts_v2"),
        (ELEVENLABS_ISOLATION, "audio_isolation"),
    ):
        call = shape.read(form(("audio", WAV)), asked())
        assert (call.model, call.input_bound) == (model, Usage(audio_ms=12_562))  # rounded up to a credit
        in_order("elevenlabs", call)
        assert billed(shape, call, b"sound", MP3).usage.audio_ms == 12_502
        found = billed(shape, call, b"sound", MP3 | {"character-cost": "209"})
        assert cost("elevenlabs", call, found.usage) == 209 * 80_000_000


# ---- Mistral


@pytest.mark.parametrize("pieces", [1, 1_000])
def test_mistral_speech_costs_by_the_character_once_there_is_sound(pieces: int) -> None:
    call = MISTRAL_SPEECH.read(b'{"model":"voxtral-mini-tts-2603","input":"Hello there","stream":true}', asked(JSON))
    assert call.stream
    in_order("mistral", call)
    events = {"content-type": "text/event-stream"}
    for answer, headers in (
        (b'{"audio_data":"aaaa"}', JSON),
        (sse({"type": "speech.audio.delta", "audio_data": "aaaa"}), events),
    ):
        found = billed(MISTRAL_SPEECH, call, answer, headers, cuts=list(range(0, len(answer), pieces)))
        assert (found.status, found.usage) == ("settled", Usage(characters=11))
    assert billed(MISTRAL_SPEECH, call, b'{"message":"no"}', status=422).status == "released"
    assert billed(MISTRAL_SPEECH, call, b"").status == "estimated"


def test_sound_that_lies_at_mistral_has_an_owner_and_no_known_length() -> None:
    call = TRANSCRIPTION.read(form(("model", "voxtral-mini-2602"), ("file_id", "f1")), asked())
    assert (call.unbounded, call.refers) == ("file_id", (Reference("file_id", "file", "f1"),))
    in_order("mistral", call)
    url = TRANSCRIPTION.read(form(("model", "voxtral-mini-2602"), ("file_url", "https://x/a.mp3")), asked())
    assert (url.unbounded, url.refers, url.input_upper.audio_ms) == ("file_url", (), 3_600_000)


# ---- speech, OpenAI


def say(model: str = "tts-1", **more: Any) -> Call:
    body = {"model": model, "input": "Hello there, listener. " * 10, "voice": "alloy"} | more
    return OPENAI_SPEECH.read(json.dumps(body).encode(), asked(JSON))


def test_speech_by_the_character_is_known_beforehand() -> None:
    call = say()
    in_order("openai", call)
    found = billed(OPENAI_SPEECH, call, sounds.mp3(1), MP3)
    assert (found.status, found.usage) == ("settled", Usage(characters=230))
    assert billed(OPENAI_SPEECH, call, b'{"error":{}}', status=400).status == "released"
    assert billed(OPENAI_SPEECH, call, b"", JSON, status=0).status == "unsettled"
    with pytest.raises(BadRequest):
        say(voice={"id": "voice_1"})


@pytest.mark.parametrize(("kind", "sound"), [("mp3", sounds.mp3(12)), ("wav", sounds.wav(12)), ("pcm", sounds.pcm(12))])
def test_speech_by_the_token_is_estimated_by_its_sound(kind: str, sound: bytes) -> None:
    """1,250 tokens a minute; the answer itself says nothing."""
    call = say("gpt-4o-mini-tts", response_format=kind, instructions="Be merry.")
    in_order("openai", call)
    found = billed(OPENAI_SPEECH, call, sound, {"content-type": f"audio/{kind}"}, cuts=[1, 2, 3, 5_000])
    assert found.status == "estimated"
    assert found.usage.output_audio_tokens == found.usage.output_tokens
    assert found.usage.output_tokens == pytest.approx(250, abs=2)
    assert found.usage.input_tokens == call.input_typical.input_tokens > 0


def test_events_of_speech_say_it_at_their_end() -> None:
    call = say("gpt-4o-mini-tts", stream_format="sse")
    assert call.stream
    sound = {"type": "speech.audio.delta", "audio": base64.b64encode(sounds.mp3(12)).decode()}
    done = {"type": "speech.audio.done", "usage": {"input_tokens": 50, "output_tokens": 300, "total_tokens": 350}}
    events = {"content-type": "text/event-stream"}
    found = billed(OPENAI_SPEECH, call, sse(sound, done), events, cuts=list(range(3_000)))
    assert (found.status, found.usage) == (
        "settled",
        Usage(input_tokens=50, output_tokens=300, output_audio_tokens=300),
    )
    cut = billed(OPENAI_SPEECH, call, sse(sound), events)
    assert cut.status == "estimated"
    assert cut.usage.output_tokens > 250  # at 64 kbit/s, for its head is inside of the event
    assert billed(OPENAI_SPEECH, say(stream_format="sse"), sse(sound), events).usage == Usage(characters=230)


# ---- images, OpenAI

PICTURE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 1_056,
    "total_tokens": 1_106,
}
DRAWN = Usage(input_tokens=50, input_image_tokens=40, output_tokens=1_056, output_image_tokens=1_056)


def draw(model: str | None = "gpt-image-1.5", **more: Any) -> Call:
    body = {"model": model, "prompt": "a fox"} | more
    return OPENAI_IMAGES.read(json.dumps(body).encode(), asked(JSON))


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({"quality": "low", "size": "1024x1024"}, 272),
        ({"quality": "high", "size": "1024x1536"}, 6_240),
        ({"quality": "high", "size": "1024x1024", "n": 3}, 12_480),
        ({}, 6_240),
        ({"quality": "low", "size": "1024x1024", "stream": True, "partial_images": 2}, 472),
    ],
)
def test_an_image_is_held_for_by_size_and_quality(more: dict[str, Any], tokens: int) -> None:
    call = draw(**more)
    assert call.input_bound.output_tokens == tokens
    assert call.stream == bool(more.get("stream"))
    in_order("openai", call)


@pytest.mark.parametrize("model", ["gpt-image-1-mini", "gpt-image-2", "gpt-image-2.5-flare", "chatgpt-image-latest"])
def test_every_model_of_images_is_bounded(model: str) -> None:
    in_order("openai", draw(model, quality="auto", size="auto"))
    edit = form(("image[]", b"a"), ("image[]", b"b"), ("mask", b"c"), ("model", model), ("prompt", "a fox"), ("n", "2"))
    call = OPENAI_IMAGES.read(edit, asked())
    assert call.input_bound.input_image_tokens == 3 * 7_800
    in_order("openai", call)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "gpt-image-2", "prompt": "a", "n": 11},
        {"model": "gpt-image-2", "prompt": "a", "n": "x"},
        {"model": "gpt-image-2", "prompt": "a", "svg": {"model": "gpt-6"}},
        {"model": "gpt-image-2", "prompt": "a", "frame_count": 1_000},
    ],
)
def test_images_that_cannot_be_bounded_are_refused(body: Any) -> None:
    with pytest.raises(BadRequest):
        OPENAI_IMAGES.read(json.dumps(body).encode(), asked(JSON))


def test_images_say_their_tokens() -> None:
    call = draw()
    answer = json.dumps({"created": 1, "data": [{"b64_json": "aaaa"}], "usage": PICTURE}).encode()
    found = billed(OPENAI_IMAGES, call, answer)
    assert (found.status, found.usage) == ("settled", Usage(**(_fields(DRAWN) | {"images": 1})))
    large = json.dumps({"created": 1, "data": [{"b64_json": "a" * 5_000_000}], "usage": PICTURE}).encode()
    assert billed(OPENAI_IMAGES, call, large).usage == DRAWN
    for cut in (answer[:-1], answer[:40], b"", b'{"data":[]}', b'{"data":[],"usage":null}'):
        found = billed(OPENAI_IMAGES, call, cut)
        assert found.status == "estimated"
        assert found.usage == call.input_typical


def _fields(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in Usage.__struct_fields__}


def test_streamed_images_say_their_tokens_at_the_end() -> None:
    call = draw(stream=True, partial_images=1)
    partial = {"type": "image_generation.partial_image", "b64_json": "a" * 2_000_000, "partial_image_index": 0}
    done = {"type": "image_generation.completed", "b64_json": "a" * 2_000_000, "usage": PICTURE}
    events = {"content-type": "text/event-stream"}
    assert billed(OPENAI_IMAGES, call, sse(partial, done), events).usage == DRAWN
    cut = billed(OPENAI_IMAGES, call, sse(partial), events)
    assert (cut.status, cut.usage) == ("estimated", call.input_typical)


def test_the_old_models_of_images_cost_by_the_image() -> None:
    data = json.dumps({"data": [{"url": "x"}, {"url": "y"}]}).encode()
    for model, more, picos in (
        ("dall-e-3", {"quality": "hd", "size": "1024x1792"}, 2 * 120_000_000_000),
        ("dall-e-3", {}, 2 * 40_000_000_000),
        ("dall-e-3", {"size": "512x512"}, 2 * 120_000_000_000),
        ("dall-e-2", {"size": "256x256"}, 2 * 20_000_000_000),
    ):
        call = draw(model, n=2, **more)
        in_order("openai", call)
        assert cost("openai", call, billed(OPENAI_IMAGES, call, data).usage) == picos


# ---- whatever comes

CASES: list[tuple[Shape, Call, dict[str, str]]] = [
    (TRANSCRIPTION, transcription(), JSON),
    (TRANSCRIPTION, transcription("gpt-4o-transcribe"), {"content-type": "text/event-stream"}),
    (DEEPGRAM_LISTEN, listen(multichannel="true"), JSON),
    (DEEPGRAM_READ, DEEPGRAM_READ.read(b'{"text":"a"}', asked(JSON)), JSON),
    (DEEPGRAM_SPEAK, DEEPGRAM_SPEAK.read(b'{"text":"a"}', asked(JSON)), MP3),
    (ELEVENLABS_SPEECH, speech(), MP3),
    (ELEVENLABS_TRANSCRIPT, hearing(("file", WAV)), JSON),
    (OPENAI_SPEECH, say("gpt-4o-mini-tts"), MP3),
    (OPENAI_SPEECH, say("gpt-4o-mini-tts"), {"content-type": "text/event-stream"}),
    (OPENAI_IMAGES, draw(), JSON),
    (OPENAI_IMAGES, draw(), {"content-type": "text/event-stream"}),
]
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["usage", "type", "seconds", "metadata", "duration", "channels", "data", "input_tokens",
                     "output_tokens", "total_tokens", "audio_duration_secs", "transcripts", "audio", "summary_info",
                     "input_tokens_details", "image_tokens", "prompt_audio_seconds", "error"]), inner, max_size=6),
    max_leaves=12)  # fmt: skip


@given(VALUES, st.binary(max_size=40), CUTS)
def test_no_answer_raises_and_none_is_free_that_says_nothing(value: Any, junk: bytes, cuts: list[int]) -> None:
    for data in (json.dumps(value).encode(), junk, sse(value, value) + junk):
        for shape, call, headers in CASES:
            found = billed(shape, call, data, headers, cuts=cuts)
            usage = found.usage
            counts = [n for n in _fields(usage).values() if isinstance(n, int | float)]
            assert all(n >= 0 and math.isfinite(n) for n in counts)
            if found.status == "estimated" and "usage_missing" in found.flags:
                assert usage.tokens or usage.audio_ms or usage.characters or usage.images or usage.tools


@given(st.binary(max_size=300), st.sampled_from([FORM, JSON, MP3, {}]))
def test_no_request_raises_anything_else(body: bytes, headers: dict[str, str]) -> None:
    for shape, _, _ in CASES:
        for start in (b"", b"--XX\r\n", b'{"text":'):
            try:
                call = shape.read(start + body, asked(headers, model="nova-3"))
            except BadRequest:
                continue
            assert call.model
