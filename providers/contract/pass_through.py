"""What most shapes do with a request: nothing. Neither usage nor a limit has to be written into it."""

from __future__ import annotations

from providers.contract.shapes import Call, Filter


class PassThrough:
    """The part of a shape that leaves requests and answers as they are."""

    def prepare(self, body: bytes, call: Call) -> bytes:
        """The same bytes."""
        return body

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """The same bytes: no field limits the answer."""
        return body

    def filter(self, call: Call) -> Filter | None:
        """Nothing was spliced."""
        return None
