"""How many tokens a text may be, told from the classes of its bytes. No tokenizer, no vocabulary, no dependency.

Promises: `upper` is at least 1.3 times what the public vocabularies made of ordinary text; `typical` is within a
fifth of o200k on English and code. Both are estimates: an adversary can beat `upper` (rare emoji, noise).
What nobody can beat is the number of UTF-8 bytes: a byte-level BPE never makes more tokens of a text than it has
bytes. That is the bound, and it needs no function. Knows nothing of JSON or requests. Source: providers.md §18.
"""

from __future__ import annotations

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \t\r\n"
_DIGITS = b"0123456789"
_ASCII = bytes(range(128))
_SPACES = b" \t\r\n"

# Below this share of white space, ASCII text is base64, hex, ids or numbers: a token is then about 1.3 bytes.
_DENSE_SHARE = 20  # one part in 20 = 5 %
# Of a few words nothing can be told: "hello" has no white space either.
_DENSE_BYTES_MIN = 64


def estimates(text: bytes) -> tuple[int, int]:
    """(typical, upper) number of tokens of UTF-8 text; both rounded up, `upper` never above the number of bytes.

    At about 300 MB/s: each `translate` deletes one class, and the lengths tell how much there was of it.
    """
    size = len(text)
    if not size:
        return 0, 0
    wide, other, digits = _classes(text)
    narrow = size - wide
    dense = narrow >= _DENSE_BYTES_MIN and text.count(b" ") * _DENSE_SHARE < narrow and _dense(text, narrow)
    return _tokens(size, wide, other, digits, dense=dense)


def _classes(text: bytes) -> tuple[int, int, int]:
    """How many bytes are not ASCII, are no letter nor white space, and are digits."""
    rest = text.translate(None, _LETTERS)  # little of a text, so that the others are quickly counted in it
    wide = 0 if rest.isascii() else len(rest.translate(None, _ASCII))
    return wide, len(rest), len(rest) - len(rest.translate(None, _DIGITS))


def _tokens(size: int, wide: int, other: int, digits: int, *, dense: bool) -> tuple[int, int]:
    narrow = size - wide
    if dense:
        # Tenths of a byte per token: 13 for both, and for the non-ASCII rest 42 and 20 as below.
        return -(-narrow * 10 // 13) + -(-wide * 10 // 42), min(size, -(-narrow * 10 // 13) + -(-wide // 2))
    letters, plain = size - other, other - digits - wide
    # tokens per byte: letters 1/5.2 and 1/3.2, digits 1/2.3 and 1/1.5, other ASCII 1/2.2 and 1/1.3, non-ASCII 1/4.2
    # and 1/2.0; as millionths, so that no float is needed.
    typical = letters * 192_308 + digits * 434_783 + plain * 454_546 + wide * 238_096
    upper = letters * 312_500 + digits * 666_667 + plain * 769_231 + wide * 500_000
    return -(-typical // 1_000_000), min(size, -(-upper // 1_000_000))


class Classes:
    """The same estimates of a text that comes in slices and is not kept."""

    __slots__ = ("_blank", "_digits", "_other", "_wide", "size")

    def __init__(self) -> None:
        self.size = self._wide = self._other = self._digits = self._blank = 0

    def add(self, text: bytes) -> None:
        """Count the next slice."""
        wide, other, digits = _classes(text)
        self.size += len(text)
        self._wide += wide
        self._other += other
        self._digits += digits
        self._blank += len(text) - len(text.translate(None, _SPACES))

    def estimates(self) -> tuple[int, int]:
        """(typical, upper), as of the whole text."""
        narrow = self.size - self._wide
        dense = narrow >= _DENSE_BYTES_MIN and self._blank * _DENSE_SHARE < narrow
        return _tokens(self.size, self._wide, self._other, self._digits, dense=dense)


def _dense(text: bytes, narrow: int) -> bool:
    """Whether white space of every kind is under 5 % of the ASCII bytes."""
    return (len(text) - len(text.translate(None, _SPACES))) * _DENSE_SHARE < narrow


class Tally:
    """Typical estimate of a text that comes in pieces, in constant memory.

    Pieces are classed together some kilobytes at a time: piece by piece, rounding alone would double the count.
    """

    __slots__ = ("_pending", "_pending_bytes", "_tokens")

    _BATCH_BYTES = 4096
    _BATCH_PIECES = 256

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._tokens = 0

    def add(self, text: str) -> None:
        """Count the next piece."""
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes >= self._BATCH_BYTES or len(self._pending) >= self._BATCH_PIECES:
            self._settle()

    def so_far(self) -> int:
        """About the number of tokens, without looking at the latest pieces."""
        return self._tokens + self._pending_bytes // 4

    def tokens(self) -> int:
        """Typical number of tokens so far."""
        if self._pending:
            return self._tokens + self._estimate()
        return self._tokens

    def _settle(self) -> None:
        self._tokens += self._estimate()
        self._pending.clear()
        self._pending_bytes = 0

    def _estimate(self) -> int:
        # A lone surrogate can stand in a JSON string and in no UTF-8; it counts as the three bytes it would be.
        return estimates("".join(self._pending).encode("utf-8", "surrogatepass"))[0]
