"""Requests as they are read: one meaning or none, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http1.requests import NoRequest, Reading, RequestHead, RequestReader

GET = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n"
)
OFFER = b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nhi"
SOCKET = b"GET /s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
GOOD = {"get": GET, "post": POST, "chunked": CHUNKED, "offer": OFFER}
BAD = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "list of hosts": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "other coding": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "length and coding": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
    "1.0 with coding": b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    "version 0.9": b"GET / HTTP/0.9\r\nHost: h\r\n\r\n",
    "connect": b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "socket with a body": SOCKET[:-2] + b"Content-Length: 2\r\n\r\nhi",
    "garbage": b"\x16\x03\x01\x02\x00",
    "bad chunk": CHUNKED.replace(b"2;x=y", b"z"),
    "folded": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
}


class Heard:
    """What a reader says, bodies joined; an answer is due until it is `owed` no more."""

    def __init__(self, *, owed: bool = False) -> None:
        self.said: list[object] = []
        self._owed = owed

    def begun(self) -> None:
        if self.said[-1:] != ["begun"]:  # a head that offers to upgrade is read twice
            self.said.append("begun")

    def headed(self, head: RequestHead) -> None:
        fields = tuple(head.fields)
        self.said.append((head.method, head.path, head.query, head.version, head.keep_alive, fields))

    def arrived(self, body: bytes) -> None:
        if isinstance(self.said[-1], bytes):
            self.said[-1] += body
        else:
            self.said.append(body)

    def ended(self) -> None:
        self.said.append("ended")

    def shook_hands(self, head: RequestHead, early: bytes) -> None:
        self.said.append(("socket", head.path))

    def broken(self, why: NoRequest) -> None:
        self.said.append(("broken", str(why)))

    def owes(self) -> bool:
        return self._owed


def heard(data: bytes, cuts: list[int], *, owed: bool = False) -> tuple[list[object], Reading]:
    listener = Heard(owed=owed)
    reader = RequestReader(listener)
    at = 0
    for cut in cuts:
        if data[at : at + cut]:
            reader.feed(data[at : at + cut])
        at += cut
    reader.feed(data[at:])
    return listener.said, reader.state


MESSAGES = [*GOOD.values(), *BAD.values(), SOCKET]


@given(
    data=st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=4).map(b"".join) | st.binary(max_size=60),
    cuts=st.lists(st.integers(1, 60), max_size=30),
    owed=st.booleans(),
)
@example(data=OFFER + GET, cuts=[1] * 200, owed=False)
@example(data=SOCKET + GET, cuts=[1, 8, 60], owed=False)
@example(data=CHUNKED + SOCKET, cuts=[1] * 300, owed=True)
def test_any_cut_of_the_same_bytes_is_heard_alike(data: bytes, cuts: list[int], owed: bool) -> None:
    assert heard(data, cuts, owed=owed) == heard(data, [], owed=owed)


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_one_meaning_is_broken_and_nothing_behind_it_is_read(name: str) -> None:
    said, state = heard(BAD[name] + GET, [])
    assert state is Reading.OVER
    assert said[-1][0] == "broken"  # type: ignore[index]
    assert said.count("ended") == 0


@pytest.mark.parametrize("name", GOOD)
def test_a_request_ends_where_the_next_begins(name: str) -> None:
    said, state = heard(GOOD[name] * 2, [])
    assert state is Reading.WHOLE
    assert said[: len(said) // 2] == said[len(said) // 2 :]
    assert said.count("ended") == 2


def test_a_handshake_is_one_only_where_no_answer_is_due() -> None:
    assert heard(SOCKET, [])[0] == ["begun", ("socket", b"/s")]
    assert "ended" in heard(SOCKET, [], owed=True)[0]
    assert heard(SOCKET, [], owed=True)[0][1][0] == "GET"  # type: ignore[index]


def test_the_first_piece_of_a_request_does_not_count() -> None:
    """What is bounded is how long somebody goes on who has begun."""
    reader = RequestReader(Heard())
    reader.feed(b"POST / HTTP/1.1\r\n")
    assert (reader.state, reader.bytes) == (Reading.HEAD, 0)
    reader.feed(b"Host: h\r\n")
    assert reader.bytes == 9
    reader.feed(b"Content-Length: 1\r\n\r\n")
    assert reader.state is Reading.BODY
    reader.feed(b"x")
    assert reader.state is Reading.WHOLE
    reader.close()
    reader.feed(b"more")
    assert reader.state is Reading.OVER
