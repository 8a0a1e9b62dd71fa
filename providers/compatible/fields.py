"""Every field of xAI's images; see `contract.fields`. Source: xai-sdk 1.21's types, docs.x.ai.

A picture has one price here, which is that of medium quality and of one thousand pixels: what asks for more, or brings
pictures, is priced by the answer.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

IMAGES = Fields(
    bounded=words("model prompt n"),
    metered=words("image images mask quality resolution storage_options"),
    passed=words("user response_format format image_format aspect_ratio size style"),
)
