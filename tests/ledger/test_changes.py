"""Opening, changing and closing accounts: in force on the next call, once per Idempotency-Key, within bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ledger.book import Match
from ledger.changes import (
    DEPTH_MAX,
    Closed,
    Credit,
    Edit,
    InUse,
    TooDeep,
    Uncapped,
)
from ledger.records import Facts, Held, Refused
from ledger.replays import Answer, Origin, ReplayMismatch
from ledger.views import AccountView, NotFound
from tests.ledger.world import START_MS, World, credential

DAY = 86_400_000


def used(view: AccountView, public_id: str) -> tuple[int, int]:
    """(used, held) of a limit."""
    (limit,) = [limit for limit in view.limits if limit.public_id == public_id and limit.role == "limit"]
    return limit.used, limit.held


def fresh(answer: Answer) -> dict[str, Any]:
    """An answer as data, apart from whether it is a replay."""
    data: dict[str, Any] = msgspec.to_builtins(answer)
    del data["replayed"]
    return data


# ---- once


async def test_a_change_with_an_idempotency_key_happens_once(world: World) -> None:
    """The same key and request get the first answer, to the letter, and change nothing more."""
    root = await world.open()
    origin = Origin(account_id=1, key="k", fingerprint="f", expires_ms=world.clock() + DAY, note="nonce")
    first = await world.ledger.accounts.open(world.account(root, 5), origin)
    await world.spend(root, 3)
    world.clock.now_ms += 1000
    again = await world.ledger.accounts.open(world.account(root, 5), origin)
    assert (first.replayed, again.replayed) == (False, True)
    assert fresh(again) == fresh(first)
    assert again.note == "nonce"
    assert world.rows("SELECT count(*) FROM accounts") == [(2,)]


async def test_an_edit_that_is_repeated_does_not_undo_what_came_between(world: World) -> None:
    """A repeated change is answered from memory and not made again."""
    root = await world.open()
    key = await world.open(root, cap=5)
    origin = Origin(account_id=1, key="k", fingerprint="f", expires_ms=world.clock() + DAY)
    await world.edit(key, cap_micros=10, origin=origin)
    await world.edit(key, cap_micros=20)
    replayed = await world.edit(key, cap_micros=10, origin=origin)
    assert replayed.account.cap.max == 10
    assert (await world.view(key)).cap.max == 20


async def test_another_request_with_the_same_idempotency_key_is_refused(world: World) -> None:
    """The same key with another request raises, and changes nothing."""
    root = await world.open(cap=1)
    origin = Origin(account_id=1, key="k", fingerprint="f", expires_ms=world.clock() + DAY)
    await world.edit(root, cap_micros=2, origin=origin)
    with pytest.raises(ReplayMismatch):
        await world.edit(root, cap_micros=3, origin=msgspec.structs.replace(origin, fingerprint="g"))
    assert (await world.view(root)).cap.max == 2


async def test_idempotency_keys_are_each_callers_own(world: World) -> None:
    """Two accounts may use the same key for different things."""
    root = await world.open()
    for account_id in (1, 2):
        origin = Origin(account_id=account_id, key="k", fingerprint=str(account_id), expires_ms=world.clock() + DAY)
        assert not (await world.ledger.accounts.open(world.account(root), origin)).replayed


async def test_idempotency_keys_are_forgotten_after_their_time(world: World) -> None:
    """When its time is over a key may be used again, and nothing is kept of it."""
    root = await world.open()
    origin = Origin(account_id=1, key="k", fingerprint="f", expires_ms=world.clock() + DAY)
    await world.ledger.accounts.open(world.account(root), origin)
    world.clock.now_ms += DAY
    again = await world.ledger.accounts.open(
        world.account(root), msgspec.structs.replace(origin, expires_ms=world.clock() + DAY)
    )
    assert not again.replayed
    assert world.rows("SELECT count(*) FROM replays") == [(1,)]


async def test_a_refused_change_is_not_remembered(world: World) -> None:
    """A change that was refused may be tried again with the same key when the reason is gone."""
    root = await world.open()
    team = await world.open(root)
    await world.edit(team, disabled=True)
    origin = Origin(account_id=1, key="k", fingerprint="f", expires_ms=world.clock() + DAY)
    with pytest.raises(Closed):
        await world.ledger.accounts.open(world.account(team), origin)
    await world.edit(team, disabled=False)
    assert not (await world.ledger.accounts.open(world.account(team), origin)).replayed


async def test_a_storm_with_one_idempotency_key_opens_one_account(world: World) -> None:
    """However many repeat the same request at the same time, one account comes of it."""
    root = await world.open()
    origin = Origin(account_id=1, key="k", fingerprint="f", expires_ms=world.clock() + DAY)
    answers = await asyncio.gather(*(world.ledger.accounts.open(world.account(root), origin) for _ in range(40)))
    assert len({answer.account.public_id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1


# ---- opening


async def test_the_tree_has_a_bottom(world: World) -> None:
    """Keys nest to `DEPTH_MAX` and no deeper; end users may still hang under the deepest."""
    key = await world.open()
    for _ in range(DEPTH_MAX - 1):
        key = await world.open(key)
    with pytest.raises(TooDeep):
        await world.open(key)
    user = await world.subject(key, "ann")
    await world.spend(key, 2, subject_id=user)


@pytest.mark.parametrize("status", ["disabled", "expired", "revoked"])
async def test_nothing_opens_under_a_closed_parent(world: World, status: str) -> None:
    """Under an account that lets nothing through, or under its children, no account opens."""
    root = await world.open()
    parent = await world.open(root)
    child = await world.open(parent)
    if status == "disabled":
        await world.edit(parent, disabled=True)
    elif status == "expired":
        await world.edit(parent, expires_ms=START_MS)
    else:
        await world.revoke(parent)
    for each in (parent, child):
        with pytest.raises(Closed) as closed:
            await world.open(each)
        assert closed.value.status == status
        assert (await world.view(each)).status == status


async def test_an_end_user_is_one_account_however_often_it_is_met(world: World) -> None:
    """A hundred first sights at once are one account; another kind, key or name is another."""
    key, other = await world.open(), await world.open()
    ids = await asyncio.gather(*(world.subject(key, "ann") for _ in range(100)))
    assert len(set(ids)) == 1
    others = {
        await world.subject(key, "bob"),
        await world.subject(other, "ann"),
        await world.subject(key, "ann", "run"),
    }
    assert len(others | set(ids)) == 4
    with pytest.raises(NotFound):
        await world.ledger.accounts.open_subject(999, "end_user", "ann", public_id="eu_x", balance_id="lim_x")


async def test_a_forgotten_end_user_leaves_sums_and_no_name(world: World) -> None:
    """After forgetting, the name stands nowhere, the sums are unchanged, and the name begins anew."""
    key = await world.open(cap=100)
    user = await world.subject(key, "ann@example.com")
    await world.spend(key, 40, subject_id=user)
    await world.ledger.accounts.forget_subject(world.accounts[key], "end_user", "ann@example.com")
    with pytest.raises(NotFound):
        await world.ledger.accounts.forget_subject(world.accounts[key], "end_user", "ann@example.com")
    view = await world.view(key)
    assert (view.spent_micros, view.remaining_micros) == (40, 60)
    refused = await world.hold(key, 1, subject_id=user)
    assert isinstance(refused, Refused)
    assert refused.reason == "stale"
    assert await world.subject(key, "ann@example.com") != user


# ---- editing


async def test_edits_change_what_they_name_and_nothing_else(world: World) -> None:
    """What an edit does not mention stays as it was; a profile is merged, a nested entry only where asked."""
    root = await world.open()
    key = await world.open(
        root, 5, profile={"name": "a", "metadata": {"x": "1", "y": "2"}, "kept": [1]}, expires_ms=START_MS + DAY
    )
    answer = await world.edit(
        key, profile={"name": "b", "metadata": {"x": None, "z": "3"}}, merge=("metadata",), disabled=True
    )
    account = answer.account
    assert account.profile == {"name": "b", "metadata": {"y": "2", "z": "3"}, "kept": [1]}
    assert (account.disabled, account.expires_ms, account.cap.max, account.status) == (
        True,
        START_MS + DAY,
        5,
        "disabled",
    )
    answer = await world.edit(key, expires_ms=None, disabled=False)
    assert (answer.account.expires_ms, answer.account.status, answer.account.cap.max) == (None, "active", 5)


async def test_a_lowered_cap_binds_the_next_call_and_keeps_promises(world: World) -> None:
    """A cap lowered below what is spent and held refuses the next call and lets the held one end."""
    key = await world.open(cap=100)
    await world.spend(key, 30)
    call = await world.held(key, 50)
    await world.edit(key, cap_micros=60)
    refused = await world.hold(key, 1)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert refused.shortfall.remaining == 0
    settled = await world.settle(call, 50)
    assert settled is not None
    assert settled.cost_micros == 50
    view = await world.view(key)
    assert (view.spent_micros, view.remaining_micros, view.overrun_micros) == (80, 0, 0)
    await world.edit(key, cap_micros=81)
    assert isinstance(await world.hold(key, 1), Held)
    await world.edit(key, cap_micros=None)
    assert isinstance(await world.hold(key, 10**9), Held)


async def test_a_call_that_costs_nothing_passes_an_overdrawn_cap(world: World) -> None:
    """What requires nothing is never more than what is left, whatever it might have wanted."""
    key = await world.open(cap=10)
    await world.spend(key, 10)
    await world.edit(key, cap_micros=5)
    for want, least, each in ((0, 0, 0), (10, 10, 0), (10, 0, 1_000_000)):
        outcome = await world.hold(key, 0, want=want, least=least, each_picos=each)
        assert isinstance(outcome, Held)
        assert outcome.granted == (0 if each else want)
    assert isinstance(await world.hold(key, 1), Refused)


async def test_changes_raise_the_version_that_calls_depend_on(world: World) -> None:
    """A hold on old versions is stale after any change to the key or an ancestor, and leaves no trace."""
    root = await world.open()
    key = await world.open(root)
    ids = (world.accounts[key], world.accounts[root])
    chain = await world.ledger.accounts.chain(ids[0])
    assert tuple(node.id for node in chain) == ids
    versions = tuple((node.id, node.version) for node in chain)
    assert isinstance(await world.hold(key, versions=versions), Held)
    await world.edit(root, profile={"x": 1})
    outcome = await world.hold(key, versions=versions)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "stale"
    assert world.rows("SELECT count(*) FROM events") == [(0,)]


async def test_a_reset_counts_in_its_own_window(world: World) -> None:
    """With a reset, spent and remaining are the current window's, and a new window begins empty."""
    key = await world.open(cap=100, reset="day")
    await world.spend(key, 70)
    view = await world.view(key)
    assert (view.cap.used, view.cap.window, view.remaining_micros) == (70, "day", 30)
    midnight = view.cap.resets_at_ms
    assert midnight is not None
    world.clock.now_ms = midnight - 1
    assert isinstance(await world.hold(key, 31), Refused)
    world.clock.now_ms = midnight
    view = await world.view(key)
    assert (view.cap.used, view.remaining_micros, view.spent_micros) == (0, 100, 70)
    assert view.cap.window_start_ms == midnight
    assert isinstance(await world.hold(key, 100), Held)


