"""What can stand in the content of a Gemini request: text, media, references, tools.

Promises: a kind of part, of medium or of tool that is not in the tables makes the request unbounded by name, so nothing
new slips through as if it were cheap; what lies in the operator's account is refused. Knows nothing of answers.
Source: providers.md P3 and §5.2, google-genai 3.6's types.
"""

from __future__ import annotations

import msgspec

from providers.bounding import media
from providers.bounding.extent import Extent, string_bytes
from providers.google.spelling import Names, each
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.reading.json_text import UNREADABLE, given, is_object, is_string
from providers.reading.links import is_public
from providers.reading.request import Head, text_field

_TOOL_PROMPT_TOKENS = 200
# Computer use declares some twenty functions of its own, whose text stands nowhere in the request [K].
_COMPUTER_USE_TOKENS = 3_000
_NESTING_MAX = 4

_CONTENT = Names("parts role")
_PART = Names(
    "text thought thoughtSignature inlineData fileData functionCall functionResponse executableCode toolCall "
    "codeExecutionResult toolResponse partMetadata videoMetadata mediaResolution mediaProcessing speechMetadata "
    "audioTranscription documentMetadata spreadsheetMetadata audioMetadata"
)
_PLAIN_PARTS = _PART.known - {"inlineData", "fileData", "functionResponse"}
_TEXT_ONLY = words("text thought thoughtSignature thought_signature")
_FUNCTION_RESPONSE = Names("id name response parts scheduling willContinue")
_BLOB = Names("mimeType data displayName")
_FILE = Names("mimeType fileUri displayName")
_HEAD: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)

# Media that are text: their bytes, written as base64, are more than the tokens in them.
_TEXTS = words(
    "application/json application/xml application/x-javascript application/javascript application/x-python "
    "application/x-python-code application/typescript application/x-typescript application/rtf"
)
_DECLARATIONS = words("functionDeclarations function_declarations")
_COMPUTER = words("computerUse computer_use")
_STORES = words("fileSearch file_search")
# Tools that Google runs, and that cost what they bring into the input.
_IN_TOKENS = words("codeExecution code_execution urlContext url_context mcpServers mcp_servers")
_SEARCHES = words("googleSearch google_search googleSearchRetrieval google_search_retrieval")
_MAPS = words("googleMaps google_maps")


class Content:
    """Reads the content of one request into an extent.

    Attributes:
        tools: Tools that Google runs and charges for by the call, by the name that they are priced under.
    """

    __slots__ = ("_extent", "tools")

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self.tools: set[str] = set()

    def contents(self, json_text: msgspec.Raw, where: str = "contents") -> None:
        """A member that holds contents, or one: `contents`, `content`, `systemInstruction`."""
        self._extent.content(json_text)
        if is_string(json_text):  # as no client sends it: the API refuses it
            self._extent.text(json_text)
            return
        for at, content in enumerate(each(json_text, where)):
            place = f"{where}[{at}]"
            head = _read(_CONTENT, content, place)
            for name in head.keys() - _CONTENT.known:
                self._extent.unknown(f"{place}.{name}")
            if "parts" in head:
                self._parts(head["parts"], f"{place}.parts", 0)

    def declared(self, json_text: msgspec.Raw) -> None:
        """The `tools` member."""
        tools = each(json_text, "tools")
        self._extent.tools(json_text, _TOOL_PROMPT_TOKENS if tools else 0)
        for at, tool in enumerate(tools):
            # Here a null asks, and so does a name that stands twice: no reading of these costs more.
            for name in _loose(tool, f"tools[{at}]"):
                if name in _DECLARATIONS:
                    continue
                if name in _COMPUTER:
                    self._extent.prompt(_COMPUTER_USE_TOKENS)
                    continue
                if name in _STORES:
                    raise BadRequest("File search stores are not offered here.", param=f"tools[{at}].{name}")
                where = f"tools[{at}].{name}"
                if name in _SEARCHES:
                    self.tools.add("web_search")
                elif name in _MAPS:
                    self.tools.add("google_maps")
                elif name not in _IN_TOKENS:
                    self._extent.unpriced = self._extent.unpriced or where
                self._extent.unknown(where, endless=True)

    def _parts(self, json_text: msgspec.Raw, where: str, depth: int) -> None:
        if depth > _NESTING_MAX:
            raise BadRequest(f"{where!r} is nested too deep.", param=where)
        for at, part in enumerate(each(json_text, where)):
            place = f"{where}[{at}]"
            head = _loose(part, place)
            if not head.keys() <= _TEXT_ONLY:
                head = _read(_PART, part, place)
                self._media(head, place, depth)
            text = head.get("text")
            if text is not None and is_string(text):
                self._extent.text(text)

    def _media(self, head: Head, where: str, depth: int) -> None:
        for name, json_text in head.items():
            if name in _PLAIN_PARTS or not given(json_text):
                continue
            place = f"{where}.{name}"
            if name == "inlineData":
                self._blob(_read(_BLOB, json_text, place), place)
            elif name == "fileData":
                self._file(_read(_FILE, json_text, place), place)
            elif name == "functionResponse":
                response = _read(_FUNCTION_RESPONSE, json_text, place)
                if "parts" in response:
                    self._parts(response["parts"], f"{place}.parts", depth + 1)
            else:
                self._extent.unknown(place)

    def _blob(self, head: Head, where: str) -> None:
        kind = text_field(head, "mimeType").partition(";")[0].strip().lower()
        data = head.get("data")
        if data is None or not is_string(data) or kind.startswith("text/") or kind in _TEXTS:
            return  # counted as text
        encoded = string_bytes(data)
        bound = None
        if kind.startswith("audio/"):
            self._extent.audio(len(data), media.gemini_audio(media.decode_base64(encoded)))
            return
        if kind.startswith("image/"):
            bound = media.gemini_image(encoded)
        elif kind == "application/pdf":
            bound = media.gemini_pdf(media.decode_base64(encoded), self._extent.documents)
        if bound is None:
            self._extent.unknown(f"{where}.data")  # video above all: its length stands nowhere that can be relied on
        else:
            self._extent.image(len(data), bound)

    def _file(self, head: Head, where: str) -> None:
        """A reference. What lies with Google lies in the operator's account, where everybody's does."""
        if not is_public(text_field(head, "fileUri"), "googleapis.com"):
            raise BadRequest("Only public http(s) URLs can be referred to here.", param=f"{where}.fileUri")
        self._extent.unknown(f"{where}.fileUri")


def _read(names: Names, json_text: msgspec.Raw, where: str) -> Head:
    if not is_object(json_text):
        raise BadRequest(f"{where!r} must be an object.", param=where)
    return names.read(bytes(json_text))


def _loose(json_text: msgspec.Raw, where: str) -> Head:
    """An object's members as they are spelt, of doubles the last."""
    try:
        return _HEAD.decode(json_text) if is_object(json_text) else {}
    except UNREADABLE:
        raise BadRequest(f"{where!r} cannot be read.", param=where) from None
