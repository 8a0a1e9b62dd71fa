"""How long sounds are, by files that are made here and files that lie."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.simulator import sounds
from providers.sound import Length, length, pcm


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_wav_is_exact(rate: int, channels: int) -> None:
    """To the header's own 44 bytes."""
    body = sounds.wav(12.5, sample_rate=rate, channels=channels)
    found = length(body[:4096], len(body))
    assert found.typical_ms == found.upper_ms == found.most_ms
    assert 12_500 <= found.most_ms <= 12_504
    assert found.channels == channels


def test_wav_with_more_in_front_and_other_encodings() -> None:
    """The format may stand behind other blocks; A-law is a byte a sample; the extensible form names PCM in its GUID."""
    body = sounds.wav(10, sample_rate=16_000)
    junk = body[:12] + b"JUNK" + struct.pack("<I", 28) + bytes(28) + body[12:]
    assert length(junk[:4096], len(junk)).most_ms == pytest.approx(10_000, abs=4)
    law = body[:20] + struct.pack("<HHIIHH", 6, 1, 8_000, 8_000, 1, 8) + body[36:44]
    assert length(law, 80_000).most_ms == 10_000
    extensible = body[:16] + struct.pack("<I", 40) + struct.pack("<HHIIHHHHI", 0xFFFE, 2, 48_000, 0, 4, 16, 22, 16, 3)
    extensible += struct.pack("<H", 1) + bytes(14)
    assert length(extensible, 1_920_000) == Length(10_000, 10_000, 10_000, 2)


def test_wav_that_is_not_pcm_is_bounded_by_its_bytes() -> None:
    """GSM and others: a header's rate would be a guess."""
    body = sounds.wav(10)
    gsm = body[:20] + struct.pack("<H", 49) + body[22:]
    assert length(gsm, len(gsm)).most_ms == len(gsm)


def test_mp3_is_told_by_its_first_frame() -> None:
    """128 kbit/s typically, and at most what the lowest rate would make of it; behind a tag too."""
    body = sounds.mp3(60)
    found = length(body[:4096], len(body))
    assert found.typical_ms == pytest.approx(60_000, rel=0.01)
    assert found.upper_ms == -(-len(body) * 1_000 // 4_000)
    assert found.most_ms == len(body)
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
    assert length(tag + body[:4096], len(body)).typical_ms == found.typical_ms


def test_flac_says_its_length() -> None:
    """In its first block, or nowhere."""
    block = b"fLaC\x00\x00\x00\x22" + struct.pack(">HH", 4096, 4096) + bytes(6)
    stated = (16_000 << 44) | (1 << 41) | (15 << 36) | 160_000
    assert length(block + stated.to_bytes(8, "big"), 50_000) == Length(10_000, 10_000, 10_000, 2)
    unstated = length(block + (16_000 << 44).to_bytes(8, "big"), 40_000)
    assert (unstated.typical_ms, unstated.most_ms) == (1_000, 10_000)


@pytest.mark.parametrize("head", [b"OggS", b"\x1aE\xdf\xa3", b"\x00\x00\x00\x20ftypM4A ", b"", b"junk"])
def test_everything_else_is_at_least_8_kilobits_a_second(head: bytes) -> None:
    """Opus, AAC and what is not known."""
    found = length(head, 1_000_000)
    assert found.most_ms == 1_000_000
    assert found.typical_ms < found.upper_ms <= 500_000


def test_samples_without_a_container() -> None:
    assert pcm(64_000, sample_rate=16_000, sample_bytes=2, channels=2) == Length(1_000, 1_000, 1_000, 2)


HEADS = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda rest: b"RIFF\0\0\0\0WAVEfmt " + rest, st.binary(max_size=60)),
    st.builds(lambda rest: b"fLaC" + rest, st.binary(max_size=60)),
    st.builds(lambda rest: b"ID3" + rest, st.binary(max_size=60)),
    st.builds(lambda rest: b"\xff\xfb" + rest, st.binary(max_size=60)),
)


@given(HEADS, st.integers(0, 1 << 40))
def test_no_bytes_raise_and_the_bounds_are_in_order(head: bytes, size: int) -> None:
    found = length(head, size)
    assert 0 <= found.typical_ms <= found.upper_ms <= found.most_ms
    assert 1 <= found.channels <= 64
