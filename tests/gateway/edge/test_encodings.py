"""Compressed requests: decoded within bounds, forwarded plain, and nothing in between."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.encodings import decoded, encoding_of
from gateway.problems import CallError
from tests.harness import Running

CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi " * 400}]}
MB = 1024 * 1024


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _streamed_zstd(data: bytes) -> bytes:
    """Without the size in front, with a checksum behind, in several blocks, as clients stream it."""
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    pieces = [packer.compress(data[:7]), packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), packer.compress(data[7:])]
    return b"".join(pieces) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "gzip in two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "streamed zstd": ("ZSTD", _streamed_zstd),
    "zstd in two frames": ("zstd", lambda data: zstandard.compress(data[:9]) + _streamed_zstd(data[9:])),
}


@pytest.mark.parametrize("how", PACKERS)
async def test_a_compressed_request_is_served(farthing: Running, how: str) -> None:
    """The provider gets the plain body and no word of its encoding; a mint works the same."""
    encoding, pack = PACKERS[how]
    key = await farthing.mint(max_spend_usd="1")
    plain = json.dumps(CHAT).encode()
    status, _, answer = await farthing.call(
        key["secret"], pack(plain), headers={"content-encoding": encoding, "content-type": "application/json"}
    )
    assert status == 200, answer
    (seen,) = farthing.upstream.requests
    assert seen.body == plain
    assert (seen.header("content-encoding"), seen.header("content-length")) == (None, str(len(plain)))
    (event,) = await farthing.events(key_id=key["id"])
    assert event["status"] == "settled"


async def test_a_key_is_minted_from_a_compressed_body(farthing: Running) -> None:
    """The management API reads the same encodings, within its own bound."""
    body = gzip.compress(b'{"name": "a", "max_spend_usd": "1"}')
    master = {"authorization": "Bearer master-key-of-the-tests-0123456789", "content-encoding": "gzip"}
    async with farthing.http.post(farthing.url + "/v1/keys", data=body, headers=master) as answer:
        key = await answer.json()
    assert (answer.status, key["name"], key["max_spend_micros"]) == (201, "a", 1_000_000)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=3000), repeat=st.integers(1, 40), how=st.sampled_from(sorted(PACKERS)))
def test_what_was_packed_comes_out(data: bytes, repeat: int, how: str) -> None:
    """And what is cut anywhere, or has something behind its end, is refused and not shortened."""
    encoding, pack = PACKERS[how]
    plain = data * repeat
    packed = pack(plain)
    name = encoding_of(encoding)
    assert asyncio.run(decoded(packed, name, MB)) == plain
    boundary = {len(gzip.compress(plain[:9])), len(zstandard.compress(plain[:9]))} if "two" in how else set()
    for broken in (packed[:-1], packed[: len(packed) // 2], packed + b"junk"):
        if len(broken) in boundary or not broken:
            continue
        with pytest.raises(CallError) as caught:
            asyncio.run(decoded(broken, name, MB))
        assert caught.value.status == 400


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, zstandard.compress, _streamed_zstd])
async def test_nothing_grows_beyond_its_bounds(pack: Callable[[bytes], bytes]) -> None:
    """Neither above the size of a plain body, nor by more than a text does."""
    encoding = {gzip.compress: "gzip", zlib.compress: "deflate"}.get(pack, "zstd")
    with pytest.raises(CallError) as caught:
        await decoded(pack(b"a" * (2 * MB)), encoding, 32 * MB)
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    noise = bytes((7 * at * at + at // 3) % 251 for at in range(50_000))
    with pytest.raises(CallError) as caught:
        await decoded(pack(noise * 3), encoding, 100_000)
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")
    assert await decoded(pack(b"a" * MB), encoding, 32 * MB) == b"a" * MB


async def test_a_window_as_large_as_a_machine_is_refused() -> None:
    """zstd may ask for any memory; web clients may not (RFC 9659)."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(CallError) as caught:
        await decoded(packer.compress(b"abc" * 1000) + packer.flush(), "zstd", MB)
    assert caught.value.status == 400


async def test_blocks_and_members_without_end_are_refused() -> None:
    """Each costs time, whatever is in it."""
    with pytest.raises(CallError):
        await decoded(gzip.compress(b"") * 100, "gzip", MB)
    frame = zstandard.ZstdCompressor().compressobj()
    head = frame.compress(b"x") + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with pytest.raises(CallError):
        await decoded(head + b"\0\0\0" * 200_000 + b"\1\0\0", "zstd", MB)


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, zstd", "x", "gzip;q=1"])
def test_other_encodings_are_415(encoding: str) -> None:
    """And say what is taken."""
    with pytest.raises(CallError) as caught:
        encoding_of(encoding)
    assert (caught.value.status, caught.value.code) == (415, "encoding_not_supported")
    assert "gzip" in caught.value.message
