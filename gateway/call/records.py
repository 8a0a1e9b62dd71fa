"""A call's values on its way, each made in one place: as it came in, what it asks for, and as it was admitted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.asgi import Receive
from gateway.call.options import Options
from gateway.call.quote import Quote
from gateway.call.upload import Upload
from gateway.edge.head import Head
from gateway.edge.headers import HeaderFields
from gateway.places import Place
from keys.keyring import Key
from ledger.records import Held
from providers.contract.shapes import Call
from providers.pricing.prices import Price
from providers.reading.failures import Failure
from providers.routing import Route, Shared
from providers.simulator import Faults
from providers.stored.objects import Makes


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempt at a request a call is; see `gateway.call.attempt`.

    Attributes:
        number: From 1.
        upstream: Whom it asks, as the client is told.
        last: There is nobody else to ask.
        ambiguous: Others are asked even if this one may have been at work, and be billed.
        first_byte_s: For how long nothing may come; None for as long as always.
        place: Where it goes; None for the provider's own place.
        path: What is asked for there; "" for what is asked of the provider.
        model_there: What the model is called there; "" for the same.
    """

    number: int
    upstream: str
    last: bool
    ambiguous: bool
    first_byte_s: float | None = None
    place: Place | None = None
    path: str = ""
    model_there: str = ""


class Missed(msgspec.Struct, frozen=True):
    """An attempt that has failed, of which its caller has heard nothing yet.

    Attributes:
        why: What it met.
        wait_s: For how long whoever was asked wants to be left alone; None where it did not say.
        silent: It took all the time that it was given.
        tell: Gives the caller the answer that this attempt has come to.
    """

    why: Failure
    wait_s: float | None
    silent: bool
    tell: Callable[[], Awaitable[None]]


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came in.

    Attributes:
        route: Where it goes, as far as its path tells.
        shared: The providers that share its path, where there are several: the model that it names decides.
        fields: Those of its head, with its own length.
        headers: The same by lower-case name.
        whole: The body has arrived: receiving it takes no time.
        expect_upload: Tells the connection that so many bytes may come.
        body: What is to be sent, where that is known already: of an attempt.
        attempt: Which one it is; None for a call with one place to go.
        upstream: The one that the operator has named so, and whose path it came by.
        opening: Of a WebSocket, which has no body: its first message, if the call is told by that.
        secret: The key, where a first message carried it.
    """

    call_id: str
    route: Route
    shared: Shared | None = None
    head: Head
    fields: HeaderFields
    headers: dict[str, str]
    receive: Receive
    whole: bool = False
    expect_upload: Callable[[int], None] | None = None
    body: bytes | None = None
    attempt: Attempt | None = None
    upstream: str = ""
    opening: bytes | None = None
    secret: str | None = None

    @property
    def is_first(self) -> bool:
        """Whether it is a request's first attempt; nearly always its only one."""
        return self.attempt is None or self.attempt.number == 1


class Request(msgspec.Struct, frozen=True):
    """What a call asks for.

    Attributes:
        route: Where it goes.
        call: What its shape has read.
        body: As the client sent it; of an upload, its head.
        upload: A body that is still coming.
        makes: What its answer makes.
        identity: What tells it from other requests; empty where that says nothing.
        sound: What stands inside of it was held up to the tables: its key's cap must hold; see `Asked`.
    """

    route: Route
    call: Call
    body: bytes
    upload: Upload | None
    makes: tuple[Makes, ...]
    identity: bytes
    sound: bool


class Terms(msgspec.Struct, frozen=True):
    """On what terms a call is let in: its price, the amounts to hold, and the prices of further models."""

    price: Price | None
    quote: Quote
    beside: dict[str, Price]


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A call with a durable hold, ready to be forwarded.

    Attributes:
        beside: Prices of further models that it may put to work.
        body: As the client sent it.
        upload: Instead of a body: it is still coming.
        makes: What its answer makes.
        origin: Where the client found us.
        cap_micros: The call's own: no hold of it grows beyond.
        stream_cost: A stream of events is to end in a comment that says what it cost.
        attempt: Which one at its request it is; None for a call with one place to go.
    """

    call_id: str
    method: str
    key: Key
    route: Route
    call: Call
    price: Price | None
    beside: dict[str, Price]
    quote: Quote
    held: Held
    body: bytes
    upload: Upload | None
    makes: tuple[Makes, ...] = ()
    faults: Faults | None
    origin: str = ""
    cap_micros: int | None = None
    stream_cost: bool = False
    attempt: Attempt | None = None

    def made_facts(self) -> dict[str, Any]:
        """What is known from the request of the objects that the answer makes."""
        facts = dict(self.call.facts)
        if self.route.operation.upload_bytes_max and not self.route.operation.billable and self.key.capped:
            facts["bytes"] = len(self.body) if self.upload is None else self.upload.received_bytes
        return facts


def admitted_as(inbound: Inbound, key: Key, request: Request, terms: Terms, held: Held, options: Options) -> Admitted:
    """The call that these make."""
    upload = request.upload
    return Admitted(
        call_id=inbound.call_id,
        method=inbound.head.method,
        key=key,
        route=request.route,
        call=request.call,
        price=terms.price,
        beside=terms.beside,
        quote=terms.quote,
        held=held,
        body=request.body if upload is None or upload.whole else b"",
        upload=None if upload is None or upload.whole else upload,
        makes=request.makes,
        faults=options.faults,
        origin=inbound.head.origin,
        stream_cost=options.stream_cost,
        attempt=inbound.attempt,
        # Where the caller states an end user's cap, the hold is all that it has room for.
        cap_micros=held.amount_micros if options.end_user_cap_micros is not None else options.call_cap_micros,
    )


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went, besides what was used.

    Attributes:
        sent: The provider can have seen it.
        held_picos: What was held for it in the end.
        reason: Why it was cut, if it was.
        http_status: The provider's; 0 where it never answered.
    """

    sent: bool
    held_picos: int
    reason: str | None
    http_status: int
    latency_ms: int
    ttft_ms: int | None
