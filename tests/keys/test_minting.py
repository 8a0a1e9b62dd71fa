"""Minting, changing, rotating: a child never more than its parent, a secret handed out once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from keys.keyring import Denied, Key
from keys.limits import Exceeds
from keys.minting import Minted, ScopeRefused
from keys.requests import Mint, Patch
from ledger.changes import Closed, TooDeep
from ledger.replays import Origin, ReplayMismatch
from ledger.views import NotFound
from tests.keys.conftest import MASTER, Office

DAY = 86_400_000


def once(office: Office, key: str = "k", fingerprint: str = "f", account_id: int = 1) -> Origin:
    return Origin(account_id=account_id, key=key, fingerprint=fingerprint, expires_ms=office.clock() + DAY)


async def team_of(office: Office, **asked: Any) -> tuple[Minted, Key]:
    minted = await office.mint(scope="team", **asked)
    return minted, await office.keyring.authenticate(minted.secret)


# ---- minting


async def test_a_minted_key_is_what_was_asked_for(office: Office) -> None:
    """All that a mint says stands on the key and is seen by whoever authenticates with it."""
    asked: dict[str, Any] = {
        "name": "söme name",
        "scope": "read",
        "livemode": False,
        "max_spend_usd": Decimal("1.25"),
        "reset": "month",
        "metadata": {"a": "b"},
        "external_id": "x-1",
        "allowed_models": ["gpt-*"],
        "allowed_providers": ["openai"],
        "expires_at_ms": office.clock() + DAY,
        "overdraft": "never",
        "on_insufficient": "clamp",
        "over_cap_status": 429,
        "unpriced": "allow",
    }
    minted = await office.mint(**asked)
    account = minted.account
    assert not minted.replayed
    assert (account.cap.max, account.cap.window, account.expires_ms) == (1_250_000, "month", office.clock() + DAY)
    assert (account.parent_public_id, account.livemode, account.status) == (
        (await office.master()).public_id,
        False,
        "active",
    )
    assert account.last4 == minted.secret[-4:]
    policy = (await office.keyring.authenticate(minted.secret)).policy
    for name in ("name", "scope", "metadata", "external_id", "allowed_models", "overdraft", "over_cap_status"):
        assert getattr(policy, name) == asked[name]


async def test_the_ledger_keeps_a_verifier_and_no_secret(office: Office) -> None:
    """What is stored is Argon2id of the secret, its locator and its last four characters."""
    minted = await office.mint()
    ((locator, verifier, last4),) = office.world.rows(
        "SELECT locator, verifier, last4 FROM credentials WHERE account_id = ?", minted.account.id
    )
    assert verifier.startswith("$argon2id$")
    assert locator in minted.secret
    assert minted.secret.endswith(last4)
    assert minted.secret not in repr(minted.account)


@pytest.mark.parametrize("scope", ["standard", "read", "ingest"])
async def test_scopes_without_an_office_manage_nothing(office: Office, scope: str) -> None:
    """A key that is neither master nor team cannot mint, change, rotate or revoke, not even itself."""
    minted = await office.mint(scope=scope)
    caller = await office.keyring.authenticate(minted.secret)
    own = minted.account.public_id
    for attempt in (
        office.minter.mint(caller, minted.secret, Mint()),
        office.minter.change(caller, own, Patch(name="x")),
        office.minter.rotate(caller, minted.secret, own, 0),
        office.minter.revoke(caller, own),
    ):
        with pytest.raises(ScopeRefused):
            await attempt


async def test_a_team_mints_no_master(office: Office) -> None:
    """A child never has a greater scope than its parent."""
    minted, team = await team_of(office)
    with pytest.raises((ScopeRefused, Exceeds)):
        await office.minter.mint(team, minted.secret, Mint(scope="master"))
    assert (await office.minter.mint(team, minted.secret, Mint(scope="team"))).account.parent_id == team.account_id


async def test_a_key_does_not_change_or_revoke_itself(office: Office) -> None:
    """Not even a master key raises its own cap or closes itself."""
    master = await office.master()
    for attempt in (
        office.minter.change(master, master.public_id, Patch(max_spend_usd=None)),
        office.minter.revoke(master, master.public_id),
    ):
        with pytest.raises(ScopeRefused, match="itself"):
            await attempt


@pytest.mark.parametrize(
    ("parent", "child", "param"),
    [
        ({"max_spend_micros": 100}, {"max_spend_micros": 101}, "max_spend_usd"),
        ({"max_spend_micros": 100}, {"max_spend_usd": Decimal("0.000101")}, "max_spend_usd"),
        ({"expires_at_ms": 2 * 10**12}, {"expires_at_ms": 2 * 10**12 + 1}, "expires_at_ms"),
        ({"allowed_models": ["gpt-*"]}, {"allowed_models": ["gpt-5", "claude"]}, "allowed_models"),
        ({"allowed_models": ["gpt-5"]}, {"allowed_models": ["gpt-*"]}, "allowed_models"),
        ({"allowed_providers": ["openai"]}, {"allowed_providers": ["anthropic"]}, "allowed_providers"),
        ({"livemode": False}, {"livemode": True}, "livemode"),
    ],
)
async def test_a_child_never_has_more_than_its_parent(
    office: Office, parent: dict[str, Any], child: dict[str, Any], param: str
) -> None:
    """More than the parent's cap, life, models, providers or mode is refused when minting and when changing."""
    minted, team = await team_of(office, **parent)
    with pytest.raises(Exceeds) as minting:
        await office.minter.mint(team, minted.secret, Mint(**child))
    assert minting.value.param == param
    if param != "livemode":
        livemode = team.livemode
        key = await office.minter.mint(team, minted.secret, Mint(livemode=livemode))
        for caller in (team, await office.master()):
            with pytest.raises(Exceeds) as changing:
                await office.minter.change(caller, key.account.public_id, Patch(**child))
            assert changing.value.param == param


