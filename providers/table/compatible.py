"""OpenAI's operations in OpenAI's shape, for every vendor whose row names them (`speaks`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from providers.free import FREE_READ
from providers.objects import Makes, Refers
from providers.openai_chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai_embeddings import OPENAI_EMBEDDINGS
from providers.openai_responses import OPENAI_RESPONSES
from providers.shapes import Shape
from providers.table.row import NOBODY, Row, row
from providers.vendors import VENDORS

DAY_S = 86_400
# Answers are kept for 30 days unless `store` is false. A day more here: who is late sees the provider's own word.
_KEPT = (
    Makes(
        kind="response",
        at="id",
        streamed=("response.id",),
        facts={"model": "model"},
        keep_s=31 * DAY_S,
        unless=r'"store"\s*:\s*false',
    ),
    Makes(kind="item", at="output[].id", streamed=("item.id",), keep_s=31 * DAY_S, unless=r'"store"\s*:\s*false'),
)
_SOUND = Makes(
    kind="audio",
    at="choices[].message.audio.id",
    streamed=("choices[].delta.audio.id",),
    keep_s=DAY_S,
    when=r'"audio"\s*:\s*\{',
)
_FILES: Mapping[str, Refers] = MappingProxyType({"file_id": Refers(kind="file"), "file_ids": Refers(kind="file")})
CHAT_NAMES: Mapping[str, Refers] = MappingProxyType({"file_id": Refers(kind="file"), "audio": Refers(kind="audio")})
STATE_NAMES: Mapping[str, Refers] = MappingProxyType(
    {
        **_FILES,
        "previous_response_id": Refers(kind="response", status=400, code="previous_response_not_found"),
        "conversation": Refers(kind="conversation"),
        # What nobody can make through here is nobody's.
        "vector_store_ids": Refers(kind="vector_store"),
        "container": Refers(kind="container"),
    }
)


class _Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One row that a name stands for; see `row`."""

    method: str = "POST"
    path: str
    shape: Shape
    billable: bool = True
    of: str = ""
    forgets: bool = False
    makes: tuple[Makes, ...] = ()
    names: Mapping[str, Refers] = NOBODY


def _free(method: str, path: str, **walls: Any) -> _Offer:
    return _Offer(method=method, path=path, shape=FREE_READ, billable=False, **walls)


_OFFERS: Mapping[str, tuple[_Offer, ...]] = MappingProxyType(
    {
        "chat.completions": (
            _Offer(
                path="/v1/chat/completions",
                shape=OPENAI_CHAT,
                makes=(_SOUND,),
                names=CHAT_NAMES,
            ),
        ),
        "completions": (_Offer(path="/v1/completions", shape=OPENAI_COMPLETIONS),),
        "responses": (_Offer(path="/v1/responses", shape=OPENAI_RESPONSES, makes=_KEPT, names=STATE_NAMES),),
        "responses.stored": (
            _free("GET", "/v1/responses/{id}", of="response"),
            _free("DELETE", "/v1/responses/{id}", of="response", forgets=True),
            _free("GET", "/v1/responses/{id}/input_items", of="response"),
            _free("POST", "/v1/responses/{id}/cancel", of="response"),
        ),
        "embeddings": (_Offer(path="/v1/embeddings", shape=OPENAI_EMBEDDINGS),),
        "models": (_free("GET", "/v1/models"), _free("GET", "/v1/models/{id}")),
    }
)
"""What a vendor's `speaks` can name."""


def _compatible() -> Iterator[Row]:
    for vendor in VENDORS.values():
        for name in vendor.speaks:
            for offer in _OFFERS[name]:
                yield row(
                    offer.method,
                    offer.path,
                    vendor.name,
                    name,
                    offer.shape,
                    billable=offer.billable,
                    upstream=vendor.path_prefix + offer.path,
                    of=offer.of,
                    forgets=offer.forgets,
                    makes=offer.makes,
                    names=offer.names,
                )


ROWS = tuple(_compatible())
