"""Forwards an admitted call, relays the answer, and settles it. Whatever happens, the flight lands.

Promises: each chunk goes to the client first, verbatim, and then to the meter; a client that left is read for, for a
while, so that the true usage is known; an answer that we cut ends in an error that the SDK notices, never in silence.
The ending is decided in `_land`, which does not await: cancellation cannot come between an answer and its bill.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable

import msgspec

from gateway.asgi import ClientGone, Connection, Send
from gateway.bounds import (
    BATCH_LOOK_FIRST_MS,
    CALL_TIMEOUT_S,
    COMMENT_S,
    ERROR_BODY_BYTES_MAX,
    FULL_ANSWER_BYTES_MAX,
    HEAD_ALONE_S,
    MAKING_ANSWER_BYTES_MAX,
    UPLOAD_IDLE_S,
    UPLOAD_TIMEOUT_S,
    WRITE_TIMEOUT_S,
)
from gateway.call.body import outgoing
from gateway.call.flight import Flight, Flights
from gateway.call.grants import Grants
from gateway.call.provider_errors import ProviderErrors
from gateway.call.reading import Readings
from gateway.call.records import Admitted
from gateway.call.settlement import Ending, Till
from gateway.call.upload import Upload
from gateway.config import Place
from gateway.edge.credentials import without_key
from gateway.edge.head import Head
from gateway.edge.headers import RawHeaders, to_client
from gateway.problems import CallError, in_stream, render
from gateway.stored.batches import KIND, Batches
from gateway.stored.listing import Listings
from gateway.stored.ownership import Ownership
from gateway.telemetry import Metrics
from gateway.upstream.base import Answer, Forward, Upstream, UpstreamFailed
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO
from ledger.records import Extend, LedgerUnavailable
from providers.contract.metering import Conclusion, Ended, conclude
from providers.contract.shapes import Filter, Meter, Reading
from providers.ground.usage import Usage
from providers.ground.vendors import VENDORS, reasons_in_secret
from providers.reading.sse import Scanner
from providers.stored.batches import hold_ms
from providers.stored.models import narrowed

_REVOKED = CallError(401, "key_revoked", "This key has been revoked.")
_TIMEOUT = CallError(504, "upstream_timeout", "The provider took too long to answer.")
_UNREACHABLE = CallError(502, "upstream_unreachable", "The provider cannot be reached.")
_BROKEN = CallError(502, "upstream_unreachable", "The provider broke off the connection.")
_SLOW = CallError(408, "request_timeout", "The request's body took too long to arrive.")
_SHUTDOWN = CallError(503, "overloaded", "The gateway is stopping.")
_CUTS = {"key_revoked": _REVOKED, "timeout": _TIMEOUT, "shutdown": _SHUTDOWN}

NEVER = 1 << 62
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
# How every shape's event begins to say that it is a failure.
_FAILED = re.compile(rb'"error"\s*:\s*[{"]|"type"\s*:\s*"(?:error|response\.failed)"|"finish_reason"\s*:\s*"ERROR')
_COMMENT = b": keep-alive\n\n"
LOOK_BYTES = 4096  # of a stream, at least, between two looks at how much of its hold it has used


class Patience(msgspec.Struct, kw_only=True):
    """How long a provider may be silent, in seconds: before the head of its answer, and within the answer."""

    head_s: float
    silence_s: float


_UNBUFFERED = [(b"x-accel-buffering", b"no")]  # nginx: pass a stream on while it comes


class Relay:
    """What all flights share. One for the process."""

    def __init__(
        self,
        ledger: Ledger,
        flights: Flights,
        metrics: Metrics,
        live: Upstream,
        simulated: Upstream,
        places: dict[str, Place],
        walls: Ownership,
        batches: Batches,
        till: Till,
        errors: ProviderErrors,
        patience: Patience,
        readings: Readings,
    ) -> None:
        self.readings = readings
        self.ledger = ledger
        self.batches = batches
        self.walls = walls
        self.lists = Listings(ledger)
        self.till = till
        self.errors = errors
        self.patience = patience
        self.flights = flights
        self.metrics = metrics
        self.live = live
        self.simulated = simulated
        self.places = places

    def fly(
        self,
        admitted: Admitted,
        head: Head,
        connection: Connection | None,
        send: Send,
        started: float,
    ) -> Awaitable[None]:
        """Forward the call and relay its answer."""
        return _Trip(self, admitted, connection, send, started).run(head)


class _Trip:
    """One call's way there and back."""

    def __init__(
        self, relay: Relay, admitted: Admitted, connection: Connection | None, send: Send, started: float
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an ASGI server runs every request in a task
        self._relay = relay
        self._admitted = admitted
        self._connection = connection
        self._send = send
        self._started = started
        self._now = relay.flights.now
        self._meter: Meter | None = None
        self._answer: Answer | None = None
        self._status = 0
        self._head_sent = False
        self._first_byte: float | None = None
        now = self._now()
        self._last_moment = now + CALL_TIMEOUT_S
        self._streamed_bytes = 0
        self._held_picos = admitted.held.amount_micros * PICOS_PER_MICRO
        self._allowance = admitted.held.granted  # output tokens per choice that the hold covers
        limit = admitted.quote.output_limit(self._allowance)
        self._most = admitted.quote.most if limit is None else limit
        self._look_at_bytes = self._allowance if self._extension() else NEVER
        self._makings = relay.walls.makings(admitted.key, admitted.route, admitted.makes)
        self._patience = relay.patience
        self._flight = Flight(
            admitted.call_id,
            admitted.key.chain,
            task,
            now + self._patience.head_s,
            to_the_end=not admitted.call.stream,
        )
        self._upload = admitted.upload
        self._grants: Grants | None = None
        self._broken = ""  # why the upload ended early
        self._concluded = ""
        if self._upload is not None:
            self._expect_upload(self._upload)

    async def run(self, head: Head) -> None:
        """Fly. Every way out of here has landed."""
        flight, flights = self._flight, self._relay.flights
        flights.add(flight)
        if self._connection is not None:
            self._connection.on_gone = lambda: flights.client_gone(flight)
            if self._connection.gone:  # while its call was being admitted
                flights.client_gone(flight)
        ended: Ended = "error"
        sent = False
        try:
            forward = self._forward(head, await outgoing(self._admitted, self._relay.readings))
            if flight.client_gone:
                return
            if self._admitted.route.operation.forgets and not await self._may_delete():
                return
            flight.stage = "dispatched"
            sent = True
            self._relay.metrics.added(self._now() - self._started)
            upstream = self._relay.live if self._admitted.key.livemode else self._relay.simulated
            listing = self._admitted.route.operation.lists
            if listing is None:
                self._answer = answer = await upstream.send(forward)
            else:
                self._answer = answer = await self._relay.lists.answer(self._admitted, listing, forward, upstream)
            flight.stage = "answering"
            self._status = answer.status
            await self._relay_answer(answer)
            ended = "complete"
        except (ClientGone, CallError) as broken:  # in the middle of an upload: the provider has no request to act on
            self._broken = "client_gone" if isinstance(broken, ClientGone) else broken.code
            self._land(ended, sent=sent)
            if isinstance(broken, CallError):
                await self._fail(broken)
        except UpstreamFailed as failure:
            sent = failure.sent
            ended = "cut" if self._first_byte is not None else "error"
            self._land(ended, sent=sent)
            await self._fail(_UNREACHABLE if not sent else _BROKEN)
        except asyncio.CancelledError:
            ended = "cut"
            self._land(ended, sent=sent)
            if not flight.cut_reason:
                raise
            flight.task.uncancel()
            await self._cut(flight.cut_reason)
        finally:
            self._land(ended, sent=sent)
            flights.remove(flight)
            if self._connection is not None:
                self._connection.on_gone = None
            if self._answer is not None:
                self._answer.close()

    def _forward(self, head: Head, body: bytes | Upload) -> Forward:
        admitted = self._admitted
        provider = admitted.route.provider
        place = self._relay.places[provider]
        target, query = admitted.route.upstream_path, head.query
        if keys := VENDORS[provider].url_keys:
            query = without_key(query, keys)
        if query:
            target += "?" + query.decode("latin-1")
        headers = head.to_provider(VENDORS[provider], place.credential, admitted.key.account_id)
        if body:
            headers["content-type"] = admitted.call.content_type  # as it was read here, so that it is read alike there
        return Forward(
            provider=provider,
            method=admitted.method,
            origin=place.origin,
            target=target,
            headers=headers,
            body=body,
            call_id=admitted.call_id,
            faults=admitted.faults,
        )

    # ---- the upload

    def _expect_upload(self, upload: Upload) -> None:
        """Its end decides what the answer is about, and until then its progress keeps the call alive."""
        flight = self._flight
        last_moment = self._now() + UPLOAD_TIMEOUT_S
        self._last_moment += UPLOAD_TIMEOUT_S  # the answer's own time begins when the upload is over
        self._grants = grants = Grants(self._admitted, upload, self._relay.ledger)

        def moved() -> None:
            if not flight.client_gone:
                wait_s = self._patience.head_s if upload.done or upload.whole else UPLOAD_IDLE_S
                flight.deadline = max(min(self._now() + wait_s, last_moment), self._now())

        upload.moved = moved
        upload.grant = grants.grant
        moved()

    async def _may_delete(self) -> bool:
        """Whether nothing is deleted that tells what a batch has cost; else the client has been told."""
        error = CallError(409, "batch_not_settled", "This batch is not settled yet: try again when it has ended.")
        try:
            if await self._relay.batches.before_deletion(self._admitted.key, self._admitted.route):
                return True
        except LedgerUnavailable:
            error = CallError(503, "ledger_unavailable", "The ledger does not answer.", retry=True, retry_after_s=1)
        await self._answer_error(error)
        return False

    # ---- the answer

    async def _relay_answer(self, answer: Answer) -> None:
        if self._upload is not None and self._upload.done:
            self._admitted = msgspec.structs.replace(self._admitted, call=self._upload.call)
        shape, call = self._admitted.route.operation.shape, self._admitted.call
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            await self._shaped(502, "upstream_encoding", "The provider sent an encoded answer that was not asked for.")
            return
        if self._admitted.route.operation.forgets:
            await self._relay.walls.answered(self._admitted.key, self._admitted.route, answer.status)
        if not 200 <= answer.status < 300:
            await self._relay_error(answer)
            return
        content_type = answer.headers.get("Content-Type", "")
        streamed = content_type.startswith("text/event-stream")
        self._meter = meter = shape.meter(call, streamed=streamed, headers=answer.headers)
        json = content_type.startswith("application/json")
        if streamed or not json or (call.stream and self._makings is None):
            if self._admitted.route.operation.of == KIND:
                await self._relay.batches.seen(self._admitted.key, self._admitted.route, None)
            await self._relay_stream(answer, meter, shape.filter(call) if streamed else None, events=streamed)
        else:
            await self._relay_full(answer, meter)

    async def _relay_stream(self, answer: Answer, meter: Meter, strip: Filter | None, *, events: bool) -> None:
        flight, now, makings = self._flight, self._now, self._makings
        found = None
        if makings is not None:
            if (error := await makings.in_head(answer.headers)) is not None:
                await self._answer_error(error)
                return
            found = makings.stream() if events else None
        flight.nudge = answer.nudge
        flight.nudge_at = now() + HEAD_ALONE_S
        async for chunk in answer.chunks():
            if not self._head_sent:
                if events and (error := self._refused_account(chunk)) is not None:
                    meter.feed(chunk)
                    self._land("complete", sent=True)
                    await self._answer_error(error)
                    return
                await self._start(answer, _UNBUFFERED)
            elif not chunk:
                await self._keep_alive()
            if not chunk:
                flight.nudge_at = now() + COMMENT_S if events else math.inf
                continue
            if self._first_byte is None:
                self._first_byte = now()
            visible = chunk if strip is None else strip.feed(chunk)
            try:
                if makings is not None and found is not None:
                    visible, made = found.feed(visible)
                    if made and (error := await makings.keep(made)) is not None:
                        await self._fail(error)
                        return
                await self._write(visible)
            finally:
                meter.feed(chunk)  # also if the client does not take it: it was made, so it is billed
            self._streamed_bytes += len(chunk)
            if self._streamed_bytes >= self._look_at_bytes:
                self._extend(meter)
            if not flight.client_gone or flight.to_the_end:
                moment = now()
                flight.deadline = min(moment + self._patience.silence_s, self._last_moment)
                if visible:
                    flight.nudge_at = moment + COMMENT_S if events and visible.endswith(_EVENT_ENDS) else math.inf
        if not self._head_sent:
            await self._start(answer, _UNBUFFERED)
        rest = b"" if strip is None else strip.flush()
        if makings is not None and found is not None:
            # An event that breaks off names nothing that its client could use.
            rest = b"".join((found.feed(rest)[0], found.flush()[0]))
        await self._write(rest)
        self._land("complete", sent=True)
        await self._finish(b"")

    def _refused_account(self, chunk: bytes) -> CallError | None:
        """Whether a stream begins with a refusal of the operator's account: then its client gets a status instead."""
        if b"error" not in chunk and b"failed" not in chunk:
            return None  # nearly always
        scanner = Scanner()
        for event in (*scanner.feed(chunk), scanner.flush()):
            if event is None or not _FAILED.search(data := event.data()):
                continue
            try:
                self._relay.errors.refuse_account(self._admitted.route.provider, 200, data)
            except CallError as error:
                return error
        return None

    async def _keep_alive(self) -> None:
        """The provider is silent between two events: a comment, so that nobody on the way takes us for dead."""
        flight = self._flight
        if not flight.client_gone:
            deadline = flight.deadline
            await self._write(_COMMENT)
            if not flight.client_gone:
                flight.deadline = deadline

    def _extend(self, meter: Meter) -> None:
        """Hold more, once the answer has used three quarters of its hold. A refusal lets this answer finish."""
        terms, seen = self._admitted.quote, meter.output_tokens_seen()
        allowance = self._allowance * max(self._admitted.call.choices, 1)
        if seen * 4 < allowance * 3:
            # A token is at least a byte of the answer: not much sooner than this can the mark be reached.
            self._look_at_bytes = self._streamed_bytes + max(allowance * 3 // 4 - seen, LOOK_BYTES)
            return
        self._look_at_bytes = NEVER
        more = Extend(
            id=self._admitted.call_id,
            each_picos=terms.each_picos,
            each_tokens=terms.each_tokens,
            allowance=self._extension(),
        )
        extending = asyncio.ensure_future(self._relay.ledger.extend(more))
        extending.add_done_callback(self._extended)

    def _extension(self) -> int:
        """By how much the hold's output allowance would be raised: as much again, but not beyond what can come."""
        if not self._admitted.quote.each_picos:
            return 0
        return self._allowance if self._most is None else min(self._allowance, max(self._most - self._allowance, 0))

    def _extended(self, extending: asyncio.Future[bool]) -> None:
        if not extending.cancelled() and extending.exception() is None and extending.result():
            self._held_picos += self._admitted.quote.each_picos * self._extension()
            self._allowance += self._extension()
            self._look_at_bytes = self._streamed_bytes if self._extension() else NEVER

    async def _relay_full(self, answer: Answer, meter: Meter) -> None:
        """Read a small answer whole, so that its cost can stand in a header; let a large one through."""
        flight, now = self._flight, self._now
        narrows = not self._admitted.key.any_model and self._admitted.route.operation.lists_models
        most = FULL_ANSWER_BYTES_MAX if self._makings is None and not narrows else MAKING_ANSWER_BYTES_MAX
        chunks: list[bytes] = []
        size = 0
        started = False
        if (whole := answer.rest(most)) is not None:  # nearly always: it came with its head
            self._first_byte = now()
            meter.feed(whole)
            chunks.append(whole)
        async for chunk in answer.chunks():
            if self._first_byte is None:
                self._first_byte = now()
            meter.feed(chunk)
            size += len(chunk)
            if started:
                await self._write(chunk)
            else:
                chunks.append(chunk)
                if size > most:
                    if narrows:
                        break
                    started = True
                    await self._start(answer, _length(answer))
                    await self._write(b"".join(chunks))
                    chunks.clear()
            if not flight.client_gone or flight.to_the_end:
                flight.deadline = min(now() + self._patience.silence_s, self._last_moment)
        body = b"".join(chunks)
        if self._admitted.call.bulk is not None and not started and await self._opened(body):
            cost_picos = 0
        else:
            cost_picos = self._land("complete", sent=True)
        if started:
            await self._finish(b"")
            return
        if self._concluded == "released":  # a refusal inside a 200
            self._relay.errors.refuse_account(self._admitted.route.provider, 200, body)
        if narrows:
            try:
                body = narrowed(body, self._admitted.key.allows_model)
            except ValueError:
                await self._shaped(502, "upstream_error", "The provider's list of models cannot be read.")
                return
        if self._makings is not None and self._admitted.call.bulk is None:
            error = await self._makings.in_head(answer.headers) or await self._makings.in_body(
                body, self._admitted.made_facts()
            )
            if error is not None:
                await self._answer_error(error)
                return
        if (batch := self._admitted.route.operation.batch) is not None:
            await self._relay.batches.seen(self._admitted.key, self._admitted.route, body)
            body = batch.rehosted(body, self._admitted.origin)
        cost_micros = (cost_picos + PICOS_PER_MICRO // 2) // PICOS_PER_MICRO
        await self._start(
            answer, [(b"x-farthing-cost-micros", b"%d" % cost_micros), (b"content-length", b"%d" % len(body))]
        )
        await self._finish(body)

    async def _opened(self, body: bytes) -> bool:
        """Hand a batch that was made over to the housework, and its hold with it; False if that cannot be."""
        admitted = self._admitted
        facts = dict(admitted.call.facts)
        facts["batch"] = dict(facts["batch"]) | {"version": "" if admitted.price is None else admitted.price.version}
        facts |= {"hold": admitted.call_id, "lasting_ms": hold_ms(facts)}
        due_ms = self._relay.ledger.clock_ms() + BATCH_LOOK_FIRST_MS
        if self._makings is None or not await self._makings.batch(body, facts, due_ms):
            return False
        self._flight.stage = "landed"
        self._relay.metrics.request(admitted.route.provider, admitted.route.operation.name, "opened")
        return True

    async def _relay_error(self, answer: Answer) -> None:
        """Pass the provider's own error on, as far as it is the client's business."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.chunks():
            size += len(chunk)
            if size <= ERROR_BODY_BYTES_MAX + len(chunk):
                chunks.append(chunk)
        body = b"".join(chunks)
        self._meter = self._admitted.route.operation.shape.meter(self._admitted.call, streamed=False)
        self._meter.feed(body)
        self._land("complete", sent=True)
        kind = answer.headers.get("Content-Type", "")
        try:
            body = self._relay.errors.shown(self._admitted.route.provider, answer.status, kind, body)
        except CallError as error:
            await self._answer_error(error)
            return
        await self._start(answer, [(b"content-length", b"%d" % len(body))])
        await self._finish(body)

    # ---- to the client

    async def _start(self, answer: Answer, more: RawHeaders) -> None:
        headers = to_client(answer.headers, VENDORS[self._admitted.route.provider])
        headers += more
        headers.append((b"x-farthing-request-id", f"req_{self._admitted.call_id}".encode()))
        headers.append((b"x-farthing-held-micros", b"%d" % self._admitted.held.amount_micros))
        remaining = self._admitted.held.left.get("micros")
        if remaining is not None:
            headers.append((b"x-farthing-remaining-micros", b"%d" % remaining))
        self._head_sent = True
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _write(self, chunk: bytes) -> None:
        flight = self._flight
        if chunk and not flight.client_gone:
            flight.deadline = min(self._now() + WRITE_TIMEOUT_S, self._last_moment)
            try:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            except asyncio.CancelledError:
                if flight.cut_reason != "timeout" or self._now() >= self._last_moment:
                    raise
                # The client takes nothing. It is let go, but what the provider has made meanwhile waits in buffers,
                # unread: the answer is read on for its true usage, as for every client that left.
                flight.task.uncancel()
                flight.cut_reason = ""
                self._abort()
                flight.deadline = self._last_moment
                self._relay.flights.client_gone(flight)

    async def _finish(self, chunk: bytes) -> None:
        flight = self._flight
        if not flight.client_gone:
            flight.deadline = self._now() + WRITE_TIMEOUT_S
            await self._send({"type": "http.response.body", "body": chunk, "more_body": False})

    async def _shaped(self, status: int, code: str, message: str) -> None:
        await self._answer_error(CallError(status, code, message))

    async def _answer_error(self, error: CallError) -> None:
        status, headers, body = render(error, self._admitted.route.operation.dialect, self._admitted.call_id)
        self._head_sent = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _fail(self, error: CallError) -> None:
        """The provider failed: say so if the head has not been sent, else break off as it did."""
        if self._flight.client_gone:
            return
        if not self._head_sent:
            await self._answer_error(error)
        else:
            self._abort()

    async def _cut(self, reason: str) -> None:
        """We ended the call."""
        error = _CUTS.get(reason)
        if reason == "timeout" and self._upload is not None and self._upload.waiting:
            error = _SLOW
        if error is None or self._flight.client_gone:
            self._abort()
        elif not self._head_sent:
            await self._answer_error(error)
        elif self._admitted.call.stream and reason != "timeout":
            operation = self._admitted.route.operation
            kind = self._answer.headers.get("Content-Type", "") if self._answer is not None else ""
            events = kind.startswith("text/event-stream")
            event = in_stream(error, operation.dialect, operation.name, self._admitted.call_id, events=events)
            if not event:
                self._abort()
                return
            # A client that does not read must not keep a cut call alive.
            try:
                async with asyncio.timeout(1):
                    await self._finish(event)
            except TimeoutError:
                self._abort()
        else:
            self._abort()

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    # ---- the bill

    def _land(self, ended: Ended, *, sent: bool) -> int:
        """Hand the settlement to the ledger, once; the cost in picos. Never awaits."""
        flight = self._flight
        if flight.stage == "landed":
            return 0
        flight.stage = "landed"
        if self._admitted.call.bulk is not None and sent and (self._status < 300 or self._status in (502, 504)):
            # There may be a batch, of which nothing more is known than what was held for it.
            self._relay.ledger.lose(self._admitted.call_id)
            return 0
        now = self._now()
        ending = Ending(
            sent=sent,
            held_picos=self._held_picos + (self._grants.raised_picos if self._grants is not None else 0),
            reason=flight.cut_reason or self._broken or None,
            http_status=self._status,
            latency_ms=round((now - self._started) * 1000),
            ttft_ms=None if self._first_byte is None else round((self._first_byte - self._started) * 1000),
        )
        conclusion = self._conclude(ended, sent=sent)
        self._concluded = conclusion.status
        return self._relay.till.settle(self._admitted, conclusion, ending, self._admitted.beside)

    def _conclude(self, ended: Ended, *, sent: bool) -> Conclusion:
        if not sent:
            return Conclusion("released", Usage())
        if self._upload is not None and not self._upload.done and not self._status:
            # A request whose framing says that it is not complete is none that a provider could act on (RFC 9112, §8).
            return Conclusion("released", Usage(), ("upload_incomplete",))
        if not self._admitted.route.operation.billable:
            return Conclusion("settled", Usage())
        reading = self._meter.finish() if self._meter is not None else Reading()
        call = self._admitted.call
        uncounted = reading.usage is None or reading.partial
        hidden = uncounted and (call.reasons or reasons_in_secret(self._admitted.route.provider, call.model))
        concluded = conclude(
            call,
            reading,
            ended=ended,
            http_status=self._status,
            began=self._first_byte is not None,
            hidden_tokens=self._allowance * max(call.choices, 1) if hidden and call.output_field else 0,
        )
        most = None if self._most is None else self._most * max(call.choices, 1)
        if concluded.status != "estimated" or most is None or concluded.usage.output_tokens <= most:
            return concluded
        # An estimate knows less than the limit that the provider was given: more than that cannot have been made.
        usage = msgspec.structs.replace(
            concluded.usage,
            output_tokens=most,
            reasoning_tokens=min(concluded.usage.reasoning_tokens, most),
            output_audio_tokens=min(concluded.usage.output_audio_tokens, most),
            output_image_tokens=min(concluded.usage.output_image_tokens, most),
        )
        return msgspec.structs.replace(concluded, usage=usage, flags=(*concluded.flags, "output_limited"))


def _length(answer: Answer) -> RawHeaders:
    length = answer.headers.get("Content-Length", "")
    return [(b"content-length", length.encode())] if length.isdigit() else []
