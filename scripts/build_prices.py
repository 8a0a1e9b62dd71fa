"""Builds providers/pricing/catalogue.json, of two public price lists and a file kept by hand. At build time only.

    python -m venv /tmp/prices && /tmp/prices/bin/pip install 'genai-prices>=0.2,<0.3' msgspec
    /tmp/prices/bin/pip download --no-deps -d /tmp/prices 'litellm>=1.100,<2'
    PYTHONPATH=. /tmp/prices/bin/python scripts/build_prices.py --litellm /tmp/prices/litellm-*.whl --report

`--litellm` takes the wheel or the JSON file in it; without it an installed litellm is read, never imported.
`--check` writes nothing and fails if the file would change. `--report` says on stdout where the sources disagree.

Sources, both under the MIT licence: genai-prices (Pydantic Services Inc.) is primary for tokens, tiers, service tiers
and dates; litellm (Berri AI) for everything by character, second, image or page, for vendors that the first does not
know, and for token limits. providers/pricing/catalogue_overrides.json is ours and wins. Two rules keep guesses out:

- A model matched by genai-prices only by pattern counts as known if litellm lists that very id at the same price;
  where the two differ, the exact listing wins over the pattern.
- A price of zero is believed only of ids that the hand-kept file lists under `free`; other zeros mean "unknown".

The output is stable: sorted, a model a line, and a row keeps its date until its content changes.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from genai_prices import types as genai
from genai_prices.data import providers as genai_providers

from providers.pricing.catalogue import PROVIDERS, Catalogue
from providers.pricing.prices import INSTEAD, TOKEN_UNITS, TOOL

HERE = Path(__file__).resolve().parent.parent / "providers" / "pricing"
LITELLM_JSON = "litellm/model_prices_and_context_window_backup.json"
PICOS = 10**12

GENAI_NAMES = {"xai": "x-ai", "kimi": "moonshotai"}
LITELLM_NAMES = {
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "dashscope": "qwen",
    "gemini": "google",
    "moonshot": "kimi",
    "text-completion-codestral": "mistral",
    "text-completion-openai": "openai",
} | {name: name for name in PROVIDERS if name not in ("google", "kimi", "qwen")}

# genai-prices: its unit → ours, and how many of ours its price is for.
GENAI_UNITS = {
    "input_mtok": ("input", 10**6),
    "cache_read_mtok": ("cache_read", 10**6),
    "cache_write_mtok": ("cache_write", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h", 10**6),
    "input_audio_mtok": ("input_audio", 10**6),
    "input_image_mtok": ("input_image", 10**6),
    "cache_audio_read_mtok": ("cache_read_audio", 10**6),
    "cache_image_read_mtok": ("cache_read_image", 10**6),
    "output_mtok": ("output", 10**6),
    "output_audio_mtok": ("output_audio", 10**6),
    "output_image_mtok": ("output_image", 10**6),
    "input_mchars": ("characters", 10**6),
    "audio_hours": ("audio_ms", 3_600_000),
    "input_audio_hours": ("audio_ms", 3_600_000),
    "input_document_kpages": ("pages", 1000),
    "input_annotated_document_kpages": (TOOL + "annotated_page", 1000),
    "web_searches_kcount": (TOOL + "web_search", 1000),
    "social_searches_kcount": (TOOL + "x_search", 1000),
    "storage_searches_kcount": (TOOL + "file_search", 1000),
    "code_executions_kcount": (TOOL + "code_interpreter", 1000),
    "input_text_messages_kcount": (TOOL + "text_message", 1000),
}
GENAI_IGNORED = {"input_video_mtok", "output_video_mtok"}  # a usage record has no video tokens: priced as text

LITELLM_TOKENS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_image_token": "output_image",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "cache_read_input_image_token_cost": "cache_read_image",
    "ocr_cost_per_page": "pages",
    "annotation_cost_per_page": TOOL + "annotated_page",
}
LITELLM_KEY = re.compile(
    rf"({'|'.join(sorted(LITELLM_TOKENS, key=len, reverse=True))})"
    r"(?:_above_(\d+)k_tokens)?(?:_(batches|flex|priority|ultrafast|decisions))?"
)
LITELLM_TIERS = {"batches": "batch"}
SAME_TIERS = {"priority": "fast"}  # two names of one tier; litellm knows the first only
SNAPSHOT = re.compile(r"-20\d\d-?\d\d-?\d\d")

Rate = Any  # int, [[above, picos], …] or {"picos", "per"}: the file's own notation, see providers/pricing/catalogue.py
Row = dict[str, Any]


class Report:
    """What a reviewer must see before believing a new catalogue."""

    def __init__(self) -> None:
        self.sections: dict[str, list[str]] = {}

    def say(self, section: str, line: str) -> None:
        """Adds a line under a heading."""
        self.sections.setdefault(section, []).append(line)

    def show(self) -> None:
        """Prints every section, longest explanation first come."""
        for section, lines in sorted(self.sections.items()):
            print(f"\n## {section} ({len(lines)})")
            print("\n".join(sorted(lines)))


def rate_of(usd: Decimal | float | str, per: int, *, whole: bool) -> Rate:
    """USD for `per` units as an exact rate; a `whole` one (tokens) must be whole picos a unit."""
    picos = Decimal(str(usd)) * PICOS
    if picos != int(picos):
        raise ValueError(f"{usd} USD is no whole number of picos")
    shared = math.gcd(int(picos), per)
    picos_each, per = int(picos) // shared, per // shared
    if per != 1 and whole:
        raise ValueError(f"{usd} USD for {per} tokens is no whole number of picos a token")
    return picos_each if per == 1 else {"picos": picos_each, "per": per}


def second_rate(usd: float) -> Rate:
    """USD per second as a rate per ms, undoing the source's rounding where a round price a minute or an hour fits."""
    stated = Decimal(str(usd))
    if stated.as_tuple().exponent < -6 or len(stated.as_tuple().digits) > 3:
        for places in range(1, 7):
            for seconds in (60, 3600):
                price = round(stated * seconds, places)
                if price and abs((price / seconds).quantize(stated) - stated) == 0:
                    return rate_of(price, seconds * 1000, whole=False)
    return rate_of(stated, 1000, whole=False)


