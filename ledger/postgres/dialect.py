"""The scripts' SQL in PostgreSQL's words.

Scripts are written once, in SQL that both databases know but for a handful of words. Each of those stands here, once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_WORDS = (
    (re.compile(r"group_concat\(hex\(([\w.]+)\), ''\)"), r"string_agg(encode(\1, 'hex'), '')"),
    (re.compile(r"json_each\(([\w.]+)\)"), r"json_array_elements(CAST(\1 AS JSON))"),
    (re.compile(r"json_extract\(value, '\$\[(\d)\]'\)"), r"CAST(value ->> \1 AS BIGINT)"),
    (re.compile(r"json_extract\((\w+), '\$\.(\w+)'\)"), r"CAST(CAST(\1 AS JSON) ->> '\2' AS NUMERIC)"),
    (re.compile(r"(?<=[ (])\+(?=[a-z])"), ""),  # SQLite's way to keep an index out of a condition
)


@lru_cache(maxsize=2048)
def postgres(sql: str) -> str:
    """A script's statement for PostgreSQL: `?` becomes `$1`, `$2`, …; no string constant of ours has one in it."""
    for word, other in _WORDS:
        sql = word.sub(other, sql)
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, start=1))


def text(value: str) -> str:
    """Text as PostgreSQL can keep it: it knows no NUL."""
    return value.replace("\0", "\ufffd") if "\0" in value else value


def parameters(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A statement's parameters as PostgreSQL can keep them."""
    return tuple(text(value) if isinstance(value, str) else value for value in values)
