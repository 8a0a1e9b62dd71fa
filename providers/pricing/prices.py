"""What one model's calls cost at one time: integer prices, compiled once, applied to a usage record.

Promises: exact integer pico-USD, never an exception and never a silent zero, whatever the usage says. A bound is
never below the cost of any split of the same usage. Knows nothing of catalogue files, names, dates or clocks.

How a usage is read, in order:

1. `provider_cost_picos`, where the provider states its own price, is the cost; so are credits, where they have a rate.
2. Total input, cached included, chooses the long-context tier; a tier re-prices *every* token of the call.
3. A class without a price of its own is priced as its base class: cache lifetimes as `cache_write`, that and
   `cache_read` as `input`; modality and reasoning as `input` or `output`. A cached audio token without one is
   priced as audio, the dearer reading. A base class without a price takes the dearest of its modalities.
4. Parts that exceed their total without a stated overlap (cached and audio) are taken to overlap as little as they
   can; what remains contradictory raises the total. So no stated part is ever free.
5. A rate is `picos` for `per` units: cost = units x picos / per, rounded half up to a pico. `per` is 1 for tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, TypeVar

from providers.ground.usage import Usage

TOKEN_UNITS: Final = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "cache_read_audio",
    "cache_read_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
)
MEASURES: Final = ("characters", "audio_ms", "video_ms", "images", "pages", "searches")
TOTALS: Final = ("input_tokens", "output_tokens")
# The vendor bills by tokens, or by this measure where it reports no tokens: never by both.
INSTEAD: Final = "_without_tokens"
TOOL: Final = "tool:"

# A tier is the total input above which it applies, and its rates; the highest first, the last is above -1.
Rates: TypeAlias = Mapping[str, tuple[int, int]]
Service: TypeAlias = tuple[str, str, str]  # service tier, speed, geo; "" is the default of each
Ladder: TypeAlias = "tuple[tuple[int, _Rates], ...]"
_Step = TypeVar("_Step")

_USUAL: Final[Service] = ("", "", "")
_DEFAULT_TIERS: Final = frozenset({"", "default", "standard", "auto", "on_demand", "standard_only", "scale"})
_DEFAULT_SPEEDS: Final = frozenset({"", "standard", "normal"})


def charge(units: int, rate: tuple[int, int]) -> int:
    """Price of `units` in picos at `rate` = (picos, per), rounded half up to a pico."""
    picos, per = rate
    return units * picos if per == 1 else (2 * units * picos + per) // (2 * per)


class _Rates:
    """The rates of one tier with every fallback resolved, so that pricing is arithmetic only. Picos per token."""

    __slots__ = (
        "audio",
        "audio_out",
        "cache_audio",
        "cache_image",
        "cache_read",
        "image",
        "image_out",
        "input",
        "instead",
        "measures",
        "missing",
        "output",
        "reasoning",
        "tools",
        "write",
        "write_1h",
        "write_12h",
    )

    def __init__(self, rates: Rates) -> None:
        own = {name: rate[0] for name, rate in rates.items() if name in TOKEN_UNITS}
        base = own.get("input")
        self.input = max(own.get("input_audio", 0), own.get("input_image", 0)) if base is None else base
        self.cache_read = own.get("cache_read", self.input)
        self.write = own.get("cache_write", self.input)
        self.write_1h = own.get("cache_write_1h", self.write)
        self.write_12h = own.get("cache_write_12h", self.write_1h)
        self.audio = own.get("input_audio", self.input)
        self.image = own.get("input_image", self.input)
        self.cache_audio = own.get("cache_read_audio", own.get("input_audio", self.cache_read))
        self.cache_image = own.get("cache_read_image", self.cache_read)
        base = own.get("output")
        self.output = max(own.get("output_audio", 0), own.get("output_image", 0)) if base is None else base
        self.reasoning = own.get("reasoning", self.output)
        self.audio_out = own.get("output_audio", self.output)
        self.image_out = own.get("output_image", self.output)
        self.measures = {name: rates[name] for name in MEASURES if name in rates}
        self.instead = {name: rates[name + INSTEAD] for name in MEASURES if name + INSTEAD in rates}
        self.tools = {name[len(TOOL) :]: rate for name, rate in rates.items() if name.startswith(TOOL)}
        ins = {"input", "input_audio", "input_image"} & own.keys()
        outs = {"output", "output_audio", "output_image"} & own.keys()
        self.missing = (() if ins else TOTALS[:1]) + (() if outs else TOTALS[1:])


class _Bound:
    """The dearest rates of a tier and of every tier below it, so that a bound grows with the input. Picos per token."""

    __slots__ = ("audio", "image", "output", "text", "written")

    def __init__(self, rates: Iterable[_Rates]) -> None:
        self.text = self.written = self.audio = self.image = self.output = 0
        for r in rates:
            self.text = max(self.text, r.input, r.cache_read)
            self.written = max(self.written, self.text, r.write, r.write_1h, r.write_12h)
            self.audio = max(self.audio, r.audio, r.cache_audio)
            self.image = max(self.image, r.image, r.cache_image)
            self.output = max(self.output, r.output, r.reasoning, r.audio_out, r.image_out)


class Price:
    """Every price of one model in force at one time: tiers, service tiers, speed, geography. Immutable.

    Attributes:
        provider: Farthing's name of the provider.
        model: The catalogued id, which may differ from the alias that was asked for.
        version: Names the catalogue, and the period within it where the model's price changes with time; with
            provider and model it suffices to find this price again (`Catalogue.priced`).
        free: The provider charges nothing for this model, on the record; otherwise a zero is a fault.
        assumed: The id asked for is a dated snapshot that no source lists, priced as its undated model.
        max_input_tokens: The model's limit; None where no source says.
        max_output_tokens: The model's limit; None where no source says.
        picos_per_credit: What a credit of the provider's own costs; 0 where it counts none.
    """

    __slots__ = (
        "_bounds",
        "_ladders",
        "_priced",
        "_usual",
        "assumed",
        "free",
        "max_input_tokens",
        "max_output_tokens",
        "model",
        "picos_per_credit",
        "provider",
        "version",
    )

    def __init__(
        self,
        provider: str,
        model: str,
        version: str,
        tiers: Mapping[Service, Iterable[tuple[int, Rates]]],
        *,
        free: bool = False,
        assumed: bool = False,
        max_input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        picos_per_credit: int = 0,
    ) -> None:
        """`tiers` maps services to (above, rates); ("", "", "") with a tier above -1 must be there."""
        self.provider = provider
        self.model = model
        self.version = version
        self.free = free
        self.assumed = assumed
        self.max_input_tokens = max_input_tokens
        self.max_output_tokens = max_output_tokens
        self.picos_per_credit = picos_per_credit
        self._ladders: dict[Service, Ladder] = {}
        self._bounds: dict[Service, tuple[tuple[int, _Bound], ...]] = {}
        for service, steps in tiers.items():
            ladder = tuple((above, _Rates(rates)) for above, rates in sorted(steps, key=lambda s: -s[0]))
            self._ladders[service] = ladder
            self._bounds[service] = tuple((a, _Bound(r for _, r in ladder[at:])) for at, (a, _) in enumerate(ladder))
        self._usual = self._ladders["", "", ""]
        self._priced = not self._usual[-1][1].missing

    def assume(self) -> Price:
        """The same price, marked as assumed for an id that no source lists."""
        twin = object.__new__(Price)
        for name in Price.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.assumed = True
        return twin

    def cost_picos(self, usage: Usage) -> int:
        """Exact cost in pico-USD, never negative. Never raises; see the module's reading rules."""
        if usage.provider_cost_picos is not None:
            return max(usage.provider_cost_picos, 0)
        if usage.millicredits > 0 and self.picos_per_credit:
            return charge(usage.millicredits, (self.picos_per_credit, 1_000))
        if usage.service_tier or usage.speed or usage.geo:
            ladder = self._ladders[self._service(usage.service_tier, usage.speed, usage.geo)]
        else:
            ladder = self._usual
        total, cached, out = usage.input_tokens, usage.cache_read_tokens, usage.output_tokens
        if (
            usage.cache_write_tokens
            or usage.input_audio_tokens
            or usage.input_image_tokens
            or usage.cache_read_audio_tokens
            or usage.cache_write_1h_tokens
            or usage.cache_write_12h_tokens
            or usage.output_audio_tokens
            or usage.output_image_tokens
            or not 0 <= cached <= total
            or out < 0
        ):
            rates, cost = _mixed(ladder, usage)
        else:
            rates = ladder[0][1]
            for above, rates in ladder:  # noqa: B007 - the tier that applies is used after the loop
                if total > above:
                    break
            cost = (total - cached) * rates.input + cached * rates.cache_read + out * rates.output
            if rates.reasoning != rates.output and usage.reasoning_tokens > 0:
                cost += min(usage.reasoning_tokens, out) * (rates.reasoning - rates.output)
        if (
            usage.characters
            or usage.audio_ms
            or usage.images
            or usage.pages
            or usage.searches
            or usage.video_ms
            or usage.tools
        ):
            cost += _measured(rates, usage, either=False)
        return cost

    def bound_picos(self, usage: Usage, service_tier: str = "", *, cache_writes: bool = True) -> int:
        """Most that this usage could cost in picos, were any of its text cached, uncached or written to a cache.

        Never below `cost_picos` of a usage with no count above this one's under the same service. Output in the usage
        counts at its dearest rate: leave it out where `output_picos_each` is added. A tier that is asked for but not
        priced takes the dearest of all tiers.

        Args:
            service_tier: As the request names it; "" takes the usage's, and that being "" the default tier.
            cache_writes: Whether the request may cause cache writes at all.
        """
        total = max(usage.input_tokens, 0)
        audio = min(max(usage.input_audio_tokens, 0), total)
        image = min(max(usage.input_image_tokens, 0), total - audio)
        most = charge(usage.millicredits, (self.picos_per_credit, 1_000)) if usage.millicredits > 0 else 0
        asked: Iterable[Service] = (_USUAL,)
        if service_tier or usage.service_tier or usage.speed or usage.geo:
            asked = self._asked(service_tier or usage.service_tier, usage.speed, usage.geo)
        for service in asked:
            bound = _step(self._bounds[service], total)
            text = bound.written if cache_writes else bound.text
            cost = (total - audio - image) * text + audio * max(bound.audio, text) + image * max(bound.image, text)
            cost += max(usage.output_tokens, 0) * bound.output
            cost += max([_measured(rates, usage, either=True) for _, rates in self._ladders[service]])
            most = max(most, cost)
        return most

    def output_picos_each(self, input_tokens: int, service_tier: str = "", *, speed: str = "", geo: str = "") -> int:
        """Dearest price in picos of one output token, of any modality, after `input_tokens` in all; 0 = none priced."""
        asked = self._asked(service_tier, speed, geo)
        return max(_step(self._bounds[service], input_tokens).output for service in asked)

    def unpriced(self, usage: Usage) -> tuple[str, ...]:
        """Names what was used and has no price here: fields of the usage, `tools.NAME`, `service_tier`, `speed`.

        Empty for a free model and where the provider states the cost. A measure (characters, audio, …) without a
        price is named only where the call has no priced part at all: beside priced tokens it says the same thing again.
        """
        if self.free or usage.provider_cost_picos is not None or (usage.millicredits and self.picos_per_credit):
            return ()
        plain = not (usage.service_tier or usage.speed or usage.searches or usage.tools or usage.millicredits)
        if plain and self._priced and (usage.input_tokens or usage.output_tokens):
            return ()  # as nearly always: tokens of the default service, of which both sides have a price
        service = self._service(usage.service_tier, usage.speed, usage.geo)
        rates = self._ladders[service][-1][1]
        names = [name for name in rates.missing if getattr(usage, name)]
        if usage.searches and "searches" not in rates.measures:
            names.append("searches")
        names += [f"tools.{tool}" for tool, n in usage.tools.items() if n and tool not in rates.tools]
        used = [name for name in MEASURES[:-1] if getattr(usage, name)]
        tokens = usage.input_tokens or usage.output_tokens
        priced = rates.measures.keys() if tokens else rates.measures.keys() | rates.instead.keys()
        tokens_priced = any(getattr(usage, name) and name not in rates.missing for name in TOTALS)
        if not tokens_priced and priced.isdisjoint(used):
            names += used
        if service[0] == "" and usage.service_tier.lower() not in _DEFAULT_TIERS:
            names.append("service_tier")
        if service[1] == "" and usage.speed.lower() not in _DEFAULT_SPEEDS:
            names.append("speed")
        return tuple(names)

    def _service(self, service_tier: str, speed: str, geo: str) -> Service:
        """The service that is priced here and comes nearest: whatever is unknown is taken as the default."""
        if not (service_tier or speed or geo):
            return _USUAL
        tier, speed, geo = service_tier.lower(), speed.lower(), geo.lower()
        tier = "" if tier in _DEFAULT_TIERS else tier
        speed = "" if speed in _DEFAULT_SPEEDS else speed
        for service in ((tier, speed, geo), (tier, speed, ""), (tier, "", geo), (tier, "", ""), ("", speed, geo)):
            if service in self._ladders:
                return service
        return ("", "", geo) if ("", "", geo) in self._ladders else ("", "", "")

    def _asked(self, service_tier: str, speed: str, geo: str) -> Iterable[Service]:
        """The services that a request may end up with: one, or all where it asks for a tier that is not priced."""
        service = self._service(service_tier, speed, geo)
        if service[0] == "" and service_tier and service_tier.lower() not in _DEFAULT_TIERS:
            return self._ladders
        return (service,)


