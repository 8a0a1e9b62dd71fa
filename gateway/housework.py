"""What runs by itself beside the calls: a table of what, how often, and only if."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from gateway.bounds import (
    DELIVERIES_KEPT_DAYS,
    FIGURES_INTERVAL_S,
    RETENTION_INTERVAL_S,
    REVOCATIONS_INTERVAL_S,
    SWEEP_INTERVAL_S,
)
from gateway.call.flight import Flights
from gateway.config import Settings
from gateway.outbox.deliveries import Deliveries
from gateway.stored.batches import Batches
from gateway.telemetry import Metrics
from ledger.ledger import Ledger
from ledger.records import LedgerUnavailable


class Household(msgspec.Struct, frozen=True):
    """What the chores are done with. `beside_others` says that other workers of this machine look at our figures."""

    ledger: Ledger
    flights: Flights
    batches: Batches
    deliveries: Deliveries
    metrics: Metrics
    settings: Settings
    beside_others: bool


class Chore(msgspec.Struct, frozen=True, kw_only=True):
    """One of them.

    Attributes:
        do: It, once. What the ledger cannot do now it can do the next time.
        every_s: Seconds between two times; 0 for one that waits by itself, and never ends.
        first: It is done at the start, too.
        needed: Whether there is anything to do for it here.
    """

    do: Callable[[Household], Awaitable[None]]
    every_s: float
    first: bool = False
    needed: Callable[[Household], bool] = lambda _: True


async def end_reservations(household: Household) -> None:
    """Let reservations end whose time is over, and forget objects that their providers keep no longer."""
    await household.ledger.tending.expire()
    await household.ledger.objects.expire()


async def cut_revoked(household: Household) -> None:
    """Cut the calls of keys that other gateways have revoked."""
    for account_id in await household.ledger.tending.revoked():
        household.flights.cut_account(account_id, "key_revoked")


async def drop_events(household: Household) -> None:
    """Drop events whose time is over."""
    await household.ledger.tending.drop_events(household.settings.retention_days)


async def drop_messages(household: Household) -> None:
    """Drop deliveries that ended long ago, and what need not be remembered any more."""
    await household.ledger.outbox.drop(DELIVERIES_KEPT_DAYS)


async def count_deliveries(household: Household) -> None:
    """Let the metrics tell what waits to go out."""
    household.metrics.outbox = await household.ledger.outbox.waiting()


async def show_figures(household: Household) -> None:
    """Let the other workers tell of this one."""
    await asyncio.to_thread(household.metrics.post)


CHORES = (
    Chore(do=end_reservations, every_s=SWEEP_INTERVAL_S),
    Chore(do=lambda household: household.batches.watch(), every_s=0),
    Chore(do=lambda household: household.deliveries.run(), every_s=0),
    Chore(do=drop_messages, every_s=RETENTION_INTERVAL_S, first=True),
    Chore(do=count_deliveries, every_s=SWEEP_INTERVAL_S, first=True),
    Chore(do=cut_revoked, every_s=REVOCATIONS_INTERVAL_S, needed=lambda household: household.ledger.shared),
    Chore(
        do=drop_events,
        every_s=RETENTION_INTERVAL_S,
        first=True,
        needed=lambda household: bool(household.settings.retention_days),
    ),
    Chore(do=show_figures, every_s=FIGURES_INTERVAL_S, first=True, needed=lambda household: household.beside_others),
)


@contextlib.asynccontextmanager
async def housework(household: Household) -> AsyncIterator[None]:
    """Have the chores done for as long as this lasts."""
    tasks = [asyncio.create_task(_done(chore, household)) for chore in CHORES if chore.needed(household)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _done(chore: Chore, household: Household) -> None:
    if not chore.first:
        await asyncio.sleep(chore.every_s)
    while True:
        with contextlib.suppress(LedgerUnavailable, OSError):
            await chore.do(household)
        await asyncio.sleep(chore.every_s)
