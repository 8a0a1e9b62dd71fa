"""The grammar of fields, once for both edges."""

from __future__ import annotations

import pytest

from gateway.http1.chunks import LAST, chunk, size_line
from gateway.http1.fields import are_values, is_chunked, is_token, length_of
from gateway.http1.heads import Malformed, field_start


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (b"0", 0), (b" 12\t", 12), (b"007", 7), (b"", None), (b"+1", None), (b"-1", None), (b"1, 1", None),
        (b"0x1", None), (b"1_0", None), ("\u0661".encode(), None), (b"9" * 20, None),
    ],
)  # fmt: skip
def test_a_length_is_digits_and_nothing_else(value: bytes, length: int | None) -> None:
    assert length_of(value) == length


def test_the_only_coding_is_chunked() -> None:
    assert is_chunked(b" Chunked\t")
    assert not any(map(is_chunked, (b"", b"gzip, chunked", b"chunked, chunked", b"\x0bchunked", b"xchunked")))


def test_a_name_is_a_token_and_a_value_ends_no_line() -> None:
    assert is_token(b"x-a_b!")
    assert not any(map(is_token, (b"", b"a b", b"a:", b"a\r", "ä".encode(), b"(a)")))
    assert are_values([b"", b"a\tb \xff"])
    assert not any(are_values([b"a", bad]) for bad in (b"a\r\nb: c", b"\n", b"\0", b"\x7f"))
    assert field_start(b"a") == b"a: "
    with pytest.raises(Malformed):
        field_start(b"a b")


def test_a_chunk_of_nothing_is_nothing_for_it_would_be_the_last() -> None:
    assert chunk(b"") == b""
    assert chunk(b"x" * 17) == size_line(17) + b"x" * 17 + b"\r\n" == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert LAST == b"0\r\n\r\n"
