"""A route's calls: who is asked after what, what is billed, and what the client hears. Real sockets, real invoices."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import MASTER, Running, running

FIRST, SECOND = "gpt-4o-mini", "mistral-small-latest"
CHAT = {"model": "smart", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}
BOTH = [{"provider": "openai", "model": FIRST}, {"provider": "mistral", "model": SECOND}]


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


async def route(farthing: Running, **fields: Any) -> dict[str, Any]:
    status, made = await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": BOTH} | fields)
    assert status == 201, made
    return dict(made)


async def called(farthing: Running, body: Any = CHAT, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    key = await farthing.mint(**fields)
    return await farthing.call(key["secret"], body)


def asked(farthing: Running) -> list[str]:
    """The models that providers were asked for, in order."""
    return [each.json()["model"] for each in farthing.upstream.requests]


async def attempts(farthing: Running) -> list[tuple[int, str, str]]:
    """Number, upstream and status of the events, oldest first."""
    return [(each["attempt"], each["upstream"], each["status"]) for each in reversed(await farthing.events())]


async def test_a_call_goes_to_the_first_target_and_says_so(farthing: Running) -> None:
    await route(farthing)
    status, headers, body = await called(farthing)
    assert (status, json.loads(body)["model"].startswith(FIRST)) == (200, True)
    assert (headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == ("openai", "1")
    assert asked(farthing) == [FIRST]
    (event,) = await farthing.events()
    assert (event["model"], event["attempt"], event["request_id"]) == (FIRST, 1, headers["x-farthing-request-id"])
    await farthing.audited()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["status=429", "status=503", "status=529", "status=401", "status=402", "status=404"])
async def test_a_failure_that_cost_nothing_is_switched(farthing: Running, fault: str, stream: bool) -> None:
    await route(farthing)
    farthing.upstream.script(fault, model=FIRST)
    status, headers, body = await called(farthing, CHAT | {"stream": stream})
    assert status == 200, body
    assert SECOND.encode() in body
    assert (headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == ("mistral", "2")
    assert asked(farthing) == [FIRST, SECOND]
    assert await attempts(farthing) == [(1, "openai", "released"), (2, "mistral", "settled")]
    second, first = await farthing.events()
    assert first["request_id"] == second["request_id"] == headers["x-farthing-request-id"]
    assert first["id"] != second["id"]
    assert first["cost_picos"] == 0 < second["cost_picos"]
    await farthing.audited()


@pytest.mark.parametrize("fault", ["status=400", "status=413", "status=422"])
async def test_a_request_at_fault_is_asked_once(farthing: Running, fault: str) -> None:
    await route(farthing)
    farthing.upstream.script(fault, model=FIRST)
    status, headers, _ = await called(farthing)
    assert (status, headers["x-farthing-attempts"]) == (int(fault.removeprefix("status=")), "1")
    assert asked(farthing) == [FIRST]


@pytest.mark.parametrize("fault", ["status=500", "status=502", "status=504", "reset=before_head"])
@pytest.mark.parametrize("anyway", [False, True])
async def test_what_may_have_been_billed_is_asked_elsewhere_only_where_the_route_says_so(
    farthing: Running, fault: str, anyway: bool
) -> None:
    await route(farthing, retry_ambiguous=anyway)
    farthing.upstream.script(fault, model=FIRST)
    status, headers, _ = await called(farthing)
    if not anyway:
        assert (status, headers["x-farthing-attempts"]) == (int(fault[7:]) if "status" in fault else 502, "1")
        assert asked(farthing) == [FIRST]
    else:
        assert (status, headers["x-farthing-attempts"]) == (200, "2")
        assert await attempts(farthing) == [(1, "openai", "unsettled"), (2, "mistral", "settled")]
        (key,) = (await farthing.api("GET", "/v1/keys"))[1]["data"]
        first = (await farthing.events())[-1]
        assert key["unsettled_micros"] == first["held_micros"] > 0
    await farthing.audited()


async def test_nothing_is_switched_after_a_byte_has_gone_to_the_client(farthing: Running) -> None:
    await route(farthing, retry_ambiguous=True)
    farthing.upstream.script("disconnect_after=3", model=FIRST)
    key = await farthing.mint()
    with pytest.raises(Exception, match=r"payload|closed|Connection"):  # as broken as the provider's own
        await farthing.call(key["secret"], CHAT | {"stream": True})
    await farthing.quiet()
    assert asked(farthing) == [FIRST]
    await farthing.audited()


async def test_an_upstream_that_cannot_be_reached_costs_nothing_and_is_passed_over(tmp_path: Path) -> None:
    async with running(tmp_path, FARTHING_UPSTREAM_OPENAI="http://127.0.0.1:1") as farthing:
        await route(farthing)
        key = await farthing.mint()
        for _ in range(7):
            status, headers, _ = await farthing.call(key["secret"], CHAT)
            assert (status, headers["x-farthing-upstream"]) == (200, "mistral")
        assert headers["x-farthing-attempts"] == "1"  # it is known to be down by now
        (first,) = [
            each for each in (await farthing.api("GET", "/v1/upstreams"))[1]["data"] if each["name"] == "openai"
        ]
        assert (first["state"], first["last_failure"]) == ("down", "unreachable")
        assert first["models"] == [{"model": FIRST, "state": "down"}]
        assert [each[2] for each in await attempts(farthing)].count("released") == 5
        await farthing.audited()


async def test_a_stream_that_begins_with_its_failure_is_asked_elsewhere(farthing: Running) -> None:
    await farthing.api(
        "POST",
        "/v1/routes",
        {
            "name": "smart",
            "targets": [
                {"provider": "anthropic", "model": "claude-sonnet-4-5"},
                {"provider": "anthropic", "model": "claude-haiku-4-5"},
            ],
        },
    )
    farthing.upstream.script("error_after=0", model="claude-sonnet-4-5")
    key = await farthing.mint()
    body = {"model": "smart", "max_tokens": 20, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    status, headers, answer = await farthing.call(key["secret"], body, "/v1/messages")
    assert (status, headers["x-farthing-attempts"]) == (200, "2"), answer
    assert b"claude-haiku-4-5" in answer
    assert b"overloaded" not in answer
    assert [each[2] for each in await attempts(farthing)] == ["released", "settled"]


async def test_who_asked_for_rest_is_not_asked_before_his_time(farthing: Running) -> None:
    await route(farthing)
    key = await farthing.mint()
    farthing.upstream.script("status=429", model=FIRST)
    for number in range(3):
        status, headers, _ = await farthing.call(key["secret"], CHAT)
        assert (status, headers["x-farthing-attempts"]) == (200, "2" if number == 0 else "1")
    assert asked(farthing) == [FIRST, SECOND, SECOND, SECOND]
    (first,) = [each for each in (await farthing.api("GET", "/v1/upstreams"))[1]["data"] if each["name"] == "openai"]
    assert first["state"] == "resting"
    assert first["rests_until_ms"] > time.time() * 1000


async def test_if_all_rest_nobody_is_asked_and_the_shortest_wait_is_told(farthing: Running) -> None:
    await route(farthing)
    key = await farthing.mint()
    farthing.upstream.script("status=429", model=FIRST)
    farthing.upstream.script("status=429", model=SECOND)
    status, headers, body = await farthing.call(key["secret"], CHAT)
    assert (status, headers["x-farthing-attempts"]) == (429, "2")
    wait = int(headers["retry-after"])
    status, headers, body = await farthing.call(key["secret"], CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(headers["retry-after"]) <= wait
    assert len(asked(farthing)) == 2


async def test_a_route_may_wait_for_a_rest_that_is_short(farthing: Running) -> None:
    await route(farthing, targets=BOTH[:1], wait_s=10)
    farthing.upstream.script("status=429", model=FIRST)
    began = time.monotonic()
    status, headers, _ = await called(farthing)
    assert (status, headers["x-farthing-attempts"]) == (200, "2")
    assert time.monotonic() - began >= 1
    assert asked(farthing) == [FIRST, FIRST]


async def test_the_former_answer_stands_where_the_next_attempt_does_not_fit(farthing: Running) -> None:
    await route(farthing, targets=[BOTH[0], {"provider": "openai", "model": "gpt-4"}])
    farthing.upstream.script("status=503", model=FIRST)
    status, headers, body = await called(farthing, max_spend_usd="0.0005")
    assert (status, headers["x-farthing-attempts"]) == (503, "1"), body
    assert asked(farthing) == [FIRST]
    await farthing.audited()


async def test_what_the_key_may_not_use_is_passed_over(farthing: Running) -> None:
    await route(farthing)
    status, headers, _ = await called(farthing, allowed_models=[SECOND])
    assert (status, headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == (200, "mistral", "1")
    status, _, body = await called(farthing, allowed_models=["gpt-4o"])
    assert (status, json.loads(body)["error"]["code"]) == (403, "model_not_allowed")
    (event, *_) = await farthing.events(decision="blocked")
    assert event["reason"] == "model_not_allowed"
    assert asked(farthing) == [SECOND]


async def test_what_is_not_to_be_switched_on_is_told(farthing: Running) -> None:
    await route(farthing, switch_on=["429"])
    farthing.upstream.script("status=503", model=FIRST)
    status, headers, _ = await called(farthing)
    assert (status, headers["x-farthing-attempts"]) == (503, "1")


async def test_a_request_may_bring_its_own_models(farthing: Running) -> None:
    farthing.upstream.script("status=503", model=FIRST)
    body = {name: value for name, value in CHAT.items() if name != "model"} | {"models": [FIRST, SECOND]}
    status, headers, answer = await called(farthing, body)
    assert (status, headers["x-farthing-attempts"]) == (200, "2"), answer
    assert [each.json().get("models") for each in farthing.upstream.requests] == [None, None]
    assert asked(farthing) == [FIRST, SECOND]
    status, _, answer = await called(farthing, CHAT | {"models": "gpt-4o"})
    assert (status, json.loads(answer)["error"]["param"]) == (400, "models")
    status, _, answer = await called(farthing, CHAT | {"model": "nobody's", "models": [FIRST]})
    assert (status, json.loads(answer)["error"]["code"]) == (400, "model_not_priced")


async def test_a_silent_target_is_given_up_in_the_routes_time_and_not_asked_again(farthing: Running) -> None:
    await route(farthing, retry_ambiguous=True, first_byte_timeout_s=0.5)
    key = await farthing.mint()
    farthing.upstream.script("stall=1", model=FIRST)
    status, headers, _ = await farthing.call(key["secret"], CHAT)
    assert (status, headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == (200, "mistral", "2")
    status, headers, _ = await farthing.call(key["secret"], CHAT)
    assert (status, headers["x-farthing-attempts"]) == (200, "1")
    assert asked(farthing) == [FIRST, SECOND, SECOND]
    assert [each[2] for each in await attempts(farthing)] == ["unsettled", "settled", "settled"]
    await farthing.audited()


async def test_a_stream_whose_first_event_is_late_is_given_up_too(farthing: Running) -> None:
    await route(farthing, retry_ambiguous=True, first_byte_timeout_s=0.5)
    farthing.upstream.script("stall_after=0", model=FIRST)
    status, headers, body = await called(farthing, CHAT | {"stream": True})
    assert (status, headers["x-farthing-upstream"]) == (200, "mistral")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_what_names_a_stored_object_is_asked_once_and_where_it_is(farthing: Running) -> None:
    targets = [{"provider": "xai", "model": "grok-4"}, {"provider": "openai", "model": "gpt-4o"}]
    await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": targets})
    key = await farthing.mint()
    kept = {"model": "gpt-4o", "input": "hello", "store": True, "max_output_tokens": 50}
    status, _, answer = await farthing.call(key["secret"], kept, "/v1/responses")
    assert status == 200, answer
    farthing.upstream.script("status=503", model="gpt-4o")
    body = {"model": "smart", "input": "on", "previous_response_id": json.loads(answer)["id"], "max_output_tokens": 50}
    status, headers, answer = await farthing.call(key["secret"], body, "/v1/responses")
    assert status == 503, answer
    assert headers["x-farthing-upstream"] == "openai"
    status, headers, answer = await farthing.call(key["secret"], body, "/v1/responses")
    assert (status, headers["x-farthing-upstream"]) == (200, "openai"), answer
    assert asked(farthing) == ["gpt-4o"] * 3


async def test_a_caller_stays_where_the_weights_have_put_it(farthing: Running) -> None:
    await route(farthing, targets=[BOTH[0] | {"weight": 1}, BOTH[1] | {"weight": 1}])
    chosen = set()
    for _ in range(24):
        key = await farthing.mint()
        homes = {(await farthing.call(key["secret"], CHAT))[1]["x-farthing-upstream"] for _ in range(3)}
        assert len(homes) == 1
        chosen |= homes
    assert chosen == {"openai", "mistral"}  # all of 24 at one of them is one in eight million


async def test_a_route_of_gemini_rewrites_the_path(farthing: Running) -> None:
    targets = [{"provider": "google", "model": "gemini-2.5-flash"}, {"provider": "google", "model": "gemini-2.5-pro"}]
    await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": targets})
    farthing.upstream.script("status=503")
    key = await farthing.mint()
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "generationConfig": {"maxOutputTokens": 9}}
    status, headers, answer = await farthing.call(key["secret"], body, "/v1beta/models/smart:generateContent")
    assert (status, headers["x-farthing-attempts"]) == (200, "2"), answer
    assert [each.path for each in farthing.upstream.requests] == [
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-pro:generateContent",
    ]


async def test_fifty_calls_at_once_over_a_dying_target_keep_the_cap_and_lose_nobody(farthing: Running) -> None:
    await route(farthing)
    key = await farthing.mint(max_spend_usd="0.05")
    farthing.upstream.script(*["status=503"] * 50, model=FIRST)
    answers = await asyncio.gather(*(farthing.call(key["secret"], CHAT) for _ in range(50)))
    assert {status for status, *_ in answers} == {200}
    await farthing.audited()
    invoice = sum(1 for line in await farthing.upstream.invoiced(1) if line.billed)
    settled = [each for each in await farthing.events() if each["status"] == "settled"]
    assert invoice == len(settled) == 50


async def test_test_keys_go_the_same_way(farthing: Running) -> None:
    await route(farthing)
    key = await farthing.mint(livemode=False)
    status, headers, _ = await farthing.call(key["secret"], CHAT, headers={"x-farthing-sim": "status=503"})
    assert (status, headers["x-farthing-attempts"]) == (503, "2")
    assert not farthing.upstream.requests


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": "gpt-4o"}, "name"),
        ({"name": "a b"}, "name"),
        ({"targets": []}, "targets"),
        ({"targets": [{"provider": "nobody", "model": "x"}]}, "targets[0].provider"),
        ({"targets": [{"provider": "openai", "model": "nothing-of-the-kind"}]}, "targets[0].model"),
        ({"targets": [BOTH[0], BOTH[1] | {"weight": 2}]}, "targets[0].weight"),
        ({"targets": [BOTH[0] | {"upstream": "cellar"}]}, "targets[0].upstream"),
        ({"targets": [BOTH[0], {"provider": "elevenlabs", "model": "eleven_v3"}]}, "targets"),
        ({"targets": [BOTH[0] | {"wait": 2}]}, "targets[0].wait"),
        ({"switch_on": ["everything"]}, "switch_on[0]"),
        ({"first_byte_timeout_s": 0}, "first_byte_timeout_s"),
        ({"sticky": "user"}, "sticky"),
    ],
)
async def test_a_route_that_could_not_work_is_refused_by_name(
    farthing: Running, fields: dict[str, Any], param: str
) -> None:
    status, error = await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": BOTH} | fields)
    assert (status, error["error"]["param"]) == (400, param)


async def test_routes_are_made_once_changed_and_removed_on_the_record(farthing: Running) -> None:
    once = {"idempotency-key": "one"}
    body = {"name": "smart", "targets": BOTH}
    status, made = await farthing.api("POST", "/v1/routes", body, headers=once)
    assert (await farthing.api("POST", "/v1/routes", body, headers=once)) == (status, made)
    assert (await farthing.api("POST", "/v1/routes", body))[1]["error"]["code"] == "name_taken"
    path = f"/v1/routes/{made['id']}"
    assert (await farthing.api("GET", path))[1] == made
    status, after = await farthing.api("PATCH", path, {"targets": BOTH[1:], "wait_s": 1})
    assert (status, after["targets"][0]["model"], after["name"]) == (200, SECOND, "smart")
    assert (await called(farthing))[1]["x-farthing-upstream"] == "mistral"
    for scope in ("team", "standard", "read"):
        key = await farthing.mint(scope=scope)
        for method, where in (("GET", "/v1/routes"), ("POST", "/v1/routes"), ("GET", "/v1/upstreams"), ("GET", path)):
            assert (await farthing.api(method, where, body if method == "POST" else None, key=key["secret"]))[0] == 403
    status, removed = await farthing.api("DELETE", path)
    assert (status, removed["deleted"]) == (200, True)
    assert (await farthing.api("GET", path))[0] == 404
    status, _, answer = await called(farthing)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "model_not_priced")
    _, changes = await farthing.api("GET", "/v1/changes?limit=100")
    types = [each["type"] for each in changes["data"] if each["object_id"] == made["id"]]
    assert types == ["route.removed", "route.updated", "route.created"]
    assert (await farthing.api("GET", "/v1/routes", key=MASTER))[1]["data"] == []


async def test_a_plan_says_what_a_name_means_on_it(farthing: Running) -> None:
    """Tiers: the same name is another model, or another route, for keys on another plan."""
    await route(farthing, name="smart-pro", targets=BOTH)
    plans = {}
    for name, meant in (("free", SECOND), ("pro", "smart-pro"), ("odd", "nothing-of-the-kind")):
        status, plan = await farthing.api("POST", "/v1/plans", {"name": name, "routes": {"smart": meant}})
        assert (status, plan["routes"]) == (201, {"smart": meant})
        plans[name] = await farthing.mint(plan=plan["id"])
    for name, model in (("free", SECOND), ("pro", FIRST)):
        status, _, body = await farthing.call(plans[name]["secret"], CHAT)
        assert (status, json.loads(body)["model"].startswith(model)) == (200, True), body
    status, _, body = await farthing.call(plans["odd"]["secret"], CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (400, "model_not_priced")
    status, _, body = await called(farthing)
    assert (status, json.loads(body)["error"]["code"]) == (400, "model_not_priced")
    changed = (await farthing.api("GET", "/v1/plans"))[1]["data"][-1]
    await farthing.api("PATCH", f"/v1/plans/{changed['id']}", {"routes": {"smart": "gpt-4o"}})
    assert b'"gpt-4o' in (await farthing.call(plans["free"]["secret"], CHAT))[2]
    await farthing.api("PATCH", f"/v1/plans/{changed['id']}", {"routes": {}})
    assert (await farthing.call(plans["free"]["secret"], CHAT))[0] == 400
    assert b'"gpt-4o' in (await farthing.call(plans["free"]["secret"], CHAT | {"model": "gpt-4o"}))[2]
    await farthing.api("PATCH", f"/v1/plans/{changed['id']}", {"routes": {"gpt-4o": SECOND}})
    assert SECOND.encode() in (await farthing.call(plans["free"]["secret"], CHAT | {"model": "gpt-4o"}))[2]
    await farthing.audited()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1beta/models/smart:generateContent"])
async def test_a_large_request_is_routed_too(farthing: Running, path: str) -> None:
    text = "word " * 60_000
    if "models" in path:
        await route(farthing, targets=[{"provider": "google", "model": "gemini-2.5-flash"}])
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        body["generationConfig"] = {"maxOutputTokens": 9}
    else:
        await route(farthing)
        body = CHAT | {"messages": [{"role": "user", "content": text}]}
    key = await farthing.mint()
    status, headers, answer = await farthing.call(key["secret"], body, path)
    assert (status, headers["x-farthing-attempts"]) == (200, "1"), answer
    await farthing.audited()


async def test_what_one_caller_meets_moves_no_other(farthing: Running) -> None:
    """A long request of one key, and an error in which a provider repeats his words, are his own affair."""
    await route(farthing, retry_ambiguous=True, first_byte_timeout_s=0.5)
    slow, other = await farthing.mint(), await farthing.mint()
    farthing.upstream.script("delay_ms=1500", model=FIRST)
    assert (await farthing.call(slow["secret"], CHAT))[1]["x-farthing-upstream"] == "mistral"
    assert (await farthing.call(slow["secret"], CHAT))[1]["x-farthing-attempts"] == "1"  # not again by him
    assert (await farthing.call(other["secret"], CHAT))[1]["x-farthing-upstream"] == "openai"
    farthing.upstream.script(*["status=404"] * 6, model=FIRST)
    strange = await farthing.mint()
    for _ in range(6):
        assert (await farthing.call(strange["secret"], CHAT))[1]["x-farthing-attempts"] == "2"
    status, headers, _ = await farthing.call(other["secret"], CHAT)
    assert (status, headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == (200, "openai", "1")
