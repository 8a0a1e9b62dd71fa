"""Whose page the portal shows: addresses that are opened once, and the sessions that they become.

Promises: a token is swapped once, on whatever gateway of the database it is shown; a session whose time is over, whose
key is revoked or whose end user was forgotten is found no more. Nothing here opens anything but by its hash.
"""

from __future__ import annotations

import msgspec

from ledger.access import Access
from ledger.engine import Script
from ledger.lookup import chain
from ledger.replays import Origin, made_once

LIFE_MS = 3600 * 1000
"""How long a session lives from its opening."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What an address leads to. `note` is the caller's own, kept with a repeated request's answer.

    Attributes:
        id_hash: Of its token.
        account_id: The key's.
        subject_id: The end user's, where it is about one; else 0.
        ends_ms: Until when it may be opened.
    """

    id_hash: str
    account_id: int
    subject_id: int = 0
    return_url: str | None = None
    ends_ms: int
    note: str = ""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Whose page somebody looks at: a key's, or one of its end users'."""

    account_id: int
    key_id: str
    subject_id: int
    end_user: str | None
    return_url: str | None


def start(address: Address, now_ms: int) -> Script[Address]:
    """Give out an address; those whose time is over go."""
    yield "DELETE FROM portal_sessions WHERE ends_ms <= ?", (now_ms,)
    yield (
        "INSERT INTO portal_sessions (id_hash, account_id, subject_id, return_url, ends_ms) VALUES (?, ?, ?, ?, ?)",
        (address.id_hash, address.account_id, address.subject_id, address.return_url, address.ends_ms),
    )
    return address


def swap(token_hash: str, session_hash: str, now_ms: int) -> Script[bool]:
    """Let a session stand for an address, once; whether there was one to open."""
    rows = yield (
        "UPDATE portal_sessions SET id_hash = ?, opened_ms = ?, ends_ms = ?"
        " WHERE id_hash = ? AND opened_ms IS NULL AND ends_ms > ? RETURNING account_id",
        (session_hash, now_ms, now_ms + LIFE_MS, token_hash, now_ms),
    )
    return bool(rows)


def find(session_hash: str, now_ms: int) -> Script[Visit | None]:
    """Whose page a session is for; None if it is over."""
    rows = yield (
        "SELECT p.account_id, a.public_id, p.subject_id, s.subject, p.return_url FROM portal_sessions AS p"
        " JOIN accounts AS a ON a.id = p.account_id LEFT JOIN accounts AS s ON s.id = p.subject_id"
        " WHERE p.id_hash = ? AND p.opened_ms IS NOT NULL AND p.ends_ms > ?",
        (session_hash, now_ms),
    )
    if not rows:
        return None
    account_id, key_id, subject_id, end_user, return_url = rows[0]
    nodes = yield from chain(account_id)
    if any(node.revoked_ms is not None for node in nodes) or (subject_id and end_user is None):
        return None
    return Visit(account_id=account_id, key_id=key_id, subject_id=subject_id, end_user=end_user, return_url=return_url)


class Portal:
    """The addresses and sessions of a database."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def start(self, address: Address, origin: Origin | None = None) -> tuple[Address, bool]:
        """Give out an address; or, with an Idempotency-Key, the earlier one, which the second value then says.

        Raises:
            ReplayMismatch: The earlier request was another one.
            LedgerUnavailable: Nothing was given out.
        """
        now_ms = self._access.clock_ms()
        return await self._access.write(
            lambda touched: made_once(origin, now_ms, Address, lambda: start(address, now_ms))
        )

    async def swap(self, token_hash: str, session_hash: str) -> bool:
        """Open an address; False if it was opened before, or is over. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: swap(token_hash, session_hash, now_ms))

    async def find(self, session_hash: str) -> Visit | None:
        """Whose page a session is for; None if it is over. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: find(session_hash, now_ms))
