"""A gateway whose wall clock can be set while it runs, by libfaketime; durations and sleeps go on as they are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from scripts.proof.tracer import Impossible

LIBRARY = Path("vendor") / "libfaketime" / "src" / "libfaketime.so.1"


class Clock:
    """The clock of one gateway, as a file that it reads at every look."""

    def __init__(self, place: Path) -> None:
        self._file = place / "clock"
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """From now on that many seconds away from the true time."""
        self._file.write_text(f"{seconds:+d}\n")

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a process that has this clock.

        Raises:
            Impossible: libfaketime is not installed.
        """
        found = find_spec("libfaketime")
        library = None if found is None or found.origin is None else Path(found.origin).parent / LIBRARY
        if library is None or not library.is_file():
            raise Impossible("libfaketime is not installed")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
