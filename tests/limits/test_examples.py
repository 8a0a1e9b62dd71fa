"""The examples under `scripts/examples`, run as a reader would run them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.harness import MASTER, Running

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"
NAMES = ("per_end_user_quota", "budgets_with_marks", "tiers", "child_keys", "reservations")


async def test_every_example_does_what_it_says(gateway: Running) -> None:
    """Each scenario takes its four steps and exits 0, all of them side by side on one gateway."""
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {*NAMES, "farthing"}
    outputs = await asyncio.gather(*(_run(name, gateway.url) for name in NAMES))
    for name, (code, output) in zip(NAMES, outputs, strict=True):
        assert code == 0, output
        assert "== 4." in output, name
        assert "NOT" not in output, name


async def _run(name: str, url: str) -> tuple[int | None, str]:
    environment = os.environ | {"FARTHING_URL": url, "FARTHING_MASTER_KEY": MASTER}
    made = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / f"{name}.py"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(made.communicate(), 60)
    return made.returncode, output.decode()
