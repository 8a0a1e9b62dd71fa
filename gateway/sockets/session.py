"""An admitted socket: passes messages both ways, holds more while it lives, and settles it once.

Promises: messages pass verbatim, each read by a meter on its way, and no side is read faster than the other takes. The
hold grows in steps: when three quarters are used, and always before a message that a cap which must hold could not pay
for. When no limit has room for more, what is in flight may end, and the client is told why in its protocol's own
terms. Whatever happens, the flight lands: the bill is handed over before anybody is told goodbye.

What ASGI does not pass on: pings and pongs (each side is answered, and asked, by us), the bounds of fragments, and a
connection that broke without a close, which looks like a close without a code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from gateway.bounds import (
    SOCKET_CLOSE_TIMEOUT_S,
    SOCKET_CONNECT_TIMEOUT_S,
    SOCKET_FINISH_S,
    SOCKET_IDLE_S,
    SOCKET_QUIET_S,
    SOCKET_S_MAX,
    WRITE_TIMEOUT_S,
)
from gateway.call.flying import FlyingCall
from gateway.call.forwarding import shaken
from gateway.call.hold import SocketGrowth
from gateway.call.quote import unbounded
from gateway.call.records import Admitted, Inbound
from gateway.call.reply import ours, passed_on
from gateway.call.services import CallServices
from gateway.problems import CallError, in_socket, render
from gateway.sockets.client import Client
from gateway.upstream.base import (
    BROKEN,
    Duplex,
    HandshakeRefused,
    SocketClosed,
    UpstreamFailed,
)
from keys.keyring import Key
from providers.contract.metering import Conclusion, conclude
from providers.contract.shapes import Asked
from providers.contract.sockets import NOTHING_DUE, Due, Frame, SocketShape, Stop
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.pricing.prices import Price
from providers.reading.frames import without_secrets
from providers.routing import Route

PriceOf = Callable[[Route, Key, str], Price]
"""What a further model costs that a message puts to work. Raises CallError where the key may not use it."""

_SWITCHED = 101
_ENDINGS = {
    "key_revoked": CallError(401, "key_revoked", "This key has been revoked."),
    "timeout": CallError(408, "timeout", "The session was open, or silent, for too long."),
    "shutdown": CallError(503, "overloaded", "The gateway is stopping."),
}
_BROKEN_OFF = CallError(502, "upstream_unreachable", "The provider broke off the connection.")


def scrubbed(frame: Frame, shape: SocketShape) -> tuple[Frame, list[str]]:
    """A message without the keys in it, and those keys. Raises CallError."""
    try:
        return without_secrets(frame, shape.secrets)
    except BadRequest as error:
        raise CallError(400, error.code, error.message, param=error.param) from None


class _Over(msgspec.Struct, frozen=True):
    """How one direction ended: by whom, and the code and reason of a close or the error of ours."""

    by: str  # "client" | "provider" | "us"
    code: int = BROKEN
    reason: str = ""
    error: CallError | None = None


class Session(FlyingCall):
    """An admitted socket."""

    def __init__(
        self,
        services: CallServices,
        price_of: PriceOf,
        shape: SocketShape,
        admitted: Admitted,
        inbound: Inbound,
        asked: Asked,
        client: Client,
        started: float,
    ) -> None:
        super().__init__(services, admitted, started, SOCKET_CONNECT_TIMEOUT_S)
        self._price_of = price_of
        self._shape = shape
        self._inbound = inbound
        self._client = client
        price = admitted.price
        self._meter = shape.meter(
            admitted.call,
            asked,
            max_input_tokens=price.max_input_tokens if price is not None else None,
            max_output_tokens=price.max_output_tokens if price is not None else None,
        )
        self._growth = SocketGrowth(self._hold, admitted, self._meter, self._now)
        self._provider: Duplex | None = None
        self._opened = started
        self._last_moment = self._now() + SOCKET_S_MAX
        self._write_by: float | None = None
        self._heard = 0.0  # when the provider said something last
        self._stopped = ""

    async def run(self, protocols: list[str], answer: str | None, first: Frame | None) -> None:
        """Fly. Every way out of here has landed."""
        flight, flights = self._flight, self._services.flights
        flights.add(flight)
        sent = False
        over: _Over | None = None
        try:
            handshake = shaken(self._admitted, self._inbound.head, protocols, self._place)
            self._dispatched()
            sent = True
            upstream = self._services.upstreams.sockets_of(livemode=self._admitted.key.livemode)
            self._provider = await upstream.open(handshake)
            flight.stage = "answering"
            self._answered(_SWITCHED)
            self._opened = self._now()
            self._touch()
            if not self._client.accepted:
                await self._client.accept(self._provider.subprotocol or answer, ours(self._admitted))
            over = await self._relay(first)
            self._land(over)
            await self._part(over)
        except HandshakeRefused as refusal:
            self._answered(refusal.status)
            self._land(None)
            await self._relay_refusal(refusal)
        except UpstreamFailed as failure:
            sent = failure.sent
            self._unanswered(failure)
            self._land(None, sent=sent)
            raise CallError(502, "upstream_unreachable", "The provider cannot be reached.") from None
        except asyncio.CancelledError:
            self._land(over, sent=sent)
            if not self._was_cut():
                raise
            await self._cut(flight.cut_reason)
        finally:
            self._land(over, sent=sent)
            flights.remove(flight)
            if self._provider is not None:
                self._provider.abort()

    # ---- messages

    async def _relay(self, first: Frame | None) -> _Over:
        """Pass messages both ways until one side is done, and let the other finish what is in flight."""
        provider, flight = self._provider, self._flight
        assert provider is not None  # noqa: S101 - it has been opened
        outward = asyncio.create_task(self._outward(provider, first))
        inward = asyncio.create_task(self._inward(provider))
        try:
            await asyncio.wait((outward, inward), return_when=asyncio.FIRST_COMPLETED)
            if inward.done():
                return inward.result()
            over = outward.result()
            if over.by == "provider":
                # It can be written to no more, but what it said before may still be here.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SOCKET_CLOSE_TIMEOUT_S):
                        return await inward
            elif over.by == "us":
                self._stopped = over.error.code if over.error is not None else ""
                await self._finish(provider, inward)
            else:
                self._services.flights.client_gone(flight)
                await self._take_leave(provider, inward)
            return over
        finally:
            outward.cancel()
            inward.cancel()
            await asyncio.gather(outward, inward, return_exceptions=True)

    async def _outward(self, provider: Duplex, first: Frame | None) -> _Over:
        """From the client to the provider."""
        while True:
            frame = first
            first = None
            if frame is None:
                try:
                    frame = await self._client.receive()
                except SocketClosed as closed:
                    return _Over("client", closed.code, closed.reason)
            self._touch()
            self._tick()
            try:
                frame, due = self._weighed(frame)
                error = await self._growth.afford(due)
            except CallError as refused:
                error = refused
            if error is not None:
                return _Over("us", error=error)
            self._meter.sent(due)
            try:
                await provider.send(frame)
            except SocketClosed as closed:
                return _Over("provider", closed.code, closed.reason)

    def _weighed(self, frame: Frame) -> tuple[Frame, Due]:
        """The message to forward, and what it adds. Raises CallError where it must not be."""
        if self._shape.first_frame == "secret":
            frame, secrets = scrubbed(frame, self._shape)
            if any(secret != self._inbound.secret for secret in secrets):
                raise CallError(401, "conflicting_credentials", "The socket carries two different keys.")
        try:
            due = self._meter.weigh(frame)
        except BadRequest as error:
            told = error.message.replace("request body", "message")
            raise CallError(400, error.code, told, param=error.param) from None
        if isinstance(due, Stop):
            raise CallError(403 if due.code == "model_not_allowed" else 400, due.code, due.message, param=due.param)
        if self._admitted.price is not None:
            if self._growth.sound and (unlisted := self._shape.unlisted(frame)):
                raise unbounded(unlisted)
            for model in self._meter.models(due) - self._growth.beside.keys():
                self._growth.beside[model] = self._price_of(self._admitted.route, self._admitted.key, model)
        return frame, due

    async def _inward(self, provider: Duplex) -> _Over:
        """From the provider to the client. Reads on for the meter when the client has gone."""
        while True:
            try:
                frame = await provider.receive()
            except SocketClosed as closed:
                return _Over("provider", closed.code, closed.reason)
            self._heard = self._now()
            if self._first is None:
                self._first = self._heard
            try:
                await self._pass_on(frame)
            finally:
                self._meter.received(frame)  # also if the client does not take it: it was made, so it is billed
            self._tick()
            if self._flight.client_gone:
                if not self._meter.busy():
                    return _Over("client")
                continue
            self._touch()
            if self._stopped:
                continue
            error = await self._growth.afford(NOTHING_DUE)
            if error is not None and not self._growth.sound and not self._meter.busy():
                return _Over("us", error=error)

    async def _pass_on(self, frame: Frame) -> None:
        if self._flight.client_gone or self._client.gone:
            return
        self._write_by = self._now() + WRITE_TIMEOUT_S
        self._touch()
        with contextlib.suppress(SocketClosed):  # the other direction learns it too, and says how
            await self._client.send(frame)
        self._write_by = None

    def _touch(self) -> None:
        """Somebody said something: the time to be silent begins anew."""
        if not self._flight.client_gone:
            deadline = min(self._now() + SOCKET_IDLE_S, self._last_moment)
            self._flight.deadline = deadline if self._write_by is None else min(deadline, self._write_by)

    def _tick(self) -> None:
        self._meter.elapsed(round((self._now() - self._opened) * 1000))

    async def _finish(self, provider: Duplex, inward: asyncio.Task[_Over]) -> None:
        """Let the provider end what it is at, for a while."""
        await self._bid_farewell(provider)
        until = self._now() + SOCKET_FINISH_S
        self._heard = max(self._heard, self._now() - SOCKET_QUIET_S / 2)
        while not inward.done() and self._meter.busy() and self._now() < until:
            if self._now() - self._heard >= SOCKET_QUIET_S:
                return
            await asyncio.wait((inward,), timeout=0.05)

    async def _take_leave(self, provider: Duplex, inward: asyncio.Task[_Over]) -> None:
        """Read on for the true usage of a client that has gone; the watchdog ends it."""
        await self._bid_farewell(provider)
        if self._meter.busy():
            await asyncio.wait((inward,))

    async def _bid_farewell(self, provider: Duplex) -> None:
        farewell = self._meter.farewell()
        if farewell is not None:
            with contextlib.suppress(SocketClosed):
                await provider.send(farewell)

    # ---- endings

    async def _part(self, over: _Over) -> None:
        """Tell both sides how it ended."""
        provider = self._provider
        assert provider is not None  # noqa: S101 - it has been opened
        self._write_by = None
        self._flight.deadline = self._now() + WRITE_TIMEOUT_S
        with contextlib.suppress(SocketClosed):
            if over.by == "us":
                await self._say(over.error or _BROKEN_OFF)
            elif over.by == "provider" and over.code == BROKEN:
                await self._say(_BROKEN_OFF)
            elif over.by == "provider":
                await self._client.close(*_sendable(over.code, over.reason))
        code, reason = _sendable(over.code, over.reason) if over.by == "client" else (1000, "")
        await provider.close(code, reason)

    async def _say(self, error: CallError) -> None:
        operation = self._admitted.route.operation
        messages, code, reason = in_socket(error, operation.dialect, operation.name, self._admitted.call_id)
        for message in messages:
            await self._client.send(message)
        await self._client.close(code, reason)

    async def _cut(self, reason: str) -> None:
        """We ended the socket: by a deadline, a revocation, a stop."""
        if reason == "client_gone" or self._client.gone:
            self._client.abort()
            return
        error = _ENDINGS.get(reason, _BROKEN_OFF)
        try:
            # A client that does not read must not keep a cut socket alive.
            async with asyncio.timeout(1):
                if self._client.accepted:
                    await self._say(error)
                else:
                    await self._client.refuse(
                        *render(error, self._admitted.route.operation.dialect, self._admitted.call_id)
                    )
        except (TimeoutError, SocketClosed):
            self._client.abort()

    async def _relay_refusal(self, refusal: HandshakeRefused) -> None:
        """Pass the provider's own refusal on, unless it is about our account with it or not in its shape."""
        kind = refusal.headers.get("Content-Type", "")
        provider = self._admitted.route.provider
        status, body = (
            refusal.status,
            self._services.errors.shown(provider, refusal.status, kind, refusal.body, self._place.credential),
        )
        if self._client.accepted:
            raise CallError(status, "upstream_error", f"The provider answered {status}.")
        headers = passed_on(self._admitted, refusal.headers)
        headers.append((b"content-length", b"%d" % len(body)))
        await self._client.refuse(status, headers, body)

    def _land(self, over: _Over | None, *, sent: bool = True) -> None:
        """Hand the settlement to the ledger, once. Never awaits."""
        if not self._lands():
            return
        reason = self._flight.cut_reason or self._stopped
        if not reason and over is not None and over.error is not None:
            reason = over.error.code
        self._settle(self._concluded(sent=sent), self._growth.beside, sent=sent, reason=reason)

    def _concluded(self, *, sent: bool) -> Conclusion:
        if not sent or self._status != _SWITCHED:
            return Conclusion("released", Usage())  # a handshake that was not taken costs nothing
        self._tick()
        reading = self._meter.finish()
        return conclude(self._admitted.call, reading, ended="complete" if reading.complete else "cut", http_status=200)


def _sendable(code: int, reason: str) -> tuple[int, str]:
    """A close as it can be passed on: 1005, 1006 and 1015 stand for closes that never were sent."""
    if code in (1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)):
        return code, reason.encode()[:123].decode(errors="ignore")
    return 1000, ""
