"""A multipart body as the simulator reads it: whole, with the standard library's own parser of messages.

Promises: fields and files by name, the first of each. Knows nothing of operations.
"""

from __future__ import annotations

import email.parser
import email.policy

import msgspec


class Form(msgspec.Struct, frozen=True):
    """What a form holds."""

    fields: dict[str, str]
    files: dict[str, list[bytes]]
    names: dict[str, str] = {}  # of the first file of each name


def read(content_type: str, body: bytes) -> Form | None:
    """The form in a body; None where it is none."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if not message.is_multipart():
        return None
    fields: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    names: dict[str, str] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition")).removesuffix("[]")
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        if part.get_filename() is not None:
            files.setdefault(name, []).append(content)
            names.setdefault(name, part.get_filename() or "")
        else:
            fields.setdefault(name, content.decode(errors="replace"))
    return Form(fields, files, names)
