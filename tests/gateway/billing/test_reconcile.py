"""`farthing reconcile`: providers' statements, made here from an independent list of calls, against the events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.reconcile import compare
from gateway.cli import main
from gateway.terminal import DIFFERENCE, FAILED, OK, USAGE
from ledger.purchases import Purchase
from ledger.records import Facts
from providers.ground.statement import DAY_MS, Entry
from providers.pricing.catalogue import Catalogue
from tests.harness import MASTER
from tests.ledger.world import Clock, World, opened

DAY = datetime(2026, 11, 3, tzinfo=UTC)
START_MS = int(DAY.timestamp()) * 1000
RATES = {  # dollars a million tokens, as the providers publish them
    "gpt-4o-mini": {"input": "0.15", "cache_read": "0.075", "output": "0.6"},
    "claude-sonnet-4-5": {
        "input": "3",
        "cache_read": "0.3",
        "cache_write": "3.75",
        "cache_write_1h": "6",
        "output": "15",
    },
}


class Call(NamedTuple):
    """One call as the provider knows it: a day's number, a model and tokens by class."""

    day: int
    model: str
    tokens: dict[str, int]

    @property
    def usd(self) -> dict[str, Decimal]:
        return {of: Decimal(RATES[self.model][of]) * n / 10**6 for of, n in self.tokens.items()}


OPENAI_CALLS = [
    Call(0, "gpt-4o-mini", {"input": 1000, "cache_read": 500, "output": 300}),
    Call(0, "gpt-4o-mini", {"input": 70, "output": 30}),
    Call(1, "gpt-4o-mini", {"input": 900, "cache_read": 100, "output": 11}),
]
ANTHROPIC_CALLS = [
    Call(
        0,
        "claude-sonnet-4-5",
        {"input": 1000, "cache_read": 500, "cache_write": 200, "cache_write_1h": 60, "output": 300},
    ),
    Call(1, "claude-sonnet-4-5", {"input": 70, "output": 30}),
]


def summed(calls: Iterable[Call]) -> dict[tuple[int, str, str], tuple[int, Decimal]]:
    sums: dict[tuple[int, str, str], tuple[int, Decimal]] = {}
    for call in calls:
        for of, tokens in call.tokens.items():
            before = sums.get((call.day, call.model, of), (0, Decimal()))
            sums[call.day, call.model, of] = (before[0] + tokens, before[1] + call.usd[of])
    return sums


