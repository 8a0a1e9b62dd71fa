"""What every call is served with: requests and sockets alike. A part of the gateway's one `Services`."""

from __future__ import annotations

import msgspec

from gateway.call.flight import Flights
from gateway.call.provider_errors import ProviderErrors
from gateway.call.reading import Readings
from gateway.call.settlement import Settlements
from gateway.places import Place
from gateway.telemetry import Metrics
from gateway.upstream.base import SocketUpstream, Upstream
from gateway.upstream.health import Health
from ledger.ledger import Ledger


class Upstreams(msgspec.Struct, frozen=True, kw_only=True):
    """Where calls are sent: to the providers, and for test keys to the simulator."""

    live: Upstream
    simulated: Upstream
    live_sockets: SocketUpstream
    simulated_sockets: SocketUpstream

    def of(self, *, livemode: bool) -> Upstream:
        """Where the requests of such a key go."""
        return self.live if livemode else self.simulated

    def sockets_of(self, *, livemode: bool) -> SocketUpstream:
        """Where the sockets of such a key go."""
        return self.live_sockets if livemode else self.simulated_sockets

    async def close(self) -> None:
        """Let go of all connections."""
        await self.live.close()
        await self.simulated.close()


class CallServices(msgspec.Struct, frozen=True, kw_only=True):
    """What a call needs from its hold to its bill. `places` are where the providers live, by their names."""

    ledger: Ledger
    flights: Flights
    metrics: Metrics
    settlements: Settlements
    errors: ProviderErrors
    readings: Readings
    places: dict[str, Place]
    upstreams: Upstreams
    health: Health


class Patience(msgspec.Struct, kw_only=True):
    """How long a provider may be silent, in seconds: before the head of its answer, and within the answer."""

    head_s: float
    silence_s: float
