"""What a route says: a name, and the targets that it stands for, in whose order they are asked and when.

Refused with the name of the field where it could not work: a target without a price, a name that is a model's, targets
that have no path in common.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.places import Places
from keys.limits import Invalid
from providers.ground.vendors import VENDORS
from providers.pricing.catalogue import Catalogue
from providers.reading.request import MODELS_MAX
from providers.routing import shares_a_shape

SwitchOn = Literal["unreachable", "429", "5xx", "account", "model"]
EVERYTHING: tuple[SwitchOn, ...] = ("unreachable", "429", "5xx", "account", "model")
Sticky = Literal["key", "end_user", "none"]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")]
Model = Annotated[str, Meta(min_length=1, max_length=200)]
Seconds = Annotated[float, Meta(gt=0, le=3_600)]
Wait = Annotated[float, Meta(ge=0, le=60)]


class Target(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where a call may go. `upstream` is one that the operator has named; without it, the provider's own place.

    `weight` is its share of the calls; without weights targets are asked in their order.
    """

    provider: str
    model: Model
    upstream: str | None = None
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


Targets = Annotated[tuple[Target, ...], Meta(min_length=1, max_length=MODELS_MAX)]


class RouteBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a route says beside its name; see `api.md`, "Routes"."""

    targets: Targets
    switch_on: tuple[SwitchOn, ...] = EVERYTHING
    retry_ambiguous: bool = False
    sticky: Sticky = "key"
    first_byte_timeout_s: Seconds | None = None
    wait_s: Wait = 0


class RouteSpec(RouteBody, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A route to make."""

    name: Name


class RoutePatch(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Changes to a route. UNSET was not said."""

    name: Name | UnsetType = UNSET
    targets: Targets | UnsetType = UNSET
    switch_on: tuple[SwitchOn, ...] | UnsetType = UNSET
    retry_ambiguous: bool | UnsetType = UNSET
    sticky: Sticky | UnsetType = UNSET
    first_byte_timeout_s: Seconds | None | UnsetType = UNSET
    wait_s: Wait | UnsetType = UNSET


def changed(spec: RouteSpec, patch: RoutePatch) -> RouteSpec:
    """The route with what the patch says of it."""
    said: dict[str, Any] = {
        name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET
    }
    return msgspec.structs.replace(spec, **said)


def _model(target: Target, where: str, elsewhere: Places) -> str:
    """A target's model by the catalogue's name. Raises Invalid."""
    if target.upstream is None:
        return target.model
    named = elsewhere.upstreams.get(target.upstream)
    if named is None:
        raise Invalid(f"{where}.upstream", f"there is no upstream {target.upstream}")
    if target.model not in named.models:
        raise Invalid(f"{where}.model", f"{target.upstream} has no {target.model}; it has {', '.join(named.models)}")
    provider, model = named.models[target.model]
    if provider != target.provider:
        raise Invalid(f"{where}.provider", f"{target.model} at {target.upstream} is {provider}'s {model}")
    return model


def check(spec: RouteSpec, catalogue: Catalogue, elsewhere: Places, now_ms: int) -> None:
    """Raises Invalid where the route could not work."""
    owner = next((provider for provider in VENDORS if catalogue.entry_of(provider, spec.name) is not None), None)
    if owner is not None:
        raise Invalid("name", f"{spec.name} is a model of {owner}; a route needs a name of its own")
    for number, target in enumerate(spec.targets):
        if target.provider not in VENDORS:
            raise Invalid(f"targets[{number}].provider", f"there is no provider {target.provider}")
        model = _model(target, f"targets[{number}]", elsewhere)
        if catalogue.find(target.provider, model, now_ms) is None:
            raise Invalid(f"targets[{number}].model", f"{target.provider} has no priced model {model}")
    weights = [target.weight is not None for target in spec.targets]
    if any(weights) and not all(weights):
        raise Invalid(f"targets[{weights.index(False)}].weight", "either every target has a weight, or none has")
    if not shares_a_shape({target.provider for target in spec.targets}):
        raise Invalid("targets", "these providers take calls at no common path, so no call could go to all of them")
