"""How long a sound in a file is, told from its bytes and its size. Decodes nothing.

Promises: integers, `typical <= upper <= most`, never an exception whatever the bytes; a file that states its own length
is not believed. A length is `sure` where no reader can make more of the bytes: PCM in a WAV file whose chunks, walked
in order, say one thing, at a rate that sound has; and an MP3 whose frames were all counted as they passed. Otherwise
bytes tell it, by a typical bit rate, and for `most` by the lowest that anybody uses for speech.
Assumptions, published: a provider tells a file's format by its content, and no sound is encoded below 8 kbit/s (crafted
silence can be: then the cost shows as an overrun). Knows nothing of requests. Source: providers.md §5.3.
"""

from __future__ import annotations

import msgspec

FILE_HEAD_BYTES = 64 * 1024  # of a file, enough to know its format, and its length where that is said
_FLOOR_BYTES = 1_000  # a second, at 8 kbit/s: the practical floor of Opus, and the least that MP3 has
_CEILING_BYTES = 1_536_000  # a second, of two channels at 192 kHz and 32 bits: whoever claims more is not believed
_FLAC_FLOOR_BYTES = 4_000  # a second of speech at 8 kHz, where the header does not say how long it is
_FLAC_BESIDE_BYTES = 4 << 20  # pictures and tags
_MP3_RATES = {  # kbit/s, by version 1 or 2, layer III
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Length(msgspec.Struct, frozen=True):
    """How long a sound may be, in milliseconds, and of how many channels as far as the header says (1 if not).

    `sure` says that it cannot be longer, whoever reads it.
    """

    typical_ms: int
    upper_ms: int
    most_ms: int
    channels: int = 1
    sure: bool = False

    @property
    def charged_ms(self) -> int:
        """What is billed where the answer does not say how long it was: never less than it can have been."""
        return self.typical_ms if self.sure else self.most_ms

    def times(self, factor: int) -> Length:
        """As many such sounds, one after the other."""
        return Length(self.typical_ms * factor, self.upper_ms * factor, self.most_ms * factor, self.channels, self.sure)


REMOTE = Length(600_000, 3_600_000, 7_200_000)
"""A sound that the request only refers to: ten minutes, or an hour, or two. What it has beyond that is an overrun."""


def length(head: bytes, size: int) -> Length:
    """Length of a sound file of `size` bytes that begins with `head`."""
    if (wav := pcm_in_wav(head, size)) is not None:
        rate, channels = wav
        exact = _ms(size, rate)
        return Length(exact, exact, exact, channels, sure=True)
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
    return Length(exact, exact, exact, channels, sure=True)


_CONTAINERS = (
    b"RIFF",
    b"RF64",
    b"OggS",
    b"fLaC",
    b"ID3",
    b"\x1aE\xdf\xa3",
    b"FORM",
    b"#!AMR",
    b"caff",
    b".snd",
    b"ADIF",
)


def has_container(head: bytes) -> bool:
    """Whether a file begins as one that says itself what it holds, compressed perhaps: it is no bare PCM then."""
    return head.startswith(_CONTAINERS) or head[4:8] == b"ftyp" or _is_frame(head)


def _is_frame(data: bytes) -> bool:
    """Whether compressed sound could begin here: the sync of MPEG audio, AAC included."""
    return len(data) >= 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] != 0xFF


