"""Batches: held when they are made, settled once from their results, whoever looks and whoever dies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.objects import Object
from providers.ground.usage import Usage
from tests.gateway.stored.test_files import get, jsonl, line, upload
from tests.harness import Running, running

BATCH = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


async def made(
    farthing: Running, key: dict[str, Any], *lines: dict[str, Any], fault: str = "", **more: Any
) -> dict[str, Any]:
    """A batch of these lines, just made."""
    status, file = await upload(farthing, key["secret"], jsonl(*lines))
    assert status == 200, file
    if fault:
        farthing.upstream.script(f"batch={fault}")
    body = BATCH | {"input_file_id": file["id"]} | more
    status, _, content = await farthing.call(key["secret"], body, "/v1/batches")
    assert status == 200, content
    return dict(json.loads(content))


async def over(farthing: Running, key: dict[str, Any], id_: str, path: str = "/v1/batches/") -> dict[str, Any]:
    """The batch once it has ended, as its maker sees it by asking."""
    async with asyncio.timeout(20):
        while True:
            status, batch = await get(farthing, key["secret"], path + id_)
            assert status == 200, batch
            if batch.get("status", batch.get("processing_status")) not in ("in_progress", "cancelling", "RUNNING"):
                return dict(batch)
            await asyncio.sleep(0.2)


async def settled(farthing: Running, route: str = "batches", livemode: str = "true") -> dict[str, Any]:
    """The one event that a batch became."""
    async with asyncio.timeout(20):
        while True:
            found = [each for each in await farthing.events(livemode=livemode) if each["route"] == route]
            found = [each for each in found if each["held_micros"]]
            if found:
                assert len(found) == 1
                return dict(found[0])
            await asyncio.sleep(0.1)


def cost_picos(farthing: Running, line: Any, provider: str = "openai") -> int:
    """What the invoice's line costs, at the price of batches."""
    price = farthing.gateway.services.catalogue.find(provider, line.model or "", line.ended_ms)
    assert price is not None
    billed = line.billed
    cached = billed.get("cached_tokens", billed.get("cache_read_input_tokens", 0))
    outside = 0 if "cached_tokens" in billed else cached
    return price.cost_picos(
        Usage(
            input_tokens=billed["input_tokens"] + outside,
            cache_read_tokens=cached,
            output_tokens=billed["output_tokens"],
            service_tier="batch",
        )
    )


async def test_a_batch_is_held_when_made_and_settled_at_half_the_price(farthing: Running) -> None:
    """Its hold covers all lines; its event says what the results used, to the pico, and comes once."""
    key = await farthing.mint(max_spend_usd="1")
    batch = await made(farthing, key, *(line(number) for number in range(1, 6)))
    (hold,) = (await farthing.api("GET", "/v1/holds"))[1]["data"]
    assert (hold["key_id"], hold["state"]) == (key["id"], "open")
    assert hold["amount"] > 0

    batch = await over(farthing, key, batch["id"])
    assert batch["status"] == "completed"
    event = await settled(farthing)
    (invoice,) = [each for each in farthing.upstream.invoice if each.path == "/v1/batches" and each.billed]
    invoice.model = "gpt-4o-mini"
    assert event["cost_picos"] == cost_picos(farthing, invoice)
    assert (event["status"], event["model"], event["usage"]["service_tier"]) == ("settled", "gpt-4o-mini", "batch")
    assert event["cost_micros"] <= event["held_micros"] == hold["amount"]
    assert (await farthing.api("GET", "/v1/holds"))[1]["data"] == []

    for _ in range(3):  # nobody is charged for looking again
        await over(farthing, key, batch["id"])
    status, _, content = await _content(farthing, key, batch["output_file_id"])
    assert status == 200
    lines = [json.loads(each) for each in content.splitlines()]
    assert [each["custom_id"] for each in lines] == [f"request-{number}" for number in range(1, 6)]
    assert sum(each["response"]["body"]["usage"]["total_tokens"] for each in lines) == batch["usage"]["total_tokens"]
    await asyncio.sleep(1.5)
    await settled(farthing)
    await farthing.audited()


async def _content(farthing: Running, key: dict[str, Any], id_: str) -> tuple[int, str, bytes]:
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with farthing.http.get(f"{farthing.url}/v1/files/{id_}/content", headers=headers) as response:
        return response.status, response.content_type, await response.read()


