"""The catalogue file and how ids find their prices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import providers.pricing.catalogue
from providers.ground.usage import Usage
from providers.pricing.catalogue import PROVIDERS, Catalogue, CatalogueError

FILE = Path(providers.pricing.catalogue.__file__).with_name("catalogue.json")
NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)
CATALOGUE = Catalogue.load()
ROW: dict[str, Any] = {
    "provider": "openai",
    "id": "my-model",
    "periods": [{"rates": {"input": 1_000_000, "output": 2_000_000}}],
    "sources": ["operator"],
    "dated": "2026-11-22",
}


@pytest.fixture
def overlaid(tmp_path: Path) -> Callable[..., Catalogue]:
    """Loads our catalogue with an operator's rows over it."""

    def load(*rows: object) -> Catalogue:
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"models": rows}))
        return Catalogue.load(overrides=[path])

    return load


def test_enough_models_of_every_provider_are_priced() -> None:
    """All thirteen vendors, far above the 220 models that are promised."""
    assert len(CATALOGUE) >= 500
    assert all(len(CATALOGUE.models(provider)) >= 5 for provider in PROVIDERS)
    assert sum(len(CATALOGUE.models(provider)) for provider in PROVIDERS) == len(CATALOGUE) == len(CATALOGUE.models())


def test_no_float_is_anywhere_in_the_file() -> None:
    """Money is whole picos."""

    def refuse(text: str) -> None:
        raise AssertionError(f"float in the catalogue: {text}")

    json.loads(FILE.read_text(), parse_float=refuse)


def test_every_row_says_whence_and_when() -> None:
    """Sources and a date on each row, the version a day and a hash, both sources credited."""
    for row in CATALOGUE.models():
        assert set(row.sources) <= {"genai-prices", "litellm", "hand"}
        assert datetime.fromisoformat(row.dated)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d\.[0-9a-f]{8}", CATALOGUE.version)
    assert all("MIT" in json.loads(FILE.read_text())["sources"][name] for name in ("genai-prices", "litellm"))


def test_only_ids_confirmed_by_hand_are_free() -> None:
    """A zero in a source is a gap until someone says otherwise."""
    hand = json.loads(FILE.with_name("catalogue_overrides.json").read_text())["free"]
    listed = {(provider, name) for provider, names in hand.items() for name in names}
    assert {(row.provider, row.id) for row in CATALOGUE.models() if row.free} <= listed


@pytest.mark.parametrize(
    ("provider", "asked", "model", "assumed"),
    [
        ("openai", "gpt-5-2025-08-07", "gpt-5", False),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13", False),  # dearer than gpt-4o, so a row of its own
        ("openai", "gpt-5-2027-01-31", "gpt-5", True),
        ("anthropic", "claude-opus-5-20270131", "claude-opus-5", True),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::a1b2", "ft:gpt-4o-mini-2024-07-18", False),
        ("deepgram", "aura-2-thalia-en", "aura-2", False),
        ("deepgram", "aura-asteria-en", "aura", False),
        ("anthropic", "claude-3-opus-20240229", "claude-3-opus-latest", False),
    ],
)
def test_ids_that_are_known_by_name_or_rule(provider: str, asked: str, model: str, assumed: bool) -> None:
    """Exact ids, aliases, and the three documented grammars."""
    found = CATALOGUE.find(provider, asked, NOW)
    assert found is not None
    assert (found.provider, found.model, found.assumed) == (provider, model, assumed)
    plain = CATALOGUE.find(provider, model, NOW)
    assert plain is not None
    assert not plain.assumed


