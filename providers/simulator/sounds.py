"""Sound that the simulator makes and hears: silence that any player plays, and how long a file is that was sent.

Promises: WAV, MP3 and FLAC-free formats only; what is no WAV is taken for 64 kbit/s, so that every file has a length;
nobody is given more than ten minutes, or a rate that no sound has. Knows nothing of providers.
"""

from __future__ import annotations

import io
import math
import wave
from typing import Final

_MP3_FRAME: Final = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz: 26.12 ms of silence
MP3_FRAMES_A_SECOND: Final = 44_100 / 1_152
RATES: Final = range(8_000, 48_001)  # samples a second
_HEAD_BYTES: Final = 1 << 20  # in which the sound of a WAV begins
_SECONDS_MAX: Final = 600.0  # what is billed is not counted by them


def mp3(seconds: float) -> bytes:
    """So much silence, in whole frames, at least one."""
    return _MP3_FRAME * max(math.ceil(min(seconds, _SECONDS_MAX) * MP3_FRAMES_A_SECOND), 1)


def wav(seconds: float, *, sample_rate: int = 24_000, channels: int = 1) -> bytes:
    """So much silence, 16 bits a sample."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm(seconds, sample_rate=sample_rate, channels=channels))
    return buffer.getvalue()


def pcm(seconds: float, *, sample_rate: int = 24_000, channels: int = 1) -> bytes:
    """So much silence, 16 bits a sample, without a container."""
    return bytes(2 * channels * math.ceil(min(seconds, _SECONDS_MAX) * sample_rate))


def heard(data: bytes | memoryview) -> tuple[float, int]:
    """Seconds and channels of a sound that was sent."""
    try:
        with wave.open(io.BytesIO(data[:_HEAD_BYTES])) as file:
            frames = min(file.getnframes(), len(data) // max(file.getnchannels() * file.getsampwidth(), 1))
            return frames / file.getframerate(), file.getnchannels()
    except (wave.Error, EOFError, ZeroDivisionError):
        return len(data) / 8_000, 1
