"""A row of the table of operations, and how it is written.

Knows nothing of which rows there are. What ownership needs of a row is explained in `ledger.objects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from providers.contract.shapes import Shape
from providers.contract.sockets import SOCKET, SocketShape
from providers.ground.vendors import VENDORS
from providers.stored.batches import Batch
from providers.stored.free import FREE_READ
from providers.stored.listing import Listing
from providers.stored.objects import Makes, References, Refers

NOBODY: Mapping[str, Refers] = MappingProxyType({})


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider can be asked to do.

    Attributes:
        name: Stable, for events and logs: "chat.completions", "messages.count_tokens", ….
        shape: Reads its requests and meters its answers.
        billable: False where the provider never charges for it; then nothing need be held.
        dialect: The error shape that its callers expect; a key of `gateway.problems`' table.
        upload_bytes_max: The longest body that the provider takes, where bodies are forwarded while they arrive: then
            the shape is an `Uploading` one. 0 where they are read whole first. Providers that share a path agree on
            which of the two it is.
        of: The kind of the object that the path's `{id}` names: only its owner gets through. "" for none.
        everybodys: Ids of that kind that nobody here has made are everybody's (a provider's own voices).
        forgets: It deletes that object.
        makes: What its answer makes.
        names: Members of its body that name objects, which must be the caller's own.
        references: Finds those; None where there are none.
        lists: It lists the caller's own objects; it is answered out of them, see `providers.stored.listing`.
        batch: It makes, or is about, a batch.
        socket: What it speaks over a WebSocket; None for everything that is a request and an answer.
        here: The gateway answers it itself, with nothing and to anybody: nothing is forwarded, held or recorded.
    """

    name: str
    shape: Shape
    billable: bool
    dialect: str
    upload_bytes_max: int = 0
    of: str = ""
    everybodys: bool = False
    forgets: bool = False
    makes: tuple[Makes, ...] = ()
    names: Mapping[str, Refers] = NOBODY
    references: References | None = None
    lists: Listing | None = None
    batch: Batch | None = None
    socket: SocketShape | None = None
    here: bool = False

    @property
    def lists_models(self) -> bool:
        """Its answer lists models, or is one: a caller sees what he may use."""
        return self.name == "models"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a method and path of one provider.

    Attributes:
        method: Of HTTP, or `providers.contract.sockets.SOCKET`.
        path: As clients send it, with exactly one version in front where the API has versions. A segment is literal,
            `{name}`, or `{name}:verb`.
        upstream: The path to send; "" for the same.
    """

    method: str
    path: str
    provider: str
    upstream: str
    operation: Operation


def row(
    method: str,
    path: str,
    provider: str,
    name: str,
    shape: Shape,
    *,
    billable: bool = True,
    dialect: str = "",
    upstream: str = "",
    uploads: int = 0,
    of: str = "",
    everybodys: bool = False,
    forgets: bool = False,
    makes: tuple[Makes, ...] = (),
    names: Mapping[str, Refers] = NOBODY,
    lists: Listing | None = None,
    batch: Batch | None = None,
    socket: SocketShape | None = None,
    here: bool = False,
) -> Row:
    """One row; what is not said is the provider's usual. `uploads` is the operation's `upload_bytes_max`."""
    operation = Operation(
        name=name,
        shape=shape,
        billable=billable,
        dialect=dialect or VENDORS[provider].dialect,
        upload_bytes_max=uploads,
        of=of,
        everybodys=everybodys,
        forgets=forgets,
        makes=makes,
        names=names,
        references=References(names) if names else None,
        lists=lists,
        batch=batch,
        socket=socket,
        here=here,
    )
    return Row(method=method, path=path, provider=provider, upstream=upstream or path, operation=operation)


def socket(path: str, provider: str, name: str, shape: SocketShape, *, of: str = "") -> Row:
    """The row of a WebSocket. `of` is the kind of an object that is everybody's.

    Over HTTP its path has no body to read: the handshake is a GET.
    """
    return row(SOCKET, path, provider, name, FREE_READ, socket=shape, of=of, everybodys=bool(of))
