"""Which provider and operation a request is, or that it is none.

Promises: only what stands in `providers.operations` passes. The provider that is chosen here is the one that is called
and the one that is priced. Knows nothing of keys, query strings, prices or settings.

Rules, the first that decides (source: providers.md §2):

1. An explicit mount, `/{provider}/…`, is that provider.
2. A path that only one provider has is that provider's.
3. A header or client that only one provider has (`Vendor.hints`, `Vendor.clients`), if it has the path.
4. The request's `model`, by exact id of the catalogue, then by the beginning of its name (`Vendor.models`).
5. A provider that is the only one of these that the key may use.
6. For an object by its id (`Operation.of`), the provider at which the key made it.
7. The first in the table: OpenAI.

Rules 4 to 6 need the request's body, the key and its objects, so the caller asks `Shared.choose` for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

import msgspec

from providers.contract.sockets import SOCKET
from providers.ground.vendors import MOUNTS, VENDORS, Vendor
from providers.operations import TABLE, Found, filled, find
from providers.stored.row import Operation, Row


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes.

    Attributes:
        provider: Name of the vendor; a key of `providers.ground.vendors.VENDORS`.
        operation: What is asked of it.
        upstream_path: The path to send, without a query; built from the table.
        params: Values of the path's placeholders: {"id": "gpt-5"}.
    """

    provider: str
    operation: Operation
    upstream_path: str
    params: Mapping[str, str] = MappingProxyType({})


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A path that several providers have: who is meant is told by the model that the request names.

    Attributes:
        routes: By provider, in table order.
        first: Who is meant where nothing tells.
    """

    routes: Mapping[str, Route]
    first: Route

    def choose(
        self,
        model: str,
        home: Callable[[str], str | None],
        allowed: Callable[[str], bool] = lambda _: True,
        made: Collection[tuple[str, str]] = (),
    ) -> Route:
        """The route of a request for this model.

        Args:
            model: As the client named it; "" where it named none.
            home: The one provider that has a model of exactly this id, as far as the catalogue knows.
            allowed: Whether the caller's key may use a provider.
            made: Provider and kind of the caller's own objects that have the id in the path.
        """
        for provider, route in self.routes.items():
            if (provider, route.operation.of) in made:
                return route
        if model:
            named = self.routes.get(home(model) or "")
            if named is None:
                named = next((route for name, route in self.routes.items() if _is_of(model, name)), None)
            if named is not None:
                return named
        usable = [route for name, route in self.routes.items() if allowed(name)]
        return usable[0] if len(usable) == 1 else self.first


class NoRoute(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request goes nowhere. `message` is fit for the client; `allow` lists the methods, where status is 405."""

    status: int
    code: str
    message: str
    dialect: str
    allow: tuple[str, ...] = ()


_VERSION = re.compile(r"v\d+(?:alpha|beta)?\d*")
# Printable ASCII but `"`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `|`, `}`: what a path of ours can be spelt with (RFC 3986).
_PATH = re.compile(r"/[!#-;=?-\[\]_a-z~]*")
_PATH_CHARS_MAX = 2048
_OPENAI = VENDORS["openai"]
_MODELS = {vendor.name: re.compile(vendor.models) for vendor in VENDORS.values() if vendor.models}
_HINTS = {hint: vendor for vendor in VENDORS.values() for hint in vendor.hints}
_CLIENTS = {beginning: vendor for vendor in VENDORS.values() for beginning in vendor.clients}
_BEGINNINGS = tuple(_CLIENTS)
_ROOTS: dict[str, tuple[Vendor, ...]] = {
    root: tuple(vendor for vendor in VENDORS.values() if root in vendor.roots)
    for vendor in VENDORS.values()
    for root in vendor.roots
}
# Operations that are known and not listed, at paths that are listed with other methods. By the vendor's name.
_UNLISTED = re.compile(
    r"(?:(?P<openai>GET /v1/chat/completions|DELETE /v1/models/[^/]+|GET /v1/conversations)"
    r"|(?P<elevenlabs>DELETE /v1/voices/[^/]+|POST /v1/voices/(?:add|pvc|collections))"
    r"|(?P<mistral>DELETE /v1/batch/jobs/[^/]+))"
    r"\Z"
)
_BARE: dict[str, tuple[Vendor, ...]] = {root: (vendor,) for vendor in VENDORS.values() for root in vendor.bare}


def _route(row: Row, params: Mapping[str, str]) -> Route:
    return Route(
        provider=row.provider,
        operation=row.operation,
        upstream_path=filled(row.upstream, params),
        params=MappingProxyType(dict(params)),
    )


