"""Objects at providers: found by the key that made them and by nobody else, on both engines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ledger.objects import Object, Page
from ledger.records import Facts
from ledger.views import NotFound
from tests.ledger.world import World, opened


def file(id_: str, provider: str = "openai", kind: str = "file", **more: object) -> Object:
    return Object(provider=provider, kind=kind, id=id_, **more)  # type: ignore[arg-type]


async def two(world: World) -> tuple[int, int]:
    root = await world.open()
    return world.accounts[await world.open(root)], world.accounts[await world.open(root)]


async def test_an_object_is_found_by_its_owner_alone(world: World) -> None:
    mine, theirs = await two(world)
    assert await world.ledger.objects.own(mine, [file("file-a", label="batch", facts={"bound": 7})]) == []
    (found,) = await world.ledger.objects.owned(mine, ["file-a", "file-b"])
    assert (found.provider, found.kind, found.id, found.account_id) == ("openai", "file", "file-a", mine)
    assert (found.label, found.facts, found.created_ms) == ("batch", {"bound": 7}, world.clock())
    assert await world.ledger.objects.owned(theirs, ["file-a"]) == []
    assert await world.ledger.objects.taken(theirs, ["file-a", "file-b"]) == {("openai", "file", "file-a")}
    assert await world.ledger.objects.taken(mine, ["file-a"]) == set()


async def test_an_id_that_somebody_else_owns_stays_theirs(world: World) -> None:
    mine, theirs = await two(world)
    await world.ledger.objects.own(theirs, [file("x"), file("y", kind="batch")])
    assert await world.ledger.objects.own(mine, [file("x"), file("y"), file("z")]) == ["x"]
    assert {each.id for each in await world.ledger.objects.owned(mine, ["x", "y", "z"])} == {"y", "z"}
    assert await world.ledger.objects.own(mine, [file("z")]) == []


async def test_test_objects_and_live_ones_are_apart(world: World) -> None:
    root = await world.open()
    live = world.accounts[await world.open(root)]
    test = world.accounts[await world.open(root, livemode=False)]
    assert await world.ledger.objects.own(live, [file("file-a")]) == []
    assert await world.ledger.objects.own(test, [file("file-a")]) == []
    assert await world.ledger.objects.taken(test, ["file-a"]) == set()
    assert len(await world.ledger.objects.owned(live, ["file-a"])) == 1


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_pages_show_every_own_object_once_and_none_of_another(world: World, oldest_first: bool) -> None:
    mine, theirs = await two(world)
    for number in range(9):
        await world.ledger.objects.own(mine, [file(f"mine-{number}")])
        await world.ledger.objects.own(theirs, [file(f"theirs-{number}")])
    await world.ledger.objects.own(mine, [file("other", kind="batch"), file("elsewhere", provider="mistral")])
    seen, after = [], None
    for _ in range(9):
        wanted = Page(limit=4, after=after, oldest_first=oldest_first)
        found, more = await world.ledger.objects.page(mine, "openai", "file", wanted)
        seen += [each.id for each in found]
        after = seen[-1]
        if not more:
            break
    expected = [f"mine-{number}" for number in range(9)]
    assert seen == (expected if oldest_first else expected[::-1])
    found, more = await world.ledger.objects.page(mine, "openai", "file", Page(limit=3, before=seen[5]))
    newest_first = expected[::-1]
    place = newest_first.index(seen[5])
    assert ([each.id for each in found], more) == (newest_first[max(place - 3, 0) : place], place > 3)
    with pytest.raises(NotFound):
        await world.ledger.objects.page(mine, "openai", "file", Page(limit=3, after="theirs-1"))


async def test_lists_can_be_narrowed_skipped_and_counted(world: World) -> None:
    mine, _ = await two(world)
    await world.ledger.objects.own(
        mine, [file(f"f{number}", label="batch" if number % 2 else "") for number in range(6)]
    )
    found, more = await world.ledger.objects.page(mine, "openai", "file", Page(limit=9, label="batch", skip=1))
    assert ([each.id for each in found], more) == (["f3", "f1"], False)
    assert await world.ledger.objects.count(mine, "openai", "file", "batch") == 3
    assert await world.ledger.objects.count(mine, "openai", "file", None) == 6


async def test_what_was_deleted_is_forgotten_for_its_owner_only(world: World) -> None:
    mine, theirs = await two(world)
    await world.ledger.objects.own(mine, [file("a"), file("b")])
    await world.ledger.objects.forget(theirs, "openai", "file", ["a"])
    assert len(await world.ledger.objects.owned(mine, ["a", "b"])) == 2
    await world.ledger.objects.forget(mine, "openai", "file", ["a"])
    assert [each.id for each in await world.ledger.objects.owned(mine, ["a", "b"])] == ["b"]


async def test_what_the_provider_has_forgotten_is_gone_and_dropped(world: World) -> None:
    mine, _ = await two(world)
    await world.ledger.objects.own(mine, [file("a", expires_ms=world.clock() + 10), file("b")])
    assert len(await world.ledger.objects.owned(mine, ["a", "b"])) == 2
    world.clock.now_ms += 10
    assert [each.id for each in await world.ledger.objects.owned(mine, ["a", "b"])] == ["b"]
    assert await world.ledger.objects.expire() == 1
    assert await world.ledger.objects.expire() == 0


async def test_of_several_takers_each_due_object_has_one(database: Path | str) -> None:
    async with opened(database) as world:
        mine, _ = await two(world)
        now_ms = world.clock()
        made = [file(f"b{number}", kind="batch", due_ms=now_ms) for number in range(20)]
        await world.ledger.objects.own(mine, [*made, file("later", kind="batch", due_ms=now_ms + 5), file("never")])
        takes = await asyncio.gather(*(world.ledger.objects.due(now_ms + 60_000, 3) for _ in range(9)))
        taken = sorted(each.id for take in takes for each, _live in take)
        assert taken == sorted(each.id for each in made)
        assert all(live for take in takes for _each, live in take)
        world.clock.now_ms += 5
        ((later, _),) = await world.ledger.objects.due(now_ms + 60_000, 3)
        assert later.id == "later"
        await world.ledger.objects.note(mine, file("later", kind="batch", facts={"done": True}))
        world.clock.now_ms += 60_000
        again = [each.id for each, _ in await world.ledger.objects.due(now_ms + 10**9, 99)]
        assert "later" not in again
        assert len(again) == 20
        (noted,) = await world.ledger.objects.owned(mine, ["later"])
        assert noted.facts == {"done": True}


async def test_a_batchs_hold_outlives_its_process_and_ends_unsettled(database: Path | str) -> None:
    """It is nobody's to recover; when its time is over it does not go back, for it may have cost something."""
    async with opened(database) as first:
        key = await first.open(cap=1_000)
        hold_id = await first.held(key, 300, owner="a process that is gone", expires_ms=first.clock() + 5_000)
        reserved = await first.held(
            key, 50, facts=Facts(mode="reservation"), owner="another", expires_ms=first.clock() + 5_000
        )
        await first.ledger.tending.recover()
        view = await first.view(key)
        assert (view.cap.held, view.cap.unsettled) == (350, 0)
        first.clock.now_ms += 5_000
        assert await first.ledger.tending.expire() == 2
        view = await first.view(key)
        assert (view.cap.held, view.cap.unsettled, view.cap.used) == (0, 300, 0)
        settled = await first.settle(hold_id, 120)
        assert settled is not None
        assert settled.first
        view = await first.view(key)
        assert (view.cap.held, view.cap.unsettled, view.cap.used) == (0, 0, 120)
        assert await first.settle(reserved, 5) is not None  # it went back: this changes nothing
        assert (await first.view(key)).cap.used == 120


async def test_only_what_is_waited_for_can_be_hastened(world: World) -> None:
    mine, theirs = await two(world)
    later = world.clock() + 60_000
    await world.ledger.objects.own(mine, [file("b1", kind="batch", due_ms=later), file("b2", kind="batch")])
    assert not await world.ledger.objects.hasten(theirs, "openai", "batch", ["b1"])
    assert not await world.ledger.objects.hasten(mine, "openai", "batch", ["b2"])
    assert await world.ledger.objects.due(later, 9) == []
    assert await world.ledger.objects.hasten(mine, "openai", "batch", ["b1", "b2"])
    ((found, live),) = await world.ledger.objects.due(later, 9)
    assert (found.id, live) == ("b1", True)
