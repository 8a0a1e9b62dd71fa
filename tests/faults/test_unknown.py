"""What nobody knows is never cheap: answers that are left, broken off, refused within, restated, or another model's.

What the provider would invoice stands beside each case; what was charged and what stays counted cover it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.places import Place
from tests.faults.support import Client, request_bytes
from tests.harness import PROVIDER_KEY, Running, running
from tests.scripted import Scripted, Step

SSE = "text/event-stream"
MESSAGES = [{"role": "user", "content": "say something"}]


class Field:
    """A gateway whose providers all are a scripted one."""

    def __init__(self, farthing: Running, provider: Scripted) -> None:
        self.farthing, self.provider, self.gateway = farthing, provider, farthing.gateway
        for name in farthing.gateway.settings.places:
            farthing.gateway.settings.places[name] = Place(provider.url, PROVIDER_KEY)

    async def call(
        self, body: Any, path: str = "/v1/chat/completions", **key: Any
    ) -> tuple[int, dict[str, str], bytes]:
        self.key = await self.farthing.mint(max_spend_usd="100", **key)
        return await self.farthing.call(self.key["secret"], body, path)

    async def leave(self, body: Any, path: str = "/v1/chat/completions", *, after: bytes = b"", **key: Any) -> None:
        """Send a call and close the connection once `after` has come, or once the provider has the request."""
        self.key = await self.farthing.mint(max_spend_usd="100", **key)
        client = await Client.connect(self.farthing.url)
        await client.send(request_bytes(self.key["secret"], json.dumps(body).encode(), path))
        if after:
            await client.until(after)
        else:
            async with asyncio.timeout(5):
                while not self.provider.heads:  # noqa: ASYNC110 - it has no event for it
                    await asyncio.sleep(0.01)
        await client.leave()

    async def event(self) -> dict[str, Any]:
        """The one event of the last key, and the audit clean."""
        (event,) = await self.farthing.events(key_id=self.key["id"])
        await self.farthing.audited()
        return event

    async def me(self) -> dict[str, Any]:
        _, me = await self.farthing.api("GET", "/v1/me", key=self.key["secret"])
        return dict(me)


@pytest_asyncio.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    async with Scripted() as provider, running(tmp_path) as farthing:
        yield Field(farthing, provider)


def chat(model: str, *, output: int | None = None, text: str = "Hello", **more: Any) -> bytes:
    usage = {} if output is None else {"usage": {"prompt_tokens": 9, "completion_tokens": output,
                                                 "total_tokens": 9 + output}}  # fmt: skip
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice]}
                      | usage | more).encode()  # fmt: skip


def chunks(*texts: str, model: str = "gpt-4o-mini") -> list[Step]:
    return [
        b"data: "
        + json.dumps({"model": model, "choices": [{"index": 0, "delta": {"content": text}}]}).encode()
        + b"\n\n"
        for text in texts
    ]


def events(*data: dict[str, Any]) -> list[Step]:
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in data]


async def test_an_answer_that_is_not_streamed_is_read_to_its_end(field: Field) -> None:
    """The client leaves at once, and pays what the answer says in the end: not its input only."""
    field.provider.answer(body=[1.6, chat("gpt-4o-mini", output=30_000)])  # longer than the drain of the tests
    await field.leave({"model": "gpt-4o-mini", "messages": MESSAGES})
    event = await field.event()
    assert (event["status"], event["usage"]["output_tokens"]) == ("settled", 30_000)


async def test_a_stream_is_read_on_for_as_long_as_is_set_and_then_closed(field: Field) -> None:
    """What was seen of a model that shows all is charged, and the rest of the hold stays counted, for a time."""
    field.provider.answer(kind=SSE, body=[*chunks("Hello", " there"), 30.0])
    await field.leave({"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}, after=b"there")
    event = await field.event()
    assert (event["status"], event["reason"], event["usage"]["output_tokens"]) == ("estimated", "client_gone", 3)
    me = await field.me()
    assert me["unsettled_micros"] == event["held_micros"] - event["cost_micros"] > 0
    _, holds = await field.farthing.api("GET", "/v1/holds?state=unsettled")
    assert holds["data"][0]["expires_at_ms"] == pytest.approx(event["settled_ms"] + 86_400_000, abs=5_000)


async def test_a_model_that_reasons_in_secret_is_charged_what_is_held_for_it(field: Field) -> None:
    """Its answer shows two tokens; what it may have thought before is not given back, so leaving early pays nothing."""
    field.provider.answer(kind=SSE, body=[*chunks("Hello", " there", model="gpt-5-pro"), 30.0])
    await field.leave({"model": "gpt-5-pro", "messages": MESSAGES, "stream": True}, after=b"there")
    event = await field.event()
    assert (event["status"], event["usage"]["output_tokens"]) == ("estimated", 4096)
    assert "output_hidden" in event["flags"]


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}, {"type": "enabled", "budget_tokens": 2000}])
async def test_thinking_that_was_asked_for_is_not_given_back(field: Field, thinking: Any) -> None:
    """A summary of it is shown: of a stream that was cut the held output is charged; without thinking, the seen."""
    field.provider.answer(
        kind=SSE,
        body=[
            *events(
                {"type": "message_start",
                 "message": {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 9, "output_tokens": 1}}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
            ),
            30.0,
        ],
    )  # fmt: skip
    body = {"model": "claude-sonnet-4-5", "max_tokens": 3000, "messages": MESSAGES, "stream": True}
    await field.leave(body | ({"thinking": thinking} if thinking else {}), "/v1/messages", after=b"Hello")
    event = await field.event()
    hidden = thinking is not None and thinking["type"] == "enabled"
    assert (event["status"], event["usage"]["input_tokens"]) == ("estimated", 9)
    assert event["usage"]["output_tokens"] == (3000 if hidden else 1)


@pytest.mark.parametrize(
    ("stream", "steps"),
    [(False, [-1.0]), (False, [b'{"id":"chatcmpl-1","object":"chat.comp', -1.0]), (True, [-1.0]),
     (True, [b": ok\n\n", -1.0])],
)  # fmt: skip
async def test_who_got_no_answer_pays_nothing_and_nothing_is_forgotten(
    field: Field, stream: bool, steps: Sequence[Step]
) -> None:
    """Broken off before a word: unsettled, with a reason; counted for a day, and then given back by itself."""
    field.provider.answer(kind=SSE if stream else "application/json", body=steps)
    body = {"model": "gpt-5", "messages": MESSAGES, "stream": stream}
    if steps[0] == b": ok\n\n":
        await field.leave(body, after=b"ok")
    else:
        assert (await field.call(body))[0] == 502
    event = await field.event()
    assert (event["status"], event["reason"], event["cost_micros"]) == ("unsettled", "unanswered", 0)
    assert (await field.me())["unsettled_micros"] == event["held_micros"] > 0
    ledger = field.gateway.ledger
    later = ledger.clock_ms() + 86_400_001
    ledger._access.clock_ms = lambda: later
    assert await ledger.tending.expire() == 1
    assert (await field.me())["unsettled_micros"] == 0
    await field.farthing.audited()


@pytest.mark.parametrize(("setting", "status", "counted"), [("keep", "unsettled", True), ("charge", "estimated", False),
                                                           ("release", "released", False)])  # fmt: skip
async def test_what_becomes_of_a_caller_who_left_without_an_answer_is_a_setting(
    tmp_path: Path, setting: str, status: str, counted: bool
) -> None:
    """His call stays counted until it is resolved, or is charged what was held, or goes back."""
    async with Scripted() as provider, running(tmp_path, FARTHING_UNSETTLED=setting) as farthing:
        field = Field(farthing, provider)
        provider.answer(kind=SSE, body=[30.0])
        await field.leave({"model": "gpt-5", "messages": MESSAGES, "stream": True})
        event = await field.event()
        me = await field.me()
        assert (event["status"], event["reason"], me["unsettled_micros"] > 0) == (status, "client_gone", counted)
        assert event["cost_micros"] == (event["held_micros"] if setting == "charge" else 0)


FAILURES: dict[str, tuple[str, dict[str, Any], str, bytes | list[Step]]] = {
    "responses": ("/v1/responses", {"model": "gpt-5", "input": "hi", "stream": True}, SSE, events(
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "usage": None}},
        {"type": "response.failed", "response": {"id": "resp_1", "status": "failed", "usage": None,
                                                 "error": {"code": "rate_limit_exceeded", "message": "Slow down."}}})),
    "responses, whole": ("/v1/responses", {"model": "gpt-5", "input": "hi"}, "application/json", json.dumps(
        {"id": "resp_1", "status": "failed", "model": "gpt-5", "output": [], "usage": None,
         "error": {"code": "server_error", "message": "Sorry."}}).encode()),
    "responses, error event": ("/v1/responses", {"model": "gpt-5", "input": "hi", "stream": True}, SSE, events(
        {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down."})),
    "chat": ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}, SSE,
             [b'data: {"error":{"message":"Overloaded","type":"server_error","code":null}}\n\n']),
    "chat, whole": ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": MESSAGES}, "application/json",
                    b'{"error":{"message":"Overloaded","type":"server_error","code":null}}'),
    "messages": ("/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": MESSAGES, "stream": True},
                 SSE,
                 events({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
    "messages, whole": ("/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": MESSAGES},
                        "application/json",
                        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
    "gemini": ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
               {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, SSE,
               [b'data: {"error":{"code":503,"message":"Overloaded","status":"UNAVAILABLE"}}\n\n']),
    "cohere": ("/v2/chat", {"model": "command-r-08-2024", "messages": MESSAGES, "stream": True}, SSE,
               events({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "Overloaded"}})),
    "minimax": ("/v1/text/chatcompletion_v2", {"model": "MiniMax-M2", "messages": MESSAGES}, "application/json",
                b'{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}'),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
async def test_a_refusal_inside_a_200_costs_nothing(field: Field, name: str) -> None:
    """Before any content and without usage nothing was done, in whatever shape it is said."""
    path, body, kind, answer = FAILURES[name]
    field.provider.answer(kind=kind, body=answer)
    status, _, got = await field.call(body, path)
    assert (status, got) == (
        200,
        answer if isinstance(answer, bytes) else b"".join(b for b in answer if isinstance(b, bytes)),
    )
    event = await field.event()
    assert (event["status"], event["cost_micros"]) == ("released", 0)
    assert (await field.me())["unsettled_micros"] == 0


async def test_a_failure_after_content_is_charged_for_it(field: Field) -> None:
    """What was said before was made, and so were the tools that ran before."""
    search = {"type": "response.output_item.done", "item": {"type": "web_search_call", "status": "completed"}}
    failed = {
        "type": "response.failed",
        "response": {"status": "failed", "usage": None, "error": {"code": "server_error"}},
    }
    field.provider.answer(kind=SSE, body=events(search, failed))
    body = {"model": "gpt-4.1", "input": "hi", "stream": True, "tools": [{"type": "web_search"}]}
    assert (await field.call(body, "/v1/responses"))[0] == 200
    event = await field.event()
    assert (event["status"], event["usage"]["tools"]) == ("estimated", {"web_search": 1})
    assert event["cost_micros"] >= 10_000


@pytest.mark.parametrize("cut", [0.6, "malformed"])
async def test_an_estimate_counts_content_and_never_the_envelope(field: Field, cut: Any) -> None:
    """It never exceeds what the whole answer costs by more than a third, however little of it came."""
    text = "The quick brown fox jumps over the lazy dog. " * 5
    whole = chat("gpt-4o", text=text, output=50, system_fingerprint="fp_" + "0123456789abcdef" * 8)
    body = whole[: int(len(whole) * cut)] if isinstance(cut, float) else whole.replace(b'"usage"', b'"usage')
    field.provider.answer(body=[body, -1.0] if isinstance(cut, float) else body)
    await field.call({"model": "gpt-4o", "messages": MESSAGES})
    event = await field.event()
    assert event["status"] == "estimated"
    assert 0 < event["usage"]["output_tokens"] <= 67
    assert (await field.me())["unsettled_micros"] == event["held_micros"] - event["cost_micros"]


async def test_a_restated_input_is_taken_as_it_is_stated_last(field: Field) -> None:
    """Some vendors begin with all input as plain and say at the end what was cached: that is not counted twice."""
    field.provider.answer(
        kind=SSE,
        body=events(
            {"type": "message_start",
             "message": {"model": "kimi-k2.6", "usage": {"input_tokens": 8834, "output_tokens": 0}}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
             "usage": {"input_tokens": 18, "cache_read_input_tokens": 8831, "output_tokens": 12}},
            {"type": "message_stop"},
        ),
    )  # fmt: skip
    body = {"model": "kimi-k2.6", "max_tokens": 100, "messages": MESSAGES, "stream": True}
    assert (await field.call(body, "/kimi/anthropic/v1/messages"))[0] == 200
    event = await field.event()
    usage = {name: event["usage"].get(name) for name in ("input_tokens", "cache_read_tokens", "output_tokens")}
    assert (event["status"], usage) == (
        "settled", {"input_tokens": 8849, "cache_read_tokens": 8831, "output_tokens": 12},
    )  # fmt: skip


async def test_an_answer_of_another_model_is_priced_as_that_one(field: Field) -> None:
    """Whatever was asked for: what the provider says it served is what it bills."""
    field.provider.answer(body=chat("gpt-4o-2024-05-13", output=1000))
    await field.call({"model": "gpt-4o", "messages": MESSAGES})
    event = await field.event()
    assert (event["model"], event["cost_micros"]) == ("gpt-4o-2024-05-13", 9 * 5 + 1000 * 15)


async def test_silence_is_broken_by_comments_between_two_events(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that thinks for long is waited for, and its client hears that we are still there."""
    monkeypatch.setattr("gateway.call.relay.COMMENT_S", 0.3)
    first, second = chunks("Hello", " there")
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    half = len(second) // 2
    done = (
        b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\ndata: [DONE]\n\n'
    )
    field.provider.answer(kind=SSE, body=[first, 1.2, second[:half], 1.0, second[half:], done])
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    status, _, got = await field.call(body)
    comment = b": keep-alive\n\n"
    assert (status, got.replace(comment, b"")) == (200, first + second + done)
    assert got.startswith(first + comment)
    assert second in got  # nothing stands in the middle of an event
    assert (await field.event())["status"] == "settled"


