"""Finds out who calls: from a secret to a key, quickly and without ever trusting a stale answer with money.

A secret's checksum is tried first, then a digest in memory, and Argon2id only for a secret not seen since the start.
What is remembered here is who a secret belongs to, never what the account may spend: the hold itself refuses when the
account or an ancestor has changed since (`versions`), and the keyring then reads again.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

import msgspec

from keys import token
from keys.hashing import SecretHasher
from keys.policy import Policy, allows, read_policy
from ledger.ledger import Ledger
from ledger.views import Credential, Node

REMEMBERED_MAX = 100_000  # verified secrets: about 25 MB
KEYS_MAX = 20_000  # keys with their policies: about 40 MB
_OF_OPERATOR = "env_"  # begins the locator of the operator's own master key

Reason = Literal["invalid_key", "key_revoked", "key_disabled", "key_expired"]


class Denied(Exception):
    """The secret opens nothing, or nothing any more. `account_id` is set where it is a known account's."""

    def __init__(self, reason: Reason, account_id: int | None = None) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.account_id = account_id


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as a call sees it.

    Attributes:
        chain: Account ids from the key to its root.
        versions: What the hold must find unchanged.
        policies: The key's own policy, then its ancestors'.
        capped: It or an ancestor has some limit of money.
        any_model, any_provider: Neither it nor an ancestor restricts them.
    """

    account_id: int
    public_id: str
    livemode: bool
    status: str
    chain: tuple[int, ...]
    versions: tuple[tuple[int, int], ...]
    expires_ms: int | None
    policies: tuple[Policy, ...]
    capped: bool
    any_model: bool
    any_provider: bool

    @property
    def policy(self) -> Policy:
        """The key's own policy."""
        return self.policies[0]

    def allows_model(self, model: str, entry: str = "") -> bool:
        """Whether the key and all its ancestors allow the model, by its own id or by its entry in the catalogue."""
        return self.any_model or all(
            allows(policy.allowed_models, model) or (entry and allows(policy.allowed_models, entry))
            for policy in self.policies
        )

    def allows_provider(self, provider: str) -> bool:
        """Whether the key and all its ancestors allow the provider."""
        return self.any_provider or all(allows(policy.allowed_providers, provider) for policy in self.policies)

    def allows_origin(self, origin: str) -> bool:
        """Whether the key and all its ancestors may be used by a page from there."""
        return all(policy.allowed_origins is None or origin in policy.allowed_origins for policy in self.policies)


class _Verified(msgspec.Struct, frozen=True):
    account_id: int
    credential_id: int
    expires_ms: int | None
    version: int  # of the account, when this was so: a rotation raises it


