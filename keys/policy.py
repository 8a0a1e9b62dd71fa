"""What a key may do, apart from money: its scope, models, providers, and how it wants to be refused.

Pure. A child can never have more than its parent: whatever a policy allows, every ancestor's must allow too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import msgspec

Scope = Literal["master", "team", "standard", "read", "ingest"]
Overdraft = Literal["inflight", "never"]
EndUserCap = Literal["lower", "set"]

ORIGIN = r"^(?:null|[a-z][a-z0-9+.-]{0,30}://(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?)\Z"
"""Where a web page is from, as browsers say it: no path, no capitals."""

_MINTS: dict[str, frozenset[str]] = {
    "master": frozenset(("master", "team", "standard", "read", "ingest")),
    "team": frozenset(("team", "standard", "read", "ingest")),
}
_INFERS = frozenset(("team", "standard"))
_READS = frozenset(("master", "team", "read"))


class LoopGuard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most so many identical calls in so many seconds."""

    max_identical: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key was minted with; it is kept as the account's profile. None = no limit of its own."""

    name: str = ""
    scope: Scope = "standard"
    external_id: str | None = None
    metadata: dict[str, str] = {}
    allowed_models: list[str] | None = None
    allowed_providers: list[str] | None = None
    allowed_origins: list[str] | None = None
    overdraft: Overdraft = "inflight"
    on_insufficient: Literal["reject", "clamp"] = "reject"
    over_cap_status: Literal[402, 429] = 402
    unpriced: Literal["deny", "allow"] = "deny"
    end_user_required: bool = False
    end_user_cap: EndUserCap = "lower"
    loop_guard: LoopGuard | None = None
    routes: dict[str, str] = {}  # a plan's: what a model's name means on it, a route or another model
    markup_ppm: int = 0  # a plan's: added to the cost to make the price, in millionths

    @property
    def may_infer(self) -> bool:
        """Whether the key may call providers. A master key may not: it is for the back office, not for clients."""
        return self.scope in _INFERS

    @property
    def may_read(self) -> bool:
        """Whether the key may read usage and keys beside its own."""
        return self.scope in _READS

    @property
    def may_manage(self) -> bool:
        """Whether the key may mint and change keys under itself."""
        return self.scope in _MINTS

    def may_mint(self, scope: str) -> bool:
        """Whether the key may mint a key of this scope."""
        return scope in _MINTS.get(self.scope, ())


PLAN_TERMS = ("allowed_models", "allowed_providers", "over_cap_status", "markup_ppm", "routes")
"""What a key takes from its plan where it says nothing itself."""


def read_policy(profile: dict[str, Any], plan: dict[str, Any] | None = None) -> Policy:
    """A policy from an account's profile and its plan's. Raises msgspec.ValidationError if it is none."""
    if plan is not None:
        profile = {name: plan[name] for name in PLAN_TERMS if name in plan} | profile
    return msgspec.convert(profile, Policy)


def matches(pattern: str, model: str) -> bool:
    """Whether a model is meant: exactly, or by its beginning if the pattern ends in `*`."""
    return pattern == model or (pattern.endswith("*") and model.startswith(pattern[:-1]))


def allows(patterns: list[str] | None, name: str) -> bool:
    """Whether one of the patterns means the name; no patterns allow everything."""
    return patterns is None or any(matches(pattern, name) for pattern in patterns)


def exceeds(
    child: list[str] | None, ancestors: Iterable[list[str] | None], entry: Callable[[str], str] | None = None
) -> str | None:
    """The first pattern of the child that some ancestor does not allow; None if there is none.

    `entry` gives the catalogue's entry of a model: who is allowed that is allowed its dated ids.
    """
    for pattern in child or ():
        words = {pattern} if entry is None or pattern.endswith("*") else {pattern, entry(pattern)}
        for allowed in ancestors:
            if allowed is not None and not any(_covers(wide, word) for wide in allowed for word in words):
                return pattern
    return None


def _covers(wide: str, narrow: str) -> bool:
    if narrow.endswith("*"):
        return wide.endswith("*") and narrow[:-1].startswith(wide[:-1])
    return matches(wide, narrow)