# ── genai-prices ────────────────────────────────────────────────────────────────────────────────────────────────────


def genai_rates(prices: genai.ModelPrice) -> dict[str, Rate]:
    """Our rates of one of its price sets."""
    rates: dict[str, Rate] = {}
    for key, price in vars(prices).items():
        if price is None or key in GENAI_IGNORED:
            continue
        unit, per = GENAI_UNITS[key]
        if isinstance(price, genai.TieredPrices):
            steps = [(0, price.base), *((tier.start, tier.price) for tier in price.tiers)]
            rates[unit] = [[above, rate_of(usd, per, whole=True)] for above, usd in steps]
        else:
            rates[unit] = rate_of(price, per, whole=unit in TOKEN_UNITS)
    return rates


def genai_when(constraint: object) -> Row:
    """The "from" or "hours" of a constraint."""
    if isinstance(constraint, genai.StartDateConstraint):
        return {"from": constraint.start_date.isoformat()}
    if isinstance(constraint, genai.TimeOfDateConstraint):
        return {"hours": [constraint.start_time.strftime("%H:%M"), constraint.end_time.strftime("%H:%M")]}
    assert constraint is None
    return {}


def genai_row(model: genai.ModelInfo) -> Row:
    """Our row of one of its models, without a name."""
    prices = model.prices if isinstance(model.prices, list) else [genai.ConditionalPrice(prices=model.prices)]
    periods = [genai_when(p.constraint) | {"rates": genai_rates(p.prices)} for p in prices]
    variants = []
    for variant in model.price_variants or []:
        when = dict(variant.when)
        tier = when.pop("service_tier", when.pop("processing", ""))
        speed = when.pop("speed", "")
        assert not when, f"{model.id}: unknown condition {when}"
        if (rates := genai_rates(variant.prices)) and tier != "default":
            named = {"service_tier": tier} if tier else {"speed": speed}
            variants.append(named | genai_when(variant.constraint) | {"rates": rates})
    row: Row = {"periods": periods, "variants": variants}
    if model.context_window:
        row["max_input_tokens"] = model.context_window
    return row


