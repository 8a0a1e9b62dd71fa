"""A multipart/form-data body, read as it passes: the fields that the cost depends on, the rest uncopied.

Promises: there is one reading. The grammar is strict, so whatever two parsers could read differently is refused, named:
a field of consequence (`own`) that stands twice, in another case or as an array, is sent as a file, in another
encoding, or after the call was decided; a boundary inside content; preambles, folded lines, bare line feeds, escapes in
names, parts within parts. And a provider is told the type that was read here (`content_type`), never the client's own
words. Memory is bounded, whatever the body; nothing but `BadRequest` is raised. A part that the operation's table does
not list is named, wherever it stands. Knows nothing of what fields mean.
Source: RFC 7578, RFC 2046 §5.1, RFC 9110 §5.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from providers.contract.fields import Fields
from providers.ground.errors import BadRequest

PARTS_MAX = 1_000  # no form of an SDK has more than some fifty
FIELD_BYTES_MAX = 256 * 1024  # of one own field: a prompt is at most 32,000 characters
FIELDS_BYTES_MAX = 1024 * 1024  # of all of them
FILE_HEAD_BYTES = 64 * 1024  # what is kept of a file: enough to know its format, and its length where that is said
FILES_KEPT_MAX = 18  # files whose head is kept; OpenAI takes 16 images, and two that say where to change them
PART_HEAD_BYTES_MAX = 8 * 1024  # of a part's own header fields; three are usual, of 200 bytes
PART_HEADERS_MAX = 16

# Possessive, so that hostile text costs linear time.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_TYPE = re.compile(rf"\s*+({_WORD}/{_WORD})((?:[ \t]*+;[ \t]*+(?:{_WORD}=(?:[^\s;\",]++|\"[^\"\\]*+\"))?+)*+)\s*+")
_TYPE_PARAMETER = re.compile(rf";[ \t]*+({_WORD})=(?:\"([^\"]*+)\"|([^\s;\",]++))")
_BOUNDARY = re.compile(r"(?! )[0-9A-Za-z'()+_,./:=? -]{1,70}(?<! )")
_UTF_8 = frozenset(("utf-8", "utf8", "us-ascii", "ascii"))

_FIELD_NAME = re.compile(_WORD.encode())
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# Quoted text without escapes, or a token; of extended notation (RFC 8187) only what stands for a whole filename.
_DISPOSITION = re.compile(
    rb"form-data((?:[ \t]*+;[ \t]*+(?:name|filename\*?)=(?:\"[^\"]*+\"|%b))++)[ \t]*+;?+" % _WORD.encode(),
    re.IGNORECASE,
)
_PARAMETER = re.compile(rb";[ \t]*+(name|filename\*?)=(?:\"([^\"]*+)\"|([^\s;\"]++))", re.IGNORECASE)
_NAME = re.compile(rb"[0-9A-Za-z_.:$-]{1,200}(?:\[[0-9A-Za-z_.:$-]{0,100}\]){0,8}")
_EXTENDED = re.compile(
    rb"(?:utf-8|iso-8859-1)'[0-9A-Za-z-]*'(?:[0-9A-Za-z!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})*", re.IGNORECASE
)
# As some readers split at semicolons, quotes or not: such a filename could give another name.
_SPLITS = re.compile(rb";[^;]*=")
_PLAIN_ENCODINGS = frozenset((b"7bit", b"8bit", b"binary", b"identity"))


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """A Content-Type as its type, in lower case, and its parameters; ("", {}) for none.

    Raises:
        BadRequest: It is none, or says something twice.
    """
    if not content_type.strip():
        return "", {}
    found = _TYPE.fullmatch(content_type)
    parameters: dict[str, str] = {}
    if found is None:
        raise BadRequest("The Content-Type is not valid.", param="content-type")
    for each in _TYPE_PARAMETER.finditer(found[2]):
        name = each[1].lower()
        if name in parameters or "*" in name:
            raise BadRequest(f"The Content-Type says {name!r} twice.", param="content-type")
        parameters[name] = each[2] if each[2] is not None else each[3]
    if parameters.get("charset", "utf-8").lower() not in _UTF_8:
        raise BadRequest("The Content-Type must name no charset but utf-8.", param="content-type")
    return found[1].lower(), parameters


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form with parts."""
    return content_type.lstrip()[:19].lower() == "multipart/form-data"


