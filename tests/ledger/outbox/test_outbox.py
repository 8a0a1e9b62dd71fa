"""Messages are written with what they tell of, once, and every hook that listens gets them."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from ledger.outbox.deliveries import LEASE_MS, Attempt, Delivery, Result
from ledger.outbox.hooks import Hook, HookEdit, NewHook, TooManyHooks
from ledger.outbox.messages import Told
from ledger.records import Held, Refused
from ledger.views import NotFound
from ledger.windows import DAY_MS
from tests.ledger.world import World

IDS = itertools.count(1)


async def listen(world: World, key: str, *events: str, owner: str | None = None, **more: Any) -> Hook:
    new = NewHook(
        public_id=world.new_id("hook"),
        kind="webhook",
        target="https://example.com/hook",
        events=events or ("*",),
        description="",
        secret="whsec_test",
        created_ms=world.clock(),
    )
    hook, _ = await world.ledger.hooks.make(
        world.accounts[owner or key], key, msgspec.structs.replace(new, **more), None
    )
    return hook


def composed(told: Told) -> bytes:
    return msgspec.json.encode({"type": told.type, "key": told.key_id, "subject": told.subject} | told.data)


async def told(world: World, hook: Hook) -> list[dict[str, Any]]:
    """What a hook is to be told, in order."""
    await world.ledger.outbox.address(composed, lambda: f"out_{next(IDS)}")
    return [msgspec.json.decode(each.body) for each in await world.ledger.outbox.due(hook, 1_000)]


def brief(messages: list[dict[str, Any]]) -> list[tuple[str, str, int, int, int]]:
    """(key, type, percent, used, max)"""
    return [
        (each["key"], each["type"].removeprefix("limit."), each["percent"], each["limit"]["used"], each["limit"]["max"])
        for each in messages
    ]


async def test_a_mark_and_the_cap_ring_once_with_the_right_numbers(world: World) -> None:
    key = await world.open(cap=100)
    hook = await listen(world, key)

    await world.spend(key, 79)
    assert await told(world, hook) == []
    await world.spend(key, 3)
    assert brief(await told(world, hook)) == [(key, "threshold_crossed", 80, 82, 100)]
    await world.spend(key, 18)
    await world.hold(key, 1)
    await world.hold(key, 1)
    assert brief(await told(world, hook))[1:] == [(key, "reached", 100, 100, 100)]


async def test_every_level_of_the_tree_rings_for_its_own_limit_and_hears_what_is_below(world: World) -> None:
    master = await world.open(cap=100)
    team = await world.open(master, cap=50)
    key = await world.open(team, cap=10)
    other = await world.open(master, cap=10)
    hooks = [await listen(world, each, "limit.*") for each in (master, team, key, other)]

    calls = [await world.held(key, 10)]
    await asyncio.gather(*(world.settle(call, 10) for call in calls))

    heard = [brief(await told(world, hook)) for hook in hooks]
    expected = {(key, "threshold_crossed", 80, 10, 10), (key, "reached", 100, 10, 10)}
    assert [set(each) for each in heard] == [expected, expected, expected, set()]
    assert [len(each) for each in heard] == [2, 2, 2, 0]


async def test_fifty_calls_at_once_that_cross_ring_once_each(world: World) -> None:
    master = await world.open(cap=60)
    team = await world.open(master, cap=50)
    key = await world.open(team, cap=40)
    hooks = [await listen(world, each) for each in (master, team, key)]

    async def call() -> None:
        outcome = await world.hold(key, 1)
        if isinstance(outcome, Held):
            await world.settle(outcome.id, 1)

    await asyncio.gather(*(call() for _ in range(50)))

    for hook, owners in zip(hooks, ([key, team, master], [key, team], [key]), strict=True):
        messages = brief(await told(world, hook))
        assert len(messages) == len(set(messages)) == len({each[:3] for each in messages})
        assert {each[:3] for each in messages if each[0] == key} == {
            (key, "threshold_crossed", 80),
            (key, "reached", 100),
        }
        assert {each[0] for each in messages} <= set(owners)
        assert all(used >= max_ * percent / 100 for _, type_, percent, used, max_ in messages if type_ != "reached")
    assert (team, "threshold_crossed", 80, 40, 50) in brief(await told(world, hooks[0]))


async def test_what_is_only_held_or_comes_back_does_not_ring(world: World) -> None:
    key = await world.open(cap=100)
    hook = await listen(world, key)

    call = await world.held(key, 100)
    await world.settle(call, 0, "released")
    await world.spend(key, 50)

    assert await told(world, hook) == []


async def test_a_raise_and_a_new_month_arm_the_marks_anew(world: World) -> None:
    key = await world.open(cap=100, reset="month")
    hook = await listen(world, key, "limit.threshold_crossed")
    await world.spend(key, 80)

    await world.edit(key, cap_micros=200)
    await world.spend(key, 79)
    assert len(await told(world, hook)) == 1
    await world.spend(key, 1)
    assert brief(await told(world, hook))[1:] == [(key, "threshold_crossed", 80, 160, 200)]

    world.clock.now_ms += 32 * DAY_MS
    await world.spend(key, 160)
    (*_, last) = await told(world, hook)
    assert last["limit"]["window_start_ms"] > 0
    assert brief([last]) == [(key, "threshold_crossed", 80, 160, 200)]


async def test_a_refusal_rings_that_the_limit_was_reached_once(world: World) -> None:
    key = await world.open(cap=10)
    hook = await listen(world, key)

    for _ in range(3):
        assert isinstance(await world.hold(key, 11), Refused)

    assert brief(await told(world, hook)) == [(key, "reached", 100, 0, 10)]


async def test_an_end_users_limit_rings_for_him(world: World) -> None:
    key = await world.open(limits=(world.terms("requests", 2, "day", per="end_user"),))
    hook = await listen(world, key, "limit.*")
    ann, bob = await world.subject(key, "ann"), await world.subject(key, "bob")

    await world.spend(key, 1, subject_id=ann)
    await world.spend(key, 1, subject_id=ann)
    await world.spend(key, 1, subject_id=bob)

    assert {(each["type"], each["subject"]) for each in await told(world, hook)} == {
        ("limit.threshold_crossed", "ann"),
        ("limit.reached", "ann"),
    }


async def test_an_end_user_is_announced_once_and_forgotten_everywhere(world: World) -> None:
    key = await world.open()
    hook = await listen(world, key, "end_user.*")
    await world.subject(key, "ann")
    await world.subject(key, "ann")
    assert [(each["type"], each["subject"]) for each in await told(world, hook)] == [("end_user.first_seen", "ann")]

    await world.ledger.accounts.forget_subject(world.accounts[key], "end_user", "ann")

    assert await told(world, hook) == []
    for table, column in (("messages", "subject"), ("deliveries", "body"), ("changes", "after")):
        assert not [row for row in world.rows(f"SELECT {column} FROM {table}") if "ann" in str(row)]  # noqa: S608


async def test_marks_are_the_limits_own_or_the_keys_or_the_plans(world: World) -> None:
    master = await world.open()
    plan = world.account(master, kind="plan", alert_at=(30,), public_id="plan_1")
    await world.ledger.accounts.open(plan)
    own, planned, quiet = (
        await world.open(master, cap=100, alert_at=(50, 90)),
        await world.open(master, cap=100, plan="plan_1"),
        await world.open(master, cap=100, alert_at=()),
    )
    limited = await world.open(master, limits=(world.terms("requests", 2, alert_at=(50,)),), alert_at=(99,))
    hook = await listen(world, master, "limit.threshold_crossed")
    for key in (own, planned, quiet):
        await world.spend(key, 95)
    await world.spend(limited, 1)

    rung = sorted((each["key"], each["percent"]) for each in await told(world, hook))
    assert rung == sorted([(own, 50), (own, 90), (planned, 30), (limited, 50)])
    assert (await world.view(planned)).alert_at == (30,)
    assert (await world.view(limited)).limits[-1].alert_at == (50,)


async def test_a_cap_that_is_lowered_below_what_was_used_rings(world: World) -> None:
    key = await world.open(cap=100)
    hook = await listen(world, key, "limit.*")
    await world.spend(key, 50)
    await world.edit(key, cap_micros=60)
    assert brief(await told(world, hook)) == [(key, "threshold_crossed", 80, 50, 60)]
    await world.edit(key, cap_micros=50)
    assert brief(await told(world, hook))[1:] == [
        (key, "reached", 100, 50, 50),
        (key, "threshold_crossed", 80, 50, 50),
    ]
    await world.spend(key, 0)
    assert len(await told(world, hook)) == 3


async def test_a_key_that_expires_is_told_once(world: World) -> None:
    key = await world.open(expires_ms=world.clock() + 1_000)
    hook = await listen(world, key, "key.expired")
    await world.ledger.outbox.tell_expired()
    assert await told(world, hook) == []
    world.clock.now_ms += 2_000
    for _ in range(2):
        await world.ledger.outbox.tell_expired()
    assert [each["key"] for each in await told(world, hook)] == [key]


async def test_a_call_settles_although_its_ancestor_was_changed_meanwhile(world: World) -> None:
    """What is remembered of the ancestor is forgotten then; it is read again, and nothing is lost."""
    master = await world.open(cap=100)
    team = await world.open(master)
    key = await world.open(team)
    call = await world.held(key, 90)
    await world.edit(team, disabled=False)
    await world.edit(master, cap_micros=100)
    assert await world.settle(call, 90) is not None
    hook = await listen(world, master)
    call = await world.held(key, 1)
    await world.edit(master, cap_micros=100)
    assert await world.settle(call, 1) is not None
    assert [each["percent"] for each in await told(world, hook) if each["type"].startswith("limit.")] == [80]


async def test_nothing_is_written_where_nobody_listens(world: World) -> None:
    key = await world.open(cap=10)
    deaf = await world.open(cap=10)
    await listen(world, deaf)
    await world.spend(key, 10)
    await world.hold(key, 1)
    assert world.rows("SELECT COUNT(*) FROM messages") == [(0,)]


async def test_a_hook_that_is_disabled_or_does_not_care_hears_nothing(world: World) -> None:
    key = await world.open(cap=10)
    deaf = await listen(world, key, "key.*")
    off = await listen(world, key)
    await world.ledger.hooks.change(world.accounts[key], off.public_id, HookEdit(status="disabled"), None)
    await world.spend(key, 10)
    assert await told(world, deaf) == []
    assert await told(world, off) == []


async def test_a_test_key_is_not_heard_by_hooks_on_live_ones(world: World) -> None:
    master = await world.open()
    test = await world.open(master, cap=10, livemode=False)
    live_hook, test_hook = await listen(world, master), await listen(world, test)
    await world.spend(test, 10)
    assert await told(world, live_hook) == []
    assert len(await told(world, test_hook)) == 2


async def test_a_call_of_which_nobody_knows_and_one_that_cost_more_are_told(world: World) -> None:
    key = await world.open()
    hook = await listen(world, key)
    lost, dear = await world.held(key, 5), await world.held(key, 5)
    await world.settle(dear, 7)
    world.ledger.calls.lose(lost)
    await world.spend(key, 1)

    messages = await told(world, hook)
    assert [(each["type"], each["overrun_micros"]) for each in messages] == [("call.overrun", 2), ("call.unsettled", 0)]


# ---- deliveries


async def delivered(world: World, hook: Hook, **more: Any) -> tuple[int | None, Delivery]:
    (delivery, *_) = await world.ledger.outbox.due(hook, 10)
    attempt = Attempt(at_ms=world.clock(), took_ms=3, status=more.pop("status", 200))
    failing = await world.ledger.outbox.conclude(hook, [Result(seq=delivery.seq, attempt=attempt, **more)])
    return failing, await world.ledger.outbox.delivery(hook.account_id, delivery.public_id)


async def test_a_delivery_lives_until_it_is_delivered_or_dead_and_can_be_sent_again(world: World) -> None:
    key = await world.open(cap=10)
    hook = await listen(world, key, "limit.reached")
    await world.spend(key, 10)
    assert len(await told(world, hook)) == 1

    failing, waiting = await delivered(world, hook, delivered=False, due_ms=world.clock() + 5_000, status=500)
    assert (failing, waiting.state, waiting.tries) == (world.clock(), "pending", 1)
    assert await world.ledger.outbox.due(hook, 10) == []
    world.clock.now_ms += 5_000
    _, dead = await delivered(world, hook, delivered=False)
    assert (dead.state, dead.tries, len(dead.attempts)) == ("dead", 2, 2)

    again, _ = await world.ledger.outbox.retry(hook.account_id, dead.public_id)
    assert (again.state, again.public_id, again.body) == ("pending", dead.public_id, dead.body)
    failing, done = await delivered(world, hook, delivered=True)
    assert (failing, done.state) == (None, "delivered")
    span = (world.clock() - 60_000, world.clock() + 1)
    assert await world.ledger.outbox.replay(hook.account_id, hook.public_id, *span) == (1, False)
    assert await world.ledger.outbox.replay(hook.account_id, hook.public_id, 0, 1) == (0, False)
    assert len(await world.ledger.outbox.due(hook, 10)) == 1


async def test_a_hook_is_served_by_one_while_he_lives(world: World) -> None:
    key = await world.open(cap=10)
    hook = await listen(world, key)
    await world.spend(key, 10)
    await told(world, hook)

    assert [each.id for each in await world.ledger.outbox.claim(10)] == [hook.id]
    shared = world.ledger.shared
    world.ledger.outbox._owner = "another"
    if shared:  # somebody else's file is nobody's: there is one process
        assert await world.ledger.outbox.claim(10) == []
        world.write("DELETE FROM nodes")
    assert [each.id for each in await world.ledger.outbox.claim(10)] == [hook.id]
    await world.ledger.outbox.release(hook)
    world.ledger.outbox._owner = "a third"
    assert [each.id for each in await world.ledger.outbox.claim(10)] == [hook.id]


async def test_a_hook_that_is_served_for_long_stays_his_who_serves_it(world: World) -> None:
    """Every attempt that is written down prolongs the lease."""
    key = await world.open(cap=10)
    hook = await listen(world, key)
    await world.spend(key, 10)
    await told(world, hook)
    await world.ledger.outbox.claim(10)
    world.clock.now_ms += LEASE_MS - 1
    await delivered(world, hook, delivered=True)
    assert world.rows("SELECT lease_until_ms FROM hooks") == [(world.clock() + LEASE_MS,)]


async def test_what_waits_for_a_hook_that_is_off_is_no_work(world: World) -> None:
    """It stays for when it is on again, and until then nobody begins a transaction for it."""
    key = await world.open(cap=10)
    hook = await listen(world, key)
    await world.spend(key, 10)
    assert len(await told(world, hook)) == 2
    assert await world.ledger.outbox.address(composed, lambda: "out_x")
    await world.ledger.hooks.change(hook.account_id, hook.public_id, HookEdit(status="disabled"), None)
    assert not await world.ledger.outbox.address(composed, lambda: "out_x")
    await world.ledger.hooks.change(hook.account_id, hook.public_id, HookEdit(status="active"), None)
    assert len(await world.ledger.outbox.claim(10)) == 1
    assert len(await world.ledger.outbox.due(hook, 10)) == 2


async def test_a_hook_that_is_given_up_says_so_to_the_others(world: World) -> None:
    master = await world.open()
    key = await world.open(master, cap=10)
    broken, other = await listen(world, key), await listen(world, master, "hook.*")
    await world.spend(key, 10)
    assert len(await told(world, broken)) == 2

    await world.ledger.outbox.give_up(broken, "gone")

    (message,) = await told(world, other)
    assert (message["type"], message["hook_id"], message["reason"]) == ("hook.disabled", broken.public_id, "gone")
    found, _ = await world.ledger.outbox.deliveries(
        broken.account_id, broken.public_id, state="dead", limit=10, starting_after=None
    )
    assert len(found) == 2
    assert (await world.ledger.hooks.view(broken.account_id, broken.public_id)).status == "disabled"


async def test_what_is_somebody_elses_is_not_found(world: World) -> None:
    master = await world.open()
    ann, bob = await world.open(master, cap=10), await world.open(master)
    hook = await listen(world, ann)
    await world.spend(ann, 10)
    await told(world, hook)
    (delivery, *_) = await world.ledger.outbox.due(hook, 10)
    foreign = world.accounts[bob]

    for attempt in (
        world.ledger.hooks.view(foreign, hook.public_id),
        world.ledger.hooks.change(foreign, hook.public_id, HookEdit(status="disabled"), None),
        world.ledger.hooks.rotate(foreign, hook.public_id, "whsec_x", 0, None),
        world.ledger.hooks.remove(foreign, hook.public_id, None),
        world.ledger.outbox.delivery(foreign, delivery.public_id),
        world.ledger.outbox.retry(foreign, delivery.public_id),
        world.ledger.outbox.replay(foreign, hook.public_id, 0, 2**40),
        world.ledger.outbox.send_test(foreign, hook.public_id, "out_x", b"{}"),
        world.ledger.outbox.deliveries(foreign, hook.public_id, state=None, limit=1, starting_after=None),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(NotFound):
        await listen(world, ann, owner=bob)
    assert await world.ledger.hooks.page(foreign, 10, None) == ([], False)


async def test_secrets_overlap_when_they_are_rotated(world: World) -> None:
    key = await world.open()
    hook = await listen(world, key)
    hook, _ = await world.ledger.hooks.rotate(hook.account_id, hook.public_id, "whsec_new", 1_000, None)
    now_ms = world.clock()
    assert hook.signing(now_ms) == ["whsec_new", "whsec_test"]
    assert hook.signing(now_ms + 1_000) == ["whsec_new"]


async def test_a_key_has_so_many_hooks_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.outbox.hooks.HOOKS_MAX", 2)
    key = await world.open()
    for _ in range(2):
        await listen(world, key)
    with pytest.raises(TooManyHooks):
        await listen(world, key)


async def test_old_rows_go_and_marks_stay_as_long_as_their_window(world: World) -> None:
    key = await world.open(cap=10, limits=(world.terms("requests", 1, "day"),))
    hook = await listen(world, key)
    await world.spend(key, 10)
    count = len(await told(world, hook))
    results = [
        Result(seq=each.seq, attempt=Attempt(at_ms=0, took_ms=0), delivered=True)
        for each in await world.ledger.outbox.due(hook, 10)
    ]
    await world.ledger.outbox.conclude(hook, results)
    world.clock.now_ms += 33 * DAY_MS

    assert await world.ledger.outbox.drop(30) == count + 2  # the day's two marks; the cap's own are for ever
    assert await world.ledger.outbox.drop(30) == 0
    assert world.rows("SELECT COUNT(*) FROM messages") == [(2,)]
