"""What can stand in the content of an Anthropic request: text, media, references, tools.

Promises: a kind of block that is not in the table makes the request unbounded by name, so nothing new slips through
as if it were cheap. Knows nothing of answers. Source: the SDK's types (anthropic 2.12) and providers.md §5.2.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from providers.anthropic.hosted import CLIENT, count_tools
from providers.bounding import media
from providers.bounding.extent import Extent, string_bytes
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.reading.elements import Elements
from providers.reading.json_text import NULL, given, is_string
from providers.reading.request import Head

# What the API adds where tools are present: 300 to 700 tokens [K]; and for each tool that it defines itself, whose
# description stands nowhere in the request (computer use: 735; text editor: 700).
_TOOL_PROMPT_TOKENS = 700
_OWN_TOOL_TOKENS = 1_500
_PAGE_IMAGE_TOKENS = 4_005
_NESTING_MAX = 8


class Block(msgspec.Struct, gc=False):
    """A content block, its source, a message or a tool: the members that tell what it costs, as JSON text."""

    type: str = ""
    text: msgspec.Raw = NULL
    thinking: msgspec.Raw = NULL
    content: msgspec.Raw = NULL
    source: msgspec.Raw = NULL
    data: msgspec.Raw = NULL
    media_type: str | None = None


_BLOCK = msgspec.json.Decoder(Block)
_BLOCKS = Elements(_BLOCK, msgspec.json.Decoder(list[Block]))

# Blocks whose every byte is in the request. Encrypted content is longer than what it hides.
_PLAIN = words(
    "tool_use server_tool_use redacted_thinking search_result web_search_tool_result code_execution_tool_result "
    "bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result tool_reference "
    "browser_state web_search_result mcp_tool_use compaction"
)


def read_blocks(json_text: msgspec.Raw, where: str) -> Iterable[Block]:
    """A list of blocks, messages or tools.

    Raises:
        BadRequest: It is no list of objects; the message names the element.
    """
    return _BLOCKS.read(json_text, where)


class Content:
    """Reads the content of one request into an extent."""

    __slots__ = ("_extent",)

    def __init__(self, extent: Extent) -> None:
        self._extent = extent

    def messages(self, json_text: msgspec.Raw) -> None:
        """The `messages` member."""
        self._extent.content(json_text)
        for at, message in enumerate(read_blocks(json_text, "messages")):
            if is_string(message.content):
                self._extent.text(message.content)
            elif given(message.content):
                self._blocks(message.content, f"messages[{at}].content", 0)

    def system(self, json_text: msgspec.Raw) -> None:
        """The `system` member: a text or a list of text blocks."""
        self._extent.content(json_text)
        self._value(json_text, "system", 0)

    def tools(self, head: Head) -> None:
        """The `tools` member, where there is one."""
        json_text = head.get("tools")
        if json_text is None or not given(json_text):
            return
        tools = list(read_blocks(json_text, "tools"))
        self._extent.tools(json_text, _TOOL_PROMPT_TOKENS if tools else 0)
        own = False
        for at, tool in enumerate(tools):
            if tool.type and tool.type != "custom":
                own = True
                if not tool.type.startswith(CLIENT):
                    self._extent.unknown(f"tools[{at}].type", endless=True)
                self._extent.prompt(_OWN_TOOL_TOKENS)
        if own:
            count_tools(self._extent, json_text)

    def _value(self, json_text: msgspec.Raw, where: str, depth: int) -> None:
        if is_string(json_text):
            self._extent.text(json_text)
        elif given(json_text):
            self._blocks(json_text, where, depth)

    def _blocks(self, json_text: msgspec.Raw, where: str, depth: int) -> None:
        if depth > _NESTING_MAX:
            raise BadRequest(f"{where!r} is nested too deep.", param=where)
        for at, block in enumerate(read_blocks(json_text, where)):
            kind = block.type
            if kind == "text":
                if is_string(block.text):
                    self._extent.text(block.text)
            elif kind == "thinking":
                if is_string(block.thinking):
                    self._extent.text(block.thinking)
            elif kind in ("tool_result", "mcp_tool_result"):
                if given(block.content):
                    self._value(block.content, f"{where}[{at}].content", depth + 1)
            elif kind == "image":
                self._image(block.source, f"{where}[{at}].source")
            elif kind == "document":
                self._document(block.source, f"{where}[{at}].source", depth)
            elif kind not in _PLAIN:
                self._extent.unknown(f"{where}[{at}].type")

    def _image(self, json_text: msgspec.Raw, where: str) -> None:
        source = self._source(json_text, where)
        if source.type != "base64" or not is_string(source.data):
            self._extent.unknown(where)
            return
        self._extent.image(len(source.data), media.claude_image(string_bytes(source.data)))

    def _document(self, json_text: msgspec.Raw, where: str, depth: int) -> None:
        source = self._source(json_text, where)
        if source.type == "text" and is_string(source.data):
            self._extent.text(source.data)
        elif source.type == "content":
            self._value(source.content, f"{where}.content", depth + 1)
        elif source.type == "base64" and is_string(source.data):
            data = media.decode_base64(string_bytes(source.data))
            bound = media.pdf(data, self._extent.documents, page_image_most=_PAGE_IMAGE_TOKENS)
            if bound is None:
                self._extent.unknown(f"{where}.data")
            else:
                self._extent.image(len(source.data), bound)
        else:
            self._extent.unknown(where)

    @staticmethod
    def _source(json_text: msgspec.Raw, where: str) -> Block:
        try:
            return Block() if not given(json_text) else _BLOCK.decode(json_text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest(f"{where!r} must be an object.", param=where) from None
