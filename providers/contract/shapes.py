"""What every wire shape offers, and the records that pass between a shape and the gateway.

A *shape* is one provider-native request/answer format (`openai_chat`, `anthropic_messages`, …), not a vendor. It
reads a request without keeping its content, says what must be changed in it before it is forwarded (almost always
nothing), and makes a meter that reads the answer's bytes. Pure: bytes in, records out.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import msgspec

from providers.contract.batch_bound import BatchBound
from providers.ground.usage import Usage

JSON = "application/json"


class Reference(msgspec.Struct, frozen=True):
    """An object that a request refers to. `param` is the member that names it."""

    param: str
    kind: str
    id: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around a request's body, for the shapes that look there.

    Attributes:
        params: Values of the path's placeholders.
        query: The query's parameters, decoded; all values of each.
        headers: By lower-case name.
        objects: Facts of the caller's own objects that the request names, by their ids.
        sound: The caller's cap must hold: what stands inside of the request is held up to the tables, too
            (`providers.reading.inside`).
    """

    params: Mapping[str, str] = MappingProxyType({})
    query: Mapping[str, list[str]] = MappingProxyType({})
    headers: Mapping[str, str] = MappingProxyType({})
    objects: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    sound: bool = False


NOTHING_ELSE = Asked()
"""For requests whose body says everything."""


class HoldSteps(msgspec.Struct, frozen=True, kw_only=True):
    """How the hold of a socket grows: in steps of this much usage.

    Attributes:
        step: What one step covers.
        count: How many are held when the socket opens, and again whenever three quarters are used; fewer, down to one,
            where a limit has no more room.
    """

    step: Usage
    count: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway must know of a request: facts and bounds, nothing of its content.

    Attributes:
        model: As the client named it; "" where the operation has no model (listing models).
        stream: The client asked for a streamed answer.
        input_upper: Tight upper estimate of the input's usage (token counts by byte classes; media by part).
        input_bound: Sound upper bound of the input's usage (text bytes as tokens), as long as `unbounded` is "". Never
            below `input_upper`. Both carry the `speed` and `geo` that the request asks for, and leave open how much of
            the input is cached or written to a cache: price them at the dearest class.
        input_typical: Best guess of the input's usage, to bill an answer that was cut before usage was seen.
        output_tokens_max: The output limit that the client declared, per choice; None where it declared none. Where
            it declared two, the larger.
        output_field: Name of the request field that declares it ("max_completion_tokens", …), or that would; "" = the
            answer has no output tokens (embeddings, listing models), or none that a field limits (pictures, sound):
            then they stand in the usages of the input, which are those of the whole call.
        limitable: That field can be written into the request. False where the operation has none, though it has output:
            then as much as the model can say is held, or nothing.
        choices: How many answers are asked for (`n`, `best_of`, prompts); the output bound counts for each.
        service_tier: As the request names it; "" where it names none.
        unbounded: Name of the first request field that makes the cost unknowable from the bytes
            (a remote image URL, `previous_response_id`, a tool that the provider runs, …); "" when there is none.
        endless: Name of the first request field that makes the cost unknowable even given the model's limits (a tool
            that the provider runs, as often as it likes); "" when there is none. Where it can bring tokens, `unbounded`
            names one, too.
        unpriced: Name of the first request field that asks for work of which nobody knows the price; "" where there is
            none. Whoever has a cap is refused that.
        unlisted: Name of the first request field that stands in no table of the shape (`providers.contract.fields`);
            where `Asked.sound`, place of what stands inside of the request and in none (`providers.reading.inside`).
        models: Further models that the request names, by the field that does; each must be allowed, and have a price.
        instead: Which of those may answer instead of `model`: the dearest of them all is held for.
        beside: What further models may use beside the answer, by their names: likely most, and most.
        reasons: The request asks for reasoning that the answer need not show; see also `Vendor.shows`.
        cache_writes: The request can cause cache writes, which some models charge above plain input.
        priced_as: The catalogue's id of what is served, where that is not `model` (Deepgram's live sockets).
        hold_steps: How its hold grows; None for a call whose cost is bounded from its request.
        splice: Something has to be written into the forwarded body (see `prepare`): that usage is asked for, whose
            extra event is then removed from the answer, or the model that a request without one gets.
        noted: What the shape's own meter has to know of the request, in the shape's own words.
        refers: Objects that the request refers to by other means than a member's name; see `Operation.names`.
        facts: Small facts to keep with the object that the call makes.
        batch_bound: Many requests in one, to be answered later, instead of the input and output above.
        content_type: What the body was read as. The provider is told this and not the client's words, so that it reads
            the same.
    """

    model: str = ""
    stream: bool = False
    input_upper: Usage = Usage()
    input_bound: Usage = Usage()
    input_typical: Usage = Usage()
    output_tokens_max: int | None = None
    output_field: str = ""
    limitable: bool = True
    choices: int = 1
    service_tier: str = ""
    unbounded: str = ""
    endless: str = ""
    unpriced: str = ""
    unlisted: str = ""
    models: Mapping[str, str] = MappingProxyType({})
    instead: tuple[str, ...] = ()
    beside: Mapping[str, tuple[Usage, Usage]] = MappingProxyType({})
    reasons: bool = False
    cache_writes: bool = True
    splice: bool = False
    noted: tuple[str, ...] = ()
    refers: tuple[Reference, ...] = ()
    priced_as: str = ""
    hold_steps: HoldSteps | None = None
    facts: Mapping[str, Any] = MappingProxyType({})
    batch_bound: BatchBound | None = None
    content_type: str = JSON


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter saw when the answer ended, however it ended.

    Attributes:
        usage: The provider's own count, normalised; None where none was seen. An explicit zero is a `Usage()`.
        complete: The answer's own end mark was seen (last byte of a JSON body, `[DONE]`, `message_stop`, …).
        model: The model that the provider says it served; "" where it does not say.
        output_tokens_seen: Typical estimate of the output tokens visible in the answer so far.
        flags: Oddities worth keeping on the event: "usage_missing" (set by `metering`), "usage_contradictory",
            "usage_incomplete", "usage_negative", "usage_decreased", "usage_other_model", "malformed", "oversize".
        error: The provider reported a failure inside a 200 answer.
        partial: Usage seen so far is a true lower bound but not the final count (Anthropic's `message_start`).
        running: That count was made along with the content, and leaves out only what was made after it (Gemini).
        refused: The provider says, in a 200 answer, that it has not done what was asked, and charges nothing (MiniMax).
        tools: Calls of priced tools that were seen, where there is no count; as in `Usage.tools`.
    """

    usage: Usage | None = None
    complete: bool = False
    model: str = ""
    output_tokens_seen: int = 0
    flags: tuple[str, ...] = ()
    error: bool = False
    partial: bool = False
    running: bool = False
    refused: bool = False
    tools: Mapping[str, int] = MappingProxyType({})


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Meter(Protocol):
    """Reads an answer's bytes as they pass. Never raises, whatever the bytes; memory is bounded."""

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes exactly as the provider sent them."""
        ...

    def output_tokens_seen(self) -> int:
        """Typical estimate of the output tokens visible so far, or the provider's own count where that is larger.

        Never decreases by more than rounding. Cheap enough to ask after every chunk of a long stream.
        """
        ...

    def finish(self) -> Reading:
        """Say what was seen. Called once, after the last chunk or the cut."""
        ...


class Filter(Protocol):
    """Removes from a streamed answer the one event that our own splice caused. Everything else passes verbatim."""

    def feed(self, chunk: bytes) -> bytes:
        """Bytes that may go to the client now: often all of `chunk`, and at most an unfinished event is kept back."""
        ...

    def flush(self) -> bytes:
        """What was kept back at the end of the answer."""
        ...


class Shape(Protocol):
    """One wire shape."""

    @property
    def name(self) -> str:
        """For logs: the module's name."""
        ...

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: The body is not what this operation takes; the message names the field.
        """
        ...

    def prepare(self, body: bytes, call: Call) -> bytes:
        """The body to forward: the same bytes, but for what has to be written into it where `call.splice`."""
        ...

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """The body with its output limit lowered to `output_tokens`, or set to that where it declares none.

        Changes that member and nothing else. Returns the same bytes where `call.output_field` is "". Its result may be
        given to `prepare`, and the other way round.
        """
        ...

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer.

        Args:
            call: What was asked.
            streamed: The answer is a stream of server-sent events, by its content type, not by what was asked.
            headers: The answer's, looked up without regard to case: some providers state the usage there.
        """
        ...

    def filter(self, call: Call) -> Filter | None:
        """The filter that undoes the splice, for a streamed answer only; None where nothing was spliced."""
        ...


