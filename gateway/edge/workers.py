"""Several gateways on one machine behind one listening socket: who starts them, starts them again, and ends them.

Promises: the socket outlives every worker, so a connection that waits is not lost with one; a worker that dies is
started again, ever more slowly if it dies ever again; a signal reaches all of them; none outlives this process, however
it ends. A worker is a whole gateway, with its own connections and journal. Knows nothing of what a gateway does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

_log = logging.getLogger("farthing.workers")

RESTART_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # before a worker is started again, by how often it has died in a row
STEADY_S = 60.0  # a worker that has lived for so long has not died in a row

_READY = b"\x01"


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is given: its number, the listening socket, the line to who started it, the metrics' directory."""

    number: int
    listener: int
    line: int
    snapshots: str

    def listening(self) -> socket.socket:
        """The socket that all workers accept from."""
        return socket.socket(fileno=self.listener)

    def take(self, on_orphaned: Callable[[], None]) -> None:
        """Say that this worker serves. `on_orphaned` is called in the running loop when its starter is gone."""
        line = socket.socket(fileno=self.line)
        line.setblocking(False)
        loop = asyncio.get_running_loop()

        def ended() -> None:  # nothing is ever said on it, so there is only an end to be heard
            loop.remove_reader(line)
            line.close()
            on_orphaned()

        loop.add_reader(line, ended)
        with contextlib.suppress(OSError):  # the starter has gone already
            line.send(_READY)


def assignment(text: str) -> Assignment:
    """An assignment from the command line. Raises ValueError."""
    try:
        return msgspec.json.decode(text, type=Assignment)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


class Workers:
    """`count` workers, each started by `command` with its assignment added."""

    def __init__(self, command: tuple[str, ...], count: int, listener: socket.socket) -> None:
        self._command = command
        self._count = count
        self._listener = listener
        self._stop = asyncio.Event()
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._served = False
        self.failure: int | None = None

    async def run(self, on_ready: Callable[[], None]) -> int | None:
        """Keep them running until a signal ends them; the exit code of one that could not start, if none ever served.

        `on_ready` is called when the first one serves.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self.stop)
        try:
            with tempfile.TemporaryDirectory(prefix="farthing-workers-") as snapshots:
                await asyncio.gather(*(self._keep(number, snapshots, on_ready) for number in range(1, self._count + 1)))
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)
        return self.failure

    def stop(self) -> None:
        """Let all of them end; called again, do not let them wait for what is in flight."""
        self._stop.set()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def _keep(self, number: int, snapshots: str, on_ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stop.is_set():
            started = loop.time()
            code = await self._life(number, snapshots, on_ready)
            (Path(snapshots) / str(number)).unlink(missing_ok=True)
            if self._stop.is_set():
                return
            if not self._served:  # nothing has ever served: what is wrong is wrong for all of them
                self.failure = code if self.failure is None else self.failure
                self.stop()
                return
            deaths = 0 if loop.time() > started + STEADY_S else deaths
            delay_s = RESTART_S[min(deaths, len(RESTART_S) - 1)]
            deaths += 1
            _log.error("worker died", extra={"worker": number, "exit_code": code, "again_in_s": delay_s})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay_s)

    async def _life(self, number: int, snapshots: str, on_ready: Callable[[], None]) -> int:
        """Start a worker and wait for its end; its exit code."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                given = Assignment(number, self._listener.fileno(), theirs.fileno(), snapshots)
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    msgspec.json.encode(given).decode(),
                    pass_fds=(given.listener, given.line),
                    start_new_session=True,  # a terminal's Ctrl-C is for this process, which tells the workers once
                )
            self._running[number] = process
            if self._stop.is_set():
                process.terminate()
            ours.setblocking(False)
            with contextlib.suppress(OSError):
                if await asyncio.get_running_loop().sock_recv(ours, 1) and not self._served:
                    self._served = True
                    on_ready()
            code = await process.wait()
            del self._running[number]
            return code


def command(*arguments: str) -> tuple[str, ...]:
    """How a worker is started: this very Python, this very program."""
    return (sys.executable, "-P", "-m", "gateway.cli", *arguments, "--assignment")
