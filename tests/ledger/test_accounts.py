"""Nothing of anybody else's is seen or changed: to every other key it does not exist."""

from __future__ import annotations

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
