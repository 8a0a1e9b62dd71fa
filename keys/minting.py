"""Minting, changing, rotating and revoking keys under a caller's own.

A child can never have more than its parent: cap, scope, models, providers, life. A secret is made here, handed out
once and forgotten; what is stored is its Argon2id verifier. Knows nothing of HTTP.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from keys import token
from keys.hashing import SecretHasher
from keys.ids import new_id
from keys.keyring import Key, Keyring
from keys.limits import (
    ANY_NAMES,
    Exceeds,
    F,
    Invalid,
    Names,
    cap_of,
    changed_marks,
    limits_of,
    named,
    new_marks,
    window_of,
    within,
)
from keys.policy import Policy, exceeds, read_policy
from keys.requests import Fields, Mint, Patch, profile_of
from ledger.changes import Credit, Edit, NewAccount
from ledger.ledger import Ledger
from ledger.money import MICROS_MAX, MICROS_PER_USD
from ledger.replays import Answer, Origin, ReplayMismatch
from ledger.views import AccountView, Credential

OVERLAP_S_MAX = 30 * 24 * 3600
_SECONDS = range(10**9, 10**11)  # what is a moment of our time in seconds, and no moment that anybody means in ms


class ScopeRefused(Exception):
    """The caller's scope does not allow what it asks for."""


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """A key and its secret, which nobody will ever see again."""

    account: AccountView
    secret: str
    replayed: bool


