"""Which provider and operation a request is, or that it is none. A closed table: what is not in it does not pass.

Promises: an upstream path is always a row's own text, with nothing of the client's in it but a checked `{id}`; so no
spelling of a path (`//evil`, `@`, `\\`, `%2f..`, absolute form, NUL) reaches anything that the table does not name.
Every operation has a shape, hence a meter, or is known to be free.
Knows nothing of keys, models, query strings or settings. Source: providers.md §2, rules 0 to 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

import msgspec

from providers.anthropic_messages import ANTHROPIC_MESSAGES
from providers.free import FREE_POST, FREE_READ
from providers.openai_chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai_embeddings import OPENAI_EMBEDDINGS
from providers.openai_responses import OPENAI_RESPONSES
from providers.shapes import Shape
from providers.vendors import MOUNTS, VENDORS, Vendor


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider can be asked to do.

    Attributes:
        name: Stable, for events and logs: "chat.completions", "messages.count_tokens", ….
        shape: Reads its requests and meters its answers.
        billable: False where the provider never charges for it; then nothing need be held.
        dialect: The error shape that its callers expect: "openai" or "anthropic".
    """

    name: str
    shape: Shape
    billable: bool
    dialect: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes.

    Attributes:
        provider: Name of the vendor; a key of `providers.vendors.VENDORS`.
        operation: What is asked of it.
        upstream_path: The path to send, without a query; built from the table.
        params: Values of the path's placeholders: {"id": "gpt-5"}.
    """

    provider: str
    operation: Operation
    upstream_path: str
    params: Mapping[str, str] = MappingProxyType({})


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request goes nowhere. `message` is fit for the client; `allow` lists the methods, where status is 405."""

    status: int
    code: str
    message: str
    dialect: str
    allow: tuple[str, ...] = ()


class _Row(msgspec.Struct, frozen=True):
    method: str
    path: str
    provider: str
    name: str
    shape: Shape
    billable: bool = True


# A placeholder is a whole last segment. Adding an operation is adding a row.
_TABLE = (
    _Row("POST", "/v1/chat/completions", "openai", "chat.completions", OPENAI_CHAT),
    _Row("POST", "/v1/completions", "openai", "completions", OPENAI_COMPLETIONS),
    _Row("POST", "/v1/responses", "openai", "responses", OPENAI_RESPONSES),
    _Row("POST", "/v1/embeddings", "openai", "embeddings", OPENAI_EMBEDDINGS),
    _Row("GET", "/v1/models", "openai", "models", FREE_READ, billable=False),
    _Row("GET", "/v1/models/{id}", "openai", "models", FREE_READ, billable=False),
    _Row("POST", "/v1/messages", "anthropic", "messages", ANTHROPIC_MESSAGES),
    _Row("POST", "/v1/messages/count_tokens", "anthropic", "messages.count_tokens", FREE_POST, billable=False),
    _Row("GET", "/v1/models", "anthropic", "models", FREE_READ, billable=False),
    _Row("GET", "/v1/models/{id}", "anthropic", "models", FREE_READ, billable=False),
)

# Starts with a letter or digit, so "." and ".." are no ids; no "%", "/" or "\" is in one. Colons: tuned models.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,255}")
_VERSION = re.compile(r"v\d+(?:alpha|beta)?\d*")
# Printable ASCII but `"`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `|`, `}`: what a path of ours can be spelt with (RFC 3986).
_PATH = re.compile(r"/[!#-;=?-\[\]_a-z~]*")
_PATH_CHARS_MAX = 2048


def _index() -> Mapping[tuple[str, str], Mapping[str, tuple[_Row, Operation]]]:
    """(provider, path template) → method → row. Built once, when the module is loaded."""
    index: dict[tuple[str, str], dict[str, tuple[_Row, Operation]]] = {}
    for row in _TABLE:
        operation = Operation(
            name=row.name, shape=row.shape, billable=row.billable, dialect=VENDORS[row.provider].dialect
        )
        index.setdefault((row.provider, row.path), {})[row.method] = (row, operation)
    return MappingProxyType(index)