def genai_names(match: object, *, exact: bool) -> Iterator[str]:
    """Ids that a matching rule spells out: in full, or as a clean prefix (`claude-3-opus` of all its snapshots)."""
    if isinstance(match, genai.ClauseOr):
        for part in match.or_:
            yield from genai_names(part, exact=exact)
    elif isinstance(match, genai.ClauseEquals) and exact:
        yield match.equals
    elif isinstance(match, genai.ClauseStartsWith) and not exact and re.fullmatch(r"[\w.-]+\w", match.starts_with):
        yield match.starts_with


# ── litellm ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def litellm_file(path: Path | None) -> tuple[dict[str, Row], str]:
    """Its price list and version, from a wheel, a JSON file or an installation, without importing it."""
    if path is None:
        spec = importlib.util.find_spec("litellm")
        if spec is None or not spec.submodule_search_locations:
            sys.exit("litellm is not installed: give its wheel by --litellm")
        text = (Path(spec.submodule_search_locations[0]).parent / LITELLM_JSON).read_text()
        return json.loads(text), importlib.metadata.version("litellm")
    if path.suffix == ".whl":
        return json.loads(zipfile.ZipFile(path).read(LITELLM_JSON)), path.name.split("-")[1]
    return json.loads(path.read_text()), "unknown"


def litellm_rows(entries: dict[str, Row], free: set[tuple[str, str]], report: Report) -> dict[str, dict[str, Row]]:
    """Our rows by provider and id, without a name. An id listed twice keeps the entry under the vendor's prefix."""
    rows: dict[str, dict[str, Row]] = {provider: {} for provider in PROVIDERS}
    for key, entry in sorted(entries.items(), key=lambda item: ("/" in item[0], item[0])):
        provider = LITELLM_NAMES.get(entry.get("litellm_provider", ""))
        name = key.removeprefix(f"{entry.get('litellm_provider')}/")
        if provider is None or "sample" in key or ("/" in name and provider != "deepgram"):
            continue  # a slash is a size, as in low/1024-x-1024/gpt-image-1: these are billed by tokens
        if (row := litellm_row(entry)) is not None:
            rows[provider][name] = row
        elif (provider, name) in free:
            rows[provider][name] = {"periods": [{"rates": {"input": 0, "output": 0}}], "variants": [], "free": True}
            rows[provider][name] |= litellm_facts(entry)
        else:
            report.say("Skipped: litellm lists no price, or an unconfirmed zero", f"{provider}/{name}")
    return rows


def litellm_facts(entry: Row) -> Row:
    """Limits, mode and multipliers of an entry."""
    facts: Row = {"mode": entry.get("mode", "audio_speech")}
    for limit in ("max_input_tokens", "max_output_tokens"):
        if isinstance(entry.get(limit), int | float) and entry[limit] > 0 and facts["mode"] != "rerank":
            facts[limit] = int(entry[limit])
    if "us" in (special := entry.get("provider_specific_entry", {})):
        facts["geo"] = {"us": list(Decimal(str(special["us"])).as_integer_ratio())}
    uplift = {geo: entry.get(f"regional_processing_uplift_multiplier_{geo}") for geo in ("eu", "us")}
    if any(uplift.values()):
        facts["geo"] = {geo: list(Decimal(str(times)).as_integer_ratio()) for geo, times in uplift.items() if times}
    return facts


def litellm_row(entry: Row) -> Row | None:
    """Our row of one entry, without a name; None where it prices nothing. Its zeros are gaps, not prices."""
    found: dict[tuple[str, str], dict[int, int]] = {}  # (tier, unit) → above → picos
    for key, value in entry.items():
        if (parts := LITELLM_KEY.fullmatch(key)) and value:
            tier = LITELLM_TIERS.get(parts[3], parts[3] or "")
            above = int(parts[2]) * 1000 if parts[2] else 0
            unit = LITELLM_TOKENS[parts[1]]
            found.setdefault((tier, unit), {})[above] = rate_of(value, 1, whole=unit in TOKEN_UNITS)
    for step in entry.get("tiered_pricing", []):
        for key, value in step.items():
            if key in LITELLM_TOKENS and value:
                unit = LITELLM_TOKENS[key]
                found.setdefault(("", unit), {})[int(step["range"][0])] = rate_of(value, 1, whole=True)
    sets: dict[str, dict[str, Rate]] = {}
    for (tier, unit), steps in found.items():
        if 0 in steps:
            rate = [[above, picos] for above, picos in sorted(steps.items())]
            sets.setdefault(tier, {})[unit] = rate if len(rate) > 1 else steps[0]
    rates = sets.pop("", {})
    if rates.get("reasoning") == rates.get("output"):
        rates.pop("reasoning", None)
    rates |= litellm_measures(entry, tokens="input" in rates or "output" in rates)
    if not rates:
        return None
    variants = [{"service_tier": tier, "rates": units} for tier, units in sorted(sets.items())]
    return {"periods": [{"rates": rates}], "variants": variants} | litellm_facts(entry)


