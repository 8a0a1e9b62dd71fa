"""How providers list what they keep: the pages that their clients ask for, and the lists that these expect.

A list is put together out of our own knowledge of whose an object is: the caller's ids in order, each object fetched
from the provider by its id. So a page holds the caller's objects only, and nobody else's can make it short. Pure.
Source: the SDKs' own pagers (openai 3.54 `CursorPage`, anthropic 2.12 `Page`, mistralai 3.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from providers.ground.errors import BadRequest

ITEMS_MAX = 100  # on one page, each of them a request to the provider; clients that ask for more get the rest next


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The page that a client asks for: see `ledger.objects.Page`."""

    limit: int
    after: str | None = None
    before: str | None = None
    oldest_first: bool = False
    label: str | None = None
    skip: int = 0


class Listing(Protocol):
    """One provider's way to list one kind of object.

    Attributes:
        kind: Which of the caller's objects.
        item: The upstream path of one of them, with `{id}`.
        total: Whether the list says how many there are in all.
    """

    @property
    def kind(self) -> str:
        """See the class."""
        ...

    @property
    def item(self) -> str:
        """See the class."""
        ...

    @property
    def total(self) -> bool:
        """See the class."""
        ...

    def read(self, query: Mapping[str, Sequence[str]]) -> Wanted:
        """What the query asks for. Raises BadRequest."""
        ...

    def write(self, items: Sequence[bytes], ids: Sequence[str], *, more: bool, total: int | None) -> bytes:
        """The list as JSON; `items` are the provider's own objects, `ids` theirs."""
        ...


class Cursors(msgspec.Struct, frozen=True, kw_only=True):
    """A list with cursors that are ids: `data`, `first_id`, `last_id`, `has_more`.

    Attributes:
        usual: How many there are on a page unless the client says otherwise.
        after, before: Names of the parameters that hold cursors.
        order: Name of the parameter that turns the order round; "" for none.
        label: Name of the parameter that narrows the list; "" for none.
        object: Whether the list says `"object": "list"`.
    """

    kind: str
    item: str
    usual: int = 20
    after: str = "after"
    before: str = ""
    order: str = ""
    label: str = ""
    object: bool = True
    total: bool = False

    def read(self, query: Mapping[str, Sequence[str]]) -> Wanted:
        """See `Listing`."""
        order = _one(query, self.order) or "desc"
        if order not in ("asc", "desc"):
            raise BadRequest(f"{self.order!r} must be 'asc' or 'desc'.", param=self.order)
        return Wanted(
            limit=min(_number(query, "limit", self.usual, least=1), ITEMS_MAX),
            after=_one(query, self.after),
            before=_one(query, self.before),
            oldest_first=order == "asc",
            label=_one(query, self.label),
        )

    def write(self, items: Sequence[bytes], ids: Sequence[str], *, more: bool, total: int | None) -> bytes:
        """See `Listing`."""
        listed: dict[str, object] = {"object": "list"} if self.object else {}
        listed["data"] = [msgspec.Raw(item) for item in items]
        listed["first_id"], listed["last_id"] = (ids[0], ids[-1]) if ids else (None, None)
        return msgspec.json.encode(listed | {"has_more": more})


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """A list in numbered pages, `page` and `page_size`, that says how many there are in all (Mistral's)."""

    kind: str
    item: str
    usual: int = 100
    label: str = ""
    total: bool = True

    def read(self, query: Mapping[str, Sequence[str]]) -> Wanted:
        """See `Listing`."""
        size = min(_number(query, "page_size", self.usual, least=1), ITEMS_MAX)
        return Wanted(limit=size, skip=_number(query, "page", 0, least=0) * size, label=_one(query, self.label))

    def write(self, items: Sequence[bytes], ids: Sequence[str], *, more: bool, total: int | None) -> bytes:
        """See `Listing`."""
        return msgspec.json.encode({"object": "list", "data": [msgspec.Raw(item) for item in items], "total": total})


def _one(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = query.get(name) if name else None
    return (values[-1] or None) if values else None


def _number(query: Mapping[str, Sequence[str]], name: str, usual: int, *, least: int) -> int:
    text = _one(query, name)
    if text is None:
        return usual
    if not (text.isdecimal() and text.isascii() and len(text) < 10 and int(text) >= least):
        raise BadRequest(f"{name!r} must be a number from {least}.", param=name)
    return int(text)
