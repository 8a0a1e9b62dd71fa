"""How the portal looks: the operator's name, colour and logo. Pure but for reading the logo, once.

Promises: whatever the colour, text in it can be read (4.5 to 1 on our paper, by day and by night): it is made darker or
lighter until it can.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.config import PORTAL_LOGO_TYPES, Face

READABLE = 4.5  # WCAG 2.2, 1.4.3
_PAPERS = {"light": "#f2ede4", "dark": "#221f1b"}  # the less favourable of each scheme's, see farthing.css
_INKS = ("#ffffff", "#000000")
_STEPS = 50
Rgb = tuple[int, int, int]


class Brand(msgspec.Struct, frozen=True, kw_only=True):
    """`files` are served beside the pages: a stylesheet and the logo, by name, bytes and type."""

    name: str
    logo: str | None
    files: dict[str, tuple[bytes, str]]


def brand_of(face: Face) -> Brand:
    """The operator's brand. Raises OSError if the logo is gone."""
    files = {"brand.css": (stylesheet(face.portal_color).encode(), "text/css; charset=utf-8")}
    logo = None
    if face.portal_logo is not None:
        path = Path(face.portal_logo)
        logo = f"logo{path.suffix.lower()}"
        files[logo] = (path.read_bytes(), PORTAL_LOGO_TYPES[path.suffix.lower()])
    return Brand(name=face.portal_name, logo=logo, files=files)


def stylesheet(color: str) -> str:
    """The colour as the variables that `farthing.css` has, by day and by night; nothing where there is none."""
    if not color:
        return ""
    light, dark = (readable(color, paper) for paper in _PAPERS.values())
    return (
        f":root {{ {_variables(light)} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {_variables(dark)} }} }}\n"
    )


def readable(color: str, paper: str) -> str:
    """The colour, or the nearest darker or lighter one that can be read on the paper."""
    towards = _rgb(max(_INKS, key=lambda ink: contrast(ink, paper)))
    start = _rgb(color)
    for step in range(_STEPS + 1):
        mixed = tuple(round(a + (b - a) * step / _STEPS) for a, b in zip(start, towards, strict=True))
        if contrast(found := "#" + bytes(mixed).hex(), paper) >= READABLE:
            return found
    raise AssertionError("black or white can be read on any paper")


def contrast(one: str, other: str) -> float:
    """How well one colour can be told from another, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(_rgb(one)), _luminance(_rgb(other))))
    return (lighter + 0.05) / (darker + 0.05)


def _variables(color: str) -> str:
    ink = max(_INKS, key=lambda each: contrast(each, color))
    return f"--accent: {color}; --accent-ink: {ink}; --tone-1: {color};"


def _rgb(color: str) -> Rgb:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def _luminance(color: Rgb) -> float:
    parts = [each / 255 for each in color]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
