"""A pipeline's specification, read from what a client sent.

Promises: what is wrong is named by a JSON pointer into what was sent; what can be read two ways is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from gateway.api.workflow import Issue
from gateway.pipelines.pointers import pointer_to


class Unreadable(Exception):
    """A body that is no specification; `issue` says why."""

    def __init__(self, issue: Issue) -> None:
        super().__init__(issue.message)
        self.issue = issue


DEPTH_MAX = 100  # what works on requests and answers goes down by itself, and so deep is nobody's
_AT = re.compile(r"^(?P<what>.*) - at (?:`key` in )?`(?P<path>.*)`$")
_NAMED = re.compile(r"(?:unknown|missing required) field `([^`]*)`")
_STEPS = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def tree_of(body: bytes) -> Any:
    """The JSON of a body. Raises Unreadable: it is none, a member stands twice in it, or it is nested too deep."""
    try:
        tree = json.loads(body.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Unreadable(Issue("invalid_spec", "", "The body is not JSON.")) from None
    if not is_shallow(tree):
        raise Unreadable(Issue("invalid_spec", "", f"The JSON is nested deeper than {DEPTH_MAX} levels."))
    return tree


def is_shallow(tree: Any) -> bool:
    """Whether JSON is nested no deeper than `DEPTH_MAX` levels."""
    level = [tree]
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        level = below
        if not level:
            return True
    return False


def read(body: bytes, kind: type[Any], tree: Any) -> Any:
    """A body as a specification, or as what else it is; `tree` is its JSON. Raises Unreadable."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Unreadable(_located(str(error), kind, tree)) from None
    except (msgspec.DecodeError, RecursionError):
        raise Unreadable(Issue("invalid_spec", "", "The body is not JSON.")) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no member stands twice: parsers differ in which of two they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise Unreadable(Issue("invalid_spec", "", f"The member {name!r} stands twice in an object."))
    return found


def _located(message: str, kind: type[Any], tree: Any) -> Issue:
    """A validation error with its place: a member whose name is free is found by trying."""
    at = _AT.match(message)
    what, path = (at["what"], at["path"]) if at is not None else (message, "$")
    way: list[str | int] = []
    here = tree
    for name, element in _STEPS.findall(path):
        step: str | int = name or (int(element) if element.isdigit() else 0)
        if element and isinstance(here, dict):  # the members of one, whose names are free
            step = _member_at_fault(here, kind, tree, message)
        way.append(step)
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
    if (named := _NAMED.search(what)) is not None:
        way.append(named[1])
    return Issue("invalid_spec", pointer_to(*way), f"{what}.")


def _member_at_fault(members: dict[str, Any], kind: type[Any], tree: Any, message: str) -> str:
    """The member of an object that a message is about, found by trying them one by one."""
    everything = members.copy()
    for name, member in everything.items():
        members.clear()
        members[name] = member
        try:
            msgspec.json.decode(msgspec.json.encode(tree), type=kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return name
        finally:
            members.clear()
            members.update(everything)
    return next(iter(everything), "")
