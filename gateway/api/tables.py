"""Rows as CSV and JSON lines, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.responses import Response

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_response(columns: list[str], rows: Iterable[dict[str, Any]], name: str) -> Response:
    """Rows as a CSV file. A text that a spreadsheet would take for a formula gets a `'` in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return Response(
        out.getvalue(),
        headers={"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}.csv"'},
        media_type="text/csv; charset=utf-8",
    )


def jsonl_response(rows: Iterable[dict[str, Any]]) -> Response:
    """Rows as one JSON object a line."""
    body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    return Response(body, headers={"cache-control": "no-store"}, media_type="application/jsonl")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    return str(value).lower() if isinstance(value, bool) else str(value)
