"""Mistral's OCR: a document in, its pages as text out, priced by the page.

Promises: as every shape. A document that lies elsewhere, or whose pages cannot be counted, is bounded by the most that
the provider takes. Annotations are asked for in the request and priced beside the pages: whether instead of them or on
top is not said [K], so on top, the dearer reading. Source: providers.md P11, mistralai 3.7's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from providers.bounding import media
from providers.bounding.extent import data_url, string_bytes
from providers.bounding.pdf import Budget
from providers.bounding.pdf import pages as pdf_pages
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.mistral import fields, parts
from providers.reading.answer import BodyMeter, count, read_usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, UNREADABLE, given, is_list, is_string
from providers.reading.request import Head, present, read_object, text_field

PAGES_MAX = 1_000
"""The provider refuses longer documents."""

_REMOTE_PAGES = 100  # what is held for a document that lies elsewhere, where the cap may be overdrawn in flight
_TYPICAL_PAGES = 10
_ANNOTATIONS = ("bbox_annotation_format", "document_annotation_format")
_OWN = frozenset({"model", "document", "pages", *_ANNOTATIONS})
_RANGE = re.compile(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?")
_USAGE_INFO = re.compile(rb'"pages_processed"\s*:\s*(\d{1,9})')


class _Document(msgspec.Struct, gc=False):
    document_url: msgspec.Raw = NULL
    image_url: msgspec.Raw = NULL


class _Link(msgspec.Struct, gc=False):
    url: msgspec.Raw = NULL


_DOCUMENT = msgspec.json.Decoder(_Document)
_LINK = msgspec.json.Decoder(_Link)
_TEXT = msgspec.json.Decoder(str)
_LIST: msgspec.json.Decoder[list[int]] = msgspec.json.Decoder(list[int])


class _Ocr(PassThrough):
    """The shape."""

    name = "mistral_ocr"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        annotated = any(present(head, name) for name in _ANNOTATIONS)
        listed = _listed(head)
        inside = _inside(head)
        bounds = (_TYPICAL_PAGES, _REMOTE_PAGES, PAGES_MAX) if inside is None else (inside, inside, inside)
        pages = [each if listed is None else min(each, listed) for each in bounds]
        if listed is not None and inside is None:
            pages = [listed, listed, listed]
        typical, upper, bound = (_usage(each, each if annotated else 0) for each in pages)
        return Call(
            model=model,
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            unlisted=unlisted_in(fields.OCR, parts.OCR, head, sound=asked.sound),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _PageMeter(call)


def _usage(pages: int, annotated: int) -> Usage:
    return Usage(pages=pages, tools={"annotated_page": annotated} if annotated else {})


def _listed(head: Head) -> int | None:
    """How many pages `pages` names; None where it names none."""
    json_text = head.get("pages")
    if json_text is None or not given(json_text):
        return None
    try:
        if is_list(json_text):
            return min(len(_LIST.decode(json_text)), PAGES_MAX)
        total = 0
        for part in _TEXT.decode(json_text).split(","):
            found = _RANGE.fullmatch(part)
            if found is None:
                return PAGES_MAX
            total += max(int(found[2]) - int(found[1]) + 1, 1) if found[2] else 1
        return min(total, PAGES_MAX)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("'pages' must be a list of numbers, or a text such as 0-3,7.", param="pages") from None


def _inside(head: Head) -> int | None:
    """How many pages the document has, where it stands in the request and they can be counted."""
    json_text = head.get("document")
    if json_text is None or not given(json_text):
        raise BadRequest("'document' is required.", param="document")
    try:
        document = _DOCUMENT.decode(json_text)
        if given(document.image_url):
            return 1
        url = document.document_url
        if given(url) and not is_string(url):
            url = _LINK.decode(url).url
    except UNREADABLE:
        raise BadRequest("'document' must be an object.", param="document") from None
    found = data_url(string_bytes(url)) if is_string(url) else None
    return None if found is None else pdf_pages(media.decode_base64(found[1]), Budget())


class _Answer(msgspec.Struct, gc=False):
    usage_info: msgspec.Raw = NULL
    model: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


class _PageMeter(BodyMeter):
    """Reads an answer."""

    __slots__ = ("_annotated",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._annotated = bool(call.input_bound.tools)

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None:
            tail = self._body.tail()
            found = _USAGE_INFO.search(tail)
            usage = None if found is None else self._usage(int(found[1]), None)
            return Reading(usage=usage, complete=tail.endswith(b"}"))
        try:
            answer = _ANSWER.decode(whole)
        except UNREADABLE:
            return Reading(flags=(MALFORMED,))
        stated = read_usage(answer.usage_info, flags)
        pages = count(stated, flags, "pages_processed") if stated is not None else None
        annotated = count(stated, flags, "pages_processed_annotation") if stated is not None else None
        return Reading(
            usage=None if pages is None else self._usage(pages, annotated),
            complete=True,
            model=answer.model or "",
            flags=tuple(sorted(flags)),
        )

    def _usage(self, pages: int, annotated: int | None) -> Usage:
        return _usage(pages, annotated if annotated is not None else pages if self._annotated else 0)


MISTRAL_OCR = _Ocr()
