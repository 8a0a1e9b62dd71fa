"""The door that Stripe comes in by: whose request it is, what is taken or refused, and what is kept of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.bounds import STRIPE_BODY_BYTES_MAX
from gateway.stripe.signature import TOLERANCE_S, BadSignature, verify
from tests.gateway.stripe.conftest import made_plan
from tests.gateway.stripe.said import SECRET, event, post, signed, subscription, tell
from tests.harness import Running
from tests.limits.conftest import Clock

BODY = json.dumps(event("customer.subscription.created", {"id": "sub_1"}, 0)).encode()


def taken(header: str, body: bytes, secret: str, now_s: int) -> bool:
    try:
        verify(header, body, secret, now_s)
    except BadSignature:
        return False
    return True


def theirs(header: str, body: str, secret: str) -> bool:
    """Whether Stripe's own library takes it, whenever it was signed."""
    try:
        stripe.WebhookSignature.verify_header(body, header, secret)
    except stripe.SignatureVerificationError:
        return False
    return True


@given(
    body=st.text(max_size=200),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    at_s=st.integers(0, 10**11),
    forms=st.lists(st.sampled_from(["right", "wrong", "v0", "empty", "other"]), max_size=5),
)
def test_it_takes_what_stripes_own_library_takes(body: str, secret: str, at_s: int, forms: list[str]) -> None:
    """Several signatures, old schemes, other secrets: one that is right is enough, and is needed."""
    right = signed(body.encode(), at_s, secret).partition("v1=")[2]
    other = signed(body.encode(), at_s, secret + "x").partition("v1=")[2]
    said = {"right": f"v1={right}", "wrong": f"v1={right[::-1]}", "v0": f"v0={right}", "empty": "v1=", "other": other}
    said["other"] = f"v1={other}"
    header = ",".join([f"t={at_s}", *(said[form] for form in forms)])
    assert taken(header, body.encode(), secret, at_s) == theirs(header, body, secret)
    assert taken(header, body.encode(), secret, at_s) == (
        "right" in forms or ("wrong" in forms and right == right[::-1])
    )
    assert not taken(header, body.encode() + b" ", secret, at_s)


@given(header=st.text(max_size=100))
def test_no_header_makes_it_fail_otherwise(header: str) -> None:
    """Whatever stands there, it is no signature."""
    assert not taken(header, BODY, SECRET, 0)


@pytest.mark.parametrize(
    ("late_s", "fits"), [(0, True), (TOLERANCE_S, True), (-TOLERANCE_S, True), (301, False), (-301, False)]
)
def test_a_signature_holds_for_five_minutes_either_way(late_s: int, fits: bool) -> None:
    assert taken(signed(BODY, 10_000), BODY, SECRET, 10_000 + late_s) == fits


@pytest.mark.parametrize(
    "header",
    [None, "", "t=1", "v1=aa", "t=,v1=aa", "t=-1,v1=aa", "t=1e3,v1=aa", "t=" + "9" * 5000 + ",v1=aa", "nothing"],
)
async def test_what_is_not_signed_is_refused(paid: Running, header: str | None) -> None:
    """400 that says so, and nothing is kept."""
    status, body = await post(paid, BODY, header)
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "invalid_signature", "Stripe-Signature")