def openai_pages(calls: list[Call], *, snapshot: str = "") -> list[dict[str, Any]]:
    """Both reports in OpenAI's shape, a page a day."""
    pages = []
    for report in ("usage", "costs"):
        days = sorted({call.day for call in calls})
        for day in days:
            sums = {key: each for key, each in summed(calls).items() if key[0] == day}
            results: list[dict[str, Any]] = []
            if report == "usage":
                for model in {key[1] for key in sums}:
                    parts = {of: tokens for (_, name, of), (tokens, _) in sums.items() if name == model}
                    results.append(
                        {
                            "object": "organization.usage.completions.result",
                            "input_tokens": parts.get("input", 0) + parts.get("cache_read", 0),
                            "input_cached_tokens": parts.get("cache_read", 0),
                            "output_tokens": parts.get("output", 0),
                            "num_model_requests": 1,
                            "model": model + snapshot,
                            "project_id": "proj_a",
                        }
                    )
            else:
                words = {"input": "input", "cache_read": "cached input", "output": "output"}
                results = [
                    {
                        "object": "organization.costs.result",
                        "amount": {"value": float(usd), "currency": "usd"},
                        "line_item": f"{model}{snapshot}, {words[of]}",
                        "project_id": "proj_a",
                    }
                    for (_, model, of), (_, usd) in sums.items()
                ]
            more = day != days[-1]
            pages.append(
                {
                    "object": "page",
                    "data": [{"object": "bucket", "start_time": START_MS // 1000 + day * 86_400, "results": results}],
                    "has_more": more,
                    "next_page": f"page_{day}" if more else None,
                }
            )
    return pages


def anthropic_pages(calls: list[Call]) -> list[dict[str, Any]]:
    """Both reports in Anthropic's shape."""
    words = {
        "input": "uncached_input_tokens",
        "cache_read": "cache_read_input_tokens",
        "cache_write": "cache_creation.ephemeral_5m_input_tokens",
        "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
        "output": "output_tokens",
    }
    usage, costs = [], []
    for day in sorted({call.day for call in calls}):
        sums = {key: each for key, each in summed(calls).items() if key[0] == day}
        head = {"starting_at": f"2026-11-0{3 + day}T00:00:00Z", "ending_at": f"2026-11-0{4 + day}T00:00:00Z"}
        model = next(iter(sums))[1]
        parts = {of: tokens for (_, _, of), (tokens, _) in sums.items()}
        counted = {
            "model": f"{model}-20250929",
            "workspace_id": None,
            "uncached_input_tokens": parts.get("input", 0),
            "cache_read_input_tokens": parts.get("cache_read", 0),
            "cache_creation": {
                "ephemeral_5m_input_tokens": parts.get("cache_write", 0),
                "ephemeral_1h_input_tokens": parts.get("cache_write_1h", 0),
            },
            "output_tokens": parts.get("output", 0),
        }
        usage.append(head | {"results": [counted]})
        charges = [
            {
                "amount": str(usd * 100),
                "currency": "USD",
                "cost_type": "tokens",
                "description": f"{model} {of}",
                "model": f"{model}-20250929",
                "token_type": words[of],
                "workspace_id": None,
            }
            for (_, _, of), (_, usd) in sums.items()
        ]
        costs.append(head | {"results": charges})
    return [{"data": data, "has_more": False, "next_page": None} for data in (usage, costs)]


async def book(world: World, key: str, provider: str, call: Call) -> None:
    """The call in our ledger, as the gateway would have settled it."""
    world.clock.now_ms = START_MS + call.day * DAY_MS + 3_600_000
    written = call.tokens.get("cache_write", 0) + call.tokens.get("cache_write_1h", 0)
    usage = {
        "input_tokens": call.tokens.get("input", 0) + call.tokens.get("cache_read", 0) + written,
        "cache_read_tokens": call.tokens.get("cache_read", 0),
        "cache_write_tokens": written,
        "cache_write_1h_tokens": call.tokens.get("cache_write_1h", 0),
        "output_tokens": call.tokens.get("output", 0),
    }
    picos = int(sum(call.usd.values()) * 10**12)
    call_id = await world.held(key, 10**6, facts=Facts(provider=provider, model=call.model))
    await world.settle(call_id, usage={name: n for name, n in usage.items() if n}, cost_picos=picos)


@pytest.fixture
async def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{tmp_path}/farthing.db")
    monkeypatch.setenv("FARTHING_MASTER_KEY", MASTER)
    async with opened(tmp_path / "farthing.db", Clock(START_MS)) as world:
        key = await world.open()
        for provider, calls in (("openai", OPENAI_CALLS), ("anthropic", ANTHROPIC_CALLS)):
            for call in calls:
                await book(world, key, provider, call)
    yield tmp_path


async def reconcile(provider: str, *more: str) -> int:
    span = ("--from", "2026-11-03", "--to", "2026-11-06")
    return await asyncio.to_thread(main, ["reconcile", provider, *span, "--json", *more])


def put(path: Path, pages: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, pages)))
    return str(path)


def findings(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str, str]]:
    found = json.loads(capsys.readouterr().out)["findings"]
    return sorted((each["kind"], each["model"], each["class"]) for each in found)


