"""Forwards an admitted call, relays the answer, and settles it. Whatever happens, the flight lands.

Promises: each chunk goes to the client first, verbatim, and then to the meter; a client that left is read for, for a
while, so that the true usage is known; an answer that we cut ends in an error that the SDK notices, never in silence.
The ending is decided in `_land`, which does not await: cancellation cannot come between an answer and its bill.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from gateway.asgi import ClientConnection, ClientGone, Send
from gateway.bounds import (
    CALL_TIMEOUT_S,
    COMMENT_S,
    FULL_ANSWER_BYTES_MAX,
    HEAD_ALONE_S,
    STREAM_COST_S,
    UPLOAD_IDLE_S,
    UPLOAD_TIMEOUT_S,
)
from gateway.call.body import outgoing
from gateway.call.conclusion import concluded
from gateway.call.flying import FlyingCall
from gateway.call.forwarding import forwarded
from gateway.call.hold import OutputGrowth, UploadGrowth
from gateway.call.records import Admitted, Missed
from gateway.call.reply import Reply, declared_length
from gateway.call.services import CallServices, Patience
from gateway.call.stages import Stage, Stages
from gateway.edge.head import Head
from gateway.problems import CallError
from gateway.upstream.base import Answer, Upstream, UpstreamFailed
from ledger.money import PICOS_PER_MICRO
from ledger.records import LedgerUnavailable
from providers.contract.metering import Conclusion, Ended
from providers.contract.shapes import Filter, Meter
from providers.ground.usage import Usage
from providers.reading.failures import Failure, failure, failures, wait_s

_UNREACHABLE = CallError(502, "upstream_unreachable", "The provider cannot be reached.")
_BROKEN = CallError(502, "upstream_unreachable", "The provider broke off the connection.")
_ENCODED = CallError(502, "upstream_encoding", "The provider sent an encoded answer that was not asked for.")
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_UNBUFFERED = [(b"x-accel-buffering", b"no")]  # nginx: pass a stream on while it comes


class Relay:
    """What all flights share. One for the process."""

    def __init__(self, services: CallServices, stages: Stages, patience: Patience) -> None:
        self.services = services
        self.stages = stages
        self.patience = patience

    def fly(
        self, admitted: Admitted, head: Head, connection: ClientConnection | None, send: Send, started: float
    ) -> Awaitable[Missed | None]:
        """Forward the call and relay its answer; what it came to, if it is an attempt that others may follow."""
        return _RelayedCall(self, admitted, connection, send, started).run(head)


class _RelayedCall(FlyingCall):
    """One call's way there and back."""

    def __init__(
        self, relay: Relay, admitted: Admitted, connection: ClientConnection | None, send: Send, started: float
    ) -> None:
        flights, patience = relay.services.flights, relay.patience
        attempt, head_s = admitted.attempt, patience.head_s
        if attempt is not None and attempt.first_byte_s is not None:
            head_s = min(head_s, attempt.first_byte_s)
        super().__init__(relay.services, admitted, started, head_s, to_the_end=not admitted.call.stream)
        self._waits = attempt is not None and not attempt.last  # nothing is said before something has come
        self._ambiguous = False  # it may have been at work, and others are asked
        self._connection = connection
        self._patience = patience
        self._stage: Stage | None = relay.stages.around(admitted)
        self._meter: Meter | None = None
        self._answer: Answer | None = None
        self._streamed_bytes = 0
        self._broken = ""  # why the upload ended early
        self._growth = OutputGrowth(self._hold, admitted)
        self._missed: Missed | None = None
        self._reply = Reply(admitted, connection, send, self._flight, flights, self._now() + CALL_TIMEOUT_S)
        self._expect_upload()

    async def run(self, head: Head) -> Missed | None:
        """Fly. Every way out of here has landed."""
        flight, flights, admitted = self._flight, self._services.flights, self._admitted
        flights.add(flight)
        if self._connection is not None:
            self._connection.on_gone = lambda: flights.client_gone(flight)
            if self._connection.gone:  # while its call was being admitted
                flights.client_gone(flight)
        ended: Ended = "error"
        sent = False
        try:
            body = await outgoing(admitted, self._services.readings)
            forward = forwarded(admitted, head, body, self._place)
            if flight.client_gone:
                return None
            if self._stage is not None:
                await self._stage.before()
            self._dispatched()
            sent = True
            self._answer = answer = await self._upstream().send(forward)
            flight.stage = "answering"
            self._answered(answer.status)
            await self._relay_answer(answer)
            ended = "complete"
        except (ClientGone, CallError) as broken:  # before it was sent whole: the provider has no request to act on
            self._broken = "client_gone" if isinstance(broken, ClientGone) else broken.code
            self._land(ended, sent=sent)
            if isinstance(broken, CallError):
                await self._reply.fail(broken)
        except UpstreamFailed as failure:
            sent = failure.sent
            self._unanswered(failure)
            ended = "cut" if self._first is not None else "error"
            self._land(ended, sent=sent)
            await self._or_elsewhere(
                "ambiguous" if sent else "unreachable", partial(self._reply.fail, _BROKEN if sent else _UNREACHABLE)
            )
        except asyncio.CancelledError:
            ended = "cut"
            if sent and not self._status and flight.cut_reason == "timeout":
                self._unanswered()
            self._land(ended, sent=sent)
            if not self._was_cut():
                raise
            silent = flight.cut_reason == "timeout" and self._first is None
            await self._or_elsewhere(
                "ambiguous" if silent else None, partial(self._reply.cut, self._answer), silent=silent
            )
        finally:
            self._land(ended, sent=sent)
            flights.remove(flight)
            if self._connection is not None:
                self._connection.on_gone = None
            if self._answer is not None:
                self._answer.close()
        return self._missed

    def _asks_others(self, why: Failure) -> bool:
        """Whether others are asked after such a failure, as far as this attempt knows."""
        attempt = self._admitted.attempt
        return attempt is not None and not attempt.last and (why != "ambiguous" or attempt.ambiguous)

    async def _or_elsewhere(
        self, why: Failure | None, tell: Callable[[], Awaitable[None]], *, silent: bool = False
    ) -> None:
        """Tell the client what the call has come to, unless others may be asked who could do better."""
        nothing_said = not self._reply.begun and not self._flight.client_gone
        if self._admitted.attempt is None or why is None or why == "refused" or not nothing_said:
            await tell()
            return
        headers = {} if self._answer is None else self._answer.headers
        self._missed = Missed(why, wait_s(headers) if why == "429" else None, silent, tell)

    def _upstream(self) -> Upstream:
        upstream = self._services.upstreams.of(livemode=self._admitted.key.livemode)
        return upstream if self._stage is None else self._stage.around(upstream)

    def _expect_upload(self) -> None:
        """Its end decides what the answer is about, and until then its progress keeps the call alive."""
        flight, upload = self._flight, self._admitted.upload
        if upload is None:
            return
        last_moment = self._now() + UPLOAD_TIMEOUT_S
        self._reply.last_moment += UPLOAD_TIMEOUT_S  # the answer's own time begins when the upload is over

        def moved() -> None:
            if not flight.client_gone:
                wait_s = self._patience.head_s if upload.done or upload.whole else UPLOAD_IDLE_S
                flight.deadline = max(min(self._now() + wait_s, last_moment), self._now())

        upload.moved = moved
        upload.sound = self._admitted.price is not None and self._admitted.key.policy.overdraft == "never"
        upload.cover = UploadGrowth(self._hold, self._admitted, upload).cover
        moved()

    # ---- the answer

    async def _relay_answer(self, answer: Answer) -> None:
        admitted, stage = self._admitted, self._stage
        if admitted.upload is not None and admitted.upload.done:
            self._admitted = admitted = msgspec.structs.replace(admitted, call=admitted.upload.call)
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            await self._reply.error(_ENCODED)
            return
        if stage is not None:
            await stage.answered(answer.status)
        if not 200 <= answer.status < 300:
            await self._relay_error(answer)
            return
        shape, call = admitted.route.operation.shape, admitted.call
        content_type = answer.headers.get("Content-Type", "")
        events = content_type.startswith("text/event-stream")
        self._meter = meter = shape.meter(call, streamed=events, headers=answer.headers)
        json = content_type.startswith("application/json")
        try:
            if events or not json or (call.stream and (stage is None or not stage.reads_whole)):
                await self._relay_stream(answer, meter, shape.filter(call) if events else None, events=events)
            else:
                await self._relay_full(answer, meter)
        except CallError as error:
            why: Failure | None = "account" if self._services.errors.hides(error) else None
            await self._or_elsewhere(why, partial(self._reply.fail, error))

    async def _relay_stream(self, answer: Answer, meter: Meter, strip: Filter | None, *, events: bool) -> None:
        """Pass an answer on while it comes. Raises CallError where the client must not have it, or no more of it."""
        flight, now, reply = self._flight, self._now, self._reply
        pieces = None if self._stage is None else await self._stage.passing(answer, events=events)
        flight.nudge = answer.nudge
        flight.nudge_at = math.inf if self._waits else now() + HEAD_ALONE_S
        async for chunk in answer.chunks():
            if not reply.begun:
                if events and (refused := self._services.errors.in_stream(self._admitted.route.provider, chunk)):
                    meter.feed(chunk)
                    self._land("complete", sent=True)
                    raise refused
                if self._waits and events and await self._failed_at_once(answer, meter, chunk):
                    return
                await reply.start(answer, _UNBUFFERED)
            elif not chunk:
                await reply.keep_alive()
            if not chunk:
                flight.nudge_at = now() + COMMENT_S if events else math.inf
                continue
            if self._first is None:
                self._first = now()
            visible = chunk if strip is None else strip.feed(chunk)
            try:
                if pieces is not None:
                    visible = await pieces.feed(visible)
                await reply.write(visible)
            finally:
                meter.feed(chunk)  # also if the client does not take it: it was made, so it is billed
            self._streamed_bytes += len(chunk)
            if self._streamed_bytes >= self._growth.look_at_bytes:
                self._growth.look(meter, self._streamed_bytes)
            if not flight.client_gone or flight.to_the_end:
                moment = now()
                flight.deadline = min(moment + self._patience.silence_s, reply.last_moment)
                if visible:
                    flight.nudge_at = moment + COMMENT_S if events and visible.endswith(_EVENT_ENDS) else math.inf
        if not reply.begun:
            await reply.start(answer, _UNBUFFERED)
        rest = b"" if strip is None else strip.flush()
        await reply.write(rest if pieces is None else pieces.flush(rest))
        self._land("complete", sent=True)
        await reply.finish(await self._told_cost() if events and self._admitted.stream_cost else b"")

    async def _told_cost(self) -> bytes:
        """A comment that says what the stream is charged, where it can be said behind the provider's last event."""
        if self._flight.client_gone or not self._reply.tail.endswith(_EVENT_ENDS):
            return b""
        micros = await self._charged_micros()
        return b"" if micros is None else b": farthing cost_micros=%d\n\n" % micros

    async def _charged_micros(self) -> int | None:
        """What the call's event charges; None if nobody knows soon enough."""
        try:
            async with asyncio.timeout(STREAM_COST_S):
                return await self._services.ledger.calls.charged_micros(self._admitted.call_id)
        except (LedgerUnavailable, TimeoutError):
            return None

    async def _failed_at_once(self, answer: Answer, meter: Meter, chunk: bytes) -> bool:
        """Whether a stream begins with its failure, so that others are asked; the whole of it waits for their fate."""
        provider = self._admitted.route.provider
        why = next((failure(provider, answer.status, each) for each in failures(chunk)), None)
        if why is None or why == "refused":
            return False
        meter.feed(chunk)
        self._ambiguous = why == "ambiguous" and self._asks_others(why)
        self._land("complete", sent=True)

        async def tell() -> None:
            await self._reply.start(answer, _UNBUFFERED)
            await self._reply.finish(chunk)

        await self._or_elsewhere(why, tell)
        return True

    async def _relay_full(self, answer: Answer, meter: Meter) -> None:
        """Read a small answer whole, so that its cost can stand in a header; let a large one through.

        Raises CallError where the client must not have it.
        """
        flight, now, stage, reply = self._flight, self._now, self._stage, self._reply
        most = FULL_ANSWER_BYTES_MAX if stage is None else stage.whole_bytes_max
        chunks: list[bytes] = []
        size = 0
        if (here := answer.rest(most)) is not None:  # nearly always: it came with its head
            self._first = now() if here else None
            meter.feed(here)
            await self._answer_whole(answer, here)
            return
        async for chunk in answer.chunks():
            if self._first is None:
                self._first = now()
            meter.feed(chunk)
            size += len(chunk)
            if reply.begun:
                await reply.write(chunk)
            else:
                chunks.append(chunk)
                if size > most:
                    if stage is not None and stage.nothing_longer:
                        break
                    await reply.start(answer, declared_length(answer))
                    await reply.write(b"".join(chunks))
                    chunks.clear()
            if not flight.client_gone or flight.to_the_end:
                flight.deadline = min(now() + self._patience.silence_s, reply.last_moment)
        if reply.begun:
            self._land("complete", sent=True)
            await reply.finish(b"")
        else:
            await self._answer_whole(answer, b"".join(chunks))

    async def _answer_whole(self, answer: Answer, body: bytes) -> None:
        """Settle an answer that is here, and pass it on with its cost. Raises CallError."""
        admitted, stage, services = self._admitted, self._stage, self._services
        provider = admitted.route.provider
        if stage is not None and await stage.takes_over(body):
            self._flight.stage = "landed"
            services.metrics.request(provider, admitted.route.operation.name, "opened")
            status, cost_picos = "opened", 0
        else:
            status, cost_picos = self._land("complete", sent=True)
        if status == "released":  # a refusal inside a 200
            services.errors.refuse_account(provider, 200, body)
        if stage is not None:
            body = await stage.whole(answer, body)
        # What the event charges depends on the key's carry, which is known when the ledger has written it: to wait for
        # that halves what a machine answers in a second, so only who asks for it waits. For others it is rounded here.
        charged = await self._charged_micros() if admitted.stream_cost else None
        cost_micros = (cost_picos + PICOS_PER_MICRO // 2) // PICOS_PER_MICRO if charged is None else charged
        await self._reply.start(
            answer, [(b"x-farthing-cost-micros", b"%d" % cost_micros), (b"content-length", b"%d" % len(body))]
        )
        await self._reply.finish(body)

    async def _relay_error(self, answer: Answer) -> None:
        """Pass the provider's own error on, as far as it is the client's business."""
        body = await self._services.errors.read(answer)
        route, attempt = self._admitted.route, self._admitted.attempt
        why = None if attempt is None else failure(route.provider, answer.status, body)
        self._ambiguous = why == "ambiguous" and self._asks_others(why)
        self._meter = route.operation.shape.meter(self._admitted.call, streamed=False)
        self._meter.feed(body)
        self._land("complete", sent=True)
        kind = answer.headers.get("Content-Type", "")
        try:
            body = self._services.errors.shown(route.provider, answer.status, kind, body, self._place.credential)
        except CallError as error:
            await self._or_elsewhere(why, partial(self._reply.error, error))
            return

        async def tell() -> None:
            await self._reply.start(answer, [(b"content-length", b"%d" % len(body))])
            await self._reply.finish(body)

        await self._or_elsewhere(why, tell)

    # ---- the bill

    def _land(self, ended: Ended, *, sent: bool) -> tuple[str, int]:
        """Hand the settlement to the ledger, once; as what, and the cost in picos. Never awaits."""
        admitted = self._admitted
        if not self._lands():
            return "", 0
        if admitted.call.batch_bound is not None and sent and (self._status < 300 or self._status in (502, 504)):
            # There may be a batch, of which nothing more is known than what was held for it.
            self._services.ledger.calls.lose(admitted.call_id)
            return "unsettled", 0
        conclusion = concluded(
            admitted,
            self._meter,
            self._growth,
            ended=ended,
            sent=sent,
            status=self._status,
            began=self._first is not None,
        )
        if self._ambiguous and conclusion.status == "released":
            conclusion = Conclusion("unsettled", Usage(), rest=True)
        reason = self._flight.cut_reason or self._broken
        return conclusion.status, self._settle(conclusion, admitted.beside, sent=sent, reason=reason)
