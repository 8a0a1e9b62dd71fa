"""Every field of Gemini's requests and of their configs, in camel case; see `contract.fields`.

Source: google-genai 3.6's types.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

EMBED = Fields(
    bounded=words("model content title requests embedContentConfig"),
    metered=words("documentOcr audioTrackExtraction"),
    plain=words("taskType outputDimensionality autoTruncate mimeType"),
)

GENERATE = Fields(
    bounded=words(
        "model contents systemInstruction serviceTier generationConfig maxOutputTokens "
        "candidateCount responseSchema responseJsonSchema responseFormat"
    ),
    metered=words("tools continuationToken"),
    refused=words("cachedContent"),
    plain=words(
        "toolConfig safetySettings store labels audioTimestamp audioTranscriptionConfig "
        "automaticContinuation enableEnhancedCivicAnswers frequencyPenalty generationOutputConfig "
        "imageConfig logprobs mediaResolution modelArmorConfig presencePenalty responseLogprobs "
        "responseMimeType responseModalities seed speechConfig stopSequences temperature thinkingConfig "
        "topK topP"
    ),
)
