"""The command line, as an operator uses it beside a gateway or without one."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.terminal import CANNOT_START, DIFFERENCE, FAILED, OK, USAGE
from tests.harness import MASTER, Running

ROOT = Path(__file__).parents[2]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{tmp_path}/farthing.db")
    monkeypatch.setenv("FARTHING_MASTER_KEY", MASTER)
    return tmp_path


async def run(*arguments: str) -> int:
    """The command in a thread of its own, as it brings its own event loop."""
    return await asyncio.to_thread(main, [*arguments])


async def test_keys_beside_a_running_gateway(
    farthing: Running, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key minted by hand calls at once; revoked by hand, its next call fails."""
    assert await run("keys", "mint", "--test", "--name", "by hand", "--max-spend-usd", "0.5", "--json") == OK
    key = json.loads(capsys.readouterr().out)
    chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    assert (await farthing.call(key["secret"], chat))[0] == 200
    assert await run("keys", "list") == OK
    assert "by hand" in capsys.readouterr().out
    assert await run("keys", "show", key["id"], "--json") == OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["spent_micros"] > 0
    assert "secret" not in shown
    assert await run("keys", "rotate", key["id"], "--json") == OK
    fresh = json.loads(capsys.readouterr().out)["secret"]
    assert (await farthing.call(key["secret"], chat))[0] == 401
    assert (await farthing.call(fresh, chat))[0] == 200
    assert await run("usage", "--test") == OK
    assert "2 calls" in capsys.readouterr().out
    assert await run("events", "--key", key["id"], "--json") == OK
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert await run("keys", "revoke", key["id"]) == OK
    assert (await farthing.call(fresh, chat))[0] == 401
    assert await run("audit") == OK
    assert "0 differences" in capsys.readouterr().out
    assert await run("doctor") == OK
    assert (await farthing.audited()).events == 4


async def test_the_audit_finds_a_difference(
    farthing: Running, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tampered balance is a difference, and exit 4."""
    await farthing.mint(max_spend_usd="1")
    with sqlite3.connect(beside / "farthing.db") as database:
        database.execute("UPDATE accounts SET spent_micros = 5 WHERE parent_id IS NOT NULL")
    database.close()
    assert await run("audit", "--json") == DIFFERENCE
    assert json.loads(capsys.readouterr().out)["count"] >= 1


async def test_what_cannot_be(
    beside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage is exit 2, a missing key exit 1, a database that cannot be opened exit 3; each with a sentence."""
    assert await run("keys", "list") == FAILED
    assert await run("keys", "mint", "--max-spend-usd", "lots") == USAGE
    monkeypatch.setenv("FARTHING_DATABASE_URL", "mysql://localhost/farthing")
    assert await run("audit") == CANNOT_START
    monkeypatch.setenv("FARTHING_PORT", "none")
    assert await run("doctor") == CANNOT_START
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 4


async def test_prices(capsys: pytest.CaptureFixture[str]) -> None:
    """The catalogue can be listed, and has more models than anybody promised."""
    assert await run("prices", "--json") == OK
    assert len(json.loads(capsys.readouterr().out)) >= 300
    assert await run("prices", "--provider", "openai") == OK
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["MODEL", "INPUT", "OUTPUT"]
    (line,) = [line for line in lines if line.startswith("openai/gpt-4o-mini ")]
    assert line.split()[1:4] == ["0.15", "0.6", "0.075"]


def test_who_reads_no_further_sees_no_traceback(tmp_path: Path) -> None:
    """`farthing prices | head -1` prints one line and nothing else."""
    command = f"{sys.executable} -c 'import sys; from gateway.cli import main; sys.exit(main())' prices | head -1"
    done = subprocess.run(  # noqa: S602 - the pipe is what is tested
        command,
        shell=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("MODEL ")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.startswith("catalogue ")
    assert len(done.stderr.splitlines()) == 1


async def test_hooks_and_changes_are_listed(
    farthing: Running, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was made by the API and by hand, with who made it."""
    _, hook = await farthing.api("POST", "/v1/hooks", {"kind": "slack", "url": "https://example.com/hook-wxyz"})
    await farthing.api("POST", f"/v1/hooks/{hook['id']}/test")
    assert await run("keys", "mint", "--json") == OK
    key = json.loads(capsys.readouterr().out)

    assert await run("hooks", "list") == OK
    assert "https://example.com/…wxyz" in capsys.readouterr().out
    assert await run("hooks", "deliveries", hook["id"], "--json") == OK
    (delivery,) = json.loads(capsys.readouterr().out)
    assert delivery["type"] == "hook.test"
    assert await run("changes", "--json") == OK
    newest = json.loads(capsys.readouterr().out)
    assert [(each["type"], each["actor"], each["object_id"]) for each in newest[:2]] == [
        ("key.created", "cli", key["id"]),
        ("hook.created", newest[1]["actor"], hook["id"]),
    ]
    assert await run("changes", "--object", key["id"]) == OK
    assert "key.created" in capsys.readouterr().out
    assert await run("hooks", "deliveries", "hook_nowhere") == FAILED
