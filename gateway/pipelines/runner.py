"""One run: carries out what its scheduler says, tells its client what happens, and is gone when it ends.

Promises: what a run is told to have cost is the sum of its calls' events; a node that its budget has no room for is not
started; whoever ends a run early leaves its calls as a client leaves, so they land and are billed. Nothing of what is
asked or answered is written anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from gateway.api.workflow import Failure, LineItem, LlmNode
from gateway.bounds import CONTINUATION_BYTES_MAX, RUN_CHARGE_S, RUN_LAND_S
from gateway.call.attempt import attempt_of, request_of
from gateway.pipelines.calling import Answer, Inference, NodeCall
from gateway.pipelines.compiling import Plan
from gateway.pipelines.scheduler import TOO_LARGE, Call, End, Failed, NodeState, Scheduler, Skipped, Succeeded, Waits
from gateway.pipelines.sealing import Sealer
from gateway.problems import CallError
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.records import LedgerUnavailable
from ledger.runs import Charge
from ledger.views import NotFound

_log = logging.getLogger("farthing.pipelines")

_INTERNAL = Failure("internal_error", "Something went wrong here.")
AGAIN_S = 0.2  # between two times that a ledger which does not answer is asked
_LAST = {
    "succeeded": "run_completed",
    "budget_exceeded": "run_completed",
    "failed": "run_failed",
    "canceled": "run_canceled",
    "waiting": "run_waiting",
}


class Kept(msgspec.Struct, kw_only=True):
    """A run as it goes on: what is sealed of it while it waits for its client.

    Attributes:
        number: With which it goes on, once; see `ledger.runs`.
        spec: The specification, as it was sent.
        headers: Those that hold for its calls.
        left_ms: What is left of its own time.
        kept_bytes: Of its nodes' outputs.
        bound_bytes: Of what went from them into requests.
    """

    run_id: str
    spec: bytes
    headers: dict[str, str]
    left_ms: int
    states: dict[str, NodeState] | None = None
    order: list[str] = []
    seq: int = 0
    number: int = 0
    expires_ms: int = 0
    kept_bytes: int = 0
    bound_bytes: int = 0
    items: list[LineItem] = []


class Means(msgspec.Struct, frozen=True):
    """What runs are made with. `spawn` keeps a call's task until it has landed."""

    ledger: Ledger
    inference: Inference
    sealer: Sealer
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Run:
    """One run. `events` ends with None."""

    def __init__(self, means: Means, key: Key, secret: str, plan: Plan, kept: Kept) -> None:
        self.id = kept.run_id
        self.key = key
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.over = asyncio.Event()
        self.last: dict[str, Any] = {}
        self.scheduler = Scheduler(
            plan, kept.states, kept.order, kept_bytes=kept.kept_bytes, bound_bytes=kept.bound_bytes
        )
        self._means = means
        self._secret = secret
        self._plan = plan
        self._kept = kept
        self._canceled = asyncio.Event()
        self._nodes: set[asyncio.Task[None]] = set()
        self._calls: dict[NodeCall, asyncio.Task[None]] = {}
        self._refused: dict[str, Any] | None = None
        self._fault: Exception | None = None

    def cancel(self) -> None:
        """End it now."""
        self._canceled.set()

    async def drive(self) -> None:
        """Run it to its end, or until it waits for its client."""
        now = asyncio.get_running_loop().time
        began = now()
        try:
            if self._kept.seq == 0:
                execution = self._plan.workflow.execution
                self._emit("run_started", name=self._plan.workflow.name, max_parallelism=execution.max_parallelism)
            else:
                self._emit("run_resumed")
            try:
                async with asyncio.timeout(self._kept.left_ms / 1000):
                    end = await self._carry_out()
            except TimeoutError:
                failure = Failure("run_timeout", "The run took longer than run_timeout_ms.")
                end = self.scheduler.abandoned("failed", failure)
            except Exception:  # noqa: BLE001 - whatever went wrong, the run must end, and its client learn of it
                _log.exception("unexpected error", extra={"run_id": self.id})
                end = self.scheduler.abandoned("failed", _INTERNAL)
            self._kept.left_ms -= min(int((now() - began) * 1000), self._kept.left_ms - 1)
            await self._leave()
            await self._finish(end)
        finally:
            for call in self._calls:
                call.leave()
            for task in self._nodes:
                task.cancel()
            self.over.set()
            self.events.put_nowait(None)

    async def _carry_out(self) -> End:
        canceled = asyncio.ensure_future(self._canceled.wait())
        try:
            while True:
                for action in self.scheduler.advance():
                    match action:
                        case Call():
                            task = asyncio.create_task(self._called(action))
                            self._nodes.add(task)
                            task.add_done_callback(self._nodes.discard)
                        case Succeeded(node_id=node_id, called=called):
                            if not called:
                                self._emit("node_started", node_id=node_id)
                            self._emit("node_succeeded", node_id=node_id)
                        case Skipped(node_id=node_id):
                            self._emit("node_skipped", node_id=node_id)
                        case Failed(node_id=node_id, failure=failure):
                            self._emit("node_failed", node_id=node_id, error=failure)
                        case Waits(node_id=node_id, step=step, pending=pending):
                            waiting = {"step": step, "pending_tool_calls": pending}
                            self._emit("node_waiting", node_id=node_id, waiting=waiting)
                        case End():
                            return action
                if self._fault is not None:
                    raise self._fault
                if self._canceled.is_set():
                    return self.scheduler.abandoned("canceled")
                await asyncio.wait({*self._nodes, canceled}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            canceled.cancel()

    async def _leave(self) -> None:
        """Leave the calls that are running: they land by themselves, those that are soon over before this returns."""
        for call in self._calls:
            call.leave()
        if self._nodes:
            await asyncio.wait(set(self._nodes), timeout=RUN_LAND_S)

    # ---- one node

    async def _called(self, action: Call) -> None:
        try:
            await self._call(action)
        except Exception as error:  # noqa: BLE001 - it is told where the run is carried out
            self._fault = error
            self.cancel()

    async def _call(self, action: Call) -> None:
        """Make one call of a node, and tell the scheduler how it went."""

        def admitted() -> None:
            if action.step == 1:
                self._emit("node_started", node_id=action.node_id)

        call = NodeCall(admitted)
        headers = self._kept.headers | {"x-farthing-run-id": self.id}
        body = msgspec.json.encode(action.body)
        task = self._means.spawn(call.make(self._means.inference, self._secret, action.target, body, headers))
        self._calls[call] = task
        try:
            done, _ = await asyncio.wait({task}, timeout=self._plan.workflow.execution.node_timeout_ms / 1000)
        finally:
            self._calls.pop(call, None)
            if not task.done():
                call.leave()
        if not done:
            await asyncio.wait({task}, timeout=RUN_LAND_S)
        for call_id in call.attempts if task.done() else ():
            await self._charge(action, call_id)
        if not done:
            message = "The call took longer than node_timeout_ms."
            self.scheduler.failed(action.node_id, Failure("node_timeout", message))
            return
        self._conclude(action.node_id, call)

    def _conclude(self, node_id: str, call: NodeCall) -> None:
        error, answer = call.error, call.answer()
        if isinstance(error, CallError):
            farthing = error.farthing or {}
            if farthing.get("cap") == "run" and farthing.get("unit") == "micros":
                self._refused = {"node_id": node_id} | farthing
                self.scheduler.refused(node_id)
                return
            failure = Failure(error.code, error.message, status=error.status, body=answer.output)
            self.scheduler.failed(node_id, failure)
        elif answer.too_large:
            self.scheduler.failed(node_id, TOO_LARGE)
        elif 200 <= answer.status < 300:
            self.scheduler.answered(node_id, answer.output, answer.size)
        else:
            self.scheduler.failed(node_id, _failure_of(answer))

    async def _charge(self, action: Call, call_id: str) -> None:
        """Tell what an attempt at a call came to, as its event has it."""
        found: Charge | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RUN_CHARGE_S):
                while True:
                    try:
                        found = await self._means.ledger.runs.charge(call_id)
                        break
                    except LedgerUnavailable:
                        await asyncio.sleep(AGAIN_S)
        told: dict[str, Any] = {"cost_micros": None, "usage": {}}
        if found is not None:
            self._count(found)
            told = found._asdict()
        made = {"request_id": f"req_{request_of(call_id)}", "attempt": attempt_of(call_id)}
        self._emit("node_llm_call", node_id=action.node_id, step=action.step, **made, **told)

    def _count(self, charge: Charge) -> None:
        items = self._kept.items
        item = next((each for each in items if (each.provider, each.model) == charge[:2]), None)
        if item is None:
            item = LineItem(provider=charge.provider, model=charge.model)
            items.append(item)
        item.requests += 1
        item.cost_micros += charge.cost_micros
        for name in ("input_tokens", "output_tokens"):
            count = charge.usage.get(name, 0)
            setattr(item, name, getattr(item, name) + (count if isinstance(count, int) else 0))

    # ---- the end

    async def _finish(self, end: End) -> None:
        if end.status == "waiting" and (continuation := await self._sealed()):
            self._end(end, await self._spent(), continuation=continuation, expires_at_ms=self._kept.expires_ms)
            return
        if end.status == "waiting":
            if self._canceled.is_set():
                end = End("canceled", end.outputs)
            else:
                message = "What the run has kept is too large to be given to its client, or the ledger does not answer."
                end = End("failed", end.outputs, Failure("continuation_failed", message))
        with contextlib.suppress(LedgerUnavailable, NotFound):
            await self._means.ledger.runs.close(self.key.account_id, self.id)
        more: dict[str, Any] = {"outputs": end.outputs}
        if end.failure is not None:
            more["error"] = end.failure
        if self._refused is not None and end.status == "budget_exceeded":
            more["refused"] = self._refused
        if self._nodes:
            more["calls_in_flight"] = len(self._nodes)
        self._end(end, await self._spent(), **more, line_items=self._kept.items)

    def _end(self, end: End, cost_micros: int | None, **more: Any) -> None:
        self._emit(_LAST[end.status], status=end.status, cost_micros=cost_micros, **more)

    async def _sealed(self) -> str:
        """The run, sealed for its client; "" where it cannot be, or it was canceled meanwhile."""
        ledger, kept = self._means.ledger, self._kept
        waits = [self._plan.nodes[node_id] for node_id in self.scheduler.waiting]
        ttl_ms = min(node.input.tool_limits.wait_ttl_ms for node in waits if isinstance(node, LlmNode))
        try:
            number = await ledger.runs.pause(self.key.account_id, self.id)
        except LedgerUnavailable:
            return ""
        if number is None:
            self._canceled.set()
            return ""
        kept.number, kept.expires_ms = number, ledger.clock_ms() + ttl_ms
        kept.states, kept.order = self.scheduler.states, self.scheduler.order
        kept.kept_bytes, kept.bound_bytes = self.scheduler.kept_bytes, self.scheduler.bound_bytes
        sealed = msgspec.structs.replace(kept, seq=kept.seq + 1)  # with the event that carries it
        # In a thread: it may be some megabytes, and packing and sealing leave the interpreter to others.
        continuation = await asyncio.to_thread(self._means.sealer.seal, sealed, self.key.public_id)
        return continuation if len(continuation) <= CONTINUATION_BYTES_MAX else ""

    async def _spent(self) -> int | None:
        """What the run has cost, as the ledger has it; None where it does not answer."""
        try:
            async with asyncio.timeout(RUN_CHARGE_S):
                return await self._means.ledger.runs.spent_micros(self.id)
        except (LedgerUnavailable, TimeoutError):
            return None

    def _emit(self, kind: str, **said: Any) -> None:
        self._kept.seq += 1
        self.last = {
            "run_id": self.id,
            "seq": self._kept.seq,
            "ts_ms": self._means.ledger.clock_ms(),
            "type": kind,
            **said,
        }
        self.events.put_nowait(self.last)


def _failure_of(answer: Answer) -> Failure:
    if not answer.status:
        return Failure("call_broke_off", "The call's answer broke off.")
    return Failure(
        "call_failed",
        f"The call was answered with status {answer.status}.",
        status=answer.status,
        body=answer.output,
    )
