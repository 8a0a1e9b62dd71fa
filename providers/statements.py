"""Which providers tell what they have counted and charged, by the names that they have here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.anthropic import statement as of_anthropic
from providers.ground.statement import Statement
from providers.openai import statement as of_openai

STATEMENTS: Mapping[str, Statement] = MappingProxyType(
    {"openai": of_openai.STATEMENT, "anthropic": of_anthropic.STATEMENT}
)