class Keyring:
    """Authenticates secrets. Open it with `open`."""

    def __init__(
        self, ledger: Ledger, hasher: SecretHasher, mac_key: bytes, clock_ms: Callable[[], int], master: str | None
    ) -> None:
        self._ledger = ledger
        self._hasher = hasher
        self._clock_ms = clock_ms
        self._master = master
        self._pepper = secrets.token_bytes(32)  # digests in memory mean nothing outside this process
        self._verified: dict[bytes, _Verified] = {}
        self._verifying: dict[bytes, asyncio.Task[_Verified | None]] = {}
        self._keys: dict[int, Key] = {}
        self.mac_key = mac_key

    @classmethod
    async def open(
        cls, ledger: Ledger, hasher: SecretHasher, *, clock_ms: Callable[[], int], master: str | None = None
    ) -> Keyring:
        """Read the checksum's key from the ledger, or make it. `master` is the operator's own master key, if any."""
        mac_key = bytes.fromhex(await ledger.setting("mac_key", secrets.token_hex(32)))
        return cls(ledger, hasher, mac_key, clock_ms, master)

    def locator(self, secret: str) -> str | None:
        """Where the secret's verifier would be stored; None if it cannot be a secret of ours."""
        parsed = token.parse(secret, self.mac_key)
        if parsed is not None:
            return parsed.locator
        if self._master is not None and hmac.compare_digest(secret.encode(), self._master.encode()):
            # The operator's own master key has no checksum of ours, so its locator is derived from it.
            return _OF_OPERATOR + blake2b(secret.encode(), key=self.mac_key, digest_size=12).hexdigest()
        return None

    def is_ours(self, secret: str) -> bool:
        """Whether it can be a secret of this gateway's, valid or no more."""
        return self.locator(secret) is not None

    async def authenticate(self, secret: str, *, fresh: bool = False) -> Key:
        """The key that a secret opens. With `fresh`, its state is read now, not remembered.

        Raises:
            Denied: It opens nothing.
            Overloaded, LedgerUnavailable: It cannot be verified now.
        """
        digest = blake2b(secret.encode(), key=self._pepper, digest_size=16).digest()
        verified = self._verified.get(digest)
        if verified is None:
            verified = await self._verify(secret, digest)
            if verified is None:
                raise Denied("invalid_key")
        if fresh:
            verified = await self._recheck(secret, digest, verified)
        self._check_secret(verified)
        key = None if fresh else self._keys.get(verified.account_id)
        if key is None or not self._open(key):
            key = await self.refresh(verified.account_id)
            self._check(key)
        if key.versions[0][1] != verified.version:
            # The key has been read anew since, for another secret of it: this one may have ended.
            self._check_secret(await self._recheck(secret, digest, verified))
        return key

    async def resume(self, locator: str) -> Key:
        """The key whose secret has this locator, as it is now: for who has shown the secret before.

        Raises:
            Denied: The secret opens nothing any more.
            LedgerUnavailable: It cannot be known now.
        """
        if locator.startswith(_OF_OPERATOR) and (self._master is None or self.locator(self._master) != locator):
            raise Denied("invalid_key")  # the operator has another master key now
        found = await self._ledger.accounts.credential(locator)
        if found is None:
            raise Denied("invalid_key")
        self._check_secret(_verified(*found))
        key = _key(found[1], self._clock_ms())
        self._check(key)
        return key

    def _check_secret(self, verified: _Verified) -> None:
        if verified.expires_ms is not None and verified.expires_ms <= self._clock_ms():
            raise Denied("invalid_key", verified.account_id)

    def _open(self, key: Key) -> bool:
        return key.status == "active" and (key.expires_ms is None or key.expires_ms > self._clock_ms())

    def _check(self, key: Key) -> None:
        if key.status == "revoked":
            raise Denied("key_revoked", key.account_id)
        if key.status == "disabled":
            raise Denied("key_disabled", key.account_id)
        if key.status == "expired" or (key.expires_ms is not None and key.expires_ms <= self._clock_ms()):
            raise Denied("key_expired", key.account_id)

    async def refresh(self, account_id: int) -> Key:
        """Read a key anew. Raises Denied if there is no such account."""
        nodes = await self._ledger.accounts.chain(account_id)
        if not nodes:
            raise Denied("invalid_key")
        key = _key(nodes, self._clock_ms())
        if len(self._keys) >= KEYS_MAX:
            _drop_oldest(self._keys)
        self._keys[account_id] = key
        return key

    async def _recheck(self, secret: str, digest: bytes, verified: _Verified) -> _Verified:
        locator = self.locator(secret)
        found = await self._ledger.accounts.credential(locator) if locator is not None else None
        if found is None:
            raise Denied("invalid_key", verified.account_id)
        current = _verified(*found)
        self._verified[digest] = current
        return current

    async def _verify(self, secret: str, digest: bytes) -> _Verified | None:
        """Verify a secret once, however many calls bring it at the same time."""
        locator = self.locator(secret)
        if locator is None:
            return None
        task = self._verifying.get(digest)
        if task is None:
            task = asyncio.ensure_future(self._verify_once(secret, digest, locator))
            self._verifying[digest] = task
            task.add_done_callback(lambda _: self._verifying.pop(digest, None))
        return await asyncio.shield(task)

    async def _verify_once(self, secret: str, digest: bytes, locator: str) -> _Verified | None:
        found = await self._ledger.accounts.credential(locator)
        if found is None:
            return None
        credential: Credential = found[0]
        if not await self._hasher.verify(credential.verifier, secret):
            return None
        verified = _verified(*found)
        if len(self._verified) >= REMEMBERED_MAX:
            _drop_oldest(self._verified)
        self._verified[digest] = verified
        return verified


def _verified(credential: Credential, nodes: tuple[Node, ...]) -> _Verified:
    return _Verified(credential.account_id, credential.id, credential.expires_ms, nodes[0].version)


def _key(nodes: tuple[Node, ...], now_ms: int) -> Key:
    expiries = [node.expires_ms for node in nodes if node.expires_ms is not None]
    statuses = [node.status(now_ms) for node in nodes]
    policies = tuple(read_policy(node.profile, node.plan.profile if node.plan else None) for node in nodes)
    return Key(
        account_id=nodes[0].id,
        public_id=nodes[0].public_id,
        livemode=nodes[0].livemode,
        status=next((status for status in statuses if status != "active"), "active"),
        chain=tuple(node.id for node in nodes),
        versions=tuple((each.id, each.version) for node in nodes for each in (node, node.plan) if each is not None),
        expires_ms=min(expiries, default=None),
        policies=policies,
        any_model=all(policy.allowed_models is None for policy in policies),
        any_provider=all(policy.allowed_providers is None for policy in policies),
        capped=any(each.capped for node in nodes for each in (node, node.plan) if each is not None),
    )


def _drop_oldest(remembered: dict[bytes, _Verified] | dict[int, Key]) -> None:
    for key in list(remembered)[: len(remembered) // 4]:
        del remembered[key]  # type: ignore[arg-type]
