"""What is odd in a specification or in an answer ends in an error that says so, and never in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.pipelines.calling import NodeCall
from providers.simulator import Faults
from tests.gateway.pipelines.support import Json, kinds, native, run, says, workflow
from tests.harness import Running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


async def test_what_is_nested_too_deep_is_refused(farthing: Running) -> None:
    """400 at a depth at which nothing breaks yet; what is not so deep is the provider's business."""
    key = await farthing.mint(livemode=False)
    for levels, status in ((60, 200), (400, 400), (30_000, 400)):
        spec = workflow(native("x", "/v1/chat/completions", CHAT), outputs={"o": ("x", "")})
        body = json.dumps(spec).replace('"x"}]', f'"x"}}], "metadata": {{"a": {"[" * levels}{"]" * levels}}}')
        headers = {"authorization": f"Bearer {key['secret']}", "content-type": "application/json"}
        for path in ("runs", "check"):
            async with farthing.http.post(
                f"{farthing.url}/v1/pipelines/{path}", data=body, headers=headers
            ) as response:
                assert response.status == (status if path == "runs" else 200), await response.text()


@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "\\ud83d\\ude00", "é"])
async def test_any_text_is_passed_on_or_refused(farthing: Running, text: str) -> None:
    """Half a character is none; all others arrive as they are."""
    key = await farthing.mint()
    spec = json.dumps(workflow(native("x", "/v1/chat/completions", CHAT), outputs={"o": ("x", "")}))
    spec = spec.replace('"content": "x"', f'"content": "{text}"')
    headers = {"authorization": f"Bearer {key['secret']}", "content-type": "application/json"}
    async with farthing.http.post(f"{farthing.url}/v1/pipelines/runs", data=spec.encode(), headers=headers) as response:
        answer = await response.json()
    if response.status == 200:
        assert answer["status"] == "succeeded", answer
        assert farthing.upstream.requests[-1].json()["messages"][0]["content"] == json.loads(f'"{text}"')
    else:
        assert text == "\\ud800"
        assert answer["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ("reset=before_head", "call_failed"),
        ("reset=mid_event", "call_failed"),
        ("malformed", "pointer_not_found"),
        ("status=500", "call_failed"),
        ("status=429", "call_failed"),
        ("html", "call_failed"),
    ],
)
async def test_a_provider_that_fails_fails_the_node(farthing: Running, faults: str, code: str) -> None:
    """Each way to fail is told, with the provider's status where it had one; the call has its event."""
    key = await farthing.mint()
    farthing.upstream.always = Faults.parse(faults)
    spec = workflow(native("x", "/v1/chat/completions", CHAT), outputs={"o": ("x", "/choices/0/message/content")})
    told = await run(farthing, key["secret"], spec)
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("run_failed", code), told[-1]
    events = await farthing.events(run_id=told[-1]["run_id"])
    assert len(events) == kinds(told).count("node_llm_call") == 1
    assert told[-1]["cost_micros"] == events[0]["cost_micros"]
    await farthing.audited()


async def test_a_fault_of_ours_ends_the_run(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside, the client hears of an end, and the call in flight has its event."""
    key = await farthing.mint(livemode=False)

    def broken(self: NodeCall) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(NodeCall, "answer", broken)
    told = await run(farthing, key["secret"], workflow(says("one", "x"), outputs={"o": ("one", "")}))
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("run_failed", "internal_error")
    assert len(await farthing.events(livemode="false")) == 1
    assert not farthing.gateway._runs._runs


async def test_what_is_too_large_is_not_kept(farthing: Running) -> None:
    """A run's answers have a bound, together."""
    key = await farthing.mint(livemode=False)
    big = native("one", "/v1/chat/completions", CHAT | {"max_tokens": 16_000})
    nodes: list[Json] = [big | {"id": f"n{number}"} for number in range(60)]
    spec = workflow(*nodes, outputs={"o": ("n0", "/id")})
    told = await run(farthing, key["secret"], spec, x_farthing_sim="output_tokens=16000")
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("run_failed", "run_too_large")
    await farthing.audited()


async def test_a_budget_that_is_used_up_is_told(farthing: Running) -> None:
    """Once, to whoever listens to the key: the run's limit is a limit; a part of it is nobody's news."""
    key = await farthing.mint(livemode=False)
    hook = {"kind": "webhook", "url": "https://example.com/hook", "events": ["limit.*"], "key_id": key["id"]}
    status, made = await farthing.api("POST", "/v1/hooks", hook)
    assert status == 201, made
    spec = workflow(says("one", "x"), says("two", "y"), outputs={"o": ("one", "")}, edges=[("one", "two")])
    _, check = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    told = await run(
        farthing, key["secret"], spec | {"execution": {"max_cost_micros": check["max_cost_micros"] // 2 + 1}}
    )
    assert told[-1]["status"] == "budget_exceeded"
    await farthing.quiet()
    _, sent = await farthing.api("GET", f"/v1/hooks/{made['id']}/deliveries")
    assert [each["type"] for each in sent["data"]] == ["limit.reached"]


def doubling(levels: int) -> Json:
    """Transforms each of which holds the one before twice."""
    nodes: list[Json] = [native("n0", "/v1/chat/completions", CHAT)]
    for level in range(1, levels + 1):
        twice = {name: {"from": f"n{level - 1}"} for name in ("a", "b")}
        nodes.append({"id": f"n{level}", "type": "transform.json", "input": {"object": twice}})
    return workflow(*nodes, outputs={"o": (f"n{levels}", "")})


async def test_what_grows_by_itself_has_a_bound(farthing: Running) -> None:
    """Forty doublings, a placeholder that stands ten thousand times, a hundred outputs: ended before they are made."""
    key = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], doubling(40))
    assert told[-1]["error"]["code"] == "run_too_large"
    told = await run(farthing, key["secret"], doubling(3))
    assert told[-1]["status"] == "succeeded"
    first = native("one", "/v1/chat/completions", CHAT | {"max_tokens": 8_000})
    many = says("two", "{{one}} " * 10_000, bindings=[{"from": "one", "to_placeholder": "one"}])
    told = await run(
        farthing, key["secret"], workflow(first, many, outputs={"o": ("two", "")}), x_farthing_sim="output_tokens=8000"
    )
    assert told[-1]["error"]["code"] == "run_too_large", told[-1]
    outputs = {f"o{number}": ("one", "") for number in range(100)}
    sim = "output_tokens=16000"
    wide = native("one", "/v1/chat/completions", CHAT | {"max_tokens": 16_000, "n": 8})
    told = await run(farthing, key["secret"], workflow(wide, outputs=outputs), x_farthing_sim=sim)
    assert told[-1]["error"]["code"] == "run_too_large", len(str(told[-1]))
    await farthing.audited()


async def test_an_answer_that_breaks_off_is_none() -> None:
    """What has begun and was aborted has no output."""
    call = NodeCall(lambda: None)
    kind = (b"content-type", b"application/json")
    await call._send({"type": "http.response.start", "status": 200, "headers": [kind]})
    await call._send({"type": "http.response.body", "body": b"{", "more_body": True})
    call.abort()
    assert (call.answer().status, call.answer().output) == (0, None)
