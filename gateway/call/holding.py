"""The hold that lets a call in: taken from every limit on its way at once, or refused with the limit that refused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.call.options import Options
from gateway.call.quote import Quote
from gateway.call.subjects import Subjects
from gateway.problems import DENIED, CallError, denied, over_limit
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO
from ledger.records import UNSEEN, Ask, Facts, Held, Refused

_A_LITTLE = Quote(fixed_picos=PICOS_PER_MICRO)


class Holds:
    """Takes holds. One for the process. Its methods raise LedgerUnavailable and TooManySubjects."""

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._subjects = Subjects(ledger, clock_ms)

    async def take(
        self,
        call_id: str,
        key: Key,
        facts: Facts,
        quote: Quote,
        options: Options,
        *,
        lasting_ms: int = 0,
        unpriced: bool = False,
        first: bool = True,
        dry_run: bool = False,
    ) -> Held | Refused:
        """Hold what a call may cost.

        `lasting_ms` is how long a hold lasts for which nobody waits, as a batch's; a further attempt at a request that
        has been counted is not its `first`.
        """
        known = self._subjects.known
        subject_id = await known(key, "end_user", options.end_user) if options.end_user is not None else 0
        run_id = await known(key, "run", options.run) if options.run is not None else 0
        ask = Ask(
            id=call_id,
            account_id=key.account_id,
            facts=facts,
            owner=self._ledger.owner,
            subject_id=subject_id,
            run_id=run_id,
            versions=key.versions,
            fixed_picos=quote.fixed_picos,
            each_picos=quote.each_picos,
            fixed_tokens=quote.fixed_tokens,
            each_tokens=quote.each_tokens,
            seconds=quote.seconds,
            each_seconds=quote.each_seconds,
            want=quote.want,
            least=quote.least,
            requests=int(first),
            concurrent=0 if lasting_ms else 1,
            expires_ms=self._clock_ms() + lasting_ms if lasting_ms else None,
            call_max_micros=options.call_cap_micros,
            subject_max_micros=options.end_user_cap_micros,
            subject_max_sets=key.policy.end_user_cap == "set",
            unpriced=unpriced,
            dry_run=dry_run,
        )
        if not dry_run and UNSEEN in (subject_id, run_id):
            # Whoever is not let in is not written down.
            outcome = await self._ledger.calls.would_hold(ask)
            if isinstance(outcome, Refused):
                self._subjects.forget(key, options)
                return outcome
            ask = msgspec.structs.replace(
                ask,
                subject_id=await self._subjects.opened(key, "end_user", options.end_user),
                run_id=await self._subjects.opened(key, "run", options.run),
            )
        outcome = await self._ledger.calls.hold(ask, fold=True)
        if isinstance(outcome, Refused):
            self._subjects.forget(key, options)
        return outcome

    async def could_take(self, call_id: str, key: Key, facts: Facts, options: Options) -> Held | Refused:
        """Whether there is anything left at all; nothing is held."""
        return await self.take(call_id, key, facts, _A_LITTLE, options, dry_run=True)

    def refusal(self, refused: Refused, key: Key, call_id: str) -> CallError:
        """Why a hold was refused, as the client will see it."""
        if refused.shortfall is not None:
            return over_limit(
                refused.shortfall,
                over_cap_status=key.policy.over_cap_status,
                request_id=f"req_{call_id}",
                now_ms=self._clock_ms(),
            )
        if refused.reason in DENIED:
            return denied(refused.reason)
        if refused.reason == "run_closed":
            return CallError(403, "run_closed", "This run has ended.")
        return CallError(403, "end_user_disabled", "This end user is blocked.")
