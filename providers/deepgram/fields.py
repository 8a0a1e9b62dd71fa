"""Every parameter of Deepgram's queries, and every field of its bodies; see `contract.fields`.

Source: deepgram-sdk 7's types.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

_TEXT = "custom_intent custom_intent_mode custom_topic custom_topic_mode language tag extra"

LISTEN = Fields(
    bounded=words("model tier version encoding channels sample_rate multichannel"),
    metered=words(
        "diarize diarize_model diarize_version redact keyterm detect_entities summarize topics intents sentiment"
    ),
    refused=words("callback callback_method"),
    plain=words(_TEXT)
    | words(
        "alternatives detect_language dictation filler_words keywords language_hint measurements mip_opt_out ner "
        "numbers numerals paragraphs profanity_filter punctuate replace search smart_format utt_split utterances"
    ),
)

SPEAK = Fields(
    bounded=words("model"),
    refused=words("callback callback_method"),
    plain=words("bit_rate container encoding extra mip_opt_out sample_rate speed tag"),
)

BODY = Fields(bounded=words("text url"), plain=frozenset())

READ = Fields(
    bounded=words("summarize topics intents sentiment"),
    refused=words("callback callback_method"),
    plain=words(_TEXT),
)