def _step(ladder: tuple[tuple[int, _Step], ...], total: int) -> _Step:
    """The tier for this total input; the lowest for a total below zero."""
    for above, step in ladder:
        if total > above:
            return step
    return ladder[-1][1]


def _mixed(ladder: Ladder, usage: Usage) -> tuple[_Rates, int]:
    """Tier and cost of a usage with modalities or cache writes, or with counts that contradict one another."""
    written_1h = max(usage.cache_write_1h_tokens, 0)
    written_12h = max(usage.cache_write_12h_tokens, 0)
    written = max(usage.cache_write_tokens, written_1h + written_12h)
    cached_audio = max(usage.cache_read_audio_tokens, 0)
    cached = max(usage.cache_read_tokens, cached_audio)
    audio = max(usage.input_audio_tokens, cached_audio)
    image = max(usage.input_image_tokens, 0)
    cached_image = 0
    text = max(usage.input_tokens, 0) - cached - written - (audio - cached_audio) - image
    if text < 0:  # an overlap that was not stated: first audio that was cached, then images that were
        overlap = min(-text, cached - cached_audio, audio - cached_audio)
        cached_audio += overlap
        text += overlap
        cached_image = min(-text, cached - cached_audio, image)
        text += cached_image
    both = 0
    if text < 0:  # modal tokens that were written to the cache: each costs the dearer of the two
        both = min(-text, written, audio - cached_audio + image - cached_image)
        text += both
    total = max(usage.input_tokens, 0) - min(text, 0)
    text = max(text, 0)
    rates = _step(ladder, total)
    cost = (
        text * rates.input
        + (cached - cached_audio - cached_image) * rates.cache_read
        + cached_audio * rates.cache_audio
        + cached_image * rates.cache_image
        + (audio - cached_audio) * rates.audio
        + (image - cached_image) * rates.image
        + (written - written_1h - written_12h) * rates.write
        + written_1h * rates.write_1h
        + written_12h * rates.write_12h
    )
    if both:
        audio_both = min(both, audio - cached_audio)
        cost -= audio_both * min(rates.write, rates.audio) + (both - audio_both) * min(rates.write, rates.image)
    spoken, drawn = max(usage.output_audio_tokens, 0), max(usage.output_image_tokens, 0)
    thought = max(usage.reasoning_tokens, 0) if rates.reasoning != rates.output else 0
    plain = max(usage.output_tokens - spoken - drawn - thought, 0)
    cost += plain * rates.output + spoken * rates.audio_out + drawn * rates.image_out + thought * rates.reasoning
    return rates, cost


def _measured(rates: _Rates, usage: Usage, *, either: bool) -> int:
    """Price of everything that is not tokens. `either` also prices what is billed only in the absence of tokens."""
    cost = 0
    for name, rate in rates.measures.items():
        if (units := getattr(usage, name)) > 0:
            cost += charge(units, rate)
    if rates.instead and (either or not (usage.input_tokens or usage.output_tokens)):
        for name, rate in rates.instead.items():
            if (units := getattr(usage, name)) > 0:
                cost += charge(units, rate)
    for tool, units in usage.tools.items():
        if units > 0 and tool in rates.tools:
            cost += charge(units, rates.tools[tool])
    return cost
