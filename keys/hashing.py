"""Argon2id for secrets at rest, away from the event loop and within bounds.

A secret of 256 random bits cannot be guessed at any cost, so the parameters need not slow a guesser down: they are
the least that keeps a stolen database useless, at 0.4 ms a verification, so that a restart with 100,000 keys in use
is not an outage. Each key is verified once per process; the keyring remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

T = TypeVar("T")

THREADS = 2  # argon2 lets go of the GIL; more would starve the event loop's core on a small machine
WAITING_MAX = 1_000  # first calls of distinct keys that may wait for a hash: 1,000 take a quarter of a second


class Overloaded(Exception):
    """Too many keys are being verified for the first time at once; try again in a second."""


class SecretHasher:
    """Hashes and verifies secrets in a small pool of threads."""

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1, hash_len=32, type=Type.ID)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._waiting = 0

    async def hash(self, secret: str) -> str:
        """The verifier to store for a new secret. Raises Overloaded."""
        return await self._run(self._argon2.hash, secret)

    async def verify(self, verifier: str, secret: str) -> bool:
        """Whether the secret is the one that made the verifier. Raises Overloaded."""
        return await self._run(self._verify, verifier, secret)

    def _verify(self, verifier: str, secret: str) -> bool:
        try:
            return self._argon2.verify(verifier, secret)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= WAITING_MAX:
            raise Overloaded
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
