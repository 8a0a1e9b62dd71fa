"""What the simulator hands out: an answer as a head and steps, and the two drafts that the shapes write.

Promises: an answer is data; whoever serves it does the waiting and the cutting. Knows nothing of faults or shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

Headers: TypeAlias = list[tuple[str, str]]


class Pause(msgspec.Struct, frozen=True):
    """Nothing is sent for this long. Before the first bytes: nothing, not even the head."""

    ms: int


class Cut(msgspec.Struct, frozen=True):
    """The connection is reset here. Before the first bytes: without a head."""


Step: TypeAlias = bytes | Pause | Cut


class Answer(msgspec.Struct, kw_only=True):
    """One answer, to be served step by step.

    Attributes:
        headers: Names in lower case. `content-length` is there for full answers, and not for streams.
        steps: Pauses and cuts that come before the first bytes come before the head; empty bytes mean "send the head
            now". Taking a step is what makes the model write on, so a caller that stops taking stops the bill.
        billed: What the provider would invoice if the connection ended now: complete once `steps` is exhausted, and
            updated in place as they are taken. None if nothing is billed. OpenAI: `input_tokens` (cached and
            written inside), `cached_tokens`, `cache_write_tokens`, `audio_tokens` (chat), `output_tokens`
            (reasoning inside), `reasoning_tokens`. Anthropic: `input_tokens` (cache outside),
            `cache_read_input_tokens`, `cache_creation_input_tokens`, `ephemeral_5m_input_tokens`,
            `ephemeral_1h_input_tokens`, `output_tokens`.
            Both: `web_searches` where there were any. xAI: `usd_ticks`, its price (1 tick = 1e-10 USD).
            Others by their units: `characters`, `pages`, `images`.
    """

    status: int
    headers: Headers
    steps: Iterator[Step]
    billed: dict[str, int] | None


class Whole(msgspec.Struct, kw_only=True):
    """A full answer before faults."""

    headers: Headers
    body: bytes
    status: int = 200
    billed: dict[str, int] | None = None


class Stream(msgspec.Struct, kw_only=True):
    """A streamed answer before faults.

    Attributes:
        events: One SSE event's bytes, and how many output tokens were generated once it is out.
        failure: The in-band error event(s) of this shape, given the number of events so far.
        garbage: One event of this shape whose data is no JSON.
    """

    headers: Headers
    events: Iterator[tuple[bytes, int]]
    billed: dict[str, int]
    failure: Callable[[int], bytes]
    garbage: bytes


Draft: TypeAlias = Whole | Stream


def event(data: object, name: str = "") -> bytes:
    """One SSE event, with an `event:` line where the shape has one."""
    body = b"data: " + msgspec.json.encode(data) + b"\n\n"
    return b"event: " + name.encode() + b"\n" + body if name else body
