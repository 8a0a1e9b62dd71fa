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
    STRIPE_MISSED_INTERVAL_S,
    SWEEP_INTERVAL_S,
)
from gateway.services import Services
from ledger.records import LedgerUnavailable


class Chore(msgspec.Struct, frozen=True, kw_only=True):
    """One of them.

    Attributes:
        do: It, once. What the ledger cannot do now it can do the next time.
        every_s: Seconds between two times; 0 for one that waits by itself, and never ends.
        first: It is done at the start, too.
        needed: Whether there is anything to do for it here.
        beside_others: It is for the other workers of this machine, which look at our figures.
    """

    do: Callable[[Services], Awaitable[None]]
    every_s: float
    first: bool = False
    needed: Callable[[Services], bool] = lambda _: True
    beside_others: bool = False


async def end_reservations(services: Services) -> None:
    """Let reservations end whose time is over, and forget objects that their providers keep no longer."""
    await services.ledger.tending.expire()
    await services.ledger.objects.expire()


async def tell_expired(services: Services) -> None:
    """Tell whoever listens of keys that have expired."""
    await services.ledger.outbox.tell_expired()


async def cut_revoked(services: Services) -> None:
    """Cut the calls of keys that other gateways have revoked."""
    for account_id in await services.ledger.tending.revoked():
        services.flights.cut_account(account_id, "key_revoked")


async def see_routes(services: Services) -> None:
    """Take over the routes that other gateways have changed."""
    await services.routes.refresh()


async def drop_events(services: Services) -> None:
    """Drop events whose time is over."""
    await services.ledger.tending.drop_events(services.settings.retention_days)


async def drop_messages(services: Services) -> None:
    """Drop deliveries that ended long ago, and what need not be remembered any more."""
    await services.ledger.outbox.drop(DELIVERIES_KEPT_DAYS)


async def count_deliveries(services: Services) -> None:
    """Let the metrics tell what waits to go out."""
    services.metrics.outbox = await services.ledger.outbox.waiting()


async def settle_customers(services: Services) -> None:
    """End the graces of late payments that are over, and look again at customers whom a plan's change may concern."""
    await services.ledger.stripe.settle_due()


async def look_up(services: Services) -> None:
    """Look at Stripe itself for what events have told of."""
    if services.stripe is not None:
        await services.stripe.look_up()


async def catch_up(services: Services) -> None:
    """Fetch the events that Stripe did not deliver."""
    if services.stripe is not None:
        await services.stripe.catch_up()


async def tell_usage(services: Services) -> None:
    """Tell Stripe what its customers have used, and wait for the next time."""
    if services.sending is not None:
        with contextlib.suppress(LedgerUnavailable):
            await services.sending.send()
    await asyncio.sleep(services.settings.stripe.every_s)


def _asks_stripe(services: Services) -> bool:
    return services.stripe is not None


async def show_figures(services: Services) -> None:
    """Let the other workers tell of this one."""
    await asyncio.to_thread(services.metrics.post)


CHORES = (
    Chore(do=end_reservations, every_s=SWEEP_INTERVAL_S),
    Chore(do=tell_expired, every_s=SWEEP_INTERVAL_S),
    Chore(do=settle_customers, every_s=SWEEP_INTERVAL_S, first=True),
    Chore(do=look_up, every_s=SWEEP_INTERVAL_S, needed=_asks_stripe),
    Chore(do=catch_up, every_s=STRIPE_MISSED_INTERVAL_S, first=True, needed=_asks_stripe),
    Chore(do=tell_usage, every_s=0, needed=lambda services: services.sending is not None),
    Chore(do=lambda services: services.batches.watch(), every_s=0),
    Chore(do=lambda services: services.deliveries.run(), every_s=0),
    Chore(do=drop_messages, every_s=RETENTION_INTERVAL_S, first=True),
    Chore(do=count_deliveries, every_s=SWEEP_INTERVAL_S, first=True),
    Chore(do=cut_revoked, every_s=REVOCATIONS_INTERVAL_S, needed=lambda services: services.ledger.shared),
    Chore(do=see_routes, every_s=REVOCATIONS_INTERVAL_S, needed=lambda services: services.ledger.shared),
    Chore(
        do=drop_events,
        every_s=RETENTION_INTERVAL_S,
        first=True,
        needed=lambda services: bool(services.settings.retention_days),
    ),
    Chore(do=show_figures, every_s=FIGURES_INTERVAL_S, first=True, beside_others=True),
)


@contextlib.asynccontextmanager
async def housework(services: Services, *, beside_others: bool) -> AsyncIterator[None]:
    """Have the chores done for as long as this lasts. `beside_others`: as one of several workers of this machine."""
    chores = [each for each in CHORES if each.needed(services) and beside_others >= each.beside_others]
    tasks = [asyncio.create_task(_done(chore, services)) for chore in chores]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _done(chore: Chore, services: Services) -> None:
    if not chore.first:
        await asyncio.sleep(chore.every_s)
    while True:
        with contextlib.suppress(LedgerUnavailable, OSError):
            await chore.do(services)
        await asyncio.sleep(chore.every_s)
