"""Gemini's requests as the simulator reads them, what they count, and Google's errors.

Promises: names in either spelling, strangers refused as Google refuses them; a count that is a function of the request.
Native statuses and messages (providers.md §4.2). Independent of every meter and bound of Farthing.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from providers.simulator import tokens
from providers.simulator.answers import Headers, Whole
from providers.simulator.requests import Refusal, Request

T = TypeVar("T")

_STATUSES: Final[dict[int, tuple[str, str]]] = {
    400: ("INVALID_ARGUMENT", "The simulator refuses this request, as it was asked to."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    402: ("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio to manage your billing."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out."),
}
_CACHED_MIN: Final = 1_024
_LOCATION: Final = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_SNAKE: Final = re.compile(r"_([a-z])")
_FREE: Final = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema",
                          "responseJsonSchema", "labels"})  # fmt: skip
# Whose names are the caller's own


class Blob(msgspec.Struct):
    """Media in a request."""

    mimeType: str | None = None  # noqa: N815 - names are the provider's, here and below
    data: str | None = None


class FunctionResponse(msgspec.Struct):
    """What a function gave."""

    name: str = ""
    response: Any = None


class Part(msgspec.Struct, omit_defaults=True):
    """A part of a turn."""

    text: str | None = None
    thought: bool | None = None
    inlineData: Blob | None = None  # noqa: N815
    fileData: Any = None  # noqa: N815
    functionCall: Any = None  # noqa: N815
    functionResponse: FunctionResponse | None = None  # noqa: N815


class Content(msgspec.Struct, omit_defaults=True):
    """A turn."""

    parts: list[Part] | None = None
    role: str | None = None


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parametersJsonSchema: dict[str, Any] | None = None  # noqa: N815

    def schema(self) -> dict[str, Any]:
        """Its parameters as a JSON schema: Google's own notation has types in capitals."""
        made: dict[str, Any] = lowered(self.parametersJsonSchema or self.parameters or {"type": "object"})
        return made


class Tool(msgspec.Struct):
    """Functions, or a tool of Google's own."""

    functionDeclarations: list[Function] | None = None  # noqa: N815


class Calling(msgspec.Struct):
    """Whether functions are called."""

    mode: str | None = None
    allowedFunctionNames: list[str] | None = None  # noqa: N815


class ToolConfig(msgspec.Struct):
    """How tools are used."""

    functionCallingConfig: Calling | None = None  # noqa: N815


class Thinking(msgspec.Struct):
    """How much is thought."""

    includeThoughts: bool | None = None  # noqa: N815
    thinkingBudget: int | None = None  # noqa: N815


class Config(msgspec.Struct):
    """`generationConfig`."""

    maxOutputTokens: int | None = None  # noqa: N815
    candidateCount: int | None = None  # noqa: N815
    stopSequences: list[str] | None = None  # noqa: N815
    responseMimeType: str | None = None  # noqa: N815
    responseSchema: dict[str, Any] | None = None  # noqa: N815
    responseJsonSchema: dict[str, Any] | None = None  # noqa: N815
    responseModalities: list[str] | None = None  # noqa: N815
    thinkingConfig: Thinking | None = None  # noqa: N815

    def schema(self) -> dict[str, Any] | None:
        """The answer's, as a JSON schema; None without one."""
        given = self.responseJsonSchema or self.responseSchema
        made: dict[str, Any] | None = lowered(given) if given else None
        return made


class Body(msgspec.Struct):
    """A request to generate or to count."""

    contents: list[Content] | None = None
    systemInstruction: Content | None = None  # noqa: N815
    tools: list[Tool] | None = None
    toolConfig: ToolConfig | None = None  # noqa: N815
    generationConfig: Config | None = None  # noqa: N815
    serviceTier: str | None = None  # noqa: N815
    generateContentRequest: Body | None = None  # noqa: N815


class Embed(msgspec.Struct):
    """A request for an embedding."""

    content: Content | None = None
    outputDimensionality: int | None = None  # noqa: N815


class EmbedBatch(msgspec.Struct):
    """Several of them."""

    requests: list[Embed] | None = None


_KNOWN: Final = frozenset({
    "model", "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig",
    "cachedContent", "serviceTier", "store", "labels", "continuationToken", "generateContentRequest", "content",
    "taskType", "title", "outputDimensionality", "requests",
})  # fmt: skip


