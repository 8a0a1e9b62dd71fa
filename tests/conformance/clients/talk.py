"""The conversation with a client's program: a job a line on standard input, its outcome a line on standard output.

A job is {"provider", "operation", "model", "url", "key"}; an outcome {"result"} or {"error": {"kind", "status"}}.
Stands alone: it runs in the environments of other people's libraries.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

Job = dict[str, str]


def serve(run: Callable[[Job], Any]) -> None:
    """Answer jobs until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is none of the conversation
    for line in sys.stdin:
        try:
            outcome = {"result": plain(run(json.loads(line)))}
        except Exception as error:  # noqa: BLE001 - every exception of a client is an outcome
            outcome = {"error": {"kind": type(error).__name__, "status": status(error), "text": str(error)[:2000]}}
        out.write(json.dumps(outcome) + "\n")
        out.flush()


def status(error: BaseException | None) -> int | None:
    """The HTTP status that an exception, or what it came from, tells."""
    while error is not None:
        response = getattr(error, "response", None)
        for name in ("status_code", "http_status", "code", "status"):
            for told in (error, response):
                if isinstance(value := getattr(told, name, None), int):
                    return value
        error = error.__cause__ or error.__context__
    return None


def plain(value: Any) -> Any:
    """A library's objects as plain data."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json", warnings=False))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
