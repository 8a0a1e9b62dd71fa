"""Amounts in the operator's own currency: exact arithmetic, the dollars beside them, and no currency without a rate."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import BadSetting
from gateway.currencies import DECIMALS, SIGNS
from gateway.dashboard.money import Money, usd
from tests.gateway.dashboard.browsing import Visitor
from tests.gateway.dashboard.test_portal import Guest
from tests.harness import running, settings
from tests.process import Served

POUND, YEN = Money("GBP", Decimal("0.797")), Money("JPY", Decimal("151.4"))
RATES = st.decimals(min_value="0.000000000001", max_value="999999999", places=12)


@pytest.mark.parametrize(
    ("money", "micros", "said"),
    [
        (Money(), 60_100_000, "$60.10"),
        (Money(), 60_100_001, "$60.100001"),
        (Money(), None, "no cap"),
        (POUND, 60_100_000, "\u00a347.90 ($60.10)"),
        (POUND, 1, "\u00a30.000001 ($0.000001)"),
        (POUND, 1_262_501, "\u00a31.006213 ($1.262501)"),
        (POUND, -60_100_000, "\u2212\u00a347.90 (\u2212$60.10)"),
        (POUND, 0, "\u00a30.00 ($0.00)"),
        (POUND, None, "no cap"),
        (POUND, 9_007_199_254_740_993_000_000, "\u00a37,178,737,806,028,571.42 ($9,007,199,254,740,993.00)"),
        (YEN, 60_100_000, "\u00a59,099 ($60.10)"),
        (YEN, 1, "\u00a50.0002 ($0.000001)"),
        (Money("CHF", Decimal(1)), 2_500_000, "CHF\u00a02.50 ($2.50)"),
        (Money("KWD", Decimal("0.3")), 10_000, "KWD\u00a00.003 ($0.01)"),
    ],
)
def test_an_amount_is_told(money: Money, micros: int | None, said: str) -> None:
    """In the currency's own decimals, and exactly in dollars."""
    assert money.said(micros) == said


@given(st.integers(-(2**63), 2**63), RATES, st.sampled_from(sorted(set(DECIMALS) - {"USD"})))
def test_it_is_rounded_once_and_never_as_a_float(micros: int, rate: Decimal, code: str) -> None:
    """Half an ulp at most from the exact product, to the even one where it is half; the dollars are exact."""
    money = Money(code, rate)
    own = money.own(micros)
    sign = SIGNS.get(code, f"{code}\u00a0")
    shown = Fraction(own.replace(sign, "").replace(",", "").replace("\u2212", "-"))
    decimals = DECIMALS[code] + (0 if micros % 10_000 == 0 else 4)
    assert shown == round(Fraction(micros) * Fraction(rate) / 10**6, decimals)
    assert len(own.partition(".")[2]) == decimals
    assert money.beside(micros) == usd(micros)
    assert Fraction(usd(micros).replace("$", "").replace(",", "").replace("\u2212", "-")) == Fraction(micros, 10**6)


@pytest.mark.parametrize(
    ("currency", "rate", "named"),
    [
        ("EUR", "", "FARTHING_USD_RATE must be set too: how many EUR one USD is"),
        ("EURO", "1", "FARTHING_CURRENCY"),
        ("ABC", "1", "FARTHING_CURRENCY"),
        ("", "0.9", "set FARTHING_CURRENCY too"),
        *(("EUR", rate, "FARTHING_USD_RATE") for rate in ("0", "-1", "1e3", "0,9", "x", "0.0000000000001", "\u0661")),
    ],
)
def test_a_rate_that_cannot_be_is_refused(tmp_path: Path, currency: str, rate: str, named: str) -> None:
    """And the setting is named."""
    with pytest.raises(BadSetting, match=named):
        settings(tmp_path, None, FARTHING_CURRENCY=currency, FARTHING_USD_RATE=rate)
    assert settings(tmp_path, None, FARTHING_CURRENCY="eur", FARTHING_USD_RATE="0.9").face.currency == "EUR"


async def test_a_currency_without_a_rate_does_not_start(tmp_path: Path) -> None:
    """Exit code 3 and a sentence."""
    code, _, err = await Served(tmp_path, "http://127.0.0.1:1").run("serve", FARTHING_CURRENCY="GBP")
    assert (code, "how many GBP one USD is" in err) == (3, True)


async def test_pages_tell_both(tmp_path: Path) -> None:
    """Dashboard and portal, in pounds and in dollars; the API and the files stay in micro-dollars."""
    async with (
        running(tmp_path, FARTHING_CURRENCY="GBP", FARTHING_USD_RATE="0.797") as farthing,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        key = await farthing.mint(max_spend_usd="100", name="k")
        event = {"idempotency_key": "e", "timestamp_ms": farthing.gateway.ledger.clock_ms(), "cost_micros": 60_100_000}
        event |= {"provider": "p", "model": "m", "subject": {"key_id": key["id"]}}
        assert (await farthing.api("POST", "/v1/events", event))[1]["accepted"] == 1
        visitor = await Visitor(farthing, http).sign_in()
        for path in ("", "/usage", "/keys", f"/keys/{key['id']}", "/calls"):
            _, _, page = await visitor.get(path)
            assert re.search(r"£47\.90(?:</a><span class=\"small\">)? \(\$60\.10\)", page.replace("\n", "")) or (
                "£47.90</a>" in page and "($60.10)" in page
            ), path
        assert "60100000" in (await visitor.get("/usage.csv"))[2]
        assert 'value="100.00"' in (await visitor.get(f"/keys/{key['id']}"))[2]
        guest = Guest(farthing)
        farthing.http._cookie_jar = aiohttp.DummyCookieJar()
        _, _, page = await guest.open(key_id=key["id"])
        assert "£31.80</span>" in page and "($39.90)" in page and "of £79.70 ($100.00)" in page
