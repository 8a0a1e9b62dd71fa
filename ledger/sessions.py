"""Who is signed in: sessions by the hash of their ids, each with the locator of the secret that opened it.

Promises: a session that has been idle for too long, is too old or was ended is found no more, on any gateway of the
database. Whether its secret still opens anything is not known here.
"""

from __future__ import annotations

from ledger.access import Access
from ledger.engine import Script

IDLE_MS = 12 * 3600 * 1000
LIFE_MS = 7 * 24 * 3600 * 1000
SEEN_EVERY_MS = 60_000  # a look at a page writes nothing more often than this


def start(id_hash: str, locator: str, now_ms: int) -> Script[None]:
    """Begin a session; those that are over go."""
    yield "DELETE FROM sessions WHERE seen_ms <= ? OR created_ms <= ?", (now_ms - IDLE_MS, now_ms - LIFE_MS)
    yield (
        "INSERT INTO sessions (id_hash, locator, created_ms, seen_ms) VALUES (?, ?, ?, ?)",
        (id_hash, locator, now_ms, now_ms),
    )


def find(id_hash: str, now_ms: int) -> Script[tuple[str, bool] | None]:
    """The locator of a session's secret, and whether it is time to note that it was seen; None if it is over."""
    rows = yield (
        "SELECT locator, seen_ms FROM sessions WHERE id_hash = ? AND seen_ms > ? AND created_ms > ?",
        (id_hash, now_ms - IDLE_MS, now_ms - LIFE_MS),
    )
    return (str(rows[0][0]), rows[0][1] + SEEN_EVERY_MS <= now_ms) if rows else None


def see(id_hash: str, now_ms: int) -> Script[None]:
    """Note that a session was seen."""
    yield "UPDATE sessions SET seen_ms = ? WHERE id_hash = ?", (now_ms, id_hash)


def end(id_hash: str) -> Script[None]:
    """End a session, if there is one."""
    yield "DELETE FROM sessions WHERE id_hash = ?", (id_hash,)


class Sessions:
    """The sessions of a database."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def start(self, id_hash: str, locator: str) -> None:
        """Begin a session. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        await self._access.write(lambda touched: start(id_hash, locator, now_ms))

    async def find(self, id_hash: str) -> str | None:
        """The locator of a session's secret; None if the session is over. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        found = await self._access.read(lambda: find(id_hash, now_ms))
        if found is None:
            return None
        locator, is_stale = found
        if is_stale:
            await self._access.write(lambda touched: see(id_hash, now_ms), alone=False)
        return locator

    async def end(self, id_hash: str) -> None:
        """End a session. Raises LedgerUnavailable."""
        await self._access.write(lambda touched: end(id_hash))
