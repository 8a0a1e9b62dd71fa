"""What the tests of meters share: feeding bytes in any pieces, and building streams."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from providers.contract.shapes import Call, Reading, Shape
from providers.ground.usage import Usage

CALL = Call(model="m", stream=True, input_typical=Usage(input_tokens=20), output_field="max_tokens")
CUTS = st.lists(st.integers(0, 3000), max_size=10)


def sse(*events: object, names: bool = False) -> bytes:
    """Events as a provider writes them; a string stands for itself."""
    lines = []
    for event in events:
        if isinstance(event, str):
            lines.append(f"data: {event}\n\n".encode())
            continue
        text = msgspec.json.encode(event)
        name = b"event: %b\n" % event["type"].encode() if names and isinstance(event, dict) else b""
        lines.append(name + b"data: " + text + b"\n\n")
    return b"".join(lines)


def read(
    shape: Shape, data: bytes, *, streamed: bool = True, cuts: list[int] | None = None, call: Call = CALL
) -> Reading:
    """The reading of an answer fed in pieces."""
    meter = shape.meter(call, streamed=streamed)
    at = 0
    for cut in [*sorted(cuts or []), len(data)]:
        meter.feed(data[at:cut])
        at = max(at, cut)
        assert meter.output_tokens_seen() >= 0
    return meter.finish()


NUMBER = st.one_of(
    st.integers(-5, 300), st.integers(-(1 << 70), 1 << 70), st.floats(), st.none(), st.booleans(), st.text(max_size=3)
)