async def test_honest_statements_agree(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the token and to the micro, with a snapshot's name for a model: exit 0."""
    assert await reconcile("openai", "--file", put(books / "o", openai_pages(OPENAI_CALLS)), "--tolerance", "0") == OK
    told = json.loads(capsys.readouterr().out)
    assert told["findings"] == []
    assert {line["difference_tokens"] for line in told["lines"]} == {0}
    assert all(line["ours_micros"] == line["theirs_micros"] is not None for line in told["lines"])
    assert [day["difference_micros"] for day in told["days"]] == [0, 0]
    dated = put(books / "d", openai_pages(OPENAI_CALLS, snapshot="-2024-07-18"))
    assert await reconcile("openai", "--file", dated, "--tolerance", "0") == OK
    assert await reconcile("anthropic", "--file", put(books / "a", anthropic_pages(ANTHROPIC_CALLS))) == OK


def changed(calls: list[Call], at: int, **to: Any) -> list[Call]:
    return [call._replace(**to) if number == at else call for number, call in enumerate(calls)]


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        (changed(ANTHROPIC_CALLS, 1, day=2), {("day", "input"), ("day", "output")}),
        (
            changed(ANTHROPIC_CALLS, 1, tokens={"input": 70, "output": 30, "cache_write_1h": 5}),
            {("tokens", "cache_write_1h")},
        ),
        (
            changed(ANTHROPIC_CALLS, 0, tokens=ANTHROPIC_CALLS[0].tokens | {"cache_write_1h": 0}),
            {("class_not_billed", "cache_write_1h")},
        ),
        (changed(ANTHROPIC_CALLS, 1, tokens={"input": 69, "output": 30}), {("tokens", "input")}),
        ([*ANTHROPIC_CALLS, ANTHROPIC_CALLS[1]], {("tokens", "input"), ("tokens", "output")}),
    ],
)
async def test_a_planted_error_in_tokens_is_named(
    books: Path, capsys: pytest.CaptureFixture[str], theirs: list[Call], kind: set[tuple[str, str]]
) -> None:
    """And no price is blamed for it."""
    path = put(books / "a", anthropic_pages(theirs))
    assert await reconcile("anthropic", "--file", path) == DIFFERENCE
    told = json.loads(capsys.readouterr().out)
    assert {(each["kind"], each["class"]) for each in told["findings"]} == kind
    assert {abs(day["of_price_micros"]) <= 1 for day in told["days"]} == {True}


