"""What all socket protocols have in common: they never raise, and their bound is never below what was used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.metering import conclude
from providers.contract.shapes import Asked
from providers.contract.sockets import NOTHING_DUE, SOCKET, Frame, SocketMeter, Stop
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage, summed
from providers.operations import TABLE
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from providers.reading.frames import base64_bytes, frame_object, refuse_unclear, size
from providers.simulator import Faults
from providers.simulator.sockets import Close, Conversation, Cut, NotOpened, Pause, converse
from tests.wires import BY_NAME, PCM_16K, UNITS, WIRES, Wire

CATALOGUE = Catalogue.load()
each_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


def opened(wire: Wire) -> tuple[SocketMeter, Price]:
    """A meter for the wire's socket, and the price of its model."""
    path, _, query = wire.path.partition("?")
    asked = Asked(query={name: [value] for name, _, value in (part.partition("=") for part in query.split("&"))})
    row = next(
        row
        for row in TABLE
        if row.method == SOCKET and row.operation.name == wire.route and row.path.count("/") == path.count("/")
    )
    shape = row.operation.socket
    assert shape is not None
    opening = wire.frames[0] if shape.first_frame == "call" else b""
    call = shape.read(opening if isinstance(opening, bytes) else opening.encode(), asked)
    price = CATALOGUE.find(row.provider, call.priced_as or call.model, 0)
    assert price is not None
    return shape.meter(call, asked, max_input_tokens=price.max_input_tokens, max_output_tokens=None), price


def simulated(wire: Wire, faults: str = "") -> Conversation:
    made = converse(
        wire.path, {}, provider=wire.provider, faults=Faults.parse(faults), request_id="req_1", now_s=1_700_000_000
    )
    assert not isinstance(made, NotOpened)
    return made


def passed(steps: Iterator[Any], meter: SocketMeter) -> bool:
    """Feed what is said; whether the socket is still open."""
    for step in steps:
        if isinstance(step, Close | Cut):
            return False
        if not isinstance(step, Pause):
            meter.received(step)
    return True


def cost_of(usage: Usage, price: Price) -> int:
    return price.cost_picos(usage)


@each_wire
def test_a_meter_reads_what_the_simulator_bills(wire: Wire) -> None:
    """Fed with both sides' messages, the meter's final word is the simulator's invoice."""
    meter, price = opened(wire)
    talk = simulated(wire)
    passed(talk.opened(), meter)
    for frame in wire.frames:
        due = meter.weigh(frame)
        assert not isinstance(due, Stop)
        meter.sent(due)
        passed(talk.said(frame), meter)
    reading = meter.finish()
    assert reading.complete
    assert reading.usage is not None
    billed = Usage(
        **{UNITS[unit]: count for unit, count in talk.billed.items() if unit in UNITS},
        tools={unit: count for unit, count in talk.billed.items() if unit not in UNITS},
    )
    assert cost_of(reading.usage, price) == cost_of(billed, price)
    assert not meter.busy()


@each_wire
def test_the_bound_covers_whatever_comes_of_a_message(wire: Wire) -> None:
    """Before each message, the most that it may cost is at least what the provider bills once it has answered."""
    meter, price = opened(wire)
    talk = simulated(wire)
    passed(talk.opened(), meter)
    for frame in wire.frames:
        due = meter.weigh(frame)
        assert not isinstance(due, Stop)
        bound = price.bound_picos(meter.exposed(due))
        assert bound >= cost_of(meter.used(due), price)
        meter.sent(due)
        passed(talk.said(frame), meter)
        assert cost_of(meter.used(), price) <= bound


@each_wire
def test_weighing_changes_nothing(wire: Wire) -> None:
    """A message that is weighed and withheld leaves no trace."""
    meter, _ = opened(wire)
    before = (meter.used(), meter.exposed(), meter.busy(), meter.models())
    for frame in wire.frames:
        meter.weigh(frame)
    assert (meter.used(), meter.exposed(), meter.busy(), meter.models()) == before


