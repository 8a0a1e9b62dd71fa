"""What the API's document says of routes and upstreams; a part of `gateway.api.described`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.api.entry import AFTER, LIMIT, Entry
from gateway.switching.spec import RouteBody, RoutePatch, RouteSpec

Ms = Annotated[int, Meta(description="Unix milliseconds, UTC.")]
_MASTER = ("master",)


class Route(RouteBody, frozen=True, kw_only=True):
    """A name that stands for one of several targets."""

    id: str
    object: Literal["route"]
    name: str
    created_ms: Ms


class DeletedRoute(Route, frozen=True, kw_only=True):
    """A route that is no more."""

    deleted: Literal[True]


class ModelState(Struct, kw_only=True):
    """How a model that routes lead to is doing at an upstream."""

    model: str
    state: Literal["up", "down"]


class CredentialState(Struct, kw_only=True):
    """How one of an upstream's credentials is doing."""

    number: int
    rests_until_ms: Ms | None


class UpstreamState(Struct, kw_only=True):
    """How an upstream is doing, by what calls of this process have met there."""

    object: Literal["upstream"]
    name: str
    provider: str
    origin: str
    configured: Annotated[bool, Meta(description="Whether the gateway has a credential for it.")]
    state: Literal["up", "down", "resting"]
    failures: Annotated[int, Meta(description="In a row, just now.")]
    last_failure: str | None
    rests_until_ms: Ms | None
    credentials: list[CredentialState]
    models: list[ModelState]


ROUTES: dict[tuple[str, str], Entry] = {
    ("POST", "/v1/routes"): Entry(
        name="makeRoute",
        summary="Let a name stand for several targets. A call whose `model` is the name goes to one of them.",
        body=RouteSpec,
        answers=(Route,),
        statuses=(201,),
        idempotent=True,
        scopes=_MASTER,
        codes=("name_taken", "too_many_routes"),
    ),
    ("GET", "/v1/routes"): Entry(
        name="listRoutes",
        summary="The routes of the installation, newest first.",
        answers=(Route,),
        listed=True,
        query=(LIMIT, AFTER),
        scopes=_MASTER,
        codes=("not_found",),
    ),
    ("GET", "/v1/routes/{id}"): Entry(name="getRoute", summary="One route.", answers=(Route,), scopes=_MASTER),
    ("PATCH", "/v1/routes/{id}"): Entry(
        name="changeRoute",
        summary="Change a route; in force on the next call.",
        body=RoutePatch,
        example={"switch_on": ["unreachable", "429", "5xx"]},
        answers=(Route,),
        idempotent=True,
        scopes=_MASTER,
        codes=("name_taken",),
    ),
    ("DELETE", "/v1/routes/{id}"): Entry(
        name="deleteRoute", summary="Remove a route.", answers=(DeletedRoute,), idempotent=True, scopes=_MASTER
    ),
    ("GET", "/v1/upstreams"): Entry(
        name="listUpstreams",
        summary="How the providers are doing, as calls of this process have met them.",
        answers=(UpstreamState,),
        listed=True,
        scopes=_MASTER,
    ),
}