async def test_a_grandparents_models_bind_too(office: Office) -> None:
    """What a grandparent does not allow cannot be allowed two steps below, although the parent says nothing."""
    upper, upper_key = await team_of(office, allowed_models=["gpt-*"])
    lower = await office.minter.mint(upper_key, upper.secret, Mint(scope="team"))
    caller = await office.keyring.authenticate(lower.secret)
    with pytest.raises(Exceeds):
        await office.minter.mint(caller, lower.secret, Mint(allowed_models=["claude"]))
    key = await office.minter.mint(caller, lower.secret, Mint())
    assert not (await office.keyring.authenticate(key.secret)).allows_model("claude")


async def test_what_is_absent_or_null_is_no_limit_of_its_own(office: Office) -> None:
    """A child that says nothing, or null, is minted under any parent; the parent's limits still bind it."""
    minted, team = await team_of(
        office, max_spend_micros=100, expires_at_ms=office.clock() + DAY, allowed_models=["gpt-*"]
    )
    for asked in (Mint(), Mint(max_spend_usd=None, expires_at_ms=None, allowed_models=None)):
        key = await office.minter.mint(team, minted.secret, asked)
        assert (key.account.cap.max, key.account.remaining_micros) == (None, 100)
        seen = await office.keyring.authenticate(key.secret)
        assert (seen.capped, seen.expires_ms, seen.allows_model("claude")) == (True, office.clock() + DAY, False)


async def test_equal_to_the_parents_is_not_more(office: Office) -> None:
    """A child may have exactly what its parent has."""
    same: dict[str, Any] = {
        "max_spend_micros": 100,
        "expires_at_ms": office.clock() + DAY,
        "allowed_models": ["gpt-*", "o3"],
        "allowed_providers": ["openai"],
    }
    minted, team = await team_of(office, **same)
    await office.minter.mint(team, minted.secret, Mint(**same))


async def test_nothing_is_minted_under_a_closed_or_too_deep_key(office: Office) -> None:
    """A caller that has been closed meanwhile mints nothing, and the tree has a bottom."""
    minted, team = await team_of(office)
    await office.change(minted, disabled=True)
    with pytest.raises(Closed):
        await office.minter.mint(team, minted.secret, Mint())
    secret = MASTER
    with pytest.raises(TooDeep):
        for _ in range(20):
            secret = (await office.mint(secret, scope="team" if secret != MASTER else "master")).secret


# ---- changing


async def test_changes_are_in_force_and_leave_the_rest(office: Office) -> None:
    """A change is seen by the next fresh look; metadata is merged and null takes an entry away."""
    minted = await office.mint(name="a", metadata={"x": "1", "y": "2"}, max_spend_micros=5, allowed_models=["m"])
    await office.change(minted, metadata={"x": None, "z": "3"}, allowed_models=None)
    policy = (await office.keyring.authenticate(minted.secret, fresh=True)).policy
    assert (policy.name, policy.metadata, policy.allowed_models) == ("a", {"y": "2", "z": "3"}, None)
    view = await office.ledger.accounts.get(1, minted.account.public_id)
    assert view.cap.max == 5
    await office.change(minted, max_spend_usd=None)
    assert (await office.ledger.accounts.get(1, minted.account.public_id)).remaining_micros is None


