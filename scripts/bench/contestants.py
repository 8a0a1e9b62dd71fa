"""Who is measured: nobody in between, the floor, Farthing, nginx. Each is started afresh, and stopped in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.bench import upstream
from scripts.bench.machine import GATEWAY_CORE, LOAD_CORE, Process
from scripts.bench.traffic import FAST, PATH, request_body

ROOT = Path(__file__).resolve().parents[2]
READY_S = 20.0
NOBODY = "nobody"  # what stands in for a key where none is asked for


class NotReady(Exception):
    """A program did not come up."""


class Gateway:
    """Something that answers calls on `port` to whoever has `secret`. `process` is None where nobody is in between."""

    def __init__(self, port: int, process: Process | None, secret: str) -> None:
        self.port = port
        self.process = process
        self.secret = secret
        self.master = ""  # a key for its back office, where it has one
        self.calls = 0  # sent to it, as far as the load generators know
        self.notes: list[str] = []


class Lab:
    """The upstream, and a place for everybody's files."""

    def __init__(self, directory: Path, contestants: Mapping[str, Contestant]) -> None:
        self._contestants = contestants
        self._directory = directory
        self.upstream_port = free_port()
        self.note = ""
        self._upstream: Process

    def __enter__(self) -> Lab:
        command, self.note = upstream.command(self.upstream_port, self._directory)
        self._upstream = Process(command, core=LOAD_CORE, log=self._directory / "upstream.log", cwd=ROOT)
        wait_ready(self._upstream, lambda: call(self.upstream_port, NOBODY))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upstream.stop()

    @contextlib.contextmanager
    def started(self, name: str) -> Iterator[Gateway]:
        """A contestant, ready for calls."""
        directory = self._directory / secrets.token_hex(4)
        directory.mkdir()
        with self._contestants[name].started(self.upstream_port, directory) as gateway:
            yield gateway


class Contestant:
    """Nobody in between."""

    holds = True  # a thousand streams can be opened on it in reasonable time

    def missing(self) -> str | None:
        """Why it cannot be measured here; None if it can."""
        return None

    @contextlib.contextmanager
    def started(self, upstream_port: int, directory: Path) -> Iterator[Gateway]:
        """Start it, wait until it answers a call, and stop it afterwards."""
        yield Gateway(upstream_port, None, NOBODY)


class Floor(Contestant):
    """The same stack with no work to do."""

    @contextlib.contextmanager
    def started(self, upstream_port: int, directory: Path) -> Iterator[Gateway]:
        """See `Contestant`."""
        port = free_port()
        options = "--loop uvloop --http httptools --no-access-log --log-level error --backlog 4096 --lifespan off"
        command = [sys.executable, "-m", "uvicorn", "--port", str(port), *options.split(), "scripts.bench.floor:app"]
        environment = os.environ | {"BENCH_UPSTREAM": f"http://127.0.0.1:{upstream_port}"}
        process = Process(command, core=GATEWAY_CORE, log=directory / "floor.log", environment=environment, cwd=ROOT)
        with stopping(process):
            wait_ready(process, lambda: call(port, NOBODY))
            yield Gateway(port, process, NOBODY)


