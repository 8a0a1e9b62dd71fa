"""How a vendor counts what stands in a request of OpenAI's shape: one row for each way of counting.

A request has one shape and many readers: the same picture is 1,229 tokens to one and 1,120 to another. Which row a
vendor counts by is a fact of its own (`Quirks.measure`). Knows nothing of requests. Source: providers.md §5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from providers.bounding import media
from providers.bounding.media import Base64, Bound

# A picture: tiles of 256 tokens, twelve of them and one of the whole at most [K].
_COHERE_PICTURE: Final = Bound(1_290, 3_328, 4_096)


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One way of counting.

    Attributes:
        picture: What a picture counts, from its base64 data; None where its size has to be read and cannot be. `low`
            is what the part says of its detail, which not everybody heeds.
        sound: What sound counts, from its bytes.
        page_tokens: What a picture of a document's page counts at most.
        tool_tokens: What the vendor's own words about tools add to a request that has some.
        margin_percent: What its vocabulary makes of a text, relative to o200k, for the likely most.
    """

    picture: Callable[[Base64, bool], Bound | None]
    sound: Callable[[bytes], Bound] = media.openai_audio
    page_tokens: int
    tool_tokens: int
    margin_percent: int = 100


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "openai": Measure(
            picture=lambda base64, low: media.openai_image(base64, low=low),
            page_tokens=2_942,  # at high detail, measured
            tool_tokens=200,
        ),
        "anthropic": Measure(
            picture=lambda base64, low: media.claude_image(base64),
            page_tokens=4_005,
            tool_tokens=700,
            margin_percent=135,
        ),
        "google": Measure(
            picture=lambda base64, low: media.gemini_image(base64),
            sound=media.gemini_audio,
            page_tokens=2_240,
            tool_tokens=200,
        ),
        "cohere": Measure(picture=lambda base64, low: _COHERE_PICTURE, page_tokens=4_096, tool_tokens=400),
    }
)
"""By the names that `Quirks.measure` says."""
