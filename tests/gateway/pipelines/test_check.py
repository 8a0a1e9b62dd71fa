"""What a check says of a specification, and that a run refuses what a check has found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.pipelines.support import Json, native, run, says, workflow
from tests.harness import Running

TEXT = "/output/0/content/0/text"


def good() -> Json:
    """Two calls, joined and arranged for a third."""
    bindings = [{"from": "made", "pointer": "/first/content", "to_placeholder": "first"}]
    made = {"first": {"from": "both", "pointer": "/one/output/0"}, "all": {"from": "both"}}
    return workflow(
        says("one", "a"),
        says("two", "b"),
        {"id": "both", "type": "join.all"},
        {"id": "made", "type": "transform.json", "input": {"object": made}},
        says("end", "Sum up {{first}}", bindings=bindings),
        edges=[("one", "both"), ("two", "both")],
        outputs={"end": ("end", TEXT), "one": ("both", "/one")},
    )


def changed(change: Callable[[Json], Any]) -> Json:
    spec: Json = json.loads(json.dumps(good()))
    change(spec)
    return spec


WRONG: list[tuple[str, str, Callable[[Json], Any]]] = [
    ("cycle", "/edges/0/from", lambda s: s["edges"].insert(0, {"from": "end", "to": "one"})),
    ("cycle", "/edges/2/from", lambda s: s["edges"].append({"from": "one", "to": "one"})),
    ("unknown_node", "/edges/1/from", lambda s: s["edges"][1].update({"from": "three"})),
    ("unknown_node", "/edges/1/to", lambda s: s["edges"][1].update({"to": "three"})),
    ("unknown_binding", "/nodes/4/input/bindings/0/from", lambda s: bind(s, **{"from": "x"})),
    ("unknown_binding", "/nodes/4/input/bindings/0/pointer", lambda s: bind(s, pointer="/second")),
    ("unknown_binding", "/nodes/4/input/bindings/0/pointer", lambda s: bind(s, **{"from": "both", "pointer": "/x"})),
    ("unknown_binding", "/nodes/4/input/bindings/0/pointer", lambda s: bind(s, pointer="/~2")),
    ("unknown_binding", "/nodes/3/input/object/first/from", lambda s: made(s)["first"].update({"from": "x"})),
    ("unknown_binding", "/nodes/3/input/object/first/pointer", lambda s: made(s)["first"].update({"pointer": "/x"})),
    ("unknown_target", "/nodes/4/input/bindings/0/to_placeholder", lambda s: bind(s, to_placeholder="second")),
    ("unknown_target", "/nodes/4/input/bindings/0/to", lambda s: bind(s, to="/a/b", to_placeholder=None)),
    ("invalid_spec", "/nodes/4/input/bindings/0", lambda s: bind(s, to="/input")),
    ("invalid_spec", "/nodes/4/input/bindings/0", lambda s: bind(s, to_placeholder=None)),
    ("invalid_spec", "/edges/0/when/path", lambda s: s["edges"][0].update({"when": {"op": "exists", "path": "$..x"}})),
    ("invalid_spec", "/edges/0/when/op", lambda s: s["edges"][0].update({"when": {"op": "matches", "path": "$"}})),
    ("unreachable_output", "/outputs/0/from", lambda s: s["outputs"][0].update({"from": "x"})),
    ("unreachable_output", "/outputs/1/pointer", lambda s: s["outputs"][1].update({"pointer": "/three"})),
    ("duplicate_id", "/nodes/1/id", lambda s: s["nodes"][1].update({"id": "one"})),
    ("duplicate_name", "/outputs/1/name", lambda s: s["outputs"][1].update({"name": "end"})),
    ("no_inputs", "/nodes/5", lambda s: s["nodes"].append({"id": "alone", "type": "join.all"})),
    ("invalid_spec", "/nodes/3/input", lambda s: s["nodes"][3]["input"].update({"merge": [{"from": "one"}]})),
    ("invalid_spec", "/nodes/0/input/request/more", lambda s: to_path(s, "/v1/messages", more=1)),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/keys")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/pipelines/runs")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/files")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/batches")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/audio/transcriptions")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/chat/completions/../../keys")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/models")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "https://example.com/v1/messages")),
    ("path_not_allowed", "/nodes/0/input/request/path", lambda s: to_path(s, "/v1/messages HTTP/1.1\r\nx: y")),
    ("stream_not_supported", "/nodes/0/input/stream", lambda s: s["nodes"][0]["input"].update({"stream": True})),
    ("stream_not_supported", "/nodes/0/input/request/body/stream", lambda s: to_path(s, "/v1/messages", stream=True)),
    ("invalid_spec", "/nodes/0/type", lambda s: s["nodes"][0].update({"type": "agent.run"})),
    ("invalid_spec", "/nodes/0/input/tool_limits/max_llm_calls", lambda s: limits(s, max_llm_calls=65)),
    ("invalid_spec", "/nodes/0/input/tool_limits/wait_ttl_ms", lambda s: limits(s, wait_ttl_ms=86_400_001)),
    ("invalid_spec", "/execution/budget", lambda s: s["execution"].update({"budget": 1})),
    ("invalid_spec", "/kind", lambda s: s.update({"kind": "workflow.v1"})),
    ("invalid_spec", "/outputs", lambda s: s.pop("outputs")),
    ("invalid_spec", "/nodes", lambda s: s.update({"nodes": []})),
]


def bind(spec: Json, **said: Any) -> None:
    binding = spec["nodes"][4]["input"]["bindings"][0]
    binding.update(said)
    for name in [name for name, value in binding.items() if value is None]:
        del binding[name]


def made(spec: Json) -> Json:
    return spec["nodes"][3]["input"]["object"]  # type: ignore[no-any-return]


def to_path(spec: Json, path: str, *, stream: bool | None = None, **more: Any) -> None:
    body: Json = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    if stream is not None:
        body["stream"] = stream
    spec["nodes"][0]["input"] = {"request": {"path": path, "body": body} | more}


def limits(spec: Json, **said: int) -> None:
    spec["nodes"][0]["input"]["tool_limits"] = said


@pytest.mark.parametrize(("code", "path", "change"), WRONG, ids=[f"{code} {path}" for code, path, _ in WRONG])
async def test_what_is_wrong_is_named(farthing: Running, code: str, path: str, change: Callable[[Json], Any]) -> None:
    """An issue with a JSON pointer; a run of it is refused with the same place, and makes no call."""
    key = await farthing.mint(livemode=False)
    spec = changed(change)
    status, found = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    assert status == 200
    assert (code, path) in [(issue["code"], issue["path"]) for issue in found["issues"]], found
    assert found["max_cost_micros"] is None
    status, body = await farthing.api("POST", "/v1/pipelines/runs", spec, key=key["secret"])
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert body["error"]["param"] in [issue["path"] for issue in found["issues"]]
    assert await farthing.events(livemode="false") == []


async def test_all_that_is_wrong_is_said_at_once(farthing: Running) -> None:
    """Not the first only."""
    key = await farthing.mint(livemode=False)
    spec = changed(lambda s: (bind(s, **{"from": "x"}), s["outputs"][0].update({"from": "y"}), to_path(s, "/v1/keys")))
    _, found = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    assert {issue["code"] for issue in found["issues"]} == {"unknown_binding", "unreachable_output", "path_not_allowed"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"nul", b'{"kind": "workflow.v0", "kind": "workflow.v0"}', b"[" * 99999, b"\xff"]
)
async def test_what_is_no_specification_is_one_issue(farthing: Running, body: bytes) -> None:
    """And 400 of a run; never a 500."""
    key = await farthing.mint(livemode=False)
    headers = {"authorization": f"Bearer {key['secret']}", "content-type": "application/json"}
    async with farthing.http.post(f"{farthing.url}/v1/pipelines/check", data=body, headers=headers) as response:
        assert response.status == 200
        assert [issue["code"] for issue in (await response.json())["issues"]] == ["invalid_spec"]
    async with farthing.http.post(f"{farthing.url}/v1/pipelines/runs", data=body, headers=headers) as response:
        assert response.status == 400


async def test_what_a_key_may_not_call_is_an_issue(farthing: Running) -> None:
    """Models, providers and prices, in the words of the call's own refusal; nothing is recorded."""
    key = await farthing.mint(livemode=False, allowed_models=["gpt-5-mini"])
    spec = changed(lambda s: to_path(s, "/v1/messages"))
    _, found = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    assert [(each["code"], each["path"]) for each in found["issues"]] == [
        ("model_not_allowed", "/nodes/0/input/request")
    ]
    open_key = await farthing.mint(livemode=False)
    spec = workflow(native("x", "/v1/chat/completions", {"model": "gpt-99", "messages": []}), outputs={"o": ("x", "")})
    _, found = await farthing.api("POST", "/v1/pipelines/check", spec, key=open_key["secret"])
    assert [each["code"] for each in found["issues"]] == ["model_not_priced"]
    assert await farthing.events(livemode="false") == []


