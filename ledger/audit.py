"""Proves the books, from the rows alone.

Shares no code with the rules that wrote them, only the names of what is measured: each check is one statement of SQL
that compares two independent ways to one figure and returns only what differs. Runs on one snapshot, beside live
gateways; open and unsettled holds are no difference. Events that were dropped (see `ledger.retention`) are added up
from what was carried forward of them. Invariants I1 to I3 and I5 stand behind the names.
"""

from __future__ import annotations

import msgspec

from ledger.engine import Script
from ledger.records import Measures

SHOWN_MAX = 20  # differences shown of each check; the count is always whole

LEGS = (
    "SELECT json_extract(value, '$[0]') AS limit_id, json_extract(value, '$[1]') AS subject_id,"
    " json_extract(value, '$[2]') AS window_start_ms, json_extract(value, '$[3]') AS amount"
    " FROM events, json_each(events.legs)"
)
"""What each event used of which counter."""
_EVENT_LEGS = f"{LEGS} UNION ALL SELECT limit_id, subject_id, window_start_ms, used FROM carried_legs"  # noqa: S608
_HOLD_LEGS = (
    "SELECT json_extract(value, '$[0]') AS limit_id, json_extract(value, '$[1]') AS subject_id,"
    " json_extract(value, '$[2]') AS window_start_ms, json_extract(value, '$[4]') AS amount, holds.state AS state"
    " FROM holds, json_each(holds.legs)"
)

_MEASURED = ("latency_ms_sum", *Measures.__struct_fields__)
DAY_SUMS = (
    "created_ms - created_ms % 86400000 AS day_ms, account_id, subject_id, provider, model,"
    " COUNT(*) FILTER (WHERE decision = 'allowed' AND (mode IN ('proxy', 'monitor') OR mode = 'reservation'"
    " AND status <> 'released')) AS requests,"
    " SUM(CASE WHEN decision <> 'blocked' THEN 0 WHEN usage = '{}' THEN 1 ELSE json_extract(usage, '$.count') END)"
    " AS blocked, SUM(cost_micros) AS cost_micros,"
    " SUM(cost_picos - CAST(cost_micros AS NUMERIC) * 1000000) AS rest_picos, SUM(price_micros) AS price_micros,"
    " SUM(CASE WHEN decision = 'allowed' THEN COALESCE(latency_ms, 0) ELSE 0 END) AS latency_ms_sum, "
) + ", ".join(
    f"SUM(CASE WHEN decision <> 'allowed' OR usage = '{{}}' THEN 0"
    f" ELSE COALESCE(json_extract(usage, '$.{name}'), 0) END) AS {name}"
    for name in Measures.__struct_fields__
)
"""What events came to by day, key, end user and model."""
CALLER_SUMS = (
    "account_id, subject_id, run_id, COUNT(*) AS events, SUM(cost_micros) AS cost_micros,"
    " SUM(cost_picos - CAST(cost_micros AS NUMERIC) * 1000000) AS rest_picos,"
    " SUM(CASE WHEN mode <> 'monitor' AND cost_micros > held_micros THEN cost_micros - held_micros ELSE 0 END)"
    " AS overrun_micros"
)
"""What events came to by who called."""
_DAY_FIGURES = ("requests", "blocked", "cost_micros", "rest_picos", "price_micros")
DAY_COLUMNS = ("day_ms", "account_id", "subject_id", "provider", "model", *_DAY_FIGURES, *_MEASURED)
_DAYS = (
    f"SELECT {DAY_SUMS} FROM events GROUP BY 1, 2, 3, 4, 5"  # noqa: S608 - constants
    f" UNION ALL SELECT {', '.join(DAY_COLUMNS)} FROM carried_days"
)
_CALLERS = (
    f"SELECT {CALLER_SUMS} FROM events GROUP BY 1, 2, 3"  # noqa: S608 - constants
    " UNION ALL SELECT account_id, subject_id, run_id, events, cost_micros, rest_picos, overrun_micros FROM carried"
)
_SPENT = (
    "SELECT account_id, SUM(cost_micros) AS micros, SUM(rest_picos) AS rest,"  # noqa: S608 - constants
    " SUM(overrun_micros) AS overrun"
    f" FROM ({_CALLERS}) AS calls GROUP BY account_id"
)

