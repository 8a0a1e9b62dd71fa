"""The stages around a call that touches what providers keep: ownership, lists, batches; and the list of models.

See `gateway.call.stages` for the moments. Nearly no call meets any of this.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.bounds import BATCH_LOOK_FIRST_MS, FULL_ANSWER_BYTES_MAX, MAKING_ANSWER_BYTES_MAX
from gateway.call.records import Admitted
from gateway.problems import CallError, as_problem
from gateway.stored.batches import KIND, Batches
from gateway.stored.listing import Listings
from gateway.stored.ownership import Makings, Ownership
from gateway.upstream.base import Answer, Forward, Upstream
from ledger.ledger import Ledger
from ledger.records import LedgerUnavailable
from providers.stored.batches import hold_ms
from providers.stored.listing import Listing
from providers.stored.models import narrowed, without_owners
from providers.stored.objects import Made, StreamMakes


class StoredStages:
    """One for the process."""

    def __init__(self, ledger: Ledger, ownership: Ownership, batches: Batches) -> None:
        self.ledger = ledger
        self.ownership = ownership
        self.batches = batches
        self.listings = Listings(ledger)

    def around(self, admitted: Admitted) -> Around | None:
        """What stands around a call; None for nothing, which is nearly always."""
        operation = admitted.route.operation
        if (
            admitted.makes
            or operation.of
            or operation.forgets
            or operation.lists is not None
            or operation.batch is not None
            or operation.lists_models
        ):
            return Around(self, admitted)
        return None


class Around:
    """Around one call; see `gateway.call.stages.Stage`."""

    def __init__(self, stages: StoredStages, admitted: Admitted) -> None:
        self._stages = stages
        self._admitted = admitted
        self._makings: Makings | None = stages.ownership.makings(admitted.key, admitted.route, admitted.makes)
        self.nothing_longer = admitted.route.operation.lists_models
        self.reads_whole = self._makings is not None
        keeps = self.reads_whole or self.nothing_longer
        self.whole_bytes_max = MAKING_ANSWER_BYTES_MAX if keeps else FULL_ANSWER_BYTES_MAX

    async def before(self) -> None:
        """Nothing is deleted that tells what a batch has cost."""
        if not self._admitted.route.operation.forgets:
            return
        try:
            if await self._stages.batches.before_deletion(self._admitted.key, self._admitted.route):
                return
        except LedgerUnavailable as error:
            raise as_problem(error) from None
        raise CallError(409, "batch_not_settled", "This batch is not settled yet: try again when it has ended.")

    def around(self, upstream: Upstream) -> Upstream:
        """A list is put together from what we know, and fetched object by object."""
        listing = self._admitted.route.operation.lists
        return upstream if listing is None else _Listed(self._stages.listings, self._admitted, listing, upstream)

    async def answered(self, status: int) -> None:
        """What the provider has deleted is forgotten."""
        await self._stages.ownership.answered(self._admitted.key, self._admitted.route, status)

    async def passing(self, answer: Answer, *, events: bool) -> _Pieces | None:
        """What the answer makes is written down before the client learns of it."""
        if self._admitted.route.operation.of == KIND:
            await self._stages.batches.seen(self._admitted.key, self._admitted.route, None)
        if self._makings is None:
            return None
        _raise(await self._makings.in_head(answer.headers))
        return _Pieces(self._makings, self._makings.stream()) if events else None

    async def takes_over(self, body: bytes) -> bool:
        """Hand a batch that was made over to the housework, and its hold with it; False if that cannot be."""
        admitted, ledger = self._admitted, self._stages.ledger
        if admitted.call.batch_bound is None or self._makings is None:
            return False
        facts = dict(admitted.call.facts)
        facts["batch"] = dict(facts["batch"]) | {"version": "" if admitted.price is None else admitted.price.version}
        facts |= {"hold": admitted.call_id, "lasting_ms": hold_ms(facts)}
        return await self._makings.batch(body, facts, ledger.clock_ms() + BATCH_LOOK_FIRST_MS)

    async def whole(self, answer: Answer, body: bytes) -> bytes:
        """Narrowed to what the caller may see, and written down as his; what a batch's answer tells is heard."""
        admitted = self._admitted
        if self.nothing_longer:
            body = self._shown(body)
        if self._makings is not None and admitted.call.batch_bound is None:
            _raise(await self._makings.in_head(answer.headers))
            _raise(await self._makings.in_body(body, admitted.made_facts()))
        if (batch := admitted.route.operation.batch) is not None:
            await self._stages.batches.seen(admitted.key, admitted.route, body)
            body = batch.rehosted(body, admitted.origin)
        return body

    def _shown(self, body: bytes) -> bytes:
        """A list of models: those that the caller may use, and not whose they are."""
        try:
            if len(body) > self.whole_bytes_max:
                raise ValueError("too long")
            key = self._admitted.key
            return without_owners(body if key.any_model else narrowed(body, key.allows_model))
        except ValueError:
            raise CallError(502, "upstream_error", "The provider's list of models cannot be read.") from None


class _Listed:
    """An upstream that answers one list."""

    def __init__(self, listings: Listings, admitted: Admitted, listing: Listing, upstream: Upstream) -> None:
        self._listings = listings
        self._admitted = admitted
        self._listing = listing
        self._upstream = upstream

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        return await self._listings.answer(self._admitted, self._listing, request, self._upstream)

    async def close(self) -> None:
        """The connections are another's."""


class _Pieces:
    """Writes down what a stream of events makes; see `gateway.call.stages.Pieces`."""

    def __init__(self, makings: Makings, found: StreamMakes) -> None:
        self._makings = makings
        self._found = found

    async def feed(self, chunk: bytes) -> bytes:
        """An event that names something new waits until that is written down. Raises CallError."""
        made: Sequence[Made]
        visible, made = self._found.feed(chunk)
        if made:
            _raise(await self._makings.keep(made))
        return visible

    def flush(self, rest: bytes) -> bytes:
        """An event that breaks off names nothing that its client could use."""
        return b"".join((self._found.feed(rest)[0], self._found.flush()[0]))


def _raise(error: CallError | None) -> None:
    if error is not None:
        raise error
