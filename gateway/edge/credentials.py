"""Where a client's key may stand: in a header, a subprotocol, or the URL of a provider whose own clients put it there.

Promises: every place where an official SDK puts a key is looked at; two different keys of ours are a conflict; a key in
a URL is told. What is taken out of a request never reaches a provider.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from gateway.edge.headers import HeaderFields
from keys.token import LIVE, TEST
from providers.ground.vendors import VENDORS

_KEY_FIELDS = frozenset((b"authorization", b"x-goog-api-key", b"xi-api-key", b"x-api-key", b"api-key"))
_SCHEMES = ("bearer ", "token ")
_BARE_SCHEMES = ("bearer", "token")  # with nothing behind: a client without a key
_SUBPROTOCOLS = b"sec-websocket-protocol"
_SECRET_SUBPROTOCOLS = tuple(each for vendor in VENDORS.values() for each in vendor.secret_subprotocols)
_SCHEME_SUBPROTOCOLS = ("token", "bearer")  # the next one is the key
_ACCOUNT_SUBPROTOCOLS = tuple(each for vendor in VENDORS.values() for each in vendor.account_subprotocols)
_URL_CREDENTIALS = frozenset(  # with "_" for "-", in any case, and without a "$" before
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


class Credentials(msgspec.Struct, frozen=True):
    """The key found in a request. More than one different key of ours is a conflict."""

    secret: str | None
    conflicting: bool = False
    in_url: bool = False


def credentials(
    fields: HeaderFields, query: bytes, ours: Callable[[str], bool], *, url_keys: Collection[str] = ()
) -> Credentials:
    """Find the client's key in any of the places where an SDK puts it.

    `ours` tells a secret of ours from anything else, which is no key: `Basic …`, a key of the provider's that a client
    has in its environment. It is asked where there are several. `url_keys` are the parameters in which this provider's
    own clients put theirs into the URL (`Vendor.url_keys`); elsewhere a key there is refused.
    """
    found: list[str] = []  # each once, almost always one
    for name_bytes, value_bytes in fields:
        if name_bytes == _SUBPROTOCOLS:
            found += filter(None, _split([(name_bytes, value_bytes)])[1])
            continue
        if name_bytes not in _KEY_FIELDS:
            continue
        value = value_bytes.decode("latin-1").strip()
        if name_bytes == b"authorization":
            for scheme in _SCHEMES:
                if value[: len(scheme)].lower() == scheme:
                    value = value[len(scheme) :].strip()
                    break
        if value and value.lower() not in _BARE_SCHEMES:
            found.append(value)
    in_url = False
    if query:
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name in url_keys:
                if value:
                    found.append(value)
            elif name.lower().lstrip("$").replace("-", "_") in _URL_CREDENTIALS or value.startswith((LIVE, TEST)):
                in_url = True
    if len(found) > 1:
        found = [value for value in dict.fromkeys(found) if ours(value)] or found[:1]
    return Credentials(found[0] if found else None, len(found) > 1, in_url)


def without_key(query: bytes, names: Collection[str]) -> bytes:
    """The query as it came, but for the client's key, which stands under one of these names."""
    kept = (part for part in query.split(b"&") if unquote_plus(part.partition(b"=")[0].decode("latin-1")) not in names)
    return b"&".join(kept)


def subprotocols(fields: HeaderFields) -> tuple[list[str], str | None]:
    """What a WebSocket's client offers: the subprotocols to offer upstream, and the one to answer it with.

    A client fails if it is answered with none of its own. One of those that are no secret will do, be it only the
    word that said that a secret follows (providers.md §1).
    """
    protocols, _secrets, schemes = _split(fields)
    return protocols, next(iter((*protocols, *schemes)), None)


def _split(fields: HeaderFields) -> tuple[list[str], list[str], list[str]]:
    """The offered subprotocols: plain ones, the keys among them, and the words that announced a key."""
    protocols: list[str] = []
    secrets: list[str] = []
    schemes: list[str] = []
    announced = False
    for name, value in fields:
        for offered in value.decode("latin-1").split(",") if name == _SUBPROTOCOLS else ():
            offer = offered.strip()
            prefix = next((each for each in _SECRET_SUBPROTOCOLS if offer.startswith(each)), "")
            if announced or prefix:
                secrets.append(offer.removeprefix(prefix))
                announced = False
            elif offer.lower() in _SCHEME_SUBPROTOCOLS:
                schemes.append(offer)
                announced = True
            elif offer and not offer.startswith((*_ACCOUNT_SUBPROTOCOLS, LIVE, TEST)):
                protocols.append(offer)
    return protocols, secrets, schemes
