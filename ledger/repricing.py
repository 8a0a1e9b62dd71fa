"""Events with what they have been charged so far, to be held against other prices. Scripts only.

An event's adjustments belong to its moment, so they are found in the same span; they are added to what it says itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ledger.adjusting import REPRICED
from ledger.book import CounterKey
from ledger.engine import Script
from ledger.retention import Dropped, kept_from
from ledger.rows import marks

PAGE = 1_000
ADJUSTED = "-r"
"""Stands in an adjustment's id between that of its event and its number."""


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a call, and what it has been charged with all adjustments of its price.

    Attributes:
        cost_picos: Its own cost and those of its adjustments.
        own_cost_picos, own_price_micros: What the event itself says.
        adjustments: How many it has.
        counters: The counters of money in which it counted.
    """

    seq: int
    id: str
    account_id: int
    subject_id: int
    run_id: int
    created_ms: int
    settled_ms: int
    provider: str
    model: str
    route: str
    usage: str
    own_cost_picos: int
    own_price_micros: int
    upstream: str
    cost_picos: int
    adjustments: int
    counters: tuple[CounterKey, ...]


class _Row(NamedTuple):
    seq: int
    id: str
    account_id: int
    subject_id: int
    run_id: int
    created_ms: int
    settled_ms: int
    provider: str
    model: str
    route: str
    usage: str
    own_cost_picos: int
    own_price_micros: int
    upstream: str
    legs: str


def charged(
    from_ms: int, to_ms: int, after: tuple[int, int], livemode: bool
) -> Script[tuple[list[Charged], tuple[int, int] | None]]:
    """A page of the priced events of `[from_ms, to_ms)`, and where the next one begins; None at the end.

    What has no usage (reservations, credits, an operator's word on a hold) has no price by which it could be reckoned,
    and is not among them; nor is what was refused.

    Raises:
        Dropped: Some of the span's events are gone.
    """
    kept_from_ms = yield from kept_from()
    if from_ms < kept_from_ms:
        raise Dropped(kept_from_ms)
    found = yield (
        "SELECT seq, id, account_id, subject_id, run_id, created_ms, settled_ms, provider, model, route, usage,"
        " cost_picos, price_micros, upstream, legs FROM events WHERE created_ms >= ? AND created_ms < ?"
        " AND (created_ms > ? OR (created_ms = ? AND seq > ?)) AND decision = 'allowed' AND usage <> '{}'"
        " AND route <> 'credits' AND status IN ('settled', 'estimated')"
        " AND account_id IN (SELECT id FROM accounts WHERE livemode = ?) ORDER BY created_ms, seq LIMIT ?",
        (from_ms, to_ms, after[0], after[0], after[1], int(livemode), PAGE),
    )
    rows = [_Row._make(row) for row in found]
    if not rows:
        return [], None
    adjusted = yield from _adjusted(rows[0].created_ms, rows[-1].created_ms)
    money = yield from _of_money([leg for row in rows for leg in msgspec.json.decode(row.legs)])
    page = []
    for row in rows:
        more = adjusted.get(row.id, [])
        legs = [tuple(leg[:3]) for leg in msgspec.json.decode(row.legs) if leg[0] in money]
        fields = row._asdict()
        del fields["legs"]
        page.append(
            Charged(**fields, cost_picos=row.own_cost_picos + sum(more), adjustments=len(more), counters=tuple(legs))
        )
    return page, (rows[-1].created_ms, rows[-1].seq) if len(rows) == PAGE else None


def _adjusted(from_ms: int, to_ms: int) -> Script[dict[str, list[int]]]:
    """The adjustments of a span, both ends in it, by the event that they are of."""
    rows = yield (
        "SELECT id, cost_picos FROM events WHERE created_ms >= ? AND created_ms <= ? AND reason = ?",
        (from_ms, to_ms, REPRICED),
    )
    found: dict[str, list[int]] = {}
    for id_, cost_picos in rows:
        found.setdefault(id_.rpartition(ADJUSTED)[0], []).append(cost_picos)
    return found


def _of_money(legs: list[Any]) -> Script[set[int]]:
    """Which of the limits of these legs count money."""
    ids = sorted({leg[0] for leg in legs})
    found: set[int] = set()
    for start in range(0, len(ids), 1_000):
        part = tuple(ids[start : start + 1_000])
        rows = yield f"SELECT id FROM limits WHERE unit = 'micros' AND id IN ({marks(part)})", part  # noqa: S608
        found.update(row[0] for row in rows)
    return found
