"""What an installation remembers of itself, by name. Scripts only."""

from __future__ import annotations

from ledger.engine import Script


def setting(name: str, default: str) -> Script[str]:
    """The value under this name; `default` is kept and answered if there was none."""
    yield "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, default)
    ((value,),) = yield "SELECT value FROM settings WHERE name = ?", (name,)
    return str(value)


def turned(name: str, value: str) -> Script[bool]:
    """Remember a state; whether it is another than before."""
    rows = yield "SELECT 1 FROM settings WHERE name = ? AND value = ?", (name, value)
    if rows:
        return False
    yield (
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
    return True


def names(prefix: str, value: str) -> Script[list[str]]:
    """What follows the prefix in the names of all that begin so and have this value."""
    rows = yield (
        "SELECT name FROM settings WHERE name >= ? AND name < ? AND value = ? ORDER BY name",
        (prefix, prefix + "\x7f", value),
    )
    return [str(name)[len(prefix) :] for (name,) in rows]
