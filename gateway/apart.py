"""Work on large request bodies, done in a process of its own: whatever is in them, nobody else waits for it.

Python's lock is held for as long as one scan over a body takes, and thirty megabytes can take a second. So the loop
sends a large body on in pieces, to one helper that works on one body at a time. Promises: a helper that fails, or takes
too long, is ended and costs its one call a `HelperFailed`; it ends with the gateway, however that ends. Knows nothing
of what is asked and told: both are bytes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from gateway.bounds import APART_WAITING_BYTES_MAX, READING_PIECE_BYTES, READING_TIMEOUT_S

Work = Callable[[bytes, bytes], bytes]
"""What a helper does: a question and the body that came last, in; the answer out."""

_LENGTH_BYTES = 4
_GIVEN_BACK_BYTES = (
    "1048576"  # what is larger goes back to the system at once: glibc would keep it after the first body
)
_NICE = 5  # where there is not a core for everybody, the loop's work comes first: a third for the helper
_HERE = str(Path(__file__).resolve().parent.parent)


class HelperFailed(Exception):
    """The helper has died, takes too long, or too many wait for it. Nothing has been done."""


class Helper:
    """The process, as long as it lives."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str) -> Helper:
        """Start the module as a program, which is to call `serve`."""
        path = os.pathsep.join(filter(None, (_HERE, os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path, "MALLOC_MMAP_THRESHOLD_": _GIVEN_BACK_BYTES}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", module,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment,
            )
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    async def ask(self, question: bytes, body: bytes = b"") -> bytes:
        """The answer. With a body, that is the one from now on. Raises OSError and EOFError where it has died."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101 - both are pipes
        stdin.write(_framed(question, len(body)))
        view = memoryview(body)
        for start in range(0, len(body), READING_PIECE_BYTES):
            stdin.write(bytes(view[start : start + READING_PIECE_BYTES]))
            await stdin.drain()
        await stdin.drain()
        length = int.from_bytes(await stdout.readexactly(_LENGTH_BYTES), "big")
        return await stdout.readexactly(length)

    def forget(self) -> None:
        """The body is not needed any more."""
        if self._process.stdin is not None:
            self._process.stdin.write(_framed(b"", 0))

    async def end(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(OSError):
            await self._process.communicate()


def _framed(question: bytes, body_bytes: int) -> bytes:
    return len(question).to_bytes(_LENGTH_BYTES, "big") + body_bytes.to_bytes(_LENGTH_BYTES, "big") + question


class Apart:
    """One helper, for one body after the other; it starts with the first of them."""

    def __init__(self, module: str, *, waiting_max: int) -> None:
        self._module = module
        self._waiting_max = waiting_max
        self._helper: Helper | None = None
        self._turn = asyncio.Lock()
        self._waiting = self._waiting_bytes = 0
        self._closed = False

    @contextlib.asynccontextmanager
    async def of(self, body: bytes, question: bytes) -> AsyncIterator[tuple[Helper, bytes]]:
        """The helper that has the body, for more questions, and its answer to the first.

        Raises:
            HelperFailed: As it says.
        """
        full = self._waiting >= self._waiting_max or self._waiting_bytes + len(body) > APART_WAITING_BYTES_MAX
        if full or self._closed:
            raise HelperFailed
        self._waiting += 1
        self._waiting_bytes += len(body)
        asking = False
        try:
            async with self._turn:
                asking = True
                async with asyncio.timeout(READING_TIMEOUT_S):
                    if self._helper is None or not self._helper.alive:
                        self._helper = await Helper.start(self._module)
                    helper = self._helper
                    told = await helper.ask(question, body)
                    try:
                        yield helper, told
                    finally:
                        if helper is self._helper:
                            helper.forget()
        except (OSError, EOFError, TimeoutError):
            await self._give_up()
            raise HelperFailed from None
        except asyncio.CancelledError:
            if asking:  # and not waiting for its turn: the helper is at another's body
                await asyncio.shield(self._give_up())
            raise
        finally:
            self._waiting -= 1
            self._waiting_bytes -= len(body)

    async def _give_up(self) -> None:
        """An answer may still be on its way, to nobody: the next body gets another helper."""
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.end()

    async def close(self) -> None:
        """End the helper."""
        self._closed = True
        await self._give_up()


# ---- large bodies, on the loop


class Gathered:
    """A body that comes in pieces, in as much memory as it takes: it grows in place, and nothing is joined at last."""

    def __init__(self) -> None:
        self.size = 0
        self._first = b""
        self._all: io.BytesIO | None = None

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self.size += len(piece)
        if self._all is not None:
            self._all.write(piece)
        elif not self._first:
            self._first = piece
        else:
            self._all = io.BytesIO()
            self._all.write(self._first)
            self._all.write(piece)

    def whole(self) -> bytes:
        """All of it; not a copy."""
        return self._first if self._all is None else self._all.getvalue()


async def edited(body: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """See `providers.reading.request.replaced`; in a thread, piece by piece."""
    return await asyncio.to_thread(_edited, memoryview(body), sorted(edits))


def _edited(body: memoryview, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    made, at = io.BytesIO(), 0
    for start, end, new in (*edits, (len(body), len(body), b"")):
        for begin in range(at, start, READING_PIECE_BYTES):
            made.write(body[begin : min(begin + READING_PIECE_BYTES, start)])
        made.write(new)
        at = end
    return made.getvalue()


# ---- in the helper


def serve(work: Work, source: BinaryIO | None = None, sink: BinaryIO | None = None) -> None:
    """Answer questions on standard input until the gateway is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the gateway, which ends this
    os.nice(_NICE)
    source, sink = source or sys.stdin.buffer, sink or sys.stdout.buffer
    body = b""
    while len(head := source.read(2 * _LENGTH_BYTES)) == 2 * _LENGTH_BYTES:
        question = source.read(int.from_bytes(head[:_LENGTH_BYTES], "big"))
        body_bytes = int.from_bytes(head[_LENGTH_BYTES:], "big")
        if body_bytes or not question:
            body = b""  # one at a time
        if not question:
            continue
        if body_bytes:
            body = source.read(body_bytes)
        answer = work(question, body)
        sink.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
        sink.flush()
