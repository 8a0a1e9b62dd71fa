"""What every simulated conversation is made of: steps, the handshake as asked, refusals, and sound that says nothing.

Promises: pure data. Knows no protocol.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from providers.simulator.answers import Cut, Headers, Pause
from providers.simulator.faults import Faults

Frame: TypeAlias = str | bytes
_ENCODE: Final = msgspec.json.Encoder().encode


class Close(msgspec.Struct, frozen=True):
    """The provider closes here."""

    code: int
    reason: str = ""


Step: TypeAlias = Frame | Pause | Cut | Close


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A handshake."""

    provider: str
    path: str
    query: Mapping[str, list[str]] = MappingProxyType({})
    faults: Faults
    request_id: str
    now_s: int

    def one(self, name: str, otherwise: str = "") -> str:
        """A parameter's first value."""
        return self.query.get(name, [otherwise])[0]

    def number(self, name: str, otherwise: int) -> int:
        """A parameter that is a positive integer; `otherwise` for anything else."""
        text = self.one(name)
        return int(text) if text.isascii() and text.isdigit() and int(text[:9]) > 0 else otherwise

    def on(self, name: str) -> bool:
        """Whether a feature is asked for."""
        return any(value not in ("", "false") for value in self.query.get(name, ()))


class NotOpened(msgspec.Struct, frozen=True, kw_only=True):
    """The handshake is answered with an HTTP answer."""

    status: int
    headers: Headers
    body: bytes


class Conversation(Protocol):
    """One open socket. Taking a step is what makes the model go on, so whoever stops taking stops the bill.

    Attributes:
        billed: What the provider would invoice if the socket ended now; updated in place.
    """

    billed: dict[str, int]

    def opened(self) -> Iterator[Step]:
        """What is said before anything was heard."""
        ...

    def said(self, frame: Frame) -> Iterator[Step]:
        """What a message causes. What it changes at once (a cancellation) is changed by the call itself."""
        ...

    def ended(self) -> None:
        """The socket is closed."""
        ...


_STATUSES: Final[Mapping[int, str]] = MappingProxyType(
    {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
     429: "RESOURCE_EXHAUSTED"}
)  # fmt: skip


def refused(provider: str, status: int, request_id: str, message: str = "") -> NotOpened:
    """A refusal in the provider's shape (providers.md §4.2)."""
    message = message or f"The simulator refuses this socket with {status}, as it was asked to."
    body: dict[str, Any]
    if provider == "google":
        body = {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "INTERNAL")}}
    elif provider == "deepgram":
        body = {"err_code": "REFUSED", "err_msg": message, "request_id": request_id}
    elif provider == "elevenlabs":
        body = {"detail": {"status": "refused", "message": message}}
    else:
        body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    native = {"openai": "x-request-id", "deepgram": "dg-request-id", "elevenlabs": "request-id"}.get(provider)
    headers = [("content-type", "application/json"), *([(native, request_id)] if native else [])]
    if provider == "deepgram":
        headers.append(("dg-error", message))
    return NotOpened(status=status, headers=headers, body=_ENCODE(body))


def text(message: object) -> str:
    """A message as JSON text."""
    return _ENCODE(message).decode()


def read(frame: Frame) -> dict[str, Any] | None:
    """A message that is a JSON object; None for every other."""
    try:
        found = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def sound(size: int, seed: int = 0) -> str:
    """So many bytes of a quiet saw tooth, as base64."""
    return base64.b64encode(bytes((seed + at) % 7 for at in range(size))).decode()


def heard(data: object) -> bytes:
    """The sound in a base64 text; nothing for anything else."""
    if not isinstance(data, str):
        return b""
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except ValueError:
        return b""


def silent(sample: bytes) -> bool:
    """Whether nothing is to be heard: this is how the simulator knows that somebody has stopped to speak."""
    return not any(sample)
