"""Which limits count a call, on its key and all the way up: by what it is, and by whose it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ledger.book import Match
from ledger.changes import Edit
from ledger.records import Facts, Held, Refused
from tests.ledger.world import World, plan, used


async def test_a_limit_counts_only_what_it_is_about(world: World) -> None:
    """Provider, model, prefix and metadata decide which calls a limit counts."""
    key = await world.open()
    limits = {
        "provider": world.terms("requests", None, match=Match(provider="openai")),
        "model": world.terms("requests", None, match=Match(model="gpt-5")),
        "prefix": world.terms("requests", None, match=Match(model="gpt-*")),
        "all": world.terms("requests", None, match=Match(model="*")),
        "metadata": world.terms("requests", None, match=Match(metadata={"team": "red"})),
        "route": world.terms("requests", None, match=Match(route="chat")),
    }
    await world.edit(key, limits=tuple(limits.values()))
    for facts in (
        Facts(provider="openai", model="gpt-5", route="chat"),
        Facts(provider="openai", model="gpt-5-mini", metadata={"team": "red", "more": "x"}),
        Facts(provider="other", model="gpt-", metadata={"team": "blue"}),
        Facts(provider="other", model="claude"),
    ):
        await world.spend(key, 1, facts=facts)
    view = await world.view(key)
    counted = {name: used(view, terms.public_id)[0] for name, terms in limits.items()}
    assert counted == {"provider": 2, "model": 1, "prefix": 3, "all": 4, "metadata": 1, "route": 1}


async def test_a_limit_per_end_user_counts_each_alone(world: World) -> None:
    """Each end user has the whole of a limit per end user; a call without one is not counted."""
    root = await world.open()
    key = await world.open(root)
    await world.edit(root, limits=(world.terms("requests", 2, per="end_user"),))
    ann, bob = await world.subject(key, "ann"), await world.subject(key, "bob")
    for user in (ann, bob):
        for _ in range(2):
            await world.held(key, subject_id=user)
        refused = await world.hold(key, subject_id=user)
        assert isinstance(refused, Refused)
        assert refused.reason == "rate_limited"
        assert refused.shortfall is not None
        assert refused.shortfall.cap == "end_user"
    for _ in range(5):
        await world.held(key)


async def test_an_end_users_own_cap_stands_instead_of_the_keys_default(world: World) -> None:
    """A cap put on an end user replaces the key's default for that user, upwards too; others keep the default."""
    key = await world.open()
    await world.edit(key, limits=(world.terms("micros", 10, per="end_user"),))
    ann, bob = await world.subject(key, "ann"), await world.subject(key, "bob")
    name = (await world.ledger.accounts.subject(world.accounts[key], "end_user", "ann")).public_id
    await world.ledger.accounts.edit(world.accounts[key], name, Edit(cap_micros=50), kind="end_user")
    assert isinstance(await world.hold(key, 50, subject_id=ann), Held)
    assert isinstance(await world.hold(key, 1, subject_id=ann), Refused)
    assert isinstance(await world.hold(key, 11, subject_id=bob), Refused)
    assert isinstance(await world.hold(key, 10, subject_id=bob), Held)


async def test_a_plan_binds_its_members_each_for_itself(world: World) -> None:
    """Members of a plan have its cap and limits, each with counters of its own, from the plan's next change on."""
    root = await world.open()
    gold = await plan(world, root, 100, world.terms("requests", 2))
    unset: dict[str, Any] = {"plan": gold, "cap": msgspec.UNSET, "reset": msgspec.UNSET}
    ann, bob = await world.open(root, **unset), await world.open(root, **unset)
    for key in (ann, bob):
        await world.held(key, 40)
        await world.held(key, 40)
        assert isinstance(await world.hold(key, 1), Refused)
    await world.ledger.accounts.edit(world.accounts[root], gold, Edit(limits=(), cap_micros=90), kind="plan")
    for key in (ann, bob):
        assert isinstance(await world.hold(key, 11), Refused)
        assert isinstance(await world.hold(key, 10), Held)


async def test_a_plans_limit_per_end_user_counts_a_call_once(world: World) -> None:
    """Where key and parent are on the same plan, one call of an end user counts once in its limit."""
    root = await world.open()
    gold = await plan(world, root, None, world.terms("requests", 2, per="end_user"))
    parent = await world.open(root, plan=gold)
    child = await world.open(parent, plan=gold)
    user = await world.subject(child, "ann")
    await world.spend(child, 1, subject_id=user)
    assert isinstance(await world.hold(child, subject_id=user), Held)
    assert isinstance(await world.hold(child, subject_id=user), Refused)


@pytest.mark.parametrize("parent_too", [False, True])
async def test_an_end_users_own_cap_does_not_lift_what_binds_the_parent(world: World, parent_too: bool) -> None:
    """A cap of an end user's own replaces its key's default; the same plan's default on the parent still binds."""
    root = await world.open()
    gold = await plan(world, root, None, world.terms("micros", 10, per="end_user"))
    parent = await world.open(root, plan=gold if parent_too else None)
    child = await world.open(parent, plan=gold)
    user = await world.subject(child, "ann")
    name = (await world.ledger.accounts.subject(world.accounts[child], "end_user", "ann")).public_id
    await world.ledger.accounts.edit(world.accounts[child], name, Edit(cap_micros=50), kind="end_user")
    outcome = await world.hold(child, 50, subject_id=user)
    assert isinstance(outcome, Refused if parent_too else Held)
