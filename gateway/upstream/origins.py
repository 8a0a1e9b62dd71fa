"""Where providers are, and how they are reached: origins, the system's trust, and what a connection tells of itself."""

from __future__ import annotations

import functools
import re
import select
import ssl
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

_KEEP_ALIVE_HINT = re.compile(r"timeout\s*=\s*(\d{1,9})", re.IGNORECASE)
_HINT_MARGIN_S = 1.0  # by how much a connection is given up before the provider said it would close it


class Origin(msgspec.Struct, frozen=True):
    """A provider's scheme, host and port.

    Attributes:
        host: As the resolver and the certificate know it.
        name: As a request's Host says it: with the port, unless that goes without saying.
    """

    secure: bool
    host: str
    port: int
    name: str

    @classmethod
    def of(cls, text: str) -> Origin:
        """Raises ValueError if this is no origin."""
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an origin")
        secure = parts.scheme == "https"
        usual = 443 if secure else 80
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
        name = f"[{host}]" if ":" in host else host
        if parts.port not in (None, usual):
            name = f"{name}:{parts.port}"
        return cls(secure, host, parts.port or usual, name)


def patience_s(hint: str | None, otherwise_s: float) -> float:
    """How long an idle connection is kept whose provider has said this of it (Keep-Alive)."""
    if hint is not None and (found := _KEEP_ALIVE_HINT.search(hint)) is not None:
        return min(otherwise_s, float(found[1]) - _HINT_MARGIN_S)
    return otherwise_s


class Readable(Protocol):
    """A socket, as far as it is looked into."""

    def fileno(self) -> int:
        """Its number."""
        ...


def is_silent(socket: Readable | None) -> bool:
    """Whether a socket has nothing to read: no end of the stream that the loop has not come to yet."""
    if socket is None or not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return not poll.poll(0)


def said_farewell(secure: ssl.SSLObject | None) -> bool:
    """Whether a stream was ended by the provider itself: over TLS, anybody on the way could have cut it."""
    if secure is None:
        return True
    try:
        return not secure.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


@functools.cache
def trusting() -> ssl.SSLContext:
    """The system's trust: certificates and host names are verified."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
