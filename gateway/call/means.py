"""What everything needs that settles a call: for requests and sockets alike. One for the process."""

from __future__ import annotations

import msgspec

from gateway.call.flight import Flights
from gateway.call.provider_errors import ProviderErrors
from gateway.call.reading import Readings
from gateway.call.settlement import Settlements
from gateway.config import Place
from gateway.telemetry import Metrics
from ledger.ledger import Ledger


class Means(msgspec.Struct, frozen=True):
    """The parts. `places` are where the providers live, by their names."""

    ledger: Ledger
    flights: Flights
    metrics: Metrics
    settlements: Settlements
    errors: ProviderErrors
    readings: Readings
    places: dict[str, Place]


class Patience(msgspec.Struct, kw_only=True):
    """How long a provider may be silent, in seconds: before the head of its answer, and within the answer."""

    head_s: float
    silence_s: float
