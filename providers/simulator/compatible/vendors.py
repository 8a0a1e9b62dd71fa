"""What vendors who copy OpenAI do otherwise: what they report, where in a stream, and in which head.

Promises: each difference is one of providers.md §3 and P6 to P12, and is that vendor's only; for everybody else all of
this is what OpenAI does. The price that xAI states is reckoned by a rule of the simulator's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn

import msgspec

from providers.simulator.answers import Whole, event
from providers.simulator.openai import common as openai
from providers.simulator.requests import Refusal, Request
from providers.simulator.usages import distorted

Object = dict[str, Any]

OK: Final = {"status_code": 0, "status_msg": "success"}
"""MiniMax's word at the end of every answer."""

# Ticks a token (1 tick = 1e-10 USD): 3, 0.75 and 15 USD for a million.
_TICKS_INPUT: Final = 30_000
_TICKS_CACHED: Final = 7_500
_TICKS_OUTPUT: Final = 150_000
_TICKS_SEARCH: Final = 50_000_000  # 5 USD for a thousand


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor's ways in chat.

    Attributes:
        usage: Its usage object, from OpenAI's and from what is billed.
        ending: What its last chunk with a choice says beside that choice, given the usage; {} for nothing.
        along: Asked for usage, a stream counts along in every chunk.
        extra: Asked for usage, a stream has one more chunk; False where it has none, and no null in the others.
        always: Members of every answer and chunk.
        dropped: OpenAI's members of an answer that it does not have.
        waits: What a JSON body and a stream begin with while the model is waited for.
    """

    usage: Callable[[Object, dict[str, int]], Object] = lambda usage, billed: usage
    ending: Callable[[Object], Object] = lambda usage: {}
    along: bool = False
    extra: bool = True
    always: Object = {}
    dropped: tuple[str, ...] = ()
    waits: tuple[bytes, bytes] = (b"", b"")


def ticks(billed: dict[str, int]) -> int:
    """What xAI charges."""
    cached = billed["cached_tokens"]
    fresh = billed["input_tokens"] - cached
    tokens = fresh * _TICKS_INPUT + cached * _TICKS_CACHED + billed["output_tokens"] * _TICKS_OUTPUT
    return tokens + billed.get("web_searches", 0) * _TICKS_SEARCH


def _xai(usage: Object, billed: dict[str, int]) -> Object:
    hidden = billed["reasoning_tokens"]
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"] - hidden,  # reasoning stands beside it
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {
            "text_tokens": usage["prompt_tokens"],
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": billed["cached_tokens"],
        },
        "completion_tokens_details": {
            "reasoning_tokens": hidden,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
        "cost_in_usd_ticks": ticks(billed),
    }


def _deepseek(usage: Object, billed: dict[str, int]) -> Object:
    cached = billed["cached_tokens"]
    return _counts(usage) | {
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": billed["reasoning_tokens"]},
        "prompt_cache_hit_tokens": cached,
        "prompt_cache_miss_tokens": usage["prompt_tokens"] - cached,
    }


def _kimi(usage: Object, billed: dict[str, int]) -> Object:
    cached = billed["cached_tokens"]
    return _counts(usage) | ({"cached_tokens": cached} if cached else {})


def _qwen(usage: Object, billed: dict[str, int]) -> Object:
    details: Object = {"cached_tokens": billed["cached_tokens"]}
    if written := billed["cache_write_tokens"]:
        details |= {"cache_creation_input_tokens": written, "cache_type": "ephemeral"}
    return _counts(usage) | {"prompt_tokens_details": details}


def _mistral(usage: Object, billed: dict[str, int]) -> Object:
    cached = billed["cached_tokens"]
    more: Object = {"num_cached_tokens": cached, "prompt_tokens_details": {"cached_tokens": cached}} if cached else {}
    return _counts(usage) | {"prompt_audio_seconds": None, "service_tier": "standard"} | more


def _cerebras(usage: Object, billed: dict[str, int]) -> Object:
    return _counts(usage) | {"prompt_tokens_details": {"cached_tokens": billed["cached_tokens"]}}


def _minimax(usage: Object, billed: dict[str, int]) -> Object:
    return _counts(usage) | {
        "total_characters": 0,
        "prompt_tokens_details": {"cached_tokens": billed["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": billed["reasoning_tokens"]},
    }


def _layered(usage: Object, billed: dict[str, int]) -> Object:
    return _counts(usage)


def _google(usage: Object, billed: dict[str, int]) -> Object:
    return {
        "completion_tokens": usage["completion_tokens"] - billed["reasoning_tokens"],  # thoughts: in the total alone
        "prompt_tokens": usage["prompt_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def _counts(usage: Object) -> Object:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _time_info(usage: Object) -> Object:
    seconds = {
        "queue_time": 0.000_125,
        "prompt_time": usage["prompt_tokens"] / 16_384,
        "completion_time": usage["completion_tokens"] / 2_048,
    }
    return {"time_info": seconds | {"total_time": sum(seconds.values()), "created": 1_767_225_600}}


_NO_FINGERPRINT: Final = ("system_fingerprint", "service_tier")
_NATIVE_PATH: Final = "/text/chatcompletion_v2"
_OPENAI: Final = Habit()
_HABITS: Final[Mapping[str, Habit]] = MappingProxyType(
    {
        "xai": Habit(usage=_xai, dropped=("service_tier",)),
        "deepseek": Habit(usage=_deepseek, dropped=("service_tier",), waits=(b"\n\n\n", b": keep-alive\n\n")),
        "kimi": Habit(usage=_kimi, dropped=_NO_FINGERPRINT),
        "qwen": Habit(usage=_qwen),
        "mistral": Habit(usage=_mistral, ending=lambda usage: {"usage": usage}, extra=False, dropped=_NO_FINGERPRINT),
        "cerebras": Habit(usage=_cerebras, ending=lambda usage: {"usage": usage} | _time_info(usage)),
        "anthropic": Habit(usage=_layered, dropped=_NO_FINGERPRINT),
        "google": Habit(usage=_google, along=True, extra=False, dropped=_NO_FINGERPRINT),
        "cohere": Habit(usage=_layered, dropped=_NO_FINGERPRINT),
        "minimax": Habit(usage=_minimax, always={"base_resp": OK}, dropped=_NO_FINGERPRINT),
    }
)
_MINIMAX_NATIVE: Final = Habit(usage=_minimax, extra=False, always={"base_resp": OK}, dropped=_NO_FINGERPRINT)


def habit(request: Request) -> Habit:
    """How the vendor of this request does it."""
    if request.path.endswith(_NATIVE_PATH):
        return _MINIMAX_NATIVE
    return _HABITS.get(request.provider, _OPENAI)


def usages(request: Request, billed: dict[str, int]) -> list[Object]:
    """The usage as the vendor says it: as often as it is to be stated, none for "missing"."""
    usage = habit(request).usage(openai.chat_usage(billed), billed)
    return distorted(usage, request.faults.usage)


def so_far(request: Request, billed: dict[str, int], generated: int) -> Object:
    """The usage of a stream in which so many tokens have been generated."""
    output = min(generated, billed["output_tokens"])
    counted = billed | {"output_tokens": output, "reasoning_tokens": min(output, billed["reasoning_tokens"])}
    return habit(request).usage(openai.chat_usage(counted), counted)


def responses_usage(request: Request, usage: Object, billed: dict[str, int]) -> Object:
    """The same in Responses, where xAI counts reasoning inside, and names what its tools were used for."""
    if request.provider != "xai":
        return usage
    searches = billed.get("web_searches", 0)
    return usage | {
        "num_sources_used": 0,
        "num_server_side_tools_used": searches,
        "cost_in_usd_ticks": ticks(billed),
        "server_side_tool_usage_details": {
            "web_search_calls": searches,
            "x_search_calls": 0,
            "code_interpreter_calls": 0,
            "file_search_calls": 0,
            "mcp_calls": 0,
            "document_search_calls": 0,
        },
    }


def invoice(request: Request, billed: dict[str, int]) -> dict[str, int]:
    """What is billed, with the price of a vendor that states one."""
    return billed | {"usd_ticks": ticks(billed)} if request.provider == "xai" else billed


def refuse_unknown(request: Request, field: str) -> NoReturn:
    """Answer 422, as Mistral does to a field that it does not know."""
    detail = [{"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs are not permitted"}]
    body = msgspec.json.encode({"detail": detail})
    raise Refusal(Whole(status=422, headers=openai.headers(request), body=body))


def based(request: Request, base: Object) -> Object:
    """The members that an answer and its chunks share."""
    ways = habit(request)
    return {name: value for name, value in base.items() if name not in ways.dropped} | ways.always


def finished(request: Request, full: Object) -> bytes:
    """A full answer's body."""
    ways = habit(request)
    if request.provider == "cerebras" and "usage" in full and "prompt_tokens" in full["usage"]:
        full |= _time_info(full["usage"])
    return ways.waits[0] + msgspec.json.encode(full)


def last(request: Request, chunk: Object, usages: list[Object]) -> Object:
    """The last chunk with a choice, as the vendor ends its stream."""
    if not usages:
        return chunk
    if request.provider == "kimi":
        final = chunk["choices"][0] | {"usage": usages[-1]}
        return chunk | {"choices": [final]}
    return chunk | habit(request).ending(usages[-1])


def whole(request: Request, base: Object, message: Object, finish: str, usages: list[Object]) -> list[bytes]:
    """MiniMax's own API ends a stream by saying everything again; nobody else does."""
    if not request.path.endswith(_NATIVE_PATH):
        return []
    choice = {"index": 0, "finish_reason": finish, "message": message}
    full = base | {"object": "chat.completion", "choices": [choice]}
    return [event(full | ({"usage": usages[-1]} if usages else {}))]


def streamed(request: Request, events: Iterator[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """A stream, with what the vendor sends while the model is waited for."""
    waits = habit(request).waits[1]
    for data, generated in events:
        yield waits + data, generated
        waits = b""
