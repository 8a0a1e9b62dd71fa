"""The load: closed loops (wrk where it is installed), a fixed rate, and streams, paced or held.

    python -m scripts.bench.load KIND PORT SECRET NUMBER SECONDS

prints one JSON object. Runs as a process of its own, so that it has a core's whole attention. A closed loop says how
much a gateway can do; only the open loop, which sends when the clock says and not when the gateway is ready, says
how long a caller waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httptools
import uvloop

from scripts.bench.traffic import FAST, HELD, PACED, PATH, request_body, request_bytes

WARM_S = 0.5  # before what is measured at a fixed rate
OPENING_AT_ONCE = 20
ANSWER_S = 20.0
_SCRIPT = Path(__file__).with_name("wrk.lua")


def closed(port: int, secret: str, connections: int, seconds: int, *, stream: bool) -> dict[str, float]:
    """As much as it takes: each connection sends as soon as it was answered."""
    if shutil.which("wrk") is None:
        return run("streams" if stream else "closed", port, secret, connections, seconds)
    environment = os.environ | {
        "BENCH_PATH": PATH,
        "BENCH_BODY": request_body(FAST, stream=stream).decode(),
        "BENCH_SECRET": secret,
    }
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    shown = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], env=environment, capture_output=True, text=True, check=True
    )
    line = next(line for line in shown.stdout.splitlines() if line.startswith("BENCH "))
    calls, duration_us, errors, p50_us, p99_us = map(int, line.split()[1:])
    return {
        "calls": calls - errors,
        "seconds": duration_us / 1e6,
        "errors": errors,
        "p50_ms": p50_us / 1e3,
        "p99_ms": p99_us / 1e3,
    }


def run(kind: str, port: int, secret: str, number: int, seconds: float) -> dict[str, float]:
    """One measurement of this module's own generator, in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench.load", kind, str(port), secret, str(number), str(seconds)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 90)
    return cast("dict[str, float]", json.loads(shown.stdout))


class Client(asyncio.Protocol):
    """One connection: a request at a time, and a word when it has been answered."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._done: Callable[[Client, bool], None] | None = None
        self._transport: asyncio.Transport
        self.closed = False
        self.events = 0
        self.begun = asyncio.Event()  # some of an answer's body is here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.closed = True
        self._end(False)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Part of an answer."""
        self.begun.set()
        self.events += body.count(b"data: ")

    def on_message_complete(self) -> None:
        """The end of an answer."""
        ok = self._parser.get_status_code() == 200
        self._parser = httptools.HttpResponseParser(self)
        self._end(ok)

    def _end(self, ok: bool) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self, ok)

    def send(self, request: bytes, done: Callable[[Client, bool], None]) -> None:
        """Send a request; `done(client, ok)` is called at its end."""
        self._done = done
        self._transport.write(request)

    def close(self) -> None:
        """Leave, whatever is under way."""
        self._transport.abort()


async def _connect(port: int, number: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(number)]


def _percentile_ms(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e3 if values else float("nan")


async def _loops(port: int, request: bytes, number: int, seconds: float) -> dict[str, float]:
    """Closed loops, or paced streams: both send again as soon as they were answered."""
    clients = await _connect(port, number)
    end = time.perf_counter() + seconds
    calls = errors = 0

    def again(client: Client, ok: bool) -> None:
        nonlocal calls, errors
        calls += ok
        errors += not ok
        if time.perf_counter() < end and not client.closed:
            client.send(request, again)

    for client in clients:
        client.send(request, again)
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - started
    events = sum(client.events for client in clients)
    result = {"calls": calls, "seconds": taken, "errors": errors, "events": events}
    for client in clients:
        client.close()
    return result


async def _rate(port: int, request: bytes, rate: int, seconds: float) -> dict[str, float]:
    """Calls at a fixed rate; each one's time counts from the moment in which it was due.

    A thread of its own keeps the time: the event loop's timers are a millisecond coarse, and waiting in a busy loop
    would keep the upstream, on the same core, from its work.
    """
    loop = asyncio.get_running_loop()
    free = await _connect(port, 64)
    latencies: list[float] = []
    total = int(rate * (seconds + WARM_S))
    errors, left = 0, total
    ended = asyncio.Event()
    start = time.perf_counter() + 0.02

    def fire(due: float) -> None:
        def done(client: Client, ok: bool) -> None:
            nonlocal errors, left
            if ok and due - start >= WARM_S:
                latencies.append(time.perf_counter() - due)
            errors += not ok
            left -= 1
            if not client.closed:
                free.append(client)
            if not left:
                ended.set()

        if free:
            free.pop().send(request, done)
        else:
            ended.set()  # so far behind that the figure means nothing: what is left counts as errors

    def keep_time() -> None:
        for number in range(total):
            due = start + number / rate
            time.sleep(max(due - time.perf_counter(), 0))
            loop.call_soon_threadsafe(fire, due)

    await loop.run_in_executor(None, keep_time)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            await ended.wait()
    return {
        "calls": total - left - errors,
        "seconds": total / rate,
        "errors": errors + left,
        "p50_ms": _percentile_ms(latencies, 0.5),
        "p99_ms": _percentile_ms(latencies, 0.99),
    }


async def _hold(port: int, request: bytes, number: int, seconds: float) -> dict[str, float]:
    """Streams that stay: says so when all have begun, and lets go when its input ends."""
    clients: list[Client] = []
    ended: list[bool] = []
    for _ in range(0, number, OPENING_AT_ONCE):
        opened = await _connect(port, OPENING_AT_ONCE)
        for client in opened:
            client.send(request, lambda _client, ok: ended.append(ok))
        clients += opened
        await asyncio.sleep(0.02)
    for client in clients:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await client.begun.wait()
    result = {"streams": sum(client.begun.is_set() for client in clients), "errors": len(ended)}
    print(json.dumps(result), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for client in clients:
        client.close()
    return {}


def main() -> None:
    """One measurement, as the arguments say."""
    kind, port, secret, number, seconds = sys.argv[1:]
    model = {"closed": FAST, "streams": FAST, "rate": PACED, "paced": PACED, "held": HELD}[kind]
    request = request_bytes(int(port), secret, model, stream=kind in ("streams", "paced", "held"))
    kinds = {"rate": _rate, "held": _hold}
    result = uvloop.run(kinds.get(kind, _loops)(int(port), request, int(number), float(seconds)))
    if result:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
