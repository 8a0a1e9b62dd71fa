"""ElevenLabs: speech, dialogue, sounds, music, transcription, changed and cleaned sound, in its own shapes and errors.

Promises: sound that plays, as long as its text or its source says; its price stands in the head, in credits, as the
provider's. Transcripts state the length of the sound instead. Source: providers.md P4, elevenlabs 2.78's types.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from providers.simulator import forms, sounds
from providers.simulator.answers import Draft, Headers, Stream, Whole
from providers.simulator.prose import ident, prose, seed
from providers.simulator.requests import Refusal, Request
from providers.simulator.tokens import length

_ERRORS: Final = {
    400: ("bad_request", "The simulator refuses this request, as it was asked to."),
    401: ("invalid_api_key", "Invalid API key"),
    402: ("quota_exceeded", "This request exceeds your quota."),
    403: ("forbidden", "You do not have access to this resource."),
    404: ("voice_not_found", "A voice with that id was not found."),
    422: ("invalid", "The request is not valid."),
    429: ("too_many_concurrent_requests", "Too many concurrent requests."),
}
_MUSIC_MS_MAX: Final = 600_000
_CHARACTERS_MAX: Final = 40_000  # of the models that take most
_CHARACTERS_A_SECOND: Final = 15
_PIECE_BYTES: Final = 4_180  # ten frames of the sound
_HALF: Final = re.compile(r"flash|turbo|conversational")
_CREDITS_A_MINUTE: Final = 1_000  # of sound that is changed or cleaned
_VOICES: Final = (("JBFqnCBsd6RMkjVDRZzb", "George"), ("21m00Tcm4TlvDq8ikWAM", "Rachel"))
_MODELS: Final = (
    ("eleven_v3", "Eleven v3", True, False, 1.0),
    ("eleven_multilingual_v2", "Eleven Multilingual v2", True, False, 1.0),
    ("eleven_flash_v2_5", "Eleven Flash v2.5", True, False, 0.5),
    ("eleven_english_sts_v2", "Eleven English v2", False, True, 1.0),
)


def headers(request: Request, content_type: str = "application/json", *, credits_: float | None = None) -> Headers:
    """The head that the provider sends."""
    head = [("content-type", content_type), ("request-id", request.request_id)]
    if credits_ is None:
        return head
    distorted = {"zero": 0.0, "negative": -credits_ - 1, "absurd": 2.0**63, "float": credits_ + 0.5}
    cost = distorted.get(request.faults.usage, credits_)
    head += [("history-item-id", ident("", request.request_id, "history")[:20]), ("tts-latency-ms", "120")]
    if request.faults.usage != "missing":
        head.append(("character-cost", f"{cost:g}"))
    return head


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error answer in the provider's shape."""
    code, usual = _ERRORS.get(status, ("internal_error", "Something went wrong."))
    body = {"detail": {"status": code, "message": message or usual}}
    return Whole(status=status, headers=headers(request), body=msgspec.json.encode(body))


def _refuse(request: Request, name: str, message: str) -> Refusal:
    """422, as the provider's framework says it."""
    body = {"detail": [{"type": "missing", "loc": ["body", name], "msg": message, "input": None}]}
    return Refusal(Whole(status=422, headers=headers(request), body=msgspec.json.encode(body)))


