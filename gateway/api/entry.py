"""What is told of an operation of the API, and the parameters that several have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

Schema = Mapping[str, Any]

TIME: Schema = {"type": "integer", "minimum": 0, "maximum": 10**14}
TEXT: Schema = {"type": "string"}
YES_NO: Schema = {"type": "boolean"}


class Param(Struct, frozen=True):
    """A parameter of a query, or a header."""

    name: str
    schema: Schema
    description: str
    required: bool = False


class Entry(Struct, frozen=True, kw_only=True):
    """One operation.

    Attributes:
        name: The document's `operationId`.
        answers: What a 2xx holds; several where it depends.
        statuses: The 2xx it answers with.
        listed: The answer is a page of those.
        beside: Texts that stand beside the page's own fields.
        body, example: What the request's JSON must be, and one that is.
        or_body: What else it may be.
        many: The body may be a list of those, too.
        headers: What it takes beside those of all.
        idempotent: It takes an `Idempotency-Key`.
        makes: It makes something, so it may be made too often.
        scopes: Which keys may; empty where any may.
        codes: What it refuses with beyond what all do.
        forms: Other media types of the answer.
        is_open: No key is needed.
    """

    name: str
    summary: str
    answers: tuple[type[Struct], ...] = ()
    statuses: tuple[int, ...] = (200,)
    listed: bool = False
    beside: tuple[str, ...] = ()
    body: type[Struct] | None = None
    or_body: type[Struct] | None = None
    example: Any = None
    many: bool = False
    query: tuple[Param, ...] = ()
    headers: tuple[Param, ...] = ()
    idempotent: bool = False
    makes: bool = False
    scopes: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    is_open: bool = False


LIMIT = Param("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "How many of them.")
AFTER = Param("starting_after", TEXT, "The id of the last one of the page before.")
LIVEMODE = Param("livemode", YES_NO, "Live ones (the default) or test ones.")
BOTH_MODES = Param("livemode", YES_NO, "Only live ones, or only test ones.")
FROM, TO = Param("from_ms", TIME, "From when."), Param("to_ms", TIME, "Until when, which is no part of it.")
KEY = Param("key_id", TEXT, "Of this key and all under it.")
OF_KEY = Param("key_id", TEXT, "Whose user; the caller's own, if it is not said.")
USER, RUN = Param("end_user", TEXT, "Of this end user."), Param("run_id", TEXT, "Of this run.")
MODE = Param("mode", {"enum": ["proxy", "monitor", "reservation", "adjustment"]}, "How the call came here.")
DECISION = Param("decision", {"enum": ["allowed", "blocked"]}, "Whether it was let in.")
EVENT_FILTERS = (LIMIT, AFTER, USER, RUN, FROM, TO, MODE, DECISION, LIVEMODE)
