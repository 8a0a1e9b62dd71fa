"""Who calls: the key in a request, wherever its SDK puts it, and whether it may make calls.

Promises: a key that lets nobody in, but is somebody's, leaves a blocked event.
"""

from __future__ import annotations

from gateway.call.records import Inbound
from gateway.call.refusals import write_down
from gateway.edge.credentials import Credentials
from gateway.problems import CallError, denied
from keys.keyring import Denied, Key, Keyring
from ledger.ledger import Ledger
from ledger.records import Facts
from providers.ground.vendors import VENDORS


class Callers:
    """Tells who calls. One for the process."""

    def __init__(self, keyring: Keyring, ledger: Ledger) -> None:
        self._keyring = keyring
        self._ledger = ledger

    def is_ours(self, secret: str) -> bool:
        """Whether it can be a key of this gateway's."""
        return self._keyring.is_ours(secret)

    def secret(self, inbound: Inbound) -> str:
        """The key that the request carries. Raises CallError where it carries none, or two."""
        ours = self._keyring.is_ours
        url_keys = VENDORS[inbound.route.provider].url_keys
        found = inbound.head.credentials(ours, url_keys=url_keys)
        if inbound.secret is not None and not found.in_url:
            conflicting = found.conflicting or (found.secret not in (None, inbound.secret) and ours(found.secret or ""))
            found = Credentials(inbound.secret, conflicting=conflicting)
        if found.in_url:
            raise CallError(
                400, "credential_in_url", "A key in a URL ends up in logs: send it in a header.", param="query"
            )
        if found.conflicting:
            raise CallError(401, "conflicting_credentials", "The request carries two different keys.")
        if found.secret is None:
            raise CallError(401, "invalid_key", "The request carries no key.")
        return found.secret

    async def authenticate(self, secret: str, inbound: Inbound, *, fresh: bool = False, stream: bool = False) -> Key:
        """The key. Raises CallError, Overloaded and LedgerUnavailable."""
        try:
            key = await self._keyring.authenticate(secret, fresh=fresh)
        except Denied as error:
            refused, account_id = denied(error.reason), error.account_id
        else:
            if key.policy.may_infer:
                return key
            message = f"A {key.policy.scope} key cannot make calls: mint a standard key for that."
            refused, account_id = CallError(403, "scope_not_allowed", message), key.account_id
        if account_id is not None:
            facts = Facts(provider=inbound.route.provider, route=inbound.route.operation.name, stream=stream)
            write_down(self._ledger, inbound.call_id, account_id, facts, refused)
        raise refused
