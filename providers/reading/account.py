"""What a provider's error says that is the operator's business: about its account, or with its names and secrets in it.

Promises: an error that says "your account, your key, your organisation, your arrears", in the vendor's own words
(`Vendor.account`), is known as one, whatever its status; an error about the caller's own request is not, although it
may repeat the caller's words: only a whole code or a whole phrase counts. Ids of an account are taken out of what is
passed on. Pure: bytes in, a verdict or bytes out.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from html import unescape
from urllib.parse import unquote

import msgspec

from providers.ground.vendors import VENDORS
from providers.reading.answer import strings
from providers.reading.json_text import UNREADABLE

REFUSED = frozenset({401, 402})
"""With these statuses every vendor speaks of the credential, which is the operator's, or of its money."""

_WAITS = ("please retry in", "please try again in")
_TEXT_BYTES_MAX = 64 << 10  # errors are some hundred bytes
_MESSAGE_CHARS_MAX = 2_000
# An id of an account as the vendors write them: a word that says what it is, and a name with a digit in it.
_ID = re.compile(
    r"\b(org|proj|organization|organisation|project|project_number|projects|team|acct|account|workspace|user|consumer)"
    r"([-_:/# '\"]{1,3})(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{6,}"
)


def about_account(provider: str, status: int, body: bytes) -> bool:
    """Whether an error is about the operator's account with the provider, and none of the caller's business.

    Args:
        provider: Whose error it is.
        status: Its HTTP status; 200 for one that stands in an answer, or in an event of a stream.
        body: Its JSON text, or that of the event.
    """
    if status in REFUSED:
        return True
    codes, phrases = _words(provider)
    texts = [text[:_MESSAGE_CHARS_MAX].lower() for text in said(body)]
    if any(wait in text for text in texts for wait in _WAITS):
        return False  # a rate, though some call it a quota: whoever waits is served
    return any(text in codes or any(phrase in text for phrase in phrases) for text in texts)


def carries(body: bytes, credential: str) -> bool:
    """Whether an error repeats the credential, however it is spelt."""
    if not credential or not body:
        return False
    secret = credential.encode()
    if secret in body or b64encode(secret).rstrip(b"=") in body:
        return True
    texts = [body.decode("utf-8", "replace"), *said(body)]
    return any(credential in spelt for text in texts for spelt in (text, unquote(text), unescape(text)))


def without_ids(body: bytes) -> bytes:
    """The error without the ids of the operator's organisation, project or team; the same bytes where it has none."""
    text = body.decode("utf-8", "surrogateescape")
    return _ID.sub(r"\1\2…", text).encode("utf-8", "surrogateescape") if _ID.search(text) else body


@cache
def _words(provider: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Codes, which are a whole value, and phrases, which stand anywhere in a message."""
    words = VENDORS[provider].account
    return frozenset(word for word in words if " " not in word), tuple(word for word in words if " " in word)


def said(body: bytes) -> list[str]:
    """Every string in an error; a text that is no JSON is one."""
    if len(body) > _TEXT_BYTES_MAX:
        return []
    try:
        return list(strings(msgspec.json.decode(body)))
    except UNREADABLE:
        return [body.decode("utf-8", "replace")]
