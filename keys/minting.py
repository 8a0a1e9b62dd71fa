"""Minting, changing, rotating and revoking keys under a caller's own.

A child can never have more than its parent: cap, scope, models, providers, life. A secret is made here, handed out
once and forgotten; what is stored is its Argon2id verifier. Knows nothing of HTTP.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keys import token
from keys.hashing import SecretHasher
from keys.ids import new_id
from keys.keyring import Key, Keyring
from keys.policy import ORIGIN, LoopGuard, Overdraft, Policy, Scope, exceeds, read_policy
from ledger.book import Match
from ledger.changes import Credit, Edit, NewAccount
from ledger.ledger import Ledger
from ledger.limits import LimitTerms
from ledger.money import MICROS_MAX, MICROS_PER_USD, usd_to_micros
from ledger.records import Unit
from ledger.replays import Answer, Once, ReplayMismatch
from ledger.views import AccountView, Credential, LimitView
from ledger.windows import Window, zone

LIMITS_MAX = 20  # every call walks them
PATTERNS_MAX = 200
OVERLAP_S_MAX = 30 * 24 * 3600
_SECONDS = range(10**9, 10**11)  # what is a moment of our time in seconds, and no moment that anybody means in ms
EXPIRES_MS_MAX = 253_402_300_799_000  # the end of the year 9999

Name = Annotated[str, Meta(max_length=200)]
MetadataName = Annotated[str, Meta(min_length=1, max_length=40)]
MetadataValue = Annotated[str, Meta(max_length=500)]
Metadata = Annotated[dict[MetadataName, MetadataValue], Meta(max_length=50)]
Patterns = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=PATTERNS_MAX)]
Origins = Annotated[list[Annotated[str, Meta(pattern=ORIGIN)]], Meta(max_length=PATTERNS_MAX)]
Micros = Annotated[int, Meta(ge=0, le=MICROS_MAX)]
Moment = Annotated[int, Meta(ge=0, le=EXPIRES_MS_MAX)]
Reset = Literal["none", "day", "week", "month"]


class Invalid(Exception):
    """A field cannot be as it is. `param` names it; `message` is fit for the client."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


class Exceeds(Invalid):
    """A child would have more than its parent."""


class ScopeRefused(Exception):
    """The caller's scope does not allow what it asks for."""


class MatchSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which calls a limit is about."""

    provider: str | None = None
    model: str | None = None
    route: str | None = None
    metadata: Metadata | None = None


class LimitSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A limit as a client writes it. `id` names one that the key has, which then keeps its counter."""

    unit: Unit
    max: Annotated[int, Meta(ge=0, le=MICROS_MAX)]
    window: Window = "total"
    match: MatchSpec = MatchSpec()
    per: Literal["key", "end_user", "run"] = "key"
    action: Literal["block", "warn"] = "block"
    timezone: Annotated[str, Meta(max_length=64)] | None = None
    anchor_ms: Moment | None = None
    id: str | None = None


class Names(Protocol):
    """What providers, models and operations there are, by the words of whoever knows them."""

    def provider(self, name: str) -> str | None:
        """A provider's own name, by any name that it goes by; None if it names none."""
        ...

    def model(self, name: str, provider: str | None) -> str | None:
        """The entry of the catalogue that a model's id means, at this provider or at any; None if it means none."""
        ...

    def route(self, name: str) -> bool:
        """Whether an operation is called so."""
        ...


class AnyNames:
    """Knows nothing, and takes every word as it is."""

    def provider(self, name: str) -> str | None:
        """See `Names`."""
        return name

    def model(self, name: str, provider: str | None) -> str | None:
        """See `Names`."""
        return name

    def route(self, name: str) -> bool:
        """See `Names`."""
        return True


ANY_NAMES = AnyNames()


class HasCap(Protocol):
    """Something that may say a cap."""

    @property
    def max_spend_usd(self) -> Decimal | None | UnsetType:
        """In dollars."""
        ...

    @property
    def max_spend_micros(self) -> int | None | UnsetType:
        """In micros."""
        ...