def litellm_measures(entry: Row, *, tokens: bool) -> dict[str, Rate]:
    """Everything that is not tokens. Beside token prices, a price by second or image says the same thing again."""
    mode = entry.get("mode")
    again = INSTEAD if tokens else ""
    rates: dict[str, Rate] = {}

    def put(unit: str, key: str) -> None:
        if entry.get(key):
            rates[unit] = rate_of(entry[key], 1, whole=False)

    put("characters" + again, "input_cost_per_character")
    put("searches", "input_cost_per_query")
    put(TOOL + "text_message", "input_cost_per_text_message")
    put(TOOL + "google_maps", "google_maps_grounding_cost_per_query")
    put(TOOL + "code_interpreter", "code_interpreter_cost_per_session")
    if search := entry.get("search_context_cost_per_query"):
        rates[TOOL + "web_search"] = rate_of(max(search.values()), 1, whole=False)
    if mode == "video_generation":
        lengths = {k: v for k, v in entry.items() if k.startswith("output_cost_per_second") and v}
        if entry.get("output_cost_per_video_per_second"):
            lengths["output_cost_per_second"] = entry["output_cost_per_video_per_second"]
        if lengths:  # a usage record has no resolution: the dearest, unless the meter names one by a tool
            rates["video_ms"] = rate_of(max(lengths.values()), 1000, whole=False)
        for key, value in lengths.items():
            if resolution := key.removeprefix("output_cost_per_second").strip("_"):
                rates[f"{TOOL}video_ms_{resolution}"] = rate_of(value, 1000, whole=False)
        put(TOOL + "input_image", "input_cost_per_image")
        return rates
    if mode == "image_generation":
        put("images" + again, "output_cost_per_image" if entry.get("output_cost_per_image") else "input_cost_per_image")
    elif mode == "embedding":
        put("images", "input_cost_per_image")
    if seconds := entry.get("input_cost_per_second") or entry.get("output_cost_per_second"):
        rates["audio_ms" + again] = second_rate(seconds)
    return rates


# ── joining ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def base(rates: dict[str, Rate]) -> tuple[str, str]:
    """Input and output in picos per token, tiers left out; "" where there is none."""
    pair = (rates.get("input", ""), rates.get("output", ""))
    return tuple(str(rate[0][1] if isinstance(rate, list) else rate) for rate in pair)  # type: ignore[return-value]


def agree(rates: dict[str, Rate], other: dict[str, Rate]) -> bool:
    """Whether input and output are the same, as far as both price them: then both sources mean the same model."""
    return all(a == b or not a or not b for a, b in zip(base(rates), base(other), strict=True))


def agreed(row: Row, other: Row) -> list[dict[str, Rate]]:
    """The rates of those periods of a row that agree with the other source, which has one period."""
    return [period["rates"] for period in row["periods"] if agree(period["rates"], other["periods"][0]["rates"])]


def complemented(first: Row, second: Row) -> Row:
    """A row of the primary source with what only the other one has."""
    row = json.loads(json.dumps(first))
    known = {unit.removesuffix(INSTEAD) for period in row["periods"] for unit in period["rates"]}
    known |= {unit for variant in row["variants"] for unit in variant["rates"]}
    extra = {u: r for u, r in second["periods"][0]["rates"].items() if u.removesuffix(INSTEAD) not in known}
    for rates in agreed(row, second):
        rates |= {u: r for u, r in extra.items() if r != rates.get("output" if u.startswith("output_") else "input")}
    for other in second["variants"]:
        tiers = {other["service_tier"], SAME_TIERS.get(other["service_tier"])}
        mine = [v for v in row["variants"] if v.get("service_tier") in tiers]
        for variant in mine:
            variant["rates"] |= {u: r for u, r in other["rates"].items() if u in extra}
        if not mine:
            row["variants"].append(other)
    return row | {k: v for k, v in second.items() if k not in ("periods", "variants")}


