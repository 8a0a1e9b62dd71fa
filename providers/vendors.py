"""Who the providers are: one row each. A vendor is data; what it speaks is a shape, and lives elsewhere.

Promises: every fact about a vendor that is not a wire shape stands in its row, so a new vendor of a known shape is a
row here and its operations in `routing`. Knows nothing of settings' values, secrets or models.
Source: providers.md §§1 and 2 (places of credentials, base URLs), api.md "Settings" and "Providers" (names).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from providers.text import words


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One provider.

    Attributes:
        name: As it stands in events, `allowed_providers` and mounts; lower case.
        aliases: Further names that are accepted as a mount (`/grok/…` for xai).
        dialect: The error shape that its SDKs expect: "openai" or "anthropic".
        setting: Suffix of the setting that moves it elsewhere: `FARTHING_UPSTREAM_<setting>`.
        origin: Where it lives unless that setting says otherwise; an origin without a path.
        path_prefix: What its upstream paths begin with, before the version; "" for most.
        key_env: Environment variable that holds our credential, by the name that its own SDK uses.
        key_header: Lower-case name of the request header that carries our credential upstream.
        key_prefix: What stands before the credential in that header ("Bearer ").
        headers: Further request headers it insists on, sent when the client sent none.
        roots: First path segments that are known to be its own, listed or not. One of these without a version segment
            gets `/v1`; one of these without a listed operation is refused with 403 rather than 404.
    """

    name: str
    aliases: tuple[str, ...] = ()
    dialect: str
    setting: str
    origin: str
    path_prefix: str = ""
    key_env: str
    key_header: str
    key_prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    roots: frozenset[str]


_OPENAI = Vendor(
    name="openai",
    dialect="openai",
    setting="OPENAI",
    origin="https://api.openai.com",
    key_env="OPENAI_API_KEY",
    key_header="authorization",
    key_prefix="Bearer ",
    roots=words(
        "agents assistants audio batches chat chatkit completions containers conversations decisions embeddings "
        "engines evals files fine-tunes fine_tuning images live models moderations organization organizations "
        "projects realtime responses skills threads uploads vaults vector_stores videos"
    ),
)

_ANTHROPIC = Vendor(
    name="anthropic",
    dialect="anthropic",
    setting="ANTHROPIC",
    origin="https://api.anthropic.com",
    key_env="ANTHROPIC_API_KEY",
    # Newer SDKs send `Authorization: Bearer`; the API takes keys in `x-api-key` from old and new alike.
    key_header="x-api-key",
    headers=(("anthropic-version", "2023-06-01"),),
    roots=words("agents complete deployments environments files messages models organizations sessions skills vaults"),
)

VENDORS: Mapping[str, Vendor] = MappingProxyType({vendor.name: vendor for vendor in (_OPENAI, _ANTHROPIC)})

MOUNTS: Mapping[str, Vendor] = MappingProxyType(
    {name: vendor for vendor in VENDORS.values() for name in (vendor.name, *vendor.aliases)}
)
"""Every first path segment that names a vendor explicitly."""
