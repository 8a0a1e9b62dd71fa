# ruff: noqa: S608 - SQL is put together from constants and integers of our own
"""What a grown installation feels like: a million keys, a million events, measured through HTTP.

    python -m scripts.scale [--keys N] [--events M] [--keep PATH] [--reuse PATH] [--markdown]

Builds the database by bulk SQL into the real schema: one key, one event and one hold are made by Farthing itself, and
every other row is a copy of theirs, with other ids and amounts, so that a column that the schema gains is filled as
Farthing fills it. Counters, balances and rollups are sums over the rows, and `farthing audit` must find no difference,
before and after. Then `farthing serve` runs on it. Statements slower than 20 ms are shown with their query plans.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from keys.hashing import SecretHasher
from keys.ids import new_body
from keys.keyring import Keyring
from keys.minting import Minter
from keys.requests import Mint
from ledger import latency
from ledger.engine import Result, Script, Statement, Work
from ledger.events import EventQuery
from ledger.ledger import Ledger
from ledger.records import Ask, Facts, Held, Measures, Settlement
from ledger.usage import Query
from scripts.bench.contestants import ask as ask_json
from scripts.bench.contestants import farthing_environment, free_port, wait_ready
from scripts.bench.machine import GATEWAY_CORE, LOAD_CORE, Process, describe, pin
from scripts.bench.report import Column, Row, render, save

TEAMS = 1_000  # half of the keys hang under one of them, half under the master key itself
ACTIVE = 20_000  # keys that have events; every hundredth of them has half of all
TEST_EVERY = 100  # every hundredth key is a test key, and has no events
HOLDS = 1_000  # of a process that died, on active keys
DAYS = 30
DAY_MS = 86_400_000
SLOW_S = 0.02
STATEMENT_SHOWN = 400
READY_S = 300.0

MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1")
COLUMNS: tuple[Column, ...] = (
    ("name", "what", "s"),
    ("count", "times", ",d"),
    ("p50_ms", "p50 ms", ",.1f"),
    ("p95_ms", "p95 ms", ",.1f"),
    ("kb", "KB", ",.0f"),
)


T = TypeVar("T")


def clock_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


# ---- building


async def _templates(path: Path, master: str) -> None:
    """By Farthing itself: a master key, a team, a key under it, one settled call of it, and one that nobody settles."""
    ledger = await Ledger.open(f"sqlite:///{path}", clock_ms=clock_ms, owner="gone")
    hasher = SecretHasher()
    try:
        keyring = await Keyring.open(ledger, hasher, clock_ms=clock_ms, master=master)
        minter = Minter(ledger, keyring, hasher, clock_ms)
        await minter.first_master(master)
        root = await keyring.authenticate(master)
        team = await minter.mint(root, master, Mint(name="template", scope="team", max_spend_micros=10**13))
        team_key = await keyring.authenticate(team.secret)
        minted = await minter.mint(team_key, team.secret, Mint(name="template", max_spend_micros=10**10))
        key = await keyring.authenticate(minted.secret)
        facts = Facts(provider="openai", model=MODELS[0], route="chat.completions", price_version="scale")
        for settled in (True, False):
            call_id = new_body(clock_ms())
            asked = Ask(
                id=call_id,
                account_id=key.account_id,
                facts=facts,
                owner="gone",
                versions=key.versions,
                fixed_picos=10**8,
            )
            held = await ledger.calls.hold(asked)
            assert isinstance(held, Held)
            if settled:
                await ledger.calls.settled(
                    Settlement(
                        id=call_id,
                        status="settled",
                        cost_picos=13_650_000,
                        measures=Measures(input_tokens=27, output_tokens=16),
                        tokens=43,
                        usage={"input_tokens": 27, "output_tokens": 16},
                        http_status=200,
                        latency_ms=700,
                        ttft_ms=200,
                    )
                )
    finally:
        await ledger.close()
        hasher.close()


class _Histogram:
    """SQL aggregate: latencies as a rollup keeps them."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def step(self, latency_ms: int) -> None:
        """Count one."""
        index = latency.bucket(latency_ms)
        self._counts[index] = self._counts.get(index, 0) + 1

    def finalize(self) -> bytes:
        """The histogram of all."""
        return latency.pack(self._counts)


