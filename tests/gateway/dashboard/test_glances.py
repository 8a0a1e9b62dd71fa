"""The first page's sums are the bill's, whatever is settled when, and however often they are looked at."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.dashboard.days import month_start_ms
from gateway.dashboard.glances import Glances
from ledger.glance import Wanted
from ledger.usage import Query
from ledger.windows import DAY_MS, day_start_ms
from tests.ledger.world import World, opened


async def agree(world: World, glances: Glances) -> None:
    """A look, beside the bill of the same days and of this month."""
    now_ms = world.clock()
    seen = await glances.of(1, livemode=True, now_ms=now_ms)
    today_ms, month_ms = day_start_ms(now_ms), month_start_ms(now_ms)
    for from_ms in (today_ms - 29 * DAY_MS, month_ms, today_ms):
        query = Query(owner_id=1, from_ms=from_ms, to_ms=today_ms + DAY_MS)
        bill = (await world.ledger.reports.usage(query)).groups.values()
        days = [of for (day_ms, *_), of in seen.days.items() if day_ms >= from_ms]
        assert sum(of.cost_micros for of in days) == sum(each.cost_micros for each in bill)
        assert sum(of.requests for of in days) == sum(each.requests for each in bill)
    by_key: dict[int, int] = {}
    query = Query(owner_id=1, from_ms=month_ms, to_ms=today_ms + DAY_MS)
    for (account_id, *_), each in (await world.ledger.reports.usage(query)).groups.items():
        by_key[account_id] = by_key.get(account_id, 0) + each.cost_micros
    assert {account_id: of.cost_micros for account_id, of in seen.keys.items() if of.cost_micros} == {
        account_id: micros for account_id, micros in by_key.items() if micros
    }


async def same_rows(world: World, glances: Glances, dice: random.Random) -> None:
    """A table's sums, beside the bill of the same days."""
    now_ms = world.clock()
    to_ms = day_start_ms(now_ms) + dice.choice((0, 1, 1, -3)) * DAY_MS
    from_ms = max(to_ms - dice.choice((1, 7, 40)) * DAY_MS, 0)
    wanted = Wanted(owner_id=1, livemode=True, by="key")
    sums = await glances.summed(wanted, from_ms, to_ms, now_ms)
    expected: dict[tuple[int], tuple[int, int]] = {}
    bill = (await world.ledger.reports.usage(Query(owner_id=1, from_ms=from_ms, to_ms=to_ms))).groups
    for (account_id, *_), each in bill.items():
        cost_micros, requests = expected.get((account_id,), (0, 0))
        expected[account_id,] = cost_micros + each.cost_micros, requests + each.requests
    assert {at: (of.cost_micros, of.requests) for at, of in sums.items()} == expected


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_settled_late_is_seen_at_the_next_look(tmp_path: Path, seed: int) -> None:
    """Calls of yesterday and of last month end today; days turn, months turn; every look agrees with the bill."""
    dice = random.Random(seed)  # noqa: S311 - a seed repeats it
    async with opened(tmp_path / "farthing.db") as world:
        root = await world.open()
        keys = [await world.open(root) for _ in range(3)]
        glances = Glances(world.ledger.reports)
        open_calls: list[str] = []
        for _ in range(60):
            deed = dice.randrange(5)
            if deed == 0:
                world.clock.now_ms += dice.choice((60_000, 3_600_000, DAY_MS // 2, 9 * DAY_MS))
            elif deed == 1:
                open_calls.append(await world.held(dice.choice(keys), 50))
            elif deed == 2 and open_calls:
                await world.settle(open_calls.pop(dice.randrange(len(open_calls))), dice.randrange(50))
            elif deed == 3:
                await world.spend(dice.choice(keys), dice.randrange(1, 50))
            else:
                await agree(world, glances)
                await same_rows(world, glances, dice)
        await agree(world, glances)
