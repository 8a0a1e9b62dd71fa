"""`farthing` in processes of its own, run from this checkout: served, signalled, killed, asked on the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

import gateway
from tests.harness import MASTER, PROVIDER_KEY

ROOT = Path(gateway.__file__).parents[1]
_CLIENT = "FARTHING_UPSTREAM_CLIENT"  # may be chosen for a whole run, of tests or of the proof
FARTHING = (sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())")


def titled(processes: Iterable[psutil.Process], words: str) -> list[psutil.Process]:
    """Those whose command line has these words in it. What has ended since it was listed, zombies too, has none."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()):
                found.append(process)
    return found


class Child(Protocol):
    """A process, as asyncio shows one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...


class Served:
    """A gateway in a process of its own, in front of the provider at `upstream_url`; on SQLite unless told otherwise.

    Attributes:
        place: Its working directory, with its log `gateway.log`.
        settings: Environment variables on top of its own.
        url: Where it listens, once started.
    """

    def __init__(self, place: Path, upstream_url: str, **settings: str) -> None:
        self.place = place
        self.upstream_url = upstream_url
        self.settings = settings
        self.url = ""
        self._running: Child | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FARTHING_", "OPENAI_"))}
        if _CLIENT in os.environ:
            kept[_CLIENT] = os.environ[_CLIENT]
        own = {
            "PYTHONPATH": str(ROOT),
            "FARTHING_PORT": "0",
            "FARTHING_MASTER_KEY": MASTER,
            "FARTHING_LOG_LEVEL": "debug",
            "FARTHING_DATABASE_URL": f"sqlite:///{self.place}/farthing.db",
            "FARTHING_UPSTREAM_OPENAI": self.upstream_url,
            "OPENAI_API_KEY": PROVIDER_KEY,
        }
        return kept | own | self.settings

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """One command to its end: exit code, standard output, standard error."""
        made = await asyncio.create_subprocess_exec(
            *FARTHING, *arguments, cwd=self.place, env=self.environment | environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(made.communicate(), 60)
        assert made.returncode is not None
        return made.returncode, out.decode(), err.decode()

    async def start(self, timeout_s: float = 90) -> None:
        """Serve, and know where."""
        with (self.place / "gateway.log").open("ab") as log:
            at = log.tell()
            self._running = await self._spawn(log)
        async with asyncio.timeout(timeout_s):
            while True:
                with (self.place / "gateway.log").open("rb") as log:
                    log.seek(at)
                    said = log.read().decode()
                found = said.partition("listens on ")[2].partition(" ")[0]
                if found:
                    self.url = found
                    return
                assert self._running.returncode is None, said[-2000:]
                await asyncio.sleep(0.02)

    async def _spawn(self, log: IO[bytes]) -> Child:
        return await asyncio.create_subprocess_exec(
            *FARTHING, "serve", cwd=self.place, env=self.environment, stdout=log, stderr=log
        )

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.returncode is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # asyncio's own way asks first whether it has ended, and takes the exit code with it

    async def ended(self, timeout_s: float = 40) -> int:
        """Its exit code."""
        assert self._running is not None
        return await asyncio.wait_for(self._running.wait(), timeout_s)

    async def kill(self) -> None:
        """End it if it runs, at once."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                self.signal(signal.SIGKILL)
            await self.ended()

    async def events(self) -> list[dict[str, Any]]:
        """Every event, with the command that works beside the gateway or without it."""
        code, out, err = await self.run("events", "--json", "--limit", "1000")
        assert code == 0, err
        found: list[dict[str, Any]] = json.loads(out)
        assert len(found) < 1000, "more than one page"
        return found
