"""`GET /v1/prices`: what every model costs, since when, and by whose word."""

from __future__ import annotations

from starlette.responses import Response

from gateway.api.endpoint import Call, json_response, page_size
from gateway.api.names import provider_named
from gateway.price_table import price_id, price_object
from gateway.problems import CallError
from ledger.views import NotFound

SEARCH_CHARS_MAX = 200


async def prices(call: Call) -> Response:
    """GET /v1/prices, by provider and model. `q` is part of an id or an alias, in any case."""
    parameters = call.parameters("provider", "q", "limit", "starting_after")
    size, cursor = page_size(parameters.get("limit")), parameters.get("starting_after")
    catalogue, now_ms = call.services.catalogue, call.services.clock_ms()
    provider, text = parameters.get("provider"), parameters.get("q", "").lower()
    if len(text) > SEARCH_CHARS_MAX:
        raise CallError(400, "invalid_request", f"q must have at most {SEARCH_CHARS_MAX} characters.", param="q")
    if provider is not None and (named := provider_named(provider)) is None:
        raise CallError(400, "invalid_request", f"There is no provider {provider!r} here.", param="provider")
    rows = catalogue.models(None if provider is None else named)
    found = [row for row in rows if any(text in name.lower() for name in (price_id(row), *row.aliases))]
    if cursor is not None:
        places = {price_id(row): place for place, row in enumerate(rows)}
        if cursor not in places:
            raise NotFound(cursor)
        found = [row for row in found if places[price_id(row)] > places[cursor]]
    data = [price_object(row, now_ms) for row in found[:size]]
    return json_response({"object": "list", "data": data, "has_more": len(found) > size, "version": catalogue.version})
