"""The audit: silent on honest books, and no single figure can be tampered with unnoticed."""

from __future__ import annotations

import pytest

from ledger.audit import CHECKS, SHOWN_MAX
from ledger.records import Measures, Settlement
from tests.ledger.world import World, assert_sound

TAMPERINGS = {
    "a charge is lowered": ("charges", "UPDATE events SET cost_micros = cost_micros - 1 WHERE cost_micros > 0"),
    "an exact cost is lowered": ("charges", "UPDATE events SET cost_picos = cost_picos - 1 WHERE cost_picos > 0"),
    "an event is deleted": ("charges", "DELETE FROM events WHERE cost_micros > 0"),
    "spending is forgotten": ("charges", "UPDATE accounts SET spent_micros = 0 WHERE kind = 'key'"),
    "a carry is forgotten": ("charges", "UPDATE accounts SET carry_picos = 0 WHERE carry_picos > 0"),
    "a carry grows too large": (
        "charges",
        "UPDATE accounts SET carry_picos = carry_picos + 1000000, spent_micros = spent_micros - 1 WHERE id = 2",
    ),
    "an event changes hands": ("charges", "UPDATE events SET account_id = 1 WHERE cost_micros > 0"),
    "an end user's spending is lowered": (
        "end users",
        "UPDATE accounts SET spent_micros = spent_micros - 1 WHERE kind = 'end_user'",
    ),
    "a run's spending is raised": ("end users", "UPDATE accounts SET spent_micros = 99 WHERE kind = 'run'"),
    "an event loses its end user": ("end users", "UPDATE events SET subject_id = 0 WHERE subject_id <> 0"),
    "a balance is lowered": (
        "balances",
        "UPDATE counters SET used = used - 1 WHERE used > 0",
    ),
    "a balance is deleted": (
        "balances",
        "DELETE FROM counters WHERE limit_id = (SELECT id FROM limits WHERE account_id = 1)",
    ),
    "a counter's use is lowered": (
        "counters",
        "UPDATE counters SET used = used - 1 WHERE limit_id IN (SELECT id FROM limits WHERE unit = 'tokens')",
    ),
    "a counter's holds are forgotten": ("counters", "UPDATE counters SET held = 0 WHERE held > 0"),
    "a counter's unsettled part is forgotten": ("counters", "UPDATE counters SET unsettled = 0 WHERE unsettled > 0"),
    "a hold is deleted": ("counters", "DELETE FROM holds WHERE state = 'open'"),
    "a hold is made smaller": ("counters", "UPDATE holds SET legs = '[]' WHERE state = 'open'"),
    "a hold is called settled": ("counters", "UPDATE holds SET state = 'done' WHERE state = 'open'"),
    "an event's use is moved to another window": (
        "counters",
        "UPDATE events SET legs = replace(legs, ',0,', ',60000,') WHERE legs <> '[]'",
    ),
    "a rollup's cost is lowered": ("rollup", "UPDATE rollups SET cost_micros = cost_micros - 1 WHERE cost_micros > 0"),
    "a rollup's exact cost is lowered": ("rollup", "UPDATE rollups SET rest_picos = rest_picos - 1"),
    "a rollup's price is lowered": ("rollup", "UPDATE rollups SET price_micros = price_micros - 1"),
    "a rollup's requests are lowered": ("rollup", "UPDATE rollups SET requests = 0 WHERE requests > 0"),
    "a blocked call is forgotten": ("rollup", "UPDATE rollups SET blocked = 0 WHERE blocked > 0"),
    "a rollup is deleted": ("rollup", "DELETE FROM rollups"),
    "a rollup is moved to another day": ("rollup", "UPDATE rollups SET day_ms = day_ms + 86400000"),
    "an event is moved to another day": ("rollup", "UPDATE events SET created_ms = created_ms - 86400000"),
    "a rollup's tokens are lowered": ("measures", "UPDATE rollups SET input_tokens = 32 WHERE input_tokens > 0"),
    "a rollup's images are made up": ("measures", "UPDATE rollups SET images = 1"),
    "a rollup's latency is lowered": ("measures", "UPDATE rollups SET latency_ms_sum = 0 WHERE latency_ms_sum > 0"),
    "an event's usage is lowered": (
        "measures",
        """UPDATE events SET usage = '{"input_tokens": 32}' WHERE cost_micros > 0""",
    ),
    "an overrun is forgotten": ("overruns", "UPDATE accounts SET overrun_micros = 0 WHERE overrun_micros > 0"),
    "an event's hold is raised": ("overruns", "UPDATE events SET held_micros = 99 WHERE held_micros = 1"),
    "a call is both in flight and ended": (
        "one end",
        "UPDATE holds SET id = (SELECT min(id) FROM events WHERE cost_micros > 0) WHERE state = 'open'",
    ),
    "an unsettled hold has lost its event": ("one end", "DELETE FROM events WHERE status = 'unsettled'"),
    "an unsettled call is called released": (
        "one end",
        "UPDATE events SET status = 'released' WHERE status = 'unsettled'",
    ),
    "an account moves to another parent": ("tree", "UPDATE accounts SET path = '/1/77/' WHERE id = 2"),
    "an account loses its parent": ("tree", "UPDATE accounts SET parent_id = NULL WHERE id = 2"),
}


