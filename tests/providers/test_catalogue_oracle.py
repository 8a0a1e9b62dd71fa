"""The catalogue prices every token exactly as genai-prices does, for every model that both know.

The oracle is asked with every overlap spelled out, since it raises where one is left to be inferred; that, and counts
that contradict each other, is where we differ on purpose (tests/providers/test_prices.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import types as genai
from genai_prices.data import providers as genai_providers
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.ground.usage import Usage
from providers.pricing.catalogue import PROVIDERS, Catalogue

CATALOGUE = Catalogue.load()
NAMES = {"xai": "x-ai", "kimi": "moonshotai"}
SOURCES = {p: g for p in PROVIDERS for g in genai_providers if g.id == NAMES.get(p, p)}
NO_DATA = {"deepgram", "qwen"}  # not known to the oracle
PATTERN_ONLY = {  # the oracle guesses these by pattern, litellm lists them exactly and otherwise
    ("mistral", "magistral-medium-latest"),
    ("mistral", "magistral-small-latest"),
}
# What each class of tokens of ours is to the oracle: used only where the model has a price for it.
PRICED = {
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio",
    "cache_audio_read_mtok": "cache_audio",
    "input_image_mtok": "image",
    "output_audio_mtok": "audio_out",
    "output_image_mtok": "image_out",
    "input_mtok": "input",
    "output_mtok": "output",
}
TIMES = st.one_of(
    st.just(datetime(2026, 11, 22, 2, 30, tzinfo=UTC)),
    st.datetimes(datetime(2024, 6, 1), datetime(2027, 1, 1)).map(lambda t: t.replace(tzinfo=UTC)),  # noqa: DTZ001 - naive bounds are hypothesis's interface
)
COUNT = st.one_of(st.integers(0, 3_000), st.integers(0, 150_000))


def pairs(provider: str) -> list[tuple[str, genai.ModelInfo, set[str]]]:
    """Every id that both know, with the oracle's model and the classes of tokens that it prices."""
    source = SOURCES[provider]
    found = []
    for row in CATALOGUE.models(provider):
        for name in (row.id, *row.aliases):
            model = source.find_model(name)
            if model is None or "genai-prices" not in row.sources or (provider, name) in PATTERN_ONLY:
                continue
            sets = [c.prices for c in model.prices] if isinstance(model.prices, list) else [model.prices]
            keys = set.intersection(*({k for k, v in vars(s).items() if v is not None} for s in sets))
            found.append((name, model, {PRICED[key] for key in keys & PRICED.keys()}))
    return found


PAIRS = {provider: pairs(provider) for provider in SOURCES}


def both(counts: dict[str, int], priced: set[str]) -> tuple[Usage, dict[str, int]]:
    """One consumption in our words and in the oracle's, of priced classes only."""
    n = {name: count if name in priced else 0 for name, count in counts.items()}
    if "cache_write" not in priced:
        n["cache_write_1h"] = 0
    total = sum(n[k] for k in ("input", "cache_read", "cache_write", "cache_write_1h", "audio", "cache_audio", "image"))
    out = n["output"] + n["audio_out"] + n["image_out"]
    written, cached = n["cache_write"] + n["cache_write_1h"], n["cache_read"] + n["cache_audio"]
    ours = Usage(
        input_tokens=total,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=n["cache_write_1h"],
        input_audio_tokens=n["audio"] + n["cache_audio"],
        input_image_tokens=n["image"],
        cache_read_audio_tokens=n["cache_audio"],
        output_tokens=out,
        reasoning_tokens=n["output"] // 3,
        output_audio_tokens=n["audio_out"],
        output_image_tokens=n["image_out"],
    )
    theirs = {
        "input_tokens": total,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": n["cache_write_1h"],
        "input_audio_tokens": n["audio"] + n["cache_audio"],
        "input_image_tokens": n["image"],
        "cache_audio_read_tokens": n["cache_audio"],
        "cache_image_read_tokens": 0,
        "output_tokens": out,
        "output_audio_tokens": n["audio_out"],
        "output_image_tokens": n["image_out"],
    }
    return ours, theirs


def picos(model: genai.ModelInfo, provider: str, theirs: dict[str, int], at: datetime, **context: str) -> Decimal:
    price = model.calc_price(
        genai.Usage(**theirs), SOURCES[provider], genai_request_timestamp=at, price_context=context or None
    )
    return price.total_price * 10**12


@pytest.mark.parametrize("provider", sorted(SOURCES))
@settings(derandomize=True, max_examples=20, deadline=None, database=None)
@given(counts=st.fixed_dictionaries(dict.fromkeys(PRICED.values(), COUNT)), at=TIMES)
def test_token_prices_equal_the_oracle(provider: str, counts: dict[str, int], at: datetime) -> None:
    """Any usage, at any time of the recorded history, costs to the pico what the oracle says."""
    for name, model, priced in PAIRS[provider]:
        ours, theirs = both(counts, priced)
        price = CATALOGUE.find(provider, name, int(at.timestamp() * 1000))
        assert price is not None
        assert price.cost_picos(ours) == picos(model, provider, theirs, at), name


@pytest.mark.parametrize("provider", sorted(SOURCES))
@settings(derandomize=True, max_examples=5, deadline=None, database=None)
@given(counts=st.fixed_dictionaries(dict.fromkeys(PRICED.values(), COUNT)), at=TIMES)
def test_service_tiers_equal_the_oracle(provider: str, counts: dict[str, int], at: datetime) -> None:
    """Flex, priority, fast and batch cost what the oracle says in that context."""
    basic = {"input", "output", "cache_read", "cache_write", "cache_write_1h"}
    for name, model, priced in PAIRS[provider]:
        ours, theirs = both(counts, priced & basic)
        price = CATALOGUE.find(provider, name, int(at.timestamp() * 1000))
        assert price is not None
        for context in {tuple(v.when.items()): v.when for v in model.price_variants or []}.values():
            tier = context.get("service_tier", context.get("processing", ""))
            usage = with_terms(ours, tier, context.get("speed", ""))
            assert price.cost_picos(usage) == picos(model, provider, theirs, at, **context), (name, context)


def with_terms(usage: Usage, tier: str, speed: str) -> Usage:
    fields = {name: getattr(usage, name) for name in usage.__struct_fields__}
    return Usage(**{**fields, "service_tier": tier, "speed": speed})


def test_the_oracle_covers_every_provider_it_knows() -> None:
    """Eleven of the thirteen vendors are compared, hundreds of ids of them."""
    assert set(PROVIDERS) - set(SOURCES) == NO_DATA
    assert all(PAIRS.values())
    assert sum(map(len, PAIRS.values())) > 400