ACCOUNTS: list[tuple[str, str, int, Any]] = [
    ("/v1/chat/completions", "gpt-4o", 429, {"error": {"type": "insufficient_quota", "code": "insufficient_quota",
        "message": "You exceeded your current quota, please check your plan and billing details."}}),
    ("/v1/chat/completions", "gpt-4o", 403,
        {"error": {"code": "unsupported_country_region_territory", "message": "No."}}),
    ("/v1/chat/completions", "gpt-4o", 400, {"error": {"code": "billing_hard_limit_reached", "message": "Limit."}}),
    ("/v1/messages", "claude-haiku-4-5", 400, {"type": "error", "error": {"type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API."}}),
    ("/v1/messages", "claude-haiku-4-5", 403, {"type": "error", "error": {"type": "permission_error",
        "message": "This organization has been disabled."}}),
    ("/v1beta/models/gemini-2.5-flash:generateContent", "", 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT",
        "message": "API key not valid. Please pass a valid API key.", "details": [{"reason": "API_KEY_INVALID"}]}}),
    ("/v1beta/models/gemini-2.5-flash:generateContent", "", 403, {"error": {"code": 403, "status": "PERMISSION_DENIED",
        "message": "Consumer 'projects/123456789' has been suspended.",
        "details": [{"reason": "CONSUMER_SUSPENDED"}]}}),
    ("/v1/chat/completions", "deepseek-chat", 400, {"error": {"message": "Insufficient Balance", "code": "x"}}),
    ("/v1/chat/completions", "kimi-k2.6", 429, {"error": {"type": "exceeded_current_quota_error",
        "message": "Your account org-123 is suspended, please check your plan and billing details"}}),
    ("/v1/chat/completions", "qwen-plus", 400, {"error": {"code": "Arrearage", "message": "Access denied."}}),
    ("/v1/chat/completions", "grok-4", 403, {"error": "Your team 1a2b has either used all available credits or reached "
        "its monthly spending limit."}),
    ("/v2/chat", "command-r-08-2024", 429, {"message": "You are using a Trial key, which is limited to 1000 calls."}),
    ("/v1/chat/completions", "gpt-4o", 200, {"error": {"code": "insufficient_quota", "message": "No."}}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "model", "status", "answer"), ACCOUNTS)
