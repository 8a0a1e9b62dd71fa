"""The house stays as it is drawn: no vendor's name in the gateway, no module that nobody would want to live in."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from providers.ground.vendors import VENDORS

ROOT = Path(__file__).resolve().parent.parent
GATEWAY = sorted((ROOT / "gateway").rglob("*.py"))
OTHERS = sorted(path for room in ("keys", "ledger", "providers") for path in (ROOT / room).rglob("*.py"))
NAMES = re.compile("|".join(sorted({*VENDORS, "gemini", "dashscope", "grok", "moonshot"})), re.IGNORECASE)

PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
WORDS = {
    "board": "worker snapshot",
    "bulk": "batch bound",
    "grant": "hold, allowance",
    "granted": "held",
    "knock": "precheck",
    "purse": "account",
    "seat": "assignment",
    "till": "until",
    "trip": "call, flight",
    "walls": "ownership",
    "wish": "what is asked for, options",
    "wishes": "options",
}


def test_there_is_a_gateway_to_look_at() -> None:
    assert len(GATEWAY) > 50
    assert NAMES.search("What OpenAI says")


@pytest.mark.parametrize("path", GATEWAY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_vendor_is_named_in_the_gateway(path: Path) -> None:
    """What is one vendor's stands in its folder of `providers`, or in its row."""
    found = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if NAMES.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", [*GATEWAY, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_thing_has_one_name(path: Path) -> None:
    """What once had two is called by the one that a newcomer would guess: see `WORDS`."""
    names = (each for node in ast.walk(ast.parse(path.read_text("utf-8"))) for each in named(node))
    found = {name for name in names if not WORDS.keys().isdisjoint(part.lower() for part in PARTS.findall(name))}
    assert found == set(), WORDS


@pytest.mark.parametrize("path", GATEWAY, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_the_gateway_fits_in_a_sitting(path: Path) -> None:
    """At most 450 lines, functions of at most 60, and few others to know: all but those that build and list them.

    The client is one file for those who copy it, most of it written by `scripts.clients`.
    """
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 450 or path.parent.name == "clients"
    if path.name not in ("app.py", "endpoints.py"):
        assert {each.name: length(each) for each in functions(tree) if length(each) > 60} == {}
        assert len(imported(tree)) <= 14


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_the_other_rooms_fits_in_a_sitting(path: Path) -> None:
    """At most 450 lines, functions of at most 60."""
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 450
    assert {each.name: length(each) for each in functions(ast.parse(text)) if length(each) > 60} == {}


def imported(tree: ast.AST) -> set[str]:
    """The modules of the gateway that one of them imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gateway":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if (ROOT / f"{name.replace('.', '/')}.py").is_file() else node.module)
    return found


def named(node: ast.AST) -> list[str]:
    """The names that a piece of code gives."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        return [node.id if isinstance(node, ast.Name) else node.attr]
    return []


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's code: without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        doc = function.body[0]
        lines -= (doc.end_lineno or 0) - doc.lineno + 1
    return lines
