"""What a pipeline may cost at most, before it is run: the sum of what its calls would be held for, all output included.

What is bound into a request is not known yet: it is reckoned as so many tokens more as the nodes that it comes from may
put out, and their wrapping. A node whose tools the client runs is counted once for each call that it may make. Nothing
is held, and nobody is called.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.api.workflow import Issue, LlmNode
from gateway.bounds import RUN_BOUND_BYTES_MAX, RUN_BYTES_MAX
from gateway.call.records import Request, Terms
from gateway.pipelines.calling import receiving, request_scope
from gateway.pipelines.compiling import Plan
from gateway.pipelines.pointers import pointer_to
from gateway.problems import CallError
from ledger.money import ceil_micros

WRAPPED_TOKENS = 2_000  # of an answer, beside what its model has written
ESCAPED = 2  # times as many tokens as a text has, as JSON in JSON
TOKEN_CHARACTERS = 4  # about

Quoted = Callable[[dict[str, Any], Any], Awaitable[tuple[Request, Terms]]]


async def estimated(
    plan: Plan, secret: str, headers: Mapping[str, str], quoted: Quoted
) -> tuple[int | None, list[Issue]]:
    """The most that a pipeline may cost, in micros, and which of its calls would be refused; None where one would."""
    numbers = {node.id: number for number, node in enumerate(plan.workflow.nodes)}
    issues: list[Issue] = []
    total = 0
    tokens: dict[str, int] = {}  # of a node's output
    for node_id, node in plan.nodes.items():
        if not isinstance(node, LlmNode):
            tokens[node_id] = min(sum(tokens[each] for each in plan.needs[node_id]), RUN_BYTES_MAX)
            continue
        request = plan.requests[node_id]
        body = msgspec.json.encode(request.body)
        try:
            asked, terms = await quoted(request_scope(secret, request.target, body, headers), receiving(body))
        except CallError as refused:
            path = pointer_to("nodes", numbers[node_id], "input", "request")
            issues.append(Issue(refused.code, path, refused.message))
            tokens[node_id] = 0
            continue
        most = max(terms.quote.want, terms.quote.most or 0)
        tokens[node_id] = most * max(asked.call.choices, 1) * ESCAPED + WRAPPED_TOKENS
        picos = _picos(asked, terms, most, _bound_tokens(node, request.body, tokens))
        total += ceil_micros(picos) * _calls(node, request.tool_use is not None)
    return (None if issues else total), issues


def _calls(node: LlmNode, may_use_tools: bool) -> int:
    execution = node.input.tool_execution
    loops = may_use_tools and isinstance(execution, msgspec.Struct) and execution.mode == "client"
    return node.input.tool_limits.max_llm_calls if loops else 1


def _bound_tokens(node: LlmNode, body: dict[str, Any], tokens: Mapping[str, int]) -> int:
    """How many tokens are bound into a request, at most: a run passes on no more than its bound."""
    text = json.dumps(body)
    total = 0
    for each in node.input.bindings:
        times = text.count(f"{{{{{each.to_placeholder}}}}}") if isinstance(each.to_placeholder, str) else 1
        total += tokens[each.from_] * times
    return min(total, RUN_BOUND_BYTES_MAX)


def _picos(asked: Request, terms: Terms, most: int, more_tokens: int) -> int:
    """The most that a call may cost with so many tokens of input more."""
    call, price, quote = asked.call, terms.price, terms.quote
    if price is None or not more_tokens:
        return quote.fixed_picos + quote.each_picos * most
    known = call.input_upper
    characters = known.characters + more_tokens * TOKEN_CHARACTERS if known.characters else 0
    usage = msgspec.structs.replace(
        known,
        input_tokens=known.input_tokens + more_tokens,
        characters=characters,
        millicredits=known.millicredits * characters // known.characters if known.characters else known.millicredits,
    )
    fixed = price.bound_picos(usage, call.service_tier, cache_writes=call.cache_writes)
    each = price.output_picos_each(usage.input_tokens, call.service_tier) * call.choices if most else 0
    return max(fixed, quote.fixed_picos) + max(each, quote.each_picos) * most
