"""What stands inside of requests, under a cap that must hold: what the vendors know passes, and nothing else."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.gateway.stored.test_batches import BATCH, jsonl, line, upload
from tests.harness import Running
from tests.insides import ASKS, LAYERED, strangers
from tests.providers.test_fields import camel

PICTURE = {"type": "image_url", "image_url": {"url": "https://a.example/a.png"}}


def told(content: bytes) -> dict[str, Any]:
    """What a refusal says, in whichever vendor's words."""
    answer = json.loads(content)
    said = answer.get("error", answer)
    assert isinstance(said, dict)
    return said


@pytest.mark.parametrize("ask", ASKS | LAYERED)
async def test_what_the_vendors_know_passes_and_what_they_do_not_is_refused(gateway: Running, ask: str) -> None:
    """Each object of a request in turn has a member or a kind that nobody knows: 400 with its place, no hold."""
    path, body = (ASKS | LAYERED)[ask]
    key = await gateway.mint(livemode=False, overdraft="never", max_spend_usd="50")
    status, _, content = await gateway.call(key["secret"], body, path)
    assert status == 200, content
    for place, changed in itertools.islice(strangers(body), 0, None, 3):
        status, _, content = await gateway.call(key["secret"], changed, path)
        assert status == 400, (place, content)
        said = told(content)["message"]
        assert place in said or camel(place) in said, content
    await gateway.quiet()
    _, me = await gateway.api("GET", "/v1/me", key=key["secret"])
    assert me["held_micros"] == 0


@pytest.mark.parametrize("ask", ["chat", "responses", "messages", "gemini"])
async def test_by_default_they_are_the_provider_s_to_judge(gateway: Running, ask: str) -> None:
    """Whoever's cap may be passed by an answer in flight sends what it likes."""
    path, body = ASKS[ask]
    key = await gateway.mint(max_spend_usd="50")
    for place, changed in itertools.islice(strangers(body), 0, None, 7):
        if place.startswith("tools["):
            continue  # a tool without a price is refused wherever there is a cap
        status, _, content = await gateway.call(key["secret"], changed, path)
        assert status == 200 or (status == 400 and b"unbounded_cost" not in content), content


@pytest.mark.parametrize(
    ("path", "body", "param", "why"),
    [
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_addition", "tool": {
                "type": "tool_definition", "definition": {"type": "web_search_20250305", "name": "web_search"}}}]}]},
            "messages[0].content[0].tool.definition.type", "a tool that the provider runs",
        ),
        (
            "/v1/responses",
            {"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}]},
            "input[0].tools[0].type", "a tool that the provider runs",
        ),
        ("/v1/responses", {"input": [{"type": "compaction_trigger"}]}, "input[0].type", "beside the answer"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "document_url", "document_url": "https://a.example/a"}]}]},
            "messages[0].content[0].type", "its pages",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_held_for_is_refused_with_the_reason(
    gateway: Running, path: str, body: dict[str, Any], param: str, why: str
) -> None:
    """The vendors know it, and its cost is told by nothing in the request."""
    model = "claude-haiku-4-5" if path == "/v1/messages" else "gpt-4o-mini"
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    key = await gateway.mint(livemode=False, overdraft="never", max_spend_usd="50")
    status, _, content = await gateway.call(key["secret"], {"model": model, limit: 16} | body, path)
    assert status == 400
    said = told(content)["message"]
    assert param in said
    assert why in said
    free = await gateway.mint()
    await gateway.call(free["secret"], {"model": model, limit: 16} | body, path)
    assert gateway.upstream.requests


async def test_a_key_whose_cap_must_hold_since_just_now(gateway: Running) -> None:
    """What is remembered of a key decides nothing: the request is looked at as the key is."""
    path, body = ASKS["chat"]
    changed = body | {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}
    key = await gateway.mint(max_spend_usd="50")
    assert (await gateway.call(key["secret"], body, path))[0] == 200
    status, _ = await gateway.api("PATCH", f"/v1/keys/{key['id']}", {"overdraft": "never"})
    assert status == 200
    status, _, content = await gateway.call(key["secret"], changed, path)
    assert (status, told(content)["param"]) == (400, "messages[0].content[0].type")


async def test_what_lies_elsewhere_may_be_of_the_dearest_kind(gateway: Running) -> None:
    """Of a reference nobody knows what it is: the window is held at the dearest of what the model hears and sees."""
    held = {}
    for model in ("gpt-audio", "gpt-4o-mini"):
        key = await gateway.mint(livemode=False, overdraft="never", max_spend_usd="500")
        body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": [PICTURE]}]}
        status, headers, content = await gateway.call(key["secret"], body)
        assert status == 200, content
        held[model] = int(headers["x-farthing-held-micros"])
    assert held["gpt-audio"] >= 128_000 * 32  # micros a token of sound
    assert held["gpt-4o-mini"] < 128_000


