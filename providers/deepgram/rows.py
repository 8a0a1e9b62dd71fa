"""Deepgram's operations.

Not here, and so refused by name: the agent (it bills other vendors' models by agreements that we do not see).
"""

from __future__ import annotations

from providers.deepgram import live
from providers.deepgram.listen import DEEPGRAM_LISTEN
from providers.deepgram.text import DEEPGRAM_READ, DEEPGRAM_SPEAK
from providers.stored.free import FREE_READ
from providers.stored.row import row, socket

_SOUND_2_GB = 2 * 1024**3

ROWS = (
    row("POST", "/v1/listen", "deepgram", "listen", DEEPGRAM_LISTEN, uploads=_SOUND_2_GB),
    row("POST", "/v1/speak", "deepgram", "speak", DEEPGRAM_SPEAK),
    row("POST", "/v1/read", "deepgram", "read", DEEPGRAM_READ),
    row("GET", "/v1/models", "deepgram", "models", FREE_READ, billable=False),
    row("GET", "/v1/models/{id}", "deepgram", "models", FREE_READ, billable=False),
    socket("/v1/listen", "deepgram", "listen.live", live.DEEPGRAM_LISTEN),
    socket("/v2/listen", "deepgram", "listen.flux", live.DEEPGRAM_FLUX),
    socket("/v1/speak", "deepgram", "speak.live", live.DEEPGRAM_SPEAK),
)
