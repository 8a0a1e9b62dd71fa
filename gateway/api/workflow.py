"""What a client writes to have a pipeline run, and what a run answers with, as types.

It is `workflow.v0` as it was published, and what is added to it: `{path, body}` as a node's request, a budget, a
binding's `to_placeholder`, and `join.any`. Knows nothing of what the calls mean.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.bounds import RUN_NODES_MAX, RUN_PARALLEL_MAX, RUN_TIMEOUT_MS_MAX
from keys.requests import Micros

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Pointer = Annotated[str, Meta(pattern=r"^(/.*)?$", max_length=1024)]
Target = Annotated[str, Meta(pattern=r"^/.*$", max_length=1024)]
Placeholder = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
Milliseconds = Annotated[int, Meta(ge=1, le=RUN_TIMEOUT_MS_MAX)]
Few = Annotated[int, Meta(ge=1, le=64)]
WAIT_TTL_MS, WAIT_TTL_MS_MAX = 900_000, 86_400_000


class _Said(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a specification: a field that is not known is refused by name."""


class When(_Said, frozen=True):
    """A condition: what stands in a node's output at a path (`$.name[0]`) is there, or is this very value."""

    op: Literal["equals", "exists"]
    path: Annotated[str, Meta(pattern=r"^\$", max_length=1024)] = "$"
    value: Any = None
    source: Literal["node_output"] = "node_output"


class Edge(_Said, frozen=True):
    """One node comes after another; with `when`, only if the condition holds of what the first puts out."""

    from_: Id = msgspec.field(name="from")
    to: Id
    when: When | UnsetType = UNSET


class Source(_Said, frozen=True):
    """What a node has put out, or a part of it."""

    from_: Id = msgspec.field(name="from")
    pointer: Pointer = ""


class Binding(_Said, frozen=True):
    """A node's output, or a part of it, goes into a request: to a place in it, or wherever `{{name}}` stands in it.

    `encoding`: as it is ("json"), or as JSON text ("json_string"). For a placeholder a text is put in as it is.
    """

    from_: Id = msgspec.field(name="from")
    pointer: Pointer = ""
    to: Target | UnsetType = UNSET
    to_placeholder: Placeholder | UnsetType = UNSET
    encoding: Literal["json", "json_string"] = "json"


class ToolExecution(_Said, frozen=True):
    """Who runs the tools that a model asks for: the provider ("server"), or the client, for whom the run waits."""

    mode: Literal["server", "client"]


class ToolLimits(_Said, frozen=True):
    """How often a node may call its model, how many tools one answer may ask for, and how long the run waits."""

    max_llm_calls: Few = 8
    max_tool_calls_per_step: Few = 16
    wait_ttl_ms: Annotated[int, Meta(ge=1, le=WAIT_TTL_MS_MAX)] = WAIT_TTL_MS


class LlmInput(_Said, frozen=True):
    """A call: the body of a `/v1/responses` request, or `{path, body}` of any inference route."""

    request: dict[str, Any]
    stream: bool = False
    bindings: Annotated[list[Binding], Meta(max_length=100)] = []
    tool_execution: ToolExecution | UnsetType = UNSET
    tool_limits: ToolLimits = ToolLimits()


