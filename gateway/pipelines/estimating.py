"""What a pipeline may cost at most, before it is run: the sum of what its calls would be held for, all output included.

What is bound into a request is not known yet: as much stands for it as the nodes that it comes from may put out. A node
whose tools the client runs is counted once for each call that it may make. Nothing is held, and nobody is called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.api.workflow import Binding, Issue, LlmNode
from gateway.call.records import Request, Terms
from gateway.pipelines.bindings import NotBound, bound
from gateway.pipelines.calling import receiving, request_scope
from gateway.pipelines.compiling import Plan
from gateway.pipelines.pointers import pointer_to
from gateway.problems import CallError
from ledger.money import ceil_micros

TOKEN_BYTES = 4  # of text, about
STOOD_IN_BYTES_MAX = 256 * 1024  # for any output

Quoted = Callable[[dict[str, Any], Any], Awaitable[tuple[Request, Terms]]]


async def estimated(
    plan: Plan, secret: str, headers: Mapping[str, str], quoted: Quoted
) -> tuple[int | None, list[Issue]]:
    """The most that a pipeline may cost, in micros, and which of its calls would be refused; None where one would."""
    numbers = {node.id: number for number, node in enumerate(plan.workflow.nodes)}
    issues: list[Issue] = []
    total = 0
    output_bytes: dict[str, int] = {}
    for node_id, node in plan.nodes.items():
        if not isinstance(node, LlmNode):
            output_bytes[node_id] = sum(output_bytes[each] for each in plan.needs[node_id])
            continue
        request = plan.requests[node_id]
        body = msgspec.json.encode(_stood_in(node, request.body, output_bytes))
        try:
            asked, terms = await quoted(request_scope(secret, request.target, body, headers), receiving(body))
        except CallError as refused:
            path = pointer_to("nodes", numbers[node_id], "input", "request")
            issues.append(Issue(refused.code, path, refused.message))
            output_bytes[node_id] = 0
            continue
        most = max(terms.quote.want, terms.quote.most or 0)
        output_bytes[node_id] = min(most * max(asked.call.choices, 1) * TOKEN_BYTES, STOOD_IN_BYTES_MAX)
        picos = terms.quote.fixed_picos + terms.quote.each_picos * most
        total += ceil_micros(picos) * _calls(node, request.tool_use is not None)
    return (None if issues else total), issues


def _calls(node: LlmNode, may_use_tools: bool) -> int:
    execution = node.input.tool_execution
    loops = may_use_tools and isinstance(execution, msgspec.Struct) and execution.mode == "client"
    return node.input.tool_limits.max_llm_calls if loops else 1


def _stood_in(node: LlmNode, body: dict[str, Any], output_bytes: Mapping[str, int]) -> dict[str, Any]:
    """The request with text in the place of what is not known yet."""
    outputs = {each.from_: "x " * (output_bytes[each.from_] // 2) for each in node.input.bindings}
    whole = [Binding(from_=each.from_, to=each.to, to_placeholder=each.to_placeholder) for each in node.input.bindings]
    try:
        return bound(body, whole, outputs)
    except NotBound:  # a place inside of what is bound before it
        return body
