"""The `farthing` command: what may be typed, and which exit code each end has. `--json` makes the data JSON.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cannot start, 4 the audit or another comparison found a difference.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from gateway import commands, config
from gateway.billing import commands as billing
from gateway.billing import stripe
from gateway.edge import workers
from gateway.serving import serve
from gateway.terminal import CANNOT_START, FAILED, OK, complain
from keys.limits import Exceeds, Invalid
from keys.minting import ScopeRefused
from ledger.changes import Closed
from ledger.migrations import SchemaTooNew
from ledger.records import LedgerUnavailable
from ledger.retention import Dropped
from ledger.sqlite.files import AlreadyOpen
from ledger.views import NotFound
from providers.statements import STATEMENTS

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
        return complain(str(error), CANNOT_START)
    command: Command = options.command
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command(options, settings))
    except (AlreadyOpen, SchemaTooNew, LedgerUnavailable, ValueError) as error:
        return complain(str(error), CANNOT_START)
    except (NotFound, Invalid, Exceeds, ScopeRefused, Closed, Dropped) as error:
        return complain(f"{type(error).__name__}: {error}", FAILED)
    except KeyboardInterrupt:
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="farthing", description="A key-minting AI gateway whose spend cap holds.")
    names = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str, to: Any = names) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = to.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print data as JSON")
        return sub

    starting = add("serve", serve, "start the gateway (settings come from the environment and .env)")
    starting.add_argument("--host", help="address to listen on (FARTHING_HOST)")
    starting.add_argument("--port", type=int, help="port to listen on (FARTHING_PORT)")
    starting.add_argument("--workers", type=int, help="processes on this socket, on PostgreSQL only (FARTHING_WORKERS)")
    starting.add_argument("--assignment", type=workers.assignment, help=argparse.SUPPRESS)  # how a worker is started

    keys = names.add_parser("keys", help="mint, list, show, revoke, rotate keys")
    nouns = keys.add_subparsers(required=True, metavar="COMMAND")
    mint = add("mint", commands.mint_key, "mint a key under the first master key; its secret is printed once", nouns)
    mint.add_argument("--name", default="")
    mint.add_argument("--scope", default="standard", choices=("master", "team", "standard", "read", "ingest"))
    mint.add_argument("--max-spend-usd", metavar="USD", help="hard cap, such as 5 or 0.25 (default: none)")
    mint.add_argument("--reset", default="none", choices=("none", "day", "week", "month"))
    mint.add_argument("--test", action="store_true", help="a test key: answered by the simulator")
    listing = add("list", commands.list_keys, "list keys, newest first", nouns)
    listing.add_argument("--limit", type=int, default=20)
    add("show", commands.show_key, "show one key", nouns).add_argument("id")
    add("revoke", commands.revoke_key, "revoke a key and all under it", nouns).add_argument("id")
    rotate = add("rotate", commands.rotate_key, "give a key a new secret; its id stays", nouns)
    rotate.add_argument("id")
    rotate.add_argument("--overlap-seconds", type=int, default=0, help="how long the old secret lives on")

    usage = add("usage", commands.usage, "what each key has cost in a range of time")
    usage.add_argument("--from-ms", type=int, default=0)
    usage.add_argument("--to-ms", type=int)
    usage.add_argument("--test", action="store_true", help="of test keys")
    events = add("events", commands.events, "the newest events")
    events.add_argument("--limit", type=int, default=20)
    events.add_argument("--key", help="of this key only")
    events.add_argument("--test", action="store_true", help="of test keys")
    text = "list hooks, and what they were told"
    told = names.add_parser("hooks", help=text).add_subparsers(required=True, metavar="COMMAND")
    add("list", commands.list_hooks, "list hooks, newest first", told).add_argument("--limit", type=int, default=20)
    deliveries = add("deliveries", commands.list_deliveries, "what a hook was told, newest first", told)
    deliveries.add_argument("id")
    deliveries.add_argument("--state", choices=("pending", "delivered", "dead"))
    deliveries.add_argument("--limit", type=int, default=20)
    record = add("changes", commands.changes, "who changed what, newest first")
    record.add_argument("--limit", type=int, default=20)
    record.add_argument("--object", help="of this key, plan or hook only")
    add("audit", commands.audit, "prove that events, balances and rollup agree; exit 4 if not")
    add("migrate", commands.migrate, "bring the database's schema up to date (the gateway does so too when it starts)")
    text = "move everything from SQLite to an empty PostgreSQL database; no gateway may serve"
    add("move", commands.move, text).add_argument("target", help="postgresql://user@host/name")
    prices = add("prices", commands.prices, "list the priced models and what they cost, in USD")
    prices.add_argument("--provider")
    add("doctor", commands.doctor, "check settings, database and credentials")
    _add_billing(add)
    _add_stripe(add, names)
    return parser


def _add_billing(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that hold the books against something else."""
    text = "hold a provider's own usage and cost reports against ours; exit 4 where they differ"
    reconcile = add("reconcile", billing.reconcile, text)
    reconcile.add_argument("provider", choices=tuple(STATEMENTS))
    _add_span(reconcile)
    text = "pages of its reports as JSON, may be repeated (default: fetched with the administrator's key)"
    reconcile.add_argument("--file", action="append", metavar="FILE", help=text)
    reconcile.add_argument("--project", help="only this project's or workspace's part of the statement")
    text = "per cent up to which a difference is none (default 0.1)"
    reconcile.add_argument("--tolerance", type=_percent, default=0.1, metavar="PERCENT", help=text)

    text = "what calls would cost by today's catalogue; --apply charges the difference by events beside theirs"
    reprice = add("reprice", billing.reprice, text)
    _add_span(reprice)
    reprice.add_argument("--apply", action="store_true", help="write the adjustments (once: a second run finds none)")
    reprice.add_argument("--test", action="store_true", help="of test keys")


def _add_stripe(add: Callable[..., argparse.ArgumentParser], names: Any) -> None:
    """The commands about what Stripe is told."""
    text = "check what Stripe has counted against the events, or retry what it has refused"
    at_stripe = names.add_parser("stripe", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    text = "the price of each customer's hours against Stripe's own sums; exit 4 where they differ"
    check = add("check", stripe.check, text, at_stripe)
    check.add_argument("--month", type=stripe.month, required=True, metavar="MONTH", help="2026-11")
    again = add("retry", stripe.retry, "let the gateway tell again what Stripe has refused", at_stripe)
    again.add_argument("--month", type=stripe.month, metavar="MONTH", help="all hours of a month, whatever was told")


def _add_span(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--from", type=billing.day_start, dest="from_ms", required=True, metavar="DAY", help="2026-11-01")
    text = "the day after the last one: 2026-12-01"
    sub.add_argument("--to", type=billing.day_start, dest="to_ms", required=True, metavar="DAY", help=text)


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError("must be from 0 to 100")
    return value


if __name__ == "__main__":
    sys.exit(main())