@pytest.mark.parametrize(
    ("provider", "asked"),
    [
        ("openai", "gpt-5-ultra"),
        ("openai", "GPT-5"),
        ("openai", "gpt-5 "),
        ("openai", "gpt-5-2025-13-01"),
        ("openai", "gpt-5-2025-0801"),
        ("openai", "gpt-5-2025-08-07\n"),
        ("openai", "nobodys-2025-08-07"),
        ("openai", "ft:unheard-of:acme::a1b2"),
        ("openai", "claude-sonnet-4-5"),
        ("anthropic", "ft:gpt-4o-mini-2024-07-18:acme::a1b2"),
        ("deepgram", "nova-3-thalia-en"),
        ("deepgram", "aura-9-thalia-en"),
        ("minimax", "MiniMax-M2.9"),
        ("google", "claude-sonnet-4-5"),
        ("nobody", "gpt-5"),
        ("openai", ""),
        ("openai", "x" * 100_000 + "-2025-08-07"),
    ],
)
def test_nothing_is_guessed(provider: str, asked: str) -> None:
    """A near miss is no hit: an unknown model is refused, not priced as its neighbour."""
    assert CATALOGUE.find(provider, asked, NOW) is None


def test_asking_for_unknown_models_keeps_nothing() -> None:
    """Names that clients make up leave no trace in memory."""
    sizes = [len(vars(CATALOGUE)[name]) for name in ("_rows", "_entries", "_home")]
    for number in range(1_000):
        CATALOGUE.find("openai", f"bogus-{number}", NOW)
        CATALOGUE.provider_of(f"gpt-5-2031-01-{number % 28 + 1:02}")
    assert sizes == [len(vars(CATALOGUE)[name]) for name in ("_rows", "_entries", "_home")]


def test_a_model_names_its_provider_unless_two_serve_it() -> None:
    """What routing may rely on."""
    assert CATALOGUE.provider_of("claude-sonnet-4-5") == "anthropic"
    assert CATALOGUE.provider_of("gpt-oss-120b") == "cerebras"
    assert CATALOGUE.provider_of("aura-2-thalia-en") == "deepgram"
    assert CATALOGUE.provider_of("gpt-5-2031-01-01") == "openai"
    assert CATALOGUE.provider_of("deepseek-v4-pro") is None  # DeepSeek and Qwen
    assert CATALOGUE.provider_of("nobodys") is None


def test_history_prices_a_call_as_of_its_time() -> None:
    """A price change counts from 00:00 UTC of its day."""
    day = int(datetime(2026, 3, 13, tzinfo=UTC).timestamp() * 1000)
    usage = Usage(input_tokens=300_000)
    before, after = (CATALOGUE.find("anthropic", "claude-sonnet-4-6", at) for at in (day - 1, day))
    assert before is not None
    assert after is not None
    assert (before.cost_picos(usage), after.cost_picos(usage)) == (300_000 * 6_000_000, 300_000 * 3_000_000)
    assert CATALOGUE.find("anthropic", "claude-sonnet-4-6", -1) is not None


def test_a_version_finds_its_price_again() -> None:
    """Usage, model and price version of an event suffice to recompute its cost, whatever the hour was."""
    for at in (NOW, NOW + 2 * 3_600_000, NOW - 90 * 86_400_000):
        found = CATALOGUE.find("deepseek", "deepseek-v4-flash", at)
        assert found is not None
        assert found.version.startswith(CATALOGUE.version)
        assert CATALOGUE.priced("deepseek", "deepseek-v4-flash", found.version) is found
    assert CATALOGUE.priced("deepseek", "deepseek-v4-flash", "2020-01-01.00000000") is None
    assert CATALOGUE.priced("openai", "nobodys", CATALOGUE.version) is None


def test_an_operator_adds_and_replaces_rows(overlaid: Callable[..., Catalogue]) -> None:
    """Theirs win, by id and by alias, and the version says so."""
    catalogue = overlaid(ROW, {**ROW, "id": "gpt-5", "aliases": ["gpt-5-mini"]})
    assert catalogue.version.startswith(CATALOGUE.version + "+")
    for name in ("my-model", "gpt-5", "gpt-5-mini"):
        found = catalogue.find("openai", name, NOW)
        assert found is not None
        assert found.cost_picos(Usage(input_tokens=1, output_tokens=1)) == 3_000_000
    assert catalogue.find("openai", "gpt-5-nano", NOW) is not None
    assert len(catalogue) == len(CATALOGUE)  # one more, and two that became one


