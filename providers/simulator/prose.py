"""What the simulated model writes: plain sentences, cut where a maximum or a stop sequence says.

Promises: a function of what is asked; exactly as many tokens as asked for; never more than the maximum, or than a long
answer has.
Knows nothing of wire shapes.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from providers.simulator.tokens import pieces

_OPENING: Final = tuple(pieces("This is a simulated answer."))
_VOCABULARY: Final = (
    "a careful ledger keeps each small coin in its place and every call finds room before it starts while the "
    "gateway counts what passes so that no bill can grow beyond the cap one key one hold one event then the stream "
    "ends quietly with its usage known and the balance matches to the last micro as the clerk who wrote it down "
    "reads the line again slowly under a lamp by the river where boats carry grain salt wool iron paper"
)
_WORDS: Final = tuple(" " + word for word in _VOCABULARY.split())
TOKENS_MAX: Final = 200_000  # of one text
_STOPS_MAX: Final = 64  # providers take 4 to 16; each is looked for in all of the text
EFFORTS: Final = {"minimal": 8, "low": 16, "medium": 64, "high": 256, "xhigh": 512, "max": 1_024}


class Text(msgspec.Struct, kw_only=True):
    """What one choice says.

    Attributes:
        pieces: The visible tokens, in order.
        hidden: Reasoning tokens before them.
        full: The maximum cut it short.
        stop: The stop sequence that ended it; None where none did.
    """

    pieces: list[str]
    hidden: int = 0
    full: bool = False
    stop: str | None = None

    @property
    def text(self) -> str:
        """The visible text."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """All output tokens, reasoning inside."""
        return self.hidden + len(self.pieces)


def seed(asked: object, number: int = 0) -> int:
    """A number that stands for what was asked, and for the choice.

    Of the request, only what is said to the model may go into it: not how the answer is to come. So the same question
    has the same answer streamed or not, and with or without a gateway that asks for usage.
    """
    return int.from_bytes(hashlib.sha256(b"%d\0" % number + msgspec.json.encode(asked)).digest()[:8], "big")


def ident(prefix: str, request_id: str, salt: str = "") -> str:
    """An object's id in the provider's manner, from the id of the request."""
    return prefix + hashlib.sha256(f"{request_id}/{salt}".encode()).hexdigest()[:24]


def prose(number: int, *, tokens: int | None, limit: int | None, stops: list[str], hidden: int = 0) -> Text:
    """Sentences of `tokens` tokens in all (24 to 64 where None), within `limit`, up to the first of `stops`."""
    if tokens is not None:
        tokens = min(tokens, TOKENS_MAX)
        hidden = min(hidden, tokens // 2)
    wanted = 24 + number % 41 if tokens is None else tokens - hidden
    return clip(_sentences(number, wanted), limit=limit, stops=stops, hidden=hidden)


def clip(said: list[str], *, limit: int | None, stops: list[str], hidden: int = 0) -> Text:
    """Cut what the model would say at a stop sequence and at the maximum. Reasoning takes at most half of that."""
    stop: str | None = None
    if limit is not None:
        hidden = min(hidden, limit // 2)
    if stops:
        whole = "".join(said)
        hits = [(whole.find(mark), mark) for mark in stops[:_STOPS_MAX] if mark and mark in whole]
        if hits:
            end, stop = min(hits)
            said = _until(said, end)
    if limit is not None and hidden + len(said) > limit:
        return Text(pieces=said[: limit - hidden], hidden=hidden, full=True)
    return Text(pieces=said, hidden=hidden, stop=stop)


def _until(said: list[str], end: int) -> list[str]:
    kept: list[str] = []
    for piece in said:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept


def _sentences(number: int, wanted: int) -> list[str]:
    if wanted <= len(_OPENING):
        return list(_OPENING[:wanted])
    said = list(_OPENING)
    length = len(_WORDS)
    start, stride = number % length, 1 + number // length % (length - 1)
    until_stop = 5 + number % 7
    fresh = True
    for step in range(wanted - len(said) - 1):
        if until_stop == 0:
            said.append(".")
            until_stop, fresh = 5 + (number >> step % 32) % 7, True
            continue
        word = _WORDS[(start + step * stride + step * step // 7) % length]
        said.append(" " + word[1:].capitalize() if fresh else word)
        until_stop, fresh = until_stop - 1, False
    said.append(".")
    return said
