"""The routes of the installation as this process knows them, by their names."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.switching.spec import RouteSpec
from ledger.routes import Routes, StoredRoute


class KnownRoutes:
    """One for the process. What others change is known here once `refresh` has looked."""

    def __init__(self, routes: Routes, pooled: Iterable[str] = ()) -> None:
        """`pooled` are the providers for which there is more than one credential."""
        self.pooled = frozenset(pooled)
        self._routes = routes
        self._mark = ""
        self._by_name: dict[str, RouteSpec] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: str) -> RouteSpec | None:
        """The route of this name."""
        return self._by_name.get(name)

    def all(self) -> list[RouteSpec]:
        """All routes."""
        return list(self._by_name.values())

    async def refresh(self) -> None:
        """Take over what has been changed. Raises LedgerUnavailable."""
        if await self._routes.mark() != self._mark:
            self._mark, routes = await self._routes.all()
            self._by_name = {route.name: route_of(route) for route in routes}


def route_of(stored: StoredRoute) -> RouteSpec:
    """What a stored route says."""
    return msgspec.convert({"name": stored.name, **msgspec.json.decode(stored.body)}, RouteSpec)
