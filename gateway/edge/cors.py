"""Browsers: who may read answers from another origin's page, and what such a page may send (Fetch, section 3.2).

Promises: preflights cost nothing, need no key and tell nothing; every answer and refusal of an inference route and of
`/v1/me` names its reader, and no other route ever does. Cookies open nothing here, so "*" gives nothing away: whoever
can read an answer has sent a key of his own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.asgi import Send
from gateway.edge.headers import HeaderFields

_METHODS = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,4096}")
_USUAL = "authorization, content-type, x-api-key, x-goog-api-key, xi-api-key, api-key, idempotency-key, x-end-user-id"
_MAX_AGE = b"7200"  # seconds: no browser keeps it for longer than a few hours
_EXPOSED = (
    b"x-farthing-request-id, x-farthing-held-micros, x-farthing-remaining-micros, x-farthing-cost-micros, "
    b"x-farthing-warning, x-request-id, request-id, dg-request-id, retry-after, retry-after-ms, x-should-retry, "
    b"x-goog-upload-url, x-goog-upload-status, x-goog-upload-chunk-granularity, x-goog-upload-size-received"
)


class Cors:
    """`origins` are those whose pages may read; None is everybody's."""

    def __init__(self, origins: frozenset[str] | None) -> None:
        self._origins = origins

    def fields(self, origin: str) -> HeaderFields:
        """What an answer to a page of this origin says, whatever the answer is."""
        if self._origins is None:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        if origin not in self._origins:
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"vary", b"origin"),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    def preflight(self, headers: Mapping[str, str]) -> HeaderFields:
        """The answer's fields to the question whether a request may be sent."""
        fields = [field for field in self.fields(headers["origin"]) if field[0] != b"access-control-expose-headers"]
        if fields[0][0] == b"vary":
            return fields
        asked = headers.get("access-control-request-headers", "")
        names = asked if _NAMES.fullmatch(asked) else _USUAL
        return [
            *fields,
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", names.encode()),
            (b"access-control-max-age", _MAX_AGE),
        ]

    def around(self, send: Send, origin: str) -> Send:
        """A `send` that adds the fields to the head of an answer."""
        fields = self.fields(origin)

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", ()), *fields]}
            await send(message)

        return sending
