"""What a call asks for: its body read, its route chosen by the model that it names, its objects found to be its own.

Promises: a small body is read here, a large one where nobody waits for it, an upload while it comes; to the same
values. Whatever the request refers to is the caller's own, or it is refused before anything is held.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

from gateway.bounds import READ_APART_BYTES, UPLOAD_BYTES_MAX
from gateway.call.attempt import Aliased, Aliases
from gateway.call.body import received
from gateway.call.reading import Readings
from gateway.call.records import Inbound, Request
from gateway.call.upload import Upload, over_bytes
from gateway.problems import PROBLEMS, CallError, as_problem
from keys.keyring import Key
from ledger.objects import Object
from providers.contract.shapes import Asked, Call, Reference, Uploading
from providers.pricing.catalogue import Catalogue
from providers.reading.request import model_of, models_of
from providers.routing import Route, Shared
from providers.stored.jsonl import Line

MODEL_CHARS_MAX = 200


class Owners(Protocol):
    """Who knows whose an object is; see `gateway.stored.ownership`."""

    async def homes(self, key: Key, route: Route) -> set[tuple[str, str]]:
        """Provider and kind of the caller's own objects with the path's id. Raises LedgerUnavailable."""
        ...

    async def check(
        self, key: Key, route: Route, named: Sequence[Reference], certain: Callable[[], Awaitable[Sequence[Reference]]]
    ) -> list[Object]:
        """The caller's own objects that a call names, all of them. Raises CallError and LedgerUnavailable."""
        ...

    async def check_all(self, key: Key, route: Route, references: Sequence[Reference]) -> None:
        """The same for references that no member's name tells. Raises CallError and LedgerUnavailable."""
        ...


