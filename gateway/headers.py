"""What passes in each direction: allow-lists, both ways. And where a client's key may stand.

Promises: no credential of the client, no cookie, no hop-by-hop field and no header of ours ever reaches a provider;
no cookie, server banner or account id of the operator ever reaches a client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from gateway.bounds import HEADER_BYTES_MAX, HEADERS_MAX
from keys.token import LIVE, TEST
from providers.ground.vendors import VENDORS, Vendor

RawHeaders = list[tuple[bytes, bytes]]

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_KEY_HEADERS = ("x-goog-api-key", "xi-api-key", "x-api-key", "api-key")
_SCHEMES = ("bearer ", "token ")
_BARE_SCHEMES = ("bearer", "token")  # with nothing behind: a client without a key
_SUBPROTOCOLS = b"sec-websocket-protocol"
_SECRET_SUBPROTOCOLS = ("openai-insecure-api-key.", "xai-client-secret.")
_SCHEME_SUBPROTOCOLS = ("token", "bearer")  # the next one is the key (Deepgram)
_OPERATORS_SUBPROTOCOLS = ("openai-organization.", "openai-project.")  # of the client's own account with the provider
_URL_CREDENTIALS = frozenset(  # with "_" for "-", in any case, and without Google's "$"
    [
        "key",
        "api_key",
        "apikey",
        "access_token",
        "oauth_token",
        "bearer_token",
        "token",
        "authorization",
        "x_goog_api_key",
        "xi_api_key",
        "x_api_key",
    ]
)

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


class _Allowed:
    """A list of header names, some of them prefixes."""

    __slots__ = ("_names", "_prefixes")

    def __init__(self, names: Iterable[str]) -> None:
        names = tuple(names)
        self._names = frozenset(name for name in names if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in names if name.endswith("*"))

    def __contains__(self, name: str) -> bool:
        return name in self._names or name.startswith(self._prefixes)


_PASSES = MappingProxyType({name: _Allowed((*_REQUEST_NAMES, *vendor.passes)) for name, vendor in VENDORS.items()})
_RETURNS = MappingProxyType({name: _Allowed((*_RESPONSE_NAMES, *vendor.returns)) for name, vendor in VENDORS.items()})


class Credentials(msgspec.Struct, frozen=True):
    """The key found in a request. More than one different key of ours is a conflict."""

    secret: str | None
    conflicting: bool = False
    in_url: bool = False


def as_mapping(raw: RawHeaders) -> dict[str, str]:
    """Header fields by lower-case name; of a repeated one the last. Credentials are looked for in the raw list."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}


def origin(scheme: str, headers: Mapping[str, str]) -> str:
    """Where the client found us, as it says itself: for its own use, and for no decision. "" where it says no host."""
    host = headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        return ""
    return f"{'https' if headers.get('x-forwarded-proto') == 'https' else scheme}://{host}"


def too_large(raw: RawHeaders) -> bool:
    """Whether there are more header fields, or larger ones, than anybody needs."""
    return len(raw) > HEADERS_MAX or sum(len(name) + len(value) for name, value in raw) > HEADER_BYTES_MAX


