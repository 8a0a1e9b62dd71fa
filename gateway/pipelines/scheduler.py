"""What a run does next: a plan and what has happened go in, actions come out. Pure: no clock, no network, no money.

Promises: a node is called once for each of its steps, after all that it needs; nothing is started after a failure, or
after a call that the budget had no room for, and what is running then may finish; a run ends exactly once. While
nothing has failed, all that it knows is in `states`, `order` and two sums, which can be kept elsewhere and put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from gateway.api.workflow import Failure, JoinAll, JoinAny, LlmNode, Source, Transform
from gateway.bounds import RUN_BOUND_BYTES_MAX, RUN_BYTES_MAX
from gateway.pipelines.bindings import NotBound, bound, bound_bytes, holds, taken, transformed, weight
from gateway.pipelines.compiling import Plan
from providers.contract.tool_use import ToolCall

TOO_LARGE = Failure("run_too_large", f"A run keeps at most {RUN_BYTES_MAX} bytes, and passes on a few times as many.")
Status = Literal["succeeded", "failed", "budget_exceeded", "waiting", "canceled"]


class NodeState(msgspec.Struct, kw_only=True):
    """Where a node is.

    Attributes:
        status: "ready" is a call that goes on with its tools' results; it has been started before.
        body: The last request, of a node that waits for tools; of one that is ready, the next.
        answer: What was answered to the last request, of a node that waits for tools.
        calls: How many calls were made.
    """

    status: Literal["pending", "running", "waiting", "ready", "succeeded", "failed", "refused", "skipped"] = "pending"
    output: Any = None
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    calls: int = 0
    pending: list[ToolCall] = []


class Call(msgspec.Struct, frozen=True):
    """A call is to be made. `step` counts a node's calls from 1."""

    node_id: str
    step: int
    target: str
    body: dict[str, Any]


class Succeeded(msgspec.Struct, frozen=True):
    """A node has its output; `called` if that took a call."""

    node_id: str
    called: bool


class Skipped(msgspec.Struct, frozen=True):
    """A node is not run: a condition does not hold, or what it needs was skipped."""

    node_id: str


class Failed(msgspec.Struct, frozen=True):
    """A node has failed."""

    node_id: str
    failure: Failure


class Waits(msgspec.Struct, frozen=True):
    """A node waits for tools."""

    node_id: str
    step: int
    pending: list[ToolCall]


class End(msgspec.Struct, frozen=True):
    """The run is over, or waits for its client."""

    status: Status
    outputs: dict[str, Any]
    failure: Failure | None = None


Action = Call | Succeeded | Skipped | Failed | Waits | End


