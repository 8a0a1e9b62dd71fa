"""A monthly quota for each of your users, under one key and with one header."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from farthing import chat, expect, mint, request, step

QUOTA_MICROS = 500

step("1. One key for the application; each end user has a monthly quota")
key = mint(name="app", limits=[{"unit": "micros", "max": QUOTA_MICROS, "window": "month", "per": "end_user"}])

step("2. The application sends one header: x-end-user-id")
answered = 0
while (answer := chat(key["secret"], x_end_user_id="ann")).status == 200:
    answered += 1
refused = answer["error"]["farthing"]
expect(answered > 0, f"ann was answered {answered} times")
expect(answer.status == 402, f"then 402: {answer['error']['message']}")
expect(
    refused["cap"] == "end_user" and answer.headers["x-should-retry"] == "false", "the refusal names whose cap it is"
)
expect(chat(key["secret"], x_end_user_id="bob").status == 200, "bob is not concerned")

step("3. The quota is the calendar month's; nobody resets it")
reset = datetime.fromtimestamp(refused["resets_at_ms"] / 1000, UTC)
expect(
    (reset.day, reset.hour, reset.minute, reset.second) == (1, 0, 0, 0),
    f"it ends by itself at {reset:%Y-%m-%d %H:%M} UTC",
)
month_start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
last_month_ms = int(month_start.timestamp() * 1000) - 1
report = {
    "idempotency_key": f"{key['id']}-{time.time_ns()}",
    "timestamp_ms": last_month_ms,
    "cost_micros": QUOTA_MICROS,
    "subject": {"key_id": key["id"], "end_user": "cleo"},
}
reported = request("POST", "/v1/events", report)
expect(reported["accepted"] == 1, "cleo used all of last month's quota")
expect(chat(key["secret"], x_end_user_id="cleo").status == 200, "and has this month's whole")

step("4. Support raises one user's cap; the bill is itemised by user")
path = f"/v1/end_users/ann?key_id={key['id']}"
raised = request("PUT", path, {"max_spend_micros": 10 * QUOTA_MICROS, "reset": "month"})
expect(raised["max_spend_micros"] == 10 * QUOTA_MICROS, "ann has ten times as much from now on")
expect(chat(key["secret"], x_end_user_id="ann").status == 200, "ann's next call is answered")
time.sleep(0.5)  # a call is billed when its answer has ended
spent = request("GET", path)["spent_micros"]
usage = request("GET", f"/v1/usage?from_ms=0&livemode=false&group_by=end_user&key_id={key['id']}")
costs = {row["end_user"]: row["cost_micros"] for row in usage["groups"]}
expect(costs.keys() == {"ann", "bob", "cleo"}, f"micros by end user: {costs}")
expect(sum(costs.values()) == usage["cost_micros"] and costs["ann"] >= spent > 0, "the rows sum to the bill")
