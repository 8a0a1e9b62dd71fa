"""How a call is billed when its answer has ended."""

from __future__ import annotations

from typing import Literal

import pytest

from providers.contract.metering import conclude
from providers.contract.shapes import Call, Reading
from providers.ground.usage import Usage

CALL = Call(model="m", input_typical=Usage(input_tokens=20), output_field="max_tokens", service_tier="flex")
EMBEDDING = Call(model="m", input_typical=Usage(input_tokens=20))
FREE = Call()
U = Usage(input_tokens=10, output_tokens=5)
GUESS = Usage(input_tokens=20, output_tokens=9, service_tier="flex")
INPUT = Usage(input_tokens=20, service_tier="flex")

Ended = Literal["complete", "cut", "error"]


@pytest.mark.parametrize(
    ("reading", "ended", "http", "status", "usage", "flags"),
    [
        (Reading(usage=U, complete=True), "complete", 200, "settled", U, ()),
        (Reading(usage=Usage(), complete=True), "complete", 200, "settled", Usage(), ()),
        (Reading(usage=U), "cut", 200, "settled", U, ()),
        (Reading(usage=U, error=True), "complete", 200, "settled", U, ()),
        (Reading(usage=U, complete=True), "complete", 500, "settled", U, ()),
        (Reading(usage=U, flags=("malformed",)), "complete", 200, "settled", U, ("malformed",)),
        (Reading(usage=U, flags=("usage_contradictory",)), "complete", 200, "estimated", U, ("usage_contradictory",)),
        (Reading(usage=U, flags=("usage_decreased",)), "complete", 200, "estimated", U, ("usage_decreased",)),
        (
            Reading(usage=Usage(output_tokens=5), output_tokens_seen=9, flags=("usage_negative",)), "complete", 200,
            "estimated", Usage(input_tokens=20, output_tokens=9), ("usage_negative",),
        ),
        (
            Reading(usage=Usage(input_tokens=10, output_tokens=1), partial=True, output_tokens_seen=9), "cut", 200,
            "estimated", Usage(input_tokens=10, output_tokens=9), (),
        ),
        (
            Reading(usage=Usage(input_tokens=10, output_tokens=11), partial=True, output_tokens_seen=9, complete=True),
            "complete", 200, "estimated", Usage(input_tokens=10, output_tokens=11), (),
        ),
        (Reading(complete=True, output_tokens_seen=9), "complete", 200, "estimated", GUESS, ("usage_missing",)),
        (Reading(output_tokens_seen=9), "cut", 200, "estimated", GUESS, ("usage_missing",)),
        (Reading(output_tokens_seen=9), "error", 200, "estimated", GUESS, ("usage_missing",)),
        (Reading(complete=True), "complete", 200, "estimated", INPUT, ("usage_missing",)),
        (Reading(error=True, complete=True, output_tokens_seen=9), "complete", 200, "estimated", GUESS,
            ("usage_missing",)),
        (Reading(error=True, complete=True), "complete", 200, "released", Usage(), ()),
        (Reading(error=True), "cut", 200, "released", Usage(), ()),
        (Reading(), "complete", 200, "unsettled", Usage(), ("usage_missing",)),
        (Reading(), "cut", 200, "unsettled", Usage(), ("usage_missing",)),
        (Reading(), "error", 0, "unsettled", Usage(), ("usage_missing",)),
        (Reading(complete=True, output_tokens_seen=9), "complete", 429, "released", Usage(), ()),
        (Reading(), "error", 502, "released", Usage(), ()),
        (Reading(), "complete", 302, "released", Usage(), ()),
    ],
)  # fmt: skip
def test_table(reading: Reading, ended: Ended, http: int, status: str, usage: Usage, flags: tuple[str, ...]) -> None:
    """Each row of the module's table, with its border cases."""
    conclusion = conclude(CALL, reading, ended=ended, http_status=http)
    assert (conclusion.status, conclusion.usage, conclusion.flags) == (status, usage, flags)


def test_what_has_no_output_is_billed_none() -> None:
    """An embedding without usage is estimated by its input alone."""
    conclusion = conclude(EMBEDDING, Reading(output_tokens_seen=9), ended="cut", http_status=200)
    assert (conclusion.status, conclusion.usage) == ("estimated", Usage(input_tokens=20))


def test_free_operations_are_settled() -> None:
    """A reading of nothing used is settled whatever the status."""
    assert conclude(FREE, Reading(usage=Usage()), ended="error", http_status=500).status == "settled"


@pytest.mark.parametrize(
    ("reading", "ended", "rest"),
    [
        (Reading(usage=U), "cut", False),
        (Reading(complete=True, output_tokens_seen=9), "complete", False),
        (Reading(output_tokens_seen=9), "complete", True),
        (Reading(output_tokens_seen=9), "cut", True),
        (Reading(usage=U, partial=True), "cut", True),
        (Reading(), "error", True),
    ],
)
def test_what_was_not_whole_leaves_a_rest(reading: Reading, ended: Ended, rest: bool) -> None:
    """A count is final however the answer ended; an estimate only where the answer had its end."""
    assert conclude(CALL, reading, ended=ended, http_status=200).rest is rest


def test_what_reasons_in_secret_is_charged_what_is_held_for_it() -> None:
    """What cannot be seen is taken for all that was held, in an estimate and beside a partial count; a count stands."""
    partial = Reading(usage=U, partial=True, output_tokens_seen=9)
    for reading in (Reading(output_tokens_seen=9), Reading(complete=True), partial):
        found = conclude(CALL, reading, ended="cut" if reading is not partial else "error", http_status=200,
                         hidden_tokens=4096)  # fmt: skip
        if not reading.output_tokens_seen and not reading.usage:
            assert found.status == "unsettled"
            continue
        assert (found.status, found.usage.output_tokens, "output_hidden" in found.flags) == ("estimated", 4096, True)
    assert conclude(CALL, Reading(usage=U), ended="cut", http_status=200, hidden_tokens=4096).usage == U
    assert conclude(EMBEDDING, Reading(), ended="cut", http_status=200, hidden_tokens=4096).usage.output_tokens == 0