def _exact() -> Mapping[tuple[str, str], Route | Shared]:
    """Most calls are spelt exactly as the table spells them: one look-up decides."""
    index: dict[tuple[str, str], dict[str, Route]] = {}
    for row in TABLE:
        # A path that begins with a mount's name is another vendor's form, and stands behind that vendor's own mount.
        if "{" not in row.path and row.path.split("/")[1] not in MOUNTS:
            index.setdefault((row.method, row.path), {})[row.provider] = _route(row, {})
    return MappingProxyType(
        {
            at: next(iter(routes.values()))
            if len(routes) == 1
            else Shared(routes=MappingProxyType(routes), first=next(iter(routes.values())))
            for at, routes in index.items()
        }
    )


_EXACT = _exact()


def _shapes() -> frozenset[frozenset[str]]:
    at: dict[str, set[str]] = {}
    for row in TABLE:
        if row.method == "POST" and row.operation.billable:
            at.setdefault(row.path, set()).add(row.provider)
    return frozenset(map(frozenset, at.values()))


_SHAPES = _shapes()
"""Which providers share a path of calls that are billed."""


def match(method: str, path: str, headers: Mapping[str, str], query: bytes = b"") -> Route | Shared | NoRoute:
    """Find the operation of a request.

    Args:
        method: In upper case, as sent; `SOCKET` for a WebSocket's handshake.
        path: The request target's path as received, still percent-encoded, without the query.
        headers: By lower-case name. Read only to tell apart the providers that share a path.
        query: As received. Only Google's clients put a `key` there.

    Returns:
        The route, or those among which the model decides, or a refusal: 404 `not_found` (no provider has this), 403
        `route_not_allowed` (a known provider's operation that is not listed), 405 `method_not_allowed`, 426
        `upgrade_required` (a socket where requests are taken: clients of both turn to those).
    """
    exact = _EXACT.get((method, path))
    if isinstance(exact, Route):
        return exact
    hinted = VENDORS["google"] if query.startswith(b"key=") or b"&key=" in query else _hinted(headers)
    if exact is not None:
        return _by_headers(exact, method, hinted)
    segments = _segments(path)
    mounted = MOUNTS.get(segments[0]) if segments else None
    rest = segments if mounted is None else segments[1:]
    segments = _versioned(rest, (_OPENAI,) if mounted is None else (mounted, _OPENAI))
    wrong_method: NoRoute | None = None
    for found in find(segments) if segments else ():
        chosen = _among(method, found, mounted, hinted)
        if isinstance(chosen, NoRoute):
            wrong_method = wrong_method or chosen
        elif chosen is not None:
            return chosen
    if wrong_method is not None and method == SOCKET:
        return wrong_method
    if wrong_method is not None and (unlisted := _UNLISTED.match(f"{method} /{'/'.join(segments)}")):
        return _not_allowed(mounted or hinted or VENDORS[unlisted.lastgroup or "openai"])
    if wrong_method is not None:
        # Google's verbs stand behind a colon, where others' ids may have one: another verb is another operation.
        verb = wrong_method.dialect == "google" and ":" in segments[-1]
        return _not_allowed(VENDORS["google"]) if verb else wrong_method
    if mounted is not None:
        return _not_allowed(mounted)
    if len(segments) >= 2 and segments[0] == "ws" and segments[1].startswith("google."):
        return _not_allowed(VENDORS["google"])
    if owners := _owners(segments):
        return _not_allowed(hinted if hinted in owners else owners[0])
    return _not_found(hinted or _OPENAI)


def toward(found: Route | Shared, provider: str, model: str) -> Route | None:
    """The same operation at this provider, for this model; None where it does not have it."""
    routes = found.routes if isinstance(found, Shared) else {found.provider: found}
    route = routes.get(provider)
    if route is None or route.params.get("model", model) == model:
        return route
    template = next(row.upstream for row in TABLE if row.provider == provider and row.operation is route.operation)
    params = {**route.params, "model": model}
    return msgspec.structs.replace(route, upstream_path=filled(template, params), params=MappingProxyType(params))


def speaks(found: Route | Shared, provider: str) -> bool:
    """Whether this is asked in the provider's own shape, and not in another's that it takes, too."""
    route = toward(found, provider, "")
    return route is not None and route.operation.dialect == VENDORS[provider].dialect


def plain_path(route: Route, model: str) -> str:
    """The path at which whoever speaks the same API takes such a call for this model, by that API's own book."""
    template = next(row.path for row in TABLE if row.provider == route.provider and row.operation is route.operation)
    return filled(template, {**route.params, "model": model})


def shares_a_shape(providers: Collection[str]) -> bool:
    """Whether there is a path at which all of these take calls for their models."""
    return any(set(providers) <= at for at in _SHAPES)


