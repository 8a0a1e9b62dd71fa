"""Listings of what a key has made, out of our own table: it knows whose an object is, the provider knows what it is.

Promises: a page holds the caller's own objects only, in the order in which they were made, and is not made short by
anybody else's, nor by those that the provider has no more (they are forgotten on the way). Each object is fetched from
the provider by its id, `AT_ONCE` at a time. Knows no provider's list: `providers.stored.listing` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qs

import msgspec
from multidict import CIMultiDict

from gateway.bounds import ERROR_BODY_BYTES_MAX
from gateway.call.records import Admitted
from gateway.problems import CallError, render
from gateway.upstream.base import Answer, Forward, Upstream, UpstreamFailed, read_short
from ledger.ledger import Ledger
from ledger.objects import Object, Page
from ledger.records import LedgerUnavailable
from ledger.views import NotFound
from providers.ground.errors import BadRequest
from providers.stored.listing import Listing, Wanted
from providers.stored.objects import missing

AT_ONCE = 8  # requests to the provider for one page
ROUNDS_MAX = 10  # looks at our table for one page: each drops up to a page of what the provider has no more


class Made:
    """An answer that is here already."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `Answer`."""
        yield self._body

    def rest(self, bytes_max: int) -> bytes | None:
        """See `Answer`."""
        return None

    def nudge(self) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """Nothing is open."""


class _NotListed(Exception):
    """The provider answered for one object with neither it nor a 404; that is its answer to the list."""

    def __init__(self, answer: Made) -> None:
        super().__init__("refused")
        self.answer = answer


class Listings:
    """Answers lists in a provider's stead. One for the process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def answer(self, admitted: Admitted, listing: Listing, asked: Forward, upstream: Upstream) -> Answer:
        """The page that was asked for. Raises UpstreamFailed."""
        _, _, query = asked.target.partition("?")
        try:
            wanted = listing.read(parse_qs(query, keep_blank_values=True))
            return await self._page(admitted, listing, wanted, asked, upstream)
        except _NotListed as refused:
            return refused.answer
        except BadRequest as error:
            return self._error(admitted, CallError(400, error.code, error.message, param=error.param))
        except NotFound as error:
            message = missing(asked.provider, listing.kind, str(error))
            return self._error(admitted, CallError(404, "not_found", message))
        except LedgerUnavailable:
            return self._error(admitted, CallError(503, "ledger_unavailable", "The ledger does not answer."))

    async def _page(
        self, admitted: Admitted, listing: Listing, wanted: Wanted, asked: Forward, upstream: Upstream
    ) -> Answer:
        account_id, provider, kind = admitted.key.account_id, asked.provider, listing.kind
        page = Page(**{name: getattr(wanted, name) for name in wanted.__struct_fields__})
        shown: list[tuple[str, bytes]] = []
        lost: list[str] = []  # forgotten at the end only: a cursor may be one of them
        for _ in range(ROUNDS_MAX):
            rows, more = await self._ledger.objects.page(account_id, provider, kind, page)
            items = await self._fetch(listing, rows, asked, upstream)
            gone = [row.id for row, item in zip(rows, items, strict=True) if item is None]
            found = [(row.id, item) for row, item in zip(rows, items, strict=True) if item is not None]
            backwards = page.before is not None and page.after is None
            shown = found + shown if backwards else shown + found
            lost += gone
            if not gone or not more or len(shown) >= wanted.limit:
                break
            page = msgspec.structs.replace(page, limit=wanted.limit - len(shown), skip=0)
            edge = rows[0].id if backwards else rows[-1].id
            page = (
                msgspec.structs.replace(page, before=edge) if backwards else msgspec.structs.replace(page, after=edge)
            )
        if lost:
            await self._ledger.objects.forget(account_id, provider, kind, lost)
        total = await self._ledger.objects.count(account_id, provider, kind, page.label) if listing.total else None
        body = listing.write([item for _, item in shown], [id_ for id_, _ in shown], more=more, total=total)
        return Made(200, CIMultiDict({"Content-Type": "application/json"}), body)

    async def _fetch(
        self, listing: Listing, rows: list[Object], asked: Forward, upstream: Upstream
    ) -> list[bytes | None]:
        """Each object as the provider has it; None for one that it has no more."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(row: Object) -> bytes | None:
            async with room:
                forward = msgspec.structs.replace(
                    asked, method="GET", target=listing.item.replace("{id}", row.id), body=b""
                )
                return await _item(await upstream.send(forward))

        fetching = [asyncio.ensure_future(one(row)) for row in rows]
        try:
            return list(await asyncio.gather(*fetching))
        finally:
            for each in fetching:
                each.cancel()

    @staticmethod
    def _error(admitted: Admitted, error: CallError) -> Answer:
        status, headers, body = render(error, admitted.route.operation.dialect, admitted.call_id)
        return Made(status, CIMultiDict((name.decode(), value.decode()) for name, value in headers), body)


async def _item(answer: Answer) -> bytes | None:
    """The object in an answer; None for one that the provider does not have."""
    body = await read_short(answer, ERROR_BODY_BYTES_MAX)
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise _NotListed(Made(answer.status, answer.headers, body))
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamFailed("an object that cannot be read", sent=True) from None
    return body
