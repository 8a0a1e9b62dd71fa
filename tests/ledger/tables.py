"""What an earlier transaction has written, for tests of one transaction that need no database."""

from __future__ import annotations

from ledger.book import Account, Counter, CounterKey, Hold, Limit, Rollup, RollupKey
from ledger.records import Ask, Facts
from tests.ledger.world import PICOS

BALANCE = Limit(id=1, public_id="lim_1", role="total", unit="micros", max=100, window="total")


class Memory:
    """Tables that hold what an earlier transaction has written, and take nothing in."""

    def __init__(self) -> None:
        self.holds: dict[str, Hold] = {}

    def account(self, account_id: int) -> Account | None:
        if account_id != 1:
            return None
        return Account(
            id=1,
            public_id="key_1",
            kind="key",
            chain=(1,),
            livemode=True,
            disabled=False,
            revoked_ms=None,
            expires_ms=None,
            version=1,
            spent_micros=0,
            carry_picos=0,
            price_micros=0,
            price_carry_picos=0,
            overrun_micros=0,
            last_used_ms=None,
            limits=(BALANCE,),
        )

    def counter(self, key: CounterKey) -> Counter | None:
        return Counter(held=sum(hold.amount_micros for hold in self.holds.values()))

    def hold(self, hold_id: str) -> Hold | None:
        return self.holds.get(hold_id)

    def rollup(self, key: RollupKey) -> Rollup | None:
        return None

    def event_cost_micros(self, event_id: str) -> int | None:
        return None


def ask(call: str, micros: int) -> Ask:
    return Ask(id=call, account_id=1, facts=Facts(), owner="o", fixed_picos=micros * PICOS)
