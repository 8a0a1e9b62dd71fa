"""What a request's head comes to, worked out once for all requests of a connection that say it again.

Clients repeat a head byte by byte, save the length of the body. Promises: what is remembered is a function of the head
alone, so a request is taken as if it had been the first; a head is the same only if its method, its target and all of
its fields are, in their order, save the value of its one Content-Length; a connection remembers its last head, and
nobody any other, so a key is kept no longer than the connection that brought it. Knows nothing of bodies or accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.bounds import HEAD_KEPT_BYTES
from gateway.edge.credentials import Credentials, credentials
from gateway.edge.headers import HeaderFields, as_mapping, fields_bytes, origin, to_provider
from providers.ground.vendors import Vendor
from providers.routing import NoRoute, Route, Shared, match

_LENGTH = b"content-length"


class Keeper(Protocol):
    """Who remembers the last head: a connection."""

    head: Head | None


class Head:
    """A request's head, and what it comes to.

    Attributes:
        method: As sent; `SOCKET` of a WebSocket's handshake.
        query: As sent.
        fields: As sent, names in lower case.
        found: Where it goes; see `providers.routing.match`.
        origin: Where the client found us; see `gateway.edge.headers.origin`.
    """

    __slots__ = (
        "_after", "_before", "_credentials", "_forwarded", "_length_at", "_mapping", "_raw_path", "_scheme",
        "fields", "found", "method", "origin", "query",
    )  # fmt: skip

    def __init__(self, method: str, raw_path: bytes, query: bytes, fields: HeaderFields, scheme: str = "http") -> None:
        self.method, self.query, self.fields = method, query, fields
        self._raw_path, self._scheme = raw_path, scheme
        lengths = [at for at, (name, _) in enumerate(fields) if name == _LENGTH]
        self._length_at = lengths[0] if len(lengths) == 1 else None
        if self._length_at is not None:
            self._before, self._after = fields[: self._length_at], fields[self._length_at + 1 :]
        self._mapping = as_mapping(fields)
        self.found: Route | Shared | NoRoute = match(method, raw_path.decode("latin-1"), self._mapping, query)
        self.origin = origin(scheme, self._mapping)
        self._credentials: dict[tuple[str, ...], Credentials] = {}
        self._forwarded: tuple[str, str, int, dict[str, str]] | None = None

    @classmethod
    def of(cls, scope: Mapping[str, Any], keeper: Keeper | None) -> Head:
        """The head of an ASGI request: the one that its connection remembers, if it says that again."""
        method, query, fields = scope["method"], scope["query_string"], scope["headers"]
        raw_path: bytes = scope["raw_path"] if "raw_path" in scope else scope["path"].encode()
        if keeper is not None and keeper.head is not None and keeper.head.is_said(method, raw_path, query, fields):
            return keeper.head
        head = cls(method, raw_path, query, fields, scope.get("scheme", "http"))
        if keeper is not None:
            keeper.head = head if fields_bytes(fields) + len(raw_path) + len(query) <= HEAD_KEPT_BYTES else None
        return head

    def mounted(self) -> tuple[str, bytes]:
        """The first segment of the path, and the path without it."""
        name, slash, rest = self._raw_path.removeprefix(b"/").partition(b"/")
        return name.decode("latin-1"), slash + rest

    def at(self, raw_path: bytes) -> Head:
        """The same head at another path."""
        return Head(self.method, raw_path, self.query, self.fields, self._scheme)

    def is_said(self, method: str, raw_path: bytes, query: bytes, fields: HeaderFields) -> bool:
        """Whether a request says this head again."""
        if (
            len(fields) != len(self.fields)
            or raw_path != self._raw_path
            or method != self.method
            or query != self.query
        ):
            return False
        at = self._length_at
        if at is None:
            return fields == self.fields
        return fields[at][0] == _LENGTH and fields[:at] == self._before and fields[at + 1 :] == self._after

    def mapping(self, fields: HeaderFields) -> dict[str, str]:
        """The fields of a request that says this head, by their names; see `gateway.edge.headers.as_mapping`."""
        mapping = self._mapping.copy()
        if self._length_at is not None:
            mapping["content-length"] = fields[self._length_at][1].decode("latin-1")
        return mapping

    def credentials(self, ours: Callable[[str], bool], *, url_keys: tuple[str, ...] = ()) -> Credentials:
        """See `gateway.edge.credentials`; `ours` is always the same."""
        found = self._credentials.get(url_keys)
        if found is None:
            found = self._credentials[url_keys] = credentials(self.fields, self.query, ours, url_keys=url_keys)
        return found

    def to_provider(self, vendor: Vendor, credential: str, tenant: int) -> dict[str, str]:
        """See `gateway.edge.headers.to_provider`; the caller's own, to be changed."""
        last = self._forwarded
        if last is None or last[0] != vendor.name or last[1] != credential or last[2] != tenant:
            headers = to_provider(self.fields, vendor, credential, tenant)
            last = self._forwarded = vendor.name, credential, tenant, headers
        return last[3].copy()
