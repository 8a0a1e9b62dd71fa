"""What the manual names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """Tests, modules and links: a promise that names its proof names one that exists."""
    text = page.read_text()
    named = set(re.findall(r"`((?:tests|gateway|providers|ledger|keys|scripts|docs)/[\w/.]+\.(?:py|md))`", text))
    named |= {
        str((page.parent / link).resolve().relative_to(ROOT)) for link in re.findall(r"\]\(([\w./-]+\.md)\)", text)
    }
    missing = sorted(name for name in named if not (ROOT / name).is_file())
    assert not missing


def test_the_threat_model_names_its_proofs() -> None:
    """Every promise in its tables names a test."""
    text = (ROOT / "docs" / "threat-model.md").read_text()
    promised = text.partition("## What is promised")[2].partition("## What is not promised")[0]
    rows = [line for line in promised.splitlines() if line.startswith("| ") and not line.startswith("| Against")]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row] == []