async def test_a_file_of_requests_that_nobody_has_looked_into(gateway: Running) -> None:
    """Uploaded by a key whose cap need not hold, it cannot be used once it must; uploaded again, it can."""
    key = await gateway.mint(max_spend_usd="50")
    _, file = await upload(gateway, key["secret"], jsonl(line(1)))
    await gateway.api("PATCH", f"/v1/keys/{key['id']}", {"overdraft": "never"})
    status, _, content = await gateway.call(key["secret"], BATCH | {"input_file_id": file["id"]}, "/v1/batches")
    assert (status, told(content)["param"]) == (400, "input_file_id")
    _, file = await upload(gateway, key["secret"], jsonl(line(1)))
    status, _, content = await gateway.call(key["secret"], BATCH | {"input_file_id": file["id"]}, "/v1/batches")
    assert status == 200, content


async def test_requests_that_stand_in_a_batch_are_looked_into(gateway: Running) -> None:
    """Anthropic's batches bring their requests with them."""
    key = await gateway.mint(max_spend_usd="50", overdraft="never")
    _, params = ASKS["messages"]
    for content, wanted in ([{"type": "text", "text": "hi"}], 200), ([{"type": "hologram"}], 400):
        asked = {"custom_id": "1", "params": params | {"messages": [{"role": "user", "content": content}]}}
        status, _, answer = await gateway.call(key["secret"], {"requests": [asked]}, "/v1/messages/batches")
        assert status == wanted, answer
    assert told(answer)["param"] == "messages[0].content[0].type"


@pytest.mark.parametrize(
    ("path", "member", "part", "place"),
    [
        ("/v1/chat/completions", "messages", {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
         "messages[0].content[0]"),
        ("/v1/responses", "input", {"type": "input_file", "file_data": "data:text/plain;base64,aGk="},
         "input[0].content[0]"),
    ],
)  # fmt: skip
async def test_a_file_that_the_vendor_searches_is_a_tool_s_work(
    gateway: Running, path: str, member: str, part: dict[str, Any], place: str
) -> None:
    """xAI searches what is attached, by the call; elsewhere a file of text costs its text."""
    limit = "max_output_tokens" if member == "input" else "max_tokens"
    body = {limit: 16, member: [{"role": "user", "content": [part]}]}
    for model, overdraft, wanted in (
        ("grok-4", "never", 400),
        ("grok-4", "inflight", 200),
        ("gpt-4o-mini", "never", 200),
    ):
        key = await gateway.mint(livemode=False, overdraft=overdraft, max_spend_usd="50")
        status, _, content = await gateway.call(key["secret"], body | {"model": model}, path)
        assert status == wanted, (model, overdraft, content)
        assert status == 200 or place in json.loads(content)["error"]["param"]


BROUGHT = [
    ("/v1/responses", {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}, True),
    (
        "/v1/responses",
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "f"}]},
        False,
    ),
    (
        "/v1/responses",
        {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [{"type": "image_generation"}]},
        True,
    ),
    (
        "/v1/messages",
        {
            "type": "tool_addition",
            "tool": {"type": "tool_definition", "definition": {"type": "web_search_20250305", "name": "web_search"}},
        },
        True,
    ),
]


@pytest.mark.parametrize(("path", "item", "hosted"), BROUGHT)
@pytest.mark.parametrize("spelt", ["plainly", "in escapes"])
async def test_tools_that_the_conversation_brings_are_refused_wherever_there_is_a_cap(
    gateway: Running, path: str, item: dict[str, Any], hosted: bool, spelt: str
) -> None:
    """Of a tool that the provider runs nobody counts beforehand what it may cost; a function costs its own bytes."""
    if path.endswith("messages"):
        body = {"model": "claude-sonnet-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": [item]}]}
    else:
        body = {"model": "gpt-5", "input": [{"role": "user", "content": "hello"}, {"hologram": 1}, item]}
    raw = json.dumps(body).encode()
    if spelt == "in escapes":
        raw = raw.replace(b"tool", b"\\u0074ool")
    for overdraft in ("inflight", "never") if hosted else ("inflight",):
        key = await gateway.mint(max_spend_usd="50", overdraft=overdraft)
        status, _, content = await gateway.call(key["secret"], raw, path)
        assert (status == 400 and b"unbounded_cost" in content) is hosted, content
    free = await gateway.mint()
    status, _, content = await gateway.call(free["secret"], raw, path)
    assert b"unbounded_cost" not in content
