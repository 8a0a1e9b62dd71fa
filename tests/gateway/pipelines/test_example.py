"""The example in the manual is a program that runs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.gateway.pipelines.support import piped
from tests.harness import Running

PAGE = Path(__file__).parents[3] / "docs" / "pipelines.md"


async def test_the_example_runs(farthing: Running, tmp_path: Path) -> None:
    """Three analysts side by side, a join, and a tool that its client runs, within the budget and the estimate."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    key = await farthing.mint(livemode=False, max_spend_usd="1")
    (tmp_path / "example.py").write_text(program.replace("http://127.0.0.1:8787", farthing.url))
    said = await piped(sys.executable, tmp_path / "example.py", os.environ | {"KEY": key["secret"]})
    lines = said.splitlines()
    estimate = int(lines[0].split()[2])
    assert lines[0].endswith("[]")
    assert sum(" node_started bull" in line or " node_started bear" in line for line in lines) == 2
    assert sum(" node_waiting verdict" in line for line in lines) == 1
    numbers = [int(line.split()[0]) for line in lines[1:-1]]
    assert numbers == list(range(1, len(numbers) + 1))
    status, cost = lines[-1].split()[:2]
    events = await farthing.events(livemode="false")
    assert (status, int(cost)) == ("succeeded", sum(event["cost_micros"] for event in events))
    assert 0 < int(cost) <= estimate
    assert len(events) == 5
    assert len({event["run_id"] for event in events}) == 1
    await farthing.audited()
