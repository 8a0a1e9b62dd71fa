"""Whose page is shown: an address opens once, a session ends on its own, and neither outlives what it is about."""

from __future__ import annotations

import asyncio

from ledger.portal import LIFE_MS, Address
from tests.ledger.world import World


async def test_an_address_opens_once_and_a_session_ends(world: World) -> None:
    """Of ten who open it at once one gets in; in time, for an hour; afterwards there is no row left."""
    key, portal = await world.open(), world.ledger.portal
    until_ms = world.clock() + 1000

    def address(token: str) -> Address:
        return Address(id_hash=token, account_id=world.accounts[key], return_url="https://a.example", ends_ms=until_ms)

    await portal.start(address("token"))
    assert await portal.find("token") is None
    assert not await portal.swap("nothing", "s")
    opened = await asyncio.gather(*(portal.swap("token", f"s{number}") for number in range(10)))
    assert sum(opened) == 1
    session = f"s{opened.index(True)}"
    visit = await portal.find(session)
    assert visit is not None
    assert (visit.key_id, visit.subject_id, visit.end_user, visit.return_url) == (key, 0, None, "https://a.example")
    await portal.start(address("late"))
    world.clock.now_ms += 1000
    assert not await portal.swap("late", "s")
    world.clock.now_ms += LIFE_MS - 1001
    assert await portal.find(session) is not None
    world.clock.now_ms += 1
    assert await portal.find(session) is None
    until_ms = world.clock() + 1
    await portal.start(address("next"))
    assert await world.ledger.accounts._access.read(_ids) == ["next"]


def _ids():  # type: ignore[no-untyped-def]
    rows = yield "SELECT id_hash FROM portal_sessions", ()
    return [row[0] for row in rows]


async def test_a_session_ends_with_what_it_is_about(world: World) -> None:
    """A key that is disabled is looked at; one that is revoked, or under one that is, or a forgotten user, is not."""
    team = await world.open()
    key = await world.open(team)
    user = await world.subject(key, "ann")
    portal, owner = world.ledger.portal, world.accounts[team]
    for token, subject_id in (("key", 0), ("user", user)):
        await portal.start(Address(id_hash=token, account_id=world.accounts[key], subject_id=subject_id, ends_ms=2**52))
        assert await portal.swap(token, f"{token} session")
    await world.edit(key, disabled=True)
    visit = await portal.find("user session")
    assert visit is not None and visit.end_user == "ann"
    await world.ledger.accounts.forget_subject(world.accounts[key], "end_user", "ann")
    assert await portal.find("user session") is None
    assert await portal.find("key session") is not None
    root = await world.ledger.accounts.root()
    assert root is not None
    await world.ledger.accounts.revoke(owner, team)
    assert await portal.find("key session") is None
