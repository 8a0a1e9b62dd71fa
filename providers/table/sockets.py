"""The WebSockets that are offered, whoever's they are.

Not here, and so refused by name: OpenAI's live sessions, translations and Responses over a socket (the model changes
within it), Deepgram's agent and ElevenLabs' conversations (they bill other vendors' models by agreements that we do
not see), Google's constrained endpoint (it takes ephemeral tokens, which lead round the meter).
"""

from __future__ import annotations

from providers.contract.sockets import SOCKET, SocketShape
from providers.deepgram_live import DEEPGRAM_FLUX, DEEPGRAM_LISTEN, DEEPGRAM_SPEAK
from providers.elevenlabs_live import ELEVENLABS_STREAM_INPUT, ELEVENLABS_TRANSCRIBE
from providers.gemini_live import GEMINI_LIVE
from providers.openai_realtime import OPENAI_REALTIME
from providers.stored.free import FREE_READ
from providers.stored.row import Row, row

_LIVE = "/ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent"


def _socket(path: str, provider: str, name: str, shape: SocketShape, *, of: str = "") -> Row:
    # Over HTTP a socket's path has no body to read: the handshake is a GET.
    return row(SOCKET, path, provider, name, FREE_READ, socket=shape, of=of, everybodys=bool(of))


ROWS = (
    _socket("/v1/realtime", "openai", "realtime", OPENAI_REALTIME),
    *(_socket(_LIVE.format(version), "google", "live", GEMINI_LIVE) for version in ("v1", "v1beta", "v1alpha")),
    _socket("/v1/listen", "deepgram", "listen.live", DEEPGRAM_LISTEN),
    _socket("/v2/listen", "deepgram", "listen.flux", DEEPGRAM_FLUX),
    _socket("/v1/speak", "deepgram", "speak.live", DEEPGRAM_SPEAK),
    *(
        _socket(
            f"/v1/text-to-speech/{{id}}/{end}",
            "elevenlabs",
            "text-to-speech.live",
            ELEVENLABS_STREAM_INPUT,
            of="voice",
        )
        for end in ("stream-input", "multi-stream-input")
    ),
    _socket("/v1/speech-to-text/realtime", "elevenlabs", "speech-to-text.live", ELEVENLABS_TRANSCRIBE),
)
