"""The accounts of end users and of runs under a key: found, or opened with their first hold. Then remembered."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.options import Options
from keys.ids import new_id
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.records import UNSEEN

REMEMBERED_MAX = 50_000


class Subjects:
    """One for the process. Its methods raise LedgerUnavailable and TooManySubjects."""

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._remembered: dict[tuple[int, str, str], int] = {}

    async def known(self, key: Key, kind: str, subject: str | None) -> int:
        """The account of an end user or a run; 0 for none; `UNSEEN` where it is not opened yet."""
        if subject is None:
            return 0
        found = self._remembered.get((key.account_id, kind, subject))
        if found is None:
            found = await self._ledger.accounts.subject_id(key.account_id, kind, subject)
            if not found:
                return UNSEEN
            self._remember(key, kind, subject, found)
        return found

    async def opened(self, key: Key, kind: str, subject: str | None) -> int:
        """The same, opened now if need be."""
        found = await self.known(key, kind, subject)
        if found == UNSEEN:
            assert subject is not None  # noqa: S101 - nobody is no stranger
            now_ms = self._clock_ms()
            prefix = "eu" if kind == "end_user" else "run"
            found = await self._ledger.accounts.open_subject(
                key.account_id, kind, subject, public_id=new_id(prefix, now_ms), balance_id=new_id("lim", now_ms)
            )
            self._remember(key, kind, subject, found)
        return found

    def forget(self, key: Key, options: Options) -> None:
        """An end user may have been forgotten meanwhile; the next look opens it anew."""
        self._remembered.pop((key.account_id, "end_user", options.end_user or ""), None)
        self._remembered.pop((key.account_id, "run", options.run or ""), None)

    def _remember(self, key: Key, kind: str, subject: str, account_id: int) -> None:
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key.account_id, kind, subject] = account_id
