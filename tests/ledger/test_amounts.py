"""Amounts without measure: nothing that is said of one call spoils the sums, or the calls beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger.money import CHARGE_MICROS_MAX, COUNT_MAX, SUM_MAX
from ledger.records import Facts, Held, Measures, Refused, Report
from ledger.usage import Query
from tests.ledger.world import PICOS, World, assert_sound, settlement

TOO_MUCH: dict[str, dict[str, Any]] = {
    "money": {"micros": CHARGE_MICROS_MAX + 1},
    "money above 64 bits": {"micros": 2**80},
    "tokens": {"tokens": COUNT_MAX + 1},
    "seconds": {"seconds": 2**64},
    "requests": {"requests": 2**63},
    "a measure": {"measures": Measures(output_tokens=2**53), "usage": {"output_tokens": 2**53}},
}


@pytest.mark.parametrize("what", TOO_MUCH)
async def test_an_end_that_cannot_be_believed_is_unsettled_at_its_hold(world: World, what: str) -> None:
    """A call of which more is said than any can have used stays counted at its hold; those beside it are exact."""
    key = await world.open(cap=1_000)
    calls = [await world.held(key, 10) for _ in range(3)]
    wild = settlement(calls[1], **TOO_MUCH[what])
    ends = [settlement(calls[0], 4), wild, settlement(calls[2], 5), wild]
    await asyncio.gather(*map(world.ledger.calls.settled, ends))
    balance = (await world.view(key)).limits[0]
    assert (balance.used, balance.held, balance.unsettled) == (9, 0, 10)
    assert world.rows("SELECT id, reason FROM events WHERE status = 'unsettled'") == [(calls[1], "implausible")]
    assert await world.ledger.calls.resolve(calls[1], "charge", 10) is not None
    assert (await world.view(key)).spent_micros == 19


async def test_a_hold_has_a_maximum_where_nothing_else_has(world: World) -> None:
    """Without any cap no call holds more than a million dollars; it is refused as by a cap of its own."""
    key = await world.open()
    refused = await world.hold(key, CHARGE_MICROS_MAX + 1)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert (refused.shortfall.cap, refused.shortfall.max) == ("call", CHARGE_MICROS_MAX)
    shrunk = await world.hold(key, 0, each_picos=PICOS, want=2**80, least=1)
    assert isinstance(shrunk, Held)
    assert shrunk.allowance == CHARGE_MICROS_MAX
    assert isinstance(await world.hold(key, 1, fixed_tokens=2**80), Held)


async def test_what_is_reported_has_a_maximum(world: World) -> None:
    """A report of more than a million dollars, or of more tokens than there are, counts nothing."""
    key = await world.open()
    values: dict[str, Any] = {"account_id": world.accounts[key], "facts": Facts(mode="monitor"), "at_ms": 0}
    for number, more in enumerate(({"cost_picos": 2**63}, {"cost_picos": 1, "tokens": 2**63})):
        assert await world.ledger.calls.report(Report(id=f"r{number}", **values, **more)) is None
    assert await world.ledger.calls.report(Report(id="r", **values, cost_picos=CHARGE_MICROS_MAX * PICOS)) is not None


async def test_exact_sums_of_more_money_than_picos_of_64_bits(world: World) -> None:
    """Twenty million dollars of one day, key and model add up exactly, in the bill and in the audit."""
    root = await world.open()
    key = await world.open(root)
    values: dict[str, Any] = {"account_id": world.accounts[key], "at_ms": world.clock()}
    facts = Facts(mode="monitor", markup_ppm=100_000_000)
    picos = CHARGE_MICROS_MAX * PICOS - 1
    for number in range(20):
        await world.ledger.calls.report(Report(id=f"r{number}", facts=facts, cost_picos=picos, **values))
    day = world.clock() - world.clock() % 86_400_000
    report = await world.ledger.reports.usage(Query(owner_id=world.accounts[root], from_ms=day, to_ms=day + 86_400_000))
    (sums,) = report.groups.values()
    assert (sums.requests, sums.cost_micros, sums.cost_picos) == (20, 20 * CHARGE_MICROS_MAX - 1, 20 * picos)
    world.clock.now_ms += 2 * 86_400_000
    assert await world.ledger.tending.drop_events(1) == 20
    finding = await world.ledger.reports.audit()
    assert (finding.dropped, finding.count) == (20, 0)


async def test_a_full_sum_stops_and_stops_nobody(loose: World) -> None:
    """Where a sum has no room left it stays where it is: calls go on, and the audit says by how much it is short."""
    root = await loose.open()
    key = await loose.open(root)
    await loose.spend(key, 7)
    for table, column in (("counters", "used"), ("accounts", "spent_micros"), ("rollups", "cost_micros")):
        loose.write(f"UPDATE {table} SET {column} = {SUM_MAX - 3} WHERE {column} = 7")  # noqa: S608 - constants
    if isinstance(loose.database, str):
        loose.write("UPDATE accounts SET revision = revision + 1")  # or what is remembered of them would be trusted
    for _ in range(2):
        await loose.spend(key, 5)
    assert (await loose.view(key)).limits[0].used == SUM_MAX
    assert loose.rows("SELECT cost_micros FROM rollups") == [(SUM_MAX,)]
    finding = await loose.ledger.reports.audit()
    assert {difference.check for difference in finding.differences} >= {"charges", "balances", "counters", "rollup"}


async def test_the_audit_runs_over_anything(loose: World) -> None:
    """Events whose sums leave 64 bits are added up exactly, and what is kept of them is a difference, not a failure."""
    root = await loose.open()
    key = await loose.open(root)
    for _ in range(3):
        call = await loose.held(key, 1)
        await loose.ledger.calls.settled(
            settlement(call, 1, measures=Measures(input_tokens=1), usage={"input_tokens": 1})
        )
    await assert_sound(loose.ledger)
    large = 9 * 10**18
    loose.write(f"""UPDATE events SET usage = '{{"input_tokens":{large}}}', cost_micros = {large}""")  # noqa: S608
    loose.write(f"UPDATE rollups SET input_tokens = {large}")  # noqa: S608 - a constant
    finding = await loose.ledger.reports.audit()
    assert finding.cost_micros == 3 * large
    measured = next(each for each in finding.differences if each.check == "measures")
    assert str(3 * large) in measured.summed.split()
    day = loose.clock() - loose.clock() % 86_400_000
    query = Query(owner_id=loose.accounts[root], from_ms=day, to_ms=day + 86_400_000)
    (sums,) = (await loose.ledger.reports.usage(query)).groups.values()
    assert sums.measures[0] == large
