"""What a command says and how it ends: data goes to stdout, talk to stderr, and the exit code says which end it was."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import msgspec

OK, FAILED, USAGE, CANNOT_START, DIFFERENCE = 0, 1, 2, 3, 4


def complain(message: str, code: int) -> int:
    """Say what is wrong; the exit code, to return."""
    print(f"farthing: {message}", file=sys.stderr)  # noqa: T201 - the command line talks here
    return code


def say(message: str) -> None:
    """Talk: what a pipe must not carry on."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the command line talks here


def put(text: str) -> None:
    """A line of the command's data."""
    print(text, flush=True)  # noqa: T201 - the command line's data


def emit(options: argparse.Namespace, data: Any, lines: list[str]) -> None:
    """The command's data: as these lines, or with `--json` as JSON."""
    if options.json:
        put(json.dumps(msgspec.to_builtins(data)))
    else:
        for line in lines:
            put(line)


def database(url: str) -> str:
    """A database's address as it may be shown: PostgreSQL's can carry a password."""
    return url if url.startswith("sqlite:") else url.partition("://")[0]
