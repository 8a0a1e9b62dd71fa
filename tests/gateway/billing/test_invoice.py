"""The bill as a file: an invoice's lines."""

from __future__ import annotations

import csv
import io

from tests.harness import Running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}


async def test_a_line_says_its_markup_period_and_currency(farthing: Running) -> None:
    """One for each customer of a key; they add up to the bill, and the columns that were there stand where they did."""
    status, plan = await farthing.api("POST", "/v1/plans", {"name": "pro", "markup_percent": 300})
    assert status == 201
    key = await farthing.mint(plan=plan["id"])
    plain = await farthing.mint()
    for secret, user in ((key, "ann"), (key, "bob"), (key, "bob"), (plain, "eve")):
        headers = {"x-end-user-id": user}
        for _ in range(20):
            assert (await farthing.call(secret["secret"], CHAT, headers=headers))[0] == 200
    await farthing.quiet()
    span = f"from_ms=0&to_ms={10**13}"
    _, text = await farthing.api("GET", f"/v1/usage?{span}&format=csv&group_by=end_user")
    lines = list(csv.DictReader(io.StringIO(text)))
    _, bill = await farthing.api("GET", f"/v1/usage?{span}")
    assert [line["end_user"] for line in sorted(lines, key=lambda line: line["end_user"])] == ["ann", "bob", "eve"]
    for line in lines:
        assert int(line["cost_micros"]) + int(line["markup_micros"]) == int(line["price_micros"])
        assert (line["period_start_ms"], line["period_end_ms"], line["currency"]) == ("0", str(10**13), "USD")
        own = {"ann": 3, "bob": 3, "eve": 0}[line["end_user"]]
        assert abs(int(line["markup_micros"]) - own * int(line["cost_micros"])) <= 4
    assert sum(int(line["price_micros"]) for line in lines) == bill["price_micros"]
    assert sum(int(line["markup_micros"]) for line in lines) == bill["price_micros"] - bill["cost_micros"] > 0
    names = text.splitlines()[0].split(",")
    assert names[-5:] == ["latency_ms_p95", "markup_micros", "period_start_ms", "period_end_ms", "currency"]
    assert names[:4] == ["key_id", "name", "external_id", "end_user"]