class TransformInput(_Said, frozen=True):
    """An object of parts of outputs, or outputs merged into one object: exactly one of the two."""

    object: Annotated[dict[str, Source], Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    merge: Annotated[list[Source], Meta(min_length=1, max_length=100)] | UnsetType = UNSET


class Nothing(_Said, frozen=True):
    """A join needs no input."""


class LlmNode(_Said, frozen=True, tag_field="type", tag="llm.responses"):
    """A node that calls a model."""

    id: Id
    input: LlmInput


class JoinAll(_Said, frozen=True, tag_field="type", tag="join.all"):
    """A node that waits for all its edges; it puts out `{node_id: output}`."""

    id: Id
    input: Nothing = Nothing()


class JoinAny(_Said, frozen=True, tag_field="type", tag="join.any"):
    """A node that waits for the first of its edges; it puts out `{node_id: output}`."""

    id: Id
    input: Nothing = Nothing()


class Transform(_Said, frozen=True, tag_field="type", tag="transform.json"):
    """A node that arranges outputs anew."""

    id: Id
    input: TransformInput


Node = LlmNode | JoinAll | JoinAny | Transform


class Output(_Said, frozen=True):
    """A part of the run's result, by name."""

    name: Id
    from_: Id = msgspec.field(name="from")
    pointer: Pointer = ""


class Execution(_Said, frozen=True):
    """Within which bounds a run stays. `max_cost_usd` is its budget: what all its calls may cost together."""

    max_parallelism: Annotated[int, Meta(ge=1, le=RUN_PARALLEL_MAX)] = RUN_PARALLEL_MAX
    node_timeout_ms: Milliseconds = 900_000
    run_timeout_ms: Milliseconds = 1_800_000
    max_cost_usd: Decimal | None = None
    max_cost_micros: Micros | None = None


class Workflow(_Said, frozen=True):
    """A pipeline to run."""

    kind: Literal["workflow.v0"]
    nodes: Annotated[list[Node], Meta(min_length=1, max_length=RUN_NODES_MAX)]
    outputs: Annotated[list[Output], Meta(min_length=1, max_length=100)]
    name: Annotated[str, Meta(max_length=200)] = ""
    edges: Annotated[list[Edge], Meta(max_length=1000)] = []
    execution: Execution = Execution()


class ToolResult(_Said, frozen=True):
    """What a tool gave that the client has run: a text, or JSON."""

    node_id: Id
    tool_call_id: Annotated[str, Meta(max_length=512)]
    output: Any
    name: Annotated[str, Meta(max_length=512)] | UnsetType = UNSET


class Resumption(_Said, frozen=True):
    """A run that goes on where it waited for the client's tools."""

    continuation: str
    tool_results: Annotated[list[ToolResult], Meta(max_length=64 * 64)]


class Issue(msgspec.Struct, frozen=True):
    """Why a specification cannot be run as it is. `path` is a JSON pointer into it."""

    code: str
    path: str
    message: str


class PipelineCheck(msgspec.Struct, kw_only=True):
    """What is wrong with a specification, and what its calls may cost at most together; null where one is refused."""

    object: Literal["pipeline_check"]
    issues: list[Issue]
    max_cost_micros: int | None


class LineItem(msgspec.Struct, kw_only=True):
    """What a run's calls of one model came to."""

    provider: str
    model: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0


class Failure(msgspec.Struct, frozen=True):
    """Why a node, and with it its run, has failed. `status` and `body` are what its call was answered with."""

    code: str
    message: str
    status: int | None = None
    body: Any = None


class PipelineRun(msgspec.Struct, kw_only=True):
    """The last event of a run. `cost_micros` is the sum of its calls' events; null where the ledger does not answer."""

    run_id: str
    seq: int
    ts_ms: int
    type: Literal["run_completed", "run_failed", "run_canceled", "run_waiting"]
    status: Literal["succeeded", "budget_exceeded", "failed", "canceled", "waiting"]
    cost_micros: int | None
    outputs: dict[str, Any] | UnsetType = UNSET
    line_items: list[LineItem] | UnsetType = UNSET
    error: Failure | UnsetType = UNSET
    refused: dict[str, Any] | UnsetType = UNSET
    calls_in_flight: int | UnsetType = UNSET
    continuation: str | UnsetType = UNSET
    expires_at_ms: int | UnsetType = UNSET


class CanceledRun(msgspec.Struct, kw_only=True):
    """A run that was canceled, and what it has cost."""

    id: str
    object: Literal["pipeline_run"]
    status: Literal["canceled"]
    cost_micros: int