_INDEX = _index()
# Most calls are spelt exactly as the table spells them, on a path that only one provider has: one look-up decides.
_EXACT = MappingProxyType(
    {
        (row.method, row.path): Route(
            provider=row.provider,
            operation=_INDEX[row.provider, row.path][row.method][1],
            upstream_path=VENDORS[row.provider].path_prefix + row.path,
        )
        for row in _TABLE
        if "{" not in row.path and sum(other.path == row.path for other in _TABLE) == 1
    }
)
_PATHS = frozenset(path for _, path in _INDEX)


def operations() -> tuple[tuple[str, str, str, Operation], ...]:
    """Every row as (method, path template, provider, operation), in table order; for documents and tests."""
    return tuple((row.method, row.path, row.provider, _INDEX[row.provider, row.path][row.method][1]) for row in _TABLE)


def match(method: str, path: str, headers: Mapping[str, str]) -> Route | Refusal:
    """Find the operation of a request.

    Args:
        method: In upper case, as sent.
        path: The request target's path as received, still percent-encoded, without the query.
        headers: By lower-case name. Read only to tell apart the providers that share a path.

    Returns:
        The route, or a refusal: 404 `not_found` (no provider has this), 403 `route_not_allowed` (a known provider's
        operation that is not listed), 405 `method_not_allowed`.
    """
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    # The header that only Anthropic's clients send; it decides wherever paths are shared, and whose errors are shown.
    hinted = VENDORS["anthropic"] if "anthropic-version" in headers else VENDORS["openai"]
    segments = _segments(path)
    if not segments:
        return _not_found(hinted)
    vendor = MOUNTS.get(segments[0])
    if vendor is not None:
        segments = _versioned(segments[1:], vendor)
        vendors: tuple[Vendor, ...] = (vendor,)
    else:
        segments = _versioned(segments, VENDORS["openai"])
        vendors = (hinted, *(other for other in VENDORS.values() if other is not hinted))
    for template, params in _readings(segments):
        for candidate in vendors:
            methods = _INDEX.get((candidate.name, template))
            if methods is None:
                continue
            found = methods.get(method)
            if found is None:
                return Refusal(
                    status=405,
                    code="method_not_allowed",
                    message=f"This path takes {', '.join(sorted(methods))} only.",
                    dialect=candidate.dialect,
                    allow=tuple(sorted(methods)),
                )
            row, operation = found
            upstream = candidate.path_prefix + row.path.replace("{id}", params.get("id", ""))
            return Route(
                provider=candidate.name, operation=operation, upstream_path=upstream, params=MappingProxyType(params)
            )
    if vendor is not None:
        return _not_allowed(vendor)
    if len(segments) >= 2 and _VERSION.fullmatch(segments[0]):
        for candidate in vendors:
            if segments[1] in candidate.roots:
                return _not_allowed(candidate)
    return _not_found(hinted)


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


def _versioned(segments: list[str], vendor: Vendor) -> list[str]:
    """With exactly one version segment in front, where a version can be told: of several the last, of none `v1`."""
    versions = 0
    while versions < len(segments) and _VERSION.fullmatch(segments[versions]):
        versions += 1
    if versions:
        return segments[versions - 1 :]
    return ["v1", *segments] if segments and segments[0] in vendor.roots else segments


def _readings(segments: list[str]) -> list[tuple[str, dict[str, str]]]:
    """The table's templates that these segments can be read as, each with the values of its placeholders."""
    literal = "/" + "/".join(segments)
    if literal in _PATHS:
        return [(literal, {})]
    if segments and _ID.fullmatch(segments[-1]):
        template = "/" + "/".join((*segments[:-1], "{id}"))
        if template in _PATHS:
            return [(template, {"id": segments[-1]})]
    return []


def _not_found(vendor: Vendor) -> Refusal:
    return Refusal(status=404, code="not_found", message="There is nothing at this path.", dialect=vendor.dialect)


def _not_allowed(vendor: Vendor) -> Refusal:
    return Refusal(
        status=403,
        code="route_not_allowed",
        message="This operation of the provider is not offered here, because its cost cannot be metered.",
        dialect=vendor.dialect,
    )
