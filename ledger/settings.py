"""What an installation remembers of itself, by name. Scripts only."""

from __future__ import annotations

from ledger.engine import Script


def setting(name: str, default: str) -> Script[str]:
    """The value under this name; `default` is kept and answered if there was none."""
    yield "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, default)
    ((value,),) = yield "SELECT value FROM settings WHERE name = ?", (name,)
    return str(value)
