"""A provider's list of models, shown to a caller who may use some of them.

Promises: what is left is the provider's own bytes, in its order; a list in which nothing is hidden is not touched. Ids
of the operator's account do not leave.
Knows every listed provider's form: a list, or an object with lists in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

_LISTS = ("data", "models", "stt", "tts")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
# Who a model belongs to, where that is an account and not a vendor: "org-…", "user-…", a UUID.
_OWNER = re.compile(
    rb'("(?:owned_by|organization_id|workspace_id|created_by)"\s*:\s*)'
    rb'"(?:(?:org|user|proj|team|acct|workspace)[-_](?:[^"\\]|\\.)*+'
    rb'|[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12})"'
)
_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct, gc=False):
    """A model, by the names that it may have."""

    id: str | None = None
    name: str | None = None
    model_id: str | None = None
    canonical_name: str | None = None
    aliases: list[str] | None = None


_NAMED = msgspec.json.Decoder(_Named)


def narrowed(body: bytes, allowed: Callable[[str], bool]) -> bytes:
    """The list without what is not allowed by any of its names. Raises ValueError where it is no such list."""
    try:
        if body.lstrip()[:1] == b"[":
            kept = _kept(body, allowed)
            return body if kept is None else kept
        members = _OBJECT.decode(body)
        changed = False
        for name in _LISTS:
            if name in members and (kept := _kept(members[name], allowed)) is not None:
                members[name], changed = msgspec.Raw(kept), True
        return _encode(members) if changed else body
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no list of models: {error}") from None


def without_owners(body: bytes) -> bytes:
    """The list without the ids under which the operator's own models are his; the same bytes where it has none."""
    return _OWNER.sub(rb'\1"organization-owner"', body)


def _kept(json_text: bytes | msgspec.Raw, allowed: Callable[[str], bool]) -> bytes | None:
    """A list's allowed elements; None where all are."""
    elements = _LIST.decode(json_text)
    kept = [element for element in elements if _is_allowed(_NAMED.decode(element), allowed)]
    return None if len(kept) == len(elements) else _encode(kept)


def _is_allowed(model: _Named, allowed: Callable[[str], bool]) -> bool:
    names = (model.id, model.name, model.model_id, model.canonical_name, *(model.aliases or ()))
    return any(name and allowed(name.removeprefix("models/")) for name in names)
