"""The words of keys, plans and limits, by the catalogue: what names nothing here is refused where it is said."""

from __future__ import annotations

from providers.ground.vendors import VENDORS
from providers.operations import TABLE
from providers.pricing.catalogue import Catalogue

_PROVIDERS = {name: vendor.name for vendor in VENDORS.values() for name in (vendor.name, *vendor.aliases)}
_ROUTES = frozenset(row.operation.name for row in TABLE) | {"reservation", "report"}


def provider_named(name: str) -> str | None:
    """A provider's own name, by any of its aliases; None if it names none."""
    return _PROVIDERS.get(name)


class CatalogueNames:
    """See `keys.minting.Names`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def provider(self, name: str) -> str | None:
        """A provider's own name, by any of its aliases."""
        return provider_named(name)

    def model(self, name: str, provider: str | None) -> str | None:
        """The entry that an id means; the id itself, where it means different ones at several providers."""
        entries = {self._catalogue.entry_of(each, name) for each in ((provider,) if provider else VENDORS)} - {None}
        return entries.pop() if len(entries) == 1 else name if entries else None

    def route(self, name: str) -> bool:
        """Whether an operation is called so."""
        return name in _ROUTES
