"""A call in flight ends by its deadline, its client or its key, whichever is first; a landed one is settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.call import flight as flight_module
from gateway.call.flight import Flight, Flights

DRAIN_S = 5.0


@pytest.fixture
async def flights(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Flights]:
    monkeypatch.setattr(flight_module, "WATCH_INTERVAL_S", 0.005)
    made = Flights(DRAIN_S)
    yield made
    await made.close(0)


async def fly(flights: Flights, *, account_id: int = 1, wait_s: float = 60, to_the_end: bool = False) -> Flight:
    """A flight whose task lasts until it is cut."""

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            flights.remove(made)

    task = asyncio.create_task(wait())
    made = Flight("c", (account_id, 7), task, flights.now() + wait_s, to_the_end=to_the_end)
    flights.add(made)
    await asyncio.sleep(0)
    return made


async def ended(flight: Flight) -> str:
    """The reason with which it was cut."""
    with pytest.raises(asyncio.CancelledError):
        await flight.task
    return flight.cut_reason


async def test_a_deadline_cuts_a_call(flights: Flights) -> None:
    late = await fly(flights, wait_s=0)
    await fly(flights)
    assert await ended(late) == "timeout"
    assert len(flights) == 1


async def test_a_client_that_left_is_read_on_for_a_while(flights: Flights) -> None:
    """Its deadline comes nearer, and never later; then the call is cut for that reason."""
    left, hurried = await fly(flights), await fly(flights, wait_s=1)
    before = hurried.deadline
    flights.client_gone(left)
    flights.client_gone(hurried)
    assert left.deadline <= flights.now() + DRAIN_S
    assert hurried.deadline == before
    left.deadline = 0
    assert await ended(left) == "client_gone"


async def test_an_answer_that_only_tells_at_its_end_is_read_to_it(flights: Flights) -> None:
    """Its client's leaving changes nothing of its deadline, and is not what cuts it."""
    whole = await fly(flights, to_the_end=True)
    before = whole.deadline
    flights.client_gone(whole)
    assert whole.deadline == before
    whole.deadline = 0
    assert await ended(whole) == "timeout"


async def test_a_revoked_key_ends_the_calls_under_it_and_no_others(flights: Flights) -> None:
    mine, theirs = await fly(flights, account_id=1), await fly(flights, account_id=2)
    assert flights.cut_account(1, "key_revoked") == 1
    assert await ended(mine) == "key_revoked"
    assert not theirs.cut_reason
    assert flights.cut_account(7, "key_revoked") == 1
    assert await ended(theirs) == "key_revoked"


async def test_the_first_reason_stands(flights: Flights) -> None:
    flight = await fly(flights)
    flight.cut("key_revoked")
    flight.cut("shutdown")
    assert await ended(flight) == "key_revoked"


async def test_a_landed_call_is_cut_for_time_alone(flights: Flights) -> None:
    """Its bill is written; only its last bytes wait for a client that does not read."""
    flight = await fly(flights)
    flight.stage = "landed"
    flight.cut("shutdown")
    assert not flight.cut_reason
    flight.cut("timeout")
    assert await ended(flight) == "timeout"


async def test_who_waits_is_nudged_once_when_it_is_time(flights: Flights) -> None:
    flight, nudged = await fly(flights), asyncio.Event()
    nudges: list[float] = []

    def nudge() -> None:
        nudges.append(flight.nudge_at)
        nudged.set()

    flight.nudge, flight.nudge_at = nudge, 0
    await nudged.wait()
    await asyncio.sleep(0.02)  # several looks later
    assert nudges == [flight_module.NEVER]
    flight.cut("shutdown")
    await ended(flight)


async def test_a_stop_waits_and_then_cuts() -> None:
    flights = Flights(DRAIN_S)
    flight = await fly(flights)
    await flights.close(0.01)
    assert await ended(flight) == "shutdown"
    assert len(flights) == 0
