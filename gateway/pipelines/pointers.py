"""JSON pointers (RFC 6901): read where one leads, and put something there. Pure."""

from __future__ import annotations

import re
from typing import Any


class NoSuchPlace(Exception):
    """A pointer is none, or leads nowhere. The message says where it ended."""


def parts(pointer: str) -> list[str]:
    """The names on its way. Raises NoSuchPlace: it is no pointer."""
    if not pointer:
        return []
    if pointer[0] != "/" or "~" in pointer.replace("~0", "").replace("~1", ""):
        raise NoSuchPlace(f"{pointer!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(0|[1-9]\d{0,8})\]")


def pointer_of_path(path: str) -> str:
    """The pointer that leads where a JSON path does, of names and numbers: `$.a[0].b`. Raises NoSuchPlace."""
    at, names = 1, []
    while path[:1] == "$" and at < len(path) and (step := _STEP.match(path, at)):
        names.append(step[1] or step[2])
        at = step.end()
    if path[:1] != "$" or at != len(path):
        raise NoSuchPlace(f"{path!r} is no path of names and numbers")
    return pointer_to(*names)


def pointer_to(*names: str | int) -> str:
    """The pointer that goes by these names."""
    return "".join(f"/{str(name).replace('~', '~0').replace('/', '~1')}" for name in names)


def find(value: Any, pointer: str) -> Any:
    """What stands there. Raises NoSuchPlace."""
    for number, part in enumerate(way := parts(pointer)):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and (index := _index(part)) is not None and index < len(value):
            value = value[index]
        else:
            raise NoSuchPlace(f"there is nothing at {pointer_to(*way[: number + 1])}")
    return value


def put(value: Any, pointer: str, new: Any) -> None:
    """Put something there, over what was; where it leads must be there. `-` is behind a list's last element.

    Raises:
        NoSuchPlace: It leads nowhere, or to the whole.
    """
    way = parts(pointer)
    if not way:
        raise NoSuchPlace("the whole is no place to put something")
    place, last = find(value, pointer_to(*way[:-1])), way[-1]
    if isinstance(place, dict):
        place[last] = new
    elif isinstance(place, list) and last == "-":
        place.append(new)
    elif isinstance(place, list) and (index := _index(last)) is not None and index < len(place):
        place[index] = new
    else:
        raise NoSuchPlace(f"there is nothing at {pointer}")


def _index(part: str) -> int | None:
    plain = part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")
    return int(part) if plain else None
