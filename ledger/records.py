"""The records that cross the ledger's door: what is asked of it, what it answers, what it keeps.

All amounts are integers; the unit ends the name. Knows nothing of SQL, HTTP, providers or secrets.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Unit = Literal["micros", "tokens", "requests", "seconds", "concurrent"]
Mode = Literal["proxy", "monitor", "reservation", "adjustment"]
EventStatus = Literal["settled", "estimated", "unsettled", "released"]
Unsettled = Literal["keep", "charge", "release"]
"""What becomes of a hold whose end nobody saw: it stays counted, is charged in full, or goes back."""

LOST = "owner_lost"
"""The reason with which a call becomes unsettled whose process is gone, or cannot say how it ended."""

UNSEEN = -1
"""In a dry run, the subject or run of a call that has not been seen yet: it counts as one that has used nothing."""

Leg = tuple[int, int, int, str, int]
"""(limit id, subject id, window start in ms, unit, amount): what a hold took from one counter."""


class Measures(msgspec.Struct, frozen=True):
    """The consumption that reports add up, in the order of the rollup's columns."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    characters: int = 0
    audio_ms: int = 0
    images: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is, known before it is made and the same on its hold and its event. No content, no secret."""

    mode: Mode = "proxy"
    provider: str = ""
    model: str = ""
    also: tuple[str, ...] = ()  # other names of the model, by which limits match it
    route: str = ""
    stream: bool = False
    price_version: str = ""
    metadata: dict[str, str] = {}
    markup_ppm: int = 0  # added to the cost to make the price, in millionths
    reserved: tuple[Unit, int] | None = None  # what a caller's own reservation is of
    upstream: str = ""  # whom it is sent to, where that is not the provider's own address
    flags: tuple[str, ...] = ()  # oddities known when the hold was made, such as a limit that only warns


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request to hold the worst case of one call.

    The worst case is linear in the output allowance `x`: `fixed_picos + each_picos * x` of money,
    `fixed_tokens + each_tokens * x` tokens and `seconds + each_seconds * x` seconds. `want` is held if every limit
    has room for it, else the largest `x` that fits, never below `least`. Set `want = least` for a hold that cannot
    shrink.

    Attributes:
        id: The call's id, unique for ever; its hold and its event carry it too.
        account_id: The key that calls.
        subject_id: The end user's account under it; 0 for none; `UNSEEN` in a dry run.
        run_id: The run's account under it; 0 for none.
        versions: The versions, from the key to its root, of the accounts on which the caller's other decisions
            (allowed models, scope) were based. The hold is refused as `stale` if any has changed since.
        call_max_micros: A cap of this call alone; None for none.
        subject_max_micros: A cap of the end user, for this call alone; None for none. It is one more, and lowers only;
            with `subject_max_sets` it stands instead of the user's own cap and of the key's default for each user.
        at_ms: The moment to which the call belongs; None for the moment of the hold.
        expires_ms: When the hold ends by itself; None for never. Such a hold belongs to no process: a caller's own
            reservation, which then goes back, or a batch, which then becomes unsettled.
        own_limit: A unit of which only the ancestors' limits must not be what bounds the hold: refused as
            "limit_required", if an ancestor has a limit of it and the account has none.
        unpriced: Its use cannot be told beforehand: refused as "model_not_priced", if any limit of money, tokens or
            seconds counts it.
        quiet: A refusal becomes no event: the caller counts it.
        dry_run: Only say what would be; nothing is held and nothing recorded.
    """

    id: str
    account_id: int
    facts: Facts
    owner: str
    subject_id: int = 0
    run_id: int = 0
    versions: tuple[tuple[int, int], ...] = ()
    fixed_picos: int = 0
    each_picos: int = 0
    fixed_tokens: int = 0
    each_tokens: int = 0
    seconds: int = 0
    each_seconds: int = 0
    requests: int = 1
    concurrent: int = 1
    want: int = 0
    least: int = 0
    call_max_micros: int | None = None
    subject_max_micros: int | None = None
    subject_max_sets: bool = False
    at_ms: int | None = None
    expires_ms: int | None = None
    own_limit: Unit | None = None
    unpriced: bool = False
    quiet: bool = False
    dry_run: bool = False


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The hold stands and is durable.

    Attributes:
        allowance: The output allowance that the hold covers.
        left: What the tightest limit of each unit has left after this hold; no entry for a unit without a limit.
        warning: The highest mark that was passed before, and whose limit it is of; None if none was.
    """

    id: str
    allowance: int
    amount_micros: int
    left: dict[str, int] = {}
    warning: tuple[str, int] | None = None


class Shortfall(msgspec.Struct, frozen=True, kw_only=True):
    """The limit that refused, for the answer to the client.

    Attributes:
        owner_id: The account that has the limit; `limit_id` is "" for a cap that the call itself brought.
        affordable: The largest output allowance that every limit would admit now (0 where even the input is too
            much, or the call has no output allowance).
        resets_at_ms: When the limit's window ends; None for a limit that never resets.
    """

    cap: str
    limit_id: str
    account_id: str
    unit: Unit
    max: int
    used: int
    held: int
    remaining: int
    required: int
    affordable: int
    resets_at_ms: int | None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No hold was made.

    Attributes:
        reason: "spend_cap_exceeded" or "rate_limited", with a shortfall; "key_revoked", "key_disabled",
            "key_expired", "end_user_disabled", "run_closed", "limit_required", "model_not_priced"; "stale": decide
            again on fresh data.
    """

    reason: str
    shortfall: Shortfall | None = None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How a held call ended. Settling the same id again changes nothing. `requests` None = as many as were held.

    With `keeps_rest`, what the call may have cost beyond `cost_picos` is not known: the rest of its hold stays counted
    against the caps, as unsettled, until it is settled again or, if there is such a moment, until `rest_until_ms`.
    """

    id: str
    status: EventStatus
    cost_picos: int
    measures: Measures = Measures()
    tokens: int = 0
    seconds: int = 0
    requests: int | None = None
    usage: dict[str, object] = {}
    model: str = ""  # the model that was served and priced, where it differs from the one asked for
    price_version: str = ""  # the prices that the cost was reckoned with, where they changed since the hold
    reason: str | None = None
    http_status: int | None = None
    latency_ms: int | None = None
    ttft_ms: int | None = None
    flags: tuple[str, ...] = ()
    keeps_rest: bool = False
    rest_until_ms: int | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """The event stands. `first` is False when it had been written before, by whomever."""

    id: str
    cost_micros: int
    first: bool


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was refused before any hold was asked for, or `count` of them; it becomes a blocked event."""

    id: str
    account_id: int
    facts: Facts
    reason: str
    subject_id: int = 0
    run_id: int = 0
    http_status: int | None = None
    count: int = 1


