"""Whether the back office disturbs the calls: their latency under load, alone and beside lists, reports and minting.

One farthing on its core, some thousand keys in its database, a closed loop of calls that keeps it busy; in every other
measurement a client of the management API asks one thing after the other, without a pause.
"""

from __future__ import annotations

import contextlib
import http.client
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.bench import load
from scripts.bench.contestants import Farthing, Lab, NotReady, ask
from scripts.bench.machine import LOAD_CORE, pin
from scripts.bench.report import Column, Row

TITLE = "Calls beside the back office: a closed loop of 16 connections on one gateway, SQLite"
COLUMNS: tuple[Column, ...] = (
    ("name", "beside", "s"),
    ("per_s", "calls/s", ",.0f"),
    ("p50_ms", "p50 ms", ".2f"),
    ("p99_ms", "p99 ms", ".2f"),
    ("more_p99_ms", "p99 more, ms", ".2f"),
    ("asked_per_s", "asked/s", ".1f"),
)
KEYS = 2_000
CONNECTIONS = 16
ASKED: dict[str, tuple[tuple[str, str, object], ...]] = {
    "nothing": (),
    "list of keys": (("GET", "/v1/keys?limit=100", None),),
    "usage of a month": (("GET", "/v1/usage?from_ms=0", None),),
    "minting": (("POST", "/v1/keys", {"name": "new", "max_spend_usd": 1}),),
}


def measure(*, rounds: int, seconds: int) -> list[Row]:
    """A row for each thing that is asked: medians over the rounds."""
    pin(LOAD_CORE)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in ASKED}
    contestants = {"farthing": Farthing()}
    with (
        tempfile.TemporaryDirectory(prefix="farthing-bench-") as directory,
        Lab(Path(directory), contestants) as lab,
        lab.started("farthing") as gateway,
    ):
        master = gateway.master
        for number in range(KEYS):
            ask(gateway.port, "POST", "/v1/keys", master, {"name": f"key {number}", "max_spend_usd": 1})
        load.closed(gateway.port, gateway.secret, CONNECTIONS, 1, stream=False)
        for turn in range(rounds):
            for name, requests in ASKED.items():
                with _asking(gateway.port, master, requests) as asked:
                    result = load.closed(gateway.port, gateway.secret, CONNECTIONS, seconds, stream=False)
                result["asked_per_s"] = len(asked) / result["seconds"] if requests else float("nan")
                result["per_s"] = result["calls"] / result["seconds"]
                results[name].append(result)
            print(f"round {turn + 1}/{rounds}", flush=True)
    rows: list[Row] = [
        {"name": name} | {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in results.items()
    ]
    alone = rows[0]["p99_ms"]
    return [row | {"more_p99_ms": float(str(row["p99_ms"])) - float(str(alone))} for row in rows]


@contextlib.contextmanager
def _asking(port: int, master: str, requests: tuple[tuple[str, str, object], ...]) -> Iterator[list[float]]:
    """Ask these things over and over for as long as the block runs; when each was answered."""
    ended = threading.Event()
    answered: list[float] = []

    def run() -> None:
        while not ended.is_set():
            for method, path, body in requests:
                with contextlib.suppress(NotReady, OSError, http.client.HTTPException):
                    ask(port, method, path, master, body)
                    answered.append(time.perf_counter())

    thread = threading.Thread(target=run)
    if requests:
        thread.start()
    try:
        yield answered
    finally:
        ended.set()
        if requests:
            thread.join()
