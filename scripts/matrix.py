"""The conformance matrix as a table, for the README: providers down, clients across, the operations that are run.

python -m scripts.matrix            # print it
python -m scripts.matrix --write    # put it into the README, between its two marks
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance.cells import CLIENTS, cells

README = Path(__file__).parent.parent / "README.md"
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


def written(readme: str) -> str:
    """The README with the table in its place."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return before + START + table() + END + after


def main() -> None:
    """Print the table, or write it."""
    if "--write" in sys.argv[1:]:
        README.write_text(written(README.read_text("utf-8")), "utf-8")
    else:
        sys.stdout.write(table())


if __name__ == "__main__":
    main()
