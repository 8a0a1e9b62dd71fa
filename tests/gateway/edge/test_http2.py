"""What a gRPC client gets to see of an HTTP/1.1 gateway: a clear word, once."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge import http2
from tests.harness import Running, running


@pytest_asyncio.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


def ask(url: str, key: str, streamed: bool) -> Any:
    """One call of xAI's own SDK; the error that it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SDK's own making
        import xai_sdk
        from xai_sdk.chat import user

    client = xai_sdk.Client(api_key=key, api_host=url.removeprefix("http://"), use_insecure_channel=True)
    chat = client.chat.create(model="grok-4")
    chat.append(user("hi"))
    with pytest.raises(grpc.RpcError) as caught:
        list(chat.stream()) if streamed else chat.sample()
    client.close()
    return caught.value


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_xai_s_own_sdk_is_told_so(farthing: Running, streamed: bool) -> None:
    """It raises UNIMPLEMENTED with the reason and what to use instead, and does not try again."""
    key = await farthing.mint(max_spend_usd="1")
    error = await asyncio.to_thread(ask, farthing.url, key["secret"], streamed)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.details() == http2.MESSAGE
    assert not farthing.upstream.requests
    assert await farthing.events() == []


HEADERS = b"\x00\x00\x01\x01\x04\x00\x00\x00\x07\x82"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00ABCDEFGH"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    """Nothing is raised, and the pieces do not matter."""
    whole = http2.Refuser()
    expected = whole.feed(data)
    pieces, at, out = http2.Refuser(), 0, b""
    for cut in [*sorted(cuts), len(data)]:
        if not pieces.broken:
            out += pieces.feed(data[at:cut])
        at = max(at, cut)
    assert (out, pieces.broken) == (expected, whole.broken)


def test_each_request_is_answered_on_its_stream() -> None:
    """Pings and settings are acknowledged, acknowledgements are not; a frame that is too long ends it."""
    refuser = http2.Refuser()
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    acknowledged = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
    assert refuser.feed(settings + acknowledged) == acknowledged
    assert refuser.feed(PING) == b"\x00\x00\x08\x06\x01\x00\x00\x00\x00ABCDEFGH"
    answer = refuser.feed(HEADERS)
    assert answer[3:9] == b"\x01\x05\x00\x00\x00\x07"
    assert http2.MESSAGE.encode() in answer
    refuser.feed(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")
    assert refuser.broken
