"""MiniMax's native API. Images, video, music, voices and asynchronous speech are refused: see docs/providers.md."""

from __future__ import annotations

from providers.ground.quirks import Quirks
from providers.minimax.base_resp import with_base_resp
from providers.minimax.speech import MINIMAX_SPEECH
from providers.openai.chat import OPENAI_CHAT
from providers.stored.row import Row, row

_DIALECT = "minimax"
_CHAT = with_base_resp(OPENAI_CHAT.of(Quirks(splice=False)))  # usage comes unasked, in the last chunk

ROWS: tuple[Row, ...] = (
    row("POST", "/v1/text/chatcompletion_v2", "minimax", "text.chatcompletion_v2", _CHAT, dialect=_DIALECT),
    row("POST", "/v1/t2a_v2", "minimax", "t2a_v2", with_base_resp(MINIMAX_SPEECH), dialect=_DIALECT),
)
