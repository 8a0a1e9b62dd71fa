"""A multipart body as the simulator reads it: parts by their delimiters, heads with the standard library's parser.

Promises: fields by name, the first of each; files as views of the body, which may be large. A part's transfer encoding
is not undone. Knows nothing of operations.
"""

from __future__ import annotations

import email.parser
import email.policy
from collections.abc import Iterator

import msgspec

_HEADS = email.parser.BytesHeaderParser(policy=email.policy.HTTP)


class Form(msgspec.Struct, frozen=True):
    """What a form holds."""

    fields: dict[str, str]
    files: dict[str, list[memoryview]]
    names: dict[str, str] = {}  # of the first file of each name


def read(content_type: str, body: bytes) -> Form | None:
    """The form in a body; None where it is none."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    boundary = _HEADS.parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")).get_boundary()
    if not boundary:
        return None
    view = memoryview(body)
    fields: dict[str, str] = {}
    files: dict[str, list[memoryview]] = {}
    names: dict[str, str] = {}
    for start, end in _parts(body, b"--" + boundary.encode("latin-1", "replace")):
        begin = body.find(b"\r\n\r\n", start, end)
        if begin < 0:
            continue
        head = _HEADS.parsebytes(body[start : begin + 4])
        name = str(head.get_param("name", "", header="content-disposition")).removesuffix("[]")
        content = view[begin + 4 : end]
        if (filename := head.get_filename()) is not None:
            files.setdefault(name, []).append(content)
            names.setdefault(name, filename or "")
        else:
            fields.setdefault(name, bytes(content).decode(errors="replace"))
    return Form(fields, files, names)


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Where each part's head begins, and where its content ends."""
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    while at >= 0 and body.startswith(delimiter, at):
        start = body.find(b"\r\n", at + len(delimiter))
        end = body.find(b"\r\n" + delimiter, start)
        if start < 0 or end < 0 or body.startswith(b"--", at + len(delimiter)):
            return
        yield start + 2, end
        at = end + 2
