"""A browser without a screen, a script or mercy: cookies, forms and what a real one says of where a request is from."""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import urlencode

import aiohttp

from tests.harness import MASTER, Running

OURS = {"sec-fetch-site": "same-origin"}


class Visitor:
    """Somebody with a cookie jar of his own."""

    def __init__(self, farthing: Running, http: aiohttp.ClientSession) -> None:
        self.farthing = farthing
        self.http = http

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """A page of the dashboard; redirections are not followed."""
        return await self._request("GET", path, None, headers)

    async def post(
        self, path: str, form: dict[str, Any] | None = None, headers: dict[str, str] = OURS
    ) -> tuple[int, dict[str, str], str]:
        """A form that is sent."""
        return await self._request("POST", path, form or {}, headers)

    async def _request(
        self, method: str, path: str, form: dict[str, Any] | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        sent = None if form is None else io.BytesIO(urlencode(form).encode())
        if sent is not None:
            headers = {"content-type": "application/x-www-form-urlencoded"} | headers
        async with self.http.request(
            method, f"{self.farthing.url}/dashboard{path}", data=sent, headers=headers, allow_redirects=False
        ) as response:
            body = await response.text()
            return response.status, {name.lower(): value for name, value in response.headers.items()}, body

    async def sign_in(self, key: str = MASTER) -> Visitor:
        """Show a key that may come in."""
        status, headers, body = await self.post("/login", {"key": key})
        assert (status, headers.get("location")) == (303, "/dashboard"), body
        return self

    @property
    def cookies(self) -> dict[str, str]:
        """What the browser would show."""
        return {each.key: each.value for each in self.http.cookie_jar}


def hidden(body: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', body)
    assert found is not None, body
    return found[1]
