"""The scheduler against an interpreter that knows nothing of it, over random graphs; and its order."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.api.workflow import Failure, Issue, Workflow
from gateway.pipelines.compiling import Plan, compiled
from gateway.pipelines.scheduler import Call, End, NodeState, Scheduler, Skipped, Waits
from gateway.pipelines.spec import read, tree_of

Json = dict[str, Any]


def compile_(spec: Json) -> tuple[Plan | None, list[Issue]]:
    body = json.dumps(spec).encode()
    return compiled(read(body, Workflow, tree_of(body)))


def planned(spec: Json) -> Plan:
    plan, issues = compile_(spec)
    assert plan is not None, issues
    return plan


@st.composite
def graphs(draw: st.DrawFn) -> Json:
    """A specification without a cycle: each node takes what it needs from nodes before it, in whatever order listed."""
    nodes: list[Json] = []
    edges: list[Json] = []
    for number in range(draw(st.integers(1, 9))):
        before = [node["id"] for node in nodes]
        several = st.lists(st.sampled_from(before), min_size=1, max_size=4) if before else st.just([])
        kind = draw(st.sampled_from(["call", "call", "join", "object", "merge"] if before else ["call"]))
        name = f"n{number}/{draw(st.sampled_from(['', '~', 'é']))}"
        if kind == "call":
            bindings = []
            for index, source in enumerate(draw(several) if draw(st.booleans()) else []):
                where = draw(st.sampled_from(["to", "string", "placeholder"]))
                binding = {"from": source, "pointer": draw(st.sampled_from(["", "/v", "/v/1"]))}
                if where == "placeholder":
                    binding["to_placeholder"] = f"p{index}"
                else:
                    binding["to"] = draw(st.sampled_from(["/input/0/text", "/input/-", "/more"]))
                    binding["encoding"] = "json_string" if where == "string" else "json"
                bindings.append(binding)
            marks = " ".join(f"{{{{p{index}}}}}" for index in range(4))
            request = {"model": "m", "input": [{"text": f"{name} {marks}"}]}
            nodes.append({"id": name, "type": "llm.responses", "input": {"request": request, "bindings": bindings}})
            edges += [{"from": each, "to": name} for each in (draw(several) if draw(st.booleans()) else [])]
        elif kind == "join":
            nodes.append({"id": name, "type": "join.all"})
            edges += [{"from": each, "to": name} for each in draw(several)]
        else:
            sources = [{"from": each, "pointer": draw(st.sampled_from(["", "", "/v"]))} for each in draw(several)]
            said: Json = {"merge": sources} if kind == "merge" else {"object": {"v": sources[0], "é/": sources[-1]}}
            nodes.append({"id": name, "type": "transform.json", "input": said})
    conditions = st.sampled_from(
        [
            {"op": "exists", "path": "$.v[1]"},
            {"op": "exists", "path": "$.nothing"},
            {"op": "equals", "path": "$.v[1].asked.model", "value": "m"},
            {"op": "equals", "path": "$.v[1]", "value": {"asked": 1}},
        ]
    )
    for edge in edges:
        if draw(st.integers(0, 3)) == 0:
            edge["when"] = draw(conditions)
    outputs = [{"name": node["id"], "from": node["id"]} for node in nodes]
    parallel = draw(st.integers(1, 4))
    return {
        "kind": "workflow.v0",
        "nodes": draw(st.permutations(nodes)),
        "edges": draw(st.permutations(edges)),
        "outputs": outputs,
        "execution": {"max_parallelism": parallel},
    }


class Wrong(Exception):
    pass


def at(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Wrong from None
    return value


def answer_to(body: Json) -> Json:
    """A model that says what it was asked, so that nothing of a request goes unseen."""
    return {"v": [len(json.dumps(body)), {"asked": body}]}


def naive(spec: Json) -> dict[str, Any]:
    """Every node's output: what it needs is worked out first, one after the other. Skipped ones have none."""
    skipped = object()
    by_id = {node["id"]: node for node in spec["nodes"]}
    done: dict[str, Any] = {}

    def output(name: str) -> Any:
        if name not in done:
            done[name] = skipped if leads_nowhere(by_id[name]) else worked_out(name)
        return done[name]

    def leads_nowhere(node: Json) -> bool:
        said = node.get("input", {})
        sources = [*said.get("bindings", []), *said.get("merge", []), *said.get("object", {}).values()]
        edges = [edge for edge in spec["edges"] if edge["to"] == node["id"]]
        found = [output(each["from"]) is skipped for each in [*sources, *edges]]
        return any(found) or not all(met(edge["when"], output(edge["from"])) for edge in edges if "when" in edge)

    def met(when: Json, value: Any) -> bool:
        try:
            there = at(value, when["path"].removeprefix("$").replace(".", "/").replace("[", "/").replace("]", ""))
        except Wrong:
            return False
        return when["op"] == "exists" or there == when["value"]

    def worked_out(name: str) -> Any:
        node = by_id[name]
        before = [edge["from"] for edge in spec["edges"] if edge["to"] == name]
        for each in before:
            output(each)
        said = node.get("input", {})
        if node["type"] == "join.all":
            result: Any = {each: output(each) for each in before}
        elif "merge" in said:
            result = {}
            for source in said["merge"]:
                part = at(output(source["from"]), source["pointer"])
                if not isinstance(part, dict):
                    raise Wrong
                result = {**result, **part}
        elif "object" in said:
            result = {key: at(output(source["from"]), source["pointer"]) for key, source in said["object"].items()}
        else:
            result = answer_to(filled(said))
        return result

    def filled(said: Json) -> Json:
        body = json.loads(json.dumps(said["request"]))
        marks = {}
        for binding in said["bindings"]:
            value = at(output(binding["from"]), binding["pointer"])
            if "to_placeholder" in binding:
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                marks["{{" + binding["to_placeholder"] + "}}"] = text
        pieces = body["input"][0]["text"].split(" ")
        body["input"][0]["text"] = " ".join(marks.get(piece, piece) for piece in pieces)
        for binding in said["bindings"]:
            value = at(output(binding["from"]), binding["pointer"])
            if binding.get("encoding") == "json_string":
                value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            match binding.get("to"):
                case "/input/0/text":
                    body["input"][0]["text"] = value
                case "/input/-":
                    body["input"].append(value)
                case "/more":
                    body["more"] = value
        return body  # type: ignore[no-any-return]

    for node in spec["nodes"]:
        output(node["id"])
    return {name: value for name, value in done.items() if value is not skipped}