async def test_walls_between_tenants(office: Office) -> None:
    """Another team's key, and one's own parent, answer exactly as a key that does not exist."""
    mine, caller = await team_of(office)
    theirs, _ = await team_of(office)
    child = await office.mint(theirs.secret)
    foreign = (theirs.account.public_id, child.account.public_id, (await office.master()).public_id)
    for public_id in (*foreign, "key_nobody"):
        for attempt in (
            office.minter.change(caller, public_id, Patch(name="x")),
            office.minter.rotate(caller, mine.secret, public_id, 0),
            office.minter.revoke(caller, public_id),
        ):
            with pytest.raises(NotFound) as refused:
                await attempt
            assert str(refused.value).strip("'") == public_id
    assert (await office.keyring.authenticate(child.secret, fresh=True)).status == "active"


# ---- once


async def test_a_repeated_mint_gives_the_same_secret(office: Office) -> None:
    """The same request with the same Idempotency-Key gets the same key and secret, which opens it."""
    master = await office.master()
    asked = Mint(name="a")
    first = await office.minter.mint(master, MASTER, asked, once(office))
    again = await office.minter.mint(master, MASTER, asked, once(office))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.secret == first.secret
    assert again.account == first.account
    assert (await office.keyring.authenticate(again.secret)).account_id == first.account.id
    with pytest.raises(ReplayMismatch):
        await office.minter.mint(master, MASTER, Mint(name="b"), once(office, fingerprint="g"))
    other = await office.minter.mint(master, MASTER, asked, once(office, key="l"))
    assert other.secret != first.secret


async def test_a_storm_of_the_same_mint_makes_one_key(office: Office) -> None:
    """Twenty identical mints at the same time are one key with one secret."""
    master = await office.master()
    minted = await asyncio.gather(*(office.minter.mint(master, MASTER, Mint(), once(office)) for _ in range(20)))
    assert len({each.secret for each in minted}) == 1
    assert sum(not each.replayed for each in minted) == 1
    assert office.world.rows("SELECT count(*) FROM accounts") == [(2,)]


async def test_a_repeated_rotation_gives_the_same_secret(office: Office) -> None:
    """A rotation that is repeated rotates once."""
    master = await office.master()
    minted = await office.mint()
    first = await office.minter.rotate(master, MASTER, minted.account.public_id, 0, once(office))
    again = await office.minter.rotate(master, MASTER, minted.account.public_id, 0, once(office))
    assert again.replayed
    assert again.secret == first.secret != minted.secret
    assert (await office.keyring.authenticate(again.secret)).account_id == minted.account.id


async def test_a_secret_that_cannot_be_made_again_is_not_made_up(office: Office) -> None:
    """If the caller's own secret was rotated since, a repeated mint is refused: it would answer with a dead secret."""
    team, caller = await team_of(office)
    first = await office.minter.mint(caller, team.secret, Mint(), once(office, account_id=caller.account_id))
    rotated = await office.minter.rotate(await office.master(), MASTER, team.account.public_id, 0)
    caller = await office.keyring.authenticate(rotated.secret)
    with pytest.raises(ReplayMismatch):
        await office.minter.mint(caller, rotated.secret, Mint(), once(office, account_id=caller.account_id))
    assert (await office.keyring.authenticate(first.secret)).account_id == first.account.id


async def test_nobody_else_can_make_the_secret_from_what_is_stored(office: Office) -> None:
    """The stored nonce makes another secret in other hands."""
    master = await office.master()
    first = await office.minter.mint(master, MASTER, Mint(), once(office))
    ((answer,),) = office.world.rows("SELECT answer FROM replays")
    assert first.secret not in answer
    locator, _, nonce = msgspec.json.decode(answer)["note"].partition(":")
    assert office.minter._derive(MASTER, locator, nonce, True).secret == first.secret
    assert office.minter._derive("another secret", locator, nonce, True).secret != first.secret


# ---- revoking


async def test_revoking_closes_the_subtree_for_ever(office: Office) -> None:
    """A revoked key's children are revoked with it, again changes nothing, and it cannot be rotated."""
    team, caller = await team_of(office)
    child = await office.minter.mint(caller, team.secret, Mint())
    master = await office.master()
    first, _ = await office.minter.revoke(master, team.account.public_id)
    office.clock.now_ms += 10
    again, _ = await office.minter.revoke(master, team.account.public_id)
    assert (first.status, again.revoked_ms) == ("revoked", first.revoked_ms)
    with pytest.raises(Closed):
        await office.minter.rotate(master, MASTER, team.account.public_id, 0)
    for secret in (team.secret, child.secret):
        with pytest.raises(Denied) as caught:
            await office.keyring.authenticate(secret, fresh=True)
        assert caught.value.reason == "key_revoked"
