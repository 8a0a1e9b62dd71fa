"""Random lives of a ledger, compared step by step with a model that shares no code with it."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger.book import Match
from ledger.changes import Closed, Edit, TooDeep
from ledger.limits import WantedLimit
from ledger.records import Ask, Extend, Facts, Held, Refused, Settled, Settlement
from tests.cluster import Cluster
from tests.ledger.model import MAccount, MCall, MLimit, Model, window_start
from tests.ledger.world import Clock, World, assert_sound, open_ledger

EXAMPLES = int(os.environ.get("FARTHING_EXAMPLES", "60"))
STEPS = int(os.environ.get("FARTHING_STEPS", "40"))
DAY = 86_400_000
DEPTH_MAX = 8

units = st.sampled_from(["micros", "tokens", "requests", "seconds", "concurrent"])
windows = st.sampled_from(["total", "minute", "hour", "day", "week", "month"])
resets = st.sampled_from(["total", "day", "week", "month"])
caps = st.none() | st.integers(0, 30) | st.integers(30, 400)
jumps = st.sampled_from(
    [1, 999, 61_000, 3_600_000, DAY, 8 * DAY, 32 * DAY, 400 * DAY, -1, -61_000, -7_200_000, -DAY, -40 * DAY]
)


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "unit": draw(units),
        "max": draw(st.none() | st.integers(0, 60)),
        "window": draw(windows),
        "provider": draw(st.none() | st.just("openai")),
        "model": draw(st.none() | st.sampled_from(["gpt-*", "gpt-a", "*"])),
        "metadata": draw(st.none() | st.just({"team": "red"})),
        "per": draw(st.sampled_from(["key", "key", "key", "end_user", "run"])),
        "action": draw(st.sampled_from(["block", "block", "block", "warn"])),
    }


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    want = draw(st.integers(0, 12))
    return {
        "provider": draw(st.sampled_from(["openai", "anthropic"])),
        "model": draw(st.sampled_from(["gpt-a", "gpt-b", "claude"])),
        "metadata": draw(st.sampled_from([{}, {"team": "red"}, {"team": "blue", "x": "y"}])),
        "fixed_picos": draw(st.integers(0, 20_000_000)),
        "each_picos": draw(st.sampled_from([0, 0, 1, 240_000, 1_000_000, 3_333_333])),
        "fixed_tokens": draw(st.integers(0, 20)),
        "each_tokens": draw(st.integers(0, 2)),
        "seconds": draw(st.integers(0, 3)),
        "want": want,
        "least": draw(st.just(want) | st.integers(0, want)),
        "call_max": draw(st.none() | st.none() | st.integers(0, 25)),
        "subject_max": draw(st.none() | st.none() | st.integers(0, 40)),
    }


class Lives(RuleBasedStateMachine):
    """Drives a real engine and the model side by side."""

    cluster: ClassVar[Cluster | None] = None
    """Where the database is; None for a SQLite file."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.database = Path(self.directory.name) / "farthing.db" if self.cluster is None else self.cluster.database()
        self.clock = Clock()
        self.model = Model()
        self.epoch = 0
        self.world: World
        self.keys: list[str] = []
        self.public_limits: dict[str, str] = {}
        self.subjects: dict[tuple[str, str], int] = {}
        self.calls: list[str] = []

    # ---- plumbing

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    async def _open(self) -> None:
        self.epoch += 1
        ledger = await open_ledger(self.database, self.clock, f"life-{self.epoch}")
        if hasattr(self, "world"):
            self.world.ledger = ledger
        else:
            self.world = World(ledger, self.database, self.clock)

    async def _close(self) -> None:
        await self.world.ledger.close()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            if sys.exc_info()[0] is None:
                self.one_end()
            self.run(self._close())
        self.runner.close()
        self.directory.cleanup()

    def key(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.keys), label="key")

    def account(self, key: str) -> MAccount:
        return self.model.accounts[self.world.accounts[key]]

    def terms(self, drawn: dict[str, Any], public_id: str | None = None) -> tuple[WantedLimit, MLimit]:
        match = Match(provider=drawn["provider"], model=drawn["model"], metadata=drawn["metadata"])
        terms = self.world.terms(
            drawn["unit"], drawn["max"], drawn["window"], match=match, per=drawn["per"], action=drawn["action"]
        )
        return terms, MLimit(name=terms.public_id, **drawn)

    # ---- the tree

    @initialize(cap=caps, reset=resets)
    def begin(self, cap: int | None, reset: Any) -> None:
        self.run(self._open())
        self._open_key(None, cap, reset, [], live=True)

    def _open_key(self, parent: str | None, cap: int | None, reset: Any, drawn: list[Any], *, live: bool) -> None:
        pairs = [self.terms(one) for one in drawn]
        new = self.world.account(parent, cap, reset, livemode=live, limits=tuple(terms for terms, _ in pairs))
        parent_id = None if parent is None else self.world.accounts[parent]
        expected: type[Exception] | None = None
        if parent_id is not None:
            if len(self.model.chain(parent_id)) >= DEPTH_MAX:
                expected = TooDeep
            elif self.model.status(parent_id, self.clock()) != "active":
                expected = Closed
        try:
            answer = self.run(self.world.ledger.accounts.open(new))
        except (TooDeep, Closed) as error:
            assert type(error) is expected
            return
        assert expected is None
        view = answer.account
        self.world.accounts[view.public_id] = view.id
        self.keys.append(view.public_id)
        self.public_limits[f"total:{view.id}"] = new.balance_id
        self.model.accounts[view.id] = MAccount(
            id=view.id,
            name=view.public_id,
            kind="key",
            parent=parent_id,
            livemode=live,
            cap=cap,
            reset=reset,
            limits=[limit for _, limit in pairs],
        )

    @precondition(lambda self: len(self.keys) < 10)
    @rule(data=st.data(), cap=caps, reset=resets, drawn=st.lists(limits(), max_size=3), test=st.booleans())
    def mint(self, data: st.DataObject, cap: int | None, reset: Any, drawn: list[Any], test: bool) -> None:
        parent = self.key(data)
        live = self.account(parent).livemode and not (test and data.draw(st.booleans()))
        self._open_key(parent, cap, reset, drawn, live=live)

    @rule(data=st.data(), kind=st.sampled_from(["end_user", "run"]), name=st.sampled_from(["ann", "bob"]))
    def meet(self, data: st.DataObject, kind: str, name: str) -> None:
        self._subject(self.key(data), kind, name)

    def _subject(self, key: str, kind: str, name: str) -> int:
        account_id: int = self.run(self.world.subject(key, name, kind))
        known = self.subjects.get((key, f"{kind}:{name}"))
        assert known in (None, account_id)
        if known is None:
            self.subjects[key, f"{kind}:{name}"] = account_id
            parent = self.account(key)
            self.model.accounts[account_id] = MAccount(
                id=account_id, name="", kind=kind, parent=parent.id, livemode=parent.livemode
            )
            rows = self.world.rows(
                "SELECT a.public_id, l.public_id FROM accounts AS a JOIN limits AS l ON l.account_id = a.id"
                " WHERE a.id = ?",
                account_id,
            )
            self.model.accounts[account_id].name, self.public_limits[f"total:{account_id}"] = rows[0]
        return account_id

    # ---- changes

    @rule(data=st.data(), cap=caps, also=st.none() | resets)
    def change_cap(self, data: st.DataObject, cap: int | None, also: Any) -> None:
        key = self.key(data)
        account = self.account(key)
        account.cap, account.version = cap, account.version + 1
        changes: dict[str, Any] = {"cap_micros": cap, "reset": account.reset}
        if also is not None:
            account.reset = changes["reset"] = also
        self.run(self.world.edit(key, **changes))

    @rule(data=st.data(), cap=caps, disabled=st.booleans())
    def change_end_user(self, data: st.DataObject, cap: int | None, disabled: bool) -> None:
        known = [id_ for id_ in self.subjects.values() if self.model.accounts[id_].kind == "end_user"]
        if not known:
            return
        user = self.model.accounts[data.draw(st.sampled_from(known))]
        user.cap, user.disabled, user.version = cap, disabled, user.version + 1
        edit = Edit(cap_micros=cap, reset="total", disabled=disabled)
        self.run(self.world.ledger.accounts.edit(self.world.accounts[self.keys[0]], user.name, edit, kind="end_user"))

    @rule(data=st.data())
    def forget_end_user(self, data: st.DataObject) -> None:
        known = sorted(pair for pair in self.subjects if pair[1].startswith("end_user:"))
        if not known or not data.draw(st.booleans()):
            return
        key, name = data.draw(st.sampled_from(known))
        user = self.model.accounts[self.subjects.pop((key, name))]
        user.revoked, user.version = True, user.version + 1
        self.run(self.world.ledger.accounts.forget_subject(self.world.accounts[key], "end_user", name.split(":")[1]))

    @rule(data=st.data(), drawn=st.lists(limits(), max_size=2), maximum=st.integers(0, 60))
    def change_limits(self, data: st.DataObject, drawn: list[Any], maximum: int) -> None:
        key = self.key(data)
        account = self.account(key)
        kept = [limit for limit in account.limits if data.draw(st.booleans(), label="keep")]
        if kept and data.draw(st.booleans(), label="other maximum"):
            kept[0] = replace(kept[0], max=maximum)
        pairs = [self.terms(one) for one in drawn]
        same = tuple(
            self.world.terms(
                limit.unit,
                limit.max,
                limit.window,
                public_id=limit.name,
                match=Match(provider=limit.provider, model=limit.model, metadata=limit.metadata),
                per=limit.per,
                action=limit.action,
            )
            for limit in kept
        )
        self.run(self.world.edit(key, limits=(*same, *(terms for terms, _ in pairs))))
        account.limits = [*kept, *(limit for _, limit in pairs)]
        account.version += 1

    @rule(data=st.data(), disabled=st.booleans())
    def disable(self, data: st.DataObject, disabled: bool) -> None:
        key = self.key(data)
        account = self.account(key)
        account.disabled, account.version = disabled, account.version + 1
        self.run(self.world.edit(key, disabled=disabled))

    @rule(data=st.data(), life_ms=st.none() | st.sampled_from([-1, 0, 1, 60_000, DAY]))
    def change_expiry(self, data: st.DataObject, life_ms: int | None) -> None:
        key = self.key(data)
        account = self.account(key)
        account.expires_ms = None if life_ms is None else self.clock() + life_ms
        account.version += 1
        self.run(self.world.edit(key, expires_ms=account.expires_ms))

    @precondition(lambda self: len(self.keys) > 3)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.keys[2:]))
        account = self.account(key)
        if not account.revoked:
            account.revoked, account.version = True, account.version + 1
        self.run(self.world.revoke(key))

    # ---- time

    @rule(by=jumps)
    def clock_jumps(self, by: int) -> None:
        self.clock.now_ms += by

    @rule(edge=st.sampled_from([-1, 0, 1]), month=st.integers(1, 12), year=st.integers(2024, 2026))
    def clock_goes_to_the_edge_of_a_month(self, edge: int, month: int, year: int) -> None:
        self.clock.now_ms = int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000 + edge

    # ---- calls

    def _call(self, data: st.DataObject, drawn: dict[str, Any], *, meet: bool = True) -> MCall:
        key = self.key(data)
        account = self.account(key)
        call = MCall(id=self.world.new_id("c"), account=account.id, **drawn)
        for kind in ("end_user", "run"):
            name = data.draw(st.sampled_from(["", "", "ann", "bob"]), label=kind)
            if name and (meet or (key, f"{kind}:{name}") in self.subjects):
                id_ = self._subject(key, kind, name)
                call = replace(call, subject=id_) if kind == "end_user" else replace(call, run=id_)
        versions = tuple((node.id, node.version) for node in self.model.chain(account.id))
        stale = data.draw(st.integers(0, 9), label="versions")
        if stale == 0:
            versions = ((versions[0][0], versions[0][1] + 1), *versions[1:])
        at_ms = self.clock() + data.draw(jumps) if data.draw(st.integers(0, 9), label="at") == 0 else None
        owner = data.draw(st.sampled_from([self.world.ledger.owner, "somebody dead"]), label="owner")
        return replace(call, versions=versions if stale < 5 else (), at_ms=at_ms, owner=owner)

    def _ask(self, call: MCall, *, dry_run: bool = False) -> Ask:
        return Ask(
            dry_run=dry_run,
            id=call.id,
            account_id=call.account,
            facts=Facts(provider=call.provider, model=call.model, metadata=call.metadata),
            owner=call.owner,
            subject_id=call.subject,
            run_id=call.run,
            versions=call.versions,
            fixed_picos=call.fixed_picos,
            each_picos=call.each_picos,
            fixed_tokens=call.fixed_tokens,
            each_tokens=call.each_tokens,
            seconds=call.seconds,
            want=call.want,
            least=call.least,
            call_max_micros=call.call_max,
            subject_max_micros=call.subject_max,
            at_ms=call.at_ms,
        )

    def _compare_hold(
        self, call: MCall, outcome: Held | Refused, expected: dict[str, Any], *, among_others: bool = False
    ) -> None:
        """What a hold left, where it was made `among_others`, on a database with other writers, is told of all."""
        if among_others and self.world.ledger.shared and isinstance(outcome, Held):
            outcome, expected = msgspec.structs.replace(outcome, left={}), expected | {"left": {}}
        if isinstance(outcome, Held):
            got: dict[str, Any] = {
                "allowance": outcome.allowance,
                "amount": outcome.amount_micros,
                "left": outcome.left,
            }
            self.calls.append(call.id)
        else:
            got = {"reason": outcome.reason}
            if outcome.shortfall is not None:
                shortfall = outcome.shortfall
                got |= {
                    "limit": shortfall.limit_id,
                    "unit": shortfall.unit,
                    "max": shortfall.max,
                    "taken": shortfall.used + shortfall.held,
                    "remaining": shortfall.remaining,
                    "required": shortfall.required,
                    "affordable": shortfall.affordable,
                }
                assert shortfall.required > shortfall.remaining
        if "limit" in expected:
            expected["limit"] = self.public_limits.get(expected["limit"], expected["limit"])
        assert got == expected

    def _settlement(self, data: st.DataObject) -> Settlement:
        choices = [*self.model.open, *self.model.unsettled, *self.calls[-5:], "never-held"]
        call_id = data.draw(st.sampled_from(choices), label="call")
        _, amount = self.model.open.get(call_id, self.model.unsettled.get(call_id, (None, 7)))
        picos = data.draw(
            st.sampled_from([0, amount * 10**6, amount * 10**6 + 1, amount * 2_500_000])
            | st.integers(0, max(amount, 1) * 10**6),
            label="cost",
        )
        tokens, seconds = data.draw(st.integers(0, 40), label="tokens"), data.draw(st.integers(0, 4), label="seconds")
        keeps_rest = data.draw(
            st.booleans() if call_id in self.model.unsettled else st.sampled_from([False, False, True])
        )
        return Settlement(
            id=call_id,
            status="estimated" if keeps_rest else "settled" if picos else "released",
            cost_picos=picos,
            tokens=tokens,
            seconds=seconds,
            keeps_rest=keeps_rest,
        )

    def _modelled(self, work: Settlement) -> tuple[int, bool] | None:
        return self.model.settle(work.id, work.cost_picos, work.tokens, work.seconds, keeps_rest=work.keeps_rest)

    def _compare_settled(self, settled: Settled | None, expected: tuple[int, bool] | None) -> None:
        assert (None if settled is None else (settled.cost_micros, settled.first)) == expected

    @rule(data=st.data(), drawn=calls())
    def hold(self, data: st.DataObject, drawn: dict[str, Any]) -> None:
        call = self._call(data, drawn)
        outcome = self.run(self.world.ledger.calls.hold(self._ask(call)))
        self._compare_hold(call, outcome, self.model.hold(call, self.clock()))

    @rule(data=st.data(), drawn=calls())
    def ask_only(self, data: st.DataObject, drawn: dict[str, Any]) -> None:
        """A dry run answers as a hold would, and leaves no trace."""
        call = self._call(data, drawn)
        outcome = self.run(self.world.ledger.calls.hold(self._ask(call, dry_run=True)))
        self._compare_hold(call, outcome, self.model.hold(call, self.clock(), dry_run=True))

    @rule(
        data=st.data(),
        each_picos=st.sampled_from([0, 1, 2_500_000]),
        each_tokens=st.integers(0, 2),
        allowance=st.integers(0, 8),
    )
    def extend(self, data: st.DataObject, each_picos: int, each_tokens: int, allowance: int) -> None:
        call_id = data.draw(st.sampled_from([*self.model.open, *self.calls[-3:], "never-held"]), label="call")
        extension = Extend(id=call_id, each_picos=each_picos, each_tokens=each_tokens, allowance=allowance)
        micros = math.ceil(Fraction(each_picos * allowance, 10**6))
        expected = self.model.extend(call_id, micros, each_tokens * allowance, self.clock())
        assert self.run(self.world.ledger.calls.extend(extension)) == expected

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        settlement = self._settlement(data)
        settled = self.run(self.world.ledger.calls.settled(settlement))
        self._compare_settled(settled, self._modelled(settlement))

    @rule(data=st.data(), drawn=st.lists(calls(), min_size=1, max_size=6), cap=caps)
    def burst(self, data: st.DataObject, drawn: list[dict[str, Any]], cap: int | None) -> None:
        """Many operations at once, which one transaction takes; the change among them comes first."""
        key = self.key(data)
        account = self.account(key)
        work: list[MCall | Settlement] = []
        for one in drawn:
            work.append(self._call(data, one, meet=False))
            if data.draw(st.booleans(), label="settle"):
                work.append(self._settlement(data))
            if data.draw(st.booleans(), label="settle what is being held"):
                work.append(Settlement(id=work[0].id, status="settled", cost_picos=one["fixed_picos"], tokens=3))

        async def together() -> list[Any]:
            commits = self.world.ledger.commits
            results = await asyncio.gather(
                *(
                    self.world.ledger.calls.settled(one)
                    if isinstance(one, Settlement)
                    else self.world.ledger.calls.hold(self._ask(one))
                    for one in work
                ),
                self.world.edit(key, cap_micros=cap, reset=account.reset),
            )
            # Where several gateways share a database, a lease may be renewed meanwhile.
            assert self.world.ledger.commits - commits in ((1, 2) if self.world.ledger.shared else (1,))
            return results

        results = self.run(together())
        account.cap, account.version = cap, account.version + 1
        for one, result in zip(work, results, strict=False):
            if isinstance(one, Settlement):
                self._compare_settled(result, self._modelled(one))
            else:
                self._compare_hold(one, result, self.model.hold(one, self.clock()), among_others=True)

    @rule()
    def recover(self) -> None:
        """Holds of processes that are gone become unsettled; those of this one stay."""
        dead = [id_ for id_, (call, _) in self.model.open.items() if call.owner != self.world.ledger.owner]
        assert self.run(self.world.ledger.tending.recover()) == len(dead)
        for call_id in dead:
            self.model.recover(call_id)

    @rule()
    def restart(self) -> None:
        """The process ends and another one begins: everything open becomes unsettled."""
        self.run(self._close())
        self.run(self._open())
        if self.world.ledger.shared:
            self.run(self.world.ledger.tending.recover())
        for call_id in list(self.model.open):
            self.model.recover(call_id)

    # ---- what must hold after every step

    @invariant()
    def books_are_in_order(self) -> None:
        if hasattr(self, "world"):
            self.run(assert_sound(self.world.ledger))

    @invariant()
    def views_agree(self) -> None:
        for key in self.keys:
            account = self.account(key)
            view = self.run(self.world.view(key))
            now = self.clock()
            assert view.status == self.model.status(account.id, now)
            assert view.spent_micros == sum(account.picos) // 10**6
            assert view.overrun_micros == account.overrun
            balance = (f"total:{account.id}", 0, 0)
            total = view.limit("total")
            assert total is not None
            assert (total.used, total.held, total.unsettled) == tuple(
                self.model.sum(balance, kind) for kind in ("used", "held", "unsettled")
            )
            assert view.cap.max == account.cap
            lefts = [
                max(limit.max - self.model.taken((name, 0, window_start(now, limit.window))), 0)
                for node in self.model.chain(account.id)
                if node.livemode == account.livemode
                for limit, name in self.model.limits_of_all_money(node)
                if limit.max is not None
            ]
            assert view.remaining_micros == min(lefts, default=None)
            shown = {limit.public_id: limit for limit in view.limits if limit.role == "limit"}
            assert list(shown) == [limit.name for limit in account.limits]
            for limit in account.limits:
                bucket = (limit.name, 0, window_start(now, limit.window))
                mine = tuple(self.model.sum(bucket, kind) for kind in ("used", "held", "unsettled"))
                theirs = shown[limit.name]
                assert (theirs.used, theirs.held, theirs.unsettled) == mine

    def one_end(self) -> None:
        """Every call that was admitted has exactly one event or is in flight; nothing else has one."""
        rows = self.world.rows("SELECT id, cost_micros FROM events WHERE decision = 'allowed'")
        assert dict(rows) == self.model.costs
        assert len(rows) == len(self.model.costs)
        blocked = self.world.rows("SELECT id FROM events WHERE decision = 'blocked'")
        assert sorted(id_ for (id_,) in blocked) == sorted(self.model.blocked)
        holds = dict(self.world.rows("SELECT id, state FROM holds"))
        assert holds == dict.fromkeys(self.model.open, "open") | dict.fromkeys(self.model.unsettled, "unsettled")


