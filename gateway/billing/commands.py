"""The commands that hold the books against something else: `reconcile` and `reprice`."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, date, datetime
from pathlib import Path

from gateway import config
from gateway.app import clock_ms
from gateway.billing import reconcile as comparing
from gateway.billing import reprice as pricing
from gateway.billing.gathering import NotGiven, fetched, from_files
from gateway.billing.reconcile import Comparison, Finding
from gateway.commands import beside, catalogue_of
from gateway.terminal import DIFFERENCE, FAILED, OK, USAGE, complain, emit, say
from keys.keyring import Keyring
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO, micros_to_usd
from providers.ground.statement import BadStatement, Entry
from providers.statements import STATEMENTS

PPM_OF_PERCENT = 10_000


def day_start(text: str) -> int:
    """A day as the command line takes it, YYYY-MM-DD, as the Unix ms of its start in UTC. Raises ValueError."""
    day = date.fromisoformat(text)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


async def reconcile(options: argparse.Namespace, settings: config.Settings) -> int:
    """`reconcile`: what we have counted and charged, and what the provider has; exit 4 where they differ."""
    if options.to_ms <= options.from_ms:
        return complain("--to must be after --from: the day after the last one", USAGE)
    statement = STATEMENTS[options.provider]
    try:
        if options.file:
            theirs = from_files(statement, [Path(each) for each in options.file])
        else:
            key = os.environ.get(statement.key_env, "")
            if not key:
                return complain(f"set {statement.key_env}, or give files of the provider's pages with --file", USAGE)
            origin = settings.places[options.provider].origin
            theirs = await fetched(statement, origin, key, options.from_ms, options.to_ms)
    except (BadStatement, NotGiven, OSError) as error:
        return complain(str(error), FAILED)
    theirs = [each for each in theirs if _asked(each, options)]
    ledger = await Ledger.open(settings.database_url, clock_ms=clock_ms, owner="reconcile", serving=False)
    try:
        ours = await ledger.reports.purchases(options.provider, options.from_ms, options.to_ms)
    finally:
        await ledger.close()
    if not theirs:
        say("the provider's statement has nothing in this span")
    tolerance_ppm = round(options.tolerance * PPM_OF_PERCENT)
    found = comparing.compare(options.provider, ours, theirs, catalogue_of(settings), tolerance_ppm)
    emit(options, _object(found, options), _lines(found))
    return DIFFERENCE if found.findings else OK


async def reprice(options: argparse.Namespace, settings: config.Settings) -> int:
    """`reprice`: what calls would cost by today's catalogue; with `--apply`, charged so by events beside them."""
    if options.to_ms <= options.from_ms:
        return complain("--to must be after --from: the day after the last one", USAGE)
    catalogue = catalogue_of(settings)
    sums: dict[tuple[int, str, str], pricing.Sums] = {}
    applied = 0
    async with beside(settings) as (ledger, _minter, _root, keyring):
        after: tuple[int, int] | None = (options.from_ms - 1, 0)
        while after is not None:
            page, after = await ledger.reports.charged(options.from_ms, options.to_ms, after, livemode=not options.test)
            found = list(pricing.repriced(page, catalogue, sums))
            if options.apply:
                applied += await _apply(ledger, keyring, found)
        rows = [
            pricing.sums_object((await keyring.refresh(account_id)).public_id, provider, model, each)
            for (account_id, provider, model), each in sorted(sums.items())
            if each.changed
        ]
    lines = [
        f"{row['key_id']}  {row['provider']}/{row['model']}  {row['changed']} of {row['events']} calls"
        f"  ${micros_to_usd(row['old_micros'])} -> ${micros_to_usd(row['new_micros'])}"
        for row in rows
    ]
    difference = sum(row["difference_picos"] for row in rows)
    said = f"{applied} adjustments written" if options.apply else "nothing was changed: --apply writes adjustments"
    lines.append(f"${micros_to_usd(difference // PICOS_PER_MICRO)} in all; {said}")
    emit(options, {"catalogue": catalogue.version, "applied": applied, "rows": rows}, lines)
    return OK


async def _apply(ledger: Ledger, keyring: Keyring, found: list[pricing.Repriced]) -> int:
    """Write the adjustments of a page; how many were not there before."""
    markups = {
        account_id: (await keyring.refresh(account_id)).policy.markup_ppm
        for account_id in {each.event.account_id for each in found}
    }
    written = await asyncio.gather(
        *(ledger.calls.adjust(pricing.adjustment(each, markups[each.event.account_id])) for each in found)
    )
    return sum(1 for each in written if each is not None and each.first)


def _asked(entry: Entry, options: argparse.Namespace) -> bool:
    in_span: bool = options.from_ms <= entry.day_ms < options.to_ms
    return in_span and (options.project is None or entry.project == options.project)


def _object(found: Comparison, options: argparse.Namespace) -> dict[str, object]:
    return {
        "provider": options.provider,
        "from_ms": options.from_ms,
        "to_ms": options.to_ms,
        "lines": [comparing.line_object(line) for line in found.lines],
        "days": [comparing.day_object(day) for day in found.days],
        "findings": [
            {
                "kind": each.kind,
                "model": each.model,
                "class": each.of,
                "days_ms": list(each.days_ms),
                "difference_tokens": each.tokens,
                "difference_micros": comparing.micros(each.picos),
            }
            for each in found.findings
        ],
    }


def _lines(found: Comparison) -> list[str]:
    lines = [
        f"{_day(line.day_ms)}  {line.model or '-'}  {line.of}  ours {line.ours_tokens}  theirs {line.theirs_tokens}"
        f"  {line.ours_tokens - line.theirs_tokens:+d} tokens"
        for line in found.lines
        if line.ours_tokens or line.theirs_tokens
    ]
    lines += [
        f"{_day(day.day_ms)}  {day.model or '-'}  money  ours ${_usd(day.ours_picos)}  theirs ${_usd(day.theirs_picos)}"
        f"  of tokens ${_usd(day.of_tokens_picos)}  of price ${_usd(day.of_price_picos)}"
        for day in found.days
    ]
    lines += [_finding(each) for each in found.findings]
    return [*lines, f"{len(found.findings)} differences"]


_WORDS = {
    "tokens": "tokens are counted differently",
    "class_missed": "a class of tokens that we never count",
    "class_not_billed": "a class of tokens that they do not have",
    "day": "the same tokens in all, on other days",
    "price": "the price differs",
    "only_theirs": "calls that did not go through here",
    "only_ours": "calls that the provider does not know",
    "other_charge": "a charge that is not for tokens",
}


def _finding(each: Finding) -> str:
    what = " ".join(part for part in (each.model or "-", each.of) if part)
    days = ", ".join(_day(day_ms) for day_ms in each.days_ms)
    tokens = f" {each.tokens:+d} tokens" if each.tokens else ""
    money = f" ${_usd(each.picos)}" if each.picos else ""
    return f"DIFFERENCE {each.kind}: {what}: {_WORDS[each.kind]}:{tokens}{money} ({days})"


def _usd(picos: int) -> str:
    return micros_to_usd(comparing.micros(picos))


def _day(day_ms: int) -> str:
    return datetime.fromtimestamp(day_ms // 1000, UTC).date().isoformat()