async def test_a_class_that_we_never_count_is_named(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenAI bills tokens written to the cache, and no event of ours has any."""
    pages = openai_pages(OPENAI_CALLS)
    result = pages[0]["data"][0]["results"][0]
    result["input_cache_write_tokens"] = 8
    result["input_tokens"] += 8
    charge = {"object": "organization.costs.result", "amount": {"value": 0.0000012}, "project_id": "proj_a"}
    pages[2]["data"][0]["results"].append(charge | {"line_item": "gpt-4o-mini, cache write"})
    assert await reconcile("openai", "--file", put(books / "o", pages)) == DIFFERENCE
    assert findings(capsys) == [("class_missed", "gpt-4o-mini", "cache_write")]


async def test_a_changed_price_is_named(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its class, and the tokens are not blamed."""
    pages = openai_pages(OPENAI_CALLS)
    for page in pages:
        for result in page["data"][0]["results"]:
            if result.get("line_item") == "gpt-4o-mini, output":
                result["amount"]["value"] *= 1.5
    assert await reconcile("openai", "--file", put(books / "o", pages)) == DIFFERENCE
    told = json.loads(capsys.readouterr().out)
    assert [(each["kind"], each["class"]) for each in told["findings"]] == [("price", "output")]
    assert {day["of_tokens_micros"] for day in told["days"]} == {0}
    assert sum(day["of_price_micros"] for day in told["days"]) == told["findings"][0]["difference_micros"] < 0


async def test_calls_past_the_gateway_are_named(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that nobody called through here; with a project of one's own it is not looked at."""
    pages = openai_pages(OPENAI_CALLS)
    other = pages[0]["data"][0]["results"][0] | {"model": "gpt-4o", "project_id": "proj_b"}
    pages[0]["data"][0]["results"].append(other)
    path = put(books / "o", pages)
    assert await reconcile("openai", "--file", path) == DIFFERENCE
    assert findings(capsys) == [("only_theirs", "gpt-4o", "")]
    assert await reconcile("openai", "--file", path, "--project", "proj_a") == OK


async def test_a_difference_within_the_tolerance_is_none(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One token of a thousand is 0.1 %."""
    calls = changed(OPENAI_CALLS, 2, tokens={"input": 901, "cache_read": 100, "output": 11})
    path = put(books / "o", openai_pages(calls))
    assert await reconcile("openai", "--file", path, "--tolerance", "0.1") == DIFFERENCE
    assert await reconcile("openai", "--file", path, "--tolerance", "0.2") == OK
    capsys.readouterr()


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([{"data": [{"start_time": 1, "results": [{"object": "organization.usage.images.result"}]}]}], "object"),
        ([{"data": [{"start_time": "x", "results": []}]}], "start_time"),
        ([{"data": [], "has_more": True, "next_page": "p"}], "breaks off"),
        ([{"data": [], "has_more": True}], "next_page"),
        (
            [
                {
                    "data": [
                        {
                            "start_time": 1,
                            "results": [
                                {
                                    "object": "organization.costs.result",
                                    "line_item": "x, input",
                                    "amount": {"value": 1, "currency": "eur"},
                                }
                            ],
                        }
                    ]
                }
            ],
            "currency",
        ),
    ],
)
async def test_what_is_no_statement_is_refused(
    books: Path, capsys: pytest.CaptureFixture[str], pages: list[dict[str, Any]], said: str
) -> None:
    """With the file, the page and the field."""
    assert await reconcile("openai", "--file", put(books / "bad", pages)) == FAILED
    error = capsys.readouterr().err
    assert said in error
    assert "bad" in error


async def test_reports_are_fetched_page_by_page(
    books: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the administrator's key; a 429 is waited out, a refusal is told."""
    pages = openai_pages(OPENAI_CALLS)
    asked: list[tuple[str, str | None, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.query.get("page"), request.headers.get("authorization")))
        if request.headers.get("authorization") != "Bearer admin-1":
            return web.json_response({"error": {"message": "no admin"}}, status=401)
        if len(asked) == 2:
            return web.json_response({}, status=429)
        assert request.query.getall("group_by")[1] == "project_id"
        assert int(request.query["end_time"]) - int(request.query["start_time"]) == 3 * 86_400
        first = 0 if request.path.endswith("completions") else 2
        return web.json_response(pages[first + (request.query.get("page") is not None)])

    app = web.Application()
    app.router.add_get("/v1/organization/usage/completions", answer)
    app.router.add_get("/v1/organization/costs", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    monkeypatch.setenv("FARTHING_UPSTREAM_OPENAI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("gateway.billing.gathering.WAIT_S", 0.01)
    try:
        assert await reconcile("openai") == USAGE
        assert "OPENAI_ADMIN_KEY" in capsys.readouterr().err
        monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-1")
        assert await reconcile("openai", "--tolerance", "0") == OK
        assert [(path.rsplit("/", 1)[1], page) for path, page, _ in asked] == [
            ("completions", None),
            ("completions", "page_0"),
            ("completions", "page_0"),
            ("costs", None),
            ("costs", "page_0"),
        ]
        monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-2")
        assert await reconcile("openai") == FAILED
        assert "401" in capsys.readouterr().err
    finally:
        await runner.cleanup()


CATALOGUE = Catalogue.load()
COUNTS = st.integers(0, 5000)


@given(
    ours=st.lists(st.tuples(st.integers(0, 2), COUNTS, COUNTS, COUNTS), min_size=1, max_size=5),
    theirs=st.lists(st.tuples(st.integers(0, 2), COUNTS, COUNTS, COUNTS), min_size=1, max_size=5),
)
def test_the_two_parts_of_a_difference_add_up(
    ours: list[tuple[int, int, int, int]], theirs: list[tuple[int, int, int, int]]
) -> None:
    """Whatever either side says: of tokens + of price = the difference; and with the same calls nothing is found."""
    purchases = [
        Purchase(
            day_ms=START_MS + day * DAY_MS,
            model="gpt-4o-mini",
            cost_picos=plain * 150_000 + cached * 75_000 + out * 600_000,
            tokens=dict.fromkeys(("cache_write_tokens", "cache_write_1h_tokens", "cache_write_12h_tokens"), 0)
            | {"input_tokens": plain + cached, "cache_read_tokens": cached, "output_tokens": out},
        )
        for day, plain, cached, out in ours
    ]

    def entries(calls: list[tuple[int, int, int, int]]) -> list[Entry]:
        rates = {"input": 150_000, "cache_read": 75_000, "output": 600_000}
        return [
            entry
            for day, *counts in calls
            for (of, rate), n in zip(rates.items(), counts, strict=True)
            for entry in (
                Entry(day_ms=START_MS + day * DAY_MS, model="gpt-4o-mini-2024-07-18", of=of, tokens=n),
                Entry(day_ms=START_MS + day * DAY_MS, model="gpt-4o-mini", of=of, picos=n * rate),
            )
        ]

    found = compare("openai", purchases, entries(theirs), CATALOGUE, 0)
    assert all(day.of_tokens_picos + day.of_price_picos == day.difference_picos for day in found.days)
    assert all(day.of_price_picos == 0 for day in found.days)  # the price is the same: it is never blamed
    mine = sorted(((day, *counts) for day, *counts in ours))
    same = compare("openai", purchases, entries(mine), CATALOGUE, 0)
    assert same.findings == []
