"""What `farthing doctor` looks at, and what it finds. Changes nothing."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.config import Settings
from ledger.ledger import Ledger
from ledger.migrations import SchemaTooNew
from ledger.records import LedgerUnavailable
from providers.pricing.catalogue import Catalogue


async def examined(settings: Settings, catalogue: Catalogue, database: str) -> list[tuple[str, bool, str]]:
    """Each check: what was looked at, whether it is well, and what was found. `database` is how it is shown."""
    checks: list[tuple[str, bool, str]] = []
    checks.append(("prices", True, f"{len(catalogue)} models, version {catalogue.version}"))
    for name, place in settings.places.items():
        checks.append(
            (name, True, f"{place.origin}, credential {'set' if place.credential else 'absent (test keys only)'}")
        )
    for upstream in settings.elsewhere.upstreams.values():
        said = f"{upstream.place.origin}{upstream.place.path}, speaks {upstream.speaks}, {', '.join(upstream.models)}"
        unpriced = [
            f"{provider}/{model}"
            for provider, model in upstream.models.values()
            if catalogue.find(provider, model, _clock_ms()) is None
        ]
        found = f"{said}; no price for {', '.join(unpriced)}" if unpriced else said
        checks.append((upstream.name, not unpriced, found))
    for provider, pool in settings.elsewhere.pools.items():
        checks.append((provider, True, f"{len(pool)} credentials"))
    try:
        ledger = await Ledger.open(settings.database_url, clock_ms=_clock_ms, owner="doctor", serving=False)
        try:
            finding = await ledger.reports.audit()
            checks.append(("database", True, database))
            checks.append(("audit", not finding.count, f"{finding.events} events, {finding.count} differences"))
            checks.append(
                ("master key", await ledger.accounts.root() is not None, "minted at the first start of the gateway")
            )
        finally:
            await ledger.close()
    except (LedgerUnavailable, SchemaTooNew, ValueError) as error:
        checks.append(("database", False, str(error)))
    if _readable_by_others(Path(".env")):
        checks.append((".env", False, "others can read it: chmod 600 .env"))
    return checks


def _readable_by_others(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o077)


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000
