"""Rows as CSV and JSON lines, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

_CSV = "text/csv; charset=utf-8"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_response(columns: list[str], rows: Iterable[dict[str, Any]], name: str) -> Response:
    """Rows as a CSV file. A text that a spreadsheet would take for a formula gets a `'` in front."""
    text = _lines([columns]) + _lines(_cells(columns, row) for row in rows)
    return Response(text, headers=_file(name), media_type=_CSV)


def csv_stream(columns: list[str], pages: AsyncIterable[Iterable[dict[str, Any]]], name: str) -> Response:
    """The same, page by page, of more rows than are to be in memory at once. If a page fails, the file breaks off."""

    async def written() -> AsyncIterator[str]:
        yield _lines([columns])
        async for rows in pages:
            yield _lines(_cells(columns, row) for row in rows)

    return StreamingResponse(written(), headers=_file(name), media_type=_CSV)


def jsonl_response(rows: Iterable[dict[str, Any]]) -> Response:
    """Rows as one JSON object a line."""
    body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    return Response(body, headers={"cache-control": "no-store"}, media_type="application/jsonl")


def _file(name: str) -> dict[str, str]:
    return {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}.csv"'}


def _lines(rows: Iterable[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def _cells(columns: list[str], row: dict[str, Any]) -> list[str]:
    return [_cell(row.get(column)) for column in columns]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    return str(value).lower() if isinstance(value, bool) else str(value)
