"""The dashboard's paths: which page each shows, and what each form does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.responses import Response

from gateway.dashboard import alerts, calls, catalogue, changes, customers, keys, overview, plans, trial, usage
from gateway.dashboard.page import Page

Show = Callable[[Page], Awaitable[Response]]


class Act(msgspec.Struct, frozen=True):
    """What a form does; and the page that is shown again, with the reason, where it is refused."""

    run: Show
    again: Show


PAGES: tuple[tuple[str, Show], ...] = (
    ("", overview.show),
    ("/keys", keys.show_list),
    ("/keys/new", keys.show_new),
    ("/keys/{id}", keys.show_one),
    ("/usage", usage.show),
    ("/usage.csv", usage.show_csv),
    ("/calls", calls.show_list),
    ("/calls.csv", calls.show_csv),
    ("/calls/{id}", calls.show_one),
    ("/customers", customers.show_list),
    ("/customer", customers.show_one),
    ("/changes", changes.show_list),
    ("/plans", plans.show_list),
    ("/plans/{id}", plans.show_one),
    ("/providers", catalogue.show_providers),
    ("/prices", catalogue.show_prices),
)
MANAGING: tuple[tuple[str, Show], ...] = (
    ("/alerts", alerts.show_list),
    ("/alerts/{id}", alerts.show_one),
    ("/deliveries/{id}", alerts.show_delivery),
    ("/try", trial.show),
)
"""Pages for keys only that may change something, as in the API."""
ACTS: tuple[tuple[str, Act], ...] = (
    ("/keys", Act(keys.mint, keys.show_new)),
    ("/keys/{id}/raise", Act(keys.change, keys.show_one)),
    ("/keys/{id}/credit", Act(keys.credit, keys.show_one)),
    ("/keys/{id}/rotate", Act(keys.rotate, keys.show_one)),
    ("/keys/{id}/disable", Act(keys.disable, keys.show_one)),
    ("/keys/{id}/enable", Act(keys.enable, keys.show_one)),
    ("/keys/{id}/revoke", Act(keys.revoke, keys.show_one)),
    ("/calls/{id}/resolve", Act(calls.resolve, calls.show_one)),
    ("/customer/change", Act(customers.change, customers.show_one)),
    ("/customer/forget", Act(customers.forget, customers.show_one)),
    ("/plans", Act(plans.make, plans.show_list)),
    ("/plans/{id}/change", Act(plans.change, plans.show_one)),
    ("/plans/{id}/remove", Act(plans.remove, plans.show_one)),
    ("/alerts", Act(alerts.make, alerts.show_list)),
    ("/alerts/{id}/test", Act(alerts.test, alerts.show_one)),
    ("/alerts/{id}/switch", Act(alerts.switch, alerts.show_one)),
    ("/alerts/{id}/rotate", Act(alerts.rotate, alerts.show_one)),
    ("/alerts/{id}/replay", Act(alerts.replay, alerts.show_one)),
    ("/alerts/{id}/remove", Act(alerts.remove, alerts.show_one)),
    ("/deliveries/{id}/retry", Act(alerts.retry, alerts.show_delivery)),
    ("/try", Act(trial.run, trial.show)),
)
