"""What passes in each direction: allow-lists, both ways.

Promises: no credential of the client, no cookie, no hop-by-hop field and no header of ours ever reaches a provider;
no cookie, server banner or account id of the operator ever reaches a client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import chain
from types import MappingProxyType

from gateway.bounds import HEADER_BYTES_MAX, HEADERS_MAX
from providers.ground.vendors import VENDORS, Vendor

HeaderFields = list[tuple[bytes, bytes]]

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_REQUEST_NAMES = ("accept", "content-type", "idempotency-key", "user-agent")
_RESPONSE_NAMES = (
    "cache-control",
    "content-type",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
)


def _allowed(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A list of header names: whole ones, and with a `*` the beginnings of others."""
    names = tuple(names)
    return tuple(name for name in names if name[-1] != "*"), tuple(name[:-1] for name in names if name[-1] == "*")


def _passes(vendor: Vendor) -> tuple[dict[bytes, str], tuple[bytes, ...]]:
    whole, begun = _allowed((*_REQUEST_NAMES, *vendor.passes))
    return {name.encode(): name for name in whole}, tuple(name.encode() for name in begun)


def _returns(vendor: Vendor) -> tuple[dict[str, bytes], tuple[str, ...]]:
    whole, begun = _allowed((*_RESPONSE_NAMES, *vendor.returns))
    return {name: name.encode() for name in whole}, begun


_PASSES = MappingProxyType({name: _passes(vendor) for name, vendor in VENDORS.items()})
_RETURNS = MappingProxyType({name: _returns(vendor) for name, vendor in VENDORS.items()})


def as_mapping(fields: HeaderFields) -> dict[str, str]:
    """Header fields by lower-case name; of a repeated one the last. Credentials are looked for in the list itself."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}


def origin(scheme: str, headers: Mapping[str, str]) -> str:
    """Where the client found us, as it says itself: for its own use, and for no decision. "" where it says no host."""
    host = headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        return ""
    return f"{'https' if headers.get('x-forwarded-proto') == 'https' else scheme}://{host}"


def too_large(fields: HeaderFields) -> bool:
    """Whether there are more header fields, or larger ones, than anybody needs."""
    return len(fields) > HEADERS_MAX or fields_bytes(fields) > HEADER_BYTES_MAX


def fields_bytes(fields: HeaderFields) -> int:
    """How long all names and values are together."""
    return sum(map(len, chain.from_iterable(fields)))


def to_provider(fields: HeaderFields, vendor: Vendor, credential: str, tenant: int = 0) -> dict[str, str]:
    """The headers of the forwarded request: the client's allowed ones, our credential, our own.

    An idempotency key is the tenant's own: all tenants are one account to the provider, which would answer one of them
    with what it had answered another under the same key.
    """
    forwarded: dict[str, str] = {}
    named: set[str] = set()
    whole, begun = _PASSES[vendor.name]
    for name_bytes, value_bytes in fields:
        name = whole.get(name_bytes)
        if name is None and name_bytes.startswith(begun):
            name = name_bytes.decode("latin-1")
        if name is not None:
            value = value_bytes.decode("latin-1")
            forwarded[name] = f"{forwarded[name]}, {value}" if name in forwarded else value
        elif name_bytes == b"connection":
            named.update(part.strip().lower() for part in value_bytes.decode("latin-1").split(","))
    for name in named:
        forwarded.pop(name, None)
    if (once := forwarded.get("idempotency-key")) is not None:
        forwarded["idempotency-key"] = blake2b(f"{tenant}\0{once}".encode(), digest_size=20).hexdigest()
    for name, value in vendor.headers:
        forwarded.setdefault(name, value)
    forwarded["accept-encoding"] = "identity"
    forwarded["via"] = "1.1 farthing"
    forwarded[vendor.key_header] = vendor.key_prefix + credential
    return forwarded


def as_bearer(headers: dict[str, str], vendor: Vendor) -> None:
    """The same headers, with our credential as a bearer token instead of in the vendor's usual place."""
    headers["authorization"] = "Bearer " + headers.pop(vendor.key_header).removeprefix(vendor.key_prefix)


def to_provider_socket(fields: HeaderFields, vendor: Vendor, credential: str) -> dict[str, str]:
    """The headers of a forwarded WebSocket handshake, but for those of the handshake itself."""
    forwarded = to_provider(fields, vendor, credential)
    del forwarded["accept-encoding"]
    return forwarded


def to_client(headers: Mapping[str, str] | Iterable[tuple[str, str]], vendor: Vendor) -> HeaderFields:
    """The provider's headers that a client gets to see."""
    items = headers.items() if isinstance(headers, Mapping) else headers
    whole, begun = _RETURNS[vendor.name]
    shown: HeaderFields = []
    for name, value in items:
        lower = name.lower()
        field = whole.get(lower)
        if field is None and lower.startswith(begun):
            field = lower.encode("latin-1")
        if field is not None:
            shown.append((field, value.encode("latin-1")))
    return shown
