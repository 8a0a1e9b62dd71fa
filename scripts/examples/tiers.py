"""Free, pro and enterprise: plans with different models, rates and margins."""

from __future__ import annotations

import time

from farthing import chat, events, expect, mint, request, step

step("1. Three plans")
terms = {
    "free": {
        "max_spend_usd": "0.01",
        "reset": "month",
        "limits": [{"unit": "requests", "max": 3, "window": "day"}],
        "allowed_models": ["gpt-4o-mini"],
    },
    "pro": {
        "max_spend_usd": "20",
        "reset": "month",
        "limits": [{"unit": "requests", "max": 600, "window": "minute"}],
        "allowed_models": ["gpt-4o*"],
        "markup_percent": "25",
    },
    "enterprise": {"markup_percent": "10"},
}
plans = {name: request("POST", "/v1/plans", {"name": name} | each) for name, each in terms.items()}
expect(all(plan.status == 201 for plan in plans.values()), "made free, pro and enterprise")

step("2. A customer signs up for the free one")
key = mint(name="dora", plan=plans["free"]["id"])
expect([chat(key["secret"]).status for _ in range(4)] == [200, 200, 200, 429], "three calls a day, then 429")
refused = chat(key["secret"], model="gpt-4o")
expect(refused["error"]["code"] == "model_not_allowed", f"{refused.status}: {refused['error']['message']}")

step("3. and upgrades: one PATCH, in force on the next call")
moved = request("PATCH", f"/v1/keys/{key['id']}", {"plan": plans["pro"]["id"]})
expect(moved["max_spend_micros"] == 20_000_000, "the cap is the plan's")
expect(chat(key["secret"], model="gpt-4o").status == 200, "the better model answers")
expect(chat(key["secret"], model="gpt-4.1").status == 403, "a model of the next tier does not")
request("PATCH", f"/v1/plans/{plans['pro']['id']}", {"allowed_models": ["gpt-4o*", "gpt-4.1*"]})
expect(chat(key["secret"], model="gpt-4.1").status == 200, "until the plan has it: then for all keys on it")
request("PATCH", f"/v1/keys/{key['id']}", {"plan": plans["enterprise"]["id"]})
expect(chat(key["secret"], model="gpt-4.1-mini").status == 200, "enterprise may use every model")

step("4. Cost and price stand side by side")
time.sleep(0.5)
allowed = events(key_id=key["id"], decision="allowed")
for event in allowed:
    print(f"   {event['model']:<14} cost {event['cost_micros']:>6}  price {event['price_micros']:>6} micros")
usage = request("GET", f"/v1/usage?from_ms=0&livemode=false&key_id={key['id']}")
expect(usage["cost_micros"] == sum(event["cost_micros"] for event in allowed), "the bill is the sum of the costs")
expect(usage["price_micros"] == sum(event["price_micros"] for event in allowed), "and of the prices")
expect(usage["price_micros"] > usage["cost_micros"], "the difference is the margin")
