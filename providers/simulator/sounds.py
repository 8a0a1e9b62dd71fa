"""Sound that the simulator makes and hears: silence that any player plays, and how long a file is that was sent.

Promises: WAV, MP3 and FLAC-free formats only; what is no WAV is taken for 64 kbit/s, so that every file has a length.
Knows nothing of providers.
"""

from __future__ import annotations

import io
import math
import wave
from typing import Final

_MP3_FRAME: Final = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz: 26.12 ms of silence
MP3_FRAMES_A_SECOND: Final = 44_100 / 1_152


def mp3(seconds: float) -> bytes:
    """So much silence, in whole frames, at least one."""
    return _MP3_FRAME * max(math.ceil(seconds * MP3_FRAMES_A_SECOND), 1)


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
    return bytes(2 * channels * math.ceil(seconds * sample_rate))


def heard(data: bytes) -> tuple[float, int]:
    """Seconds and channels of a sound that was sent."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            return file.getnframes() / file.getframerate(), file.getnchannels()
    except (wave.Error, EOFError, ZeroDivisionError):
        return len(data) / 8_000, 1
