"""Every parameter of Deepgram's queries, and every field of its bodies; see `contract.fields`.

Source: deepgram-sdk 7's types.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words
from providers.reading.frames import Messages
from providers.reading.inside import ANYTHING

_TEXT = "custom_intent custom_intent_mode custom_topic custom_topic_mode language tag extra"

LISTEN = Fields(
    bounded=words("model tier version encoding channels sample_rate multichannel"),
    metered=words(
        "diarize diarize_model diarize_version redact keyterm detect_entities summarize topics intents sentiment "
        "mip_opt_out"
    ),
    refused=words("callback callback_method"),
    passed=words(_TEXT)
    | words(
        "alternatives detect_language dictation filler_words keywords language_hint measurements ner "
        "numbers numerals paragraphs profanity_filter punctuate replace search smart_format utt_split utterances"
    ),
)

# Of a live socket, Flux's too.
LIVE = Fields(
    bounded=LISTEN.rows["bounded"],
    metered=LISTEN.rows["metered"],
    refused=LISTEN.rows["refused"],
    passed=LISTEN.rows["passed"]
    | words(
        "endpointing interim_results utterance_end_ms vad_events no_delay eager_eot_threshold eot_threshold "
        "eot_timeout_ms"
    ),
)

# What a live socket is told. Features that are switched on in the midst of it must be free ones.
LIVE_MESSAGES = Messages(
    Fields(bounded=words("type keyterms features"), passed=words("thresholds language_hints numerals")),
    kinds=words("KeepAlive Finalize CloseStream Configure"),
    inside={"features": Messages(Fields(bounded=frozenset(), passed=LISTEN.rows["passed"])), "thresholds": ANYTHING},
)
SPEAK_MESSAGES = Messages(
    Fields(bounded=words("type text"), passed=frozenset()), kinds=words("Speak Flush Clear Close")
)

SPEAK = Fields(
    bounded=words("model"),
    refused=words("callback callback_method"),
    metered=words("mip_opt_out"),
    passed=words("bit_rate container encoding extra sample_rate speed tag"),
)

BODY = Fields(bounded=words("text url"), passed=frozenset())

READ = Fields(
    bounded=words("summarize topics intents sentiment"),
    refused=words("callback callback_method"),
    passed=words(_TEXT),
)
