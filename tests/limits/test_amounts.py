"""Amounts that callers state: each has a maximum, and nobody spends another's budget by stating one."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.money import CHARGE_MICROS_MAX
from tests.harness import Running
from tests.limits.calls import call
from tests.limits.conftest import Clock

MILLION = CHARGE_MICROS_MAX


async def _refused(farthing: Running, path: str, body: Any, param: str, *, key: str, code: str = "") -> int:
    status, answer = await farthing.api("POST", path, body, key=key)
    assert answer["error"]["param"] == param, answer
    assert not code or answer["error"]["code"] == code, answer
    return status


async def test_a_commit_cannot_spend_what_was_not_reserved(timed: Running) -> None:
    """A standard key that states nine million dollars for a reservation of a micro is refused; its siblings go on."""
    team = await timed.mint(scope="team", max_spend_usd="1")
    key = await timed.mint(by=team["secret"], max_spend_usd="0.01")
    sibling = await timed.mint(by=team["secret"])
    for actual in (2, 10_001, 9 * 10**12, 2**63, 2**70):
        _, made = await timed.api("POST", "/v1/reservations", {"amount": 1}, key=key["secret"])
        path = f"/v1/reservations/{made['id']}/commit"
        status = await _refused(timed, path, {"actual": actual}, "actual", key=key["secret"])
        assert status == (422 if actual <= MILLION else 400)
        assert (await timed.api("POST", path, {"actual": 1}, key=key["secret"]))[0] == 200
    assert (await call(timed, sibling["secret"]))[0] == 200
    await timed.audited()


@pytest.mark.parametrize("unit", ["micros", "tokens", "requests", "seconds"])
async def test_every_stated_amount_has_a_maximum(timed: Running, clock: Clock, unit: str) -> None:
    """Reservations, commits, reports and credits above what can be are refused by field, an operator's too."""
    team = await timed.mint(livemode=False, scope="team")
    most = MILLION if unit == "micros" else 10**9
    body = {"amount": most + 1, "unit": unit}
    assert await _refused(timed, "/v1/reservations", body, "amount", key=team["secret"]) == 400
    _, made = await timed.api("POST", "/v1/reservations", {"amount": 1, "unit": unit}, key=team["secret"])
    path = f"/v1/reservations/{made['id']}/commit"
    assert await _refused(timed, path, {"actual": most + 1}, "actual", key=team["secret"]) == 400
    status, ended = await timed.api("POST", path, {"actual": most}, key=team["secret"])
    assert (status, ended["flags"]) == (200, ["over_reserved", "overrun"][: 2 if unit == "micros" else 1])
    await timed.audited()


async def test_reports_of_more_than_can_be(timed: Running, clock: Clock) -> None:
    """Reported costs, counts, and counts times a price above a million dollars are rejected one by one."""
    ingest = await timed.mint(livemode=False, scope="ingest")
    dear = {"provider": "openai", "model": "o1-pro"}
    wild = {"provider": "mistral", "model": "mistral-ocr-latest", "usage": {"pages": 10**9}}
    said: list[tuple[dict[str, Any], str]] = [
        ({"cost_micros": MILLION + 1}, "invalid_request"),
        (dear | {"usage": {"input_tokens": 10**9 + 1}}, "invalid_request"),
        (dear | {"usage": {"output_tokens": 10**9, "input_tokens": 10**9, "reasoning_tokens": 10**9}}, ""),
        (wild, "amount_too_large"),
        ({"cost_micros": MILLION}, ""),
    ]
    events = [{"idempotency_key": f"e{n}", "timestamp_ms": clock()} | more for n, (more, _) in enumerate(said)]
    status, answer = await timed.api("POST", "/v1/events", events, key=ingest["secret"])
    assert status == 200
    assert {bad["index"]: bad["code"] for bad in answer["rejected"]} == {
        index: code for index, (_, code) in enumerate(said) if code
    }
    assert await _refused(timed, "/v1/estimate", wild, "usage", key=ingest["secret"]) == 400
    await timed.audited()


