"""The door: who calls, what he asks for, on what terms, and the hold. In this order, and nothing comes back.

Promises: nothing is forwarded without a durable hold; a refused call never reaches a provider and leaves a blocked
event; a decision taken on remembered facts about a key is taken again if the ledger says that they are stale.
"""

from __future__ import annotations

from gateway.bounds import FLIGHTS_MAX
from gateway.call.attempt import Aliased
from gateway.call.caller import Callers
from gateway.call.flight import Flights
from gateway.call.free_operations import FreeOperations
from gateway.call.holding import Holds
from gateway.call.options import Options, read_options
from gateway.call.policy import Policy, no_price, unpriced
from gateway.call.records import Admitted, Inbound, Request, Terms, admitted_as
from gateway.call.refusals import BLOCKS, write_down
from gateway.call.request import Requests
from gateway.edge.headers import HeaderFields, too_large
from gateway.problems import PROBLEMS, CallError, as_problem
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.records import Facts, Held
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from providers.routing import Route
from providers.stored.batches import hold_ms

ATTEMPTS = 4  # a key that changes faster than we can decide on it three times over is being fought about

_ONCE = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"idempotency-key",
        b"x-end-user-id",
        b"x-end-user-cap-usd",
    )
)
"""Header fields that may stand once. Keys are looked for in all fields, and two different ones are refused."""