class Requests:
    """Reads what calls ask for. One for the process."""

    def __init__(self, owners: Owners, readings: Readings, catalogue: Catalogue, aliases: Aliases) -> None:
        self._aliases = aliases
        self._owners = owners
        self._readings = readings
        self._catalogue = catalogue

    async def read(self, key: Key, inbound: Inbound) -> Request:
        """The request. Raises one of `gateway.problems.PROBLEMS`, ClientGone and Aliased."""
        if inbound.upstream and not (inbound.route.operation.billable and not inbound.route.operation.upload_bytes_max):
            raise CallError(403, "route_not_allowed", f"{inbound.upstream} takes calls of models only.")
        if inbound.route.operation.upload_bytes_max:
            return await self._upload(key, inbound)
        return await self._whole(key, inbound, await received(inbound) if inbound.opening is None else inbound.opening)

    async def again(self, key: Key, inbound: Inbound, request: Request | Aliased) -> Request:
        """The same request as its key is now. Raises as `read`.

        Another look is taken at it where the cap must hold since, or where a plan says what its model means.
        """
        if isinstance(request, Request) and not key.policy.routes and (request.sound or not _sound(key)):
            return request
        return await self._whole(key, inbound, request.body)

    async def _whole(self, key: Key, inbound: Inbound, body: bytes) -> Request:
        """A request whose body is here."""
        if len(body) > READ_APART_BYTES and inbound.opening is None:
            return await self._apart(key, inbound, body)
        route = inbound.route
        if inbound.shared is not None:
            model = model_of(body)
            self._check_alias(key, inbound, body, model)
            route = await self._choose(key, inbound.shared, model)
        elif (self._aliases or inbound.upstream or key.policy.routes) and route.operation.billable:
            self._check_alias(key, inbound, body, route.params.get("model") or model_of(body))
        if route.provider in self._aliases.pooled:
            self._check_pool(key, inbound, route, body, route.params.get("model") or model_of(body))
        try:
            call = await self._call(key, inbound, route, body)
        except PROBLEMS as error:
            raise as_problem(error).at(route) from None
        operation = route.operation
        makes = tuple(each for each in operation.makes if each.by(body)) if operation.makes else ()
        # Conversations that begin alike are no loop.
        return Request(route, call, body, None, makes, body if inbound.opening is None else b"", _sound(key))

    def _check_alias(self, key: Key, inbound: Inbound, body: bytes, model: str) -> None:
        """Raises Aliased where the request names what stands for others, or came by an upstream's own path."""
        if inbound.attempt is not None or inbound.opening is not None:
            return
        if key.policy.routes and (meant := key.policy.routes.get(model)) is not None and not inbound.upstream:
            raise Aliased(key, body, meant, models=() if meant in self._aliases else (meant,), planned=True)
        if model in self._aliases or inbound.upstream:
            raise Aliased(key, body, model)
        if len(body) <= READ_APART_BYTES and b'"models"' in body and (models := models_of(body)):
            raise Aliased(key, body, model, models=models)

    def _check_pool(self, key: Key, inbound: Inbound, route: Route, body: bytes, model: str) -> None:
        """Raises Aliased where more than one credential could serve the call: it is a live one for a model."""
        open_ = inbound.attempt is None and inbound.opening is None
        if open_ and model and key.livemode and route.operation.billable:
            raise Aliased(key, body, model, provider=route.provider)

    async def _call(self, key: Key, inbound: Inbound, route: Route, body: bytes) -> Call:
        operation = route.operation
        asked = _asked(inbound, key, route, await self._named(key, route, body))
        if operation.lists is not None:
            operation.lists.read(asked.query)
        return await self._checked(key, route, (operation.socket or operation.shape).read(body, asked))

    async def _choose(self, key: Key, shared: Shared, model: str) -> Route:
        """Which of several providers is meant, by what the request names."""
        made = await self._owners.homes(key, shared.first) if shared.first.operation.of else ()
        return shared.choose(model, self._catalogue.provider_of, key.allows_provider, made)

    async def _named(self, key: Key, route: Route, body: bytes) -> dict[str, dict[str, Any]]:
        """Facts of the objects that the request names, by id; they must all be the caller's own."""
        finder = route.operation.references
        if finder is None and not route.operation.of:
            return {}

        async def certain() -> list[Reference]:
            return finder.certain(body) if finder is not None else []

        named = finder.find(body) if finder is not None else []
        if not named and not route.operation.of:
            return {}  # nearly always
        return {each.id: each.facts for each in await self._owners.check(key, route, named, certain)}

    async def _apart(self, key: Key, inbound: Inbound, body: bytes) -> Request:
        """Read a large request where nobody waits for it."""
        route = inbound.route
        try:
            async with self._readings.of(body) as reading:
                if inbound.shared is not None:
                    self._check_alias(key, inbound, body, reading.model)
                    route = await self._choose(key, inbound.shared, reading.model)
                elif route.operation.billable:
                    self._check_alias(key, inbound, body, route.params.get("model") or reading.model)
                if route.provider in self._aliases.pooled:
                    self._check_pool(key, inbound, route, body, route.params.get("model") or reading.model)
                named = await reading.references(route) if route.operation.references is not None else []
                own = await self._owners.check(key, route, named, lambda: reading.references(route, certain=True))
                call = await reading.call(route, _asked(inbound, key, route, {each.id: each.facts for each in own}))
                makes = await reading.makes(route) if route.operation.makes else ()
                identity = await reading.digest() if key.policy.loop_guard is not None else body
            return Request(route, await self._checked(key, route, call), body, None, makes, identity, _sound(key))
        except PROBLEMS as error:
            raise as_problem(error).at(route) from None

    async def _upload(self, key: Key, inbound: Inbound) -> Request:
        """The beginning of a body that is forwarded while it arrives, and the call that it tells."""
        headers, shared, route = inbound.headers, inbound.shared, inbound.route
        if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise CallError(415, "encoding_not_supported", "Send uploads without a Content-Encoding.")
        content_type = headers.get("content-type", "")
        possible = shared.routes.values() if shared is not None else (route,)
        bytes_max = min(max(each.operation.upload_bytes_max for each in possible), UPLOAD_BYTES_MAX)
        declared = headers.get("content-length", "")
        length = int(declared) if declared.isdigit() else None
        if length is not None and length > bytes_max:
            raise over_bytes(bytes_max)
        if inbound.expect_upload is not None and not inbound.whole:
            inbound.expect_upload(bytes_max)
        upload = Upload(inbound.receive, length, bytes_max)
        if shared is not None:
            route = await self._choose(key, shared, await upload.model(content_type))
        try:
            if shared is not None:
                upload.bound(min(route.operation.upload_bytes_max, UPLOAD_BYTES_MAX))
            call = await self._checked(key, route, await self._decided(key, inbound, route, upload))
        except PROBLEMS as error:
            raise as_problem(error).at(route) from None
        makes = tuple(each for each in route.operation.makes if each.by(upload.head))
        identity = upload.identity(call.content_type) if key.policy.loop_guard is not None and upload.head else b""
        return Request(route, call, upload.head, upload, makes, identity, True)  # forms have no inside

    async def _decided(self, key: Key, inbound: Inbound, route: Route, upload: Upload) -> Call:
        shape = route.operation.shape
        assert isinstance(shape, Uploading)  # noqa: S101 - promised by the table of operations, and tested
        reader = shape.arrival(_asked(inbound, key, route, await self._named(key, route, b"")))

        async def line(number: int, text: bytes) -> Line:
            async with self._readings.of(text) as reading:
                return await reading.line(route, number, Asked(sound=_sound(key)))

        return await upload.decide(reader, line)

    async def _checked(self, key: Key, route: Route, call: Call) -> Call:
        """What the shape has read must be the caller's own, too."""
        if len(call.model) > MODEL_CHARS_MAX:
            raise CallError(400, "invalid_request", "No model has so long a name.", param="model")
        if call.refers:
            await self._owners.check_all(key, route, call.refers)
        return call


def _sound(key: Key) -> bool:
    return key.policy.overdraft == "never"


def _asked(inbound: Inbound, key: Key, route: Route, own: dict[str, dict[str, Any]]) -> Asked:
    query = inbound.head.query
    return Asked(
        params=route.params,
        query=parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {},
        headers=inbound.headers,
        objects=own,
        sound=_sound(key),
    )