def joined(provider: str, listed: dict[str, Row], drop: list[str], report: Report) -> list[Row]:
    """All rows of one provider from both sources; ids with the same content as their model's own become aliases."""
    source = next((p for p in genai_providers if p.id == GENAI_NAMES.get(provider, provider)), None)
    models = list(source.models) if source else []
    exact: dict[str, genai.ModelInfo] = {}
    for model in models:
        for name in (model.id, *genai_names(model.match, exact=True)):
            if ":" not in name and "/" not in name and "@" not in name:
                exact.setdefault(name, model)
    for model in models:
        for name in genai_names(model.match, exact=False):
            if source and name not in listed and source.find_model(name) is model:
                exact.setdefault(name, model)

    rows: dict[str, Row] = {}
    for name in sorted({*exact, *listed}):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in drop):
            continue
        model = exact.get(name) or (source.find_model(name) if source else None)
        primary = genai_row(model) if model else None
        if primary and not all(period["rates"] for period in primary["periods"]):
            primary = None  # an empty price set is its notation for both free and unknown
        other = listed.get(name)
        if primary is None or model is None:
            if other is None:
                report.say("Skipped: genai-prices lists no price", f"{provider}/{name}")
                continue
            report.say("Only in litellm", f"{provider}/{name}")
            rows[name] = other | {"sources": ["litellm"]}
            continue
        if other is None:
            report.say("Only in genai-prices", f"{provider}/{name}")
            same = [
                listed[n]
                for n in sorted(listed)
                if exact.get(n) is model or (n.startswith(name) and SNAPSHOT.fullmatch(n, len(name)))
            ]
            same = [o for o in same if agreed(primary, o)]
            rows[name] = primary | {"sources": ["genai-prices"], "model": model.id}
            if same:
                rows[name] = complemented(primary, same[-1]) | {
                    "sources": ["genai-prices", "litellm"],
                    "model": model.id,
                }
            continue
        same_price = bool(agreed(primary, other))
        if not same_price:
            theirs = f"genai-prices {sorted({base(p['rates']) for p in primary['periods']})}"
            theirs += f" litellm {base(other['periods'][0]['rates'])}"
            wins = "genai-prices" if name in exact else "litellm (the other matches by pattern only)"
            report.say("Disagree on input, output (picos per token)", f"{provider}/{name}: {theirs} → {wins}")
        if same_price:
            rows[name] = complemented(primary, other) | {"sources": ["genai-prices", "litellm"], "model": model.id}
        elif name in exact:
            facts = {k: v for k, v in other.items() if k not in ("periods", "variants")}
            rows[name] = primary | facts | {"sources": ["genai-prices"], "model": model.id}
        else:
            rows[name] = other | {"sources": ["litellm"]}

    merged: dict[str, Row] = {}
    for name in sorted(rows, key=lambda n: (n != rows[n].get("model"), n)):
        row = rows[name]
        home = merged.get(row.get("model", ""))
        if home is not None and {**home, "aliases": 0} == {**row, "aliases": 0}:
            home.setdefault("aliases", []).append(name)
        else:
            merged[name] = row
    for row in merged.values():
        if not row.get("mode") and {"input", "output"} <= row["periods"][-1]["rates"].keys():
            row["mode"] = "chat"
    return [{"provider": provider, "id": name} | row for name, row in merged.items()]


