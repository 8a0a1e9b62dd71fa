"""Sums for the bill: whole days from the rollup, the ragged ends of a range from the events.

A call belongs to the moment in which it was held, so the bill's months are the caps' months. Ranges are half-open
`[from_ms, to_ms)`. Scripts only; nothing outside the owner's subtree is ever counted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from ledger import latency
from ledger.book import is_call
from ledger.engine import Script
from ledger.lookup import find
from ledger.money import PICOS_PER_MICRO
from ledger.records import Measures
from ledger.retention import Dropped, kept_from
from ledger.rows import marks
from ledger.windows import DAY_MS, day_start_ms, local_day_start_ms

MEASURES = Measures.__struct_fields__
SUBTREE_LISTED_MAX = 500  # a subtree up to this many accounts is looked up account by account, not by scanning the days

SEEKS_MAX = 20_000  # days times accounts up to which each row is looked up by its key

Group = tuple[int, str, str, int, int, str]
"""(account id, provider, model, day in ms or 0, end user's account id or 0, tag or "")"""


class Sums(msgspec.Struct):
    """What a group of calls came to. `histogram` is of latencies, see `ledger.latency`."""

    requests: int = 0
    blocked: int = 0
    cost_micros: int = 0
    cost_picos: int = 0
    price_micros: int = 0
    measures: list[int] = msgspec.field(default_factory=lambda: [0] * len(MEASURES))
    latency_ms_sum: int = 0
    histogram: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, other: Sums) -> None:
        """Add another group's sums."""
        self.requests += other.requests
        self.blocked += other.blocked
        self.cost_micros += other.cost_micros
        self.cost_picos += other.cost_picos
        self.price_micros += other.price_micros
        self.measures = [mine + theirs for mine, theirs in zip(self.measures, other.measures, strict=True)]
        self.latency_ms_sum += other.latency_ms_sum
        for index, count in other.histogram.items():
            self.histogram[index] = self.histogram.get(index, 0) + count


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What a report calls an account."""

    public_id: str
    subject: str | None
    profile: dict[str, Any]


class UsageReport(msgspec.Struct, kw_only=True):
    """Sums by group, and the names of the accounts that appear in them."""

    groups: dict[Group, Sums]
    names: dict[int, Names]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls to sum, and by what besides key and model.

    Attributes:
        key: Only this key's own calls and its subtree's, by public id; None for the whole subtree of the owner.
        end_user: Only this end user's, in the words of its key.
        subject_id: Only this end user's, by its account.
        timezone: Whose days `by_day` means; None for UTC. Others' days are read from the events, not from the rollup.
        tag: A metadata entry to group by. It is read from the events, not from the rollup.
    """

    owner_id: int
    from_ms: int
    to_ms: int
    livemode: bool = True
    key: str | None = None
    end_user: str | None = None
    subject_id: int | None = None
    by_day: bool = False
    by_end_user: bool = False
    timezone: str | None = None
    tag: str | None = None

    @property
    def of_events(self) -> bool:
        """Whether only the events can answer it."""
        return self.tag is not None or (self.by_day and self.timezone is not None)


