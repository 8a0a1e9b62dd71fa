"""Authenticating: garbage is turned away for nothing, a key is hashed once, and memory is never trusted with money."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys import keyring as keyring_module
from keys import token
from keys.hashing import Overloaded
from keys.keyring import Denied
from ledger.records import Held, LedgerUnavailable, Refused
from tests.keys.conftest import MASTER, Office
from tests.ledger.world import outside


async def denied(office: Office, secret: str, *, fresh: bool = False) -> str:
    with pytest.raises(Denied) as caught:
        await office.keyring.authenticate(secret, fresh=fresh)
    return caught.value.reason


# ---- garbage


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text())
async def test_garbage_never_reaches_argon2(office: Office, text: str) -> None:
    """Whatever text comes, it is denied without a hash and without a look into the database."""
    secret = token.make(True, token.new_locator(), secrets.token_bytes(32), office.keyring.mac_key).secret
    reads: list[object] = []
    original = office.ledger.accounts.credential
    office.ledger.accounts.credential = reads.append  # type: ignore[assignment,method-assign,return-value]
    try:
        for garbage in (text, "fk_live_" + text, secret[: -len(text) or None] + text, secret[:-1] + "!", MASTER + text):
            if garbage not in (secret, MASTER):
                assert await denied(office, garbage) == "invalid_key"
    finally:
        office.ledger.accounts.credential = original  # type: ignore[method-assign]
    assert reads == []
    assert office.hasher.verified == 0


async def test_a_forgery_never_reaches_argon2(office: Office) -> None:
    """A well-formed secret under another installation's checksum is denied without a hash."""
    minted = await office.mint()
    forged = token.make(True, minted.secret[8:20], secrets.token_bytes(32), secrets.token_bytes(32)).secret
    assert await denied(office, forged) == "invalid_key"
    assert office.hasher.verified == 1  # the master's own


async def test_a_true_checksum_is_not_enough(office: Office) -> None:
    """Who could make checksums would still open nothing: unknown locators and other secrets are denied."""
    minted = await office.mint()
    for locator in (minted.secret[8:20], token.new_locator()):
        made = token.make(True, locator, secrets.token_bytes(32), office.keyring.mac_key)
        assert await denied(office, made.secret) == "invalid_key"
        assert await denied(office, made.secret) == "invalid_key"


# ---- once


async def test_a_hundred_first_calls_are_hashed_once(office: Office) -> None:
    """However many calls bring a new secret at the same time, Argon2 runs once, and never again."""
    minted = await office.mint()
    await office.restart()
    keys = await asyncio.gather(*(office.keyring.authenticate(minted.secret) for _ in range(100)))
    assert {key.account_id for key in keys} == {minted.account.id}
    assert office.hasher.verified == 1
    await office.keyring.authenticate(minted.secret)
    await office.keyring.authenticate(minted.secret, fresh=True)
    assert office.hasher.verified == 1