async def test_a_batch_above_the_cap_is_refused_and_never_made(farthing: Running) -> None:
    """402 before the provider is called, with what the whole batch would take."""
    key = await farthing.mint(max_spend_usd="0.001")
    lines = [line(number, model="gpt-4o", max_tokens=4_000) for number in range(20)]
    status, file = await upload(farthing, key["secret"], jsonl(*lines))
    assert status == 200
    status, _, content = await farthing.call(key["secret"], BATCH | {"input_file_id": file["id"]}, "/v1/batches")
    assert (status, json.loads(content)["error"]["code"]) == (402, "spend_cap_exceeded")
    required = json.loads(content)["error"]["farthing"]["required_micros"]
    assert required > 20 * 4_000 * 10 * 0.5  # output at ten dollars a million, halved
    assert [seen.path for seen in farthing.upstream.requests] == ["/v1/files"]
    await farthing.audited()


@pytest.mark.parametrize("overdraft", ["inflight", "never"])
async def test_the_hold_covers_what_the_lines_use(farthing: Running, overdraft: str) -> None:
    """With whatever the lines declare, the bill is not above the hold."""
    key = await farthing.mint(max_spend_usd="50", overdraft=overdraft)
    lines = [line(1, max_tokens=64), line(2, max_tokens=None), line(3, max_tokens=200, n=3)]
    batch = await made(farthing, key, *lines)
    await over(farthing, key, batch["id"])
    event = await settled(farthing)
    assert 0 < event["cost_micros"] <= event["held_micros"]
    assert "overrun" not in event["flags"]
    await farthing.audited()


@pytest.mark.parametrize(("fault", "share"), [("expired", 2), ("cancelled", 2), ("failed", 0)])
async def test_what_was_not_done_costs_nothing(farthing: Running, fault: str, share: int) -> None:
    """A batch that ended early is settled for the answers that it has."""
    key = await farthing.mint()
    batch = await made(farthing, key, *(line(number) for number in range(4)), fault=fault)
    ended = await over(farthing, key, batch["id"])
    assert ended["status"] == fault
    event = await settled(farthing)
    assert ended["request_counts"]["completed"] == share
    invoice = next(each for each in farthing.upstream.invoice if each.path == "/v1/batches")
    invoice.model = "gpt-4o-mini"
    assert event["cost_picos"] == cost_picos(farthing, invoice)
    assert (event["cost_picos"] > 0) == (share > 0)
    await farthing.audited()


