"""What the manual says of a run's failures is all there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_failure_is_in_the_manual() -> None:
    """Every code with which a node or a run can fail by itself."""
    sources = (path.read_text() for path in (ROOT / "gateway" / "pipelines").glob("*.py"))
    codes = {code for source in sources for code in re.findall(r'Failure\(\s*"([a-z_]+)"', source)}
    page = (ROOT / "docs" / "pipelines.md").read_text()
    assert len(codes) > 8
    assert {code for code in codes if f"`{code}`" not in page} == set()
