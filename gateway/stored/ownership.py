"""Ownership, which keeps tenants apart: whose object a call may name, and whose the ones are that it makes.

All keys share one account at each provider, so a provider cannot tell them apart; this does. Promises: what is not the
caller's own is answered as the provider answers an id that it does not know, the same for an id of another key and for
one that nobody has, after the same look; neither reaches the provider. A new object has its owner, durably, before the
client learns its id. Knows nothing of prices or holds.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.problems import CallError
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.objects import Object
from ledger.records import LedgerUnavailable
from providers.contract.shapes import Reference
from providers.routing import Route
from providers.stored.objects import Made, Makes, Refers, StreamMakes, made_in_body, made_in_head, missing

_log = logging.getLogger("farthing.call")


class Ownership:
    """Whose objects are whose. One for the process."""

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms

    async def homes(self, key: Key, route: Route) -> set[tuple[str, str]]:
        """Provider and kind of the caller's own objects with the path's id. Raises LedgerUnavailable."""
        if not route.operation.of:
            return set()
        return {(each.provider, each.kind) for each in await self._own(key, [route.params["id"]])}

    async def check(
        self, key: Key, route: Route, named: Sequence[Reference], certain: Callable[[], Awaitable[Sequence[Reference]]]
    ) -> list[Object]:
        """The caller's own objects that a call names, all of them: one look, whatever it finds.

        `named` is what its body may name, and `certain` what it names beyond doubt, which takes longer to know.

        Raises:
            CallError: It names an object that is not the caller's.
            LedgerUnavailable: See the ledger.
        """
        operation, provider = route.operation, route.provider
        if not named and not operation.of:
            return []
        id_ = route.params["id"] if operation.of else ""
        own = await self._own(key, [*([id_] if id_ else []), *(each.id for each in named)])
        own = [each for each in own if each.provider == provider]
        if id_ and not (await self._everybodys(key, route) if operation.everybodys else _among(own, operation.of, id_)):
            raise CallError(404, "not_found", missing(provider, operation.of, id_), param="id")
        if not all(_among(own, each.kind, each.id) for each in named):
            _refuse(route, own, await certain())
        return own

    async def check_all(self, key: Key, route: Route, references: Sequence[Reference]) -> None:
        """The same for references that no member's name tells. Raises CallError and LedgerUnavailable."""
        own = await self._own(key, [each.id for each in references])
        _refuse(route, [each for each in own if each.provider == route.provider], references)

    async def _everybodys(self, key: Key, route: Route) -> bool:
        """Whether the path's id is the caller's own or one that nobody here has made."""
        id_ = route.params["id"]
        return (route.provider, route.operation.of, id_) not in await self._ledger.objects.taken(key.account_id, [id_])

    async def _own(self, key: Key, ids: Sequence[str]) -> list[Object]:
        return await self._ledger.objects.owned(key.account_id, list(dict.fromkeys(ids)))

    def makings(self, key: Key, route: Route, makes: Sequence[Makes]) -> Makings | None:
        """What a call's answer makes, to be written down as it comes; None for nothing."""
        return Makings(self, key, route, makes) if makes else None

    async def own(self, key: Key, provider: str, made: Sequence[Made], due_ms: int | None = None) -> bool:
        """Write down that these objects are the key's, durably; False if one is another's. Raises LedgerUnavailable."""
        now_ms = self._clock_ms()
        objects = [
            Object(
                provider=provider,
                kind=each.kind,
                id=each.id,
                label=each.label,
                facts=each.facts,
                due_ms=due_ms,
                expires_ms=None if each.keep_s is None else now_ms + each.keep_s * 1000,
            )
            for each in made
        ]
        return not await self._ledger.objects.own(key.account_id, objects)

    async def answered(self, key: Key, route: Route, status: int) -> None:
        """Forget the object that the provider has deleted, or says it does not have."""
        operation = route.operation
        if operation.forgets and (200 <= status < 300 or status == 404):
            try:
                await self._ledger.objects.forget(key.account_id, route.provider, operation.of, [route.params["id"]])
            except LedgerUnavailable:
                _log.warning("a deleted object is still on the books")  # its owner sees the provider's own 404


class Makings:
    """What one answer makes."""

    def __init__(self, ownership: Ownership, key: Key, route: Route, makes: Sequence[Makes]) -> None:
        self._ownership = ownership
        self._key = key
        self._route = route
        self._makes = makes

    def stream(self) -> StreamMakes:
        """Finds them in a stream of events."""
        return StreamMakes(self._makes)

    async def in_head(self, headers: Mapping[str, str]) -> CallError | None:
        """See `keep`, for ids that stand in the answer's headers."""
        return await self.keep(made_in_head(self._makes, headers))

    async def in_body(self, body: bytes, facts: Mapping[str, Any]) -> CallError | None:
        """See `keep`, for ids that stand in a JSON answer; `facts` are known of them from the request."""
        return await self.keep(self._in_body(body, facts))

    async def batch(self, body: bytes, facts: Mapping[str, Any], due_ms: int) -> bool:
        """Whether the batch in a JSON answer has been written down, with what is needed to settle it."""
        made = self._in_body(body, facts)
        if not made:
            return False
        try:
            return await self._ownership.own(self._key, self._route.provider, made, due_ms)
        except LedgerUnavailable:
            return False

    def _in_body(self, body: bytes, facts: Mapping[str, Any]) -> list[Made]:
        found = made_in_body(self._makes, body)
        if facts:
            found = [msgspec.structs.replace(each, facts=each.facts | dict(facts)) for each in found]
        return found

    async def keep(self, made: Sequence[Made]) -> CallError | None:
        """Write down whose they are, durably; or why the client must not have the answer.

        Without the ledger an answer that was paid for is passed on all the same: its object is then nobody's.
        """
        if not made:
            return None
        try:
            if await self._ownership.own(self._key, self._route.provider, made):
                return None
        except LedgerUnavailable:
            _log.error("an object has no owner", extra={"provider": self._route.provider, "kind": made[0].kind})
            if self._route.operation.billable:
                return None
            return CallError(503, "ledger_unavailable", "The ledger does not answer, so the object is not yours.")
        return CallError(502, "upstream_error", "The provider answered with an object that is not the caller's.")


def _among(own: Iterable[Object], kind: str, id_: str) -> bool:
    return any(each.kind == kind and each.id == id_ for each in own)


def _refuse(route: Route, own: Sequence[Object], references: Iterable[Reference]) -> None:
    for each in references:
        if not _among(own, each.kind, each.id):
            refers = route.operation.names.get(each.param, Refers(kind=each.kind))
            message = missing(route.provider, each.kind, each.id)
            raise CallError(refers.status, refers.code, message, param=each.param)
