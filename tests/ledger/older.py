"""What takes each step of the schemas back: a database of today becomes one of an earlier version, with its rows."""

from __future__ import annotations

WITHOUT_OUTBOX = (
    *(f"DROP TABLE {table}" for table in ("deliveries", "hooks", "messages", "changes")),
    *(f"ALTER TABLE accounts DROP COLUMN {column}" for column in ("hooks", "alert_at")),
    "ALTER TABLE limits DROP COLUMN alert_at",
    "DROP INDEX accounts_by_end",
)
CARRIED = ("carried", "carried_days", "carried_legs")
WITH_REST = ("rollups", "carried", "carried_days")
PICOS = tuple(
    statement
    for table in WITH_REST
    for statement in (
        f"ALTER TABLE {table} RENAME COLUMN rest_picos TO cost_picos",
        f"UPDATE {table} SET cost_picos = cost_picos + cost_micros * 1000000",  # noqa: S608 - constants
    )
)
WITHOUT_ROUTES = ("DROP TABLE routes", "ALTER TABLE events DROP COLUMN upstream")
CUSTOMERS = ("DROP INDEX accounts_by_customer", "ALTER TABLE accounts DROP COLUMN stripe_customer_id")
STRIPE = tuple(
    f"stripe_{name}"
    for name in ("events", "customers", "standings", "terms", "credits", "payments", "reversals", "fetches")
)
STRIPE_USAGE = ("stripe_usage", "stripe_hours")
WITHOUT_STRIPE_USAGE = tuple(f"DROP TABLE {table}" for table in STRIPE_USAGE)
WITHOUT_STRIPE = (*(f"DROP TABLE {table}" for table in STRIPE), "ALTER TABLE accounts DROP COLUMN anchor_ms")
UNDO = {
    "sqlite": {
        "0002_objects.sql": ("DROP TABLE objects",),
        "0003_carried.sql": tuple(f"DROP TABLE {table}" for table in CARRIED),
        "0004_rest_picos.sql": PICOS,
        "0005_outbox.sql": WITHOUT_OUTBOX,
        "0006_sessions.sql": ("DROP TABLE sessions",),
        "0007_waiting.sql": ("DROP INDEX deliveries_waiting",),
        "0008_portal.sql": ("DROP TABLE portal_sessions",),
        "0009_routes.sql": WITHOUT_ROUTES,
        "0010_customers.sql": CUSTOMERS,
        "0011_stripe.sql": WITHOUT_STRIPE,
        "0012_stripe_usage.sql": WITHOUT_STRIPE_USAGE,
    },
    "postgresql": {
        "0002_objects.sql": ("DROP TABLE objects",),
        "0003_revisions.sql": ("ALTER TABLE accounts DROP COLUMN revision",),
        "0004_carried.sql": tuple(f"DROP TABLE {table}" for table in CARRIED),
        "0005_rest_picos.sql": PICOS,
        "0006_outbox.sql": WITHOUT_OUTBOX,
        "0007_sessions.sql": ("DROP TABLE sessions",),
        "0008_waiting.sql": ("DROP INDEX deliveries_waiting",),
        "0009_portal.sql": ("DROP TABLE portal_sessions",),
        "0010_routes.sql": WITHOUT_ROUTES,
        "0011_customers.sql": CUSTOMERS,
        "0012_stripe.sql": WITHOUT_STRIPE,
        "0013_stripe_usage.sql": WITHOUT_STRIPE_USAGE,
    },
}
"""What takes a step of a schema back, so that a database of today becomes one of an earlier version, with its rows."""
