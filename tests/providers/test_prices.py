"""What a price makes of a usage: exact sums, sane readings of odd counts, bounds that hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.ground.usage import Usage
from providers.pricing.catalogue import PROVIDERS, Catalogue
from providers.pricing.prices import Price

CATALOGUE = Catalogue.load()
NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
USD = 10**12
CHATS = [(row.provider, row.id) for row in CATALOGUE.models() if row.mode in ("chat", "responses")]


def price(provider: str, model: str, at_ms: int = NOW) -> Price:
    found = CATALOGUE.find(provider, model, at_ms)
    assert found is not None, f"{provider}/{model}"
    return found


def made(**rates: int | tuple[int, int]) -> Price:
    """A price of these rates alone."""
    pairs = {unit: rate if isinstance(rate, tuple) else (rate, 1) for unit, rate in rates.items()}
    return Price("openai", "m", "v", {("", "", ""): [(-1, pairs)]})


@pytest.mark.parametrize(
    ("provider", "model", "usage", "picos"),
    [
        # 10 x 3 + 100 x 0.30 + 20 x 3.75 + 30 x 6 + 7 x 15 = 420 micro-USD
        (
            "anthropic",
            "claude-sonnet-4-5",
            Usage(
                input_tokens=160,
                cache_read_tokens=100,
                cache_write_tokens=50,
                cache_write_1h_tokens=30,
                output_tokens=7,
            ),
            420_000_000,
        ),
        # 60 x 1.25 + 40 x 0.125 + 50 x 10 = 580 micro-USD; thoughts are inside the output
        (
            "openai",
            "gpt-5",
            Usage(input_tokens=100, cache_read_tokens=40, output_tokens=50, reasoning_tokens=20),
            580_000_000,
        ),
        ("openai", "gpt-5", Usage(input_tokens=100, output_tokens=50, service_tier="flex"), 312_500_000),
        ("openai", "gpt-5", Usage(input_tokens=100, output_tokens=50, service_tier="default"), 625_000_000),
        ("openai", "gpt-5", Usage(tools={"web_search": 3}), 30_000_000_000),
        ("openai", "tts-1", Usage(characters=1_000), 15_000_000_000),
        ("openai", "whisper-1", Usage(audio_ms=60_000), 6_000_000_000),
        ("deepgram", "nova-3", Usage(audio_ms=60_000), 4_300_000_000),
        ("deepgram", "nova-3", Usage(audio_ms=1), 71_667),  # 71,666.67 picos, half up
        ("deepgram", "streaming/nova-3", Usage(audio_ms=60_000), 4_800_000_000),
        ("deepgram", "aura-2-thalia-en", Usage(characters=1_000), 30_000_000_000),
        ("elevenlabs", "eleven_multilingual_v2", Usage(characters=1_000), 80_000_000_000),
        # what the provider states in credits is the price, whatever else was counted
        ("elevenlabs", "eleven_flash_v2_5", Usage(characters=1_000, millicredits=500_500), 40_040_000_000),
        ("elevenlabs", "scribe_v2", Usage(audio_ms=90_000, tools={"keyterms_ms": 90_000}), 6_600_000_000),
        ("deepgram", "read", Usage(input_tokens=1_000, output_tokens=100), 360_000_000),
        ("elevenlabs", "scribe_v1", Usage(audio_ms=3_600_000), 220_000_000_000),
        ("minimax", "speech-02-hd", Usage(characters=1_000_000), 100 * USD),
        ("cohere", "rerank-v3.5", Usage(searches=5), 10_000_000_000),
        ("mistral", "mistral-ocr-latest", Usage(pages=7), 28_000_000_000),
        ("openai", "gpt-4o-transcribe", Usage(audio_ms=60_000), 6_000_000_000),
        # by tokens, the same minute is not billed again
        (
            "openai",
            "gpt-4o-transcribe",
            Usage(input_tokens=600, input_audio_tokens=600, output_tokens=10, audio_ms=60_000),
            3_700_000_000,
        ),
        ("anthropic", "claude-opus-4-8", Usage(input_tokens=1, output_tokens=1, speed="fast"), 60_000_000),
        ("anthropic", "claude-opus-4-8", Usage(input_tokens=1, output_tokens=1, geo="us"), 33_000_000),
        ("anthropic", "claude-opus-4-8", Usage(input_tokens=1, output_tokens=1, speed="fast", geo="us"), 66_000_000),
        # audio that was cached is inside both: 20 text x 0.1 + 10 x 0.025 + 50 x 0.7 + 20 x 0.175
        (
            "google",
            "gemini-2.0-flash",
            Usage(
                input_tokens=100,
                cache_read_tokens=30,
                input_audio_tokens=70,
                cache_read_audio_tokens=20,
                output_tokens=0,
            ),
            40_750_000,
        ),
        ("openai", "omni-moderation-latest", Usage(input_tokens=1_000), 0),
    ],
)
def test_hand_computed_samples(provider: str, model: str, usage: Usage, picos: int) -> None:
    """Samples computed by hand from the vendors' lists."""
    assert price(provider, model).cost_picos(usage) == picos
    assert price(provider, model).unpriced(usage) == ()