async def test_a_reset_without_a_cap_waits_for_its_cap(world: World) -> None:
    """A key with a reset and no cap counts in the window, and a cap that is set later binds in that window."""
    key = await world.open(cap=None, reset="day")
    await world.spend(key, 70)
    view = await world.view(key)
    assert (view.cap.window, view.cap.max, view.cap.used, view.remaining_micros) == ("day", None, 70, None)
    answer = await world.edit(key, cap_micros=100)
    assert (answer.account.cap.window, answer.account.remaining_micros) == ("day", 30)
    world.clock.now_ms += 2 * DAY
    assert (await world.view(key)).remaining_micros == 100


async def test_a_hold_belongs_to_the_window_in_which_it_was_made(world: World) -> None:
    """A call that is held before midnight and settled after it counts in the day before."""
    key = await world.open(cap=100, reset="day")
    call = await world.held(key, 80)
    world.clock.now_ms += 2 * DAY
    await world.settle(call, 75)
    assert (await world.view(key)).remaining_micros == 100
    world.clock.now_ms -= 2 * DAY
    assert (await world.view(key)).remaining_micros == 25


async def test_without_a_reset_a_cap_counts_for_ever(world: World) -> None:
    """Taking the reset away makes the cap count all that was ever spent."""
    key = await world.open(cap=100, reset="month")
    await world.spend(key, 70)
    world.clock.now_ms += 40 * DAY
    await world.spend(key, 20)
    assert (await world.view(key)).remaining_micros == 80
    answer = await world.edit(key, reset="total")
    assert answer.account.cap.resets_at_ms is None
    assert answer.account.remaining_micros == 10


