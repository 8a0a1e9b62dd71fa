"""What a socket may still cost: its hold, raised in steps while it lives.

Promises: the hold is raised when three quarters of it are used, and before a message that needs it; it never grows
beyond a cap that the call itself brought. Where no limit has room for a whole raise, it takes what there is. Under a
cap that must hold, what counts as used is the most that everything forwarded so far can come to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.bounds import SOCKET_EXTEND_AGAIN_S
from gateway.call.records import Admitted
from gateway.call.settlement import bound_of, cost_of
from gateway.problems import RETRY_AFTER_S_MAX, CallError
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO
from ledger.records import Extend, LedgerUnavailable
from providers.contract.sockets import NOTHING_DUE, Due, SocketMeter
from providers.pricing.prices import Price

_SPENT = "The spend cap has no room for more: the session ends here."
_LIMITED = "A limit of this key has no room for more: the session ends here."
_LEDGER = CallError(503, "ledger_unavailable", "The ledger does not answer, so nothing more can be held.")


class Purse:
    """One socket's hold.

    Attributes:
        held_picos: What is held by now.
        beside: Prices of the other models that the socket has taken into use.
        sound: The cap must hold: nothing may be forwarded that the hold could not pay for.
    """

    def __init__(self, admitted: Admitted, meter: SocketMeter, ledger: Ledger, now: Callable[[], float]) -> None:
        self.held_picos = admitted.held.amount_micros * PICOS_PER_MICRO
        self.beside: dict[str, Price] = {}
        self.sound = admitted.key.policy.overdraft == "never"
        self._admitted = admitted
        self._meter = meter
        self._ledger = ledger
        self._now = now
        self._raising = asyncio.Lock()
        self._raise_at = 0.0
        self._ledger_gone = False

    async def afford(self, due: Due) -> CallError | None:
        """Hold more, if three quarters are used or this message needs it; an error if there is no room for that."""
        price = self._admitted.price
        if price is None or not self._admitted.quote.each_picos:
            return None
        need = self._need(due, price)
        if need * 4 <= self.held_picos * 3:
            return None
        async with self._raising:
            while need * 4 > self.held_picos * 3:
                # Only a message that would be the last has no room waited for: it is asked for once.
                waits = need <= self.held_picos or due is NOTHING_DUE
                if (waits and self._now() < self._raise_at) or not await self._raise(need):
                    break
        if need <= self.held_picos:
            return None
        return _LEDGER if self._ledger_gone else await self._spent(need)

    def _need(self, due: Due, price: Price) -> int:
        if self.sound:
            return bound_of(self._meter.exposed(due), price, self.beside)
        return cost_of(self._meter.used(due), price, self.beside)

    async def _raise(self, need: int) -> bool:
        """Hold so many steps more as are usual or needed, or as many as there is room for."""
        terms, cap, grant = self._admitted.quote, self._admitted.cap_micros, self._admitted.call.grant
        steps = max(grant.steps if grant is not None else 1, -(-(need - self.held_picos) // terms.each_picos))
        if cap is not None:
            steps = min(steps, (cap * PICOS_PER_MICRO - self.held_picos) // terms.each_picos)
        while steps > 0:
            more = Extend(
                id=self._admitted.call_id,
                each_picos=terms.each_picos,
                each_tokens=terms.each_tokens,
                each_seconds=terms.each_seconds,
                allowance=steps,
            )
            try:
                if await self._ledger.extend(more):
                    self.held_picos += terms.each_picos * steps
                    self._ledger_gone = False
                    return True
            except LedgerUnavailable:
                self._ledger_gone = True
                break
            steps //= 2
        self._raise_at = self._now() + SOCKET_EXTEND_AGAIN_S
        return False

    async def _has_money(self) -> bool:
        """Whether it is not money that there is no room for. What is held to find out goes back at the end."""
        each_picos, cap = self._admitted.quote.each_picos, self._admitted.cap_micros
        if cap is not None and self.held_picos + each_picos > cap * PICOS_PER_MICRO:
            return False
        try:
            return await self._ledger.extend(
                Extend(id=self._admitted.call_id, each_picos=each_picos, each_tokens=0, allowance=1)
            )
        except LedgerUnavailable:
            return False

    async def _spent(self, need: int) -> CallError:
        if await self._has_money():
            return CallError(429, "rate_limited", _LIMITED, retry=None, retry_after_s=RETRY_AFTER_S_MAX)
        return CallError(
            self._admitted.key.policy.over_cap_status,
            "spend_cap_exceeded",
            _SPENT,
            farthing={
                "cap": "call" if self._admitted.cap_micros is not None else None,
                "unit": "micros",
                "held_micros": self.held_picos // PICOS_PER_MICRO,
                "required_micros": -(-need // PICOS_PER_MICRO),
                "request_id": f"req_{self._admitted.call_id}",
            },
        )
