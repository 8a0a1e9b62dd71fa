"""The commands about Stripe: `stripe check`, which holds what it has counted against the events, and `stripe retry`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gateway import config
from gateway.app import clock_ms
from gateway.stripe import summaries
from gateway.stripe.client import StripeClient, StripeFailed
from gateway.terminal import DIFFERENCE, FAILED, OK, USAGE, complain, emit
from ledger.billing.hours import HOUR_MS
from ledger.ledger import Ledger


def month(text: str) -> tuple[int, int]:
    """A month as the command line takes it, YYYY-MM, as the Unix ms of its start and end in UTC. Raises ValueError."""
    start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


async def check(options: argparse.Namespace, settings: config.Settings) -> int:
    """`stripe check`: Σ price_micros by customer and hour, and what Stripe has; exit 4 where they differ."""
    found = settings.stripe
    if not found.meter:
        return complain("FARTHING_STRIPE_METER is not set: Stripe is told nothing of usage", USAGE)
    from_ms, to_ms = options.month
    ledger = await Ledger.open(settings.database_url, clock_ms=clock_ms, owner="stripe-check", serving=False)
    try:
        ours = await ledger.metered.priced_hours(from_ms, to_ms)
        told = await ledger.metered.customers(from_ms, to_ms)
    finally:
        await ledger.close()
    customers = {customer_id for customer_id, _ in ours} | set(told)
    try:
        theirs = await _theirs(found, sorted(customers), from_ms, to_ms)
    except StripeFailed as error:
        return complain(str(error), FAILED)
    hours = sorted(ours.keys() | theirs.keys())
    differ = [key for key in hours if ours.get(key, 0) != theirs.get(key, 0)]
    rows = [
        {"customer": key[0], "hour_ms": key[1], "ours_micros": ours.get(key, 0), "theirs_micros": theirs.get(key, 0)}
        for key in differ
    ]
    lines = [
        f"DIFFERENCE {key[0]}  {_hour(key[1])}  ours {ours.get(key, 0)}  theirs {theirs.get(key, 0)} micros"
        for key in differ
    ]
    our_sum, their_sum = sum(ours.values()), sum(theirs.values())
    lines.append(
        f"{len(hours)} hours of {len(customers)} customers: ours {our_sum}, theirs {their_sum} micros;"
        f" {len(differ)} differ"
    )
    emit(
        options,
        {"ours_micros": our_sum, "theirs_micros": their_sum, "hours": len(hours), "differences": rows},
        lines,
    )
    return DIFFERENCE if differ else OK


async def _theirs(
    stripe: config.StripeSettings, customers: list[str], from_ms: int, to_ms: int
) -> dict[tuple[str, int], int]:
    """What Stripe has counted, by customer and hour, up to the running one. Raises StripeFailed."""
    now_ms = clock_ms()
    end_ms = min(to_ms, now_ms - now_ms % HOUR_MS + HOUR_MS)
    found: dict[tuple[str, int], int] = {}
    client = StripeClient(stripe.origin, stripe.api_key)
    try:
        meter = await summaries.meter_id(client, stripe.meter)
        if meter is None:
            raise StripeFailed(f"Stripe has no active meter with the event name {stripe.meter}")
        for customer_id in customers if from_ms < end_ms else ():
            sums = await summaries.hourly(client, meter, customer_id, from_ms // 1000, end_ms // 1000)
            found |= {(customer_id, hour_ms): value for hour_ms, value in sums.items()}
    finally:
        await client.close()
    return found


async def retry(options: argparse.Namespace, settings: config.Settings) -> int:
    """`stripe retry`: let the gateway tell again what Stripe has refused, or all hours of a month."""
    ledger = await Ledger.open(settings.database_url, clock_ms=clock_ms, owner="stripe-retry", serving=False)
    try:
        hours = await (ledger.metered.again(*options.month) if options.month else ledger.metered.retry())
    finally:
        await ledger.close()
    emit(options, {"hours": hours}, [f"{hours} hours are told again"])
    return OK


def _hour(hour_ms: int) -> str:
    return f"{datetime.fromtimestamp(hour_ms // 1000, UTC):%Y-%m-%d %H:00}"
