"""Heads of messages: what is written as it was meant, and how long what follows is.

Promises: a head that is written says what it was given and nothing more; a head that is read has one meaning, or is
refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType

from gateway.http1.fields import Fields, is_token

_TARGET = re.compile(r"/[!-~\x80-\xff]*")
_FRAMING = frozenset((
    "connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip
_VERSIONS = ("1.1", "1.0")
BODILESS = (204, 304)
_LENGTH_UNSAID = ("GET", "HEAD", "DELETE", "OPTIONS")  # whose empty body goes without saying


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = MappingProxyType({status: _status_line(status) for status in range(100, 600)})


class Malformed(Exception):
    """This breaks the rules of HTTP/1.1, or a bound."""


class Ends(Enum):
    """What ends the body of an answer."""

    AT_ONCE = "it has none"
    BY_LENGTH = "its length"
    BY_CHUNKS = "its last chunk"
    WITH_CONNECTION = "the connection's end"


_AT_ONCE, _BY_LENGTH, _BY_CHUNKS, _WITH_CONNECTION = Ends


def ends(status: int, version: str, fields: Fields, *, to_head: bool) -> Ends:
    """What ends an answer's body; `to_head`, it answers a HEAD. Raises Malformed if the head cannot be one.

    Of two lengths, and of one that is no number, whoever parses has to complain before they are joined.
    """
    if not 200 <= status <= 599 or version not in _VERSIONS:
        raise Malformed
    coding = dict.get(fields, "transfer-encoding")
    if coding is not None and (coding.lower() != "chunked" or dict.__contains__(fields, "content-length")):
        raise Malformed
    if to_head or status in BODILESS:
        return _AT_ONCE
    if coding is not None:
        return _BY_CHUNKS
    return _BY_LENGTH if dict.__contains__(fields, "content-length") else _WITH_CONNECTION


def says_no_length(method: str, *, empty: bool) -> bool:
    """Whether a request with this method and such a body has no Content-Length."""
    return empty and method in _LENGTH_UNSAID


def begun(method: str, target: str, host: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """A request's head, but for its framing.

    Raises Malformed if it would be read as anything else than what is meant.
    """
    lines = [method, " ", target, " HTTP/1.1\r\nHost: ", host, "\r\n"]
    for name, value in headers:
        lines += (_field(name), value, "\r\n")
    text = "".join(lines)
    breaks = 2 + len(headers)
    if (
        text.count("\n") != breaks
        or text.count("\r") != breaks
        or "\0" in text
        or not _TARGET.fullmatch(target)
        or not _is_token(method)
    ):
        raise Malformed
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Malformed from error


@functools.lru_cache(maxsize=1024)
def _field(name: str) -> str:
    """The start of a field's line. Raises Malformed if the name is none, or not the caller's to set."""
    if not _is_token(name) or name.lower() in _FRAMING:
        raise Malformed
    return f"{name}: "


@functools.lru_cache(maxsize=1024)
def field_start(name: bytes) -> bytes:
    """The start of a field's line in an answer. Raises Malformed if the name is none."""
    if not is_token(name):
        raise Malformed
    return name + b": "


def _is_token(text: str) -> bool:
    return text.isascii() and is_token(text.encode())


def checked(method: str, target: str, host: str, headers: Mapping[str, str]) -> None:
    """Raises Malformed if these cannot be written as they are meant."""
    begun(method, target, host, tuple(headers.items()))
