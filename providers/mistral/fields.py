"""Every field of Mistral's own requests; see `contract.fields`. Source: mistralai 3.7's types."""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

# What turns before it cost is in no price list; a voice to speak with, in `ref_audio`, costs nothing.
SPEECH = Fields(
    bounded=words("model input stream"),
    metered=words("conversation_history"),
    passed=words("metadata prompt_cache_key voice voice_id ref_audio expressiveness phoneme_hints response_format"),
)

OCR = Fields(
    bounded=words("model document pages bbox_annotation_format document_annotation_format document_annotation_prompt"),
    passed=words(
        "id confidence_scores_granularity extract_footer extract_header image_limit image_min_size include_blocks "
        "include_image_base64 table_format"
    ),
)
