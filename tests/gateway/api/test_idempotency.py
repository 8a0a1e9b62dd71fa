"""A request with an Idempotency-Key is carried out once, whatever it asks; nobody who was forgotten is kept so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import gateway.api
from gateway.api.described import ENTRIES
from tests.gateway.api.seeded import Seeded
from tests.gateway.api.test_openapi import LAST
from tests.harness import MASTER, Running, running

EXAMPLES = json.loads(Path(gateway.api.__file__).with_name("examples.json").read_text("utf-8"))["requests"]

CHANGES = {each for each in ENTRIES if each[0] != "GET"}
WITHOUT = {"check", "estimate", "reportEvents", "checkPipeline", "cancelPipeline", "receiveStripeEvent"}
"""What changes nothing, carries keys of its own, or ends what is then ended."""
ELSEWHERE = {"runPipeline"}
"""What is tested where it stands: a run's answer is not kept."""
OTHER = ("POST", "/v1/plans", {"name": "another request"})


def test_whatever_changes_something_takes_a_key() -> None:
    """In the document as in the contract: POST, PUT, PATCH and DELETE."""
    assert {ENTRIES[each].name for each in CHANGES if not ENTRIES[each].idempotent} == WITHOUT


async def asked(farthing: Running, method: str, path: str, body: Any, key: str) -> tuple[int, str | None, Any]:
    headers = {"authorization": f"Bearer {MASTER}", "idempotency-key": key}
    async with farthing.http.request(method, farthing.url + path, json=body, headers=headers) as answer:
        return answer.status, answer.headers.get("idempotent-replayed"), await answer.json()


async def test_every_change_is_made_once(tmp_path: Path) -> None:
    """The same request again gets the same answer, marked; another one with its key is refused, on either side."""
    async with running(tmp_path) as farthing:
        seeded = Seeded(farthing)
        await seeded.seed()
        order = sorted(CHANGES - set(LAST)) + LAST
        for method, template in order:
            entry = ENTRIES[method, template]
            if not entry.idempotent or entry.name in ELSEWHERE:
                continue
            if (method, template) == ("DELETE", "/v1/plans/{id}"):
                seeded.ids["/v1/plans"] = (await farthing.api("POST", "/v1/plans", {}))[1]["id"]
            path = await seeded.path(template) + seeded.query(method, template)[0]
            body = (
                seeded.body(method, template, entry.example or EXAMPLES.get(entry.name))
                if entry.body is not None
                else None
            )
            assert (await asked(farthing, *OTHER, f"other {entry.name}"))[0] == 201
            refused = await asked(farthing, method, path, body, f"other {entry.name}")
            if entry.name != "reserve":  # it is made under an id of its own
                assert (refused[0], refused[2]["error"]["code"]) == (422, "idempotency_mismatch"), entry.name
            first = await asked(farthing, method, path, body, entry.name)
            assert first[0] < 300 and first[1] is None, (entry.name, first)
            again = await asked(farthing, method, path, body, entry.name)
            assert again[:2] == (first[0], "true"), (entry.name, again)
            if entry.name != "reserve":
                assert again[2] == first[2], entry.name
                assert (await asked(farthing, *OTHER, entry.name))[0] == 422, entry.name


async def test_a_test_that_is_asked_for_twice_is_sent_once(farthing: Running) -> None:
    """Ten at once with one key are one message; a retry and a replay that come again change nothing."""
    hook = (await farthing.api("POST", "/v1/hooks", {"kind": "webhook", "url": "https://example.com/h"}))[1]
    path = f"/v1/hooks/{hook['id']}"
    await farthing.api("PATCH", path, {"status": "disabled"})
    sent = await asyncio.gather(*(asked(farthing, "POST", f"{path}/test", None, "k") for _ in range(10)))
    assert len({answer[2]["id"] for answer in sent}) == 1
    assert sorted(answer[1] is None for answer in sent) == [False] * 9 + [True]
    assert len((await farthing.api("GET", f"{path}/deliveries"))[1]["data"]) == 1
    delivery = f"/v1/deliveries/{sent[0][2]['id']}"
    first = await asked(farthing, "POST", f"{delivery}/retry", None, "r")
    again = await asked(farthing, "POST", f"{delivery}/retry", None, "r")
    assert (first[0], again[1], again[2]) == (202, "true", first[2])
    assert again[2]["message"]["type"] == "hook.test"


async def test_a_commit_that_comes_again_says_something_else(farthing: Running) -> None:
    """With the key of the first it is refused, though the reservation has ended; without, the first word stands."""
    key = await farthing.mint(livemode=False)
    body = {"amount": 50, "subject": {"key_id": key["id"]}}
    path = f"/v1/reservations/{(await farthing.api('POST', '/v1/reservations', body))[1]['id']}"
    longer = await asked(farthing, "POST", f"{path}/extend", {"ttl_seconds": 500}, "x")
    first = await asked(farthing, "POST", f"{path}/commit", {"actual": 20}, "c")
    assert (await asked(farthing, "POST", f"{path}/commit", {"actual": 30}, "c"))[0] == 422
    assert (await asked(farthing, "POST", f"{path}/commit", {"actual": 20}, "c")) == (200, "true", first[2])
    assert (await asked(farthing, "POST", f"{path}/extend", {"ttl_seconds": 500}, "x")) == (200, "true", longer[2])
    assert (await farthing.api("POST", f"{path}/commit", {"actual": 30}))[1]["actual"] == 20
    assert (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["spent_micros"] == 20


async def test_a_refusal_does_not_use_the_key_up(farthing: Running) -> None:
    """What was not done may be asked for again, and rightly."""
    key = await farthing.mint(livemode=False)
    path = f"/v1/end_users/ann?key_id={key['id']}"
    assert (await asked(farthing, "PUT", path, {"max_spend_usd": "-1"}, "k"))[0] == 400
    assert (await asked(farthing, "PUT", path, {"max_spend_usd": "1"}, "k"))[0] == 200
    assert (await asked(farthing, "DELETE", path.replace("ann", "bob"), None, "d"))[0] == 404
    assert (await asked(farthing, "DELETE", path, None, "d"))[0] == 200


async def test_who_is_forgotten_is_in_no_kept_answer(farthing: Running) -> None:
    """Nor is he opened again by a request that comes again."""
    key = await farthing.mint(livemode=False)
    path = f"/v1/end_users/somebody?key_id={key['id']}"
    body = {"metadata": {"told": "a secret"}}
    assert (await asked(farthing, "PUT", path, body, "p"))[0] == 200
    first = await asked(farthing, "DELETE", path, None, "d")
    assert (await asked(farthing, "DELETE", path, None, "d"))[1:] == ("true", first[2])

    def kept() -> Any:
        rows = yield "SELECT * FROM replays", ()
        return str(rows)

    answers = await farthing.gateway.ledger.accounts._access.read(kept)
    assert "somebody" not in answers and "a secret" not in answers
    assert (await farthing.api("GET", path))[0] == 404


@pytest.fixture
async def farthing(tmp_path: Path) -> Any:
    async with running(tmp_path) as gateway:
        yield gateway
