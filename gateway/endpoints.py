"""The management API's table: method, path, handler, and which keys are let in. What is told of each stands in
`gateway.api.described`.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.api import (
    changes,
    end_users,
    events,
    hooks,
    keys,
    plans,
    portal,
    prices,
    reports,
    reservations,
    routes,
    stripe,
    usage,
)
from gateway.api.endpoint import Handler
from gateway.api.manual import PAGES
from gateway.pipelines import endpoint as pipelines
from keys.keyring import Key

_OWN_ROOTS = frozenset(
    (
        "keys",
        "me",
        "usage",
        "events",
        "inbound",
        "holds",
        "plans",
        "limits",
        "end_users",
        "hooks",
        "deliveries",
        "changes",
        "alerts",
        "portal_sessions",
        "prices",
        "pipelines",
        "routes",
        "upstreams",
        "stripe",
        "reservations",
        "check",
        "estimate",
    )
)
_OWN_PATHS = frozenset(("/", "/healthz", "/readyz", "/metrics", *(path for path, _ in PAGES)))


def is_own(path: str) -> bool:
    """Whether a path is the gateway's own, rather than a provider's."""
    return path in _OWN_PATHS or (path.startswith("/v1/") and path[4:].partition("/")[0] in _OWN_ROOTS)


def _manages(key: Key) -> bool:
    return key.policy.may_manage


def _reads(key: Key) -> bool:
    return key.policy.may_read


def _reports(key: Key) -> bool:
    return key.policy.scope in ("master", "team", "ingest")


def _reserves(key: Key) -> bool:
    return key.policy.scope in ("master", "team", "standard", "ingest")


def _calls(key: Key) -> bool:
    return key.policy.may_infer


def _cancels(key: Key) -> bool:
    return key.policy.may_infer or key.policy.may_manage


def _operates(key: Key) -> bool:
    return key.policy.scope == "master"


def may_watch(key: Key) -> bool:
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
    ("GET", "/v1/changes", changes.changes, _reads),
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
    ("POST", "/v1/portal_sessions", portal.start, _manages),
    ("POST", "/v1/reservations", reservations.reserve, _reserves),
    ("POST", "/v1/reservations/{id}/commit", reservations.commit, _reserves),
    ("POST", "/v1/reservations/{id}/release", reservations.release, _reserves),
    ("POST", "/v1/reservations/{id}/extend", reservations.extend, _reserves),
    ("POST", "/v1/check", reservations.check, _reserves),
    ("POST", "/v1/estimate", reservations.estimate, _anyone),
    ("GET", "/v1/prices", prices.prices, _anyone),
    ("POST", "/v1/pipelines/runs", pipelines.run, _calls),
    ("DELETE", "/v1/pipelines/runs/{id}", pipelines.cancel, _cancels),
    ("POST", "/v1/pipelines/check", pipelines.check, _calls),
    ("POST", "/v1/routes", routes.make, _operates),
    ("GET", "/v1/routes", routes.list_routes, _operates),
    ("GET", "/v1/routes/{id}", routes.get, _operates),
    ("PATCH", "/v1/routes/{id}", routes.change, _operates),
    ("DELETE", "/v1/routes/{id}", routes.remove, _operates),
    ("GET", "/v1/upstreams", routes.upstreams, _operates),
    ("GET", "/v1/stripe", stripe.standing, _operates),
)
"""The management API: method, path, handler, and which keys are let in."""