class Builder:
    """Fills the tables around the templates."""

    def __init__(self, path: Path, keys: int, events: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._keys, self._events = keys, events
        self._connection.create_aggregate("histogram", 1, _Histogram)  # type: ignore[arg-type]
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-1000000"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.execute("PRAGMA temp_store=MEMORY")
        one = self._connection.execute("SELECT max(id), (SELECT max(id) FROM limits) FROM accounts").fetchone()
        self._base, self._limit_base = one  # the template key is the newest account, its balance the newest limit

    def build(self) -> None:
        """All of it."""
        for name, step in (
            ("accounts", self._add_accounts),
            ("events", self._add_events),
            ("rollups", self._add_rollups),
            ("holds", self._add_holds),
            ("counters", self._add_counters),
        ):
            started = time.perf_counter()
            self._connection.execute("BEGIN")
            step()
            self._connection.execute("COMMIT")
            print(f"built {name} in {time.perf_counter() - started:.1f} s", flush=True)
        self._connection.execute("PRAGMA locking_mode=NORMAL").fetchall()
        self._connection.close()

    def _copy(self, table: str, source: str, template: str, **overrides: str) -> None:
        """Insert a row for each of `source` (as `s`): the template's columns, but for the overrides."""
        columns = [row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")]
        unknown = overrides.keys() - set(columns)
        assert not unknown, f"{table} has no {unknown}"
        if table == "events":
            columns.remove("seq")
        values = ", ".join(overrides.get(column, f't."{column}"') for column in columns)
        names = ", ".join(f'"{column}"' for column in columns)
        self._connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {source} AS s"
            f" CROSS JOIN (SELECT * FROM {table} WHERE {template} LIMIT 1) AS t"
        )

    def _add_accounts(self) -> None:
        """Teams first, then keys; the account, its balance and its credential have consecutive ids."""
        base, limit_base = self._base, self._limit_base
        self._connection.execute(
            "CREATE TEMP TABLE n AS WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < ?)"
            f" SELECT n, n <= {TEAMS} AS team, n % {TEST_EVERY} <> 0 OR n <= {TEAMS} AS live,"
            f" CASE WHEN n <= {TEAMS} OR n % 2 THEN 1 ELSE {base} + 1 + n / 2 % {TEAMS} END AS parent FROM up",
            (self._keys,),
        )
        (created_ms,) = self._connection.execute("SELECT created_ms FROM accounts WHERE id = ?", (base,)).fetchone()
        for team in (0, 1):
            template = base - team
            self._copy(
                "accounts",
                f"(SELECT * FROM n WHERE team = {team})",
                f"id = {template}",
                id=f"{base} + s.n",
                public_id="'key_' || printf('%026d', s.n)",
                parent_id="s.parent",
                path=f"CASE WHEN s.parent = 1 THEN '/1/' ELSE '/1/' || s.parent || '/' END || ({base} + s.n) || '/'",
                livemode="s.live",
                profile="replace(t.profile, 'template', 'key ' || s.n)",
                spent_micros="0",
                carry_picos="0",
                price_micros="0",
                price_carry_picos="0",
                last_used_ms="NULL",
                created_ms=f"{created_ms} - {DAYS * DAY_MS} + s.n",
            )
        self._copy(
            "limits",
            "n",
            f"account_id = {base}",
            id=f"{limit_base} + s.n",
            account_id=f"{base} + s.n",
            public_id="'lim_' || printf('%026d', s.n)",
        )
        self._copy(
            "credentials",
            "n",
            f"account_id = {base}",
            id="(SELECT max(id) FROM credentials) + s.n",
            account_id=f"{base} + s.n",
            locator=f"printf('%012x', s.n * 2654435761 % {2**48})",
        )

    def _add_events(self) -> None:
        """Events over the days, with exact costs and carries, as the ledger would have charged them one by one."""
        stride = (self._keys - TEAMS) // ACTIVE
        offset_ms = DAYS * DAY_MS // self._events
        self._connection.execute(
            "CREATE TEMP TABLE e AS WITH RECURSIVE up (m) AS (SELECT 1 UNION ALL SELECT m + 1 FROM up WHERE m < ?),"
            # Every second call is one of the busy keys'.
            f" who AS (SELECT m, {TEAMS} + 1 + (CASE WHEN m % 2 THEN m * 7919 % {ACTIVE}"
            f" ELSE m / 2 % {ACTIVE // 100} * 100 END) * {stride} AS n FROM up),"
            f" cost AS (SELECT m, n + (n % {TEST_EVERY} = 0) AS n, 13650123 + m * 7919 % 1000 * 10007 AS cost_picos,"
            " 20 + m % 4000 AS input, 10 + m % 700 AS output, 300 + m * 31 % 3000 AS latency FROM who)"
            " SELECT m, n, cost_picos, input, output, latency, SUM(cost_picos) OVER (PARTITION BY n ORDER BY m) AS upto"
            " FROM cost ORDER BY m",
            (self._events,),
        )
        micros = "(s.upto / 1000000 - (s.upto - s.cost_picos) / 1000000)"
        leg = "'[' || {} || ',0,0,' || {} || ']'"
        balance, root_limit = f"({self._limit_base} + s.n)", self._root_limit()
        team = f",{self._limit_base} + s.parent - {self._base}"
        models = " ".join(f"WHEN {number} THEN '{model}'" for number, model in enumerate(MODELS))
        self._copy(
            "events",
            "(SELECT e.*, n.parent FROM e JOIN n ON n.n = e.n ORDER BY m)",
            "status = 'settled'",
            id="printf('%026d', s.m)",
            account_id=f"{self._base} + s.n",
            created_ms=f"{clock_ms() - DAYS * DAY_MS} + s.m * {offset_ms}",
            settled_ms=f"{clock_ms() - DAYS * DAY_MS} + s.m * {offset_ms} + s.latency",
            model=f"CASE s.m % {len(MODELS)} {models} END",
            usage='printf(\'{"input_tokens":%d,"output_tokens":%d}\', s.input, s.output)',
            cost_micros=micros,
            price_micros=micros,
            cost_picos="s.cost_picos",
            latency_ms="s.latency",
            legs=f"'[' || {leg.format(balance, micros)} || CASE WHEN s.parent = 1 THEN '' ELSE ',' || "
            + leg.format(f"({team[1:]})", micros)
            + f" END || ',' || {leg.format(root_limit, micros)} || ']'",
        )
        self._connection.execute(
            "UPDATE accounts SET spent_micros = sums.upto / 1000000, price_micros = sums.upto / 1000000,"
            " carry_picos = sums.upto % 1000000, price_carry_picos = sums.upto % 1000000, last_used_ms = ?"
            f" FROM (SELECT n, max(upto) AS upto FROM e GROUP BY n) AS sums WHERE accounts.id = {self._base} + sums.n",
            (clock_ms(),),
        )

    def _root_limit(self) -> int:
        (found,) = self._connection.execute("SELECT id FROM limits WHERE account_id = 1 AND role = 'total'").fetchone()
        return int(found)

    def _add_rollups(self) -> None:
        """A row for each day, key and model."""
        source = (
            f"(SELECT created_ms - created_ms % {DAY_MS} AS day, account_id, model, count(*) AS requests,"
            " SUM(cost_micros) AS micros, SUM(cost_picos - cost_micros * 1000000) AS rest,"
            " SUM(usage ->> 'input_tokens') AS input,"
            " SUM(usage ->> 'output_tokens') AS output, SUM(latency_ms) AS latency, histogram(latency_ms) AS histogram"
            f" FROM events WHERE account_id > {self._base} GROUP BY 1, 2, 3)"
        )
        self._copy(
            "rollups",
            source,
            "requests = 1",
            day_ms="s.day",
            account_id="s.account_id",
            model="s.model",
            requests="s.requests",
            cost_micros="s.micros",
            price_micros="s.micros",
            rest_picos="s.rest",
            input_tokens="s.input",
            output_tokens="s.output",
            latency_ms_sum="s.latency",
            latency_histogram="s.histogram",
        )

    def _add_holds(self) -> None:
        """Calls in flight of a process that is gone: the gateway must turn them into `unsettled` when it starts."""
        stride = (self._keys - TEAMS) // ACTIVE
        leg = "'[' || {} || ',0,0,\"micros\",100]'"
        team = f"({self._limit_base} + s.parent - {self._base})"
        self._connection.execute(
            "CREATE TEMP TABLE h AS SELECT n.* FROM n"
            f" WHERE n > {TEAMS} AND live AND (n - {TEAMS} - 1) % {stride} = 0 ORDER BY n LIMIT {HOLDS}"
        )
        self._copy(
            "holds",
            "h",
            "state = 'open'",
            id="printf('z%025d', s.n)",
            account_id=f"{self._base} + s.n",
            amount_micros="100",
            legs=f"'[' || {leg.format(f'({self._limit_base} + s.n)')} || CASE WHEN s.parent = 1 THEN '' ELSE ',' || "
            + leg.format(team)
            + f" END || ',' || {leg.format(self._root_limit())} || ']'",
        )

    def _add_counters(self) -> None:
        """Every counter is the sum of what events used and holds hold of it."""
        self._connection.execute("DELETE FROM counters")
        self._connection.execute(
            "INSERT INTO counters (limit_id, subject_id, window_start_ms, used, held)"
            " SELECT leg ->> 0, leg ->> 1, leg ->> 2, SUM(used), SUM(held) FROM ("
            " SELECT value AS leg, value ->> 3 AS used, 0 AS held FROM events, json_each(events.legs)"
            " UNION ALL SELECT value, 0, value ->> 4 FROM holds, json_each(holds.legs)) GROUP BY 1, 2, 3"
        )


# ---- measuring


class Api:
    """One kept connection to the gateway."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method: str, path: str, secret: str, body: object = None) -> tuple[Any, int]:
        """One request: its answer, and how many bytes that had."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status < 300, f"{method} {path}: {response.status} {answer[:300]!r}"
        return json.loads(answer), len(answer)


class Browser:
    """Somebody who is signed in to the dashboard."""

    def __init__(self, port: int, secret: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._origin = f"http://127.0.0.1:{port}"
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self._origin}
        self._connection.request("POST", "/dashboard/login", urlencode({"key": secret, "next": ""}), form)
        response = self._connection.getresponse()
        response.read()
        assert response.status == 303, response.status
        self._cookie = response.headers["Set-Cookie"].partition(";")[0]

    def page(self, path: str) -> tuple[Any, int]:
        """One page, and how many bytes it has."""
        self._connection.request("GET", f"/dashboard{path}", headers={"Cookie": self._cookie})
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, f"{path}: {response.status} {answer[:300]!r}"
        return answer, len(answer)


def _timed(name: str, times: int, call: Callable[[int], tuple[Any, int]]) -> Row:
    """Call it so many times; the number of the time is its argument."""
    waits, size = [], 0
    for number in range(times):
        started = time.perf_counter()
        _, size = call(number)
        waits.append((time.perf_counter() - started) * 1e3)
    waits.sort()
    return {
        "name": name,
        "count": times,
        "p50_ms": statistics.median(waits),
        "p95_ms": waits[min(int(times * 0.95), times - 1)],
        "kb": size / 1e3,
    }


def _once(name: str, seconds: float) -> Row:
    return {"name": name, "count": 1, "p50_ms": seconds * 1e3}


def _requests(port: int, master: str, keys: int) -> Iterator[Row]:
    """Everything that is asked through HTTP."""
    api = Api(port)

    def get(name: str, times: int, path: Callable[[int], str], secret: str = master) -> Row:
        return _timed(name, times, lambda number: api.call("GET", path(number), secret))

    def key_id(number: int) -> str:
        """Some key, another one each time."""
        return f"key_{TEAMS + 1 + number * 7919 % (keys - TEAMS):026d}"

    stride = (keys - TEAMS) // ACTIVE
    busy = f"key_{TEAMS + 1 + 100 * stride + ((TEAMS + 1 + 100 * stride) % TEST_EVERY == 0):026d}"
    yield _timed("POST /v1/keys (mint)", 200, lambda n: api.call("POST", "/v1/keys", master, {"name": f"new {n}"}))
    yield get("GET /v1/keys, first page of 100", 30, lambda _: "/v1/keys?limit=100")
    yield get("GET /v1/keys, deep page", 30, lambda n: f"/v1/keys?limit=100&starting_after=key_{keys // 10 + n:026d}")
    yield get("GET /v1/keys?livemode=false", 30, lambda _: "/v1/keys?limit=100&livemode=false")
    team, _ = api.call("POST", "/v1/keys", master, {"name": "team", "scope": "team"})
    yield get("GET /v1/keys of a team with no keys", 10, lambda _: "/v1/keys?limit=100", team["secret"])
    yield get("GET /v1/keys/:id", 200, lambda n: f"/v1/keys/{key_id(n)}")
    yield get("GET /v1/me (master)", 100, lambda _: "/v1/me")
    yield get("GET /v1/me (new team)", 100, lambda _: "/v1/me", team["secret"])
    to_ms = clock_ms() // DAY_MS * DAY_MS
    month, ragged = f"from_ms={to_ms - 29 * DAY_MS}&to_ms={to_ms}", f"from_ms={clock_ms() - 30 * DAY_MS + 7_200_000}"
    yield get("GET /v1/usage, a month, all keys", 3, lambda _: f"/v1/usage?{month}")
    yield get("GET /v1/usage, 30 days to now, all keys", 3, lambda _: f"/v1/usage?{ragged}")
    yield get("GET /v1/usage, one day, all keys", 5, lambda _: f"/v1/usage?from_ms={to_ms - DAY_MS}&to_ms={to_ms}")
    yield get("GET /v1/usage, a month, one busy key", 30, lambda _: f"/v1/usage?{month}&key_id={busy}")
    yield get("GET /v1/usage, 30 days to now, one key", 30, lambda _: f"/v1/usage?{ragged}&key_id={busy}")
    team_id = f"key_{7:026d}"
    yield get("GET /v1/usage, a month, a team of 500", 10, lambda _: f"/v1/usage?{month}&key_id={team_id}")
    yield get("GET /v1/usage, a month by new team", 10, lambda _: f"/v1/usage?{month}", team["secret"])
    yield get("GET /v1/events, first page", 30, lambda _: "/v1/events?limit=100")
    yield get("GET /v1/events, deep page", 30, lambda n: f"/v1/events?limit=100&starting_after=evt_{1000 + n:026d}")
    yield get("GET /v1/events of one busy key", 30, lambda _: f"/v1/events?limit=100&key_id={busy}")
    yield get("GET /v1/events, blocked only (none)", 3, lambda _: "/v1/events?limit=100&decision=blocked")
    old = f"from_ms={clock_ms() - 30 * DAY_MS}&to_ms={clock_ms() - 29 * DAY_MS}"
    yield get("GET /v1/events of an old day", 10, lambda _: f"/v1/events?limit=100&{old}")
    yield get("GET /v1/holds", 10, lambda _: "/v1/holds?limit=100")
    yield get("GET /v1/keys/:id/usage", 30, lambda _: f"/v1/keys/{busy}/usage")
    asked = {"name": "test", "livemode": False}
    tests = [api.call("POST", "/v1/keys", master, asked)[0]["secret"] for _ in range(30)]
    chat = {"model": MODELS[0], "messages": [{"role": "user", "content": "hello"}]}
    path = "/v1/chat/completions"
    yield _timed("call with a test key, its first", 30, lambda n: api.call("POST", path, tests[n], chat))
    yield _timed("call with a test key, warm", 300, lambda n: api.call("POST", path, tests[n % 30], chat))
    yield from _pages(Browser(port, master), busy, f"evt_{7:026d}")


def _pages(browser: Browser, busy: str, event: str) -> Iterator[Row]:
    """The dashboard's pages, as a master sees them."""
    for path in (
        "",
        "/keys",
        "/keys?q=key+77777",
        f"/keys/{busy}",
        "/usage",
        f"/usage?key_id={busy}",
        "/calls",
        f"/calls?key_id={busy}",
        f"/calls/{event}",
        "/customers",
        "/changes",
        "/plans",
        "/alerts",
        "/providers",
        "/prices",
        "/try",
    ):
        name = path.replace(busy, ":id").replace(event, ":id")
        yield _timed(f"page /dashboard{name}", 5, lambda _, path=path: browser.page(path))  # type: ignore[misc]


@contextmanager
def _serving(environment: dict[str, str], directory: Path) -> Iterator[tuple[Process, float]]:
    """The gateway on this database, and how long it took to be ready."""
    program = str(Path(sys.executable).with_name("farthing"))
    port = int(environment["FARTHING_PORT"])
    started = time.perf_counter()
    process = Process(
        [program, "serve"],
        core=GATEWAY_CORE,
        log=directory / "farthing.log",
        environment=environment,
        cwd=directory,
    )
    try:
        wait_ready(process, lambda: ask_json(port, "GET", "/readyz", "none"), READY_S)
        yield process, time.perf_counter() - started
    finally:
        process.stop()


def _audit(environment: dict[str, str], directory: Path) -> tuple[float, dict[str, Any]]:
    """How long the audit takes, and what it finds."""
    program = str(Path(sys.executable).with_name("farthing"))
    started = time.perf_counter()
    shown = subprocess.run(
        [program, "audit", "--json"], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - started
    assert shown.stdout, shown.stderr
    finding = json.loads(shown.stdout)
    assert not finding["count"], finding["differences"][:5]
    return taken, finding


# ---- explaining


class _Explaining:
    """Reads as an engine reads, on one plain connection, and keeps the plans of slow statements."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self.question = ""
        self.lines: list[str] = []

    async def commit(self, batch: list[Work], now_ms: int) -> list[Result]:
        """Nothing is written here."""
        raise NotImplementedError

    async def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> T:
        """See `Engine`."""
        running = script()
        statement = next(running)
        try:
            while True:
                started = time.perf_counter()
                rows = self._connection.execute(*statement).fetchall()
                if (taken := time.perf_counter() - started) > SLOW_S:
                    self._note(statement, taken, len(rows))
                statement = running.send(rows)
        except StopIteration as done:
            return cast("T", done.value)

    def _note(self, statement: Statement, taken_s: float, rows: int) -> None:
        sql, parameters = statement
        self.lines.append(f"{self.question}: {taken_s * 1e3:.0f} ms, {rows} rows: {sql[:STATEMENT_SHOWN]}")
        plan = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.lines += [f"    {step[3]}" for step in plan]

    async def close(self) -> None:
        """See `Engine`."""
        self._connection.close()


async def _explain(path: Path, keys: int) -> list[str]:
    """The slow statements of the questions that were asked through HTTP, with their plans."""
    engine = _Explaining(path)
    ledger = Ledger(engine, clock_ms, "explain")
    from_ms, to_ms = clock_ms() - DAYS * DAY_MS + 7_200_000, clock_ms()
    team = f"key_{7:026d}"
    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "key": lambda: ledger.accounts.get(1, f"key_{keys:026d}"),
        "keys, deep": lambda: ledger.accounts.page(1, limit=100, starting_after=f"key_{keys // 10:026d}"),
        "keys, test": lambda: ledger.accounts.page(1, limit=100, livemode=False),
        "usage, all": lambda: ledger.reports.usage(Query(owner_id=1, from_ms=from_ms, to_ms=to_ms)),
        "usage, team": lambda: ledger.reports.usage(Query(owner_id=1, from_ms=from_ms, to_ms=to_ms, key=team)),
        "events": lambda: ledger.reports.events(EventQuery(owner_id=1, limit=100)),
        "events, deep": lambda: ledger.reports.events(EventQuery(owner_id=1, limit=100, starting_after=f"{1000:026d}")),
        "events, old day": lambda: ledger.reports.events(
            EventQuery(owner_id=1, limit=100, from_ms=from_ms, to_ms=from_ms + DAY_MS)
        ),
        "events, blocked": lambda: ledger.reports.events(EventQuery(owner_id=1, limit=100, decision="blocked")),
        "holds": lambda: ledger.reports.holds(1, limit=100),
    }
    for name, question in questions.items():
        engine.question = name
        await question()
    await engine.close()
    return engine.lines


def main() -> None:
    """Build, measure, explain."""
    parser = argparse.ArgumentParser(prog="python -m scripts.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="directory to build in and leave; default: a temporary one")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="directory of the JSON file")
    options = parser.parse_args()
    if options.keys < TEAMS + ACTIVE:
        parser.error(f"--keys must be at least {TEAMS + ACTIVE}")
    pin(LOAD_CORE)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        _measure(options, options.keep.absolute())
    else:
        with tempfile.TemporaryDirectory(prefix="farthing-scale-") as directory:
            _measure(options, Path(directory))


def _measure(options: argparse.Namespace, directory: Path) -> None:
    path = directory / "farthing.db"
    environment = farthing_environment(path, free_port(), 9)
    environment["FARTHING_MASTER_KEY"] = master = f"scale-{secrets.token_hex(16)}"
    started = time.perf_counter()
    asyncio.run(_templates(path, master))
    Builder(path, options.keys, options.events).build()
    rows: list[Row] = []
    built_s = time.perf_counter() - started
    audit_s, _ = _audit(environment, directory)
    with _serving(environment, directory) as (process, ready_s):
        rows.append(_once(f"farthing serve, ready with {HOLDS} holds to recover", ready_s))
        rows += _requests(int(environment["FARTHING_PORT"]), master, options.keys)
        rss_mb = process.rss_bytes() / 1e6
    rows.append(_once("farthing audit, before", audit_s))
    audit_s, finding = _audit(environment, directory)
    rows.append(_once("farthing audit, after", audit_s))
    notes = [
        f"{finding['accounts']:,} accounts, {finding['events']:,} events, built in {built_s:.0f} s;"
        f" database {path.stat().st_size / 1e6:,.0f} MB; gateway {rss_mb:.0f} MB after all this",
        *asyncio.run(_explain(path, options.keys)),
    ]
    machine = describe()
    saved = save(options.out, "scale", machine, rows, notes)
    print(render("A grown installation", COLUMNS, rows, machine, notes, markdown=options.markdown))
    print(f"\nwritten to {saved}")


if __name__ == "__main__":
    main()
