"""Limits of an account, replaced: those that stay keep what they have counted."""

from __future__ import annotations

import msgspec

from ledger.records import Held, Refused
from tests.ledger.world import World, used


async def test_a_limit_sent_with_its_id_keeps_its_counter(world: World) -> None:
    """A limit that stays in the list keeps what it has counted; one that is left out is gone for good."""
    key = await world.open()
    kept, gone = world.terms("tokens", 100), world.terms("requests", 10)
    await world.edit(key, limits=(kept, gone))
    await world.held(key, fixed_tokens=30)
    wider = msgspec.structs.replace(kept, max=40)
    new = world.terms("requests", 1)
    view = (await world.edit(key, limits=(wider, new))).account
    assert used(view, kept.public_id) == (0, 30)
    assert used(view, new.public_id) == (0, 0)
    assert {limit.public_id for limit in view.limits if limit.role == "limit"} == {kept.public_id, new.public_id}
    refused = await world.hold(key, fixed_tokens=11)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert (refused.shortfall.limit_id, refused.shortfall.required, refused.shortfall.remaining) == (
        kept.public_id,
        11,
        10,
    )
    assert isinstance(await world.hold(key, fixed_tokens=10), Held)
    assert isinstance(await world.hold(key), Refused)


async def test_a_call_ends_in_limits_that_have_gone_since(world: World) -> None:
    """A settlement goes to the counters that its hold took from, although their limit has been removed."""
    key = await world.open()
    limit = world.terms("tokens", 100)
    await world.edit(key, limits=(limit,))
    call = await world.held(key, fixed_tokens=30)
    await world.edit(key, limits=())
    await world.settle(call, 1, tokens=12)
    assert world.rows("SELECT used, held FROM counters WHERE limit_id = (SELECT max(id) FROM limits)") == [(12, 0)]
