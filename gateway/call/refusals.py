"""What is written down of a call that was refused: a blocked event, if it was a call and its key is known."""

from __future__ import annotations

from gateway.problems import CallError
from ledger.ledger import Ledger
from ledger.records import Block, Facts

BLOCKS = frozenset(
    (
        "route_not_allowed",
        "model_not_allowed",
        "origin_not_allowed",
        "model_not_priced",
        "unbounded_cost",
        "loop_detected",
    )
)
"""Refusals of a call, not of a request that is none: each leaves a blocked event."""


def write_down(ledger: Ledger, call_id: str, account_id: int, facts: Facts, error: CallError) -> None:
    """Leave a blocked event. Does not wait for it."""
    ledger.calls.refuse(
        Block(id=call_id, account_id=account_id, facts=facts, reason=error.code, http_status=error.status)
    )
