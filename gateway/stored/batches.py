"""Batches after they were made: held until they end, looked at in the meantime, settled exactly once.

Promises: a batch's hold belongs to no process, so it outlives each; somebody looks at every batch until it has ended,
whether its maker does or not; it is settled from the provider's own results, once, by whichever gateway comes first
(the hold's id decides); what is still not settled when its hold ends becomes `unsettled` and stays counted. Nothing
that tells what a batch has cost is deleted before that is known. Knows no provider's words: `stored.batches` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

import msgspec

from gateway.bounds import (
    BATCH_LOOK_FIRST_MS,
    BATCH_LOOK_LAST_MS,
    BATCH_LOOK_LEASE_MS,
    BATCH_LOOKS,
    BATCH_ROUND_S,
    ERROR_BODY_BYTES_MAX,
    HEAD_TIMEOUT_S,
)
from gateway.call.services import Upstreams
from gateway.edge.headers import to_provider
from gateway.places import Place
from gateway.upstream.base import Answer, Forward, UpstreamFailed, read_short
from keys.ids import new_body
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.objects import Object
from ledger.records import LedgerUnavailable, Measures, Settlement
from providers.ground.usage import Usage
from providers.ground.vendors import VENDORS
from providers.operations import TABLE
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from providers.routing import Route
from providers.stored.batches import Batch, Counted, Results

KIND = "batch"
BATCHES: Mapping[str, Batch] = {row.provider: row.operation.batch for row in TABLE if row.operation.batch is not None}
"""How each provider keeps them."""

_MEASURES = Measures.__struct_fields__
_log = logging.getLogger("farthing.batch")


class Batches:
    """The housework on batches. One for the process."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        upstreams: Upstreams,
        places: Mapping[str, Place],
        clock_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._upstreams = upstreams
        self._places = places
        self._clock_ms = clock_ms
        self._hurry = asyncio.Event()

    async def watch(self) -> None:
        """Look at batches when it is time, for as long as the gateway runs."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), BATCH_ROUND_S)
            self._hurry.clear()
            with contextlib.suppress(LedgerUnavailable):
                while found := await self._ledger.objects.due(self._clock_ms() + BATCH_LOOK_LEASE_MS, BATCH_LOOKS):
                    looks = [self._look(each, live=live) for each, live in found if each.kind == KIND]
                    for fault in await asyncio.gather(*looks, return_exceptions=True):
                        if fault is not None:  # one that cannot be understood must not keep the others waiting
                            _log.critical("a batch could not be looked at", extra={"error": repr(fault)})

    async def seen(self, key: Key, route: Route, body: bytes | None) -> None:
        """A batch or a list of them (`body`), or results (None), were read: what has ended is settled now."""
        batch = route.operation.batch
        if batch is None:
            return
        ended = [route.params["id"]] if body is None else [each.id for each in batch.progress(body) if each.ended]
        if ended:
            with contextlib.suppress(LedgerUnavailable):
                if await self._ledger.objects.hasten(key.account_id, route.provider, KIND, ended):
                    self._hurry.set()

    async def before_deletion(self, key: Key, route: Route) -> bool:
        """Whether what is to be deleted is not needed to know what a batch has cost. Raises LedgerUnavailable."""
        operation = route.operation
        if not operation.forgets or route.provider not in BATCHES:
            return True
        id_ = route.params["id"]
        if operation.of != KIND:
            own = await self._ledger.objects.owned(key.account_id, [id_])
            id_ = next((str(each.facts["of"]) for each in own if "of" in each.facts), "")
        for _ in range(2):
            own = await self._ledger.objects.owned(key.account_id, [id_])
            found = next((each for each in own if each.kind == KIND and each.provider == route.provider), None)
            if found is None or found.due_ms is None:
                return True
            await self._look(found, live=key.livemode)
        return False

    # ---- one batch

    async def _look(self, found: Object, *, live: bool) -> None:
        """Ask the provider how far a batch is, and settle it if it has ended."""
        now_ms = self._clock_ms()
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                done = await self._settle(found, live=live)
        except (UpstreamFailed, TimeoutError) as error:
            _log.warning("a batch could not be looked at", extra={"batch": found.id, "error": str(error)})
            done = False
        age_ms = now_ms - found.created_ms
        wait_ms = min(max(age_ms // 8, BATCH_LOOK_FIRST_MS), BATCH_LOOK_LAST_MS)
        over = now_ms > found.created_ms + int(found.facts.get("lasting_ms", 0))
        due_ms = None if done or over else now_ms + wait_ms
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.objects.note(found.account_id, msgspec.structs.replace(found, due_ms=due_ms))

    async def _settle(self, found: Object, *, live: bool) -> bool:
        """True once it is settled. Raises UpstreamFailed and LedgerUnavailable."""
        batch = BATCHES[found.provider]
        answer = await self._get(found.provider, batch.item.replace("{id}", found.id), live=live)
        body = await read_short(answer, ERROR_BODY_BYTES_MAX)
        progress = next(iter(batch.progress(body)), None) if answer.status == 200 else None
        if progress is None or not progress.ended:
            return False
        made = [Object(provider=found.provider, kind="file", id=id_, facts={"of": found.id}) for id_ in progress.files]
        if made:
            await self._ledger.objects.own(found.account_id, made)
        facts = found.facts["batch"]
        price = self._catalogue.priced(found.provider, facts["model"], facts["version"]) or self._catalogue.find(
            found.provider, facts["model"], found.created_ms
        )
        counted = Counted(usage=Usage(), cost_picos=0, answers=0, estimated=False, flags=("unpriced",))
        if price is not None:
            typical = -(-int(facts["typical"]) // max(int(facts["lines"]), 1))
            results = Results(batch.endpoints[facts["url"]].shape, price, typical)
            if progress.results and not await self._read(found.provider, progress.results, results, live=live):
                return False
            counted = results.finish()
        await self._ledger.calls.settled(self._settlement(found, counted, price))
        return True

    async def _read(self, provider: str, path: str, results: Results, *, live: bool) -> bool:
        answer = await self._get(provider, path, live=live)
        try:
            if answer.status != 200:
                return False
            async for chunk in answer.chunks():
                results.feed(chunk)
        finally:
            answer.close()
        return True

    def _settlement(self, found: Object, counted: Counted, price: Price | None) -> Settlement:
        usage = counted.usage
        return Settlement(
            id=str(found.facts["hold"]),
            status="estimated" if counted.estimated else "settled",
            cost_picos=counted.cost_picos,
            measures=Measures(*[getattr(usage, name) for name in _MEASURES]),
            tokens=usage.tokens,
            usage=msgspec.to_builtins(usage),
            http_status=200,
            flags=counted.flags if price is not None else ("unpriced",),
        )

    async def _get(self, provider: str, path: str, *, live: bool) -> Answer:
        place = self._places[provider]
        vendor = VENDORS[provider]
        forward = Forward(
            provider=provider,
            method="GET",
            origin=place.origin,
            target=vendor.path_prefix + path,
            headers=to_provider([], vendor, place.credential),
            body=b"",
            call_id=new_body(self._clock_ms()),
        )
        return await self._upstreams.of(livemode=live).send(forward)
