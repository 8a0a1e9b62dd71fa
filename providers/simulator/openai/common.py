"""What every OpenAI operation has in common: reading a body, headers, errors, usage and its distortions.

Promises: native names and native messages (providers.md §3, §4.2, P1; openai 3.54). Knows nothing of one operation.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from providers.simulator.answers import Headers, Whole, event
from providers.simulator.compatible import layers
from providers.simulator.requests import REFUSED_MODEL, Refusal, Request

T = TypeVar("T")

_LOCATION: Final = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_ERRORS: Final[dict[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "The simulator refuses this request, as it was asked to."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-sim****. You can find your API "
          "key at https://platform.openai.com/account/api-keys."),
    402: ("insufficient_quota", "insufficient_quota", "You have no credit left. Please check your billing details."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not "
          "supported"),
    404: ("invalid_request_error", None, "Not found."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per min (RPM): Limit 10000, Used 10000, "
          "Requested 1. Please try again in 1s."),
    503: ("server_error", "server_is_overloaded", "Our servers are currently overloaded. Please try again later."),
}  # fmt: skip
_SERVER: Final = (
    "server_error",
    None,
    "The server had an error while processing your request. Sorry about that!",
)
CHOICES_MAX: Final = 128  # `n`, as the provider limits it
TOKENS_MAX: Final = 200_000  # of one answer, all choices together


# Vendors' own ids of a request, beside the usual one.
_IDS: Final = {
    "xai": (),
    "qwen": ("x-dashscope-call-gateway",),
    "kimi": ("msh-request-id",),
    "minimax": ("trace-id", "minimax-request-id"),
    "deepseek": ("x-ds-trace-id",),
    "mistral": ("mistral-correlation-id",),
    "cerebras": ("inference-id",),
}


def headers(request: Request, *, stream: bool = False) -> Headers:
    """The head that the provider sends; the limits are a large account's."""
    if layers.is_layer(request):
        return layers.headers(request, stream=stream)
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    if (ids := _IDS.get(request.provider)) is not None:
        return [("content-type", kind), ("x-request-id", request.request_id), *((n, request.request_id) for n in ids)]
    return [
        ("content-type", kind),
        ("x-request-id", request.request_id),
        ("openai-organization", "farthing-simulator"),
        ("openai-processing-ms", str(20 + len(request.body) % 180)),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", str(max(0, 2_000_000 - len(request.body) // 4))),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "0s"),
    ]


def error(
    request: Request, status: int, message: str = "", *, param: str | None = None, code: str | None = None
) -> Whole:
    """An error answer in the provider's shape; without a message, the status's usual one."""
    if layers.is_layer(request):
        return layers.error(request, status, message)
    kind, usual_code, usual = _ERRORS.get(status, _SERVER if status >= 500 else _ERRORS[400])
    body = {"error": {"message": message or usual, "type": kind, "param": param, "code": code or usual_code}}
    head = headers(request)
    if status == 429:
        head += [("retry-after", "1"), ("retry-after-ms", "1000")]
    return Whole(status=status, headers=head, body=msgspec.json.encode(body))


def refuse(request: Request, message: str, *, param: str | None = None, code: str | None = None) -> NoReturn:
    """Answer 400 as the provider does."""
    raise Refusal(error(request, 400, message, param=param, code=code))


def read(request: Request, kind: type[T]) -> T:
    """Read the body as this operation's request.

    Raises:
        Refusal: It is not JSON, or a field has the wrong type.
    """
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as fault:
        found = _LOCATION.match(str(fault))
        expected, where = (found[1], found[2] or "") if found else ("", "")
        refuse(request, f"Invalid type for '{where}': {expected.lower()}.", param=where or None, code="invalid_type")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        refuse(
            request,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
        )


def served_model(request: Request, model: object) -> str:
    """The model, if the provider has it."""
    if not model or not isinstance(model, str):
        refuse(request, "you must provide a model parameter")
    if REFUSED_MODEL in model:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(error(request, 404, message, code="model_not_found"))
    return model


def at_least(request: Request, name: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse an integer out of the provider's bounds."""
    if value is not None and value < least:
        refuse(
            request,
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead.",
            param=name,
            code="integer_below_min_value",
        )
    if value is not None and most is not None and value > most:
        refuse(
            request,
            f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead.",
            param=name,
            code="integer_above_max_value",
        )


def tier(request: Request, asked: str | None) -> str:
    """The service tier served: `auto` is `default`, `fast` is reported as `priority` (providers.md P1)."""
    served = {None: "default", "auto": "default", "fast": "priority"}.get(asked, asked)
    return request.faults.service_tier or served or "default"


def cache(request: Request, model: str, total: int, resent: int | None) -> tuple[int, int]:
    """How much of the input was read from and written to the cache, in tokens.

    The simulator keeps no state, so the rule is a function of the request: `resent` is what stood before the last
    assistant turn (None without one), and that is what an earlier call has cached; in blocks of 128, from 1,024 on.
    Models from gpt-5.6 on report writes (providers.md §3); they write what is not read. Layers over another API have
    no cache, or tell of none.
    """
    if layers.is_layer(request):
        return 0, 0
    wanted = request.faults.cache
    if wanted == "off" or (total < 1_024 and wanted != "hit"):
        return 0, 0
    if wanted == "hit":
        return total // 128 * 128 or total // 2, 0
    read = (resent or 0) // 128 * 128 if wanted != "miss" else 0
    read = read if read >= 1_024 else 0
    version = re.search(r"gpt-(\d+)(?:\.(\d+))?", model)
    writes = version is not None and (int(version[1]), int(version[2] or 0)) >= (5, 6)
    return read, (total // 128 * 128 - read if writes else 0)


def chat_usage(billed: dict[str, int]) -> dict[str, Any]:
    """`usage` in the terms of chat completions."""
    return {
        "prompt_tokens": billed["input_tokens"],
        "completion_tokens": billed["output_tokens"],
        "total_tokens": billed["input_tokens"] + billed["output_tokens"],
        "prompt_tokens_details": {
            "cached_tokens": billed["cached_tokens"],
            "cache_write_tokens": billed["cache_write_tokens"],
            "audio_tokens": billed.get("audio_tokens", 0),
        },
        "completion_tokens_details": {
            "reasoning_tokens": billed["reasoning_tokens"],
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def in_band_error(_number: int) -> bytes:
    """The event with which a stream of chunks fails (providers.md §4.2)."""
    kind, code, message = _SERVER
    return event({"error": {"message": message, "type": kind, "param": None, "code": code}})