class Admission:
    """One for the process."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        flights: Flights,
        callers: Callers,
        requests: Requests,
        policy: Policy,
        holds: Holds,
        free: FreeOperations,
    ) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._flights = flights
        self._callers = callers
        self._requests = requests
        self._policy = policy
        self._holds = holds
        self._free = free

    async def admit(self, inbound: Inbound) -> Admitted:
        """Let a call in, or refuse it. Where providers share its path, the model that it names decides among them.

        Raises:
            CallError: It is refused; if the key is known, a blocked event has been recorded.
            ClientGone: The client left.
            Aliased: The model that it names stands for others.
        """
        route = inbound.route
        try:
            self._check_framing(inbound)
            secret = self._callers.secret(inbound)
            key = await self._callers.authenticate(secret, inbound)
            try:
                request = await self._requests.read(key, inbound)
            except Aliased as aliased:
                if not aliased.planned:
                    raise
                # A plan says where it goes: not what is remembered of the plan, but what it says now.
                key = await self._callers.authenticate(secret, inbound, fresh=True)
                request = await self._requests.again(key, inbound, aliased)
            route = request.route
            options = read_options(inbound.headers, livemode=key.livemode)
            return await self._held(inbound, secret, key, request, options)
        except PROBLEMS as error:
            raise as_problem(error).at(route) from None

    async def _held(self, inbound: Inbound, secret: str, key: Key, request: Request, options: Options) -> Admitted:
        """Decide, and hold: again, as long as what was known of the key is stale."""
        call, operation = request.call, request.route.operation
        free = not operation.billable and key.capped
        facts: Facts | None = None
        if free:
            facts = self._facts(inbound, request, None, options, key)
            if (refused := await self._free.refusal(inbound.call_id, key, request, facts, options)) is not None:
                write_down(self._ledger, inbound.call_id, key.account_id, facts, refused)
                raise refused
        lasting_ms = hold_ms(call.facts) if call.batch_bound is not None else 0
        counted = not inbound.is_first
        for attempt in range(ATTEMPTS):
            if attempt:
                key, facts = await self._callers.authenticate(secret, inbound, fresh=True), None
                request = await self._requests.again(key, inbound, request)
                call = request.call
            try:
                _check_origin(key, inbound)
                terms = self._policy.decide(request, key, options, inbound.attempt)
                counted, again = True, counted
                self._policy.check_loop(key, request, options, again=again)
            except CallError as error:
                if not attempt:
                    continue  # by what is remembered of the key; it may have been allowed more since
                self._block(inbound, key, self._facts(inbound, request, None, options, key), error)
                raise
            if facts is None:  # what costs nothing has no price to name: its facts are known
                facts = self._facts(inbound, request, terms.price, options, key)
            lacking = unpriced(call, terms.price) if operation.billable else ""
            outcome = await self._holds.take(
                inbound.call_id,
                key,
                facts,
                terms.quote,
                options,
                lasting_ms=lasting_ms,
                unpriced=bool(lacking),
                first=inbound.is_first,
            )
            if isinstance(outcome, Held):
                if free:
                    self._free.see_left(key, outcome)
                return admitted_as(inbound, key, request, terms, outcome, options)
            if outcome.reason == "model_not_priced":
                raise no_price(call, lacking)
            if outcome.reason != "stale":
                raise self._holds.refusal(outcome, key, inbound.call_id)
        raise _fought_about()

    async def quoted(self, inbound: Inbound) -> tuple[Request, Terms]:
        """What a call asks for, and on what terms it would be let in by its key's policies. Nothing is held.

        Raises:
            CallError: It would be refused.
        """
        try:
            self._check_framing(inbound)
            key = await self._callers.authenticate(self._callers.secret(inbound), inbound, fresh=True)
            request = await self._requests.read(key, inbound)
            options = read_options(inbound.headers, livemode=key.livemode)
            return request, self._policy.decide(request, key, options, inbound.attempt)
        except PROBLEMS as error:
            raise as_problem(error).at(inbound.route) from None

    async def precheck(self, inbound: Inbound) -> None:
        """Say whether a socket may be opened whose call is told by its first message: the key is good, and has money.

        Nothing is held: `admit` decides when the message is there. Raises CallError.
        """
        route = inbound.route
        try:
            self._check_framing(inbound)
            secret = self._callers.secret(inbound)
            facts = Facts(provider=route.provider, route=route.operation.name, stream=True)
            for fresh in (False, True):
                key = await self._callers.authenticate(secret, inbound, fresh=fresh, stream=True)
                options = read_options(inbound.headers, livemode=key.livemode)
                try:
                    _check_origin(key, inbound)
                    self._policy.check_key(route, "", key, options)
                except CallError as error:
                    if not fresh:
                        continue  # by what is remembered of the key; it may have been allowed more since
                    self._block(inbound, key, facts, error)
                    raise
                outcome = await self._holds.could_take(inbound.call_id, key, facts, options)
                if isinstance(outcome, Held):
                    return
                if outcome.reason != "stale":
                    refused = self._holds.refusal(outcome, key, inbound.call_id)
                    write_down(self._ledger, inbound.call_id, key.account_id, facts, refused)
                    raise refused
            raise _fought_about()
        except PROBLEMS as error:
            raise as_problem(error).at(route) from None

    def is_ours(self, secret: str) -> bool:
        """Whether it can be a key of this gateway's."""
        return self._callers.is_ours(secret)

    def price_of(self, route: Route, key: Key, model: str) -> Price:
        """The price of another model that an admitted call takes into use. Raises CallError."""
        return self._policy.price_of(route, key, model)

    def _check_framing(self, inbound: Inbound) -> None:
        if too_large(inbound.fields):
            raise CallError(431, "headers_too_large", "The request has too many header fields.")
        if len(inbound.headers) != len(inbound.fields):
            _check_once(inbound.fields)
        if len(self._flights) >= FLIGHTS_MAX:
            raise CallError(503, "overloaded", "Too many calls are in flight; try again.", retry=True, retry_after_s=1)

    def _block(self, inbound: Inbound, key: Key, facts: Facts, error: CallError) -> None:
        if error.code in BLOCKS:
            write_down(self._ledger, inbound.call_id, key.account_id, facts, error)

    def _facts(self, inbound: Inbound, request: Request, price: Price | None, options: Options, key: Key) -> Facts:
        route, call, attempt = request.route, request.call, inbound.attempt
        return Facts(
            provider=route.provider,
            model=call.model,
            also=self._catalogue.names_of(route.provider, call.model) if price is not None else (),
            route=route.operation.name,
            stream=call.stream,
            price_version=price.version if price is not None else "",
            metadata=options.metadata,
            markup_ppm=key.policy.markup_ppm,
            upstream="" if attempt is None or attempt.upstream == route.provider else attempt.upstream,
        )


def _check_once(fields: HeaderFields) -> None:
    """Of two fields with one name a provider may take the other than we do."""
    seen: set[bytes] = set()
    for name, _ in fields:
        if name in seen and (name in _ONCE or name.startswith(b"x-farthing-")):
            text = name.decode("latin-1")
            raise CallError(400, "invalid_request", f"The header {text} stands in the request twice.", param=text)
        seen.add(name)


def _check_origin(key: Key, inbound: Inbound) -> None:
    """Refuse a page from elsewhere; whoever is no page says no origin."""
    origin = inbound.headers.get("origin")
    if origin is not None and not key.allows_origin(origin):
        raise CallError(403, "origin_not_allowed", "This key may not be used from this page's origin.")


def _fought_about() -> CallError:
    return CallError(503, "overloaded", "This key is being changed too fast; try again.", retry=True)
