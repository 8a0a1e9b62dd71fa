"""Which of several PostgreSQL servers takes writes.

Promises: of all the hosts that a URL names (`postgresql://user@a,b/name`, or `?host=a,b`), the one is found that takes
writes, by trying them one after the other, first the one that was it the last time. One that is silent, refuses, or is
a standby costs no more than its share of the time. Knows no SQL.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Servers:
    """The servers of one URL."""

    def __init__(self, url: str) -> None:
        self._urls = each(url)

    async def connect(
        self,
        _url: str | None = None,
        *,
        timeout: float,  # noqa: ASYNC109 - so the driver's pool calls it
        **options: Any,
    ) -> asyncpg.Connection:
        """A connection to the one that takes writes, as `asyncpg.connect` makes it; `timeout` in seconds, for all.

        It may stand for that function in a pool, whose URL (`_url`) is then none.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: None of them can be reached, or takes writes.
        """
        share_s = timeout / len(self._urls)
        said = []
        for url in list(self._urls):
            try:
                connection = await asyncpg.connect(url, timeout=share_s, target_session_attrs="read-write", **options)
            except ERRORS as error:
                if len(self._urls) == 1:
                    raise
                said.append(str(error) or type(error).__name__)
            else:
                self._urls.remove(url)
                self._urls.insert(0, url)
                return connection
        raise ConnectionError("no server takes writes: " + "; ".join(said))


def each(url: str) -> list[str]:
    """The URLs of the single servers that a URL names, in its order. The driver itself gives all of them one deadline,
    which a first one that is silent uses up."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if hosts:
        return [parts._replace(netloc=f"{login}{at}{host}").geturl() for host in hosts.split(",")]
    query = dict(parse_qsl(parts.query))
    names = query.get("host", "").split(",")
    ports = query.get("port", "").split(",")
    ports = ports * len(names) if len(ports) == 1 else ports
    if len(names) != len(ports):
        return [url]  # the driver says what is wrong with it
    found = []
    for name, port in zip(names, ports, strict=True):
        own = query | {key: value for key, value in (("host", name), ("port", port)) if value}
        found.append(parts._replace(query=urlencode(own)).geturl())
    return found