async def test_the_estimate_is_above_what_it_costs(farthing: Running) -> None:
    """With what is bound into it; and as a budget it is enough."""
    key = await farthing.mint(livemode=False)
    status, found = await farthing.api("POST", "/v1/pipelines/check", good(), key=key["secret"])
    assert (status, found["issues"]) == (200, [])
    assert await farthing.events(livemode="false") == []
    spec = good() | {"execution": {"max_cost_micros": found["max_cost_micros"]}}
    told = await run(farthing, key["secret"], spec)
    assert told[-1]["status"] == "succeeded"
    assert 0 < told[-1]["cost_micros"] <= found["max_cost_micros"]


async def test_an_estimate_is_made_of_nothing_large(farthing: Running) -> None:
    """Of what would grow without bound, it is only told what it may cost."""
    key = await farthing.mint(livemode=False)
    nodes = [says("n0", "x")]
    for level in range(1, 60):
        twice = {name: {"from": f"n{level - 1}"} for name in ("a", "b")}
        nodes.append({"id": f"n{level}", "type": "transform.json", "input": {"object": twice}})
    nodes.append(says("end", "{{all}} " * 10_000, bindings=[{"from": "n59", "to_placeholder": "all"}]))
    spec = workflow(*nodes, outputs={"o": ("end", "")})
    status, found = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    assert (status, found["issues"]) == (200, [])
    assert found["max_cost_micros"] > 1_000_000
    chat = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    listed = native(
        "two", "/v1/chat/completions", chat, bindings=[{"from": "one", "pointer": "/list", "to": "/messages"}]
    )
    spec = workflow(says("one", "x"), listed, outputs={"o": ("two", "")})
    _, found = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    assert found["issues"] == []


async def test_only_keys_that_call_may(farthing: Running) -> None:
    """Not the master key, nor one that reads."""
    reader = await farthing.mint(scope="read")
    for secret in (None, reader["secret"]):
        for path in ("/v1/pipelines/runs", "/v1/pipelines/check"):
            status, body = await farthing.api("POST", path, good(), **({} if secret is None else {"key": secret}))
            assert (status, body["error"]["code"]) == (403, "scope_not_allowed")


async def test_a_credential_in_a_path_is_refused(farthing: Running) -> None:
    """A node has its run's key and no other."""
    key, other = await farthing.mint(livemode=False), await farthing.mint(livemode=False)
    for query in (f"key={other['secret']}", "api_key=x"):
        path = f"/v1beta/models/gemini-2.5-flash:generateContent?{query}"
        spec = workflow(native("x", path, {"contents": []}), outputs={"o": ("x", "")})
        told = await run(farthing, key["secret"], spec)
        assert told[-1]["type"] == "run_failed"
        assert told[-1]["error"]["code"] in ("conflicting_credentials", "credential_in_url")
    assert await farthing.events(livemode="false") == []
