"""The bill of one call: what it came to, in money, and the hand-over to the ledger. Shared by requests and sockets.

Promises: never awaits and never fails, so nothing can come between an ending and its bill; a call that cost more than
was held is counted and logged. Decides nothing: how a call ended is concluded by `providers.contract.metering`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from operator import attrgetter

import msgspec

from gateway.call.records import Admitted, Ending
from gateway.telemetry import Metrics
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO
from ledger.records import Measures, Settlement
from ledger.records import Unsettled as Policy
from providers.contract.metering import Conclusion
from providers.ground.usage import Usage
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price

_measures = attrgetter(*Measures.__struct_fields__)
_log = logging.getLogger("farthing.call")


UNANSWERED = "unanswered"
"""The reason of a call that was sent and to which no answer came, through no doing of its caller."""


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a call whose cost nobody knows.

    Attributes:
        left: Its caller left before any answer, or it was cut: "keep" it counted, "charge" its hold, "release" it.
        unanswered_ms: For so long a hold stays counted to which no answer came, and what an estimate left of its hold;
            None for ever.
    """

    left: Policy = "keep"
    unanswered_ms: int | None = None


KEPT = Unsettled()


class Settlements:
    """Where calls are settled. One for the process."""

    def __init__(self, ledger: Ledger, metrics: Metrics, catalogue: Catalogue, unsettled: Unsettled = KEPT) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._catalogue = catalogue
        self._unsettled = unsettled

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
        status, model, reason = conclusion.status, admitted.call.priced_as, ending.reason
        cost_picos = 0
        if status == "unsettled" and reason is not None and reason != "timeout" and self._unsettled.left != "keep":
            # Nobody will ever know, so that what is decided about such calls is decided now.
            charged = self._unsettled.left == "charge" and price is not None
            status = "estimated" if charged else "released"
            cost_picos = ending.held_picos if charged else 0
        elif price is not None and status in ("settled", "estimated"):
            now_ms = self._ledger.clock_ms()
            price = self._catalogue.current(price, now_ms)
            cost_picos = cost_of(usage, price, beside)
            if conclusion.model and conclusion.model != admitted.call.model and usage.provider_cost_picos is None:
                served = self._catalogue.find(admitted.route.provider, conclusion.model, now_ms)
                if served is not None and (theirs := cost_of(usage, served, beside)) != cost_picos:
                    price, model, cost_picos = served, conclusion.model, theirs
            flags = (*flags, *unpriced(usage, price, beside))
        elif operation.billable and ending.sent and status in ("settled", "estimated"):
            flags = (*flags, "unpriced")
        keeps_rest = price is not None and conclusion.rest and status in ("estimated", "unsettled")
        overrun_micros = (cost_picos - ending.held_picos) // PICOS_PER_MICRO
        if overrun_micros > 0:
            self._metrics.overrun(provider, overrun_micros)
            _log.warning(
                "a call cost more than was held",
                extra={"request_id": f"req_{admitted.call_id}", "overrun_micros": overrun_micros},
            )
        tokens, seconds = _in_all(usage)
        self._ledger.calls.settle(
            Settlement(
                id=admitted.call_id,
                status=status,
                cost_picos=cost_picos,
                measures=Measures(*_measures(usage)),  # by model: without the others'
                tokens=tokens,
                seconds=seconds,
                requests=0 if status == "unsettled" else None,
                usage=msgspec.to_builtins(usage),
                model=model,
                price_version=price.version if price is not None and price is not admitted.price else "",
                reason=reason or (UNANSWERED if status == "unsettled" else None),
                http_status=ending.http_status or None,
                latency_ms=ending.latency_ms,
                ttft_ms=ending.ttft_ms,
                flags=flags,
                keeps_rest=keeps_rest,
                rest_until_ms=self._until_ms(status, reason) if keeps_rest else None,
            )
        )
        self._metrics.request(provider, operation.name, status)
        self._metrics.spend(provider, admitted.key.livemode, cost_picos // PICOS_PER_MICRO)
        return cost_picos

    def _until_ms(self, status: str, reason: str | None) -> int | None:
        """Until when what is not known stays counted: of a caller who left without an answer, until it is resolved."""
        if self._unsettled.unanswered_ms is None or (status == "unsettled" and reason not in (None, "timeout")):
            return None
        return self._ledger.clock_ms() + self._unsettled.unanswered_ms


def _in_all(usage: Usage) -> tuple[int, int]:
    """Tokens and seconds, the other models' included."""
    tokens, audio_ms = usage.tokens, usage.audio_ms
    for part in usage.beside.values():
        tokens += part.tokens
        audio_ms += part.audio_ms
    return tokens, -(-audio_ms // 1000)


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
