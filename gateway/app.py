"""The composition root: builds every part once, wires them, and takes them down in order.

Two applications behind one door: the management API on Starlette, and everything else on the raw inference path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.api import end_users, events, hooks, keys, plans, reports, reservations, usage
from gateway.api.endpoint import (
    Handler,
    Services,
    authenticated,
    endpoint,
    error_response,
    http_error,
    json_response,
)
from gateway.api.names import CatalogueNames
from gateway.asgi import Receive, Send
from gateway.bounds import DRAIN_S
from gateway.call.admission import Admission
from gateway.call.caller import Callers
from gateway.call.endpoint import Inference, answer_empty
from gateway.call.flight import Flights
from gateway.call.free_operations import FreeOperations
from gateway.call.holding import Holds
from gateway.call.means import Means, Patience
from gateway.call.policy import Policy
from gateway.call.provider_errors import ProviderErrors
from gateway.call.reading import Readings
from gateway.call.relay import Relay
from gateway.call.request import Requests
from gateway.call.settlement import Settlements, Unsettled
from gateway.config import Settings
from gateway.edge.cors import Cors
from gateway.edge.headers import as_mapping
from gateway.housework import Household, housework
from gateway.outbox import mail
from gateway.outbox.deliveries import Deliveries
from gateway.problems import PROBLEMS, as_problem
from gateway.rates import Rate
from gateway.sockets.endpoint import Sockets
from gateway.stored.batches import Batches
from gateway.stored.ownership import Ownership
from gateway.stored.stages import StoredStages
from gateway.telemetry import Board, Metrics
from gateway.upstream.clients import real
from gateway.upstream.simulated import SimulatedSockets, SimulatedUpstream
from gateway.upstream.websocket import WebSocketUpstream
from keys.hashing import SecretHasher
from keys.ids import new_body
from keys.keyring import Key, Keyring
from keys.minting import Minter
from keys.plans import EndUsers, Plans
from ledger.ledger import Ledger
from ledger.records import LedgerUnavailable
from providers.pricing.catalogue import Catalogue

READY_TIMEOUT_S = 2.0

_OWN_ROOTS = frozenset(
    (
        "keys",
        "me",
        "usage",
        "events",
        "holds",
        "plans",
        "limits",
        "end_users",
        "hooks",
        "deliveries",
        "alerts",
        "prices",
        "pipelines",
        "reservations",
        "check",
        "estimate",
    )
)
_OWN_PATHS = frozenset(("/", "/healthz", "/readyz", "/metrics"))
_WATCHED_PATHS = frozenset(("/healthz", "/readyz", "/metrics"))
_IDS_WITH_SLASHES = "/v1/end_users/"


def clock_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def _is_own(path: str) -> bool:
    return path in _OWN_PATHS or (path.startswith("/v1/") and path[4:].partition("/")[0] in _OWN_ROOTS)


def _manages(key: Key) -> bool:
    return key.policy.may_manage


def _reads(key: Key) -> bool:
    return key.policy.may_read


def _reports(key: Key) -> bool:
    return key.policy.scope in ("master", "team", "ingest")


def _reserves(key: Key) -> bool:
    return key.policy.scope in ("master", "team", "standard", "ingest")


def _operates(key: Key) -> bool:
    return key.policy.scope == "master"


def _may_watch(key: Key) -> bool:
    """Metrics tell of all tenants: for the operator, and for keys that he has made himself to read."""
    scope = key.policy.scope
    return scope == "master" or (scope == "read" and all(policy.scope == "master" for policy in key.policies[1:]))


def _anyone(key: Key) -> bool:
    return True


ENDPOINTS: tuple[tuple[str, str, Handler, Callable[[Key], bool]], ...] = (
    ("POST", "/v1/keys", keys.mint, _manages),
    ("GET", "/v1/keys", keys.list_keys, _reads),
    ("GET", "/v1/keys/{id}", keys.get, _reads),
    ("PATCH", "/v1/keys/{id}", keys.change, _manages),
    ("DELETE", "/v1/keys/{id}", keys.revoke, _manages),
    ("POST", "/v1/keys/{id}/revoke", keys.revoke, _manages),
    ("POST", "/v1/keys/{id}/rotate", keys.rotate, _manages),
    ("GET", "/v1/keys/{id}/usage", events.key_usage, _reads),
    ("POST", "/v1/keys/{id}/credits", keys.credit, _manages),
    ("GET", "/v1/me", keys.me, _anyone),
    ("GET", "/v1/usage", usage.usage, _reads),
    ("GET", "/v1/events", events.events, _reads),
    ("POST", "/v1/events", reports.report, _reports),
    ("GET", "/v1/holds", events.holds, _reads),
    ("POST", "/v1/holds/{id}/resolve", events.resolve, _operates),
    ("POST", "/v1/plans", plans.make, _manages),
    ("GET", "/v1/plans", plans.list_plans, _reads),
    ("GET", "/v1/plans/{id}", plans.get, _reads),
    ("PATCH", "/v1/plans/{id}", plans.change, _manages),
    ("DELETE", "/v1/plans/{id}", plans.remove, _manages),
    ("GET", "/v1/end_users/{id:path}", end_users.get, _reads),
    ("PUT", "/v1/end_users/{id:path}", end_users.put, _manages),
    ("DELETE", "/v1/end_users/{id:path}", end_users.forget, _manages),
    ("POST", "/v1/hooks", hooks.make, _manages),
    ("GET", "/v1/hooks", hooks.list_hooks, _manages),
    ("GET", "/v1/hooks/{id}", hooks.get, _manages),
    ("PATCH", "/v1/hooks/{id}", hooks.change, _manages),
    ("DELETE", "/v1/hooks/{id}", hooks.remove, _manages),
    ("POST", "/v1/hooks/{id}/rotate", hooks.rotate, _manages),
    ("POST", "/v1/hooks/{id}/test", hooks.test, _manages),
    ("GET", "/v1/hooks/{id}/deliveries", hooks.deliveries, _manages),
    ("POST", "/v1/hooks/{id}/replay", hooks.replay, _manages),
    ("GET", "/v1/deliveries/{id}", hooks.get_delivery, _manages),
    ("POST", "/v1/deliveries/{id}/retry", hooks.retry, _manages),
    ("POST", "/v1/reservations", reservations.reserve, _reserves),
    ("POST", "/v1/reservations/{id}/commit", reservations.commit, _reserves),
    ("POST", "/v1/reservations/{id}/release", reservations.release, _reserves),
    ("POST", "/v1/reservations/{id}/extend", reservations.extend, _reserves),
    ("POST", "/v1/check", reservations.check, _reserves),
    ("POST", "/v1/estimate", reservations.estimate, _anyone),
)
"""The management API: method, path, handler, and which keys are let in."""


class Gateway:
    """The whole application. Open it with `open`; it is an ASGI callable."""

    def __init__(
        self,
        ledger: Ledger,
        keyring: Keyring,
        hasher: SecretHasher,
        settings: Settings,
        clock_ms: Callable[[], int],
        board: Board | None = None,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self._clock_ms = clock_ms
        self._hasher = hasher
        self._keyring = keyring
        self.catalogue = Catalogue.load(overrides=settings.price_files, picos_per_credit=settings.picos_per_credit)
        self._names = CatalogueNames(self.catalogue)
        self.flights = Flights(settings.disconnect_drain_s)
        self.metrics = Metrics(
            lambda: float(len(self.flights)), lambda: float(ledger.waiting), lambda: float(ledger.commits), board
        )
        self._live, self._simulated = real(settings.upstream_client), SimulatedUpstream(clock_ms)
        self.minter = Minter(ledger, keyring, hasher, ledger.clock_ms, self._names)
        ownership = Ownership(ledger, clock_ms)
        upstreams = self._live, self._simulated
        self.batches = Batches(ledger, self.catalogue, *upstreams, settings.places, clock_ms)
        self._readings = Readings()
        holds = Holds(ledger, clock_ms)
        admission = Admission(
            ledger,
            self.catalogue,
            self.flights,
            Callers(keyring, ledger),
            Requests(ownership, self._readings, self.catalogue),
            Policy(self.catalogue, settings, clock_ms),
            holds,
            FreeOperations(ledger, holds, settings, clock_ms),
        )
        unanswered_ms = settings.unanswered_s * 1000 or None
        settlements = Settlements(
            ledger, self.metrics, self.catalogue, Unsettled(left=settings.unsettled, unanswered_ms=unanswered_ms)
        )
        errors = ProviderErrors(self.metrics, {name: place.credential for name, place in settings.places.items()})
        means = Means(ledger, self.flights, self.metrics, settlements, errors, self._readings, settings.places)
        self.relay = Relay(
            means,
            self._live,
            self._simulated,
            StoredStages(ledger, ownership, self.batches),
            Patience(head_s=settings.head_timeout_s, silence_s=settings.silence_timeout_s),
        )
        self.deliveries = Deliveries(
            ledger.outbox,
            ledger.clock_ms,
            private=settings.hooks_private,
            smtp=mail.server(settings.smtp_url, settings.mail_from) if settings.smtp_url else None,
            counted=self.metrics.delivery,
        )
        ledger.outbox.listen(self.deliveries.ring)
        self._cors = Cors(settings.cors_origins)
        self._inference = Inference(admission, self.relay, self.flights, self.metrics, self._cors, clock_ms)
        self._sockets = Sockets(means, admission, WebSocketUpstream(), SimulatedSockets(clock_ms), clock_ms)
        self._management = self._make_management(keyring)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, settings: Settings, *, clock_ms: Callable[[], int] = clock_ms, board: Board | None = None
    ) -> AsyncIterator[tuple[Gateway, str | None]]:
        """A running gateway, and the first master key's secret if it was minted just now.

        `board` is for one of several workers of a machine.

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
        )
        hasher = SecretHasher()
        try:
            keyring = await Keyring.open(ledger, hasher, clock_ms=ledger.clock_ms, master=settings.master_key)
            gateway = cls(ledger, keyring, hasher, settings, ledger.clock_ms, board)
            printed = await gateway.minter.first_master(settings.master_key)
            household = Household(
                ledger,
                gateway.flights,
                gateway.batches,
                gateway.deliveries,
                gateway.metrics,
                settings,
                beside_others=board is not None,
            )
            try:
                async with housework(household):
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
        if path[-1:] == "/" and path != "/" and not path.startswith(_IDS_WITH_SLASHES) and _is_own(path[:-1]):
            path = path[:-1]  # served, never redirected: behind TLS we do not know to where
            scope = scope | {"path": path}
        if path == "/v1/me" and (page := (headers := as_mapping(scope["headers"])).get("origin")) is not None:
            if scope["method"] == "OPTIONS":
                await answer_empty(send, self._cors.preflight(headers))
                return
            send = self._cors.around(send, page)
        if _is_own(path):
            await self._management(scope, receive, send)  # type: ignore[arg-type]
        else:
            await self._inference(scope, receive, send)

    def _is_metrics_door(self, scope: MutableMapping[str, Any]) -> bool:
        """Whether it came in where metrics are open, and nothing else is."""
        return self.settings.metrics_port != 0 and (scope.get("server") or ("", 0))[1] == self.settings.metrics_port

    def drain(self) -> None:
        """Take no new calls, and end those in flight after `DRAIN_S`; called again, end them now."""
        loop = asyncio.get_running_loop()
        loop.call_later(0 if self._inference.draining else DRAIN_S, self.flights.cut_all, "shutdown")
        self._inference.draining = self._sockets.draining = True

    async def stop(self) -> None:
        """End what is still in flight; the server has waited for it as long as it may."""
        self._inference.draining = self._sockets.draining = True
        await self.flights.close(0)
        await self._readings.close()
        await self._live.close()
        await self._simulated.close()

    def _make_management(self, keyring: Keyring) -> Starlette:
        services = Services(
            ledger=self.ledger,
            keyring=keyring,
            minter=self.minter,
            plans=Plans(self.ledger, self._clock_ms, self._names),
            end_users=EndUsers(self.ledger, self._clock_ms, self._names),
            catalogue=self.catalogue,
            clock_ms=self._clock_ms,
            cut_account=lambda account_id: self.flights.cut_account(account_id, "key_revoked"),
            ring=self.deliveries.ring,
            sends_mail=bool(self.settings.smtp_url),
            private_hooks=self.settings.hooks_private,
            makes=Rate(self.settings.mints_per_minute, self._clock_ms),
        )
        app = Starlette(
            routes=[
                *(Route(path, endpoint(services, run, may), methods=[method]) for method, path, run, may in ENDPOINTS),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics_text),
            ],
            exception_handlers={404: http_error, 405: http_error, 500: http_error},
        )
        app.router.redirect_slashes = False
        return app

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
                    await authenticated(request, self._keyring, _may_watch)
                except LedgerUnavailable:  # that is when metrics are wanted most: by what is remembered of the key
                    await authenticated(request, self._keyring, _may_watch, fresh=False)
            except PROBLEMS as error:
                return error_response(as_problem(error), new_body(self._clock_ms()))
        return PlainTextResponse(self.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