def test_the_vendors_own_statement_wins() -> None:
    """A stated price is the price, even zero; below zero it is none."""
    grok = price("xai", "grok-4.3")
    usage = Usage(input_tokens=100, output_tokens=30, provider_cost_picos=1_050_000_000)
    assert grok.cost_picos(usage) == 1_050_000_000
    assert grok.cost_picos(Usage(input_tokens=100, provider_cost_picos=0)) == 0
    assert grok.cost_picos(Usage(input_tokens=100, provider_cost_picos=-5)) == 0


def test_a_tier_is_a_cliff_over_all_input() -> None:
    """One token over the line, cached or not, re-prices every token of the call, the output too."""
    gemini = price("google", "gemini-2.5-pro")
    below = Usage(input_tokens=200_000, cache_read_tokens=150_000, output_tokens=10)
    above = Usage(input_tokens=200_001, cache_read_tokens=150_001, output_tokens=10)
    assert gemini.cost_picos(below) == 50_000 * 1_250_000 + 150_000 * 125_000 + 10 * 10_000_000
    assert gemini.cost_picos(above) == 50_000 * 2_500_000 + 150_001 * 250_000 + 10 * 15_000_000


def test_deepseek_is_priced_by_the_hour_of_completion() -> None:
    """Busy hours double the price, from their first millisecond to before their last."""
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)

    def at(hour: int, minute: int = 0, ms: int = 0) -> int:
        when = int(datetime(2026, 11, 23, hour, minute, tzinfo=UTC).timestamp() * 1000) + ms
        return price("deepseek", "deepseek-v4-flash", when).cost_picos(usage)

    idle, busy = 750_000_000_000, 1_500_000_000_000
    assert [at(0, 59, 59_999), at(1), at(3, 59, 59_999), at(4), at(6), at(10)] == [idle, busy, busy, idle, busy, idle]


def test_cached_above_input_costs_what_was_cached() -> None:
    """xAI may report cached tokens outside the input: neither raised nor free."""
    gpt = price("openai", "gpt-5")
    assert gpt.cost_picos(Usage(input_tokens=10, cache_read_tokens=100)) == 100 * 125_000


def test_an_overlap_that_is_not_stated_is_taken_as_small_as_can_be() -> None:
    """90 cached and 80 audio of 100: at least 70 are both."""
    gemini = made(input=100, cache_read=10, input_audio=700, cache_read_audio=70)
    usage = Usage(input_tokens=100, cache_read_tokens=90, input_audio_tokens=80)
    assert gemini.cost_picos(usage) == 20 * 10 + 70 * 70 + 10 * 700


def test_images_that_must_have_been_cached_are_priced_as_such() -> None:
    """No vendor splits cached tokens by image: what cannot be otherwise is a cached image, at its own price."""
    image = made(input=5, cache_read=1, input_image=8, cache_read_image=2)
    usage = Usage(input_tokens=100, cache_read_tokens=60, input_image_tokens=70)
    assert image.cost_picos(usage) == 30 * 1 + 30 * 2 + 40 * 8


def test_a_contradiction_raises_the_total_that_chooses_the_tier() -> None:
    """Input reported without its cached part still crosses the line."""
    gemini = price("google", "gemini-2.5-pro")
    assert gemini.cost_picos(Usage(input_tokens=10, cache_read_tokens=200_001)) == 200_001 * 250_000


def test_modal_tokens_written_to_a_cache_are_counted_once() -> None:
    """90 written and 80 of them images: each costs the dearer of writing and seeing."""
    mix = made(input=100, cache_write=125, input_image=100)
    assert mix.cost_picos(Usage(input_tokens=100, cache_write_tokens=90, input_image_tokens=80)) == 90 * 125 + 10 * 100