@pytest.fixture
async def busy(loose: World) -> World:
    """A ledger in which everything that the audit looks at has happened."""
    root = await loose.open(cap=10_000)
    key = await loose.open(root, cap=500, reset="day")
    await loose.edit(key, limits=(loose.terms("tokens", 10_000), loose.terms("requests", 100, "minute")))
    user, run = await loose.subject(key, "ann"), await loose.subject(key, "job", "run")
    dead = await loose.held(key, 9, owner="dead")
    for cost in (2_500_000, 7_300_000, 999_999):
        call = await loose.held(key, 10, subject_id=user, run_id=run, fixed_tokens=50)
        await loose.ledger.calls.settled(
            Settlement(
                id=call,
                status="settled",
                cost_picos=cost,
                tokens=33,
                measures=Measures(input_tokens=33),
                usage={"input_tokens": 33, "tools": {}},
                latency_ms=7,
            )
        )
    call = await loose.held(key, 1)
    await loose.ledger.calls.settled(Settlement(id=call, status="settled", cost_picos=3_000_000))
    await loose.held(key, 20, subject_id=user)
    await loose.hold(key, 5_000)
    assert await loose.ledger.tending.recover() == 1
    assert dead
    await assert_sound(loose.ledger)
    return loose


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_tampering_is_found(busy: World, tampering: str) -> None:
    """Whatever figure is changed behind the ledger's back, the check that guards it speaks."""
    check, sql = TAMPERINGS[tampering]
    assert busy.write(sql) >= 1, "nothing was tampered with"
    finding = await busy.ledger.reports.audit()
    assert finding.count >= 1
    assert check in {difference.check for difference in finding.differences}


def test_every_check_is_tested() -> None:
    """There is a tampering for every check."""
    assert {check for check, _sql in TAMPERINGS.values()} == {name for name, _meaning, _sql in CHECKS}


async def test_the_finding_counts_what_there_is(busy: World) -> None:
    """An audit tells events, accounts, holds and the bill, and open holds are no difference."""
    finding = await busy.ledger.reports.audit()
    assert (finding.events, finding.accounts, finding.open_holds, finding.unsettled_holds) == (6, 4, 1, 1)
    assert finding.cost_micros == 13
    assert (finding.count, finding.differences) == (0, ())


async def test_many_differences_are_counted_and_some_are_shown(loose: World) -> None:
    """The count is always whole, however few differences are shown."""
    root = await loose.open()
    for _ in range(SHOWN_MAX + 5):
        await loose.open(root)
    loose.write("UPDATE accounts SET spent_micros = 3 WHERE id > 1")
    finding = await loose.ledger.reports.audit()
    assert finding.count == SHOWN_MAX + 5
    assert len(finding.differences) == SHOWN_MAX
    assert finding.differences[0].kept == "3 0"
    assert finding.differences[0].summed == "0 0"
