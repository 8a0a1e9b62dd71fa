"""One call's hold, and how it grows while the call lives: with a stream's output, an upload's length, a socket's use.

Promises: it never grows beyond a cap that the call itself brought; what is held by now is known without asking. Which
limit has no room is told apart: money refuses as a cap does, everything else as a rate. A ledger that does not answer
refuses nothing that has been paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.bounds import SOCKET_EXTEND_AGAIN_S
from gateway.call.quote import quote
from gateway.call.records import Admitted
from gateway.call.settlement import bound_of, cost_of
from gateway.call.upload import Upload
from gateway.problems import RETRY_AFTER_S_MAX, CallError, as_problem
from ledger.calls import Calls
from ledger.money import PICOS_PER_MICRO
from ledger.records import Extend, LedgerUnavailable
from providers.contract.shapes import Meter
from providers.contract.sockets import NOTHING_DUE, Due, SocketMeter
from providers.pricing.prices import Price

NEVER = 1 << 62
LOOK_BYTES = 4096  # of a stream, at least, between two looks at how much of its hold it has used


class Hold:
    """What is held for one call. `picos` is how much by now."""

    __slots__ = ("_admitted", "_calls", "picos")

    def __init__(self, admitted: Admitted, calls: Calls) -> None:
        self.picos = admitted.held.amount_micros * PICOS_PER_MICRO
        self._admitted = admitted
        self._calls = calls

    def has_room(self, picos: int) -> bool:
        """Whether the call's own cap has room for so much more."""
        cap = self._admitted.cap_micros
        return cap is None or self.picos + picos <= cap * PICOS_PER_MICRO

    async def extend(self, *, picos: int = 0, tokens: int = 0, seconds: int = 0, steps: int = 1) -> bool:
        """Hold so many steps more, each of this much; False where some limit has no room. Raises LedgerUnavailable."""
        if not (picos or tokens or seconds):
            return True
        more = Extend(
            id=self._admitted.call_id, each_picos=picos, each_tokens=tokens, each_seconds=seconds, allowance=steps
        )
        if not await self._calls.extend(more):
            return False
        self.picos += picos * steps
        return True

    def spent(self, message: str, **farthing: Any) -> CallError:
        """There is no money for more."""
        return CallError(
            self._admitted.key.policy.over_cap_status, "spend_cap_exceeded", message, farthing={"cap": None, **farthing}
        )

    def limited(self, message: str) -> CallError:
        """A limit of another unit has no room for more."""
        return CallError(429, "rate_limited", message, retry=None, retry_after_s=RETRY_AFTER_S_MAX)