def carried_out(spec: Json, data: st.DataObject) -> tuple[End, int]:
    """The end of a run whose calls are answered in any order, kept and put back in between; and most at once."""
    plan = planned(spec)
    scheduler = Scheduler(plan)
    flying: dict[str, Call] = {}
    called: list[str] = []
    most = 0
    while True:
        for action in scheduler.advance():
            if isinstance(action, End):
                assert not flying
                assert scheduler.advance() == []
                return action, most
            if isinstance(action, Call):
                assert all(scheduler.states[each].status == "succeeded" for each in plan.needs[action.node_id])
                called.append(action.node_id)
                flying[action.node_id] = action
        assert len(called) == len(set(called))
        most = max(most, len(flying))
        node_id = data.draw(st.sampled_from(sorted(flying)))
        scheduler.answered(node_id, answer_to(flying.pop(node_id).body))
        broken = any(state.status == "failed" for state in scheduler.states.values())
        if not broken and data.draw(st.integers(0, 4)) == 0:
            states = msgspec.msgpack.decode(msgspec.msgpack.encode(scheduler.states), type=dict[str, NodeState])
            told = scheduler.advance() if not flying else []
            if not told:
                scheduler = Scheduler(plan, states, scheduler.order)
            for action in told:
                if isinstance(action, End):
                    return action, most
                if isinstance(action, Call):
                    called.append(action.node_id)
                    flying[action.node_id] = action


@settings(max_examples=400)
@given(spec=graphs(), data=st.data())
def test_it_comes_to_what_a_naive_interpreter_does(spec: Json, data: st.DataObject) -> None:
    """Every output alike, however calls overtake each other; and never more of them at once than is said."""
    try:
        expected = naive(spec)
    except Wrong:
        expected = None
    plan, issues = compile_(spec)
    if plan is None:  # only where it surely cannot be done
        assert {issue.code for issue in issues} == {"unknown_binding"}
        assert expected is None or any("when" in edge for edge in spec["edges"])  # which may skip it
        return
    end, most = carried_out(spec, data)
    if expected is None:
        assert end.status == "failed"
        assert end.failure is not None
        assert end.failure.code == "pointer_not_found"
        return
    assert end.status == "succeeded"
    assert end.outputs == expected
    assert most <= spec["execution"]["max_parallelism"]


