"""`/v1/pipelines`: checks, runs and cancels pipelines.

A run answers as it goes, with a JSON object a line, or once it is over, with the last of them; who leaves cancels it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.endpoint import Call, json_response
from gateway.api.workflow import Issue, Resumption, Workflow
from gateway.bounds import API_BODY_BYTES_MAX, RUN_BODY_BYTES_MAX, WRITE_TIMEOUT_S
from gateway.call.options import read_options
from gateway.pipelines import spec
from gateway.pipelines.calling import PASSED_ON
from gateway.pipelines.compiling import Plan, compiled
from gateway.pipelines.estimating import Quoted, estimated
from gateway.pipelines.live import LiveRuns
from gateway.pipelines.runner import Kept, Means, Run
from gateway.pipelines.spec import Unreadable
from gateway.problems import CallError
from keys.ids import new_id
from keys.limits import Invalid
from ledger.money import is_plain_decimal, usd_to_micros
from providers.contract.tool_use import text

NDJSON = "application/x-ndjson"


class Pipelines(msgspec.Struct, frozen=True):
    """What the endpoints work with; one for the process, in the application's state."""

    means: Means
    live: LiveRuns
    quoted: Quoted


def of(call: Call) -> Pipelines:
    """Those of the application that the call came to."""
    return call.request.app.state.pipelines  # type: ignore[no-any-return]


async def check(call: Call) -> Response:
    """POST /v1/pipelines/check: what is wrong with a specification, and what it may cost. Nothing is run."""
    call.parameters()
    try:
        body = await call.raw_body()
        tree = spec.tree_of(body)
        workflow = spec.read(body, Workflow, tree)
        budget_of(workflow, tree)
    except Unreadable as unreadable:
        return _checked([unreadable.issue], None)
    except Invalid as invalid:
        return _checked([Issue("invalid_spec", f"/{invalid.param.replace('.', '/')}", f"{invalid.message}.")], None)
    plan, issues = compiled(workflow)
    if plan is None:
        return _checked(issues, None)
    headers = _headers(call)
    max_cost_micros, issues = await estimated(plan, call.secret, headers, of(call).quoted)
    return _checked(issues, max_cost_micros)


def _checked(issues: list[Issue], max_cost_micros: int | None) -> Response:
    return json_response({"object": "pipeline_check", "issues": issues, "max_cost_micros": max_cost_micros})


async def run(call: Call) -> Response:
    """POST /v1/pipelines/runs: run a pipeline, or go on with one that waited for its client's tools."""
    call.parameters()
    pipelines = of(call)
    headers = _headers(call)
    body = await call.raw_body(RUN_BODY_BYTES_MAX)
    tree = _said(lambda: spec.tree_of(body))
    goes_on = isinstance(tree, dict) and "continuation" in tree
    pipelines.live.check_room(call.key.account_id)
    if goes_on:
        made = await _gone_on(call, body, tree, headers)
    else:
        made = await _new(call, body, tree, headers)
    pipelines.live.start(made)
    lines = NDJSON in call.request.headers.get("accept", "").lower()
    return RunResponse(made, lines=lines)


async def cancel(call: Call) -> Response:
    """DELETE /v1/pipelines/runs/:id: end a run, here or on another gateway, or one that waits for its client."""
    call.parameters()
    run_id = call.request.path_params["id"]
    pipelines = of(call)
    ledger = pipelines.means.ledger
    await ledger.runs.close(call.key.account_id, run_id)
    await pipelines.live.cancel(run_id)
    cost_micros = await ledger.runs.spent_micros(run_id)
    return json_response({"id": run_id, "object": "pipeline_run", "status": "canceled", "cost_micros": cost_micros})


async def _new(call: Call, body: bytes, tree: Any, headers: dict[str, str]) -> Run:
    """A new run, which is opened. Raises CallError and what the ledger raises."""
    if len(body) > API_BODY_BYTES_MAX:
        raise CallError(413, "request_too_large", f"A specification has at most {API_BODY_BYTES_MAX} bytes.")
    workflow = _said(lambda: spec.read(body, Workflow, tree))
    plan = _planned(workflow)
    options = read_options(_all_headers(call), livemode=call.key.livemode)
    if options.run is not None:
        raise CallError(400, "invalid_request", "A pipeline's run has an id of its own.", param="x-farthing-run-id")
    budgets = [each for each in (budget_of(workflow, tree), options.call_cap_micros) if each is not None]
    pipelines, now_ms = of(call), call.services.clock_ms()
    run_id, is_replay = await pipelines.means.ledger.runs.open(
        call.key.account_id,
        new_id("run", now_ms),
        new_id("lim", now_ms),
        min(budgets, default=None),
        await call.origin(),
    )
    if is_replay:
        message = f"The request with this Idempotency-Key was made: {run_id}. A run's answer is not kept."
        raise CallError(409, "run_not_kept", message, retry=False, param="Idempotency-Key")
    kept = Kept(run_id=run_id, spec=body, headers=headers, left_ms=workflow.execution.run_timeout_ms)
    return Run(pipelines.means, call.key, call.secret, plan, kept)


