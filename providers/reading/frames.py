"""The messages of a socket: told as JSON objects, measured, and refused where they could be read in two ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from providers.contract.fields import Fields
from providers.contract.flags import Flags
from providers.contract.sockets import Frame
from providers.ground.errors import BadRequest
from providers.reading.doubles import skeleton
from providers.reading.inside import Inside, Table
from providers.reading.json_text import UNREADABLE, Object
from providers.reading.request import members, read_members, read_object

_LARGE_BYTES = 256 << 10
_ESCAPES_MAX = 1_000_000
_TEXT = msgspec.json.Decoder(str)
_OBJECT: msgspec.json.Decoder[Object] = msgspec.json.Decoder(Object)


def frame_object(frame: Frame, flags: Flags | None = None) -> Object | None:
    """A frame that is a JSON object; None for every other."""
    try:
        return _OBJECT.decode(frame)
    except UNREADABLE:
        if flags is not None and isinstance(frame, str):
            flags.add("malformed")
        return None


def refuse_unclear(frame: Frame, own: frozenset[str], *, cased: bool = True) -> None:
    """Refuse a client's message that is no JSON object, or can be read in two ways; see `read_object`.

    What we cannot read a lenient parser may, and its count is ours alone.

    Args:
        frame: As it came.
        own: Names of the members that the cost depends on.
        cased: Members inside are refused in another case, too.

    Raises:
        BadRequest: As said.
    """
    read_object(bounded(frame), own, cased=cased)


def bounded(frame: Frame) -> bytes:
    """A client's message, long texts made short where it is large: it is read where others wait.

    Raises:
        BadRequest: It is large in other things than texts, or no JSON object.
    """
    json_text = as_bytes(frame)
    if len(json_text) <= _LARGE_BYTES:
        return json_text
    short, escapes = json_text, json_text.count(b"\\")
    if escapes <= _ESCAPES_MAX and json_text.count(b'"') <= escapes + _LARGE_BYTES:
        short = skeleton(json_text)
    if len(short) > _LARGE_BYTES or frame_object(json_text) is None:
        raise BadRequest("A message of more than 256 KB must be a JSON object, and large in long texts only.")
    return short


def as_bytes(frame: Frame) -> bytes:
    """A frame's text as it is on the wire."""
    return frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")


def size(frame: Frame) -> int:
    """Bytes of a frame on the wire."""
    return len(frame) if isinstance(frame, bytes) or frame.isascii() else len(frame.encode("utf-8", "surrogatepass"))


class Messages(Inside):
    """The tables of a socket's messages, and of what stands inside of them.

    Args:
        table: Members of a message.
        kinds: What the member `kind` may say; empty where there is none such.
        kind: The member that tells messages apart.
        inside: Of its members, those that are objects, or lists of such.
        spelt: How a name stands in the tables.
    """

    __slots__ = ("_kind", "_kinds")

    def __init__(
        self,
        table: Fields,
        *,
        kinds: frozenset[str] = frozenset(),
        kind: str = "type",
        inside: Mapping[str, Table] = MappingProxyType({}),
        spelt: Callable[[str], str] = str,
    ) -> None:
        super().__init__(names=table, inside=inside, spelt=spelt)
        self._kinds, self._kind = kinds, kind

    def unlisted(self, frame: Frame) -> str:
        """The place of the first thing in a message that is in no table; "" where all is. Raises BadRequest."""
        head = read_members(bounded(frame), frozenset())
        if self._kinds and _text(head.get(self._kind)) not in self._kinds:
            return self._kind
        return self.look(head)


def _text(json_text: msgspec.Raw | None) -> str:
    try:
        return _TEXT.decode(json_text) if json_text is not None else ""
    except UNREADABLE:
        return ""


def base64_bytes(text: object) -> int:
    """Bytes that a base64 text stands for; 0 for what is no text."""
    return len(text) * 3 // 4 - text[-2:].count("=") if isinstance(text, str) and text else 0


def without_secrets(frame: Frame, names: frozenset[str]) -> tuple[Frame, list[str]]:
    """A client's message without the keys in it, which stand under these names, and those keys.

    Raises BadRequest where they are no texts.
    """
    bounded(frame)
    message = frame_object(frame)
    if message is None or names.isdisjoint(message):
        return frame, []
    json_text = as_bytes(frame)
    secrets: list[str] = []
    try:
        found = members(json_text)
    except UNREADABLE:
        raise BadRequest("The message cannot be read.") from None
    kept = [json_text[member.key : member.value_end] for member in found if member.name not in names]
    for member in found:
        if member.name in names:
            value = msgspec.json.decode(json_text[member.value : member.value_end])
            if not isinstance(value, str):
                raise BadRequest(f"{member.name!r} must be a string.", param=member.name)
            scheme, _, rest = value.strip().partition(" ")
            secrets.append(rest.strip() if scheme.lower() in ("bearer", "token") and rest else value.strip())
    # Rebuilt from its own members' bytes: what is left is as the client wrote it.
    scrubbed = b"{" + b",".join(kept) + b"}"
    return (scrubbed.decode() if isinstance(frame, str) else scrubbed), secrets