class Minter:
    """What a caller may do with the keys under its own."""

    def __init__(
        self,
        ledger: Ledger,
        keyring: Keyring,
        hasher: SecretHasher,
        clock_ms: Callable[[], int],
        names: Names = ANY_NAMES,
    ) -> None:
        self._names = names
        self._ledger = ledger
        self._keyring = keyring
        self._hasher = hasher
        self._clock_ms = clock_ms

    async def first_master(self, secret: str | None) -> str | None:
        """On an empty ledger, mint the first master key, with the operator's own secret if there is one.

        Returns the secret to print, if this call minted it; None if there was a master key, or the operator knows it.
        """
        if await self._ledger.accounts.root() is not None:
            return None
        now_ms = self._clock_ms()
        made = None
        if secret is None:
            made = token.make(True, token.new_locator(), secrets.token_bytes(32), self._keyring.mac_key)
        locator = made.locator if made is not None else self._keyring.locator(secret or "")
        if locator is None:
            raise ValueError("the master key must be given to the keyring first")
        new = NewAccount(
            public_id=new_id("key", now_ms),
            parent_id=None,
            kind="key",
            livemode=True,
            created_ms=now_ms,
            balance_id=new_id("lim", now_ms),
            profile=msgspec.to_builtins(Policy(name="master", scope="master")),
            credential=await self._credential(made.secret if made is not None else secret or "", locator),
        )
        if await self._ledger.accounts.open_first(new) is None:
            return None  # another gateway was quicker
        return made.secret if made is not None else None

    async def mint(self, caller: Key, caller_secret: str, asked: Mint, origin: Origin | None = None) -> Minted:
        """Mint a key under the caller's.

        With an Idempotency-Key, the secret is derived from the caller's own and a stored nonce, so that the same
        request gets the same secret again although nothing at rest could tell it.

        Raises:
            ScopeRefused, Invalid, Exceeds: The caller may not, or the request cannot be.
            Closed, TooDeep, ReplayMismatch, LedgerUnavailable, Overloaded: See there.
        """
        if not caller.policy.may_manage:
            raise ScopeRefused(f"a {caller.policy.scope} key cannot mint keys")
        if not caller.policy.may_mint(asked.scope):
            raise Exceeds("scope", f"a {caller.policy.scope} key cannot mint a {asked.scope} key")
        if asked.livemode and not caller.livemode:
            raise Exceeds("livemode", "a test key can mint test keys only")
        parent = await self._ledger.accounts.get(caller.account_id, caller.public_id)
        cap_micros = cap_of(asked)
        unpriced = asked.unpriced == "allow"
        asked = self._named(asked, unpriced=unpriced)
        self._check(asked, parent, caller.policies, cap_micros)
        now_ms = self._clock_ms()
        if isinstance(asked.expires_at_ms, int) and asked.expires_at_ms <= now_ms:
            raise Invalid("expires_at_ms", "must be in the future, in milliseconds: the key would be dead")
        locator, nonce = token.new_locator(), secrets.token_hex(32)
        made = self._derive(caller_secret, locator, nonce, asked.livemode)
        if origin is not None:
            origin = msgspec.structs.replace(origin, note=f"{locator}:{nonce}")
        new = NewAccount(
            public_id=new_id("key", now_ms),
            parent_id=caller.account_id,
            kind="key",
            livemode=asked.livemode,
            created_ms=now_ms,
            balance_id=new_id("lim", now_ms),
            cap_micros=cap_micros,
            reset=window_of(asked.reset),
            plan=asked.plan or None,
            alert_at=new_marks(asked.alert_at),
            stripe_customer_id=asked.stripe_customer_id or None,
            limits=None
            if asked.limits is UNSET
            else limits_of(asked.limits or [], now_ms, names=self._names, unpriced=unpriced),
            expires_ms=None if asked.expires_at_ms is UNSET else asked.expires_at_ms,
            profile={"scope": asked.scope} | profile_of(asked),
            credential=await self._credential(made.secret, made.locator),
        )
        answer = await self._ledger.accounts.open(new, origin)
        if answer.replayed:
            made = self._again(caller_secret, answer)
        return Minted(account=answer.account, secret=made.secret, replayed=answer.replayed)

    async def change(
        self, caller: Key, public_id: str, asked: Patch, origin: Origin | None = None
    ) -> tuple[AccountView, bool]:
        """Change a key; in force on its next call. The second value says whether this is a replay.

        Raises:
            ScopeRefused, Invalid, Exceeds, NotFound, ReplayMismatch, LedgerUnavailable: See there.
        """
        self._not_itself(caller, public_id)
        if isinstance(asked.expires_at_ms, int) and asked.expires_at_ms in _SECONDS:
            raise Invalid("expires_at_ms", "must be in milliseconds: this would be a moment long ago")
        current = await self._ledger.accounts.get(caller.account_id, public_id)
        cap_micros = cap_of(asked)
        unpriced = (current.profile.get("unpriced") if asked.unpriced is UNSET else asked.unpriced) == "allow"
        asked = self._named(asked, unpriced=unpriced, stored=current.profile)
        parent, policies = await self._parents(caller, current)
        self._check(asked, parent, policies, cap_micros)
        edit = Edit(
            disabled=asked.disabled,
            expires_ms=asked.expires_at_ms,
            cap_micros=cap_micros,
            reset=window_of(asked.reset),
            limits=UNSET
            if asked.limits is UNSET
            else limits_of(asked.limits or [], self._clock_ms(), current, names=self._names, unpriced=unpriced),
            plan=asked.plan,
            alert_at=changed_marks(asked.alert_at),
            stripe_customer_id=asked.stripe_customer_id,
            profile=profile_of(asked),
            merge=("metadata",),
        )
        answer = await self._ledger.accounts.edit(caller.account_id, public_id, edit, origin=origin)
        return answer.account, answer.replayed

    async def credit(
        self, caller: Key, public_id: str, new: Credit, origin: Origin | None = None
    ) -> tuple[AccountView, bool]:
        """Raise a key's cap, on the record, up to its parent's.

        Raises:
            ScopeRefused, Exceeds, NotFound, Uncapped, ReplayMismatch, LedgerUnavailable: See there.
        """
        self._not_itself(caller, public_id)
        current = await self._ledger.accounts.get(caller.account_id, public_id)
        parent, _ = await self._parents(caller, current)
        if current.cap.max is not None:
            if current.cap.max + new.amount_micros > MICROS_MAX:
                raise Invalid("amount_usd", f"a cap is at most {MICROS_MAX // MICROS_PER_USD} dollars")
            within(current.cap.max + new.amount_micros, parent, "amount_usd")
        answer = await self._ledger.accounts.credit(caller.account_id, public_id, new, origin=origin)
        return answer.account, answer.replayed

    async def revoke(self, caller: Key, public_id: str, origin: Origin | None = None) -> tuple[AccountView, bool]:
        """Revoke a key and all under it, for ever. Raises ScopeRefused, NotFound, LedgerUnavailable."""
        self._not_itself(caller, public_id)
        answer = await self._ledger.accounts.revoke(caller.account_id, public_id, origin=origin)
        return answer.account, answer.replayed

    async def rotate(
        self, caller: Key, caller_secret: str, public_id: str, overlap_s: int, origin: Origin | None = None
    ) -> Minted:
        """Give a key a new secret. The old one lives on for `overlap_s` seconds; the id never changes.

        Raises:
            ScopeRefused, NotFound, Closed, ReplayMismatch, Overloaded, LedgerUnavailable: See there.
        """
        if not caller.policy.may_manage:
            raise ScopeRefused(f"a {caller.policy.scope} key cannot rotate keys")
        if public_id == caller.public_id and caller.policy.scope != "master":
            raise ScopeRefused("a key cannot give itself a new secret: its parent can")
        current = await self._ledger.accounts.get(caller.account_id, public_id)
        locator, nonce = token.new_locator(), secrets.token_hex(32)
        made = self._derive(caller_secret, locator, nonce, current.livemode)
        if origin is not None:
            origin = msgspec.structs.replace(origin, note=f"{locator}:{nonce}")
        answer = await self._ledger.accounts.rotate(
            caller.account_id,
            public_id,
            await self._credential(made.secret, made.locator),
            old_until_ms=self._clock_ms() + overlap_s * 1000,
            origin=origin,
        )
        if answer.replayed:
            made = self._again(caller_secret, answer)
        return Minted(account=answer.account, secret=made.secret, replayed=answer.replayed)

    def _derive(self, caller_secret: str, locator: str, nonce: str, livemode: bool) -> token.Token:
        """A secret that only somebody with the caller's secret can make from the nonce."""
        key = blake2b(caller_secret.encode(), digest_size=64).digest()
        entropy = blake2b(f"{locator}:{nonce}".encode(), key=key, digest_size=32, person=b"farthing-mint").digest()
        return token.make(livemode, locator, entropy, self._keyring.mac_key)

    def _again(self, caller_secret: str, answer: Answer) -> token.Token:
        """The secret of an earlier answer. Raises ReplayMismatch if the caller's own was another then: it is lost."""
        locator, _, nonce = answer.note.partition(":")
        made = self._derive(caller_secret, locator, nonce, answer.account.livemode)
        if made.secret[-4:] != answer.account.last4:
            raise ReplayMismatch
        return made

    async def _credential(self, secret: str, locator: str) -> Credential:
        return Credential(locator=locator, verifier=await self._hasher.hash(secret), last4=secret[-4:])

    def _named(self, asked: F, *, unpriced: bool, stored: Mapping[str, Any] = {}) -> F:
        """What is asked, with its lists in the words of the catalogue. Raises Invalid."""
        return named(asked, self._names, unpriced=unpriced, stored=stored)

    def _not_itself(self, caller: Key, public_id: str) -> None:
        if not caller.policy.may_manage:
            raise ScopeRefused(f"a {caller.policy.scope} key cannot change keys")
        if public_id == caller.public_id:
            raise ScopeRefused("a key cannot change, raise or revoke itself")

    async def _parents(self, caller: Key, current: AccountView) -> tuple[AccountView, tuple[Policy, ...]]:
        """The parent of a key under the caller, and the policies of all its ancestors."""
        parent = await self._ledger.accounts.get(caller.account_id, current.parent_public_id or "")
        nodes = await self._ledger.accounts.chain(parent.id)
        return parent, tuple(read_policy(node.profile, node.plan.profile if node.plan else None) for node in nodes)

    def _check(
        self,
        asked: Fields,
        parent: AccountView,
        policies: tuple[Policy, ...],
        cap_micros: int | None | UnsetType,
    ) -> None:
        """Refuse what would be more than the parent has. What is absent or null is no limit of its own."""
        within(cap_micros, parent)
        if isinstance(asked.expires_at_ms, int) and parent.end_ms is not None and parent.end_ms < asked.expires_at_ms:
            raise Exceeds("expires_at_ms", "a key cannot outlive its parent")
        for param, patterns in (
            ("allowed_models", [policy.allowed_models for policy in policies]),
            ("allowed_providers", [policy.allowed_providers for policy in policies]),
            ("allowed_origins", [policy.allowed_origins for policy in policies]),
        ):
            wanted = getattr(asked, param)
            entry = self._entry if param == "allowed_models" else None
            if wanted is not UNSET and (pattern := exceeds(wanted, patterns, entry)) is not None:
                raise Exceeds(param, f"its parent does not allow {pattern!r}")

    def _entry(self, model: str) -> str:
        return self._names.model(model, None) or model
