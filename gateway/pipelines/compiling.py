"""A specification, checked and made ready to run: which node needs what of which others. Pure.

Promises: what is returned without an issue has no cycle, refers to nothing that is not there, and calls inference
routes only. All issues are told, each with a pointer into the specification.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.api.workflow import Issue, JoinAll, JoinAny, LlmNode, Node, Source, Transform, When, Workflow
from gateway.pipelines.bindings import holds_placeholder
from gateway.pipelines.pointers import NoSuchPlace, parts, pointer_of_path, pointer_to, put
from gateway.pipelines.requests import PathRefused, Request, request_of

Need = tuple[str, str]
"""A node's id, and the pointer to where it is said that it is needed."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A specification that can be run.

    Attributes:
        nodes: By id, each after those that it needs.
        needs: The ids of the nodes that each node needs, in the order in which they are named.
        requests: Of the nodes that call, as they are before anything is bound into them.
        conditions: Of a node, by the node that they are about.
    """

    workflow: Workflow
    nodes: Mapping[str, Node]
    needs: Mapping[str, tuple[str, ...]]
    requests: Mapping[str, Request]
    conditions: Mapping[str, Mapping[str, tuple[When, ...]]]


def compiled(workflow: Workflow) -> tuple[Plan | None, list[Issue]]:
    """The plan, or why there is none."""
    issues: list[Issue] = []
    nodes: dict[str, Node] = {}
    requests: dict[str, Request] = {}
    for number, node in enumerate(workflow.nodes):
        if node.id in nodes:
            issues.append(_issue("duplicate_id", f"There is another node {node.id!r}.", "nodes", number, "id"))
        nodes.setdefault(node.id, node)
        if isinstance(node, LlmNode):
            try:
                requests[node.id] = request_of(node.input.request)
            except PathRefused as refused:
                issues.append(_issue(refused.code, str(refused), "nodes", number, "input", "request", *refused.where))
            issues += _of_call(node, number, requests.get(node.id))
        elif isinstance(node, Transform) and (node.input.object is msgspec.UNSET) == (
            node.input.merge is msgspec.UNSET
        ):
            message = "A transform has an object or a merge, and not both."
            issues.append(_issue("invalid_spec", message, "nodes", number, "input"))
    needed = _needs(workflow)
    for node_id, found in needed.items():
        issues += [_unknown(each, at) for each, at in found if each not in nodes]
        if isinstance(nodes.get(node_id), JoinAll | JoinAny) and not found:
            issues.append(_issue("no_inputs", "No edge leads to this join.", "nodes", list(nodes).index(node_id)))
    issues += [_issue("unknown_node", f"There is no node {edge.to!r}.", "edges", number, "to")
               for number, edge in enumerate(workflow.edges) if edge.to not in nodes]  # fmt: skip
    needs = {
        node_id: tuple(dict.fromkeys(each for each, _ in needed.get(node_id, []) if each in nodes)) for node_id in nodes
    }
    ordered, cycle = _ordered(needs)
    if cycle:
        at = next(at for node_id in cycle for each, at in needed[node_id] if each in cycle)
        issues.append(Issue("cycle", at, f"These nodes wait for each other: {', '.join(cycle)}."))
    issues += _of_conditions(workflow)
    issues += _of_sources(workflow, nodes, needs)
    issues += _of_outputs(workflow, nodes, needs, set(cycle))
    if issues:
        return None, issues
    ready = {each: nodes[each] for each in ordered}
    return Plan(workflow=workflow, nodes=ready, needs=needs, requests=requests, conditions=_conditions(workflow)), []


def _issue(code: str, message: str, *where: str | int) -> Issue:
    return Issue(code, pointer_to(*where), message)


def _unknown(node_id: str, at: str) -> Issue:
    code = "unknown_node" if at.startswith("/edges") else "unknown_binding"
    return Issue(code, at, f"There is no node {node_id!r}.")


def _of_call(node: LlmNode, number: int, request: Request | None) -> Iterator[Issue]:
    """What is wrong with a call, and with what is bound into its request."""
    at = ("nodes", number, "input")
    inner = ("body",) if request is not None and request.native else ()
    if node.input.stream:
        yield _issue("stream_not_supported", "A node's answer is taken whole: leave stream out.", *at, "stream")
    if node.input.request.get("stream") or (inner and request is not None and request.body.get("stream")):
        where = (*at, "request", *inner, "stream")
        yield _issue("stream_not_supported", "A node's answer is taken whole: leave stream out.", *where)
    if request is None:
        return
    body = json.loads(json.dumps(request.body))
    for index, binding in enumerate(node.input.bindings):
        place = (*at, "bindings", index)
        if (binding.to is msgspec.UNSET) == (binding.to_placeholder is msgspec.UNSET):
            yield _issue("invalid_spec", "A binding has a to or a to_placeholder, and not both.", *place)
        elif isinstance(binding.to, str):
            try:
                put(body, binding.to, _Anything())
            except NoSuchPlace as missing:
                yield _issue("unknown_target", f"In the request, {missing}.", *place, "to")
        elif not holds_placeholder(request.body, str(binding.to_placeholder)):
            message = f"{{{{{binding.to_placeholder}}}}} stands nowhere in the request."
            yield _issue("unknown_target", message, *place, "to_placeholder")


class _Anything(dict[str, Any]):
    """What will be bound there: nobody knows what it has."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> _Anything:
        return self


