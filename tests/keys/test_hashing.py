"""Argon2id away from the event loop, and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from keys import hashing
from keys.hashing import Overloaded, SecretHasher


@pytest.fixture
def hasher() -> Iterator[SecretHasher]:
    made = SecretHasher()
    yield made
    made.close()


async def test_a_verifier_knows_its_secret_and_no_other(hasher: SecretHasher) -> None:
    """The secret that made a verifier is verified, any other is not."""
    verifier = await hasher.hash("secret")
    assert verifier.startswith("$argon2id$")
    assert "secret" not in verifier
    assert await hasher.verify(verifier, "secret")
    assert not await hasher.verify(verifier, "Secret")
    assert not await hasher.verify(verifier, "")


async def test_the_same_secret_has_many_verifiers(hasher: SecretHasher) -> None:
    """Verifiers are salted: equal secrets cannot be told from them."""
    assert await hasher.hash("secret") != await hasher.hash("secret")


@pytest.mark.parametrize("verifier", ["", "garbage", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"])
async def test_a_broken_verifier_verifies_nothing(hasher: SecretHasher, verifier: str) -> None:
    """A verifier that is none opens nothing, and nothing breaks."""
    assert not await hasher.verify(verifier, "secret")


async def test_what_waits_is_bounded(hasher: SecretHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound callers are told at once to come again, and afterwards all is well."""
    monkeypatch.setattr(hashing, "WAITING_MAX", 5)
    verifier = await hasher.hash("secret")
    results = await asyncio.gather(*(hasher.verify(verifier, "secret") for _ in range(9)), return_exceptions=True)
    assert results.count(True) == 5
    assert sum(isinstance(result, Overloaded) for result in results) == 4
    assert await hasher.verify(verifier, "secret")


async def test_a_cancelled_caller_gives_its_place_back(hasher: SecretHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that leave do not use up the bound."""
    monkeypatch.setattr(hashing, "WAITING_MAX", 2)
    for _ in range(5):
        task = asyncio.create_task(hasher.hash("secret"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await hasher.hash("secret")
