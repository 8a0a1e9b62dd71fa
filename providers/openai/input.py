"""What can stand in the content of an OpenAI request, chat or Responses: text, media, references, tools.

Promises: a kind of part that is not in the table makes the request unbounded by name, so nothing new slips through
as if it were cheap. Knows nothing of answers. Source: the SDK's types (openai 3.54) and providers.md §5.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from providers.bounding import media
from providers.bounding.extent import Extent, data_url, string_bytes
from providers.bounding.measures import MEASURES
from providers.contract.shapes import Reference
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.quirks import PLAIN, Quirks
from providers.openai.hosted import CLIENT, count_tools
from providers.reading.elements import Elements
from providers.reading.json_text import NULL, given, is_object, is_string
from providers.reading.links import is_public
from providers.reading.request import Head, members
from providers.stored.objects import unescaped

# gpt-4o-mini alone counts a tile of an image as 5,667 tokens (85 + 170 a tile elsewhere).
_TILE_FACTORS = {"gpt-4o-mini": 34}


class Part(msgspec.Struct, gc=False):
    """A content part, an input item or a tool: the members that tell what it costs, as JSON text."""

    type: str = ""
    text: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    detail: msgspec.Raw = NULL
    image_url: msgspec.Raw = NULL
    input_audio: msgspec.Raw = NULL
    file: msgspec.Raw = NULL
    file_id: msgspec.Raw = NULL
    file_data: msgspec.Raw = NULL
    file_url: msgspec.Raw = NULL
    content: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    result: msgspec.Raw = NULL
    audio: msgspec.Raw = NULL
    url: msgspec.Raw = NULL
    data: msgspec.Raw = NULL
    id: msgspec.Raw = NULL
    encrypted_content: msgspec.Raw = NULL
    min_pixels: msgspec.Raw = NULL
    max_pixels: msgspec.Raw = NULL


_JSON_TEXTS = msgspec.json.Decoder(list[msgspec.Raw])
_REFERENCE = re.compile(rb'(?<!\\)"item_reference"')
_PART = msgspec.json.Decoder(Part)
_PARTS = Elements(_PART, msgspec.json.Decoder(list[Part]))

_TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "thinking"})
_IMAGES = frozenset({"image_url", "input_image", "computer_screenshot"})
_FILES = frozenset({"file", "input_file"})
# Items of a Responses conversation whose every byte is in the request. Encrypted ones are longer than what they hide.
_PLAIN_ITEMS = words(
    "function_call custom_tool_call reasoning compaction computer_call local_shell_call "
    "local_shell_call_output shell_call shell_call_output apply_patch_call apply_patch_call_output "
    "web_search_call file_search_call mcp_list_tools mcp_approval_request mcp_approval_response mcp_call "
    "code_interpreter_call tool_search_call program program_output"
)
_OUTPUT_ITEMS = frozenset({"function_call_output", "custom_tool_call_output", "computer_call_output"})


def _is_reference(item: Part) -> bool:
    """Whether the provider has to look an item up that it keeps, by its id."""
    kind = item.type
    if kind == "item_reference" or (not kind and given(item.id) and not given(item.content)):
        return True
    # Its content is not in the request: thoughts are only where they are encrypted, pictures where they are drawn.
    hidden = kind == "reasoning" and not given(item.encrypted_content)
    return given(item.id) and (hidden or (kind == "image_generation_call" and not given(item.result)))


def read_parts(json_text: msgspec.Raw, where: str) -> Iterable[Part]:
    """A list of parts, items, messages or tools.

    Raises:
        BadRequest: It is no list of objects; the message names the element.
    """
    return _PARTS.read(json_text, where)


class Content:
    """Reads the content of one request into an extent."""

    __slots__ = ("_extent", "_keeps", "_measure", "_model", "_places", "file", "refers")

    def __init__(self, extent: Extent, model: str, quirks: Quirks = PLAIN) -> None:
        self._extent = extent
        self._measure, self._keeps = MEASURES[quirks.measure], quirks.keeps
        self.refers: list[Reference] = []  # to stored items, by their ids
        self._places: list[int] = []
        self.file = ""  # where the first file is
        self._model = model

    def messages(self, json_text: msgspec.Raw) -> None:
        """Chat's `messages`."""
        self._extent.content(json_text)
        for at, message in enumerate(read_parts(json_text, "messages")):
            if given(message.content):
                self.value(message.content, "messages", at)
            if message.audio is not NULL and given(message.audio):
                self._extent.unknown(f"messages[{at}].audio")  # an earlier answer's sound, by its id

    def items(self, json_text: msgspec.Raw) -> None:
        """Responses' `input`: a text, or a list of messages and other items."""
        self._extent.content(json_text)
        if is_string(json_text):
            self._extent.text(json_text)
            return
        typed = 0
        for at, item in enumerate(read_parts(json_text, "input")):
            kind = item.type
            if kind == "message" or (not kind and given(item.content)):
                if given(item.content):
                    self.value(item.content, "input", at)
            elif kind in _OUTPUT_ITEMS:
                if given(item.output):
                    self.value(item.output, "input", at)
            elif kind == "image_generation_call":
                self._picture(item.result, f"input[{at}].result")
            elif kind not in _PLAIN_ITEMS:
                self._extent.unknown(f"input[{at}]")
            typed += kind == "item_reference"
            if _is_reference(item):
                self._refer(item, at)
        self._only_references(json_text, typed)

    def _refer(self, item: Part, at: int) -> None:
        """An item of which the request has the id and the provider the content."""
        if not is_string(item.id):
            raise BadRequest("A reference to an item needs its id.", param=f"input[{at}].id")
        self.refers.append(Reference("input", "item", string_bytes(item.id).decode()))
        self._places.append(at)

    def _only_references(self, json_text: msgspec.Raw, typed: int) -> None:
        """Of two members with one name some parsers take the first, and we the last: no reference may be hidden so."""
        if len(_REFERENCE.findall(unescaped(bytes(json_text)))) != typed:
            raise BadRequest("An item of 'input' is a reference and something else.", param="input")
        if self._places:
            items = _JSON_TEXTS.decode(json_text)
            for at in self._places:
                names = [member.name for member in members(bytes(items[at]))]
                if len(names) != len(set(names)):
                    raise BadRequest("A reference to an item says something twice.", param=f"input[{at}]")

    def unseen(self, *, searches_files: bool) -> None:
        """What a cap that must hold has to know besides: items that the provider keeps, files that it searches."""
        if searches_files and self.file:
            self._extent.unknown(self.file, endless=True)
        if self.refers:
            self._extent.unknown(self.refers[0].param)

    def value(self, json_text: msgspec.Raw, owner: str, at: int) -> None:
        """What a message says: a text, a list of parts, or one part."""
        if is_string(json_text):
            self._extent.text(json_text)
            return
        where = f"{owner}[{at}].content"
        if is_object(json_text):
            self._part(self._object(json_text, where), where)
            return
        for number, part in enumerate(read_parts(json_text, where)):
            self._part(part, f"{where}[{number}]")

    def tools(
        self,
        head: Head,
        name: str,
        *,
        calls: Mapping[str, str] = {},
        containers: Mapping[str, int] = {},
        runs: int | None = None,
    ) -> int:
        """A list of tools, where there is one; how large a container they ask for. See `providers.openai.hosted`."""
        json_text = head.get(name)
        if json_text is None or not given(json_text):
            return 0
        tools = list(read_parts(json_text, name))
        self._extent.tools(json_text, self._measure.tool_tokens if tools else 0)
        for at, tool in enumerate(tools):
            if tool.type and tool.type not in CLIENT:
                self._extent.unknown(f"{name}[{at}].type", endless=True)
        if not self._extent.endless:
            return 0
        return count_tools(self._extent, json_text, name, calls=calls, containers=containers, runs=runs)

    def _part(self, part: Part, where: str) -> None:
        kind = part.type
        if kind in _TEXTS:
            for text in (part.text, part.refusal):
                if is_string(text):
                    self._extent.text(text)
        elif kind in _IMAGES:
            self._image(part, where)
        elif kind == "input_audio":
            self._audio(part.input_audio, f"{where}.input_audio")
        elif kind in _FILES:
            self._file(part, where)
        elif self._keeps:
            raise BadRequest(f"Parts as in {where + '.type'!r} are not offered here.", param=f"{where}.type")
        else:
            self._extent.unknown(f"{where}.type")

    def _elsewhere(self, json_text: msgspec.Raw, where: str) -> None:
        """What is not in the request: a link, or nothing that can be read."""
        if self._keeps and not (
            is_string(json_text) and is_public(string_bytes(json_text).decode("utf-8", "replace"), self._keeps)
        ):
            raise BadRequest(f"{where!r} can be data or a public http(s) URL.", param=where)
        self._extent.unknown(where)

    def _image(self, part: Part, where: str) -> None:
        url, detail = part.image_url, part.detail
        for name, pixels in (("min_pixels", part.min_pixels), ("max_pixels", part.max_pixels)):  # Qwen scales by them
            if given(pixels):
                self._extent.unknown(f"{where}.{name}")
        if is_object(url):
            inner = self._object(url, f"{where}.image_url")
            url, detail = inner.url, inner.detail
        self._picture(url, f"{where}.image_url", low=bytes(detail) == b'"low"')

    def _picture(self, json_text: msgspec.Raw, where: str, *, low: bool = False) -> None:
        """A picture as a data URL, or as bare base64 where it is a tool's result."""
        text = string_bytes(json_text) if is_string(json_text) else b""
        found = data_url(text)
        base64 = found[1] if found else text if where.endswith(".result") else b""
        if not len(base64):
            self._elsewhere(json_text, where)
            return
        bound = self._measure.picture(base64, low)
        if bound is None:
            self._extent.unknown(where)
            return
        tiles = next((factor for name, factor in _TILE_FACTORS.items() if self._model.startswith(name)), 1)
        if tiles > 1:
            most = (85 + 170 * 8) * tiles
            bound = media.Bound((85 + 170 * 4) * tiles, most, most)
        self._extent.image(len(json_text), bound)

    def _audio(self, json_text: msgspec.Raw, where: str) -> None:
        by_time = is_string(json_text)  # Mistral: base64, a data URL or a link; priced by its seconds beside the tokens
        data = json_text if by_time else self._object(json_text, where).data
        if not is_string(data):
            self._elsewhere(data, where)
            return
        text = string_bytes(data)
        found = data_url(text)
        sound = media.decode_base64(found[1] if found else text)
        if not sound:
            self._elsewhere(data, where)
            return
        self._extent.audio(len(data), self._measure.sound(sound), media.duration_ms(sound) if by_time else None)

    def _file(self, part: Part, where: str) -> None:
        self.file = self.file or where
        if part.type == "file":
            part = self._object(part.file, f"{where}.file")
            where += ".file"
        json_text = part.file_data
        if self._keeps and not (is_string(json_text) and data_url(string_bytes(json_text))):
            raise BadRequest(f"{where!r} can hold a data URL only.", param=where)
        if given(part.file_id) or given(part.file_url) or not is_string(json_text):
            named = "file_id" if given(part.file_id) else "file_url" if given(part.file_url) else "file_data"
            self._extent.unknown(f"{where}.{named}")
            return
        text = string_bytes(json_text)
        found = data_url(text)
        data = media.decode_base64(found[1] if found else text)
        bound = media.pdf(data, self._extent.documents, page_image_most=self._measure.page_tokens)
        if bound is not None:
            self._extent.image(len(json_text), bound)
        elif not data or b"\0" in data or data[:4] == b"PK\x03\x04" or data[:5] == b"%PDF-":
            self._extent.unknown(f"{where}.file_data")  # packed, so its size says nothing
        # Otherwise it is a text file, whose base64 is longer than itself: it counts as the text that it is.

    @staticmethod
    def _object(json_text: msgspec.Raw, where: str) -> Part:
        try:
            return Part() if not given(json_text) else _PART.decode(json_text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest(f"{where!r} must be an object.", param=where) from None
