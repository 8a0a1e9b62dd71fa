"""Reports: the same sums as adding up every event, whatever the range, the question and the size of the tree."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from ledger import usage as usage_module
from ledger.latency import bucket
from ledger.records import Block, Facts, Measures, Settlement
from ledger.usage import MEASURES, Group, Query, Sums
from ledger.views import NotFound
from tests.ledger.world import START_MS, World, eventually

HOUR = 3_600_000
DAY = 24 * HOUR
FIRST_DAY = START_MS - START_MS % DAY


@dataclass
class Call:
    """What a test knows of one call that it made."""

    account: int
    user: int
    created_ms: int
    model: str
    provider: str
    metadata: dict[str, str]
    blocked: bool
    picos: int
    measures: Measures
    latency_ms: int | None


class History:
    """A week of random calls of a small tree, and the same sums by brute force."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311 - repeatable
        self.calls: list[Call] = []
        self.keys: dict[str, list[str]] = {}
        """Each key, and the keys of its subtree with it."""
        self.live: dict[str, bool] = {}
        self.users: dict[int, str] = {}
        self.carry: dict[int, int] = {}

    async def live_through(self, count: int) -> None:
        world, rng = self.world, self.random
        root = await world.open()
        team = await world.open(root)
        ann, bob, test = await world.open(team), await world.open(team), await world.open(root, livemode=False)
        self.keys = {root: [root, team, ann, bob, test], team: [team, ann, bob], ann: [ann], bob: [bob], test: [test]}
        self.live = {root: True, team: True, ann: True, bob: True, test: False}
        users = {key: [0, await world.subject(key, "u1"), await world.subject(key, "u2")] for key in (ann, bob, test)}
        self.users = {ids[number]: f"u{number}" for ids in users.values() for number in (1, 2)}
        edges = [FIRST_DAY + day * DAY + offset for day in range(8) for offset in (-1, 0, 1)]
        for _ in range(count):
            moment = rng.choice(edges) if rng.random() < 0.3 else FIRST_DAY + rng.randrange(7 * DAY)
            world.clock.now_ms = moment
            key = rng.choice((ann, bob, test, team))
            user = rng.choice(users.get(key, [0]))
            facts = Facts(
                provider=rng.choice(("openai", "anthropic")),
                model=rng.choice(("a", "b")),
                metadata=rng.choice(({}, {"team": "red"}, {"team": "blue", "x": "1"})),
            )
            await self._call(key, user, facts)

    async def _call(self, key: str, user: int, facts: Facts) -> None:
        world, rng = self.world, self.random
        account, created = world.accounts[key], world.clock()
        call = Call(account, user, created, facts.model, facts.provider, facts.metadata, False, 0, Measures(), None)
        self.calls.append(call)
        if rng.random() < 0.2:
            call.blocked = True
            commits = world.ledger.commits
            world.ledger.calls.block(
                Block(id=world.new_id("c"), account_id=account, facts=facts, reason="x", subject_id=user)
            )
            await eventually(lambda: world.ledger.commits > commits)
            return
        held = await world.held(key, 100, facts=facts, subject_id=user)
        world.clock.now_ms += rng.choice((0, 1_000, 2 * DAY))
        call.picos = rng.randrange(3_000_000)
        call.measures = Measures(*[rng.randrange(100) for _ in MEASURES])
        call.latency_ms = rng.choice((None, rng.randrange(100_000)))
        if rng.random() < 0.2:
            call.model = "served-instead"
        usage = {name: amount for name, amount in msgspec.structs.asdict(call.measures).items() if amount}
        await world.ledger.calls.settled(
            Settlement(
                id=held,
                status="settled",
                cost_picos=call.picos,
                measures=call.measures,
                usage=usage,
                model=call.model,
                latency_ms=call.latency_ms,
            )
        )

    def sums(self, query: Query, owner: str) -> dict[Group, dict[str, Any]]:
        """The report, by adding up the calls one by one."""
        inside = {self.world.accounts[key] for key in self.keys[query.key or owner]}
        inside &= {self.world.accounts[key] for key, live in self.live.items() if live == query.livemode}
        groups: dict[Group, dict[str, Any]] = {}
        charged: dict[int, int] = {}
        for call in self.calls:
            # The carry goes over all calls of a key, in the order of their settlement.
            before = charged.get(call.account, 0)
            charged[call.account] = before + call.picos
            cost = charged[call.account] // 10**6 - before // 10**6
            if call.account not in inside or not query.from_ms <= call.created_ms < query.to_ms:
                continue
            if query.end_user is not None and self.users.get(call.user) != query.end_user:
                continue
            group = (
                call.account,
                call.provider,
                call.model,
                call.created_ms - call.created_ms % DAY if query.by_day else 0,
                call.user if query.by_end_user else 0,
                call.metadata.get(query.tag, "") if query.tag is not None else "",
            )
            sums = groups.setdefault(group, msgspec.structs.asdict(Sums()))
            if call.blocked:
                sums["blocked"] += 1
                continue
            sums["requests"] += 1
            sums["cost_micros"] += cost
            sums["price_micros"] += cost
            sums["cost_picos"] += call.picos
            added = msgspec.structs.astuple(call.measures)
            sums["measures"] = [a + b for a, b in zip(sums["measures"], added, strict=True)]
            if call.latency_ms is not None:
                sums["latency_ms_sum"] += call.latency_ms
                index = bucket(call.latency_ms)
                sums["histogram"] = sums["histogram"] | {index: sums["histogram"].get(index, 0) + 1}
        return groups


