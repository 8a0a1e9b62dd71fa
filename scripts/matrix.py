"""The conformance matrix as a table, for the manual: providers down, clients across, the operations that are run.

python -m scripts.matrix            # print it
python -m scripts.matrix --write    # put it into docs/clients.md, between its two marks
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance.cells import CLIENTS, cells

PAGE = Path(__file__).parent.parent / "docs" / "clients.md"
START, END = "<!-- matrix -->\n", "<!-- /matrix -->\n"


def table() -> str:
    """The matrix in Markdown."""
    at: dict[str, dict[str, list[str]]] = {}
    for cell in cells():
        at.setdefault(cell.provider, {}).setdefault(cell.client, []).append(cell.operation)
    lines = ["| | " + " | ".join(CLIENTS.values()) + " |", "|---" * (len(CLIENTS) + 1) + "|"]
    for provider, clients in at.items():
        lines.append(f"| {provider} | " + " | ".join(", ".join(clients.get(client, ())) for client in CLIENTS) + " |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The page with the table in its place."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return before + START + table() + END + after


def main() -> None:
    """Print the table, or write it."""
    if "--write" in sys.argv[1:]:
        PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
    else:
        sys.stdout.write(table())


if __name__ == "__main__":
    main()
