"""What the client gets: the provider's answer, or an error of ours, as far as he is still there to take it.

Promises: a client that takes nothing is let go, and the answer is read on for its bill; an answer that we cut ends in
an error that his SDK notices, or breaks off, and never looks whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.asgi import ClientConnection, Send
from gateway.bounds import WRITE_TIMEOUT_S
from gateway.call.attempt import request_of
from gateway.call.flight import Flight, Flights
from gateway.call.records import Admitted, Attempt
from gateway.edge.headers import HeaderFields, to_client
from gateway.problems import CallError, in_stream, render
from gateway.upstream.base import Answer
from providers.ground.vendors import VENDORS

_SLOW = CallError(408, "request_timeout", "The request's body took too long to arrive.")
_CUTS = {
    "key_revoked": CallError(401, "key_revoked", "This key has been revoked."),
    "timeout": CallError(504, "upstream_timeout", "The provider took too long to answer."),
    "shutdown": CallError(503, "overloaded", "The gateway is stopping."),
}
_COMMENT = b": keep-alive\n\n"
_LAST_WORD_S = 1.0  # a client that does not read must not keep a cut call alive


def passed_on(admitted: Admitted, headers: Mapping[str, str]) -> HeaderFields:
    """The provider's header fields that a client gets to see, and ours."""
    return [*to_client(headers, VENDORS[admitted.route.provider]), *ours(admitted)]


def ours(admitted: Admitted) -> HeaderFields:
    """What every answer to an admitted call says in its head."""
    call_id, attempt = admitted.call_id, admitted.attempt
    if attempt is not None:
        call_id = request_of(call_id)
    fields = [
        (b"x-farthing-request-id", f"req_{call_id}".encode()),
        (b"x-farthing-held-micros", b"%d" % admitted.held.amount_micros),
    ]
    if attempt is not None:
        fields += _of_attempt(attempt)
    remaining = admitted.held.left.get("micros")
    if remaining is not None:
        fields.append((b"x-farthing-remaining-micros", b"%d" % remaining))
    if admitted.held.warning is not None:
        fields.append((b"x-farthing-warning", b"%s;%d" % (admitted.held.warning[0].encode(), admitted.held.warning[1])))
    return fields


def _of_attempt(attempt: Attempt) -> HeaderFields:
    return [
        (b"x-farthing-upstream", attempt.upstream.encode()),
        (b"x-farthing-attempts", b"%d" % attempt.number),
    ]


def declared_length(answer: Answer) -> HeaderFields:
    """The provider's word for how long its answer is, if it gave one."""
    length = answer.headers.get("Content-Length", "")
    return [(b"content-length", length.encode())] if length.isdigit() else []


class Reply:
    """One call's."""

    __slots__ = ("_admitted", "_connection", "_flight", "_flights", "_now", "_send", "begun", "last_moment", "tail")

    def __init__(
        self,
        admitted: Admitted,
        connection: ClientConnection | None,
        send: Send,
        flight: Flight,
        flights: Flights,
        last_moment: float,
    ) -> None:
        self.begun = False  # its head has been sent
        self.last_moment = last_moment
        self.tail = b""  # the last of what was sent of its body, as much as may end an event
        self._admitted = admitted
        self._connection = connection
        self._send = send
        self._flight = flight
        self._flights = flights
        self._now = flights.now

    async def start(self, answer: Answer, more: HeaderFields) -> None:
        """Send the head of the provider's answer."""
        self.begun = True
        headers = passed_on(self._admitted, answer.headers)
        headers += more
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def write(self, chunk: bytes) -> None:
        """Send a piece of its body, once there is room for it."""
        flight = self._flight
        if chunk and not flight.client_gone:
            self.tail = chunk[-4:] if len(chunk) >= 4 else (self.tail + chunk)[-4:]
            flight.deadline = min(self._now() + WRITE_TIMEOUT_S, self.last_moment)
            try:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            except asyncio.CancelledError:
                if flight.cut_reason != "timeout" or self._now() >= self.last_moment:
                    raise
                # The client takes nothing. It is let go, but what the provider has made meanwhile waits in buffers,
                # unread: the answer is read on for its true usage, as for every client that left.
                flight.task.uncancel()
                flight.cut_reason = ""
                self.abort()
                flight.deadline = self.last_moment
                self._flights.client_gone(flight)

    async def keep_alive(self) -> None:
        """The provider is silent between two events: a comment, so that nobody on the way takes us for dead."""
        flight = self._flight
        if not flight.client_gone:
            deadline = flight.deadline
            await self.write(_COMMENT)
            if not flight.client_gone:
                flight.deadline = deadline

    async def finish(self, chunk: bytes) -> None:
        """Send the last piece."""
        flight = self._flight
        if not flight.client_gone:
            flight.deadline = self._now() + WRITE_TIMEOUT_S
            await self._send({"type": "http.response.body", "body": chunk, "more_body": False})

    async def error(self, error: CallError) -> None:
        """Answer with an error of ours."""
        admitted = self._admitted
        status, headers, body = render(error, admitted.route.operation.dialect, request_of(admitted.call_id))
        if admitted.attempt is not None:
            headers += _of_attempt(admitted.attempt)
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def fail(self, error: CallError) -> None:
        """The provider failed: say so if the head has not been sent, else break off as it did."""
        if self._flight.client_gone:
            return
        if self.begun:
            self.abort()
        else:
            await self.error(error)

    async def cut(self, answer: Answer | None) -> None:
        """We ended the call: the client is told why, as far as that can be."""
        reason, call, upload = self._flight.cut_reason, self._admitted.call, self._admitted.upload
        error = _CUTS.get(reason)
        if reason == "timeout" and upload is not None and upload.waiting:
            error = _SLOW
        if error is None or self._flight.client_gone:
            self.abort()
        elif not self.begun:
            await self.error(error)
        elif call.stream and reason != "timeout" and (event := self._last_word(error, answer)):
            try:
                async with asyncio.timeout(_LAST_WORD_S):
                    await self.finish(event)
            except TimeoutError:
                self.abort()
        else:
            self.abort()

    def _last_word(self, error: CallError, answer: Answer | None) -> bytes:
        operation = self._admitted.route.operation
        kind = answer.headers.get("Content-Type", "") if answer is not None else ""
        events = kind.startswith("text/event-stream")
        return in_stream(error, operation.dialect, operation.name, self._admitted.call_id, events=events)

    def abort(self) -> None:
        """Break off."""
        if self._connection is not None:
            self._connection.abort()
