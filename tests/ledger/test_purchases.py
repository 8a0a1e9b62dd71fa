"""What was bought of a provider, by day and model, on both engines."""

from __future__ import annotations

import msgspec

from ledger.records import Facts, Measures
from tests.ledger.world import World

DAY_MS = 86_400_000
USAGE = {"input_tokens": 100, "cache_read_tokens": 40, "cache_write_tokens": 20, "cache_write_1h_tokens": 5}


async def call(world: World, key: str, picos: int, **facts: str) -> None:
    ask = world.ask(key, picos // 1_000_000 + 1, facts=Facts(**({"provider": "openai", "model": "m"} | facts)))  # type: ignore[arg-type]
    await world.ledger.calls.hold(ask)
    measures = Measures(input_tokens=100, cache_read_tokens=40, cache_write_tokens=20)
    await world.settle(ask.id, usage=USAGE, measures=measures, cost_picos=picos)


async def test_purchases_are_of_one_provider_by_day_and_model(world: World) -> None:
    """Exact to the pico; test calls, other providers' and other upstreams' are not among them, nor what was refused."""
    master = await world.open()
    test_key = await world.open(master, livemode=False)
    poor = await world.open(master, cap=1)
    start_ms = world.clock.now_ms // DAY_MS * DAY_MS
    await call(world, master, 1_000_001)
    await call(world, master, 2_000_002, model="n")
    await call(world, master, 7, provider="anthropic")
    await call(world, master, 7, upstream="azure")
    await call(world, test_key, 7)
    await world.hold(poor, 5)
    world.clock.now_ms += DAY_MS
    await call(world, master, 3_000_003)
    await call(world, master, 4_000_004)
    found = await world.ledger.reports.purchases("openai", start_ms, start_ms + 2 * DAY_MS)
    assert [(each.day_ms - start_ms, each.model, each.cost_picos) for each in found] == [
        (0, "m", 1_000_001),
        (0, "n", 2_000_002),
        (DAY_MS, "m", 7_000_007),
    ]
    assert found[2].tokens == {
        "input_tokens": 200,
        "cache_read_tokens": 80,
        "cache_write_tokens": 40,
        "cache_write_1h_tokens": 10,
        "cache_write_12h_tokens": 0,
        "output_tokens": 0,
    }
    first = await world.ledger.reports.purchases("openai", start_ms, start_ms + DAY_MS)
    assert msgspec.to_builtins(first) == msgspec.to_builtins(found[:2])
