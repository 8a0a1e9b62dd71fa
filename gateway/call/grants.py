"""What an upload whose length nobody knows may still cost: its hold, raised while it comes.

Promises: no byte is granted that the hold does not cover; it never grows beyond a cap that the call itself brought. It
is doubled, or where there is no room for that, raised to what is needed now. Which limit has no room is told apart:
money refuses as a cap does, everything else as a rate.
"""

from __future__ import annotations

from gateway.call.quote import quote
from gateway.call.records import Admitted
from gateway.call.upload import Upload
from gateway.problems import RETRY_AFTER_S_MAX, CallError
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO
from ledger.records import Extend, LedgerUnavailable


class Grants:
    """One upload's hold. `raised_picos` is what is held beyond the hold that it began with."""

    def __init__(self, admitted: Admitted, upload: Upload, ledger: Ledger) -> None:
        self.raised_picos = 0
        self._admitted = admitted
        self._upload = upload
        self._ledger = ledger
        terms = admitted.quote
        self._picos, self._tokens, self._seconds = terms.fixed_picos, terms.fixed_tokens, terms.seconds

    async def grant(self, least_bytes: int) -> int:
        """Hold for so many bytes, and for twice as many if there is room; how many. Raises CallError."""
        most = self._admitted.route.operation.upload_bytes_max
        if self._admitted.price is None:
            return most
        refused: CallError | None = None
        for length in (min(2 * least_bytes, most), least_bytes):
            refused = await self._hold_for(length)
            if refused is None:
                return length
        assert refused is not None  # noqa: S101 - the loop has two turns
        raise refused

    async def _hold_for(self, length: int) -> CallError | None:
        admitted = self._admitted
        assert admitted.price is not None  # noqa: S101 - without one, nothing is held
        policy = admitted.key.policy
        call = self._upload.bounded(length)
        terms = quote(call, admitted.price, overdraft=policy.overdraft, clamp=policy.on_insufficient == "clamp")
        picos = max(terms.fixed_picos - self._picos, 0)
        tokens, seconds = max(terms.fixed_tokens - self._tokens, 0), max(terms.seconds - self._seconds, 0)
        granted = self._upload.granted_bytes
        message = f"A limit has no room for more than the first {granted} bytes of this upload."
        held = admitted.held.amount_micros * PICOS_PER_MICRO + self.raised_picos
        if admitted.cap_micros is not None and held + picos > admitted.cap_micros * PICOS_PER_MICRO:
            return CallError(policy.over_cap_status, "spend_cap_exceeded", message, farthing={"cap": "call"})
        if not await self._extend(0, tokens, seconds):
            return CallError(429, "rate_limited", message, retry=None, retry_after_s=RETRY_AFTER_S_MAX)
        self._tokens += tokens
        self._seconds += seconds
        if not await self._extend(picos, 0, 0):
            return CallError(policy.over_cap_status, "spend_cap_exceeded", message, farthing={"cap": None})
        self._picos += picos
        self.raised_picos += picos
        return None

    async def _extend(self, picos: int, tokens: int, seconds: int) -> bool:
        if not (picos or tokens or seconds):
            return True
        more = Extend(
            id=self._admitted.call_id, each_picos=picos, each_tokens=tokens, each_seconds=seconds, allowance=1
        )
        try:
            return await self._ledger.extend(more)
        except LedgerUnavailable:
            raise CallError(
                503, "ledger_unavailable", "The ledger does not answer, so nothing more can be held.", retry=True,
                retry_after_s=1,
            ) from None  # fmt: skip
