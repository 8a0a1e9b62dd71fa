"""A multipart/form-data body, read as it passes: the fields that the cost depends on, the rest uncopied.

Promises: memory is bounded, whatever the body; nothing but `BadRequest` is raised. A field of consequence (`own`) that
a provider could read differently from us is refused: twice, spelt in another case or as an array, sent as a file, in
another encoding, after the call was decided, or in a part that only some parsers would see (the boundary inside
content, as after a bare line feed). Knows nothing of what fields mean. Source: RFC 7578, RFC 2046 §5.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from providers.shapes import BadRequest

PARTS_MAX = 1_000  # no form of an SDK has more than some fifty
FIELD_BYTES_MAX = 256 * 1024  # of one own field: a prompt is at most 32,000 characters
FIELDS_BYTES_MAX = 1024 * 1024  # of all of them
FILE_HEAD_BYTES = 64 * 1024  # what is kept of a file: enough to know its format, and its length where that is said
FILES_KEPT_MAX = 16  # files whose head is kept; OpenAI takes so many images

_BOUNDARY = re.compile(
    r"""multipart/form-data\s*;(?:[^"]*;)?\s*boundary=(?:"([^"\\]{1,200})"|([^\s;"]{1,200}))\s*(?:;.*)?""",
    re.IGNORECASE | re.DOTALL,
)
_PARAMETERS = re.compile(rb"""(?:\s*;\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s;"]*+))*+\s*;?\s*""")
_PARAMETER = re.compile(rb""";\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s;"]*+)""")
_PLAIN_ENCODINGS = frozenset((b"", b"7bit", b"8bit", b"binary"))


class File:
    """One part that is a file: how it begins, and how long it is so far."""

    __slots__ = ("content_type", "filename", "head", "name", "size")

    def __init__(self, name: str, filename: str, content_type: str) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.head = b""
        self.size = 0


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form with parts."""
    return content_type[:19].lower() == "multipart/form-data"


def boundary_of(content_type: str) -> bytes:
    """What separates the parts. Raises BadRequest."""
    found = _BOUNDARY.fullmatch(content_type.strip())
    if found is None or content_type.lower().count("boundary=") > 1:
        raise BadRequest("The Content-Type must be multipart/form-data with a boundary.", param="content-type")
    return (found[1] or found[2]).encode("latin-1", "replace")


class Form:
    """One form.

    Args:
        content_type: The request's, with its boundary.
        own: Names of the fields that the cost depends on; their values are kept.
        early: Those of them that are refused once the call is decided: it cannot be decided anew.
        lists: Own fields and files that may stand more than once, also as `name[]`.
        files: Names of the parts that are files of consequence.
        content: Takes each piece of their content as it passes.

    Attributes:
        fields: Values of the own fields that are complete, by name.
        file_parts: The files of consequence, in order.
        in_file: The last bytes belong to a file.
        ended: The closing boundary has come.
        decided: From now on a file or an early field is refused: set by whoever has acted on them.

    Raises:
        BadRequest: The content type is none.
    """

    def __init__(
        self,
        content_type: str,
        own: frozenset[str],
        *,
        early: frozenset[str] = frozenset(),
        lists: frozenset[str] = frozenset(),
        files: frozenset[str] = frozenset(),
        content: Callable[[bytes], None] | None = None,
    ) -> None:
        self.fields: dict[str, list[str]] = {}
        self.file_parts: list[File] = []
        self.in_file = self.ended = self.decided = False
        self._own, self._early, self._lists, self._files = own, early, lists, files
        self._take = content
        self._mark = b"--" + boundary_of(content_type)
        self._tail = b""  # of what was read: a mark may lie across two chunks
        self._marks = self._parts = self._kept_bytes = 0
        self._started = False
        self._headers: dict[bytes, bytes] = {}
        self._header = b""
        self._value = b""
        self._name: str | None = None  # of the own field that is being read
        self._content: list[bytes] = []
        self._content_bytes = 0
        self._file: File | None = None
        try:
            self._parser = MultipartParser(
                self._mark[2:],
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise BadRequest("The boundary of the form is too long.", param="content-type") from None

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes. Raises BadRequest."""
        if not chunk:
            return
        if not self._started:
            self._started = True
            if not self._mark.startswith(chunk[: len(self._mark)]):
                raise BadRequest("The form does not begin with its boundary.")
        after = self.ended
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadRequest("The form is not valid multipart/form-data.") from None
        if after and chunk.strip(b"\r\n"):
            raise BadRequest("The form goes on after its end.")
        seam = self._tail + chunk
        self._marks += seam.count(self._mark)
        self._tail = seam[-len(self._mark) + 1 :]
        # Whoever reads line ends more loosely would see a part where we see content. One mark may be half read.
        if self._marks > self._parts + 1:
            raise BadRequest("The form's boundary stands inside of its content.")

    def close(self) -> None:
        """The body is whole. Raises BadRequest."""
        if not self.ended:
            raise BadRequest("The form breaks off before its closing boundary.")
        if self._marks != self._parts + 1:
            raise BadRequest("The form's boundary stands inside of its content.")

    def text(self, name: str) -> str:
        """An own field's value; "" where it has not come. Raises BadRequest where it stands more than once."""
        values = self.fields.get(name, ())
        if len(values) > 1:
            raise BadRequest(f"The field {name!r} stands in the form twice.", param=name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """An own field that is true or false; False where it has not come. Raises BadRequest where it is neither."""
        text = self.text(name).strip().lower()
        if text in ("true", "1"):
            return True
        if text in ("", "false", "0", "null"):
            return False
        raise BadRequest(f"{name!r} must be true or false.", param=name)

    # ---- what the parser says

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BadRequest(f"The form has more than {PARTS_MAX} parts.")
        self._headers = {}
        self._header = self._value = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        name = self._header.lower()
        if name in self._headers:
            raise BadRequest("A part of the form has a header twice.")
        self._headers[name] = self._value.strip()
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        parameters = _disposition(self._headers.get(b"content-disposition", b""))
        raw_name, is_file = parameters["name"], "filename" in parameters
        base, _, index = raw_name.partition("[")
        consequence = self._own | self._files
        name = base if base in self._lists and index in ("", "]") else raw_name
        if name not in consequence:
            if base.casefold() in consequence or name.casefold() == "_charset_":
                raise BadRequest(f"Unknown field {raw_name!r}.", param=base.casefold())
            self.in_file = is_file
            return
        if is_file and name not in self._files:
            raise BadRequest(f"{name!r} must be a field, not a file.", param=name)
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _PLAIN_ENCODINGS:
            raise BadRequest(f"{name!r} has a transfer encoding.", param=name)
        if self.decided and (is_file or name in self._early):
            raise BadRequest(f"Send the field {name!r} before the file: the cost depends on it.", param=name)
        if is_file:
            self._begin_file(name, parameters["filename"])
        elif name in self.fields and name not in self._lists:
            raise BadRequest(f"The field {name!r} stands in the form twice.", param=name)
        else:
            self._name = name
            self._content, self._content_bytes = [], 0
        self.in_file = is_file

    def _begin_file(self, name: str, filename: str) -> None:
        earlier = [file for file in self.file_parts if file.name == name]
        if earlier and name not in self._lists:
            raise BadRequest(f"The file {name!r} stands in the form twice.", param=name)
        if len(self.file_parts) >= FILES_KEPT_MAX:
            raise BadRequest(f"The form has more than {FILES_KEPT_MAX} files.", param=name)
        content_type = self._headers.get(b"content-type", b"").decode("latin-1").lower()
        self._file = File(name, filename, content_type)
        self.file_parts.append(self._file)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            file = self._file
            file.size += end - start
            if self._take is not None:
                self._take(data[start:end])
            if len(file.head) < FILE_HEAD_BYTES:
                file.head += data[start : min(end, start + FILE_HEAD_BYTES - len(file.head))]
        elif self._name is not None:
            self._content_bytes += end - start
            if self._content_bytes > FIELD_BYTES_MAX or self._kept_bytes + self._content_bytes > FIELDS_BYTES_MAX:
                raise BadRequest(f"The field {self._name!r} is too long.", param=self._name)
            self._content.append(data[start:end])

    def _on_part_end(self) -> None:
        if self._name is not None:
            name, self._name = self._name, None
            self._kept_bytes += self._content_bytes
            try:
                value = b"".join(self._content).decode()
            except UnicodeDecodeError:
                raise BadRequest(f"The field {name!r} is not valid UTF-8.", param=name) from None
            self.fields.setdefault(name, []).append(value)
        self._file = None
        self.in_file = False

    def _on_end(self) -> None:
        self.ended = True


def _disposition(value: bytes) -> Mapping[str, str]:
    """The parameters of a part's Content-Disposition: its name, and a filename if it is a file. Raises BadRequest."""
    kind, semicolon, _ = value.partition(b";")
    rest = value[len(kind) :]
    parameters: dict[str, str] = {}
    if kind.strip().lower() == b"form-data" and semicolon and _PARAMETERS.fullmatch(rest):
        for found in _PARAMETER.finditer(rest):
            name = found[1].decode("ascii", "replace").lower()
            text = found[2]
            if text[:1] == b'"':
                text = text[1:-1].replace(b"\\\\", b"\\").replace(b'\\"', b'"')
            if name in parameters or name == "name*":
                raise BadRequest("A part of the form has two names.")
            parameters["filename" if name == "filename*" else name] = text.decode("utf-8", "replace")
    if not parameters.get("name"):
        raise BadRequest("A part of the form has no name.")
    return parameters