async def _gone_on(call: Call, body: bytes, tree: Any, headers: dict[str, str]) -> Run:
    """A run that waited, with the results of its tools; then its continuation is used. Raises CallError."""
    asked: Resumption = _said(lambda: spec.read(body, Resumption, tree))
    pipelines = of(call)
    kept = await asyncio.to_thread(pipelines.means.sealer.open, asked.continuation, call.key.public_id, Kept)
    if kept is None:
        message = "This is no continuation that this key was given here."
        raise CallError(400, "invalid_continuation", message, param="continuation")
    if kept.expires_ms <= call.services.clock_ms():
        raise CallError(400, "continuation_expired", "The run waited no longer.", param="continuation")
    for name, value in headers.items():
        if kept.headers.get(name) != value:
            raise CallError(400, "invalid_request", f"The run was begun with another {name}.", param=name)
    workflow: Workflow = spec.read(kept.spec, Workflow, spec.tree_of(kept.spec))
    going_on = Run(pipelines.means, call.key, call.secret, _planned(workflow), kept)
    for node_id, results in _results(asked, going_on).items():
        going_on.scheduler.resumed(node_id, results)
    # Last: what is refused for any other reason can be sent again.
    if not await pipelines.means.ledger.runs.resume(call.key.account_id, kept.run_id, kept.number):
        message = "This continuation has been used, or its run was canceled."
        raise CallError(409, "continuation_used", message, retry=False, param="continuation")
    return going_on


def _results(asked: Resumption, going_on: Run) -> dict[str, dict[str, str]]:
    """The results by node and call: one of every tool that the run waits for, and no other. Raises CallError."""
    states = going_on.scheduler.states
    waits = {
        (node_id, each.tool_call_id): each.name
        for node_id in going_on.scheduler.waiting
        for each in states[node_id].pending
    }
    found: dict[str, dict[str, str]] = {}
    for number, result in enumerate(asked.tool_results):
        at = f"tool_results[{number}]"
        name = waits.pop((result.node_id, result.tool_call_id), None)
        if name is None:
            message = f"{at}: the run waits for no such tool call, or it is answered twice."
            raise CallError(400, "invalid_request", message, param=f"{at}.tool_call_id")
        if isinstance(result.name, str) and result.name != name:
            raise CallError(400, "invalid_request", f"{at}: that tool is {name!r}.", param=f"{at}.name")
        found.setdefault(result.node_id, {})[result.tool_call_id] = text(result.output)
    if waits:
        node_id, call_id = next(iter(waits))
        message = f"There is no result of the tool call {call_id!r} of the node {node_id!r}."
        raise CallError(400, "invalid_request", message, param="tool_results")
    return found


def budget_of(workflow: Workflow, tree: Any) -> int | None:
    """What a run may cost in all, in micros; None for no bound of its own. Raises Invalid."""
    usd, micros = workflow.execution.max_cost_usd, workflow.execution.max_cost_micros
    if usd is None:
        return micros
    try:
        if isinstance(said := tree["execution"]["max_cost_usd"], str) and not is_plain_decimal(said):
            raise ValueError("must be a plain decimal, such as '0.25'")
        found = usd_to_micros(usd)
    except ValueError as error:
        raise Invalid("execution.max_cost_usd", f"max_cost_usd {error}") from None
    if micros is not None and micros != found:
        raise Invalid("execution.max_cost_micros", "max_cost_usd and max_cost_micros say different amounts")
    return found


def _planned(workflow: Workflow) -> Plan:
    """The plan of a specification. Raises CallError: it has an issue, the first of which is told, with its place."""
    plan, issues = compiled(workflow)
    if plan is None:
        raise _refused(issues[0])
    return plan


def _said(read: Any) -> Any:
    try:
        return read()
    except Unreadable as unreadable:
        raise _refused(unreadable.issue) from None


def _refused(issue: Issue) -> CallError:
    message = f"{issue.path or 'The body'}: {issue.code}: {issue.message}"
    return CallError(400, "invalid_request", message, param=issue.path or None)


def _all_headers(call: Call) -> dict[str, str]:
    return {name.lower(): value for name, value in call.request.headers.items()}


def _headers(call: Call) -> dict[str, str]:
    """The request's headers that hold for the run's calls. Raises CallError: one of them is not what it must be."""
    said = _all_headers(call)
    for name in PASSED_ON:
        if len(call.request.headers.getlist(name)) > 1:
            raise CallError(400, "invalid_request", f"The header {name} stands in the request twice.", param=name)
    read_options(said, livemode=call.key.livemode)
    return {name: said[name] for name in PASSED_ON if name in said}


class RunResponse(Response):
    """Answers with a run's events while it runs, or with its last one; a client that leaves ends it."""

    def __init__(self, made: Run, *, lines: bool) -> None:
        super().__init__(media_type=NDJSON if lines else "application/json")
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self.headers["x-farthing-run-id"] = made.id
        if lines:
            self.headers["x-accel-buffering"] = "no"
        self._run = made
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        watching = asyncio.create_task(self._watch(receive))
        try:
            if self._lines:
                await self._start(send)
            while (event := await self._run.events.get()) is not None:
                if self._lines:
                    await self._send(send, msgspec.json.encode(event) + b"\n", more=True)
            if self._lines:
                await self._send(send, b"", more=False)
            else:
                await self._start(send)
                await self._send(send, msgspec.json.encode(self._run.last), more=False)
        except TimeoutError:
            pass  # the client takes nothing: as if he had left
        finally:
            self._run.cancel()
            watching.cancel()

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _send(self, send: Send, content: bytes, *, more: bool) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await send({"type": "http.response.body", "body": content, "more_body": more})

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._run.cancel()
