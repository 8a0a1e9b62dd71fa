"""Sums: the bill, its parts and the events are one figure, in JSON and in CSV, however many calls were how small."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
from typing import Any

from tests.faults.support import CHAT, EMBED, MESSAGES, MICRO, PATHS, STREAM, Site
from tests.harness import MASTER

MEASURES = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


async def usage(site: Site, query: str = "") -> Any:
    status, bill = await site.api("GET", f"/v1/usage?from_ms=0{query}")
    assert status == 200, bill
    return bill


async def table(site: Site, target: str) -> list[dict[str, str]]:
    async with site.farthing.http.get(site.url + target, headers={"x-api-key": MASTER}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/csv"
        return list(csv.DictReader(io.StringIO(await answer.text(), newline="")))


async def test_every_sum_is_the_sum_of_its_parts(site: Site) -> None:
    """A seeded mix of good, broken, blocked and refused calls of three keys: all totals agree to the micro."""
    dice = random.Random(26)  # noqa: S311 - a mix of calls
    team = await site.mint(name="team", scope="team")
    site.secrets.add(team["secret"])
    keys = [
        team["secret"],
        await site.key(name="wide", by=team["secret"]),
        await site.key(name="tight", max_spend_micros=3_000, by=team["secret"]),
    ]
    bodies: tuple[tuple[str, dict[str, Any]], ...] = (
        (PATHS["chat"], CHAT),
        (PATHS["chat"], STREAM),
        (PATHS["chat"], STREAM | {"model": "gpt-4o"}),
        (PATHS["messages"], MESSAGES),
        (PATHS["messages"], MESSAGES | {"stream": True}),
        (PATHS["embeddings"], EMBED),
        (PATHS["chat"], CHAT | {"model": "no-such-model"}),
    )
    sims = ("", "", "output_tokens=33", "cache=hit", "status=500", "usage=missing", "disconnect_after=4", "usage=zero")
    mix = [
        (dice.choice(keys), *dice.choice(bodies), dice.choice(sims), dice.choice(("u1", "u2", ""))) for _ in range(120)
    ]

    async def one(secret: str, path: str, body: dict[str, Any], sim: str, user: str) -> None:
        await site.call(secret, body, sim, path, {"x-end-user-id": user} if user else None)

    for at in range(0, len(mix), 12):
        await asyncio.gather(*(one(*each) for each in mix[at : at + 12]))
    events = await site.events()
    assert len(events) == len(mix)
    bill = await usage(site)
    rows = bill["by_key"]
    models = [model for row in rows for model in row["by_model"]]
    allowed = [event for event in events if event["decision"] == "allowed"]
    cost = sum(event["cost_micros"] for event in events)
    assert cost > 0
    assert cost == bill["cost_micros"] == sum(r["cost_micros"] for r in rows) == sum(m["cost_micros"] for m in models)
    assert len(allowed) == bill["requests"] == sum(r["requests"] for r in rows) == sum(m["requests"] for m in models)
    assert bill["blocked"] == sum(row["blocked"] for row in rows) == len(events) - len(allowed) > 5
    for measure in MEASURES:
        assert sum(m[measure] for m in models) == sum(event["usage"].get(measure, 0) for event in allowed), measure
    for row in rows:
        own = [event for event in events if event["key_id"] == row["key_id"]]
        assert row["cost_micros"] == sum(event["cost_micros"] for event in own)
        assert 0 <= sum(event["cost_picos"] for event in own) - row["cost_micros"] * MICRO < MICRO
        _, key = await site.api("GET", f"/v1/keys/{row['key_id']}")
        below = events if row["key_id"] == team["id"] else own
        assert key["spent_micros"] == sum(event["cost_micros"] for event in below), row
    for by in ("model", "end_user", "day", "model,end_user,day", "tag:mark"):
        groups = (await usage(site, f"&group_by={by}"))["groups"]
        assert sum(group["cost_micros"] for group in groups) == cost, by
        assert sum(group["requests"] for group in groups) == len(allowed), by
    for user in ("u1", "u2"):
        part = await usage(site, f"&end_user={user}")
        assert part["cost_micros"] == sum(event["cost_micros"] for event in events if event["end_user"] == user)
    lines = await table(site, "/v1/usage?from_ms=0&format=csv")
    assert sum(int(line["cost_micros"]) for line in lines) == cost
    assert sum(int(line["requests"]) for line in lines) == len(allowed)
    listed = await table(site, "/v1/events?limit=100&format=csv")
    newest = {event["id"]: event for event in events[:100]}
    assert [line["id"] for line in listed] == [event["id"] for event in events[:100]]
    for line in listed:
        event = newest[line["id"]]
        assert int(line["cost_picos"]) == event["cost_picos"]
        assert json.loads(line["usage"]) == event["usage"]
        assert line["reason"] == (event["reason"] or "")
    assert not (await usage(site, "&livemode=false"))["by_key"]
    empty = await usage(site, "&to_ms=1")
    assert (empty["cost_micros"], empty["by_key"]) == (0, [])


async def test_a_thousand_tiny_calls_are_charged_exactly(site: Site) -> None:
    """P-exactness: 12 tokens at 0.02 USD a million are 0.24 micros; a thousand are 240, none is free for ever."""
    secret = await site.key()
    body = EMBED | {"input": [list(range(12))]}
    _, status, headers, answer = await site.call(secret, body, path=PATHS["embeddings"])
    assert (status, json.loads(answer)["usage"]["prompt_tokens"]) == (200, 12)
    assert headers["x-farthing-cost-micros"] == "0"

    async def some() -> None:
        for _ in range(37):
            assert (await site.call(secret, body, path=PATHS["embeddings"]))[1] == 200

    await asyncio.gather(*(some() for _ in range(27)))
    await site.farthing.quiet()
    _, me = await site.api("GET", "/v1/me", key=secret)
    bill = await usage(site)
    assert bill["requests"] == 1000
    assert me["spent_micros"] == bill["cost_micros"] == 240
    (model,) = bill["by_key"][0]["by_model"]
    assert (model["input_tokens"], model["output_tokens"]) == (12_000, 0)


async def test_no_cell_is_a_formula(site: Site) -> None:
    """F31: names, ids and users that a spreadsheet would carry out come out as text; quotes and line breaks survive."""
    names = ['=HYPERLINK("http://x","y")', "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", 'a"b,c\nd', "ok"]
    keys = {}
    for name in names:
        key = await site.mint(name=name, external_id=name)
        site.secrets.add(key["secret"])
        keys[key["id"]] = name
        headers = {"x-end-user-id": name.strip() or "x", "x-farthing-metadata": json.dumps({"team": name})}
        if "\n" in name:
            headers.pop("x-end-user-id")
        assert (await site.call(key["secret"], CHAT, headers=headers))[1] == 200
    await site.farthing.quiet()
    lines = await table(site, "/v1/usage?from_ms=0&format=csv&group_by=end_user,tag:team")
    assert {line["key_id"] for line in lines} == set(keys)
    for line in lines:
        said = keys[line["key_id"]]
        for column in ("name", "external_id", "tag:team"):
            assert line[column].removeprefix("'") == said, (column, line)
    for target in ("/v1/usage?from_ms=0&format=csv&group_by=end_user,tag:team", "/v1/events?format=csv"):
        for line in await table(site, target):
            assert not any(str(cell).startswith(("=", "+", "@", "\t", "\r")) for cell in line.values()), line
            assert not any(str(cell).startswith("-") and not str(cell)[1:].isdigit() for cell in line.values()), line
