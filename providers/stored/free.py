"""Operations that no provider charges for: listing models, counting tokens.

Promises: their usage is always nothing at all, so they are settled at zero and need no hold. Knows nothing of their
answers, which pass unread.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.usage import Usage
from providers.reading.request import read_object, text_field

_OWN = frozenset({"model"})


class FreeMeter:
    """Reads nothing."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        """Nothing to read."""

    def output_tokens_seen(self) -> int:
        """Nothing is billed."""
        return 0

    def finish(self) -> Reading:
        """Nothing was used."""
        return Reading(usage=Usage(), complete=True)


class _Free(PassThrough):
    """A free operation. `has_body` says whether its request names a model in JSON, `required` whether it must."""

    def __init__(self, name: str, *, has_body: bool, required: bool = True) -> None:
        self.name = name
        self._has_body = has_body
        self._required = required

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read the model, where there is one, for the key's list of allowed models.

        Raises:
            BadRequest: The body is no JSON object, or names no model.
        """
        if not self._has_body:
            return Call(cache_writes=False)
        return Call(model=text_field(read_object(body, _OWN), "model", required=self._required), cache_writes=False)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter that reads nothing."""
        return FreeMeter()


FREE_READ = _Free("free_read", has_body=False)
FREE_POST = _Free("free_post", has_body=True)
FREE_CHECK = _Free("free_check", has_body=True, required=False)
