"""What a node asks of a provider: a native call of ours, by its path and body. Pure.

Promises: only operations pass that a provider charges for, that take JSON, and that are over with their answer. Where
a request goes is decided as for a client's own, by `providers.routing`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.contract.tool_use import ToolUse
from providers.routing import NoRoute, Route, Shared, match
from providers.tool_use import TOOL_USE, WORKFLOW_PATH, as_responses

_WORDS = frozenset(("path", "body"))


class PathRefused(Exception):
    """A request that no node may make. `where` leads to what is wrong with it."""

    def __init__(self, code: str, message: str, *where: str) -> None:
        super().__init__(message)
        self.code = code
        self.where = where


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A node's request.

    Attributes:
        target: Path and query, as a client would send them.
        native: It was written as `{path, body}`.
        tool_use: How its model asks for tools; None where it cannot.
    """

    target: str
    body: dict[str, Any]
    native: bool
    tool_use: ToolUse | None


def request_of(said: dict[str, Any]) -> Request:
    """A node's request. Raises PathRefused."""
    native = "path" in said
    if native and (unknown := sorted(said.keys() - _WORDS)):
        raise PathRefused("invalid_spec", f"Beside path and body there is no {unknown[0]!r}.", unknown[0])
    target, body = (said["path"], said.get("body")) if native else (WORKFLOW_PATH, as_responses(said))
    if not isinstance(target, str):
        raise PathRefused("invalid_spec", "The path is a text.", "path")
    if not isinstance(body, dict):
        raise PathRefused("invalid_spec", "The body is an object.", "body")
    found = _found(target)
    if isinstance(found, NoRoute):
        raise PathRefused("path_not_allowed", found.message, "path")
    routes = list(found.routes.values()) if isinstance(found, Shared) else [found]
    if not all(_is_inference(route) for route in routes):
        raise PathRefused("path_not_allowed", "A node calls inference routes only, with a JSON body.", "path")
    return Request(target=target, body=body, native=native, tool_use=TOOL_USE.get(routes[0].operation.name))


def _found(target: str) -> Route | Shared | NoRoute:
    path, _, query = target.partition("?")
    if not target.isascii() or not target.isprintable() or "#" in target or " " in target:
        raise PathRefused("path_not_allowed", "The path is no path.", "path")
    return match("POST", path, {}, query.encode())


def _is_inference(route: Route) -> bool:
    operation = route.operation
    return operation.billable and operation.batch is None and not operation.upload_bytes_max and not operation.here
