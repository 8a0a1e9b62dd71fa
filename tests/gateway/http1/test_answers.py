"""Answers as they are read: whole by their own framing or malformed, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.answers import AnswerReader, Awaited
from gateway.http1.heads import Malformed

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe\r\nl\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "with the connection": OK + b"\r\nhello",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
}
MALFORMED = {
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "length and coding": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "other coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    "excess": OK + b"Content-Length: 2\r\n\r\nhi!",
    "a second answer": (OK + b"Content-Length: 2\r\n\r\nhi") * 2,
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}


def read(data: bytes, cuts: list[int], *, to_head: bool = False) -> tuple[object, ...]:
    """What came of it: where the reader stands, the head, the body; what is malformed comes to nothing else."""
    reader = AnswerReader()
    reader.expect(to_head=to_head)
    at = 0
    try:
        for cut in [*cuts, len(data) + 1]:
            if data[at : at + cut]:
                reader.feed(data[at : at + cut])
            at += cut
    except Malformed:
        return ("malformed",)
    head = (reader.status, dict(reader.headers)) if reader.headed else None
    return reader.awaited, head, b"".join(reader.pieces), reader.waiting_bytes, reader.keep


@given(
    data=st.sampled_from([*WHOLE.values(), *MALFORMED.values()]).flatmap(
        lambda whole: st.integers(0, len(whole)).map(lambda stop: whole[:stop]) | st.just(whole)
    )
    | st.binary(max_size=60),
    cuts=st.lists(st.integers(1, 60), max_size=30),
    to_head=st.booleans(),
)
def test_any_cut_of_the_same_bytes_is_read_alike(data: bytes, cuts: list[int], to_head: bool) -> None:
    assert read(data, cuts, to_head=to_head) == read(data, [], to_head=to_head)


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("cut", [1, 1000])
def test_what_breaks_the_rules_is_malformed(name: str, cut: int) -> None:
    assert read(MALFORMED[name], [cut] * len(MALFORMED[name])) == ("malformed",)


@pytest.mark.parametrize("name", WHOLE)
def test_every_framing_has_an_end_of_its_own(name: str) -> None:
    awaited, head, *_ = read(WHOLE[name], [])
    assert awaited is (Awaited.BODY if name == "with the connection" else Awaited.NO_MORE)
    assert head is not None


@pytest.mark.parametrize("orderly", [True, False])
def test_only_an_orderly_end_of_the_stream_ends_a_body_without_a_length(orderly: bool) -> None:
    for data, ends in ((WHOLE["with the connection"], orderly), (WHOLE["length"][:-1], False)):
        reader = AnswerReader()
        reader.expect(to_head=False)
        reader.feed(data)
        reader.end_of_stream(orderly=orderly)
        assert reader.ended is ends


def test_one_reader_reads_one_answer_after_another() -> None:
    reader = AnswerReader()
    for _ in range(3):
        reader.expect(to_head=False)
        reader.feed(WHOLE["chunked"].replace(b"5\r\nhe\r\nl", b"3\r\nhel"))
        assert (reader.ended, reader.keep, b"".join(reader.pieces)) == (True, True, b"hello")
    reader.forget()
    with pytest.raises(Malformed):
        reader.feed(OK)
