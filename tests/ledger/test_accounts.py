"""Looking at accounts: pages that neither miss nor repeat, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ledger.changes import Credit, Edit
from ledger.events import EventQuery
from ledger.usage import Query
from ledger.views import NotFound
from tests.ledger.world import World, credential

Function = Callable[[World, int, str, dict[str, str]], Awaitable[Any]]

FUNCTIONS: dict[str, Function] = {
    "look at a key": lambda w, owner, key, ids: w.ledger.accounts.get(owner, key),
    "look at a plan": lambda w, owner, key, ids: w.ledger.accounts.get(owner, ids["plan"], "plan"),
    "change a key": lambda w, owner, key, ids: w.ledger.accounts.edit(owner, key, Edit(disabled=True)),
    "change a plan": lambda w, owner, key, ids: w.ledger.accounts.edit(owner, ids["plan"], Edit(), kind="plan"),
    "change an end user": lambda w, owner, key, ids: w.ledger.accounts.edit(
        owner, ids["end_user"], Edit(cap_micros=0), kind="end_user"
    ),
    "credit a key": lambda w, owner, key, ids: w.ledger.accounts.credit(
        owner, key, Credit(event_id="evt_1", amount_micros=1, reason="")
    ),
    "revoke a key": lambda w, owner, key, ids: w.ledger.accounts.revoke(owner, key),
    "remove a plan": lambda w, owner, key, ids: w.ledger.accounts.remove_plan(owner, ids["plan"]),
    "rotate a key": lambda w, owner, key, ids: w.ledger.accounts.rotate(
        owner, key, credential("stolen"), old_until_ms=0
    ),
    "list keys after a key": lambda w, owner, key, ids: w.ledger.accounts.page(owner, limit=5, starting_after=key),
    "sum a key's usage": lambda w, owner, key, ids: w.ledger.reports.usage(
        Query(owner_id=owner, from_ms=0, to_ms=10**13, key=key)
    ),
    "list a key's events": lambda w, owner, key, ids: w.ledger.reports.events(
        EventQuery(owner_id=owner, limit=5, key=key)
    ),
    "list events after an event": lambda w, owner, key, ids: w.ledger.reports.events(
        EventQuery(owner_id=owner, limit=5, starting_after=ids["event"])
    ),
    "look at a hold": lambda w, owner, key, ids: w.ledger.calls.promise(owner, ids["hold"]),
    "look at an event": lambda w, owner, key, ids: w.ledger.calls.promise(owner, ids["event"]),
}


async def tenants(world: World) -> tuple[str, str, dict[str, str]]:
    """Two keys of different tenants under one root, and the ids of things that are the second one's."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root, cap=100)
    child = await world.open(theirs)
    await world.subject(theirs, "ann")
    plan = await world.open(theirs, kind="plan")
    event = await world.spend(child, 5)
    hold = await world.held(theirs, 5)
    user = (await world.ledger.accounts.subject(world.accounts[theirs], "end_user", "ann")).public_id
    return mine, theirs, {"child": child, "plan": plan, "event": event, "hold": hold, "end_user": user}


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_what_is_somebody_elses_does_not_exist(world: World, name: str) -> None:
    """Whatever is asked with another tenant's id answers exactly as with an id that nobody has, and changes nothing."""
    function = FUNCTIONS[name]
    mine, theirs, ids = await tenants(world)
    before = world.rows("SELECT * FROM accounts ORDER BY id"), world.rows("SELECT * FROM credentials")
    for key in (theirs, ids["child"]):
        with pytest.raises(NotFound) as foreign:
            await function(world, world.accounts[mine], key, ids)
        nothing = dict.fromkeys(ids, "key_nobody")
        with pytest.raises(NotFound) as missing:
            await function(world, world.accounts[mine], "key_nobody", nothing)
        assert type(foreign.value) is type(missing.value)
        assert len(foreign.value.args) == len(missing.value.args) == 1
    assert (world.rows("SELECT * FROM accounts ORDER BY id"), world.rows("SELECT * FROM credentials")) == before


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_what_is_ones_own_exists(world: World, name: str) -> None:
    """The same questions are answered to whom the things belong, and to the root above."""
    _, theirs, ids = await tenants(world)
    key = theirs if "credit" in name else ids["child"]  # the child has no cap to be raised
    await FUNCTIONS[name](world, world.accounts[theirs], key, ids)
    if name.startswith(("look", "list", "sum")):
        await FUNCTIONS[name](world, 1, key, ids)


async def test_a_parent_does_not_belong_to_its_child(world: World) -> None:
    """Looking goes down the tree only, and an id that begins alike is somebody else."""
    root = await world.open()
    keys = [await world.open(root) for _ in range(12)]  # ids 2 to 13: "/1/1…/" begin alike
    ten = keys[8]
    assert world.accounts[ten] == 10
    for other in (root, *keys):
        if other != ten:
            with pytest.raises(NotFound):
                await world.view(other, owner=ten)
    with pytest.raises(NotFound):
        await world.view(keys[-1], owner=keys[0])


async def test_an_end_user_is_no_key(world: World) -> None:
    """An end user's own id opens nothing where a key is asked for."""
    _, theirs, ids = await tenants(world)
    owner = world.accounts[theirs]
    for attempt in (
        world.ledger.accounts.get(owner, ids["end_user"]),
        world.ledger.accounts.revoke(owner, ids["end_user"]),
        world.ledger.accounts.rotate(owner, ids["end_user"], credential(), old_until_ms=0),
        world.ledger.accounts.edit(owner, ids["plan"], Edit(disabled=True)),
    ):
        with pytest.raises(NotFound):
            await attempt


# ---- pages


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


# ---- what is shown


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
