"""The composition root: builds every part once, wires them, and takes them down in order.

Two applications behind one door: the management API on Starlette, and everything else on the inference path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.api import portal
from gateway.api.endpoint import (
    authenticated,
    endpoint,
    error_response,
    http_error,
    json_response,
)
from gateway.api.manual import PAGES
from gateway.api.names import CatalogueNames
from gateway.api.stripe import inbound
from gateway.asgi import Receive, Send
from gateway.bounds import DRAIN_S
from gateway.call.admission import Admission
from gateway.call.caller import Callers
from gateway.call.endpoint import Inference, answer_empty
from gateway.call.flight import Flights
from gateway.call.free_operations import FreeOperations
from gateway.call.holding import Holds
from gateway.call.policy import Policy
from gateway.call.provider_errors import ProviderErrors
from gateway.call.reading import Readings
from gateway.call.relay import Relay
from gateway.call.request import Requests
from gateway.call.services import Patience, Upstreams
from gateway.call.settlement import Settlements, Unsettled
from gateway.config import Settings
from gateway.dashboard.portal.site import Portal
from gateway.dashboard.site import Site
from gateway.edge.cors import Cors
from gateway.edge.headers import as_mapping
from gateway.endpoints import ENDPOINTS, is_own, may_watch
from gateway.housework import housework
from gateway.outbox import mail
from gateway.outbox.deliveries import Deliveries
from gateway.pipelines import endpoint as pipelines
from gateway.pipelines.live import LiveRuns
from gateway.pipelines.runner import Means as RunMeans
from gateway.pipelines.sealing import Sealer
from gateway.problems import PROBLEMS, as_problem
from gateway.rates import Rate
from gateway.services import Services
from gateway.sockets.endpoint import Sockets
from gateway.stored.batches import Batches
from gateway.stored.ownership import Ownership
from gateway.stored.stages import StoredStages
from gateway.stripe.client import StripeClient
from gateway.stripe.looking import Looking
from gateway.stripe.sending import Sending
from gateway.switching.choices import Choices
from gateway.switching.known import KnownRoutes
from gateway.switching.rests import Rests
from gateway.switching.switch import Switch
from gateway.telemetry import Metrics, WorkerSnapshots
from gateway.upstream.clients import real
from gateway.upstream.health import Health
from gateway.upstream.simulated import SimulatedSockets, SimulatedUpstream
from gateway.upstream.websocket import WebSocketUpstream
from keys.hashing import SecretHasher
from keys.ids import new_body
from keys.keyring import Keyring
from keys.minting import Minter
from keys.plans import EndUsers, Plans
from ledger.ledger import Ledger
from ledger.records import LedgerUnavailable
from providers.pricing.catalogue import Catalogue

READY_TIMEOUT_S = 2.0

_WATCHED_PATHS = frozenset(("/healthz", "/readyz", "/metrics"))
_IDS_WITH_SLASHES = "/v1/end_users/"
_DASHBOARD = "/dashboard"
_PORTAL = portal.PATH


def clock_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def _composed(
    settings: Settings,
    ledger: Ledger,
    keyring: Keyring,
    hasher: SecretHasher,
    snapshots: WorkerSnapshots | None,
    down: Sequence[str],
) -> Services:
    """All that the process has, built once."""
    clock_ms, places = ledger.clock_ms, settings.places
    catalogue = Catalogue.load(overrides=settings.price_files, picos_per_credit=settings.picos_per_credit)
    names = CatalogueNames(catalogue)
    flights = Flights(settings.disconnect_drain_s)
    metrics = Metrics(
        lambda: float(len(flights)), lambda: float(ledger.waiting), lambda: float(ledger.commits), snapshots
    )
    unsettled = Unsettled(left=settings.unsettled, unanswered_ms=settings.unanswered_s * 1000 or None)
    upstreams = Upstreams(
        live=real(settings.upstream_client),
        simulated=SimulatedUpstream(clock_ms),
        live_sockets=WebSocketUpstream(),
        simulated_sockets=SimulatedSockets(clock_ms),
    )
    return Services(
        settings=settings,
        clock_ms=clock_ms,
        ledger=ledger,
        catalogue=catalogue,
        keyring=keyring,
        minter=Minter(ledger, keyring, hasher, clock_ms, names),
        plans=Plans(ledger, clock_ms, names),
        end_users=EndUsers(ledger, clock_ms, names),
        makes=Rate(settings.mints_per_minute, clock_ms),
        flights=flights,
        metrics=metrics,
        settlements=Settlements(ledger, metrics, catalogue, unsettled),
        errors=ProviderErrors(metrics, ledger.outbox.alarm),
        readings=Readings(),
        health=Health(flights.now, ledger.outbox.upstream_turned, down),
        routes=KnownRoutes(ledger.routes, (name for name, pool in settings.elsewhere.pools.items() if len(pool) > 1)),
        rests=Rests(flights.now),
        models=Health(flights.now, lambda name, why: None),
        places=places,
        upstreams=upstreams,
        batches=Batches(ledger, catalogue, upstreams, places, clock_ms),
        deliveries=Deliveries(
            ledger.outbox,
            clock_ms,
            private=settings.hooks_private,
            smtp=mail.server(settings.smtp_url, settings.mail_from) if settings.smtp_url else None,
            counted=metrics.delivery,
        ),
        stripe=Looking(StripeClient(settings.stripe.origin, settings.stripe.api_key), ledger.stripe, clock_ms)
        if settings.stripe.api_key
        else None,
        sending=_sending(settings, ledger),
    )


def _sending(settings: Settings, ledger: Ledger) -> Sending | None:
    """Who tells Stripe of usage, where there is a meter for it."""
    found = settings.stripe
    if not found.meter:
        return None
    return Sending(StripeClient(found.origin, found.api_key), ledger.metered, ledger.clock_ms, found.meter)


class Gateway:
    """The whole application. Open it with `open`; it is an ASGI callable."""

    def __init__(self, services: Services, sealer: Sealer) -> None:
        self.services = services
        self.settings, self.ledger, self.flights = services.settings, services.ledger, services.flights
        settings, ledger, catalogue, clock_ms = self.settings, self.ledger, services.catalogue, services.clock_ms
        ownership, holds = Ownership(ledger, clock_ms), Holds(ledger, clock_ms)
        admission = Admission(
            ledger,
            catalogue,
            self.flights,
            Callers(services.keyring, ledger),
            Requests(ownership, services.readings, catalogue, services.routes),
            Policy(catalogue, settings, clock_ms),
            holds,
            FreeOperations(ledger, holds, settings, clock_ms),
        )
        self.relay = Relay(
            services,
            StoredStages(ledger, ownership, services.batches),
            Patience(head_s=settings.head_timeout_s, silence_s=settings.silence_timeout_s),
        )
        ledger.outbox.listen(services.deliveries.ring)
        self._cors = Cors(settings.cors_origins)
        elsewhere = settings.elsewhere
        switch = Switch(
            Choices(services.routes, catalogue, services.places, elsewhere),
            elsewhere,
            admission,
            self.relay,
            services.metrics,
            self.flights.now,
            services.rests,
            services.models,
        )
        self._inference = Inference(admission, self.relay, self.flights, services.metrics, self._cors, clock_ms, switch)
        self._sockets = Sockets(services, admission, clock_ms)
        self._runs = LiveRuns(ledger)
        means = RunMeans(ledger, self._inference, sealer, self._runs.spawn)
        self._management = self._made_management()
        self._management.state.pipelines = pipelines.Pipelines(means, self._runs, self._inference.quoted)
        self._dashboard = Site(services, self).app
        self._portal = Portal(services).app

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, settings: Settings, *, clock_ms: Callable[[], int] = clock_ms, snapshots: WorkerSnapshots | None = None
    ) -> AsyncIterator[tuple[Gateway, str | None]]:
        """A running gateway, and the first master key's secret if it was minted just now.

        `snapshots` is for one of several workers of a machine.

        Raises what opening the ledger raises.
        """
        owner = f"{os.getpid()}.{secrets.token_hex(8)}"
        ledger = await Ledger.open(
            settings.database_url,
            clock_ms=clock_ms,
            owner=owner,
            unsettled=settings.unsettled,
            lease_s=settings.lease_s,
            state_dir=settings.state_dir,
            grace_days=settings.stripe.grace_days,
        )
        hasher = SecretHasher()
        try:
            keyring = await Keyring.open(ledger, hasher, clock_ms=ledger.clock_ms, master=settings.master_key)
            down = await ledger.outbox.upstreams_down()
            services = _composed(settings, ledger, keyring, hasher, snapshots, down)
            secret = await ledger.setting("pipelines_secret", secrets.token_hex(32))
            gateway = cls(services, Sealer(bytes.fromhex(secret)))
            await services.routes.refresh()
            printed = await services.minter.first_master(settings.master_key)
            try:
                async with housework(services, beside_others=snapshots is not None):
                    yield gateway, printed
            finally:
                await gateway.stop()
        finally:
            await ledger.close()
            hasher.close()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "websocket" and not self._is_metrics_door(scope):
            await self._sockets(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"]
        if self.settings.metrics_port and self._is_metrics_door(scope) and path not in _WATCHED_PATHS:
            await self._management(scope | {"path": "/nothing"}, receive, send)  # type: ignore[arg-type]
            return
        if path[-1:] == "/" and path != "/" and not path.startswith(_IDS_WITH_SLASHES) and is_own(path[:-1]):
            path = path[:-1]  # served, never redirected: behind TLS we do not know to where
            scope = scope | {"path": path}
        if path == "/v1/me" and (page := (headers := as_mapping(scope["headers"])).get("origin")) is not None:
            if scope["method"] == "OPTIONS":
                await answer_empty(send, self._cors.preflight(headers))
                return
            send = self._cors.around(send, page)
        if path == _DASHBOARD or path.startswith(f"{_DASHBOARD}/"):
            await self._dashboard(scope, receive, send)  # type: ignore[arg-type]
        elif path == _PORTAL or path.startswith(f"{_PORTAL}/"):
            await self._portal(scope, receive, send)  # type: ignore[arg-type]
        elif is_own(path):
            await self._management(scope, receive, send)  # type: ignore[arg-type]
        else:
            await self._inference(scope, receive, send)

    def _is_metrics_door(self, scope: MutableMapping[str, Any]) -> bool:
        """Whether it came in where metrics are open, and nothing else is."""
        return self.settings.metrics_port != 0 and (scope.get("server") or ("", 0))[1] == self.settings.metrics_port

    def drain(self) -> None:
        """Take no new calls, and end those in flight after `DRAIN_S`; called again, end them now."""
        loop = asyncio.get_running_loop()
        loop.call_later(0 if self._inference.draining else DRAIN_S, self._cut_all)
        self._inference.draining = self._sockets.draining = self._runs.draining = True

    def _cut_all(self) -> None:
        self._inference.stopping = True
        self.flights.cut_all("shutdown")

    async def stop(self) -> None:
        """End what is still in flight; the server has waited for it as long as it may."""
        self._inference.draining = self._sockets.draining = self._runs.draining = self._inference.stopping = True
        await self.flights.close(0)
        await self._runs.close()
        await self.services.readings.close()
        await self.services.upstreams.close()
        if self.services.stripe is not None:
            await self.services.stripe.close()
        if self.services.sending is not None:
            await self.services.sending.close()

    def _made_management(self) -> Starlette:
        services = self.services
        app = Starlette(
            routes=[
                *(Route(path, endpoint(services, run, may), methods=[method]) for method, path, run, may in ENDPOINTS),
                *(Route(path, page, methods=["GET"]) for path, page in PAGES),
                Route("/v1/inbound/stripe", inbound(services), methods=["POST"]),
                Route("/", self._front, methods=["GET"]),
                Route("/healthz", self._healthz, methods=["GET"]),
                Route("/readyz", self._readyz, methods=["GET"]),
                Route("/metrics", self._metrics_text, methods=["GET"]),
            ],
            exception_handlers={404: http_error, 405: http_error, 500: http_error},
        )
        app.router.redirect_slashes = False
        return app

    async def _front(self, request: Request) -> Response:
        """Browsers are led to the dashboard; clients are told that there is nothing here."""
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(_DASHBOARD, 303)
        return http_error(request, HTTPException(404))

    async def _healthz(self, request: Request) -> Response:
        return json_response({"status": "ok"})

    async def _readyz(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self.ledger.probe()
            ready = not self._inference.draining
        except (LedgerUnavailable, TimeoutError):
            ready = False
        return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def _metrics_text(self, request: Request) -> Response:
        if not self._is_metrics_door(request.scope):
            try:
                try:
                    await authenticated(request, self.services.keyring, may_watch)
                except LedgerUnavailable:  # that is when metrics are wanted most: by what is remembered of the key
                    await authenticated(request, self.services.keyring, may_watch, fresh=False)
            except PROBLEMS as error:
                return error_response(as_problem(error), new_body(self.services.clock_ms()))
        return PlainTextResponse(self.services.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
