"""POST /v1/audio/transcriptions and /v1/audio/translations: what was not said, in every format.

Promises: the length is the file's own; the models that are billed by tokens count 10 tokens for a second of sound and
one for each piece of text; the others state seconds. `text`, `srt` and `vtt` say nothing of usage, as the provider.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from providers.simulator import forms, sounds
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.openai import common as openai
from providers.simulator.prose import prose, seed
from providers.simulator.requests import Request, streamed
from providers.simulator.usages import distorted, invoiced

_TEXTS: Final = ("text", "srt", "vtt")
_BY_SECONDS: Final = ("whisper-1", "gpt-transcribe")


def answer(request: Request) -> Draft:
    """Answer one request."""
    form = forms.read(request.headers.get("content-type", ""), request.body)
    if form is None:
        openai.refuse(request, "Could not parse multipart form")
    model = openai.served_model(request, form.fields.get("model"))
    if "file" not in form.files:
        openai.refuse(request, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    seconds, _ = sounds.heard(form.files["file"][0])
    number = seed([model, request.path, len(form.files["file"][0])])
    wanted = request.faults.output_tokens
    said = prose(number, tokens=max(math.ceil(seconds * 3), 1) if wanted is None else wanted, limit=None, stops=[])
    by_seconds = model in _BY_SECONDS
    billed = {"output_tokens": 0, "audio_ms": math.ceil(seconds * 1_000)}
    usage: dict[str, object] = {"type": "duration", "seconds": seconds}
    if not by_seconds:
        heard = math.ceil(seconds * 10)
        billed = {"input_tokens": heard, "audio_tokens": heard, "output_tokens": said.tokens}
        usage = {
            "type": "tokens",
            "input_tokens": heard,
            "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
            "output_tokens": said.tokens,
            "total_tokens": heard + said.tokens,
        }
    kind = form.fields.get("response_format", "json")
    if streamed(request, form.fields.get("stream", "").lower() == "true") and not by_seconds:
        usages = distorted(usage, request.faults.usage)
        return Stream(
            headers=openai.headers(request, stream=True),
            events=_events(said.pieces, usages),
            billed=invoiced(billed, request.faults.usage),
            failure=openai.in_band_error,
            garbage=b"data: {oops\n\n",
        )
    head = openai.headers(request)
    if kind in _TEXTS:
        head = [pair for pair in head if pair[0] != "content-type"] + [("content-type", "text/plain; charset=utf-8")]
        return Whole(headers=head, body=_text(kind, said.text, seconds).encode(), billed=billed)
    full: dict[str, object] = {"text": said.text}
    if kind == "verbose_json":
        segment = {"id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": said.text, "tokens": [],
                   "temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0,
                   "no_speech_prob": 0.01}  # fmt: skip
        full = {"task": "transcribe", "language": "english", "duration": seconds, **full, "segments": [segment]}
    for each in distorted(usage, request.faults.usage):
        full["usage"] = each
    return Whole(headers=head, body=msgspec.json.encode(full), billed=invoiced(billed, request.faults.usage))


def _events(pieces: list[str], usages: list[dict[str, object]]) -> Iterator[tuple[bytes, int]]:
    for number, piece in enumerate(pieces, 1):
        yield event({"type": "transcript.text.delta", "delta": piece}), number
    text = "".join(pieces)
    for usage in usages[:-1]:
        yield event({"type": "transcript.text.done", "text": text, "usage": usage}), len(pieces)
    last: dict[str, object] = {"usage": usages[-1]} if usages else {}
    yield event({"type": "transcript.text.done", "text": text, **last}), len(pieces)


def _text(kind: str, text: str, seconds: float) -> str:
    if kind == "text":
        return text + "\n"
    comma = "," if kind == "srt" else "."
    whole, thousandths = divmod(math.floor(seconds * 1_000), 1_000)
    end = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{thousandths:03}"
    cue = f"00:00:00{comma}000 --> {end}\n{text}\n\n"
    return f"1\n{cue}" if kind == "srt" else f"WEBVTT\n\n{cue}"