# ---- limits


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


async def test_a_limit_that_warns_lets_through_and_flags(world: World) -> None:
    """A limit whose action is to warn refuses nothing; the event says that it was passed."""
    key = await world.open()
    limit = world.terms("requests", 1, action="warn")
    await world.edit(key, limits=(limit,))
    await world.spend(key, 1)
    await world.spend(key, 1)
    flags = [flags for (flags,) in world.rows("SELECT flags FROM events ORDER BY seq")]
    assert flags == ["[]", f'["over:{limit.public_id}"]']


# ---- plans and credits


async def plan(world: World, owner: str, cap: int | None, *limits: Any) -> str:
    return await world.open(owner, cap, kind="plan", limits=limits)


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


async def test_a_plan_in_use_stays(world: World) -> None:
    """A plan is removed only when no key is on it, and cannot be chosen afterwards."""
    root = await world.open()
    gold = await plan(world, root, 5)
    key = await world.open(root, plan=gold)
    with pytest.raises(InUse):
        await world.ledger.accounts.remove_plan(world.accounts[root], gold)
    await world.edit(key, plan=None)
    await world.ledger.accounts.remove_plan(world.accounts[root], gold)
    with pytest.raises(NotFound):
        await world.open(root, plan=gold)


async def test_a_strangers_plan_does_not_exist(world: World) -> None:
    """A plan of another subtree cannot be chosen."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    gold = await plan(world, theirs, 5)
    with pytest.raises(NotFound):
        await world.open(mine, plan=gold)
    key = await world.open(mine)
    with pytest.raises(NotFound):
        await world.edit(key, plan=gold)


async def test_credits_raise_a_cap_and_some_end(world: World) -> None:
    """Credits raise the cap on the record; one with an end is gone afterwards; a cap that is set anew stands alone."""
    key = await world.open(cap=10)
    until = world.clock() + 1_000
    for number, (amount, until_ms) in enumerate([(5, None), (7, until), (1, None)]):
        await world.ledger.accounts.credit(
            world.accounts[key],
            key,
            Credit(event_id=f"evt_{number}", amount_micros=amount, reason="gift", until_ms=until_ms),
        )
    assert (await world.view(key)).cap.max == 23
    call = await world.held(key, 23)
    world.clock.now_ms = until
    assert (await world.view(key)).cap.max == 16
    assert isinstance(await world.hold(key, 1), Refused)
    await world.settle(call, 10)
    assert isinstance(await world.hold(key, 6), Held)
    assert (await world.edit(key, cap_micros=50)).account.cap.max == 50
    assert world.rows("SELECT count(*) FROM events WHERE reason = 'credit'") == [(3,)]
    uncapped = await world.open()
    with pytest.raises(Uncapped):
        await world.ledger.accounts.credit(
            world.accounts[uncapped], uncapped, Credit(event_id="evt_x", amount_micros=1, reason="")
        )


async def test_changing_the_reset_does_not_make_a_passing_credit_last(world: World) -> None:
    """A credit with an end still ends after the cap's window was changed."""
    key = await world.open(cap=10)
    until = world.clock() + 1_000
    credit = Credit(event_id="evt_1", amount_micros=7, reason="gift", until_ms=until)
    await world.ledger.accounts.credit(world.accounts[key], key, credit)
    answer = await world.edit(key, reset="month")
    assert answer.account.cap.max == 17
    world.clock.now_ms = until
    assert (await world.view(key)).cap.max == 10


