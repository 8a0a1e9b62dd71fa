"""A provider's statement from where it lies: files of its pages as it gave them, or its own reports, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from providers.ground.statement import BadStatement, Entry, Page, Parameters, Statement

PAGES_MAX = 10_000  # of one report: a cursor that leads in a circle ends too
PAGE_BYTES_MAX = 64 * 1024 * 1024
TRIES = 5  # of one page that is refused for a while
WAIT_S = 2.0  # before the second try, and twice as long before each further one
TIMEOUT_S = 60.0
_LATER = (429, 500, 502, 503, 504, 529)


class NotGiven(Exception):
    """The provider does not give a page; the message says what it answered."""


def from_files(statement: Statement, paths: Sequence[Path]) -> list[Entry]:
    """All figures of files that hold pages: one, an array of them, or one a line.

    Raises:
        BadStatement: A file is no page of this provider's, or a report breaks off; the message names the file.
        OSError: A file cannot be read.
    """
    entries: list[Entry] = []
    open_reports: dict[str, Path] = {}
    for path in paths:
        for at, json_text in enumerate(_pages(path), 1):
            try:
                page = statement.read(json_text)
            except BadStatement as error:
                raise BadStatement(f"{path}, page {at}: {error}") from None
            entries += page.entries
            open_reports.pop(page.report, None)
            if page.next_page is not None:
                open_reports[page.report] = path
    for report, path in open_reports.items():
        raise BadStatement(f"{path}: {report or 'the report'} breaks off: has_more, and its next page is in no file")
    return entries


def _pages(path: Path) -> list[bytes]:
    text = path.read_bytes().strip()
    try:
        if text.startswith(b"["):
            return [bytes(each) for each in msgspec.json.decode(text, type=list[msgspec.Raw])]
        return [bytes(msgspec.json.decode(text, type=msgspec.Raw))]
    except msgspec.DecodeError:
        return [line for line in text.splitlines() if line.strip()]


async def fetched(statement: Statement, origin: str, key: str, from_ms: int, to_ms: int) -> list[Entry]:
    """All figures of the provider's reports of `[from_ms, to_ms)`, whole UTC days.

    Raises:
        NotGiven: It refuses, or cannot be reached.
        BadStatement: It answers with something else.
    """
    entries: list[Entry] = []
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=statement.headers(key)
    ) as session:
        for report in statement.reports:
            cursor: list[tuple[str, str]] = []
            for _ in range(PAGES_MAX):
                parameters = report.parameters(from_ms, to_ms) + cursor
                page = await _page(session, statement, origin + report.path, parameters)
                entries += page.entries
                if page.next_page is None:
                    break
                cursor = [("page", page.next_page)]
            else:
                raise NotGiven(f"{report.path} has more than {PAGES_MAX} pages")
    return entries


async def _page(session: aiohttp.ClientSession, statement: Statement, url: str, parameters: Parameters) -> Page:
    found = ""
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(WAIT_S * 2 ** (attempt - 1))
        try:
            async with session.get(url, params=parameters, allow_redirects=False) as answer:
                text = await answer.content.read(PAGE_BYTES_MAX)
                if answer.status == 200:
                    return statement.read(text)
                found = f"{url} answered {answer.status}: {text[:200].decode(errors='replace')}"
                if answer.status not in _LATER:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            found = f"{url}: {type(error).__name__}: {error}"
    raise NotGiven(found)
