"""Oddities of an answer that are worth keeping on its event."""

from __future__ import annotations

Flags = set[str]

CONTRADICTORY = "usage_contradictory"
NEGATIVE = "usage_negative"
DECREASED = "usage_decreased"
INCOMPLETE = "usage_incomplete"
OTHER_MODEL = "usage_other_model"
MALFORMED = "malformed"
OVERSIZE = "oversize"
MISSING = "usage_missing"
HIDDEN = "output_hidden"