@each_wire
@pytest.mark.parametrize("cut", [0, 1, 3, 7, 20])
def test_a_conversation_that_breaks_off_is_never_free_and_never_below_its_counts(wire: Wire, cut: int) -> None:
    """Cut anywhere, what was counted stands, and what was running is estimated and says so."""
    meter, price = opened(wire)
    talk = simulated(wire, f"disconnect_after={cut}")
    alive = passed(talk.opened(), meter)
    for frame in wire.frames:
        if not alive:
            break
        due = meter.weigh(frame)
        assert not isinstance(due, Stop)
        meter.sent(due)
        alive = passed(talk.said(frame), meter)
    reading = meter.finish()
    assert reading.usage is not None
    concluded = conclude(_call(wire), reading, ended="cut", http_status=200)
    assert concluded.status == ("estimated" if reading.partial else "settled")
    assert cost_of(concluded.usage, price) >= 0
    if reading.partial:
        assert "usage_missing" in reading.flags


def _call(wire: Wire) -> Any:
    path, _, query = wire.path.partition("?")
    asked = Asked(query={name: [value] for name, _, value in (part.partition("=") for part in query.split("&"))})
    row = next(
        row
        for row in TABLE
        if row.method == SOCKET and row.operation.name == wire.route and row.path.count("/") == path.count("/")
    )
    shape = row.operation.socket
    assert shape is not None
    opening = wire.frames[0] if shape.first_frame == "call" else b""
    return shape.read(opening if isinstance(opening, bytes) else opening.encode(), asked)


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["type", "session", "response", "usage", "id", "audio", "delta", "error", "item", "setup", "serverContent",
         "usageMetadata", "modelTurn", "parts", "turnComplete", "duration", "start", "channels", "text", "isFinal",
         "input_tokens", "output_tokens", "total_tokens", "promptTokenCount", "realtimeInput", "clientContent",
         "audio_base_64", "message_type", "max_output_tokens", "turn_detection", "transcription", "seconds"]),
        inner, max_size=5),
    max_leaves=12,
)  # fmt: skip
KINDS = st.sampled_from(
    ["response.done", "response.created", "session.updated", "session.update", "response.create", "error", "Metadata",
     "Results", "TurnInfo", "Speak", "Configure", "input_audio_buffer.append", "response.output_audio.delta",
     "conversation.item.input_audio_transcription.completed"]
)  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    message = draw(HOSTILE)
    if isinstance(message, dict) and draw(st.booleans()):
        message["type"] = draw(KINDS)
    text = json.dumps(message)
    if draw(st.integers(0, 9)) == 0:
        text = text[: len(text) // 2]
    return text.encode() if draw(st.booleans()) else text


@given(st.sampled_from(WIRES), st.lists(st.tuples(st.booleans(), frames() | st.binary(max_size=99)), max_size=8))
def test_nothing_that_either_side_says_makes_a_meter_raise(wire: Wire, talk: list[tuple[bool, Frame]]) -> None:
    """Whatever the frames, a meter reads on; its counts are whole, and its bound is not below what was used."""
    meter, price = opened(wire)
    for ours, frame in talk:
        if ours:
            try:
                due = meter.weigh(frame)
            except BadRequest:
                continue
            if not isinstance(due, Stop):
                meter.exposed(due)
                meter.models(due)
                meter.sent(due)
        else:
            meter.received(frame)
        meter.elapsed(1_000)
        used = meter.used()
        assert price.bound_picos(meter.exposed()) >= 0 <= price.cost_picos(used)
    reading = meter.finish()
    assert reading.usage is not None
    concluded = conclude(_call(wire), reading, ended="cut", http_status=200)
    assert price.cost_picos(concluded.usage) >= 0


@pytest.mark.parametrize(
    ("message", "clear"),
    [
        ('{"type":"input_audio_buffer.append","audio":"' + "A" * (15 << 20) + '"}', True),
        ('{"type":"x","item":"' + 'a \\"word\\" ' * 40_000 + '"}', True),
        ('{"type":"x","item":"' + '\\"' * (7 << 20) + '"}', False),
        ('{"type":"x","item":[' + ",".join(['{"a":1}'] * 200_000) + "]}", False),
        ('{"type":"x","item":[' + ",".join(['"abcdefghijklmnopqrstuvwxyz"'] * 500_000) + "]}", False),
        ('{"type":"x","item":[' + ",".join("0" * 8_000_000) + "]}", False),
        ('{"type":"x","item":"' + "A" * (1 << 20) + '\n"}', False),
        ('{"type":"x","item":"' + "A" * (1 << 20), False),
        ('{"type":"x","item":"' + "A" * (1 << 20) + '","item":""}', False),
    ],
    ids=["sound", "quotes", "escapes", "objects", "texts", "numbers", "control", "open", "twice"],
)
def test_a_large_message_is_large_in_its_texts(message: str, clear: bool) -> None:
    """It is read where others wait: what would take long is not read at all."""
    try:
        refuse_unclear(message, frozenset(("type", "item")))
    except BadRequest:
        assert not clear
    else:
        assert clear


@pytest.mark.parametrize("wire", [each for each in WIRES if each.provider != "deepgram"], ids=lambda wire: wire.name)
def test_no_protocol_reads_a_large_message_that_is_not_large_in_its_texts(wire: Wire) -> None:
    """The bound is every protocol's; sound in a text passes it."""
    meter, _ = opened(wire)
    for crowd in ('{"a":1}', "0", '"abcdefghijklmnopqrstuvwxyz"'):
        message = '{"clientContent":{"turns":[' + ",".join([crowd] * 200_000) + "]}}"
        with pytest.raises(BadRequest, match="large in long texts only"):
            meter.weigh(message)
    meter.weigh('{"audio":"' + "A" * (1 << 20) + '"}')


def test_sums_keep_every_unit() -> None:
    """Two usages together are the sum of their counts, tools and other models' parts."""
    one = Usage(input_tokens=1, audio_ms=5, tools={"a": 1}, beside={"m": Usage(output_tokens=2)})
    two = Usage(input_tokens=2, output_tokens=3, tools={"a": 2, "b": 1}, beside={"m": Usage(output_tokens=3)})
    assert summed(one, two) == Usage(
        input_tokens=3, output_tokens=3, audio_ms=5, tools={"a": 3, "b": 1}, beside={"m": Usage(output_tokens=5)}
    )


@pytest.mark.parametrize(("text", "length"), [("", 0), ("QQ==", 1), ("QUE=", 2), ("QUFB", 3), (None, 0), (7, 0)])
def test_base64_is_measured_without_being_decoded(text: object, length: int) -> None:
    """Padding is no sound."""
    assert base64_bytes(text) == length


def test_frames_are_measured_in_bytes() -> None:
    """A text's size is that of its UTF-8."""
    assert (size("a🦊"), size(b"abc"), size("abc")) == (5, 3, 3)
    assert frame_object("[1]") is None
    assert frame_object("{") is None
    assert frame_object(b'{"a":1}') == {"a": 1}


def test_more_sound_than_a_minute_needs_more_than_a_minute_s_hold() -> None:
    """The measure of a transcription grows with every frame, before the provider has said anything."""
    meter, _ = opened(BY_NAME["listen"])
    for seconds in range(1, 100):
        due = meter.weigh(PCM_16K)
        assert not isinstance(due, Stop)
        assert meter.used(due).audio_ms == meter.exposed(due).audio_ms == seconds * 1_000
        meter.sent(due)
    assert meter.used(NOTHING_DUE).audio_ms == 99_000
    assert meter.used().tools == {"diarize_ms": 99_000}