class Twins(Lives):
    """Two ledgers on one database take turns, so that each remembers what the other has changed since."""

    async def _open(self) -> None:
        await super()._open()
        twin = await open_ledger(self.database, self.clock, f"twin-{self.epoch}")
        twin.owner = self.world.ledger.owner  # their holds are the same to the model
        self.twin = twin
        self.turns = 0

    async def _close(self) -> None:
        await self.twin.close()
        await super()._close()

    @invariant()
    def turn(self) -> None:
        """Go on with the other one, more often than not."""
        if hasattr(self, "twin"):
            self.turns += 1
            if self.turns * 7919 % 5 < 3:
                self.world.ledger, self.twin = self.twin, self.world.ledger


def _live(lives: type[Lives], examples: int) -> None:
    run_state_machine_as_test(
        lives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize="FARTHING_EXAMPLES" not in os.environ,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        ),
    )


def test_ledger_agrees_with_the_model() -> None:
    """Whatever is done, in whatever order and at whatever time, ledger and model say the same."""
    _live(Lives, EXAMPLES)


def test_ledger_on_postgresql_agrees_with_the_model(postgres: Cluster) -> None:
    """The same lives on the other engine: whatever is done, ledger and model say the same."""
    _live(type("Lives", (Lives,), {"cluster": postgres}), max(EXAMPLES // 5, 1))


def test_two_ledgers_on_postgresql_agree_with_the_model(postgres: Cluster) -> None:
    """Two ledgers that take turns on one database: neither is misled by what it remembers."""
    _live(type("Twins", (Twins,), {"cluster": postgres}), max(EXAMPLES // 5, 1))
