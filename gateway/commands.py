"""The commands that read and write data. They work on the database itself, beside a running gateway or without one,
with the rights of the first master key.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gateway import config
from gateway.api.changes import change_object
from gateway.api.events import event_object
from gateway.api.hooks import delivery_object, hook_object
from gateway.api.keys import key_object
from gateway.app import clock_ms
from gateway.doctor import examined
from gateway.price_table import price_table
from gateway.terminal import DIFFERENCE, FAILED, OK, USAGE, complain, database, emit, say
from keys.hashing import SecretHasher
from keys.keyring import Key, Keyring
from keys.minting import Minter
from keys.policy import read_policy
from keys.requests import Mint
from ledger import moving
from ledger.events import EventQuery
from ledger.history import ChangeQuery
from ledger.ledger import Ledger
from ledger.money import micros_to_usd
from ledger.replays import Origin
from ledger.usage import Query
from ledger.views import NotFound
from providers.pricing.catalogue import Catalogue


@contextlib.asynccontextmanager
async def beside(settings: config.Settings) -> AsyncIterator[tuple[Ledger, Minter, Key, Keyring]]:
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


def _origin(root: Key) -> Origin:
    """Where a change comes from that is made at the command line."""
    return Origin(account_id=root.account_id, actor="cli")


async def mint_key(options: argparse.Namespace, settings: config.Settings) -> int:
    """`keys mint`: a key under the first master key; its secret is shown this once."""
    asked: dict[str, Any] = {"name": options.name, "scope": options.scope, "reset": options.reset}
    asked["livemode"] = not options.test
    if options.max_spend_usd is not None:
        asked["max_spend_usd"] = options.max_spend_usd
    try:
        request = msgspec.convert(asked, Mint, strict=False)
    except msgspec.ValidationError as error:
        return complain(str(error), USAGE)
    async with beside(settings) as (_ledger, minter, root, _keyring):
        minted = await minter.mint(root, secrets.token_hex(32), request, _origin(root))
    emit(options, key_object(minted.account) | {"secret": minted.secret}, [minted.account.public_id, minted.secret])
    return OK


async def list_keys(options: argparse.Namespace, settings: config.Settings) -> int:
    """`keys list`: the newest keys."""
    async with beside(settings) as (ledger, _minter, root, _keyring):
        accounts, _more = await ledger.accounts.page(root.account_id, limit=max(1, min(options.limit, 1000)))
    rows = [key_object(account) for account in accounts]
    emit(options, rows, [_key_line(row) for row in rows])
    return OK


def _key_line(row: dict[str, Any]) -> str:
    cap = "no cap" if row["max_spend_micros"] is None else f"cap ${micros_to_usd(row['max_spend_micros'])}"
    spent = micros_to_usd(row["spent_micros"])
    mode = "live" if row["livemode"] else "test"
    return f"{row['id']}  {mode}  {row['status']:8}  {row['scope']:8}  spent ${spent} of {cap}  {row['name']}"


async def show_key(options: argparse.Namespace, settings: config.Settings) -> int:
    """`keys show`: all that is known of one key."""
    async with beside(settings) as (ledger, _minter, root, _keyring):
        row = key_object(await ledger.accounts.get(root.account_id, options.id))
    emit(options, row, [f"{name}: {value}" for name, value in row.items()])
    return OK


async def revoke_key(options: argparse.Namespace, settings: config.Settings) -> int:
    """`keys revoke`: close a key and all under it."""
    async with beside(settings) as (_ledger, minter, root, _keyring):
        account, _ = await minter.revoke(root, options.id, _origin(root))
    emit(options, key_object(account), [f"{account.public_id} {account.status}"])
    return OK


async def rotate_key(options: argparse.Namespace, settings: config.Settings) -> int:
    """`keys rotate`: a new secret for a key; the old one may live on for a while."""
    async with beside(settings) as (_ledger, minter, root, _keyring):
        minted = await minter.rotate(root, secrets.token_hex(32), options.id, options.overlap_seconds, _origin(root))
    emit(options, key_object(minted.account) | {"secret": minted.secret}, [minted.account.public_id, minted.secret])
    return OK


async def list_hooks(options: argparse.Namespace, settings: config.Settings) -> int:
    """`hooks list`: the newest hooks."""
    async with beside(settings) as (ledger, _minter, root, _keyring):
        hooks, _more = await ledger.hooks.page(root.account_id, max(1, min(options.limit, 1000)), None)
    rows = [hook_object(hook) for hook in hooks]
    lines = [
        f"{row['id']}  {row['kind']:7}  {row['status']:8}  {row['url'] or row['to']}  {','.join(row['events'])}"
        for row in rows
    ]
    emit(options, rows, lines)
    return OK


async def list_deliveries(options: argparse.Namespace, settings: config.Settings) -> int:
    """`hooks deliveries`: what a hook was told."""
    async with beside(settings) as (ledger, _minter, root, _keyring):
        found, _more = await ledger.outbox.deliveries(
            root.account_id,
            options.id,
            state=options.state,
            limit=max(1, min(options.limit, 1000)),
            starting_after=None,
        )
    rows = [delivery_object(each) for each in found]
    lines = [f"{row['id']}  {row['state']:9}  {row['tries']} tries  {row['type']}" for row in rows]
    emit(options, [msgspec.json.decode(msgspec.json.encode(row)) for row in rows], lines)
    return OK


async def changes(options: argparse.Namespace, settings: config.Settings) -> int:
    """`changes`: who changed what."""
    async with beside(settings) as (ledger, _minter, root, _keyring):
        query = ChangeQuery(owner_id=root.account_id, limit=max(1, min(options.limit, 1000)), object_id=options.object)
        found, _more = await ledger.reports.changes(query)
    rows = [change_object(each) for each in found]
    lines = [
        f"{row['id']}  {row['created_ms']}  {row['type']:16}  {row['object_id']}  by {row['actor']}" for row in rows
    ]
    emit(options, rows, lines)
    return OK


async def usage(options: argparse.Namespace, settings: config.Settings) -> int:
    """`usage`: what each key has cost in a range of time, by provider and model."""
    to_ms = clock_ms() + 1 if options.to_ms is None else options.to_ms
    async with beside(settings) as (ledger, _minter, root, _keyring):
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
    emit(options, rows, lines)
    return OK


async def events(options: argparse.Namespace, settings: config.Settings) -> int:
    """`events`: the newest events."""
    async with beside(settings) as (ledger, _minter, root, _keyring):
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
    emit(options, rows, lines)
    return OK


async def audit(options: argparse.Namespace, settings: config.Settings) -> int:
    """`audit`: whether events, balances and rollup agree."""
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
    emit(options, finding, lines)
    return DIFFERENCE if finding.count else OK


async def migrate(options: argparse.Namespace, settings: config.Settings) -> int:
    """`migrate`: bring the database's schema up to date."""
    before, after = await moving.migrate(settings.database_url)
    line = f"schema {before} -> {after}" if before < after else f"schema {after}: up to date"
    emit(options, {"from": before, "to": after}, [line])
    return OK


