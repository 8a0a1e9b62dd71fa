"""Files of requests and results of batches: sums that bound, counts that add up, bytes in any pieces."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.contract.batch_bound import BatchBound
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai.chat import OPENAI_CHAT
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from providers.stored.batches import Batch, Results
from providers.stored.jsonl import LINE_BYTES_MAX, REFERENCES_MAX, Endpoint, Requests, add
from providers.stored.objects import References, Refers

NOW_MS = 1_795_600_000_000
CATALOGUE = Catalogue.load()
ENDPOINTS = {
    "/v1/chat/completions": Endpoint(OPENAI_CHAT, References({"file_id": Refers(kind="file")})),
    "/v1/embeddings": Endpoint(OPENAI_EMBEDDINGS),
}


def priced(provider: str, model: str) -> Price:
    price = CATALOGUE.find(provider, model, NOW_MS)
    assert price is not None
    return price


def line(content: Any = "hello", **body: Any) -> dict[str, Any]:
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], "max_tokens": 50} | body
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": asked}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in lines)


def read(content: bytes, size: int = 1 << 30) -> Any:
    reader = Requests(ENDPOINTS, {"messages": "/v1/chat/completions"})
    for at in range(0, len(content), size):
        reader.feed(content[at : at + size])
    return reader.close()


@given(st.integers(1, 400), st.lists(st.integers(1, 3_000), min_size=1, max_size=6))
def test_a_file_reads_the_same_in_any_pieces(size: int, lengths: list[int]) -> None:
    content = jsonl(*(line("x" * length) for length in lengths)).replace(b"\n", b"\r\n\n")
    whole = read(content)
    assert read(content, size) == whole
    assert whole.batch_bound.lines == len(lengths)
    assert msgspec.convert(msgspec.to_builtins(whole), type(whole)) == whole  # as it is kept and found again


def test_a_file_says_what_its_lines_refer_to() -> None:
    parts = [{"type": "file", "file": {"file_id": "file-1"}}]
    assert read(jsonl(line(parts), line(parts))).refers == [("file_id", "file", "file-1")]
    with pytest.raises(BadRequest, match="one too many"):
        read(jsonl(*(line([{"type": "file", "file": {"file_id": f"f{at}"}}]) for at in range(REFERENCES_MAX + 1))))


def test_a_line_has_bounds() -> None:
    reader = Requests(ENDPOINTS, {})
    with pytest.raises(BadRequest, match="longer"):
        for _ in range(LINE_BYTES_MAX // 65_536 + 1):
            reader.feed(b"x" * 65_536)


@given(st.lists(st.tuples(st.integers(1, 200_000), st.integers(0, 5_000)), min_size=1, max_size=8), st.booleans())
def test_the_sums_bound_every_line_by_itself(lines: list[tuple[int, int]], sound: bool) -> None:
    """Held together they are never less than each alone at its own tier; and a flat price is not exceeded by much."""
    for provider, model in (("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5")):
        price = priced(provider, model)
        bound, least = BatchBound(sums={}), 0
        for tokens, output in lines:
            usage = Usage(input_tokens=tokens)
            bound.add(usage, usage, usage, output=output, answers=1, remote=False)
            least += price.cost_picos(Usage(input_tokens=tokens, output_tokens=output, service_tier="batch"))
        picos, tokens_ = bound.held(price, sound=sound, silent_tokens=0, remote_tokens=0)
        assert picos >= least
        assert tokens_ == sum(sum(each) for each in lines)


def answer(tokens: int, output: int, model: str = "gpt-4o-mini") -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "completion_tokens": output, "total_tokens": tokens + output}
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}


def result(body: Any, status: int = 200) -> dict[str, Any]:
    return {"id": "r", "custom_id": "a", "response": {"status_code": status, "request_id": "q", "body": body}}


@given(st.integers(1, 300), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)), max_size=6))
def test_results_add_up_to_the_pico_in_any_pieces(size: int, answers: list[tuple[int, int]]) -> None:
    """A refused line costs nothing; each answer is priced at the batch tier."""
    price = priced("openai", "gpt-4o-mini")
    lines = [result(answer(*each)) for each in answers] + [result({"error": {"message": "no"}}, 400)]
    content = jsonl(*lines) + b"\n"
    results = Results(OPENAI_CHAT, price, 10)
    for at in range(0, len(content), size):
        results.feed(content[at : at + size])
    counted = results.finish()
    expected = [Usage(input_tokens=tokens, output_tokens=output, service_tier="batch") for tokens, output in answers]
    assert counted.cost_picos == sum(map(price.cost_picos, expected)) == price.cost_picos(counted.usage)
    assert (counted.answers, counted.estimated) == (len(answers), False)
    half, full = (price.cost_picos(Usage(input_tokens=1_000, service_tier=tier)) for tier in ("batch", ""))
    assert half * 2 == full


def test_tiers_are_reached_by_single_answers() -> None:
    """A hundred answers below the threshold are not one above it; the event's cost still follows from its usage."""
    price = priced("google", "gemini-2.5-pro")
    results = Results(OPENAI_CHAT, price, 10)
    results.feed(jsonl(*(result(answer(150_000, 100)) for _ in range(4))))
    counted = results.finish()
    each = price.cost_picos(Usage(input_tokens=150_000, output_tokens=100, service_tier="batch"))
    assert counted.cost_picos == 4 * each == price.cost_picos(counted.usage)
    assert "priced_by_line" in counted.flags