def read(request: Request, kind: type[T]) -> T:
    """Read the body.

    Raises:
        Refusal: It is no JSON, holds a stranger, or a field has the wrong type.
    """
    try:
        given = _camel(msgspec.json.decode(request.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refuse(request, "Invalid JSON payload received. Expected a value.")
    if isinstance(given, dict):
        for name in given.keys() - _KNOWN:
            refuse(request, f'Invalid JSON payload received. Unknown name "{name[:40]}": Cannot find field.')
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as fault:
        found = _LOCATION.match(str(fault))
        expected, where = (found[1], found[2] or "") if found else ("", "")
        refuse(request, f"Invalid value at '{where}': {expected}")


def _camel(value: Any, name: str = "") -> Any:
    """The same with every name in camel case, and lone objects as lists of one where a list is meant."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        spelt = _SNAKE.sub(lambda match: match[1].upper(), key)
        if spelt in ("contents", "parts", "tools") and isinstance(inner, dict):
            inner = [inner]  # noqa: PLW2901 - Google takes one for a list of one
        found[spelt] = inner if spelt in _FREE else _camel(inner, spelt)
    return found


def lowered(schema: Any) -> Any:
    """A schema with its types in small letters."""
    if isinstance(schema, list):
        return [lowered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else lowered(value)
        for name, value in schema.items()
    }


class Counted(msgspec.Struct):
    """The input of a request in tokens: by modality, and what stood before the model's last turn (None without)."""

    text: int = 0
    image: int = 0
    audio: int = 0
    resent: int | None = None

    @property
    def total(self) -> int:
        """All of it."""
        return self.text + self.image + self.audio

    def details(self) -> list[dict[str, Any]]:
        """The breakdown that Google reports."""
        counts = {"TEXT": self.text, "IMAGE": self.image, "AUDIO": self.audio}
        return [{"modality": name, "tokenCount": number} for name, number in counts.items() if number]

    def cached(self, wanted: str) -> int:
        """How much an implicit cache gave: what an earlier call sent, from 1,024 tokens on, or as a fault wants it."""
        if wanted == "hit":
            return self.text // 2
        known = 0 if wanted in ("miss", "off") else self.resent or 0
        return min(known, self.text) if known >= _CACHED_MIN else 0


def counted(body: Body, model: str) -> Counted:
    """Count a request: text by pieces; a picture 1,120 (Gemini 2: 258 a tile); a page 258; a second of sound 32."""
    found = Counted()
    for tool in body.tools or []:
        for function in tool.functionDeclarations or []:
            found.text += tokens.count(function.name) + tokens.count(function.description or "")
            found.text += tokens.count(msgspec.json.encode(function.schema()).decode())
    schema = body.generationConfig.schema() if body.generationConfig else None
    found.text += tokens.count(msgspec.json.encode(schema).decode()) if schema else 0
    for content in [*([body.systemInstruction] if body.systemInstruction else []), *(body.contents or [])]:
        if content.role == "model":
            found.resent = found.total
        for part in content.parts or []:
            found.text += tokens.count(part.text or "")
            for value in (part.functionCall, part.functionResponse):
                found.text += tokens.count(msgspec.json.encode(value).decode()) if value is not None else 0
            if part.inlineData is not None:
                _media(part.inlineData, found, model)
            if part.fileData is not None:
                found.image += 1_120
    return found


def _media(blob: Blob, found: Counted, model: str) -> None:
    kind, data = (blob.mimeType or "").lower(), blob.data or ""
    if kind.startswith("image/"):
        found.image += tokens.gemini_image(data, tiled=model.startswith("gemini-2"))
    elif kind.startswith("audio/"):
        found.audio += max(1, tokens.length(data) * 3 // 4 // 1_000)  # 32,000 bytes a second, 32 tokens
    elif kind == "application/pdf":
        found.image += tokens.document(data) * 258 // 2_000
    else:
        found.text += tokens.length(data) * 3 // 16


def headers() -> Headers:
    """The head that Google sends."""
    return [
        ("content-type", "application/json; charset=UTF-8"),
        ("server-timing", "gfet4t7; dur=120"),
    ]


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error answer in Google's shape; without a message, the status's usual one."""
    name, usual = _STATUSES.get(status, _STATUSES[500] if status >= 500 else _STATUSES[400])
    body: dict[str, Any] = {"code": status, "message": message or usual, "status": name}
    if status == 429:
        body["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]
    return Whole(status=status, headers=headers(), body=msgspec.json.encode({"error": body}))


def refuse(request: Request, message: str) -> NoReturn:
    """Answer 400 as the provider does."""
    raise Refusal(error(request, 400, message))
