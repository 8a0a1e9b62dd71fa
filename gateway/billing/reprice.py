"""What calls would cost under the prices of now, and the adjustments that make it so. Pure.

Promises: the same usage at the same price costs the same, so a second run finds nothing to do; a cost that was stated,
and not reckoned from usage, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.call.settlement import cost_of
from ledger.money import PICOS_PER_MICRO
from ledger.records import Adjust, Facts
from ledger.repricing import ADJUSTED, Charged
from providers.ground.usage import Usage
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price

REPORTED = "report"
PPM = 1_000_000


class Sums(msgspec.Struct, kw_only=True):
    """One key's calls of one model: how many differ, and what all of them were and would be charged, in picos."""

    events: int = 0
    changed: int = 0
    old_picos: int = 0
    new_picos: int = 0


class Repriced(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose cost is another one now."""

    event: Charged
    price: Price
    cost_picos: int


def reckon(event: Charged, catalogue: Catalogue) -> tuple[int, Price] | None:
    """What an event costs by a catalogue, at its own time; None where the catalogue does not say.

    A call is priced when it ends, one that was reported when it was made.
    """
    usage = msgspec.json.decode(event.usage, type=Usage)
    at_ms = event.created_ms if event.route == REPORTED else event.settled_ms
    price = catalogue.find(event.provider, event.model, at_ms)
    if price is None or usage.provider_cost_picos is not None:
        return None
    beside = {model: found for model in usage.beside if (found := catalogue.find(event.provider, model, at_ms))}
    return cost_of(usage, price, beside), price


def repriced(
    events: Iterable[Charged], catalogue: Catalogue, sums: dict[tuple[int, str, str], Sums]
) -> Iterable[Repriced]:
    """Those of the events that cost otherwise now; all that could be reckoned are added to `sums`."""
    for event in events:
        found = reckon(event, catalogue)
        if found is None:
            continue
        cost_picos, price = found
        of = sums.setdefault((event.account_id, event.provider, event.model), Sums())
        of.events += 1
        of.old_picos += event.cost_picos
        of.new_picos += cost_picos
        if cost_picos != event.cost_picos:
            of.changed += 1
            yield Repriced(event=event, price=price, cost_picos=cost_picos)


def adjustment(found: Repriced, markup_ppm: int) -> Adjust:
    """The event beside it, at the markup that it was sold with: today's of its key, where that explains its price."""
    event = found.event
    return Adjust(
        id=f"{event.id}{ADJUSTED}{event.adjustments + 1}",
        account_id=event.account_id,
        subject_id=event.subject_id,
        run_id=event.run_id,
        at_ms=event.created_ms,
        cost_picos=found.cost_picos - event.cost_picos,
        counters=event.counters,
        facts=Facts(
            mode="adjustment",
            provider=event.provider,
            model=event.model,
            route=event.route,
            price_version=found.price.version,
            metadata={"adjusts": f"evt_{event.id}"},
            markup_ppm=_markup_ppm(event, markup_ppm),
            upstream=event.upstream,
        ),
    )


def _markup_ppm(event: Charged, today_ppm: int) -> int:
    cost, price = event.own_cost_picos, event.own_price_micros * PICOS_PER_MICRO
    if cost <= 0 or abs(cost + cost * today_ppm // PPM - price) <= PICOS_PER_MICRO:
        return today_ppm
    return max((price - cost) * PPM // cost, 0)


def sums_object(key_id: str, provider: str, model: str, sums: Sums) -> dict[str, Any]:
    """A line of the summary, in micros rounded down; the exact figures in picos beside them."""
    return {
        "key_id": key_id,
        "provider": provider,
        "model": model,
        "events": sums.events,
        "changed": sums.changed,
        "old_micros": sums.old_picos // PICOS_PER_MICRO,
        "new_micros": sums.new_picos // PICOS_PER_MICRO,
        "difference_picos": sums.new_picos - sums.old_picos,
    }
