"""Gateways without their birth pains: a process that has imported Farthing, and forks a child for each that is asked.

A child is `farthing ARGUMENTS` in a process, directory and environment of its own; only the imports, most of the cost
of a start, are already made. The nursery reads one JSON line for each child from its standard input and says its pid,
and later its exit code, on standard output. It knows nothing of what its children do.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START_S = 120.0


class Child:
    """One of them, as asyncio shows a process: `returncode` is None while it runs, negative for a signal."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, code: int) -> None:
        """It has ended."""
        self.returncode = code
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end; its exit code."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


class Nursery:
    """The process, from outside."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._births: asyncio.Queue[Child] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it; it is ready when its first child is."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.proof.nursery", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._listening = asyncio.create_task(self._listen())

    async def spawn(
        self, arguments: tuple[str, ...], place: Path, environment: Mapping[str, str], out: Path, err: Path
    ) -> Child:
        """A new child, whose output is appended to these files."""
        assert self._process is not None
        assert self._process.stdin is not None
        wanted = {
            "arguments": arguments, "place": str(place), "environment": dict(environment),
            "out": str(out), "err": str(err),
        }  # fmt: skip
        async with self._asking:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            return await asyncio.wait_for(self._births.get(), START_S)

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "code" in said:
                self._children.pop(said["pid"]).end(said["code"])
            else:
                child = self._children[said["pid"]] = Child(said["pid"])
                self._births.put_nowait(child)

    async def stop(self) -> None:
        """End it; what runs is killed."""
        for child in list(self._children.values()):
            os.kill(child.pid, signal.SIGKILL)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
        if self._listening is not None:
            await self._listening


def _say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _nurse() -> None:
    """Fork when asked; tell of births and ends; end with standard input."""
    from gateway.cli import main

    waking, wake = os.pipe()
    for end in (waking, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    looking = selectors.DefaultSelector()
    looking.register(0, selectors.EVENT_READ)
    looking.register(waking, selectors.EVENT_READ)
    asked = b""
    while True:
        for key, _ in looking.select():
            if key.fd == waking:
                os.read(waking, 1 << 16)
                continue
            if not (data := os.read(0, 1 << 16)):
                return
            asked += data
            while b"\n" in asked:
                line, _, asked = asked.partition(b"\n")
                pid = os.fork()
                if pid == 0:
                    looking.close()
                    _live(main, json.loads(line), (waking, wake))
                _say(pid=pid)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            _say(pid=pid, code=os.waitstatus_to_exitcode(status))


def _live(main: Any, wanted: dict[str, Any], pipes: tuple[int, int]) -> None:
    """The child's whole life."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in pipes:
        os.close(end)
    code = 70
    try:
        os.chdir(wanted["place"])
        os.environ.clear()
        os.environ.update(wanted["environment"])
        for number, name in ((1, wanted["out"]), (2, wanted["err"])):
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(file, number)
            os.close(file)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        code = main(wanted["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _nurse()