class Arrival(Protocol):
    """Reads one request's body while it arrives. Memory is bounded, whatever its length.

    The gateway feeds each chunk before it forwards it, so what is refused here does not reach the provider whole, and
    an unfinished request is none.
    """

    @property
    def uncovered(self) -> str:
        """Name of what has come behind the call's telling and that its bounds do not cover; "" where there is none.

        A field in no table, or one that there would have been more to hold for.
        """
        ...

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes.

        Raises:
            BadRequest: They are not what this operation takes, or decide the cost after `call` has told it.
        """
        ...

    def call(self, length: int, *, whole: bool) -> Call | None:
        """The call, as far as the bytes so far tell; its bounds hold for a body of `length` bytes.

        None where what decides the cost has not come yet; never where `whole` says that everything has. May be asked
        again: for a greater length while more comes, and once more at the end, for the meter.

        Raises:
            BadRequest: The body is whole, and not what this operation takes.
        """
        ...


@runtime_checkable
class Uploading(Shape, Protocol):
    """A shape whose requests may be long, and are forwarded while they arrive."""

    def arrival(self, asked: Asked) -> Arrival:
        """A reader of one request's body."""
        ...


def arrived(shape: Uploading, body: bytes, asked: Asked) -> Call:
    """What an uploading shape reads in a body that is here already: its `read`. Raises BadRequest."""
    reader = shape.arrival(asked)
    reader.feed(body)
    call = reader.call(len(body), whole=True)
    assert call is not None  # noqa: S101 - promised where the body is whole
    return call
