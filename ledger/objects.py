"""What keys have made at providers, and so whose it is: of tenants who share one provider account.

A file, a stored answer, a batch, a voice belongs to the key that made it; to every other key it is as if it did not
exist. Each script takes the owner's account, so what belongs to somebody else cannot be found by its id. Test objects
and live ones are apart, for a key is one or the other. Knows nothing of what an object is, nor of any provider.

What an operation does to ownership is said in its row (`providers.operations`):

- `makes`: its answer makes objects. They are written here before the client can learn their ids.
- `of`: the path's `{id}` must be the caller's own; `forgets` drops it when the provider has.
- `names`: members of its body that refer to objects, at any depth, must be the caller's own.
- `lists`: it lists the caller's own, page by page out of this table; each is fetched from the provider by its id.

`facts` is for the room that made the object (a file's token bound, a batch's hold); `label` is what a list can be
narrowed by; `due_ms` brings an object to the housework (`due`), one of several gateways at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ledger.access import Access
from ledger.engine import Row, Script
from ledger.rows import marks
from ledger.views import NotFound

SKIPPED_MAX = 10_000  # rows that a list counted by pages may pass over: each costs a step of the index
FORGOTTEN_AT_ONCE = 500  # expired rows that one transaction drops


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a provider's, as the ledger keeps it.

    Attributes:
        kind: As the provider's operations call it: "file", "response", "batch", ….
        id: The provider's own.
        label: A short text that lists can be narrowed by; "" for none.
        facts: Small and without content; for whoever made the object.
        due_ms: When the housework is to look at it; None for never.
        expires_ms: When the provider will have forgotten it; None for never.
    """

    provider: str
    kind: str
    id: str
    account_id: int = 0
    created_ms: int = 0
    label: str = ""
    facts: dict[str, Any] = {}
    due_ms: int | None = None
    expires_ms: int | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which of its objects an owner wants to see, newest first unless `oldest_first`.

    `after` and `before` are ids, in the order of the list; with `before`, the page ends there. `skip` is for providers
    that count pages.
    """

    limit: int
    after: str | None = None
    before: str | None = None
    oldest_first: bool = False
    label: str | None = None
    skip: int = 0


_COLUMNS = "provider, kind, id, account_id, created_ms, label, facts, due_ms, expires_ms"


def own(account_id: int, made: Sequence[Object], now_ms: int) -> Script[list[str]]:
    """Write down that an account has made these objects; the ids among them that are somebody else's already.

    Doing it again changes nothing.
    """
    ((livemode,),) = yield "SELECT livemode FROM accounts WHERE id = ?", (account_id,)
    strange = []
    for each in made:
        rows = yield (
            "INSERT INTO objects (provider, kind, id, livemode, account_id, created_ms, label, facts, due_ms,"
            " expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id, kind, provider, livemode) DO NOTHING"
            " RETURNING account_id",
            (
                each.provider,
                each.kind,
                each.id,
                livemode,
                account_id,
                now_ms,
                each.label,
                msgspec.json.encode(each.facts).decode(),
                each.due_ms,
                each.expires_ms,
            ),
        )
        if not rows:
            rows = yield (
                "SELECT account_id FROM objects WHERE id = ? AND kind = ? AND provider = ? AND livemode = ?",
                (each.id, each.kind, each.provider, livemode),
            )
            if rows[0][0] != account_id:
                strange.append(each.id)
    return strange


def owned(account_id: int, ids: Sequence[str], now_ms: int) -> Script[list[Object]]:
    """Which of these ids are the account's own, of whichever provider and kind. What is somebody else's is not told."""
    rows = yield (
        f"SELECT {_COLUMNS} FROM objects WHERE account_id = ? AND id IN ({marks(ids)})"  # noqa: S608 - constants, marks
        " AND (expires_ms IS NULL OR expires_ms > ?)",
        (account_id, *ids, now_ms),
    )
    return [_object(row) for row in rows]


def taken(account_id: int, ids: Sequence[str]) -> Script[set[tuple[str, str, str]]]:
    """Which of these ids belong to somebody else: `(provider, kind, id)`.

    For kinds of which some objects are everybody's (a provider's own voices): those stand in no row.
    """
    rows = yield (
        "SELECT provider, kind, id FROM objects WHERE account_id <> ?"  # noqa: S608 - constants and marks
        f" AND livemode = (SELECT livemode FROM accounts WHERE id = ?) AND id IN ({marks(ids)})",
        (account_id, account_id, *ids),
    )
    return {(provider, kind, id_) for provider, kind, id_ in rows}


def page(account_id: int, provider: str, kind: str, wanted: Page, now_ms: int) -> Script[tuple[list[Object], bool]]:
    """A page of an account's objects and whether there are more. Raises NotFound for a cursor that is not its own."""
    after = yield from _place(account_id, provider, kind, wanted.after)
    before = yield from _place(account_id, provider, kind, wanted.before)
    older, newer = ("seq < ?", "seq > ?") if not wanted.oldest_first else ("seq > ?", "seq < ?")
    conditions = ["account_id = ?", "provider = ?", "kind = ?", "(expires_ms IS NULL OR expires_ms > ?)"]
    parameters: list[Any] = [account_id, provider, kind, now_ms]
    for condition, value in (
        (older, after),
        (newer, before),
        ("label = ?", wanted.label),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    backwards = before is not None and after is None  # the page that ends at `before` is read from there
    rows = yield (
        f"SELECT {_COLUMNS} FROM objects WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
        f" ORDER BY seq {'ASC' if wanted.oldest_first != backwards else 'DESC'} LIMIT ? OFFSET ?",
        (*parameters, wanted.limit + 1, min(wanted.skip, SKIPPED_MAX)),
    )
    found = [_object(row) for row in rows[: wanted.limit]]
    return found[::-1] if backwards else found, len(rows) > wanted.limit


def _place(account_id: int, provider: str, kind: str, id_: str | None) -> Script[int | None]:
    if id_ is None:
        return None
    rows = yield (
        "SELECT seq FROM objects WHERE id = ? AND kind = ? AND provider = ? AND account_id = ?",
        (id_, kind, provider, account_id),
    )
    if not rows:
        raise NotFound(id_)
    return int(rows[0][0])


def count(account_id: int, provider: str, kind: str, label: str | None) -> Script[int]:
    """How many objects of a kind an account has."""
    narrowed, parameters = ("", ()) if label is None else (" AND label = ?", (label,))
    ((number,),) = yield (
        f"SELECT count(*) FROM objects WHERE account_id = ? AND provider = ? AND kind = ?{narrowed}",  # noqa: S608
        (account_id, provider, kind, *parameters),
    )
    return int(number)


def kept(account_id: int, kinds: Sequence[str], now_ms: int) -> Script[tuple[int, int]]:
    """How many objects of these kinds an account has, and how many bytes they are, as far as that is known."""
    ((number, size),) = yield (
        "SELECT count(*), COALESCE(SUM(json_extract(facts, '$.bytes')), 0) FROM objects"  # noqa: S608 - marks
        f" WHERE account_id = ? AND kind IN ({marks(kinds)}) AND (expires_ms IS NULL OR expires_ms > ?)",
        (account_id, *kinds, now_ms),
    )
    return int(number), int(size)


def forget(account_id: int, provider: str, kind: str, ids: Sequence[str]) -> Script[None]:
    """The provider has these objects no more."""
    yield (
        "DELETE FROM objects WHERE account_id = ? AND provider = ? AND kind = ?"  # noqa: S608 - constants and marks
        f" AND id IN ({marks(ids)})",
        (account_id, provider, kind, *ids),
    )


def note(account_id: int, changed: Object) -> Script[None]:
    """Put an own object's facts and the time of its next housework in place of what stood there."""
    yield (
        "UPDATE objects SET facts = ?, due_ms = ? WHERE account_id = ? AND provider = ? AND kind = ? AND id = ?",
        (
            msgspec.json.encode(changed.facts).decode(),
            changed.due_ms,
            account_id,
            changed.provider,
            changed.kind,
            changed.id,
        ),
    )


def hasten(account_id: int, provider: str, kind: str, ids: Sequence[str], now_ms: int) -> Script[bool]:
    """Bring the housework on own objects forward to now; False if none is waited for."""
    rows = yield (
        "UPDATE objects SET due_ms = ? WHERE account_id = ? AND provider = ? AND kind = ?"  # noqa: S608 - and marks
        f" AND id IN ({marks(ids)}) AND due_ms > ? RETURNING seq",
        (now_ms, account_id, provider, kind, *ids, now_ms),
    )
    return bool(rows)


def any_due(now_ms: int) -> Script[bool]:
    """Whether there is any housework."""
    rows = yield "SELECT 1 FROM objects WHERE due_ms IS NOT NULL AND due_ms <= ? LIMIT 1", (now_ms,)
    return bool(rows)


def due(now_ms: int, again_ms: int, limit: int) -> Script[list[tuple[Object, bool]]]:
    """Objects for which it is time, each with whether it is live; they become due again at `again_ms`.

    So of several gateways one takes each, and if that one dies another does later. For the housework only: it acts
    for every owner.
    """
    rows = yield (
        "UPDATE objects SET due_ms = ? WHERE seq IN"  # noqa: S608 - constants
        " (SELECT seq FROM objects WHERE due_ms IS NOT NULL AND due_ms <= ? ORDER BY due_ms LIMIT ?)"
        f" RETURNING {_COLUMNS}, livemode",
        (again_ms, now_ms, limit),
    )
    return [(_object(row[:-1]), bool(row[-1])) for row in rows]


def any_expired(now_ms: int) -> Script[bool]:
    """Whether there is anything to drop."""
    rows = yield "SELECT 1 FROM objects WHERE expires_ms IS NOT NULL AND expires_ms <= ? LIMIT 1", (now_ms,)
    return bool(rows)


def expire(now_ms: int) -> Script[int]:
    """Drop what its provider has forgotten, a batch at a time; how many there were."""
    rows = yield (
        "DELETE FROM objects WHERE seq IN"
        " (SELECT seq FROM objects WHERE expires_ms IS NOT NULL AND expires_ms <= ? LIMIT ?) RETURNING seq",
        (now_ms, FORGOTTEN_AT_ONCE),
    )
    return len(rows)


def _object(row: Row) -> Object:
    values = dict(zip(Object.__struct_fields__, row, strict=True))
    values["facts"] = msgspec.json.decode(values["facts"])
    return Object(**values)


class Objects:
    """What providers keep for accounts."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def own(self, account_id: int, made: Sequence[Object]) -> list[str]:
        """Write down, durably, that an account has made objects; the ids that are somebody else's already."""
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: own(account_id, made, now_ms))

    async def owned(self, account_id: int, ids: Sequence[str]) -> list[Object]:
        """Which of these ids are the account's own."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: owned(account_id, ids, now_ms))

    async def taken(self, account_id: int, ids: Sequence[str]) -> set[tuple[str, str, str]]:
        """Which of these ids belong to somebody else: `(provider, kind, id)`."""
        return await self._access.read(lambda: taken(account_id, ids))

    async def page(self, account_id: int, provider: str, kind: str, wanted: Page) -> tuple[list[Object], bool]:
        """A page of an account's objects and whether there are more. Raises NotFound for a strange cursor."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: page(account_id, provider, kind, wanted, now_ms), long=True)

    async def count(self, account_id: int, provider: str, kind: str, label: str | None) -> int:
        """How many objects of a kind an account has."""
        return await self._access.read(lambda: count(account_id, provider, kind, label))

    async def kept(self, account_id: int, kinds: Sequence[str]) -> tuple[int, int]:
        """How many objects of these kinds an account has, and how many bytes they are, as far as that is known."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: kept(account_id, kinds, now_ms))

    async def forget(self, account_id: int, provider: str, kind: str, ids: Sequence[str]) -> None:
        """The provider has these objects no more."""
        await self._access.write(lambda touched: forget(account_id, provider, kind, ids))

    async def note(self, account_id: int, changed: Object) -> None:
        """Put an own object's facts and the time of its next housework in place of what stood there."""
        await self._access.write(lambda touched: note(account_id, changed))

    async def hasten(self, account_id: int, provider: str, kind: str, ids: Sequence[str]) -> bool:
        """Bring the housework on own objects forward to now; False if none is waited for."""
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: hasten(account_id, provider, kind, ids, now_ms))

    async def due(self, again_ms: int, limit: int) -> list[tuple[Object, bool]]:
        """Objects for which it is time, each with whether it is live; due again at `again_ms`, whoever took them."""
        now_ms = self._access.clock_ms()
        if not await self._access.read(lambda: any_due(now_ms)):
            return []  # a look costs nothing, a transaction does
        return await self._access.write(lambda touched: due(now_ms, again_ms, limit))

    async def expire(self) -> int:
        """Drop objects that their providers have forgotten, a batch at a time; how many there were."""
        now_ms = self._access.clock_ms()
        if not await self._access.read(lambda: any_expired(now_ms)):
            return 0  # a look costs nothing, a transaction does
        return await self._access.write(lambda touched: expire(now_ms))