@settings(max_examples=150)
@given(spec=graphs(), data=st.data(), fails=st.sampled_from(["failed", "refused"]))
def test_after_a_failure_nothing_starts(spec: Json, data: st.DataObject, fails: str) -> None:
    """What is running finishes, and then it is over, once, with the outputs that are there."""
    plan, _ = compile_(spec)
    assume(plan is not None)
    assert plan is not None
    scheduler = Scheduler(plan)
    actions = scheduler.advance()
    flying = [action.node_id for action in actions if isinstance(action, Call)]
    first = flying.pop(0)
    if fails == "failed":
        scheduler.failed(first, Failure("call_failed", "It failed."))
    else:
        scheduler.refused(first)
    while flying:
        assert not any(isinstance(action, Call | End) for action in scheduler.advance())
        scheduler.answered(flying.pop(data.draw(st.integers(0, len(flying) - 1))), {"v": [1, 2]})
    end = scheduler.advance()[-1]
    assert isinstance(end, End)
    assert end.status == ("failed" if fails == "failed" else "budget_exceeded")
    assert first not in end.outputs
    assert scheduler.advance() == []


def test_any_of_several_is_enough() -> None:
    """`join.any` goes on with the first that is there, and the others finish."""
    call = {"type": "llm.responses", "input": {"request": {"model": "m", "input": "x"}}}
    after = {"request": {"model": "m", "input": "{{x}}"}, "bindings": [{"from": "any", "to_placeholder": "x"}]}
    spec = {
        "kind": "workflow.v0",
        "nodes": [{"id": "one", **call}, {"id": "two", **call}, {"id": "any", "type": "join.any"},
                  {"id": "end", "type": "llm.responses", "input": after}],
        "edges": [{"from": "one", "to": "any"}, {"from": "two", "to": "any"}],
        "outputs": [{"name": "any", "from": "any"}],
    }  # fmt: skip
    scheduler = Scheduler(planned(spec))
    assert [action.node_id for action in scheduler.advance() if isinstance(action, Call)] == ["one", "two"]
    scheduler.answered("two", {"v": 2})
    (call_of_end,) = [action for action in scheduler.advance() if isinstance(action, Call)]
    assert (call_of_end.node_id, call_of_end.body["input"]) == ("end", '{"two":{"v":2}}')
    scheduler.answered("end", {})
    assert not any(isinstance(action, End) for action in scheduler.advance())
    scheduler.answered("one", {"v": 1})
    end = scheduler.advance()[-1]
    assert isinstance(end, End)
    assert end.outputs == {"any": {"two": {"v": 2}}}


def test_conditions_choose_a_way() -> None:
    """Of two ways one is skipped, with all that is behind it; `join.any` goes on with the other."""
    call = {"type": "llm.responses", "input": {"request": {"model": "m", "input": "x"}}}
    spec = {
        "kind": "workflow.v0",
        "nodes": [{"id": name, **call} for name in ("ask", "yes", "no", "more")] + [{"id": "any", "type": "join.any"}],
        "edges": [
            {"from": "ask", "to": "yes", "when": {"op": "equals", "path": "$.v", "value": 1}},
            {"from": "ask", "to": "no", "when": {"op": "equals", "path": "$.v", "value": True}},
            {"from": "no", "to": "more"},
            {"from": "yes", "to": "any"},
            {"from": "more", "to": "any"},
        ],
        "outputs": [{"name": name, "from": name} for name in ("any", "more")],
    }
    scheduler = Scheduler(planned(spec))
    scheduler.advance()
    scheduler.answered("ask", {"v": True})
    actions = scheduler.advance()
    assert [action.node_id for action in actions if isinstance(action, Skipped)] == ["yes"]
    scheduler.answered("no", {"v": 2})
    scheduler.advance()
    scheduler.answered("more", {"v": 3})
    end = scheduler.advance()[-1]
    assert isinstance(end, End)
    assert (end.status, end.outputs) == ("succeeded", {"any": {"more": {"v": 3}}, "more": {"v": 3}})
    scheduler = Scheduler(planned(spec))
    scheduler.advance()
    scheduler.answered("ask", {"v": "neither"})
    actions = scheduler.advance()
    assert {action.node_id for action in actions if isinstance(action, Skipped)} == {"yes", "no", "more", "any"}
    end = actions[-1]
    assert isinstance(end, End)
    assert (end.status, end.outputs) == ("succeeded", {})


def test_a_run_waits_only_when_nothing_else_can_be_done() -> None:
    """A node that waits stops nobody else."""
    tools = {"tool_execution": {"mode": "client"}}
    call = {"type": "llm.responses", "input": {"request": {"model": "m", "input": "x"}, **tools}}
    spec = {
        "kind": "workflow.v0",
        "nodes": [{"id": "one", **call}, {"id": "two", **call}],
        "outputs": [{"name": "o", "from": "two"}],
    }
    scheduler = Scheduler(planned(spec))
    scheduler.advance()
    asked = {"output": [{"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"}]}
    scheduler.answered("one", asked)
    assert [type(action) for action in scheduler.advance()] == [Waits]
    scheduler.answered("two", {"v": 1})
    end = scheduler.advance()[-1]
    assert isinstance(end, End)
    assert end.status == "waiting"
