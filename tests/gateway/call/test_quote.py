"""How much is held for a call: its input as bounded, and an output allowance that may shrink or may not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.bounds import INFLIGHT_OUTPUT_TOKENS, INFLIGHT_OUTPUT_TOKENS_MIN, REMOTE_INPUT_TOKENS
from gateway.call.quote import Quote, dearest, quote
from gateway.problems import CallError
from providers.contract.shapes import Call, HoldSteps
from providers.ground.usage import Usage
from providers.pricing.prices import Price

INPUT_PICOS, OUTPUT_PICOS = 10, 100


def price(**more: Any) -> Price:
    return Price(
        "openai", "m", "v", {("", "", ""): [(-1, {"input": (INPUT_PICOS, 1), "output": (OUTPUT_PICOS, 1)})]}, **more
    )


def chat(**more: Any) -> Call:
    """A call whose input is 30 tokens by the estimate and 50 by the bound."""
    fields: dict[str, Any] = {"model": "m", "output_field": "max_tokens", "cache_writes": False}
    return Call(**fields | {"input_upper": Usage(input_tokens=30), "input_bound": Usage(input_tokens=50)} | more)


def test_in_flight_the_estimate_is_held_and_a_bounded_output() -> None:
    """Whatever is declared above it, no more output is held per choice than is configured for a call in flight."""
    made = quote(chat(output_tokens_max=100_000, choices=3), price(), overdraft="inflight", clamp=False)
    assert (made.fixed_picos, made.fixed_tokens) == (30 * INPUT_PICOS, 30)
    assert (made.each_picos, made.each_tokens) == (3 * OUTPUT_PICOS, 3)
    assert (made.want, made.least) == (INFLIGHT_OUTPUT_TOKENS, INFLIGHT_OUTPUT_TOKENS)
    assert made.most == 100_000
    assert made.output_limit(10) is None


def test_an_output_that_nobody_declared_may_shrink() -> None:
    """In flight it shrinks to the least that is worth a call, and the request is left as it is."""
    made = quote(chat(), price(max_output_tokens=1_000), overdraft="inflight", clamp=False)
    assert (made.want, made.least, made.most) == (1_000, INFLIGHT_OUTPUT_TOKENS_MIN, 1_000)
    assert made.output_limit(made.least) is None


def test_a_cap_that_must_hold_takes_the_bound_and_all_of_the_output() -> None:
    """Declared output is held whole; where it is not declared, what the hold covers is written into the request."""
    declared = quote(chat(output_tokens_max=9_000), price(), overdraft="never", clamp=False)
    assert (declared.fixed_picos, declared.want, declared.least) == (50 * INPUT_PICOS, 9_000, 9_000)
    assert declared.output_limit(9_000) is None
    silent = quote(chat(), price(max_output_tokens=8_000), overdraft="never", clamp=False)
    assert (silent.want, silent.least) == (8_000, 1)
    assert silent.output_limit(17) == 17


def test_a_clamped_output_is_written_only_where_it_shrank() -> None:
    made = quote(chat(output_tokens_max=9_000), price(), overdraft="never", clamp=True)
    assert (made.want, made.least) == (9_000, 1)
    assert made.output_limit(9_000) is None
    assert made.output_limit(8_999) == 8_999


@pytest.mark.parametrize(
    ("call", "known", "param"),
    [
        (chat(unlisted="new_field"), {"max_output_tokens": 10}, "new_field"),
        (chat(), {}, "max_tokens"),
        (chat(unbounded="file_id", output_tokens_max=1), {}, "file_id"),
        (chat(endless="tools", output_tokens_max=1), {"max_input_tokens": 10}, "tools"),
        (Call(hold_steps=HoldSteps(step=Usage(), count=1), endless="tools"), {}, "tools"),
    ],
)
def test_what_cannot_be_bounded_is_refused_by_name_where_the_cap_must_hold(
    call: Call, known: dict[str, Any], param: str
) -> None:
    """And is let through where an overdraft is allowed."""
    with pytest.raises(CallError) as refused:
        quote(call, price(**known), overdraft="never", clamp=False)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "unbounded_cost", param)
    quote(call, price(**known), overdraft="inflight", clamp=False)


def test_input_that_is_only_referred_to_counts_as_the_model_s_whole_input() -> None:
    """In flight it counts as a fixed amount, and never as more than the model takes."""
    call = chat(unbounded="file_id", output_tokens_max=1)
    assert quote(call, price(max_input_tokens=900), overdraft="never", clamp=False).fixed_tokens == 900
    assert quote(call, price(max_input_tokens=900), overdraft="inflight", clamp=False).fixed_tokens == 930
    assert quote(call, price(), overdraft="inflight", clamp=False).fixed_tokens == 30 + REMOTE_INPUT_TOKENS


def test_a_socket_is_held_for_in_steps() -> None:
    """Each covers what the shape says; there may be as few as one."""
    step = Usage(input_tokens=5, audio_ms=1_500)
    made = quote(Call(hold_steps=HoldSteps(step=step, count=16)), price(), overdraft="inflight", clamp=False)
    assert (made.want, made.least, made.each_tokens, made.each_seconds) == (16, 1, 5, 2)
    assert made.fixed_picos == 0


def test_of_several_prices_the_dearest_part_of_each_is_held() -> None:
    one, two = Quote(fixed_picos=5, each_picos=1, want=3), Quote(fixed_picos=4, each_picos=2, want=3)
    assert dearest([one]) is one
    assert dearest([one, two]) == Quote(fixed_picos=5, each_picos=2, want=3)