async def test_trouble_with_the_operators_account_stays_out_of_sight(
    field: Field, path: str, model: str, status: int, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In whatever words and with whatever status it is said: 502, nothing charged, told to the operator."""
    field.provider.answer(status=status, body=json.dumps(answer).encode())
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]} if "v1beta" in path else {
        "model": model, "messages": MESSAGES, "max_tokens": 9}  # fmt: skip
    got_status, headers, got = await field.call(body, path)
    assert (got_status, headers["x-should-retry"]) == (502, "false")
    assert b"upstream_account" in got
    for secret in (b"quota", b"org-", b"credit", b"123456789", b"suspended", b"Arrearage", b"Balance"):
        assert secret not in got
    assert (await field.event())["status"] == "released"
    assert any("account" in record.message for record in caplog.records if record.name == "farthing.call")
    assert b"farthing_upstream_account_total{" in field.gateway.services.metrics.render()


async def test_a_stream_that_begins_with_such_a_refusal_is_one(field: Field) -> None:
    """The head waits for the first event, so that its client gets a status and not an answer that is none."""
    field.provider.answer(kind=SSE, body=[b'data: {"error":{"code":"insufficient_quota","message":"No."}}\n\n'])
    status, _, got = await field.call({"model": "gpt-4o", "messages": MESSAGES, "stream": True})
    assert (status, b"upstream_account" in got) == (502, True)
    assert (await field.event())["status"] == "released"


@pytest.mark.parametrize(
    ("status", "answer", "kept"),
    [
        (429, {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-4o in organization "
            "org-AbCd1234efGH on tokens per min. Please try again in 20s."}},
            b"on tokens per min. Please try again in 20s"),
        (404, {"error": {"code": "model_not_found", "message": "Project `proj_9fGh3kLmN2` does not have access."}},
            b"does not have access"),
        (400, {"error": {"code": "invalid_value", "message": "Invalid value: 'billing'. See the organization docs."}},
            b"Invalid value: 'billing'. See the organization docs."),
    ],
)  # fmt: skip
async def test_errors_of_the_callers_own_pass_without_the_operators_ids(
    field: Field, status: int, answer: Any, kept: bytes
) -> None:
    """A rate and a bad value are the caller's business; an organisation's id is not."""
    field.provider.answer(status=status, body=json.dumps(answer).encode())
    got_status, _, got = await field.call({"model": "gpt-4o", "messages": MESSAGES})
    assert (got_status, kept in got) == (status, True)
    for secret in (b"AbCd1234efGH", b"9fGh3kLmN2"):
        assert secret not in got


@pytest.mark.parametrize(
    "spelt",
    [PROVIDER_KEY, "".join(f"\\u{ord(c):04x}" for c in PROVIDER_KEY), PROVIDER_KEY.replace("-", "%2D"),
     PROVIDER_KEY.replace("-", "&#45;"), PROVIDER_KEY.replace("-", "\\u002d")],
)  # fmt: skip
async def test_a_credential_leaves_in_no_spelling(field: Field, spelt: str) -> None:
    """However a provider repeats our key in an error, the client gets an error of ours."""
    field.provider.answer(status=400, body=b'{"error":{"message":"No access with ' + spelt.encode() + b'."}}')
    status, _, got = await field.call({"model": "gpt-4o", "messages": MESSAGES})
    assert (status, json.loads(got)["error"]["code"]) == (400, "upstream_error")
