"""What may stand inside of Mistral's own requests; see `reading.inside`. Source: mistralai 3.7's types.

Its chat is OpenAI's, and stands there. A document that lies elsewhere is as many pages as are held for at most.
"""

from __future__ import annotations

from providers.reading.inside import Inside, Kinds

_FORMAT = "{type=text|json_object|json_schema json_schema{name description schema{*} strict}}"

OCR = Inside(
    f"bbox_annotation_format{_FORMAT} document_annotation_format{_FORMAT}",
    inside={
        "document": Kinds(
            {
                " document_url": "document_url document_name",
                "image_url": "image_url{url detail}",
                "file": "file_id",
            }
        )
    },
    every=True,
)
"""A document to be read."""

SPEECH = Inside("metadata{*} conversation_history{*}", every=True)
"""A text to be spoken."""
