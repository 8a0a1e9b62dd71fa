"""How tables of names are written."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """A table of names, written as one text."""
    return frozenset(text.split())