def test_classes_without_a_price_fall_back() -> None:
    """Cache lifetimes to the write, the write and the read to the input, modalities to text; cached audio to audio."""
    plain = made(input=10, output=20)
    usage = Usage(
        input_tokens=10,
        cache_read_tokens=1,
        cache_write_tokens=4,
        cache_write_1h_tokens=2,
        cache_write_12h_tokens=1,
        input_audio_tokens=1,
        input_image_tokens=1,
        output_tokens=10,
        output_audio_tokens=5,
        reasoning_tokens=2,
    )
    assert plain.cost_picos(usage) == 10 * 10 + 10 * 20
    assert (
        made(input=1, cache_write=3, output=1).cost_picos(
            Usage(input_tokens=2, cache_write_tokens=2, cache_write_1h_tokens=1)
        )
        == 6
    )
    assert (
        made(input=1, input_audio=9).cost_picos(
            Usage(input_tokens=1, cache_read_tokens=1, input_audio_tokens=1, cache_read_audio_tokens=1)
        )
        == 9
    )
    assert made(input=1, output_image=30).cost_picos(Usage(output_tokens=1)) == 30


def test_reasoning_with_its_own_price() -> None:
    """A dearer thought is charged as such, and never more thoughts than output."""
    qwen = made(input=1, output=10, reasoning=40)
    assert qwen.cost_picos(Usage(output_tokens=10, reasoning_tokens=4)) == 6 * 10 + 4 * 40
    assert qwen.cost_picos(Usage(output_tokens=10, reasoning_tokens=99)) == 10 * 40


@pytest.mark.parametrize(
    ("provider", "model", "usage", "names"),
    [
        ("openai", "tts-1", Usage(input_tokens=5), ("input_tokens",)),
        ("openai", "gpt-live-1", Usage(input_tokens=5, output_tokens=5), ("input_tokens", "output_tokens")),
        ("openai", "gpt-5", Usage(input_tokens=5, tools={"time_travel": 1}), ("tools.time_travel",)),
        ("openai", "gpt-5", Usage(audio_ms=5), ("audio_ms",)),
        ("openai", "gpt-5", Usage(input_tokens=5, audio_ms=5), ()),
        ("openai", "gpt-5", Usage(input_tokens=5, searches=1), ("searches",)),
        ("openai", "gpt-5", Usage(input_tokens=5, service_tier="warp"), ("service_tier",)),
        ("openai", "gpt-5", Usage(input_tokens=5, service_tier="Priority"), ()),
        ("anthropic", "claude-sonnet-4-5", Usage(input_tokens=5, speed="fast"), ("speed",)),
        ("openai", "text-embedding-3-small", Usage(input_tokens=5, output_tokens=1), ("output_tokens",)),
        ("openai", "omni-moderation-latest", Usage(characters=5), ()),
        ("openai", "tts-1", Usage(input_tokens=5, provider_cost_picos=0), ()),
    ],
)
def test_what_has_no_price_is_named(provider: str, model: str, usage: Usage, names: tuple[str, ...]) -> None:
    """A zero is either on the record or reported."""
    assert price(provider, model).unpriced(usage) == names


@pytest.mark.parametrize(("provider", "model"), CHATS)
def test_no_chat_is_free_by_accident(provider: str, model: str) -> None:
    """Every chat model charges for one token in, for one out, and for counts that make no sense, unless it is free."""
    found = price(provider, model)
    for usage in (
        Usage(input_tokens=1),
        Usage(output_tokens=1),
        Usage(cache_read_tokens=1),
        Usage(cache_write_1h_tokens=1),
        Usage(input_audio_tokens=1),
        Usage(output_audio_tokens=1),
        Usage(input_tokens=-5, cache_read_tokens=1),
    ):
        assert (found.cost_picos(usage) > 0) != found.free
    assert (found.output_picos_each(10) > 0) != found.free


def test_a_hold_takes_the_dearest_way_to_spend_the_input() -> None:
    """Unknown split: all of it written to the longest-lived cache, unless nothing can be written."""
    claude = price("anthropic", "claude-sonnet-4-5")
    usage = Usage(input_tokens=1_000)
    assert claude.bound_picos(usage) == 1_000 * 6_000_000
    assert claude.bound_picos(usage, cache_writes=False) == 1_000 * 3_000_000
    assert claude.bound_picos(Usage(input_tokens=200_001), cache_writes=False) == 200_001 * 6_000_000
    assert claude.output_picos_each(200_000) == 15_000_000
    assert claude.output_picos_each(200_001) == 22_500_000


