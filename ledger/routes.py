"""Routes: names that stand for one of several targets. All of an installation's, made by its masters.

The ledger keeps what a route says and does not read it. Every change leaves a mark, so that the other gateways of the
installation see, by one look at one row, that theirs are not those of today.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ledger import history, settings
from ledger.access import Access
from ledger.engine import NotDone, Script
from ledger.replays import Origin, made_once
from ledger.views import NotFound

ROUTES_MAX = 1_000
_MARK = "routes"
_COLUMNS = "public_id, name, body, created_ms"


class NameTaken(NotDone):
    """There is a route of this name."""


class TooManyRoutes(NotDone):
    """The installation has as many routes as it may have."""


class StoredRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route as the ledger keeps it. `body` is JSON."""

    public_id: str
    name: str
    body: str
    created_ms: int


class Routes:
    """The routes of the installation."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def make(self, route: StoredRoute, account_id: int, origin: Origin | None) -> tuple[StoredRoute, bool]:
        """Make a route; whether an earlier request did. Raises NameTaken, TooManyRoutes, ReplayMismatch."""

        def script() -> Script[StoredRoute]:
            yield from _free(route.name, None)
            ((number,),) = yield "SELECT COUNT(*) FROM routes", ()
            if number >= ROUTES_MAX:
                raise TooManyRoutes
            yield (
                "INSERT INTO routes (public_id, account_id, name, body, created_ms) VALUES (?, ?, ?, ?, ?)",
                (route.public_id, account_id, route.name, route.body, route.created_ms),
            )
            yield from self._noted("created", account_id, None, route, origin)
            return route

        return await self._once(origin, script)

    async def change(self, route: StoredRoute, account_id: int, origin: Origin | None) -> tuple[StoredRoute, bool]:
        """Put a route in the place of the one with its id. Raises NotFound, NameTaken, ReplayMismatch."""

        def script() -> Script[StoredRoute]:
            before = yield from _view(route.public_id)
            yield from _free(route.name, route.public_id)
            yield "UPDATE routes SET name = ?, body = ? WHERE public_id = ?", (route.name, route.body, route.public_id)
            yield from self._noted("updated", account_id, before, route, origin)
            return route

        return await self._once(origin, script)

    async def remove(self, public_id: str, account_id: int, origin: Origin | None) -> tuple[StoredRoute, bool]:
        """Remove a route. Raises NotFound, ReplayMismatch."""

        def script() -> Script[StoredRoute]:
            before = yield from _view(public_id)
            yield "DELETE FROM routes WHERE public_id = ?", (public_id,)
            yield from self._noted("removed", account_id, before, None, origin)
            return before

        return await self._once(origin, script)

    async def view(self, public_id: str) -> StoredRoute:
        """One route. Raises NotFound."""
        return await self._access.read(lambda: _view(public_id))

    async def page(self, limit: int, starting_after: str | None) -> tuple[list[StoredRoute], bool]:
        """A page of routes, newest first, and whether there are more. Raises NotFound."""

        def script() -> Script[tuple[list[StoredRoute], bool]]:
            if starting_after is not None:
                yield from _view(starting_after)
            rows = yield (
                f"SELECT {_COLUMNS} FROM routes WHERE public_id < ? ORDER BY public_id DESC LIMIT ?",  # noqa: S608
                ("~" if starting_after is None else starting_after, limit + 1),
            )
            return [_route(row) for row in rows[:limit]], len(rows) > limit

        return await self._access.read(script)

    async def all(self) -> tuple[str, list[StoredRoute]]:
        """All routes, and the mark of their last change. Raises LedgerUnavailable."""

        def script() -> Script[tuple[str, list[StoredRoute]]]:
            mark = yield from _mark()
            rows = yield f"SELECT {_COLUMNS} FROM routes ORDER BY id", ()  # noqa: S608 - constants
            return mark, [_route(row) for row in rows]

        return await self._access.read(script)

    async def mark(self) -> str:
        """The mark of the last change; "" if there never was one. Raises LedgerUnavailable."""
        return await self._access.read(_mark)

    async def _once(self, origin: Origin | None, script: Callable[[], Script[StoredRoute]]) -> tuple[StoredRoute, bool]:
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: made_once(origin, now_ms, StoredRoute, script))

    def _noted(
        self, type_: str, account_id: int, before: StoredRoute | None, after: StoredRoute | None, origin: Origin | None
    ) -> Script[None]:
        now_ms = self._access.clock_ms()
        changed = after or before
        assert changed is not None  # noqa: S101 - a change is of something
        yield from settings.turned(_MARK, f"{now_ms}:{changed.public_id}:{type_}")
        was, now = (None if each is None else _shown(each) for each in (before, after))
        yield from history.record(f"route.{type_}", account_id, changed.public_id, was, now, origin, now_ms)


def _shown(route: StoredRoute) -> dict[str, object]:
    said: dict[str, object] = msgspec.json.decode(route.body)
    return {"name": route.name} | said


def _mark() -> Script[str]:
    rows = yield "SELECT value FROM settings WHERE name = ?", (_MARK,)
    return str(rows[0][0]) if rows else ""


def _free(name: str, but: str | None) -> Script[None]:
    rows = yield "SELECT public_id FROM routes WHERE name = ?", (name,)
    if rows and rows[0][0] != but:
        raise NameTaken(name)


def _view(public_id: str) -> Script[StoredRoute]:
    rows = yield f"SELECT {_COLUMNS} FROM routes WHERE public_id = ?", (public_id,)  # noqa: S608 - constants
    if not rows:
        raise NotFound(public_id)
    return _route(rows[0])


def _route(row: tuple[object, ...]) -> StoredRoute:
    return msgspec.convert(dict(zip(StoredRoute.__struct_fields__, row, strict=True)), StoredRoute)
