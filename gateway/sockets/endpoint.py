"""WebSockets: takes a handshake, tells whose call it is, and hands it to a session once it is admitted.

Promises: a refusal is a real HTTP answer, in the provider's shape, before the handshake; nothing is connected without a
durable hold. Where the client's first message tells the call, or carries the key, the handshake has to be taken first:
then everything that can be known without it is checked before, and nothing is connected until it has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from gateway.asgi import CONNECTION, Receive, Send
from gateway.bounds import SOCKET_FIRST_FRAME_S, WRITE_TIMEOUT_S
from gateway.call.admission import Admission
from gateway.call.records import Inbound
from gateway.call.services import CallServices
from gateway.edge.credentials import subprotocols
from gateway.edge.head import Head
from gateway.problems import CallError, in_socket, render
from gateway.sockets.client import Client
from gateway.sockets.session import Session, scrubbed
from gateway.upstream.base import SocketClosed
from keys.ids import new_body
from providers.contract.shapes import Asked
from providers.contract.sockets import SOCKET, Frame, SocketShape
from providers.routing import NoRoute, Route, Shared

UPGRADE_REQUIRED = 426
_log = logging.getLogger("farthing.call")


class Sockets:
    """Takes WebSockets in every provider's own protocol. One for the process."""

    def __init__(
        self,
        services: CallServices,
        admission: Admission,
        clock_ms: Callable[[], int],
    ) -> None:
        self._services = services
        self._admission = admission
        self._clock_ms = clock_ms
        self.draining = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one socket from its handshake to its settlement."""
        started = self._services.flights.now()
        call_id = new_body(self._clock_ms())
        head = Head.of(scope | {"method": SOCKET}, None)
        headers, query = head.mapping(head.fields), head.query
        client = Client(receive, send, scope.get(CONNECTION))
        await receive()  # "websocket.connect"
        found = head.found
        if isinstance(found, NoRoute):
            refused = CallError(found.status, found.code, found.message, allow=found.allow)
            await self._refuse(client, refused, found.dialect, "", "", call_id)
            return
        route = found
        asked = parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {}
        if isinstance(found, Shared):
            route = found.choose("".join(asked.get("model", [])[:1]), lambda model: None)
        assert isinstance(route, Route)  # noqa: S101 - for the type checker only
        inbound = Inbound(
            call_id=call_id,
            route=route,
            head=head,
            fields=head.fields,
            headers=headers,
            receive=receive,
            opening=b"",
        )
        session = _Handshake(
            self._services,
            self._admission,
            inbound,
            client,
            Asked(params=route.params, query=asked, headers=headers),
            started,
        )
        try:
            if self.draining:
                raise CallError(503, "overloaded", "The gateway is stopping.", retry=True, retry_after_s=1)
            await session.serve()
        except CallError as error:
            operation = route.operation
            await self._refuse(client, error, operation.dialect, route.provider, operation.name, call_id)
        except SocketClosed:
            self._services.metrics.request(route.provider, route.operation.name, "client_gone")
        except Exception:  # noqa: BLE001 - the last resort, as for requests
            self._services.metrics.request(route.provider, route.operation.name, "internal_error")
            _log.exception("unexpected error", extra={"request_id": f"req_{call_id}"})
            client.abort()

    async def _refuse(
        self, client: Client, error: CallError, dialect: str, provider: str, operation: str, call_id: str
    ) -> None:
        self._services.metrics.request(provider, operation, error.code)
        with contextlib.suppress(SocketClosed, TimeoutError):
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                if not client.accepted:
                    status, fields, body = render(error, dialect, call_id)
                    if status == UPGRADE_REQUIRED:
                        fields.append((b"upgrade", b"HTTP/1.1"))  # RFC 9110, section 15.5.22: what is spoken instead
                    await client.refuse(status, fields, body)
                    return
                messages, code, reason = in_socket(error, dialect, operation, call_id)
                for message in messages:
                    await client.send(message)
                await client.close(code, reason)


class _Handshake:
    """One socket, from the handshake on."""

    def __init__(
        self,
        services: CallServices,
        admission: Admission,
        inbound: Inbound,
        client: Client,
        asked: Asked,
        started: float,
    ) -> None:
        shape = inbound.route.operation.socket
        assert shape is not None  # noqa: S101 - its row is a socket's
        self._services = services
        self._admission = admission
        self._inbound = inbound
        self._client = client
        self._asked = asked
        self._started = started
        self._shape: SocketShape = shape

    async def serve(self) -> None:
        """Take the call, and fly it. Raises CallError where it is refused, SocketClosed where the client leaves."""
        inbound, admission = self._inbound, self._admission
        protocols, answer = subprotocols(inbound.fields)
        first: Frame | None = None
        if self._shape.first_frame == "call":
            await admission.precheck(inbound)
            first = await self._first_frame(answer)
            opening = first if isinstance(first, bytes) else first.encode()
            inbound = msgspec.structs.replace(inbound, opening=opening)
        elif self._shape.first_frame == "secret":
            found = inbound.head.credentials(admission.is_ours)
            secret = found.secret
            if secret is None and not found.in_url:
                first, secrets = scrubbed(await self._first_frame(answer), self._shape)
                distinct = {*filter(admission.is_ours, secrets)} or {*secrets}
                secret = distinct.pop() if len(distinct) == 1 else None
            inbound = msgspec.structs.replace(inbound, secret=secret)
        admitted = await admission.admit(inbound)
        session = Session(
            self._services,
            admission.price_of,
            self._shape,
            admitted,
            inbound,
            self._asked,
            self._client,
            self._started,
        )
        await session.run(protocols, answer, first)

    async def _first_frame(self, subprotocol: str | None) -> Frame:
        await self._client.accept(subprotocol, [(b"x-farthing-request-id", f"req_{self._inbound.call_id}".encode())])
        try:
            async with asyncio.timeout(SOCKET_FIRST_FRAME_S):
                return await self._client.receive()
        except TimeoutError:
            raise CallError(408, "request_timeout", "The first message took too long to arrive.") from None
