"""What every Anthropic operation has in common: reading a body, headers, errors.

Promises: native types and messages (providers.md §4.2, P2; anthropic 2.12). Knows nothing of one operation.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeVar

import msgspec

from providers.simulator.answers import Headers, Whole, event
from providers.simulator.requests import REFUSED_MODEL, Refusal, Request

T = TypeVar("T")

_LOCATION: Final = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_ERRORS: Final[dict[int, tuple[str, str]]] = {
    400: ("invalid_request_error", "The simulator refuses this request, as it was asked to."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
          "to upgrade or purchase credits."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    408: ("timeout_error", "Request timed out"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit of 4,000 requests per "
          "minute."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}  # fmt: skip


def headers(request: Request, *, stream: bool = False) -> Headers:
    """The head that the provider sends; the limits are a large account's, reset at the full second."""
    reset = datetime.fromtimestamp(request.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = [
        ("content-type", "text/event-stream; charset=utf-8" if stream else "application/json"),
        ("request-id", request.request_id),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
    ]
    if stream:
        head.append(("cache-control", "no-cache"))
    for kind, limit in (("requests", 4_000), ("input-tokens", 2_000_000), ("output-tokens", 400_000)):
        head += [
            (f"anthropic-ratelimit-{kind}-limit", str(limit)),
            (f"anthropic-ratelimit-{kind}-remaining", str(limit - 1)),
            (f"anthropic-ratelimit-{kind}-reset", reset),
        ]
    return head


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error answer in the provider's shape; without a message, the status's usual one."""
    kind, usual = _ERRORS.get(status, _ERRORS[500] if status >= 500 else _ERRORS[400])
    body = {
        "type": "error",
        "error": {"type": kind, "message": message or usual},
        "request_id": request.request_id,
    }
    head = headers(request)
    if status == 429:
        head.append(("retry-after", "1"))
    if status in (429, 529):
        head.append(("x-should-retry", "true"))
    return Whole(status=status, headers=head, body=msgspec.json.encode(body))


def refuse(request: Request, message: str) -> NoReturn:
    """Answer 400 as the provider does."""
    raise Refusal(error(request, 400, message))


def read(request: Request, kind: type[T]) -> T:
    """Read the body as this operation's request.

    Raises:
        Refusal: The version header is missing, the body is not JSON, or a field has the wrong type.
    """
    if "anthropic-version" not in request.headers:
        refuse(request, "anthropic-version: header is required")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as fault:
        found = _LOCATION.match(str(fault))
        expected, where = (found[1], found[2] or "") if found else ("", "")
        refuse(request, f"{where.replace('[', '.').replace(']', '')}: {expected}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        refuse(request, f"The request body is not valid JSON: {fault}")


def served_model(request: Request, model: str | None) -> str:
    """The model, if the provider has it."""
    if model is None:
        refuse(request, "model: Field required")
    if not model:
        refuse(request, "model: String should have at least 1 character")
    if REFUSED_MODEL in model:
        raise Refusal(error(request, 404, f"model: {model}"))
    return model


def in_band_error(_number: int) -> bytes:
    """The event with which a stream fails (providers.md §4.2)."""
    kind, message = _ERRORS[529]
    return event({"type": "error", "error": {"type": kind, "message": message}}, "error")