CHECKS: tuple[tuple[str, str, str], ...] = (
    (
        "charges",
        "an account's spending and carry are the sum of its events' exact costs",
        f"""
        SELECT a.public_id, a.spent_micros || ' ' || a.carry_picos,
            COALESCE(e.micros, 0) || ' ' || COALESCE(e.rest, 0)
        FROM accounts AS a LEFT JOIN ({_SPENT}) AS e ON e.account_id = a.id
        WHERE a.kind = 'key' AND (
            a.spent_micros <> COALESCE(e.micros, 0) OR a.carry_picos <> COALESCE(e.rest, 0)
            OR a.carry_picos NOT BETWEEN 0 AND 999999
        )
        """,  # noqa: S608 - constants
    ),
    (
        "end users",
        "what an end user or a run has spent is the sum of its events",
        f"""
        SELECT a.public_id, a.spent_micros, COALESCE(e.cost, 0) FROM accounts AS a LEFT JOIN (
            SELECT subject_id AS id, SUM(cost_micros) AS cost FROM ({_CALLERS}) AS c WHERE subject_id <> 0 GROUP BY 1
            UNION ALL
            SELECT run_id, SUM(cost_micros) FROM ({_CALLERS}) AS c WHERE run_id <> 0 GROUP BY 1
        ) AS e ON e.id = a.id
        WHERE a.kind <> 'key' AND a.spent_micros <> COALESCE(e.cost, 0)
        """,  # noqa: S608 - constants
    ),
    (
        "balances",
        "an account's balance is the sum of the events of its subtree",
        f"""
        WITH RECURSIVE
        own (id, parent_id, livemode, cost) AS MATERIALIZED (
            SELECT a.id, a.parent_id, a.livemode, COALESCE(e.micros, 0)
            FROM accounts AS a LEFT JOIN ({_SPENT}) AS e ON e.account_id = a.id WHERE a.kind = 'key'
        ),
        shares (account_id, parent_id, livemode, cost) AS (
            SELECT id, parent_id, livemode, cost FROM own WHERE cost <> 0
            UNION ALL
            SELECT p.id, p.parent_id, s.livemode, s.cost FROM shares AS s JOIN accounts AS p ON p.id = s.parent_id
        ),
        sums (account_id, cost) AS MATERIALIZED (
            SELECT s.account_id, SUM(s.cost) FROM shares AS s JOIN accounts AS a
                ON a.id = s.account_id AND a.livemode = s.livemode
            GROUP BY s.account_id
        )
        SELECT a.public_id, COALESCE(c.used, 0), COALESCE(s.cost, 0)
        FROM accounts AS a
        JOIN limits AS l ON l.account_id = a.id AND l.role = 'total'
        LEFT JOIN counters AS c ON c.limit_id = l.id AND c.subject_id = 0 AND c.window_start_ms = 0
        LEFT JOIN sums AS s ON s.account_id = a.id
        WHERE a.kind = 'key' AND COALESCE(c.used, 0) <> COALESCE(s.cost, 0)
        """,  # noqa: S608 - constants
    ),
    (
        "counters",
        "every counter is the sum of what events used and holds hold of it",
        f"""
        SELECT limit_id || '/' || subject_id || '/' || window_start_ms,
            MAX(used) || ' ' || MAX(held) || ' ' || MAX(unsettled),
            SUM(event_used) || ' ' || SUM(hold_held) || ' ' || SUM(hold_unsettled)
        FROM (
            SELECT limit_id, subject_id, window_start_ms, used, held, unsettled,
                0 AS event_used, 0 AS hold_held, 0 AS hold_unsettled FROM counters
            UNION ALL
            SELECT limit_id, subject_id, window_start_ms, 0, 0, 0, amount, 0, 0 FROM ({_EVENT_LEGS}) AS e
            UNION ALL
            SELECT limit_id, subject_id, window_start_ms, 0, 0, 0, 0, CASE state WHEN 'open' THEN amount ELSE 0 END,
                CASE state WHEN 'unsettled' THEN amount ELSE 0 END FROM ({_HOLD_LEGS}) AS h
        ) AS legs
        GROUP BY limit_id, subject_id, window_start_ms
        HAVING MAX(used) <> SUM(event_used) OR MAX(held) <> SUM(hold_held) OR MAX(unsettled) <> SUM(hold_unsettled)
            OR MIN(used) < 0 OR MIN(held) < 0 OR MIN(unsettled) < 0
        """,  # noqa: S608 - constants
    ),
    (
        "rollup",
        "every rollup row is the sum of its day's events",
        f"""
        SELECT day_ms || '/' || account_id || '/' || model,
            SUM(requests) || ' ' || SUM(blocked) || ' ' || SUM(cost_micros),
            SUM(e_requests) || ' ' || SUM(e_blocked) || ' ' || SUM(e_cost_micros)
        FROM (
            SELECT day_ms, account_id, subject_id, provider, model, requests, blocked, cost_micros, rest_picos,
                price_micros, 0 AS e_requests, 0 AS e_blocked, 0 AS e_cost_micros, 0 AS e_rest_picos, 0 AS e_price
            FROM rollups
            UNION ALL
            SELECT day_ms, account_id, subject_id, provider, model, 0, 0, 0, 0, 0, {", ".join(_DAY_FIGURES)}
            FROM ({_DAYS}) AS e
        ) AS days
        GROUP BY day_ms, account_id, subject_id, provider, model
        HAVING SUM(requests) <> SUM(e_requests) OR SUM(blocked) <> SUM(e_blocked)
            OR SUM(cost_micros) <> SUM(e_cost_micros) OR SUM(rest_picos) <> SUM(e_rest_picos)
            OR SUM(price_micros) <> SUM(e_price)
        """,  # noqa: S608 - constants
    ),
    (
        "measures",
        "what a rollup row says was consumed, and how long it took, is the sum of its day's events",
        f"""
        SELECT day_ms || '/' || account_id || '/' || model, {" || ' ' || ".join(f"SUM({n})" for n in _MEASURED)},
            {" || ' ' || ".join(f"SUM(e_{n})" for n in _MEASURED)}
        FROM (
            SELECT day_ms, account_id, subject_id, provider, model, {", ".join(_MEASURED)},
                {", ".join(f"0 AS e_{n}" for n in _MEASURED)}
            FROM rollups
            UNION ALL
            SELECT day_ms, account_id, subject_id, provider, model, {", ".join("0" for _ in _MEASURED)},
                {", ".join(_MEASURED)} FROM ({_DAYS}) AS e
        ) AS days
        GROUP BY day_ms, account_id, subject_id, provider, model
        HAVING {" OR ".join(f"SUM({n}) <> SUM(e_{n})" for n in _MEASURED)}
        """,  # noqa: S608 - constants
    ),
    (
        "overruns",
        "what an account was charged above its holds is the sum of what its events cost above theirs",
        f"""
        SELECT a.public_id, a.overrun_micros, COALESCE(e.overrun, 0)
        FROM accounts AS a LEFT JOIN ({_SPENT}) AS e ON e.account_id = a.id
        WHERE a.kind = 'key' AND a.overrun_micros <> COALESCE(e.overrun, 0)
        """,  # noqa: S608 - constants
    ),
    (
        "one end",
        "no call is both in flight and ended, and what is unsettled has its event",
        """
        SELECT h.id, h.state, COALESCE(e.status, 'no event') FROM holds AS h LEFT JOIN events AS e ON e.id = h.id
        WHERE (h.state = 'open' AND e.id IS NOT NULL)
            OR (h.state = 'unsettled' AND COALESCE(e.status, '') NOT IN ('unsettled', 'estimated'))
        """,
    ),
    (
        "tree",
        "every account hangs under its parent",
        """
        SELECT a.public_id, a.path, COALESCE(p.path, '/') || a.id || '/' FROM accounts AS a
        LEFT JOIN accounts AS p ON p.id = a.parent_id
        WHERE a.path <> COALESCE(p.path, '/') || a.id || '/'
        """,
    ),
)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure that has two values: what is kept, and what its parts add up to."""

    check: str
    subject: str
    kept: str
    summed: str


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The finding. `differences` shows at most `SHOWN_MAX` of each check; `count` is all of them.

    `dropped` events were carried forward; their cost is in `cost_micros`.
    """

    events: int
    dropped: int
    accounts: int
    open_holds: int
    unsettled_holds: int
    cost_micros: int
    count: int
    differences: tuple[Difference, ...]


def audit() -> Script[Audit]:
    """Compare everything with everything."""
    differences: list[Difference] = []
    count = 0
    for name, _meaning, sql in CHECKS:
        rows = yield sql, ()
        count += len(rows)
        differences += [
            Difference(check=name, subject=str(subject), kept=str(kept), summed=str(summed))
            for subject, kept, summed in rows[:SHOWN_MAX]
        ]
    ((events, cost),) = yield "SELECT count(*), COALESCE(SUM(cost_micros), 0) FROM events", ()
    ((dropped, dropped_cost),) = yield "SELECT COALESCE(SUM(events), 0), COALESCE(SUM(cost_micros), 0) FROM carried", ()
    ((accounts,),) = yield "SELECT count(*) FROM accounts", ()
    ((opened, unsettled),) = yield (
        "SELECT COUNT(*) FILTER (WHERE state = 'open'), COUNT(*) FILTER (WHERE state = 'unsettled') FROM holds",
        (),
    )
    return Audit(
        events=events,
        dropped=int(dropped),
        accounts=accounts,
        open_holds=opened,
        unsettled_holds=unsettled,
        cost_micros=int(cost) + int(dropped_cost),
        count=count,
        differences=tuple(differences),
    )
