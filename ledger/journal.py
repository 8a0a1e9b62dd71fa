"""Settlements that the database has not taken yet, on this machine's disk.

Promises: what `save` has returned from survives the process and the machine; what was torn in the middle is no record,
and costs none before it; the first megabytes are reserved when the file is made, so that a full disk does not keep a
settlement out. A journal belongs to one process, which keeps it locked for as long as it lives, and to one ledger; one
that nobody has locked was left by a process that is gone, and any successor may carry it out: settlements are settled
by their ids, so a record that is carried out again changes nothing. Knows ids, amounts and counts, never what was said.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ledger.records import Settlement

RESERVED_BYTES = 4 * 1024 * 1024  # some 10,000 settlements: more than are in flight when a disk gets full
BYTES_MAX = 64 * 1024 * 1024  # all flights of several outages; then nothing new is begun until it has been carried out
_HEAD = struct.Struct("<II")  # of a record: its length and the checksum of what follows
_FORMAT = "farthing-journal-1"
_GLOB = "farthing-*.journal"

_encode = msgspec.json.Encoder(enc_hook=repr).encode  # what the database will refuse must not keep the others out
_decode_settlement = msgspec.json.Decoder(Settlement).decode


class _Title(msgspec.Struct, frozen=True):
    """A journal's first record."""

    format: str
    ledger_id: str


_decode_title = msgspec.json.Decoder(_Title).decode


def _framed(content: bytes) -> bytes:
    return _HEAD.pack(len(content), zlib.crc32(content)) + content


def _records(descriptor: int) -> Iterator[bytes]:
    """Whole records from the start, up to the first that is none."""
    offset = 0
    while True:
        head = os.pread(descriptor, _HEAD.size, offset)
        if len(head) < _HEAD.size:
            return
        length, checksum = _HEAD.unpack(head)
        if not 0 < length <= BYTES_MAX:
            return
        content = os.pread(descriptor, length, offset + _HEAD.size)
        if len(content) < length or zlib.crc32(content) != checksum:
            return
        yield content
        offset += _HEAD.size + length


class Journal:
    """This process's own journal. Its methods block on the disk; one at a time."""

    def __init__(self, directory: Path, owner: str, ledger_id: str) -> None:
        """Make the file.

        Raises:
            OSError: The directory does not take it.
        """
        self._path = directory / f"farthing-{owner}.journal"
        made = self._path.with_suffix(".new")  # by its own name it is known only once it is locked and whole
        self._file = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(self._file, 0, RESERVED_BYTES)
            self._start = self._end = self._write(0, _framed(_encode(_Title(_FORMAT, ledger_id))))
            made.rename(self._path)
            _sync(directory)
        except BaseException:
            os.close(self._file)
            made.unlink(missing_ok=True)
            raise
        self.ids: set[str] = set()

    @property
    def full(self) -> bool:
        """Whether it is as large as it may get."""
        return self._end >= BYTES_MAX

    def _write(self, offset: int, content: bytes) -> int:
        """Write durably; where it ends."""
        view = memoryview(content)
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written
        os.fsync(self._file)
        return offset

    def save(self, settlements: Iterable[Settlement]) -> None:
        """Add those that it has not. What fails half-way is written over the next time.

        Raises:
            OSError: The disk did not take them.
        """
        fresh = {settlement.id: settlement for settlement in settlements if settlement.id not in self.ids}
        if fresh:
            content = b"".join(_framed(_encode(settlement)) for settlement in fresh.values())
            self._end = self._write(self._end, content)
            self.ids |= fresh.keys()

    def clear(self) -> None:
        """Everything in it is in the database now.

        Raises:
            OSError: The disk did not take it; nothing is lost by that.
        """
        self.ids.clear()
        end, self._end = self._end, self._start
        os.pwrite(self._file, bytes(min(end, RESERVED_BYTES) - self._start), self._start)
        if end > RESERVED_BYTES:
            os.ftruncate(self._file, RESERVED_BYTES)

    def close(self) -> None:
        """Let go of it; it stays where it is while there is something in it."""
        if not self.ids:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


class Orphan:
    """The journal of a process that is gone, and locked by this one."""

    def __init__(self, path: Path, file: int, settlements: list[Settlement]) -> None:
        self.path = path
        self.settlements = settlements
        self._file = file

    def remove(self) -> None:
        """All of it has been carried out."""
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Something in it can never be carried out: it is kept under another name, for a human."""
        self.path.rename(self.path.with_suffix(".rejected"))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def left_behind(directory: Path, ledger_id: str) -> list[Orphan]:
    """The journals in a directory that belong to this ledger and to no living process."""
    found = []
    for path in sorted(directory.glob(_GLOB)):
        with contextlib.suppress(FileNotFoundError):  # its owner, or another successor, has just removed it
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            orphan = _read(path, file, ledger_id)
            if orphan is None:
                os.close(file)
            else:
                found.append(orphan)
    return found


def _read(path: Path, file: int, ledger_id: str) -> Orphan | None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None  # its owner lives
    records = _records(file)
    title = next(records, None)
    if not os.path.samestat(os.fstat(file), path.stat()):
        return None
    try:
        if title is None or _decode_title(title) != _Title(_FORMAT, ledger_id):
            return None
        return Orphan(path, file, [_decode_settlement(record) for record in records])
    except msgspec.ValidationError:
        return None  # of another version: kept for it


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
