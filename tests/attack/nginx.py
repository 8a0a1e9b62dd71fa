"""nginx in front of a gateway, as its documentation sets it up for WebSockets, with connections kept for the next."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from pathlib import Path

SERVER = """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://gateway;
            proxy_next_upstream off;
            {block}
        }}
    }}
"""

CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/error.log error;
events {{ worker_connections 1024; }}
http {{
    log_format marks '$remote_port $http_x_mark $status $upstream_status';
    access_log {place}/access.log marks;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    keepalive_requests 1000000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    upstream gateway {{ server {gateway}; keepalive 4; keepalive_requests 1000000; }}
{servers}
}}
"""

_SOCKETS = (
    "proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection {}; proxy_request_buffering {};"
)
BLOCKS = (
    _SOCKETS.format('"upgrade"', "on"),
    _SOCKETS.format('"upgrade"', "off"),
    _SOCKETS.format("$connection_upgrade", "on"),
    _SOCKETS.format('""', "off"),
    "",
)
"""The recipes for WebSockets as they are copied, with and without passing a body on while it arrives; one for requests
alone with kept connections; and what nginx does unasked, which is HTTP/1.0."""


def program() -> str:
    """Where nginx is; it is no part of the user's path on Debian. Fails where it is not installed."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, "these attacks go through a real nginx: install it (Debian: apt-get install nginx)"
    return found


class Nginx:
    """One nginx before the gateway at `url`; each of `BLOCKS` has a port of its own.

    Attributes:
        ports: Of the blocks, once started.
    """

    def __init__(self, place: Path, url: str) -> None:
        self._place = place
        self._gateway = url.removeprefix("http://")
        self.ports: list[int] = []
        self._running: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Nginx:
        taken = [socket.create_server(("127.0.0.1", 0)) for _ in BLOCKS]
        self.ports = [each.getsockname()[1] for each in taken]
        for each in taken:
            each.close()
        servers = "".join(SERVER.format(port=port, block=block) for port, block in zip(self.ports, BLOCKS, strict=True))
        config = self._place / "nginx.conf"
        config.write_text(
            CONFIG.format(
                user="user root;" if os.getuid() == 0 else "", place=self._place, gateway=self._gateway, servers=servers
            )
        )
        self._running = await asyncio.create_subprocess_exec(
            program(), "-p", str(self._place), "-e", str(self._place / "error.log"), "-c", str(config)
        )
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.ports[-1])
                except ConnectionError:
                    assert self._running.returncode is None, (self._place / "error.log").read_text()[-2000:]
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        if self._running.returncode is None:
            self._running.terminate()
            await asyncio.wait_for(self._running.wait(), 20)

    def log(self) -> list[list[str]]:
        """What it read as requests: client's port, mark, status, the gateway's status."""
        return [line.split(" ", 3) for line in (self._place / "access.log").read_text().splitlines()]
