"""What vendors offer in another one's shape: OpenAI's operations, and Anthropic's messages.

A vendor needs no row here: its own row in `providers.ground.vendors` says what it `speaks`, at which `layer` where its
own API is another, and where its `anthropic` API is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.contract.shapes import Shape
from providers.ground.quirks import Quirks
from providers.ground.vendors import VENDORS, Vendor
from providers.minimax.base_resp import with_base_resp
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from providers.openai.objects import CHAT_NAMES, KEPT, SOUND, STATE_NAMES
from providers.openai.responses import OPENAI_RESPONSES
from providers.stored.free import FREE_READ
from providers.stored.objects import Makes, Refers
from providers.stored.row import NOBODY, Row, row

Make = Callable[[Quirks], Shape]


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


def _free(method: str, path: str, **ownership: Any) -> _Offer:
    return _Offer(method=method, path=path, make=_always(FREE_READ), billable=False, **ownership)


_OFFERS: Mapping[str, tuple[_Offer, ...]] = MappingProxyType(
    {
        "chat.completions": (
            _Offer(
                path="/v1/chat/completions",
                make=OPENAI_CHAT.of,
                makes=(SOUND,),
                names=CHAT_NAMES,
            ),
        ),
        "completions": (_Offer(path="/v1/completions", make=OPENAI_COMPLETIONS.of),),
        "responses": (_Offer(path="/v1/responses", make=OPENAI_RESPONSES.of, makes=KEPT, names=STATE_NAMES),),
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


def _spoken(quirks: Quirks, make: Make) -> Shape:
    """A shape as a vendor with these quirks speaks it."""
    shape = make(quirks)
    return with_base_resp(shape) if quirks.base_resp else shape


def _offered(vendor: Vendor) -> tuple[tuple[str, ...], Quirks, str, str]:
    """What a vendor speaks of OpenAI's operations, how, behind which path instead of `/v1`, and in whose dialect."""
    if vendor.layer is not None:
        return vendor.layer.speaks, vendor.layer.quirks, vendor.layer.path, "openai"
    return vendor.speaks, vendor.quirks, f"{vendor.path_prefix}/v1", vendor.dialect


def _openais() -> Iterator[Row]:
    for vendor in VENDORS.values():
        speaks, quirks, base, dialect = _offered(vendor)
        for name in speaks:
            for offer in _OFFERS[name]:
                upstream = base + offer.path.removeprefix("/v1")
                # Clients that know the vendor's own URL send its prefix too.
                for path in dict.fromkeys((offer.path, upstream)):
                    yield row(
                        offer.method,
                        path,
                        vendor.name,
                        name,
                        _spoken(quirks, offer.make),
                        billable=offer.billable,
                        dialect=dialect,
                        upstream=upstream,
                        of=offer.of,
                        forgets=offer.forgets,
                        makes=offer.makes,
                        names=offer.names,
                    )


def _anthropics() -> Iterator[Row]:
    for vendor in VENDORS.values():
        if vendor.anthropic:
            shape, upstream = _spoken(vendor.quirks, _always(ANTHROPIC_MESSAGES)), vendor.anthropic + "/v1/messages"
            for path in ("/v1/messages", upstream):
                yield row("POST", path, vendor.name, "messages", shape, dialect="anthropic", upstream=upstream)


OPENAIS: tuple[Row, ...] = tuple(_openais())
ANTHROPICS: tuple[Row, ...] = tuple(_anthropics())
