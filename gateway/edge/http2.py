"""A word to clients that speak HTTP/2 from the first byte, as gRPC's do: that nobody here understands them.

Promises: every request on such a connection is answered at once with status 505 and, for gRPC, UNIMPLEMENTED and the
reason: an error that its users read and that no client repeats. Nothing of a request is read but the number of its
stream. Sans I/O, in bounded memory. Source: RFC 9113 §§4 and 6, RFC 7541 §6.2.2, gRPC's PROTOCOL-HTTP2.
"""

from __future__ import annotations

from providers.ground.vendors import VENDORS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MESSAGE = (
    f"Farthing is an HTTP/1.1 gateway and serves no gRPC: "
    f"{'; '.join(vendor.grpc for vendor in VENDORS.values() if vendor.grpc)}."
)

_FRAME_BYTES_MAX = 16_384  # what a peer may send unless told otherwise
_HEAD_BYTES = 9
_BYTES_MAX = 256 * 1024  # in all: a client that was refused has no more to say, and every ping is answered
_HEADERS, _SETTINGS, _PING = 1, 4, 6
_ACK = 0x1
_END_STREAM_AND_HEADERS = 0x5
_UNIMPLEMENTED = "12"


class Refuser:
    """One connection. Feed it what comes after the preface; what it returns is to be sent."""

    __slots__ = ("_held", "_left", "broken")

    def __init__(self) -> None:
        self._held = b""
        self._left = _BYTES_MAX
        self.broken = False  # the client breaks the rules: close

    def feed(self, data: bytes) -> bytes:
        """The answer to these bytes; empty where there is none."""
        self._left -= len(data)
        if self._left < 0:
            self.broken = True
            return b""
        held = self._held + data
        out = b""
        at = 0
        while len(held) - at >= _HEAD_BYTES:
            length = int.from_bytes(held[at : at + 3], "big")
            if length > _FRAME_BYTES_MAX:
                self.broken = True
                return out
            if len(held) - at < _HEAD_BYTES + length:
                break
            kind, flags = held[at + 3], held[at + 4]
            stream = int.from_bytes(held[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            payload = held[at + _HEAD_BYTES : at + _HEAD_BYTES + length]
            at += _HEAD_BYTES + length
            if kind == _HEADERS:
                out += _frame(_HEADERS, _END_STREAM_AND_HEADERS, stream, _ANSWER)
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                out += _frame(kind, _ACK, 0, payload if kind == _PING else b"")
        self._held = held[at:]
        return out


def greeting() -> bytes:
    """What the server's side begins with: settings, none of them changed."""
    return _frame(_SETTINGS, 0, 0, b"")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    """A string as HPACK has it, not compressed: its length in an integer of 7 bits and more."""
    octets = text.encode()
    if len(octets) < 127:
        return bytes((len(octets),)) + octets
    rest, length = len(octets) - 127, b"\x7f"
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + octets


_ANSWER = (
    b"\x08" + _text("505")  # :status, by its number in the static table; never indexed, like all that follows
    + b"\x0f\x10" + _text("application/grpc")  # content-type
    + b"\x00" + _text("grpc-status") + _text(_UNIMPLEMENTED)
    + b"\x00" + _text("grpc-message") + _text(MESSAGE)
)  # fmt: skip