# ---- closing


async def test_a_revoked_account_stays_revoked(world: World) -> None:
    """Revoking again changes nothing; enabling does not bring it back; its history and open calls end well."""
    root = await world.open()
    key = await world.open(root, cap=100)
    child = await world.open(key)
    await world.spend(child, 7)
    call = await world.held(child, 9)
    first = (await world.revoke(key)).account
    world.clock.now_ms += 5
    again = (await world.revoke(key)).account
    assert again.revoked_ms == first.revoked_ms
    await world.edit(key, disabled=False)
    for each in (key, child):
        assert (await world.view(each)).status == "revoked"
        outcome = await world.hold(each)
        assert isinstance(outcome, Refused)
        assert outcome.reason == "key_revoked"
    settled = await world.settle(call, 9)
    assert settled is not None
    assert (await world.view(key)).limits[0].used == 16


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


# ---- secrets


async def test_a_rotated_secret_lives_for_its_overlap(world: World) -> None:
    """The old secret ends when the overlap does, or sooner if it was to end sooner; the newest one has no end."""
    root = await world.open()
    key = await world.open(root, credential=credential("one", last4="aaaa"))
    account_id = world.accounts[key]
    for name, overlap in (("two", 1_000), ("three", 5_000)):
        answer = await world.ledger.accounts.rotate(
            account_id, key, credential(name, last4=name[:4]), old_until_ms=world.clock() + overlap
        )
        assert answer.account.last4 == name[:4]
        assert answer.account.public_id == key
    ends = dict(world.rows("SELECT locator, expires_ms FROM credentials"))
    assert ends == {"one": START_MS + 1_000, "two": START_MS + 5_000, "three": None}
    found = await world.ledger.accounts.credential("three")
    assert found is not None
    assert found[0].account_id == account_id
    assert [node.public_id for node in found[1]] == [key, root]
    assert await world.ledger.accounts.credential("four") is None


async def test_a_revoked_account_gets_no_new_secret(world: World) -> None:
    """Rotating a revoked account raises Closed and changes nothing."""
    root = await world.open()
    key = await world.open(root, credential=credential("one"))
    await world.revoke(key)
    with pytest.raises(Closed):
        await world.ledger.accounts.rotate(1, key, credential("two"), old_until_ms=0)
    assert world.rows("SELECT count(*), max(expires_ms) FROM credentials") == [(1, None)]
