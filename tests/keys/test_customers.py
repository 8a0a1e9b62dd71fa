"""Whom Stripe knows a key or an end user as: said by the API, shown, and the one customer of each call."""

from __future__ import annotations

import pytest

from tests.harness import Running


async def test_a_customer_is_said_shown_changed_and_taken_away(farthing: Running) -> None:
    """On a mint, a PATCH and a PUT; null takes it away; every change is on the record."""
    key = await farthing.mint(stripe_customer_id="cus_1")
    assert key["stripe_customer_id"] == "cus_1"
    path = f"/v1/keys/{key['id']}"
    _, changed = await farthing.api("PATCH", path, {"stripe_customer_id": "cus_2"})
    assert changed["stripe_customer_id"] == (await farthing.api("GET", path))[1]["stripe_customer_id"] == "cus_2"
    _, other = await farthing.api("PATCH", path, {"name": "other"})
    assert other["stripe_customer_id"] == "cus_2", "what is not said stays"
    _, page = await farthing.api("GET", "/v1/changes?type=key.updated")
    assert [(each["before"], each["after"]) for each in page["data"]][1] == (
        {"stripe_customer_id": "cus_1"},
        {"stripe_customer_id": "cus_2"},
    )
    _, gone = await farthing.api("PATCH", path, {"stripe_customer_id": None})
    assert gone["stripe_customer_id"] is None
    user = f"/v1/end_users/ann?key_id={key['id']}"
    assert (await farthing.api("PUT", user, {}))[1]["stripe_customer_id"] is None
    assert (await farthing.api("PUT", user, {"stripe_customer_id": "cus_3"}))[1]["stripe_customer_id"] == "cus_3"
    assert (await farthing.api("GET", user))[1]["stripe_customer_id"] == "cus_3"


@pytest.mark.parametrize("customer", ["", "cus 1", "cus_1\n", "c" * 256, 7])
async def test_what_names_no_customer_is_refused(farthing: Running, customer: object) -> None:
    """400 that names the field, and nothing is made."""
    status, body = await farthing.api("POST", "/v1/keys", {"stripe_customer_id": customer})
    assert (status, body["error"]["param"]) == (400, "stripe_customer_id")


async def test_a_call_has_exactly_one_customer(farthing: Running) -> None:
    """Its end user's, else its key's, else the nearest ancestor's; somebody forgotten has none of his own."""
    accounts = farthing.gateway.ledger.accounts
    root = await accounts.root()
    assert root is not None
    team = await farthing.mint(scope="team", stripe_customer_id="cus_team")
    child = await farthing.mint(by=team["secret"])
    own = await farthing.mint(by=team["secret"], stripe_customer_id="cus_own")
    alone = await farthing.mint()
    for key, customer in ((team, "cus_team"), (child, "cus_team"), (own, "cus_own"), (alone, None)):
        account = await accounts.get(root, key["id"])
        assert await accounts.customer(account.id) == customer
        path = f"/v1/end_users/ann?key_id={key['id']}"
        await farthing.api("PUT", path, {})
        ann = await accounts.subject(account.id, "end_user", "ann")
        assert await accounts.customer(ann.id) == customer
        await farthing.api("PUT", path, {"stripe_customer_id": "cus_ann"})
        assert await accounts.customer(ann.id) == "cus_ann"
        await farthing.api("DELETE", path)
        assert await accounts.customer(ann.id) == customer
    assert await accounts.customer(10**9) is None