async def test_the_body_is_what_was_signed(paid: Running, clock: Clock) -> None:
    """Another body, another secret, an old signature: 400; without a signature no body is looked at."""
    now_s = clock.ms // 1000
    for body, header in (
        (BODY + b"\n", signed(BODY, now_s)),
        (BODY, signed(BODY, now_s, "whsec_another")),
        (BODY, signed(BODY, now_s - 301)),
        (b"{", "t=1,v1=aa"),
    ):
        status, answer = await post(paid, body, header)
        assert (status, answer["error"]["code"]) == (400, "invalid_signature")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request"),
        (b"[]", "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
        (b'{"object":"event"}', "invalid_request"),
        (b"[" * 100_000, "invalid_request"),
        (b'{"a":' * 50_000, "invalid_request"),
        (b'{"id":"evt_1","object":"v2.core.event","type":"v2.core.account.updated"}', "thin_event"),
        (b'{"id":"e","type":"customer.subscription.updated","created":1,"data":{"object":[]}}', "invalid_request"),
        (b'{"id":"e","type":"invoice.paid","created":1.5,"data":{"object":{"id":"in_1"}}}', "invalid_request"),
        (b'{"id":7,"type":"invoice.paid","created":1,"data":{"object":{"id":"in_1"}}}', "invalid_request"),
        (
            b'{"id":"e","type":"invoice.paid","created":1,"data":{"object":{"id":"in_1","object":"sub"}}}',
            "invalid_request",
        ),
    ],
)
async def test_signed_nonsense_is_refused(paid: Running, clock: Clock, body: bytes, code: str) -> None:
    status, answer = await post(
        paid, body, signed(body, clock.ms // 1000) if b"\xff" not in body else _raw(body, clock)
    )
    assert (status, answer["error"]["code"]) == (400, code), answer


def _raw(body: bytes, clock: Clock) -> str:
    """Stripe's library signs texts only."""
    import hashlib
    import hmac

    now_s = clock.ms // 1000
    return f"t={now_s},v1={hmac.new(SECRET.encode(), str(now_s).encode() + b'.' + body, hashlib.sha256).hexdigest()}"


async def test_what_is_not_used_is_answered_and_not_kept(paid: Running, clock: Clock, tmp_path: Path) -> None:
    """Other events, and thin ones about meters: 200, so that Stripe does not send them again."""
    for told in (
        event("customer.created", {"id": "cus_1", "object": "customer", "email": "canary@example.com"}, 1),
        {"id": "evt_thin", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered"},
    ):
        assert not await tell(paid, told)
    with sqlite3.connect(tmp_path / "farthing.db") as database:
        assert database.execute("SELECT count(*) FROM stripe_events").fetchone() == (0,)


async def test_nothing_of_a_person_is_kept(paid: Running, clock: Clock, tmp_path: Path) -> None:
    """Of what is used ids, states and amounts are kept; names and addresses are not."""
    found = subscription("sub_1", "cus_1", "active", prices=["price_1"], period_s=1, description="canary-of-a-person")
    found["customer"] = {"id": "cus_1", "object": "customer", "email": "canary@example.com"}
    assert await tell(paid, event("customer.subscription.created", found, 1), times=2)
    await paid.quiet()
    assert b"canary" not in kept(tmp_path)


def kept(place: Path) -> bytes:
    return b"".join(each.read_bytes() for each in place.glob("farthing.db*"))


async def test_a_body_is_bounded(paid: Running, clock: Clock) -> None:
    body = b'{"type":"' + b"a" * STRIPE_BODY_BYTES_MAX + b'"}'
    status, answer = await post(paid, body, signed(body, clock.ms // 1000))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


async def test_without_a_secret_nothing_is_taken(farthing: Running) -> None:
    status, answer = await post(farthing, BODY, signed(BODY, 1))
    assert (status, answer["error"]["code"]) == (404, "stripe_not_configured")


async def test_no_key_is_asked_for_and_none_opens_it(paid: Running, clock: Clock) -> None:
    """The master key does not stand for a signature."""
    assert (await paid.api("POST", "/v1/inbound/stripe", {}))[1]["error"]["code"] == "invalid_signature"
    assert (await paid.api("GET", "/v1/inbound/stripe"))[0] == 405


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("FARTHING_STRIPE_GRACE_DAYS", "-1"),
        ("FARTHING_STRIPE_GRACE_DAYS", "x"),
        ("FARTHING_STRIPE_URL", "api.stripe.com"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_ with space"),
    ],
)
def test_a_setting_that_cannot_be_is_named(setting: str, value: str) -> None:
    with pytest.raises(config.BadSetting, match=setting):
        config.load({setting: value})


async def test_plans_say_what_they_are_sold_as(paid: Running) -> None:
    """Shown, changed as a whole, taken away; what another plan says already is refused with its name."""
    terms = {"price_ids": ["price_1"], "lookup_keys": ["pro"], "product_ids": ["prod_1"], "fallback": False}
    pro = await made_plan(paid, "pro", "20", stripe=terms)
    _, shown = await paid.api("GET", f"/v1/plans/{pro}")
    assert shown["stripe"] == terms
    for said, param in (
        ({"price_ids": ["price_0", "price_1"]}, "stripe.price_ids[1]"),
        ({"lookup_keys": ["pro"]}, "stripe.lookup_keys[0]"),
        ({"product_ids": ["prod_1"]}, "stripe.product_ids[0]"),
    ):
        status, refusal = await paid.api("POST", "/v1/plans", {"stripe": said})
        assert (status, refusal["error"]["code"], refusal["error"]["param"]) == (400, "term_taken", param)
        assert pro in refusal["error"]["message"]
    _, page = await paid.api("GET", "/v1/plans")
    assert [plan["id"] for plan in page["data"]] == [pro], "nothing was made"
    await made_plan(paid, "free", "1", stripe={"fallback": True})
    status, refusal = await paid.api("PATCH", f"/v1/plans/{pro}", {"stripe": {"fallback": True}})
    assert (status, refusal["error"]["param"]) == (400, "stripe.fallback")
    _, changed = await paid.api("PATCH", f"/v1/plans/{pro}", {"stripe": {"price_ids": ["price_2", "price_2"]}})
    assert changed["stripe"] == {
        "price_ids": ["price_2", "price_2"],
        "lookup_keys": [],
        "product_ids": [],
        "fallback": False,
    }
    await made_plan(paid, "max", "20", stripe={"price_ids": ["price_1"]})
    assert (await paid.api("PATCH", f"/v1/plans/{pro}", {"stripe": None}))[1]["stripe"] is None
    await paid.api("DELETE", f"/v1/plans/{pro}")
    await made_plan(paid, "again", "20", stripe={"price_ids": ["price_2"]})


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({"prices": []}, "stripe.prices"),
        ({"price_ids": [""]}, "stripe.price_ids[0]"),
        ({"fallback": 1}, "stripe.fallback"),
        ([], "stripe"),
    ],
)
async def test_terms_that_cannot_be_are_refused(paid: Running, terms: Any, param: str) -> None:
    status, refusal = await paid.api("POST", "/v1/plans", {"stripe": terms})
    assert (status, refusal["error"]["param"]) == (400, param)