async def move(options: argparse.Namespace, settings: config.Settings) -> int:
    """`move`: everything from SQLite to an empty PostgreSQL database."""
    source = moving.sqlite_path(settings.database_url)
    if source is None:
        return complain("FARTHING_DATABASE_URL must name the SQLite database to move from", USAGE)
    moved = await moving.move(source, options.target, lambda table, rows: say(f"{table}: {rows} rows"))
    both = (
        f"both sides: {moved.audit.events} events, {moved.audit.accounts} accounts,"
        f" ${micros_to_usd(moved.audit.cost_micros)}; {moved.audit.open_holds} holds open,"
        f" {moved.audit.unsettled_holds} unsettled; {moved.audit.count} differences"
    )
    emit(options, moved, [both])
    say(f"Now set FARTHING_DATABASE_URL to the target, and start no gateway on {source} any more.")
    return OK


def catalogue_of(settings: config.Settings) -> Catalogue:
    """The prices that the gateway would serve with."""
    return Catalogue.load(overrides=settings.price_files, picos_per_credit=settings.picos_per_credit)


async def prices(options: argparse.Namespace, settings: config.Settings) -> int:
    """`prices`: the priced models, and what they cost."""
    catalogue = catalogue_of(settings)
    rows = catalogue.models(options.provider)
    say(f"catalogue {catalogue.version}, {len(rows)} models")
    emit(options, rows, price_table(rows, time.time_ns() // 1_000_000))
    return OK


async def doctor(options: argparse.Namespace, settings: config.Settings) -> int:
    """`doctor`: each check is a line: what was looked at, and what was found."""
    checks = await examined(settings, catalogue_of(settings), database(settings.database_url))
    rows = [{"check": name, "ok": ok, "found": found} for name, ok, found in checks]
    emit(options, rows, [f"{'ok  ' if row['ok'] else 'FAIL'} {row['check']}: {row['found']}" for row in rows])
    return OK if all(ok for _, ok, _ in checks) else FAILED
