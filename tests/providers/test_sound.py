"""How long sounds are, by files that are made here and files that lie."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.bounding.sound import Length, Mp3, length, pcm
from providers.simulator import sounds


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
    extensible = (
        body[:16] + struct.pack("<I", 40) + struct.pack("<HHIIHHHHI", 0xFFFE, 2, 48_000, 192_000, 4, 16, 22, 16, 3)
    )
    extensible += struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71") + b"data" + bytes(4)
    assert length(extensible, 1_920_000) == Length(10_000, 10_000, 10_000, 2, sure=True)


def test_wav_that_is_not_pcm_is_bounded_by_its_bytes() -> None:
    """GSM and others: a header's rate would be a guess."""
    body = sounds.wav(10)
    gsm = body[:20] + struct.pack("<H", 49) + body[22:]
    assert length(gsm, len(gsm)).most_ms == len(gsm)


def _format(
    *, rate: int = 768_000, encoding: int = 1, channels: int = 2, samples: int = 96_000, bits: int = 32
) -> bytes:
    fields = struct.pack("<HHIIHH", encoding, channels, samples, rate, channels * bits // 8, bits)
    return b"fmt " + struct.pack("<I", len(fields)) + fields


def _wav(*chunks: bytes, sound: bytes = bytes(1000), says: int | None = None) -> bytes:
    rest = b"WAVE" + b"".join(chunks) + b"data" + struct.pack("<I", len(sound) if says is None else says) + sound
    return b"RIFF" + struct.pack("<I", len(rest)) + rest


TRUE = _format(rate=16_000, channels=1, samples=8_000, bits=16)
LIST = b"LIST" + struct.pack("<I", 24) + _format()
LYING = {
    "a decoy in a list": _wav(LIST, TRUE),
    "a decoy in a list of odd length": _wav(b"LIST" + struct.pack("<I", 25) + b"x" + _format() + b"\0", TRUE),
    "a decoy that padding hides": _wav(TRUE, b"LIST\x01\0\0\0x" + _format()),
    "two formats": _wav(_format(), TRUE),
    "two formats, the other way round": _wav(TRUE, _format()),
    "a rate that nothing has": _wav(_format(rate=192_000 * 8 * 2, channels=8, samples=192_000, bits=16)),
    "a rate beside the sampling rate": _wav(_format(rate=16_000)),
    "frames of another size": _wav(TRUE[:20] + b"\x08\0" + TRUE[22:]),
    "ADPCM": _wav(_format(rate=16_000, encoding=2, channels=1, samples=8_000, bits=16)),
    "MP3 that says so": _wav(_format(rate=16_000, encoding=0x55, channels=1, samples=8_000, bits=16)),
    "MP3 that says that it is PCM": _wav(_format(), sound=sounds.mp3(1)),
    "Opus that says that it is PCM": _wav(_format(), sound=b"OggS" + bytes(1000)),
    "extensible, of something else": _wav(_format(encoding=0xFFFE)),
    "a little sound in front of much": _wav(_format(), says=10),
    "no sound in the beginning": _wav(_format(), b"junk" + struct.pack("<I", 100_000) + bytes(100_000)),
    "no format": _wav(),
}


@pytest.mark.parametrize("body", LYING.values(), ids=LYING.keys())
def test_a_wav_that_can_be_read_in_two_ways_is_as_long_as_its_bytes(body: bytes) -> None:
    """Whatever a header says: never less than 8 kbit/s make of the file, and that is billed if nobody says better."""
    found = length(body[:65_536], len(body))
    assert not found.sure
    assert found.most_ms == found.charged_ms == len(body)


def test_mp3_frames_are_counted_as_they_pass() -> None:
    """In pieces of any size, behind a tag, with a first frame that promises another rate than the rest has."""
    body = sounds.mp3(10)
    slow = b"\xff\xf3\x14\xc4" + bytes(20)  # 8 kbit/s at 24 kHz: 24 bytes, 24 ms
    for content, expected_ms in (
        (body, 10_005),
        (b"ID3\x04\0\0\0\0\x02\x01" + bytes(257) + body, 10_005),
        (body[:417] + slow * 1_000, 24_027),
        (body + b"TAG" + bytes(125), 10_133),
    ):
        for pieces in (1, 100, 1 << 20):
            counted = Mp3()
            for start in range(0, len(content), pieces):
                counted.feed(content[start : start + pieces])
            found = counted.length()
            assert found is not None
            assert found.sure
            assert found.charged_ms == pytest.approx(expected_ms, abs=4)


@pytest.mark.parametrize(
    "body", [b"", b"\xff" * 100_000, sounds.wav(1), b"OggS" + bytes(1000), b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100)]
)
def test_what_is_no_mp3_has_no_frames(body: bytes) -> None:
    """And looking for them ends soon."""
    counted = Mp3()
    counted.feed(body)
    assert counted.length() is None


def test_mp3_is_told_by_its_first_frame() -> None:
    """128 kbit/s typically, and at most what the lowest rate would make of it; behind a tag too."""
    body = sounds.mp3(60)
    found = length(body[:4096], len(body))
    assert found.typical_ms == pytest.approx(60_000, rel=0.01)
    assert found.upper_ms == -(-len(body) * 1_000 // 4_000)
    assert found.most_ms == len(body)
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
    assert length(tag + body[:4096], len(body)).typical_ms == found.typical_ms


def flac(samples: int, rate: int = 16_000) -> bytes:
    block = b"fLaC\x00\x00\x00\x22" + struct.pack(">HH", 4096, 4096) + bytes(6)
    return block + ((rate << 44) | (1 << 41) | (15 << 36) | samples).to_bytes(8, "big")


def test_flac_says_its_length_and_is_not_believed_alone() -> None:
    """It is the guess; but readers go on beyond it, so the bytes are what is soundly held, and billed if need be."""
    assert length(flac(160_000), 50_000) == Length(10_000, 10_000, 12_500, 2)
    assert length(flac(160_000), 50_000).charged_ms == 12_500
    unstated = length(flac(0), 40_000)
    assert (unstated.typical_ms, unstated.most_ms) == (1_000, 10_000)
    lying = length(flac(16_000), 7_200_000)  # half an hour that says that it is a second
    assert (lying.typical_ms, lying.upper_ms, lying.charged_ms) == (180_000, 1_800_000, 1_800_000)


@pytest.mark.parametrize("head", [b"OggS", b"\x1aE\xdf\xa3", b"\x00\x00\x00\x20ftypM4A ", b"", b"junk"])
def test_everything_else_is_at_least_8_kilobits_a_second(head: bytes) -> None:
    """Opus, AAC and what is not known."""
    found = length(head, 1_000_000)
    assert found.most_ms == 1_000_000
    assert found.typical_ms < found.upper_ms <= 500_000


def test_samples_without_a_container() -> None:
    assert pcm(64_000, sample_rate=16_000, sample_bytes=2, channels=2) == Length(1_000, 1_000, 1_000, 2, sure=True)


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
