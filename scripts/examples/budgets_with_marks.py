"""Budgets for a customer, its departments and their agents, each with a mark at 80 %."""

from __future__ import annotations

import time
from typing import Any

from farthing import Answer, chat, events, expect, mint, request, step


def budget(micros: int) -> dict[str, Any]:
    """A spend cap, and a limit at 80 % of it that only warns."""
    return {
        "max_spend_micros": micros,
        "limits": [{"unit": "micros", "max": micros * 8 // 10, "action": "warn"}],
    }


def mark(key: Answer) -> str:
    """What the events above the key's mark are flagged with."""
    return "over:" + next(limit["id"] for limit in key["limits"] if limit.get("action") == "warn")


step("1. A customer, two departments, three agents: over-promised on purpose")
customer = mint(name="customer", scope="team", **budget(2_000))
sales = mint(by=customer["secret"], name="sales", scope="team", **budget(1_200))
support = mint(by=customer["secret"], name="support", scope="team", **budget(1_200))
writer = mint(by=sales["secret"], name="writer", **budget(600))
caller = mint(by=sales["secret"], name="caller", **budget(1_000))
helper = mint(by=support["secret"], name="helper", **budget(1_200))


def exhaust(agent: Answer) -> Answer:
    """Let an agent call until it is refused; the refusal."""
    while (answer := chat(agent["secret"])).status == 200:
        time.sleep(0.05)  # a call is billed when its answer has ended
    expect(answer.status == 402, f"{agent['name']}: {answer['error']['message']}")
    return answer


step("2. An agent passes its mark, and later its cap")
refusal = exhaust(writer)
flags = [event["flags"] for event in events(key_id=writer["id"], decision="allowed")]
expect(flags[0] == [mark(writer)] and flags[-1] == [], "the calls above 80 % are flagged, those below are not")
expect(refusal["error"]["farthing"]["account_id"] == writer["id"], "it is the agent's own cap that refuses")

step("3. A department's budget binds all its agents, the customer's all departments")
refusal = exhaust(caller)
expect(refusal["error"]["farthing"]["account_id"] == sales["id"], "the second agent is stopped by the department's")
refusal = exhaust(helper)
expect(refusal["error"]["farthing"]["account_id"] == customer["id"], "the other department by the customer's")
flagged = {flag for event in events(key_id=customer["id"], decision="allowed") for flag in event["flags"]}
expect({mark(customer), mark(sales)} <= flagged, "both marks were passed on the way")

step("4. The customer reads its own bill")
time.sleep(0.5)
me = request("GET", "/v1/me", key=customer["secret"])
usage = request("GET", "/v1/usage?from_ms=0", key=customer["secret"])
by_key = {row["name"]: row["cost_micros"] for row in usage["by_key"] if row["cost_micros"]}
expect(by_key.keys() == {"writer", "caller", "helper"}, f"micros by agent: {by_key}")
expect(
    sum(by_key.values()) == usage["cost_micros"] == me["spent_micros"], "the rows sum to what the customer has spent"
)
expect(me["spent_micros"] <= 2_000, f"{me['spent_micros']} of 2000 micros, and not one more")