def report(query: Query) -> Script[UsageReport]:
    """Sum the calls of a range.

    Raises:
        NotFound: `key` is not under the owner.
        Dropped: The range, or its ragged first day, needs events that are gone.
    """
    account_id = query.owner_id
    if query.key is not None:
        account_id = yield from find(query.owner_id, query.key)
    where, parameters, listed = yield from _scope(query, account_id)
    groups: dict[Group, Sums] = {}
    kept_from_ms = yield from kept_from()
    first_day, end_day = -(-query.from_ms // DAY_MS) * DAY_MS, day_start_ms(query.to_ms)
    if query.from_ms < kept_from_ms and (query.of_events or first_day >= end_day or query.from_ms < first_day):
        raise Dropped(kept_from_ms)
    if end_day < min(query.to_ms, kept_from_ms):
        raise Dropped(kept_from_ms)
    if query.of_events or first_day >= end_day:
        yield from _from_events(query, where, parameters, query.from_ms, query.to_ms, groups)
    else:
        if query.from_ms < first_day:
            yield from _from_events(query, where, parameters, query.from_ms, first_day, groups)
        yield from _from_rollups(query, where, parameters, listed, first_day, end_day, groups)
        if end_day < query.to_ms:
            yield from _from_events(query, where, parameters, end_day, query.to_ms, groups)
    names = yield from names_of({group[0] for group in groups} | {group[4] for group in groups if group[4]})
    return UsageReport(groups=groups, names=names)


def scope_of(
    owner_id: int, *, livemode: bool, key: str | None = None, end_user: str | None = None
) -> Script[tuple[str, tuple[Any, ...], int | None]]:
    """The same for an owner's subtree, or a key's in it, or an end user's calls there. Raises NotFound."""
    account_id = owner_id
    if key is not None:
        account_id = yield from find(owner_id, key)
    query = Query(owner_id=owner_id, from_ms=0, to_ms=0, livemode=livemode, end_user=end_user)
    return (yield from _scope(query, account_id))


def _scope(query: Query, account_id: int) -> Script[tuple[str, tuple[Any, ...], int | None]]:
    """Which rows belong to the question, as a condition on `r`; and how many accounts it lists, if it lists them."""
    listed = None
    ((path,),) = yield "SELECT path FROM accounts WHERE id = ?", (account_id,)
    span = (path, path[:-1] + "0", int(query.livemode))
    in_span = "path >= ? AND path < ? AND livemode = ? AND kind = 'key'"
    rows = yield f"SELECT id FROM accounts WHERE {in_span} LIMIT ?", (*span, SUBTREE_LISTED_MAX + 1)  # noqa: S608
    if len(rows) <= SUBTREE_LISTED_MAX:
        ids = tuple(row[0] for row in rows)
        condition, parameters, listed = f"r.account_id IN ({marks(ids)})", ids, len(ids)
    else:
        condition, parameters = f"r.account_id IN (SELECT id FROM accounts WHERE {in_span})", span  # noqa: S608
        ((all_keys,),) = yield "SELECT count(*) FROM accounts WHERE parent_id IS NULL", ()
        if all_keys == 1 and path == f"/{account_id}/":
            # The only root asks for everything: nothing to filter but test calls.
            other = 0 if query.livemode else 1  # a literal, so that the index of test accounts is used
            condition = f"+r.account_id NOT IN (SELECT id FROM accounts WHERE livemode = {other})"  # noqa: S608
            parameters = ()
    if query.end_user is not None:
        condition += " AND r.subject_id IN (SELECT id FROM accounts WHERE kind = 'end_user' AND subject = ?)"
        parameters = (*parameters, query.end_user)
    if query.subject_id is not None:
        condition, parameters = f"{condition} AND r.subject_id = ?", (*parameters, query.subject_id)
    return condition, parameters, listed


def _from_rollups(
    query: Query,
    where: str,
    parameters: tuple[Any, ...],
    listed: int | None,
    from_ms: int,
    to_ms: int,
    groups: dict[Group, Sums],
) -> Script[None]:
    days = range(from_ms, to_ms, DAY_MS)
    if listed is not None and max(listed, 1) * len(days) <= SEEKS_MAX:
        span, bounds = f"r.day_ms IN ({marks(days)})", tuple(days)
    else:
        span, bounds = "r.day_ms >= ? AND r.day_ms < ?", (from_ms, to_ms)
    day, end_user = "r.day_ms" if query.by_day else "0", "r.subject_id" if query.by_end_user else "0"
    sums = ", ".join(
        f"SUM(r.{column})"
        for column in ("requests", "blocked", "cost_micros", "rest_picos", "price_micros", *MEASURES, "latency_ms_sum")
    )
    rows = yield (
        f"SELECT r.account_id, r.provider, r.model, {day}, {end_user}, {sums},"  # noqa: S608 - constants and marks
        " group_concat(hex(r.latency_histogram), '') FROM rollups AS r"
        f" WHERE {span} AND {where}"
        " GROUP BY 1, 2, 3, 4, 5",
        (*bounds, *parameters),
    )
    for *group, histogram in rows:
        key, figures = group[:5], group[5:]
        requests, blocked, cost_micros, rest_picos, price_micros, *measures, latency_ms_sum = map(int, figures)
        sums_of_row = Sums(
            requests=requests,
            blocked=blocked,
            cost_micros=cost_micros,
            cost_picos=cost_micros * PICOS_PER_MICRO + rest_picos,
            price_micros=price_micros,
            measures=measures,
            latency_ms_sum=latency_ms_sum,
            histogram=latency.merge([bytes.fromhex(histogram)]),
        )
        groups.setdefault((*key, ""), Sums()).add(sums_of_row)


class _EventRow(NamedTuple):
    """What a bill reads of an event."""

    account_id: int
    provider: str
    model: str
    created_ms: int
    subject_id: int
    metadata: str
    decision: str
    mode: str
    status: str
    cost_micros: int
    cost_picos: int
    price_micros: int
    usage: str
    latency_ms: int | None


def _from_events(
    query: Query, where: str, parameters: tuple[Any, ...], from_ms: int, to_ms: int, groups: dict[Group, Sums]
) -> Script[None]:
    rows = yield (
        "SELECT r.account_id, r.provider, r.model, r.created_ms, r.subject_id, r.metadata, r.decision,"  # noqa: S608
        " r.mode, r.status, r.cost_micros, r.cost_picos, r.price_micros, r.usage, r.latency_ms FROM events AS r"
        f" WHERE r.created_ms >= ? AND r.created_ms < ? AND r.route <> 'credits' AND {where}",
        (from_ms, to_ms, *parameters),
    )
    for row in map(_EventRow._make, rows):
        tag = str(msgspec.json.decode(row.metadata).get(query.tag, "")) if query.tag is not None else ""
        day = _day_of(query, row.created_ms) if query.by_day else 0
        end_user = row.subject_id if query.by_end_user else 0
        sums = groups.setdefault((row.account_id, row.provider, row.model, day, end_user, tag), Sums())
        usage = msgspec.json.decode(row.usage)
        if row.decision == "blocked":
            sums.blocked += usage.get("count", 1)
            continue
        sums.requests += is_call(row.mode, row.status)
        sums.cost_micros += row.cost_micros
        sums.cost_picos += row.cost_picos
        sums.price_micros += row.price_micros
        for index, name in enumerate(MEASURES):
            sums.measures[index] += usage.get(name, 0)
        if row.latency_ms is not None:
            sums.latency_ms_sum += row.latency_ms
            bucket = latency.bucket(row.latency_ms)
            sums.histogram[bucket] = sums.histogram.get(bucket, 0) + 1


def _day_of(query: Query, at_ms: int) -> int:
    return day_start_ms(at_ms) if query.timezone is None else local_day_start_ms(at_ms, query.timezone)


def names_of(account_ids: Collection[int]) -> Script[dict[int, Names]]:
    """What accounts are called."""
    names: dict[int, Names] = {}
    ids = sorted(account_ids)
    for start in range(0, len(ids), 1000):
        part = tuple(ids[start : start + 1000])
        rows = yield f"SELECT id, public_id, subject, profile FROM accounts WHERE id IN ({marks(part)})", part  # noqa: S608
        for account_id, public_id, subject, profile in rows:
            names[account_id] = Names(public_id=public_id, subject=subject, profile=msgspec.json.decode(profile))
    return names
