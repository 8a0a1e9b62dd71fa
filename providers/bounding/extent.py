"""How much input a request can be billed for, told from its bytes.

Promises `typical <= upper <= bound`, and that nobody's byte-level BPE makes more input of the request than `bound`:

* Every byte of the body counts as a token, except those of media parts that were recognised. What is not understood
  is therefore counted as text, never left out.
* That is sound for JSON-escaped text, because an escape is never shorter than what it stands for: `\\n` is two bytes
  for one; `\\uXXXX` is six bytes for at most three of UTF-8; a surrogate pair is twelve for four. Where a text is all
  ASCII, its escapes are undone first, which gives its true length (or two bytes more for each surrogate pair).
* The chat template's own tokens, a few for each message, are fewer than the bytes of the JSON around its content
  (`{"role":"","content":""}` are 24), which are counted too. Tool schemas are re-written by providers, so their bytes
  count twice, and a fixed prompt for tool use is added.
* A media part counts what `media` says of it. A part, field or tool whose cost the bytes do not show (a remote image, a
  file id, a stored conversation, a tool that the provider itself runs) is named in `unbounded`.

Assumptions, published: the tokenizer does not lengthen text before it splits it (as NFKC can), and a picture's or
document's cost is as in providers.md §5.2. Knows nothing of prices and models' limits.
"""

from __future__ import annotations

from typing import Final

import msgspec

from providers.bounding.media import Bound
from providers.bounding.pdf import Budget
from providers.bounding.text import Classes, estimates
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage

_JOINED_BYTES_MAX = 256 << 10  # of text that is put together before it is counted
_SLICE_BYTES = 64 << 10
_ESCAPE_BYTES = 12  # of the longest escape, a surrogate pair
_NONE = Bound(0, 0, 0)
_FIXED_TOKENS = 16  # what a template adds once: the opening, and the start of the answer

RUNS_HELD: Final = 2
"""How many runs of a tool are held for, where the request does not limit them: what runs beyond is an overrun."""

RUNS_MAX: Final = 100
"""More runs than this in one call are not held for, whatever the request allows."""


