"""A hold is taken whole from every limit, or not at all; an extension too."""

from __future__ import annotations

from ledger.records import Extend, Held, Refused
from tests.ledger.world import PICOS, World


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
    """A call that takes sound as it comes is granted the seconds that there are, and raised while there are more."""
    key = await world.open()
    limit = world.terms("seconds", 100)
    await world.edit(key, limits=(limit,))
    first = await world.hold(key, seconds=5, each_seconds=10, want=6, least=1)
    assert isinstance(first, Held)
    assert first.granted == 6
    second = await world.hold(key, seconds=5, each_seconds=10, want=6, least=1)
    assert isinstance(second, Held)
    assert second.granted == 3  # 35 seconds are left
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