def _read(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(request.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refuse(request, "body", "JSON decode error") from None


def _speech(request: Request) -> Draft:
    body = _read(request)
    if not isinstance(text := body.get("text"), str):
        raise _refuse(request, "text", "Field required")
    return _said(request, text, str(body.get("model_id") or "eleven_multilingual_v2"))


def _dialogue(request: Request) -> Draft:
    body = _read(request)
    lines = body.get("inputs")
    if not isinstance(lines, list):
        raise _refuse(request, "inputs", "Field required")
    text = "".join(str(line.get("text", "")) for line in lines if isinstance(line, dict))
    return _said(request, text, str(body.get("model_id") or "eleven_v3"))


def _said(request: Request, text: str, model: str) -> Draft:
    if length(text) > _CHARACTERS_MAX:
        message = (
            f"This request's text has {length(text)} characters and exceeds the limit of {_CHARACTERS_MAX} characters."
        )
        body = {"detail": {"status": "max_character_limit_exceeded", "message": message}}
        raise Refusal(Whole(status=400, headers=headers(request), body=msgspec.json.encode(body)))
    credits_ = math.ceil(length(text) * (0.5 if _HALF.search(model) else 1))
    seconds = length(text) / _CHARACTERS_A_SECOND
    if not request.path.endswith("/with-timestamps"):
        return _sound(request, seconds, credits_, characters=length(text))
    billed = _billed(request, credits_, characters=length(text))
    step = 1 / _CHARACTERS_A_SECOND
    alignment = {
        "characters": list(text),
        "character_start_times_seconds": [round(at * step, 3) for at in range(length(text))],
        "character_end_times_seconds": [round((at + 1) * step, 3) for at in range(length(text))],
    }
    data = base64.b64encode(sounds.mp3(seconds)).decode()
    part = {"audio_base64": data, "alignment": alignment, "normalized_alignment": alignment}
    if not request.path.endswith("/stream/with-timestamps"):
        head = headers(request, credits_=credits_)
        return Whole(headers=head, body=msgspec.json.encode(part), billed=billed)
    lines = [msgspec.json.encode(part) + b"\n\n", msgspec.json.encode({"audio_base64": ""}) + b"\n\n"]
    return _stream(headers(request, credits_=credits_), lines, billed)


def _sound(request: Request, seconds: float, credits_: float, **more: int) -> Draft:
    """Sound, in the format that the query asks for, in pieces."""
    kind = parse_qs(request.query).get("output_format", ["mp3_44100_128"])[0]
    codec, _, rate = kind.partition("_")
    asked = rate.partition("_")[0]
    sample_rate = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 44_100
    if sample_rate not in sounds.RATES:
        raise _refuse(request, "output_format", "Input should be a format that is known")
    content_type, data = "audio/mpeg", sounds.mp3(seconds)
    if codec == "pcm":
        content_type, data = "audio/pcm", sounds.pcm(seconds, sample_rate=sample_rate)
    elif codec == "wav":
        content_type, data = "audio/wav", sounds.wav(seconds, sample_rate=sample_rate)
    pieces = [data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES)]
    head = headers(request, content_type, credits_=credits_)
    return _stream(head, pieces, _billed(request, credits_, **more))


def _stream(head: Headers, pieces: list[bytes], billed: dict[str, int]) -> Stream:
    def events() -> Iterator[tuple[bytes, int]]:
        for piece in pieces:
            yield piece, 0

    return Stream(headers=head, events=events(), billed=billed, failure=lambda _: b"", garbage=b"{oops\n")


def _billed(request: Request, credits_: float, **more: int) -> dict[str, int]:
    zero = request.faults.usage == "zero"
    return {"output_tokens": 0, "millicredits": 0 if zero else round(credits_ * 1_000), **more}


def _number(request: Request, body: dict[str, Any], name: str, most: int) -> float:
    """A positive number; 0 where there is none."""
    value = body.get(name) or 0
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise _refuse(request, name, f"Input should be a number from 0 to {most}")
    return value


def _generation(request: Request) -> Draft:
    body = _read(request)
    if not isinstance(body.get("text"), str):
        raise _refuse(request, "text", "Field required")
    seconds = _number(request, body, "duration_seconds", 30)
    return _sound(request, seconds or 2, math.ceil(seconds * 40) if seconds else 200)


def _music(request: Request) -> Draft:
    body = _read(request)
    plan = body.get("composition_plan")
    sections = plan.get("sections") if isinstance(plan, dict) else None
    sections = [each for each in sections if isinstance(each, dict)] if isinstance(sections, list) else []
    planned_ms = sum(_number(request, section, "duration_ms", _MUSIC_MS_MAX) for section in sections)
    length_ms = _number(request, body, "music_length_ms", _MUSIC_MS_MAX) or planned_ms or 10_000
    credits_ = math.ceil(length_ms * 3_750 / 60_000)
    # The sound itself is short whatever was asked: nobody listens to minutes of silence.
    return _sound(request, min(length_ms / 1_000, 5), credits_)


def _changed(request: Request) -> Draft:
    seconds, _ = sounds.heard(_file(request, "audio")[1])
    return _sound(request, min(seconds, 5), math.ceil(seconds / 60 * _CREDITS_A_MINUTE))


def _transcript(request: Request) -> Draft:
    form, data = _file(request, "file")
    model = form.fields.get("model_id")
    if not model:
        raise _refuse(request, "model_id", "Field required")
    seconds, channels = sounds.heard(data) if data else (60.0, 1)
    number = seed([model, len(data)])
    wanted = request.faults.output_tokens
    said = prose(number, tokens=max(math.ceil(seconds * 3), 1) if wanted is None else wanted, limit=None, stops=[])
    words = [
        {"text": piece, "type": "word", "start": at * 0.3, "end": at * 0.3 + 0.25, "logprob": -0.01, "speaker_id": None}
        for at, piece in enumerate(said.pieces)
    ]
    part: dict[str, Any] = {
        "language_code": "eng",
        "language_probability": 0.99,
        "text": said.text,
        "words": words,
        "transcription_id": ident("sim", request.request_id, "transcript"),
    }
    separate = form.fields.get("use_multi_channel") == "true"
    billed_ms = math.ceil(seconds * 1_000) * (channels if separate else 1)
    billed = {"output_tokens": 0, "audio_ms": billed_ms}
    for name, tool in (("keyterms", "keyterms_ms"), ("detect_speaker_roles", "speaker_roles_ms"),
                       ("transcript_edit", "transcript_edit_ms")):  # fmt: skip
        if form.fields.get(name, "false") != "false":
            billed[tool] = billed_ms
    if form.fields.get("entity_detection", "null") not in ("null", ""):
        billed["entity_detection_ms"] = billed_ms
    usage = request.faults.usage
    distorted: dict[str, float | None] = {
        "missing": None, "zero": 0, "negative": -seconds, "absurd": 2.0**63, "float": seconds + 0.5,
    }  # fmt: skip
    part["audio_duration_secs"] = distorted.get(usage, seconds)
    if separate:
        parts = [part | {"channel_index": at} for at in range(channels)]
        part = {"transcripts": parts, "transcription_id": part["transcription_id"],
                "audio_duration_secs": part["audio_duration_secs"]}  # fmt: skip
    billed = dict.fromkeys(billed, 0) if usage == "zero" else billed
    return Whole(headers=headers(request), body=msgspec.json.encode(part), billed=billed)


def _file(request: Request, name: str) -> tuple[forms.Form, bytes | memoryview]:
    form = forms.read(request.headers.get("content-type", ""), request.body)
    remote = form is not None and (form.fields.get("source_url") or form.fields.get("cloud_storage_url"))
    if form is None or (name not in form.files and not remote):
        raise _refuse(request, name, "Field required")
    return form, form.files.get(name, [b""])[0]


def _models(request: Request) -> Draft:
    listed = [
        {
            "model_id": model,
            "name": name,
            "can_do_text_to_speech": speaks,
            "can_do_voice_conversion": changes,
            "token_cost_factor": factor,
            "languages": [{"language_id": "en", "name": "English"}],
            "model_rates": {"character_cost_multiplier": factor},
        }
        for model, name, speaks, changes, factor in _MODELS
    ]
    return Whole(headers=headers(request), body=msgspec.json.encode(listed))


def _voices(request: Request) -> Draft:
    listed = [
        {"voice_id": voice, "name": name, "category": "premade", "labels": {"accent": "american"}}
        for voice, name in _VOICES
    ]
    asked = request.path.rpartition("/voices")[2].strip("/")
    body: Any = {"voices": listed}
    if request.path.startswith("/v2/"):
        body |= {"has_more": False, "total_count": len(listed), "next_page_token": None}
    if asked:
        body = next((voice for voice in listed if voice["voice_id"] == asked), None)
        if body is None:
            raise Refusal(error(request, 404))
    return Whole(headers=headers(request), body=msgspec.json.encode(body))


_POSTS: Final[tuple[tuple[str, Callable[[Request], Draft]], ...]] = (
    ("/v1/text-to-speech/", _speech),
    ("/v1/text-to-dialogue", _dialogue),
    ("/v1/sound-generation", _generation),
    ("/v1/music", _music),
    ("/v1/speech-to-text", _transcript),
    ("/v1/voice-changer/", _changed),
    ("/v1/speech-to-speech/", _changed),
    ("/v1/audio-isolation", _changed),
)


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """The operation at a method and path; None where there is none."""
    if method == "POST":
        return next((operation for path, operation in _POSTS if request.path.startswith(path)), None)
    if method != "GET":
        return None
    if request.path.startswith(("/v1/voices", "/v2/voices")):
        return _voices
    return _models if request.path == "/v1/models" else None
