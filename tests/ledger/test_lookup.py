"""What is shown of accounts: pages that neither miss nor repeat, and sums of whole subtrees."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.ledger.world import World


def flat(listed: list[list[str]]) -> list[str]:
    return [key for page in listed for key in page]


async def pages(world: World, owner: str, limit: int, **more: Any) -> list[list[str]]:
    found, cursor, left = [], None, True
    while left:
        views, left = await world.ledger.accounts.page(
            world.accounts[owner], limit=limit, starting_after=cursor, **more
        )
        found.append([view.public_id for view in views])
        cursor = found[-1][-1] if found[-1] else None
    return found


async def test_pages_are_whole_and_newest_first(world: World) -> None:
    """Pages are full but for the last one, and together list each key below once, without the lister."""
    root = await world.open()
    keys = [await world.open(root) for _ in range(7)]
    nested = [await world.open(keys[0]) for _ in range(3)]
    await world.subject(keys[0], "ann")
    await world.open(root, kind="plan")
    expected = [*keys, *nested][::-1]
    for limit in (1, 3, 10, 100):
        listed = await pages(world, root, limit)
        assert flat(listed) == expected
        assert all(len(page) == limit for page in listed[:-1])
    assert flat(await pages(world, keys[0], 2)) == nested[::-1]
    assert await pages(world, keys[1], 2) == [[]]


async def test_pages_may_be_of_live_or_test_keys_only(world: World) -> None:
    """A filter by mode pages through that mode's keys alone."""
    root = await world.open()
    keys = [await world.open(root, livemode=number % 3 > 0) for number in range(9)]
    tests = [key for number, key in enumerate(keys) if number % 3 == 0]
    assert flat(await pages(world, root, 2, livemode=False)) == tests[::-1]
    assert len(flat(await pages(world, root, 2, livemode=True))) == 6


async def test_pages_stand_still_while_keys_are_minted_and_revoked(world: World) -> None:
    """A walk through the pages during a storm of minting lists every key that was there once, and none twice."""
    root = await world.open()
    keys = [await world.open(root) for _ in range(30)]
    done = asyncio.Event()

    async def storm() -> None:
        while not done.is_set():
            await world.open(root)
            await world.revoke(keys[next(world.ids) % len(keys)])

    storming = asyncio.create_task(storm())
    try:
        for _ in range(3):
            listed = flat(await pages(world, root, 4))
            assert len(listed) == len(set(listed))
            assert [key for key in listed if key in set(keys)] == keys[::-1]
    finally:
        done.set()
        await storming


async def test_remaining_is_the_least_on_the_way_up(world: World) -> None:
    """What remains is the least over a key and its ancestors, never negative, None where nothing is capped."""
    root = await world.open()
    assert (await world.view(root)).remaining_micros is None
    team = await world.open(root, cap=100)
    key = await world.open(team, cap=80)
    sibling = await world.open(team)
    assert (await world.view(sibling)).remaining_micros == 100
    await world.spend(sibling, 60)
    assert (await world.view(key)).remaining_micros == 40
    await world.edit(team, cap_micros=10)
    assert (await world.view(key)).remaining_micros == 0
    await world.edit(team, cap_micros=None)
    assert (await world.view(key)).remaining_micros == 80


async def test_a_parents_balance_includes_its_subtree(world: World) -> None:
    """Spent, held and unsettled of a parent are its subtree's; what it spent itself is its own calls'."""
    root = await world.open()
    team = await world.open(root, cap=1_000)
    key = await world.open(team)
    await world.spend(key, 30)
    await world.spend(team, 5)
    await world.held(key, 7)
    await world.held(key, 11, owner="dead")
    await world.ledger.tending.recover()
    view = await world.view(team)
    assert (view.cap.used, view.cap.held, view.cap.unsettled, view.remaining_micros) == (35, 7, 11, 947)
    assert view.spent_micros == 5


async def test_test_calls_are_not_money_of_a_live_parent(world: World) -> None:
    """A test key under a live parent neither counts against nor is bound by the parent's cap; its own cap binds."""
    root = await world.open(cap=10)
    key = await world.open(root, cap=100, livemode=False)
    await world.spend(key, 60)
    assert (await world.view(root)).remaining_micros == 10
    view = await world.view(key)
    assert (view.remaining_micros, view.livemode, view.cap.used) == (40, False, 60)


async def test_an_unknown_account_has_no_chain(world: World) -> None:
    """The chain of nobody is empty, and an empty ledger has no root."""
    assert await world.ledger.accounts.root() is None
    assert await world.ledger.accounts.chain(7) == ()
    root = await world.open()
    assert await world.ledger.accounts.root() == world.accounts[root]
