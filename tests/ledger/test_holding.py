"""A hold is taken whole from every limit, or not at all; an extension too."""

from __future__ import annotations

from ledger.records import Extend, Held, Refused
from tests.ledger.world import PICOS, START_MS, World

DAY = 86_400_000


async def test_an_extension_is_taken_whole_or_not_at_all(world: World) -> None:
    """More is held only where every limit has room; what cannot be extended says so and holds what it held."""
    root = await world.open(cap=30)
    key = await world.open(root, cap=100)
    await world.edit(key, limits=(world.terms("tokens", 50),))
    call = await world.held(key, 10, fixed_tokens=20)
    assert await world.ledger.calls.extend(Extend(id=call, each_picos=PICOS, each_tokens=1, allowance=20))
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=PICOS, each_tokens=0, allowance=1))
    assert await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=1, allowance=10))
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=1, allowance=1))
    assert not await world.ledger.calls.extend(Extend(id="c_unknown", each_picos=0, each_tokens=0, allowance=0))
    assert (await world.view(root)).cap.held == 30
    settled = await world.settle(call, 25, tokens=45)
    assert settled is not None
    view = await world.view(key)
    assert (view.cap.used, view.overrun_micros) == (25, 0)
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=0, allowance=0))


async def test_a_hold_of_seconds_shrinks_and_grows_in_steps(world: World) -> None:
    """A call that takes sound as it comes holds the seconds that there are, and raised while there are more."""
    key = await world.open()
    limit = world.terms("seconds", 100)
    await world.edit(key, limits=(limit,))
    first = await world.hold(key, seconds=5, each_seconds=10, want=6, least=1)
    assert isinstance(first, Held)
    assert first.allowance == 6
    second = await world.hold(key, seconds=5, each_seconds=10, want=6, least=1)
    assert isinstance(second, Held)
    assert second.allowance == 3  # 35 seconds are left
    assert not await world.ledger.calls.extend(
        Extend(id=first.id, each_picos=0, each_tokens=0, each_seconds=1, allowance=1)
    )
    await world.settle(second.id, 1, seconds=30)
    assert await world.ledger.calls.extend(
        Extend(id=first.id, each_picos=0, each_tokens=0, each_seconds=1, allowance=5)
    )
    assert not await world.ledger.calls.extend(
        Extend(id=first.id, each_picos=0, each_tokens=0, each_seconds=1, allowance=1)
    )
    refused = await world.hold(key, seconds=1, each_seconds=10, want=6, least=1)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert (refused.shortfall.required, refused.shortfall.remaining) == (11, 0)


async def test_an_extension_that_needs_nothing_passes_an_overdrawn_limit(world: World) -> None:
    """What is free of a unit may be extended although nothing of that unit is left."""
    key = await world.open(cap=100)
    await world.edit(key, limits=(world.terms("tokens", 50),))
    call = await world.held(key, 10, fixed_tokens=5)
    other = await world.held(key, 10, fixed_tokens=5)
    await world.settle(other, 10, tokens=90)
    assert await world.ledger.calls.extend(Extend(id=call, each_picos=PICOS, each_tokens=0, allowance=5))
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=1, allowance=1))


async def test_money_is_named_before_any_other_limit(world: World) -> None:
    """A call that fails at several limits is told of the money first, then of the nearest other."""
    root = await world.open(cap=1)
    key = await world.open(root)
    await world.edit(key, limits=(world.terms("requests", 0), world.terms("tokens", 0)))
    refused = await world.hold(key, 2, fixed_tokens=1)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.shortfall and refused.shortfall.account_id) == ("spend_cap_exceeded", root)
    refused = await world.hold(key, 1, fixed_tokens=1)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.shortfall and refused.shortfall.unit) == ("rate_limited", "requests")


async def test_a_call_that_costs_nothing_passes_an_overdrawn_cap(world: World) -> None:
    """What requires nothing is never more than what is left, whatever it might have wanted."""
    key = await world.open(cap=10)
    await world.spend(key, 10)
    await world.edit(key, cap_micros=5)
    for want, least, each in ((0, 0, 0), (10, 10, 0), (10, 0, 1_000_000)):
        outcome = await world.hold(key, 0, want=want, least=least, each_picos=each)
        assert isinstance(outcome, Held)
        assert outcome.allowance == (0 if each else want)
    assert isinstance(await world.hold(key, 1), Refused)


async def test_a_hold_belongs_to_the_window_in_which_it_was_made(world: World) -> None:
    """A call that is held before midnight and settled after it counts in the day before."""
    key = await world.open(cap=100, reset="day")
    call = await world.held(key, 80)
    world.clock.now_ms += 2 * DAY
    await world.settle(call, 75)
    assert (await world.view(key)).remaining_micros == 100
    world.clock.now_ms -= 2 * DAY
    assert (await world.view(key)).remaining_micros == 25


async def test_a_limit_that_warns_lets_through_and_flags(world: World) -> None:
    """A limit whose action is to warn refuses nothing; the event says that it was passed."""
    key = await world.open()
    limit = world.terms("requests", 1, action="warn")
    await world.edit(key, limits=(limit,))
    await world.spend(key, 1)
    await world.spend(key, 1)
    flags = [flags for (flags,) in world.rows("SELECT flags FROM events ORDER BY seq")]
    assert flags == ["[]", f'["over:{limit.public_id}"]']


async def test_an_expired_account_lets_nothing_through_from_that_moment(world: World) -> None:
    """At its moment of expiry, not a millisecond before, a key and its children are refused."""
    key = await world.open(expires_ms=START_MS + 10)
    child = await world.open(key)
    world.clock.now_ms = START_MS + 9
    assert isinstance(await world.hold(child), Held)
    world.clock.now_ms = START_MS + 10
    outcome = await world.hold(child)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "key_expired"


async def test_a_refused_call_is_on_the_record(world: World) -> None:
    """Every refusal for a reason is a blocked event that costs nothing."""
    root = await world.open()
    key = await world.open(root, cap=1)
    await world.hold(key, 2)
    await world.edit(key, disabled=True)
    await world.hold(key, 1)
    rows = world.rows("SELECT decision, reason, status, cost_micros, held_micros FROM events ORDER BY seq")
    assert rows == [
        ("blocked", "spend_cap_exceeded", "released", 0, 0),
        ("blocked", "key_disabled", "released", 0, 0),
    ]
