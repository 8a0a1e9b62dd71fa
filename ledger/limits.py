"""The limits of accounts, as they are written down. Scripts only; `ledger.rows` reads them."""

from __future__ import annotations

import msgspec

from ledger.book import Match
from ledger.engine import Script
from ledger.records import Unit
from ledger.windows import Window


class WantedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What a limit says. `public_id` names an existing one, which then keeps its counters."""

    public_id: str
    unit: Unit
    max: int | None
    window: Window
    timezone: str | None = None
    anchor_ms: int | None = None
    match: Match = Match()
    per: str = "key"
    action: str = "block"
    alert_at: tuple[int, ...] | None = None


def marks_text(marks: tuple[int, ...] | None) -> str | None:
    """Marks as a column has them."""
    return None if marks is None else msgspec.json.encode(marks).decode()


def add(account_id: int, role: str, wanted: WantedLimit, now_ms: int) -> Script[None]:
    """A new limit of an account; `role` is "total" for its balance."""
    yield (
        'INSERT INTO limits (public_id, account_id, role, unit, max, "window", timezone, anchor_ms, match, per, action,'
        " alert_at, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            wanted.public_id,
            account_id,
            role,
            wanted.unit,
            wanted.max,
            wanted.window,
            wanted.timezone,
            wanted.anchor_ms,
            msgspec.json.encode(wanted.match).decode(),
            wanted.per,
            wanted.action,
            marks_text(wanted.alert_at),
            now_ms,
        ),
    )


def replace(account_id: int, limits: tuple[WantedLimit, ...], now_ms: int) -> Script[None]:
    """The list replaces the old one; a limit whose id stays keeps its counters."""
    rows = yield (
        "SELECT id, public_id FROM limits WHERE account_id = ? AND role = 'limit' AND removed_ms IS NULL",
        (account_id,),
    )
    old = {public_id: limit_id for limit_id, public_id in rows}
    for wanted in limits:
        limit_id = old.pop(wanted.public_id, None)
        if limit_id is None:
            yield from add(account_id, "limit", wanted, now_ms)
            continue
        yield (
            'UPDATE limits SET unit = ?, max = ?, "window" = ?, timezone = ?, anchor_ms = ?, match = ?, per = ?,'
            " action = ?, alert_at = ? WHERE id = ?",
            (
                wanted.unit,
                wanted.max,
                wanted.window,
                wanted.timezone,
                wanted.anchor_ms,
                msgspec.json.encode(wanted.match).decode(),
                wanted.per,
                wanted.action,
                marks_text(wanted.alert_at),
                limit_id,
            ),
        )
    for limit_id in old.values():
        yield "UPDATE limits SET removed_ms = ? WHERE id = ?", (now_ms, limit_id)