class Recover(msgspec.Struct, frozen=True, kw_only=True):
    """Turn an open hold whose owner died into an `unsettled` event; its amount stays counted against the caps."""

    id: str
    reason: str = LOST


class Extend(msgspec.Struct, frozen=True, kw_only=True):
    """Hold more for a call in flight: `allowance` more of what its ask was linear in; all of it or nothing."""

    id: str
    each_picos: int
    each_tokens: int
    allowance: int
    each_seconds: int = 0


class Prolong(msgspec.Struct, frozen=True, kw_only=True):
    """Let a caller's own reservation live until `expires_ms`."""

    id: str
    expires_ms: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the caller made by itself: counted, never refused. The same id again changes nothing.

    `at_ms` is when it happened: it counts in the windows of that moment.
    """

    id: str
    account_id: int
    facts: Facts
    at_ms: int
    cost_picos: int
    subject_id: int = 0
    run_id: int = 0
    requests: int = 1
    measures: Measures = Measures()
    tokens: int = 0
    seconds: int = 0
    usage: dict[str, object] = {}
    latency_ms: int | None = None


class Adjust(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is charged more, or less, than it says: an event beside it. The same id again changes nothing.

    Attributes:
        facts: Those of the call, with the mode "adjustment" and the prices by which it is reckoned now.
        at_ms: The moment to which the call belongs: its adjustment counts there too.
        cost_picos: What is added to its cost; below zero where it is less.
        counters: (limit id, subject id, window start in ms) of the counters of money that the call counted in, beside
            the balances.
    """

    id: str
    account_id: int
    facts: Facts
    at_ms: int
    cost_picos: int
    subject_id: int = 0
    run_id: int = 0
    counters: tuple[tuple[int, int, int], ...] = ()


class LedgerUnavailable(Exception):
    """The database did not take the write. Nothing was held; what waits to be settled keeps waiting.

    `unsure`: it may have taken it all the same, for its answer was lost. The writer then undoes what was held.
    """

    def __init__(self, message: str = "", *, unsure: bool = False) -> None:
        super().__init__(message)
        self.unsure = unsure


class LedgerLost(LedgerUnavailable):
    """What this process writes is not kept, so that nothing which it knows can be trusted. It must end.

    A sync has failed, or the database's file is another one now.
    """
