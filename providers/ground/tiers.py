"""Service tiers, speeds and regions, as they are priced."""

from __future__ import annotations

BATCH = "batch"  # under which the catalogue has the price of calls made in batches: half of the usual
_DEFAULT_TERMS = frozenset({"default", "standard", "auto", "standard_only", "global", "not_available"})


def term(value: object) -> str:
    """A service tier, speed or region as it is priced: "" for every name of the default."""
    return value if isinstance(value, str) and value not in _DEFAULT_TERMS else ""


def asked_tier(service_tier: str) -> str:
    """The tier that a request names, for an answer that names none: a batch's price is not for single calls."""
    return "" if service_tier == BATCH else term(service_tier)