def _ms(size: int, bytes_a_second: int) -> int:
    return -(-size * 1_000 // bytes_a_second)


def pcm_in_wav(head: bytes, size: int) -> tuple[int, int] | None:
    """Bytes a second and channels of PCM in a WAV file of `size` bytes; None for everything that could be read twice.

    The chunks are walked as every reader does. `fmt ` must stand once in front of the sound, also for readers that do
    not skip the padding of odd chunks, or that search for it; and the sound must be what the file holds.
    """
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        return None
    found: tuple[int, int] | None = None
    at = 12
    while at + 8 <= len(head):
        name, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            rest = size - at
            # A writer that cannot go back leaves the length open. Of several pieces of sound one may be hidden.
            whole = length in (0, 0xFFFF_FFFF) or 10 * length >= 9 * rest
            hidden = head.count(b"fmt ", 0, at) != 1 or _is_frame(head[at:]) or head[at:].startswith(_CONTAINERS)
            return found if whole and not hidden else None
        if name == b"fmt ":
            found = _pcm_format(head[at : at + length]) if length <= 64 else None
            if found is None:
                return None
        at += length + (length & 1)
    return None


_PCM_GUID = bytes.fromhex("000000001000800000aa00389b71")


def _pcm_format(fields: bytes) -> tuple[int, int] | None:
    """Bytes a second and channels that a WAV file's format says; None where it is not PCM or contradicts itself."""
    if len(fields) < 16:
        return None
    encoding, channels = int.from_bytes(fields[:2], "little"), int.from_bytes(fields[2:4], "little")
    samples, rate = int.from_bytes(fields[4:8], "little"), int.from_bytes(fields[8:12], "little")
    frame, bits = int.from_bytes(fields[12:14], "little"), int.from_bytes(fields[14:16], "little")
    if encoding == 0xFFFE and fields[26:40] == _PCM_GUID:  # extensible: the true encoding begins the GUID
        encoding = int.from_bytes(fields[24:26], "little")
    if encoding not in (1, 3, 6, 7) or bits not in ((8,) if encoding in (6, 7) else (8, 16, 24, 32, 64)):
        return None
    if not 1 <= channels <= 64 or frame != channels * bits // 8 or rate != samples * frame:
        return None
    return (rate, channels) if 4_000 <= samples <= 192_000 and rate <= _CEILING_BYTES else None


def _flac(head: bytes, size: int) -> Length:
    """FLAC says its sampling rate and number of samples in its first block, or 0 where its writer did not know it.

    Readers go on beyond that number, so it is a guess; and none where the bytes are more than its samples would be if
    they were not compressed at all.
    """
    floor = _ms(size, _FLAC_FLOOR_BYTES)
    if len(head) < 26 or head[4] & 0x7F:
        return Length(_ms(size, 40_000), floor, floor)
    fields = int.from_bytes(head[18:26], "big")
    rate, channels, samples = fields >> 44, (fields >> 41 & 7) + 1, fields & (1 << 36) - 1
    stated = -(-samples * 1_000 // rate) if rate else 0
    if stated < _ms(max(size - _FLAC_BESIDE_BYTES, 0), max(rate * channels * (((fields >> 36 & 31) + 8) // 8), 1)):
        stated = 0
    if not stated:
        return Length(_ms(size, 40_000), floor, floor, channels)
    return Length(stated, stated, max(stated, floor), channels)


def _mp3_kbits(head: bytes) -> int | None:
    """Bit rate of an MP3 file's first frame, behind its ID3 tag; None where there is none that can be read."""
    at = _tag_bytes(head)
    frame = _mp3_frame(head[at : at + 4])
    return frame[0] * 8 * frame[2] // (frame[1] * 1_000) if frame is not None else None


def _tag_bytes(head: bytes) -> int:
    """How long the ID3 tag in front of an MP3 is."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _mp3_frame(header: bytes) -> tuple[int, int, int] | None:
    """Bytes, samples and sampling rate of the frame of layer III that begins so; None where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2 or header[1] & 0x18 == 0x08:
        return None
    first = header[1] & 0x18 == 0x18
    index, which = header[2] >> 4, header[2] >> 2 & 3
    if not 0 < index < 15 or which == 3:
        return None
    rate = (44_100, 48_000, 32_000)[which] >> (0 if first else 1 if header[1] & 0x10 else 2)
    samples = 1_152 if first else 576
    return samples * 125 * _MP3_RATES[1 if first else 2][index] // rate + (header[2] >> 1 & 1), samples, rate


class Mp3:
    """Adds up the frames of a file as it passes, if it is an MP3. What is no frame counts at the lowest bit rate."""

    __slots__ = ("_is_one", "_pending", "_skip", "_strays", "_us")

    _STRAYS_MAX = 2_000  # places where no frame begins; then it is none

    def __init__(self) -> None:
        self._is_one: bool | None = None
        self._pending = b""
        self._skip = 0
        self._strays = 0
        self._us = 0

    def feed(self, piece: bytes) -> None:
        """Read the next bytes of the file."""
        if self._is_one is False:
            return
        data = self._pending + piece if self._pending else piece
        if self._is_one is None:
            if len(data) < 10:
                self._pending = data
                return
            self._skip = _tag_bytes(data)
            self._is_one = self._skip > 0 or _mp3_frame(data[:4]) is not None
        at, end, us = self._skip, len(data) - 4, 0
        while at <= end:
            frame = _mp3_frame(data[at : at + 4])
            if frame is not None:
                us += -(-frame[1] * 1_000_000 // frame[2])
                at += frame[0]
                continue
            self._strays += 1
            if self._strays > self._STRAYS_MAX:
                self._is_one = False
                self._pending = b""
                return
            start = at
            at = data.find(b"\xff", at + 1)
            at = end + 1 if at < 0 else at
            us += (at - start) * 1_000_000 // _FLOOR_BYTES
        self._us += us
        self._skip = max(at - len(data), 0)
        self._pending = data[at:]

    def length(self) -> Length | None:
        """How long the whole file is, frame by frame; None where it is no MP3."""
        if not self._is_one or not self._us:
            return None
        # A last frame, or a tag, that is longer than the file is no frame or tag to others.
        exact = -(-self._us // 1_000) + _ms(len(self._pending) + self._skip, _FLOOR_BYTES)
        return Length(exact, exact, exact, sure=True)
