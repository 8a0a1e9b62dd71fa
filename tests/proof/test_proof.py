"""A slice of the proof on each engine, and the proof of the proof: what is wrong is found."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.refusals import FIRST
from scripts.proof import books as books_module
from scripts.proof import supervisor, tally
from scripts.proof.books import Books
from scripts.proof.calls import Call
from scripts.proof.database import SqliteFile
from scripts.proof.faults import FAULTS
from scripts.proof.provider import INVOICE
from scripts.proof.site import Site, opened
from tests.cluster import Cluster

SEED = 5
SLICE_S = 45.0  # on a busy machine it does fewer rounds, not longer ones
SLICES = {
    "sqlite": (
        *(
            "kill -9 at S1",
            "kill -9 at S2",
            "kill -9 at S5",
            "kill -9 at any moment",
            "killed inside the n-th write of",
        ),
        *("fsync error", "no space left", "leaves by rst at S4", "key rotated in", "cap lowered"),
    ),
    "postgresql": (
        *("kill -9 at S1", "kill -9 at S5", "kill -9 at any moment", "PostgreSQL crashes", "every connection"),
        *("answer to a hold's COMMIT", "answer to a settlement's COMMIT", "many calls at once", "key revoked in"),
    ),
}


@pytest.mark.timeout(400)  # its last round may have begun just before the slice's end
@pytest.mark.parametrize("engine", SLICES)
async def test_a_slice_of_the_proof(engine: str, request: pytest.FixtureRequest) -> None:
    """Killed, cut and crashed on a real database: nothing lost, nothing twice, no cap overspent, and it goes on."""
    server: Cluster | None = request.getfixturevalue("postgres") if engine == "postgresql" else None
    said: list[str] = []
    found = await supervisor.run(
        engine, SEED, rounds=len(SLICES[engine]), say=said.append, only=SLICES[engine], server=server,
        until=time.monotonic() + SLICE_S,
    )  # fmt: skip
    assert not found.broken, "\n".join(said)
    assert found.rounds >= 3, said
    assert found.calls > 10


@pytest.mark.timeout(300)
async def test_a_standby_is_promoted_under_load() -> None:
    """Three gateways, the server killed with all its processes: they find its standby, and it has all they answered."""
    said: list[str] = []
    with contextlib.closing(Cluster()) as server:
        found = await supervisor.run(
            "postgresql", SEED, rounds=1, say=said.append, only=("the server is lost, and its",), server=server
        )
        assert server.current is not server
    assert not found.broken, "\n".join(said)
    assert (found.rounds, found.crashes) == (1, 1)
    assert found.statuses["settled"] > 10


def test_every_row_of_the_matrix_has_a_fault_on_each_engine_that_it_concerns() -> None:
    """F1 to F27. A month's end is the database's affair where the clock is its own."""
    rows = {(fault.row, engine) for fault in FAULTS for engine in fault.engines}
    for number in range(1, 28):
        concerned = {16: ("sqlite",), 25: ("sqlite",), 17: ("postgresql",), 18: ("postgresql",)}.get(
            number, ("sqlite", "postgresql")
        )
        within = {5: 4, 6: 4}.get(number, number)  # one fault stands for three rows
        for engine in concerned:
            assert (f"F{within}", engine) in rows, (number, engine)
    names = [fault.id for fault in FAULTS]
    assert len(names) == len(set(names))


def _sql(statement: str) -> Callable[[Site, Call], None]:
    def tamper(site: Site, call: Call) -> None:
        connection = sqlite3.connect(site.sqlite.path, isolation_level=None)
        assert connection.execute(statement, (f"%{call.mark}%",)).rowcount == 1
        connection.close()

    return tamper


def _witness(**row: object) -> Callable[[Site, Call], None]:
    def tamper(site: Site, call: Call) -> None:
        with (site.place / INVOICE).open("a") as file:
            file.write(json.dumps({"mark": call.mark} | row) + "\n")

    return tamper


def _client(change: Callable[[Site, Call], object]) -> Callable[[Site, Call], None]:
    def tamper(site: Site, call: Call) -> None:
        change(site, call)

    return tamper


_COPY = (
    "INSERT INTO events SELECT seq + 1000, id || 'x', account_id, subject_id, run_id, created_ms, settled_ms, mode,"
    " provider, model, route, decision, reason, status, usage, cost_micros, cost_picos, price_micros, price_version,"
    " held_micros, http_status, latency_ms, ttft_ms, stream, metadata, flags, legs, upstream FROM events"
    " WHERE metadata LIKE ?"
)
WRONGS: dict[str, tuple[str, Callable[[Site, Call], None]]] = {
    "a charge is too low": ("lost", _sql("UPDATE events SET cost_picos = cost_picos - 1 WHERE metadata LIKE ?")),
    "a charge is too high": ("double", _sql("UPDATE events SET cost_picos = cost_picos + 1 WHERE metadata LIKE ?")),
    "a call was free": ("lost", _sql("UPDATE events SET status = 'released', cost_picos = 0 WHERE metadata LIKE ?")),
    "a call is forgotten": ("lost", _sql("DELETE FROM events WHERE metadata LIKE ?")),
    "a call has two events": ("double", _sql(_COPY)),
    "a call was forwarded twice": ("double", _witness(number=999, path="/", model="")),
    "a refused call was forwarded": ("other", _sql("UPDATE events SET decision = 'blocked' WHERE metadata LIKE ?")),
    "bytes were changed": ("other", _client(lambda site, call: call.got.__setitem__(5, 0))),
    "bytes are missing": ("other", _client(lambda site, call: call.got.pop())),
    "the client waits for ever": ("other", _client(lambda site, call: setattr(call, "end", "late"))),
    "a refused client was served": ("other", _client(lambda site, call: setattr(call, "status", 402))),
    "a cap is overspent": ("overspent", _client(lambda site, call: setattr(site.keys["tight"], "cap", 1))),
    "a balance is lowered": (
        "other",
        _sql(
            "UPDATE counters SET used = used - 100 WHERE ? <> '' AND limit_id = (SELECT l.id FROM limits AS l JOIN"
            " accounts AS a ON a.id = l.account_id WHERE l.role = 'total' AND a.profile LIKE '%tight%')"
        ),
    ),
    "a report is short of a token": (
        "other",
        _sql(
            "UPDATE rollups SET output_tokens = output_tokens - 1 WHERE ? <> '' AND account_id ="
            " (SELECT id FROM accounts WHERE profile LIKE '%tight%')"
        ),
    ),
}


async def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On books that are right nothing is found; what is then wrong with one call is found, and called what it is."""
    async with opened(SqliteFile(tmp_path, small=False), tmp_path, SEED) as site:
        calls = [await site.call(site.keys["tight"], "stream", "output_tokens=9", max_tokens=20) for _ in WRONGS]
        assert {call.status for call in calls} == {200}
        for kind, sim in (("chat", ""), ("spliced", "output_tokens=9"), ("stream", "reset=mid_event")):
            await site.call(site.keys["wide"], kind, sim)
        await site.heal()
        assert await Books(site).verify(final=True) == []
        monkeypatch.setattr(books_module, "QUIET_S", 0.0)
        known: set[tuple[str, str]] = set()
        for call, (wrong, (kind, tamper)) in zip(calls, WRONGS.items(), strict=True):
            tamper(site, call)
            problems = set(await Books(site).verify(final=False))
            assert any(found == kind for found, _ in problems - known), (wrong, problems)
            known |= problems


