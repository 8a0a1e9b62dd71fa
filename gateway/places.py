"""Where calls are sent: the providers' own places, upstreams that the operator has named, and pools of credentials.

The last two stand in a TOML file (`FARTHING_UPSTREAMS`), with no secret in it: a credential is a variable's name in the
environment. A file that could not work is refused at the start, with the name of what is wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from providers.ground.vendors import MOUNTS, VENDORS, Speaks

Auth = Literal["bearer", "api-key", "x-api-key", "x-goog-api-key"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_TAKEN = frozenset(("v1", "v1beta", "dashboard", "portal", "docs", "clients", "healthz", "readyz", "metrics", "ws"))


class BadPlaces(ValueError):
    """The file cannot be used; the message says what of it, and never shows a secret."""


class Place(msgspec.Struct, frozen=True):
    """Where calls go, and the credential that we have for it ("" = none).

    Attributes:
        origin: Without a path.
        path: What ours is appended to.
        auth: How the credential is carried; None for as the provider has it.
    """

    origin: str
    credential: str
    path: str = ""
    auth: Auth | None = None

    def __repr__(self) -> str:
        return f"Place({self.origin!r}, credential={'set' if self.credential else 'absent'})"


class Named(msgspec.Struct, frozen=True):
    """An upstream that the operator has named.

    Attributes:
        speaks: Whose wire shape it has.
        models: What its deployments are: (provider, model) of the catalogue by their own names.
    """

    name: str
    speaks: Speaks
    place: Place
    models: Mapping[str, tuple[str, str]]


class Pooled(msgspec.Struct, frozen=True):
    """One of several credentials for a provider."""

    credential: str
    weight: int

    def __repr__(self) -> str:
        return f"Pooled(weight={self.weight})"


class Places(msgspec.Struct, frozen=True):
    """What the file says: upstreams by their names, and credentials by their provider."""

    upstreams: Mapping[str, Named] = {}
    pools: Mapping[str, tuple[Pooled, ...]] = {}


class _Upstream(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    speaks: Speaks
    origin: str
    models: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=200)], str], Meta(min_length=1)]
    auth: Auth = "bearer"
    credential: str = ""


class _Credential(msgspec.Struct, forbid_unknown_fields=True):
    provider: str
    key: str
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class _File(msgspec.Struct, forbid_unknown_fields=True):
    upstream: list[_Upstream] = []
    credential: list[_Credential] = []


def read(path: Path, values: Mapping[str, str]) -> Places:
    """The places of a file; `values` is the environment. Raises BadPlaces."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except OSError as error:
        raise BadPlaces(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadPlaces(f"{path}: {error}") from None
    upstreams: dict[str, Named] = {}
    for number, each in enumerate(found.upstream):
        where = f"{path}: upstream[{number}]"
        named = _named(each, where, values)
        if named.name in upstreams:
            raise BadPlaces(f"{where}.name: there are two upstreams {named.name}")
        upstreams[named.name] = named
    pools: dict[str, tuple[Pooled, ...]] = {}
    for number, one in enumerate(found.credential):
        where = f"{path}: credential[{number}]"
        if one.provider not in VENDORS:
            raise BadPlaces(f"{where}.provider: there is no provider {one.provider}")
        secret = _secret(one.key, f"{where}.key", values)
        pool = pools.get(one.provider, ())
        if any(known.credential == secret for known in pool):
            raise BadPlaces(f"{where}.key: this credential of {one.provider} stands in the file already")
        pools[one.provider] = (*pool, Pooled(secret, one.weight))
    return Places(upstreams, pools)


def _named(each: _Upstream, where: str, values: Mapping[str, str]) -> Named:
    if not _NAME.fullmatch(each.name):
        raise BadPlaces(f"{where}.name must be a lower-case letter, then letters, digits, - and _; 40 at most")
    if each.name in VENDORS or each.name in MOUNTS or each.name in _TAKEN:
        raise BadPlaces(f"{where}.name: {each.name} is a name of the gateway's own")
    parts = urlsplit(each.origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BadPlaces(f"{where}.origin must be an origin such as https://example.com, or one with a path")
    models = {name: _entry(entry, f"{where}.models.{name}") for name, entry in each.models.items()}
    secret = _secret(each.credential, f"{where}.credential", values) if each.credential else ""
    place = Place(f"{parts.scheme}://{parts.netloc}", secret, parts.path.rstrip("/"), each.auth)
    return Named(each.name, each.speaks, place, models)


def _entry(text: str, where: str) -> tuple[str, str]:
    provider, slash, model = text.partition("/")
    if provider not in VENDORS or not slash or not model:
        raise BadPlaces(f'{where} must be a provider and a model of the catalogue, such as "provider/model"')
    return provider, model


def _secret(text: str, where: str, values: Mapping[str, str]) -> str:
    found = _VARIABLE.fullmatch(text)
    if found is None:
        raise BadPlaces(
            f'{where} must name a variable of the environment, such as "env:AZURE_API_KEY": no secret itself'
        )
    secret = values.get(found[1], "")
    if not secret:
        raise BadPlaces(f"{where}: {found[1]} is not set")
    return secret


def credentialed(headers: dict[str, str], place: Place, own: str) -> dict[str, str]:
    """Header fields with the credential as a named upstream wants it; `own` is the field of the provider's."""
    headers.pop(own, None)
    if place.credential:
        bearer = place.auth == "bearer"
        headers["authorization" if bearer else str(place.auth)] = ("Bearer " if bearer else "") + place.credential
    return headers
