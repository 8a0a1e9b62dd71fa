"""What a key's policies say of a call: whether it is allowed, at which price, and how much is to be held for it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.bounds import CALL_TIMEOUT_S
from gateway.call.loop_guard import LoopGuard
from gateway.call.options import Options
from gateway.call.quote import FREE, dearest, quote
from gateway.call.records import Attempt, Request, Terms
from gateway.config import Settings
from gateway.places import Place
from gateway.problems import RETRY_AFTER_S_MAX, CallError
from keys.keyring import Key
from ledger.money import PICOS_PER_MICRO
from providers.contract.shapes import Call
from providers.ground.usage import Usage
from providers.ground.vendors import VENDORS
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from providers.routing import Route

ALLOWANCE_MAX = 1_000_000_000  # steps of a socket's hold: no cap of one end user has room for so many
COMPLETED_WITHIN_MS = int(CALL_TIMEOUT_S + 60) * 1000  # with a minute for the hold itself


class Policy:
    """Decides about calls. One for the process."""

    def __init__(self, catalogue: Catalogue, settings: Settings, clock_ms: Callable[[], int]) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._clock_ms = clock_ms
        self._loops = LoopGuard(clock_ms)

    def check_key(self, route: Route, model: str, key: Key, options: Options, place: Place | None = None) -> None:
        """Refuse what the key's policies do not allow, whatever it costs. Raises CallError.

        `place` is where the call goes, if that is not the provider's own.
        """
        if options.end_user is None and any(policy.end_user_required for policy in key.policies):
            raise CallError(400, "end_user_required", "This key needs an x-end-user-id header.", param="x-end-user-id")
        if not key.allows_provider(route.provider):
            raise CallError(403, "route_not_allowed", f"This key may not use {route.provider}.")
        if (
            model
            and not key.any_model
            and not key.allows_model(model, self._catalogue.entry_of(route.provider, model) or "")
        ):
            raise CallError(403, "model_not_allowed", f"This key may not use {model}.", param="model")
        if key.livemode and place is None and not self._settings.places[route.provider].credential:
            raise CallError(
                503,
                "provider_not_configured",
                f"This gateway has no credential for {route.provider}. (Test keys work without one.)",
            )

    def check_loop(self, key: Key, request: Request, options: Options, *, again: bool) -> None:
        """Refuse a call that the key has made too often just now, for the same end user. Raises CallError."""
        guard = key.policy.loop_guard
        if guard is None or not request.identity:
            return
        caller = f"{request.route.operation.name}\0{options.end_user or ''}"
        wait_s = self._loops.count(
            key.account_id, caller, request.identity, guard.max_identical, guard.window_seconds, again=again
        )
        if wait_s is not None:
            message = f"This call was made {guard.max_identical} times in {guard.window_seconds} s."
            raise CallError(429, "loop_detected", message, retry=False, retry_after_s=min(wait_s, RETRY_AFTER_S_MAX))

    def decide(self, request: Request, key: Key, options: Options, attempt: Attempt | None = None) -> Terms:
        """On what terms a call may be made. Raises CallError."""
        route, call = request.route, request.call
        model = route.params.get("id", "") if route.operation.lists_models else call.model
        self.check_key(route, model, key, options, None if attempt is None else attempt.place)
        if not route.operation.billable:
            return Terms(None, FREE, {})
        now_ms, policy = self._clock_ms(), key.policy
        price = self._catalogue.find(route.provider, call.priced_as or call.model, now_ms)
        if price is None:
            if policy.unpriced == "allow" and not key.capped:
                return Terms(None, FREE, {})
            raise self._elsewhere(route, call.model) or not_priced(call.model)
        # The price is that of the moment of completion, and some change with the hour: the dearest of those is held.
        upcoming = self._catalogue.between(price, now_ms, now_ms + COMPLETED_WITHIN_MS)
        beside: dict[str, Price] = {}
        if call.models or call.beside:
            beside = self._prices_beside(route, call, key)
            upcoming += tuple(beside[model] for model in call.instead)
        clamp = policy.on_insufficient == "clamp"
        held = dearest([quote(call, each, overdraft=policy.overdraft, clamp=clamp) for each in upcoming])
        if call.beside:
            never = policy.overdraft == "never"
            picos = sum(
                beside[model].bound_picos(most[never]) for model, most in call.beside.items() if model in beside
            )
            held = msgspec.structs.replace(held, fixed_picos=held.fixed_picos + picos)
        if call.hold_steps is not None and options.end_user_cap_micros is not None and held.each_picos:
            # This cap binds when the hold is made and is not known afterwards: the hold is all that it has room for.
            steps = min(options.end_user_cap_micros * PICOS_PER_MICRO // held.each_picos, ALLOWANCE_MAX)
            held = msgspec.structs.replace(held, want=max(steps, 1))
        return Terms(price, held, beside)

    def price_of(self, route: Route, key: Key, model: str, param: str = "model") -> Price:
        """The price of another model that a call takes into use. Raises CallError: not allowed, or none."""
        if not key.allows_model(model, self._catalogue.entry_of(route.provider, model) or ""):
            raise CallError(403, "model_not_allowed", f"This key may not use {model}.", param=param)
        price = self._catalogue.find(route.provider, model, self._clock_ms())
        if price is None:
            raise not_priced(model, param)
        return price

    def _prices_beside(self, route: Route, call: Call, key: Key) -> dict[str, Price]:
        """The prices of the further models that a request names, or that work for it. Raises CallError."""
        found = {model: self.price_of(route, key, model, param) for param, model in call.models.items()}
        for model in call.beside:
            if model not in found and (price := self._catalogue.find(route.provider, model, self._clock_ms())):
                found[model] = price
        return found

    def _elsewhere(self, route: Route, model: str) -> CallError | None:
        """Why a model that has a price has none here: it is another provider's, which does not have this path."""
        home = self._catalogue.provider_of(model) if model else None
        if home is None or home == route.provider or not VENDORS[home].native:
            return None
        path = VENDORS[home].native.replace("{model}", model)
        message = f"{model} is not served at this path, but at {path} ({home})."
        return CallError(400, "model_not_priced", message, param="model")


def not_priced(model: str, param: str = "model") -> CallError:
    """A model whose cost cannot be capped."""
    message = f"{model} has no price here, so its cost cannot be capped."
    return CallError(400, "model_not_priced", message, param=param)


def no_price(call: Call, field: str) -> CallError:
    """Work whose cost cannot be capped; `field` as `unpriced` tells it."""
    if field == "model":
        return not_priced(call.model)
    message = f"What {field} asks for has no price here, so its cost cannot be capped."
    return CallError(400, "unbounded_cost", message, param=field)


def unpriced(call: Call, price: Price | None) -> str:
    """The field that asks for work without a price; "" where there is none."""
    if price is None or call.unpriced:
        return call.unpriced or "model"
    usage, tier = call.input_upper, call.service_tier
    if call.batch_bound is not None:  # without a price for batches they cost the usual one
        usage, tier = Usage(tools=call.batch_bound.tools), ""
    if not (usage.tools or usage.speed or tier):
        return ""  # nearly always
    for name in price.unpriced(msgspec.structs.replace(usage, service_tier=tier)):
        if name.startswith("tools."):
            return call.endless or name
        if name in ("service_tier", "speed"):
            return name
    return ""
