"""`/v1/routes` and `/v1/upstreams`: names that stand for several targets, and how those are doing."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from gateway.api.endpoint import Call, json_response, list_response, page_size, replayed
from gateway.places import Place
from gateway.switching.known import route_of
from gateway.switching.spec import RouteBody, RoutePatch, RouteSpec, changed, check
from keys.ids import new_id
from ledger.routes import StoredRoute


def route_object(stored: StoredRoute) -> dict[str, Any]:
    """A route as the API shows it."""
    return {
        "id": stored.public_id,
        "object": "route",
        **msgspec.to_builtins(route_of(stored)),
        "created_ms": stored.created_ms,
    }


def _stored(spec: RouteSpec, public_id: str, created_ms: int) -> StoredRoute:
    said = {name: getattr(spec, name) for name in RouteBody.__struct_fields__}
    return StoredRoute(
        public_id=public_id, name=spec.name, body=msgspec.json.encode(said).decode(), created_ms=created_ms
    )


def _id(call: Call) -> str:
    return str(call.request.path_params["id"])


async def make(call: Call) -> Response:
    """POST /v1/routes; calls may name it at once."""
    origin = await call.origin()
    spec = await call.body(RouteSpec)
    services, now_ms = call.services, call.services.clock_ms()
    check(spec, services.catalogue, services.settings.elsewhere, now_ms)
    made, is_replay = await services.ledger.routes.make(
        _stored(spec, new_id("route", now_ms), now_ms), call.key.account_id, origin
    )
    await services.routes.refresh()
    return json_response(route_object(made), 201, replayed(is_replay))


async def list_routes(call: Call) -> Response:
    """GET /v1/routes."""
    parameters = call.parameters("limit", "starting_after")
    found, has_more = await call.services.ledger.routes.page(
        page_size(parameters.get("limit")), parameters.get("starting_after")
    )
    return list_response([route_object(route) for route in found], has_more)


async def get(call: Call) -> Response:
    """GET /v1/routes/{id}."""
    call.parameters()
    return json_response(route_object(await call.services.ledger.routes.view(_id(call))))


async def change(call: Call) -> Response:
    """PATCH /v1/routes/{id}; in force on the next call."""
    origin = await call.origin()
    patch = await call.body(RoutePatch)
    services = call.services
    current = await services.ledger.routes.view(_id(call))
    spec = changed(route_of(current), patch)
    check(spec, services.catalogue, services.settings.elsewhere, services.clock_ms())
    after, is_replay = await services.ledger.routes.change(
        _stored(spec, current.public_id, current.created_ms), call.key.account_id, origin
    )
    await services.routes.refresh()
    return json_response(route_object(after), headers=replayed(is_replay))


async def remove(call: Call) -> Response:
    """DELETE /v1/routes/{id}."""
    removed, is_replay = await call.services.ledger.routes.remove(_id(call), call.key.account_id, await call.origin())
    await call.services.routes.refresh()
    return json_response(route_object(removed) | {"deleted": True}, headers=replayed(is_replay))


async def upstreams(call: Call) -> Response:
    """GET /v1/upstreams: by what real calls of this process have met."""
    call.parameters()
    settings = call.services.settings
    models: dict[str, dict[str, None]] = {}
    for route in call.services.routes.all():
        for target in route.targets:
            models.setdefault(target.upstream or target.provider, {})[target.model] = None
    own = [
        _state(call, name, name, place, len(settings.elsewhere.pools.get(name, ())), models.get(name, {}))
        for name, place in settings.places.items()
    ]
    named = [
        _state(call, each.name, each.speaks, each.place, 0, dict.fromkeys(each.models))
        for each in settings.elsewhere.upstreams.values()
    ]
    return list_response([*own, *named], has_more=False)


def _state(
    call: Call, name: str, provider: str, place: Place, credentials: int, models: dict[str, None]
) -> dict[str, Any]:
    services, now_ms = call.services, call.services.clock_ms()
    accounts = [f"{name}#{number}" for number in range(1, credentials + 1)] if credentials > 1 else [name]
    rests = [services.rests.left_s(account) for account in accounts]
    down, failures, why = services.health.shown(name)
    return {
        "object": "upstream",
        "name": name,
        "provider": provider,
        "origin": place.origin + place.path,
        "configured": bool(place.credential),
        "state": "down" if down else "resting" if all(rests) else "up",
        "failures": failures,
        "last_failure": why or None,
        "rests_until_ms": now_ms + round(min(rests) * 1000) if all(rests) else None,
        "credentials": [
            {"number": number, "rests_until_ms": now_ms + round(left_s * 1000) if left_s else None}
            for number, left_s in enumerate(rests, 1)
        ],
        "models": [
            {
                "model": model,
                "state": "down" if all(services.models.is_down(f"{each}/{model}") for each in accounts) else "up",
            }
            for model in sorted(models)
        ],
    }
