"""The bill of one call: what it came to, in money, and the hand-over to the ledger. Shared by requests and sockets.

Promises: never awaits and never fails, so nothing can come between an ending and its bill; a call that cost more than
was held is counted and logged. Decides nothing: how a call ended is concluded by `providers.metering`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from gateway.admission import Admitted
from gateway.telemetry import Metrics
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO
from ledger.records import Measures, Settlement
from providers.metering import Conclusion
from providers.prices import Price
from providers.usage import Usage

_MEASURES = Measures.__struct_fields__
_log = logging.getLogger("farthing.call")


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


class Till:
    """Where calls are settled. One for the process."""

    def __init__(self, ledger: Ledger, metrics: Metrics, now: Callable[[Price], Price] = lambda price: price) -> None:
        """`now` gives a model's price at this moment, for one that it had: some change with the hour."""
        self._now = now
        self._ledger = ledger
        self._metrics = metrics

    def settle(
        self,
        admitted: Admitted,
        conclusion: Conclusion,
        ending: Ending,
        beside: Mapping[str, Price] = {},
    ) -> int:
        """Hand a call's settlement to the ledger; its cost in picos. `beside` prices the other models of its usage."""
        operation, provider = admitted.route.operation, admitted.route.provider
        usage, price, flags = conclusion.usage, admitted.price, conclusion.flags
        cost_picos = 0
        if price is not None and conclusion.status != "released":
            price = self._now(price)
            cost_picos = cost_of(usage, price, beside)
            flags = (*flags, *unpriced(usage, price, beside))
        elif operation.billable and ending.sent and conclusion.status != "released":
            flags = (*flags, "unpriced")
        overrun_micros = (cost_picos - ending.held_picos) // PICOS_PER_MICRO
        if overrun_micros > 0:
            self._metrics.overrun(provider, overrun_micros)
            _log.warning(
                "a call cost more than was held",
                extra={"request_id": f"req_{admitted.call_id}", "overrun_micros": overrun_micros},
            )
        parts = (usage, *usage.beside.values())
        self._ledger.settle(
            Settlement(
                id=admitted.call_id,
                status=conclusion.status,
                cost_picos=cost_picos,
                measures=Measures(*[getattr(usage, name) for name in _MEASURES]),  # by model: without the others'
                tokens=sum(part.tokens for part in parts),
                seconds=-(-sum(part.audio_ms for part in parts) // 1000),
                usage=msgspec.to_builtins(usage),
                model=admitted.call.priced_as,
                price_version=price.version if price is not None and price is not admitted.price else "",
                reason=ending.reason,
                http_status=ending.http_status or None,
                latency_ms=ending.latency_ms,
                ttft_ms=ending.ttft_ms,
                flags=flags,
            )
        )
        self._metrics.request(provider, operation.name, conclusion.status)
        self._metrics.spend(provider, admitted.key.livemode, cost_picos // PICOS_PER_MICRO)
        return cost_picos


def cost_of(usage: Usage, price: Price, beside: Mapping[str, Price]) -> int:
    """Exact cost in picos of a usage and of the other models' in it."""
    cost_picos = price.cost_picos(usage)
    for model, part in usage.beside.items():
        if model in beside:
            cost_picos += beside[model].cost_picos(part)
    return cost_picos


def bound_of(usage: Usage, price: Price, beside: Mapping[str, Price]) -> int:
    """Most that it could cost in picos, however its input was cached and its output made up."""
    bound_picos = price.bound_picos(usage)
    for model, part in usage.beside.items():
        if model in beside:
            bound_picos += beside[model].bound_picos(part)
    return bound_picos


def unpriced(usage: Usage, price: Price, beside: Mapping[str, Price]) -> list[str]:
    """Flags for what was used and has no price here."""
    flags = [f"unpriced:{unit}" for unit in price.unpriced(usage)]
    for model, part in usage.beside.items():
        if model not in beside:
            flags.append(f"unpriced:{model}")
        else:
            flags += [f"unpriced:{model}.{unit}" for unit in beside[model].unpriced(part)]
    return flags
