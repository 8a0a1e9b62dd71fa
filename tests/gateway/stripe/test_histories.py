"""Ten thousand histories, shuffled, doubled and broken: what a customer has in the end is what is true.

The events go through the parser and the ledger's own transactions, on both databases, many customers at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from gateway.stripe import shapes
from keys.ids import new_id
from ledger.billing.taking import Fetch
from ledger.billing.terms import PlanTerms
from ledger.windows import DAY_MS
from tests.gateway.stripe.truth import DAY_S, T0_S, History, history
from tests.ledger.world import Clock, World, assert_sound, opened

AT_ONCE = 10
EXAMPLES = {"sqlite": 900, "postgresql": 100}
CAPS = {"A": 20_000_000, "B": 50_000_000, "free": 1_000_000, "start": 7_000_000}
_numbers = itertools.count(1)


class Stage:
    """A ledger with plans, that many histories are played on."""

    def __init__(self, database: Path | str) -> None:
        self.runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self.clock = Clock(T0_S * 1000)
        self.world: World
        self.plans: dict[str, str] = {}
        self.runner.run(self._open(database))

    async def _open(self, database: Path | str) -> None:
        self.world = await self._stack.enter_async_context(opened(database, self.clock))
        self.master = await self.world.open()
        sold = {
            "A": PlanTerms(price_ids=["price_a"]),
            "B": PlanTerms(product_ids=["prod_of_price_b"]),
            "free": PlanTerms(fallback=True),
            "start": None,
        }
        for name, terms in sold.items():
            new = self.world.account(self.master, CAPS[name], "month", kind="plan", public_id=f"plan_{name}")
            await self.world.ledger.accounts.open(new, sold=terms)

    async def _close(self) -> None:
        await assert_sound(self.world.ledger)
        await self._stack.aclose()

    def close(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    async def tell(self, told: dict[str, Any]) -> None:
        found = shapes.read(told)
        assert found is not None
        await self.world.ledger.stripe.take(found, lambda prefix: new_id(prefix, self.clock()), fetch=False)

    def look_up_at(self, stories: list[History]) -> int:
        """Let it be so late that all of it has happened, in seconds: Stripe knows no future."""
        last_s = max((step.at_s for story in stories for steps in story.courses.values() for step in steps), default=0)
        self.clock.now_ms = max(self.clock.now_ms, last_s * 1000)
        return self.clock.now_ms // 1000

    async def look_up(self, story: History) -> None:
        """Every subscription is looked up as it is."""
        for name, steps in story.courses.items():
            found = shapes.looked_up(steps[-1].told["data"]["object"], self.clock() // 1000)
            await self.world.ledger.stripe.fetched(
                Fetch(name, 0, 1), found, lambda prefix: new_id(prefix, self.clock())
            )

    async def play(self, story: History, chance: random.Random, known: set[str]) -> str:
        """Tell of a history in disorder, some of it before anybody knows whose the customer is; the key."""
        early = chance.random() < 0.3
        events = [told for told in story.events() if told["id"] in known]
        events += [told for told in events if chance.random() < 0.3]
        chance.shuffle(events)
        cut = chance.randrange(len(events) + 1)
        customer = None if early else story.customer
        key = await self.world.open(
            self.master, plan="plan_start", cap_micros=UNSET, reset=UNSET, stripe_customer_id=customer
        )
        for told in events[:cut]:
            await self.tell(told)
        if early:
            await self.world.edit(key, owner=self.master, stripe_customer_id=story.customer)
        for told in events[cut:]:
            await self.tell(told)
        return key


@pytest.fixture(params=["sqlite", "postgresql"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stage, int]]:
    kind = str(request.param)
    database = tmp_path / "farthing.db" if kind == "sqlite" else request.getfixturevalue("postgres").database()
    started = Stage(database)
    try:
        yield started, EXAMPLES[kind]
    finally:
        started.close()


async def check(stage: Stage, key: str, story: History, known: set[str], grace_s: int, looked_up_s: int = 0) -> None:
    """The key has what is true of what is known."""
    view = await stage.world.view(key, stage.master)
    now_s = stage.clock() // 1000
    plan, period_s = story.wanted(known, grace_s, now_s, looked_up_s)
    courses = {name: [(step.at_s, step.status, step.prices) for step in c] for name, c in story.courses.items()}
    said = f"{plan} from {period_s}: {courses}"
    assert view.plan is not None
    assert view.plan.public_id == f"plan_{plan or 'start'}", said
    assert view.anchor_ms == (None if period_s is None else period_s * 1000), said
    assert view.cap.max == CAPS[plan or "start"] + story.credit(known) * 10_000
    assert view.cap.anchor_ms == view.anchor_ms
    assert not view.disabled
    ends = [steps[-1].status in ("canceled", "incomplete_expired") for steps in story.courses.values()]
    sold = any(step.plan for steps in story.courses.values() for step in steps)
    if known >= {told["id"] for told in story.events()} and ends and all(ends) and sold:
        assert view.plan.public_id == "plan_free", "never a cap for ever after a cancellation"


@pytest.mark.timeout(600)
def test_every_history_ends_in_the_truth(stage: tuple[Stage, int]) -> None:
    """Told in part, with time passing, then in whole: each time plan, windows and credits are as is true."""
    on, examples = stage
    grace_s = 3 * DAY_S

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data(), seed=st.integers(0, 2**32), days=st.integers(0, 120))
    def play(data: st.DataObject, seed: int, days: int) -> None:
        stories = [data.draw(history(next(_numbers))) for _ in range(AT_ONCE)]
        chance = random.Random(seed)  # noqa: S311 - repeatable

        async def all_of_it() -> None:
            on.clock.now_ms = T0_S * 1000 + chance.randrange(60) * DAY_MS
            known = [{told["id"] for told in story.events() if chance.random() < 0.7} for story in stories]
            plays = [on.play(story, chance, part) for story, part in zip(stories, known, strict=True)]
            keys = await asyncio.gather(*plays)
            for key, story, part in zip(keys, stories, known, strict=True):
                await check(on, key, story, part, grace_s)
            on.clock.now_ms += days * DAY_MS
            await on.world.ledger.stripe.settle_due()
            for key, story, part in zip(keys, stories, known, strict=True):
                await check(on, key, story, part, grace_s)
            looked_up_s = on.look_up_at(stories) if chance.random() < 0.5 else 0
            if looked_up_s:
                await asyncio.gather(*(on.look_up(story) for story in stories))
                for key, story, part in zip(keys, stories, known, strict=True):
                    await check(on, key, story, part, grace_s, looked_up_s)
            rest = [told for story in stories for told in story.events()]
            chance.shuffle(rest)
            await asyncio.gather(*(on.tell(told) for told in rest))
            for key, story in zip(keys, stories, strict=True):
                await check(on, key, story, {told["id"] for told in story.events()}, grace_s, looked_up_s)

        on.runner.run(all_of_it())

    play()
