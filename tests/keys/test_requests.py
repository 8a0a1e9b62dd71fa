"""What a client asks for, as the API takes it: what cannot be is refused before anything is done."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from keys.requests import EXPIRES_MS_MAX, Mint


@pytest.mark.parametrize(
    "body",
    [
        '{"max_spend": 5}',
        '{"scope": "emperor"}',
        '{"max_spend_micros": -1}',
        '{"max_spend_micros": 0.5}',
        '{"limits": [{"unit": "dollars", "max": 1}]}',
        '{"limits": [{"unit": "micros", "max": -1}]}',
        '{"limits": [{"unit": "micros"}]}',
        '{"limits": [{"unit": "micros", "max": 1, "match": {"colour": "red"}}]}',
        '{"reset": "century"}',
        '{"expires_at_ms": ' + str(EXPIRES_MS_MAX + 1) + "}",
        '{"allowed_models": [""]}',
        '{"metadata": {"": "x"}}',
        '{"over_cap_status": 200}',
    ],
)
def test_a_mint_that_cannot_be_is_refused_before_anything(body: str) -> None:
    """Unknown fields and values out of bounds are no mint."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Mint)


async def test_dollars_are_never_floats() -> None:
    """A number of dollars is read as the decimal that was written."""
    asked = msgspec.json.decode('{"max_spend_usd": 0.1}', type=Mint)
    assert asked.max_spend_usd == Decimal("0.1")
    assert msgspec.json.decode('{"max_spend_usd": "0.30"}', type=Mint).max_spend_usd == Decimal("0.3")