class Extent:
    """Adds up what a request's content can count as. One for each request; not kept.

    Args:
        margin_percent: What the dialect's vocabulary makes of a text, relative to o200k, for the upper estimate.
    """

    __slots__ = (
        "_audio",
        "_audio_ms",
        "_classes",
        "_content_bytes",
        "_extra",
        "_image",
        "_margin_percent",
        "_media_bytes",
        "_text_bytes",
        "_texts",
        "_tools",
        "_waiting_bytes",
        "beside",
        "documents",
        "endless",
        "models",
        "unbounded",
        "unpriced",
    )

    def __init__(self, margin_percent: int = 100) -> None:
        self.unbounded = self.endless = self.unpriced = ""
        self.models: dict[str, str] = {}  # further models that the request names, by the member that does
        self.beside: dict[str, tuple[Usage, Usage]] = {}  # what those may use, likely most and most
        self._tools: dict[str, int] = {}
        self._margin_percent = margin_percent
        self.documents = Budget()
        self._texts: list[bytes | msgspec.Raw] = []
        self._waiting_bytes = 0  # of those
        self._classes: Classes | None = None  # of the text that is counted already, where it is long
        self._text_bytes = 0
        self._content_bytes = 0
        self._media_bytes = 0
        self._extra = 0
        self._image = self._audio = self._audio_ms = _NONE

    def content(self, json_text: msgspec.Raw) -> None:
        """A member whose JSON becomes input: whatever in it is not named a text or a medium counts as structure."""
        self._content_bytes += len(json_text)

    def text(self, json_text: bytes | msgspec.Raw) -> None:
        """A JSON string, inside content, that is prose: it is estimated as such."""
        self._texts.append(json_text)
        self._text_bytes += len(json_text)
        self._waiting_bytes += len(json_text)
        if self._waiting_bytes > _JOINED_BYTES_MAX:
            self._count()

    def tools(self, json_text: msgspec.Raw, prompt_tokens: int) -> None:
        """A member that describes tools: counted twice, for the provider writes it anew in its own notation."""
        self._content_bytes += len(json_text)
        self._extra += prompt_tokens + len(json_text)

    def image(self, raw_bytes: int, bound: Bound) -> None:
        """A picture, or a document's pages, in `raw_bytes` bytes of JSON inside content."""
        self._media_bytes += raw_bytes
        self._image = self._image.and_more(bound)

    def audio(self, raw_bytes: int, bound: Bound, duration_ms: Bound | None = None) -> None:
        """Sound, in `raw_bytes` bytes of JSON inside content; with its length where that is priced too."""
        self._media_bytes += raw_bytes
        self._audio = self._audio.and_more(bound)
        if duration_ms is not None:
            self._audio_ms = self._audio_ms.and_more(duration_ms)

    def prompt(self, tokens: int) -> None:
        """Input that a tool's presence adds and the bytes do not show."""
        self._extra += tokens

    def unknown(self, field: str, *, endless: bool = False) -> None:
        """The named field makes the input unknowable. The first one named is kept.

        `endless` says that not even the model's window bounds it: a tool that the provider runs has a price of its own
        and is run as often as the model likes, with all of the input counted again each time.
        """
        self.unbounded = self.unbounded or field
        if endless:
            self.endless = self.endless or field

    def runs(self, tool: str, times: int, param: str) -> None:
        """A tool that the provider runs and charges for by the run: so many runs are held for."""
        self._tools[tool] = self._tools.get(tool, 0) + times
        self.unknown(param, endless=True)

    def _count(self) -> None:
        """Count text in slices, and let go of it; an escape may lie across two of them."""
        classes = self._classes = self._classes or Classes()
        for json_text in self._texts:
            view = memoryview(json_text)
            for start in range(0, len(view), _SLICE_BYTES):
                classes.add(_true(bytes(view[start : start + _SLICE_BYTES])))
                classes.size += _ESCAPE_BYTES if start else 0
        self._texts = []
        self._waiting_bytes = 0

    def usages(self, body_bytes: int, *, speed: str = "", geo: str = "") -> tuple[Usage, Usage, Usage]:
        """(typical, upper, bound) of the whole request, whose body is so many bytes long."""
        if self._classes is None:
            text = _true(b"".join(self._texts))
            size, (typical, upper) = len(text), estimates(text)
        else:
            self._count()
            size, (typical, upper) = self._classes.size, self._classes.estimates()
        structure = max(self._content_bytes - self._text_bytes - self._media_bytes, 0)
        rest = max(body_bytes - self._content_bytes, 0)
        most = size + structure + rest + self._extra + _FIXED_TOKENS
        margin = self._margin_percent
        # JSON around the text, and tool calls within it: compact JSON is 2 to 4 bytes a token. Members that are no
        # content as far as we know (`metadata`, `user`) cost nothing, but a vendor may know better: 4 bytes a token.
        upper = -(-upper * margin // 100) + structure // 2 + rest // 4 + self._extra // 2 + _FIXED_TOKENS
        typical = -(-typical * (100 + margin) // 200) + structure // 4
        return (
            self._usage(typical, 0, speed, geo),
            self._usage(min(upper, most), 1, speed, geo),
            self._usage(most, 2, speed, geo),
        )

    def _usage(self, text: int, column: int, speed: str, geo: str) -> Usage:
        tools = self._tools if column and self._tools else {}
        if self._image is _NONE and self._audio is _NONE and not (speed or geo):
            return Usage(input_tokens=text, tools=tools) if tools else Usage(input_tokens=text)
        images = (self._image.typical, self._image.upper, self._image.most)[column]
        audio = (self._audio.typical, self._audio.upper, self._audio.most)[column]
        return Usage(
            input_tokens=text + images + audio,
            input_image_tokens=images,
            input_audio_tokens=audio,
            audio_ms=(self._audio_ms.typical, self._audio_ms.upper, self._audio_ms.most)[column],
            tools=tools,
            speed=speed,
            geo=geo,
        )


def _true(text: bytes) -> bytes:
    """The text of JSON strings, its escapes undone where it is all ASCII."""
    if text.find(b"\\u") >= 0 and text.isascii():
        # Lone surrogates and broken escapes become replacement characters: never shorter than the true text.
        return text.decode("raw_unicode_escape", "replace").encode("utf-8", "surrogatepass")
    return text


_LONG_BYTES = 1 << 20
_BASE64_ESCAPES = ((b"\\/", b"/"), (b"\\u002B", b"+"), (b"\\u002b", b"+"), (b"\\u003D", b"="), (b"\\u003d", b"="))


def string_bytes(json_text: bytes | msgspec.Raw) -> bytes:
    """The text of a JSON string as UTF-8, without copying it through `str` where it has no escapes.

    Of a long one only what base64 can have is undone, as PHP and .NET write it; another is as good as empty.

    Raises:
        BadRequest: It is no valid JSON string.
    """
    text = bytes(memoryview(json_text)[1:-1])
    if b"\\" not in text:
        return text
    for escape, letter in _BASE64_ESCAPES:
        text = text.replace(escape, letter)
    if b"\\" not in text:
        return text
    if len(json_text) > _LONG_BYTES:
        return b""
    try:
        return msgspec.json.decode(json_text, type=str).encode("utf-8", "surrogatepass")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("A string in the request body is not valid.") from None


def data_url(text: bytes) -> tuple[bytes, memoryview] | None:
    """(media type, base64 data) of a `data:` URL in base64; None for every other URL."""
    head, comma, _ = text[:256].partition(b",")
    if not comma or head[:5].lower() != b"data:" or not head.lower().endswith(b";base64"):
        return None
    return head[5:-7].split(b";")[0].lower(), memoryview(text)[len(head) + 1 :]
