"""A change with an Idempotency-Key happens once, and answers the same again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ledger.changes import Closed
from ledger.replays import Answer, Origin, ReplayMismatch
from tests.ledger.world import World

DAY = 86_400_000


def fresh(answer: Answer) -> dict[str, Any]:
    """An answer as data, apart from whether it is a replay."""
    data: dict[str, Any] = msgspec.to_builtins(answer)
    del data["replayed"]
    return data


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
