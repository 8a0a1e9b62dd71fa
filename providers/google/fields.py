"""Every field of Gemini's requests and of their configs, in camel case; see `contract.fields`.

Source: google-genai 3.6's types.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.google import parts
from providers.google.spelling import camel
from providers.ground.names import words
from providers.reading.frames import Messages

EMBED = Fields(
    bounded=words("model content title requests embedContentConfig"),
    metered=words("documentOcr audioTrackExtraction"),
    passed=words("taskType outputDimensionality autoTruncate mimeType"),
)

GENERATE = Fields(
    bounded=words(
        "model contents systemInstruction serviceTier generationConfig maxOutputTokens "
        "candidateCount responseSchema responseJsonSchema responseFormat"
    ),
    metered=words("tools continuationToken"),
    refused=words("cachedContent"),
    passed=words(
        "toolConfig safetySettings store labels audioTimestamp audioTranscriptionConfig "
        "automaticContinuation enableEnhancedCivicAnswers frequencyPenalty generationOutputConfig "
        "imageConfig logprobs mediaResolution modelArmorConfig presencePenalty responseLogprobs "
        "responseMimeType responseModalities seed speechConfig stopSequences temperature thinkingConfig "
        "topK topP"
    ),
)

LIVE_CONFIG = Fields(
    bounded=words("maxOutputTokens"),
    passed=GENERATE.rows["passed"] | words("enableAffectiveDialog translationConfig"),
)

LIVE_SETUP = Fields(
    bounded=words("model generationConfig systemInstruction"),
    metered=words("tools sessionResumption avatarConfig proactivity"),
    passed=words(
        "contextWindowCompression explicitVadSignal historyConfig inputAudioTranscription outputAudioTranscription "
        "labels safetySettings realtimeInputConfig translationConfig"
    ),
)

LIVE = Fields(
    bounded=words("setup clientContent realtimeInput toolResponse"),
    metered=words("contextUpdate"),
    passed=frozenset(),
)

LIVE_MESSAGES = Messages(
    LIVE,
    inside={
        "setup": Messages(
            LIVE_SETUP,
            inside=parts.SETUP | {"generationConfig": Messages(LIVE_CONFIG, inside=parts.CONFIG, spelt=camel)},
            spelt=camel,
        ),
        "contextUpdate": Messages(
            Fields(bounded=words("tools systemInstruction"), passed=frozenset()), inside=parts.UPDATE, spelt=camel
        ),
        "clientContent": Messages(
            Fields(bounded=words("turns turnComplete"), passed=frozenset()), inside=parts.TURNS, spelt=camel
        ),
        "toolResponse": parts.RESULTS,
        "realtimeInput": Messages(
            Fields(
                bounded=words("mediaChunks audio video text"), passed=words("activityStart activityEnd audioStreamEnd")
            ),
            inside=parts.SOUND,
            spelt=camel,
        ),
    },
    spelt=camel,
)
