"""A hold knows how much it is by now, never passes the call's own cap, and tells which limit had no room."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.call.hold import NEVER, Hold, OutputGrowth
from gateway.call.quote import Quote
from gateway.call.records import Admitted
from ledger.calls import Calls
from ledger.money import PICOS_PER_MICRO
from ledger.records import Extend, Held, LedgerUnavailable
from providers.contract.shapes import Call, Meter


class Limits:
    """Calls with room for so many more picos."""

    def __init__(self, room_picos: int) -> None:
        self.room_picos = room_picos
        self.asked: list[Extend] = []
        self.away = False

    async def extend(self, more: Extend) -> bool:
        if self.away:
            raise LedgerUnavailable("away")
        self.asked.append(more)
        wanted = more.each_picos * more.allowance
        if wanted > self.room_picos:
            return False
        self.room_picos -= wanted
        return True


class Seen:
    """A meter that has seen so many tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def output_tokens_seen(self) -> int:
        return self.tokens


def admitted(
    *, allowance: int = 100, each_picos: int = 10, most: int | None = None, cap: int | None = None
) -> Admitted:
    """A call that holds 1,000 micros."""
    fields: dict[str, Any] = dict.fromkeys(Admitted.__struct_fields__)
    fields |= {
        "call_id": "c",
        "call": Call(),
        "quote": Quote(each_picos=each_picos, want=allowance, most=most),
        "held": Held(id="c", allowance=allowance, amount_micros=1_000),
        "cap_micros": cap,
    }
    return Admitted(**fields)


async def test_what_is_held_is_known_without_asking() -> None:
    """Each step that was held counts; one that was refused does not."""
    limits = Limits(room_picos=500)
    hold = Hold(admitted(), cast(Calls, limits))
    assert hold.picos == 1_000 * PICOS_PER_MICRO
    assert await hold.extend(picos=100, steps=4)
    assert not await hold.extend(picos=200)
    assert hold.picos == 1_000 * PICOS_PER_MICRO + 400


async def test_nothing_more_needs_no_ledger() -> None:
    limits = Limits(0)
    limits.away = True
    assert await Hold(admitted(), cast(Calls, limits)).extend()


async def test_the_call_s_own_cap_has_room_to_the_last_pico() -> None:
    hold = Hold(admitted(cap=1_001), cast(Calls, Limits(10**9)))
    assert hold.has_room(PICOS_PER_MICRO)
    assert not hold.has_room(PICOS_PER_MICRO + 1)
    assert Hold(admitted(), cast(Calls, Limits(0))).has_room(10**18)


async def grown(growth: OutputGrowth, tokens: int) -> None:
    growth.look(cast(Meter, Seen(tokens)), streamed_bytes=10_000)
    await asyncio.sleep(0.01)


async def test_a_stream_s_allowance_doubles_at_three_quarters() -> None:
    """Before that the next look is told; then as much again is held, and looked at again."""
    call, limits = admitted(), Limits(10**9)
    growth = OutputGrowth(Hold(call, cast(Calls, limits)), call)
    await grown(growth, 74)
    assert (growth.allowance, limits.asked) == (100, [])
    assert growth.look_at_bytes > 10_000
    await grown(growth, 75)
    assert growth.allowance == 200
    assert limits.asked[0].allowance == 100


async def test_no_more_is_held_than_can_come() -> None:
    """The last step is what is missing to the answer's limit, and then there is nothing to look for."""
    call, limits = admitted(most=130), Limits(10**9)
    growth = OutputGrowth(Hold(call, cast(Calls, limits)), call)
    await grown(growth, 90)
    assert (growth.allowance, growth.look_at_bytes) == (130, NEVER)


@pytest.mark.parametrize("away", [False, True])
async def test_a_refused_step_lets_the_answer_finish(away: bool) -> None:
    """Whether a limit has no room or the ledger is away: the allowance stays, and is not asked for again."""
    call, limits = admitted(), Limits(0)
    limits.away = away
    growth = OutputGrowth(Hold(call, cast(Calls, limits)), call)
    await grown(growth, 100)
    assert (growth.allowance, growth.look_at_bytes) == (100, NEVER)
