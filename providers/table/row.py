"""A row of the table of operations, and how it is written.

Knows nothing of which rows there are.
"""

from __future__ import annotations

import msgspec

from providers.shapes import Shape
from providers.vendors import VENDORS


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider can be asked to do.

    Attributes:
        name: Stable, for events and logs: "chat.completions", "messages.count_tokens", ….
        shape: Reads its requests and meters its answers.
        billable: False where the provider never charges for it; then nothing need be held.
        dialect: The error shape that its callers expect; a key of `gateway.errors`' table.
        upload_bytes_max: The longest body that the provider takes, where bodies are forwarded while they arrive: then
            the shape is an `Uploading` one. 0 where they are read whole first. Providers that share a path agree on
            which of the two it is.
    """

    name: str
    shape: Shape
    billable: bool
    dialect: str
    upload_bytes_max: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a method and path of one provider.

    Attributes:
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
) -> Row:
    """One row; what is not said is the provider's usual. `uploads` is the operation's `upload_bytes_max`."""
    operation = Operation(
        name=name,
        shape=shape,
        billable=billable,
        dialect=dialect or VENDORS[provider].dialect,
        upload_bytes_max=uploads,
    )
    return Row(method=method, path=path, provider=provider, upstream=upstream or path, operation=operation)