@pytest.mark.parametrize("content", [b"{", b"null", b'{"response":{"status_code":200,"body":{}}}', b"\xff\n{}\n[1]"])
def test_results_that_cannot_be_read_are_never_free_and_never_raise(content: bytes) -> None:
    results = Results(OPENAI_CHAT, priced("openai", "gpt-4o-mini"), 10)
    results.feed(content)
    counted = results.finish()
    assert counted.answers == 0 or (counted.estimated and counted.cost_picos > 0)


@given(st.binary(max_size=200))
def test_no_results_are_too_strange(content: bytes) -> None:
    results = Results(ANTHROPIC_MESSAGES, priced("anthropic", "claude-sonnet-4-5"), 10)
    results.feed(content)
    results.finish()
    for kind in ("openai", "anthropic", "mistral"):
        Batch(kind=kind, item="/{id}", endpoints={}).progress(content)  # type: ignore[arg-type]


def test_messages_results_count_what_succeeded() -> None:
    price = priced("anthropic", "claude-sonnet-4-5")
    usage = {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0, "output_tokens": 7}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
               "stop_reason": "end_turn", "usage": usage}  # fmt: skip
    lines = [
        {"custom_id": "a", "result": {"type": "succeeded", "message": message}},
        {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error"}}},
        {"custom_id": "c", "result": {"type": "expired"}},
    ]
    results = Results(ANTHROPIC_MESSAGES, price, 10)
    results.feed(jsonl(*lines))
    counted = results.finish()
    expected = Usage(input_tokens=110, cache_read_tokens=100, output_tokens=7, service_tier="batch")
    assert (counted.answers, counted.usage, counted.estimated) == (1, expected, False)
    assert counted.cost_picos == price.cost_picos(expected)


@pytest.mark.parametrize(
    ("kind", "body", "ended", "results"),
    [
        ("openai", {"id": "b", "status": "in_progress"}, False, ""),
        ("openai", {"id": "b", "status": "completed", "output_file_id": "f"}, True, "/v1/files/f/content"),
        ("openai", {"id": "b", "status": "failed", "output_file_id": None}, True, ""),
        ("anthropic", {"id": "b", "processing_status": "canceling"}, False, ""),
        ("anthropic", {"id": "b", "processing_status": "ended"}, True, "/v1/messages/batches/b/results"),
        ("mistral", {"id": "b", "status": "CANCELLATION_REQUESTED"}, False, ""),
        ("mistral", {"id": "b", "status": "TIMEOUT_EXCEEDED", "output_file": "f"}, True, "/v1/files/f/content"),
    ],
)
def test_a_batch_says_how_far_it_is(kind: Any, body: dict[str, Any], ended: bool, results: str) -> None:
    batch = Batch(kind=kind, item="/{id}", endpoints={})
    for content in (body, {"object": "list", "data": [body]}):
        (progress,) = batch.progress(json.dumps(content).encode())
        assert (progress.id, progress.ended, progress.results) == ("b", ended, results)


def test_only_the_origin_of_results_is_rewritten() -> None:
    batch = Batch(kind="anthropic", item="/{id}", endpoints={})
    body = b'{"id":"b","results_url":"https://api.anthropic.com/v1/messages/batches/b/results","x":"https://a.b/c"}'
    there = b'{"id":"b","results_url":"http://here:1/v1/messages/batches/b/results","x":"https://a.b/c"}'
    assert batch.rehosted(body, "http://here:1") == there
    assert batch.rehosted(body, "") == body


def test_what_its_lines_ask_for_is_asked_for_by_the_batch() -> None:
    """Tools are held for, what nothing bounds and what has no price is named, further models have no place in it."""
    bound = BatchBound(sums={}, tools={})
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    price = priced("openai", "gpt-4o")
    add(bound, OPENAI_CHAT.read(json.dumps(ask).encode()))
    before, _ = bound.held(price, sound=False, silent_tokens=0, remote_tokens=0)
    assert (bound.endless, bound.unpriced, bound.tools) == ("", "", {})
    for _ in range(3):
        add(bound, OPENAI_CHAT.read(json.dumps(ask | {"web_search_options": {}}).encode()))
    add(bound, OPENAI_CHAT.read(json.dumps(ask | {"plugins": ["x"]}).encode()))
    assert (bound.endless, bound.unpriced, bound.tools) == ("web_search_options", "plugins", {"web_search": 3})
    after, _ = bound.held(price, sound=False, silent_tokens=0, remote_tokens=0)
    assert after - before >= 3 * 10_000_000_000
    add(bound, OPENAI_CHAT.read(json.dumps(ask | {"brand_new": 1}).encode()))
    fallback = {
        "model": "claude-haiku-4-5",
        "max_tokens": 9,
        "messages": ask["messages"],
        "fallbacks": [{"model": "x"}],
    }
    with pytest.raises(BadRequest, match="models"):
        add(bound, ANTHROPIC_MESSAGES.read(json.dumps(fallback).encode()))