async def test_failed_lines_cost_nothing(farthing: Running) -> None:
    """A request that the provider refused is among the results of nobody's bill."""
    key = await farthing.mint()
    batch = await made(farthing, key, line(1), line(2, messages=[]))
    ended = await over(farthing, key, batch["id"])
    assert ended["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    event = await settled(farthing)
    assert event["usage"]["output_tokens"] <= 50
    await farthing.audited()


async def test_a_batch_that_nobody_asks_after_is_settled_by_the_housework(tmp_path: Path) -> None:
    """Never polling is no way out: the gateway looks by itself."""
    late_ms = 0

    def clock() -> int:
        from gateway.app import clock_ms

        return clock_ms() + late_ms

    async with running(tmp_path, clock=clock) as farthing:
        key = await farthing.mint()
        await made(farthing, key, line(1))
        await asyncio.sleep(2.1)
        late_ms = 60_000
        event = await settled(farthing)
        assert event["cost_picos"] > 0
        await farthing.audited()


async def test_one_batch_that_cannot_be_understood_keeps_no_other_waiting(farthing: Running) -> None:
    """The housework goes on, whatever it finds."""
    key = await farthing.mint()
    ledger = farthing.gateway.ledger
    account = await ledger.accounts.get(await ledger.accounts.root() or 0, key["id"])
    for provider in ("openai", "deepgram"):
        await ledger.objects.own(account.id, [Object(provider=provider, kind="batch", id="odd", due_ms=1)])
    batch = await made(farthing, key, line(1))
    await over(farthing, key, batch["id"])
    assert (await settled(farthing))["status"] == "settled"


async def test_a_batch_outlives_the_process_that_held_for_it(tmp_path: Path) -> None:
    """A gateway that starts anew leaves its hold open, and settles it."""
    async with running(tmp_path) as first:
        key = await first.mint(livemode=False)
        batch = await made(first, key, line(1), line(2))
    async with running(tmp_path) as second:
        (hold,) = (await second.api("GET", "/v1/holds"))[1]["data"]
        assert hold["state"] == "open"
        await over(second, key, batch["id"])
        assert (await settled(second, livemode="false"))["status"] == "settled"
        await second.audited()


async def test_a_batch_that_never_ends_becomes_unsettled_and_stays_counted(tmp_path: Path) -> None:
    """When its hold ends without an end of the batch, nobody knows what it cost; its cap does not get it back."""
    late_ms = 0

    def clock() -> int:
        from gateway.app import clock_ms

        return clock_ms() + late_ms

    async with running(tmp_path, clock=clock) as farthing:
        key = await farthing.mint(max_spend_usd="1")
        await made(farthing, key, line(1), fault="stuck")
        late_ms = 50 * 3_600_000
        event = await settled(farthing)
        assert (event["status"], event["cost_micros"]) == ("unsettled", 0)
        assert (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["unsettled_micros"] == event["held_micros"]
        await farthing.audited()


async def test_when_the_answer_to_the_making_is_lost_the_hold_stays(farthing: Running) -> None:
    """There may be a batch that costs: the call is unsettled, not free."""
    key = await farthing.mint()
    status, file = await upload(farthing, key["secret"], jsonl(line(1)))
    assert status == 200
    farthing.upstream.script("disconnect_after=10")
    status, _, _ = await farthing.call(key["secret"], BATCH | {"input_file_id": file["id"]}, "/v1/batches")
    assert status == 502
    event = await settled(farthing)
    assert event["status"] == "unsettled"
    farthing.upstream.script("status=400")
    status, _, _ = await farthing.call(key["secret"], BATCH | {"input_file_id": file["id"]}, "/v1/batches")
    assert status == 400
    assert {e["status"] for e in await farthing.events() if e["route"] == "batches"} == {"unsettled", "released"}
    await farthing.audited()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": None}, None),
        ({"input_file_id": "file-of-nobody"}, "input_file_id"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
    ],
)
async def test_a_batch_that_cannot_be_held_for_is_refused(
    farthing: Running, change: dict[str, Any], param: str | None
) -> None:
    key = await farthing.mint()
    _, file = await upload(farthing, key["secret"], jsonl(line(1)))
    body = BATCH | {"input_file_id": file["id"]} | change
    status, _, content = await farthing.call(key["secret"], body, "/v1/batches")
    assert status in (400, 404), content
    assert param in (None, json.loads(content)["error"]["param"])
    assert [seen.path for seen in farthing.upstream.requests] == ["/v1/files"]


async def test_an_unpriced_or_forbidden_model_is_refused_in_a_batch_too(farthing: Running) -> None:
    for fields, model, code in (
        ({}, "no-such-model-9", "model_not_priced"),
        ({"allowed_models": ["gpt-4o"]}, "gpt-4o-mini", "model_not_allowed"),
    ):
        key = await farthing.mint(**fields)
        _, file = await upload(farthing, key["secret"], jsonl(line(1, model=model)))
        _, _, content = await farthing.call(key["secret"], BATCH | {"input_file_id": file["id"]}, "/v1/batches")
        assert json.loads(content)["error"]["code"] == code


async def test_lines_of_a_batch_cannot_refer_to_anothers_objects(farthing: Running) -> None:
    """What a line names must be the caller's own, as in a call of its own."""
    mine, theirs = await farthing.mint(), await farthing.mint()
    _, own = await upload(farthing, mine["secret"], b"x", "user_data")
    _, foreign = await upload(farthing, theirs["secret"], b"y", "user_data")
    for file, expected in ((own, 200), (foreign, 404)):
        content = [{"type": "file", "file": {"file_id": file["id"]}}]
        requests = jsonl(line(1, messages=[{"role": "user", "content": content}]))
        _, uploaded = await upload(farthing, mine["secret"], requests)
        body = BATCH | {"input_file_id": uploaded["id"]}
        status, _, content_ = await farthing.call(mine["secret"], body, "/v1/batches")
        assert status == expected, content_


async def test_what_tells_the_cost_is_not_deleted_before_it_is_known(farthing: Running) -> None:
    """Results are deleted only once they have been counted; deleting them first is no way out."""
    key = await farthing.mint()
    batch = await made(farthing, key, line(1))
    await asyncio.sleep(2.1)
    headers = {"authorization": f"Bearer {key['secret']}"}
    _, ended = await get(farthing, key["secret"], f"/v1/batches/{batch['id']}")
    async with farthing.http.delete(f"{farthing.url}/v1/files/{ended['output_file_id']}", headers=headers) as response:
        assert response.status == 200
    assert (await settled(farthing))["cost_picos"] > 0
    await farthing.audited()


# ---- Anthropic's

MESSAGES = "/v1/messages/batches"


def request(number: int, **params: Any) -> dict[str, Any]:
    asked = {"model": "claude-haiku-4-5", "max_tokens": 60, "messages": [{"role": "user", "content": "hello"}]}
    return {"custom_id": f"request-{number}", "params": asked | params}


async def test_a_message_batch_is_settled_from_its_results(farthing: Running) -> None:
    """Held from the requests in its body; its results come from our own origin, where the key is good."""
    key = await farthing.mint(max_spend_usd="1")
    body = {"requests": [request(number) for number in range(3)]}
    status, _, content = await farthing.call(key["secret"], body, MESSAGES)
    assert status == 200, content
    ended = await over(farthing, key, json.loads(content)["id"], MESSAGES + "/")
    assert ended["processing_status"] == "ended"
    assert ended["results_url"] == f"{farthing.url}{MESSAGES}/{ended['id']}/results"
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with farthing.http.get(ended["results_url"], headers=headers) as response:
        lines = [json.loads(each) for each in (await response.read()).splitlines()]
    assert [each["custom_id"] for each in lines] == ["request-0", "request-1", "request-2"]
    event = await settled(farthing, "messages.batches")
    (invoice,) = [each for each in farthing.upstream.invoice if each.billed]
    invoice.model = "claude-haiku-4-5"
    assert event["cost_picos"] == cost_picos(farthing, invoice, "anthropic")
    assert event["cost_micros"] <= event["held_micros"]

    stranger = await farthing.mint()
    assert (await get(farthing, stranger["secret"], f"{MESSAGES}/{ended['id']}/results"))[0] == 404
    status, page = await get(farthing, key["secret"], f"{MESSAGES}?limit=1")
    assert [each["id"] for each in page["data"]] == [ended["id"]]
    assert page["data"][0]["results_url"].startswith(farthing.url)
    async with farthing.http.delete(f"{farthing.url}{MESSAGES}/{ended['id']}", headers=headers) as response:
        assert response.status == 200
    await farthing.audited()


async def test_a_message_batch_cannot_be_deleted_before_it_is_settled(farthing: Running) -> None:
    key = await farthing.mint()
    _, _, content = await farthing.call(key["secret"], {"requests": [request(1)]}, MESSAGES)
    id_ = json.loads(content)["id"]
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with farthing.http.delete(f"{farthing.url}{MESSAGES}/{id_}", headers=headers) as response:
        assert response.status == 409
    assert (await get(farthing, key["secret"], f"{MESSAGES}/{id_}"))[0] == 200


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([request(1), request(2, model="claude-sonnet-4-5")], "one model"),
        ([request(1, stream=True)], "stream"),
        ([{"custom_id": "a"}], "requests"),
        ([], "requests"),
    ],
)
async def test_a_message_batch_that_cannot_be_metered_is_refused(
    farthing: Running, requests: list[dict[str, Any]], says: str
) -> None:
    key = await farthing.mint()
    status, _, content = await farthing.call(key["secret"], {"requests": requests}, MESSAGES)
    assert status == 400
    assert says in json.loads(content)["error"]["message"]
    assert not farthing.upstream.requests


