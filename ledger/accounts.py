"""Accounts: keys, end users, runs and plans, opened, changed, closed and looked at.

Promises: a change is in force on the next call; with an Idempotency-Key it is made once. What is outside the caller's
subtree is as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from ledger import changes, history, lookup, replays
from ledger.access import Access
from ledger.billing import links, terms
from ledger.billing.terms import PlanTerms
from ledger.changes import Credit, Edit, NewAccount
from ledger.engine import Script
from ledger.outbox import messages
from ledger.replays import Answer, Origin
from ledger.views import AccountView, Credential, Node


class Accounts:
    """The tree of accounts. `grace_ms` is how long a late payment at Stripe keeps its plan."""

    def __init__(self, access: Access, grace_ms: int) -> None:
        self._access = access
        self._grace_ms = grace_ms

    async def open(self, new: NewAccount, origin: Origin | None = None, *, sold: PlanTerms | None = None) -> Answer:
        """Open an account; a plan, as it is `sold` at Stripe.

        Raises what `changes.open_account`, `terms.keep` and `replays.made_once` raise.
        """

        def script(touched: set[int]) -> Script[AccountView]:
            account = yield from changes.open_account(new)
            if sold is not None:
                yield from terms.keep(account.id, sold, new.created_ms)
            return account

        return await self._change("created", origin, script, adopts=new.stripe_customer_id is not None)

    async def open_first(self, new: NewAccount) -> AccountView | None:
        """Open the first account of all; None if there is one, whichever process opened it."""

        def script(touched: set[int]) -> Script[AccountView | None]:
            account = yield from changes.open_first(new)
            if account is not None:
                yield from history.of_account("created", None, account, None, new.created_ms)
            return account

        return await self._access.write(script)

    async def open_subject(self, key_id: int, kind: str, subject: str, *, public_id: str, balance_id: str) -> int:
        """The id of a key's end user or run, opened at first sight."""
        now_ms = self._access.clock_ms()
        return await self._access.write(
            lambda touched: changes.open_subject(key_id, kind, subject, public_id, balance_id, now_ms)
        )

    async def edit(
        self,
        owner_id: int,
        public_id: str,
        edit: Edit,
        *,
        kind: str = "key",
        origin: Origin | None = None,
        sold: PlanTerms | None | UnsetType = UNSET,
    ) -> Answer:
        """Change an account; in force on the next call. `sold`: how a plan is. Raises NotFound, TermTaken."""
        now_ms = self._access.clock_ms()

        def script(touched: set[int]) -> Script[AccountView]:
            account = yield from changes.edit(owner_id, public_id, edit, kind=kind, now_ms=now_ms, touched=touched)
            if sold is not UNSET:
                yield from terms.keep(account.id, sold, now_ms)
            return account

        return await self._change(
            "updated",
            origin,
            script,
            before=lambda: lookup.view(owner_id, public_id, now_ms, kind),
            adopts=isinstance(edit.stripe_customer_id, str),
        )

    async def credit(self, owner_id: int, public_id: str, new: Credit, *, origin: Origin | None = None) -> Answer:
        """Raise an account's spend cap, on the record. Raises NotFound or Uncapped."""
        now_ms = self._access.clock_ms()
        said: dict[str, Any] = {"amount_micros": new.amount_micros, "reason": new.reason, "until_ms": new.until_ms}
        return await self._change(
            "credits.added",
            origin,
            lambda touched: changes.credit(owner_id, public_id, new, now_ms=now_ms, touched=touched),
            before=lambda: lookup.view(owner_id, public_id, now_ms),
            **said,
        )

    async def remove_plan(self, owner_id: int, public_id: str, *, origin: Origin | None = None) -> Answer:
        """Remove a plan. Raises NotFound or InUse."""
        now_ms = self._access.clock_ms()
        return await self._change(
            "removed",
            origin,
            lambda touched: changes.remove_plan(owner_id, public_id, now_ms=now_ms, touched=touched),
        )

    async def subject_id(self, key_id: int, kind: str, subject: str) -> int:
        """The id of a key's end user or run; 0 if it has not been seen."""
        return await self._access.read(lambda: lookup.find_subject(key_id, kind, subject))

    async def subject(self, key_id: int, kind: str, subject: str) -> AccountView:
        """A key's end user or run. Raises NotFound."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: lookup.subject_view(key_id, kind, subject, now_ms))

    async def forget_subject(self, key_id: int, kind: str, subject: str, origin: Origin | None = None) -> bool:
        """Forget who an end user is, wherever his name stands; the sums stay. Whether an earlier request did.

        Raises:
            NotFound, ReplayMismatch: There is nobody of this name; the earlier request was another one.
        """
        now_ms = self._access.clock_ms()

        def script(touched: set[int]) -> Script[bool]:
            user = yield from lookup.subject_view(key_id, kind, subject, now_ms)
            yield from changes.forget_subject(key_id, kind, subject, now_ms=now_ms, touched=touched)
            yield from messages.forget(user.id)
            yield from history.forget(user.public_id)
            yield from replays.forget(user.chain, user.public_id)
            yield from history.record(f"{kind}.forgotten", user.id, user.public_id, None, None, origin, now_ms)
            return True

        _, replayed = await self._access.write(
            lambda touched: replays.made_once(origin, now_ms, bool, lambda: script(touched))
        )
        return replayed

    async def revoke(self, owner_id: int, public_id: str, *, origin: Origin | None = None) -> Answer:
        """Close an account and its subtree for ever. Raises NotFound."""
        now_ms = self._access.clock_ms()
        return await self._change(
            "revoked",
            origin,
            lambda touched: changes.revoke(owner_id, public_id, now_ms=now_ms, touched=touched),
            before=lambda: lookup.view(owner_id, public_id, now_ms),
        )

    async def rotate(
        self, owner_id: int, public_id: str, new: Credential, *, old_until_ms: int, origin: Origin | None = None
    ) -> Answer:
        """Give an account a new secret. Raises NotFound or Closed."""
        now_ms = self._access.clock_ms()
        return await self._change(
            "rotated",
            origin,
            lambda touched: changes.rotate(
                owner_id, public_id, new, old_until_ms=old_until_ms, now_ms=now_ms, touched=touched
            ),
            before=lambda: lookup.view(owner_id, public_id, now_ms),
            old_until_ms=old_until_ms,
        )

    async def _change(
        self,
        type_: str,
        origin: Origin | None,
        script: Callable[[set[int]], Script[AccountView]],
        *,
        before: Callable[[], Script[AccountView]] | None = None,
        adopts: bool = False,
        **said: Any,
    ) -> Answer:
        """Make a change, once, and write down who made it and what it was. `adopts`: it has a customer from now on."""
        now_ms = self._access.clock_ms()

        def recorded(touched: set[int]) -> Script[AccountView]:
            was = None
            if before is not None:
                was = yield from before()
            account = yield from script(touched)
            if type_ != "revoked" or was is None or was.revoked_ms is None:
                yield from history.of_account(type_, was, account, origin, now_ms, **said)
            if adopts:
                account = yield from links.adopt(account, None, now_ms, self._grace_ms, touched)
            return account

        return await self._access.write(
            lambda touched: replays.account_made_once(origin, now_ms, lambda: recorded(touched))
        )

    async def get(self, owner_id: int, public_id: str, kind: str = "key") -> AccountView:
        """One account of the owner's subtree. Raises NotFound."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: lookup.view(owner_id, public_id, now_ms, kind))

    async def several(self, owner_id: int, public_ids: Sequence[str]) -> list[AccountView]:
        """Those of these keys that are the owner's or under it, in no order. Few of them."""
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: lookup.several(owner_id, public_ids, now_ms))

    async def page(
        self,
        owner_id: int,
        *,
        kind: str = "key",
        limit: int,
        starting_after: str | None = None,
        livemode: bool | None = None,
        search: str | None = None,
        status: str | None = None,
    ) -> tuple[list[AccountView], bool]:
        """A page of the accounts of a kind under the owner, newest first, and whether there are more: see the script.

        Raises:
            NotFound: There is no such account to start after.
        """
        now_ms = self._access.clock_ms()
        return await self._access.read(
            lambda: lookup.list_accounts(
                owner_id,
                kind=kind,
                limit=limit,
                starting_after=starting_after,
                livemode=livemode,
                now_ms=now_ms,
                search=search,
                status=status,
            ),
            long=True,
        )

    async def credential(self, locator: str) -> tuple[Credential, tuple[Node, ...]] | None:
        """The credential with this locator and the chain of its account."""
        return await self._access.read(lambda: lookup.credential(locator))

    async def chain(self, account_id: int) -> tuple[Node, ...]:
        """An account and its ancestors."""
        return await self._access.read(lambda: lookup.chain(account_id))

    async def customer(self, account_id: int) -> str | None:
        """The one Stripe customer of a call of this account, an end user's or a key's: see `lookup.customer`."""
        return await self._access.read(lambda: lookup.customer(account_id))

    async def root(self) -> int | None:
        """The id of the first account, if there is one."""
        return await self._access.read(lookup.first_root)