def test_a_hold_knows_that_audio_can_be_written_to_a_cache_too() -> None:
    """Stated audio is held at its own price or the text's dearest, whichever is more."""
    usage = Usage(input_tokens=10, input_audio_tokens=10)
    assert made(input=1, input_audio=2, cache_write=5).bound_picos(usage) == 50
    assert made(input=1, input_audio=9, cache_write=5).bound_picos(usage) == 90


def test_a_hold_follows_the_tier_that_is_asked_for() -> None:
    """No tier and "auto" are the default; a tier that is not priced is held at the dearest of all."""
    gpt = price("openai", "gpt-5")
    usage = Usage(input_tokens=1_000)
    assert gpt.bound_picos(usage) == gpt.bound_picos(usage, "auto") == 1_250_000_000
    assert gpt.bound_picos(usage, "flex") == 625_000_000
    assert gpt.bound_picos(usage, "priority") == gpt.bound_picos(usage, "warp") == 2_500_000_000
    assert gpt.output_picos_each(0, "warp") == gpt.output_picos_each(0, "priority") == 20_000_000


def test_audio_answers_are_held_as_audio() -> None:
    """The dearest modality of output counts."""
    assert price("openai", "gpt-realtime").output_picos_each(0) == 64_000_000


UNITS = sorted({*Usage.__struct_fields__} - {"tools", "service_tier", "speed", "geo", "provider_cost_picos"})
COUNTS = st.fixed_dictionaries(dict.fromkeys(UNITS, st.integers(0, 300_000)))
BOUNDED = [(row.provider, row.id) for p in PROVIDERS for row in CATALOGUE.models(p)[::4]]


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(counts=COUNTS, less=COUNTS, tier=st.sampled_from(["", "flex", "batch", "priority", "warp"]))
def test_a_bound_is_never_below_a_cost(counts: dict[str, int], less: dict[str, int], tier: str) -> None:
    """Whatever is really used within the bounded counts, under any split, costs no more than the bound."""
    parts = ("input_audio_tokens", "input_image_tokens")
    most = {**counts, "input_tokens": max(counts["input_tokens"], sum(counts[p] for p in parts))}
    used = {name: min(less[name], most[name]) for name in most}
    used["cache_read_tokens"] = min(less["cache_read_tokens"], used["input_tokens"])
    used["cache_write_tokens"] = min(less["cache_write_tokens"], used["input_tokens"] - used["cache_read_tokens"])
    used["cache_write_1h_tokens"] = min(less["cache_write_1h_tokens"], used["cache_write_tokens"])
    used["cache_write_12h_tokens"] = 0
    for part in (*parts, "cache_read_audio_tokens"):
        used[part] = 0
    used["input_audio_tokens"] = min(
        less["input_audio_tokens"],
        most["input_audio_tokens"],
        used["input_tokens"] - used["cache_read_tokens"] - used["cache_write_tokens"],
    )
    for part in ("reasoning_tokens", "output_audio_tokens", "output_image_tokens"):
        used[part] = min(less[part], used["output_tokens"] // 3)
    for provider, model in BOUNDED:
        found = price(provider, model)
        cost = found.cost_picos(Usage(**used, service_tier="" if tier == "warp" else tier))
        assert cost <= found.bound_picos(Usage(**most), tier), (provider, model)


@settings(derandomize=True, max_examples=200, deadline=None, database=None)
@given(counts=st.dictionaries(st.sampled_from(UNITS), st.integers(-10, 10**7)), more=st.integers(0, 99))
def test_nonsense_never_raises_and_is_never_a_refund(counts: dict[str, int], more: int) -> None:
    """Counts of any sign and in any contradiction price at zero or more, as an int; one more output costs more."""
    for provider, model in (("openai", "gpt-5.6"), ("google", "gemini-2.0-flash"), ("anthropic", "claude-sonnet-4-5")):
        found = price(provider, model)
        usage = Usage(**counts)
        assert type(found.cost_picos(usage)) is int
        assert found.cost_picos(usage) >= 0
        assert found.bound_picos(usage) >= 0
        found.unpriced(usage)
        grown = Usage(**{**counts, "output_tokens": counts.get("output_tokens", 0) + more})
        assert found.cost_picos(grown) >= found.cost_picos(usage)