def _owners(segments: list[str]) -> tuple[Vendor, ...]:
    """Whose path this is known to be, though it is not listed."""
    known = _BARE
    if segments and _VERSION.fullmatch(segments[0]):
        segments, known = segments[1:], _ROOTS
    if not segments:
        return ()
    root, colon, _ = segments[0].partition(":")
    owners = known.get("/".join(segments[:2])) or known.get(root, ())
    return tuple(vendor for vendor in owners if vendor.name == "google") if colon else owners  # whose verbs these are


def _among(method: str, found: Found, mounted: Vendor | None, hinted: Vendor | None) -> Route | Shared | NoRoute | None:
    """The route at a path that stands in the table, for the providers that may be meant."""
    at, params = found
    if mounted is not None:
        at = {mounted.name: at[mounted.name]} if mounted.name in at else {}
    elif hinted is not None and hinted.name in at and method in at[hinted.name] and not _by_model(method):
        at = {hinted.name: at[hinted.name]}
    routes = {name: _route(methods[method], params) for name, methods in at.items() if method in methods}
    if len(routes) == 1:
        return next(iter(routes.values()))
    if routes:
        shared = Shared(routes=MappingProxyType(routes), first=next(iter(routes.values())))
        return _by_headers(shared, method, hinted)
    at = {name: methods for name, methods in at.items() if methods.keys() - {SOCKET}}
    if not at:
        return None
    provider, methods = (hinted.name, at[hinted.name]) if hinted and hinted.name in at else next(iter(at.items()))
    dialect = next(iter(methods.values())).operation.dialect or VENDORS[provider].dialect
    if method == SOCKET:
        return NoRoute(
            status=426,
            code="upgrade_required",
            message="This is no WebSocket: send the request over HTTP/1.1.",
            dialect=dialect,
        )
    allow = tuple(sorted({each for methods in at.values() for each in methods} - {SOCKET}))
    return NoRoute(
        status=405,
        code="method_not_allowed",
        message=f"This path takes {', '.join(allow)} only.",
        dialect=dialect,
        allow=allow,
    )


def _by_headers(shared: Shared, method: str, hinted: Vendor | None) -> Route | Shared:
    """Who of several is meant, as far as headers tell."""
    route = None if hinted is None else shared.routes.get(hinted.name)
    if hinted is None or route is None:
        return shared
    # A layer over a vendor's API is another's clients': whoever sends them a vendor's headers means no vendor by it.
    if hinted.layer is not None and route.operation.dialect != hinted.dialect:
        return shared
    # Other vendors take Anthropic's SDK too, so its header makes Anthropic the first guess and no more.
    if hinted.name == "anthropic" and _by_model(method):
        return Shared(routes=shared.routes, first=route)
    return route


def _by_model(method: str) -> bool:
    """Whether requests of this method have a body, and so may name a model."""
    return method == "POST"


def _hinted(headers: Mapping[str, str]) -> Vendor | None:
    """The vendor that the client's own headers name. OpenAI's client proves nothing: it is used for six vendors."""
    if not _HINTS.keys().isdisjoint(headers):
        return next(vendor for hint, vendor in _HINTS.items() if hint in headers)
    if headers.get("authorization", "")[:6].lower() == "token ":
        return VENDORS["deepgram"]
    for name in ("x-fern-sdk-name", "user-agent"):
        client = headers.get(name)
        if client is not None:
            client = client.lower()
            if client.startswith(_BEGINNINGS):
                return next(vendor for beginning, vendor in _CLIENTS.items() if client.startswith(beginning))
    return None


def _is_of(model: str, provider: str) -> bool:
    pattern = _MODELS.get(provider)
    return pattern is not None and pattern.match(model) is not None


def _segments(path: str) -> list[str]:
    """The path's segments, decoded once and with empty ones dropped; none where it is no plain path."""
    if len(path) > _PATH_CHARS_MAX or not _PATH.fullmatch(path):
        return []
    try:
        decoded = unquote_to_bytes(path).decode("ascii") if "%" in path else path
    except UnicodeDecodeError:
        return []
    segments = [segment for segment in decoded.split("/") if segment]
    return [] if "." in segments or ".." in segments else segments


def _versioned(segments: list[str], vendors: Collection[Vendor]) -> list[str]:
    """With exactly one version segment in front, where a version can be told: of several the last, of none `v1`."""
    versions = 0
    while versions < len(segments) and _VERSION.fullmatch(segments[versions]):
        versions += 1
    if versions:
        return segments[versions - 1 :]
    return ["v1", *segments] if segments and any(segments[0] in vendor.roots for vendor in vendors) else segments


def _not_found(vendor: Vendor) -> NoRoute:
    return NoRoute(status=404, code="not_found", message="There is nothing at this path.", dialect=vendor.dialect)


def _not_allowed(vendor: Vendor) -> NoRoute:
    return NoRoute(
        status=403,
        code="route_not_allowed",
        message="This operation of the provider is not offered here, because its cost cannot be metered.",
        dialect=vendor.dialect,
    )
