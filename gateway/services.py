"""All that the process has, built once in `gateway.app`. Each room takes what it needs, and keeps no second list.

What calls are served with is declared in their own room, which knows nothing of what stands here beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.services import CallServices
from gateway.config import Settings
from gateway.outbox.deliveries import Deliveries
from gateway.rates import Rate
from gateway.stored.batches import Batches
from gateway.stripe.looking import Looking
from gateway.stripe.sending import Sending
from gateway.switching.known import KnownRoutes
from gateway.switching.rests import Rests
from gateway.upstream.health import Health
from keys.keyring import Keyring
from keys.minting import Minter
from keys.plans import EndUsers, Plans
from providers.pricing.catalogue import Catalogue


class Services(CallServices, frozen=True, kw_only=True):
    """The parts.

    `makes` is how fast a key may make keys, secrets, plans and end users; `models` is how models at upstreams are doing
    that routes lead to; `stripe` looks at Stripe itself, where there is a key for it; `sending` tells it of
    usage, where there is a meter.
    """

    settings: Settings
    clock_ms: Callable[[], int]
    catalogue: Catalogue
    keyring: Keyring
    minter: Minter
    plans: Plans
    end_users: EndUsers
    makes: Rate
    batches: Batches
    routes: KnownRoutes
    rests: Rests
    models: Health
    deliveries: Deliveries
    stripe: Looking | None = None
    sending: Sending | None = None

    def cut_account(self, account_id: int) -> int:
        """End the calls of a key that is revoked, and of all under it; how many."""
        return self.flights.cut_account(account_id, "key_revoked")

    def ring(self) -> None:
        """Something may wait to be delivered."""
        self.deliveries.ring()

    @property
    def sends_mail(self) -> bool:
        """Whether there is a server to send mail through."""
        return bool(self.settings.smtp_url)

    @property
    def private_hooks(self) -> bool:
        """Whether hooks may lead into private networks."""
        return self.settings.hooks_private
