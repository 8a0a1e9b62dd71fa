"""Gateways that share one database: who is alive, and whose holds were left behind.

A gateway renews its lease by the database's clock. Once a lease is over, the holds of its owner belong to nobody, and
any other gateway may turn them into unsettled ones. Scripts only; for engines that are shared.
"""

from __future__ import annotations

from ledger.engine import Script


def renew(owner: str, lease_ms: int) -> Script[None]:
    """Say that the owner is alive."""
    yield (
        "INSERT INTO nodes (owner, lease_until_ms) VALUES (?, now_ms() + ?)"
        " ON CONFLICT (owner) DO UPDATE SET lease_until_ms = excluded.lease_until_ms",
        (owner, lease_ms),
    )
    # What is so old has no holds any more that could be taken for a live owner's.
    yield "DELETE FROM nodes WHERE lease_until_ms < now_ms() - 86400000", ()


def leave(owner: str) -> Script[None]:
    """Say that the owner has ended; a hold that it left open is nobody's from now on."""
    yield "DELETE FROM nodes WHERE owner = ?", (owner,)


def abandoned_holds(owner: str, grace_ms: int) -> Script[list[tuple[str, int]]]:
    """Ids and micros of the open holds whose owner is neither this one nor alive, a batch at a time.

    A lease must have been over for `grace_ms`: a gateway that was held up may be about to renew it.
    """
    rows = yield (
        "SELECT id, amount_micros FROM holds WHERE state = 'open' AND expires_ms IS NULL AND owner <> ?"
        " AND owner NOT IN (SELECT owner FROM nodes WHERE lease_until_ms >= now_ms() - ?) ORDER BY id LIMIT 500",
        (owner, grace_ms),
    )
    return [(hold_id, micros) for hold_id, micros in rows]


def revoked_since(since_ms: int) -> Script[list[int]]:
    """The accounts that were revoked at or after a moment."""
    rows = yield "SELECT id FROM accounts WHERE revoked_ms >= ? LIMIT 10000", (since_ms,)
    return [account_id for (account_id,) in rows]
