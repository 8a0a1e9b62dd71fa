"""ElevenLabs' operations.

Nothing here makes a voice, so the account's voices are everybody's; were one made by a key, it would be that key's
alone. Lists would show all of them to all, and what is said leaves a history at the provider: neither is offered. Nor
are conversations: they bill other vendors' models by agreements that we do not see.
"""

from __future__ import annotations

from collections.abc import Iterator

from providers.contract.shapes import Shape
from providers.elevenlabs.hearing import ELEVENLABS_ISOLATION, ELEVENLABS_TRANSCRIPT, ELEVENLABS_VOICE_CHANGER
from providers.elevenlabs.live import ELEVENLABS_STREAM_INPUT, ELEVENLABS_TRANSCRIBE
from providers.elevenlabs.speech import (
    ELEVENLABS_DIALOGUE,
    ELEVENLABS_DIALOGUE_STREAM,
    ELEVENLABS_MUSIC,
    ELEVENLABS_MUSIC_STREAM,
    ELEVENLABS_SOUNDS,
    ELEVENLABS_SPEECH,
    ELEVENLABS_SPEECH_STREAM,
)
from providers.stored.free import FREE_READ
from providers.stored.row import Row, row, socket

_SOUND_3_GB = 3 * 1024**3  # of a file to transcribe; the others take less
_SAID: tuple[tuple[str, str, Shape], ...] = (
    ("text-to-speech/{id}", "text-to-speech", ELEVENLABS_SPEECH),
    ("text-to-speech/{id}/stream", "text-to-speech", ELEVENLABS_SPEECH_STREAM),
    ("text-to-speech/{id}/with-timestamps", "text-to-speech", ELEVENLABS_SPEECH),
    ("text-to-speech/{id}/stream/with-timestamps", "text-to-speech", ELEVENLABS_SPEECH_STREAM),
    ("text-to-dialogue", "text-to-dialogue", ELEVENLABS_DIALOGUE),
    ("text-to-dialogue/stream", "text-to-dialogue", ELEVENLABS_DIALOGUE_STREAM),
    ("text-to-dialogue/with-timestamps", "text-to-dialogue", ELEVENLABS_DIALOGUE),
    ("text-to-dialogue/stream/with-timestamps", "text-to-dialogue", ELEVENLABS_DIALOGUE_STREAM),
    ("sound-generation", "sound-generation", ELEVENLABS_SOUNDS),
    ("music", "music", ELEVENLABS_MUSIC),
    ("music/stream", "music", ELEVENLABS_MUSIC_STREAM),
    ("music/detailed", "music", ELEVENLABS_MUSIC),
    ("music/detailed/stream", "music", ELEVENLABS_MUSIC_STREAM),
)
_HEARD: tuple[tuple[str, str, Shape], ...] = (
    ("speech-to-text", "speech-to-text", ELEVENLABS_TRANSCRIPT),
    ("voice-changer/{id}", "voice-changer", ELEVENLABS_VOICE_CHANGER),
    ("voice-changer/{id}/stream", "voice-changer", ELEVENLABS_VOICE_CHANGER),
    ("speech-to-speech/{id}", "voice-changer", ELEVENLABS_VOICE_CHANGER),  # the older clients' path
    ("speech-to-speech/{id}/stream", "voice-changer", ELEVENLABS_VOICE_CHANGER),
    ("audio-isolation", "audio-isolation", ELEVENLABS_ISOLATION),
    ("audio-isolation/stream", "audio-isolation", ELEVENLABS_ISOLATION),
)


def _rows() -> Iterator[Row]:
    for operations, uploads in ((_SAID, 0), (_HEARD, _SOUND_3_GB)):
        for path, name, shape in operations:
            of = "voice" if "{id}" in path else ""
            yield row("POST", f"/v1/{path}", "elevenlabs", name, shape, uploads=uploads, of=of, everybodys=bool(of))
    yield row("GET", "/v1/voices/{id}", "elevenlabs", "voices", FREE_READ, billable=False, of="voice", everybodys=True)
    yield row("GET", "/v1/models", "elevenlabs", "models", FREE_READ, billable=False)

    for end in ("stream-input", "multi-stream-input"):
        path = f"/v1/text-to-speech/{{id}}/{end}"
        yield socket(path, "elevenlabs", "text-to-speech.live", ELEVENLABS_STREAM_INPUT, of="voice")
    yield socket("/v1/speech-to-text/realtime", "elevenlabs", "speech-to-text.live", ELEVENLABS_TRANSCRIBE)


ROWS = tuple(_rows())
