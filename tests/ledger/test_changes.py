"""Opening, changing and closing accounts: in force on the next call, and within bounds."""

from __future__ import annotations

import asyncio

import pytest

from ledger.changes import DEPTH_MAX, Closed, Credit, InUse, TooDeep, Uncapped
from ledger.records import Held, Refused
from ledger.views import NotFound
from tests.ledger.world import START_MS, World, credential, plan

DAY = 86_400_000


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


# ---- plans and credits


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
