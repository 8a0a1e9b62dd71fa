"""How long a sound in a file is, told from its first bytes and its size. Decodes nothing.

Promises: integers, `typical <= upper <= most`, never an exception whatever the bytes. Exact for PCM in WAV and for FLAC
that says its length; otherwise bytes tell it, by the bit rate of the first frame (MP3) or a typical one, and for `most`
by the lowest that anybody uses for speech. Assumptions, published: a provider reads the same length from a header as
stands in it, and no sound is encoded below 8 kbit/s (crafted silence can be: then the cost shows as an overrun).
Knows nothing of requests. Source: providers.md §5.3.
"""

from __future__ import annotations

import msgspec

FILE_HEAD_BYTES = 64 * 1024  # of a file, enough to know its format, and its length where that is said
_FLOOR_BYTES = 1_000  # a second, at 8 kbit/s: the practical floor of Opus, and the least that MP3 has
_FLAC_FLOOR_BYTES = 4_000  # a second of speech at 8 kHz, where the header does not say how long it is
_MP3_RATES = {  # kbit/s, by version 1 or 2, layer III
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Length(msgspec.Struct, frozen=True):
    """How long a sound may be, in milliseconds, and of how many channels as far as the header says (1 if not)."""

    typical_ms: int
    upper_ms: int
    most_ms: int
    channels: int = 1

    def times(self, factor: int) -> Length:
        """As many such sounds, one after the other."""
        return Length(self.typical_ms * factor, self.upper_ms * factor, self.most_ms * factor, self.channels)


REMOTE = Length(600_000, 3_600_000, 7_200_000)
"""A sound that the request only refers to: ten minutes, or an hour, or two. What it has beyond that is an overrun."""


def length(head: bytes, size: int) -> Length:
    """Length of a sound file of `size` bytes that begins with `head`."""
    if (wav := _wav(head)) is not None:
        rate, channels = wav
        exact = _ms(size, rate)
        return Length(exact, exact, exact, channels)
    if head[:4] == b"fLaC":
        return _flac(head, size)
    most = _ms(size, _FLOOR_BYTES)
    if (kbits := _mp3_kbits(head)) is not None:
        stated = _ms(size, kbits * 125)
        return Length(stated, max(stated, _ms(size, 4_000)), most)
    if head[:4] in (b"OggS", b"\x1aE\xdf\xa3"):  # Opus in Ogg or WebM: 24 and 16 kbit/s
        return Length(_ms(size, 3_000), _ms(size, 2_000), most)
    return Length(_ms(size, 8_000), _ms(size, 4_000), most)  # 64 and 32 kbit/s


def pcm(size: int, *, sample_rate: int, sample_bytes: int, channels: int) -> Length:
    """Length of sound without any container."""
    exact = _ms(size, max(sample_rate * sample_bytes * channels, 1))
    return Length(exact, exact, exact, channels)


def _ms(size: int, bytes_a_second: int) -> int:
    return -(-size * 1_000 // bytes_a_second)


def _wav(head: bytes) -> tuple[int, int] | None:
    """Bytes a second and channels of PCM in a WAV file, from the sampling rate and not from the redundant field."""
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        return None
    at = head.find(b"fmt ", 12, 4096)
    if at < 0 or len(head) < at + 24:
        return None
    encoding, channels = (
        int.from_bytes(head[at + 8 : at + 10], "little"),
        int.from_bytes(head[at + 10 : at + 12], "little"),
    )
    samples, bits = int.from_bytes(head[at + 12 : at + 16], "little"), int.from_bytes(head[at + 22 : at + 24], "little")
    if encoding == 0xFFFE and len(head) >= at + 34:  # extensible: the true encoding begins the GUID
        encoding = int.from_bytes(head[at + 32 : at + 34], "little")
    if encoding in (6, 7):  # A-law and µ-law
        bits = 8
    elif encoding not in (1, 3):
        return None
    if not 1 <= channels <= 64 or not 1_000 <= samples <= 768_000 or bits not in (8, 16, 24, 32, 64):
        return None
    return samples * channels * bits // 8, channels


def _flac(head: bytes, size: int) -> Length:
    """FLAC says its sampling rate and number of samples in its first block, or 0 where its writer did not know it."""
    floor = _ms(size, _FLAC_FLOOR_BYTES)
    if len(head) < 26 or head[4] & 0x7F:
        return Length(_ms(size, 40_000), floor, floor)
    fields = int.from_bytes(head[18:26], "big")
    rate, channels, samples = fields >> 44, (fields >> 41 & 7) + 1, fields & (1 << 36) - 1
    if not rate or not samples:
        return Length(_ms(size, 40_000), floor, floor, channels)
    exact = -(-samples * 1_000 // rate)
    return Length(exact, exact, exact, channels)


def _mp3_kbits(head: bytes) -> int | None:
    """Bit rate of an MP3 file's first frame, behind its ID3 tag; None where there is none that can be read."""
    at = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    frame = head[at : at + 3]
    if len(frame) < 3 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # sync, layer III
        return None
    version = 1 if frame[1] & 0x18 == 0x18 else 2
    rates = _MP3_RATES[version]
    index = frame[2] >> 4
    return rates[index] if 0 < index < len(rates) else None