async def test_a_cap_is_not_credited_beyond_its_maximum(timed: Running) -> None:
    """Credits end where a cap's own maximum is."""
    key = await timed.mint(livemode=False, max_spend_usd="9000000")
    path = f"/v1/keys/{key['id']}/credits"
    assert (await timed.api("POST", path, {"amount_usd": "1"}))[0] == 400


async def test_a_reservation_holds_back_what_is_ones_own(timed: Running, clock: Clock) -> None:
    """A key in others' hands reserves within a limit of its own, an hour at a time and a day in all."""
    team = await timed.mint(livemode=False, scope="team", max_spend_usd="1")
    loose = await timed.mint(by=team["secret"], livemode=False)
    own = await timed.mint(by=team["secret"], livemode=False, max_spend_usd="0.5")
    status, answer = await timed.api("POST", "/v1/reservations", {"amount": 1_000_000}, key=loose["secret"])
    assert (status, answer["allowed"], answer["reasons"]) == (200, False, [{"code": "limit_required"}])
    status, answer = await timed.api("POST", "/v1/reservations?strict=true", {"amount": 9}, key=loose["secret"])
    assert (status, answer["error"]["code"]) == (403, "limit_required")
    status, made = await timed.api("POST", "/v1/reservations", {"amount": 9, "unit": "tokens"}, key=loose["secret"])
    assert (status, made["allowed"]) == (201, True), "nobody's tokens are limited"
    long = {"amount": 1, "ttl_seconds": 3_601}
    assert await _refused(timed, "/v1/reservations", long, "ttl_seconds", key=own["secret"]) == 400
    assert (await timed.api("POST", "/v1/reservations", long, key=team["secret"]))[0] == 201
    _, made = await timed.api("POST", "/v1/reservations", {"amount": 1, "ttl_seconds": 3_600}, key=own["secret"])
    path, hour = f"/v1/reservations/{made['id']}/extend", {"ttl_seconds": 3_600}
    for _ in range(26):
        clock.ms += 3_599_000
        status, _ = await timed.api("POST", path, hour, key=own["secret"])
        if status != 200:
            break
    assert (status, clock.ms - made["expires_at_ms"] > 22 * 3_600_000) == (400, True)


@pytest.mark.parametrize("cap", ["call", "end user", "default", "tokens"])
async def test_what_has_no_price_is_refused_where_any_cap_would_count_it(timed: Running, cap: str) -> None:
    """`unpriced: allow` lets through what nothing limits: not past the call's cap, the end user's or a limit's."""
    limits = {
        "default": [{"unit": "micros", "max": 10**6, "per": "end_user"}],
        "tokens": [{"unit": "tokens", "max": 10**6}],
    }
    key = await timed.mint(livemode=False, unpriced="allow", limits=limits.get(cap, []))
    headers = {"x-end-user-id": "ann"}
    model = {"model": "a-model-without-a-price"}
    if cap in ("call", "end user"):
        free = await timed.call(
            key["secret"], model | {"messages": [{"role": "user", "content": "hi"}]}, headers=headers
        )
        assert free[0] == 200, "nothing limits it yet"
    if cap == "end user":
        path = f"/v1/end_users/ann?key_id={key['id']}"
        assert (await timed.api("PUT", path, {"max_spend_usd": "1"}))[0] == 200
    if cap == "call":
        headers["x-farthing-max-cost-usd"] = "0.01"
    body = model | {"messages": [{"role": "user", "content": "hi"}]}
    status, _, answer = await timed.call(key["secret"], body, headers=headers)
    assert (status, b"model_not_priced" in answer) == (400, True), answer
    (event, *_) = await timed.events(livemode="false", decision="blocked")
    assert event["reason"] == "model_not_priced"