def multiplied(rate: Rate, times: int, over: int) -> Rate:
    """A rate per token, or tiers of it, times a fraction; rounded up to a pico."""
    return (
        [[above, -(-picos * times // over)] for above, picos in rate]
        if isinstance(rate, list)
        else -(-rate * times // over)
    )


def with_hand(rows: list[Row], hand: Row, report: Report) -> list[Row]:
    """Rows with the hand-kept file over them: whole rows, aliases, tools by provider and mode."""
    ours = [row | {"sources": row.get("sources", ["hand"])} for row in hand["models"]]
    taken = {(row["provider"], name) for row in ours for name in (row["id"], *row.get("aliases", []))}
    for row in rows:
        if (row["provider"], row["id"]) in taken:
            report.say("Replaced by hand", f"{row['provider']}/{row['id']}")
    rows = [row for row in rows if (row["provider"], row["id"]) not in taken] + ours
    known = {(row["provider"], name) for row in rows for name in (row["id"], *row.get("aliases", []))}
    for row in rows:
        names = hand["aliases"].get(row["provider"], {}).get(row["id"], [])
        row["aliases"] = [*row.get("aliases", []), *(n for n in names if (row["provider"], n) not in known)]
        for rule in hand["multiples"]:
            if row["provider"] == rule["provider"] and row.get("mode", "") in rule["modes"] and not row.get("free"):
                for period in row["periods"]:
                    if rule["of"] in period["rates"] and rule["unit"] not in period["rates"]:
                        period["rates"][rule["unit"]] = multiplied(period["rates"][rule["of"]], *rule["times"])
        for rule in hand["tools"]:
            if row["provider"] == rule["provider"] and row.get("mode", "") in rule["modes"] and not row.get("free"):
                for period in row["periods"]:
                    period["rates"] = rule["rates"] | period["rates"]
    return rows


def tidy(row: Row) -> Row:
    """A row in the file's order of fields, sorted within, nothing empty."""
    row = {k: v for k, v in row.items() if v not in ([], {}, None, False, "") and k != "model"}
    for part in (*row["periods"], *row.get("variants", [])):
        part["rates"] = dict(sorted(part["rates"].items()))
    if "aliases" in row:
        row["aliases"] = sorted(set(row["aliases"]))
    order = "provider id aliases mode free voices max_input_tokens max_output_tokens periods variants geo note sources"
    return {key: row[key] for key in order.split() if key in row}


def build(litellm: Path | None, today: str, before: Row, report: Report) -> tuple[str, int]:
    """The whole file as text, and how many models it prices."""
    hand = json.loads((HERE / "catalogue_overrides.json").read_text(), parse_float=Decimal)
    free = {(provider, name) for provider, names in hand["free"].items() for name in names}
    entries, litellm_version = litellm_file(litellm)
    listed = litellm_rows(entries, free, report)
    rows = [
        row
        for provider in PROVIDERS
        for row in joined(provider, listed[provider], hand["drop"].get(provider, []), report)
    ]
    rows = sorted(map(tidy, with_hand(rows, hand, report)), key=lambda row: (row["provider"], row["id"]))
    content = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]
    old = {(row["provider"], row["id"]): dict(row) for row in before.get("models", [])}
    for row in rows:
        was = old.get((row["provider"], row["id"]), {})
        since = was.pop("dated", today)
        row["dated"] = since if was == row else today
    version = before.get("version", "")
    header = {
        "about": "Prices in integer pico-USD per unit. Generated by scripts/build_prices.py: do not edit.",
        "version": version if version.endswith("." + content) else f"{today}.{content}",
        "sources": {
            "genai-prices": f"{importlib.metadata.version('genai-prices')}, MIT, (c) Pydantic Services Inc.",
            "litellm": f"{litellm_version}, MIT, (c) Berri AI",
            "hand": "providers/pricing/catalogue_overrides.json",
        },
    }
    lines = ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    top = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in header.items())
    return f'{{\n{top}"models": [\n{lines}\n]\n}}\n', len(rows)


def main() -> int:
    """Builds, writes and reports; 1 where --check finds the file stale."""
    options = argparse.ArgumentParser(description="Builds providers/pricing/catalogue.json.")
    options.add_argument("--litellm", type=Path, help="litellm's wheel, or the JSON file in it")
    options.add_argument("--date", default=datetime.now(UTC).date().isoformat(), help="the day to put on new rows")
    options.add_argument("--report", action="store_true", help="say where the sources disagree")
    options.add_argument("--check", action="store_true", help="write nothing; fail if the file is stale")
    args = options.parse_args()
    path = HERE / "catalogue.json"
    text_before = path.read_text() if path.exists() else "{}"
    report = Report()
    text, count = build(args.litellm, args.date, json.loads(text_before), report)
    if args.check:
        return int(text != text_before)
    path.write_text(text)
    catalogue = Catalogue.load(path)
    if args.report:
        report.show()
    by_provider = {provider: len(catalogue.models(provider)) for provider in PROVIDERS}
    print(f"\n{catalogue.version}: {count} models {by_provider}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
