"""What may stand inside of a request for xAI's images; see `reading.inside`. Source: docs.x.ai.

A picture that is brought is refused where the cap must hold, by its name.
"""

from __future__ import annotations

from providers.reading.inside import Inside

IMAGES = Inside("image{*} images{*} mask{*} storage_options{*}", every=True)
"""Pictures to be made."""