class Farthing(Contestant):
    """`farthing serve` as it is: a live key with a cap, a durable database, every call metered and priced."""

    def __init__(self, client: str = "lean") -> None:
        self._client = client

    @contextlib.contextmanager
    def started(self, upstream_port: int, directory: Path) -> Iterator[Gateway]:
        """See `Contestant`. Afterwards the audit must find every call in the books, to the last one."""
        port = free_port()
        environment = farthing_environment(directory / "farthing.db", port, upstream_port)
        environment["FARTHING_UPSTREAM_CLIENT"] = self._client
        program = str(Path(sys.executable).with_name("farthing"))
        process = Process(
            [program, "serve"],
            core=GATEWAY_CORE,
            log=directory / "farthing.log",
            environment=environment,
            cwd=directory,
        )
        with stopping(process):
            master = environment["FARTHING_MASTER_KEY"]
            wait_ready(process, lambda: ask(port, "GET", "/readyz", master))
            asked = {"name": "bench", "max_spend_usd": 100_000}
            secret = ask(port, "POST", "/v1/keys", master, asked)["secret"]
            wait_ready(process, lambda: call(port, secret))
            gateway = Gateway(port, process, secret)
            gateway.master = master
            yield gateway
        audit = subprocess.run(
            [program, "audit", "--json"], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        finding = json.loads(audit.stdout)
        if finding["count"] or finding["open_holds"] or finding["events"] < gateway.calls:
            gateway.notes.append(f"AUDIT: {finding}, calls answered {gateway.calls}")


class Nginx(Contestant):
    """A reverse proxy in C, one worker."""

    def missing(self) -> str | None:
        """See `Contestant`."""
        return None if shutil.which("nginx") else "nginx is not installed (apt-get install nginx-light)"

    @contextlib.contextmanager
    def started(self, upstream_port: int, directory: Path) -> Iterator[Gateway]:
        """See `Contestant`."""
        port = free_port()
        configuration = nginx_configuration(port, upstream_port, directory)
        process = Process(
            ["nginx", "-p", str(directory), "-c", str(configuration), "-e", str(directory / "error.log")],
            core=GATEWAY_CORE,
            log=directory / "nginx.log",
            cwd=directory,
        )
        with stopping(process):
            wait_ready(process, lambda: call(port, NOBODY))
            yield Gateway(port, process, NOBODY)


_NGINX = """\
daemon off;
worker_processes 1;
pid %(directory)s/nginx.pid;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path %(directory)s/body;
  proxy_temp_path %(directory)s/proxy;
  fastcgi_temp_path %(directory)s/fastcgi;
  uwsgi_temp_path %(directory)s/uwsgi;
  scgi_temp_path %(directory)s/scgi;
  keepalive_requests 10000000;
  upstream mock { server 127.0.0.1:%(upstream)d; keepalive 2048; keepalive_requests 10000000; }
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
"""


def nginx_configuration(port: int, upstream_port: int, directory: Path) -> Path:
    """A file for an nginx that passes everything on."""
    path = directory / "nginx.conf"
    path.write_text(_NGINX % {"port": port, "upstream": upstream_port, "directory": directory})
    return path


def farthing_environment(database: Path, port: int, upstream_port: int) -> dict[str, str]:
    """Settings of a gateway on this database, with a master key of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    return inherited | {
        "FARTHING_DATABASE_URL": f"sqlite:///{database}",
        "FARTHING_PORT": str(port),
        "FARTHING_MASTER_KEY": f"bench-{secrets.token_hex(16)}",
        "FARTHING_UPSTREAM_OPENAI": f"http://127.0.0.1:{upstream_port}",
        "OPENAI_API_KEY": "upstream",
        "FARTHING_LOG_LEVEL": "warning",
    }


@contextlib.contextmanager
def stopping(process: Process) -> Iterator[None]:
    """End it afterwards."""
    try:
        yield
    finally:
        process.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ask(port: int, method: str, path: str, secret: str, body: object = None) -> Any:
    """One request, its answer as JSON. Raises OSError or NotReady."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status >= 300:
        raise NotReady(f"{method} {path} answered {response.status}: {answer[:300]!r}")
    return json.loads(answer)


def call(port: int, secret: str) -> Any:
    """One chat completion."""
    return ask(port, "POST", PATH, secret, request_body(FAST, stream=False))


def wait_ready(process: Process, attempt: Callable[[], object], timeout_s: float = READY_S) -> None:
    """Try until it works. Raises NotReady."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            attempt()
        except (OSError, http.client.HTTPException, NotReady) as error:
            if time.monotonic() > deadline or not process.running:
                tail = process.log.read_text(errors="replace")[-2000:]
                raise NotReady(f"{error}; {process.log.name} ends in: {tail}") from error
            time.sleep(0.05)
        else:
            return
