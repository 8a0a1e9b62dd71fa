"""A call's values on its way: as it came in, what its caller chose, and as it was admitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.apart import edited
from gateway.asgi import Receive
from gateway.bounds import READ_APART_BYTES
from gateway.call.quote import Quote
from gateway.call.reading import Readings
from gateway.call.upload import Upload
from gateway.edge.headers import RawHeaders
from keys.keyring import Key
from ledger.records import Held
from providers.contract.shapes import Call
from providers.pricing.prices import Price
from providers.routing import Route
from providers.simulator import Faults
from providers.stored.objects import Makes


class Inbound(msgspec.Struct, kw_only=True):
    """A request as it came in. `route` is where it goes, as far as is known yet."""

    call_id: str
    route: Route
    method: str
    path: str
    query: bytes
    raw_headers: RawHeaders
    receive: Receive
    whole: bool = False  # the body has arrived: receiving it takes no time
    origin: str = ""  # where the client found us
    expect_upload: Callable[[int], None] | None = None  # tells the connection that so many bytes may come
    opening: bytes | None = None  # of a WebSocket, which has no body: its first message, if the call is told by that
    secret: str | None = None  # the key, where a first message carried it


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller said in Farthing's own headers."""

    end_user: str | None = None
    end_user_cap_micros: int | None = None
    call_cap_micros: int | None = None
    run: str | None = None
    metadata: dict[str, str] = {}
    faults: Faults | None = None


class Admitted(msgspec.Struct, kw_only=True):
    """A call with a durable hold, ready to be forwarded."""

    call_id: str
    method: str
    key: Key
    route: Route
    call: Call
    price: Price | None
    beside: dict[str, Price]  # of further models that it may put to work
    terms: Quote
    held: Held
    body: bytes  # as the client sent it
    upload: Upload | None  # instead of a body: it is still coming
    makes: tuple[Makes, ...] = ()  # what its answer makes
    faults: Faults | None
    origin: str = ""  # where the client found us
    cap_micros: int | None = None  # the call's own: no hold of it grows beyond

    async def outgoing(self, readings: Readings) -> bytes | Upload:
        """The body to forward: the client's bytes, save what the hold and the metering need in them."""
        if self.upload is not None:
            return self.upload
        shape, limit = self.route.operation.shape, self.terms.output_limit(self.held.granted)
        if len(self.body) > READ_APART_BYTES:
            if limit is None and not self.call.splice:
                return self.body
            async with readings.of(self.body) as reading:
                edits = await reading.outgoing(self.route, self.call, limit)
            return await edited(self.body, edits) if edits else self.body
        body = self.body if limit is None else shape.limit(self.body, self.call, limit)
        return shape.prepare(body, self.call) if body else body

    def made_facts(self) -> dict[str, Any]:
        """What is known from the request of the objects that the answer makes."""
        facts = dict(self.call.facts)
        if self.route.operation.upload_bytes_max and not self.route.operation.billable and self.key.capped:
            facts["bytes"] = len(self.body) if self.upload is None else self.upload.received_bytes
        return facts