async def test_a_first_caller_that_leaves_does_not_take_the_others_along(office: Office) -> None:
    """If the call that started the hash is cancelled, those who wait for it are answered."""
    minted = await office.mint()
    await office.restart()
    first = asyncio.create_task(office.keyring.authenticate(minted.secret))
    await asyncio.sleep(0)
    second = asyncio.create_task(office.keyring.authenticate(minted.secret))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).account_id == minted.account.id
    assert office.hasher.verified == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_failed_first_call_is_not_remembered(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """When hashing is overloaded or the ledger is away, the next call simply tries again."""
    minted = await office.mint()
    for error in (Overloaded(), LedgerUnavailable("away")):
        await office.restart()

        async def fail(verifier: str, secret: str, error: Exception = error) -> bool:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(office.hasher, "verify", fail)
            with pytest.raises(type(error)):
                await office.keyring.authenticate(minted.secret)
        assert (await office.keyring.authenticate(minted.secret)).account_id == minted.account.id


async def test_what_is_remembered_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory keeps a bounded number of secrets and keys; a forgotten one is verified again."""
    monkeypatch.setattr(keyring_module, "REMEMBERED_MAX", 8)
    monkeypatch.setattr(keyring_module, "KEYS_MAX", 8)
    minted = [await office.mint() for _ in range(20)]
    await office.restart()
    for each in minted * 2:
        assert (await office.keyring.authenticate(each.secret)).account_id == each.account.id
        assert len(office.keyring._verified) <= 8
        assert len(office.keyring._keys) <= 8
        assert not office.keyring._verifying
    assert office.hasher.verified == 40


async def test_memory_keeps_no_secret(office: Office) -> None:
    """Neither the keyring's memory nor the database has the secret in it."""
    minted = await office.mint()
    await office.keyring.authenticate(minted.secret)
    random_part = minted.secret[20:-8]
    assert random_part not in repr(vars(office.keyring))
    for path in office.world.path.parent.glob("farthing.db*"):
        assert random_part.encode() not in path.read_bytes()


# ---- never stale with money


async def test_a_key_tells_what_it_is(office: Office) -> None:
    """A key knows its chain, versions, mode, policies and whether money is limited."""
    team = await office.mint(scope="team", name="team", allowed_models=["gpt-*"])
    minted = await office.mint(team.secret, max_spend_micros=5, livemode=False, allowed_models=["gpt-5", "gpt-4*"])
    key = await office.keyring.authenticate(minted.secret)
    assert key.public_id == minted.account.public_id
    assert key.chain == (minted.account.id, team.account.id, 1)
    assert [id_ for id_, _ in key.versions] == list(key.chain)
    assert (key.livemode, key.capped, key.status, key.policy.scope) == (False, True, "active", "standard")
    assert (key.allows_model("gpt-5"), key.allows_model("gpt-6"), key.allows_provider("openai")) == (True, False, True)
    assert minted.secret.startswith("fk_test_")


@pytest.mark.parametrize("who", ["key", "team"])
async def test_a_disabled_key_is_denied_and_an_enabled_one_is_not(office: Office, who: str) -> None:
    """Disabling a key or its parent is noticed by the very next hold, and so is enabling."""
    team = await office.mint(scope="team")
    minted = await office.mint(team.secret)
    changed = team if who == "team" else minted
    key = await office.keyring.authenticate(minted.secret)
    assert isinstance(await office.call(key), Held)

    await office.change(changed, disabled=True)
    outcome = await office.call(await office.keyring.authenticate(minted.secret))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "stale"
    assert await denied(office, minted.secret, fresh=True) == "key_disabled"
    assert await denied(office, minted.secret) == "key_disabled"

    await office.change(changed, disabled=False)
    assert isinstance(await office.call(await office.keyring.authenticate(minted.secret)), Held)


async def test_a_revoked_key_never_comes_back(office: Office) -> None:
    """A revoked key and its children are denied by name, again and again."""
    team = await office.mint(scope="team")
    minted = await office.mint(team.secret)
    await office.keyring.authenticate(minted.secret)
    await office.minter.revoke(await office.master(), team.account.public_id)
    for secret in (minted.secret, team.secret):
        assert await denied(office, secret, fresh=True) == "key_revoked"
        assert await denied(office, secret) == "key_revoked"
    await office.restart()
    assert await denied(office, minted.secret) == "key_revoked"


async def test_a_revocation_by_another_process_is_noticed_by_the_hold(office: Office) -> None:
    """What the command line revokes is refused by the next hold although this process remembers the key."""
    minted = await office.mint()
    key = await office.keyring.authenticate(minted.secret)
    assert isinstance(await office.call(key), Held)
    with outside(office.world.path) as other:
        other.execute("UPDATE accounts SET revoked_ms = 1, version = version + 1 WHERE id = ?", (minted.account.id,))
    outcome = await office.call(await office.keyring.authenticate(minted.secret))
    assert isinstance(outcome, Refused)
    with pytest.raises(Denied) as caught:
        await office.keyring.authenticate(minted.secret, fresh=True)
    assert (caught.value.reason, caught.value.account_id) == ("key_revoked", minted.account.id)


async def test_a_key_expires_in_memory_too(office: Office) -> None:
    """A key that is remembered as active is denied from the moment of its, or its parent's, expiry."""
    end = office.clock() + 1_000
    team = await office.mint(scope="team", expires_at_ms=end)
    minted = await office.mint(team.secret)
    await office.keyring.authenticate(minted.secret)
    office.clock.now_ms = end - 1
    assert isinstance(await office.call(await office.keyring.authenticate(minted.secret)), Held)
    office.clock.now_ms = end
    assert await denied(office, minted.secret) == "key_expired"
    await office.change(team, expires_at_ms=end + 1_000)
    assert isinstance(await office.call(await office.keyring.authenticate(minted.secret)), Held)


# ---- rotation


async def test_a_secret_rotated_without_overlap_is_dead_at_once(office: Office) -> None:
    """The old secret opens nothing any more, whatever is remembered; the new one opens the same key."""
    minted = await office.mint()
    await office.keyring.authenticate(minted.secret)
    rotated = await office.minter.rotate(await office.master(), MASTER, minted.account.public_id, 0)
    assert rotated.account.public_id == minted.account.public_id
    assert await denied(office, minted.secret, fresh=True) == "invalid_key"
    assert await denied(office, minted.secret) == "invalid_key"
    assert (await office.keyring.authenticate(rotated.secret)).account_id == minted.account.id
    await office.restart()
    assert await denied(office, minted.secret) == "invalid_key"


async def test_a_dead_secret_stays_dead_when_the_new_one_is_used_first(office: Office) -> None:
    """What is remembered of the old secret ends with the rotation, also once the key itself has been read anew."""
    minted = await office.mint()
    await office.keyring.authenticate(minted.secret)
    rotated = await office.minter.rotate(await office.master(), MASTER, minted.account.public_id, 0)
    assert isinstance(await office.call(await office.keyring.authenticate(rotated.secret, fresh=True)), Held)
    assert await denied(office, minted.secret) == "invalid_key"
    assert await denied(office, minted.secret) == "invalid_key"
    key = await office.keyring.authenticate(rotated.secret)
    assert isinstance(await office.call(key), Held)


async def test_a_hold_with_a_dead_secret_is_refused_before_anything_is_known(office: Office) -> None:
    """A call that authenticated from memory with the old secret holds nothing, and is denied when it looks again."""
    minted = await office.mint()
    key = await office.keyring.authenticate(minted.secret)
    await office.minter.rotate(await office.master(), MASTER, minted.account.public_id, 0)
    outcome = await office.call(key)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "stale"
    with pytest.raises(Denied):
        await office.keyring.authenticate(minted.secret, fresh=True)


async def test_both_secrets_open_the_key_during_the_overlap(office: Office) -> None:
    """During the overlap old and new secret are the same key; afterwards only the new one is."""
    minted = await office.mint()
    await office.keyring.authenticate(minted.secret)
    rotated = await office.minter.rotate(await office.master(), MASTER, minted.account.public_id, 60)
    office.clock.now_ms += 59_999
    for secret in (minted.secret, rotated.secret):
        for fresh in (True, False):
            key = await office.keyring.authenticate(secret, fresh=fresh)
            assert key.account_id == minted.account.id
            assert isinstance(await office.call(key), Held)
    office.clock.now_ms += 1
    for fresh in (False, True):
        assert await denied(office, minted.secret, fresh=fresh) == "invalid_key"
    assert (await office.keyring.authenticate(rotated.secret)).account_id == minted.account.id


# ---- the first master key


async def test_the_operators_master_key_is_minted_once(empty: Office) -> None:
    """On an empty ledger the operator's own secret becomes the master key, is not printed, and lives on."""
    assert await denied(empty, MASTER) == "invalid_key"
    assert await empty.minter.first_master(MASTER) is None
    key = await empty.master()
    assert (key.policy.scope, key.policy.may_infer, key.chain) == ("master", False, (1,))
    await empty.restart()
    assert await empty.minter.first_master(MASTER) is None
    assert (await empty.master()).account_id == 1
    assert empty.world.rows("SELECT count(*) FROM accounts") == [(1,)]


async def test_without_an_operators_key_one_is_minted_and_printed_once(empty: Office) -> None:
    """Without one, a master key is made, given back once, and opens the ledger afterwards."""
    await empty.restart(master=None)
    printed = await empty.minter.first_master(None)
    assert printed is not None
    assert printed.startswith("fk_live_")
    assert await empty.minter.first_master(None) is None
    await empty.restart(master=None)
    assert (await empty.keyring.authenticate(printed)).policy.scope == "master"
    await empty.restart(master=printed)
    assert await empty.minter.first_master(printed) is None
    assert (await empty.keyring.authenticate(printed)).policy.scope == "master"


async def test_another_master_key_does_not_open_an_existing_ledger(office: Office) -> None:
    """A changed FARTHING_MASTER_KEY on a ledger that has a master key opens nothing and mints nothing."""
    await office.restart(master="quite-another-master-key")
    assert await office.minter.first_master("quite-another-master-key") is None
    assert await denied(office, "quite-another-master-key") == "invalid_key"
    assert await denied(office, MASTER) == "invalid_key"
    assert office.world.rows("SELECT count(*) FROM accounts, credentials") == [(1,)]


async def test_the_checksums_key_outlives_the_process(office: Office) -> None:
    """After a restart the same secrets have true checksums."""
    minted = await office.mint()
    mac_key = office.keyring.mac_key
    await office.restart()
    assert office.keyring.mac_key == mac_key
    assert (await office.keyring.authenticate(minted.secret)).account_id == minted.account.id


async def test_a_master_key_without_a_keyring_that_knows_it_is_a_mistake(empty: Office) -> None:
    """A master key of the operator's that the keyring was not given cannot be minted: it could never be found."""
    await empty.restart(master=None)
    with pytest.raises(ValueError, match="keyring first"):
        await empty.minter.first_master("somebody-forgot-me")
    assert empty.world.rows("SELECT count(*) FROM accounts") == [(0,)]


async def test_a_key_that_is_unknown_to_the_ledger_is_invalid(office: Office) -> None:
    """Reading a key that does not exist anew denies it."""
    with pytest.raises(Denied) as caught:
        await office.keyring.refresh(999)
    assert caught.value.reason == "invalid_key"
