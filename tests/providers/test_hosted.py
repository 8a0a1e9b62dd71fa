"""Tools that the provider runs: held for, metered and priced; or named, where nobody knows the price."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.contract.shapes import Call, Reading, Shape
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai.chat import OPENAI_CHAT
from providers.openai.responses import OPENAI_RESPONSES
from providers.pricing.catalogue import Catalogue

CATALOGUE = Catalogue.load()
NOW_MS = 1_795_000_000_000
MESSAGES = [{"role": "user", "content": "hi"}]


def respond(*tools: dict[str, Any], **more: Any) -> Call:
    return OPENAI_RESPONSES.read(json.dumps({"model": "gpt-4.1", "input": "hi", "tools": tools, **more}).encode())


def meter(shape: Shape, call: Call, answer: bytes, *, streamed: bool = False, piece: int = 1 << 16) -> Reading:
    read = shape.meter(call, streamed=streamed)
    for at in range(0, len(answer), piece):
        read.feed(answer[at : at + piece])
    return read.finish()


def answer(*items: dict[str, Any], padding: int = 0, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    text = {"type": "message", "content": [{"type": "output_text", "text": "x" * padding}]}
    return {"id": "resp_1", "model": "gpt-4.1", "status": "completed", "output": [*items, text], "usage": usage, **more}


def read(call: Call, *items: dict[str, Any], padding: int = 0, **more: Any) -> Usage:
    """The usage of an answer, the same whether it comes whole, in events, or too large to keep."""
    body = answer(*items, padding=padding, **more)
    found = meter(OPENAI_RESPONSES, call, json.dumps(body).encode()).usage
    assert found is not None
    events = [{"type": "response.output_item.done", "item": item} for item in items]
    events.append({"type": "response.completed", "response": body})
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    if not padding:
        assert meter(OPENAI_RESPONSES, call, stream, streamed=True).usage == found
    return found


def container(number: int, kind: str = "code_interpreter_call") -> dict[str, Any]:
    return {"type": kind, "id": f"ci_{number}", "container_id": f"cntr_{number}", "status": "completed"}


CODE: dict[str, Any] = {"type": "code_interpreter", "container": {"type": "auto"}}


def test_code_runs_by_container_and_not_by_call() -> None:
    """Five calls in one container are one session, in two containers two."""
    call = respond(CODE)
    assert call.input_upper.tools == {"code_interpreter": 1}
    assert read(call, *[container(1)] * 5).tools == {"code_interpreter": 1}
    assert read(call, container(1), container(2), container(1)).tools == {"code_interpreter": 2}


@pytest.mark.parametrize(("limit", "times"), [("1g", 1), ("4g", 4), ("16g", 16), ("64g", 64)])
def test_a_container_costs_by_its_memory(limit: str, times: int) -> None:
    """And so it is held for."""
    for tool in (
        {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": limit}},
        {"type": "shell", "environment": {"type": "container_auto", "memory_limit": limit}},
    ):
        call = respond(tool)
        assert call.input_upper.tools == {"code_interpreter": times}
        assert read(call, container(1)).tools == {"code_interpreter": times}
    with pytest.raises(BadRequest, match="memory"):
        respond({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "512g"}})


def test_a_container_costs_by_its_time() -> None:
    """Twenty minutes are a session; what is longer is more of them."""
    call = respond(CODE)
    for took_s, times in ((10, 1), (1_200, 1), (1_201, 2), (4_000, 4)):
        assert read(call, container(1), created_at=1000, completed_at=1000 + took_s).tools == {
            "code_interpreter": times
        }


def test_a_shell_of_the_clients_own_costs_nothing() -> None:
    """It runs where the client is."""
    call = respond({"type": "shell"}, {"type": "local_shell"}, {"type": "shell", "environment": {"type": "local"}})
    assert (call.input_upper.tools, call.unpriced) == ({}, "")


@pytest.mark.parametrize("piece", [1 << 16, 1 << 20, 999])
def test_tools_of_an_answer_too_large_to_keep_are_counted(piece: int) -> None:
    """Wherever in it they stand, and however the network cuts it."""
    call = respond(CODE, {"type": "web_search"}, {"type": "file_search", "vector_store_ids": ["vs_1"]})
    items = [container(1), {"type": "web_search_call"}, container(1), container(2), *[{"type": "file_search_call"}] * 3]
    body = answer(*items, padding=5 << 20)
    body["output"].append({"type": "web_search_call"})
    found = meter(OPENAI_RESPONSES, call, json.dumps(body).encode(), piece=piece).usage
    assert found is not None
    assert found.tools == {"code_interpreter": 2, "file_search": 3, "web_search": 2}


STATED = {"input_tokens": 40, "output_tokens": 6208, "total_tokens": 6248,
          "input_tokens_details": {"image_tokens": 10, "text_tokens": 30}}  # fmt: skip


def test_a_picture_is_priced_by_what_the_answer_states_of_it() -> None:
    """6,208 tokens of the dearest model that draws are a quarter of a dollar, beside the text."""
    call = respond({"type": "image_generation"})
    drawn = {"type": "image_generation_call", "id": "ig_1", "result": "QUJD", "status": "completed"}
    usage = read(call, drawn, tool_usage={"image_gen": STATED, "web_search": {"num_requests": 0}})
    price = CATALOGUE.find("openai", "gpt-image-1", NOW_MS)
    assert price is not None
    assert list(usage.beside) == ["gpt-image-1"]
    assert price.cost_picos(usage.beside["gpt-image-1"]) == 6208 * 40_000_000 + 30 * 5_000_000 + 10 * 10_000_000
    assert (usage.tools, usage.output_tokens) == ({}, 5)


def test_a_picture_of_which_nothing_is_stated_is_the_dearest_that_was_allowed() -> None:
    """What was held for one, for each."""
    call = respond({"type": "image_generation", "model": "gpt-image-1-mini", "size": "1024x1024", "quality": "low"})
    assert call.models == {"tools[0].model": "gpt-image-1-mini"}
    drawn = {"type": "image_generation_call", "status": "completed"}
    held = call.beside["gpt-image-1-mini"][0].output_tokens
    assert held == 272
    assert read(call, drawn, drawn).beside["gpt-image-1-mini"].output_tokens == 2 * held


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "brand_new_tool"}, "tools[0].type"),
        ({"type": "image_generation", "output_format": "svg"}, "tools[0].svg"),
        ({"type": "image_generation", "svg": {"model": "gpt-5"}}, "tools[0].svg"),
    ],
)
def test_a_tool_without_a_price_is_named(tool: dict[str, Any], param: str) -> None:
    """Whoever has a cap is refused it by that name."""
    assert respond(tool).unpriced == param


def test_searches_of_a_chat_model_that_always_searches_are_held_and_counted() -> None:
    """One an answer, whether it cites or not, and in whatever form it comes."""
    call = OPENAI_CHAT.read(json.dumps({"model": "gpt-4o-search-preview", "messages": MESSAGES}).encode())
    assert call.input_upper.tools == {"web_search": 1}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    whole = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
    found = meter(OPENAI_CHAT, call, json.dumps(whole).encode()).usage
    assert found is not None
    assert found.tools == {"web_search": 1}
    chunks = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: ' + json.dumps(whole | {"choices": []}).encode()
    streamed = meter(OPENAI_CHAT, call, chunks + b"\n\ndata: [DONE]\n\n", streamed=True).usage
    assert streamed is not None
    assert streamed.tools == {"web_search": 1}


@pytest.mark.parametrize("cited", [True, False])
@pytest.mark.parametrize("padding", [0, 5 << 20])
def test_searches_that_were_asked_for_are_counted_where_the_answer_cites(cited: bool, padding: int) -> None:
    """A model that may search has searched where it names a source."""
    body = {"model": "gpt-4o", "messages": MESSAGES, "web_search_options": {}}
    call = OPENAI_CHAT.read(json.dumps(body).encode())
    assert (call.input_upper.tools, call.endless) == ({"web_search": 1}, "web_search_options")
    message: dict[str, Any] = {"content": "Hi" + "x" * padding}
    if cited:
        message["annotations"] = [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}]
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    whole = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
    found = meter(OPENAI_CHAT, call, whole.encode()).usage
    assert found is not None
    assert found.tools == ({"web_search": 1} if cited else {})


def ask_claude(*tools: dict[str, Any], **more: Any) -> Call:
    body = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES, "tools": tools, **more}
    return ANTHROPIC_MESSAGES.read(json.dumps(body).encode())


def test_claudes_tools_are_held_for_by_their_uses() -> None:
    """Searches by the most that are allowed, code by the container, fetches by their tokens."""
    call = ask_claude(
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "web_fetch_20260318", "name": "web_fetch"},
        {"type": "code_execution_20260521", "name": "code_execution"},
        {"type": "bash_20250124", "name": "bash"},
    )
    assert call.input_upper.tools == {"web_search": 5, "code_execution": 12}
    assert call.unpriced == ""
    assert ask_claude({"type": "web_search_20250305", "name": "s"}).input_upper.tools == {"web_search": 2}
    assert ask_claude({"type": "telepathy_20270101", "name": "t"}).unpriced == "tools[0].type"


def test_every_model_that_is_named_is_named_to_the_gateway() -> None:
    """Those that may answer instead, with their own limits, and those that advise."""
    call = ask_claude(fallbacks=[{"model": "claude-opus-4-1", "max_tokens": 900}, {"model": "claude-sonnet-4-5"}])
    assert call.models == {"fallbacks[0].model": "claude-opus-4-1", "fallbacks[1].model": "claude-sonnet-4-5"}
    assert (call.instead, call.output_tokens_max) == (("claude-opus-4-1", "claude-sonnet-4-5"), 900)
    assert ask_claude(fallbacks="default").unpriced == "fallbacks"
    advised = ask_claude({"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-1", "max_tokens": 700})
    assert advised.models == {"tools[0].model": "claude-opus-4-1"}
    assert advised.beside["claude-opus-4-1"][0].output_tokens == 700
    for name in ("workspace_id", "user_profile_id"):
        with pytest.raises(BadRequest, match="operator"):
            ask_claude(**{name: "wrkspc_1"})


def test_no_limit_is_no_limit() -> None:
    """A maximum of zero, which some vendors take for none, bounds nothing."""
    for body in ({"max_tokens": 0}, {"max_completion_tokens": 0}):
        call = OPENAI_CHAT.read(json.dumps({"model": "gpt-4o", "messages": MESSAGES, **body}).encode())
        assert (call.output_tokens_max, bool(call.endless)) == (None, True)
    assert (respond(max_output_tokens=0).output_tokens_max, respond(max_output_tokens=0).endless) == (
        None, "max_output_tokens",
    )  # fmt: skip


@pytest.mark.parametrize("padding", [0, 5 << 20])
@pytest.mark.parametrize("name", ["code_execution", "bash_code_execution", "text_editor_code_execution"])
def test_code_that_claude_runs_is_counted(name: str, padding: int) -> None:
    """A container is five minutes at least, however often something runs in it."""
    call = ask_claude({"type": "code_execution_20260521", "name": "code_execution"})
    used = {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": {}}
    usage = {"input_tokens": 9, "output_tokens": 5}
    text = {"type": "text", "text": "x" * padding}
    whole = {"type": "message", "model": "claude-haiku-4-5", "content": [used, used, text], "usage": usage}
    found = meter(ANTHROPIC_MESSAGES, call, json.dumps(whole).encode()).usage
    assert found is not None
    assert found.tools == {"code_execution": 1}
    said = {"type": "message", "content": [{"type": "text", "text": "code_execution"}], "usage": usage}
    plain = meter(ANTHROPIC_MESSAGES, call, json.dumps(said).encode()).usage
    assert plain is not None
    assert plain.tools == {}
    events = [
        {"type": "message_start", "message": {"model": "claude-haiku-4-5", "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": used},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    streamed = meter(ANTHROPIC_MESSAGES, call, stream, streamed=True).usage
    assert streamed is not None
    assert streamed.tools == {"code_execution": 1}