# ---- Mistral's


async def test_a_mistral_job_is_settled_too(farthing: Running) -> None:
    """Its model stands in the job; its lines name no operation; its pages are numbered."""
    key = await farthing.mint(allowed_providers=["mistral"])
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 40}
    content = jsonl(*({"custom_id": str(number), "body": body} for number in range(3)))
    status, file = await upload(farthing, key["secret"], content)
    assert status == 200, file
    job = {"input_files": [file["id"]], "model": "mistral-small-latest", "endpoint": "/v1/chat/completions"}
    status, _, answered = await farthing.call(key["secret"], job, "/v1/batch/jobs")
    assert status == 200, answered
    id_ = json.loads(answered)["id"]
    shown = await over(farthing, key, id_, "/v1/batch/jobs/")
    assert shown["status"] == "SUCCESS"
    event = await settled(farthing, "batch.jobs")
    (invoice,) = [each for each in farthing.upstream.invoice if each.billed]
    invoice.model = "mistral-small-latest"
    assert event["cost_picos"] == cost_picos(farthing, invoice, "mistral")
    assert (await get(farthing, key["secret"], f"/v1/files/{shown['output_file']}"))[0] == 200
    status, page = await get(farthing, key["secret"], "/v1/batch/jobs?page_size=1")
    assert ([each["id"] for each in page["data"]], page["total"]) == ([id_], 1)
    status, page = await get(farthing, key["secret"], "/v1/files?page=1&page_size=1")
    assert (page["total"], len(page["data"])) == (2, 1)
    await farthing.audited()