def test_elevenlabs_follows_the_contracts_credit_rate() -> None:
    """Half the price of a credit is half the price of a character, exactly, and another version."""
    usage = Usage(characters=3)
    for picos, cost in ((40_000_000, 120_000_000), (80_000_000, 240_000_000), (1, 3)):
        catalogue = Catalogue.load(picos_per_credit=picos)
        found = catalogue.find("elevenlabs", "eleven_multilingual_v2", NOW)
        assert found is not None
        assert found.cost_picos(usage) == cost
        assert found.cost_picos(Usage(characters=3, millicredits=1_500)) == (picos * 3 + 1) // 2
        assert (catalogue.version == CATALOGUE.version) == (picos == 80_000_000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"provider": "acme"}, "acme/my-model: field `provider`"),
        ({"periods": []}, "openai/my-model:.*periods"),
        ({"periods": [{"rates": {}}]}, r"periods\[0\].rates` is empty"),
        ({"periods": [{"rates": {"input": 0.5}}]}, r"openai/my-model:.*periods\[0\].rates"),
        ({"periods": [{"rates": {"input": 1.0}}]}, r"openai/my-model:.*periods\[0\].rates"),
        ({"periods": [{"rates": {"input": -1}}]}, r"periods\[0\].rates"),
        ({"periods": [{"rates": {"inptu": 1}}]}, "rates.inptu` is no known unit"),
        ({"periods": [{"rates": {"input": [[1000, 5]]}}]}, "rates.input` needs tiers"),
        ({"periods": [{"rates": {"input": {"picos": 1, "per": 2}}}]}, "whole picos"),
        ({"periods": [{"rates": {"audio_ms": {"picos": 1, "per": 0}}}]}, r"periods\[0\].rates"),
        ({"periods": [{"rates": {"input": 1}, "from": "soon"}]}, r"periods\[0\].from"),
        ({"periods": [{"rates": {"input": 1}, "hours": ["1:00", "25:00"]}]}, r"periods\[0\].hours"),
        ({"variants": [{"rates": {"inptu": 1}, "service_tier": "flex"}]}, r"variants\[0\].rates.inptu"),
        ({"periods": [{"rates": {"input": 0}}]}, "field `free`"),
        ({"free": True}, "field `free`"),
        ({"sources": []}, "sources"),
        ({"dated": "today"}, "dated"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_row_is_refused_by_name(change: object, says: str, overlaid: Callable[..., Catalogue]) -> None:
    """The error names the row and the field."""
    assert isinstance(change, dict)
    with pytest.raises(CatalogueError, match=says):
        overlaid(ROW | change)


def test_a_file_that_is_none_is_refused(tmp_path: Path, overlaid: Callable[..., Catalogue]) -> None:
    """Missing, no JSON, or no list of rows: an error that names the file."""
    with pytest.raises(CatalogueError, match=r"none\.json"):
        Catalogue.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CatalogueError, match=r"bad\.json"):
        Catalogue.load(overrides=[tmp_path / "bad.json"])
    with pytest.raises(CatalogueError, match=r"models\[0\]"):
        overlaid(5)


def test_windows_past_midnight(overlaid: Callable[..., Catalogue]) -> None:
    """Hours may run from evening to morning; the later period of the list counts."""
    night = {"rates": {"input": 1, "output": 1}, "hours": ["22:00", "02:00"]}
    catalogue = overlaid({**ROW, "periods": [*ROW["periods"], night]})
    costs = []
    for hour in (0, 2, 12, 22):
        found = catalogue.find("openai", "my-model", NOW + hour * 3_600_000)
        assert found is not None
        costs.append(found.cost_picos(Usage(input_tokens=1)))
    assert costs == [1, 1_000_000, 1_000_000, 1]