def _needs(workflow: Workflow) -> dict[str, list[Need]]:
    """What each node needs, and where that is said: edges first, then what is bound; a binding implies its edge."""
    found: dict[str, list[Need]] = {}
    for number, edge in enumerate(workflow.edges):
        found.setdefault(edge.to, []).append((edge.from_, pointer_to("edges", number, "from")))
    for number, node in enumerate(workflow.nodes):
        needs = found.setdefault(node.id, [])
        needs += [(source.from_, f"{at}/from") for source, at in _sources(node, number)]
    return {node.id: found[node.id] for node in workflow.nodes}


def _sources(node: Node, number: int) -> Iterator[tuple[Source, str]]:
    """What a node takes of others' outputs, and where that is said."""
    if isinstance(node, LlmNode):
        for index, each in enumerate(node.input.bindings):
            at = pointer_to("nodes", number, "input", "bindings", index)
            yield Source(from_=each.from_, pointer=each.pointer), at
    elif isinstance(node, Transform):
        for name, each_source in (node.input.object or {}).items():
            yield each_source, pointer_to("nodes", number, "input", "object", name)
        for index, each_source in enumerate(node.input.merge or ()):
            yield each_source, pointer_to("nodes", number, "input", "merge", index)


def _ordered(needs: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """The nodes, each after those that it needs; and those of a cycle, if there is one."""
    ordered: dict[str, None] = {}
    left = dict(needs)
    while left:
        ready = [each for each, needed in left.items() if all(one in ordered for one in needed)]
        if not ready:
            return list(ordered), _cycle(left)
        for each in ready:
            ordered[each] = None
            del left[each]
    return list(ordered), []


def _cycle(left: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A cycle among nodes of which each needs another of them."""
    way: list[str] = []
    here = next(iter(left))
    while here not in way:
        way.append(here)
        here = next(each for each in left[here] if each in left)
    return way[way.index(here) :]


def _of_conditions(workflow: Workflow) -> Iterator[Issue]:
    for number, edge in enumerate(workflow.edges):
        if isinstance(edge.when, When):
            try:
                pointer_of_path(edge.when.path)
            except NoSuchPlace as wrong:
                yield _issue("invalid_spec", f"{wrong}.", "edges", number, "when", "path")


def _conditions(workflow: Workflow) -> dict[str, dict[str, tuple[When, ...]]]:
    found: dict[str, dict[str, tuple[When, ...]]] = {}
    for edge in workflow.edges:
        if isinstance(edge.when, When):
            of_node = found.setdefault(edge.to, {})
            of_node[edge.from_] = (*of_node.get(edge.from_, ()), edge.when)
    return found


def _of_sources(workflow: Workflow, nodes: Mapping[str, Node], needs: Mapping[str, tuple[str, ...]]) -> Iterator[Issue]:
    for number, node in enumerate(workflow.nodes):
        for source, at in _sources(node, number):
            if source.from_ in nodes and (message := _astray(nodes, needs, source)):
                yield Issue("unknown_binding", f"{at}/pointer", message)


def _of_outputs(
    workflow: Workflow, nodes: Mapping[str, Node], needs: Mapping[str, tuple[str, ...]], cycle: set[str]
) -> Iterator[Issue]:
    names: set[str] = set()
    for number, output in enumerate(workflow.outputs):
        if output.name in names:
            yield _issue("duplicate_name", f"There is another output {output.name!r}.", "outputs", number, "name")
        names.add(output.name)
        if output.from_ not in nodes:
            message = f"There is no node {output.from_!r}."
            yield _issue("unreachable_output", message, "outputs", number, "from")
        elif _behind(output.from_, needs) & cycle:
            message = f"The node {output.from_!r} is never reached."
            yield _issue("unreachable_output", message, "outputs", number, "from")
        elif message := _astray(nodes, needs, Source(from_=output.from_, pointer=output.pointer)):
            yield _issue("unreachable_output", message, "outputs", number, "pointer")


def _behind(node_id: str, needs: Mapping[str, tuple[str, ...]]) -> set[str]:
    """A node with all that it needs."""
    found: set[str] = set()
    left = [node_id]
    while left:
        if (here := left.pop()) not in found:
            found.add(here)
            left += needs[here]
    return found


def _astray(nodes: Mapping[str, Node], needs: Mapping[str, tuple[str, ...]], source: Source) -> str:
    """Why a pointer surely leads nowhere, whatever is answered; "" where it may lead somewhere."""
    try:
        way = parts(source.pointer)
    except NoSuchPlace as wrong:
        return f"{wrong}."
    here, seen = source.from_, 0
    while way and seen < len(nodes):
        node, seen = nodes[here], seen + 1
        first = way.pop(0)
        if isinstance(node, JoinAll | JoinAny):
            if first not in needs[here]:
                return f"The join {here!r} has no edge from {first!r}."
            here = first
        elif isinstance(node, Transform) and isinstance(node.input.object, dict):
            if first not in node.input.object:
                return f"The transform {here!r} makes no {first!r}."
            inner = node.input.object[first]
            if inner.from_ not in nodes:
                return ""
            try:
                here, way = inner.from_, [*parts(inner.pointer), *way]
            except NoSuchPlace:
                return ""  # told of where it stands
        else:
            return ""
    return ""
