"""Who is signed in, and what only pages ask: searches, several keys at once, refusals by reason."""

from __future__ import annotations

from typing import Any

from ledger.records import Block, Facts
from ledger.sessions import IDLE_MS, LIFE_MS, SEEN_EVERY_MS
from tests.ledger.world import World


async def test_a_session_lives_while_it_is_seen(world: World) -> None:
    """Twelve hours from the last look, seven days in all; ended, it is gone; over, it leaves no row."""
    sessions = world.ledger.sessions
    await sessions.start("one", "locator")
    assert (await sessions.find("one"), await sessions.find("two")) == ("locator", None)
    commits = world.ledger.commits
    world.clock.now_ms += SEEN_EVERY_MS - 1
    assert (await sessions.find("one"), world.ledger.commits) == ("locator", commits)
    for _ in range(LIFE_MS // IDLE_MS):
        world.clock.now_ms += IDLE_MS - SEEN_EVERY_MS
        assert await sessions.find("one") == "locator"
    world.clock.now_ms += IDLE_MS
    assert await sessions.find("one") is None
    await sessions.start("three", "locator")
    assert await world.ledger.accounts._access.read(_count) == 1
    await sessions.end("three")
    assert await sessions.find("three") is None


def _count() -> Any:
    rows = yield "SELECT count(*) FROM sessions", ()
    return rows[0][0]


async def test_keys_are_found_by_what_was_said_of_them(world: World) -> None:
    """In any case, as they are written, under the owner only; and by their own status."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    said = {
        "a": {"name": 'Ann "x" 50%'},
        "b": {"name": "bob_", "metadata": {"k": "Änn"}},
        "c": {"external_id": "cus_7~"},
    }
    keys = {name: await world.open(mine, profile=profile) for name, profile in said.items()}
    await world.open(theirs, profile=said["a"])
    names = {key: name for name, key in keys.items()}

    async def found(**wanted: Any) -> list[str]:
        views, _ = await world.ledger.accounts.page(world.accounts[mine], limit=10, **wanted)
        return sorted(names[view.public_id] for view in views)

    for term, expected in (
        ('ANN "X"', "a"),
        ("50%", "a"),
        ("%", "a"),
        ("_", "bc"),
        ("bob_", "b"),
        ("7~", "c"),
        (keys["b"], "b"),
        ("nobody", ""),
    ):
        assert await found(search=term) == [name for name in expected if name != " "], term
    await world.revoke(keys["a"])
    await world.edit(keys["b"], disabled=True)
    assert [await found(status=each) for each in ("active", "disabled", "revoked", "expired")] == [
        ["c"],
        ["b"],
        ["a"],
        [],
    ]
    await world.edit(keys["c"], expires_ms=world.clock())
    assert (await found(status="expired"), await found(status="active")) == (["c"], [])


async def test_several_keys_at_once_are_the_owners_own(world: World) -> None:
    """What is somebody else's, or nobody's, is left out."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    child = await world.open(mine)
    views = await world.ledger.accounts.several(world.accounts[mine], [mine, child, theirs, root, "key_none"])
    assert sorted(view.public_id for view in views) == sorted([mine, child])
    assert await world.ledger.accounts.several(world.accounts[mine], []) == []


async def test_refusals_are_summed_by_reason(world: World) -> None:
    """Those of the subtree, in the span; of many that became one event, all."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    start_ms = world.clock()
    for number in range(700):
        for key in (mine, theirs):
            world.ledger.calls.refuse(
                Block(
                    id=world.new_id("b"),
                    account_id=world.accounts[key],
                    facts=Facts(mode="proxy", provider="p", route="r"),
                    reason="loop_detected" if number else "model_not_allowed",
                    http_status=429,
                )
            )

    async def reasons(from_ms: int, to_ms: int, livemode: bool = True) -> list[tuple[str, int]]:
        return await world.ledger.reports.refusals(
            world.accounts[mine], livemode=livemode, from_ms=from_ms, to_ms=to_ms
        )

    end_ms = world.clock() + 1
    assert await reasons(start_ms, end_ms) == [("loop_detected", 699), ("model_not_allowed", 1)]
    assert await reasons(start_ms, start_ms) == await reasons(start_ms, end_ms, livemode=False) == []
