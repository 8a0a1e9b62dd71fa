"""Caps and limits as a client writes them: money in either unit, and limits that are the key's own."""

from __future__ import annotations

from decimal import Decimal

import pytest

from keys.limits import Invalid
from keys.requests import LimitSpec, Patch
from tests.keys.conftest import Office


async def test_dollars_and_micros_must_agree(office: Office) -> None:
    """A cap may be said in dollars and in micros if both mean the same; an amount that is none is named."""
    assert (await office.mint(max_spend_usd=Decimal("0.5"), max_spend_micros=500_000)).account.cap.max == 500_000
    assert (await office.mint(max_spend_usd=Decimal(0))).account.cap.max == 0
    for asked, param in (
        ({"max_spend_usd": Decimal("0.5"), "max_spend_micros": 500_001}, "max_spend_micros"),
        ({"max_spend_usd": None, "max_spend_micros": 5}, "max_spend_micros"),
        ({"max_spend_usd": Decimal("-1")}, "max_spend_usd"),
        ({"max_spend_usd": Decimal("0.0000001")}, "max_spend_usd"),
        ({"max_spend_usd": Decimal("NaN")}, "max_spend_usd"),
    ):
        with pytest.raises(Invalid) as invalid:
            await office.mint(**asked)
        assert invalid.value.param == param


async def test_a_limit_that_is_not_the_keys_own_is_refused(office: Office) -> None:
    """An id in a list of limits must be one of this key's limits, once."""
    one = await office.mint(limits=[LimitSpec(unit="requests", max=5)])
    other = await office.mint()
    (own,) = [each.public_id for each in one.account.limits if each.role == "limit"]
    balance = one.account.limits[0].public_id
    for minted, id_ in ((other, own), (one, "lim_nobody"), (one, balance)):
        with pytest.raises(Invalid):
            await office.change(minted, limits=[LimitSpec(unit="requests", max=5, id=id_)])
    await office.change(one, limits=[LimitSpec(unit="requests", max=6, id=own)])
    with pytest.raises(Invalid):
        await office.change(one, limits=[LimitSpec(unit="requests", max=6, id=own)] * 2)


async def test_a_limit_that_keeps_its_counter_keeps_its_unit(office: Office) -> None:
    """What was counted in one unit is never read in another."""
    one = await office.mint(limits=[LimitSpec(unit="micros", max=5)])
    (own,) = [each.public_id for each in one.account.limits if each.role == "limit"]
    patch = Patch(limits=[LimitSpec(unit="tokens", max=5, id=own)])
    with pytest.raises(Invalid):
        await office.change(one, limits=patch.limits)
