"""The inference endpoint: ASGI from the request's head to the flight. No framework on this path."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gateway.asgi import CONNECTION, INSIDE, ClientConnection, ClientGone, Inside, Receive, Send
from gateway.call.admission import Admission
from gateway.call.attempt import Aliased, Switching
from gateway.call.flight import Flights
from gateway.call.records import Inbound, Request, Terms
from gateway.call.relay import Relay
from gateway.edge.cors import Cors
from gateway.edge.head import Head
from gateway.edge.headers import HeaderFields
from gateway.problems import CallError, render
from gateway.telemetry import Metrics
from keys.ids import new_body
from providers.routing import NoRoute, Shared

_log = logging.getLogger("farthing.call")


class Inference:
    """Takes calls in every provider's own shape.

    Attributes:
        draining: No new calls are taken, but from runs that have begun.
        stopping: Not from these either.
    """

    def __init__(
        self,
        admission: Admission,
        relay: Relay,
        flights: Flights,
        metrics: Metrics,
        cors: Cors,
        clock_ms: Callable[[], int],
        switching: Switching,
    ) -> None:
        self._switching = switching
        self._admission = admission
        self._relay = relay
        self._flights = flights
        self._metrics = metrics
        self._cors = cors
        self._clock_ms = clock_ms
        self.draining = self.stopping = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = self._flights.now()
        call_id = new_body(self._clock_ms())
        inside: Inside | None = scope.get(INSIDE)
        connection: ClientConnection | None = scope.get(CONNECTION)
        head = Head.of(scope, connection)
        headers = head.mapping(scope["headers"])
        if (page := headers.get("origin")) is not None:
            if scope["method"] == "OPTIONS":
                await answer_empty(send, self._cors.preflight(headers))
                return
            send = self._cors.around(send, page)
        found, upstream = head.found, ""
        if isinstance(found, NoRoute) and (within := self._switching.within(head)) is not None:
            upstream, head = within
            found = head.found
        if isinstance(found, NoRoute):
            refused = CallError(found.status, found.code, found.message, allow=found.allow)
            await self._refuse(refused, "", "", found.dialect, call_id, send)
            return
        route = found.first if isinstance(found, Shared) else found
        if route.operation.here:
            await answer_empty(send, [])
            return
        try:
            if self.stopping or (self.draining and inside is None):
                raise CallError(503, "overloaded", "The gateway is stopping.", retry=True, retry_after_s=1)
            inbound = _inbound(call_id, scope, head, headers, receive, upstream)
            try:
                admitted = await self._admission.admit(inbound)
            except Aliased as aliased:
                told = None if inside is None else inside.admitted
                route = await self._switching.fly(inbound, aliased, connection, send, started, told)
            else:
                if inside is not None:
                    inside.admitted(call_id)
                await self._relay.fly(admitted, head, connection, send, started)
        except CallError as error:
            route = error.route or route
            if inside is not None:
                inside.refused(error)
            await self._refuse(error, route.provider, route.operation.name, route.operation.dialect, call_id, send)
        except ClientGone:
            self._metrics.request(route.provider, route.operation.name, "client_gone")
        except Exception:  # noqa: BLE001 - the last resort: whatever went wrong, the client learns it with an id
            self._metrics.request(route.provider, route.operation.name, "internal_error")
            _log.exception("unexpected error", extra={"request_id": f"req_{call_id}"})
            if connection is not None and connection.answering:
                connection.abort()
            else:
                internal = CallError(500, "internal_error", "Something went wrong here.")
                await _answer(send, internal, route.operation.dialect, call_id)

    async def quoted(self, scope: dict[str, Any], receive: Receive) -> tuple[Request, Terms]:
        """What a request is read as, and on what terms it would be let in by its key's policies; nothing is held.

        Raises:
            CallError: It is refused.
        """
        head = Head.of(scope, None)
        if isinstance(head.found, NoRoute):
            raise CallError(head.found.status, head.found.code, head.found.message)
        inbound = _inbound(new_body(self._clock_ms()), scope, head, head.mapping(scope["headers"]), receive)
        try:
            return await self._admission.quoted(inbound)
        except Aliased as aliased:  # the dearest of them: which it will be is not known
            found = [await self._admission.quoted(each) for each in await self._switching.attempts(inbound, aliased)]
            return max(
                found, key=lambda each: each[1].quote.fixed_picos + each[1].quote.each_picos * each[1].quote.want
            )

    async def _refuse(
        self, error: CallError, provider: str, operation: str, dialect: str, call_id: str, send: Send
    ) -> None:
        self._metrics.request(provider, operation, error.code)
        _log.debug("refused", extra={"request_id": f"req_{call_id}", "code": error.code, "status": error.status})
        await _answer(send, error, dialect, call_id)


def _inbound(
    call_id: str, scope: dict[str, Any], head: Head, headers: dict[str, str], receive: Receive, upstream: str = ""
) -> Inbound:
    """The request, whose head leads somewhere."""
    found, connection = head.found, scope.get(CONNECTION)
    assert not isinstance(found, NoRoute)  # noqa: S101 - that was refused
    return Inbound(
        call_id=call_id,
        route=found.first if isinstance(found, Shared) else found,
        shared=found if isinstance(found, Shared) else None,
        head=head,
        fields=scope["headers"],
        headers=headers,
        receive=receive,
        upstream=upstream,
        whole=connection is not None and connection.whole,
        expect_upload=connection.expect_upload if connection is not None else None,
    )


async def answer_empty(send: Send, fields: HeaderFields) -> None:
    """Answer that there is nothing to say."""
    await send({"type": "http.response.start", "status": 204, "headers": fields})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, error: CallError, dialect: str, call_id: str) -> None:
    status, headers, body = render(error, dialect, call_id)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
