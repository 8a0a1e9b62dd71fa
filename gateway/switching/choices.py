"""Where a call may go: a route's targets, a request's own models, the one upstream by whose path it came, or one model
with any of several credentials. In the order in which they are asked, and only what the caller may use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import msgspec

from gateway.bounds import READ_APART_BYTES
from gateway.call.attempt import Aliased
from gateway.call.records import Inbound
from gateway.places import Named, Place, Places
from gateway.problems import CallError
from gateway.switching.known import KnownRoutes
from gateway.switching.order import ordered
from gateway.switching.spec import RouteBody, Target
from keys.keyring import Key
from providers.pricing.catalogue import Catalogue
from providers.routing import Route, Shared, plain_path, speaks, toward


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a call may go to.

    Attributes:
        upstream: Whom it asks, as the client is told.
        model: By the catalogue's name, by which it is read, held for and priced.
        route: Of that model, at the provider whose it is.
        credential: The number of the credential in the provider's pool; 0 for its only one.
        place: None for the provider's own place.
        path: What is asked for there; "" for what is asked of the provider.
        model_there: What the model is called there; "" for the same.
    """

    upstream: str
    model: str
    route: Route
    credential: int = 0
    place: Place | None = None
    path: str = ""
    model_there: str = ""

    @property
    def account(self) -> str:
        """Who is left alone after a 429: an account at an upstream."""
        return f"{self.upstream}#{self.credential}" if self.credential else self.upstream

    @property
    def name(self) -> str:
        """Whose health it is: a model's, with an account at an upstream."""
        return f"{self.account}/{self.model_there or self.model}"


class Choices:
    """One for the process."""

    def __init__(self, routes: KnownRoutes, catalogue: Catalogue, own: dict[str, Place], elsewhere: Places) -> None:
        self._routes = routes
        self._catalogue = catalogue
        self._own = own
        self._elsewhere = elsewhere

    def said(self, inbound: Inbound, aliased: Aliased) -> RouteBody:
        """What the route says; or what is meant where there is none. Raises CallError."""
        if inbound.upstream:
            named = self._elsewhere.upstreams[inbound.upstream]
            if aliased.name not in named.models:
                message = f"{inbound.upstream} has no {aliased.name or 'model'} here; it has {', '.join(named.models)}."
                raise CallError(400, "model_not_priced", message, param="model")
            provider, _ = named.models[aliased.name]
            return RouteBody(targets=(Target(provider=provider, model=aliased.name, upstream=inbound.upstream),))
        if aliased.models:
            return RouteBody(targets=tuple(self._meant(inbound, model) for model in aliased.models))
        if aliased.provider:
            return RouteBody(targets=(Target(provider=aliased.provider, model=aliased.name),))
        found = self._routes.get(aliased.name)
        if found is None:
            raise CallError(400, "model_not_priced", f"There is no route {aliased.name} any more.", param="model")
        return found

    def _meant(self, inbound: Inbound, model: str) -> Target:
        where = inbound.shared
        route = inbound.route if where is None else where.choose(model, self._catalogue.provider_of)
        return Target(provider=route.provider, model=model)

    async def found(self, inbound: Inbound, aliased: Aliased, said: RouteBody) -> tuple[list[Choice], frozenset[str]]:
        """Where the call may go, and the fields of it that name stored objects. Raises CallError.

        A large request is looked into where nobody waits for it.
        """

        def look() -> tuple[list[Choice], frozenset[str]]:
            choices = self.of(inbound, aliased, said)
            return choices, _fields_in(choices, aliased.body)

        return await asyncio.to_thread(look) if len(aliased.body) > READ_APART_BYTES else look()

    def of(self, inbound: Inbound, aliased: Aliased, said: RouteBody) -> list[Choice]:
        """Where the call may go; where it may go nowhere, the first, for whoever admits calls to say why.

        Raises CallError where no target takes such calls.
        """
        key = aliased.key
        who = {"none": inbound.call_id, "end_user": inbound.headers.get("x-end-user-id") or key.public_id}
        caller = who.get(said.sticky, key.public_id)
        found = [
            choice for target in ordered(said.targets, caller) for choice in self._at(target, inbound, aliased, caller)
        ]
        if not found:
            message = f"No target of {aliased.name} is served at this path."
            raise CallError(400, "model_not_priced", message, param="model")
        return [choice for choice in found if self._allows(key, choice)] or found[:1]

    def _at(self, target: Target, inbound: Inbound, aliased: Aliased, caller: str) -> Iterator[Choice]:
        """A target's places: none where it does not take such calls, several where it has several credentials."""
        at: Route | Shared = inbound.shared or inbound.route
        live = aliased.key.livemode
        if target.upstream is not None:
            named = self._elsewhere.upstreams.get(target.upstream)
            if named is not None and target.model in named.models and speaks(at, named.speaks):
                yield from self._named(named, target, at, live=live)
            return
        route = toward(at, target.provider, target.model)
        if route is None:
            return
        pool = self._elsewhere.pools.get(target.provider, ()) if live else ()
        if len(pool) < 2 or _keeps(route, aliased.body):
            yield Choice(upstream=target.provider, model=target.model, route=route)
            return
        own = self._own[target.provider]
        credentials = [
            Target(provider=target.provider, model=str(number), weight=each.weight)
            for number, each in enumerate(pool, 1)
        ]
        for drawn in ordered(credentials, caller):
            number = int(drawn.model)
            place = msgspec.structs.replace(own, credential=pool[number - 1].credential)
            yield Choice(upstream=target.provider, model=target.model, route=route, credential=number, place=place)

    def _named(self, named: Named, target: Target, at: Route | Shared, *, live: bool) -> Iterator[Choice]:
        """A deployment's place. Test keys ask the simulator, which knows the catalogue's names only."""
        provider, model = named.models[target.model]
        route = toward(at, provider, model)
        if route is not None and live:
            yield Choice(
                upstream=named.name,
                model=model,
                route=route,
                place=named.place,
                path=plain_path(route, target.model),
                model_there=target.model,
            )
        elif route is not None:
            yield Choice(upstream=named.name, model=model, route=route)

    def _allows(self, key: Key, choice: Choice) -> bool:
        provider = choice.route.provider
        entry = self._catalogue.entry_of(provider, choice.model) or ""
        reachable = not key.livemode or choice.place is not None or self._own[provider].credential
        return bool(reachable) and key.allows_provider(provider) and key.allows_model(choice.model, entry)


def _keeps(route: Route, body: bytes) -> bool:
    """Whether the call makes or names what its provider keeps: that is with one account, the first."""
    operation = route.operation
    return any(each.by(body) for each in operation.makes) or bool(
        operation.references and operation.references.find(body)
    )


def _fields_in(choices: Sequence[Choice], body: bytes) -> frozenset[str]:
    """The fields of a request that name stored objects: it goes to where these are, and nowhere else."""
    finders = [choice.route.operation.references for choice in choices]
    return frozenset(each.param for finder in finders if finder is not None for each in finder.find(body))