class Scheduler:
    """One run's. Tell it what has happened, and carry out what `advance` says."""

    def __init__(
        self,
        plan: Plan,
        states: Mapping[str, NodeState] | None = None,
        order: list[str] | None = None,
        *,
        kept_bytes: int = 0,
        bound_bytes: int = 0,
    ) -> None:
        self._plan = plan
        self.states = dict(states) if states is not None else {node_id: NodeState() for node_id in plan.nodes}
        self.order = list(order or ())  # in which nodes have got their outputs
        self.kept_bytes, self.bound_bytes = kept_bytes, bound_bytes
        self._outcome: Status | None = None
        self._failure: Failure | None = None
        self._ended = False
        self._told: list[Action] = []

    # ---- what has happened

    def answered(self, node_id: str, answer: Any, size: int = 0) -> None:
        """A call was answered with this, of so many bytes: a node's output, unless its model asks for tools."""
        self.kept_bytes += size
        if self.kept_bytes > RUN_BYTES_MAX:
            self.failed(node_id, TOO_LARGE)
            return
        state, node, request = self.states[node_id], self._plan.nodes[node_id], self._plan.requests[node_id]
        assert isinstance(node, LlmNode)  # noqa: S101 - others make no calls
        pending = request.tool_use.pending(answer) if request.tool_use and isinstance(answer, dict) else []
        limits = node.input.tool_limits
        if not pending:
            self._succeed(node_id, answer, called=True)
        elif not isinstance(node.input.tool_execution, msgspec.Struct) or node.input.tool_execution.mode == "server":
            message = "The model asks for a tool of yours: that needs tool_execution {mode: client}."
            self.failed(node_id, Failure("tool_needs_client", message))
        elif len(pending) > limits.max_tool_calls_per_step:
            message = f"The model asks for {len(pending)} tools at once; max_tool_calls_per_step is fewer."
            self.failed(node_id, Failure("too_many_tool_calls", message))
        elif len({each.tool_call_id for each in pending}) != len(pending):
            self.failed(node_id, Failure("ambiguous_tool_calls", "Two tool calls have the same id."))
        elif state.calls >= limits.max_llm_calls:
            message = f"The model asks for tools after {state.calls} calls, which is max_llm_calls."
            self.failed(node_id, Failure("too_many_llm_calls", message))
        else:
            state.status, state.answer, state.pending = "waiting", answer, pending
            self._told.append(Waits(node_id, state.calls, pending))

    def failed(self, node_id: str, failure: Failure) -> None:
        """A node's call came to nothing."""
        self.states[node_id].status = "failed"
        self._told.append(Failed(node_id, failure))
        self.stop("failed", failure)

    def refused(self, node_id: str) -> None:
        """The run's budget has no room for a node's call, which was not made."""
        self.states[node_id].status = "refused"
        self.stop("budget_exceeded")

    def stop(self, status: Status, failure: Failure | None = None) -> None:
        """Start nothing more; the first reason stands."""
        if self._outcome is None:
            self._outcome, self._failure = status, failure

    def resumed(self, node_id: str, results: Mapping[str, str]) -> None:
        """The client has run a node's tools: their results by id, as text."""
        state, tool_use = self.states[node_id], self._plan.requests[node_id].tool_use
        assert tool_use and state.body is not None and state.answer is not None  # noqa: S101 - so it came to wait
        state.body = tool_use.went_on(state.body, state.answer, results)
        state.status, state.answer, state.pending = "ready", None, []

    # ---- what is to be done

    def advance(self) -> list[Action]:
        """What is to be done now; nothing where the run waits for its calls, or is over."""
        if self._ended:
            return []
        while self._outcome is None and (self._skip() or self._make()):
            pass
        actions = self._told
        self._told = []
        if self._outcome is None:
            actions += self._calls()
            actions += self._told  # what could not be called
            self._told = []
        if not self._running():
            actions.append(self._end())
        return actions

    def abandoned(self, status: Status, failure: Failure | None = None) -> End:
        """End it now, whatever is running."""
        self._ended = True
        return End(status, self._outputs(), failure)

    @property
    def waiting(self) -> list[str]:
        """The nodes that wait for tools."""
        return [node_id for node_id, state in self.states.items() if state.status == "waiting"]

    def _running(self) -> int:
        return sum(state.status == "running" for state in self.states.values())

    def _verdict(self, node_id: str) -> bool | None:
        """Whether a pending node is due (True), never will be (False), or nobody knows yet."""
        verdicts = [self._leads_on(each, node_id) for each in self._plan.needs[node_id]]
        if isinstance(self._plan.nodes[node_id], JoinAny):
            return True if True in verdicts else None if None in verdicts else False
        return False if False in verdicts else None if None in verdicts else True

    def _leads_on(self, needed: str, node_id: str) -> bool | None:
        """Whether a node that another needs is there, and all conditions between them hold."""
        state = self.states[needed]
        if state.status != "succeeded":
            return False if state.status == "skipped" else None
        conditions = self._plan.conditions.get(node_id, {}).get(needed, ())
        return all(holds(each, state.output) for each in conditions)

    def _is_due(self, node_id: str) -> bool:
        state = self.states[node_id]
        return state.status == "ready" or (state.status == "pending" and self._verdict(node_id) is True)

    def _skip(self) -> bool:
        """Skip the next node that never will be due; whether there was one."""
        for node_id, state in self.states.items():
            if state.status == "pending" and self._verdict(node_id) is False:
                state.status = "skipped"
                self._told.append(Skipped(node_id))
                return True
        return False

    def _make(self) -> bool:
        """Make the output of the next node that needs no call; whether there was one, and it did not fail."""
        for node_id, node in self._plan.nodes.items():
            if isinstance(node, LlmNode) or not self._is_due(node_id):
                continue
            try:
                made = self._made(node)
            except NotBound as unbound:
                self.failed(node_id, Failure("pointer_not_found", str(unbound)))
                return False
            self.kept_bytes += weight(made, RUN_BYTES_MAX)
            if self.kept_bytes > RUN_BYTES_MAX:
                self.failed(node_id, TOO_LARGE)
                return False
            self._succeed(node_id, made, called=False)
            return True
        return False

    def _made(self, node: JoinAll | JoinAny | Transform) -> Any:
        if isinstance(node, Transform):
            return transformed(node.input, self._results())
        needed = self._plan.needs[node.id]
        if isinstance(node, JoinAny):
            needed = (next(each for each in self.order if each in needed and self._leads_on(each, node.id)),)
        return {each: self.states[each].output for each in needed}

    def _calls(self) -> Iterator[Call]:
        """The calls that are due, as many as may run at the same time."""
        room = self._plan.workflow.execution.max_parallelism - self._running()
        for node_id, node in self._plan.nodes.items():
            if room <= 0 or self._outcome is not None:
                return
            if not isinstance(node, LlmNode) or not self._is_due(node_id):
                continue
            state, request = self.states[node_id], self._plan.requests[node_id]
            if state.status == "pending":
                results = self._results()
                try:
                    self.bound_bytes += bound_bytes(request.body, node.input.bindings, results, RUN_BOUND_BYTES_MAX)
                    if self.bound_bytes > RUN_BOUND_BYTES_MAX:
                        self.failed(node_id, TOO_LARGE)
                        return
                    state.body = bound(request.body, node.input.bindings, results)
                except NotBound as unbound:
                    self.failed(node_id, Failure("pointer_not_found", str(unbound)))
                    return
            assert state.body is not None  # noqa: S101 - made above, or of a call that went on
            state.status = "running"
            state.calls += 1
            room -= 1
            yield Call(node_id, state.calls, request.target, state.body)

    def _succeed(self, node_id: str, output: Any, *, called: bool) -> None:
        state = self.states[node_id]
        state.status, state.output, state.body = "succeeded", output, None
        self.order.append(node_id)
        self._told.append(Succeeded(node_id, called))

    def _results(self) -> dict[str, Any]:
        return {node_id: state.output for node_id, state in self.states.items() if state.status == "succeeded"}

    def _outputs(self) -> dict[str, Any]:
        """The run's outputs as far as they are there."""
        found: dict[str, Any] = {}
        results, room = self._results(), RUN_BOUND_BYTES_MAX
        for output in self._plan.workflow.outputs:
            if output.from_ in results:
                try:
                    value = taken(results, Source(from_=output.from_, pointer=output.pointer))
                except NotBound as missing:
                    self.stop("failed", Failure("pointer_not_found", f"The output {output.name!r}: {missing}"))
                    continue
                room -= weight(value, room)
                if room < 0:
                    self.stop("failed", TOO_LARGE)
                    break
                found[output.name] = value
        return found

    def _end(self) -> End:
        self._ended = True
        if self._outcome is None and self.waiting:
            return End("waiting", {})
        outputs = self._outputs()
        return End(self._outcome or "succeeded", outputs, self._failure)
