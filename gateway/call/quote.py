"""How much to hold for a call: the worst case of its input, and of an output allowance that may shrink.

`inflight` (the default) holds the estimated input and at most `INFLIGHT_OUTPUT_TOKENS` of output per choice: small
caps stay usable, and what one answer in flight may cost beyond its hold is recorded as an overrun. `never` holds
sound bounds of both, so that spending above the cap is impossible as long as the provider honours the output limit
and the price is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.bounds import INFLIGHT_OUTPUT_TOKENS, INFLIGHT_OUTPUT_TOKENS_MIN, REMOTE_INPUT_TOKENS
from gateway.problems import CallError
from providers.contract.batch_bound import BatchBound
from providers.contract.shapes import Call, HoldSteps
from providers.ground.usage import Usage
from providers.pricing.prices import Price


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The amounts of a hold, linear in the output allowance; see `ledger.records.Ask`.

    Attributes:
        most: What the answer may put out at most, per choice, as far as the request or the catalogue says.
        write_limit: The held allowance is written into the forwarded request: "never", "if_less" than wanted, or
            "always" (the client declared none, and the provider's own default is not ours to trust).
    """

    fixed_picos: int = 0
    each_picos: int = 0
    fixed_tokens: int = 0
    each_tokens: int = 0
    seconds: int = 0
    each_seconds: int = 0
    want: int = 0
    least: int = 0
    most: int | None = None
    write_limit: Literal["never", "if_less", "always"] = "never"

    def output_limit(self, allowance: int) -> int | None:
        """The output limit to write into the request; None to leave the request as it is."""
        if self.write_limit == "always" or (self.write_limit == "if_less" and allowance < self.want):
            return allowance
        return None


FREE = Quote()


