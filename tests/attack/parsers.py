"""Forms as other people's parsers read them. Each raises what it raises where it refuses."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import io
from typing import Any

import aiohttp
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from python_multipart import parse_form
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

Part = tuple[str, bool, bytes]
"""A part of a form: its name, whether it is a file, and its content."""


def of_werkzeug(content_type: str, body: bytes) -> list[Part]:
    kind, options = parse_options_header(content_type)
    parser = FormDataParser(stream_factory=lambda *_, **__: io.BytesIO(), silent=False)
    _, fields, files = parser.parse(io.BytesIO(body), kind, len(body), options)
    found = [(name, False, value.encode()) for name, value in fields.items(multi=True)]
    return found + [(name, True, file.stream.read()) for name, file in files.items(multi=True)]


def of_python_multipart(content_type: str, body: bytes) -> list[Part]:
    found: list[Part] = []

    def file(part: Any) -> None:
        part.file_object.seek(0)
        found.append((part.field_name.decode("utf-8", "replace"), True, part.file_object.read()))
        part.close()

    def field(part: Any) -> None:
        found.append((part.field_name.decode("utf-8", "replace"), False, part.value or b""))

    headers = {"Content-Type": content_type.encode(), "Content-Length": str(len(body)).encode()}
    parse_form(headers, io.BytesIO(body), field, file)  # type: ignore[arg-type]
    return found


def of_email(content_type: str, body: bytes) -> list[Part]:
    """The standard library's parser of messages."""
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode("latin-1") + body
    )
    found: list[Part] = []
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = str(part.get_param("name", "", header="content-disposition"))
        found.append((name, part.get_filename() is not None, content))
    return found


async def of_aiohttp(content_type: str, body: bytes) -> list[Part]:
    stream = StreamReader(_Protocol(), 2**16, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
    stream.feed_data(body)
    stream.feed_eof()
    headers = CIMultiDictProxy(CIMultiDict({"content-type": content_type}))
    found: list[Part] = []
    async for part in aiohttp.MultipartReader(headers, stream):
        assert isinstance(part, aiohttp.BodyPartReader)
        found.append((part.name or "", part.filename is not None, bytes(await part.read(decode=True))))
    return found


class _Protocol:
    _reading_paused = False

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self, **_: Any) -> None:
        """Nothing is read."""
