"""OpenAI's conversations: items that are kept for answers to come. Keeping them is free; answers read them as input.

Promises: what a new item refers to is told, so that nobody can draw another's item into a conversation of one's own.
Knows nothing of answers: a response in a conversation says itself that its input is not in its request.
Source: openai 3.54 `types/conversations`.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.bounding.extent import Extent
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.ground.errors import BadRequest
from providers.openai.input import Content
from providers.reading.json_text import given, is_list
from providers.reading.request import read_object
from providers.stored.free import FreeMeter

_OWN = frozenset({"items"})


class _Conversations(PassThrough):
    """The shape of what adds items."""

    name = "openai_conversations"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request. Raises BadRequest."""
        items = read_object(body or b"{}", _OWN).get("items")
        content = Content(Extent(), "")
        if items is not None and given(items):
            if not is_list(items):
                raise BadRequest("'items' must be a list.", param="items")
            content.items(items)
        return Call(cache_writes=False, refers=tuple(content.refers))

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter that reads nothing."""
        return FreeMeter()


OPENAI_CONVERSATIONS = _Conversations()
