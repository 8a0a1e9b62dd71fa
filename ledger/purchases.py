"""What was bought of one provider, by day and model: to be held against what the provider says. Scripts only.

Only live calls that went to the provider itself: what another upstream served is on another's bill.
"""

from __future__ import annotations

import msgspec

from ledger.engine import Script
from ledger.money import PICOS_PER_MICRO
from ledger.retention import Dropped, kept_from

_COUNTED = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "cache_write_12h_tokens",
    "output_tokens",
)
_SUMS = ", ".join(
    f"SUM(CASE WHEN usage = '{{}}' THEN 0 ELSE COALESCE(json_extract(usage, '$.{name}'), 0) END)" for name in _COUNTED
)


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """One day's calls of one model. `tokens` by the names of an event's usage: totals include their parts."""

    day_ms: int
    model: str
    cost_picos: int
    tokens: dict[str, int]


def purchases(provider: str, from_ms: int, to_ms: int) -> Script[list[Purchase]]:
    """The purchases of `[from_ms, to_ms)`, by the days of UTC in which the calls were held.

    Raises:
        Dropped: Some of its events are gone.
    """
    kept_from_ms = yield from kept_from()
    if from_ms < kept_from_ms:
        raise Dropped(kept_from_ms)
    rows = yield (
        "SELECT created_ms - created_ms % 86400000, model, SUM(cost_micros),"  # noqa: S608 - constants
        f" SUM(cost_picos - CAST(cost_micros AS NUMERIC) * 1000000), {_SUMS} FROM events"
        " WHERE created_ms >= ? AND created_ms < ? AND provider = ? AND decision = 'allowed' AND upstream = ''"
        " AND route <> 'credits' AND account_id IN (SELECT id FROM accounts WHERE livemode = 1)"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        (from_ms, to_ms, provider),
    )
    return [
        Purchase(
            day_ms=int(day_ms),
            model=model,
            cost_picos=int(micros) * PICOS_PER_MICRO + int(rest),
            tokens=dict(zip(_COUNTED, map(int, counts), strict=True)),
        )
        for day_ms, model, micros, rest, *counts in rows
    ]
