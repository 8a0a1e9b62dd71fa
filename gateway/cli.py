"""The `farthing` command. Data goes to stdout, talk to stderr; `--json` makes the data JSON.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cannot start, 4 the audit found a difference. Everything but `serve`
works on the database itself, beside a running gateway or without one, with the rights of the first master key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from gateway import config
from gateway.api.events import event_object
from gateway.api.keys import key_object
from gateway.app import Gateway, clock_ms
from gateway.doctor import examined
from gateway.edge import workers
from gateway.edge.server import Server, listen
from gateway.price_table import price_table
from gateway.telemetry import Board, configure_logging
from keys.hashing import SecretHasher
from keys.keyring import Key, Keyring
from keys.minting import Minter, ScopeRefused
from keys.policy import read_policy
from keys.requests import Mint
from keys.terms import Exceeds, Invalid
from ledger import moving
from ledger.changes import Closed
from ledger.events import EventQuery
from ledger.ledger import Ledger
from ledger.migrations import SchemaTooNew
from ledger.money import micros_to_usd
from ledger.records import LedgerUnavailable
from ledger.retention import Dropped
from ledger.sqlite.files import AlreadyOpen
from ledger.usage import Query
from ledger.views import NotFound
from providers.pricing.catalogue import Catalogue

GC_THRESHOLD = 20_000  # a call leaves next to no cycles behind: looking for them every 700 objects is a waste

OK, FAILED, USAGE, CANNOT_START, DIFFERENCE = 0, 1, 2, 3, 4

Command = Callable[[argparse.Namespace, config.Settings], Coroutine[Any, Any, int]]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code. Who reads no further (`| head`) has seen what he wanted."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return OK
    return code


def _run(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    try:
        settings = config.load()
    except config.BadSetting as error:
        return _complain(str(error), CANNOT_START)
    command: Command = options.command
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command(options, settings))
    except (AlreadyOpen, SchemaTooNew, LedgerUnavailable, ValueError) as error:
        return _complain(str(error), CANNOT_START)
    except (NotFound, Invalid, Exceeds, ScopeRefused, Closed, Dropped) as error:
        return _complain(f"{type(error).__name__}: {error}", FAILED)
    except KeyboardInterrupt:
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="farthing", description="A key-minting AI gateway whose spend cap holds.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str, to: Any = commands) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = to.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print data as JSON")
        return sub

    serve = add("serve", _serve, "start the gateway (settings come from the environment and .env)")
    serve.add_argument("--host", help="address to listen on (FARTHING_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on (FARTHING_PORT)")
    serve.add_argument("--workers", type=int, help="processes on this socket, on PostgreSQL only (FARTHING_WORKERS)")
    serve.add_argument("--seat", type=workers.seat, help=argparse.SUPPRESS)  # how a worker is started

    keys = commands.add_parser("keys", help="mint, list, show, revoke, rotate keys")
    nouns = keys.add_subparsers(required=True, metavar="COMMAND")
    mint = add("mint", _mint, "mint a key under the first master key; its secret is printed once", nouns)
    mint.add_argument("--name", default="")
    mint.add_argument("--scope", default="standard", choices=("master", "team", "standard", "read", "ingest"))
    mint.add_argument("--max-spend-usd", metavar="USD", help="hard cap, such as 5 or 0.25 (default: none)")
    mint.add_argument("--reset", default="none", choices=("none", "day", "week", "month"))
    mint.add_argument("--test", action="store_true", help="a test key: answered by the simulator")
    listing = add("list", _list, "list keys, newest first", nouns)
    listing.add_argument("--limit", type=int, default=20)
    add("show", _show, "show one key", nouns).add_argument("id")
    add("revoke", _revoke, "revoke a key and all under it", nouns).add_argument("id")
    rotate = add("rotate", _rotate, "give a key a new secret; its id stays", nouns)
    rotate.add_argument("id")
    rotate.add_argument("--overlap-seconds", type=int, default=0, help="how long the old secret lives on")

    usage = add("usage", _usage, "what each key has cost in a range of time")
    usage.add_argument("--from-ms", type=int, default=0)
    usage.add_argument("--to-ms", type=int)
    usage.add_argument("--test", action="store_true", help="of test keys")
    events = add("events", _events, "the newest events")
    events.add_argument("--limit", type=int, default=20)
    events.add_argument("--key", help="of this key only")
    events.add_argument("--test", action="store_true", help="of test keys")
    add("audit", _audit, "prove that events, balances and rollup agree; exit 4 if not")
    add("migrate", _migrate, "bring the database's schema up to date (the gateway does so too when it starts)")
    move = add("move", _move, "move everything from SQLite to an empty PostgreSQL database; no gateway may serve")
    move.add_argument("target", help="postgresql://user@host/name")
    prices = add("prices", _prices, "list the priced models and what they cost, in USD")
    prices.add_argument("--provider")
    add("doctor", _doctor, "check settings, database and credentials")
    return parser


def _complain(message: str, code: int) -> int:
    print(f"farthing: {message}", file=sys.stderr)  # noqa: T201 - the command line talks here
    return code


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the command line talks here


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command line's data


def _emit(options: argparse.Namespace, data: Any, lines: list[str]) -> None:
    if options.json:
        _print(json.dumps(msgspec.to_builtins(data)))
    else:
        for line in lines:
            _print(line)


# ---- serve


async def _serve(options: argparse.Namespace, settings: config.Settings) -> int:
    configure_logging(settings.log_level)
    if options.seat is not None:
        return await _work(options.seat, settings)
    count = settings.workers if options.workers is None else options.workers
    if not 1 <= count <= config.WORKERS_MAX:
        return _complain(f"--workers must be from 1 to {config.WORKERS_MAX}", CANNOT_START)
    if count > 1 and settings.database_url.startswith("sqlite:"):
        return _complain(
            f"SQLite serves from one process, not from {count} workers: use one, or PostgreSQL", CANNOT_START
        )
    host, port = options.host or settings.host, settings.port if options.port is None else options.port
    try:
        listener = listen(host, port)
    except OSError as error:
        return _complain(f"cannot listen on {host}:{port}: {error.strerror}", CANNOT_START)
    port = listener.getsockname()[1]
    if count > 1:
        crew = workers.Workers(workers.command("serve"), count, listener)
        failure = await crew.run(lambda: _listening(host, port, settings, f", {count} workers"))
        if failure is not None:
            return failure
        _say("Farthing has stopped.")
        return OK
    try:
        listeners = [listener, *_for_metrics(settings)]
    except OSError as error:
        return _complain(f"cannot listen on {settings.host}:{settings.metrics_port}: {error.strerror}", CANNOT_START)
    await _gateway(settings, listeners, lambda server: _listening(host, port, settings))
    _say("Farthing has stopped.")
    return OK


def _for_metrics(settings: config.Settings) -> list[socket.socket]:
    """The listener for metrics alone, if there is to be one; each worker has one on the same port. Raises OSError."""
    return [listen(settings.host, settings.metrics_port, beside=True)] if settings.metrics_port else []


def _listening(host: str, port: int, settings: config.Settings, more: str = "") -> None:
    scheme = "https" if settings.tls else "http"
    _say(f"Farthing listens on {scheme}://{host}:{port} (database {_scrub(settings.database_url)}{more})")


async def _work(seat: workers.Seat, settings: config.Settings) -> int:
    """Serve as one of several workers."""
    try:
        listeners = [seat.listening(), *_for_metrics(settings)]
    except OSError as error:
        return _complain(f"cannot listen on {settings.host}:{settings.metrics_port}: {error.strerror}", CANNOT_START)
    board = Board(Path(seat.board), str(seat.number))
    await _gateway(settings, listeners, lambda server: seat.take(server.stop), board)
    return OK


async def _gateway(
    settings: config.Settings,
    listeners: list[socket.socket],
    on_ready: Callable[[Server], object],
    board: Board | None = None,
) -> None:
    async with Gateway.open(settings, board=board) as (gateway, master):
        # What was built so far lives as long as the process: collections need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        server = Server(gateway, gateway.drain, settings.tls)
        if master is not None:
            _say("A master key was minted. It is shown this once; keep it safe:")
            _print(master)
        on_ready(server)
        watching = asyncio.create_task(_end_when_lost(gateway.ledger))
        await server.serve(sockets=listeners)
        watching.cancel()


async def _end_when_lost(ledger: Ledger) -> None:
    """End the process as if it had been killed: the next start reads what the disk has really kept."""
    _complain(f"{await ledger.lost()}; what this process knows cannot be trusted: it ends", FAILED)
    sys.stderr.flush()
    os._exit(FAILED)


def _scrub(url: str) -> str:
    return url if url.startswith("sqlite:") else url.partition("://")[0]


# ---- beside the gateway


@contextlib.asynccontextmanager
async def _beside(settings: config.Settings) -> AsyncIterator[tuple[Ledger, Minter, Key, Keyring]]:
    """The ledger, without serving, as the first master key."""
    ledger = await Ledger.open(
        settings.database_url, clock_ms=clock_ms, owner=f"cli.{os.getpid()}.{secrets.token_hex(4)}", serving=False
    )
    hasher = SecretHasher()
    try:
        keyring = await Keyring.open(ledger, hasher, clock_ms=clock_ms, master=settings.master_key)
        minter = Minter(ledger, keyring, hasher, clock_ms)
        root = await ledger.accounts.root()
        if root is None:
            raise NotFound("there is no master key yet: start the gateway once")
        yield ledger, minter, await keyring.refresh(root), keyring
    finally:
        await ledger.close()
        hasher.close()


async def _mint(options: argparse.Namespace, settings: config.Settings) -> int:
    asked: dict[str, Any] = {"name": options.name, "scope": options.scope, "reset": options.reset}
    asked["livemode"] = not options.test
    if options.max_spend_usd is not None:
        asked["max_spend_usd"] = options.max_spend_usd
    try:
        request = msgspec.convert(asked, Mint, strict=False)
    except msgspec.ValidationError as error:
        return _complain(str(error), USAGE)
    async with _beside(settings) as (_ledger, minter, root, _keyring):
        minted = await minter.mint(root, secrets.token_hex(32), request)
    _emit(options, key_object(minted.account) | {"secret": minted.secret}, [minted.account.public_id, minted.secret])
    return OK


async def _list(options: argparse.Namespace, settings: config.Settings) -> int:
    async with _beside(settings) as (ledger, _minter, root, _keyring):
        accounts, _more = await ledger.accounts.page(root.account_id, limit=max(1, min(options.limit, 1000)))
    rows = [key_object(account) for account in accounts]
    _emit(options, rows, [_key_line(row) for row in rows])
    return OK


def _key_line(row: dict[str, Any]) -> str:
    cap = "no cap" if row["max_spend_micros"] is None else f"cap ${micros_to_usd(row['max_spend_micros'])}"
    spent = micros_to_usd(row["spent_micros"])
    mode = "live" if row["livemode"] else "test"
    return f"{row['id']}  {mode}  {row['status']:8}  {row['scope']:8}  spent ${spent} of {cap}  {row['name']}"


async def _show(options: argparse.Namespace, settings: config.Settings) -> int:
    async with _beside(settings) as (ledger, _minter, root, _keyring):
        row = key_object(await ledger.accounts.get(root.account_id, options.id))
    _emit(options, row, [f"{name}: {value}" for name, value in row.items()])
    return OK


async def _revoke(options: argparse.Namespace, settings: config.Settings) -> int:
    async with _beside(settings) as (_ledger, minter, root, _keyring):
        account, _ = await minter.revoke(root, options.id)
    _emit(options, key_object(account), [f"{account.public_id} {account.status}"])
    return OK


async def _rotate(options: argparse.Namespace, settings: config.Settings) -> int:
    async with _beside(settings) as (_ledger, minter, root, _keyring):
        minted = await minter.rotate(root, secrets.token_hex(32), options.id, options.overlap_seconds)
    _emit(options, key_object(minted.account) | {"secret": minted.secret}, [minted.account.public_id, minted.secret])
    return OK


async def _usage(options: argparse.Namespace, settings: config.Settings) -> int:
    to_ms = clock_ms() + 1 if options.to_ms is None else options.to_ms
    async with _beside(settings) as (ledger, _minter, root, _keyring):
        query = Query(owner_id=root.account_id, from_ms=options.from_ms, to_ms=to_ms, livemode=not options.test)
        report = await ledger.reports.usage(query)
    rows: list[dict[str, Any]] = [
        {
            "key_id": report.names[group[0]].public_id,
            "name": read_policy(report.names[group[0]].profile).name,
            "provider": group[1],
            "model": group[2],
            "requests": sums.requests,
            "blocked": sums.blocked,
            "cost_micros": sums.cost_micros,
        }
        for group, sums in sorted(report.groups.items())
    ]
    lines = [
        f"{row['key_id']}  {row['provider']}/{row['model']}  {row['requests']} calls, {row['blocked']} blocked"
        f"  ${micros_to_usd(row['cost_micros'])}  {row['name']}"
        for row in rows
    ]
    _emit(options, rows, lines)
    return OK


async def _events(options: argparse.Namespace, settings: config.Settings) -> int:
    async with _beside(settings) as (ledger, _minter, root, _keyring):
        query = EventQuery(
            owner_id=root.account_id,
            limit=max(1, min(options.limit, 1000)),
            livemode=not options.test if options.key is None else None,
            key=options.key,
        )
        found, _more = await ledger.reports.events(query)
    rows = [event_object(event) for event in found]
    lines = [
        f"{row['id']}  {row['key_id']}  {row['provider']}/{row['model']}  {row['decision']}"
        f"  {row['reason'] or row['status']}  ${micros_to_usd(row['cost_micros'])}"
        for row in rows
    ]
    _emit(options, rows, lines)
    return OK


async def _audit(options: argparse.Namespace, settings: config.Settings) -> int:
    ledger = await Ledger.open(settings.database_url, clock_ms=clock_ms, owner="audit", serving=False)
    try:
        finding = await ledger.reports.audit()
    finally:
        await ledger.close()
    lines = [
        f"{difference.check}: {difference.subject}: kept {difference.kept}, parts add up to {difference.summed}"
        for difference in finding.differences
    ]
    if finding.dropped:
        lines.append(f"{finding.dropped} events were dropped, and what they came to carried forward")
    lines.append(
        f"{finding.events} events, {finding.accounts} accounts, ${micros_to_usd(finding.cost_micros)};"
        f" {finding.open_holds} holds open, {finding.unsettled_holds} unsettled; {finding.count} differences"
    )
    _emit(options, finding, lines)
    return DIFFERENCE if finding.count else OK


async def _migrate(options: argparse.Namespace, settings: config.Settings) -> int:
    before, after = await moving.migrate(settings.database_url)
    line = f"schema {before} -> {after}" if before < after else f"schema {after}: up to date"
    _emit(options, {"from": before, "to": after}, [line])
    return OK


async def _move(options: argparse.Namespace, settings: config.Settings) -> int:
    source = moving.sqlite_path(settings.database_url)
    if source is None:
        return _complain("FARTHING_DATABASE_URL must name the SQLite database to move from", USAGE)
    moved = await moving.move(source, options.target, lambda table, rows: _say(f"{table}: {rows} rows"))
    both = (
        f"both sides: {moved.audit.events} events, {moved.audit.accounts} accounts,"
        f" ${micros_to_usd(moved.audit.cost_micros)}; {moved.audit.open_holds} holds open,"
        f" {moved.audit.unsettled_holds} unsettled; {moved.audit.count} differences"
    )
    _emit(options, moved, [both])
    _say(f"Now set FARTHING_DATABASE_URL to the target, and start no gateway on {source} any more.")
    return OK


def _catalogue(settings: config.Settings) -> Catalogue:
    """The prices that the gateway would serve with."""
    return Catalogue.load(overrides=settings.price_files, picos_per_credit=settings.picos_per_credit)


async def _prices(options: argparse.Namespace, settings: config.Settings) -> int:
    catalogue = _catalogue(settings)
    rows = catalogue.models(options.provider)
    _say(f"catalogue {catalogue.version}, {len(rows)} models")
    _emit(options, rows, price_table(rows, time.strftime("%Y-%m-%d", time.gmtime())))
    return OK


async def _doctor(options: argparse.Namespace, settings: config.Settings) -> int:
    """Each check is a line: what was looked at, and what was found."""
    checks = await examined(settings, _catalogue(settings), _scrub(settings.database_url))
    rows = [{"check": name, "ok": ok, "found": found} for name, ok, found in checks]
    _emit(options, rows, [f"{'ok  ' if row['ok'] else 'FAIL'} {row['check']}: {row['found']}" for row in rows])
    return OK if all(ok for _, ok, _ in checks) else FAILED


if __name__ == "__main__":
    sys.exit(main())
