"""A batch as the simulator remembers it: how many requests, for what, and what their answers count in all.

Promises: the sums are what the simulator's own operations counted when the requests came; each answer gets its even
share of them. What was asked and which words were said is not remembered; the caller's own ids are, where they are a
name with a running number ("request-1", "request-2", …), else lines are called "line-1" and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from providers.simulator import prose
from providers.simulator.answers import Draft, Whole
from providers.simulator.faults import Faults
from providers.simulator.requests import Refusal, Request

FAULTS: Final = ("", "failed", "expired", "cancelled", "stuck")
_SECONDS: Final = 2  # from its making to its end
_RUNNING: Final = re.compile(r"(.{0,24}?)(\d{1,9})", re.DOTALL)


class Work(msgspec.Struct, frozen=True):
    """What a file of requests, or a batch of them, comes to."""

    url: str = ""
    model: str = ""
    lines: int = 0
    refused: int = 0
    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    prefix: str = ""
    start: int = 0

    def custom_id(self, line: int) -> str:
        """The caller's id of a line, from 0."""
        return f"{self.prefix}{self.start + line}"

    def share(self, total: int, line: int) -> int:
        """One line's part of a sum."""
        answered = max(self.lines - self.refused, 1)
        return total // answered + (line < total % answered)

    def billed(self, done: int) -> dict[str, int]:
        """What the first `done` answers are billed for."""
        names = ("input", "cached", "written", "output")
        sums = [sum(self.share(getattr(self, name), line) for line in range(done)) for name in names]
        return {
            "input_tokens": sums[0],
            "cached_tokens": sums[1],
            "cache_write_tokens": sums[2],
            "output_tokens": sums[3],
            "reasoning_tokens": 0,
        }


class Line(msgspec.Struct):
    """One request of a batch."""

    custom_id: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")
    url: str = ""


def work(request: Request, lines: Iterable[Line], operations: dict[str, Callable[[Request], Draft]], url: str) -> Work:
    """What requests come to: each is answered, its answer counted and let go. `url` is meant where none is named."""
    # (`model` may stand in the batch instead, as Mistral has it: a request without one is counted as of any model.)
    ids: list[str] = []
    refused = 0
    sums = [0, 0, 0, 0]
    model = ""
    for line in lines:
        ids.append(line.custom_id)
        url = line.url or url
        body = bytes(line.body)
        if not _model(body) and body[:1] == b"{":
            body = b'{"model":"?",' + body[1:]
        asked = msgspec.structs.replace(request, method="POST", path=url, body=body, faults=Faults())
        try:
            draft = operations[url](asked)
        except (Refusal, KeyError):
            refused += 1
            continue
        if not isinstance(draft, Whole) or draft.billed is None:
            refused += 1
            continue
        model = model or _model(body).strip("?")
        billed = draft.billed
        counts = (
            billed["input_tokens"],
            billed.get("cached_tokens", billed.get("cache_read_input_tokens", 0)),
            billed.get("cache_write_tokens", billed.get("cache_creation_input_tokens", 0)),
            billed.get("output_tokens", 0),
        )
        sums = [total + count for total, count in zip(sums, counts, strict=True)]
    prefix, start = _running(ids)
    return Work(url, model[:60], len(ids), refused, sums[0], sums[1], sums[2], sums[3], prefix, start)


def _model(body: bytes) -> str:
    named = msgspec.json.decode(body)
    return str(named.get("model", "")) if isinstance(named, dict) else ""


def _running(ids: list[str]) -> tuple[str, int]:
    first = _RUNNING.fullmatch(ids[0]) if ids else None
    if first is not None and not (first[2].startswith("0") and len(first[2]) > 1):
        start = int(first[2])
        if all(id_ == f"{first[1]}{start + at}" for at, id_ in enumerate(ids)):
            return first[1], start
    return "line-", 1


def ended(created_s: int, now_s: int, fault: str) -> bool:
    """Whether a batch has ended, by the clock."""
    return fault != "stuck" and now_s - created_s >= _SECONDS


def done(found: Work, fault: str) -> int:
    """How many answers an ended batch has: all that were not refused, or half of them where it was broken off."""
    answered = found.lines - found.refused
    return {"": answered, "failed": 0}.get(fault, answered // 2)


def words(found: Work, line: int) -> str:
    """What an answer says: as many tokens as are its share."""
    return prose.prose(line, tokens=found.share(found.output, line), limit=None, stops=[]).text
