"""What vendors offer in another one's shape: OpenAI's operations, and Anthropic's messages.

A vendor needs no row here: its own row in `providers.ground.vendors` says what it `speaks` and where its `anthropic`
API is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from providers.anthropic_messages import ANTHROPIC_MESSAGES
from providers.contract.shapes import Shape
from providers.ground.quirks import Quirks
from providers.ground.vendors import VENDORS, Vendor
from providers.minimax import with_base_resp
from providers.openai_chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai_embeddings import OPENAI_EMBEDDINGS
from providers.openai_responses import OPENAI_RESPONSES
from providers.stored.free import FREE_READ
from providers.stored.objects import Makes, Refers
from providers.stored.row import NOBODY, Row, row

Make = Callable[[Quirks], Shape]

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
    # Where a model's code ran; another answer's may run there again.
    Makes(kind="container", at="output[].container_id", streamed=("item.container_id",), keep_s=DAY_S),
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
        "container": Refers(kind="container"),
        "container_id": Refers(kind="container"),
        "comparison_response_id": Refers(kind="response"),
        # Nobody can make these through here: each is nobody's. Skills of the provider's own have names.
        "vector_store_ids": Refers(kind="vector_store"),
        "collection_ids": Refers(kind="collection"),
        "prompt": Refers(kind="prompt"),
        "skill_id": Refers(kind="skill", pattern=r"^(skill_.+)"),
        "tunnel_id": Refers(kind="tunnel"),
    }
)


def _always(shape: Shape) -> Make:
    return lambda quirks: shape


class _Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One row that a name stands for; see `row`."""

    method: str = "POST"
    path: str
    make: Make
    billable: bool = True
    of: str = ""
    forgets: bool = False
    makes: tuple[Makes, ...] = ()
    names: Mapping[str, Refers] = NOBODY


def _free(method: str, path: str, **walls: Any) -> _Offer:
    return _Offer(method=method, path=path, make=_always(FREE_READ), billable=False, **walls)


_OFFERS: Mapping[str, tuple[_Offer, ...]] = MappingProxyType(
    {
        "chat.completions": (
            _Offer(
                path="/v1/chat/completions",
                make=OPENAI_CHAT.of,
                makes=(_SOUND,),
                names=CHAT_NAMES,
            ),
        ),
        "completions": (_Offer(path="/v1/completions", make=OPENAI_COMPLETIONS.of),),
        "responses": (_Offer(path="/v1/responses", make=OPENAI_RESPONSES.of, makes=_KEPT, names=STATE_NAMES),),
        "responses.stored": (
            _free("GET", "/v1/responses/{id}", of="response"),
            _free("DELETE", "/v1/responses/{id}", of="response", forgets=True),
            _free("GET", "/v1/responses/{id}/input_items", of="response"),
            _free("POST", "/v1/responses/{id}/cancel", of="response"),
        ),
        "embeddings": (_Offer(path="/v1/embeddings", make=_always(OPENAI_EMBEDDINGS)),),
        "models": (_free("GET", "/v1/models"), _free("GET", "/v1/models/{id}")),
    }
)
"""What a vendor's `speaks` can name."""


def spoken(vendor: Vendor, make: Make) -> Shape:
    """A shape as this vendor speaks it."""
    shape = make(vendor.quirks)
    return with_base_resp(shape) if vendor.quirks.base_resp else shape


def _openais() -> Iterator[Row]:
    for vendor in VENDORS.values():
        for name in vendor.speaks:
            for offer in _OFFERS[name]:
                upstream = vendor.path_prefix + offer.path
                # Clients that know the vendor's own URL send its prefix too.
                for path in dict.fromkeys((offer.path, upstream)):
                    yield row(
                        offer.method,
                        path,
                        vendor.name,
                        name,
                        spoken(vendor, offer.make),
                        billable=offer.billable,
                        upstream=upstream,
                        of=offer.of,
                        forgets=offer.forgets,
                        makes=offer.makes,
                        names=offer.names,
                    )


def _anthropics() -> Iterator[Row]:
    for vendor in VENDORS.values():
        if vendor.anthropic:
            shape, upstream = spoken(vendor, _always(ANTHROPIC_MESSAGES)), vendor.anthropic + "/v1/messages"
            for path in ("/v1/messages", upstream):
                yield row("POST", path, vendor.name, "messages", shape, dialect="anthropic", upstream=upstream)


OPENAIS: tuple[Row, ...] = tuple(_openais())
ANTHROPICS: tuple[Row, ...] = tuple(_anthropics())
