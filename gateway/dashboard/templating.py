"""Pages from templates, and the files beside them: for the dashboard and for the portal alike.

Promises: text of tenants is escaped; a name that a template does not get is an error; nothing is inline.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import Response

from gateway.dashboard import words
from gateway.dashboard.money import Money

_FOLDER = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
STATIC = {
    file.name: (file.read_bytes(), f"{_TYPES[file.suffix]}; charset=utf-8")
    for file in sorted((_FOLDER / "static").iterdir())
    if file.suffix in _TYPES
}
_KEPT = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}


class Templates:
    """The templates of a site at `root`, with `files` beside those that all sites have: by name, bytes and type.

    `money` is how its amounts are told.
    """

    def __init__(
        self, root: str, money: Money, files: dict[str, tuple[bytes, str]] | None = None, **known: Any
    ) -> None:
        self.money = money
        self._files = STATIC | (files or {})
        edition = blake2b(b"".join(body for body, _ in self._files.values()), digest_size=8).hexdigest()
        self.static = f"{root}/static/{edition}"
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            words.FILTERS, usd=money.said, own_money=money.own, usd_beside=money.beside, amount=money.amount
        )
        self._environment.globals.update(static=lambda name: f"{self.static}/{name}", root=root, **known)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page."""
        return Response(self._environment.get_template(template).render(**values), status, media_type="text/html")

    def file(self, name: str) -> Response | None:
        """A file of the site's, which never changes under its address; None if there is none."""
        found = self._files.get(name)
        return None if found is None else Response(found[0], headers=_KEPT, media_type=found[1])