def boundary_of(content_type: str) -> bytes:
    """What separates the parts. Raises BadRequest."""
    kind, parameters = media_type(content_type)
    boundary = parameters.get("boundary", "")
    if kind != "multipart/form-data" or not _BOUNDARY.fullmatch(boundary):
        raise BadRequest("The Content-Type must be multipart/form-data with a boundary.", param="content-type")
    return boundary.encode()


class File:
    """One part that is a file: how it begins, and how long it is so far."""

    __slots__ = ("content_type", "filename", "head", "name", "size")

    def __init__(self, name: str, filename: str, content_type: str) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.head = b""
        self.size = 0


class Form:
    """One form.

    Args:
        content_type: The request's, with its boundary.
        own: Names of the fields that the cost depends on; their values are kept.
        early: Those of them that are refused once the call is decided: it cannot be decided anew.
        lists: Own fields and files that may stand more than once, also as `name[]`.
        files: Names of the parts that are files of consequence.
        content: Takes each piece of their content as it passes.
        table: Everything that the operation takes.
        sized: Names of the parts, own or not, whose bytes are counted.

    Attributes:
        content_type: What to tell the provider.
        fields: Values of the own fields that are complete, by name.
        file_parts: The files of consequence, in order.
        in_file: The last bytes belong to a file.
        ended: The closing boundary has come.
        decided: From now on a file or an early field is refused: set by whoever has acted on them.
        sizes: How many bytes of the sized parts have come, by name.
        unlisted: Name of the first part that the table does not list; "" where there is none.

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
        table: Fields | None = None,
        sized: frozenset[str] = frozenset(),
    ) -> None:
        boundary = boundary_of(content_type)
        self.content_type = "multipart/form-data; boundary=" + boundary.decode()
        if not _FIELD_NAME.fullmatch(boundary):
            self.content_type = f'multipart/form-data; boundary="{boundary.decode()}"'
        self.fields: dict[str, list[str]] = {}
        self.file_parts: list[File] = []
        self.in_file = self.ended = self.decided = False
        self._own, self._early, self._lists, self._files = own, early, lists, files
        self._table, self._sized = table, sized
        self.sizes: dict[str, int] = {}
        self.unlisted = ""
        self._take = content
        self._mark = b"--" + boundary
        self._read: Callable[[], bool] = self._opening
        self._buffer = b""  # what came and is not read yet, from `_at` on: less than a mark, or than a part's head
        self._at = 0
        self._parts = self._kept_bytes = 0
        self._part_bytes = 0
        self._stated_bytes: int | None = None
        self._ascii = False  # the part names a charset in which only ASCII is what it looks like
        self._name: str | None = None  # of the own field that is being read
        self._content: list[bytes] = []
        self._file: File | None = None
        self._counted = ""  # the sized part that is being read

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes. Raises BadRequest."""
        self._buffer = self._buffer + chunk if self._buffer else chunk
        while self._read():
            pass
        self._buffer = self._buffer[self._at :]
        self._at = 0

    def close(self) -> None:
        """The body is whole. Raises BadRequest."""
        if not self.ended:
            raise BadRequest("The form breaks off before its closing boundary.")

    def text(self, name: str) -> str:
        """An own field's value; "" where it has not come. Raises BadRequest where it stands more than once."""
        values = self.fields.get(name, ())
        if len(values) > 1:
            raise _twice(name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """An own field that is true or false; False where it has not come. Raises BadRequest where it is neither."""
        text = self.text(name).strip().lower()
        if text in ("true", "1"):
            return True
        if text in ("", "false", "0", "null"):
            return False
        raise BadRequest(f"{name!r} must be true or false.", param=name)

    # ---- one step each: reads on in the buffer, and says whether there may be more to read in it

    def _opening(self) -> bool:
        """The first mark, with nothing in front."""
        size = len(self._mark)
        if not self._mark.startswith(self._buffer[:size]):
            raise BadRequest("The form does not begin with its boundary.")
        if len(self._buffer) < size:
            return False
        self._at = size
        self._read = self._behind_mark
        return True

    def _behind_mark(self) -> bool:
        """A line end and the next part, or two dashes and the end."""
        two = self._buffer[self._at : self._at + 2]
        if len(two) < 2:
            return False
        if two == b"\r\n":
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise BadRequest(f"The form has more than {PARTS_MAX} parts.")
            self._read = self._head
        elif two == b"--" and self._parts:
            self.ended = True
            self._read = self._epilogue
        else:
            raise _boundary_inside()
        self._at += 2
        return True

    def _epilogue(self) -> bool:
        if self._buffer[self._at :].strip(b"\r\n"):
            raise BadRequest("The form goes on after its end.")
        self._at = len(self._buffer)
        return False

    def _head(self) -> bool:
        """A part's header fields."""
        end = self._buffer.find(b"\r\n\r\n", self._at, self._at + PART_HEAD_BYTES_MAX)
        if end < 0:
            if len(self._buffer) - self._at >= PART_HEAD_BYTES_MAX:
                raise BadRequest("A part of the form has too long a head.")
            return False
        head = self._buffer[self._at : end]
        if self._mark in head:
            raise _boundary_inside()
        self._begin(_headers(head))
        self._at = end + 4
        self._read = self._body
        return True

    def _body(self) -> bool:
        """Content, up to the next mark, which stands at the beginning of a line."""
        at = self._buffer.find(self._mark, self._at)
        if at < 0:
            # A line end and a mark may be there already, all but their last byte.
            end = len(self._buffer) - len(self._mark) - 1
            if end > self._at:
                self._data(self._at, end)
                self._at = end
            return False
        end = at - 2
        # Whoever reads line ends more loosely would see a part where we see content.
        if end < self._at or self._buffer[end:at] != b"\r\n":
            raise _boundary_inside()
        self._data(self._at, end)
        self._at = at + len(self._mark)
        self._end()
        self._read = self._behind_mark
        return True

    # ---- what a part is

    def _begin(self, headers: Mapping[bytes, bytes]) -> None:
        parameters = _disposition(headers.get(b"content-disposition", b""))
        raw_name, is_file = parameters["name"], "filename" in parameters or "filename*" in parameters
        base, _, index = raw_name.partition("[")
        consequence = self._own | self._files
        name = base if base in self._lists and index in ("", "]") else raw_name
        if self._table is not None and not self.unlisted:
            self.unlisted = self._table.unlisted((base,))
        self._counted = base if base in self._sized else ""
        if self._counted:
            self.sizes.setdefault(base, 0)
        self._part_bytes = 0
        self._stated_bytes = _size(headers.get(b"content-length"), raw_name)
        kind, charset = _part_type(headers.get(b"content-type", b""), raw_name)
        self._ascii = charset not in _UTF_8
        for header in (b"content-transfer-encoding", b"content-encoding"):
            if headers.get(header, b"binary").lower() not in _PLAIN_ENCODINGS:
                raise BadRequest(f"{raw_name!r} has an encoding of its own.", param=raw_name)
        if name not in consequence:
            if base.casefold() in consequence or name.casefold() == "_charset_":
                raise BadRequest(f"Unknown field {raw_name!r}.", param=base.casefold())
            self.in_file = is_file
            return
        if is_file and name not in self._files:
            raise BadRequest(f"{name!r} must be a field, not a file.", param=name)
        if self.decided and (is_file or name in self._early):
            raise BadRequest(f"Send the field {name!r} before the file: the cost depends on it.", param=name)
        if is_file:
            self._begin_file(name, parameters.get("filename", ""), kind)
        elif name in self.fields and name not in self._lists:
            raise _twice(name)
        else:
            self._name = name
            self._content = []
        self.in_file = is_file

    def _begin_file(self, name: str, filename: str, content_type: str) -> None:
        if name not in self._lists and any(file.name == name for file in self.file_parts):
            raise BadRequest(f"The file {name!r} stands in the form twice.", param=name)
        if len(self.file_parts) >= FILES_KEPT_MAX:
            raise BadRequest(f"The form has more than {FILES_KEPT_MAX} files.", param=name)
        self._file = File(name, filename, content_type)
        self.file_parts.append(self._file)

    def _data(self, start: int, end: int) -> None:
        """So much of the buffer is content."""
        self._part_bytes += end - start
        if self._counted:
            self.sizes[self._counted] += end - start
        if self._file is not None:
            file = self._file
            file.size += end - start
            if self._take is not None:
                self._take(self._buffer[start:end])
            if len(file.head) < FILE_HEAD_BYTES:
                file.head += self._buffer[start : min(end, start + FILE_HEAD_BYTES - len(file.head))]
        elif self._name is not None:
            if self._part_bytes > FIELD_BYTES_MAX or self._kept_bytes + self._part_bytes > FIELDS_BYTES_MAX:
                raise BadRequest(f"The field {self._name!r} is too long.", param=self._name)
            self._content.append(self._buffer[start:end])

    def _end(self) -> None:
        if self._stated_bytes not in (None, self._part_bytes):
            raise BadRequest("A part of the form is not as long as it says.")
        if self._name is not None:
            name, self._name = self._name, None
            self._kept_bytes += self._part_bytes
            content = b"".join(self._content)
            self._content = []
            if b"\0" in content or (self._ascii and not content.isascii()):
                raise BadRequest(f"The field {name!r} is not plain text.", param=name)
            try:
                self.fields.setdefault(name, []).append(content.decode())
            except UnicodeDecodeError:
                raise BadRequest(f"The field {name!r} is not valid UTF-8.", param=name) from None
        self._file = None
        self.in_file = False


def _twice(name: str) -> BadRequest:
    return BadRequest(f"The field {name!r} stands in the form twice.", param=name)


def _boundary_inside() -> BadRequest:
    return BadRequest("The form's boundary stands inside of its content.")


def _headers(head: bytes) -> dict[bytes, bytes]:
    """A part's header fields by lower-case name. Raises BadRequest."""
    lines = head.split(b"\r\n") if head else []
    if len(lines) > PART_HEADERS_MAX:
        raise BadRequest("A part of the form has too many headers.")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not (colon and _FIELD_NAME.fullmatch(name)) or _CONTROL.search(value):
            raise BadRequest("A part of the form has a header that is none.")
        if name in headers:
            raise BadRequest("A part of the form has a header twice.")
        headers[name] = value.strip(b" \t")
    return headers


def _disposition(value: bytes) -> Mapping[str, str]:
    """The parameters of a part's Content-Disposition: its name, and a filename if it is a file. Raises BadRequest."""
    found = _DISPOSITION.fullmatch(value)
    parameters: dict[str, bytes] = {}
    for each in _PARAMETER.finditer(found[1]) if found is not None else ():
        parameter = each[1].decode().lower()
        if parameter in parameters:
            raise BadRequest("A part of the form has two names.")
        parameters[parameter] = each[2] if each[2] is not None else each[3]
    name, filename = parameters.get("name", b""), parameters.get("filename", b"")
    if not _NAME.fullmatch(name):
        raise BadRequest("A part of the form has no name, or one that is none.")
    extended = parameters.get("filename*")
    if (
        filename.endswith(b"\\")  # to some it hides the quote behind it
        or _SPLITS.search(filename)
        or (extended is not None and not _EXTENDED.fullmatch(extended))
    ):
        raise BadRequest("A part of the form has a filename that can be read in two ways.", param=name.decode())
    return {parameter: text.decode("utf-8", "replace") for parameter, text in parameters.items()}


def _part_type(value: bytes, name: str) -> tuple[str, str]:
    """A part's content type, and the charset that it names. Raises BadRequest."""
    text = value.decode("latin-1").lower()
    if text.startswith(("multipart/", "message/")):
        raise BadRequest(f"{name!r} has parts of its own.", param=name)
    _, named, charset = text.partition("charset=")
    charset = charset.partition(";")[0].strip(' "') if named else "utf-8"
    if charset not in _UTF_8 and not charset.startswith(("iso-8859-", "windows-125", "latin")):
        raise BadRequest(f"{name!r} is in another charset than utf-8.", param=name)
    return text, charset


def _size(value: bytes | None, name: str) -> int | None:
    """How long a part says that it is. Raises BadRequest."""
    if value is None:
        return None
    if not (value.isdigit() and len(value) < 16):
        raise BadRequest(f"{name!r} does not say how long it is.", param=name)
    return int(value)