async def test_a_refusal_may_die_with_its_gateway_and_in_no_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a key that is refused often, refusals are written after their answer; the first ones are written before."""
    async with opened(SqliteFile(tmp_path, small=False), tmp_path, SEED) as site:
        (node,) = site.nodes
        broke = await site.mint("broke", max_spend_micros=0)
        calls = [await site.call(broke) for _ in range(FIRST + 2)]
        assert {call.status for call in calls} == {402}
        assert await Books(site).verify(final=False) == []
        monkeypatch.setattr(books_module, "QUIET_S", 0.0)
        request = calls[-1].headers["x-farthing-request-id"].removeprefix("req_")
        connection = sqlite3.connect(site.sqlite.path, isolation_level=None)
        assert connection.execute("DELETE FROM events WHERE id = ?", (request,)).rowcount == 1
        connection.close()
        for deaths, found in (([], 1), ([calls[0].began_s], 1), ([calls[-1].ended_s], 0)):
            node.deaths[:] = deaths
            assert len(await Books(site).verify(final=False)) == found, deaths


async def test_what_may_still_live_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reservation that nobody ends is no finding until it should have expired, and a call until its client gives up.

    A hold that is open after that is told with all that is known of it.
    """
    async with opened(SqliteFile(tmp_path, small=False), tmp_path, SEED) as site:
        monkeypatch.setattr(books_module, "QUIET_S", 1.0)
        reserved = {"amount": 50, "subject": {"key_id": site.keys["wide"].id}, "ttl_seconds": 4}
        status, _ = await site.api("POST", "/v1/reservations", reserved)
        assert status == 201
        started = time.monotonic()
        assert await Books(site).verify(final=True) == []
        assert 3 < time.monotonic() - started < 20

        monkeypatch.setattr(books_module, "CALL_TIMEOUT_S", 0.0)
        monkeypatch.setattr(books_module, "FOUND_DEAD_S", 0.0)
        raw = await site.raw(site.nodes[0], "stream", "chunk_delay_ms=50,output_tokens=100", ("settled",))
        await raw.send()
        await raw.until(b"data: ")
        told = " ".join(what for _, what in await Books(site).verify(final=True) if "a hold is open" in what)
        for known in (raw.call.mark, "of wide", "state open", f"its owner {site.nodes[0].pid}.", "whose process lives"):
            assert known in told, (known, told)
        await raw.rest()


def test_tallies_add_up(tmp_path: Path) -> None:
    """Runs are added in a file, and the table shows the sums."""
    one = tally.Tally(engine="sqlite", rows={"F1 a": 2}, rounds=2, calls=10, kills=1, seeds=[1])
    one.note("lost", "a call")
    path = tmp_path / "sum.json"
    tally.save(path, [one])
    known = tally.load(path)["sqlite"]
    known.add(tally.Tally(engine="sqlite", rows={"F1 a": 1, "F2 b": 1}, rounds=3, calls=5, kills=4, seeds=[2]))
    assert (known.rounds, known.calls, known.kills, known.lost, known.seeds) == (5, 15, 5, 1, [1, 2])
    assert known.rows == {"F1 a": 3, "F2 b": 1}
    assert "| sqlite | 2 | 5 |" in tally.table([known])
