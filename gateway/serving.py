"""Starting the process: the sockets it listens on, one gateway or several workers, and its end with the ledger."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from gateway import config
from gateway.app import Gateway
from gateway.edge import workers
from gateway.edge.server import Server, listen
from gateway.telemetry import WorkerSnapshots, configure_logging
from gateway.terminal import CANNOT_START, FAILED, OK, complain, database, put, say
from ledger.ledger import Ledger

GC_THRESHOLD = 20_000  # a call leaves next to no cycles behind: looking for them every 700 objects is a waste


async def serve(options: argparse.Namespace, settings: config.Settings) -> int:
    """Start the gateway, or several workers of it, and serve until a signal says to stop."""
    configure_logging(settings.log_level)
    if options.assignment is not None:
        return await _work(options.assignment, settings)
    count = settings.workers if options.workers is None else options.workers
    if not 1 <= count <= config.WORKERS_MAX:
        return complain(f"--workers must be from 1 to {config.WORKERS_MAX}", CANNOT_START)
    if count > 1 and settings.database_url.startswith("sqlite:"):
        return complain(
            f"SQLite serves from one process, not from {count} workers: use one, or PostgreSQL", CANNOT_START
        )
    host, port = options.host or settings.host, settings.port if options.port is None else options.port
    try:
        listener = listen(host, port)
    except OSError as error:
        return complain(f"cannot listen on {host}:{port}: {error.strerror}", CANNOT_START)
    port = listener.getsockname()[1]
    if count > 1:
        crew = workers.Workers(workers.command("serve"), count, listener)
        failure = await crew.run(lambda: _listening(host, port, settings, f", {count} workers"))
        if failure is not None:
            return failure
        say("Farthing has stopped.")
        return OK
    try:
        listeners = [listener, *_for_metrics(settings)]
    except OSError as error:
        return complain(f"cannot listen on {settings.host}:{settings.metrics_port}: {error.strerror}", CANNOT_START)
    await _gateway(settings, listeners, lambda server: _listening(host, port, settings))
    say("Farthing has stopped.")
    return OK


def _for_metrics(settings: config.Settings) -> list[socket.socket]:
    """The listener for metrics alone, if there is to be one; each worker has one on the same port. Raises OSError."""
    return [listen(settings.host, settings.metrics_port, beside=True)] if settings.metrics_port else []


def _listening(host: str, port: int, settings: config.Settings, more: str = "") -> None:
    scheme = "https" if settings.tls else "http"
    say(f"Farthing listens on {scheme}://{host}:{port} (database {database(settings.database_url)}{more})")


async def _work(assigned: workers.Assignment, settings: config.Settings) -> int:
    """Serve as one of several workers."""
    try:
        listeners = [assigned.listening(), *_for_metrics(settings)]
    except OSError as error:
        return complain(f"cannot listen on {settings.host}:{settings.metrics_port}: {error.strerror}", CANNOT_START)
    snapshots = WorkerSnapshots(Path(assigned.snapshots), str(assigned.number))
    await _gateway(settings, listeners, lambda server: assigned.take(server.stop), snapshots)
    return OK


async def _gateway(
    settings: config.Settings,
    listeners: list[socket.socket],
    on_ready: Callable[[Server], object],
    snapshots: WorkerSnapshots | None = None,
) -> None:
    async with Gateway.open(settings, snapshots=snapshots) as (gateway, master):
        # What was built so far lives as long as the process: collections need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        server = Server(gateway, gateway.drain, settings.tls)
        if master is not None:
            say("A master key was minted. It is shown this once; keep it safe:")
            put(master)
        on_ready(server)
        watching = asyncio.create_task(_end_when_lost(gateway.ledger))
        await server.serve(sockets=listeners)
        watching.cancel()


async def _end_when_lost(ledger: Ledger) -> None:
    """End the process as if it had been killed: the next start reads what the disk has really kept."""
    complain(f"{await ledger.lost()}; what this process knows cannot be trusted: it ends", FAILED)
    sys.stderr.flush()
    os._exit(FAILED)
