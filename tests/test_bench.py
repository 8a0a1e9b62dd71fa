"""What the benchmark reads out of callgrind's files, and what it makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench import callgrind, instructions
from scripts.bench.callgrind import Count, Unreadable

ROOT = Path(__file__).resolve().parents[1]

FILE = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 4711
cmd:  python serve
part: 3
thread: 2

desc: I1 cache:
desc: Timerange: Basic block 100 - 200
desc: Trigger: vgdb client request

positions: line
events: Ir
summary: 5381


ob=(3) /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
fl=(35) ???
fn=(1204) sqlite3_step
0 381
cob=(1) /usr/lib/libc.so.6
cfn=(12) memcpy
calls=5 0
0 5000

totals: 5381
"""


def test_a_file_of_callgrinds_is_read() -> None:
    """Its thread, its sum, and the libraries by their paths, however they are abbreviated later."""
    count = callgrind.read(FILE)
    assert (count.thread, count.instructions) == (2, 5381)
    assert count.objects == {"/usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6", "/usr/lib/libc.so.6"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        FILE.replace("summary: 5381", "").replace("totals: 5381", ""),
        FILE.replace("thread: 2", ""),
        FILE.replace("events: Ir", "events: Ir Dr Dw"),
    ],
)
def test_a_file_without_a_count_is_not_a_count_of_nothing(text: str) -> None:
    with pytest.raises(Unreadable):
        callgrind.read(text)


def test_threads_are_told_apart_by_what_they_run() -> None:
    """The first is the loop, whatever it has loaded; those in SQLite are the ledger's; nothing is left out."""
    counts = [
        Count(1, 900_000, frozenset({"/lib/libsqlite3.so.0"})),
        Count(2, 200_000, frozenset({"/lib/python3.11/_sqlite3.cpython-311.so"})),
        Count(3, 60_000, frozenset({"/lib/libpython3.11.so"})),
        Count(4, 40_000, frozenset()),
    ]
    figures = instructions.per_call(counts, 100)
    assert figures == {"loop": 9.0, "ledger": 2.0, "others": 1.0, "all": 12.0}


def test_commits_are_compared_by_their_medians() -> None:
    def rounds(*sums: float) -> dict[str, list[dict[str, float]]]:
        return {
            kind: [dict.fromkeys(("all", *instructions.THREADS), each) for each in sums]
            for kind in ("full", "streamed")
        }

    rows = instructions.summarise(
        [("this", rounds(110, 100, 90)), ("that", rounds(80, 70, 400)), ("nginx", rounds(4, 4, 4))], compared=True
    )
    assert [row["full.all"] for row in rows] == [100, 80, 4]
    assert [row["full.spread"] for row in rows] == [20, 412.5, 0]
    assert [row.get("streamed.ratio") for row in rows] == [1.25, None, None]
    assert [row.get("streamed.of_nginx") for row in rows] == [25, 20, None]


def test_without_valgrind_it_says_so(tmp_path: Path) -> None:
    """Instead of a table that lacks something."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench", "instructions", "--out", str(tmp_path)],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "install valgrind" in done.stderr
    assert not list(tmp_path.iterdir())
