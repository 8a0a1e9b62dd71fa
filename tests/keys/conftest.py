"""Fixtures for tests of the keys: a ledger, a hasher that counts, and a master key at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keys.hashing import SecretHasher
from keys.keyring import Key, Keyring
from keys.minting import Minted, Minter
from keys.requests import Mint, Patch
from ledger.records import Ask, Facts, Held, Refused
from tests.ledger.world import PICOS, World, assert_sound, opened

MASTER = "the-operators-own-master-key"


class CountingHasher(SecretHasher):
    """The real hasher, which remembers how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.hashed = 0
        self.verified = 0

    async def hash(self, secret: str) -> str:
        self.hashed += 1
        return await super().hash(secret)

    async def verify(self, verifier: str, secret: str) -> bool:
        self.verified += 1
        return await super().verify(verifier, secret)


class Office:
    """A master key at work."""

    def __init__(self, world: World, hasher: CountingHasher, keyring: Keyring) -> None:
        self.world = world
        self.ledger = world.ledger
        self.clock = world.clock
        self.hasher = hasher
        self.keyring = keyring
        self.minter = Minter(world.ledger, keyring, hasher, world.clock)

    async def restart(self, master: str | None = MASTER) -> None:
        """A new process's memory: nothing is remembered but what the ledger keeps."""
        self.keyring = await Keyring.open(self.ledger, self.hasher, clock_ms=self.clock, master=master)
        self.minter = Minter(self.ledger, self.keyring, self.hasher, self.clock)
        self.hasher.verified = 0

    async def master(self) -> Key:
        return await self.keyring.authenticate(MASTER, fresh=True)

    async def mint(self, parent: str = MASTER, **asked: Any) -> Minted:
        caller = await self.keyring.authenticate(parent, fresh=True)
        return await self.minter.mint(caller, parent, Mint(**asked))

    async def change(self, minted: Minted, **asked: Any) -> None:
        await self.minter.change(await self.master(), minted.account.public_id, Patch(**asked))

    async def call(self, key: Key, micros: int = 1) -> Held | Refused:
        return await self.ledger.calls.hold(
            Ask(
                id=self.world.new_id("c"),
                account_id=key.account_id,
                facts=Facts(),
                owner=self.ledger.owner,
                versions=key.versions,
                fixed_picos=micros * PICOS,
            )
        )


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Office]:
    """A ledger without any key, and an operator who has a master key of their own."""
    async with opened(tmp_path / "farthing.db") as world:
        hasher = CountingHasher()
        yield Office(world, hasher, await Keyring.open(world.ledger, hasher, clock_ms=world.clock, master=MASTER))
        await assert_sound(world.ledger)
        hasher.close()


@pytest.fixture
async def office(empty: Office) -> Office:
    """The same with the first master key minted."""
    assert await empty.minter.first_master(MASTER) is None
    return empty
