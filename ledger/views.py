"""Accounts as their owners see them. Knows nothing of what a profile or a verifier means."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.book import Match
from ledger.engine import NotDone
from ledger.records import Unit
from ledger.windows import Window

PER_KINDS = ("end_user", "run")
"""Accounts under a key that are not keys; a limit may be `per` one of them."""


class NotFound(NotDone):
    """There is no such account under the caller."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of an account, as the ledger keeps it: where to find it and how to verify it."""

    locator: str
    verifier: str
    last4: str
    expires_ms: int | None = None
    id: int = 0
    account_id: int = 0


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """A limit with the counter of its present window."""

    public_id: str
    role: str
    unit: Unit
    max: int | None
    window: Window
    match: Match
    per: str
    timezone: str | None
    anchor_ms: int | None
    action: str
    used: int
    held: int
    unsettled: int
    window_start_ms: int
    resets_at_ms: int | None
    id: int = 0
    subject_id: int = 0
    alert_at: tuple[int, ...] = ()
    own: bool = True  # False: its plan's, or a default of its key's or an ancestor's for each such account

    @property
    def of_all_money(self) -> bool:
        """Whether every call of the account that costs anything counts against it: a spend cap, or a limit like one."""
        alike = self.unit == "micros" and self.action == "block" and self.match == Match()
        return self.role != "limit" or (alike and (self.per == "key" or not self.own))


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as its owner sees it.

    Attributes:
        status: "active", or why it or an ancestor lets nothing through: "revoked", "disabled", "expired".
        alert_at: At which percentages of its limits somebody is told, where a limit does not say.
        remaining_micros: The least that it and its ancestors have left to spend; None where none has a cap.
        ceiling_micros: The least of its and its ancestors' spend caps; None where none has one.
        end_ms: When the first of it and its ancestors expires; None for never.
        anchor_ms: From when the windows of its plan count; None where they are the calendar's.
        stripe_customer_id: Whom Stripe knows it as itself; None where only an ancestor is known.
    """

    id: int
    public_id: str
    parent_id: int | None
    parent_public_id: str | None
    chain: tuple[int, ...]
    kind: str
    livemode: bool
    subject: str | None
    status: str
    disabled: bool
    revoked_ms: int | None
    expires_ms: int | None
    profile: dict[str, Any]
    plan: Node | None
    spent_micros: int
    overrun_micros: int
    last4: str | None
    created_ms: int
    last_used_ms: int | None
    limits: tuple[LimitView, ...]
    alert_at: tuple[int, ...]
    remaining_micros: int | None
    ceiling_micros: int | None = None
    end_ms: int | None = None
    anchor_ms: int | None = None
    stripe_customer_id: str | None = None

    def limit(self, role: str) -> LimitView | None:
        """The limit with this role, if there is one."""
        return next((limit for limit in self.limits if limit.role == role), None)

    @property
    def cap(self) -> LimitView:
        """The limit that carries the spend cap: a windowed one if there is a reset, else the balance itself.

        For an end user or a run without a cap of its own it is the default that it has from its key, if there is one.
        """
        found = self.limit("cap") or self.limit("total")
        assert found is not None  # noqa: S101 - every account is opened with its balance
        if found.max is None and self.kind in PER_KINDS:
            return next((each for each in self.limits if each.role == "limit" and each.of_all_money), found)
        return found


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One account of a chain, as far as deciding on a call needs it.

    `capped`: it has some limit of money of its own. `plan` is its plan, which is such a node too.
    """

    id: int
    public_id: str
    kind: str
    livemode: bool
    version: int
    disabled: bool
    revoked_ms: int | None
    expires_ms: int | None
    profile: dict[str, Any]
    capped: bool
    plan: Node | None = None

    def status(self, now_ms: int) -> str:
        """ "active", "revoked", "disabled" or "expired"."""
        if self.revoked_ms is not None:
            return "revoked"
        if self.disabled:
            return "disabled"
        return "expired" if self.expires_ms is not None and self.expires_ms <= now_ms else "active"
