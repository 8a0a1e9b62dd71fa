"""Runs of pipelines: accounts under the key that runs them, named by their own ids, each with a cap of its own.

Promises: a run's cap binds every call of the run in the statement that holds its money, on whichever gateway it is
made; a run that is closed lets no call through; what was paused goes on once. Nothing of what a run works on is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ledger import changes, replays
from ledger.access import Access, nothing
from ledger.engine import Script
from ledger.lookup import find
from ledger.replays import Origin
from ledger.rows import marks
from ledger.views import NotFound

_OF_KEY = "parent_id = ? AND kind = 'run' AND public_id = ? AND subject = public_id"


class Charge(NamedTuple):
    """What a call of a run came to."""

    provider: str
    model: str
    status: str
    usage: dict[str, Any]
    cost_micros: int


def open_run(key_id: int, run_id: str, balance_id: str, cap_micros: int | None, now_ms: int) -> Script[str]:
    """Open a run's account. Raises NotFound, TooManySubjects."""
    # Its budget is its maker's own business: nobody is told when a part of it is used.
    yield from changes.open_subject(
        key_id, "run", run_id, run_id, balance_id, now_ms, cap_micros=cap_micros, alert_at=()
    )
    return run_id


def pause(key_id: int, run_id: str) -> Script[int | None]:
    """The number with which a run can go on from here; None if it is closed."""
    rows = yield f"SELECT version FROM accounts WHERE {_OF_KEY} AND disabled = 0", (key_id, run_id)  # noqa: S608
    return int(rows[0][0]) if rows else None


def resume(key_id: int, run_id: str, number: int, touched: set[int]) -> Script[bool]:
    """Go on with a run from where it was paused, once; False if somebody has, or it is closed."""
    rows = yield (
        f"UPDATE accounts SET version = version + 1 WHERE {_OF_KEY} AND disabled = 0 AND version = ? RETURNING id",  # noqa: S608
        (key_id, run_id, number),
    )
    touched.update(int(row[0]) for row in rows)
    return bool(rows)


def close(owner_id: int, run_id: str, touched: set[int]) -> Script[int]:
    """Close a run of the owner's subtree; what it has spent. Raises NotFound: there is none, or it is closed."""
    account_id = yield from find(owner_id, run_id, "run")
    rows = yield (
        "UPDATE accounts SET disabled = 1, version = version + 1 WHERE id = ? AND disabled = 0"
        " AND subject = public_id RETURNING spent_micros",
        (account_id,),
    )
    if not rows:
        raise NotFound(run_id)
    touched.add(account_id)
    return int(rows[0][0])


def closed(run_ids: tuple[str, ...]) -> Script[list[str]]:
    """Those of these runs that are closed."""
    rows = yield (
        f"SELECT public_id FROM accounts WHERE public_id IN ({marks(run_ids)}) AND disabled = 1",  # noqa: S608 - marks
        run_ids,
    )
    return [str(row[0]) for row in rows]


def spent(run_id: str) -> Script[int]:
    """The sum of what a run's calls were charged."""
    rows = yield "SELECT spent_micros FROM accounts WHERE public_id = ? AND kind = 'run'", (run_id,)
    return int(rows[0][0]) if rows else 0


def charge(call_id: str) -> Script[Charge | None]:
    """What a call came to; None if it has no event."""
    rows = yield "SELECT provider, model, status, usage, cost_micros FROM events WHERE id = ?", (call_id,)
    if not rows:
        return None
    provider, model, status, usage, cost_micros = rows[0]
    return Charge(provider, model, status, msgspec.json.decode(usage), int(cost_micros))


class Runs:
    """The runs of a database. Its methods raise LedgerUnavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def open(
        self, key_id: int, run_id: str, balance_id: str, cap_micros: int | None, origin: Origin | None = None
    ) -> tuple[str, bool]:
        """Open a run: its id, and whether an earlier request with the same Idempotency-Key has opened it.

        Raises:
            NotFound, TooManySubjects, ReplayMismatch: See the scripts.
        """
        now_ms = self._access.clock_ms()
        return await self._access.write(
            lambda touched: replays.made_once(
                origin, now_ms, str, lambda: open_run(key_id, run_id, balance_id, cap_micros, now_ms)
            )
        )

    async def pause(self, key_id: int, run_id: str) -> int | None:
        """The number with which a run can go on from here; None if it is closed."""
        return await self._access.read(lambda: pause(key_id, run_id))

    async def resume(self, key_id: int, run_id: str, number: int) -> bool:
        """Go on with a run from where it was paused, once; False if somebody has, or it is closed."""
        return await self._access.write(lambda touched: resume(key_id, run_id, number, touched))

    async def close(self, owner_id: int, run_id: str) -> int:
        """Let no more calls of a run through; what it has spent. Raises NotFound: there is none, or it is closed."""
        return await self._access.write(lambda touched: close(owner_id, run_id, touched))

    async def closed(self, run_ids: tuple[str, ...]) -> list[str]:
        """Those of these runs that are closed, by whichever process."""
        return await self._access.read(lambda: closed(run_ids)) if run_ids else []

    async def spent_micros(self, run_id: str) -> int:
        """The sum of what a run's calls were charged, those included whose settlement waits to be written."""
        await self._access.write(lambda touched: nothing(), alone=False)
        return await self._access.read(lambda: spent(run_id))

    async def charge(self, call_id: str) -> Charge | None:
        """What a call came to whose settlement was handed over; None if it has no event."""
        await self._access.write(lambda touched: nothing(), alone=False)
        return await self._access.read(lambda: charge(call_id))
