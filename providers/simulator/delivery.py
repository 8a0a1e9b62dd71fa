"""From a draft to an answer: how its bytes come, break off, stall or lie.

Promises: without faults the steps are the draft's bytes, one event a step; the bill grows with the steps taken.
Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from providers.simulator.answers import Answer, Cut, Draft, Headers, Pause, Step, Stream, Whole
from providers.simulator.faults import Faults

STALL_MS: Final = 3_600_000  # longer than any deadline: "for ever"


def deliver(draft: Draft, faults: Faults) -> Answer:
    """Carry out the faults that concern bytes and time; those that concern content are in the draft."""
    headers = list(draft.headers)
    if isinstance(draft, Whole):
        status, billed = draft.status, draft.billed
        body = draft.body
        if faults.malformed:
            body = body[: len(body) * 2 // 3]
        if faults.encoding or faults.bom:
            body = b"".join(_encode([body], faults))
        headers.append(("content-length", str(len(body))))
        steps = _of_body(body, faults)
    else:
        status, billed = 200, dict(draft.billed)
        billed["output_tokens"] = 0
        steps = _of_events(draft, billed, faults)
    if faults.encoding:
        headers.append(("content-encoding", faults.encoding))
    if faults.content_length is not None:
        headers = _claim(headers, faults.content_length)
    return Answer(status=status, headers=headers, steps=_timed(steps, faults), billed=billed)


def _of_body(body: bytes, faults: Faults) -> Iterator[Step]:
    if faults.reset == "mid_event":
        yield body[: len(body) // 2]
        yield Cut()
        return
    for limit, step in ((faults.disconnect_after, Cut()), (faults.stall_after, Pause(STALL_MS))):
        if limit is not None:
            yield body[:limit]
            yield step
            body = body[limit:]
    yield body


def _of_events(draft: Stream, billed: dict[str, int], faults: Faults) -> Iterator[Step]:
    chunks = _encode(_counted(draft, billed, faults), faults)
    sent = 0
    while True:
        if faults.disconnect_after == sent or faults.stall_after == sent:
            if not sent:
                yield b""
            yield Cut() if faults.disconnect_after == sent else Pause(STALL_MS)
            if faults.disconnect_after == sent:
                return
        if faults.chunk_delay_ms and not faults.chunk_bytes and sent:
            yield Pause(faults.chunk_delay_ms)
        chunk = next(chunks, None)  # only now does the model write on
        if chunk is None:
            break
        if faults.reset == "mid_event" and sent:
            yield chunk[: len(chunk) // 2]
            yield Cut()
            return
        yield chunk
        sent += 1
    if faults.disconnect_after is not None:  # asked for more events than there are: cut at the end
        yield Cut()


def _counted(draft: Stream, billed: dict[str, int], faults: Faults) -> Iterator[bytes]:
    """The events' bytes; taking one is what the model generates it for."""
    total, reasoning = draft.billed["output_tokens"], billed.get("reasoning_tokens")
    held: bytes | None = None
    for number, (data, generated) in enumerate(draft.events):
        if held is not None:
            yield held
        if faults.error_after == number:
            if not billed["output_tokens"]:
                billed.update(dict.fromkeys(billed, 0))  # who fails before the first word has done nothing
            yield draft.failure(number)
            return
        if faults.malformed and number == 2:
            yield draft.garbage
        billed["output_tokens"] = min(total, generated)
        if reasoning is not None:
            billed["reasoning_tokens"] = min(reasoning, generated)
        framed = b": keep-alive\n\n" + data if faults.comments else data
        if faults.newline:
            framed = framed.replace(b"\n", b"\r\n" if faults.newline == "crlf" else b"\r")
        held = framed if faults.no_end else None
        if not faults.no_end:
            yield framed


def _encode(chunks: Iterable[bytes], faults: Faults) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31) if faults.encoding == "gzip" else None
    first = b"\xef\xbb\xbf" if faults.bom else b""
    for chunk in chunks:
        plain, first = first + chunk, b""
        yield packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH) if packer else plain
    if packer:
        yield packer.flush()


def _timed(steps: Iterator[Step], faults: Faults) -> Iterator[Step]:
    if faults.delay_ms:
        yield Pause(faults.delay_ms)
    if faults.stall:
        yield Pause(STALL_MS)
    if faults.reset == "before_head":
        yield Cut()
        return
    if faults.reset == "after_head":
        yield b""
        yield Cut()
        return
    yield from _resplit(steps, faults.chunk_bytes, faults.chunk_delay_ms) if faults.chunk_bytes else steps


def _resplit(steps: Iterator[Step], size: int, delay_ms: int) -> Iterator[Step]:
    """The same bytes in pieces of `size`; what is left goes out before a pause or a cut."""
    rest = b""
    started = False
    for step in steps:
        if not isinstance(step, bytes):
            yield rest
            rest = b""
            yield step
            continue
        rest += step
        at = 0
        while len(rest) - at >= size:
            if delay_ms and started:
                yield Pause(delay_ms)
            started = True
            yield rest[at : at + size]
            at += size
        rest = rest[at:]
    if rest:
        yield rest


def _claim(headers: Headers, length: int) -> Headers:
    return [pair for pair in headers if pair[0] != "content-length"] + [("content-length", str(length))]