class _Fields(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What both a mint and a change may say. UNSET was not said."""

    name: Name | UnsetType = UNSET
    max_spend_usd: Decimal | None | UnsetType = UNSET
    max_spend_micros: Micros | None | UnsetType = UNSET
    reset: Reset | None | UnsetType = UNSET
    limits: Annotated[list[LimitSpec], Meta(max_length=LIMITS_MAX)] | None | UnsetType = UNSET
    allowed_models: Patterns | None | UnsetType = UNSET
    allowed_providers: Patterns | None | UnsetType = UNSET
    allowed_origins: Origins | None | UnsetType = UNSET
    external_id: Name | None | UnsetType = UNSET
    expires_at_ms: Moment | None | UnsetType = UNSET
    overdraft: Overdraft | UnsetType = UNSET
    on_insufficient: Literal["reject", "clamp"] | UnsetType = UNSET
    over_cap_status: Literal[402, 429] | None | UnsetType = UNSET
    unpriced: Literal["deny", "allow"] | UnsetType = UNSET
    end_user_required: bool | UnsetType = UNSET
    loop_guard: LoopGuard | None | UnsetType = UNSET
    plan: str | None | UnsetType = UNSET


class Mint(_Fields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to mint."""

    scope: Scope = "standard"
    livemode: bool = True
    metadata: Metadata | UnsetType = UNSET


class Patch(_Fields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to a key."""

    metadata: dict[MetadataName, MetadataValue | None] | UnsetType = UNSET  # an entry set to null goes
    disabled: bool | UnsetType = UNSET


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """A key and its secret, which nobody will ever see again."""

    account: AccountView
    secret: str
    replayed: bool


F = TypeVar("F", bound=msgspec.Struct)

_PROFILE = (
    "name",
    "allowed_models",
    "allowed_providers",
    "allowed_origins",
    "external_id",
    "metadata",
    "overdraft",
    "on_insufficient",
    "over_cap_status",
    "unpriced",
    "end_user_required",
    "loop_guard",
)


class Minter:
    """What a caller may do with the keys under its own."""

    def __init__(
        self,
        ledger: Ledger,
        keyring: Keyring,
        hasher: SecretHasher,
        clock_ms: Callable[[], int],
        names: Names = ANY_NAMES,
    ) -> None:
        self._names = names
        self._ledger = ledger
        self._keyring = keyring
        self._hasher = hasher
        self._clock_ms = clock_ms

    async def first_master(self, secret: str | None) -> str | None:
        """On an empty ledger, mint the first master key, with the operator's own secret if there is one.

        Returns the secret to print, if this call minted it; None if there was a master key, or the operator knows it.
        """
        if await self._ledger.accounts.root() is not None:
            return None
        now_ms = self._clock_ms()
        made = None
        if secret is None:
            made = token.make(True, token.new_locator(), secrets.token_bytes(32), self._keyring.mac_key)
        locator = made.locator if made is not None else self._keyring.locator(secret or "")
        if locator is None:
            raise ValueError("the master key must be given to the keyring first")
        new = NewAccount(
            public_id=new_id("key", now_ms),
            parent_id=None,
            kind="key",
            livemode=True,
            created_ms=now_ms,
            balance_id=new_id("lim", now_ms),
            profile=msgspec.to_builtins(Policy(name="master", scope="master")),
            credential=await self._credential(made.secret if made is not None else secret or "", locator),
        )
        if await self._ledger.accounts.open_first(new) is None:
            return None  # another gateway was quicker
        return made.secret if made is not None else None

    async def mint(self, caller: Key, caller_secret: str, asked: Mint, once: Once | None = None) -> Minted:
        """Mint a key under the caller's.

        With `once`, the secret is derived from the caller's own and a stored nonce, so that the same request gets the
        same secret again although nothing at rest could tell it.

        Raises:
            ScopeRefused, Invalid, Exceeds: The caller may not, or the request cannot be.
            Closed, TooDeep, ReplayMismatch, LedgerUnavailable, Overloaded: See there.
        """
        if not caller.policy.may_manage:
            raise ScopeRefused(f"a {caller.policy.scope} key cannot mint keys")
        if not caller.policy.may_mint(asked.scope):
            raise Exceeds("scope", f"a {caller.policy.scope} key cannot mint a {asked.scope} key")
        if asked.livemode and not caller.livemode:
            raise Exceeds("livemode", "a test key can mint test keys only")
        parent = await self._ledger.accounts.get(caller.account_id, caller.public_id)
        cap_micros = cap_of(asked)
        unpriced = asked.unpriced == "allow"
        asked = self._named(asked, unpriced=unpriced)
        self._check(asked, parent, caller.policies, cap_micros)
        now_ms = self._clock_ms()
        if isinstance(asked.expires_at_ms, int) and asked.expires_at_ms <= now_ms:
            raise Invalid("expires_at_ms", "must be in the future, in milliseconds: the key would be dead")
        locator, nonce = token.new_locator(), secrets.token_hex(32)
        made = self._derive(caller_secret, locator, nonce, asked.livemode)
        if once is not None:
            once = msgspec.structs.replace(once, note=f"{locator}:{nonce}")
        new = NewAccount(
            public_id=new_id("key", now_ms),
            parent_id=caller.account_id,
            kind="key",
            livemode=asked.livemode,
            created_ms=now_ms,
            balance_id=new_id("lim", now_ms),
            cap_micros=cap_micros,
            reset=window_of(asked.reset),
            plan=asked.plan or None,
            limits=None
            if asked.limits is UNSET
            else terms_of(asked.limits or [], now_ms, names=self._names, unpriced=unpriced),
            expires_ms=None if asked.expires_at_ms is UNSET else asked.expires_at_ms,
            profile={"scope": asked.scope} | _profile(asked),
            credential=await self._credential(made.secret, made.locator),
        )
        answer = await self._ledger.accounts.open(new, once)
        if answer.replayed:
            made = self._again(caller_secret, answer)
        return Minted(account=answer.account, secret=made.secret, replayed=answer.replayed)

    async def change(
        self, caller: Key, public_id: str, asked: Patch, once: Once | None = None
    ) -> tuple[AccountView, bool]:
        """Change a key; in force on its next call. The second value says whether this is a replay.

        Raises:
            ScopeRefused, Invalid, Exceeds, NotFound, ReplayMismatch, LedgerUnavailable: See there.
        """
        self._not_itself(caller, public_id)
        if isinstance(asked.expires_at_ms, int) and asked.expires_at_ms in _SECONDS:
            raise Invalid("expires_at_ms", "must be in milliseconds: this would be a moment long ago")
        current = await self._ledger.accounts.get(caller.account_id, public_id)
        cap_micros = cap_of(asked)
        unpriced = (current.profile.get("unpriced") if asked.unpriced is UNSET else asked.unpriced) == "allow"
        asked = self._named(asked, unpriced=unpriced, stored=current.profile)
        parent, policies = await self._parents(caller, current)
        self._check(asked, parent, policies, cap_micros)
        edit = Edit(
            disabled=asked.disabled,
            expires_ms=asked.expires_at_ms,
            cap_micros=cap_micros,
            reset=window_of(asked.reset),
            limits=UNSET
            if asked.limits is UNSET
            else terms_of(asked.limits or [], self._clock_ms(), current, names=self._names, unpriced=unpriced),
            plan=asked.plan,
            profile=_profile(asked),
            merge=("metadata",),
        )
        answer = await self._ledger.accounts.edit(caller.account_id, public_id, edit, once=once)
        return answer.account, answer.replayed

    async def credit(
        self, caller: Key, public_id: str, new: Credit, once: Once | None = None
    ) -> tuple[AccountView, bool]:
        """Raise a key's cap, on the record, up to its parent's.

        Raises:
            ScopeRefused, Exceeds, NotFound, Uncapped, ReplayMismatch, LedgerUnavailable: See there.
        """
        self._not_itself(caller, public_id)
        current = await self._ledger.accounts.get(caller.account_id, public_id)
        parent, _ = await self._parents(caller, current)
        if current.cap.max is not None:
            if current.cap.max + new.amount_micros > MICROS_MAX:
                raise Invalid("amount_usd", f"a cap is at most {MICROS_MAX // MICROS_PER_USD} dollars")
            within(current.cap.max + new.amount_micros, parent, "amount_usd")
        answer = await self._ledger.accounts.credit(caller.account_id, public_id, new, once=once)
        return answer.account, answer.replayed

    async def revoke(self, caller: Key, public_id: str, once: Once | None = None) -> tuple[AccountView, bool]:
        """Revoke a key and all under it, for ever. Raises ScopeRefused, NotFound, LedgerUnavailable."""
        self._not_itself(caller, public_id)
        answer = await self._ledger.accounts.revoke(caller.account_id, public_id, once=once)
        return answer.account, answer.replayed

    async def rotate(
        self, caller: Key, caller_secret: str, public_id: str, overlap_s: int, once: Once | None = None
    ) -> Minted:
        """Give a key a new secret. The old one lives on for `overlap_s` seconds; the id never changes.

        Raises:
            ScopeRefused, NotFound, Closed, ReplayMismatch, Overloaded, LedgerUnavailable: See there.
        """
        if not caller.policy.may_manage:
            raise ScopeRefused(f"a {caller.policy.scope} key cannot rotate keys")
        if public_id == caller.public_id and caller.policy.scope != "master":
            raise ScopeRefused("a key cannot give itself a new secret: its parent can")
        current = await self._ledger.accounts.get(caller.account_id, public_id)
        locator, nonce = token.new_locator(), secrets.token_hex(32)
        made = self._derive(caller_secret, locator, nonce, current.livemode)
        if once is not None:
            once = msgspec.structs.replace(once, note=f"{locator}:{nonce}")
        answer = await self._ledger.accounts.rotate(
            caller.account_id,
            public_id,
            await self._credential(made.secret, made.locator),
            old_until_ms=self._clock_ms() + overlap_s * 1000,
            once=once,
        )
        if answer.replayed:
            made = self._again(caller_secret, answer)
        return Minted(account=answer.account, secret=made.secret, replayed=answer.replayed)

    def _derive(self, caller_secret: str, locator: str, nonce: str, livemode: bool) -> token.Token:
        """A secret that only somebody with the caller's secret can make from the nonce."""
        key = blake2b(caller_secret.encode(), digest_size=64).digest()
        entropy = blake2b(f"{locator}:{nonce}".encode(), key=key, digest_size=32, person=b"farthing-mint").digest()
        return token.make(livemode, locator, entropy, self._keyring.mac_key)

    def _again(self, caller_secret: str, answer: Answer) -> token.Token:
        """The secret of an earlier answer. Raises ReplayMismatch if the caller's own was another then: it is lost."""
        locator, _, nonce = answer.note.partition(":")
        made = self._derive(caller_secret, locator, nonce, answer.account.livemode)
        if made.secret[-4:] != answer.account.last4:
            raise ReplayMismatch
        return made

    async def _credential(self, secret: str, locator: str) -> Credential:
        return Credential(locator=locator, verifier=await self._hasher.hash(secret), last4=secret[-4:])

    def _named(self, asked: F, *, unpriced: bool, stored: Mapping[str, Any] = {}) -> F:
        """What is asked, with its lists in the words of the catalogue. Raises Invalid."""
        return named(asked, self._names, unpriced=unpriced, stored=stored)

    def _not_itself(self, caller: Key, public_id: str) -> None:
        if not caller.policy.may_manage:
            raise ScopeRefused(f"a {caller.policy.scope} key cannot change keys")
        if public_id == caller.public_id:
            raise ScopeRefused("a key cannot change, raise or revoke itself")

    async def _parents(self, caller: Key, current: AccountView) -> tuple[AccountView, tuple[Policy, ...]]:
        """The parent of a key under the caller, and the policies of all its ancestors."""
        parent = await self._ledger.accounts.get(caller.account_id, current.parent_public_id or "")
        nodes = await self._ledger.accounts.chain(parent.id)
        return parent, tuple(read_policy(node.profile, node.plan.profile if node.plan else None) for node in nodes)

    def _check(
        self,
        asked: _Fields,
        parent: AccountView,
        policies: tuple[Policy, ...],
        cap_micros: int | None | UnsetType,
    ) -> None:
        """Refuse what would be more than the parent has. What is absent or null is no limit of its own."""
        within(cap_micros, parent)
        if isinstance(asked.expires_at_ms, int) and parent.end_ms is not None and parent.end_ms < asked.expires_at_ms:
            raise Exceeds("expires_at_ms", "a key cannot outlive its parent")
        for param, patterns in (
            ("allowed_models", [policy.allowed_models for policy in policies]),
            ("allowed_providers", [policy.allowed_providers for policy in policies]),
            ("allowed_origins", [policy.allowed_origins for policy in policies]),
        ):
            wanted = getattr(asked, param)
            entry = self._entry if param == "allowed_models" else None
            if wanted is not UNSET and (pattern := exceeds(wanted, patterns, entry)) is not None:
                raise Exceeds(param, f"its parent does not allow {pattern!r}")

    def _entry(self, model: str) -> str:
        return self._names.model(model, None) or model


def named(asked: F, names: Names, *, unpriced: bool, stored: Mapping[str, Any] = {}) -> F:
    """A key's or plan's lists of providers and models, canonical. What a key has already stays as it is.

    With `unpriced`, models that nobody knows are as good as others. Prefixes may come true later.

    Raises:
        Invalid: An entry names nothing; `param` says which.
    """
    changed: dict[str, list[str]] = {}
    for param, find in (
        ("allowed_providers", names.provider),
        ("allowed_models", lambda name: names.model(name, None)),
    ):
        patterns = getattr(asked, param)
        if not isinstance(patterns, list):
            continue
        kept = stored.get(param) or ()
        for index, pattern in enumerate(patterns):
            if pattern.endswith("*") or pattern in kept or (unpriced and param == "allowed_models"):
                continue
            if (found := find(pattern)) is None:
                raise Invalid(f"{param}[{index}]", f"there is no {param[8:-1]} {pattern!r} here")
            if (
                param == "allowed_providers"
            ):  # of a model, the very id that is said is allowed, and no other of its entry
                changed.setdefault(param, list(patterns))[index] = found
    return msgspec.structs.replace(asked, **changed) if changed else asked


def within(cap_micros: int | None | UnsetType, parent: AccountView, param: str = "max_spend_usd") -> None:
    """Refuse a cap above the parent's and its ancestors'. Raises Exceeds."""
    if isinstance(cap_micros, int) and parent.ceiling_micros is not None and cap_micros > parent.ceiling_micros:
        raise Exceeds(param, "a cap cannot be more than the parent's")


def cap_of(asked: HasCap) -> int | None | UnsetType:
    """The cap in micros, said in dollars or in micros. Raises Invalid."""
    usd: int | None | UnsetType = UNSET
    if isinstance(asked.max_spend_usd, Decimal):
        try:
            usd = usd_to_micros(asked.max_spend_usd)
        except ValueError as error:
            raise Invalid("max_spend_usd", f"max_spend_usd {error}") from None
    else:
        usd = asked.max_spend_usd
    micros = asked.max_spend_micros
    if usd is not UNSET and micros is not UNSET and usd != micros:
        raise Invalid("max_spend_micros", "max_spend_usd and max_spend_micros say different amounts")
    return micros if usd is UNSET else usd


def window_of(reset: Reset | None | UnsetType) -> Window | UnsetType:
    """The window in which a cap with this reset counts."""
    if reset is UNSET:
        return UNSET
    return "total" if reset is None or reset == "none" else reset


def terms_of(
    specs: list[LimitSpec],
    now_ms: int,
    current: AccountView | None = None,
    *,
    names: Names = ANY_NAMES,
    unpriced: bool = False,
) -> tuple[LimitTerms, ...]:
    """Limits as the ledger takes them. An id must be one that the account has, and keeps unit and counting.

    What a limit is about is said in the words of the catalogue; one that could never count anything is refused.

    Raises:
        Invalid: `param` names the limit and its field.
    """
    limits = current.limits if current is not None else ()
    own = {limit.public_id: limit for limit in limits if limit.role == "limit" and limit.own}
    terms: list[LimitTerms] = []
    for index, spec in enumerate(specs):
        kept = own.get(spec.id) if spec.id is not None else None
        if spec.id is not None and (kept is None or spec.id in {each.public_id for each in terms}):
            raise Invalid(f"limits[{index}].id", f"there is no such limit: {spec.id}")
        if kept is not None and (kept.unit, kept.per) != (spec.unit, spec.per):
            raise Invalid(f"limits[{index}].id", "a limit that keeps its counter keeps its unit and per")
        if spec.unit == "concurrent" and spec.window != "total":
            raise Invalid(f"limits[{index}].window", "concurrent calls are not counted in windows")
        if spec.timezone is not None:
            try:
                zone(spec.timezone)
            except (ValueError, LookupError, OSError):
                raise Invalid(f"limits[{index}].timezone", "must be an IANA time zone") from None
        terms.append(
            LimitTerms(
                public_id=spec.id or new_id("lim", now_ms),
                unit=spec.unit,
                max=spec.max,
                window=spec.window,
                timezone=spec.timezone,
                anchor_ms=spec.anchor_ms,
                match=_match(spec, f"limits[{index}].match", names, kept, unpriced=unpriced),
                per=spec.per,
                action=spec.action,
            )
        )
    return tuple(terms)


def _match(spec: LimitSpec, where: str, names: Names, kept: LimitView | None, *, unpriced: bool) -> Match:
    """Which calls a limit is about. Raises Invalid: no call ever would be."""
    said = Match(
        provider=spec.match.provider, model=spec.match.model, route=spec.match.route, metadata=spec.match.metadata
    )
    if kept is not None and kept.match == said:
        return said
    provider, model = said.provider, said.model
    if provider is not None and (provider := names.provider(provider)) is None:
        raise Invalid(f"{where}.provider", f"there is no provider {said.provider!r} here")
    if model is not None and not model.endswith("*") and not unpriced:
        model = names.model(model, provider)
        if model is None:
            at = f" of {provider}" if provider is not None else ""
            raise Invalid(f"{where}.model", f"there is no model {said.model!r}{at} here")
    if said.route is not None and not names.route(said.route):
        raise Invalid(f"{where}.route", f"there is no operation {said.route!r} here")
    return msgspec.structs.replace(said, provider=provider, model=model)


def _profile(asked: Mint | Patch) -> dict[str, Any]:
    """What was said of the policy."""
    said = {name: getattr(asked, name) for name in _PROFILE}
    if asked.over_cap_status is None:
        said["over_cap_status"] = 402
    return {name: msgspec.to_builtins(value) for name, value in said.items() if value is not UNSET}