def credentials(raw: RawHeaders, query: bytes, ours: Callable[[str], bool], *, url_key: bool = False) -> Credentials:
    """Find the client's key in any of the places where an SDK puts it.

    `ours` tells a secret of ours from anything else, which is no key: `Basic …`, a key of the provider's that a client
    has in its environment. It is asked where there are several. `url_key` says that this provider's own clients put
    theirs into the URL, as `?key=` or, on WebSockets, as `?access_token=`; elsewhere a key there is refused.
    """
    found: list[str] = []  # each once, almost always one
    for name_bytes, value_bytes in raw:
        if name_bytes == _SUBPROTOCOLS:
            found += filter(None, _split([(name_bytes, value_bytes)])[1])
            continue
        if b"key" not in name_bytes and name_bytes != b"authorization":
            continue
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1").strip()
        if name == "authorization":
            for scheme in _SCHEMES:
                if value[: len(scheme)].lower() == scheme:
                    value = value[len(scheme) :].strip()
                    break
        elif name not in _KEY_HEADERS:
            continue
        if value and value.lower() not in _BARE_SCHEMES:
            found.append(value)
    in_url = False
    if query:
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if url_key and name in ("key", "access_token"):
                if value:
                    found.append(value)
            elif name.lower().lstrip("$").replace("-", "_") in _URL_CREDENTIALS or value.startswith((LIVE, TEST)):
                in_url = True
    if len(found) > 1:
        found = [value for value in dict.fromkeys(found) if ours(value)] or found[:1]
    return Credentials(found[0] if found else None, len(found) > 1, in_url)


def without_key(query: bytes) -> bytes:
    """The query as it came, but for the client's key."""
    names = ("key", "access_token")
    kept = (part for part in query.split(b"&") if unquote_plus(part.partition(b"=")[0].decode("latin-1")) not in names)
    return b"&".join(kept)


def subprotocols(raw: RawHeaders) -> tuple[list[str], str | None]:
    """What a WebSocket's client offers: the subprotocols to offer upstream, and the one to answer it with.

    A client fails if it is answered with none of its own. One of those that are no secret will do, be it only the
    word that said that a secret follows (providers.md §1).
    """
    plain, _secrets, schemes = _split(raw)
    return plain, next(iter((*plain, *schemes)), None)


def _split(raw: RawHeaders) -> tuple[list[str], list[str], list[str]]:
    """The offered subprotocols: plain ones, the keys among them, and the words that announced a key."""
    plain: list[str] = []
    secrets: list[str] = []
    schemes: list[str] = []
    announced = False
    for name, value in raw:
        for offered in value.decode("latin-1").split(",") if name == _SUBPROTOCOLS else ():
            offer = offered.strip()
            prefix = next((each for each in _SECRET_SUBPROTOCOLS if offer.startswith(each)), "")
            if announced or prefix:
                secrets.append(offer.removeprefix(prefix))
                announced = False
            elif offer.lower() in _SCHEME_SUBPROTOCOLS:
                schemes.append(offer)
                announced = True
            elif offer and not offer.startswith((*_OPERATORS_SUBPROTOCOLS, LIVE, TEST)):
                plain.append(offer)
    return plain, secrets, schemes


def to_provider(raw: RawHeaders, vendor: Vendor, credential: str, tenant: int = 0) -> dict[str, str]:
    """The headers of the forwarded request: the client's allowed ones, our credential, our own.

    An idempotency key is the tenant's own: all tenants are one account to the provider, which would answer one of them
    with what it had answered another under the same key.
    """
    forwarded: dict[str, str] = {}
    named: set[str] = set()
    passes = _PASSES[vendor.name]
    for name_bytes, value_bytes in raw:
        name = name_bytes.decode("latin-1")
        if name in passes:
            value = value_bytes.decode("latin-1")
            forwarded[name] = f"{forwarded[name]}, {value}" if name in forwarded else value
        elif name == "connection":
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


def to_provider_socket(raw: RawHeaders, vendor: Vendor, credential: str) -> dict[str, str]:
    """The headers of a forwarded WebSocket handshake, but for those of the handshake itself."""
    forwarded = to_provider(raw, vendor, credential)
    del forwarded["accept-encoding"]
    return forwarded


def to_client(headers: Mapping[str, str] | Iterable[tuple[str, str]], vendor: Vendor) -> RawHeaders:
    """The provider's headers that a client gets to see."""
    items = headers.items() if isinstance(headers, Mapping) else headers
    returns = _RETURNS[vendor.name]
    return [
        (lower.encode("latin-1"), value.encode("latin-1"))
        for name, value in items
        if (lower := name.lower()) in returns
    ]