@pytest.mark.parametrize("listed_max", [1, 500])
@pytest.mark.parametrize("seed", range(3))
async def test_reports_are_the_sums_of_their_calls(
    world: World, seed: int, listed_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any half-open range, whole days or ragged, by any group and filter, equals adding up call by call."""
    monkeypatch.setattr(usage_module, "SUBTREE_LISTED_MAX", listed_max)
    history = History(world, seed)
    await history.live_through(120)
    rng = random.Random(seed + 100)  # noqa: S311 - repeatable
    moments = [call.created_ms + offset for call in history.calls for offset in (0, 1)]
    moments += [FIRST_DAY + day * DAY for day in range(-1, 10)] + [0, 10**13]
    owners = list(history.keys)
    for number in range(80):
        owner = rng.choice(owners)
        from_ms, to_ms = rng.choice(moments), rng.choice(moments)
        query = Query(
            owner_id=world.accounts[owner],
            from_ms=from_ms,
            to_ms=to_ms if number % 10 == 0 else max(from_ms, to_ms),
            livemode=rng.random() < 0.8,
            key=rng.choice([None, rng.choice(history.keys[owner])]),
            end_user=rng.choice((None, None, "u1", "nobody")),
            by_day=rng.random() < 0.5,
            by_end_user=rng.random() < 0.5,
            tag=rng.choice((None, None, "team", "unheard-of")),
        )
        report = await world.ledger.reports.usage(query)
        assert {group: msgspec.structs.asdict(sums) for group, sums in report.groups.items()} == history.sums(
            query, owner
        ), query
        named = {group[0] for group in report.groups} | {group[4] for group in report.groups if group[4]}
        assert set(report.names) == named


@pytest.mark.parametrize("listed_max", [0, 500])
async def test_a_large_team_sees_its_own_usage_only(
    world: World, listed_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many keys a team has, its report holds nothing of other teams', nor of the root's."""
    monkeypatch.setattr(usage_module, "SUBTREE_LISTED_MAX", listed_max)
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    await world.spend(mine, 3)
    await world.spend(theirs, 5)
    query = Query(owner_id=world.accounts[mine], from_ms=0, to_ms=10**13)
    report = await world.ledger.reports.usage(query)
    assert {group[0]: sums.cost_micros for group, sums in report.groups.items()} == {world.accounts[mine]: 3}
    everything = await world.ledger.reports.usage(msgspec.structs.replace(query, owner_id=1))
    assert sum(sums.cost_micros for sums in everything.groups.values()) == 8
    below = await world.ledger.reports.usage(msgspec.structs.replace(query, owner_id=1, key=theirs))
    assert sum(sums.cost_micros for sums in below.groups.values()) == 5


async def test_a_call_belongs_to_the_moment_of_its_hold(world: World) -> None:
    """A call that is held before midnight and settled after it is on the day before's bill, late ones too."""
    key = await world.open()
    world.clock.now_ms = FIRST_DAY + DAY - 1
    call = await world.held(key, 10)
    late = await world.held(key, 10, owner="dead")
    world.clock.now_ms += 2
    await world.settle(call, 7)
    await world.ledger.tending.recover()
    await world.settle(late, 2)
    for query_from, query_to, cost, requests in (
        (FIRST_DAY, FIRST_DAY + DAY, 9, 2),
        (FIRST_DAY + DAY - 1, FIRST_DAY + DAY, 9, 2),
        (FIRST_DAY, FIRST_DAY + DAY - 1, 0, 0),
        (FIRST_DAY + DAY, FIRST_DAY + 2 * DAY, 0, 0),
    ):
        report = await world.ledger.reports.usage(Query(owner_id=1, from_ms=query_from, to_ms=query_to))
        sums = list(report.groups.values())
        assert sum(each.cost_micros for each in sums) == cost
        assert sum(each.requests for each in sums) == requests


async def test_what_nobody_settled_costs_nothing_and_is_counted(world: World) -> None:
    """An unsettled call is a request that costs nothing; its late settlement adds the cost and no request."""
    key = await world.open()
    call = await world.held(key, 10, owner="dead")
    await world.ledger.tending.recover()
    query = Query(owner_id=1, from_ms=0, to_ms=10**13)
    (sums,) = (await world.ledger.reports.usage(query)).groups.values()
    assert (sums.requests, sums.cost_micros) == (1, 0)
    await world.settle(call, 6)
    (sums,) = (await world.ledger.reports.usage(query)).groups.values()
    assert (sums.requests, sums.cost_micros) == (1, 6)


async def test_a_markup_makes_the_price(world: World) -> None:
    """The price is the cost and its markup, with a carry of its own, and never touches the cost."""
    key = await world.open(cap=1_000)
    for _ in range(10):
        call = await world.held(key, 10, facts=Facts(markup_ppm=250_000))
        await world.settle(call, 2)
    (sums,) = (await world.ledger.reports.usage(Query(owner_id=1, from_ms=0, to_ms=10**13))).groups.values()
    assert (sums.cost_micros, sums.price_micros) == (20, 25)
    assert (await world.view(key)).cap.used == 20


async def test_strangers_keys_have_no_usage(world: World) -> None:
    """A key outside the owner's subtree is not found, whatever the range."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    with pytest.raises(NotFound):
        await world.ledger.reports.usage(Query(owner_id=world.accounts[mine], from_ms=0, to_ms=1, key=theirs))
