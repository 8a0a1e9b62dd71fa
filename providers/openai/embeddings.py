"""OpenAI's embeddings: input only, one JSON answer.

Promises: as every shape. Source: providers.md §3 and P1, openai 3.54's types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai import fields, parts
from providers.openai.usage import chat_usage
from providers.reading.answer import BodyMeter, read_usage, string_member, tail_usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, UNREADABLE, given, is_list, is_string
from providers.reading.request import count_field, read_object, text_field

_OWN = frozenset({"model", "input", "dimensions", "stream"})


class _Embeddings(PassThrough):
    """The shape."""

    name = "openai_embeddings"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        count_field(head, "dimensions", least=1)
        json_text = head.get("input")
        if json_text is None or not (is_string(json_text) or is_list(json_text)):
            raise BadRequest("'input' must be a string or a list.", param="input")
        extent = Extent()
        extent.content(json_text)
        text = bytes(json_text)
        tokens = 0
        if is_string(json_text) or b'"' in text:
            extent.text(text)
        else:
            # Lists of tokens: what is counted is known, and every number is at least a digit and a comma.
            tokens = text.count(b",") + 1
        typical, upper, bound = extent.usages(len(body))
        if tokens:
            typical, upper = Usage(input_tokens=tokens), Usage(input_tokens=min(tokens, bound.input_tokens))
        return Call(
            model=model,
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            cache_writes=False,
            unlisted=unlisted_in(fields.EMBEDDINGS, parts.EMBEDDINGS, head, sound=asked.sound),
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _EmbeddingsMeter()


class _Answer(msgspec.Struct, gc=False):
    model: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


_ANSWER = msgspec.json.Decoder(_Answer)


class _EmbeddingsMeter(BodyMeter):
    """Reads an answer."""

    __slots__ = ()

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        model, error = "", False
        if whole is not None:
            try:
                answer = _ANSWER.decode(whole)
            except UNREADABLE:
                flags.add(MALFORMED)
                counted, complete = tail_usage(self._body.tail()), False
            else:
                counted, complete = read_usage(answer.usage, flags), True
                model, error = answer.model or "", given(answer.error)
        else:
            tail = self._body.tail()
            counted, complete = tail_usage(tail), tail.endswith(b"}")
            model = string_member("model", tail, self._body.head())
        # Input is counted before the answer begins: what was read of it is final, even of a body that was cut.
        return Reading(
            usage=chat_usage(counted, flags, output=False) if counted is not None else None,
            complete=complete,
            model=model,
            flags=tuple(sorted(flags)),
            error=error,
        )


OPENAI_EMBEDDINGS = _Embeddings()
