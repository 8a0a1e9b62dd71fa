"""What may stand inside of Gemini's requests and of a live socket's messages, in camel case; see `reading.inside`.

Both spellings are taken. What lies elsewhere, and a medium whose length stands nowhere, takes the model's window.
Source: google-genai 3.6's types.
"""

from __future__ import annotations

from typing import Final

from providers.google.spelling import camel
from providers.reading.inside import ANYTHING, Inside, Table


def _of(text: str, *, every: bool = False, **inside: Table) -> Inside:
    return Inside(text, inside=inside, every=every, spelt=camel)


_BLOB: Final = "{data displayName mimeType}"
_MEDIUM: Final = (
    f"inlineData{_BLOB} fileData{{displayName fileUri mimeType}} mediaProcessing "
    "mediaResolution{level numTokens} videoMetadata{endOffset fps startOffset contentLayers} "
    "documentMetadata{startPage endPage contentLayers} spreadsheetMetadata{visibleCells sheetIndex contentLayers} "
    "audioMetadata{startOffset endOffset}"
)
_RESPONSES: Final = f"{{id name response{{*}} parts{{{_MEDIUM} text}} scheduling willContinue}}"
_TRANSCRIPT: Final = "languageCode words{word startOffset endOffset} startOffset endOffset"

PARTS = _of(
    f"text thought thoughtSignature {_MEDIUM} codeExecutionResult{{outcome output id}} "
    "executableCode{code language id} "
    "functionCall{id args{*} name partialArgs{boolValue jsonPath nullValue numberValue stringValue willContinue} "
    f"willContinue}} functionResponse{_RESPONSES} toolCall{{id toolType args{{*}}}} "
    f"toolResponse{{id toolType response{{*}}}} partMetadata{{*}} speechMetadata{{speaker style}} "
    f"audioTranscription{{text finished speakerLabel {_TRANSCRIPT}}}"
)
"""Parts of what a content says."""

CONTENTS = _of("role", parts=PARTS)

_VOICE: Final = (
    "{voice replicatedVoiceConfig{mimeType voiceSampleAudio consentAudio voiceConsentSignature{signature}} "
    "prebuiltVoiceConfig{voiceName}}"
)
_TRANSCRIBE: Final = (
    "{languageCodes languageAuto{} languageHints{languageCodes} customVocabulary adaptationPhrases wordTimestamp "
    "diarization mode sourceText}"
)
_CONFIG: Final = (
    "responseSchema{*} responseJsonSchema{*} thinkingConfig{includeThoughts thinkingBudget thinkingLevel} "
    "responseFormat{audio{bitRate delivery mimeType sampleRate} image{aspectRatio delivery imageSize mimeType} "
    "text{mimeType schema{*}} video{aspectRatio delivery duration gcsUri resolution}} "
    f"speechConfig{{languageCode voiceConfig{_VOICE} multiSpeakerVoiceConfig{{speakerVoiceConfigs{{speaker "
    f"voiceConfig{_VOICE}}}}}}} "
    "imageConfig{aspectRatio imageSize personGeneration prominentPeople outputMimeType outputCompressionQuality "
    "imageOutputOptions{compressionQuality mimeType}} modelArmorConfig{promptTemplateName responseTemplateName} "
    f"audioTranscriptionConfig{_TRANSCRIBE} generationOutputConfig{{outputUriPrefix}} "
    "translationConfig{echoTargetLanguage targetLanguageCode}"
)
_CALLING: Final = (
    "toolConfig{retrievalConfig{latLng{latitude longitude} languageCode} "
    "functionCallingConfig{allowedFunctionNames mode streamFunctionCallArguments} "
    "includeServerSideToolInvocations} safetySettings{category method threshold} labels{*}"
)
# Which tools there are is said where they are held for, or refused, by their names.
_TOOLS = _of(
    "functionDeclarations{name description behavior parameters{*} parametersJsonSchema{*} response{*} "
    "responseJsonSchema{*}} computerUse{*} codeExecution{*} urlContext{*} mcpServers{*} googleSearch{*} "
    "googleSearchRetrieval{*} googleMaps{*} fileSearch{*} retrieval{*} enterpriseWebSearch{*} parallelAiSearch{*} "
    "exaAiSearch{*}"
)

GENERATE = _of(
    f"{_CONFIG} {_CALLING}",
    every=True,
    contents=CONTENTS,
    systemInstruction=CONTENTS,
    tools=_TOOLS,
    generationConfig=_of(_CONFIG, every=True),
)
"""A request for an answer."""

EMBED = _of("", every=True, content=CONTENTS, embedContentConfig=_of("", every=True))
"""A request for an embedding."""

SETUP: dict[str, Table] = {
    "systemInstruction": CONTENTS,
    "tools": _TOOLS,
    "contextWindowCompression": _of("triggerTokens slidingWindow{targetTokens}"),
    "historyConfig": _of("initialHistoryInClientContent"),
    "inputAudioTranscription": _of(_TRANSCRIBE[1:-1]),
    "outputAudioTranscription": _of(_TRANSCRIBE[1:-1]),
    "safetySettings": _of("category method threshold"),
    "labels": ANYTHING,
    "realtimeInputConfig": _of(
        "automaticActivityDetection{disabled startOfSpeechSensitivity endOfSpeechSensitivity prefixPaddingMs "
        "silenceDurationMs} activityHandling turnCoverage"
    ),
    "translationConfig": _of("echoTargetLanguage targetLanguageCode"),
    "sessionResumption": _of("handle transparent"),
    "avatarConfig": ANYTHING,
    "proactivity": ANYTHING,
}
"""Inside of a live socket's `setup`."""

CONFIG: dict[str, Table] = _of(_CONFIG).tables
"""Inside of its `generationConfig`."""

TURNS: dict[str, Table] = {"turns": CONTENTS}
RESULTS = _of(f"functionResponses{_RESPONSES}")
UPDATE: dict[str, Table] = {"tools": _of("tools{*}"), "systemInstruction": CONTENTS}
SOUND: dict[str, Table] = dict.fromkeys(("mediaChunks", "audio", "video"), _of(_BLOB[1:-1]))
"""Inside of `clientContent` and `realtimeInput`; `toolResponse`; inside of `contextUpdate`."""