class OutputGrowth:
    """A streamed answer's: held for as many more tokens when three quarters are used. A refusal lets it finish.

    Attributes:
        allowance: Output tokens per choice that the hold covers.
        most: How many there can be at most; None where nobody knows.
        look_at_bytes: When so much has been streamed, `look`.
    """

    __slots__ = ("_admitted", "_hold", "_streamed_bytes", "allowance", "look_at_bytes", "most")

    def __init__(self, hold: Hold, admitted: Admitted) -> None:
        self._hold = hold
        self._admitted = admitted
        self._streamed_bytes = 0
        self.allowance = admitted.held.allowance
        limit = admitted.quote.output_limit(self.allowance)
        self.most = admitted.quote.most if limit is None else limit
        self.look_at_bytes = self.allowance if self._step() else NEVER

    def look(self, meter: Meter, streamed_bytes: int) -> None:
        """See how much of the hold is used, and hold more if need be, without waiting for it."""
        self._streamed_bytes = streamed_bytes
        seen = meter.output_tokens_seen()
        allowance = self.allowance * max(self._admitted.call.choices, 1)
        if seen * 4 < allowance * 3:
            # A token is at least a byte of the answer: not much sooner than this can the mark be reached.
            self.look_at_bytes = streamed_bytes + max(allowance * 3 // 4 - seen, LOOK_BYTES)
            return
        self.look_at_bytes = NEVER
        step, quoted = self._step(), self._admitted.quote
        extending = asyncio.ensure_future(
            self._hold.extend(picos=quoted.each_picos, tokens=quoted.each_tokens, steps=step)
        )
        extending.add_done_callback(lambda extending: self._extended(extending, step))

    def _step(self) -> int:
        """By how much the allowance would be raised: as much again, but not beyond what can come."""
        if not self._admitted.quote.each_picos:
            return 0
        return self.allowance if self.most is None else min(self.allowance, max(self.most - self.allowance, 0))

    def _extended(self, extending: asyncio.Future[bool], step: int) -> None:
        if not extending.cancelled() and extending.exception() is None and extending.result():
            self.allowance += step
            self.look_at_bytes = self._streamed_bytes if self._step() else NEVER


class UploadGrowth:
    """An upload's whose length nobody knows: doubled, or where there is no room for that, raised to what is needed."""

    __slots__ = ("_admitted", "_hold", "_picos", "_seconds", "_tokens", "_upload")

    def __init__(self, hold: Hold, admitted: Admitted, upload: Upload) -> None:
        self._hold = hold
        self._admitted = admitted
        self._upload = upload
        quoted = admitted.quote
        self._picos, self._tokens, self._seconds = quoted.fixed_picos, quoted.fixed_tokens, quoted.seconds

    async def cover(self, least_bytes: int) -> int:
        """Hold for so many bytes, and for twice as many if there is room; how many. Raises CallError."""
        most = self._admitted.route.operation.upload_bytes_max
        if self._admitted.price is None:
            return most
        doubled = min(2 * least_bytes, most)
        if await self._hold_for(doubled, self._admitted.price) is None:
            return doubled
        if (refused := await self._hold_for(least_bytes, self._admitted.price)) is not None:
            raise refused
        return least_bytes

    async def _hold_for(self, length: int, price: Price) -> CallError | None:
        hold, policy = self._hold, self._admitted.key.policy
        call = self._upload.bounded(length)
        quoted = quote(call, price, overdraft=policy.overdraft, clamp=policy.on_insufficient == "clamp")
        picos = max(quoted.fixed_picos - self._picos, 0)
        tokens, seconds = max(quoted.fixed_tokens - self._tokens, 0), max(quoted.seconds - self._seconds, 0)
        message = f"A limit has no room for more than the first {self._upload.held_bytes} bytes of this upload."
        if not hold.has_room(picos):
            return hold.spent(message, cap="call")
        try:
            if not await hold.extend(tokens=tokens, seconds=seconds):
                return hold.limited(message)
            self._tokens += tokens
            self._seconds += seconds
            if not await hold.extend(picos=picos):
                return hold.spent(message)
        except LedgerUnavailable as error:
            raise as_problem(error) from None
        self._picos += picos
        return None


class SocketGrowth:
    """A socket's: raised in steps, when three quarters are used and before a message that needs it.

    Where no limit has room for a whole raise, it takes what there is. Under a cap that must hold, what counts as used
    is the most that everything forwarded so far can come to.

    Attributes:
        beside: Prices of the other models that the socket has taken into use.
        sound: The cap must hold: nothing may be forwarded that the hold could not pay for.
    """

    def __init__(self, hold: Hold, admitted: Admitted, meter: SocketMeter, now: Callable[[], float]) -> None:
        self.beside: dict[str, Price] = {}
        self.sound = admitted.key.policy.overdraft == "never"
        self._hold = hold
        self._admitted = admitted
        self._meter = meter
        self._now = now
        self._raising = asyncio.Lock()
        self._raise_at = 0.0
        self._away: LedgerUnavailable | None = None

    async def afford(self, due: Due) -> CallError | None:
        """Hold more, if three quarters are used or this message needs it; an error if there is no room for that."""
        price, hold = self._admitted.price, self._hold
        if price is None or not self._admitted.quote.each_picos:
            return None
        need = self._need(due, price)
        if need * 4 <= hold.picos * 3:
            return None
        async with self._raising:
            while need * 4 > hold.picos * 3:
                # Only a message that would be the last has no room waited for: it is asked for once.
                waits = need <= hold.picos or due is NOTHING_DUE
                if (waits and self._now() < self._raise_at) or not await self._raise(need):
                    break
        if need <= hold.picos:
            return None
        return as_problem(self._away) if self._away is not None else await self._refusal(need)

    def _need(self, due: Due, price: Price) -> int:
        if self.sound:
            return bound_of(self._meter.exposed(due), price, self.beside)
        return cost_of(self._meter.used(due), price, self.beside)

    async def _raise(self, need: int) -> bool:
        """Hold so many steps more as are usual or needed, or as many as there is room for."""
        quoted, asked = self._admitted.quote, self._admitted.call.hold_steps
        steps = max(asked.count if asked is not None else 1, -(-(need - self._hold.picos) // quoted.each_picos))
        if self._admitted.cap_micros is not None:
            left_picos = self._admitted.cap_micros * PICOS_PER_MICRO - self._hold.picos
            steps = min(steps, left_picos // quoted.each_picos)
        while steps > 0:
            try:
                if await self._hold.extend(
                    picos=quoted.each_picos, tokens=quoted.each_tokens, seconds=quoted.each_seconds, steps=steps
                ):
                    self._away = None
                    return True
            except LedgerUnavailable as error:
                self._away = error
                break
            steps //= 2
        self._raise_at = self._now() + SOCKET_EXTEND_AGAIN_S
        return False

    async def _refusal(self, need: int) -> CallError:
        if await self._has_money():
            return self._hold.limited("A limit of this key has no room for more: the session ends here.")
        return self._hold.spent(
            "The spend cap has no room for more: the session ends here.",
            cap="call" if self._admitted.cap_micros is not None else None,
            unit="micros",
            held_micros=self._hold.picos // PICOS_PER_MICRO,
            required_micros=-(-need // PICOS_PER_MICRO),
            request_id=f"req_{self._admitted.call_id}",
        )

    async def _has_money(self) -> bool:
        """Whether it is not money that there is no room for. What is held to find out goes back at the end."""
        each_picos = self._admitted.quote.each_picos
        if not self._hold.has_room(each_picos):
            return False
        try:
            return await self._hold.extend(picos=each_picos)
        except LedgerUnavailable:
            return False