def quote(call: Call, price: Price, *, overdraft: str, clamp: bool) -> Quote:
    """Bound a call's cost.

    Raises:
        CallError: 400 `unbounded_cost`, if the cap must provably hold and the request's cost cannot be bounded.
    """
    never = overdraft == "never"
    if never and call.unlisted:
        raise unbounded(call.unlisted)
    if call.hold_steps is not None:
        return _of_steps(call, call.hold_steps, price, never=never)
    if call.batch_bound is not None:
        return _of_batch(call, call.batch_bound, price, never=never)
    usage = _input(call, price, never=never)
    want = least = 0
    write_limit: Literal["never", "if_less", "always"] = "if_less" if clamp and call.output_tokens_max else "never"
    if call.output_field:
        declared = call.output_tokens_max
        ceiling = price.max_output_tokens
        if never:
            want = _sound_output(declared, ceiling, call)
            least = want if (declared is not None and not clamp) or not call.limitable else min(want, 1)
            write_limit = "always" if declared is None and call.limitable else write_limit
        else:
            want = min(declared if declared is not None else ceiling or INFLIGHT_OUTPUT_TOKENS, INFLIGHT_OUTPUT_TOKENS)
            least = want if declared is not None and not clamp else min(want, INFLIGHT_OUTPUT_TOKENS_MIN)
    media = _any_media(usage) if never and call.unbounded else (usage,)
    fixed_picos = max(price.bound_picos(each, cache_writes=call.cache_writes) for each in media)
    each_picos = price.output_picos_each(usage.input_tokens) if want else 0
    if tier := call.service_tier:  # a cheaper one is the provider's to give: never less than the usual one is held
        fixed_picos = max(
            fixed_picos, *(price.bound_picos(each, tier, cache_writes=call.cache_writes) for each in media)
        )
        each_picos = max(each_picos, price.output_picos_each(usage.input_tokens, tier) if want else 0)
    return Quote(
        fixed_picos=fixed_picos,
        each_picos=each_picos * call.choices,
        fixed_tokens=usage.tokens,
        each_tokens=call.choices if want else 0,
        seconds=-(-usage.audio_ms // 1000),
        want=want,
        least=least,
        most=call.output_tokens_max if call.output_tokens_max is not None else price.max_output_tokens,
        write_limit=write_limit,
    )


def dearest(quotes: Sequence[Quote]) -> Quote:
    """One quote for a call that may be charged at any of several prices of its model: they differ in picos only."""
    if len(quotes) == 1:
        return quotes[0]
    fixed, each = max(quote.fixed_picos for quote in quotes), max(quote.each_picos for quote in quotes)
    return msgspec.structs.replace(quotes[0], fixed_picos=fixed, each_picos=each)


def _of_batch(call: Call, bound: BatchBound, price: Price, *, never: bool) -> Quote:
    """A batch's hold: all its requests together, with all the output that they declare; it cannot grow later."""
    if never and call.endless:
        raise unbounded(call.endless)
    silent = price.max_output_tokens
    if not never:
        silent = min(silent or INFLIGHT_OUTPUT_TOKENS, INFLIGHT_OUTPUT_TOKENS)
    elif silent is None and any(each.silent for each in bound.sums.values()):
        raise _undeclared(call.model, "a maximum output in every request")
    remote = price.max_input_tokens
    if not never:
        remote = min(remote or REMOTE_INPUT_TOKENS, REMOTE_INPUT_TOKENS)
    elif remote is None and any(each.remote for each in bound.sums.values()):
        raise unbounded("a request of the batch")
    picos, tokens = bound.held(price, sound=never, silent_tokens=silent or 0, remote_tokens=remote or 0)
    return Quote(fixed_picos=picos, fixed_tokens=tokens)


def _of_steps(call: Call, steps: HoldSteps, price: Price, *, never: bool) -> Quote:
    """A socket's hold: its allowance counts steps, and whoever relays it raises the allowance while it lives."""
    if never and (field := call.endless or call.unbounded):
        raise unbounded(field)
    return Quote(
        each_picos=price.bound_picos(steps.step, call.service_tier),
        each_tokens=steps.step.tokens,
        each_seconds=-(-steps.step.audio_ms // 1000),
        want=steps.count,
        least=1,
    )


def unbounded(field: str) -> CallError:
    """What this field asks for cannot be held for, and the cap must hold."""
    message = f"What {field} refers to cannot be bounded from the request, and this key's cap must hold."
    return CallError(400, "unbounded_cost", message, param=field)


def _input(call: Call, price: Price, *, never: bool) -> Usage:
    usage = call.input_bound if never else call.input_upper
    if never and call.endless:
        raise unbounded(call.endless)
    if not call.unbounded:
        return usage
    sounds = usage.audio_ms > 0  # no model says how much of it it takes; the shape allows for some
    largest = None if sounds else price.max_input_tokens
    if never:
        if largest is None:
            raise unbounded(call.unbounded)
        return msgspec.structs.replace(usage, input_tokens=max(usage.input_tokens, largest))
    if sounds:
        return usage
    remote = REMOTE_INPUT_TOKENS if largest is None else min(REMOTE_INPUT_TOKENS, largest)
    return msgspec.structs.replace(usage, input_tokens=usage.input_tokens + remote)


def _any_media(usage: Usage) -> tuple[Usage, Usage]:
    """What nobody here has seen may be sound, or pictures, all of it."""
    tokens = usage.input_tokens
    return (
        msgspec.structs.replace(usage, input_audio_tokens=tokens, input_image_tokens=0),
        msgspec.structs.replace(usage, input_audio_tokens=0, input_image_tokens=tokens),
    )


def _sound_output(declared: int | None, ceiling: int | None, call: Call) -> int:
    if declared is not None:
        return declared
    if ceiling is None:
        raise _undeclared(call.model, call.output_field)
    return ceiling


def _undeclared(model: str, field: str) -> CallError:
    message = f"{model} has no known maximum output: declare {field}, because this key's cap must hold."
    return CallError(400, "unbounded_cost", message, param=field)
