"""Who changed what: in the transaction of the change, for ever, and never a secret."""

from __future__ import annotations

import pytest

from ledger.changes import Credit
from ledger.history import ChangeQuery, Recorded
from ledger.replays import Origin
from ledger.views import Credential, NotFound
from tests.ledger.outbox.test_outbox import listen, told
from tests.ledger.world import World


async def changes(world: World, owner: str, **more: object) -> list[Recorded]:
    """Oldest first."""
    query = ChangeQuery(owner_id=world.accounts[owner], limit=100, **more)  # type: ignore[arg-type]
    found, _ = await world.ledger.reports.changes(query)
    return found[::-1]


def origin(world: World, actor: str, **more: object) -> Origin:
    return Origin(account_id=world.accounts[actor], actor=actor, ip="192.0.2.1", request_id="req_1", **more)  # type: ignore[arg-type]


async def test_every_change_says_who_made_it_and_what_was_before_and_after(world: World) -> None:
    master = await world.open()
    key = await world.open(master, cap=10, profile={"name": "Acme"})
    owner, by = world.accounts[master], origin(world, master)
    await world.edit(key, owner=master, origin=by, cap_micros=20)
    await world.edit(key, owner=master, origin=by, disabled=True)
    await world.ledger.accounts.credit(owner, key, Credit(event_id="c", amount_micros=5, reason="goodwill"), origin=by)
    secret = Credential(locator="l", verifier="argon2-verifier", last4="wxyz")
    await world.ledger.accounts.rotate(owner, key, secret, old_until_ms=7, origin=by)
    await world.ledger.accounts.revoke(owner, key, origin=by)
    await world.ledger.accounts.revoke(owner, key, origin=by)

    found = await changes(world, master, object_id=key)
    assert [(each.type, each.actor) for each in found] == [
        ("key.created", "system"),
        ("key.updated", master),
        ("key.disabled", master),
        ("credits.added", master),
        ("key.rotated", master),
        ("key.revoked", master),
    ]
    created, updated, disabled, credited, rotated, revoked = found
    assert created.before is None
    assert created.after is not None
    assert (created.after["name"], created.after["max_spend_micros"]) == ("Acme", 10)
    assert (updated.before, updated.after) == ({"max_spend_micros": 10}, {"max_spend_micros": 20})
    assert (updated.ip, updated.request_id) == ("192.0.2.1", "req_1")
    assert disabled.after == {"status": "disabled"}
    assert credited.after == {"max_spend_micros": 25, "amount_micros": 5, "reason": "goodwill", "until_ms": None}
    assert rotated.after == {"old_until_ms": 7}
    assert revoked.after == {"status": "revoked"}
    assert "argon2" not in str(world.rows("SELECT before, after FROM changes"))


async def test_a_repeated_request_and_one_that_fails_are_no_further_change(world: World) -> None:
    master = await world.open()
    by = origin(world, master, key="k", fingerprint="f", expires_ms=2**50)
    for _ in range(2):
        await world.ledger.accounts.open(world.account(master), by)
    with pytest.raises(NotFound):
        await world.ledger.accounts.revoke(world.accounts[master], "key_nowhere")
    assert [each.type for each in await changes(world, master)] == ["key.created", "key.created"]


async def test_nobody_reads_of_what_is_not_under_him(world: World) -> None:
    master = await world.open()
    ann, bob = await world.open(master), await world.open(master)
    assert {each.object_id for each in await changes(world, ann)} == {ann}
    assert {each.object_id for each in await changes(world, master)} == {master, ann, bob}
    foreign = (await changes(world, bob))[0].public_id
    with pytest.raises(NotFound):
        await changes(world, ann, starting_after=foreign)


async def test_pages_are_complete_and_narrowed_by_what_is_asked(world: World) -> None:
    master = await world.open()
    for _ in range(5):
        await world.open(master)
    seen, cursor = [], None
    while True:
        page, more = await world.ledger.reports.changes(
            ChangeQuery(owner_id=world.accounts[master], limit=2, starting_after=cursor)
        )
        seen += page
        cursor = page[-1].public_id
        if not more:
            break
    assert len(seen) == len({each.public_id for each in seen}) == 6
    assert await changes(world, master, type="key.revoked") == []
    assert await changes(world, master, to_ms=world.clock()) == []


async def test_whoever_listens_is_told_of_changes_below_him(world: World) -> None:
    master = await world.open()
    hook = await listen(world, master, "key.*", "credits.added")
    key = await world.open(master, cap=10)
    await world.edit(key, owner=master, origin=origin(world, master), cap_micros=20)
    messages = await told(world, hook)
    assert [(each["type"], each["key"]) for each in messages] == [("key.created", key), ("key.updated", key)]
    assert (messages[1]["actor"], messages[1]["after"]) == (master, {"max_spend_micros": 20})
