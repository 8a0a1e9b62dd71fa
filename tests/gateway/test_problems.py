"""One table turns other rooms' refusals into answers, the same for a call and for the management API."""

from __future__ import annotations

import json

import pytest

from gateway.problems import PROBLEMS, CallError, as_problem, in_socket, in_stream, render
from keys.hashing import Overloaded
from keys.keyring import Denied
from keys.limits import Exceeds, Invalid
from ledger.records import LedgerUnavailable
from providers.dialects import DIALECTS
from providers.ground.errors import BadRequest

SPENT = CallError(402, "spend_cap_exceeded", "Nothing is left.", param="model", farthing={"cap": "key"})


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Overloaded(), 503, "overloaded"),
        (LedgerUnavailable("away"), 503, "ledger_unavailable"),
        (Denied("key_revoked"), 401, "key_revoked"),
        (BadRequest("No.", param="n"), 400, "invalid_request"),
        (Exceeds("max_spend_usd", "it is above the parent's"), 403, "exceeds_parent"),
        (Invalid("name", "it is too long"), 400, "invalid_request"),
        (SPENT, 402, "spend_cap_exceeded"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_of_another_room_has_one_answer(error: Exception, status: int, code: str) -> None:
    """A queue that is full is told apart from a ledger that is away; a child above its parent from a bad field."""
    problem = as_problem(error)
    assert (problem.status, problem.code) == (status, code)


def test_what_is_in_no_table_is_no_problem() -> None:
    """A fault of ours is not told to a client as if he could do something about it."""
    assert not isinstance(KeyError("x"), PROBLEMS)
    with pytest.raises(StopIteration):
        as_problem(KeyError("x"))


def code_in(dialect: str) -> str:
    """DashScope's clients look for a code of its own."""
    return "Arrearage" if dialect == "dashscope" else "spend_cap_exceeded"


@pytest.mark.parametrize("dialect", [*DIALECTS, "farthing"])
def test_every_dialect_says_the_code_the_message_and_the_limit(dialect: str) -> None:
    """Whatever the shape: who reads it finds our code, the words, the field and which cap it was."""
    status, headers, body = render(SPENT, dialect, "0" * 26)
    text = body.decode()
    assert status == 402
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    for said in (code_in(dialect), "Nothing is left.", '"cap":"key"'):
        assert said in text
    assert json.loads(text)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_is_cut_by_an_event_that_holds_the_code(dialect: str) -> None:
    event = in_stream(SPENT, dialect, "chat.completions", "0" * 26)
    assert event.endswith(b"\n\n")
    assert code_in(dialect).encode() in event


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_socket_is_closed_within_what_a_close_can_carry(dialect: str) -> None:
    """1008, a policy, and at most 123 bytes of reason, however long the message."""
    long = CallError(402, "spend_cap_exceeded", "é" * 500)
    _, code, reason = in_socket(long, dialect, "realtime", "0" * 26)
    assert code == 1008
    assert 0 < len(reason.encode()) <= 123
