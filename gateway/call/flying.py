"""A call on its way: in flight from its hold to its bill. What requests and sockets have in common of it.

Promises: it lands once, whoever says so first, and nothing is awaited between that and its bill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.call.flight import Flight
from gateway.call.hold import Hold
from gateway.call.records import Admitted, Ending
from gateway.call.services import CallServices
from gateway.upstream.base import Unsendable, UpstreamFailed
from providers.contract.metering import Conclusion
from providers.pricing.prices import Price


class FlyingCall:
    """The part of a call's way that knows how it is going, and how it ends."""

    def __init__(
        self, services: CallServices, admitted: Admitted, started: float, wait_s: float, *, to_the_end: bool = False
    ) -> None:
        """`started` is when the call came in, on the loop's clock; `wait_s` how long its provider may take at first."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an ASGI server runs every call in a task
        self._services = services
        self._admitted = admitted
        self._started = started
        self._now = services.flights.now
        attempt, provider = admitted.attempt, admitted.route.provider
        own = services.places[provider]
        self._place = own if attempt is None or attempt.place is None else attempt.place
        self._asked = provider if attempt is None else attempt.upstream  # whose health it tells of
        self._hold = Hold(admitted, services.ledger.calls)
        self._flight = Flight(admitted.call_id, admitted.key.chain, task, self._now() + wait_s, to_the_end=to_the_end)
        self._status = 0  # the provider's
        self._first: float | None = None  # when something came from it

    def _dispatched(self) -> None:
        """It is sent now."""
        self._flight.stage = "dispatched"
        self._services.metrics.added(self._now() - self._started)

    def _answered(self, status: int) -> None:
        """The provider has answered: how it is doing is known by that."""
        self._status = status
        if self._admitted.key.livemode:
            self._services.health.heard(self._asked, status)

    def _unanswered(self, failure: UpstreamFailed | None = None) -> None:
        """The provider has failed, or (None) is silent for too long, by no doing of the caller's."""
        if self._admitted.key.livemode and not isinstance(failure, Unsendable):
            why = "timeout" if failure is None else "broken" if failure.sent else "unreachable"
            self._services.health.failed(self._asked, why)

    def _was_cut(self) -> bool:
        """Whether it was us who cancelled it, so that its task goes on, to say goodbye."""
        if not self._flight.cut_reason:
            return False
        self._flight.task.uncancel()
        return True

    def _lands(self) -> bool:
        """Whether it lands with this; False where it has already."""
        if self._flight.stage == "landed":
            return False
        self._flight.stage = "landed"
        return True

    def _settle(self, conclusion: Conclusion, beside: Mapping[str, Price], *, sent: bool, reason: str) -> int:
        """Hand the settlement of a call that lands to the ledger; its cost in picos. Never awaits."""
        now, first = self._now(), self._first
        ending = Ending(
            sent=sent,
            held_picos=self._hold.picos,
            reason=reason or None,
            http_status=self._status,
            latency_ms=round((now - self._started) * 1000),
            ttft_ms=None if first is None else round((first - self._started) * 1000),
        )
        return self._services.settlements.settle(self._admitted, conclusion, ending, beside)
