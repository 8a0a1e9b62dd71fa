"""The test-mode upstream over WebSockets: messages in, messages out, faults on request. Pure: no network, no clock.

Promises: every handshake is answered, with a conversation or with the provider's own refusal; a conversation is a
function of what was said in it. What is generated is counted by the simulator's own rule when it is taken, so `billed`
is the invoice at any moment, however it ends. Faults that concern bytes and time are carried out here, by messages:
`delay_ms`, `chunk_delay_ms`, `stall`, `stall_after`, `disconnect_after`, `malformed`; `status` refuses the handshake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qs

from providers.simulator.answers import Cut, Pause
from providers.simulator.deepgram import live as deepgram
from providers.simulator.delivery import STALL_MS
from providers.simulator.elevenlabs import live as elevenlabs
from providers.simulator.faults import Faults
from providers.simulator.google import live as gemini
from providers.simulator.openai import realtime
from providers.simulator.talk import Asked, Close, Conversation, Frame, NotOpened, Step, refused

__all__ = ["Close", "Conversation", "Cut", "Frame", "NotOpened", "Pause", "Step", "converse"]

_OPENERS: Final[Mapping[str, Callable[[Asked], Conversation | NotOpened]]] = MappingProxyType(
    {
        "openai": realtime.open_,
        "google": gemini.open_,
        "deepgram": deepgram.open_,
        "elevenlabs": elevenlabs.open_,
    }
)


def converse(
    target: str,
    headers: Mapping[str, str],
    *,
    provider: str,
    faults: Faults,
    request_id: str,
    now_s: int,
) -> Conversation | NotOpened:
    """Answer a handshake as its provider would.

    Args:
        target: Path and query, as it goes upstream.
        headers: In any case. Credentials are not looked at.
        provider: Farthing's name of the provider.
        faults: What is to go wrong.
        request_id: The id that the provider gives the socket; all other ids are derived from it.
        now_s: Unix seconds, for `created` and the like.
    """
    path, _, query = target.partition("?")
    asked = Asked(
        provider=provider,
        path=path,
        query=parse_qs(query, keep_blank_values=True),
        faults=faults,
        request_id=request_id,
        now_s=now_s,
    )
    if faults.status:
        return refused(provider, faults.status, request_id)
    opener = _OPENERS.get(provider)
    if opener is None:
        return refused(provider, 404, request_id)
    opened = opener(asked)
    return opened if isinstance(opened, NotOpened) else _Faulty(opened, faults)


class _Faulty:
    """A conversation with its faults of bytes and time."""

    def __init__(self, inner: Conversation, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._sent = 0
        self.billed = inner.billed

    def opened(self) -> Iterator[Step]:
        if self._faults.stall:
            yield Pause(STALL_MS)
        if self._faults.delay_ms:
            yield Pause(self._faults.delay_ms)
        yield from self._carried(self._inner.opened())

    def said(self, frame: Frame) -> Iterator[Step]:
        return self._carried(self._inner.said(frame))

    def ended(self) -> None:
        self._inner.ended()

    def _carried(self, steps: Iterator[Step]) -> Iterator[Step]:
        faults = self._faults
        for step in steps:
            if not isinstance(step, str | bytes):
                yield step
                continue
            if faults.disconnect_after == self._sent:
                yield Cut()
                return
            if faults.stall_after == self._sent:
                yield Pause(STALL_MS)
            if faults.malformed and self._sent == 2:
                yield '{"type":"res'
            if faults.chunk_delay_ms and self._sent:
                yield Pause(faults.chunk_delay_ms)
            self._sent += 1
            yield step
