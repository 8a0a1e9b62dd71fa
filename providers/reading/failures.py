"""What kind of failure a provider's error is: whether another could do what it could not, and whether it can have cost.

One table for hiding, for alarms and for switching; the vendors' words for "your account" stand in their rows and are
read by `providers.reading.account`. The first row that fits decides:

| Answer                                                     | Failure     | Billed there  |
|------------------------------------------------------------|-------------|---------------|
| about the operator's account: 401, 402, the vendor's words | "account"   | no            |
| 429; a rate limit in its words                             | "429"       | no            |
| 503, 529; "overloaded" in its words                        | "5xx"       | no            |
| 404; a model that it does not know, in its words           | "model"     | no            |
| any other 5xx                                              | "ambiguous" | nobody knows  |
| anything else: the request is at fault                     | "refused"   | no            |

Beyond answers: nothing was sent is "unreachable"; no answer to what was sent is "ambiguous". Source: providers.md §4,
routes.md E.2 and E.3. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from providers.reading.account import about_account, said
from providers.reading.sse import Scanner

Failure = Literal["unreachable", "429", "5xx", "account", "model", "ambiguous", "refused"]

_OVERLOADED = frozenset(
    ("overloaded_error", "overloaded", "server_overloaded", "engine_overloaded_error", "unavailable")
)
_RATES = frozenset(("rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "rate_limit_reached_error"))
_MODELS = frozenset(
    (
        "model_not_found",
        "invalid_model",
        "model_not_exist",
        "unknown_model",
        "model_not_found_error",
        "deploymentnotfound",
    )
)
_NO_MODEL = re.compile(r"model not exist|not a valid model|model [^ ]{1,200} (?:does not exist|not found|is not found)")
_OUTAGES = frozenset((503, 529))
_TEXT_CHARS_MAX = 2_000
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
# How every shape's event begins to say that it is a failure.
_FAILED = re.compile(rb'"error"\s*:\s*[{"]|"type"\s*:\s*"(?:error|response\.failed)"|"finish_reason"\s*:\s*"ERROR')


def failure(provider: str, status: int, body: bytes) -> Failure:
    """What kind of failure an error is.

    Args:
        provider: Whose error it is.
        status: Its HTTP status; 200 for one that stands in an answer, or in an event of a stream.
        body: Its JSON text, or that of the event.
    """
    if about_account(provider, status, body):
        return "account"
    if status == 429:
        return "429"
    if status in _OUTAGES:
        return "5xx"
    texts = [text[:_TEXT_CHARS_MAX].lower() for text in said(body)]
    if status < 300:
        if not _OVERLOADED.isdisjoint(texts):
            return "5xx"
        if not _RATES.isdisjoint(texts):
            return "429"
    if status == 404 or not _MODELS.isdisjoint(texts) or any(_NO_MODEL.search(text) for text in texts):
        return "model"
    return "ambiguous" if status >= 500 or status < 300 else "refused"


def failures(chunk: bytes) -> list[bytes]:
    """The events of a piece of a stream that say that it has failed; nearly always none."""
    if b"error" not in chunk and b"failed" not in chunk and b"ERROR" not in chunk:
        return []
    scanner = Scanner()
    events = [event.data() for event in (*scanner.feed(chunk), scanner.flush()) if event is not None]
    return [data for data in events if _FAILED.search(data)]


def wait_s(headers: Mapping[str, str]) -> float | None:
    """For how long a provider wants to be left alone, in seconds; None where it does not say so in numbers."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if _NUMBER.fullmatch(text):
            return float(text) * unit
    return None
